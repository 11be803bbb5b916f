"""The stations of a chaos run: real OCPP over real WebSockets, with vehicles that come and go.

They share nothing with Loadstar's own reading of the protocol (`sim/station.py`). All of them live
on one event loop and are stepped together, so that what they offer and draw at one instant can be
added up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Final

from controlplane.chaos.audit import Metered
from controlplane.chaos.books import Books, Epochs
from controlplane.chaos.network import station_spec
from controlplane.chaos.rows import RowWatch
from controlplane.network import NetworkConfig, SiteConfig
from controlplane.runtime.clock import SystemClock
from controlplane.sim.console import VERSIONS
from controlplane.sim.outlet import Outlet
from controlplane.sim.station import Station
from controlplane.sim.vehicle import Vehicle, VehicleSpec

__all__ = ["Driven", "Stations"]

_STEP_S: Final = 0.2
_CONNECT_OVER_S: Final = 5.0
_STAYS_S: Final = (15.0, 90.0)
_GAP_S: Final = (3.0, 20.0)
_BATTERY_WH: Final = 60_000.0
_LEAST_A: Final = 6.0
"""IEC 61851-1: with less on offer no vehicle charges. Every row carries so much for all below."""
_PROBE_S: Final = 1.0
_SERVED_TIMEOUT_S: Final = 180.0
_HOME_TIMEOUT_S: Final = 60.0


class Driven:
    """A station, its books, and the drivers who come.

    Args:
        epochs: of its site.
        urls: of the nodes' gateways, its own first.
        said: hears that the station has said something: what it may draw may have changed.
    """

    def __init__(
        self,
        site: SiteConfig,
        charger_id: str,
        *,
        epochs: Epochs,
        urls: Sequence[str],
        seed: int,
        said: Callable[[str], None],
    ) -> None:
        self.random = Random(f"{seed}/{charger_id}")
        self.site_id = site.id
        self.home = urls[0]
        spec = station_spec(site, charger_id)
        self.station = Station(
            spec,
            url=urls[0],
            further_urls=urls[1:],
            clock=SystemClock(),
            dialect=VERSIONS[spec.version],
            seed=seed,
        )
        self.books = Books(charger_id, epochs)
        self.starved_max_s = 0.0
        """The longest that a vehicle, its station connected, was offered too little to charge."""
        self._starved_s = 0.0
        self._next_s = 0.0
        self._token = 0
        loop = asyncio.get_running_loop()

        def tell(direction: str, frame: str) -> None:
            if direction == "<":
                self.books.heard(frame, loop.time())
            else:
                self.books.said(frame, loop.time())
                said(charger_id)

        self.station.manners.tell = tell

    @property
    def at_home(self) -> bool:
        """Whether it is connected to its own gateway, and booted."""
        return self.station.url == self.home and self.station.settled.is_set()

    @property
    def outlet(self) -> Outlet:
        return self.station.outlets[1]

    def visit(self, now_s: float) -> None:
        """Let a vehicle come, or go, when it is time."""
        if now_s < self._next_s:
            return
        if self.outlet.vehicle is None:
            self._token += 1
            self.station.plug(1, self._vehicle(), f"CARD{self._token:08d}")
            self._next_s = now_s + self.random.uniform(*_STAYS_S)
        else:
            self.leave()
            self._next_s = now_s + self.random.uniform(*_GAP_S)

    def step(self, now_ms: int, duration_s: float) -> None:
        """Let the station live, and see whether its vehicle is kept waiting."""
        self.station.step(now_ms, duration_s)
        outlet = self.outlet
        waits = outlet.transaction is not None and outlet.offered_a < _LEAST_A
        if waits and self.station.settled.is_set():
            self._starved_s += duration_s
        else:
            self._starved_s = 0.0
        self.starved_max_s = max(self.starved_max_s, self._starved_s)

    def leave(self) -> None:
        if self.outlet.vehicle is not None:
            self.station.unplug(1)

    def probe(self) -> None:
        """Say something that is answered only once it is stored."""
        if self.outlet.transaction is not None:
            self.station.sample(context="Trigger")
        else:
            self.station.dialect.tell_state(self.outlet, None)

    def metered(self) -> Iterable[Metered]:
        """Its transactions, by its own meter."""
        for outlet, transaction in self.station.transactions:
            stop_wh = transaction.register_stop_wh or 0
            yield Metered(
                self.station.spec.id,
                outlet.spec.connector_id,
                transaction.id,
                stop_wh - transaction.register_start_wh,
            )

    def _vehicle(self) -> Vehicle:
        spec = VehicleSpec(
            battery_wh=_BATTERY_WH,
            current_max_a=self.random.choice((10.0, 16.0, 32.0)),
            phases=self.random.choice((1, 3)),
        )
        return Vehicle(spec, soc=self.random.uniform(0.1, 0.7))


class Stations:
    """All of them.

    Args:
        urls: of the nodes' gateways; stations take turns to begin with each, and dial the next one
            where one fails.
    """

    def __init__(self, network: NetworkConfig, urls: Sequence[str], seed: int) -> None:
        self.all: dict[str, Driven] = {}
        for site in network.sites:
            epochs = Epochs()
            for charger in site.chargers:
                first = len(self.all) % len(urls)
                self.all[charger.id] = Driven(
                    site,
                    charger.id,
                    epochs=epochs,
                    urls=[*urls[first:], *urls[:first]],
                    seed=seed,
                    said=self._said,
                )
        self.rows = RowWatch(
            network, {charger_id: each.station for charger_id, each in self.all.items()}
        )
        self.late_max_s = 0.0
        """How late this process came to a step: what it did not see."""
        self._open = True
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._live())]
        self._tasks += [loop.create_task(self._dial(each)) for each in self.all.values()]

    @property
    def sockets(self) -> int:
        """How many connections there have been."""
        return sum(each.station.traffic.connections for each in self.all.values())

    @property
    def settled(self) -> int:
        """How many are connected and booted."""
        return sum(each.station.settled.is_set() for each in self.all.values())

    async def go_home(self) -> None:
        """Let those who had to dial another gateway come back to their own, as a load balancer
        would see to; returns once they are there, or after a while."""
        loop = asyncio.get_running_loop()
        for driven in self.all.values():
            if driven.station.url != driven.home:
                await driven.station.move(driven.home)
        until_s = loop.time() + _HOME_TIMEOUT_S
        away = list(self.all.values())
        while away and loop.time() < until_s:
            away = [driven for driven in away if not driven.at_home]
            await asyncio.sleep(_STEP_S)

    def struck(self, charger_ids: Collection[str]) -> float:
        """A fault strikes these: from now on it counts how long each waits for answers. Returns the
        instant."""
        now_s = asyncio.get_running_loop().time()
        for charger_id in charger_ids:
            self.all[charger_id].books.struck(now_s)
        return now_s

    @asynccontextmanager
    async def asking(self, charger_ids: Collection[str]) -> AsyncIterator[None]:
        """Meanwhile each of these has something to say all the time."""
        task = asyncio.get_running_loop().create_task(self._ask(charger_ids))
        try:
            yield
        finally:
            task.cancel()

    async def _ask(self, charger_ids: Collection[str]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for charger_id in charger_ids:
                driven = self.all[charger_id]
                if not driven.books.waits and not driven.station.backlog:
                    driven.books.wants(loop.time())
                    driven.probe()
            await asyncio.sleep(_PROBE_S)

    async def served(self, charger_ids: Collection[str], since_s: float) -> list[str]:
        """Wait until each of these is answered to something that it said after `since_s`; returns
        those who were not in time."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + _SERVED_TIMEOUT_S
        waiting = list(charger_ids)
        while waiting and loop.time() < until_s:
            await asyncio.sleep(_STEP_S)
            waiting = [each for each in waiting if self.all[each].books.served_s <= since_s]
        return waiting

    async def come_to_rest(self, timeout_s: float) -> list[str]:
        """Let every vehicle leave and everything be told; the stations that could not tell all."""
        self._open = False
        for driven in self.all.values():
            driven.leave()
        until_s = asyncio.get_running_loop().time() + timeout_s
        left = list(self.all.values())
        while left and asyncio.get_running_loop().time() < until_s:
            await asyncio.sleep(_STEP_S)
            left = [each for each in left if each.station.backlog]
        return [f"{each.station.spec.id}: {each.station.backlog} messages" for each in left]

    async def stop(self) -> None:
        await asyncio.gather(*(each.station.stop() for each in self.all.values()))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _said(self, charger_id: str) -> None:
        self.rows.changed(charger_id, _now_ms())

    async def _dial(self, driven: Driven) -> None:
        await asyncio.sleep(driven.random.uniform(0.0, _CONNECT_OVER_S))
        await driven.station.run()

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            await asyncio.sleep(_STEP_S)
            now_s = loop.time()
            self.late_max_s = max(self.late_max_s, now_s - last_s - _STEP_S)
            for driven in self.all.values():
                if self._open and driven.station.commissioned:
                    driven.visit(now_s)
            # Later than the transactions that began with these visits: a profile says nothing yet
            # about an instant before them.
            now_ms = _now_ms()
            for driven in self.all.values():
                driven.step(now_ms, now_s - last_s)
            self.rows.look(now_ms)
            last_s = now_s


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
