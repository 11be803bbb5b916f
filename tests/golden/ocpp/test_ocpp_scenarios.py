"""Recorded conversations: what a station sends and is sent, word for word, one folder a scenario.

`frames.txt` of a scenario holds one step a line. Inputs:

    at INSTANT              the clock, RFC 3339
    wait SECONDS            time passes; timers fire in order
    assign JSON             the charger belongs to a site, described like this (`ChargerConfig`)
    connect SUBPROTOCOL [FORM PASSWORD]
                            a new connection, `-` without naming one; the newest wins. It comes
                            with the password's `text`, or with the `bytes` that it spells
    refused SUBPROTOCOL FORM PASSWORD
                            real sockets: such a connection is refused
    rotate PASSWORD         the station is to be given this password
    close                   the connection is gone
    settle                  the station accepts all that prepares it, which is not shown; from then
                            on our message ids are #1, #2 and so on
    obeys [ACTION ...]      from now on the station accepts every CALL at once, but for these
                            actions, which it never answers
    limit CONNECTOR MA [SESSION]
    command JSON            somebody wants this of the station (`AnyCommand`)
    authorisation JSON      how the site authorises, from the next `assign` on
    token JSON              a token is stored (`tokens.Token`); the charger hears of the change
    forget ID               it is deleted
    store slow              tokens are looked up and no answer comes; `store back` ends that
    reserve CONNECTOR TOKEN SECONDS
    unreserve NUMBER
    > FRAME                 the station sends
    >> TEXT                 the same, as a JSON string, for what does not fit on a line
    * EVENT WORD            where a site steers the charger, this event of the journal holds WORD

Outputs, each compared exactly:

    < FRAME                 Loadstar sends
    = session ID STATE ENERGY_WH [REASON] [missing EVENTS] [token STATUS]
    = reservation ID STATE [REASON]
    = quarantine REASON
    = refused REASON WORDS  a command that was not sent
    = KIND JSON             a line of the journal, of the kinds in `TOLD`
    = outcome STATE [STATUS] [PARTS]    what whoever wanted it is told, and in how many messages the
                            station reported
    = external CONNECTOR MA             what the site is told that others hold a connector to
    = deviation WHAT [PLACE]
    = clock OFFSET_S

Run this file as a program to write the outputs of all scenarios anew, then read the difference."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controlplane.actor import (
    Answer,
    Ask,
    Call,
    CancelTimer,
    Effect,
    Emit,
    LookedUp,
    LookUp,
    Message,
    Persist,
    Reply,
    ReplyError,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.authorisation import AuthorisationConfig
from controlplane.charger.actor import ChargerActor
from controlplane.charger.messages import (
    ApplyLimit,
    CancelReserved,
    ChargerAssigned,
    Execute,
    ReserveConnector,
    RotatePassword,
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationGarbled,
    StationRefused,
    StationReplied,
    StationSent,
)
from controlplane.config import ActorSettings
from controlplane.errors import Refusal
from controlplane.ids import ActorKind, ActorRef, SessionId, SiteId
from controlplane.network import ChargerConfig
from controlplane.ocpp import framing, mending, schemas
from controlplane.ocpp.commands import AnyCommand, CommandResult
from controlplane.ocpp.readings import instant_ms
from controlplane.runtime.admission import WITHOUT_HEADER
from controlplane.site.messages import ConnectorState, TokensChanged
from controlplane.store.queries import (
    ListFound,
    ListQuery,
    Query,
    QueryAnswer,
    TokenFound,
    TokenQuery,
)
from controlplane.store.records import QuarantineRecord, ReservationRecord, SessionRecord
from controlplane.tokens import Authorisation, Token, token_key

TOLD = (
    "battery.",
    "charger.answer_refused",
    "charger.password",
    "charger.schedule_pulled",
    "der.",
    "payment.",
    "session.cost",
    "session.mode",
    "session.need",
    "session.priority",
    "session.vehicle_needs",
    "stream.",
    "tariff.",
)
HIDDEN = {"charger_id", "site_id"}
ACCEPTING: dict[str, dict[str, Any]] = {
    "GetConfiguration": {"configurationKey": []},
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
"""How an obedient station answers what has no status of its own."""

FOLDER = Path(__file__).parent
SCENARIOS = sorted(path.parent.name for path in FOLDER.glob("*/frames.txt"))


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
        self.obeys = False
        self.ignored: set[str] = set()
        self.authorisation: Authorisation | None = None
        self.tokens: dict[str, Token] = {}
        self.versions: dict[str, int] = {}
        self.slow = False
        self.looked_up: list[LookUp] = []
        self.asks = 0

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
                    ChargerAssigned(
                        SiteId("site"),
                        230,
                        config.model_dump_json().encode(),
                        authorisation=self.authorisation,
                    )
                )
            case "authorisation":
                self.authorisation = AuthorisationConfig.model_validate_json(rest).told()
            case "token" | "forget":
                yield from self.write(word, rest)
            case "store":
                self.slow = rest == "slow"
            case "reserve":
                connector, token, seconds = rest.split()
                until_ms = self.now_ms + int(seconds) * 1_000
                yield from self.ask(ReserveConnector(int(connector), token, until_ms))
            case "unreserve":
                yield from self.ask(CancelReserved(int(rest)))
            case "connect":
                version, _, came_with = rest.partition(" ")
                self.version = WITHOUT_HEADER if version == "-" else version
                self.connections += 1
                yield from self.tell(
                    StationConnected(
                        self.connection,
                        self.version,
                        "192.0.2.1:5000",
                        security_profile=1 if came_with else 0,
                        pending_hash=came_with.partition(" ")[2],
                    )
                )
            case "rotate":
                # As if a password were its own hash.
                yield from self.tell(Ask("ask", RotatePassword(rest, rest, None)))
            case "close":
                yield from self.tell(StationDisconnected(self.connection, "closed"))
            case "limit":
                connector_id, limit_ma, *session = rest.split()
                session_id = SessionId(session[0]) if session else None
                yield from self.tell(ApplyLimit(int(connector_id), 1, int(limit_ma), session_id))
            case "command":
                command = msgspec.json.decode(rest, type=AnyCommand)
                yield from self.tell(Ask("ask", Execute(command)))
            case "obeys":
                self.obeys, self.ignored = True, set(rest.split())
            case "settle":
                self.settle()
            case "*" | "refused":
                pass
            case ">":
                yield from self.hear(rest)
            case ">>":
                yield from self.hear(json.loads(rest))
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
        frame = mending.read(self.version, text)
        match frame:
            case framing.Call(message_id, action, payload, mended):
                called = StationCalled(self.connection, message_id, action, payload, mended)
                yield from self.tell(called)
            case framing.CallResult(message_id, payload):
                action = self.actions.get(message_id, "Heartbeat")
                fault = schemas.check_result(self.version, action, payload)
                if fault is None or message_id not in self.actions:
                    yield from self.tell(StationReplied(self.connection, message_id, payload))
                else:
                    if framing.has_result_errors(self.version):
                        yield "< " + framing.encode_result_error(
                            message_id, fault.code, fault.description
                        )
                    yield from self.tell(
                        StationFailed(self.connection, message_id, fault.code, fault.description)
                    )
            case framing.CallResultError(message_id, code, description):
                yield from self.tell(StationRefused(self.connection, message_id, code, description))
            case framing.Send(_, action, payload):
                if schemas.check_send(self.version, action, payload) is None:
                    yield from self.tell(StationSent(self.connection, action, payload))
            case framing.CallError(message_id, code, description):
                yield from self.tell(StationFailed(self.connection, message_id, code, description))
            case framing.FrameFault(message_id, code, description, answerable):
                action = mending.transaction_action(text)
                if action and answerable:
                    garbled = StationGarbled(self.connection, action, text, description)
                    yield from self.tell(garbled)
                if answerable:
                    yield "< " + framing.encode_error(message_id, code, description)

    def tell(self, message: Message) -> Iterator[str]:
        for effect in self.actor.step(message, self.now_ms):
            yield from self.carry_out(effect)
        while self.looked_up and not self.slow:
            question = self.looked_up.pop(0)
            answer = LookedUp(question.look_up_id, self.look_up(question.query))
            yield from self.tell(answer)

    # --- tokens -----------------------------------------------------------------------------------

    def write(self, word: str, rest: str) -> Iterator[str]:
        if word == "token":
            token = msgspec.json.decode(rest, type=Token)
            self.tokens[token.key] = token
        else:
            token = self.tokens.pop(token_key(rest))
        version = max(self.versions.values(), default=0) + 1
        self.versions[token.key] = version
        yield from self.tell(TokensChanged(version, (token.key,)))

    def ask(self, request: ReserveConnector | CancelReserved) -> Iterator[str]:
        self.asks += 1
        yield from self.tell(Ask(str(self.asks), request))

    def look_up(self, query: Query) -> QueryAnswer:
        if isinstance(query, TokenQuery):
            return TokenFound(self.tokens.get(query.token_key))
        assert isinstance(query, ListQuery)
        version = max(self.versions.values(), default=0)
        changed = [key for key, at in self.versions.items() if at > query.after_version]
        tokens = tuple(self.tokens[key] for key in sorted(changed) if key in self.tokens)
        gone = tuple(key for key in changed if key not in self.tokens)
        return ListFound(version, tokens, gone if query.after_version else (), True)

    # --- what comes of it -------------------------------------------------------------------------

    def carry_out(self, effect: Effect) -> Iterator[str]:
        match effect:
            case Call(connection, message_id, action, payload):
                self.actions[message_id] = action
                self.unanswered = message_id
                shown = message_id
                if self.message_ids is not None:
                    self.message_ids.append(message_id)
                    shown = f"#{len(self.message_ids)}"
                yield "< " + framing.encode_call(shown, action, payload)
                if self.obeys and action not in self.ignored:
                    answer = ACCEPTING.get(action, {"status": "Accepted"})
                    yield from self.tell(StationReplied(connection, message_id, answer))
            case Reply(_, message_id, payload):
                yield "< " + framing.encode_result(message_id, payload)
            case ReplyError(_, message_id, code, description):
                yield "< " + framing.encode_error(message_id, code, description)
            case SetTimer(key, at_ms):
                self.timers[key] = at_ms
            case CancelTimer(key):
                self.timers.pop(key, None)
            case Persist(SessionRecord() as session):
                token = f" token {session.token_status}" if session.token_status else ""
                yield f"= session {session.session_id} {outcome(session)}{token}"
            case Persist(ReservationRecord() as kept):
                yield f"= reservation {kept.reservation_id} {kept.state} {kept.end_reason}".rstrip()
            case LookUp():
                self.looked_up.append(effect)
            case Persist(QuarantineRecord(reason=reason)):
                yield f"= quarantine {reason}"
            case Answer(_, Refusal() as refusal):
                yield f"= refused {refusal.reason} {refusal.message}"
            case Emit(kind, data) if kind.startswith(TOLD):
                told = {key: value for key, value in data.items() if key not in HIDDEN}
                yield f"= {kind} {json.dumps(told, separators=(',', ':'))}"
            case Emit("charger.deviation", data):
                yield f"= deviation {data['deviation']} {data.get('place', '')}".rstrip()
            case Emit("charger.clock", data):
                yield f"= clock {data['offset_ms'] // 1_000}"
            case Answer(_, CommandResult(state=state, status=status, report=report)):
                parts = str(len(report)) if report else ""
                yield " ".join(filter(None, ("= outcome", state.value, status, parts)))
            case Send(_, ConnectorState(connector_id=connector_id, external_ma=external_ma)):
                if self.external.get(connector_id) != external_ma:
                    self.external[connector_id] = external_ma
                    yield f"= external {connector_id} {external_ma}"
            case _:
                pass


def outcome(session: SessionRecord) -> str:
    """A session's state, energy, reason and what is missing of it, as scenarios write it."""
    words = [session.state.value, str(session.energy_wh)]
    words += [session.stop_reason] if session.stop_reason else []
    words += [f"missing {session.events_missing}"] if session.events_missing else []
    return " ".join(words)


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
