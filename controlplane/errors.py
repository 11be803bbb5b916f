"""Every error Loadstar raises, in one tree, and the refusal that an actor returns.

    LoadstarError
    |-- InvalidInput        what was given is malformed or contradicts itself (names the field)
    |-- NotFound            no such charger, site, feeder or session
    |-- AlreadyExists       the name is taken
    |-- Precondition        right in itself, impossible in the present state
    |-- Unavailable         try again: a host is moving, a charger is offline, the database is away
    |-- TimedOut            no answer in time; the outcome is unknown
    |-- Exhausted           a queue or a quota is full
    `-- Fenced              this process no longer owns the shard; its work was not committed

An expected refusal inside an actor is a value (`Refusal`), not an exception; `raise_refusal` turns
one into the other at the edge. One table maps reasons to gRPC status (`api/errors.py`), one to OCPP
CALLERROR codes (`ocpp/framing.py`)."""

from __future__ import annotations

from typing import ClassVar, Never

import msgspec

__all__ = [
    "AlreadyExists",
    "Exhausted",
    "Fenced",
    "InvalidInput",
    "LoadstarError",
    "NotFound",
    "Precondition",
    "Refusal",
    "TimedOut",
    "Unavailable",
    "raise_refusal",
]


class LoadstarError(Exception):
    """Base of all errors that Loadstar raises on purpose.

    Attributes:
        reason: stable upper-case word for machines, such as `CHARGER_OFFLINE`.
        metadata: what the reason is about, such as `{"charger_id": "CP1"}`.
    """

    kind: ClassVar[str] = "internal"

    def __init__(
        self, message: str, *, reason: str = "", metadata: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason or self.kind.upper()
        self.metadata = metadata or {}


class InvalidInput(LoadstarError):
    """
    Attributes:
        violations: a pair of field and fault for each fault, such as `("site.id", "too long")`;
            empty where no field is to blame.
    """

    kind = "invalid_input"

    def __init__(
        self,
        message: str,
        *,
        reason: str = "",
        metadata: dict[str, str] | None = None,
        violations: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message, reason=reason, metadata=metadata)
        self.violations = violations


class NotFound(LoadstarError):
    kind = "not_found"


class AlreadyExists(LoadstarError):
    kind = "already_exists"


class Precondition(LoadstarError):
    kind = "precondition"


class Unavailable(LoadstarError):
    kind = "unavailable"


class TimedOut(LoadstarError):
    kind = "timed_out"


class Exhausted(LoadstarError):
    kind = "exhausted"


class Fenced(LoadstarError):
    kind = "fenced"


_BY_KIND: dict[str, type[LoadstarError]] = {cls.kind: cls for cls in LoadstarError.__subclasses__()}


class Refusal(msgspec.Struct, frozen=True, tag="refusal"):
    """An actor's 'no', as a value: `kind` names the error class of the tree above."""

    kind: str
    reason: str
    message: str
    metadata: dict[str, str] = {}


def raise_refusal(refusal: Refusal) -> Never:
    """Raise the error that `refusal` stands for."""
    error = _BY_KIND.get(refusal.kind, LoadstarError)
    raise error(refusal.message, reason=refusal.reason, metadata=refusal.metadata)
