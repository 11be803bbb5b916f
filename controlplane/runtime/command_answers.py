"""What a host answers to a command that it has on record.

Invariant: a command that ended is never begun anew, but for one that was never sent on account of
what has passed: whoever waits for that may try again under the same id."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.charger.messages import Submit
from controlplane.errors import InvalidInput
from controlplane.runtime.wire import encode
from controlplane.store.records import CommandRecord, CommandStage

__all__ = ["answered", "asks_again"]

_PASSING: Final = frozenset({"unavailable", "exhausted", "internal"})
_AGAIN: Final = frozenset({"ACTOR_RESTARTED", "COMMAND_ENDED_MEANWHILE"})


class _Refused(msgspec.Struct):
    """As much of an answer as tells a refusal; any other answer has neither field."""

    kind: str = ""
    reason: str = ""


_refused = msgspec.msgpack.Decoder(_Refused)


def answered(record: CommandRecord | None, submitted: Submit) -> bytes | None:
    """The answer to a command that was submitted again; None where the actor is to be asked.

    Raises:
        InvalidInput: under this id stands another request.
    """
    if record is None:
        return None
    if record.fingerprint != submitted.fingerprint:
        raise InvalidInput(
            "this request_id was used for another request", reason="REQUEST_ID_REUSED"
        )
    if not submitted.wait:
        return encode(record)
    if record.ended_ms is None:
        return None
    passed = record.stage is CommandStage.NOT_SENT
    if passed and _refused.decode(record.response).kind in _PASSING:
        return None
    return record.response


def asks_again(answer: bytes) -> bool:
    """Whether the actor could not say what became of the command, which the store knows by now."""
    return len(answer) < 1_000 and _refused.decode(answer).reason in _AGAIN
