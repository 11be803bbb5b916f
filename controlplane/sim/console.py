"""A simulated station to develop against: driven by words, from a person or from a script.

It is the station of `station.py` with a clock that may be wrong and a hand that plugs vehicles in;
whatever goes wrong in the field can be made to go wrong here, on command."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

from controlplane.errors import InvalidInput
from controlplane.runtime.clock import SystemClock
from controlplane.sim.outlet import Outlet, OutletSpec, StationSpec
from controlplane.sim.station import Dialect, Station
from controlplane.sim.station_v16 import DialectV16
from controlplane.sim.station_v21 import DialectV21
from controlplane.sim.station_v201 import DialectV201
from controlplane.sim.vehicle import Vehicle, VehicleSpec
from controlplane.sim.words import WORDS

__all__ = ["VERSIONS", "Console", "ShiftedClock", "StationShape", "make_station"]

VERSIONS: Final[dict[str, Callable[[Station], Dialect]]] = {
    "1.6": DialectV16,
    "2.0.1": DialectV201,
    "2.1": DialectV21,
}

_STEP_S: Final = 0.2
_BATTERY_WH: Final = 80_000.0
_ON_OFF: Final = {"on": True, "off": False}


class ShiftedClock(SystemClock):
    """The machine's clock, wrong by a number of seconds."""

    def __init__(self) -> None:
        self.wrong_by_s = 0.0

    def now_ms(self) -> int:
        return super().now_ms() + round(self.wrong_by_s * 1_000)


@dataclass(frozen=True)
class StationShape:
    """What the command line says of a station."""

    id: str
    version: str
    connectors: int = 1
    phases: int = 3
    current_max_a: float = 32.0
    voltage_v: int = 230
    unit: Literal["A", "W"] = "A"
    direct_current: bool = False
    feeds_in: bool = False
    """Its vehicles can feed in."""


def make_station(shape: StationShape, *, url: str, clock: ShiftedClock) -> Station:
    """A station with `shape.connectors` alike.

    Raises:
        InvalidInput: a version that it does not speak.
    """
    dialect = VERSIONS.get(shape.version)
    if dialect is None:
        raise InvalidInput(f"the station speaks {', '.join(VERSIONS)}, not {shape.version}")
    spec = StationSpec(
        id=shape.id,
        version=shape.version,  # type: ignore[arg-type]  # one of VERSIONS
        unit=shape.unit,
        outlets=tuple(
            OutletSpec(
                connector_id=number,
                lines=tuple(range(shape.phases)),
                current_max_a=shape.current_max_a,
                voltage_v=shape.voltage_v,
                direct_current=shape.direct_current,
            )
            for number in range(1, shape.connectors + 1)
        ),
    )
    if shape.feeds_in and shape.version != "2.1":
        raise InvalidInput("only OCPP 2.1 has words for vehicles that feed in")
    return Station(spec, url=url, clock=clock, dialect=dialect)


class Console:
    """Does to a station what words say.

    Args:
        say: hears what a person should read.
        feeds_in: whether the vehicles that arrive can.
    """

    def __init__(
        self,
        station: Station,
        clock: ShiftedClock,
        say: Callable[[str], None],
        *,
        feeds_in: bool = False,
    ) -> None:
        self._feeds_in = feeds_in
        self._station = station
        self._clock = clock
        self._say = say
        self._states: dict[int, str] = {}

    async def run(self, lines: AsyncIterator[str]) -> None:
        """Live, and do what the lines say, until they end or one says `quit`."""
        living = asyncio.create_task(self._live())
        speaking = asyncio.create_task(self._station.run())
        try:
            async for line in lines:
                try:
                    if not await self.do(line):
                        break
                except InvalidInput as error:
                    self._say(f"? {error.message}")
            await self._station.drained(10.0)
        finally:
            living.cancel()
            await self._station.stop()
            await asyncio.gather(living, speaking, return_exceptions=True)

    async def do(self, line: str) -> bool:
        """Do what one line says; whether to go on.

        Raises:
            InvalidInput: nobody could do that.
        """
        word, *rest = shlex.split(line) or [""]
        match word:
            case "":
                pass
            case "quit":
                return False
            case "wait":
                await asyncio.sleep(_number(rest, 0))
            case "offline":
                await self._station.hang_up(_number(rest, 0))
            case "reboot":
                self._station.reset(hard=True)
            case "send":
                await self._station.say(line.strip().removeprefix("send").strip())
            case "status":
                for outlet in self._station.outlets.values():
                    self._say(_described(outlet))
            case _:
                self._behave(word, rest)
        return True

    def _behave(self, word: str, rest: list[str]) -> None:
        match word:
            case "plug" | "unplug" | "fault" | "repair":
                self._at_connector(word, rest)
            case "clock":
                self._clock.wrong_by_s = _number(rest, 0)
            case "obey":
                self._station.obeys = _on_off(rest)
            case "answer":
                self._station.manners.silent = not _on_off(rest)
            case "refuse":
                self._refuse(rest)
            case _:
                raise InvalidInput(f"nobody knows {word!r}; there is: {', '.join(_names())}")

    def _at_connector(self, word: str, rest: list[str]) -> None:
        number = int(rest.pop(0)) if rest and rest[0].isdigit() else 1
        outlet = self._station.outlets.get(number)
        if outlet is None:
            raise InvalidInput(f"there is no connector {number}")
        match word:
            case "plug" if outlet.vehicle is not None:
                raise InvalidInput(f"connector {number} is taken")
            case "plug":
                token = rest[0] if rest else "DRIVER"
                self._station.plug(number, self._vehicle(outlet, _number(rest, 1, 20.0)), token)
            case "unplug":
                self._station.unplug(number)
            case "fault":
                self._station.break_down(number, rest[0] if rest else "InternalError")
            case "repair":
                self._station.repair(number)

    def _vehicle(self, outlet: Outlet, need_kwh: float) -> Vehicle:
        most_a = outlet.spec.current_max_a
        spec = VehicleSpec(
            battery_wh=_BATTERY_WH,
            current_max_a=most_a,
            discharge_max_a=most_a if self._feeds_in else 0.0,
        )
        soc = max(0.0, spec.charge_limit_soc - need_kwh * 1_000 / _BATTERY_WH)
        return Vehicle(
            spec,
            soc=soc,
            outlet_phases=len(outlet.spec.lines),
            voltage_v=outlet.spec.voltage_v,
        )

    def _refuse(self, rest: list[str]) -> None:
        if not rest:
            raise InvalidInput("name an action, or none")
        if rest == ["none"]:
            self._station.manners.refuses.clear()
        else:
            self._station.manners.refuses.update(rest)

    async def _live(self) -> None:
        while True:
            await asyncio.sleep(_STEP_S)
            self._station.step(self._clock.now_ms(), _STEP_S)
            for number, outlet in self._station.outlets.items():
                if self._states.get(number) != outlet.state.value:
                    self._states[number] = outlet.state.value
                    self._say(_described(outlet))


def _described(outlet: Outlet) -> str:
    line = f"connector {outlet.spec.connector_id}: {outlet.fault or outlet.state.value}"
    if outlet.transaction is None:
        return f"{line}, register {outlet.register_wh:.0f} Wh"
    charge = "" if outlet.vehicle is None else f", battery {outlet.vehicle.soc:.0%}"
    return (
        f"{line}, offered {outlet.offered_a:.1f} A, draws {outlet.draw.current_a:.1f} A"
        f"{charge}, register {outlet.register_wh:.0f} Wh, transaction {outlet.transaction.id}"
    )


def _names() -> Iterable[str]:
    return (words.split(" ", 1)[0] for words in WORDS)


def _number(words: list[str], place: int, default: float | None = None) -> float:
    if len(words) <= place and default is not None:
        return default
    try:
        return float(words[place])
    except (IndexError, ValueError) as error:
        raise InvalidInput("a number is missing") from error


def _on_off(words: list[str]) -> bool:
    if len(words) != 1 or words[0] not in _ON_OFF:
        raise InvalidInput("say on or off")
    return _ON_OFF[words[0]]
