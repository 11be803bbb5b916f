"""Frames through the codec and the charger's actor, and the judgement of what comes back.

Invariants that are checked: nothing raises; every CALL has exactly one answer, whose message id is
its own; a CALLRESULT fits the schema of its action; what is no frame is answered or left alone as
it says itself; the actor's snapshots bring it back."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import Any

import msgspec
import orjson

from controlplane.actor import (
    Ask,
    Call,
    CancelTimer,
    Effect,
    Message,
    Persist,
    Reply,
    ReplyError,
    SetTimer,
    TimerFired,
)
from controlplane.charger.actor import ChargerActor
from controlplane.charger.messages import (
    ChargerAssigned,
    Execute,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationReplied,
)
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.network import ChargerConfig
from controlplane.ocpp import framing, mending, schemas, typed
from controlplane.ocpp.commands import ChangeAvailability, GetCompositeSchedule, Reset, Trigger
from controlplane.ocpp.versions import DIALECTS
from controlplane.sim.fuzz.frames import Frames
from controlplane.store.records import ActorSnapshot

__all__ = ["CodecReport", "Failure", "joined", "run_chunk"]

_START_MS = 1_790_000_000_000
_SLOW_S = 2.0
_FAILURES_MAX = 10
_CONFIG = ChargerConfig.model_validate(
    {
        "id": "FUZZ",
        "circuit": "main",
        "connectors": [{"id": 1, "current_max_a": 32}, {"id": 2, "current_max_a": 16}],
        "offline_current_a": 6,
    }
)
_COMMANDS = (
    Trigger("Heartbeat"),
    Reset(),
    ChangeAvailability(1, operative=True),
    GetCompositeSchedule(1, 600),
)


_LATER_MAX_MS = 30_000
"""How long a station waits for an answer."""


class Failure(msgspec.Struct, frozen=True):
    """What went wrong with one frame. `kind`: `crash`, `unanswered` or `slow`."""

    kind: str
    version: str
    frame: str
    reason: str


class CodecReport(msgspec.Struct):
    """What some frames came to. `calls` were answered, `refused` of them with a CALLERROR;
    `faults` were no frames; `answers` are CALLRESULTs and CALLERRORs."""

    frames: int = 0
    calls: int = 0
    refused: int = 0
    faults: int = 0
    answers: int = 0
    crashes: int = 0
    unanswered: int = 0
    slow: int = 0
    failures: list[Failure] = []


class _Unanswered(Exception):
    """A CALL without its one answer, or with one that is none."""


class _Charger:
    """One charger's actor with the little that its runtime does for it."""

    def __init__(self, version: str, chance: random.Random) -> None:
        self.version = version
        self.now_ms = _START_MS
        self._chance = chance
        self._ref = ActorRef(ActorKind.CHARGER, "FUZZ")
        self._settings = ActorSettings()
        self._actor = ChargerActor(self._ref, self._settings, None)
        self._snapshot: bytes | None = None
        self._timers: dict[str, int] = {}
        self._serial = 0
        self.connection = ""
        self.called: Call | None = None
        """Our CALL that the station has not answered."""
        self.tell(ChargerAssigned(SiteId("S"), 230, _CONFIG.model_dump_json().encode()))
        self.connect()

    def tell(self, message: Message) -> list[Effect]:
        """Step the actor; what it wants of the runtime is done."""
        effects = self._actor.step(message, self.now_ms)
        for effect in effects:
            if isinstance(effect, Call):
                self.called = effect
            elif isinstance(effect, SetTimer):
                self._timers[effect.key] = effect.at_ms
            elif isinstance(effect, CancelTimer):
                self._timers.pop(effect.key, None)
            elif isinstance(effect, Persist) and isinstance(effect.record, ActorSnapshot):
                self._snapshot = effect.record.state
        return effects

    def connect(self) -> None:
        self._serial += 1
        self.connection, self.called = f"g:{self._serial}", None
        self.tell(StationConnected(self.connection, self.version, "192.0.2.1:1"))

    def answered_later(self) -> list[Reply | ReplyError]:
        """The answers that come by the passing of time: nobody looks up here what some of them
        wait for."""
        until_ms = self.now_ms + _LATER_MAX_MS
        while self._timers:
            key = min(self._timers, key=lambda key: self._timers[key])
            at_ms = self._timers.pop(key)
            if at_ms > until_ms:
                self._timers[key] = at_ms
                break
            self.now_ms = max(self.now_ms, at_ms)
            effects = self.tell(TimerFired(key))
            replies = [effect for effect in effects if isinstance(effect, Reply | ReplyError)]
            if replies:
                return replies
        return []

    def live_on(self) -> None:
        """Time passes; now and then the station dials again, the host dies, a command comes."""
        chance = self._chance
        self.now_ms += chance.choice((0, 1, 50, 3_000, 40_000))
        for key in [key for key, at_ms in self._timers.items() if at_ms <= self.now_ms]:
            del self._timers[key]
            self.tell(TimerFired(key))
        drawn = chance.random()
        if drawn < 0.002:
            self.tell(StationDisconnected(self.connection, "lost"))
            self.connect()
        elif drawn < 0.004:
            self._actor = ChargerActor(self._ref, self._settings, self._snapshot)
            self._timers.clear()
            self._actor.activate(self.now_ms)
            self.connect()
        elif drawn < 0.03:
            self._serial += 1
            self.tell(Ask(f"ask-{self._serial}", Execute(chance.choice(_COMMANDS))))


class _Judge:
    """Takes frames as a gateway and a host do."""

    def __init__(self, chance: random.Random) -> None:
        self.report = CodecReport(failures=[])
        self._chance = chance
        self._frames = {version: Frames(version, chance) for version in DIALECTS}
        self._chargers = {version: _Charger(version, chance) for version in DIALECTS}

    def take_one(self) -> None:
        report, chance = self.report, self._chance
        version = chance.choice(list(DIALECTS))
        charger, frames = self._chargers[version], self._frames[version]
        called = charger.called
        if called is not None and chance.random() < 0.3:
            text = frames.answer(called.message_id, called.action, now_ms=charger.now_ms)
        else:
            text = frames.call(now_ms=charger.now_ms)
        report.frames += 1
        begun_s = time.perf_counter()
        try:
            self._take(charger, text)
            charger.live_on()
        except _Unanswered as error:
            report.unanswered += 1
            self._fail("unanswered", version, text, str(error))
        except Exception as error:
            # Whatever it is: finding it is what this is for.
            report.crashes += 1
            self._fail("crash", version, text, repr(error))
        if time.perf_counter() - begun_s > _SLOW_S:
            report.slow += 1
            self._fail("slow", version, text, f"took more than {_SLOW_S:g} s")

    def _fail(self, kind: str, version: str, text: bytes, reason: str) -> None:
        if len(self.report.failures) < _FAILURES_MAX:
            shown = text[:4_000].decode("utf-8", "backslashreplace")
            self.report.failures.append(Failure(kind, version, shown, reason))

    def _take(self, charger: _Charger, text: bytes) -> None:
        frame = mending.read(charger.version, text)
        _compare(typed.read(charger.version, text), frame)
        if isinstance(frame, framing.Call):
            self.report.calls += 1
            self._call(charger, frame, text)
        elif isinstance(frame, framing.FrameFault):
            if frame.action:
                self.report.calls += 1
                self.report.refused += 1
            else:
                self.report.faults += 1
            if frame.answerable:
                self._answer(
                    framing.encode_error(frame.message_id, frame.code, frame.description),
                    frame.message_id,
                )
            elif charger.called is not None and frame.message_id == charger.called.message_id:
                self._failed(charger, frame.message_id, frame.code, frame.description)
        elif isinstance(frame, framing.CallResult):
            self.report.answers += 1
            self._result(charger, frame)
        elif isinstance(frame, framing.CallError):
            self.report.answers += 1
            self._failed(charger, frame.message_id, frame.code, frame.description)

    def _call(self, charger: _Charger, call: framing.Call, text: bytes) -> None:
        payload = framing.read_call(framing.call_text(call, text))
        if payload != call.payload:
            raise _Unanswered("the host reads another payload than the gateway")
        effects = charger.tell(
            StationCalled(charger.connection, call.message_id, call.action, payload, call.mended)
        )
        replies = [effect for effect in effects if isinstance(effect, Reply | ReplyError)]
        if not replies:
            replies = charger.answered_later()
        if [reply.message_id for reply in replies] != [call.message_id]:
            raise _Unanswered(f"{len(replies)} answers")
        (reply,) = replies
        if isinstance(reply, ReplyError):
            self.report.refused += 1
            error = framing.encode_error(reply.message_id, reply.code, reply.description)
            self._answer(error, call.message_id)
            return
        wrong = schemas.check_result(charger.version, call.action, reply.payload)
        if wrong is not None:
            raise _Unanswered(f"the answer breaks its schema: {wrong.description}")
        self._answer(framing.encode_result(reply.message_id, reply.payload), call.message_id)

    def _result(self, charger: _Charger, result: framing.CallResult) -> None:
        called = charger.called
        if called is None or called.message_id != result.message_id:
            return
        fault = schemas.check_result(charger.version, called.action, result.payload)
        if fault is not None:
            self._failed(charger, result.message_id, fault.code, fault.description)
            return
        charger.called = None
        charger.tell(StationReplied(charger.connection, result.message_id, result.payload))

    def _failed(self, charger: _Charger, message_id: str, code: str, description: str) -> None:
        if charger.called is not None and charger.called.message_id == message_id:
            charger.called = None
        charger.tell(StationFailed(charger.connection, message_id, code, description))

    @staticmethod
    def _answer(text: str, message_id: str) -> None:
        """Raises _Unanswered where `text` is no answer to `message_id`."""
        answer: Any = orjson.loads(text)
        if answer[0] not in (3, 4) or answer[1] != message_id:
            raise _Unanswered(f"answered {text[:200]}")


def _compare(metered: typed.MeterValuesCall | None, frame: framing.Frame) -> None:
    """Raises _Unanswered where what was read by its type says anything else than read the general
    way."""
    if metered is None:
        return
    payload = metered.payload
    general = framing.Call(metered.message_id, metered.action, payload.untyped())
    if frame != general:
        raise _Unanswered("read by its type it is another frame")
    event = DIALECTS["ocpp1.6"].event
    if event(metered.action, payload) != event(metered.action, general.payload):
        raise _Unanswered("read by its type it means something else")


def run_chunk(seed: int, frames: int) -> CodecReport:
    """Put `frames` frames through; the same seed gives the same ones."""
    judge = _Judge(random.Random(seed))
    for _ in range(frames):
        judge.take_one()
    return judge.report


def joined(reports: list[CodecReport]) -> CodecReport:
    """The sum of many."""
    total: Counter[str] = Counter()
    failures: list[Failure] = []
    for report in reports:
        counts = msgspec.structs.asdict(report)
        failures += counts.pop("failures")
        total.update(counts)
    return CodecReport(**total, failures=failures[:_FAILURES_MAX])
