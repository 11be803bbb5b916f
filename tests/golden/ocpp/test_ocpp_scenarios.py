"""Recorded conversations: what a station sends and is sent, word for word, one folder a scenario.

`frames.txt` of a scenario holds one step a line. Inputs:

    at INSTANT              the clock, RFC 3339
    wait SECONDS            time passes; timers fire in order
    assign JSON             the charger belongs to a site, described like this (`ChargerConfig`)
    connect SUBPROTOCOL     a new connection; `reconnect` drops nothing, the newest wins
    close                   the connection is gone
    settle                  the station accepts all that prepares it, which is not shown; from then
                            on our message ids are #1, #2 and so on
    limit CONNECTOR MA [SESSION]
    command JSON            somebody wants this of the station (`AnyCommand`)
    > FRAME                 the station sends

Outputs, each compared exactly:

    < FRAME                 Loadstar sends
    = session ID STATE ENERGY_WH [REASON]
    = quarantine REASON
    = outcome STATE [STATUS] [PARTS]    what whoever wanted it is told, and in how many messages the
                            station reported
    = external CONNECTOR MA             what the site is told that others hold a connector to

Run this file as a program to write the outputs of all scenarios anew, then read the difference."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from controlplane.actor import (
    Answer,
    Ask,
    Call,
    CancelTimer,
    Effect,
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
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, SessionId, SiteId
from controlplane.network import ChargerConfig
from controlplane.ocpp import framing, schemas
from controlplane.ocpp.commands import AnyCommand, CommandResult
from controlplane.ocpp.readings import instant_ms
from controlplane.site.messages import ConnectorState
from controlplane.store.records import QuarantineRecord, SessionRecord

FOLDER = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in FOLDER.glob("*/frames.txt"))


ACCEPTING = {
    "SetVariables": {
        "setVariableResult": [
            {
                "attributeStatus": "Accepted",
                "component": {"name": "C"},
                "variable": {"name": "V"},
            }
        ]
    }
}


class Conversation:
    """A charger's actor behind the framing and the schemas, as a gateway has it."""

    def __init__(self) -> None:
        self.actor = ChargerActor(ActorRef(ActorKind.CHARGER, "CP1"), ActorSettings(), None)
        self.now_ms = 0
        self.timers: dict[str, int] = {}
        self.version = ""
        self.connections = 0
        self.actions: dict[str, str] = {}
        self.external: dict[int, int | None] = {}
        self.message_ids: list[str] | None = None
        """Those of our CALLs since the station has settled."""
        self.unanswered = ""

    def play(self, line: str) -> Iterator[str]:
        """Carry out one input; the outputs it leads to."""
        word, _, rest = line.partition(" ")
        match word:
            case "at":
                at_ms = instant_ms(rest)
                assert at_ms is not None, rest
                self.now_ms = at_ms
            case "wait":
                yield from self.wait(round(float(rest) * 1_000))
            case "assign":
                config = ChargerConfig.model_validate(
                    {"id": "CP1", "circuit": "main"} | json.loads(rest)
                )
                yield from self.tell(
                    ChargerAssigned(SiteId("site"), 230, config.model_dump_json().encode())
                )
            case "connect":
                self.version = rest
                self.connections += 1
                yield from self.tell(StationConnected(self.connection, rest, "192.0.2.1:5000"))
            case "settle":
                self.settle()
            case "close":
                yield from self.tell(StationDisconnected(self.connection, "closed"))
            case "limit":
                connector_id, limit_ma, *session = rest.split()
                session_id = SessionId(session[0]) if session else None
                yield from self.tell(ApplyLimit(int(connector_id), 1, int(limit_ma), session_id))
            case "command":
                command = msgspec.json.decode(rest, type=AnyCommand)
                yield from self.tell(Ask("ask", Execute(command)))
            case ">":
                yield from self.hear(rest)
            case _:
                raise AssertionError(f"not a step: {line}")

    @property
    def connection(self) -> str:
        return f"connection-{self.connections}"

    def wait(self, duration_ms: int) -> Iterator[str]:
        until_ms = self.now_ms + duration_ms
        while self.timers:
            key = min(self.timers, key=lambda key: self.timers[key])
            if self.timers[key] > until_ms:
                break
            self.now_ms = max(self.now_ms, self.timers.pop(key))
            yield from self.tell(TimerFired(key))
        self.now_ms = until_ms

    def settle(self) -> None:
        list(self.wait(ActorSettings().settle_ms))
        while self.unanswered:
            message_id, self.unanswered = self.unanswered, ""
            payload = ACCEPTING.get(self.actions[message_id], {"status": "Accepted"})
            list(self.tell(StationReplied(self.connection, message_id, payload)))
        self.message_ids = []

    def hear(self, text: str) -> Iterator[str]:
        for number, message_id in enumerate(self.message_ids or (), 1):
            text = text.replace(f'"#{number}"', f'"{message_id}"')
        frame = framing.parse(self.version, text)
        match frame:
            case framing.Call(message_id, action, payload):
                fault = schemas.check_call(self.version, action, payload)
                if fault is None:
                    called = StationCalled(self.connection, message_id, action, payload)
                    yield from self.tell(called)
                else:
                    yield "< " + framing.encode_error(message_id, fault.code, fault.description)
            case framing.CallResult(message_id, payload):
                action = self.actions.get(message_id, "Heartbeat")
                fault = schemas.check_result(self.version, action, payload)
                if fault is None or message_id not in self.actions:
                    yield from self.tell(StationReplied(self.connection, message_id, payload))
                else:
                    yield from self.tell(
                        StationFailed(self.connection, message_id, fault.code, fault.description)
                    )
            case framing.CallError(message_id, code, description):
                yield from self.tell(StationFailed(self.connection, message_id, code, description))
            case framing.FrameFault(message_id, code, description, answerable):
                if answerable:
                    yield "< " + framing.encode_error(message_id, code, description)

    def tell(self, message: Message) -> Iterator[str]:
        for effect in self.actor.step(message, self.now_ms):
            yield from self.carry_out(effect)

    def carry_out(self, effect: Effect) -> Iterator[str]:
        match effect:
            case Call(_, message_id, action, payload):
                self.actions[message_id] = action
                self.unanswered = message_id
                if self.message_ids is not None:
                    self.message_ids.append(message_id)
                    message_id = f"#{len(self.message_ids)}"
                yield "< " + framing.encode_call(message_id, action, payload)
            case Reply(_, message_id, payload):
                yield "< " + framing.encode_result(message_id, payload)
            case ReplyError(_, message_id, code, description):
                yield "< " + framing.encode_error(message_id, code, description)
            case SetTimer(key, at_ms):
                self.timers[key] = at_ms
            case CancelTimer(key):
                self.timers.pop(key, None)
            case Persist(SessionRecord() as session):
                reason = f" {session.stop_reason}" if session.stop_reason else ""
                state = session.state.value
                yield f"= session {session.session_id} {state} {session.energy_wh}{reason}"
            case Persist(QuarantineRecord(reason=reason)):
                yield f"= quarantine {reason}"
            case Answer(_, CommandResult(state=state, status=status, report=report)):
                parts = str(len(report)) if report else ""
                yield " ".join(filter(None, ("= outcome", state.value, status, parts)))
            case Send(_, ConnectorState(connector_id=connector_id, external_ma=external_ma)):
                if self.external.get(connector_id) != external_ma:
                    self.external[connector_id] = external_ma
                    yield f"= external {connector_id} {external_ma}"
            case _:
                pass


def replay(text: str) -> str:
    """The scenario with its outputs as they are now."""
    conversation = Conversation()
    lines = []
    for line in text.splitlines():
        if line.startswith(("< ", "= ")):
            continue
        lines.append(line)
        if line and not line.startswith("#"):
            lines.extend(conversation.play(line))
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_conversation(scenario: str) -> None:
    written = (FOLDER / scenario / "frames.txt").read_text(encoding="utf-8")
    played = replay(written)
    difference = "\n".join(
        difflib.unified_diff(written.splitlines(), played.splitlines(), "written")
    )
    assert played == written, difference


def test_every_scenario_is_told() -> None:
    assert SCENARIOS
    for scenario in SCENARIOS:
        assert (FOLDER / scenario / "README.md").read_text(encoding="utf-8").strip()


if __name__ == "__main__":
    for name in SCENARIOS:
        file = FOLDER / name / "frames.txt"
        file.write_text(replay(file.read_text(encoding="utf-8")), encoding="utf-8")
