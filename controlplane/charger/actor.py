"""One charger as a pure state machine: the connection's life, what the station says, what it is
told.

The invariants: every CALL of the station is answered exactly once; the newest connection wins at
once and late news of an older one changes nothing; no command is sent before the station has
settled; a snapshot is written when, and only when, something changed that must outlive this host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    CancelTimer,
    CloseSocket,
    Effect,
    Message,
    Persist,
    Reply,
    ReplyError,
    SetTimer,
    TimerFired,
)
from controlplane.charger.commands import CommandQueue, Order, Origin, write_calls
from controlplane.charger.completing import completed
from controlplane.charger.firmware import Firmware
from controlplane.charger.healing import HEALING_TIMER, Healer
from controlplane.charger.limits import limit_answered, limit_wanted
from controlplane.charger.memory import ChargerMemory, Described
from controlplane.charger.messages import (
    AbandonSession,
    AnswerCertificateStatus,
    ApplyLimit,
    ChargerAssigned,
    ChargerUnassigned,
    DismissCandidate,
    Execute,
    GetCharger,
    LowerProfile,
    Recorded,
    RecordSigning,
    RevokeCertificate,
    RotatePassword,
    SecurityNoticed,
    SecurityRequest,
    SetSessionNeed,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationReplied,
    UpdateWanted,
)
from controlplane.charger.metering import Metering
from controlplane.charger.reports import REPORT_TIMER, Reports
from controlplane.charger.security import LATER, QUESTION_TIMER, Security
from controlplane.charger.settling import DEFAULT_TIMER, SETTLE_TIMER, Settling
from controlplane.charger.smart_charging import EXTERNAL_TIMER, SmartCharging
from controlplane.charger.station import Station
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.charger.view import charger_view
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import ActorRef, ChargerId, SessionId
from controlplane.network import ChargerConfig
from controlplane.ocpp.commands import (
    Command,
    CommandResult,
    CommandState,
    ReportCommand,
    Reset,
    SetLimit,
    SetPassword,
    Trigger,
)
from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.events import Booted, StatusChanged, TransactionEnded, TransactionStarted
from controlplane.ocpp.framing import ErrorCode, Fault, code_word
from controlplane.ocpp.versions import DIALECTS
from controlplane.site.messages import ChargerPresence, LimitOutcome
from controlplane.store.records import ActorSnapshot, MeterSample

__all__ = ["ChargerActor"]

_CALL_TIMER: Final = "call"

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ChargerMemory)


class ChargerActor:
    """The actor of one charger.

    Args:
        ref: its address.
        settings: the durations it lives by.
        snapshot: its state as it was persisted last, or None for a charger that is new.

    Raises:
        msgspec.DecodeError: the snapshot is not one of a charger's actor.
    """

    __slots__ = (
        "_firmware",
        "_healer",
        "_last_seen_ms",
        "_memory",
        "_metering",
        "_queue",
        "_reports",
        "_security",
        "_settings",
        "_settling",
        "_smart_charging",
        "_station",
        "_transactions",
        "ref",
    )

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        memory = ChargerMemory(ChargerId(ref.id)) if snapshot is None else _decoder.decode(snapshot)
        for connector in memory.connectors.values():
            # A limit may have changed since the snapshot; only the station and the site know.
            connector.limit_ma = None
        self._memory = memory
        self._settings = settings
        self._metering = Metering(memory)
        self._transactions = Transactions(memory, self._metering)
        self._smart_charging = SmartCharging(memory, self._transactions)
        self._reports = Reports()
        self._firmware = Firmware(memory)
        self._station = Station(
            memory,
            settings,
            self._transactions,
            smart_charging=self._smart_charging,
            reports=self._reports,
            firmware=self._firmware,
        )
        self._queue = CommandQueue(settings.call_timeout_ms)
        self._healer = Healer(memory, 2 * settings.call_timeout_ms)
        self._settling = Settling(memory, settings)
        self._security = Security(memory)
        self._last_seen_ms: int | None = None

    @property
    def open_sessions(self) -> tuple[SessionId, ...]:
        """The sessions whose latest samples `restore_readings` wants."""
        return tuple(session.session_id for session in self._memory.open_sessions())

    def restore_readings(self, samples: list[MeterSample]) -> None:
        """Take in what was measured since the snapshot; call it before `activate`.

        Args:
            samples: the latest 32 stored samples of each of `open_sessions`, or fewer, in the
                order in which they were received. Without them energy and duplicates are right
                again from the second reading on.
        """
        for sample in samples:
            self._metering.restore(sample)

    def activate(self, now_ms: int) -> list[Effect]:
        """Tell the site where the charger stands. Whether it is connected is for the gateway to
        say; until then it counts as offline."""
        turn = Turn(self._memory.charger_id, self._memory.site_id, now_ms)
        self._tell_all(turn)
        self._healer.activated(turn)
        self._smart_charging.activated(turn)
        return turn.effects

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        """Take one message.

        Raises:
            TypeError: a charger cannot be told this.
        """
        handle = _HANDLERS.get(type(message))
        if handle is None:
            raise TypeError(f"a charger cannot be told {type(message).__name__}")
        turn = Turn(self._memory.charger_id, self._memory.site_id, now_ms)
        handle(self, turn, message)
        self._queue.send_next(turn, settled=self._settling.settled)
        rearm, due_ms = self._queue.rearm()
        if rearm:
            turn.effects.append(
                CancelTimer(_CALL_TIMER) if due_ms is None else SetTimer(_CALL_TIMER, due_ms)
            )
        if turn.changed:
            turn.effects.append(Persist(ActorSnapshot(self.ref, _encoder.encode(self._memory))))
        return turn.effects

    # --- the connection ---------------------------------------------------------------------------

    def _connected(self, turn: Turn, message: StationConnected) -> None:
        if message.connection == self._queue.connection:
            return
        if message.ocpp_version not in DIALECTS:
            turn.effects.append(
                CloseSocket(message.connection, 1002, f"{message.ocpp_version} is not spoken here")
            )
            return
        self._hang_up(turn)
        self._queue.connect(message.connection, turn.now_ms)
        self._last_seen_ms = turn.now_ms
        if self._memory.ocpp_version != message.ocpp_version:
            self._memory.ocpp_version = message.ocpp_version
            turn.changed = True
        self._security.connected(turn, message)
        if message.resumed and self._memory.settled_connection == message.connection:
            self._settling.resume(turn)
            self._tell_presence(turn)
            return
        turn.emit(
            "charger.connected",
            connection=message.connection,
            ocpp_version=message.ocpp_version,
            remote=message.remote,
        )
        self._unsettle(turn)

    def _disconnected(self, turn: Turn, message: StationDisconnected) -> None:
        if message.connection != self._queue.connection:
            return
        turn.emit("charger.disconnected", connection=message.connection, reason=message.reason)
        self._hang_up(turn)
        self._tell_presence(turn)

    def _hang_up(self, turn: Turn) -> None:
        """Whatever was wanted of the station on its connection ends here."""
        self._settling.stop(turn)
        for order in self._queue.disconnect():
            self._finish(turn, order, CommandResult(CommandState.OFFLINE))
        self._reports.hang_up(turn)

    def _unsettle(self, turn: Turn) -> None:
        """Leave the station in peace for a while, then prepare it."""
        self._settling.rest(turn, self._queue.connection)
        self._tell_presence(turn)

    def _prepare(self, turn: Turn, commands: Iterable[Command]) -> None:
        """Tell the station what it must know, and the site once it has settled."""
        dialect = self._dialect()
        if not self._queue.connection or dialect is None:
            return
        for command in commands:
            self._order(turn, dialect, command, Origin.SETTLING)
        if not self._queue.pending(Origin.SETTLING) and self._settling.prepared(
            turn, self._queue.connection
        ):
            self._tell_presence(turn)

    def _dialect(self) -> Dialect | None:
        return DIALECTS.get(self._memory.ocpp_version)

    # --- what the station says --------------------------------------------------------------------

    def _called(self, turn: Turn, message: StationCalled) -> None:
        queue = self._queue
        dialect = self._dialect()
        if dialect is None or (queue.connection and message.connection != queue.connection):
            # The station has another connection by now and repeats there what was not answered.
            turn.effects.append(
                ReplyError(
                    message.connection,
                    message.message_id,
                    ErrorCode.INTERNAL_ERROR.value,
                    "this connection has been replaced",
                )
            )
            return
        self._last_seen_ms = turn.now_ms
        event = dialect.event(message.action, message.payload)
        if event is None:
            turn.effects.append(
                ReplyError(
                    message.connection,
                    message.message_id,
                    code_word(dialect.version, ErrorCode.NOT_SUPPORTED),
                    f"{message.action} is not supported",
                )
            )
            return
        turn.call = message
        answer = self._security.hear(turn, event) or self._station.hear(turn, event)
        if answer is LATER:
            return
        turn.effects.append(Reply(message.connection, message.message_id, dialect.reply(answer)))
        if isinstance(event, StatusChanged):
            self._healer.statuses_changed(turn)
        elif isinstance(event, Booted):
            self._security.waits(turn)
            if event.reason != "Triggered" and queue.connection:
                self._unsettle(turn)
        elif isinstance(event, TransactionStarted | TransactionEnded):
            self._drop_stale_limits(turn)
        question, self._smart_charging.question = self._smart_charging.question, None
        if question is not None and queue.connection and not queue.pending(Origin.LEARNING):
            command = completed(turn, self._memory, question)
            self._order(turn, dialect, command, Origin.LEARNING)

    def _drop_stale_limits(self, turn: Turn) -> None:
        for order in self._queue.take_out_limits(set(self.open_sessions)):
            if order.limit is not None:
                self._tell_outcome(turn, order.limit, CommandState.OFFLINE, superseded=True)

    def _replied(self, turn: Turn, message: StationReplied) -> None:
        awaited = self._is_awaited(turn, message)
        dialect = self._dialect()
        order = self._queue.in_flight
        if not awaited or order is None or dialect is None:
            return
        self._last_seen_ms = turn.now_ms
        self._healer.answered(turn)
        self._conclude(turn, dialect.result(order.calls[0][0], message.payload))

    def _failed(self, turn: Turn, message: StationFailed) -> None:
        if not self._is_awaited(turn, message):
            return
        self._last_seen_ms = turn.now_ms
        self._healer.answered(turn)
        self._conclude(
            turn,
            CommandResult(
                CommandState.ERROR,
                error_code=message.code,
                error_description=message.description,
            ),
        )

    def _is_awaited(self, turn: Turn, message: StationReplied | StationFailed) -> bool:
        """Whether this answers the CALL in flight; an answer that comes too late is journalled."""
        if message.connection != self._queue.connection:
            return False
        if self._queue.expects(message.message_id):
            return True
        action = self._queue.late_action(message.message_id)
        turn.emit("command.late", message_id=message.message_id[:64], action=action)
        return False

    # --- what it is told --------------------------------------------------------------------------

    def _order(
        self,
        turn: Turn,
        dialect: Dialect,
        command: Command,
        origin: Origin,
        *,
        ask_id: str = "",
        until_ms: int | None = None,
        limit: ApplyLimit | None = None,
        urgent: bool = False,
    ) -> Fault | None:
        """Queue a command; the fault if this version cannot say it."""
        calls = write_calls(dialect, command, turn.now_ms)
        if isinstance(calls, Fault):
            return calls
        replaced = self._queue.put(
            Order(command, origin, calls, ask_id, until_ms, limit, urgent=urgent)
        )
        if replaced is not None and replaced.limit is not None:
            self._tell_outcome(turn, replaced.limit, CommandState.OFFLINE, superseded=True)
        return None

    def _conclude(self, turn: Turn, result: CommandResult) -> None:
        order = self._queue.conclude(turn, result)
        if order is not None:
            self._finish(turn, order, order.result())

    def _finish(self, turn: Turn, order: Order, result: CommandResult) -> None:
        """Tell whoever wanted it what became of it."""
        accepted = result.state is CommandState.ACCEPTED
        if order.origin in (Origin.API, Origin.HEALING) or not accepted:
            turn.emit(
                "command.finished",
                command=type(order.command).__name__,
                origin=order.origin.value,
                state=result.state.value,
                status=result.status,
                error_code=result.error_code,
                error_description=result.error_description[:255],
            )
        held = self._reports.holds(turn, order, result)
        if order.ask_id and not held:
            turn.effects.append(Answer(order.ask_id, result))
        if isinstance(order.command, SetPassword):
            self._security.password_answered(turn, result.state, sent=order.sent)
        if isinstance(order.command, SetLimit) and order.sent:
            limit_answered(turn, self._memory, order.command, result.state)
        self._firmware.asked(turn, order.command, result)
        if order.limit is not None:
            self._tell_outcome(turn, order.limit, result.state)
        if order.origin is Origin.HEALING:
            self._healer.concluded(turn, result)
        if order.origin is Origin.SETTLING:
            self._settling.answered(turn, order.command, result.state)
        if order.origin is Origin.SETTLING and self._queue.connection:
            if self._settling.settled:
                self._tell_presence(turn)
            dialect = self._dialect()
            simpler = None
            if dialect is not None and result.state in (CommandState.REJECTED, CommandState.ERROR):
                simpler = self._settling.simpler_sampling(dialect, order.command)
            self._prepare(turn, () if simpler is None else (simpler,))

    def _update_wanted(self, turn: Turn, message: UpdateWanted) -> None:
        dialect = self._dialect()
        online = bool(self._queue.connection) and dialect is not None and not self._queue.full
        if self._firmware.wanted(turn, message, online=online) and dialect is not None:
            fault = self._order(turn, dialect, message.command, Origin.API)
            if fault is not None:
                self._firmware.unspeakable(turn, message.command, fault.code)

    def _apply_limit(self, turn: Turn, message: ApplyLimit) -> None:
        dialect = self._dialect()
        if not self._queue.connection or dialect is None:
            self._tell_outcome(turn, message, CommandState.OFFLINE)
            return
        command = limit_wanted(self._memory, message)
        if command is None:
            self._tell_outcome(turn, message, CommandState.REJECTED)
            return
        connector = self._memory.connector(message.connector_id)
        in_force_ma = None if connector is None else connector.limit_ma
        urgent = in_force_ma is None or message.limit_ma < in_force_ma
        fault = self._order(turn, dialect, command, Origin.LIMIT, limit=message, urgent=urgent)
        if fault is not None:
            self._tell_outcome(turn, message, CommandState.REJECTED)

    # --- the site ---------------------------------------------------------------------------------

    def _assigned(self, turn: Turn, message: ChargerAssigned) -> None:
        memory = self._memory
        described = Described.of(
            ChargerConfig.model_validate_json(message.config),
            voltage_v=message.voltage_v,
            main_meter_interval_s=message.main_meter_interval_s,
        )
        moved = memory.site_id != message.site_id
        changed = memory.described != described
        turn.site_id = memory.site_id = message.site_id
        memory.described = described
        self._security.waits_no_more(turn)
        if moved or changed:
            turn.changed = True
            turn.emit("charger.assigned")
        if (moved or changed) and self._queue.connection:
            self._settling.rest(turn, self._queue.connection)
            dialect = self._dialect()
            if self._station.boot_pending and dialect is not None:
                # It was told to come again later; it is welcome now (2.0.1 B02).
                self._order(turn, dialect, Trigger("BootNotification"), Origin.SETTLING)
        self._tell_all(turn)

    def _unassigned(self, turn: Turn, message: ChargerUnassigned) -> None:
        if self._memory.site_id != message.site_id:
            return
        self._memory.site_id = turn.site_id = None
        self._memory.described = None
        turn.changed = True
        turn.emit("charger.unassigned", left_site_id=message.site_id)

    def _tell_all(self, turn: Turn) -> None:
        self._tell_presence(turn)
        memory = self._memory
        described = () if memory.described is None else memory.described.connectors
        for connector_id in {*memory.connectors, *(each.id for each in described)}:
            self._transactions.tell_state(turn, connector_id)

    def _tell_presence(self, turn: Turn) -> None:
        turn.tell_site(
            ChargerPresence(
                self._memory.charger_id,
                bool(self._queue.connection),
                self._settling.settled,
                self._memory.default_ma(),
            )
        )

    def _tell_outcome(
        self, turn: Turn, limit: ApplyLimit, state: CommandState, *, superseded: bool = False
    ) -> None:
        turn.tell_site(
            LimitOutcome(
                self._memory.charger_id, limit.connector_id, limit.limit_id, state, superseded
            )
        )

    # --- the API ----------------------------------------------------------------------------------

    def _asked(self, turn: Turn, message: Ask) -> None:
        request = message.request
        if isinstance(request, Execute):
            refusal = self._execute(turn, message.ask_id, request)
            if refusal is not None:
                turn.effects.append(Answer(message.ask_id, refusal))
        elif isinstance(request, SetSessionNeed):
            turn.effects.append(Answer(message.ask_id, self._transactions.set_need(turn, request)))
        elif isinstance(request, AbandonSession):
            closed = self._transactions.abandon(
                turn, request.session_id, online=bool(self._queue.connection)
            )
            turn.effects.append(Answer(message.ask_id, closed))
        elif isinstance(request, SecurityRequest):
            answer = self._security_asked(turn, message.ask_id, request)
            if answer is not None:
                turn.effects.append(Answer(message.ask_id, answer))
        elif isinstance(request, GetCharger):
            view = charger_view(
                self._memory,
                online=bool(self._queue.connection),
                last_seen_ms=self._last_seen_ms,
                now_ms=turn.now_ms,
            )
            turn.effects.append(Answer(message.ask_id, view))
        else:
            name = type(request).__name__
            turn.effects.append(
                Answer(
                    message.ask_id,
                    Refusal("invalid_input", "UNKNOWN_REQUEST", f"a charger cannot {name}"),
                )
            )

    def _execute(self, turn: Turn, ask_id: str, request: Execute) -> Refusal | None:
        """Queue the command; the refusal if it cannot be sent."""
        charger: dict[str, str] = {"charger_id": self._memory.charger_id}
        dialect = self._dialect()
        if not self._queue.connection or dialect is None:
            return Refusal("unavailable", "CHARGER_OFFLINE", "the charger is offline", charger)
        command = completed(turn, self._memory, request.command)
        until_ms = turn.now_ms + max(1, request.timeout_ms)
        if self._queue.full or (
            isinstance(command, ReportCommand)
            and not self._reports.expect(turn, command, ask_id, until_ms)
        ):
            return Refusal(
                "exhausted", "CHARGER_BUSY", "too many commands wait for the charger", charger
            )
        fault = self._order(turn, dialect, command, Origin.API, ask_id=ask_id, until_ms=until_ms)
        if fault is None:
            return None
        self._reports.withdraw(command)
        return Refusal(
            "invalid_input", "COMMAND_INVALID", fault.description, {**charger, "code": fault.code}
        )

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
                security.answer_question(turn, self._dialect(), request)
            case LowerProfile():
                security.lower_profile(turn, request.profile)
            case DismissCandidate():
                security.waits_no_more(turn)
                if self._queue.connection and turn.site_id is None:
                    turn.effects.append(CloseSocket(self._queue.connection, 1008, "not wanted"))
        return Recorded()

    def _security_noticed(self, turn: Turn, message: SecurityNoticed) -> None:
        self._security.noticed(turn, message)

    # --- time -------------------------------------------------------------------------------------

    def _timer(self, turn: Turn, message: TimerFired) -> None:
        dialect = self._dialect()
        if message.key == SETTLE_TIMER and dialect is not None and self._queue.connection:
            self._prepare(turn, self._settling.rested(turn, dialect))
        elif message.key == DEFAULT_TIMER:
            self._prepare(turn, self._settling.default_due(turn))
        elif message.key == _CALL_TIMER:
            self._call_timer(turn)
        elif message.key == QUESTION_TIMER:
            self._security.answer_question(turn, dialect)
        elif message.key == REPORT_TIMER:
            self._reports.due(turn)
        elif message.key == EXTERNAL_TIMER:
            self._smart_charging.due(turn)
        elif message.key == HEALING_TIMER:
            online = bool(self._queue.connection) and self._settling.settled
            if self._healer.due(turn, online=online) and dialect is not None:
                self._order(turn, dialect, Reset(hard=False), Origin.HEALING)

    def _call_timer(self, turn: Turn) -> None:
        self._queue.timer_fired()
        if self._queue.overdue(turn.now_ms):
            self._healer.timed_out(turn)
            self._conclude(turn, CommandResult(CommandState.TIMED_OUT))
        order = self._queue.in_flight
        if order is not None and order.until_ms is not None and turn.now_ms >= order.until_ms:
            # The asker waits no longer; the station may still answer.
            turn.effects.append(Answer(order.ask_id, CommandResult(CommandState.TIMED_OUT)))
            order.ask_id, order.until_ms = "", None
        for order in self._queue.given_up(turn.now_ms):
            if isinstance(order.command, SetPassword):
                self._security.password_answered(turn, CommandState.OFFLINE, sent=False)
            turn.effects.append(
                Answer(
                    order.ask_id,
                    Refusal(
                        "unavailable",
                        "CHARGER_BUSY",
                        "the charger was busy for the whole time; nothing was sent to it",
                        {"charger_id": self._memory.charger_id},
                    ),
                )
            )


_HANDLERS: Final[dict[type[Message], Callable[[ChargerActor, Turn, Any], None]]] = {
    ApplyLimit: ChargerActor._apply_limit,
    Ask: ChargerActor._asked,
    ChargerAssigned: ChargerActor._assigned,
    ChargerUnassigned: ChargerActor._unassigned,
    SecurityNoticed: ChargerActor._security_noticed,
    StationCalled: ChargerActor._called,
    StationConnected: ChargerActor._connected,
    StationDisconnected: ChargerActor._disconnected,
    StationFailed: ChargerActor._failed,
    StationReplied: ChargerActor._replied,
    TimerFired: ChargerActor._timer,
    UpdateWanted: ChargerActor._update_wanted,
}
