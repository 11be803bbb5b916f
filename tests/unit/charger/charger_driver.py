"""A charger's actor with a clock and timers, for tests that speak to it message by message."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from controlplane.actor import (
    Answer,
    Ask,
    Call,
    CancelTimer,
    Effect,
    Emit,
    Message,
    Persist,
    Reply,
    ReplyError,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.actor import ChargerActor
from controlplane.charger.messages import (
    ApplyLimit,
    ChargerAssigned,
    Execute,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationReplied,
)
from controlplane.charger.security import QUESTION_TIMER
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, SessionId, SiteId
from controlplane.network import ChargerConfig, ConnectorConfig
from controlplane.ocpp.commands import AnyCommand
from controlplane.ocpp.schemas import check_call, check_result
from controlplane.store.records import ActorSnapshot, CommandRecord
from controlplane.units import iso_from_ms

START_MS = 1_704_067_200_000
"""2024-01-01T00:00:00Z."""

REF = ActorRef(ActorKind.CHARGER, "CP1")
SETTINGS = ActorSettings()

Kind = TypeVar("Kind")

ACCEPTING: dict[str, dict[str, Any]] = {
    "CostUpdated": {},
    "SetVariables": {
        "setVariableResult": [
            {
                "attributeStatus": "Accepted",
                "component": {"name": "C"},
                "variable": {"name": "V"},
            }
        ]
    },
}


class Charger:
    """One charger under test. `effects` are those of the latest step; `all` those of every one."""

    def __init__(
        self,
        *,
        snapshot: bytes | None = None,
        now_ms: int = START_MS,
        commands: Iterable[CommandRecord] = (),
    ) -> None:
        self.actor = ChargerActor(REF, SETTINGS, snapshot)
        self.actor.restore_commands(list(commands))
        self.now_ms = now_ms
        self.timers: dict[str, int] = {}
        self.snapshot = snapshot
        self.version = "ocpp1.6"
        self.connection = ""
        self.messages = 0
        self.outstanding: Call | None = None
        self.all: list[Effect] = []
        self.effects: list[Effect] = []
        self._carry_out(self.actor.activate(now_ms))

    # --- what happens -----------------------------------------------------------------------------

    def tell(self, message: Message) -> list[Effect]:
        self._carry_out(self.actor.step(message, self.now_ms))
        return self.effects

    def assign(self, *, connectors: int = 1, offline_a: float = 6.0, **config: Any) -> None:
        described = ChargerConfig(
            id="CP1",
            circuit="main",
            connectors=tuple(ConnectorConfig(id=number + 1) for number in range(connectors)),
            offline_current_a=offline_a,
            **config,
        )
        self.tell(ChargerAssigned(SiteId("site"), 230, described.model_dump_json().encode()))

    def connect(self, version: str = "", *, resumed: bool = False, name: str = "") -> None:
        self.version = version or self.version
        self.connection = name or f"{self.connection}x"
        self.outstanding = None
        self.tell(StationConnected(self.connection, self.version, "192.0.2.1:5000", resumed))

    def disconnect(self, connection: str = "") -> None:
        self.tell(StationDisconnected(connection or self.connection, "gone"))

    def settle(self, version: str = "ocpp1.6", **description: Any) -> None:
        """Assign, connect and accept everything until nothing more is asked."""
        self.assign(**description)
        self.connect(version)
        self.wait(SETTINGS.settle_ms)
        self.accept_all()

    def accept_all(self) -> None:
        while self.outstanding is not None:
            self.answer()

    def call(self, action: str, /, **payload: Any) -> dict[str, Any]:
        """The station calls; the payload of its one answer, or `{"error": code}`."""
        self.messages += 1
        message_id = str(self.messages)
        assert check_call(self.version, action, payload) is None
        self.tell(StationCalled(self.connection, message_id, action, payload))
        if self.timers.pop(QUESTION_TIMER, None) is not None:
            # What is asked of others nobody here knows.
            self.tell(TimerFired(QUESTION_TIMER))
        answers = [effect for effect in self.effects if isinstance(effect, Reply | ReplyError)]
        assert len(answers) == 1
        (answer,) = answers
        assert (answer.connection, answer.message_id) == (self.connection, message_id)
        if isinstance(answer, ReplyError):
            return {"error": answer.code}
        assert check_result(self.version, action, answer.payload) is None
        return answer.payload

    def answer(self, **payload: Any) -> None:
        """The station answers the latest CALL; accepting, unless told otherwise."""
        call = self.last_call()
        self.outstanding = None
        answer = payload or ACCEPTING.get(call.action, {"status": "Accepted"})
        self.tell(StationReplied(call.connection, call.message_id, answer))

    def refuse(self, code: str = "NotSupported") -> None:
        call = self.last_call()
        self.outstanding = None
        self.tell(StationFailed(call.connection, call.message_id, code, "no"))

    def limit(self, limit_id: int, limit_ma: int, session: str | None, connector: int = 1) -> None:
        session_id = None if session is None else SessionId(session)
        self.tell(ApplyLimit(connector, limit_id, limit_ma, session_id))

    def execute(self, command: AnyCommand, ask_id: str = "ask", timeout_ms: int = 30_000) -> None:
        self.tell(Ask(ask_id, Execute(command, timeout_ms)))

    def wait(self, duration_ms: int) -> None:
        """Time passes; timers fire in order."""
        until_ms = self.now_ms + duration_ms
        while self.timers:
            key = min(self.timers, key=lambda key: self.timers[key])
            if self.timers[key] > until_ms:
                break
            self.now_ms = max(self.now_ms, self.timers.pop(key))
            self.tell(TimerFired(key))
        self.now_ms = until_ms

    def reborn(self) -> Charger:
        """The charger on another host: from its snapshot and the commands without an end, with
        nothing else remembered."""
        latest = {each.command_id: each for each in self.records(CommandRecord)}
        unended = [each for each in latest.values() if each.ended_ms is None]
        other = Charger(snapshot=self.snapshot, now_ms=self.now_ms + 5_000, commands=unended)
        other.version, other.messages = self.version, self.messages
        return other

    # --- a 1.6 station ----------------------------------------------------------------------------

    def at(self, offset_ms: int = 0) -> str:
        return iso_from_ms(self.now_ms + offset_ms)

    def start_16(self, meter_wh: float = 1_000, *, connector: int = 1) -> int:
        answer = self.call(
            "StartTransaction",
            connectorId=connector,
            idTag="TAG",
            meterStart=meter_wh,
            timestamp=self.at(),
        )
        return int(answer["transactionId"])

    def meter_16(
        self, meter_wh: float, transaction_id: int | None, *, connector: int = 1, at: str = ""
    ) -> None:
        payload: dict[str, Any] = {
            "connectorId": connector,
            "meterValue": [
                {"timestamp": at or self.at(), "sampledValue": [{"value": str(meter_wh)}]}
            ],
        }
        if transaction_id is not None:
            payload["transactionId"] = transaction_id
        self.call("MeterValues", **payload)

    def stop_16(self, transaction_id: int, meter_wh: float) -> dict[str, Any]:
        return self.call(
            "StopTransaction",
            transactionId=transaction_id,
            meterStop=meter_wh,
            timestamp=self.at(),
        )

    def status_16(self, status: str, *, connector: int = 1, error: str = "NoError") -> None:
        self.call("StatusNotification", connectorId=connector, errorCode=error, status=status)

    # --- what came of it --------------------------------------------------------------------------

    def found(self, kind: type[Kind]) -> list[Kind]:
        """The effects of the latest step of one kind."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def last_call(self) -> Call:
        return [effect for effect in self.all if isinstance(effect, Call)][-1]

    def records(self, kind: type[Kind], *, latest: bool = False) -> list[Kind]:
        effects = self.effects if latest else self.all
        return [
            effect.record
            for effect in effects
            if isinstance(effect, Persist) and isinstance(effect.record, kind)
        ]

    def told(self, kind: type[Kind], *, latest: bool = False) -> list[Kind]:
        """What the site was told."""
        effects = self.effects if latest else self.all
        return [
            effect.message
            for effect in effects
            if isinstance(effect, Send) and isinstance(effect.message, kind)
        ]

    def journal(self, kind: str) -> list[dict[str, Any]]:
        return [
            effect.data for effect in self.all if isinstance(effect, Emit) and effect.kind == kind
        ]

    def answered(self, ask_id: str = "ask") -> list[msgspec.Struct]:
        return [
            effect.response
            for effect in self.all
            if isinstance(effect, Answer) and effect.ask_id == ask_id
        ]

    def _carry_out(self, effects: list[Effect]) -> None:
        self.effects = effects
        self.all.extend(effects)
        for effect in effects:
            if isinstance(effect, Call):
                self.outstanding = effect
            elif isinstance(effect, SetTimer):
                self.timers[effect.key] = effect.at_ms
            elif isinstance(effect, CancelTimer):
                self.timers.pop(effect.key, None)
            elif isinstance(effect, Persist) and isinstance(effect.record, ActorSnapshot):
                self.snapshot = effect.record.state
