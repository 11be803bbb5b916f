"""What hosts want of stations, from the gateway to a station and back.

Invariant: one CALL to each station is unanswered at a time; the others wait, in order and bounded;
an answer that nobody waits for reaches no host."""

from __future__ import annotations

from controlplane.charger.messages import StationFailed, StationReplied
from controlplane.config import Settings
from controlplane.runtime.connections import Connections
from controlplane.runtime.gateway_meter import GatewayMeter
from controlplane.runtime.gateway_traces import GatewayTraces
from controlplane.runtime.routes import Routes
from controlplane.runtime.station import Station
from controlplane.runtime.telemetry import log
from controlplane.runtime.wire import ToStation

__all__ = ["StationCommands"]


class StationCommands:
    """The CALLs to the stations of one gateway."""

    def __init__(
        self,
        settings: Settings,
        connections: Connections,
        routes: Routes,
        meter: GatewayMeter,
        traces: GatewayTraces,
    ) -> None:
        self._connections = connections
        self._routes = routes
        self._meter = meter
        self._traces = traces
        self._unanswered_s = settings.call_timeout_s * 2

    def send(self, station: Station, command: ToStation, now_s: float) -> None:
        """Send it now, or when those before it are over."""
        sent = station.commanded(command, now_s)
        if sent:
            self._write(station, command)
        elif sent is None:
            self._meter.commanded(command, "overflow")
            log.error("commands_overflow", charger=station.charger_id, action=command.action)
            overflow = StationFailed(
                station.connection,
                command.message_id,
                "InternalError",
                "too many commands wait for this station",
            )
            self._routes.tell(station, overflow)

    def replied(
        self, station: Station, answer: StationReplied | StationFailed, now_s: float, result: str
    ) -> None:
        """The station's answer to our CALL; any other answer is late or made up. `result` is what
        is counted."""
        command = station.command
        if command is None or command.message_id != answer.message_id:
            log.info(
                "answer_to_nothing", charger=station.charger_id, message_id=answer.message_id[:64]
            )
            return
        self._meter.commanded(command, result, now_s - station.commanded_at_s)
        self._routes.tell(station, answer)
        self._next(station, now_s)

    def sweep(self, station: Station, now_s: float) -> None:
        """What was not answered in time stops blocking what waits behind it. The actor has its own,
        shorter wait for a command."""
        command = station.command
        if command is not None and now_s - station.commanded_at_s > self._unanswered_s:
            self._meter.commanded(command, "unanswered")
            self._next(station, now_s)

    def _next(self, station: Station, now_s: float) -> None:
        following = station.replied(now_s)
        if following is not None:
            self._write(station, following)

    def _write(self, station: Station, command: ToStation) -> None:
        self._connections.write(station, command.frame)
        if self._traces.commands:
            self._traces.written(command)
