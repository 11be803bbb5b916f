"""What happens in a world besides the passing of time: vehicles, faults, and what owners want.

Invariant: everything is drawn from the world's seeded sources, in an order that depends on nothing
else; while the world is calm nobody comes, goes or fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from controlplane.charger.messages import ChargerView, GetCharger, SetSessionNeed
from controlplane.feeder.messages import SetFeederLimit
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import SiteConfig
from controlplane.sim.virtual_station import VirtualStation
from controlplane.sim.world_network import VOLTAGE_V, draw_vehicle
from controlplane.site.messages import ConfigureSite, SetSiteLimit
from controlplane.units import MS_PER_HOUR

if TYPE_CHECKING:
    from controlplane.sim.world import World

__all__ = ["WorldEvents"]

Rhythm = tuple[float, tuple[float, ...]]

_LIVELY: Rhythm = (0.5, (0.1, 0.5, 1.0, 4.0, 8.0))
"""Mean hours between two vehicles at a connector, and how many hours they stay."""
_BUSTLING: Rhythm = (0.1, (0.02, 0.1, 0.25, 0.5))
_LARGE: Rhythm = (3.0, (0.1, 0.5, 1.0, 4.0, 8.0))
"""On a large network: some four vehicles a day."""
_POSTPONED_MS = 60_000
_HOST_CLOCK_MS = 45_000
_TELLS_MS = 30_000
"""How long a driver takes to say what is needed."""
_RATING_FACTORS = (1.0, 1.0, 1.1, 1.3)
_OFFLINE_LESS_A = (0.0, 1.0, 2.0)


class WorldEvents:
    """See the module's docstring; `begin` sets everything in motion."""

    def __init__(self, world: World) -> None:
        self._world = world
        rhythm = _LARGE if world.large else world.random.choice((_LIVELY, _BUSTLING))
        self._gap_hours, self._stays_hours = rhythm
        self._described = dict(world.sites)
        """As the network was drawn: what ratings return to."""

    def begin(self) -> None:
        """Plan the first of everything."""
        world = self._world
        for station in world.stations.values():
            for number in range(len(station.outlets)):
                self._plan_arrival(station, number)
            for name in ("drop", "offline", "reboot"):
                self._plan(name, partial(self._strike, name, station))
        self._plan("crash", self._crash)
        self._plan("grid", self._limit_feeder)
        for site_id in world.sites:
            self._plan("grid", partial(self._limit_site, site_id))
            self._plan("meter", partial(self._silence_meter, site_id))
            self._plan("describe", partial(self._describe, site_id))

    def _after(self, delay_ms: int, action: Callable[[], None]) -> None:
        self._world.scheduler.after(delay_ms, action)

    # --- vehicles ---------------------------------------------------------------------------------

    def _plan_arrival(self, station: VirtualStation, number: int) -> None:
        gap_ms = round(self._world.random.expovariate(1 / self._gap_hours) * MS_PER_HOUR)
        self._after(gap_ms, partial(self._arrive, station, number))

    def _arrive(self, station: VirtualStation, number: int) -> None:
        world = self._world
        if not world.receiving:
            self._after(_POSTPONED_MS, partial(self._arrive, station, number))
            return
        cautious = "cautious" in world.faults.names
        outlet = station.spec.outlets[number]
        vehicle = draw_vehicle(world.random, outlet, cautious=cautious)
        station.plug(vehicle, f"CARD{station.spec.id}", number)
        stay_ms = round(world.random.choice(self._stays_hours) * MS_PER_HOUR)
        self._after(stay_ms, partial(self._leave, station, number))
        if world.planned:
            leaves_ms = world.scheduler.now_ms + stay_ms
            need_wh = world.random.randrange(1_000, 30_000)
            self._after(_TELLS_MS, partial(self._tell, station, number, need_wh, leaves_ms))

    def _tell(self, station: VirtualStation, number: int, need_wh: int, leaves_ms: int) -> None:
        """The driver says what is needed; where nobody hears it, nobody knows."""
        ref = ActorRef(ActorKind.CHARGER, station.spec.id)
        host = self._world.host

        def found(view: msgspec.Struct) -> None:
            connector_id = station.spec.outlets[number].connector_id
            for each in view.connectors if isinstance(view, ChargerView) else ():
                if each.connector_id == connector_id and each.session_id is not None:
                    need = SetSessionNeed(each.session_id, need_wh, departure_ms=leaves_ms)
                    host.ask(ref, need, lambda _: None)

        host.ask(ref, GetCharger(), found)

    def _leave(self, station: VirtualStation, number: int) -> None:
        if not self._world.receiving:
            self._after(_POSTPONED_MS, partial(self._leave, station, number))
            return
        station.unplug(number)
        self._plan_arrival(station, number)

    # --- faults -----------------------------------------------------------------------------------

    def _plan(self, name: str, strike: Callable[[], None]) -> None:
        delay_ms = self._world.faults.next_after_ms(name)
        if delay_ms is None:
            return

        def strikes() -> None:
            if self._world.faults.on:
                strike()
            self._plan(name, strike)

        self._after(delay_ms, strikes)

    def _strike(self, name: str, station: VirtualStation) -> None:
        """A station loses its line, or its power."""
        if station.connection and name == "reboot":
            station.power_off()
        self._world.line.break_off(station, redial_ms=self._world.faults.absence_ms(name))

    def _crash(self) -> None:
        if self._world.host.up:
            self._world.host.crash_soon(self._host_died)

    def _host_died(self) -> None:
        self._after(self._world.faults.absence_ms("crash"), self._host_returns)

    def _host_returns(self) -> None:
        world = self._world
        off_ms = 0
        if "host_clock" in world.faults.names:
            off_ms = world.faults.random.randrange(-_HOST_CLOCK_MS, _HOST_CLOCK_MS)
        world.host.recover(clock_off_ms=off_ms)
        world.line.host_returned()

    def _silence_meter(self, site_id: str) -> None:
        world = self._world
        until_ms = world.scheduler.now_ms + world.faults.absence_ms("meter")
        world.silent_until_ms[site_id] = until_ms

    # --- owners and the grid ----------------------------------------------------------------------

    def _limit_site(self, site_id: str) -> None:
        """A limit on the whole site that ends by itself, or the end of one."""
        world = self._world
        ref = ActorRef(ActorKind.SITE, site_id)
        share = world.faults.random.uniform(0.7, 1.0)
        limit_a = None
        if site_id not in world.limits_a:
            limit_a = round(world.sites[site_id].supply.rating_a * share, 1)

        def done() -> None:
            world.limits_a.pop(site_id, None)
            if limit_a is not None:
                world.limits_a[site_id] = limit_a

        limit_ma = None if limit_a is None else round(limit_a * 1_000)
        world.request(ref, SetSiteLimit(limit_ma=limit_ma), done)

    def _limit_feeder(self) -> None:
        world = self._world
        share = world.faults.random.uniform(0.7, 1.0)
        power_w: int | None = None
        if world.feeder_limit_w is None:
            power_w = round(world.feeder.power_max_w * share / VOLTAGE_V) * VOLTAGE_V

        def done() -> None:
            world.feeder_limit_w = power_w

        ref = ActorRef(ActorKind.FEEDER, world.feeder.id)
        world.request(ref, SetFeederLimit(power_w=power_w), done)

    def _describe(self, site_id: str) -> None:
        """Another rating of a circuit, or another offline current of a charger."""
        world, random = self._world, self._world.faults.random
        site = world.sites[site_id]
        if random.random() < 0.5:
            number = random.randrange(len(site.circuits))
            drawn_a = self._described[site_id].circuits[number].rating_a
            rating_a = round(drawn_a * random.choice(_RATING_FACTORS), 1)
            circuits = list(site.circuits)
            circuits[number] = circuits[number].model_copy(update={"rating_a": rating_a})
            changed = site.model_copy(update={"circuits": tuple(circuits)})
        else:
            number = random.randrange(len(site.chargers))
            chargers = list(site.chargers)
            drawn_a = self._described[site_id].chargers[number].offline_current_a
            offline_a = max(0.0, drawn_a - random.choice(_OFFLINE_LESS_A))
            chargers[number] = chargers[number].model_copy(update={"offline_current_a": offline_a})
            changed = site.model_copy(update={"chargers": tuple(chargers)})
        # Fresh, so that nothing worked out for the old description sticks to the new one.
        changed = SiteConfig.model_validate(changed.model_dump())
        world.described(changed)
        ref = ActorRef(ActorKind.SITE, site_id)
        world.request(ref, ConfigureSite(config=changed.model_dump_json().encode()))
