"""A typed command on its way to a charger and back, for every service that has one.

A service reads its request, then it writes

    result = await execute(self._backend, command, request, context)
    return SomeResponse(outcome=outcome_of(result))

The request has the fields `charger_id`, `request_id` and `timeout_s`. What became of the command is
an outcome and not an error; errors are for requests that are not a charger's business."""

from __future__ import annotations

import secrets
import zlib
from typing import Any, Literal

import orjson

from controlplane.api.backend import Backend, Caller, invalid, seconds
from controlplane.api.v1 import chargers_pb2
from controlplane.charger.messages import Execute
from controlplane.config import Onboarding
from controlplane.errors import NotFound
from controlplane.ids import CHARGER_ID_PATTERN, ActorKind, ActorRef, ChargerId
from controlplane.ocpp.commands import AnyCommand, CommandResult, CommandState
from controlplane.ocpp.events import SchedulePeriod
from controlplane.store.records import ChargerRecord

__all__ = [
    "charger_ref",
    "charger_unknown",
    "connector_number",
    "execute",
    "outcome_of",
    "request_number",
    "require_charger",
    "schedule_period_to_message",
]

_CONNECTOR_MAX = 1_000
_TIMEOUT_MAX_S = 300.0
_ANSWER_MARGIN_S = 2.0
"""How much longer the API waits than the charger is given, so that the actor's word arrives."""

_STATES = {
    CommandState.ACCEPTED: chargers_pb2.COMMAND_STATE_ACCEPTED,
    CommandState.REJECTED: chargers_pb2.COMMAND_STATE_REJECTED,
    CommandState.ERROR: chargers_pb2.COMMAND_STATE_ERROR,
    CommandState.TIMED_OUT: chargers_pb2.COMMAND_STATE_TIMED_OUT,
    CommandState.OFFLINE: chargers_pb2.COMMAND_STATE_OFFLINE,
}


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
    timeout_s = seconds(
        "timeout_s",
        request.timeout_s,
        default_s=backend.settings.call_timeout_s,
        least_s=1.0,
        most_s=_TIMEOUT_MAX_S,
    )
    await require_charger(backend, request.charger_id)
    return await backend.ask(
        charger_ref(request.charger_id),
        # Actors count in the time of their own clock.
        Execute(command, timeout_ms=round(timeout_s * 1_000 * backend.clock.speed)),
        CommandResult,
        caller,
        timeout_s=timeout_s + _ANSWER_MARGIN_S,
        request_id=getattr(request, "request_id", ""),
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
    record = await backend.reader.charger(ChargerId(charger_id))
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
