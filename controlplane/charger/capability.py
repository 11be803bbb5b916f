"""What a charger reports of itself that decides how it is steered and what it is asked to measure.

Everything that it reports is stored; only this stays in the actor's memory. The invariant: None and
empty mean that it has not said, and what cannot be read counts as not said: a charger that reports
nonsense is steered like one that reports nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec

from controlplane.ocpp.variables import Characteristics, Mutability, VariableName
from controlplane.site.messages import VehicleLimits

__all__ = ["Capability", "Fact"]

_ITEMS_MAX: Final = 64
"""Measurands that are remembered; the specifications name some thirty."""
_EVSES_MAX: Final = 64


class Fact(msgspec.Struct, frozen=True):
    """The actual value of a setting, with what the charger said besides."""

    name: VariableName
    value: str | None
    mutability: Mutability | None = None
    characteristics: Characteristics | None = None


class Capability(msgspec.Struct, array_like=True):
    """What is known of one charger."""

    units: tuple[str, ...] = ()
    """In which charging profiles are taken: A, W or both."""
    stack_level_max: int | None = None
    measurands: tuple[str, ...] = ()
    """Which it can sample."""
    measurands_set: tuple[str, ...] = ()
    """Which it sampled when it told; it can do at least these."""
    measurands_items_max: int | None = None
    measurands_chars_max: int | None = None
    measurands_fixed: bool = False
    """Nobody can change what is sampled."""
    interval_fixed: bool = False
    power_max_w: dict[int, int] = {}
    """The most that an EVSE delivers; 0 is the station as a whole."""
    current_min_ma: dict[int, int] = {}
    """The least that an EVSE delivers per phase."""
    settings_get_max: int | None = None
    """How many settings it takes in one question."""
    settings_set_max: int | None = None
    bidirectional: bool | None = None
    """Whether it says that it steers power in both directions (2.1)."""
    operation_modes: tuple[str, ...] = ()
    """Those of 2.1 that it knows."""

    @property
    def takes_setpoints(self) -> bool:
        """Whether a vehicle there may be told to feed in: not where the station denies it. One that
        says nothing of itself has told of a vehicle that can, over ISO 15118-20."""
        modes = self.operation_modes
        return self.bidirectional is not False and (not modes or "centralsetpoint" in modes)

    def take(self, fact: Fact) -> bool:
        """Take in what a charger says of a setting; whether anything changed by that."""
        name = fact.name
        place = f"{name.component}.{name.variable}" if name.component else name.variable
        if name.variable_instance:
            place += f"[{name.variable_instance}]"
        place = place.casefold()
        take = _TAKEN.get(place)
        if take is None and place.endswith("supportedmeasurands"):
            take = _supported_measurands
        if take is None:
            return False
        before = msgspec.structs.astuple(self)
        take(self, fact)
        return msgspec.structs.astuple(self) != before

    def limits(self, connector_id: int, vehicle: VehicleLimits | None) -> VehicleLimits | None:
        """What a session on a connector can take: the vehicle's own word, made smaller where the
        station delivers less and never larger."""
        powers_w = [
            power_w
            for power_w in (
                self.power_max_w.get(connector_id),
                self.power_max_w.get(0),
                None if vehicle is None else vehicle.power_max_w,
            )
            if power_w is not None
        ]
        reported_ma = self.current_min_ma.get(connector_id, self.current_min_ma.get(0))
        if reported_ma is None and not self.power_max_w.keys() & {0, connector_id}:
            return vehicle
        vehicle = vehicle or VehicleLimits()
        currents_ma = [ma for ma in (reported_ma, vehicle.current_min_ma) if ma is not None]
        return msgspec.structs.replace(
            vehicle,
            power_max_w=min(powers_w, default=None),
            current_min_ma=max(currents_ma, default=None),
        )


def _words(text: str | None) -> tuple[str, ...]:
    """The entries of a list that is separated by commas."""
    found = (word.strip() for word in (text or "").split(","))
    return tuple(dict.fromkeys(word for word in found if word))[:_ITEMS_MAX]


def _measurands(text: str | None) -> tuple[str, ...]:
    """Names of measurands; the phase that some stations append (`Current.Import.L1`) is left
    away."""
    return tuple(
        dict.fromkeys(
            word[:-3] if word[-3:] in {".L1", ".L2", ".L3"} else word for word in _words(text)
        )
    )


def _whole(text: str | None, *, most: int) -> int | None:
    """A number from 0 to `most`, rounded down."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return math.floor(number) if 0 <= number <= most else None


def _positive(number: float | None, *, most: int) -> int | None:
    if number is None or not 0 < number <= most:
        return None
    return math.floor(number)


def _units(capability: Capability, fact: Fact) -> None:
    """1.6 says Current and Power, 2.x A and W; there are stations that mix them up."""
    words = {word.casefold() for word in _words(fact.value)}
    units = []
    if words & {"a", "current", "amperes", "amps"}:
        units.append("A")
    if words & {"w", "power", "watts"}:
        units.append("W")
    capability.units = tuple(units)


def _stack_level(capability: Capability, fact: Fact) -> None:
    capability.stack_level_max = _whole(fact.value, most=2**31 - 1)


def _sampled(capability: Capability, fact: Fact) -> None:
    capability.measurands_set = _measurands(fact.value)
    if fact.mutability is not None:
        capability.measurands_fixed = fact.mutability is Mutability.READ_ONLY
    characteristics = fact.characteristics
    if characteristics is not None:
        capability.measurands = _measurands(characteristics.values) or capability.measurands
        # Appendix of 2.0.1 part 2: the longest text of the list.
        capability.measurands_chars_max = _positive(characteristics.limit_max, most=100_000)


def _sampled_items(capability: Capability, fact: Fact) -> None:
    capability.measurands_items_max = _whole(fact.value, most=1_000) or None


def _supported_measurands(capability: Capability, fact: Fact) -> None:
    """A key of the maker's own that lists them."""
    capability.measurands = _measurands(fact.value) or capability.measurands


def _interval(capability: Capability, fact: Fact) -> None:
    if fact.mutability is not None:
        capability.interval_fixed = fact.mutability is Mutability.READ_ONLY


def _power(capability: Capability, fact: Fact) -> None:
    """The limit of EVSE.Power is the most that it can deliver (2.0.1 part 2 appendix)."""
    characteristics = fact.characteristics
    if characteristics is None or not (fact.name.evse_id or fact.name.component == "EVSE"):
        return
    kilo = 1_000 if characteristics.unit.casefold() == "kw" else 1
    limit = characteristics.limit_max
    power_max_w = _positive(None if limit is None else limit * kilo, most=10**8)
    if power_max_w is not None and len(capability.power_max_w) < _EVSES_MAX:
        capability.power_max_w = {**capability.power_max_w, fact.name.evse_id: power_max_w}


def _current(capability: Capability, fact: Fact) -> None:
    """The lower limit of a current that can be set is the least that it delivers."""
    characteristics = fact.characteristics
    if characteristics is None or characteristics.limit_min is None:
        return
    current_min_ma = _positive(characteristics.limit_min * 1_000, most=1_000_000)
    if current_min_ma is not None and len(capability.current_min_ma) < _EVSES_MAX:
        capability.current_min_ma = {**capability.current_min_ma, fact.name.evse_id: current_min_ma}


def _get_max(capability: Capability, fact: Fact) -> None:
    capability.settings_get_max = _whole(fact.value, most=10_000) or None


def _set_max(capability: Capability, fact: Fact) -> None:
    capability.settings_set_max = _whole(fact.value, most=10_000) or None


def _bidirectional(capability: Capability, fact: Fact) -> None:
    said = (fact.value or "").casefold()
    capability.bidirectional = {"true": True, "false": False}.get(said)


def _operation_modes(capability: Capability, fact: Fact) -> None:
    capability.operation_modes = tuple(word.casefold() for word in _words(fact.value))


_TAKEN: Final[dict[str, Callable[[Capability, Fact], None]]] = {
    # 1.6, section 9.1 and 9.4
    "chargingscheduleallowedchargingrateunit": _units,
    "chargeprofilemaxstacklevel": _stack_level,
    "metervaluessampleddata": _sampled,
    "metervaluessampleddatamaxlength": _sampled_items,
    "metervaluesampleinterval": _interval,
    "getconfigurationmaxkeys": _get_max,
    # 2.x, appendix
    "smartchargingctrlr.rateunit": _units,
    "smartchargingctrlr.profilestacklevel": _stack_level,
    "sampleddatactrlr.txupdatedmeasurands": _sampled,
    "sampleddatactrlr.txupdatedinterval": _interval,
    "devicedatactrlr.itemspermessage[getvariables]": _get_max,
    "devicedatactrlr.itemspermessage[setvariables]": _set_max,
    # 2.1, appendix
    "v2xchargingctrlr.enabled": _bidirectional,
    "v2xchargingctrlr.supportedoperationmodes": _operation_modes,
    "evse.power": _power,
    "acdcconverter.power": _power,
    "evse.current": _current,
    "connector.current": _current,
}
