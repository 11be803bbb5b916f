"""The deterministic world: production actors, virtual time, seeded faults, checkers on every tick.

One seed decides everything, so the same seed gives the same run to the last effect (`digest`), in
any process on any machine. The actors are the ones that production runs, unchanged; what is
simulated is what surrounds them: the host, the line, stations, vehicles, buildings.

A run has three parts: ten quiet minutes in which the network is commissioned, `hours` with vehicles
and faults, and a quarter of an hour in which everybody is reachable again and vehicles leave, after
which the books must agree."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from random import Random
from typing import Any, Literal

import msgspec
import orjson

from controlplane.actor import Call, CloseSocket, Effect, Reply, ReplyError
from controlplane.charger.messages import (
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationReplied,
)
from controlplane.config import ActorSettings
from controlplane.errors import InvalidInput, Refusal
from controlplane.feeder.messages import ConfigureFeeder
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    FeederConfig,
    LimitUnit,
    Phase,
    SiteConfig,
)
from controlplane.ocpp.schemas import check_call, check_command
from controlplane.runtime.wire import StationMessage
from controlplane.sim.building import BuildingLoad
from controlplane.sim.checkers import AnswerChecker, EnergyChecker, RowChecker, Violations
from controlplane.sim.network_faults import NetworkFaults, parse_faults
from controlplane.sim.outlet import OutletSpec, StationSpec
from controlplane.sim.vehicle import Vehicle, VehicleSpec
from controlplane.sim.virtual_host import Scheduler, VirtualHost
from controlplane.sim.virtual_station import Frame, VirtualStation
from controlplane.site.messages import ConfigureSite, ReportBuildingLoad
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["World", "run"]

_START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z; any instant would do, if it is always the same."""
_TICK_MS = 1_000
_COMMISSIONING_MS = 600_000
_REST_MS = 900_000
_BUILDING_REPORT_MS = 15_000
_CHARGERS_PER_SITE = 10
_VOLTAGE_V = 230
_PANELS = ("panel0", "panel1")
_BUILDING_MAX_A = 40.0
_BUILDING_SWING_A = 7.0
"""Below the margin of the smallest supply."""
_VERSIONS: tuple[Literal["1.6"], Literal["2.0.1"]] = ("1.6", "2.0.1")
_REDIAL_MS = 5_000
_VIOLATIONS_SHOWN = 20


def run(
    *, seed: int = 1, hours: float = 24.0, chargers: int = 20, faults: str = "all"
) -> dict[str, Any]:
    """Live through one world.

    Args:
        seed: decides everything.
        hours: virtual hours with vehicles and faults, above 0 to 8,784.
        chargers: how many stations there are, 1 to 10,000.
        faults: `all`, `none`, or names of `network_faults.FAULTS` with commas between.

    Returns:
        `seed`, `hours`, `faults`; `violations`, how many; `messages` on the line; `delivered_wh` to
        vehicles; `speed`, virtual over real time; besides them `chargers`, `sessions`,
        `utilisation_max` of any row, `digest`, the first `details` and the `replay` command.

    Raises:
        InvalidInput: an argument out of range, or an unknown fault.
    """
    if not 0 < hours <= 8_784 or not 1 <= chargers <= 10_000:
        raise InvalidInput("hours must be above 0 to 8,784 and chargers 1 to 10,000")
    replay = f"loadstar sim --seed {seed} --hours {hours:g} --chargers {chargers} --faults {faults}"
    world = World(seed=seed, chargers=chargers, faults=parse_faults(faults))
    begun_s = time.perf_counter()
    try:
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
        "messages": world.messages,
        "sessions": len(world.host.store.sessions),
        "delivered_wh": round(sum(s.outlet.register_wh for s in world.stations.values())),
        "utilisation_max": round(world.rows.utilisation_max, 4),
        "speed": round((world.scheduler.now_ms - _START_MS) / MS_PER_S / spent_s, 1),
        "digest": world.host.digest,
        "details": [str(violation) for violation in found[:_VIOLATIONS_SHOWN]],
        "replay": replay,
    }


class World:
    """Everything of one run. `live` runs it; the rest is there to be looked at."""

    def __init__(self, *, seed: int, chargers: int, faults: frozenset[str]) -> None:
        self.scheduler = Scheduler(_START_MS)
        self.violations = Violations()
        self.messages = 0
        self._random = Random(f"{seed}/network and vehicles")
        self._faults = NetworkFaults(faults, Random(f"{seed}/faults"))
        self.feeder, self.sites = _network(self._random, chargers)
        self._versions = {
            charger.id: self._random.choice(_VERSIONS)
            for site in self.sites
            for charger in site.chargers
        }
        self.host = VirtualHost(
            self.scheduler,
            ActorSettings(),
            released=self._released,
            loses=lambda: self._faults.happens("lost"),
        )
        self.stations = {
            charger.id: self._station(charger) for site in self.sites for charger in site.chargers
        }
        self._buildings = {site.id: _building(self._random, site) for site in self.sites}
        self.rows = RowChecker(self.sites, [self.feeder], self.stations, self.violations)
        self._answers = AnswerChecker(self.violations)
        self._connections: dict[str, VirtualStation] = {}
        self._connection_numbers = count(1)
        self._arrivals_ms: dict[tuple[str, str], int] = {}
        self._held: list[tuple[VirtualStation, StationMessage]] = []
        self._unanswered: dict[str, list[StationCalled]] = {}
        """By connection: what a gateway hands to the next host when one dies."""
        self._receiving = True

    def live(self, hours: float) -> None:
        """Commission, live for `hours`, come to rest, compare the books."""
        self._commission()
        self._pass(_COMMISSIONING_MS)
        self._faults.on = True
        for station in self.stations.values():
            self._plan_arrival(station)
            for name in ("drop", "offline", "reboot"):
                self._plan_fault(name, partial(self._strike, name, station))
        self._plan_fault("crash", self._crash)
        self._pass(round(hours * MS_PER_HOUR))
        self._faults.on = self._receiving = False
        for station in self.stations.values():
            self._return(station)
            if station.outlet.vehicle is not None:
                station.unplug()
        self._pass(_REST_MS)
        EnergyChecker(self.violations).check(
            self.scheduler.now_ms, self.stations.values(), self.host.store.sessions.values()
        )

    # --- time -------------------------------------------------------------------------------------

    def _pass(self, duration_ms: int) -> None:
        """Let virtual time pass, tick by tick: events, then physics, then the checkers."""
        end_ms = self.scheduler.now_ms + duration_ms
        while self.scheduler.now_ms < end_ms:
            self.scheduler.run_until(min(self.scheduler.now_ms + _TICK_MS, end_ms))
            now_ms = self.scheduler.now_ms
            for station in self.stations.values():
                station.step(_TICK_MS / MS_PER_S)
            buildings_a = {
                site_id: building.current_a(now_ms) for site_id, building in self._buildings.items()
            }
            self.rows.check(now_ms, buildings_a)
            self._answers.check(now_ms)

    def _commission(self) -> None:
        self._configure(ActorRef(ActorKind.FEEDER, self.feeder.id), ConfigureFeeder, self.feeder)
        for site in self.sites:
            ref = ActorRef(ActorKind.SITE, site.id)
            self._configure(ref, ConfigureSite, site)
            self._report_building(ref)
        for station in self.stations.values():
            self.scheduler.after(self._random.randrange(60_000), partial(self._return, station))

    def _configure(
        self, ref: ActorRef, request: Callable[..., msgspec.Struct], config: Any
    ) -> None:
        self.host.ask(
            ref, request(config=config.model_dump_json().encode()), partial(self._accepted, ref)
        )

    def _accepted(self, ref: ActorRef, response: msgspec.Struct) -> None:
        if isinstance(response, Refusal):
            self.violations.record(
                self.scheduler.now_ms, "request refused", f"{ref}: {response.message}"
            )

    def _report_building(self, ref: ActorRef) -> None:
        self.scheduler.after(_BUILDING_REPORT_MS, partial(self._report_building, ref))
        now_ms = self.scheduler.now_ms
        l1, l2, l3 = (round(a * 1_000) for a in self._buildings[ref.id].current_a(now_ms))
        report = ReportBuildingLoad(at_ms=now_ms, current_ma=(l1, l2, l3))
        self.host.ask(ref, report, partial(self._accepted, ref))

    # --- vehicles ---------------------------------------------------------------------------------

    def _station(self, charger: ChargerConfig) -> VirtualStation:
        connector = charger.connectors[0]
        spec = StationSpec(
            id=charger.id,
            version=self._versions[charger.id],
            unit=charger.limit_unit.value,
            outlets=(
                OutletSpec(
                    connector_id=connector.id,
                    lines=tuple(phase.column for phase in connector.phases),
                    current_max_a=connector.current_max_a,
                    voltage_v=_VOLTAGE_V,
                ),
            ),
        )
        return VirtualStation(
            spec,
            scheduler=self.scheduler,
            faults=self._faults,
            send=lambda frame: self._up(charger.id, frame),
        )

    def _plan_arrival(self, station: VirtualStation) -> None:
        gap_ms = round(self._random.expovariate(1 / 0.5) * MS_PER_HOUR)
        self.scheduler.after(gap_ms, partial(self._arrive, station))

    def _arrive(self, station: VirtualStation) -> None:
        if not self._receiving:
            return
        station.plug(_vehicle(self._random, station.outlet.spec), f"CARD{station.spec.id}")
        stay_ms = round(self._random.choice((0.1, 0.5, 1.0, 4.0, 8.0)) * MS_PER_HOUR)
        self.scheduler.after(stay_ms, partial(self._leave, station))

    def _leave(self, station: VirtualStation) -> None:
        if self._receiving:
            station.unplug()
            self._plan_arrival(station)

    # --- faults -----------------------------------------------------------------------------------

    def _plan_fault(self, name: str, strike: Callable[[], None]) -> None:
        delay_ms = self._faults.next_after_ms(name)
        if delay_ms is None:
            return

        def strikes() -> None:
            if self._faults.on:
                strike()
                self._plan_fault(name, strike)

        self.scheduler.after(delay_ms, strikes)

    def _strike(self, name: str, station: VirtualStation) -> None:
        """A station loses its line, or its power."""
        if station.connection and name == "reboot":
            station.power_off()
        self._hang_up(station, redial_ms=self._faults.absence_ms(name))

    def _hang_up(self, station: VirtualStation, *, redial_ms: int) -> None:
        connection = station.connection
        if not connection:
            return
        station.lost()
        self._answers.closed(connection)
        self._unanswered.pop(connection, None)
        gone = StationDisconnected(connection=connection, reason="lost")
        self.scheduler.after(
            self._faults.notice_ms() if self._faults.on else 0,
            lambda: self._tell(station, gone),
        )
        self.scheduler.after(redial_ms, partial(self._return, station))

    def _return(self, station: VirtualStation) -> None:
        """A station has power and a line again."""
        if not station.running:
            station.power_on()
        if station.connection:
            return
        station.connection = f"{station.spec.id}#{next(self._connection_numbers)}"
        self._connections[station.connection] = station
        self._tell(station, self._connected(station, resumed=False))
        station.opened()

    def _connected(self, station: VirtualStation, *, resumed: bool) -> StationConnected:
        return StationConnected(
            connection=station.connection,
            ocpp_version=station.dialect.version,
            remote="127.0.0.1",
            resumed=resumed,
        )

    def _crash(self) -> None:
        if self.host.up:
            self.host.crash_soon(self._faults.random.choice(("before", "after")), self._host_died)

    def _host_died(self) -> None:
        self.scheduler.after(self._faults.absence_ms("crash"), self._host_returns)

    def _host_returns(self) -> None:
        """As a gateway does for a new host: who is connected, then what was never answered, then
        what came meanwhile."""
        self.host.recover()
        for station in self.stations.values():
            if station.connection:
                self._tell(station, self._connected(station, resumed=True))
        for connection, calls in list(self._unanswered.items()):
            for call in list(calls):
                self.host.from_station(_ref(self._connections[connection]), call)
        held, self._held = self._held, []
        for station, message in held:
            self._tell(station, message)

    # --- the line ---------------------------------------------------------------------------------

    def _up(self, charger_id: str, frame: Frame) -> None:
        """A frame leaves a station."""
        station = self.stations[charger_id]
        arrive = partial(self._arrived_up, station, station.connection, orjson.dumps(frame))
        self._travel("up", station.connection, arrive)
        if frame[0] == 2 and self._faults.happens("duplicate"):
            self._travel("up", station.connection, arrive)

    def _travel(self, direction: str, connection: str, arrive: Callable[[], None]) -> None:
        """Frames of one direction keep their order, as TCP does; some never arrive."""
        if self._faults.happens("lost"):
            return
        now_ms = self.scheduler.now_ms
        at_ms = max(
            now_ms + self._faults.delay_ms(), self._arrivals_ms.get((direction, connection), 0)
        )
        self._arrivals_ms[direction, connection] = at_ms
        self.scheduler.after(at_ms - now_ms, arrive)

    def _arrived_up(self, station: VirtualStation, connection: str, text: bytes) -> None:
        if station.connection != connection:
            return
        self.messages += 1
        frame = orjson.loads(text)
        if frame[0] == 3:
            self._tell(station, StationReplied(connection, *frame[1:]))
            return
        if frame[0] == 4:
            self._tell(station, StationFailed(connection, *frame[1:4]))
            return
        fault = check_call(station.dialect.version, frame[2], frame[3])
        if fault is not None:
            raise RuntimeError(f"a simulated station broke the schema: {frame}: {fault}")
        self._tell(station, StationCalled(connection, *frame[1:]))

    def _tell(self, station: VirtualStation, message: StationMessage) -> None:
        """News for a charger; a gateway holds them while no host serves it."""
        if not self.host.up:
            self._held.append((station, message))
            return
        if isinstance(message, StationCalled) and message.connection == station.connection:
            self._answers.called(message.connection, message.message_id, self.scheduler.now_ms)
            self._unanswered.setdefault(message.connection, []).append(message)
        self.host.from_station(_ref(station), message)

    def _released(self, effect: Effect) -> None:
        """What leaves the host."""
        match effect:
            case Reply(connection, message_id, payload):
                self._answer(connection, message_id, [3, message_id, payload])
            case ReplyError(connection, message_id, code, description):
                self._answer(connection, message_id, [4, message_id, code, description, {}])
            case Call(connection, message_id, action, payload):
                station = self._connections[connection]
                fault = check_command(station.dialect.version, action, payload)
                if fault is not None:
                    self.violations.record(
                        self.scheduler.now_ms, "command against its schema", f"{action}: {fault}"
                    )
                self._down(connection, [2, message_id, action, payload])
            case CloseSocket(connection):
                station = self._connections[connection]
                if station.connection == connection:
                    self._hang_up(station, redial_ms=_REDIAL_MS)
            case _:
                raise RuntimeError(f"an effect that the world does not know: {effect}")

    def _answer(self, connection: str, message_id: str, frame: Frame) -> None:
        if self._connections[connection].connection == connection:
            self._answers.answered(connection, message_id, self.scheduler.now_ms)
            calls = self._unanswered.get(connection, [])
            for index, call in enumerate(calls):
                if call.message_id == message_id:
                    del calls[index]
                    break
            self._down(connection, frame)

    def _down(self, connection: str, frame: Frame) -> None:
        station, text = self._connections[connection], orjson.dumps(frame)

        def arrive() -> None:
            if station.connection == connection:
                self.messages += 1
                station.received(orjson.loads(text))

        self._travel("down", connection, arrive)


def _ref(station: VirtualStation) -> ActorRef:
    return ActorRef(ActorKind.CHARGER, station.spec.id)


def _network(random: Random, chargers: int) -> tuple[FeederConfig, list[SiteConfig]]:
    """Sites of up to ten mixed chargers with room for about half of them, under one feeder that
    cannot serve all sites at once."""
    sites = []
    for first in range(0, chargers, _CHARGERS_PER_SITE):
        numbers = range(first, min(first + _CHARGERS_PER_SITE, chargers))
        sites.append(_site(random, f"site{first // _CHARGERS_PER_SITE}", list(numbers)))
    supply_a = sum(site.supply.rating_a for site in sites)
    power_max_w = round(supply_a * 0.9 * _VOLTAGE_V * 3)
    feeder = FeederConfig(id="feeder0", power_max_w=power_max_w, voltage_v=_VOLTAGE_V)
    return feeder, sites


def _site(random: Random, id: str, numbers: list[int]) -> SiteConfig:
    """A supply for the building and two panels. Either the building moves and a margin holds what
    it may add while chargers are out of reach, so that no fault can make a violation unavoidable,
    or it stands still and there is no margin that could hide a mistake."""
    chargers = []
    for number in numbers:
        lines = random.choice(((1,), (2,), (3,), (1, 2, 3), (2, 3, 1), (3, 1, 2)))
        connector = ConnectorConfig(
            id=1,
            phases=tuple(Phase(f"L{line}") for line in lines),
            current_max_a=random.choice((16.0, 32.0)),
            current_step_a=random.choice((0.1, 1.0)),
            weight=random.choice((1, 1, 2)),
        )
        chargers.append(
            ChargerConfig(
                id=f"CP{number}",
                circuit=_PANELS[number % 2],
                connectors=(connector,),
                limit_unit=random.choice((LimitUnit.A, LimitUnit.A, LimitUnit.W)),
            )
        )
    margin_percent = random.choice((0.0, 15.0))
    panels = [[charger for charger in chargers if charger.circuit == panel] for panel in _PANELS]
    supply_a, *panels_a = (
        _rating_a(group, margin_percent, building_a=building_a)
        for group, building_a in ((chargers, _BUILDING_MAX_A), *((each, 0.0) for each in panels))
    )
    return SiteConfig(
        id=id,
        feeder="feeder0",
        voltage_v=_VOLTAGE_V,
        margin_percent=margin_percent,
        circuits=(
            CircuitConfig(id="supply", rating_a=supply_a),
            *(
                CircuitConfig(id=panel, parent="supply", rating_a=rating_a)
                for panel, rating_a in zip(_PANELS, panels_a, strict=True)
            ),
        ),
        building_load=BuildingLoadConfig(circuit="supply", assumed_a=30.0),
        chargers=tuple(chargers),
    )


def _rating_a(chargers: list[ChargerConfig], margin_percent: float, *, building_a: float) -> float:
    """The smallest rating under which silence of all is safe, and room for little more."""
    offline_a = max(
        sum(c.offline_current_a for c in chargers if phase in c.connectors[0].phases)
        for phase in Phase
    )
    return math.ceil((building_a + offline_a * 1.2 + 8.0) / (1.0 - margin_percent / 100.0))


def _building(random: Random, site: SiteConfig) -> BuildingLoad:
    """So many amperes on each phase, in a rhythm of its own where the site has a margin."""
    hours = 48 if site.margin_percent else 1
    hours_w = tuple(
        random.uniform(_BUILDING_MAX_A - _BUILDING_SWING_A, _BUILDING_MAX_A) * _VOLTAGE_V * 3
        for _ in range(hours)
    )
    return BuildingLoad(start_ms=_START_MS, hours_w=hours_w, voltage_v=_VOLTAGE_V)


def _vehicle(random: Random, outlet: OutletSpec) -> Vehicle:
    spec = VehicleSpec(
        battery_wh=random.uniform(20_000, 90_000),
        phases=random.choice((1, 2, 3, 3)),
        current_max_a=random.choice((16.0, 32.0)),
        current_min_a=random.choice((6.0, 6.0, 8.0)),
        # As fast as a pilot signal, or slow: half a minute from full to nothing.
        ramp_down_a_per_s=random.choice((40.0, 40.0, 1.2)),
        sleep_after_s=random.choice((None, None, 1_800.0)),
    )
    return Vehicle(
        spec,
        soc=random.uniform(0.1, 0.9),
        outlet_phases=len(outlet.lines),
        voltage_v=outlet.voltage_v,
    )
