"""OCPP-J frames without IO: text to frame and back (OCPP-J 1.6 section 4, OCPP 2.0.1 and 2.1 part
4).

Whoever holds the socket gives text and gets a `Frame`; it never gets an exception. The invariant:
every text parses to exactly one of `Call`, `CallResult`, `CallError`, `CallResultError`, `Send` and
`FrameFault`, and a `FrameFault` says what to answer, or that nothing may be answered because the
text was an answer or wanted none. The two kinds of frame that 2.1 added are unknown to the versions
before it. Frames are written without blanks, because some stations match text."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec
import orjson

__all__ = [
    "ERROR_CODES",
    "MESSAGE_ID_MAX",
    "UNREADABLE_ID",
    "Call",
    "CallError",
    "CallResult",
    "CallResultError",
    "ErrorCode",
    "Fault",
    "Frame",
    "FrameFault",
    "Send",
    "call_text",
    "code_word",
    "encode_call",
    "encode_error",
    "encode_result",
    "encode_result_error",
    "has_result_errors",
    "parse",
    "read_call",
]

UNREADABLE_ID: Final = "-1"
"""The message id of a CALLERROR to a frame whose own id could not be read (2.0.1 part 4 section
4.2.3)."""

MESSAGE_ID_MAX: Final = 128
"""Longest message id that is answered. The specification says 36; longer ones are seen in the field
and cost nothing to echo, but not without a bound."""

_DESCRIPTION_MAX: Final = 255
"""Longest errorDescription (2.0.1 part 4, CALLERROR)."""

_DEPTH_MAX: Final = 32
"""Deepest nesting of a frame; no message of any version needs more than a dozen. Encoders on the
way to the actor recurse, so an unbounded depth would be a way to break them."""

_TEXT: Final[Any] = (("[", "{"), "\\u0000")
_BYTES: Final[Any] = ((b"[", b"{"), b"\\u0000")

_CALL, _CALL_RESULT, _CALL_ERROR, _CALL_RESULT_ERROR, _SEND = 2, 3, 4, 5, 6


class ErrorCode(StrEnum):
    """What can be wrong with a CALL, in the words of OCPP 2.0.1 part 4 section 4.3."""

    FORMAT_VIOLATION = "FormatViolation"
    GENERIC_ERROR = "GenericError"
    INTERNAL_ERROR = "InternalError"
    MESSAGE_TYPE_NOT_SUPPORTED = "MessageTypeNotSupported"
    NOT_IMPLEMENTED = "NotImplemented"
    """The action is not known at all."""
    NOT_SUPPORTED = "NotSupported"
    """The action is known, and not one that this CSMS takes."""
    OCCURRENCE_CONSTRAINT_VIOLATION = "OccurrenceConstraintViolation"
    PROPERTY_CONSTRAINT_VIOLATION = "PropertyConstraintViolation"
    PROTOCOL_ERROR = "ProtocolError"
    RPC_FRAMEWORK_ERROR = "RpcFrameworkError"
    SECURITY_ERROR = "SecurityError"
    TYPE_CONSTRAINT_VIOLATION = "TypeConstraintViolation"


_WORDS_16: Final = {
    # OCPP-J 1.6 section 4.2.3: other spellings, and no codes for the RPC layer itself.
    ErrorCode.FORMAT_VIOLATION: "FormationViolation",
    ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION: "OccurenceConstraintViolation",
    ErrorCode.RPC_FRAMEWORK_ERROR: "FormationViolation",
    ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED: "GenericError",
}


ERROR_CODES: Final = frozenset({*(code.value for code in ErrorCode), *_WORDS_16.values()})
"""Every spelling of an error code in any version."""


def code_word(version: str, code: ErrorCode) -> str:
    """`code` as the given subprotocol spells it."""
    if version == "ocpp1.6":
        return _WORDS_16.get(code, code.value)
    return code.value


class Fault(msgspec.Struct, frozen=True):
    """Why a payload was not taken: `code` is already the version's own word."""

    code: str
    description: str


class Call(msgspec.Struct, frozen=True, gc=False):
    """The station asks."""

    message_id: str
    action: str
    payload: dict[str, Any]
    mended: tuple[str, ...] = ()
    """What was mended before it could be read (`mending`)."""


class CallResult(msgspec.Struct, frozen=True, gc=False):
    """The station answers our CALL."""

    message_id: str
    payload: dict[str, Any]


class CallError(msgspec.Struct, frozen=True, gc=False):
    """The station refuses our CALL. `code` is its own word, whatever it is."""

    message_id: str
    code: str
    description: str


class CallResultError(msgspec.Struct, frozen=True, gc=False):
    """The station could not take our answer to its CALL `message_id` (2.1). It is over with that:
    nothing is answered."""

    message_id: str
    code: str
    description: str


class Send(msgspec.Struct, frozen=True, gc=False):
    """The station tells and wants no answer, not even to a mistake (2.1)."""

    message_id: str
    action: str
    payload: dict[str, Any]


class FrameFault(msgspec.Struct, frozen=True):
    """A text that is no frame.

    `answerable`: send `encode_error(message_id, code, description)`. Otherwise it was a malformed
    answer to our CALL `message_id`, which is over with this fault, or (where `message_id` is empty)
    a text that cannot be read and that nobody may answer."""

    message_id: str
    code: str
    description: str
    answerable: bool
    action: str = ""
    """Of a CALL that could be read and was refused."""


Frame = Call | CallResult | CallError | CallResultError | Send | FrameFault


def has_result_errors(version: str) -> bool:
    """Whether an answer that cannot be taken is refused with CALLRESULTERROR, and SEND is known:
    since 2.1."""
    return version == "ocpp2.1"


def parse(version: str, text: str | bytes) -> Frame:
    """Read one WebSocket message.

    Args:
        version: the negotiated subprotocol; it decides the words of error codes and which kinds of
            frame there are.
        text: the message as it came.

    Never raises on account of `text`.
    """
    try:
        frame = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        return _fault(version, UNREADABLE_ID, ErrorCode.RPC_FRAMEWORK_ERROR, f"no JSON: {error}")
    if not isinstance(frame, list) or len(frame) < 2:
        return _fault(
            version,
            UNREADABLE_ID,
            ErrorCode.RPC_FRAMEWORK_ERROR,
            "a frame is an array of a message type, a message id and more",
        )
    (array, object_), nul = _BYTES if type(text) is bytes else _TEXT
    if text.count(array) + text.count(object_) > _DEPTH_MAX and _too_deep(frame):
        return _fault(
            version,
            _readable_id(frame[1]),
            ErrorCode.RPC_FRAMEWORK_ERROR,
            f"nested deeper than {_DEPTH_MAX} levels",
        )
    if nul in text:
        frame = _without_nul(frame)
    message_type, message_id = frame[0], frame[1]
    if type(message_type) is not int:
        return _fault(
            version,
            _readable_id(message_id),
            ErrorCode.RPC_FRAMEWORK_ERROR,
            "the message type is a number",
        )
    if message_type == _CALL:
        return _parse_call(version, frame)
    if message_type == _CALL_RESULT:
        return _parse_result(version, frame)
    if message_type == _CALL_ERROR:
        return _parse_error(version, frame)
    if message_type in _SINCE_21 and has_result_errors(version):
        return _SINCE_21[message_type](version, frame)
    return _fault(
        version,
        _readable_id(message_id),
        ErrorCode.MESSAGE_TYPE_NOT_SUPPORTED,
        f"message type {message_type} is not known",
    )


def call_text(call: Call, text: str | bytes) -> bytes:
    """`call` for `read_call`, elsewhere: the text that `parse` made it of, without what `parse`
    took out, and as it was mended."""
    data = text.encode() if isinstance(text, str) else text
    if call.mended or _BYTES[1] in data:
        return encode_call(call.message_id, call.action, call.payload).encode()
    return data


def read_call(text: bytes) -> dict[str, Any]:
    """The payload of a CALL that `parse` has let through as `call_text`."""
    payload: dict[str, Any] = orjson.loads(text)[3]
    return payload


def _parse_call(version: str, frame: list[Any]) -> Frame:
    message_id = frame[1]
    if type(message_id) is not str or len(message_id) > MESSAGE_ID_MAX:
        return _fault(
            version,
            UNREADABLE_ID,
            ErrorCode.RPC_FRAMEWORK_ERROR,
            "the message id is a string of at most 36 characters",
        )
    if len(frame) != 4 or type(frame[2]) is not str:
        return _fault(
            version,
            message_id,
            ErrorCode.RPC_FRAMEWORK_ERROR,
            "a CALL is [2, message id, action, payload]",
        )
    if type(frame[3]) is not dict:
        return _fault(
            version, message_id, ErrorCode.FORMAT_VIOLATION, "the payload of a CALL is an object"
        )
    return Call(message_id, frame[2], frame[3])


def _parse_result(version: str, frame: list[Any]) -> Frame:
    if len(frame) == 3 and type(frame[1]) is str and type(frame[2]) is dict:
        return CallResult(frame[1], frame[2])
    return _fault(
        version,
        frame[1] if type(frame[1]) is str else "",
        ErrorCode.FORMAT_VIOLATION,
        "a CALLRESULT is [3, message id, payload]",
        answerable=False,
    )


def _parse_error(version: str, frame: list[Any]) -> Frame:
    """A CALLERROR, tolerantly: stations leave out the description or the details, or send null."""
    if type(frame[1]) is str and len(frame) >= 3 and type(frame[2]) is str:
        description = frame[3] if len(frame) > 3 and type(frame[3]) is str else ""
        return CallError(frame[1], frame[2], description)
    return _fault(
        version,
        frame[1] if type(frame[1]) is str else "",
        ErrorCode.FORMAT_VIOLATION,
        "a CALLERROR is [4, message id, code, description, details]",
        answerable=False,
    )


def _parse_result_error(version: str, frame: list[Any]) -> Frame:
    error = _parse_error(version, frame)
    if isinstance(error, CallError):
        return CallResultError(error.message_id, error.code, error.description)
    return _unanswered(version, "a CALLRESULTERROR is [5, message id, code, description, details]")


def _parse_send(version: str, frame: list[Any]) -> Frame:
    call = _parse_call(version, frame)
    if isinstance(call, Call):
        return Send(call.message_id, call.action, call.payload)
    return _unanswered(version, "a SEND is [6, message id, action, payload]")


def _unanswered(version: str, description: str) -> FrameFault:
    return _fault(version, "", ErrorCode.FORMAT_VIOLATION, description, answerable=False)


_SINCE_21: Final = {_CALL_RESULT_ERROR: _parse_result_error, _SEND: _parse_send}


def _too_deep(frame: list[Any]) -> bool:
    level: list[Any] = frame
    for _ in range(_DEPTH_MAX):
        deeper: list[Any] = []
        for value in level:
            if type(value) is dict:
                deeper.extend(value.values())
            elif type(value) is list:
                deeper.extend(value)
        if not deeper:
            return False
        level = deeper
    return True


def _without_nul(value: Any) -> Any:
    """`value` without NUL characters: firmware written in C pads strings with them, and PostgreSQL
    stores none."""
    if type(value) is str:
        return value.replace("\0", "")
    if type(value) is list:
        return [_without_nul(item) for item in value]
    if type(value) is dict:
        return {_without_nul(key): _without_nul(item) for key, item in value.items()}
    return value


def _readable_id(message_id: Any) -> str:
    if type(message_id) is str and len(message_id) <= MESSAGE_ID_MAX:
        return message_id
    return UNREADABLE_ID


def _fault(
    version: str, message_id: str, code: ErrorCode, description: str, *, answerable: bool = True
) -> FrameFault:
    return FrameFault(
        message_id, code_word(version, code), description[:_DESCRIPTION_MAX], answerable
    )


def encode_call(message_id: str, action: str, payload: dict[str, Any]) -> str:
    """A CALL as text."""
    return orjson.dumps([_CALL, message_id, action, payload]).decode()


def encode_result(message_id: str, payload: dict[str, Any]) -> str:
    """A CALLRESULT as text."""
    return orjson.dumps([_CALL_RESULT, message_id, payload]).decode()


def encode_error(
    message_id: str, code: str, description: str, details: dict[str, Any] | None = None
) -> str:
    """A CALLERROR as text; the description is cut at what the specification allows."""
    return orjson.dumps(
        [_CALL_ERROR, message_id, code, description[:_DESCRIPTION_MAX], details or {}]
    ).decode()


def encode_result_error(message_id: str, code: str, description: str) -> str:
    """A CALLRESULTERROR as text: what the station answered to our CALL cannot be taken (2.1)."""
    return orjson.dumps(
        [_CALL_RESULT_ERROR, message_id, code, description[:_DESCRIPTION_MAX], {}]
    ).decode()
