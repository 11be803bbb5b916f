"""What is meant by a frame that is not quite one.

A station whose message is refused sends it again, for ever or until it gives up what it carries; so
a message is refused only where it cannot be told what it means. The invariants: a frame that is
right is passed on untouched, at no cost; what is mended has passed its schema afterwards; nothing
that carries energy or names a token is guessed: a value that cannot be read counts as not said.

Each thing that was mended is named, as `what:where`, so that it can be journalled."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import msgspec
import orjson

from controlplane.ocpp.framing import (
    UNREADABLE_ID,
    Call,
    CallError,
    CallResult,
    Fault,
    Frame,
    FrameFault,
    parse,
)
from controlplane.ocpp.schemas import Direction, actions, check_call, errors_in

__all__ = ["read", "transaction_action"]

_ROUNDS_MAX: Final = 8
_ERRORS_MAX: Final = 16
_NAMED_MAX: Final = 8

_TOKENS: Final = re.compile(
    r'"(?:[^"\\]|\\.)*+"?'  # a string, left as it is but for what no string may hold
    r"|:(?=\s*[,}\]])"  # a name without a value
    r"|,(?=\s*[}\]])"  # a comma too many
    r"|-?\b(?:NaN|nan|Infinity|inf)\b",
    re.DOTALL,
)
_NO_ESCAPE: Final = re.compile(r'\\(?![\\"/bfnrtu])')
_CONTROL: Final = re.compile(r"[\x00-\x1f]")

_OF_TRANSACTIONS: Final = ("StartTransaction", "StopTransaction", "TransactionEvent")

_UNKNOWN_WORD: Final = {
    # What a word that no version knows becomes, by the field it stands in.
    "errorCode": "OtherError",
    "reason": "Other",
    "stoppedReason": "Other",
    "triggerReason": "Trigger",
}
_UNSAID: Final[dict[str, Any]] = {
    # What a required field becomes that was left away: a value that reads as not said.
    "chargePointModel": "",
    "chargePointVendor": "",
    "connectorId": 0,
    "errorCode": "NoError",
    "idTag": "",
    "idToken": "",
    "model": "",
    "reason": "Unknown",
    "sampledValue": [],
    "seqNo": 0,
    "timestamp": "",
    "transactionId": 0,
    "triggerReason": "Trigger",
    "type": "Central",
    "value": "",
    "vendorName": "",
}


def read(version: str, text: str | bytes) -> Frame:
    """Read one WebSocket message: a frame, and where it is a CALL, one that its schema takes.

    Never raises on account of `text`.
    """
    frame = parse(version, text)
    if type(frame) is FrameFault and frame.message_id == UNREADABLE_ID:
        frame = _read_mended(version, text, frame)
    if type(frame) is not Call:
        return frame
    admitted = _admit(version, frame)
    if isinstance(admitted, Call):
        return admitted
    return FrameFault(
        frame.message_id, admitted.code, admitted.description, True, action=frame.action[:64]
    )


def transaction_action(text: str) -> str:
    """The action that carries a transaction in a text that is no frame; "" if there is none."""
    return next((action for action in _OF_TRANSACTIONS if f'"{action}"' in text), "")


def _read_mended(version: str, text: str | bytes, fault: FrameFault) -> Frame:
    """What a text says that is no JSON, rid of what firmware is known to put into it: a name
    without a value, commas too many, NaN, line breaks and stray backslashes inside strings."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    mended = _TOKENS.sub(_mended_token, text.strip("\ufeff\0 \t\r\n"))
    frame = parse(version, mended) if mended != text else fault
    if type(frame) is Call:
        return msgspec.structs.replace(frame, mended=("json:",))
    return frame if type(frame) in (CallResult, CallError) else fault


def _mended_token(found: re.Match[str]) -> str:
    token = found.group()
    if token[0] == '"':
        token = _NO_ESCAPE.sub(r"\\\\", token)
        return _CONTROL.sub(lambda control: f"\\u{ord(control.group()):04x}", token)
    if token == ":":
        return ":null"
    return "" if token == "," else "null"


def _admit(version: str, call: Call) -> Call | Fault:
    """The CALL as it may go on: as it came where its schema takes it, else mended; or why it is
    refused."""
    fault = check_call(version, call.action, call.payload)
    if fault is None:
        return call
    action = _spelt(version).get(call.action.casefold(), call.action)
    mended = list(call.mended)
    if action != call.action:
        mended.append(f"spelling:{call.action[:64]}")
        if check_call(version, action, call.payload) is None:
            return _replaced(call, action, call.payload, mended)
    elif action not in actions(version, Direction.STATION):
        return fault
    payload = copy.deepcopy(call.payload)
    for _ in range(_ROUNDS_MAX):
        errors = errors_in(version, action, payload, _ERRORS_MAX)
        if not errors:
            return _replaced(call, action, payload, mended)
        names = [name for name in (_mend(payload, error) for error in errors) if name]
        if not names:
            return fault
        mended += names
    return fault


def _replaced(call: Call, action: str, payload: dict[str, Any], mended: list[str]) -> Call:
    named = tuple(dict.fromkeys(mended))[:_NAMED_MAX]
    return msgspec.structs.replace(call, action=action, payload=payload, mended=named)


@cache
def _spelt(version: str) -> dict[str, str]:
    return {action.casefold(): action for action in actions(version, Direction.STATION)}


# --- one error ------------------------------------------------------------------------------------


def _mend(payload: dict[str, Any], error: Any) -> str:
    """Mend one error in place; its name, or "" where it cannot be told what was meant."""
    path = list(error.instance_path)
    kind = error.kind.name
    where = ".".join(str(part) for part in path if not isinstance(part, int))
    place: Any = payload
    try:
        for part in path[:-1] if kind in _OF_VALUES else path:
            place = place[part]
    except (KeyError, IndexError, TypeError):
        # Mended already, with something around it.
        return f"{kind}:{where}"
    if kind == "required":
        name = error.kind.property
        if name not in _UNSAID or (name == "transactionId" and path):
            return ""
        place[name] = copy.copy(_UNSAID[name])
        return f"missing:{where}.{name}".replace(":.", ":")
    if kind == "additionalProperties":
        for name in error.kind.unexpected:
            place.pop(name, None)
        return f"unknown_field:{where}.{error.kind.unexpected[0][:64]}".replace(":.", ":")
    mend = _OF_VALUES.get(kind)
    if mend is None or not path:
        return ""
    key = path[-1]
    if isinstance(place, dict) and key not in place:
        return f"{_NAMES[kind]}:{where}"
    value = place[key]
    mended = mend(str(key), value, error.kind)
    if mended is value:
        return ""
    if mended is not _NOT_SAID:
        place[key] = mended
    elif isinstance(place, dict):
        del place[key]
    else:
        return ""
    return f"{_NAMES[kind]}:{where}"


_NOT_SAID: Final = object()
"""The value is taken away. Where its schema wants one, the next round says so."""


def _typed(_: str, value: Any, kind: Any) -> Any:
    wanted = kind.types[0]
    if wanted == "string" and isinstance(value, int | float):
        return orjson.dumps(value).decode()
    if wanted in ("integer", "number"):
        number = _number(value)
        if number is not None:
            return int(number // 1) if wanted == "integer" else number
    if wanted == "boolean" and str(value).casefold() in ("true", "false", "0", "1"):
        return str(value).casefold() in ("true", "1")
    if wanted == "array" and isinstance(value, dict):
        return [value]
    if wanted == "object" and isinstance(value, list) and len(value) == 1:
        return value[0]
    return _NOT_SAID


def _number(value: Any) -> int | float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        number = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        return None
    finite = isinstance(number, int | float) and abs(number) < 2**63
    return number if finite and not isinstance(number, bool) else None


def _worded(name: str, value: Any, kind: Any) -> Any:
    for option in kind.options:
        if isinstance(value, str) and str(option).casefold() == value.strip().casefold():
            return option
    substitute = _UNKNOWN_WORD.get(name)
    return substitute if substitute in kind.options else _NOT_SAID


def _cut(name: str, value: Any, kind: Any) -> Any:
    # To cut a token would make it somebody else's.
    return value if name in ("idTag", "idToken", "transactionId") else value[: kind.limit]


def _left_away(_: str, __: Any, ___: Any) -> Any:
    return _NOT_SAID


_OF_VALUES: Final[dict[str, Callable[[str, Any, Any], Any]]] = {
    "enum": _worded,
    "maxLength": _cut,
    "maximum": _left_away,
    "minItems": _left_away,
    "minimum": _left_away,
    "multipleOf": _left_away,
    "type": _typed,
}
_NAMES: Final = {
    "enum": "unknown_word",
    "maxLength": "too_long",
    "maximum": "out_of_range",
    "minItems": "empty",
    "minimum": "out_of_range",
    "multipleOf": "out_of_range",
    "type": "wrong_type",
}
