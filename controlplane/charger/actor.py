"""One charger as a pure state machine: the connection's life, what the station says, what it is
told.

The invariants: every CALL of the station is answered exactly once; the newest connection wins at
once and late news of an older one changes nothing; no command is sent before the station has
settled; a snapshot is written when, and only when, something changed that must outlive this host.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, get_args

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    CancelTimer,
    CloseSocket,
    Effect,
    LookedUp,
    Message,
    Persist,
    ReplyError,
    SetTimer,
    TimerFired,
)
from controlplane.charger.access import ACCESS_TIMERS, Access
from controlplane.charger.bidirectional import limit_granted
from controlplane.charger.commands import CommandQueue, Order, Origin, write_calls
from controlplane.charger.completing import completed
from controlplane.charger.costs import set_driver_tariff
from controlplane.charger.deviations import Deviations
from controlplane.charger.device import Device
from controlplane.charger.firmware import Firmware
from controlplane.charger.healing import HEALING_TIMER, Healer
from controlplane.charger.inventory import INVENTORY_TIMER
from controlplane.charger.limits import limit_wanted
from controlplane.charger.memory import ChargerMemory, Described
from controlplane.charger.messages import (
    AbandonSession,
    AnswerCertificateStatus,
    ApplyLimit,
    CancelReserved,
    ChargerAssigned,
    ChargerUnassigned,
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
    SecurityNoticed,
    SecurityRequest,
    SetDriverTariff,
    SetSessionNeed,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationGarbled,
    StationRefused,
    StationReplied,
    StationSent,
    UpdateWanted,
)
from controlplane.charger.metering import Metering
from controlplane.charger.outcomes import command_answered
from controlplane.charger.quarantine import Quarantine
from controlplane.charger.reports import REPORT_TIMER, Reports
from controlplane.charger.reservations import Reservations
from controlplane.charger.security import LATER, QUESTION_TIMER, Security
from controlplane.charger.sessions import LOST_TIMER
from controlplane.charger.settling import DEFAULT_TIMER, SETTLE_TIMER, Settling
from controlplane.charger.smart_charging import EXTERNAL_TIMER, SmartCharging
from controlplane.charger.station import Station
from controlplane.charger.steering import profile_form
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
    RemoteStart,
    ReportCommand,
    Reset,
    SetLimit,
    SetPassword,
    SetSettings,
    Trigger,
    UsePriority,
)
from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.events import (
    Booted,
    Event,
    StatusChanged,
    TransactionEnded,
    TransactionStarted,
    VariablesNoticed,
    VariablesReported,
)
from controlplane.ocpp.framing import ErrorCode, Fault, code_word
from controlplane.ocpp.v2x import PriorityNotified
from controlplane.ocpp.versions import DIALECTS
from controlplane.site.messages import ChargerPresence, LimitOutcome, TokensChanged
from controlplane.store.records import ActorSnapshot, MeterSample
from controlplane.tokens import Purpose

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
        "_access",
        "_deviations",
        "_device",
        "_firmware",
        "_healer",
        "_last_seen_ms",
        "_memory",
        "_metering",
        "_quarantine",
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
            connector.limit_ma = connector.wanted_ma = None
        self._memory = memory
        self._settings = settings
        self._metering = Metering(memory)
        self._transactions = Transactions(memory, self._metering)
        self._device = Device(memory, settings.call_timeout_ms)
        self._smart_charging = SmartCharging(memory, self._transactions)
        self._reports = Reports()
        self._quarantine = Quarantine(memory, self._transactions.sessions)
        self._deviations = Deviations(memory)
        self._firmware = Firmware(memory)
        reservations = Reservations(memory)
        self._station = Station(
            memory,
            settings,
            self._transactions,
            smart_charging=self._smart_charging,
            reports=self._reports,
            firmware=self._firmware,
            reservations=reservations,
            device=self._device,
        )
        self._access = Access(memory, self._transactions, reservations, settings.token_wait_ms)
        self._queue = CommandQueue(settings.call_timeout_ms)
        self._healer = Healer(memory, 2 * settings.call_timeout_ms)
        self._settling = Settling(memory, settings, self._device.inventory)
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
        self._access.activated(turn)
        self._smart_charging.activated(turn)
        self._transactions.sessions.activated(turn)
        self._snapshot(turn)
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
        turn.settled = self._settling.settled
        handle(self, turn, message)
        if self._access.due:
            self._grant_access(turn)
        self._queue.send_next(turn, settled=self._settling.settled)
        rearm, due_ms = self._queue.rearm()
        if rearm:
            turn.effects.append(
                CancelTimer(_CALL_TIMER) if due_ms is None else SetTimer(_CALL_TIMER, due_ms)
            )
        self._snapshot(turn)
        return turn.effects

    def _snapshot(self, turn: Turn) -> None:
        if turn.changed:
            turn.effects.append(Persist(ActorSnapshot(self.ref, _encoder.encode(self._memory))))

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
            self._access.settled(turn)
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
        self._access.disconnected()
        self._settling.stop(turn)
        self._device.inventory.forget(turn)
        self._restarted(turn)
        for order in self._queue.disconnect():
            self._finish(turn, order, CommandResult(CommandState.OFFLINE))
        self._reports.hang_up(turn)

    def _restarted(self, turn: Turn) -> None:
        """The station is gone or has booted; with some makes that is how they answer a Reset."""
        order = self._queue.in_flight
        if order is not None and self._device.reset_unanswered(order.command):
            self._conclude(turn, CommandResult(CommandState.ACCEPTED, "Rebooted"))

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
        if not self._queue.pending(Origin.SETTLING):
            for command in self._settling.metering(dialect):
                self._order(turn, dialect, command, Origin.SETTLING)
        if not self._queue.pending(Origin.SETTLING) and self._settling.prepared(
            turn, self._queue.connection
        ):
            self._tell_presence(turn)
            self._access.settled(turn)

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
        event = dialect.event(message.action, self._device.corrected(message.payload))
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
        if message.mended:
            self._deviations.mended(turn, message.action, message.mended)
        answer = self._security.hear(turn, event) or self._station.hear(turn, event)
        if answer is LATER:
            return
        self._access.authoriser.answer(turn, dialect, message, answer)
        if turn.history:
            self._settling.replayed(turn)
        self._followed(turn, dialect, event)

    def _followed(self, turn: Turn, dialect: Dialect, event: Event) -> None:
        """What the station said has consequences beyond its answer."""
        queue = self._queue
        if isinstance(event, StatusChanged | VariablesNoticed):
            self._healer.statuses_changed(turn)
        elif isinstance(event, Booted):
            self._security.waits(turn)
            if event.reason != "Triggered" and queue.connection:
                self._restarted(turn)
                self._unsettle(turn)
        elif isinstance(event, VariablesReported) and self._station.report_ended:
            self._reported(turn)
        elif isinstance(event, TransactionStarted | TransactionEnded):
            self._drop_stale_limits(turn)
            if profile_form(self._memory).by_default:
                # The default profile held the session's limit.
                self._prepare(turn, self._settling.default_due(turn))
        elif isinstance(event, PriorityNotified):
            self._refuse_priority(turn, dialect, event)
        question, self._smart_charging.question = self._smart_charging.question, None
        if question is not None and queue.connection and not queue.pending(Origin.LEARNING):
            command = completed(turn, self._memory, question)
            self._order(turn, dialect, command, Origin.LEARNING)

    def _refuse_priority(self, turn: Turn, dialect: Dialect, event: PriorityNotified) -> None:
        """Priority for a transaction that does not run here is taken back (2.1 K21): no ledger
        counts what it would draw."""
        session = self._transactions.sessions.find(event.transaction_id)
        unknown = session is None or session.ended_ms is not None
        if event.active and unknown and not self._queue.full:
            self._order(turn, dialect, UsePriority(event.transaction_id, active=False), Origin.API)

    def _sent(self, turn: Turn, message: StationSent) -> None:
        """What the station tells without wanting an answer (2.1)."""
        dialect = self._dialect()
        if dialect is None or message.connection != self._queue.connection:
            return
        self._last_seen_ms = turn.now_ms
        event = dialect.event(message.action, message.payload)
        if event is not None:
            self._station.hear(turn, event)

    def _refused(self, turn: Turn, message: StationRefused) -> None:
        """The station could not take an answer (2.1). It was right by its schema, so the fault is
        noted; the station's message counts, and if it sends it again it is recognised."""
        if message.connection == self._queue.connection:
            turn.emit(
                "charger.answer_refused",
                message_id=message.message_id[:64],
                error_code=message.code[:64],
                error_description=message.description[:255],
            )

    def _reported(self, turn: Turn) -> None:
        """The station has told what it can do, or will not: go on, and tell the site what sessions
        can take by that."""
        self._prepare(turn, ())
        for session in self._memory.open_sessions():
            self._transactions.sessions.tell_state(turn, session.connector_id)

    def _garbled(self, turn: Turn, message: StationGarbled) -> None:
        self._last_seen_ms = turn.now_ms
        self._deviations.garbled(turn, message)

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
        command = self._device.worded(turn, command)
        calls = write_calls(
            dialect, command, turn.now_ms, settings_max=self._device.settings_max(command)
        )
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
        default_ma = self._memory.default_ma()
        settling = order.origin is Origin.SETTLING
        if order.sent:
            limit = self._device.answered(turn, order.command, result, settling=settling)
            if limit is not None and self._try_again(turn, order, limit):
                return
        if isinstance(order.command, SetPassword):
            result = self._security.password_answered(turn, result, sent=order.sent)
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
        response = self._access.concluded(turn, order, result)
        held = self._reports.holds(turn, order, result)
        if order.ask_id and not held:
            turn.effects.append(Answer(order.ask_id, response))
        command_answered(turn, self._memory, order.command, result)
        if isinstance(order.command, UsePriority) and accepted:
            self._transactions.needs.prioritise(
                turn, order.command.transaction_id, active=order.command.active
            )
        self._firmware.asked(turn, order.command, result)
        if order.limit is not None:
            self._tell_outcome(turn, order.limit, result.state)
            if default_ma != self._memory.default_ma():
                self._tell_presence(turn)
        if order.origin is Origin.HEALING:
            self._healer.concluded(turn, result)
        if settling:
            self._prepared_further(turn, order, result)

    def _prepared_further(self, turn: Turn, order: Order, result: CommandResult) -> None:
        """A step of what prepares the station is done."""
        if isinstance(order.command, SetSettings) and order.sent:
            self._memory.probing.told(turn.now_ms)
        dialect = self._dialect()
        if dialect is not None:
            self._settling.answered(turn, dialect, order.command, result.state)
        if not self._queue.connection:
            return
        if self._settling.settled:
            self._tell_presence(turn)
        simpler = None
        if dialect is not None and result.state in (CommandState.REJECTED, CommandState.ERROR):
            simpler = self._settling.simpler_sampling(dialect, order.command)
        self._prepare(turn, () if simpler is None else (simpler,))

    def _try_again(self, turn: Turn, refused: Order, limit: SetLimit) -> bool:
        """Send a refused limit in another form, unless a newer one waits; whether it is under way,
        so that nobody need be told yet."""
        dialect = self._dialect()
        if not self._queue.connection or dialect is None or self._queue.waits_for(refused.limit):
            return False
        fault = self._order(
            turn,
            dialect,
            limit,
            refused.origin,
            ask_id=refused.ask_id,
            until_ms=refused.until_ms,
            limit=refused.limit,
            urgent=True,
        )
        return fault is None

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
        if message.session_id is not None:
            limit_granted(self._memory, message.connector_id, message.limit_ma)
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
            authorisation=message.authorisation,
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
            self._transactions.sessions.tell_state(turn, connector_id)

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
        answer = _ANSWERS.get(type(message.request))
        response: msgspec.Struct | None
        if answer is None:
            name = type(message.request).__name__
            response = Refusal("invalid_input", "UNKNOWN_REQUEST", f"a charger cannot {name}")
        else:
            response = answer(self, turn, message.ask_id, message.request)
        if response is not None:
            turn.effects.append(Answer(message.ask_id, response))

    def _abandoned(self, turn: Turn, _: str, request: AbandonSession) -> msgspec.Struct:
        online = bool(self._queue.connection)
        return self._transactions.sessions.abandon(turn, request.session_id, online=online)

    def _viewed(self, turn: Turn, _: str, __: GetCharger) -> msgspec.Struct:
        return charger_view(
            self._memory,
            online=bool(self._queue.connection),
            last_seen_ms=self._last_seen_ms,
            now_ms=turn.now_ms,
            list_state=self._access.list_state,
        )

    def _der_viewed(self, _: Turn, __: str, ___: GetDerState) -> msgspec.Struct:
        memory = self._memory
        return DerState(tuple(memory.der_controls.values()), tuple(memory.der_alarms.values()))

    def _looked_up(self, turn: Turn, message: LookedUp) -> None:
        self._access.looked_up(turn, message)

    def _tokens_changed(self, turn: Turn, message: TokensChanged) -> None:
        self._access.tokens_changed(turn, message, settled=self._settling.settled)

    def _reserve(
        self, turn: Turn, ask_id: str, request: ReserveConnector | CancelReserved
    ) -> Refusal | None:
        """Keep a connector, or let go of it; the refusal if the station is not asked."""
        refusal = self._offline()
        if refusal is not None:
            return refusal
        if isinstance(request, ReserveConnector):
            return self._access.reserve(turn, ask_id, request)
        command = self._access.cancel(ask_id, request)
        if isinstance(command, Refusal):
            return command
        return self._order_for(turn, ask_id, command, request.timeout_ms)

    def _grant_access(self, turn: Turn) -> None:
        """Send what tokens were accepted for, and what keeps the station's list in step."""
        for ask_id, wish, verdict in self._access.authoriser.ready():
            if isinstance(wish, Execute):
                refusal = self._execute(turn, ask_id, wish, judged=True)
            else:
                refusal = self._offline() or self._order_for(
                    turn,
                    ask_id,
                    self._access.reserve_checked(turn, ask_id, wish, verdict),
                    wish.timeout_ms,
                )
            if refusal is not None:
                turn.effects.append(Answer(ask_id, refusal))
        dialect = self._dialect()
        for command in self._access.wanted():
            if self._queue.connection and dialect is not None:
                self._order(turn, dialect, command, Origin.LIST)

    def _execute(
        self, turn: Turn, ask_id: str, request: Execute, *, judged: bool = False
    ) -> Refusal | None:
        """Queue the command; the refusal if it cannot be sent. A token is `judged` first."""
        refusal = self._offline()
        if refusal is not None:
            return refusal
        command: Command = request.command
        if isinstance(command, RemoteStart) and not judged:
            return self._access.authoriser.check_first(
                turn,
                ask_id,
                request,
                command.id_token,
                Purpose.START,
                connector_id=command.connector_id or 0,
            )
        command = completed(turn, self._memory, command)
        return self._order_for(turn, ask_id, command, request.timeout_ms)

    def _offline(self) -> Refusal | None:
        """Why nothing can be sent at the moment."""
        charger: dict[str, str] = {"charger_id": self._memory.charger_id}
        if not self._queue.connection or self._dialect() is None:
            return Refusal("unavailable", "CHARGER_OFFLINE", "the charger is offline", charger)
        if self._queue.full:
            return Refusal(
                "exhausted", "CHARGER_BUSY", "too many commands wait for the charger", charger
            )
        return None

    def _order_for(
        self, turn: Turn, ask_id: str, command: Command, timeout_ms: int
    ) -> Refusal | None:
        """Queue a command of the API; the refusal if this version cannot say it."""
        dialect = self._dialect()
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
        fault = self._order(turn, dialect, command, Origin.API, ask_id=ask_id, until_ms=until_ms)
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
            self._prepare(turn, self._settling.rested(turn))
        elif message.key == INVENTORY_TIMER:
            self._prepare(turn, self._settling.report_overdue(turn))
        elif message.key == DEFAULT_TIMER:
            self._prepare(turn, self._settling.default_due(turn))
        elif message.key in ACCESS_TIMERS:
            self._access.timer_fired(turn, message.key)
        elif message.key == _CALL_TIMER:
            self._call_timer(turn)
        elif message.key == QUESTION_TIMER:
            self._security.answer_question(turn, dialect)
        elif message.key == REPORT_TIMER:
            self._reports.due(turn)
        elif message.key == EXTERNAL_TIMER:
            self._smart_charging.due(turn)
        elif message.key == LOST_TIMER:
            self._transactions.sessions.lost_due(turn)
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
            late = self._access.unanswered(order, CommandResult(CommandState.TIMED_OUT))
            turn.effects.append(Answer(order.ask_id, late))
            order.ask_id, order.until_ms = "", None
        for order in self._queue.given_up(turn.now_ms):
            self._access.concluded(turn, order, CommandResult(CommandState.OFFLINE))
            if isinstance(order.command, SetPassword):
                self._security.password_answered(
                    turn, CommandResult(CommandState.OFFLINE), sent=False
                )
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
    LookedUp: ChargerActor._looked_up,
    TokensChanged: ChargerActor._tokens_changed,
    ChargerAssigned: ChargerActor._assigned,
    ChargerUnassigned: ChargerActor._unassigned,
    SecurityNoticed: ChargerActor._security_noticed,
    StationCalled: ChargerActor._called,
    StationConnected: ChargerActor._connected,
    StationDisconnected: ChargerActor._disconnected,
    StationFailed: ChargerActor._failed,
    StationRefused: ChargerActor._refused,
    StationGarbled: ChargerActor._garbled,
    StationReplied: ChargerActor._replied,
    StationSent: ChargerActor._sent,
    TimerFired: ChargerActor._timer,
    UpdateWanted: ChargerActor._update_wanted,
}

_ANSWERS: Final[dict[type, Callable[[ChargerActor, Turn, str, Any], msgspec.Struct | None]]] = {
    AbandonSession: ChargerActor._abandoned,
    CancelReserved: ChargerActor._reserve,
    DismissQuarantined: lambda actor, turn, _, wish: actor._quarantine.dismiss(turn, wish),
    Execute: ChargerActor._execute,
    GetCharger: ChargerActor._viewed,
    GetDerState: ChargerActor._der_viewed,
    ReleaseQuarantined: lambda actor, turn, _, wish: actor._quarantine.release(turn, wish),
    ReserveConnector: ChargerActor._reserve,
    SetDriverTariff: lambda actor, turn, _, wish: set_driver_tariff(turn, actor._memory, wish),
    SetSessionNeed: lambda actor, turn, _, wish: actor._transactions.needs.set(turn, wish),
    **dict.fromkeys(get_args(SecurityRequest), ChargerActor._security_asked),
}
"""How each request is answered; None where the answer comes later."""
