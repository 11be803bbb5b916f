"""The smallest actors that exercise the runtime: a charger that stores what it is told and answers,
a site that counts."""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.actor import (
    Actor,
    Answer,
    Ask,
    Call,
    Effect,
    Emit,
    Message,
    Persist,
    Reply,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.messages import (
    ChargerView,
    Execute,
    GetCharger,
    StationCalled,
    StationConnected,
    StationReplied,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId, SiteId
from controlplane.ocpp.commands import CommandResult, CommandState, RawCall
from controlplane.site.messages import ChargerPresence, ConfigureSite, SiteConfigured
from controlplane.store.records import ActorSnapshot, ChargerRecord, MeterSample, SiteRecord


class TinyCharger:
    """Stores every MeterValues with its message id as the session; `explode` raises."""

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self.stored: dict[str, Any] = (
            {"calls": 0, "booted": 0} if snapshot is None else msgspec.msgpack.decode(snapshot)
        )
        self.connection = ""
        self.connections: list[tuple[str, bool]] = []
        self.asked: dict[str, str] = {}

    def activate(self, now_ms: int) -> list[Effect]:
        return []

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        match message:
            case StationConnected():
                self.connection = message.connection
                presence = ChargerPresence(ChargerId(self.ref.id), True, True, None)
                return [Send(ActorRef(ActorKind.SITE, "S1"), presence)]
            case StationCalled():
                return self._called(message, now_ms)
            case StationReplied():
                ask_id = self.asked.pop(message.message_id)
                return [Answer(ask_id, CommandResult(CommandState.ACCEPTED, "", message.payload))]
            case Ask():
                return self._asked(message)
        return []

    def _called(self, message: StationCalled, now_ms: int) -> list[Effect]:
        payload_in = message.payload
        if isinstance(payload_in, dict) and payload_in.get("vendorId") == "explode":
            self.stored["calls"] += 1_000_000
            raise RuntimeError("exploded")
        self.stored["calls"] += 1
        effects: list[Effect] = [
            Persist(ActorSnapshot(self.ref, msgspec.msgpack.encode(self.stored)))
        ]
        payload: dict[str, Any] = {}
        if message.action == "MeterValues":
            effects.append(
                Persist(
                    MeterSample(
                        ChargerId(self.ref.id),
                        1,
                        SessionId(message.message_id),
                        now_ms,
                        now_ms,
                        energy_wh=1,
                    )
                )
            )
        elif message.action == "BootNotification":
            payload = {"currentTime": "2026-01-01T00:00:00Z", "interval": 300, "status": "Accepted"}
            effects.append(Emit("charger.booted", {"charger": self.ref.id}))
        elif message.action == "Heartbeat":
            payload = {"currentTime": "2026-01-01T00:00:00Z"}
        elif message.action == "DataTransfer":
            payload = {"status": "Accepted"}
        effects.append(Reply(message.connection, message.message_id, payload))
        return effects

    def _asked(self, ask: Ask) -> list[Effect]:
        match ask.request:
            case GetCharger():
                return [
                    Answer(
                        ask.ask_id,
                        ChargerView(
                            ChargerId(self.ref.id), SiteId("S1"), bool(self.connection), "",
                            str(self.stored["calls"]), "", "", "", None, (),
                        ),
                    )
                ]  # fmt: skip
            case Execute(command=RawCall() as command):
                if not self.connection:
                    return [Answer(ask.ask_id, Refusal("unavailable", "CHARGER_OFFLINE", "off"))]
                message_id = f"{ask.ask_id}-call"
                self.asked[message_id] = ask.ask_id
                return [Call(self.connection, message_id, command.action, command.payload)]
        return [Answer(ask.ask_id, Refusal("precondition", "NO", "no"))]


class TinySite:
    """Counts its rounds in the journal; describing it writes its chargers to the directory."""

    def __init__(self, ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> None:
        self.ref = ref
        self.interval_ms = settings.round_interval_ms
        self.rounds = 0

    def activate(self, now_ms: int) -> list[Effect]:
        return [SetTimer("round", now_ms + self.interval_ms)]

    def step(self, message: Message, now_ms: int) -> list[Effect]:
        match message:
            case TimerFired():
                self.rounds += 1
                return [
                    SetTimer("round", now_ms + self.interval_ms),
                    Emit("site.round", {"round": self.rounds}),
                ]
            case ChargerPresence():
                return [Emit("site.presence", {"charger": message.charger_id})]
            case Ask(request=ConfigureSite() as request):
                site_id = SiteId(self.ref.id)
                chargers = request.config.decode().split(",")
                return [
                    Persist(SiteRecord(site_id, None, request.config, now_ms)),
                    *(
                        Persist(ChargerRecord(ChargerId(name), site_id, None, now_ms))
                        for name in chargers
                    ),
                    Emit("site.configured", {"chargers": chargers}),
                    Answer(message.ask_id, SiteConfigured(site_id)),
                ]
        return []


def create_tiny(ref: ActorRef, settings: ActorSettings, snapshot: bytes | None) -> Actor:
    if ref.kind is ActorKind.CHARGER:
        return TinyCharger(ref, settings, snapshot)
    return TinySite(ref, settings, snapshot)
