"""What every OCPP version must be able to say: one object per version, made of functional blocks.

A dialect has no state. It reads a station's CALL as an `Event`, writes the `Answer` to it, writes a
`Command` as a CALL and reads its result. It never raises on a payload that its schema let through;
what it has no meaning for it answers with None, which the actor turns into NotSupported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from controlplane.charging_tariff import Tariff
from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.commands import (
    ClearLimit,
    Command,
    CommandResult,
    CommandState,
    LimitPurpose,
    RawCall,
    SetLimit,
    SetSettings,
)
from controlplane.ocpp.events import Event, Noted
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.typed import MeterValues
from controlplane.ocpp.v2x import ScheduleValues
from controlplane.tokens import TokenStatus

__all__ = [
    "ABSOLUTE_START_AGO_MS",
    "ACCEPTED",
    "CONNECTOR_MAX",
    "SEQ_NO_MAX",
    "Answer",
    "Block",
    "BootAnswer",
    "CertificateChainStatusAnswer",
    "CertificateStatusAnswer",
    "Dialect",
    "Done",
    "MeterSettings",
    "NeedsAnswer",
    "ScheduleAnswer",
    "SigningAnswer",
    "StatusAnswer",
    "StreamAnswer",
    "TimeAnswer",
    "TokenAnswer",
    "TransferAnswer",
    "VatNumberAnswer",
    "VehicleCertificateAnswer",
    "cleared_before_set",
    "judged",
    "limit_value",
    "profile_id",
    "profile_of",
]

CONNECTOR_MAX: Final = 1_000
"""Highest connector or EVSE number; `network.ConnectorConfig` has the same bound."""

SEQ_NO_MAX: Final = 2**53

ABSOLUTE_START_AGO_MS: Final = 3_600_000
"""How long ago a limit of kind Absolute is said to begin: a station whose clock is behind by less
applies it at once."""


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


class NeedsAnswer(Answer, frozen=True):
    """What becomes of a vehicle's charging needs: Accepted, a limit follows at once; Processing, it
    follows when there is a session it can be for; Rejected, none will."""

    status: Literal["Accepted", "Processing", "Rejected"]


class TokenAnswer(Answer, frozen=True):
    """What became of an id token. `status` is None where the event named no token; each version
    says it in the words it has. `transaction_number` is the 1.6 transactionId that is handed out, 1
    to 2^31 - 1. Until `expires_ms` the station may believe an acceptance (None: it is not said).
    `tariff` is the driver's own (2.1), for the answer to Authorize only, as is
    `certificate_status`, of the contract's certificate."""

    status: TokenStatus | None
    transaction_number: int | None = None
    tariff: Tariff | None = None
    expires_ms: int | None = None
    group_id: str | None = None
    language: str = ""
    message: str = ""
    certificate_status: str = ""


class TransferAnswer(Answer, frozen=True):
    """What becomes of a DataTransfer; `meaning` is the answer to what it said."""

    status: Literal["Accepted", "Rejected", "UnknownMessageId", "UnknownVendorId"]
    vendor_id: str = ""
    message_id: str = ""
    meaning: Answer | None = None


class StatusAnswer(Answer, frozen=True):
    """For messages that are answered with one word; it is that of the specification."""

    status: str


class ScheduleAnswer(Answer, frozen=True):
    """The values of a dynamic profile (2.1), or None where there is none to give."""

    values: ScheduleValues | None


class StreamAnswer(Answer, frozen=True):
    """Whether a periodic event stream may be opened (2.1); `reason` is one of the specification's
    reason codes, empty where it may."""

    accepted: bool
    reason: str = ""


class SigningAnswer(Answer, frozen=True):
    """Whether a wish for a certificate is taken up; the certificate comes later. `reason` is at
    most 20 characters."""

    accepted: bool
    reason: str = ""


class VatNumberAnswer(Answer, frozen=True):
    """Whether a VAT number can be one (2.1), in its compact form where it can."""

    valid: bool
    vat_number: str
    connector_id: int | None = None


class CertificateStatusAnswer(Answer, frozen=True):
    """`ocsp` is an OCSP response, DER in base64; None where there is none, for `reason`."""

    ocsp: str | None
    reason: str = ""


class CertificateChainStatusAnswer(Answer, frozen=True):
    """Of each certificate its name, the source, the status (Good, Revoked, Unknown or Failed) and
    when to ask again (ms UTC)."""

    statuses: tuple[tuple[CertificateHash, str, str, int], ...]


class VehicleCertificateAnswer(Answer, frozen=True):
    """`response` is ISO 15118's, EXI in base64; empty where there is none, for `reason`."""

    response: str
    reason: str = ""


# --- functional blocks ----------------------------------------------------------------------------

Reader = Callable[[Any], Event]
"""What a payload says that has passed its schema. It never raises. MeterValues of 1.6 may come as
`typed.MeterValues`, everything else as a dictionary."""

Writer = Callable[[Any, int], dict[str, Any] | Fault]
"""The payload of a command of one CALL at this instant (ms UTC), or why the version cannot say
it."""

ResultReader = Callable[[Any, dict[str, Any]], CommandResult]
"""What the station's CALLRESULT says about a command."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One functional block of one version, as tables."""

    readers: Mapping[str, Reader] = field(default_factory=dict)
    """By the action that a station sends."""
    replies: Mapping[type[Answer], Callable[[Any], dict[str, Any]]] = field(default_factory=dict)
    """How an answer is written; one that stands in no block is written as {}."""
    writers: Mapping[type[Command], tuple[str, Writer]] = field(default_factory=dict)
    """By command, with the action it is sent by."""
    parts: Mapping[type[Command], Callable[[Any], tuple[Command, ...]]] = field(
        default_factory=dict
    )
    """The commands, of one CALL each, that make up one of several CALLs or of another action."""
    results: Mapping[type[Command], ResultReader] = field(default_factory=dict)
    """For answers that a `status` does not sum up; the rest is read by `judged`."""
    notices: frozenset[str] = frozenset()
    """Actions that are accepted and journalled, and change nothing."""


@dataclass(frozen=True, kw_only=True)
class MeterSettings:
    """The names under which a version keeps what is measured, and how often."""

    sampled: str
    """The measurands of running transactions."""
    sampled_interval: str
    aligned: str
    """The measurands sent whether somebody charges or not; the main meter's."""
    aligned_interval: str


class Dialect:
    """One OCPP version, joined from its functional blocks; of two that name the same thing the
    later one holds, so that a version can be another one with more.

    Args:
        version: the subprotocol.
        name: as the field calls it.
        blocks: every functional block.
        meter_settings: where it is set what is measured.
    """

    measurands: tuple[str, ...] = (
        "Current.Import,Power.Active.Import,Energy.Active.Import.Register,SoC",
        "Current.Import,Power.Active.Import,Energy.Active.Import.Register",
        "Power.Active.Import,Energy.Active.Import.Register",
    )
    """What is sampled during transactions, the fullest first; the next is tried where a station
    refuses one."""

    def __init__(
        self, version: str, name: str, blocks: Iterable[Block], meter_settings: MeterSettings
    ) -> None:
        self.version = version
        self.name = name
        self._meter_settings = meter_settings
        self._readers: dict[str, Reader] = {}
        self._replies: dict[type[Answer], Callable[[Any], dict[str, Any]]] = {}
        self._writers: dict[type[Command], tuple[str, Writer]] = {}
        self._parts: dict[type[Command], Callable[[Any], tuple[Command, ...]]] = {}
        self._results: dict[type[Command], ResultReader] = {}
        notices: set[str] = set()
        for block in blocks:
            self._readers |= block.readers
            self._replies |= block.replies
            self._writers |= block.writers
            self._parts |= block.parts
            self._results |= block.results
            notices |= block.notices
        self.notices = frozenset(notices - self._readers.keys())
        """Actions that are accepted and journalled, and change nothing."""
        self.handled = self.notices | self._readers.keys()
        """Actions of a station that have a meaning here; all others give no event."""
        self.commanded = {command: action for command, (action, _) in self._writers.items()}
        """The action by which each kind of command is sent."""

    @property
    def measurands_setting(self) -> str:
        """The setting that holds which measurands are sampled during a transaction."""
        return self._meter_settings.sampled

    def event(self, action: str, payload: dict[str, Any] | MeterValues) -> Event | None:
        """What the station says, or None if that has no meaning here."""
        read = self._readers.get(action)
        if read is not None:
            return read(payload)
        if isinstance(payload, dict) and action in self.notices:
            return Noted(action, payload)
        return None

    def reply(self, answer: Answer) -> dict[str, Any]:
        """The payload of the CALLRESULT."""
        write = self._replies.get(type(answer))
        return {} if write is None else write(answer)

    def parts(self, command: Command) -> tuple[Command, ...]:
        """The commands, one CALL each, that make up `command`, in order."""
        split = self._parts.get(type(command))
        return (command,) if split is None else split(command)

    def call(self, command: Command, now_ms: int) -> tuple[str, dict[str, Any]] | Fault:
        """Action and payload of a command of one CALL, or why this version cannot say it."""
        if isinstance(command, RawCall):
            return command.action, command.payload
        known = self._writers.get(type(command))
        if known is None:
            return Fault("NotImplemented", f"{self.name} has no {type(command).__name__}")
        action, write = known
        payload = write(command, now_ms)
        return payload if isinstance(payload, Fault) else (action, payload)

    def result(self, command: Command, payload: dict[str, Any]) -> CommandResult:
        """What the station's CALLRESULT says about `command`."""
        read = self._results.get(type(command))
        return judged(payload) if read is None else read(command, payload)

    def sampling(self, interval_s: int) -> Command:
        """The command that makes a station sample running transactions every `interval_s`."""
        return SetSettings({self._meter_settings.sampled_interval: str(interval_s)})

    def main_meter(self, interval_s: int) -> Command:
        """The command that makes a station send its main meter every `interval_s`, whether somebody
        charges or not: only its clock-aligned values do that."""
        return SetSettings(
            {
                self._meter_settings.aligned: "Current.Import,Power.Active.Import",
                self._meter_settings.aligned_interval: str(interval_s),
            }
        )


ACCEPTED: Final = frozenset({"Accepted", "Scheduled", "Unlocked", "RebootRequired"})
"""Statuses by which a station says that it does or will do what it was asked; so does one that has
no status at all."""


def judged(payload: dict[str, Any], *also_accepted: str) -> CommandResult:
    """The result that the `status` of an answer stands for, in whatever version."""
    status = str(payload.get("status", ""))
    taken = not status or status in ACCEPTED or status in also_accepted
    return CommandResult(CommandState.ACCEPTED if taken else CommandState.REJECTED, status, payload)


_PROFILE_OF_PURPOSE: Final = {
    LimitPurpose.CHARGER_MAX: 1,
    LimitPurpose.DEFAULT: 2,
    LimitPurpose.TRANSACTION: 3,
}


def profile_id(connector_id: int, purpose: LimitPurpose) -> int:
    """The chargingProfileId of a limit: one per connector and purpose, so that a new limit replaces
    the old one and nothing piles up in stations that keep few profiles."""
    return connector_id * 10 + _PROFILE_OF_PURPOSE[purpose]


def profile_of(id: int) -> tuple[int, LimitPurpose | None]:
    """The connector and purpose of a chargingProfileId; no purpose for one that is not of ours."""
    connector_id, digit = divmod(id, 10)
    purpose = next((each for each, own in _PROFILE_OF_PURPOSE.items() if own == digit), None)
    return (connector_id, purpose) if 0 <= connector_id <= CONNECTOR_MAX else (0, None)


def cleared_before_set(command: SetLimit) -> tuple[Command, ...]:
    """The commands that a limit is made of: where the station needs it, its old profile goes
    first."""
    if not command.clear_first:
        return (command,)
    return ClearLimit(command.connector_id, command.purpose), command


def limit_value(command: SetLimit) -> float | int:
    """The limit in the command's unit with at most one decimal (1.6: multipleOf 0.1), rounded
    towards 0: neither more is drawn nor more fed in than was meant."""
    if command.unit == "W":
        return command.limit_w
    sign, limit_ma = (-1, -command.limit_ma) if command.limit_ma < 0 else (1, command.limit_ma)
    return sign * (limit_ma // 100 / 10 if command.decimals else limit_ma // 1_000)
