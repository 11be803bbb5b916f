"""What operators, campaigns and the API want of a charger, and what they are answered.

The invariant: every request is answered exactly once: here, when nothing has to be asked of anyone,
or when its command ends in `Conclusions` or its token is refused."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, get_args

import msgspec

from controlplane.actor import Answer, Ask, CloseSocket
from controlplane.charger.access import Access
from controlplane.charger.commands import Order, Origin
from controlplane.charger.completing import completed
from controlplane.charger.costs import set_driver_tariff
from controlplane.charger.firmware import Firmware
from controlplane.charger.kept_commands import KeptCommands
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    AbandonSession,
    AnswerCertificateStatus,
    CancelCommand,
    CancelReserved,
    DerState,
    DismissCandidate,
    DismissQuarantined,
    Execute,
    GetCharger,
    GetDerState,
    LowerProfile,
    Recorded,
    RecordSigning,
    ReleaseQuarantined,
    ReserveConnector,
    RevokeCertificate,
    RotatePassword,
    SecurityRequest,
    SetDriverTariff,
    SetSessionNeed,
    Submit,
    UpdateWanted,
)
from controlplane.charger.own_profiles import own_profile_refusal
from controlplane.charger.quarantine import Quarantine
from controlplane.charger.reports import Reports
from controlplane.charger.security import Security
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.charger.view import charger_view
from controlplane.errors import Refusal
from controlplane.ocpp.commands import (
    Command,
    CommandResult,
    CommandState,
    RemoteStart,
    ReportCommand,
    RequestBatterySwap,
    SetPassword,
    UpdateFirmware,
)
from controlplane.tokens import Purpose

__all__ = ["Requests"]


class Requests:
    """What is wanted of one charger."""

    __slots__ = (
        "_access",
        "_firmware",
        "_kept",
        "_line",
        "_memory",
        "_quarantine",
        "_reports",
        "_security",
        "_transactions",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        line: Line,
        transactions: Transactions,
        access: Access,
        reports: Reports,
        *,
        security: Security,
        firmware: Firmware,
        kept: KeptCommands,
    ) -> None:
        self._memory = memory
        self._line = line
        self._transactions = transactions
        self._access = access
        self._reports = reports
        self._security = security
        self._firmware = firmware
        self._kept = kept
        self._quarantine = Quarantine(memory, transactions.sessions)

    def asked(self, turn: Turn, message: Ask) -> None:
        """Answer a request, or see to it that it will be."""
        self._ask(turn, message.ask_id, message.request)

    def _ask(self, turn: Turn, ask_id: str, request: msgspec.Struct) -> None:
        answer = _ANSWERS.get(type(request))
        response: msgspec.Struct | None
        if answer is None:
            name = type(request).__name__
            response = Refusal("invalid_input", "UNKNOWN_REQUEST", f"a charger cannot {name}")
        else:
            response = answer(self, turn, ask_id, request)
        if response is not None:
            turn.effects.append(Answer(ask_id, response))

    def update_wanted(self, turn: Turn, message: UpdateWanted) -> None:
        """A campaign wants the charger's firmware updated."""
        line = self._line
        dialect = line.dialect
        online = bool(line.connection) and dialect is not None and not line.queue.full
        command = self._firmware.wanted(turn, message, online=online)
        if command is None or dialect is None:
            return
        fault = line.order(turn, dialect, command, Origin.API)
        if fault is not None and isinstance(command, UpdateFirmware):
            self._firmware.unspeakable(turn, command, fault.code)

    def grant_access(self, turn: Turn) -> None:
        """Send what tokens were accepted for, and what keeps the station's list in step."""
        for ask_id, wish, verdict in self._access.authoriser.ready():
            if self._kept.has_ended(ask_id):
                # Taken back while its token was looked up.
                continue
            if isinstance(wish, Execute):
                refusal = self._execute(turn, ask_id, wish, judged=True)
            else:
                refusal = self._line.refusal() or self._order(
                    turn,
                    ask_id,
                    self._access.reserve_checked(turn, ask_id, wish, verdict),
                    wish.timeout_ms,
                )
            if refusal is not None:
                turn.effects.append(Answer(ask_id, refusal))
        dialect = self._line.dialect
        for command in self._access.wanted():
            if self._line.connection and dialect is not None:
                self._line.order(turn, dialect, command, Origin.LIST)

    # --- what is known here -----------------------------------------------------------------------

    def _viewed(self, turn: Turn, _: str, __: GetCharger) -> msgspec.Struct:
        return charger_view(
            self._memory,
            online=bool(self._line.connection),
            last_seen_ms=self._line.last_seen_ms,
            now_ms=turn.now_ms,
            list_state=self._access.list_state,
        )

    def _der_viewed(self, _: Turn, __: str, ___: GetDerState) -> msgspec.Struct:
        memory = self._memory
        return DerState(tuple(memory.der_controls.values()), tuple(memory.der_alarms.values()))

    def _abandoned(self, turn: Turn, _: str, request: AbandonSession) -> msgspec.Struct:
        online = bool(self._line.connection)
        return self._transactions.sessions.abandon(turn, request.session_id, online=online)

    # --- what the station is asked ----------------------------------------------------------------

    def _reserve(
        self, turn: Turn, ask_id: str, request: ReserveConnector | CancelReserved
    ) -> Refusal | None:
        """Keep a connector, or let go of it; the refusal if the station is not asked."""
        refusal = self._line.refusal()
        if refusal is not None:
            return refusal
        if isinstance(request, ReserveConnector):
            return self._access.reserve(turn, ask_id, request)
        command = self._access.cancel(ask_id, request)
        if isinstance(command, Refusal):
            return command
        return self._order(turn, ask_id, command, request.timeout_ms)

    def _execute(
        self, turn: Turn, ask_id: str, request: Execute, *, judged: bool = False
    ) -> Refusal | None:
        """Queue the command; the refusal if it cannot be sent. A token is `judged` first."""
        refusal = self._line.refusal()
        if refusal is not None:
            return refusal
        command: Command = request.command
        refusal = own_profile_refusal(self._memory, command)
        if refusal is not None:
            return refusal
        if isinstance(command, RemoteStart | RequestBatterySwap) and not judged:
            connector_id = command.connector_id if isinstance(command, RemoteStart) else None
            return self._access.authoriser.check_first(
                turn,
                ask_id,
                request,
                command.id_token,
                Purpose.START,
                connector_id=connector_id or 0,
            )
        command = completed(turn, self._memory, command)
        refusal = self._order(turn, ask_id, command, request.timeout_ms)
        if refusal is None:
            self._security.hand_over(turn, command)
        return refusal

    def _order(self, turn: Turn, ask_id: str, command: Command, timeout_ms: int) -> Refusal | None:
        """Queue a command of the API; the refusal if this version cannot say it."""
        dialect = self._line.dialect
        assert dialect is not None
        until_ms = turn.now_ms + max(1, timeout_ms)
        if isinstance(command, ReportCommand) and not self._reports.expect(
            turn, command, ask_id, until_ms
        ):
            return Refusal(
                "exhausted",
                "CHARGER_BUSY",
                "too many commands wait for the charger",
                {"charger_id": self._memory.charger_id},
            )
        fault = self._line.order(
            turn, dialect, command, Origin.API, ask_id=ask_id, until_ms=until_ms
        )
        if fault is None:
            return None
        self._reports.withdraw(command)
        self._access.concluded(
            turn, Order(command, Origin.API, deque(), ask_id), CommandResult(CommandState.REJECTED)
        )
        return Refusal(
            "invalid_input",
            "COMMAND_INVALID",
            fault.description,
            {"charger_id": self._memory.charger_id, "code": fault.code},
        )

    # --- commands that are kept -------------------------------------------------------------------

    def go_on(self, turn: Turn) -> None:
        """Tell the charger, which is there, what a host before this one had not come to."""
        for command_id, wish in self._kept.resumed(turn, self._line.queue):
            self._ask(turn, command_id, wish)

    def _submitted(self, turn: Turn, ask_id: str, request: Submit) -> msgspec.Struct | None:
        known = self._kept.known(ask_id, request)
        if known is not None or self._kept.is_open(request.command_id):
            return known
        self._kept.take_in(turn, ask_id, request)
        refusal = _ANSWERS[type(request.wish)](self, turn, request.command_id, request.wish)
        if refusal is not None:
            self._kept.drop(request.command_id)
        return refusal

    def _taken_back(self, turn: Turn, _: str, request: CancelCommand) -> msgspec.Struct:
        refusal = self._kept.refused_cancel(request.command_id)
        if refusal is not None:
            return refusal
        order = self._line.queue.withdraw(request.command_id)
        if order is not None:
            self._reports.withdraw(order.command)
            offline = CommandResult(CommandState.OFFLINE)
            self._access.concluded(turn, order, offline)
            self._security.handed_over(turn, order.command, offline, sent=False)
        return self._kept.cancel(turn, request.command_id)

    # --- security ---------------------------------------------------------------------------------

    def _security_asked(
        self, turn: Turn, ask_id: str, request: SecurityRequest
    ) -> Recorded | Refusal | None:
        """The answer; None where the station's own has to come first."""
        security = self._security
        match request:
            case RotatePassword():
                refusal = security.rotation_fault(request) or self._execute(
                    turn, ask_id, Execute(SetPassword(request.password), request.timeout_ms)
                )
                if refusal is None:
                    security.rotating(turn, request)
                return refusal
            case RecordSigning():
                return security.record_signing(turn, request) or Recorded()
            case RevokeCertificate():
                security.revoke(turn, request.certificate)
            case AnswerCertificateStatus():
                security.answer_question(turn, self._line.dialect, request)
            case LowerProfile():
                security.lower_profile(turn, request.profile)
            case DismissCandidate():
                security.waits_no_more(turn)
                if self._line.connection and turn.site_id is None:
                    turn.effects.append(CloseSocket(self._line.connection, 1008, "not wanted"))
        return Recorded()


_ANSWERS: Final[dict[type, Callable[[Requests, Turn, str, Any], msgspec.Struct | None]]] = {
    AbandonSession: Requests._abandoned,
    CancelCommand: Requests._taken_back,
    CancelReserved: Requests._reserve,
    DismissQuarantined: lambda self, turn, _, wish: self._quarantine.dismiss(turn, wish),
    Execute: Requests._execute,
    GetCharger: Requests._viewed,
    GetDerState: Requests._der_viewed,
    ReleaseQuarantined: lambda self, turn, _, wish: self._quarantine.release(turn, wish),
    ReserveConnector: Requests._reserve,
    SetDriverTariff: lambda self, turn, _, wish: set_driver_tariff(turn, self._memory, wish),
    Submit: Requests._submitted,
    SetSessionNeed: lambda self, turn, _, wish: self._transactions.needs.set(turn, wish),
    **dict.fromkeys(get_args(SecurityRequest), Requests._security_asked),
}
"""How each request is answered; None where the answer comes later."""
