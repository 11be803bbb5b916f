"""`loadstar sim --v2g`: a grid event of some hours that only vehicles can meet.

The actors of production with stations, vehicles and lines in virtual time, as in `sim/world.py`;
stations speak OCPP 2.1. Vehicles come; the grid asks every site for so much that its building alone
would draw too much; some vehicles leave meanwhile, the others charge again and leave later. What is
compared is the truth outside of Loadstar: what flowed through each site's connection, what is in
each battery, what each meter counted."""

from __future__ import annotations

import time
from decimal import Decimal
from functools import partial
from random import Random
from typing import Any, NamedTuple

import msgspec

from controlplane.actor import Emit
from controlplane.charger.messages import DischargeConsent, SetSessionNeed
from controlplane.config import ActorSettings
from controlplane.errors import InvalidInput, Refusal
from controlplane.feeder.messages import ConfigureFeeder
from controlplane.grid_events import CreateGridEvent, GetGridEvent, GridEvent, GridEventKind
from controlplane.ids import ActorKind, ActorRef, SessionId
from controlplane.sim.buildings import Buildings
from controlplane.sim.checkers import EnergyChecker
from controlplane.sim.network_faults import NetworkFaults, parse_faults
from controlplane.sim.row_checker import RowChecker
from controlplane.sim.v2g.checkers import BatteryChecker, ExportChecker, SiteMeters, credit_faults
from controlplane.sim.v2g.scenario import LEAD_MS, STAYS_AFTER_MS, TOWN, Driver, draw_scenario
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_host import Scheduler, VirtualHost
from controlplane.sim.virtual_line import VirtualLine
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_quirks import HONEST, draw_quirks
from controlplane.sim.virtual_station import VirtualStation
from controlplane.site.messages import ConfigureSite, ReportBuildingLoad
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["FAULTS", "V2gWorld", "run"]

FAULTS = ("drop", "delay", "duplicate", "lost", "offline", "crash", "reject")
"""What a world of this kind can suffer."""
_START_MS = 1_767_250_800_000
_TICK_MS = 1_000
_COMMISSIONING_MS = 300_000
_REST_MS = 900_000
_RETRY_MS = 5_000
_REPORT_MS = 15_000
_EVENT_ID = "v2g-{}"
EVENT_SHARE = 0.65
"""To what part of what buildings draw they are asked to come down."""
_VIOLATIONS_SHOWN = 20
_SETTINGS = ActorSettings(
    round_interval_ms=2_000,
    meter_interval_ms=60_000,
    heartbeat_interval_ms=3_600_000,
    site_report_interval_ms=10_000,
)


class _Target(NamedTuple):
    """Somebody who is asked: one site for itself, or a feeder for all of them."""

    ref: ActorRef
    numbers: tuple[int, ...]
    """Of the sites that are meant."""

    @property
    def event_id(self) -> str:
        return _EVENT_ID.format(self.ref.id)


def run(
    *,
    seed: int = 1,
    vehicles: int = 200,
    hours: float = 4.0,
    faults: str = "none",
    on_feeder: bool = False,
    share: float = EVENT_SHARE,
) -> dict[str, Any]:
    """Live through one event.

    Args:
        seed: decides everything.
        vehicles: how many there are, each at a charger of its own, 1 to 2,000.
        hours: how long the event lasts, above 0 to 12.
        faults: `none`, `all`, or some of `FAULTS` with commas between.
        on_feeder: the feeder above all sites is asked, and not each of them; half of them hang on
            another feeder below it.
        share: to what part of what the buildings draw; below 0, so much is to be given back.

    Returns:
        What was asked of the sites together and what was delivered, in watt-hours below the stated
        baselines and in per cent; `charged_wh` by those who had to meanwhile; of everybody who was
        asked, when that was acknowledged and met, in seconds from the start; `left_short`, who
        left with less than was needed; `credits` with the watt-hours metered and credited;
        `violations`, how many, and the first `details`.

    Raises:
        InvalidInput: an argument out of range, or an unknown fault.
    """
    if not 1 <= vehicles <= 2_000 or not 0 < hours <= 12:
        raise InvalidInput("vehicles must be 1 to 2,000 and hours above 0 to 12")
    names = parse_faults(",".join(FAULTS) if faults == "all" else faults)
    if not names <= set(FAULTS):
        raise InvalidInput(f"faults of this world are {', '.join(FAULTS)}, all or none")
    world = V2gWorld(
        seed=seed,
        vehicles=vehicles,
        event_ms=round(hours * MS_PER_HOUR),
        faults=names,
        on_feeder=on_feeder,
        share=share,
    )
    begun_s = time.perf_counter()
    world.live()
    spent_s = time.perf_counter() - begun_s
    replay = f"loadstar sim --v2g --seed {seed} --vehicles {vehicles} --hours {hours:g}"
    replay += " --on-feeder" if on_feeder else ""
    passed_s = (world.scheduler.now_ms - _START_MS) / MS_PER_S
    return {
        "seed": seed,
        "vehicles": vehicles,
        "hours": hours,
        "faults": faults,
        **world.report(),
        "speed": round(passed_s / spent_s, 1),
        "replay": f"{replay} --faults {faults}",
    }


class V2gWorld:
    """Everything of one run; `live` runs it, `report` says what came of it."""

    def __init__(
        self,
        *,
        seed: int,
        vehicles: int,
        event_ms: int,
        faults: frozenset[str],
        on_feeder: bool = False,
        share: float = EVENT_SHARE,
    ) -> None:
        self.scheduler = Scheduler(_START_MS)
        self.violations = Violations()
        self.faults = NetworkFaults(faults, Random(f"{seed}/faults"))
        self.event_ms = event_ms
        self._share = share
        self.scenario = scenario = draw_scenario(
            Random(f"{seed}/v2g"),
            vehicles=vehicles,
            event_ms=event_ms,
            start_ms=_START_MS,
            below_feeder=on_feeder,
        )
        sites = [ActorRef(ActorKind.SITE, site.id) for site in scenario.sites]
        self._targets = [_Target(ref, (number,)) for number, ref in enumerate(sites)]
        if on_feeder:
            self._targets = [_Target(ActorRef(ActorKind.FEEDER, TOWN), tuple(range(len(sites))))]
        self.line = VirtualLine(self.scheduler, self.faults, self.violations)
        self.host = VirtualHost(
            self.scheduler,
            _SETTINGS,
            released=self.line.released,
            between_shards_ms=self.faults.between_shards_ms,
            noticed=self._noticed,
            random=Random(f"{seed}/crashes"),
        )
        quirks = Random(f"{seed}/quirks")
        self.stations = {
            charger_id: VirtualStation(
                spec,
                scheduler=self.scheduler,
                faults=self.faults,
                send=partial(self.line.up, charger_id),
                watch=self._watch,
                quirks=draw_quirks(faults, quirks) if faults else HONEST,
            )
            for charger_id, spec in scenario.stations.items()
        }
        self.line.host, self.line.stations = self.host, self.stations
        self._buildings = Buildings(scenario.buildings)
        self.rows = RowChecker(
            scenario.sites,
            scenario.feeders,
            self.stations,
            self.violations,
            buildings=self._buildings,
            grace_ms=600_000,
        )
        self.exports = ExportChecker(scenario.sites, self.stations, self.violations)
        self.meters = SiteMeters(scenario.sites, self._buildings, self.stations)
        self.batteries = BatteryChecker(self.violations)
        self._drivers = {driver.charger_id: driver for driver in scenario.drivers}
        self._ended: dict[ActorRef, GridEvent] = {}
        self.accrued: dict[str, Decimal] = {}
        """What the journal says was credited, by session."""

    def _watch(self, station: VirtualStation, outlet: VirtualOutlet) -> None:
        self.rows.watch(station, outlet)
        self.exports.watch(station, outlet, self.scheduler.now_ms)
        self.meters.watch(station, outlet)

    # --- a run ------------------------------------------------------------------------------------

    def live(self) -> None:
        """Commission, let vehicles come, let the event pass, let them leave, compare the books."""
        for feeder in self.scenario.feeders:
            ref = ActorRef(ActorKind.FEEDER, feeder.id)
            self._request(ref, ConfigureFeeder(feeder.model_dump_json().encode()))
        for site in self.scenario.sites:
            ref = ActorRef(ActorKind.SITE, site.id)
            self._request(ref, ConfigureSite(site.model_dump_json().encode()))
            self._report_building(site.id)
        random = Random(len(self.stations))
        for station in self.stations.values():
            self.scheduler.after(random.randrange(60_000), partial(self.line.open, station))
        self._pass(_COMMISSIONING_MS)
        self.faults.on = True
        for station in self.stations.values():
            for name in ("drop", "offline"):
                self._plan(name, partial(self._strike, name, station))
        self._plan("crash", self._crash)
        for driver in self.scenario.drivers:
            self.scheduler.after(driver.arrives_ms, partial(self._arrive, driver))
            self.scheduler.after(driver.leaves_ms, partial(self._leave, driver))
        self._pass(LEAD_MS)
        self._begin_event()
        self._pass(self.event_ms)
        self.meters.until(self.scheduler.now_ms)
        self._pass(STAYS_AFTER_MS)
        self.faults.on = False
        self.host.spare()
        for station in self.stations.values():
            self.line.open(station)
        self._pass(_REST_MS)
        EnergyChecker(self.violations).check(
            self.scheduler.now_ms, self.stations.values(), self.host.store.sessions.values()
        )

    def _begin_event(self) -> None:
        """Ask everybody who is asked to come down to a part of what buildings draw now."""
        now_ms = self.scheduler.now_ms
        for station in self.stations.values():
            station.settle()
        for target in self._targets:
            powers_w = [self.meters.power_w(number, now_ms) for number in target.numbers]
            drawn_w, buildings_w = (sum(each) for each in zip(*powers_w, strict=True))
            wish = CreateGridEvent(
                event_id=target.event_id,
                kind=GridEventKind.REDUCE_BY,
                power_w=round(drawn_w - self._share * buildings_w),
                end_ms=now_ms + self.event_ms,
                source="operator",
            )
            self._request(target.ref, wish)
            self.scheduler.after(self.event_ms - 5_000, partial(self._look_at_event, target))
        self.meters.begin(now_ms)

    def _look_at_event(self, target: _Target) -> None:
        def answered(answer: msgspec.Struct) -> None:
            if isinstance(answer, GridEvent):
                self._ended[target.ref] = answer

        self.host.ask(target.ref, GetGridEvent(target.event_id), answered)
        if target.ref not in self._ended:
            self.scheduler.after(1_000, partial(self._look_at_event, target))

    def _pass(self, duration_ms: int) -> None:
        scheduler, rows, answers = self.scheduler, self.rows, self.line.answers
        end_ms = scheduler.now_ms + duration_ms
        while scheduler.now_ms < end_ms:
            now_ms = min(scheduler.now_ms + _TICK_MS, end_ms)
            scheduler.run_until(now_ms)
            rows.check(now_ms)
            answers.check(now_ms)
            self.meters.tick(now_ms)
        rows.settle()

    # --- drivers ----------------------------------------------------------------------------------

    def _arrive(self, driver: Driver) -> None:
        self.stations[driver.charger_id].plug(driver.vehicle, f"CARD{driver.charger_id}")

    def _leave(self, driver: Driver) -> None:
        station = self.stations[driver.charger_id]
        station.settle()
        self.batteries.left(driver, self.scheduler.now_ms)
        station.unplug()

    def _noticed(self, ref: ActorRef, event: Emit) -> None:
        """The journal: a driver says what is wanted once the session runs; credits are counted."""
        if event.kind == "session.started":
            self._say_needs(self._drivers[ref.id], str(event.data["session_id"]))
        elif event.kind == "credit.accrued":
            session_id = str(event.data["session_id"])
            before = self.accrued.get(session_id, Decimal(0))
            self.accrued[session_id] = before + Decimal(str(event.data["amount"]))

    def _say_needs(self, driver: Driver, session_id: str) -> None:
        wish = SetSessionNeed(
            SessionId(session_id),
            need_wh=driver.need_wh,
            departure_ms=_START_MS + _COMMISSIONING_MS + driver.leaves_ms,
            discharge=DischargeConsent(driver.reserve_percent),
        )
        ref = ActorRef(ActorKind.CHARGER, driver.charger_id)
        self.scheduler.after(1_000, partial(self._request, ref, wish))

    # --- faults -----------------------------------------------------------------------------------

    def _plan(self, name: str, strike: Any) -> None:
        delay_ms = self.faults.next_after_ms(name)
        if delay_ms is None:
            return

        def strikes() -> None:
            if self.faults.on:
                strike()
            self._plan(name, strike)

        self.scheduler.after(delay_ms, strikes)

    def _strike(self, name: str, station: VirtualStation) -> None:
        self.line.break_off(station, redial_ms=self.faults.absence_ms(name))

    def _crash(self) -> None:
        if self.host.up:
            self.host.crash_soon(self._host_died)

    def _host_died(self) -> None:
        self.scheduler.after(self.faults.absence_ms("crash"), self._host_returns)

    def _host_returns(self) -> None:
        self.host.recover()
        self.line.host_returned()

    # --- what is said to Loadstar -----------------------------------------------------------------

    def _request(self, ref: ActorRef, request: msgspec.Struct) -> None:
        """Ask an actor, again until it has answered."""
        answered = False

        def answer(response: msgspec.Struct) -> None:
            nonlocal answered
            if not answered and isinstance(response, Refusal) and response.kind != "already_exists":
                self.violations.record(
                    self.scheduler.now_ms, "request refused", f"{ref}: {response.message}"
                )
            answered = True

        def ask() -> None:
            if not answered:
                self.host.ask(ref, request, answer)
                self.scheduler.after(_RETRY_MS, ask)

        ask()

    def _report_building(self, site_id: str) -> None:
        self.scheduler.after(_REPORT_MS, partial(self._report_building, site_id))
        now_ms = self.scheduler.now_ms
        number = next(n for n, site in enumerate(self.scenario.sites) if site.id == site_id)
        l1, l2, l3 = (
            round(line_a * 1_000) for line_a in self._buildings.current_a(now_ms)[number].tolist()
        )
        report = ReportBuildingLoad(at_ms=now_ms, current_ma=(l1, l2, l3), view=False)
        self.host.ask(ActorRef(ActorKind.SITE, site_id), report, lambda _: None)

    # --- what came of it --------------------------------------------------------------------------

    def report(self) -> dict[str, Any]:
        """See `run`."""
        asked = [self._outcome(target) for target in self._targets]
        asked_wh = sum(part["asked_wh"] for part in asked)
        delivered_wh = sum(part["delivered_wh"] for part in asked)
        faults, owed = credit_faults(
            self.stations.values(), self.host.store.sessions.values(), self.accrued
        )
        for fault in faults:
            self.violations.record(self.scheduler.now_ms, "credit", fault)
        found = self.violations.found
        return {
            "asked_wh": asked_wh,
            "delivered_wh": delivered_wh,
            "delivered_percent": round(100 * delivered_wh / asked_wh, 2) if asked_wh else 0.0,
            "charged_wh": round(self.meters.charged_wh),
            "asked": asked,
            "sites": [
                {
                    "site": site.id,
                    "drawn_mean_w": round(self.meters.mean_w(number)),
                    "fed_in_max_w": round(self.meters.fed_max_w[number]),
                }
                for number, site in enumerate(self.scenario.sites)
            ],
            "left": len(self.batteries.left_with),
            "left_short": self.batteries.left_short,
            "credits": owed,
            "utilisation_max": round(self.rows.utilisation_max, 4),
            "export_utilisation_max": round(self.exports.utilisation_max, 4),
            "messages": self.line.messages,
            "violations": len(found),
            "digest": self.host.digest,
            "details": [str(violation) for violation in found[:_VIOLATIONS_SHOWN]],
        }

    def _outcome(self, target: _Target) -> dict[str, Any]:
        """What was asked of somebody, what came of it, and what Loadstar says of it."""
        hours = self.event_ms / MS_PER_HOUR
        event = self._ended.get(target.ref)
        if event is None or event.baseline_w is None or event.power_w is None:
            self.violations.record(self.scheduler.now_ms, "no event", str(target.ref))
            return {target.ref.kind.value: target.ref.id, "asked_wh": 0, "delivered_wh": 0}
        mean_w = sum(self.meters.mean_w(number) for number in target.numbers)
        asked_wh = event.power_w * hours
        delivered_wh = (event.baseline_w - mean_w) * hours
        return {
            target.ref.kind.value: target.ref.id,
            "baseline_w": event.baseline_w,
            "asked_w": event.power_w,
            "limit_w": event.limit_w,
            "drawn_mean_w": round(mean_w),
            "asked_wh": round(asked_wh),
            "delivered_wh": round(delivered_wh),
            "delivered_percent": round(100 * delivered_wh / asked_wh, 2),
            "reported_wh": event.reduced_wh,
            "reported_fed_in_wh": event.fed_wh,
            "acknowledged_s": _after_s(event, event.acknowledged_ms),
            "met_s": _after_s(event, event.met_ms),
        }


def _after_s(event: GridEvent, at_ms: int | None) -> float | None:
    return None if at_ms is None else (at_ms - event.start_ms) / MS_PER_S
