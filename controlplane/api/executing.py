"""A typed command on its way to a charger and back, for every service that has one.

A service reads its request, then it writes

    result = await execute(self._backend, command, request, context)
    return SomeResponse(outcome=outcome_of(result))

The request has the fields `charger_id`, `request_id` and `timeout_s`. What became of the command is
an outcome and not an error; errors are for requests that are not a charger's business.

Every command is kept as a resource (`commands.py`), and whoever calls a typed method waits for its
end. Two callers are no callers: `Submission` wants the command taken in and does not wait for it,
`Replay` knows the answer already and wants it in the words of the method."""

from __future__ import annotations

import hashlib
import secrets
import zlib
from typing import Any, Literal, NoReturn, TypeVar

import msgspec
import orjson

from controlplane.api.backend import (
    Backend,
    Caller,
    check_request_id,
    invalid,
    seconds,
)
from controlplane.api.v1 import chargers_pb2
from controlplane.charger.messages import Execute, Submit, Wish
from controlplane.config import Onboarding
from controlplane.errors import NotFound, Precondition
from controlplane.ids import CHARGER_ID_PATTERN, ActorKind, ActorRef, ChargerId
from controlplane.ocpp.commands import AnyCommand, CommandResult, CommandState
from controlplane.ocpp.events import SchedulePeriod
from controlplane.store.records import ChargerRecord, CommandRecord

__all__ = [
    "ANSWER_MARGIN_S",
    "Replay",
    "Submission",
    "Submitted",
    "carry_out",
    "charger_ref",
    "charger_unknown",
    "command_timeout_s",
    "connector_number",
    "execute",
    "outcome_of",
    "outside_allocation",
    "request_number",
    "require_charger",
    "schedule_period_to_message",
]

_CONNECTOR_MAX = 1_000
_TIMEOUT_MAX_S = 300.0
ANSWER_MARGIN_S = 2.0
"""How much longer the API waits than the charger is given, so that the actor's word arrives."""

Answer = TypeVar("Answer", bound=msgspec.Struct)

_STATES = {
    CommandState.ACCEPTED: chargers_pb2.COMMAND_STATE_ACCEPTED,
    CommandState.REJECTED: chargers_pb2.COMMAND_STATE_REJECTED,
    CommandState.ERROR: chargers_pb2.COMMAND_STATE_ERROR,
    CommandState.TIMED_OUT: chargers_pb2.COMMAND_STATE_TIMED_OUT,
    CommandState.OFFLINE: chargers_pb2.COMMAND_STATE_OFFLINE,
}


class Submitted(Exception):
    """A method came to its command and the command was taken in: there is nothing more to do."""

    def __init__(self, record: CommandRecord) -> None:
        super().__init__(record.command_id)
        self.record = record


class Submission:
    """A caller of a typed method who wants its command taken in, as long as `caller` waits; the
    method ends with `Submitted`."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def time_remaining(self) -> float | None:
        return self._caller.time_remaining()


class Replay:
    """A caller of a typed method for what the command was answered before."""

    def __init__(self, answer: msgspec.Struct) -> None:
        self.answer = answer

    def time_remaining(self) -> float | None:
        return None


async def execute(
    backend: Backend, command: AnyCommand, request: Any, caller: Caller
) -> CommandResult:
    """Have the charger's actor carry out a command and wait for what became of it.

    What the caller may repeat must be the same request again, so nothing that depends on the moment
    (a deadline, a random number) may stand in `command`.

    Raises:
        InvalidInput: the request's charger_id, request_id or timeout_s; or the charger's OCPP
            version cannot be told this (`COMMAND_INVALID`).
        NotFound: there is no such charger.
        Unavailable: it is offline, or was busy for the whole time.
        Exhausted: too many commands wait for it.
        LoadstarError: see `ActorClient.ask`.
    """
    timeout_s = command_timeout_s(backend, request)
    if not isinstance(caller, Replay):
        await require_charger(backend, request.charger_id)
    # Actors count in the time of their own clock.
    wish = Execute(command, timeout_ms=round(timeout_s * 1_000 * backend.clock.speed))
    return await carry_out(backend, request.charger_id, wish, request, caller, answer=CommandResult)


async def carry_out(
    backend: Backend,
    charger_id: str,
    wish: Wish,
    request: Any,
    caller: Caller,
    *,
    answer: type[Answer],
) -> Answer:
    """Have a wish carried out and kept, and wait for what became of it.

    Raises:
        Submitted: `caller` is a `Submission`.
        LoadstarError: see `execute`.
    """
    if isinstance(caller, Replay):
        if not isinstance(caller.answer, answer):
            raise TypeError(f"{type(caller.answer).__name__} answers no {answer.__name__}")
        return caller.answer
    request_id = getattr(request, "request_id", "")
    content = request.SerializeToString(deterministic=True)
    request_type = request.DESCRIPTOR.full_name
    submitted = Submit(
        command_id=_command_id(charger_id, request_id),
        request_type=request_type,
        request_id=request_id,
        fingerprint=hashlib.blake2b(
            request_type.encode() + b"\n" + content, digest_size=16
        ).digest(),
        request=content,
        wish=wish,
        wait=not isinstance(caller, Submission),
    )
    if isinstance(caller, Submission):
        await _take_in(backend, charger_id, submitted, caller)
    timeout_s = wish.timeout_ms / 1_000 / backend.clock.speed
    return await backend.submit(
        charger_ref(charger_id), submitted, answer, caller, timeout_s=timeout_s + ANSWER_MARGIN_S
    )


async def _take_in(
    backend: Backend, charger_id: str, submitted: Submit, caller: Caller
) -> NoReturn:
    raise Submitted(await backend.submit(charger_ref(charger_id), submitted, CommandRecord, caller))


def _command_id(charger_id: str, request_id: str) -> str:
    """The name of a command: always the same for the same `request_id`."""
    if not request_id:
        return secrets.token_hex(16)
    check_request_id(request_id)
    return hashlib.blake2b(f"{charger_id}\n{request_id}".encode(), digest_size=16).hexdigest()


def command_timeout_s(backend: Backend, request: Any) -> float:
    """How long the charger is given, by the request's `timeout_s`.

    Raises:
        InvalidInput: out of range.
    """
    return seconds(
        "timeout_s",
        request.timeout_s,
        default_s=backend.settings.call_timeout_s,
        least_s=1.0,
        most_s=_TIMEOUT_MAX_S,
    )


def outcome_of(result: CommandResult) -> chargers_pb2.CommandOutcome:
    """What became of a command, for an answer."""
    return chargers_pb2.CommandOutcome(
        state=_STATES[result.state],
        status=result.status,
        payload_json=orjson.dumps(result.payload).decode() if result.payload else "",
        error_code=result.error_code,
        error_description=result.error_description,
    )


async def require_charger(backend: Backend, charger_id: str) -> ChargerRecord | None:
    """The directory's entry; None for a charger that may be waiting for a site.

    Raises:
        InvalidInput: not the id of any charger.
        NotFound: nobody described this charger, and none such may connect.
    """
    if not CHARGER_ID_PATTERN.fullmatch(charger_id):
        raise invalid("charger_id", "1 to 48 of letters, digits and *-_=:+|@.")
    record = await backend.client.charger(ChargerId(charger_id))
    if record is None and backend.settings.onboarding is Onboarding.REFUSE:
        raise charger_unknown(charger_id)
    return record


def connector_number(connector_id: int, *, least: int) -> int:
    """The connector of a request; `least` is 0 where the whole charger may be meant, else 1.

    Raises:
        InvalidInput: out of range.
    """
    if not least <= connector_id <= _CONNECTOR_MAX:
        raise invalid("connector_id", f"{least} to {_CONNECTOR_MAX}")
    return connector_id


def schedule_period_to_message(
    period: SchedulePeriod, unit: Literal["A", "W"]
) -> chargers_pb2.SchedulePeriod:
    """A period of a schedule in this unit, for an answer."""
    return chargers_pb2.SchedulePeriod(
        start_s=period.start_s,
        limit_a=period.limit if unit == "A" else None,
        limit_w=period.limit if unit == "W" else None,
        phases=period.phases,
    )


def outside_allocation(request: Any) -> None:
    """A profile of the caller's own is only sent where the caller says that it is one.

    Raises:
        Precondition: the request does not say so.
    """
    if not request.outside_allocation:
        raise Precondition(
            "this changes what the charger may draw, of which the site keeps account; limit the "
            "site instead, or say outside_allocation",
            reason="ALLOCATION_OWNS_PROFILES",
            metadata={"charger_id": request.charger_id},
        )


def request_number(request_id: str) -> int:
    """A number for the station to refer to, 1 to 2^31 - 1; a repeated request has the same one."""
    if request_id:
        return zlib.crc32(request_id.encode()) % (2**31 - 1) + 1
    return secrets.randbelow(2**31 - 1) + 1


def charger_unknown(charger_id: str) -> NotFound:
    """The error of a request for a charger that nobody described."""
    return NotFound(
        f"there is no charger {charger_id!r}",
        reason="CHARGER_UNKNOWN",
        metadata={"charger_id": charger_id},
    )


def charger_ref(charger_id: str) -> ActorRef:
    """The address of a charger's actor."""
    return ActorRef(ActorKind.CHARGER, charger_id)
