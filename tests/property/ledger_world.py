"""A small hostile world around one `SiteActor`: chargers that obey late, refuse, time out with or
without having obeyed, vanish and come back, vehicles that come and go unannounced, a host that is
lost.

It keeps its own account of what every connector may physically draw, from what the stations hold
and not from what the site believes, and compares the sums with the ratings after every event."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from controlplane.actor import (
    Answer,
    Ask,
    Effect,
    Emit,
    Message,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import ApplyLimit
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId
from controlplane.network import ChargerConfig, ConnectorConfig, SiteConfig
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.actor import SiteActor
from controlplane.site.messages import (
    ChargerPresence,
    ConfigureSite,
    ConnectorMetered,
    ConnectorState,
    GetSite,
    LimitOutcome,
    ReportBuildingLoad,
    ReportSitePower,
    SessionDemand,
    SetCircuitLimit,
    SetConnectorLimit,
    SiteView,
    VehicleLimits,
)
from controlplane.store.records import ActorSnapshot

SETTINGS = ActorSettings()
PHASES = [("L1",), ("L2",), ("L3",), ("L1", "L2", "L3"), ("L2", "L3", "L1"), ("L1", "L2")]


@dataclass
class Outlet:
    """One connector as it physically is."""

    config: ConnectorConfig
    session_id: SessionId | None = None
    profile_ma: int | None = None
    draws_ma: int = 0
    obeys_ms: int = 0
    id_token: str | None = None
    boost_until_ms: int | None = None
    demand: SessionDemand | None = None
    """What driver and vehicle say, where they say anything."""
    delivered_wh: int = 0

    def limit_ma(self, default_ma: int | None) -> int:
        if self.session_id is not None and self.profile_ma is not None:
            return self.profile_ma
        hardware_ma = self.config.current_max_ma
        return hardware_ma if default_ma is None else min(default_ma, hardware_ma)


@dataclass
class Station:
    """One charger: what it holds, its queue of limits, its connection."""

    config: ChargerConfig
    outlets: dict[int, Outlet]
    default_ma: int | None = None
    online: bool = False
    settled: bool = False
    queue: list[tuple[int, ApplyLimit]] = field(default_factory=list)
    """Limits with the instant at which they are worked on."""


class World:
    """See the module's docstring. `faults` False makes everybody obey at once; `power` gives the
    site a contract and, by chance, a solar plant; with `policy` the site opens and closes, has
    rules for groups, and operators hold parts of it to limits; with `clock` the clocks of hosts and
    stations are set, by up to a day, and the description changes while limits are under way."""

    def __init__(
        self,
        seed: int,
        *,
        building: bool = False,
        power: bool = False,
        policy: bool = False,
        wishes: bool = False,
        clock: bool = False,
        actor: type[SiteActor] = SiteActor,
    ) -> None:
        self.random = random.Random(seed)
        self.wishes = random.Random(seed) if wishes else None
        """Where drivers and vehicles say what they need, and some sleep: drawn apart, so that the
        worlds without are the same as ever."""
        self.policy = policy
        self.clock = random.Random(seed) if clock else None
        self.set_ms = 0
        """By how much the host's clock was set."""
        self.held_ma: dict[tuple[str, int], int] = {}
        """Operators' limits in force, by connector."""
        self.limited: list[tuple[int, SetCircuitLimit | SetConnectorLimit]] = []
        """All that operators asked, and when."""
        self.now_ms = 1_700_000_000_000
        self.faults = True
        self.building_ma = 0
        self.building = building
        self.sun = random.Random(seed) if power else None
        self.excused: set[tuple[str, int]] = set()
        self.events: list[Emit] = []
        self.sessions = 0
        self.timers: dict[str, int] = {}
        self.snapshot: bytes | None = None
        self.actor_type = actor
        self.sent: list[ApplyLimit] = []
        self.config = self._draw_site()
        self.stations = {
            charger.id: Station(
                charger, {connector.id: Outlet(connector) for connector in charger.connectors}
            )
            for charger in self.config.chargers
        }
        self.ref = ActorRef(ActorKind.SITE, self.config.id)
        self.site = actor(self.ref, SETTINGS, None)
        self.tell(Ask("a", ConfigureSite(self.config.model_dump_json().encode())))
        for station in self.stations.values():
            if self.random.random() < 0.9:
                self.connect(station)
                self.connect(station)

    def _draw_site(self) -> SiteConfig:
        """A random site whose default profiles fit, with room that is short."""
        rng = self.random
        circuits: list[dict[str, Any]] = [
            {"id": "supply", "rating_a": rng.choice([40, 63, 80, 125])}
        ]
        for number in range(rng.randint(0, 3)):
            parent = rng.choice(circuits)
            circuits.append(
                {
                    "id": f"panel-{number}",
                    "parent": parent["id"],
                    "rating_a": rng.choice([32, 40, 63]),
                }
            )
        least_a = min(float(circuit["rating_a"]) for circuit in circuits)
        count = rng.randint(2, 6)
        connectors = rng.choice([1, 1, 2])
        room_a = (least_a - (10 if self.building else 0)) / (count * connectors)
        chargers = []
        for number in range(count):
            current_min_a = 6
            chargers.append(
                {
                    "id": f"CP{number}",
                    "circuit": rng.choice(circuits)["id"],
                    "offline_current_a": int(rng.choice([0, 0.5, 1]) * min(room_a, 8)),
                    "connectors": [
                        {
                            "id": index + 1,
                            "phases": rng.choice(PHASES),
                            "current_min_a": current_min_a,
                            "current_max_a": rng.choice([16, 32]),
                            "current_step_a": rng.choice([0.1, 1]),
                            "priority": rng.choice([5, 5, 3]),
                        }
                        for index in range(connectors)
                    ],
                }
            )
        return SiteConfig.model_validate(
            {
                "id": "site-1",
                "margin_percent": rng.choice([0, 5]),
                "circuits": circuits,
                "building_load": {"circuit": "supply", "stale_after_s": 3600}
                if self.building
                else None,
                "chargers": chargers,
                **self._draw_power(),
                **(self._draw_policy() if self.policy else {}),
            }
        )

    def _draw_power(self) -> dict[str, Any]:
        """A contract that is short, or generous, and the sun."""
        if self.sun is None:
            return {}
        return {
            "contract": {
                "power_w": self.sun.choice([3_000, 15_000, 40_000]),
                "window_s": self.sun.choice([60, 300, 900]),
            },
            "solar": {"mode": self.sun.choice(["off", "surplus"]), "grid_power_w": 5_000},
        }

    def _draw_policy(self) -> dict[str, Any]:
        """Hours of a few minutes, because worlds live for a quarter of an hour; they begin on a
        Tuesday at 22:13:20 UTC."""
        rng = self.random

        def hours() -> list[dict[str, str]]:
            edges = sorted(rng.sample(range(8, 40), 4))
            times = [f"22:{minute:02}" for minute in edges]
            return [
                {"from": begin, "to": end}
                for begin, end in zip(times[::2], times[1::2], strict=True)
            ]

        return {
            "opening_hours": rng.choice([[], hours(), hours()]),
            "rules": [
                {
                    "id": "fleet",
                    "id_tokens": ["FLEET-*"],
                    "priority": rng.choice([None, 0, 9]),
                    "guaranteed_a": rng.choice([None, 8, 16, 30]),
                    "outside_hours": rng.random() < 0.5,
                },
                {"id": "staff", "id_tokens": ["STAFF-*"], "weight": 5, "hours": hours()},
            ],
        }

    # --- the runtime's part -----------------------------------------------------------------------

    @property
    def host_ms(self) -> int:
        """The instant by the clock that host and stations share."""
        return self.now_ms + self.set_ms

    def tell(self, message: Message) -> list[Effect]:
        effects = self.site.step(message, self.host_ms)
        self._carry_out(effects)
        return effects

    def _carry_out(self, effects: list[Effect]) -> None:
        snapshot_first = sorted(effects, key=lambda each: not isinstance(each, Persist))
        for effect in snapshot_first:
            match effect:
                case Persist(record=ActorSnapshot(state=state)):
                    self.snapshot = state
                case SetTimer(key=key, at_ms=at_ms):
                    self.timers[key] = at_ms
                case Send(to=to, message=ApplyLimit() as limit):
                    self.sent.append(limit)
                    held_ma = self.held_ma.get((to.id, limit.connector_id), limit.limit_ma)
                    assert limit.limit_ma <= held_ma, "sent above the operator's limit"
                    self._enqueue(self.stations[to.id], limit)
                case Emit():
                    assert effect.data.get("alarm") != "plan_refused", effect.data["message"]
                    self.events.append(effect)
                case _:
                    pass

    def lose_host(self) -> None:
        """The host dies with everything in memory. What stations were sent they still work on, but
        nobody hears of it; some are gone when the next host comes up."""
        for station in self.stations.values():
            for _, limit in station.queue:
                if self.random.random() < 0.7:
                    self._apply(station, limit)
            station.queue.clear()
        self.timers.clear()
        self.site = self.actor_type(self.ref, SETTINGS, self.snapshot)
        self._carry_out(self.site.activate(self.host_ms))
        for station in self.stations.values():
            if self.random.random() < 0.3:
                station.online = station.settled = False
            self._report_presence(station)
            for connector_id in station.outlets:
                self._report_state(station, connector_id)

    def view(self) -> SiteView:
        effects = self.tell(Ask("v", GetSite()))
        return next(
            each.response
            for each in effects
            if isinstance(each, Answer) and isinstance(each.response, SiteView)
        )

    # --- stations ---------------------------------------------------------------------------------

    def _enqueue(self, station: Station, limit: ApplyLimit) -> None:
        """One call at a time: what waits behind the one in flight is replaced by what is newer."""
        for place, (_, waiting) in enumerate(station.queue):
            if place > 0 and waiting.connector_id == limit.connector_id:
                del station.queue[place]
                self._answer(station, waiting, CommandState.OFFLINE, superseded=True)
                break
        delay_ms = self.random.randint(20, 8_000) if self.faults else 20
        last_ms = station.queue[-1][0] if station.queue else self.now_ms
        station.queue.append((max(last_ms, self.now_ms) + delay_ms, limit))

    def _answer(
        self,
        station: Station,
        limit: ApplyLimit,
        state: CommandState,
        *,
        superseded: bool = False,
    ) -> None:
        self.tell(
            LimitOutcome(
                ChargerId(station.config.id), limit.connector_id, limit.limit_id, state, superseded
            )
        )

    def _apply(self, station: Station, limit: ApplyLimit) -> bool:
        outlet = station.outlets[limit.connector_id]
        if limit.session_id is None or outlet.session_id != limit.session_id:
            return False
        before_ma = outlet.limit_ma(station.default_ma)
        outlet.profile_ma = limit.limit_ma
        if outlet.draws_ma > limit.limit_ma:
            obeys_ms = self.now_ms + (self.random.randint(0, 28_000) if self.faults else 100)
            # A vehicle that is coming down already does not begin anew because it may have more.
            if limit.limit_ma < before_ma or outlet.draws_ma <= before_ma:
                outlet.obeys_ms = obeys_ms
        return True

    def _work(self, station: Station, limit: ApplyLimit) -> None:
        fate = self.random.random() if self.faults else 0.0
        if not station.online:
            if fate < 0.5:
                self._apply(station, limit)
            self._answer(station, limit, CommandState.OFFLINE)
        elif fate < 0.7:
            applied = self._apply(station, limit)
            state = CommandState.ACCEPTED if applied else CommandState.REJECTED
            self._answer(station, limit, state)
        elif fate < 0.8:
            self._answer(station, limit, CommandState.REJECTED)
        elif fate < 0.85:
            self._answer(station, limit, CommandState.ERROR)
        else:
            if fate < 0.93:
                self._apply(station, limit)
            self._answer(station, limit, CommandState.TIMED_OUT)

    def _report_presence(self, station: Station) -> None:
        self.tell(
            ChargerPresence(
                ChargerId(station.config.id), station.online, station.settled, station.default_ma
            )
        )

    def _report_state(self, station: Station, connector_id: int) -> None:
        outlet = station.outlets[connector_id]
        session = None
        if outlet.session_id is not None:
            session = outlet.demand or SessionDemand(
                outlet.session_id,
                self.now_ms,
                0,
                None,
                None,
                charging=True,
                id_token=outlet.id_token,
                boost_until_ms=outlet.boost_until_ms,
            )
        status = ConnectorStatus.CHARGING
        if session is None:
            status = ConnectorStatus.AVAILABLE
        elif outlet.profile_ma == 0:
            status = ConnectorStatus.SUSPENDED_EVSE
        elif not session.charging:
            status = ConnectorStatus.SUSPENDED_EV
        self.tell(ConnectorState(ChargerId(station.config.id), connector_id, status, session))

    # --- what happens -----------------------------------------------------------------------------

    def advance(self, duration_ms: int) -> None:
        """Let time pass event by event, checking the rows after each."""
        until_ms = self.now_ms + duration_ms
        while True:
            due: list[tuple[int, str, str]] = [
                (at_ms - self.set_ms, "timer", key) for key, at_ms in self.timers.items()
            ]
            due += [
                (station.queue[0][0], "station", station_id)
                for station_id, station in self.stations.items()
                if station.queue
            ]
            at_ms, kind, name = min(due, default=(until_ms + 1, "", ""))
            if at_ms > until_ms:
                break
            self.now_ms = max(self.now_ms, at_ms)
            if kind == "timer":
                del self.timers[name]
                self.tell(TimerFired(name))
            else:
                station = self.stations[name]
                self._work(station, station.queue.pop(0)[1])
            self.check()
        self.now_ms = until_ms
        self.check()

    def happen(self) -> None:
        """One random event; where there is a solar plant, a report of it comes before."""
        if self.sun is not None and self.sun.random() < 0.3:
            report = ReportSitePower(self.host_ms, self.sun.randint(0, 50_000))
            self.tell(Ask("p", report))
        rng = self.random
        station = rng.choice(list(self.stations.values()))
        connector_id = rng.choice(list(station.outlets))
        outlet = station.outlets[connector_id]
        event = rng.random()
        if event < 0.20:
            self.plug(station, connector_id)
        elif event < 0.32:
            self.unplug(station, connector_id)
        elif event < 0.60:
            self.meter(station, connector_id)
        elif event < 0.80:
            self.draw(station, outlet)
        elif event < 0.90:
            self.connect(station)
        elif event < 0.94:
            self.disconnect(station)
        elif event < 0.97:
            # The worst moment: a limit has just left.
            self.plug(station, connector_id)
            self.lose_host()
        elif self.building:
            self.report_building(rng.randint(0, 10_000))
        if self.policy and rng.random() < 0.3:
            self.rule(station, connector_id)
        if self.clock is not None and self.clock.random() < 0.2:
            self.set_clock(self.clock)
        self.check()

    def set_clock(self, rng: random.Random) -> None:
        """The clock is set, or the site is described anew, with another margin and contract."""
        if rng.random() < 0.5:
            change_ms = rng.choice([60_000, 3_600_000, 86_400_000])
            self.set_ms += rng.choice([-1, 1]) * rng.randint(15_000, change_ms)
            return
        change: dict[str, Any] = {"margin_percent": rng.choice([0, 5, 90])}
        if self.sun is not None:
            contract = self.config.model_dump(mode="json")["contract"]
            change["contract"] = contract | {"power_w": rng.choice([3_000, 15_000, 40_000])}
        document = self.config.model_dump(mode="json") | change
        self.config = SiteConfig.model_validate(document)
        self.tell(Ask("c", ConfigureSite(self.config.model_dump_json().encode())))

    def rule(self, station: Station, connector_id: int) -> None:
        """Somebody holds a circuit or a connector to a limit, lifts one, or boosts a session."""
        rng = self.random
        limit_ma = rng.choice([None, 0, rng.randint(0, 40_000)])
        what = rng.random()
        if what < 0.4:
            circuit_id = rng.choice(self.config.circuits).id
            until_ms = rng.choice([None, self.now_ms + rng.randint(1, 120_000)])
            self.limit(SetCircuitLimit(circuit_id, limit_ma, until_ms=until_ms))
        elif what < 0.8:
            charger_id = station.config.id
            if limit_ma is None:
                self.held_ma.pop((charger_id, connector_id), None)
            else:
                self.held_ma[charger_id, connector_id] = limit_ma
            self.limit(SetConnectorLimit(ChargerId(charger_id), connector_id, limit_ma))
        elif station.online and station.outlets[connector_id].session_id is not None:
            until_ms = self.now_ms + rng.randint(1, 300_000)
            station.outlets[connector_id].boost_until_ms = until_ms
            self._report_state(station, connector_id)

    def limit(self, request: SetCircuitLimit | SetConnectorLimit) -> None:
        self.limited.append((self.now_ms, request))
        self.tell(Ask("o", request))

    def plug(self, station: Station, connector_id: int) -> None:
        outlet = station.outlets[connector_id]
        if outlet.session_id is not None:
            return
        self.sessions += 1
        outlet.session_id, outlet.profile_ma = SessionId(f"session-{self.sessions}"), None
        outlet.demand = self._wish(outlet.session_id)
        outlet.delivered_wh = 0
        outlet.draws_ma = outlet.limit_ma(station.default_ma)
        outlet.boost_until_ms = None
        if self.policy:
            outlet.id_token = self.random.choice([None, "GUEST", "FLEET-1", "STAFF-1"])
        self.check()
        if station.online:
            self._report_state(station, connector_id)

    def _wish(self, session_id: SessionId) -> SessionDemand | None:
        """A driver who says something, or whose vehicle does, or who has been here before."""
        rng = self.wishes
        if rng is None:
            return None
        vehicle = VehicleLimits(
            current_min_ma=rng.choice([None, 5_000, 8_000, 40_000]),
            current_max_ma=rng.choice([None, 1, 10_000, 80_000]),
            phases=rng.choice([None, 1, 3]),
            need_wh=rng.choice([None, 0, 5_000]),
            departure_ms=self.now_ms + rng.randint(-1, 4) * 600_000,
            said_ms=self.now_ms,
        )
        return SessionDemand(
            session_id,
            self.now_ms - rng.choice([0, 3_600_000]),
            0,
            rng.choice([None, 0, 2_000, 50_000]),
            rng.choice([None, self.now_ms + rng.randint(0, 7_200_000)]),
            charging=rng.random() < 0.8,
            id_token=rng.choice([None, "ann", "bob"]),
            vehicle=rng.choice([None, vehicle]),
        )

    def unplug(self, station: Station, connector_id: int) -> None:
        outlet = station.outlets[connector_id]
        outlet.session_id = outlet.profile_ma = None
        outlet.draws_ma = outlet.obeys_ms = 0
        self.check()
        if station.online:
            self._report_state(station, connector_id)

    def draw(self, station: Station, outlet: Outlet) -> None:
        """The vehicle takes all it may, or what it likes; one that has yet to obey does neither."""
        self._obey(station, outlet)
        limit_ma = outlet.limit_ma(station.default_ma)
        if outlet.session_id is not None and outlet.draws_ma <= limit_ma:
            all_of_it = self.random.random() < 0.7
            if self.wishes is not None and self.wishes.random() < 0.4:
                outlet.draws_ma = 0
                return
            outlet.draws_ma = limit_ma if all_of_it else self.random.randint(0, limit_ma)

    def meter(self, station: Station, connector_id: int) -> None:
        outlet = station.outlets[connector_id]
        if not station.online:
            return
        self._obey(station, outlet)
        current = [
            outlet.draws_ma if place < len(outlet.config.phases) else None for place in range(3)
        ]
        self.tell(
            ConnectorMetered(
                ChargerId(station.config.id),
                connector_id,
                self.host_ms,
                (current[0], current[1], current[2]),
                None,
                outlet.delivered_wh or None,
                None,
                fresh=True,
            )
        )
        outlet.delivered_wh += 300

    def connect(self, station: Station) -> None:
        if station.online and station.settled:
            return
        if not station.online:
            station.online, station.settled = True, False
            self._report_presence(station)
            for connector_id, outlet in station.outlets.items():
                if self.random.random() < 0.2:
                    outlet.profile_ma = None
                    outlet.draws_ma = min(outlet.draws_ma, outlet.limit_ma(station.default_ma))
                self._report_state(station, connector_id)
        else:
            station.settled = True
            station.default_ma = station.config.offline_current_ma
            for outlet in station.outlets.values():
                if outlet.draws_ma > outlet.limit_ma(station.default_ma):
                    late_ms = self.random.randint(0, 28_000) if self.faults else 100
                    outlet.obeys_ms = max(outlet.obeys_ms, self.now_ms + late_ms)
            self._report_presence(station)

    def disconnect(self, station: Station) -> None:
        if station.online:
            station.online = station.settled = False
            self._report_presence(station)

    def report_building(self, building_ma: int) -> None:
        self.building_ma = building_ma
        if building_ma:
            # A rise takes everybody by surprise: a row that it puts over, by what is drawn, under
            # way or free to start, is excused until it is within again.
            loads = self.loads(surprise=True)
            self.excused |= {row for row, load in loads.items() if load > self.rating(row)}
        load = (building_ma, building_ma, building_ma)
        self.tell(Ask("b", ReportBuildingLoad(self.host_ms, load)))

    def calm_down(self) -> None:
        """No more faults: everybody is there, settled, and answers at once."""
        self.faults = False
        for station in self.stations.values():
            while not (station.online and station.settled):
                self.connect(station)

    def everybody_follows(self) -> None:
        """Every vehicle takes what it may, and is measured."""
        for station in self.stations.values():
            for connector_id, outlet in station.outlets.items():
                self._obey(station, outlet)
                if outlet.session_id is not None:
                    limit_ma = outlet.limit_ma(station.default_ma)
                    outlet.draws_ma = max(outlet.draws_ma, limit_ma)
                    self.meter(station, connector_id)

    def given(self) -> dict[tuple[str, int], int]:
        """What every connector with a session may draw, by what its station holds."""
        return {
            (name, connector_id): outlet.limit_ma(station.default_ma)
            for name, station in self.stations.items()
            for connector_id, outlet in station.outlets.items()
            if outlet.session_id is not None
        }

    # --- the truth --------------------------------------------------------------------------------

    def _obey(self, station: Station, outlet: Outlet) -> None:
        limit_ma = outlet.limit_ma(station.default_ma)
        if outlet.draws_ma > limit_ma and self.now_ms >= outlet.obeys_ms:
            outlet.draws_ma = limit_ma

    def rating(self, row: tuple[str, int]) -> int:
        return next(each.rating_ma for each in self.config.circuits if each.id == row[0])

    def loads(
        self, *, fallback: bool = False, surprise: bool = False
    ) -> dict[tuple[str, int], int]:
        """What may flow through every row: what vehicles draw or may draw the next moment, and the
        building; for `fallback`, what would if every transaction ended; for `surprise`, the worst
        of both and of the limits under way."""
        parent = {circuit.id: circuit.parent for circuit in self.config.circuits}
        loads = {(circuit.id, column): 0 for circuit in self.config.circuits for column in range(3)}
        if self.building:
            for column in range(3):
                loads["supply", column] = self.building_ma
        for station in self.stations.values():
            for outlet in station.outlets.values():
                self._obey(station, outlet)
                hardware_ma, default_ma = outlet.config.current_max_ma, station.default_ma
                may_ma = hardware_ma if default_ma is None else min(default_ma, hardware_ma)
                if not fallback:
                    floor_ma = may_ma if surprise else 0
                    may_ma = max(floor_ma, outlet.draws_ma, outlet.limit_ma(default_ma))
                if surprise:
                    under_way = [limit.limit_ma for _, limit in station.queue]
                    may_ma = max([may_ma, *under_way])
                circuit: str | None = station.config.circuit
                while circuit is not None:
                    for phase in outlet.config.phases:
                        loads[circuit, phase.column] += may_ma
                    circuit = parent[circuit]
        return loads

    def check(self) -> None:
        """No row over its rating, unless its default profiles alone put it there."""
        loads, fallbacks = self.loads(), self.loads(fallback=True)
        worst = self.loads(surprise=True) if self.excused else loads
        for row, load_ma in loads.items():
            rating_ma = self.rating(row)
            if fallbacks[row] > rating_ma:
                self.excused.add(row)
            if worst[row] <= rating_ma:
                self.excused.discard(row)
            if load_ma > rating_ma and row not in self.excused:
                raise AssertionError(
                    f"{row}: {load_ma} mA may flow over a rating of {rating_ma} mA\n{self.view()}"
                )
