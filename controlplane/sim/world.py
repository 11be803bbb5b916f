"""The deterministic world: production actors, virtual time, seeded faults, checkers on every tick.

One seed decides everything, so the same seed gives the same run to the last effect (`digest`), in
any process on any machine. The actors are the ones that production runs, unchanged; what is
simulated is what surrounds them: the host, the line, stations, vehicles, buildings, the grid.

A run has parts: ten quiet minutes in which the network is commissioned; `hours` with vehicles and
faults, in stretches of at most four hours; after each stretch a calm, in which faults stop and the
allocation must become the optimum of the moment (`optimum.py`); at last a quarter of an hour in
which vehicles leave, after which the books must agree. What is left alone costs nothing: time is
spent on what happens, and on the checkers."""

from __future__ import annotations

import gc
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

import msgspec

from controlplane.actor import Emit
from controlplane.config import ActorSettings
from controlplane.errors import InvalidInput, Refusal
from controlplane.feeder.messages import ConfigureFeeder
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import ChargerConfig, SiteConfig
from controlplane.sim.buildings import Buildings
from controlplane.sim.checkers import EnergyChecker
from controlplane.sim.network_faults import NetworkFaults, parse_faults
from controlplane.sim.optimum import Moment, OptimumWatch
from controlplane.sim.outlet import Version
from controlplane.sim.row_checker import RowChecker
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_host import Scheduler, VirtualHost
from controlplane.sim.virtual_line import VirtualLine
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_quirks import draw_quirks
from controlplane.sim.virtual_station import VirtualStation
from controlplane.sim.wear import WearWatch
from controlplane.sim.world_events import WorldEvents
from controlplane.sim.world_network import (
    draw_building,
    draw_network,
    draw_tariffs,
    station_spec,
)
from controlplane.site.messages import ConfigureSite, ReportBuildingLoad
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["World", "run"]

_START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z; any instant would do, if it is always the same."""
_TICK_MS = 1_000
_COMMISSIONING_MS = 600_000
_STRETCH_MS = 4 * MS_PER_HOUR
_CALM_MS = 300_000
_REST_MS = 900_000
_OPTIMUM_MS = 60_000
"""Within this the allocation is the optimum once faults have stopped."""
_NEWS_LARGE_MS = 60_000
"""In large networks besides, whose sites report to the feeder every two minutes."""
_RETRY_MS = 5_000
_LOOK_MS, _LOOK_LARGE_MS = 5_000, 30_000
_BUILDING_REPORT_MAX_MS = 120_000
_VERSIONS: tuple[tuple[Version, Version], tuple[Version, Version]] = (
    ("1.6", "1.6"),
    ("2.0.1", "2.1"),
)
"""Both of a pair make the same sense of the same words, so either takes the same course."""
_VIOLATIONS_SHOWN = 20
_NEW_OBJECTS_MAX = 500_000
"""After so many more objects, rings among them are looked for."""

LARGE = 100
"""A network of more chargers is run as large ones are: sampled and reported less often, with fewer
vehicles a day at each connector."""
_SETTINGS = ActorSettings()
_SETTINGS_LARGE = ActorSettings(
    round_interval_ms=5_000,
    meter_interval_ms=300_000,
    site_report_interval_ms=120_000,
    heartbeat_interval_ms=3_600_000,
)


def run(
    *,
    seed: int = 1,
    hours: float = 24.0,
    chargers: int = 20,
    faults: str = "all",
    planned: bool = False,
) -> dict[str, Any]:
    """Live through one world.

    Args:
        seed: decides everything.
        hours: virtual hours with vehicles and faults, above 0 to 8,784.
        chargers: how many stations there are, 1 to 10,000.
        faults: `all`, `none`, or names of `network_faults.FAULTS` with commas between.
        planned: sites have tariffs and plan, drivers say what they need and when they leave; who
            is held back by a plan has no claim, so the optimum is measured and not judged.

    Returns:
        `seed`, `hours`, `faults`; `violations`, how many; `messages` on the line; `delivered_wh` to
        vehicles; `speed`, virtual over real time; besides them `chargers`, `sessions`,
        `utilisation_max` of any row, `optimum_s`, the longest that the optimum took to be reached
        once faults had stopped, `told_per_minute`, the most limits that a connector was told in a
        minute of calm, `digest`, the first `details` and the `replay` command.

    Raises:
        InvalidInput: an argument out of range, or an unknown fault.
    """
    if not 0 < hours <= 8_784 or not 1 <= chargers <= 10_000:
        raise InvalidInput("hours must be above 0 to 8,784 and chargers 1 to 10,000")
    replay = f"loadstar sim --seed {seed} --hours {hours:g} --chargers {chargers} --faults {faults}"
    replay += " --planned" if planned else ""
    world = World(seed=seed, chargers=chargers, faults=parse_faults(faults), planned=planned)
    begun_s = time.perf_counter()
    try:
        with _collecting_seldom():
            world.live(hours)
    except Exception as error:
        error.add_note(f"replay: {replay}")
        raise
    spent_s = time.perf_counter() - begun_s
    found = world.violations.found
    return {
        "seed": seed,
        "hours": hours,
        "chargers": chargers,
        "faults": faults,
        "violations": len(found),
        "messages": world.line.messages,
        "sessions": len(world.host.store.sessions),
        "delivered_wh": world.delivered_wh,
        "utilisation_max": round(world.rows.utilisation_max, 4),
        "optimum_s": world.optimum.longest_ms // MS_PER_S,
        "told_per_minute": world.wear.most,
        "lending_s": world.lending.longest_ms // MS_PER_S,
        "speed": round((world.scheduler.now_ms - _START_MS) / MS_PER_S / spent_s, 1),
        "digest": world.host.digest,
        "details": [str(violation) for violation in found[:_VIOLATIONS_SHOWN]],
        "replay": replay,
    }


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """What a world makes is mostly there to its end, or gone with its last name: looking for rings
    in it a thousand times finds nothing and takes a twentieth of the time."""
    before = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS_MAX)
    try:
        yield
    finally:
        gc.set_threshold(*before)


class World:
    """Everything of one run. `live` runs it; the rest is there to be looked at."""

    def __init__(
        self, *, seed: int, chargers: int, faults: frozenset[str], planned: bool = False
    ) -> None:
        self.scheduler = Scheduler(_START_MS)
        self.violations = Violations()
        self.large = chargers > LARGE
        self.settings = _SETTINGS_LARGE if self.large else _SETTINGS
        self.random = Random(f"{seed}/network and vehicles")
        self.faults = NetworkFaults(faults, Random(f"{seed}/faults"))
        self.feeder, sites = draw_network(self.random, chargers)
        self.planned = planned
        if planned:
            sites = draw_tariffs(Random(f"{seed}/tariffs"), sites)
        self.sites = {site.id: site for site in sites}
        """As they are described at this moment."""
        self.limits_a: dict[str, float] = {}
        """Of sites that were told to stay below their supply."""
        self.feeder_limit_w: int | None = None
        self.receiving = True
        self.line = VirtualLine(self.scheduler, self.faults, self.violations)
        self.host = VirtualHost(
            self.scheduler,
            self.settings,
            released=self.line.released,
            between_shards_ms=self.faults.between_shards_ms,
            noticed=self._noticed,
            random=Random(f"{seed}/crashes"),
        )
        quirks_random = Random(f"{seed}/quirks")
        self.stations = {
            charger.id: self._station(charger, quirks_random)
            for site in sites
            for charger in site.chargers
        }
        self.line.host, self.line.stations = self.host, self.stations
        loads = [draw_building(self.random, site, _START_MS) for site in sites]
        self.buildings = Buildings(loads)
        self._building_of = {site.id: number for number, site in enumerate(sites)}
        self.silent_until_ms: dict[str, int] = {}
        """Building meters that say nothing, by site."""
        settings = self.settings
        self.rows = RowChecker(
            sites,
            [self.feeder],
            self.stations,
            self.violations,
            buildings=self.buildings,
            grace_ms=2 * (settings.meter_interval_ms + settings.ramp_ms)
            + 10 * settings.call_timeout_ms,
        )
        within_ms = _OPTIMUM_MS + (_NEWS_LARGE_MS if self.large else 0)
        self.optimum = OptimumWatch(
            "less than the optimum",
            self.violations,
            lent=False,
            within_ms=None if planned else within_ms,
            seldom_metered=settings.meter_interval_ms > within_ms,
        )
        # Lending what a vehicle does not take follows habits that are learned over minutes and
        # probed again: measured, and not judged.
        self.lending = OptimumWatch(
            "not lent what is left", self.violations, lent=True, within_ms=None
        )
        self.wear = WearWatch(self.stations, self.violations)
        self._events = WorldEvents(self)

    def _station(self, charger: ChargerConfig, random: Random) -> VirtualStation:
        pair = self.random.choice(_VERSIONS)
        version = pair[zlib.crc32(charger.id.encode()) % 2]
        station = VirtualStation(
            station_spec(charger, version),
            scheduler=self.scheduler,
            faults=self.faults,
            send=lambda frame: self.line.up(charger.id, frame),
            watch=self._watch,
            quirks=draw_quirks(self.faults.names, random),
        )
        for outlet in station.outlets:
            outlet.default_a = min(charger.offline_current_a, outlet.spec.current_max_a)
        return station

    def _watch(self, station: VirtualStation, outlet: VirtualOutlet) -> None:
        self.rows.watch(station, outlet)

    @property
    def delivered_wh(self) -> int:
        """What all meters have counted."""
        for station in self.stations.values():
            station.settle()
        return round(sum(o.register_wh for s in self.stations.values() for o in s.outlets))

    # --- the parts of a run -----------------------------------------------------------------------

    def live(self, hours: float) -> None:
        """Commission, live for `hours`, come to rest, compare the books."""
        self._commission()
        self._pass(_COMMISSIONING_MS)
        self._events.begin()
        left_ms = round(hours * MS_PER_HOUR)
        while left_ms > 0:
            self.faults.on = self.receiving = True
            stretch_ms = min(left_ms, _STRETCH_MS)
            self._pass(stretch_ms)
            left_ms -= stretch_ms
            self._calm()
        for station in self.stations.values():
            for number, outlet in enumerate(station.outlets):
                if outlet.vehicle is not None:
                    station.unplug(number)
        self._pass(_REST_MS)
        EnergyChecker(self.violations).check(
            self.scheduler.now_ms, self.stations.values(), self.host.store.sessions.values()
        )

    def _commission(self) -> None:
        description = self.feeder.model_dump_json().encode()
        self.request(ActorRef(ActorKind.FEEDER, self.feeder.id), ConfigureFeeder(description))
        for site in self.sites.values():
            ref = ActorRef(ActorKind.SITE, site.id)
            self.request(ref, ConfigureSite(site.model_dump_json().encode()))
            self._report_building(ref)
        for station in self.stations.values():
            self.scheduler.after(self.random.randrange(60_000), partial(self.line.open, station))

    def _calm(self) -> None:
        """Faults stop, nobody comes or goes: within a minute the allocation is the optimum."""
        self.faults.on = self.receiving = False
        self.host.spare()
        self.silent_until_ms.clear()
        for station in self.stations.values():
            station.behave(honest=True)
            self.line.open(station)
        watches, moment = (self.optimum, self.lending), self.moment()
        for watch in watches:
            watch.begin(self.scheduler.now_ms, moment)
        self.wear.begin(self.scheduler.now_ms)
        end_ms = self.scheduler.now_ms + _CALM_MS
        while self.scheduler.now_ms < end_ms:
            self._pass(_LOOK_LARGE_MS if self.large else _LOOK_MS)
            moment = self.moment()
            for watch in watches:
                watch.look(self.scheduler.now_ms, moment)
            self.wear.look(self.scheduler.now_ms)
        for station in self.stations.values():
            station.behave(honest=False)

    def moment(self) -> Moment:
        """What the optimum follows from at this instant."""
        now_a = self.buildings.current_a(self.scheduler.now_ms)
        limit_w = self.feeder_limit_w
        power_w = min(self.feeder.power_max_w, limit_w or self.feeder.power_max_w)
        return Moment(
            sites=list(self.sites.values()),
            stations=self.stations,
            buildings_a={
                site_id: (float(now_a[row, 0]), float(now_a[row, 1]), float(now_a[row, 2]))
                for site_id, row in self._building_of.items()
            },
            feeder_a=power_w / (3 * self.feeder.voltage_v),
            limits_a=self.limits_a,
        )

    # --- time -------------------------------------------------------------------------------------

    def _pass(self, duration_ms: int) -> None:
        """Let virtual time pass, tick by tick: what happens, then the checkers."""
        scheduler, rows, answers = self.scheduler, self.rows, self.line.answers
        end_ms = scheduler.now_ms + duration_ms
        while scheduler.now_ms < end_ms:
            now_ms = min(scheduler.now_ms + _TICK_MS, end_ms)
            scheduler.run_until(now_ms)
            rows.check(now_ms)
            answers.check(now_ms)
        rows.settle()

    # --- what the owner and the building say ------------------------------------------------------

    def request(
        self,
        ref: ActorRef,
        request: msgspec.Struct,
        done: Callable[[], None] = lambda: None,
    ) -> None:
        """Ask an actor, again until it has answered; a refusal is a violation."""
        answered = False

        def answer(response: msgspec.Struct) -> None:
            nonlocal answered
            if answered:
                return
            answered = True
            if isinstance(response, Refusal):
                self.violations.record(
                    self.scheduler.now_ms, "request refused", f"{ref}: {response.message}"
                )
            else:
                done()

        def ask() -> None:
            if not answered:
                self.host.ask(ref, request, answer)
                self.scheduler.after(_RETRY_MS, ask)

        ask()

    def described(self, site: SiteConfig) -> None:
        """An owner describes a site anew."""
        self.sites[site.id] = site
        self.rows.described(site)
        for charger in site.chargers:
            for outlet in self.stations[charger.id].outlets:
                outlet.default_a = min(charger.offline_current_a, outlet.spec.current_max_a)

    def _report_building(self, ref: ActorRef) -> None:
        interval_ms = min(self.settings.meter_interval_ms // 2, _BUILDING_REPORT_MAX_MS)
        self.scheduler.after(interval_ms, partial(self._report_building, ref))
        now_ms = self.scheduler.now_ms
        if now_ms < self.silent_until_ms.get(ref.id, 0):
            return
        lines_a = self.buildings.current_a(now_ms)[self._building_of[ref.id]]
        l1, l2, l3 = (round(line_a * 1_000) for line_a in lines_a.tolist())
        report = ReportBuildingLoad(at_ms=now_ms, current_ma=(l1, l2, l3), view=False)
        self.host.ask(ref, report, self._reported)

    def _reported(self, response: msgspec.Struct) -> None:
        if isinstance(response, Refusal):
            self.violations.record(self.scheduler.now_ms, "report refused", response.message)

    def _noticed(self, ref: ActorRef, event: Emit) -> None:
        """What Loadstar writes into its journal; only alarms matter here."""
        if event.kind == "site.alarm" and event.data["alarm"] == "limit_exceeded":
            subject = str(event.data["subject"])
            if event.data["active"]:
                self.rows.alarmed.add(subject)
            else:
                self.rows.alarmed.discard(subject)
