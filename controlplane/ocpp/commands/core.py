"""What every charger is asked: to start, stop and limit sessions, to be set up and to be reset; and
what becomes of any command."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

import msgspec

__all__ = [
    "ChangeAvailability",
    "ClearLimit",
    "ClearLimits",
    "Command",
    "CommandResult",
    "CommandState",
    "GetCompositeSchedule",
    "GetSettings",
    "LimitPurpose",
    "RawCall",
    "RemoteStart",
    "RemoteStop",
    "ReportCommand",
    "Reset",
    "SetLimit",
    "SetSettings",
    "Trigger",
    "UnlockConnector",
]


class Command(msgspec.Struct, frozen=True):
    """Base of everything we can ask of a station."""


class ReportCommand(Command, frozen=True):
    """A question whose answer comes afterwards in messages of the station's own, which name
    `request_id`; 0 stands for the next free number of the charger."""

    request_id: int = 0

    @property
    def awaits_report(self) -> bool:
        """Whether messages follow once the station has accepted."""
        return True


class RemoteStart(Command, frozen=True, tag="remote_start"):
    connector_id: int | None
    id_token: str
    id_token_type: str = "Central"
    remote_start_id: int = 0


class RemoteStop(Command, frozen=True, tag="remote_stop"):
    transaction_id: str


class Reset(Command, frozen=True, tag="reset"):
    """`hard` is 1.6 Hard / 2.x Immediate; otherwise 1.6 Soft / 2.x OnIdle. `resume`, since 2.1, has
    the transactions that run go on after a hard one. `connector_id`: only this one (2.x)."""

    hard: bool = False
    connector_id: int | None = None
    resume: bool = False


class UnlockConnector(Command, frozen=True, tag="unlock"):
    connector_id: int


class ChangeAvailability(Command, frozen=True, tag="availability"):
    connector_id: int
    operative: bool


class Trigger(Command, frozen=True, tag="trigger"):
    """`message` is the OCPP name, such as `MeterValues` or `StatusNotification`. `custom` says what
    a `CustomTrigger` is for (2.1)."""

    message: str
    connector_id: int | None = None
    custom: str = ""


class GetSettings(Command, frozen=True, tag="get_settings"):
    """1.6 configuration keys, or keys of 2.x variables (`ocpp.variables`). Empty: all (1.6
    only)."""

    keys: tuple[str, ...] = ()


class SetSettings(Command, frozen=True, tag="set_settings"):
    """One or more settings; 1.6 takes one per CALL, so the actor sends as many calls as there are
    settings."""

    settings: dict[str, str]


class LimitPurpose(StrEnum):
    """Which profile a limit is put in: the running transaction's, the default of every transaction,
    or the whole charger's."""

    TRANSACTION = "transaction"
    DEFAULT = "default"
    CHARGER_MAX = "charger_max"


class SetLimit(Command, frozen=True, tag="set_limit"):
    """A constant limit in force from now until replaced: `limit_ma` per phase or, for a charger
    that takes watts, `limit_w`. Below 0 the vehicle feeds in as much and draws nothing (2.1), for
    `hold_s` unless it is told so again, and not while its station is offline.

    `phases` is how many phases the connector has (numberPhases where the station takes it). A
    transaction may be limited by the default profile too, where the station takes no other. The
    last five fields are the form that the station takes: the level, whether it holds from when it
    is set or from an instant, how many decimals of an ampere, whether numberPhases is written, and
    whether the profile before must be cleared first.
    """

    connector_id: int
    purpose: LimitPurpose
    limit_ma: int
    limit_w: int
    unit: Literal["A", "W"]
    phases: int
    transaction_id: str | None = None
    stack_level: int = 0
    relative: bool = True
    decimals: int = 1
    phases_stated: bool = True
    clear_first: bool = False
    hold_s: int | None = None


class ClearLimit(Command, frozen=True, tag="clear_limit"):
    """Remove the one profile that holds our limit of a connector for a purpose."""

    connector_id: int
    purpose: LimitPurpose


class ClearLimits(Command, frozen=True, tag="clear_limits"):
    """Remove every profile of a purpose from the whole station, whoever set it."""

    purpose: LimitPurpose


class GetCompositeSchedule(Command, frozen=True, tag="composite_schedule"):
    connector_id: int
    duration_s: int
    unit: Literal["A", "W"] = "A"


class RawCall(Command, frozen=True, tag="raw"):
    """Any OCPP action of the connected version, checked against its schema before it is sent."""

    action: str
    payload: dict[str, Any]


class CommandState(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    ERROR = "error"
    """The station answered CALLERROR."""
    TIMED_OUT = "timed_out"
    OFFLINE = "offline"
    """Never sent, or the connection ended before an answer: the outcome is unknown only if it had
    been sent."""


class CommandResult(msgspec.Struct, frozen=True, tag="command_result"):
    """What became of a command. `status` is the station's own word; `payload` its whole answer.

    `report` holds the payloads of the messages that followed (`ReportCommand`), in the order in
    which they came; of one that timed out, those that came in time.
    """

    state: CommandState
    status: str = ""
    payload: dict[str, Any] = {}
    error_code: str = ""
    error_description: str = ""
    report: tuple[dict[str, Any], ...] = ()
