"""Structs of the domain to and from objects of OCPP, by tables.

The blocks of 2.1 carry structures of dozens of fields both ways. A table says once how each field
is called on the wire; the invariant: what is written from a struct is read back as the same struct,
and what its schema let through is read without an exception."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Final

import msgspec

from controlplane.ocpp.readings import instant_ms
from controlplane.units import iso_from_ms

__all__ = [
    "INSTANT",
    "MONEY",
    "NUMBER",
    "PLAIN",
    "WHOLE",
    "Codec",
    "Shape",
    "kind",
    "many",
    "money",
    "one",
    "within",
]

_WHOLE_MAX: Final = 2**53
_MONEY_MAX: Final = Decimal(10) ** 15
_INSTANT_MAX_MS: Final = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp() * 1_000)


@dataclass(frozen=True)
class Codec:
    """How one value crosses. `read` answers None for what cannot be understood."""

    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _number(value: Any) -> float | None:
    """A finite number: whatever it is used for, sums of it must not overflow."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) > _WHOLE_MAX else int(number)


def money(value: Any) -> Decimal | None:
    """An amount as the station wrote it: 1.1 is 1.1 and not its binary neighbour. None beyond what
    any bill comes to."""
    number = _number(value)
    if number is None:
        return None
    amount = Decimal(str(value))
    return amount if abs(amount) <= _MONEY_MAX else None


def _instant(value: Any) -> int | None:
    at_ms = instant_ms(value)
    return at_ms if at_ms is not None and 0 <= at_ms <= _INSTANT_MAX_MS else None


PLAIN: Final = Codec(_same, _same)
NUMBER: Final = Codec(_same, _number)
WHOLE: Final = Codec(_same, _whole)
INSTANT: Final = Codec(iso_from_ms, _instant)
"""Milliseconds UTC here, a date-time there."""
MONEY: Final = Codec(float, money)
"""A `Decimal` here, a number there."""


class Shape:
    """How the fields of one struct are called on the wire.

    Args:
        type: the struct; one that is read has a default for every number.
        fields: by attribute, the name on the wire and how the value crosses.
    """

    def __init__(self, type: type[msgspec.Struct], **fields: tuple[str, Codec]) -> None:
        self._type = type
        self._fields = fields

    def write(self, value: msgspec.Struct) -> dict[str, Any]:
        """The object on the wire; what is None or an empty tuple is left out."""
        written: dict[str, Any] = {}
        for attribute, (name, codec) in self._fields.items():
            given = getattr(value, attribute)
            if given is not None and given != ():
                written[name] = codec.write(given)
        return written

    def read(self, payload: dict[str, Any]) -> Any:
        """The struct; a field that cannot be understood has its default."""
        values: dict[str, Any] = {}
        for attribute, (name, codec) in self._fields.items():
            given = payload.get(name)
            if given is not None:
                read = codec.read(given)
                if read is not None:
                    values[attribute] = read
        return self._type(**values)


def one(shape: Shape) -> Codec:
    """An object."""
    return Codec(shape.write, shape.read)


def many(codec: Codec) -> Codec:
    """A list here and there; what cannot be understood is left out."""
    return Codec(
        lambda values: [codec.write(value) for value in values],
        lambda values: tuple(
            read for read in (codec.read(value) for value in values) if read is not None
        ),
    )


def kind(words: type[Enum]) -> Codec:
    """A word of an enumeration; one that is not of it counts as not given."""

    def read(value: Any) -> Any:
        try:
            return words(value)
        except ValueError:
            return None

    return Codec(lambda word: word.value, read)


def within(least: float, most: float) -> Codec:
    """A number that counts as not given outside its range."""

    def read(value: Any) -> float | None:
        number = _number(value)
        return number if number is not None and least <= number <= most else None

    return Codec(_same, read)
