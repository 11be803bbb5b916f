"""Frames made out of the schemas of a version, and then spoilt.

A frame that is noise all through dies at the first check. So a frame begins as a proper one, out of
its schema, with values that hang together (a few connectors, a few transactions), and is then left
as it is, or changed in one to three places, or cut and garbled as text. One seed gives the same
frames again."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from functools import cache
from typing import Any

from controlplane.ocpp import schemas
from controlplane.ocpp.schemas import Direction
from controlplane.units import iso_from_ms

__all__ = ["Frames"]

_LEFT_ALONE = 0.35
_GARBLED = 0.15
_OPTIONAL = 0.35
_DEPTH_MAX = 8
_HOUR_MS = 3_600_000

_WORDS = ("", "A", "Wh", "kWh", "W", "L1", "L1-N", "NoError", "Sample.Periodic", "é\u2028", "x y")
_NUMBERS = ("0", "1.5", "-3", "230,4", "1e400", "NaN", "12 kWh", "909948", "0x10", " 7 ")
_TOKENS = ("TAG-1", "TAG-2", "\u0000", "0" * 20, "DE*ABC*1234")
_TRANSACTIONS = ("tx-1", "tx-2", "tx-3", "")
_INTEGERS = (0, 1, 1, 1, 2, 3, 7, -1, 2**31 - 1)
_ODD: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1.5,
    -0.0,
    2**31,
    2**53 + 1,
    2**63,
    2**64,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "null",
    "x" * 300,
    "y" * 9_000,
    "\ud800",
    "\U0001f50c",
    "1970-01-01T00:00:00Z",
    "2026-02-30T25:61:61Z",
    "9999-12-31T23:59:59.999999+14:00",
    [],
    {},
    [[]],
    [{}],
    {"": {}},
)
_IDS: tuple[Any, ...] = (None, 0, 17, "", "-1", "i" * 36, "i" * 128, "i" * 129, [], {}, True, "\0")
_ACTIONS: tuple[Any, ...] = ("HeartBeat", "Reset", "", None, 3, "Authorize", "a" * 500)
_TYPES: tuple[Any, ...] = (0, 1, 2, 3, 4, 5, 6, 7, -2, 2.0, "2", None, [2], 2**70)


class Frames:
    """Frames of one version.

    Args:
        chance: decides everything.
    """

    def __init__(self, version: str, chance: random.Random) -> None:
        self._version = version
        self._chance = chance
        self._serial = 0
        self._actions = sorted(schemas.actions(version, Direction.STATION))

    def call(self, *, now_ms: int) -> bytes:
        """A CALL of a station, or what was one."""
        chance = self._chance
        action = chance.choice(self._actions)
        payload = self._payload(_request(self._version, action), now_ms)
        return self._text(self._spoilt([2, self._next_id(), action, payload]))

    def answer(self, message_id: str, action: str, *, now_ms: int) -> bytes:
        """An answer to our CALL, or what was one."""
        if self._chance.random() < 0.15:
            frame: list[Any] = [4, message_id, self._chance.choice(_WORDS), "", {}]
        else:
            payload = self._payload(_response(self._version, action), now_ms)
            frame = [3, message_id, payload]
        return self._text(self._spoilt(frame))

    def _next_id(self) -> str:
        self._serial += 1
        return f"f{self._serial}"

    # --- proper -----------------------------------------------------------------------------------

    def _payload(self, schema: dict[str, Any], now_ms: int) -> Any:
        return self._value(schema, schema.get("definitions", {}), "", now_ms, 0)

    def _value(
        self,
        schema: dict[str, Any],
        definitions: dict[str, Any],
        name: str,
        now_ms: int,
        depth: int,
    ) -> Any:
        if "$ref" in schema:
            schema = definitions[schema["$ref"].rpartition("/")[2]]
        if "enum" in schema:
            return self._chance.choice(schema["enum"])
        kind = schema.get("type")
        if isinstance(kind, list):
            kind = self._chance.choice(kind)
        match kind:
            case "object":
                required = schema.get("required", ())
                return {
                    key: self._value(inner, definitions, key, now_ms, depth + 1)
                    for key, inner in schema.get("properties", {}).items()
                    if key in required or (depth < _DEPTH_MAX and self._chance.random() < _OPTIONAL)
                }
            case "array":
                least = schema.get("minItems", 0)
                count = self._chance.randint(least, max(least, min(schema.get("maxItems", 3), 3)))
                items = schema.get("items", {})
                return [
                    self._value(items, definitions, name, now_ms, depth + 1) for _ in range(count)
                ]
            case "string":
                return self._string(schema, name, now_ms)
            case "integer":
                return self._number(schema, self._chance.choice(_INTEGERS))
            case "number":
                return self._number(schema, round(self._chance.uniform(-10, 100_000), 2))
            case "boolean":
                return self._chance.random() < 0.5
        return _odd(self._chance)

    def _number(self, schema: dict[str, Any], number: Any) -> Any:
        least, most = schema.get("minimum"), schema.get("maximum")
        if least is not None and number < least:
            number = least
        if most is not None and number > most:
            number = most
        step = schema.get("multipleOf")
        return number if step is None else int(number / step) * step

    def _string(self, schema: dict[str, Any], name: str, now_ms: int) -> str:
        if schema.get("format") == "date-time":
            return iso_from_ms(now_ms + self._chance.randint(-_HOUR_MS, _HOUR_MS))
        pool: tuple[str, ...] = _WORDS
        if name == "transactionId":
            pool = _TRANSACTIONS
        elif name in ("idTag", "idToken", "parentIdTag"):
            pool = _TOKENS
        elif name in ("value", "limit"):
            pool = _NUMBERS
        return self._chance.choice(pool)[: schema.get("maxLength", 1_000)]

    # --- spoilt -----------------------------------------------------------------------------------

    def _spoilt(self, frame: list[Any]) -> list[Any]:
        if self._chance.random() < _LEFT_ALONE:
            return frame
        for _ in range(self._chance.randint(1, 3)):
            self._chance.choice(_WAYS)(self._chance, frame)
        return frame

    def _text(self, frame: list[Any]) -> bytes:
        chance = self._chance
        text = json.dumps(
            frame,
            ensure_ascii=chance.random() < 0.5,
            separators=None if chance.random() < 0.2 else (",", ":"),
            indent=chance.choice((None, None, None, 1)),
        ).encode("utf-8", "surrogatepass")
        return _garbled(chance, text) if chance.random() < _GARBLED else text


def _places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every place in a frame, as a container and the key in it."""
    keys = value.keys() if isinstance(value, dict) else range(len(value))
    for key in keys:
        found.append((value, key))
        if isinstance(value[key], dict | list):
            _places(value[key], found)
    return found


def _odd(chance: random.Random) -> Any:
    # A copy: what stands in the frame may be spoilt in its turn.
    return copy.deepcopy(chance.choice(_ODD))


def _place(chance: random.Random, frame: list[Any]) -> tuple[Any, Any] | None:
    # What a CALL consists of is spoilt less often than what it says.
    inner = _places(frame[-1], []) if frame and isinstance(frame[-1], dict | list) else []
    places = inner if inner and chance.random() < 0.85 else _places(frame, [])
    return chance.choice(places) if places else None


def _leave_out(chance: random.Random, frame: list[Any]) -> None:
    if (place := _place(chance, frame)) is not None:
        del place[0][place[1]]


def _replace(chance: random.Random, frame: list[Any]) -> None:
    if (place := _place(chance, frame)) is not None:
        place[0][place[1]] = _odd(chance)


def _wrap(chance: random.Random, frame: list[Any]) -> None:
    if (place := _place(chance, frame)) is not None:
        value = place[0][place[1]]
        for _ in range(chance.choice((1, 1, 2, 40))):
            value = [value] if chance.random() < 0.5 else {"value": value}
        place[0][place[1]] = value


def _as_text(chance: random.Random, frame: list[Any]) -> None:
    if (place := _place(chance, frame)) is not None:
        place[0][place[1]] = str(place[0][place[1]])


def _add(chance: random.Random, frame: list[Any]) -> None:
    if (place := _place(chance, frame)) is not None:
        if isinstance(place[0], dict):
            place[0][chance.choice(("customData", "extra", "", place[1]))] = _odd(chance)
        else:
            place[0].insert(chance.randrange(len(place[0]) + 1), _odd(chance))


def _double(chance: random.Random, frame: list[Any]) -> None:
    if (place := _place(chance, frame)) is not None and isinstance(place[0], list):
        place[0].extend(place[0][:50] * chance.choice((1, 20)))


def _other_head(chance: random.Random, frame: list[Any]) -> None:
    if len(frame) > 2:
        match chance.randrange(3):
            case 0:
                frame[0] = chance.choice(_TYPES)
            case 1:
                frame[1] = chance.choice(_IDS)
            case _:
                frame[2] = chance.choice(_ACTIONS)


_WAYS: tuple[Callable[[random.Random, list[Any]], None], ...] = (
    _leave_out,
    _leave_out,
    _replace,
    _replace,
    _replace,
    _wrap,
    _as_text,
    _add,
    _double,
    _other_head,
)


def _garbled(chance: random.Random, text: bytes) -> bytes:
    at = chance.randrange(len(text) + 1)
    match chance.randrange(7):
        case 0:
            return text[:at]
        case 1:
            return text[:at] + bytes((chance.randrange(256),)) + text[at:]
        case 2:
            return text[:at] + bytes((chance.randrange(256),)) + text[at + 1 :]
        case 3:
            return text[:at] + text[at + chance.randrange(1, 40) :]
        case 4:
            return text + text[:at]
        case 5:
            return b"\xef\xbb\xbf" + text
        case _:
            return text[:at] + b"\n \t" + text[at:]


@cache
def _request(version: str, action: str) -> dict[str, Any]:
    return schemas.request_schema(version, action)


@cache
def _response(version: str, action: str) -> dict[str, Any]:
    return schemas.response_schema(version, action)
