"""What the payloads of OpenADR events ask of Loadstar, but for prices; docs/integrations.md has the
table.

Invariant: nothing is guessed. A payload becomes a limit, or a reduction, or it is ignored with a
reason; none of them ever raises what may be drawn."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from typing import Any

from controlplane.integrations.openadr.timing import Window
from controlplane.integrations.openadr.wire import (
    Event,
    PayloadDescriptor,
    Program,
    ValuesMap,
)

__all__ = [
    "LOWEST_PRIORITY",
    "Ignored",
    "Kind",
    "Level",
    "Wish",
    "addressed",
    "described",
    "number_of",
    "prevailing",
    "read_level",
    "shortened",
    "source_prefix",
    "wishes",
]

POWER_MAX_W = 10**12
LOWEST_PRIORITY = 2**31
"""Of an event that has none."""

_NAME_MAX = 40
"""So that program, event and interval together fit into the 128 characters of a source."""


class Kind(StrEnum):
    """What is wished, as `GridEventKind` names it."""

    LIMIT = "limit"
    REDUCE_BY = "reduce_by"
    RESTORE = "restore"


@dataclass(frozen=True)
class Level:
    """What a level without a number of its own comes to."""

    kind: Kind
    power_w: int


@dataclass(frozen=True)
class Wish:
    """One thing that one interval asks for.

    Attributes:
        source: names it in Loadstar's grid events, and nothing else.
        version: the event as the utility last wrote it.
        priority: 0 goes before all others.
        power_w: 0 and up.
    """

    source: str
    event_id: str
    interval_id: int
    payload_type: str
    version: str
    priority: int
    kind: Kind
    power_w: int
    start_ms: int
    end_ms: int
    immediate: bool
    target: str = ""
    """What of Loadstar follows the program, such as `feeder:north`: of one event, every target has
    grid events of its own."""

    def begun(self, now_ms: int) -> bool:
        return self.immediate or self.start_ms <= now_ms


@dataclass(frozen=True)
class Ignored:
    """A payload that asks nothing of us, and why. `reason` is a stable word."""

    event_id: str
    interval_id: int
    payload_type: str
    reason: str
    words: str


_LIMITS = frozenset({"IMPORT_CAPACITY_LIMIT", "DISPATCH_SETPOINT"})
_CAPACITY = "IMPORT_CAPACITY_SUBSCRIPTION"
_RESERVATION = "IMPORT_CAPACITY_RESERVATION"
_RELATIVE = "DISPATCH_SETPOINT_RELATIVE"
_ALERT_LEVELS = {"ALERT_GRID_EMERGENCY": 3, "ALERT_BLACK_START": 3, "ALERT_FLEX_ALERT": 1}
_TYPE_NAMES = {
    "IMPORT_CAPACITY_LIMIT": "limit",
    "IMPORT_CAPACITY_SUBSCRIPTION": "capacity",
    "DISPATCH_SETPOINT": "setpoint",
    "DISPATCH_SETPOINT_RELATIVE": "relative",
    "SIMPLE": "simple",
    "ALERT_GRID_EMERGENCY": "emergency",
    "ALERT_BLACK_START": "blackstart",
    "ALERT_FLEX_ALERT": "flex",
}
_UNITS_W = {"W": 1.0, "KW": 1_000.0, "MW": 1_000_000.0}
_LEVEL = re.compile(r"^\s*(-?)(\d+(?:\.\d+)?)\s*(W|KW|MW)\s*$", re.IGNORECASE)

_NOT_OURS = {
    "EXPORT_PRICE": "what feeding in earns follows from PRICE, by the tariff's export_multiplier",
    "GHG": "emissions do not steer charging yet",
    "CHARGE_STATE_SETPOINT": "a vehicle's state of charge is its driver's",
    "CONTROL_SETPOINT": "its meaning is private to a program",
    "DISPATCH_INSTRUCTION": "its meaning is private to a program",
    "CONTROL_LEVEL_OFFSET": "its meaning depends on a device",
    "CONTROL_LEVEL_OFFSET_PERCENT": "its meaning depends on a device",
    "CURVE": "curves are for inverters",
    "OLS": "load shapes are not planned",
    "IMPORT_CAPACITY_AVAILABLE": "reservations are not bought",
    "IMPORT_CAPACITY_AVAILABLE_PRICE": "reservations are not bought",
    "IMPORT_CAPACITY_RESERVATION_FEE": "reservations are not bought",
    "EXPORT_CAPACITY_LIMIT": "nothing is exported",
    "ALERT_POSSIBLE_OUTAGE": "it informs and asks for nothing",
    "ALERT_FIRE": "it informs and asks for nothing",
    "ALERT_FREEZING": "it informs and asks for nothing",
    "ALERT_WIND": "it informs and asks for nothing",
    "ALERT_TSUNAMI": "it informs and asks for nothing",
    "ALERT_AIR_QUALITY": "it informs and asks for nothing",
    "ALERT_OTHER": "it informs and asks for nothing",
}


def read_level(text: str) -> Level:
    """A level as it is written in settings: `80kW` is a limit, `-50kW` a reduction by so much.

    Raises:
        ValueError: neither.
    """
    match = _LEVEL.match(text)
    if match is None:
        raise ValueError(f"{text!r} is no power such as 80kW (a limit) or -50kW (a reduction)")
    power_w = round(float(match.group(2)) * _UNITS_W[match.group(3).upper()])
    if power_w > POWER_MAX_W:
        raise ValueError(f"{text!r} is more than any grid carries")
    return Level(Kind.REDUCE_BY if match.group(1) else Kind.LIMIT, power_w)


def source_prefix(program_id: str) -> str:
    """How the sources of all grid events of a program begin."""
    return f"openadr:{shortened(program_id)}/"


def shortened(id: str) -> str:
    """An object's id, or what stands for one that is too long; only that has a `~`."""
    if len(id) <= _NAME_MAX:
        return id
    digest = blake2b(id.encode(), digest_size=8).hexdigest()
    return f"{id[: _NAME_MAX - 17]}~{digest}"


def addressed(targets: Sequence[ValuesMap | str] | None, names: Iterable[str]) -> bool:
    """Whether an event with these targets is meant for whoever goes by one of `names`. One without
    targets is meant for everybody in the program. In 3.0 a target has a type (VEN_NAME, GROUP, ...)
    that says what its values are; a value that is one of our names is ours under any type."""
    if not targets:
        return True
    ours = set(names)
    for target in targets:
        values = target.values if isinstance(target, ValuesMap) else [target]
        if any(isinstance(value, str) and value in ours for value in values):
            return True
    return False


def described(event: Event, program: Program) -> dict[str, PayloadDescriptor]:
    """What is said of every type of payload, by the event or else by the program."""
    return {
        descriptor.payload_type: descriptor
        for descriptors in (program.payload_descriptors, event.payload_descriptors)
        for descriptor in descriptors or []
    }


def wishes(
    event: Event,
    program: Program,
    windows: Sequence[Window],
    levels: Mapping[int, Level],
    *,
    target: str = "",
) -> tuple[list[Wish], list[Ignored]]:
    """What an event asks of a `target`, interval by interval, and what of it is ignored."""
    units = {
        payload_type: (descriptor.units or "").upper()
        for payload_type, descriptor in described(event, program).items()
    }
    found: list[Wish] = []
    ignored: list[Ignored] = []
    for window in windows:
        reader = _WindowReader(event, window, units, levels, target)
        reader.read()
        found += reader.named()
        ignored += reader.ignored
    return found, ignored


def prevailing(found: Sequence[Wish]) -> list[Wish]:
    """The wishes with what higher priorities overrule cut out.

    Where events with payloads of one type overlap, the one with the lower number holds (user guide
    section 7.1). Of equal ones, and of different types, all hold, and the lowest limit counts.
    """
    kept: list[Wish] = []
    for wish in found:
        spans = [(wish.start_ms, wish.end_ms)]
        for other in found:
            if other.payload_type == wish.payload_type and other.priority < wish.priority:
                spans = [
                    part
                    for start_ms, end_ms in spans
                    for part in (
                        (start_ms, min(end_ms, other.start_ms)),
                        (max(start_ms, other.end_ms), end_ms),
                    )
                    if part[0] < part[1]
                ]
        for start_ms, end_ms in spans:
            kept.append(
                wish
                if (start_ms, end_ms) == (wish.start_ms, wish.end_ms)
                else replace(
                    wish,
                    source=_part(wish, start_ms),
                    start_ms=start_ms,
                    end_ms=end_ms,
                    immediate=wish.immediate and start_ms == wish.start_ms,
                )
            )
    return kept


def _part(wish: Wish, start_ms: int) -> str:
    """The source of what is left of a wish: each part has a name of its own."""
    after_s = (start_ms - wish.start_ms) // 1_000
    return f"{wish.source}+{after_s}" if after_s else wish.source


class _WindowReader:
    """Reads the payloads of one interval."""

    def __init__(
        self,
        event: Event,
        window: Window,
        units: Mapping[str, str],
        levels: Mapping[int, Level],
        target: str,
    ) -> None:
        self.wishes: list[Wish] = []
        self.ignored: list[Ignored] = []
        self._event = event
        self._window = window
        self._units = units
        self._levels = levels
        self._target = target

    def read(self) -> None:
        payloads: dict[str, ValuesMap] = {}
        for payload in self._window.payloads:
            if payloads.setdefault(payload.type, payload) is not payload:
                self._ignore(payload, "VALUE_INVALID", "it stands twice in one interval")
        for payload in payloads.values():
            match payload.type:
                case name if name in _LIMITS:
                    self._limit(payload, self._power_w(payload))
                case "IMPORT_CAPACITY_SUBSCRIPTION":
                    self._capacity(payload, payloads.get(_RESERVATION))
                case "IMPORT_CAPACITY_RESERVATION" if _CAPACITY not in payloads:
                    self._ignore(
                        payload,
                        "SUBSCRIPTION_UNKNOWN",
                        "a reservation is added to a subscription in the same interval",
                    )
                case "IMPORT_CAPACITY_RESERVATION":
                    pass
                case "DISPATCH_SETPOINT_RELATIVE":
                    self._relative(payload)
                case "SIMPLE":
                    self._simple(payload)
                case name if name in _ALERT_LEVELS:
                    self._level(payload, _ALERT_LEVELS[name])
                case "PRICE":
                    # See `prices`.
                    pass
                case name:
                    self._ignore(
                        payload,
                        "NOT_FOR_CHARGING" if name in _NOT_OURS else "PAYLOAD_UNKNOWN",
                        _NOT_OURS.get(name, "nobody has said what it means for charging"),
                    )

    def named(self) -> list[Wish]:
        """The wishes; where the interval has several, their payload types tell them apart."""
        if len(self.wishes) < 2:
            return self.wishes
        return [
            replace(wish, source=f"{wish.source}:{_TYPE_NAMES[wish.payload_type]}")
            for wish in self.wishes
        ]

    def _limit(self, payload: ValuesMap, power_w: int | None) -> None:
        if power_w is None:
            return
        if power_w < 0:
            self._ignore(payload, "VALUE_INVALID", "a limit is 0 or above")
            return
        self._wish(payload, Kind.LIMIT, power_w)

    def _capacity(self, payload: ValuesMap, reservation: ValuesMap | None) -> None:
        subscribed_w = self._power_w(payload)
        reserved_w = 0 if reservation is None else self._power_w(reservation)
        if subscribed_w is not None:
            # A reservation that cannot be read grants nothing.
            self._limit(payload, subscribed_w + max(0, reserved_w or 0))

    def _relative(self, payload: ValuesMap) -> None:
        power_w = self._power_w(payload)
        if power_w is None:
            return
        if power_w >= 0:
            self._ignore(payload, "NOTHING_TO_REDUCE", "nobody is made to draw more than they want")
            return
        self._wish(payload, Kind.REDUCE_BY, -power_w)

    def _simple(self, payload: ValuesMap) -> None:
        value = number_of(payload.values)
        if value is None or value not in {0, 1, 2, 3}:
            self._ignore(payload, "VALUE_INVALID", "a level is 0, 1, 2 or 3")
        elif value > 0:
            self._level(payload, int(value))

    def _level(self, payload: ValuesMap, number: int) -> None:
        level = self._levels.get(number)
        if level is None:
            self._ignore(
                payload, "LEVEL_NOT_CONFIGURED", f"what level {number} means was not configured"
            )
            return
        self._wish(payload, level.kind, level.power_w)

    def _power_w(self, payload: ValuesMap) -> int | None:
        """The payload's power; kilowatts where nothing else is said."""
        units = self._units.get(payload.type) or "KW"
        if units not in _UNITS_W:
            self._ignore(payload, "UNITS_UNKNOWN", f"{units} is no unit of power that we read")
            return None
        value = number_of(payload.values)
        if value is None or abs(value) * _UNITS_W[units] > POWER_MAX_W:
            self._ignore(payload, "VALUE_INVALID", "one finite number is expected")
            return None
        # A limit never rounds up, and what is negative reduces by no less than was asked.
        return math.floor(value * _UNITS_W[units])

    def _wish(self, payload: ValuesMap, kind: Kind, power_w: int) -> None:
        event, window = self._event, self._window
        priority = LOWEST_PRIORITY if event.priority is None else event.priority
        place = f"{window.interval_id}" + (f".{window.cycle}" if window.cycle else "")
        self.wishes.append(
            Wish(
                source=f"{source_prefix(event.program_id)}{shortened(event.id)}/{place}",
                event_id=event.id,
                interval_id=window.interval_id,
                payload_type=payload.type,
                version=event.modification_date_time or event.created_date_time or "",
                priority=priority,
                kind=kind,
                power_w=power_w,
                start_ms=window.start_ms,
                end_ms=window.end_ms,
                immediate=window.immediate,
                target=self._target,
            )
        )

    def _ignore(self, payload: ValuesMap, reason: str, words: str) -> None:
        interval_id = self._window.interval_id
        self.ignored.append(Ignored(self._event.id, interval_id, payload.type, reason, words))


def number_of(values: Sequence[Any]) -> float | None:
    """The one finite number of a payload."""
    if len(values) != 1 or isinstance(values[0], bool) or not isinstance(values[0], int | float):
        return None
    try:
        number = float(values[0])
    except OverflowError:
        # JSON knows no largest integer.
        return None
    return number if math.isfinite(number) else None
