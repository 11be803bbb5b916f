"""The day under Loadstar: the actors of production, unchanged, in virtual time.

As in `world.py`, but without faults and with real sessions: stations speak OCPP 1.6 and 2.0.1,
drivers say what they need and when they leave a minute after they arrive (who told nothing in
reality tells nothing here), building meters report. Frames cross as objects, without their JSON.

Invariant: what is reported of the day comes from vehicles and meters, not from what Loadstar
believes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import partial
from itertools import count
from random import Random
from zoneinfo import ZoneInfo

import msgspec
import numpy as np

from controlplane.actor import Call, CloseSocket, Effect, Reply, ReplyError
from controlplane.charger.messages import (
    ChargerView,
    GetCharger,
    SetSessionNeed,
    StationCalled,
    StationConnected,
    StationFailed,
    StationReplied,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.feeder.messages import ConfigureFeeder
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import SiteConfig
from controlplane.planning.month_peak import Need, peak_worth
from controlplane.planning.outlook import Outlook, calendar_of
from controlplane.planning.peaks import Peak
from controlplane.planning.tariff import month_of
from controlplane.sim.checkers import EnergyChecker
from controlplane.sim.day.outcome import Outcome, plugged_in, ready
from controlplane.sim.day.rows import RowMeter, Rows
from controlplane.sim.day.scenario import FeederDay, SitePlan, Visit
from controlplane.sim.day.sessions import TIME_ZONE, SiteDay, midnight_ms, weeks_before
from controlplane.sim.day.tariff import SLOT_MS, SLOTS, load_tariff
from controlplane.sim.network_faults import NetworkFaults
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_host import Scheduler, VirtualHost
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_station import Frame, VirtualStation
from controlplane.site.forecast import History
from controlplane.site.messages import ConfigureSite, ReportBuildingLoad
from controlplane.site.state import SiteState
from controlplane.units import MS_PER_S

__all__ = ["SETTINGS", "ActorsDay"]

SETTINGS = ActorSettings(
    round_interval_ms=5_000,
    meter_interval_ms=60_000,
    site_report_interval_ms=30_000,
)
"""As in production but for a slower pace (there: 1 s, 30 s, 5 s): so much of a day consists of
rounds, meter values and reports that nothing else decides how long it takes to live through."""

_COMMISSIONING_MS = 600_000
_REST_MS = 900_000
_TRAVEL_MS = 20
_BUILDING_REPORT_MS = 120_000
_EXPERIENCE_WEEKS = 5
"""What a site has seen that plans."""
_PEAKS = 60
_MISSING_USD = 60.0
"""For a kilowatt-hour that is not charged, about as plans count it: a last quarter of an hour at
the whole charge."""
_TELLS_AFTER_MS = 60_000
"""How long a driver takes to enter what is needed."""


class ActorsDay:
    """One feeder's day. `live` runs it."""

    def __init__(self, feeder: FeederDay, rows: Rows, possible_wh: dict[str, float]) -> None:
        self.scheduler = Scheduler(feeder.start_ms - _COMMISSIONING_MS)
        self.violations = Violations()
        self.messages = 0
        self.host = VirtualHost(self.scheduler, SETTINGS, released=self._released)
        self._feeder = feeder
        self._possible_wh = possible_wh
        self._meter = RowMeter(rows, feeder, self.violations)
        # Nothing goes wrong on this day, so nothing is drawn from these dice.
        dice = NetworkFaults(frozenset(), Random(0))
        self.stations = {
            spec.id: VirtualStation(
                spec,
                scheduler=self.scheduler,
                faults=dice,
                send=partial(self._up, spec.id),
                watch=self._watch,
            )
            for plan in feeder.sites
            for spec in plan.stations
        }
        self._connections: dict[str, VirtualStation] = {}
        self._connection_numbers = count(1)
        self._visits = feeder.visits
        self._plugged: dict[str, tuple[Visit, float]] = {}
        """By charger: who is there, and the station's register when it came."""
        self._gone_wh: dict[str, float] = {}
        self._site_wh: list[float] = [0.0] * len(feeder.sites)
        self._outcome = Outcome(
            delivered_wh={},
            slot_wh=np.zeros((len(feeder.sites), SLOTS)),
            slot_peak_a=np.zeros((len(rows), SLOTS)),
            over_h=np.zeros(len(rows)),
        )

    def live(
        self, progress: Callable[[int], None] = lambda _: None, *, slots: int = SLOTS
    ) -> Outcome:
        """Commission, live through the day, let everybody leave, compare the books. `progress` is
        called with the number of each quarter hour that is over; after so many `slots` the day
        ends."""
        end_ms = self._feeder.start_ms + slots * SLOT_MS
        self._commission()
        self.scheduler.run_until(self._feeder.start_ms)
        self._meter.take_peaks_a()
        for visit in self._visits:
            session = visit.session
            self._at(session.arrival_ms, partial(self._arrive, visit))
            if session.departure_ms <= end_ms:
                self._at(session.departure_ms, partial(self._leave, visit))
        for slot in range(slots):
            self.scheduler.run_until(self._feeder.start_ms + (slot + 1) * SLOT_MS)
            self._close_slot(slot)
            progress(slot)
        outcome = self._finish()
        for visit, _ in list(self._plugged.values()):
            self._leave(visit)
        self.scheduler.run_until(end_ms + _REST_MS)
        EnergyChecker(self.violations).check(
            self.scheduler.now_ms, self.stations.values(), self.host.store.sessions.values()
        )
        return outcome

    def _finish(self) -> Outcome:
        outcome = self._outcome
        outcome.delivered_wh = {visit.id: self._delivered_wh(visit) for visit in self._visits}
        return outcome

    def _close_slot(self, slot: int) -> None:
        """Read all meters, and see who is ready."""
        for station in self.stations.values():
            station.settle()
            self._watch(station, station.outlet)
        self._outcome.slot_peak_a[:, slot] = self._meter.take_peaks_a()
        for site, plan in enumerate(self._feeder.sites):
            total_wh = sum(self.stations[spec.id].outlet.register_wh for spec in plan.stations)
            self._outcome.slot_wh[site, slot] = total_wh - self._site_wh[site]
            self._site_wh[site] = total_wh
        for visit in plugged_in(self._feeder, self._visits, slot):
            self._outcome.ready[slot] += ready(
                self._delivered_wh(visit),
                requested_wh=visit.session.requested_wh,
                possible_wh=self._possible_wh[visit.id],
            )

    def _delivered_wh(self, visit: Visit) -> float:
        there = self._plugged.get(visit.charger_id)
        if there is not None and there[0] is visit:
            return self.stations[visit.charger_id].outlet.register_wh - there[1]
        return self._gone_wh.get(visit.id, 0.0)

    # --- the network ------------------------------------------------------------------------------

    def _commission(self) -> None:
        ref = ActorRef(ActorKind.FEEDER, self._feeder.config.id)
        config = self._feeder.config.model_dump_json().encode()
        self._ask(ref, ConfigureFeeder(config=config))
        for site, plan in enumerate(self._feeder.sites):
            ref = ActorRef(ActorKind.SITE, plan.config.id)
            if plan.config.tariff is not None:
                self.host.store.snapshots[ref] = _experienced(plan, self._feeder.day)
            self._ask(ref, ConfigureSite(config=plan.config.model_dump_json().encode()))
            self._report_building(ref, site, plan)
        for number, station in enumerate(self.stations.values()):
            self.scheduler.after(number * 50, partial(self._connect, station))

    def _connect(self, station: VirtualStation) -> None:
        station.connection = f"{station.spec.id}#{next(self._connection_numbers)}"
        self._connections[station.connection] = station
        news = StationConnected(
            connection=station.connection,
            ocpp_version=station.dialect.version,
            remote="127.0.0.1",
        )
        self.host.from_station(_ref(station), news)
        station.opened()

    def _report_building(self, ref: ActorRef, site: int, plan: SitePlan) -> None:
        self.scheduler.after(_BUILDING_REPORT_MS, partial(self._report_building, ref, site, plan))
        now_ms = self.scheduler.now_ms
        current_a = plan.building.current_a(now_ms)
        self._meter.building(site, current_a, now_ms)
        l1, l2, l3 = (round(each * 1_000) for each in current_a)
        self._ask(ref, ReportBuildingLoad(at_ms=now_ms, current_ma=(l1, l2, l3)))

    def _ask(
        self,
        ref: ActorRef,
        request: msgspec.Struct,
        then: Callable[[msgspec.Struct], None] = lambda _: None,
    ) -> None:
        def answered(response: msgspec.Struct) -> None:
            if isinstance(response, Refusal):
                self.violations.record(
                    self.scheduler.now_ms, "request refused", f"{ref}: {response.message}"
                )
            else:
                then(response)

        self.host.ask(ref, request, answered)

    def _at(self, at_ms: int, action: Callable[[], None]) -> None:
        self.scheduler.after(at_ms - self.scheduler.now_ms, action)

    def _watch(self, station: VirtualStation, outlet: VirtualOutlet) -> None:
        self._meter.station(station.spec.id, outlet, self.scheduler.now_ms)

    # --- vehicles and drivers ---------------------------------------------------------------------

    def _arrive(self, visit: Visit) -> None:
        station = self.stations[visit.charger_id]
        self._plugged[visit.charger_id] = (visit, station.outlet.register_wh)
        station.plug(visit.arrive(len(station.outlet.spec.lines)), visit.id)
        if visit.session.told:
            self.scheduler.after(_TELLS_AFTER_MS, partial(self._tell_need, visit))

    def _leave(self, visit: Visit) -> None:
        station = self.stations[visit.charger_id]
        station.settle()
        self._gone_wh[visit.id] = self._delivered_wh(visit)
        del self._plugged[visit.charger_id]
        station.unplug()

    def _tell_need(self, visit: Visit) -> None:
        """The driver looks the running session up and says what is needed."""
        there = self._plugged.get(visit.charger_id)
        if there is None or there[0] is not visit:
            return
        ref = ActorRef(ActorKind.CHARGER, visit.charger_id)

        def found(view: msgspec.Struct) -> None:
            session_id = view.connectors[0].session_id if isinstance(view, ChargerView) else None
            if session_id is not None:
                need = SetSessionNeed(
                    session_id=session_id,
                    need_wh=visit.session.requested_wh,
                    departure_ms=visit.session.estimated_departure_ms,
                )
                self._ask(ref, need)

        self._ask(ref, GetCharger(), found)

    # --- the line ---------------------------------------------------------------------------------

    def _up(self, station_id: str, frame: Frame) -> None:
        station = self.stations[station_id]
        self.scheduler.after(_TRAVEL_MS, partial(self._arrived, station, station.connection, frame))

    def _arrived(self, station: VirtualStation, connection: str, frame: Frame) -> None:
        self.messages += 1
        news: StationCalled | StationReplied | StationFailed
        if frame[0] == 2:
            news = StationCalled(connection, *frame[1:])
        elif frame[0] == 3:
            news = StationReplied(connection, *frame[1:])
        else:
            news = StationFailed(connection, *frame[1:4])
        self.host.from_station(_ref(station), news)

    def _released(self, effect: Effect) -> None:
        """What leaves the host."""
        match effect:
            case Reply(connection, message_id, payload):
                self._down(connection, [3, message_id, payload])
            case ReplyError(connection, message_id, code, description):
                self._down(connection, [4, message_id, code, description, {}])
            case Call(connection, message_id, action, payload):
                self._down(connection, [2, message_id, action, payload])
            case CloseSocket(connection):
                self.violations.record(self.scheduler.now_ms, "socket closed", connection)
            case _:
                raise RuntimeError(f"an effect that the day does not know: {effect}")

    def _down(self, connection: str, frame: Frame) -> None:
        self.scheduler.after(_TRAVEL_MS, partial(self._came_down, connection, frame))

    def _came_down(self, connection: str, frame: Frame) -> None:
        self.messages += 1
        self._connections[connection].received(frame)


def _experienced(plan: SitePlan, day: date) -> bytes:
    """The snapshot of a site that has seen the weeks before, as one that plans would have."""
    state, tariff = SiteState(config=b""), plan.config.tariff
    assert tariff is not None
    state.describe(plan.config)
    outlook, history = Outlook(), History()
    zone = ZoneInfo(plan.config.time_zone)
    calendar = calendar_of(tariff, zone)
    power_w = _station_w(plan.config)
    for before in weeks_before(plan.source, day, weeks=_EXPERIENCE_WEEKS):
        for session in before.sessions:
            outlook.arrived(session.arrival_ms)
        for session in sorted(before.sessions, key=lambda each: each.departure_ms):
            outlook.ended(
                started_ms=session.arrival_ms,
                ended_ms=session.departure_ms,
                energy_wh=session.requested_wh,
                power_max_w=power_w,
                calendar=calendar,
            )
            history.ended(
                None,
                started_ms=session.arrival_ms,
                ended_ms=session.departure_ms,
                energy_wh=session.requested_wh,
                zone=zone,
            )
    outlook.peaks.by_charge = _peaks_so_far(plan, day)
    state.outlook, state.history = outlook.snapshot(), history.snapshot()
    return state.snapshot()


def _peaks_so_far(plan: SitePlan, day: date) -> dict[str, Peak]:
    """What a site that plans has drawn at most on the days of the month that are over: as much as
    was worth its charge, had all days of the month been as they were."""
    tariff, month_begins = load_tariff(day), day.replace(day=1)
    assert plan.config.tariff is not None
    power_w, stations = _station_w(plan.config), len(plan.config.chargers)
    grid_kw = np.linspace(0.0, 1.0, _PEAKS + 1)[1:] * power_w * stations / 1_000
    worth = np.zeros(_PEAKS)
    over = [
        each
        for each in weeks_before(plan.source, day, weeks=_EXPERIENCE_WEEKS)
        if each.day >= month_begins
    ]
    for each in over:
        worth += peak_worth(
            _needs(each, power_w),
            np.tile(load_tariff(each.day).energy_usd_per_kwh, 2),
            slot_s=SLOT_MS // MS_PER_S,
            grid_kw=grid_kw,
            missing_per_kwh=_MISSING_USD,
        )
    # A day's share of the charge was worth paying where the mean of what it brought is higher.
    worth_while = np.flatnonzero(worth > tariff.demand_usd_per_kw * len(over))
    if not len(worth_while):
        return {}
    begins_ms = midnight_ms(day)
    peak = Peak(
        month_of(begins_ms - 1, ZoneInfo(TIME_ZONE)),
        round(grid_kw[worth_while[-1]] * 1_000),
        begins_ms - SLOT_MS,
    )
    return {charge.name: peak for charge in plan.config.tariff.demand_charges}


def _needs(before: SiteDay, power_w: int) -> list[Need]:
    begins_ms = midnight_ms(before.day)
    return [
        Need(
            (session.arrival_ms - begins_ms) / MS_PER_S,
            (session.departure_ms - begins_ms) / MS_PER_S,
            session.requested_wh / 1_000,
            power_w / 1_000,
        )
        for session in before.sessions
    ]


def _station_w(config: SiteConfig) -> int:
    """What a vehicle takes at most at the site's stations, on average."""
    connectors = [each for charger in config.chargers for each in charger.connectors]
    current_a = sum(len(each.phases) * each.current_max_a for each in connectors)
    return round(config.voltage_v * current_a / len(connectors))


def _ref(station: VirtualStation) -> ActorRef:
    return ActorRef(ActorKind.CHARGER, station.spec.id)
