"""What every OCPP version must be able to say: one interface, one object per version.

A dialect has no state. It reads a station's CALL as an `Event`, writes the `Answer` to it, writes a
`Command` as a CALL and reads its result. It never raises on a payload that its schema let through;
what it has no meaning for it answers with None, which the actor turns into NotSupported."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from controlplane.ocpp.commands import Command, CommandResult, LimitPurpose, SetLimit
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault

__all__ = [
    "CONNECTOR_MAX",
    "SEQ_NO_MAX",
    "Answer",
    "BootAnswer",
    "Dialect",
    "Done",
    "TimeAnswer",
    "TokenAnswer",
    "limit_value",
    "profile_id",
]

CONNECTOR_MAX: Final = 1_000
"""Highest connector or EVSE number; `network.ConnectorConfig` has the same bound."""

SEQ_NO_MAX: Final = 2**53


class Answer(msgspec.Struct, frozen=True):
    """Base of what an event can be answered with."""


class Done(Answer, frozen=True):
    """Taken; there is nothing to say."""


class BootAnswer(Answer, frozen=True):
    """`accepted` False is Pending: come again after `interval_s`, which is 1 or more."""

    accepted: bool
    now_ms: int
    interval_s: int


class TimeAnswer(Answer, frozen=True):
    now_ms: int


class TokenAnswer(Answer, frozen=True):
    """What became of an id token. `status` is a word that 1.6 and 2.x share (Accepted, Blocked,
    Expired, Invalid, ConcurrentTx), or None where the event named no token. `transaction_number`
    is the 1.6 transactionId that is handed out, 1 to 2^31 - 1."""

    status: str | None
    transaction_number: int | None = None


class Dialect(Protocol):
    """One OCPP version. See the module for what each part promises."""

    version: str
    """The subprotocol."""

    handled: frozenset[str]
    """Actions of a station that have a meaning here; all others give no event."""

    notices: frozenset[str]
    """Those of them that are accepted and journalled, and change nothing."""

    commanded: dict[type[Command], str]
    """The action by which each kind of command is sent."""

    measurands_setting: str
    """The setting that holds which measurands are sampled during a transaction."""

    measurands: tuple[str, ...]
    """Values for it, the fullest first; the next is tried where a station refuses one."""

    def event(self, action: str, payload: dict[str, Any]) -> Event | None:
        """What the station says, or None if that has no meaning here."""

    def reply(self, action: str, answer: Answer) -> dict[str, Any]:
        """The payload of the CALLRESULT."""

    def parts(self, command: Command) -> tuple[Command, ...]:
        """The commands, one CALL each, that make up `command`, in order."""

    def call(self, command: Command, now_ms: int) -> tuple[str, dict[str, Any]] | Fault:
        """Action and payload of a command of one CALL, or why this version cannot say it."""

    def result(self, command: Command, payload: dict[str, Any]) -> CommandResult:
        """What the station's CALLRESULT says about `command`."""

    def sampling(self, interval_s: int) -> Command:
        """The command that makes a station sample running transactions every `interval_s`."""

    def main_meter(self, interval_s: int) -> Command:
        """The command that makes a station send its main meter every `interval_s`, whether somebody
        charges or not: only its clock-aligned values do that."""


_PROFILE_OF_PURPOSE: Final = {
    LimitPurpose.CHARGER_MAX: 1,
    LimitPurpose.DEFAULT: 2,
    LimitPurpose.TRANSACTION: 3,
}


def profile_id(connector_id: int, purpose: LimitPurpose) -> int:
    """The chargingProfileId of a limit: one per connector and purpose, so that a new limit replaces
    the old one and nothing piles up in stations that keep few profiles."""
    return connector_id * 10 + _PROFILE_OF_PURPOSE[purpose]


def limit_value(command: SetLimit) -> float | int:
    """The limit in the command's unit with at most one decimal (1.6: multipleOf 0.1), rounded
    down."""
    if command.unit == "W":
        return command.limit_w
    return command.limit_ma // 100 / 10
