"""One charger as a pure state machine: its parts put together, and which of them takes what.

    Line         the connection, its language, and what waits to be said there
    Preparation  from a boot or a new connection to a station that has settled
    Conclusions  what becomes of an order
    Connection   one comes, one goes
    Hearing      what the station says of its own accord
    Assignment   to which site the charger belongs
    Requests     what operators, campaigns and the API want

Each is built from those above it and knows none below. The invariants: every CALL of the station is
answered exactly once; the newest connection wins at once and late news of an older one changes
nothing; no command is sent before the station has settled; a snapshot is written when, and only
when, something changed that must outlive this host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from controlplane.actor import Ask, Effect, LookedUp, Message, Persist, TimerFired
from controlplane.charger.access import ACCESS_TIMERS, Access
from controlplane.charger.assignment import Assignment
from controlplane.charger.commands import Origin
from controlplane.charger.concluding import Conclusions
from controlplane.charger.connection import Connection
from controlplane.charger.device import Device
from controlplane.charger.firmware import Firmware
from controlplane.charger.healing import HEALING_TIMER, Healer
from controlplane.charger.hearing import Hearing
from controlplane.charger.inventory import INVENTORY_TIMER
from controlplane.charger.kept_commands import COMMAND_TIMER, KeptCommands
from controlplane.charger.line import CALL_TIMER, Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    ApplyLimit,
    ChargerAssigned,
    ChargerCondition,
    ChargerUnassigned,
    SampleWanted,
    SecurityNoticed,
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
from controlplane.charger.preparing import Preparation
from controlplane.charger.reports import REPORT_TIMER, Reports
from controlplane.charger.requests import Requests
from controlplane.charger.reservations import Reservations
from controlplane.charger.sampling import Asked, Sampling
from controlplane.charger.schedule_check import SCHEDULE_TIMER, ScheduleCheck
from controlplane.charger.security import QUESTION_TIMER, Security
from controlplane.charger.sessions import LOST_TIMER
from controlplane.charger.settling import DEFAULT_TIMER, SETTLE_TIMER, Settling
from controlplane.charger.smart_charging import EXTERNAL_TIMER, SmartCharging
from controlplane.charger.station import Station
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.charger.view import charger_condition
from controlplane.config import ActorSettings
from controlplane.ids import ActorRef, ChargerId, SessionId
from controlplane.ocpp.commands import Reset
from controlplane.site.messages import TokensChanged
from controlplane.store.records import ActorSnapshot, CommandRecord, MeterSample

__all__ = ["ChargerActor"]

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
        "_assignment",
        "_conclusions",
        "_connection",
        "_healer",
        "_hearing",
        "_kept",
        "_line",
        "_memory",
        "_metering",
        "_preparation",
        "_reports",
        "_requests",
        "_sampling",
        "_schedule_check",
        "_security",
        "_settling",
        "_smart_charging",
        "_transactions",
        "ref",
    )

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self._memory = memory = _remembered(ref, snapshot)
        device = Device(memory, settings.call_timeout_ms)
        self._line = line = Line(memory, device, settings.call_timeout_ms)
        asked = Asked(memory, line.queue)
        self._metering = Metering(memory, asked)
        self._transactions = transactions = Transactions(memory, self._metering)
        self._smart_charging = smart_charging = SmartCharging(memory, transactions)
        self._reports = reports = Reports()
        self._security = security = Security(memory)
        self._healer = healer = Healer(memory, 2 * settings.call_timeout_ms)
        sessions = transactions.sessions
        firmware = Firmware(memory)
        reservations = Reservations(memory)
        self._access = access = Access(memory, transactions, reservations, settings.token_wait_ms)
        self._settling = settling = Settling(memory, settings, device.inventory)
        station = Station(
            memory,
            settings,
            transactions,
            smart_charging=smart_charging,
            reports=reports,
            firmware=firmware,
            reservations=reservations,
            device=device,
        )
        self._preparation = preparation = Preparation(memory, line, settling, access, sessions)
        self._sampling = Sampling(line, asked)
        self._schedule_check = ScheduleCheck(memory, line)
        self._conclusions = conclusions = Conclusions(
            memory,
            line,
            preparation,
            device=device,
            access=access,
            reports=reports,
            security=security,
            firmware=firmware,
            healer=healer,
            needs=transactions.needs,
            sampling=self._sampling,
            schedule_check=self._schedule_check,
        )
        self._connection = Connection(
            memory, line, preparation, conclusions, access, reports=reports, security=security
        )
        self._hearing = Hearing(
            memory,
            line,
            preparation,
            conclusions,
            station,
            device=device,
            access=access,
            security=security,
            healer=healer,
            sessions=sessions,
            smart_charging=smart_charging,
        )
        self._assignment = Assignment(
            memory, line, preparation, security=security, station=station, sessions=sessions
        )
        self._kept = kept = KeptCommands(memory)
        self._requests = Requests(
            memory,
            line,
            transactions,
            access,
            reports,
            security=security,
            firmware=firmware,
            kept=kept,
        )

    @property
    def open_sessions(self) -> tuple[SessionId, ...]:
        """The sessions whose latest samples `restore_readings` wants."""
        return tuple(session.session_id for session in self._memory.open_sessions())

    def condition(self) -> ChargerCondition:
        """How the charger is at the moment."""
        return charger_condition(self._memory, online=bool(self._line.connection))

    def restore_readings(self, samples: list[MeterSample]) -> None:
        """Take in what was measured since the snapshot; call it before `activate`.

        Args:
            samples: the latest 32 stored samples of each of `open_sessions`, or fewer, in the
                order in which they were received. Without them energy and duplicates are right
                again from the second reading on.
        """
        self._metering.restore(samples)

    def restore_commands(self, records: list[CommandRecord]) -> None:
        """Take in the stored commands of the charger that have no end, the oldest first; call it
        before `activate`."""
        self._kept.restore(records)

    def activate(self, now_ms: int) -> list[Effect]:
        """Tell the site where the charger stands. Whether it is connected is for the gateway to
        say; until then it counts as offline."""
        turn = Turn(self._memory.charger_id, self._memory.site_id, now_ms)
        self._assignment.tell_all(turn)
        self._healer.activated(turn)
        self._access.activated(turn)
        self._smart_charging.activated(turn)
        self._transactions.sessions.activated(turn)
        self._kept.activated(turn)
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
        if turn.sample_wanted is not None:
            self._sampling.wanted(turn, SampleWanted(turn.sample_wanted))
        elif turn.routine:
            return turn.effects
        if self._access.due:
            self._requests.grant_access(turn)
        if self._kept.waits and self._line.connection:
            self._requests.go_on(turn)
        if self._line.send_next(turn, settled=self._settling.settled):
            self._preparation.tell_presence(turn)
        self._kept.follow(turn, self._line.queue)
        self._snapshot(turn)
        return turn.effects

    def _snapshot(self, turn: Turn) -> None:
        if turn.changed:
            turn.effects.append(Persist(ActorSnapshot(self.ref, _encoder.encode(self._memory))))

    def _timer(self, turn: Turn, message: TimerFired) -> None:
        due = _TIMERS.get(message.key)
        if due is not None:
            due(self, turn)
        elif message.key in ACCESS_TIMERS:
            self._access.timer_fired(turn, message.key)

    def _healing_due(self, turn: Turn) -> None:
        dialect = self._line.dialect
        online = bool(self._line.connection) and self._settling.settled
        if self._healer.due(turn, online=online) and dialect is not None:
            self._line.order(turn, dialect, Reset(hard=False), Origin.HEALING)


def _remembered(ref: ActorRef, snapshot: bytes | None) -> ChargerMemory:
    """What a charger knew when it was persisted last."""
    if snapshot is None:
        return ChargerMemory(ChargerId(ref.id))
    memory = _decoder.decode(snapshot)
    memory.share_words()
    for connector in memory.connectors.values():
        # A limit may have changed since the snapshot; only the station and the site know.
        connector.limit_ma = connector.wanted_ma = None
    return memory


_HANDLERS: Final[dict[type[Message], Callable[[ChargerActor, Turn, Any], None]]] = {
    ApplyLimit: lambda actor, turn, message: actor._line.apply_limit(turn, message),
    Ask: lambda actor, turn, message: actor._requests.asked(turn, message),
    ChargerAssigned: lambda actor, turn, message: actor._assignment.assigned(turn, message),
    ChargerUnassigned: lambda actor, turn, message: actor._assignment.unassigned(turn, message),
    LookedUp: lambda actor, turn, message: actor._access.looked_up(turn, message),
    SampleWanted: lambda actor, turn, message: actor._sampling.wanted(turn, message),
    SecurityNoticed: lambda actor, turn, message: actor._security.noticed(turn, message),
    StationCalled: lambda actor, turn, message: actor._hearing.called(turn, message),
    StationConnected: lambda actor, turn, message: actor._connection.connected(turn, message),
    StationDisconnected: lambda actor, turn, message: actor._connection.disconnected(turn, message),
    StationFailed: lambda actor, turn, message: actor._conclusions.failed(turn, message),
    StationGarbled: lambda actor, turn, message: actor._hearing.garbled(turn, message),
    StationRefused: lambda actor, turn, message: actor._hearing.refused(turn, message),
    StationReplied: lambda actor, turn, message: actor._conclusions.replied(turn, message),
    StationSent: lambda actor, turn, message: actor._hearing.sent(turn, message),
    TimerFired: ChargerActor._timer,
    TokensChanged: lambda actor, turn, message: actor._access.tokens_changed(
        turn, message, settled=actor._settling.settled
    ),
    UpdateWanted: lambda actor, turn, message: actor._requests.update_wanted(turn, message),
}

_TIMERS: Final[dict[str, Callable[[ChargerActor, Turn], None]]] = {
    CALL_TIMER: lambda actor, turn: actor._conclusions.call_due(turn),
    COMMAND_TIMER: lambda actor, turn: actor._kept.due(turn),
    DEFAULT_TIMER: lambda actor, turn: actor._preparation.default_due(turn),
    EXTERNAL_TIMER: lambda actor, turn: actor._smart_charging.due(turn),
    HEALING_TIMER: ChargerActor._healing_due,
    INVENTORY_TIMER: lambda actor, turn: actor._preparation.report_overdue(turn),
    LOST_TIMER: lambda actor, turn: actor._transactions.sessions.lost_due(turn),
    QUESTION_TIMER: lambda actor, turn: actor._security.answer_question(turn, actor._line.dialect),
    REPORT_TIMER: lambda actor, turn: actor._reports.due(turn),
    SCHEDULE_TIMER: lambda actor, turn: actor._schedule_check.due(turn),
    SETTLE_TIMER: lambda actor, turn: actor._preparation.rested(turn),
}
"""What else is due is a matter of who may charge."""
