"""What stations ask, from the gateway to a host and back.

Invariants: a station's CALL is kept until it is answered, and delivered again when its host was
replaced, so a host that dies costs no message; at most one of each station is at a host, and of all
stations together as many as the host has credits (`credits.py`); what gives way to the load is a
heartbeat or a sample and never anything else."""

from __future__ import annotations

import asyncio
import time

import msgspec

from controlplane.config import Settings
from controlplane.ocpp import framing
from controlplane.runtime.connections import Connections
from controlplane.runtime.credits import Credits, Weight, weight_of
from controlplane.runtime.gateway_meter import GatewayMeter
from controlplane.runtime.gateway_traces import GatewayTraces
from controlplane.runtime.routes import Routes
from controlplane.runtime.station import Station
from controlplane.runtime.telemetry import log
from controlplane.runtime.wire import CallOfStation, ToStation
from controlplane.units import iso_from_ms

__all__ = ["StationCalls"]


class StationCalls:
    """The CALLs of the stations of one gateway."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        routes: Routes,
        meter: GatewayMeter,
        traces: GatewayTraces,
    ) -> None:
        self.credits = Credits(settings.host_credits)
        self._connections = connections
        self._routes = routes
        self._meter = meter
        self._traces = traces
        self._tracing = traces.tracing.on
        self._loop = asyncio.get_running_loop()
        self._shed_after_s = settings.shed_after_s
        self._unanswered_s = settings.call_timeout_s * 2
        # Nobody but hosts can tell the time of an accelerated clock.
        self._real_time = settings.clock_speed == 1.0 and not settings.clock_start

    def take(self, station: Station, call: CallOfStation, now_s: float) -> None:
        """The station asks."""
        station.calls_counted[call.action] += 1
        if self._tracing and (station.traced or self._traces.tracing.chosen()):
            self._traces.received(station, call, now_s)
        if station.called(call, now_s):
            self._deliver(station, call)

    def deliver(self, station: Station) -> None:
        """Send what the station has unanswered, once more where its host was told before."""
        if station.pending is not None:
            self._deliver(station, station.pending)

    def answer(self, station: Station, parcel: ToStation, now_s: float) -> None:
        """A host answers; of what is answered already it says nothing new."""
        if station.pending is None or station.pending.message_id != parcel.message_id:
            return
        self._connections.write(station, parcel.frame)
        self._meter.call_s.record(now_s - station.called_at_s)
        if self._traces.calls:
            self._traces.replied(parcel)
        self._over(station, now_s)

    def behind(self, station: Station) -> bool:
        """Whether the station's host has more to do than it should."""
        link = self._routes.link(station.shard)
        return link is not None and link.full

    def crowded(self, station: Station) -> bool:
        """Whether what may be left out should be, for the sake of the station's host."""
        host = self._routes.host(station.shard)
        return self.credits.exhausted(host) or self.behind(station)

    def give_back(self, station: Station) -> None:
        """The station's CALL is over: whoever waited for its credit has it now."""
        host = self.credits.forget(station.connection)
        while (turn := self.credits.next(host)) is not None:
            waited = self._connections.get(turn)
            assert waited is not None
            self.deliver(waited)

    def _deliver(self, station: Station, call: CallOfStation) -> None:
        """Without a host the call waits for the next one, which is told of it; without a credit it
        waits for one."""
        link, host = self._routes.link(station.shard), self._routes.host(station.shard)
        weight = weight_of(call.action)
        behind = link is None or self.credits.exhausted(host)
        if behind and weight is Weight.HEARTBEAT and self._real_time:
            self._answer_heartbeat(station, call)
        elif link is not None and self.credits.take(station.connection, host, weight):
            if call.site_id != station.site_id:
                call = msgspec.structs.replace(call, site_id=station.site_id)
            link.send(self._traces.around(call) if self._traces.calls else call)

    def _over(self, station: Station, now_s: float) -> None:
        """The station's CALL was answered, or is given up; what it sent next has its turn, and so
        has whoever waited for the credit."""
        self.give_back(station)
        following = station.answered(now_s)
        if following is not None:
            self._deliver(station, following)

    # --- what nobody answers ----------------------------------------------------------------------

    def sweep(self, station: Station, now_s: float) -> None:
        """What was not answered in time stops blocking what waits behind it. The station repeats it
        by itself."""
        if station.pending is None or now_s - station.called_at_s <= self._unanswered_s:
            return
        log.error("call_unanswered", charger=station.charger_id, action=station.pending.action)
        self._over(station, now_s)

    def shed(self, station: Station, now_s: float) -> None:
        """What weighs little gives way where its host left it waiting."""
        call = station.pending
        if call is None or now_s - station.called_at_s <= self._shed_after_s:
            return
        weight = weight_of(call.action)
        if weight is Weight.HEARTBEAT and self._real_time:
            self._answer_heartbeat(station, call)
        elif weight is Weight.SAMPLE:
            self._meter.shed("sample")
            refusal = framing.encode_error(
                call.message_id,
                framing.ErrorCode.INTERNAL_ERROR,
                "too busy to store this; send it again later",
            )
            self._connections.write(station, refusal)
            self._over(station, now_s)

    def _answer_heartbeat(self, station: Station, call: CallOfStation) -> None:
        """In the place of a host that is behind."""
        self._meter.shed("heartbeat")
        answer = {"currentTime": iso_from_ms(time.time_ns() // 1_000_000)}
        self._connections.write(station, framing.encode_result(call.message_id, answer))
        # On the next turn: a station that sent many ahead is not answered in one go.
        self._loop.call_soon(self._heartbeat_over, station, call)

    def _heartbeat_over(self, station: Station, call: CallOfStation) -> None:
        if station.pending is call and station in self._connections:
            self._over(station, self._loop.time())
