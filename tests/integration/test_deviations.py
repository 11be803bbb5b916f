"""Every recorded deviation, through real sockets, beside a station that keeps to the letter."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections import deque
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from stepped_node import START_MS, SteppedClock, Talker, stepped_node
from websockets.exceptions import InvalidStatus

from controlplane.charger.messages import Execute, RotatePassword
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.ocpp.commands import AnyCommand, CommandResult
from controlplane.ocpp.readings import instant_ms
from controlplane.runtime.node import Node
from controlplane.runtime.passwords import fast_hash
from controlplane.units import iso_from_ms

FOLDER = Path(__file__).parents[1] / "golden/ocpp"
RECORDINGS = {
    path.parent.name: path.read_text(encoding="utf-8").splitlines()
    for path in sorted(FOLDER.glob("deviation-*/frames.txt"))
}
INSTANT = re.compile(r"(?<!\d)20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d")


class Player:
    """Plays one recording to a node."""

    def __init__(self, node: Node, clock: SteppedClock, honest: Talker, name: str) -> None:
        self.node = node
        self.clock = clock
        self.honest = honest
        self.charger_id = ChargerId(name)
        self.lines = RECORDINGS[name]
        self.shift_ms = 0
        self.ignored: set[str] = set()
        self.talker: Talker | None = None
        self.asked: asyncio.Task[CommandResult] | None = None
        self.cursor = 0

    async def play(self) -> None:
        self.cursor = await self.node.client.last_cursor()
        async with AsyncExitStack() as sockets:
            for number, line in enumerate(self.lines):
                await self._step(sockets, number, line)
            await self._check()

    def shifted(self, text: str) -> str:
        """The text with the recording's instants moved to the node's time."""

        def moved(found: re.Match[str]) -> str:
            at_ms = instant_ms(found.group())
            assert at_ms is not None
            return iso_from_ms(at_ms + self.shift_ms)[:19]

        return INSTANT.sub(moved, text)

    async def _step(self, sockets: AsyncExitStack, number: int, line: str) -> None:
        word, _, rest = line.partition(" ")
        match word:
            case "at":
                began_ms = instant_ms(rest)
                assert began_ms is not None
                self.shift_ms = self.clock.now_ms() - began_ms
            case "wait":
                await self._wait(round(float(rest) * 1_000))
            case "obeys":
                self.ignored = set(rest.split())
            case "connect":
                version, _, came_with = rest.partition(" ")
                self.talker = await sockets.enter_async_context(
                    Talker.connected(
                        self.node, self.charger_id, version, **self._credentials(came_with)
                    )
                )
                self.talker.answers = recorded_answers(self.lines)
                self.talker.ignored = self.ignored
            case "close":
                assert self.talker is not None
                await self.talker.socket.close()
            case "refused":
                version, _, came_with = rest.partition(" ")
                with pytest.raises(InvalidStatus, match="401"):
                    async with Talker.connected(
                        self.node, self.charger_id, version, **self._credentials(came_with)
                    ):
                        pass
            case "command":
                await self._ask(number, Execute(msgspec.json.decode(rest, type=AnyCommand)))
            case "rotate":
                await self._ask(number, RotatePassword(rest, fast_hash(rest), None))
                assert self.asked is not None
                await asyncio.wait_for(asyncio.shield(self.asked), 10)
            case ">" | ">>":
                await self._say(number, rest if word == ">" else json.loads(rest))

    async def _ask(self, number: int, request: Execute | RotatePassword) -> None:
        """Somebody wants something of the station, once it was told what came before."""
        assert self.talker is not None
        told = max(i for i, line in enumerate(self.lines[:number]) if line.startswith("connect "))
        await self._told(sum(line.startswith("< [2,") for line in self.lines[told:number]))
        charger = ActorRef(ActorKind.CHARGER, self.charger_id)
        self.asked = asyncio.create_task(self.node.client.ask(charger, request, CommandResult))
        await asyncio.sleep(0)
        await self.honest.call("Heartbeat")

    def _credentials(self, came_with: str) -> dict[str, Any]:
        """The header by which the station proves itself with its password's text or bytes."""
        form, _, password = came_with.partition(" ")
        if not form:
            return {}
        shown = bytes.fromhex(password) if form == "bytes" else password.encode()
        basic = base64.b64encode(f"{self.charger_id}:".encode() + shown).decode()
        return {"additional_headers": {"Authorization": f"Basic {basic}"}}

    async def _say(self, number: int, text: str) -> None:
        """Send what the station says, and see that it is answered as recorded."""
        if re.match(r"\s*\[\s*[34]\b", text):
            # An answer: given when the question comes, or to a question that never comes.
            if not any(message_id_of(text) in line for line in self.lines if line[:2] == "< "):
                assert self.talker is not None
                await self.talker.socket.send(text)
            return
        assert self.talker is not None
        following = (line for line in self.lines[number + 1 :] if line[:1] in "<>")
        expected = next(line for line in following if re.match(r"< \[[34],", line))
        answer = await self.talker.say(self.shifted(text))
        assert answer == json.loads(self.shifted(expected[2:])), f"{self.charger_id}: {text}"

    async def _told(self, count: int) -> None:
        """Wait until the station was told so much, and its answer has been heard."""
        assert self.talker is not None
        async with asyncio.timeout(10):
            while len(self.talker.told) < count:  # noqa: ASYNC110 - has no event
                await asyncio.sleep(0.01)
        await self.talker.call("Heartbeat")

    async def _wait(self, duration_ms: int) -> None:
        """Time passes, in steps that grow; the honest station notices nothing."""
        step_ms = 2_000
        while duration_ms:
            passed_ms = min(step_ms, duration_ms)
            self.clock.advance(passed_ms)
            duration_ms -= passed_ms
            step_ms *= 4
            await self.honest.call("Heartbeat")

    async def _check(self) -> None:
        """What came of it: the same sessions, quarantine and deviations as recorded."""
        name = self.charger_id
        assert self.talker is not None
        # The socket is still there.
        await self.talker.call("Heartbeat")
        if self.asked is not None:
            result = await asyncio.wait_for(self.asked, 10)
            assert f"= outcome {result.state.value} {result.status}".strip() in self.lines, name
        sessions, _ = await self.node.reader.sessions(charger_id=name)
        found = {each.session_id.replace(name, "CP1"): outcome(each) for each in sessions}
        assert found == self._recorded_sessions(), name
        quarantined = await self.node.reader.quarantined(name)
        assert sorted(each.reason for each in quarantined) == self._recorded("quarantine"), name
        events = await self.node.reader.journal(self.cursor, 10_000)
        mine = [event for event in events if event.actor.id == name]
        told = [
            f"{event.data['deviation']} {event.data.get('place', '')}".strip()
            for event in mine
            if event.kind == "charger.deviation"
        ]
        assert sorted(told) == self._recorded("deviation"), name
        assert not [event for event in mine if event.kind == "charger.disconnected"] or (
            "close" in self.lines
        ), name
        for line in self.lines:
            if line.startswith("* "):
                await self._await_event(*line.split()[1:])

    async def _await_event(self, kind: str, word: str) -> None:
        for _ in range(60):
            events = await self.node.reader.journal(self.cursor, 10_000)
            if any(event.kind == kind and word in str(event.data) for event in events):
                return
            self.clock.advance(1_000)
            await self.honest.call("Heartbeat")
        raise AssertionError(f"{self.charger_id}: no {kind} with {word}")

    def _recorded(self, what: str) -> list[str]:
        prefix = f"= {what} "
        return sorted(line.removeprefix(prefix) for line in self.lines if line.startswith(prefix))

    def _recorded_sessions(self) -> dict[str, str]:
        """The last word on every session."""
        found = {}
        for line in self._ordered("session"):
            session_id, _, rest = line.partition(" ")
            found[session_id] = rest
        return found

    def _ordered(self, what: str) -> list[str]:
        prefix = f"= {what} "
        return [line.removeprefix(prefix) for line in self.lines if line.startswith(prefix)]


def outcome(session: Any) -> str:
    words = [session.state.value, str(session.energy_wh)]
    words += [session.stop_reason] if session.stop_reason else []
    words += [f"missing {session.events_missing}"] if session.events_missing else []
    return " ".join(words)


def message_id_of(text: str) -> str:
    return f'"{json.loads(text)[1]}"'


def recorded_answers(lines: list[str]) -> dict[str, deque[tuple[int, Any]]]:
    """What the station answered to each action, in order."""
    actions: dict[str, str] = {}
    answers: dict[str, deque[tuple[int, Any]]] = {}
    for line in lines:
        if line.startswith("< [2,"):
            _, message_id, action, _ = json.loads(line[2:])
            actions[message_id] = action
        elif re.match(r"> \[[34],", line):
            kind, message_id, *rest = json.loads(line[2:])
            if message_id in actions:
                answers.setdefault(actions[message_id], deque()).append((kind, rest))
    return answers


def description(name: str) -> dict[str, Any]:
    """The charger as its recording has it described."""
    line = next(line for line in RECORDINGS[name] if line.startswith("assign "))
    described: dict[str, Any] = {"id": name, **json.loads(line.removeprefix("assign "))}
    return described


async def test_every_deviation_is_recovered_from_beside_an_honest_station(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(RECORDINGS) >= 40
    chargers = [{"id": "honest"}, *map(description, RECORDINGS)]
    async with (
        stepped_node(tmp_path, monkeypatch, chargers) as (node, clock),
        Talker.connected(node, "honest") as honest,
    ):
        number = await honest.start_16(START_MS, 1_000)
        for count, name in enumerate(RECORDINGS, start=1):
            await Player(node, clock, honest, name).play()
            clock.advance(60_000)
            await honest.meter_16(clock.now_ms(), 1_000 + count * 100, number)
        await honest.stop_16(clock.now_ms(), 1_100 + count * 100, number)
        (session,), _ = await node.reader.sessions(charger_id=ChargerId("honest"))
        assert outcome(session) == f"ended {100 + count * 100} Local"
        assert (session.started_ms, session.ended_ms) == (START_MS, clock.now_ms())
        assert await node.reader.quarantined(ChargerId("honest")) == []
