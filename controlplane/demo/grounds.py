"""The process that is one site of the demonstration: its stations and the vehicles that come and
go.

Runs as `python -m controlplane.demo.grounds`, reports a line of JSON per tick on standard output,
and ends when its day is over or when the process that started it is gone (its standard input
closes). Invariant: what it reports is what physically happened, whatever Loadstar believes."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import time
from collections.abc import Sequence

import msgspec

from controlplane.demo.reports import OutletReport, SessionReport, SiteReport
from controlplane.demo.scenario import Scenario, Visit, make_scenario
from controlplane.runtime.clock import AcceleratedClock, Clock
from controlplane.sim.console import VERSIONS
from controlplane.sim.outlet import Outlet, StationSpec
from controlplane.sim.station import Station
from controlplane.sim.vehicle import Vehicle

__all__ = ["Grounds", "make_station"]

TICK_S = 0.1
PATIENCE_S = 20.0
DRAIN_S = 30.0
"""How long a station may take to say what is left to say at the end of the day."""


def make_station(spec: StationSpec, *, url: str, clock: Clock, seed: int) -> Station:
    """A station of the version that its description names."""
    return Station(spec, url=url, clock=clock, dialect=VERSIONS[spec.version], seed=seed)


class Grounds:
    """The stations of one site and the day they live through.

    The site opens once every station was commissioned, that is, has a line and a default limit; as
    in the field, no vehicle is plugged into a station that nobody ever configured. Nobody waits
    longer than `patience_s` real seconds for that, nor later for a station without a line.
    """

    def __init__(
        self,
        scenario: Scenario,
        site_id: str,
        *,
        url: str,
        clock: Clock,
        seed: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.scenario = scenario
        self.site_id = site_id
        self.clock = clock
        self._patience_ms = patience_s * clock.speed * 1_000
        self.stations = {
            spec.id: make_station(spec, url=url, clock=clock, seed=seed)
            for spec in scenario.stations(site_id)
        }
        self._voltage_v = scenario.site(site_id).voltage_v
        self._awaited = sorted(
            (visit for visit in scenario.visits if visit.site_id == site_id),
            key=lambda visit: visit.arrival_ms,
        )
        self._present: list[Visit] = []
        self._last_ms = clock.now_ms()
        self._begun_ms = max(self._last_ms, scenario.start_ms)
        self._opened = False

    async def live(self) -> None:
        """Run the day, then wait until everything was said."""
        async with asyncio.TaskGroup() as group:
            for station in self.stations.values():
                group.create_task(station.run())
            while self.clock.now_ms() < self.scenario.end_ms:
                _write(self.tick())
                await asyncio.sleep(TICK_S)
            _write(self.close())
            await asyncio.gather(*(station.drained(DRAIN_S) for station in self.stations.values()))
            for station in self.stations.values():
                await station.stop()
        _write(self.report(done=True))

    def tick(self) -> SiteReport:
        """Let the physical world move on to now."""
        now_ms = self.clock.now_ms()
        duration_s = max(0, now_ms - self._last_ms) / 1_000
        self._last_ms = now_ms
        self._depart(now_ms)
        self._arrive(now_ms)
        for station in self.stations.values():
            station.step(now_ms, duration_s)
        return self.report()

    def close(self) -> SiteReport:
        """The day is over: whoever is still there leaves."""
        self._depart(self.scenario.end_ms)
        return self.report()

    def _arrive(self, now_ms: int) -> None:
        if not self._open(now_ms):
            return
        waiting = []
        for visit in self._awaited:
            station = self.stations[visit.charger_id]
            taken = station.outlets[visit.connector_id].vehicle is not None
            patient = now_ms - visit.arrival_ms < self._patience_ms
            if visit.arrival_ms > now_ms or taken or (patient and not station.settled.is_set()):
                waiting.append(visit)
                continue
            vehicle = Vehicle(
                visit.vehicle,
                visit.arrival_soc,
                outlet_phases=len(station.outlets[visit.connector_id].spec.lines),
                voltage_v=self._voltage_v,
            )
            station.plug(visit.connector_id, vehicle, visit.id_token)
            self._present.append(visit)
        self._awaited = waiting

    def _open(self, now_ms: int) -> bool:
        self._opened = (
            self._opened
            or now_ms - self._begun_ms >= self._patience_ms
            or all(
                station.settled.is_set() and station.commissioned
                for station in self.stations.values()
            )
        )
        return self._opened

    def _depart(self, now_ms: int) -> None:
        for visit in [visit for visit in self._present if visit.departure_ms <= now_ms]:
            self.stations[visit.charger_id].unplug(visit.connector_id)
            self._present.remove(visit)

    def report(self, *, done: bool = False) -> SiteReport:
        """The site's picture of this instant."""
        stations = self.stations.values()
        return SiteReport(
            site_id=self.site_id,
            at_ms=self._last_ms,
            outlets=tuple(
                _outlet(station, outlet)
                for station in stations
                for outlet in station.outlets.values()
            ),
            sessions=tuple(session for station in stations for session in _sessions(station)),
            messages_sent=sum(station.traffic.sent for station in stations),
            messages_received=sum(station.traffic.received for station in stations),
            refused=sum(station.traffic.refused for station in stations),
            backlog=sum(station.backlog for station in stations),
            connections=sum(station.traffic.connections for station in stations),
            done=done,
        )


def _write(report: SiteReport) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    sys.stdout.buffer.flush()


def _outlet(station: Station, outlet: Outlet) -> OutletReport:
    vehicle = outlet.vehicle
    return OutletReport(
        charger_id=station.spec.id,
        connector_id=outlet.spec.connector_id,
        online=station.settled.is_set(),
        id_token=outlet.id_token,
        state=outlet.state.value,
        vehicle_state="" if vehicle is None else vehicle.state.value,
        soc=0.0 if vehicle is None else vehicle.soc,
        offered_a=outlet.offered_a,
        lines_a=outlet.line_currents_a(),
    )


def _sessions(station: Station) -> list[SessionReport]:
    return [
        SessionReport(
            charger_id=station.spec.id,
            connector_id=outlet.spec.connector_id,
            id_token=transaction.id_token,
            transaction_id=transaction.id,
            started_ms=transaction.started_ms,
            ended_ms=transaction.ended_ms,
            delivered_wh=(
                int(outlet.register_wh)
                if transaction.register_stop_wh is None
                else transaction.register_stop_wh
            )
            - transaction.register_start_wh,
        )
        for outlet, transaction in station.transactions
    ]


async def _until_orphaned() -> None:
    """Return once standard input has ended: whoever started this process is gone."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(1_024):
        pass


async def _main(arguments: argparse.Namespace) -> None:
    scenario = make_scenario(
        duration_s=arguments.duration, seed=arguments.seed, late_ms=arguments.late_ms
    )
    clock = AcceleratedClock(
        start_ms=scenario.clock_start_ms, speed=scenario.speed, origin_s=arguments.origin
    )
    grounds = Grounds(scenario, arguments.site, url=arguments.url, clock=clock, seed=arguments.seed)
    for station in grounds.stations.values():
        # Meters do not begin at nought in the field; nor do these.
        seeded = random.Random(f"{station.spec.id}/{arguments.seed}")
        for outlet in station.outlets.values():
            outlet.register_wh = float(seeded.randrange(10**4, 10**7))
    day = asyncio.create_task(grounds.live())
    orphaned = asyncio.create_task(_until_orphaned())
    done, _ = await asyncio.wait({day, orphaned}, return_when=asyncio.FIRST_COMPLETED)
    orphaned.cancel()
    if day not in done:
        day.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await day
        return
    day.result()


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of the process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", required=True)
    parser.add_argument("--url", required=True, help="ws:// address, without the station's id")
    parser.add_argument("--duration", type=float, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--late-ms", type=int, default=0, help="by how much the day is put off")
    parser.add_argument("--origin", type=float, default=time.time(), help="of the fast clock")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(_main(parser.parse_args(argv)))


if __name__ == "__main__":
    main()
