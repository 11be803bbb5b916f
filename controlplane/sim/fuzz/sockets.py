"""Spoilt frames through real sockets, beside chargers that behave.

A spoilt station sends a handful of frames and then a proper Heartbeat; whatever had to be answered
must have been by the time the Heartbeat is. What has to be is worked out with the codec alone. A
socket that the server closes on account of a frame (no UTF-8, too large) is opened again. Honest
chargers send MeterValues all the while: each must be acknowledged, soon, on a connection that
lasts."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import ChargerConfig, CircuitConfig, ConnectorConfig, SiteConfig
from controlplane.ocpp import framing, mending
from controlplane.ocpp.versions import DIALECTS
from controlplane.runtime.node import Node, start_node
from controlplane.sim.fuzz.codec import Failure
from controlplane.sim.fuzz.frames import Frames
from controlplane.site.messages import ConfigureSite, SiteConfigured
from controlplane.units import iso_from_ms

__all__ = ["SocketReport", "run_sockets"]

_FRAMES_TOGETHER = 10
_ANSWER_TIMEOUT_S = 60.0
"""One after the other, and a question about a certificate is given up after 10 s."""
_DELAY_MAX_S = 2.0
_HONEST_PAUSE_S = 0.05
_FAILURES_MAX = 10
_START_MS = 1_790_000_000_000


class SocketReport(msgspec.Struct):
    """What it came to. `internal_errors` are answers that admit a fault of ours; `honest_delayed`
    messages of honest chargers were answered late or not properly, `honest_lost` counts their
    connections that ended."""

    frames: int = 0
    answered: int = 0
    unanswered: int = 0
    internal_errors: int = 0
    closed_by_server: int = 0
    honest_messages: int = 0
    honest_delayed: int = 0
    honest_lost: int = 0
    failures: list[Failure] = []


async def run_sockets(
    seed: int,
    frames: int,
    directory: Path,
    *,
    stations: int = 12,
    honest: int = 6,
    transport: Literal["ray", "local"] = "ray",
) -> SocketReport:
    """Send `frames` spoilt frames over `stations` sockets, with `honest` chargers beside them.

    Args:
        directory: for the node's data.
        transport: see `start_node`.
    """
    settings = Settings(data_dir=directory, ocpp_port=0, grpc_port=0, log_level="ERROR")
    node = await start_node(settings, transport=transport)
    report = SocketReport(failures=[])
    try:
        await _describe(node, stations, honest)
        over = asyncio.Event()
        chargers = [
            asyncio.create_task(_behave(node, f"honest-{number}", report, over))
            for number in range(honest)
        ]
        chance = random.Random(seed)
        each = -(-frames // stations)
        async with asyncio.TaskGroup() as group:
            for number in range(stations):
                version = list(DIALECTS)[number % len(DIALECTS)]
                spoilt = _Spoilt(node, f"spoilt-{number}", version, chance.getrandbits(64), report)
                group.create_task(spoilt.send(min(each, frames - number * each)))
        over.set()
        await asyncio.gather(*chargers)
    finally:
        await node.stop()
    return report


async def _describe(node: Node, stations: int, honest: int) -> None:
    names = [f"spoilt-{n}" for n in range(stations)] + [f"honest-{n}" for n in range(honest)]
    site = SiteConfig(
        id="fuzz",
        circuits=(CircuitConfig(id="main", rating_a=16.0 * len(names)),),
        chargers=tuple(
            ChargerConfig(
                id=name, circuit="main", connectors=(ConnectorConfig(id=1, current_max_a=16.0),)
            )
            for name in names
        ),
    )
    await node.client.ask(
        ActorRef(ActorKind.SITE, site.id),
        ConfigureSite(config=site.model_dump_json().encode()),
        SiteConfigured,
    )


def _open(node: Node, name: str, version: str) -> connect:
    return connect(
        f"ws://127.0.0.1:{node.ocpp_port}/ocpp/{name}",
        subprotocols=[Subprotocol(version)],
        compression=None,
        max_size=None,
    )


class _Spoilt:
    """One station that sends what none should."""

    def __init__(
        self, node: Node, name: str, version: str, seed: int, report: SocketReport
    ) -> None:
        self._node = node
        self._name = name
        self._version = version
        self._chance = random.Random(seed)
        self._frames = Frames(version, self._chance)
        self._report = report
        self._beats = 0
        self._called: list[Any] | None = None
        """The last CALL that came in."""

    async def send(self, frames: int) -> None:
        """Send so many; raises nothing on account of what comes back."""
        left = frames
        while left > 0:
            async with _open(self._node, self._name, self._version) as socket:
                try:
                    while left > 0:
                        count = min(left, _FRAMES_TOGETHER)
                        left -= count
                        await self._together(socket, count)
                except ConnectionClosed:
                    self._report.closed_by_server += 1

    async def _together(self, socket: ClientConnection, count: int) -> None:
        report = self._report
        texts = [self._next() for _ in range(count)]
        report.frames += count
        wanted = Counter(answer for text in texts if (answer := self._wants(text)) is not None)
        self._beats += 1
        beat = f"beat-{self._beats}"
        try:
            for text in texts:
                await socket.send(text, text=True)
            await socket.send(json.dumps([2, beat, "Heartbeat", {}]), text=True)
            got = await self._answers(socket, beat)
        except TimeoutError:
            report.unanswered += 1
            self._fail("unanswered", texts, f"no answer in {_ANSWER_TIMEOUT_S:g} s")
            await socket.close()
            return
        report.answered += got.total()
        if got != wanted:
            report.unanswered += 1
            self._fail("unanswered", texts, f"wanted {dict(wanted)}, got {dict(got)}")

    def _next(self) -> bytes:
        called = self._called
        if called is not None and self._chance.random() < 0.3:
            return self._frames.answer(called[1], called[2], now_ms=_START_MS)
        return self._frames.call(now_ms=_START_MS)

    def _wants(self, text: bytes) -> str | None:
        """The message id of the answer that `text` must have, if any."""
        frame = mending.read(self._version, text)
        if isinstance(frame, framing.Call):
            return frame.message_id
        if isinstance(frame, framing.FrameFault) and frame.answerable:
            return frame.message_id
        return None

    async def _answers(self, socket: ClientConnection, beat: str) -> Counter[str]:
        """The message ids that were answered until `beat` was."""
        got: Counter[str] = Counter()
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            while True:
                answer = json.loads(await socket.recv())
                if answer[0] == 2:
                    self._called = answer
                    continue
                if answer[0] == 5:
                    # It refuses an answer of the station's, and is none to a CALL of its own.
                    continue
                if answer[0] == 4 and answer[2] == "InternalError":
                    self._report.internal_errors += 1
                    self._fail("crash", [], json.dumps(answer))
                if answer[1] == beat:
                    return got
                got[answer[1]] += 1

    def _fail(self, kind: str, texts: list[bytes], reason: str) -> None:
        if len(self._report.failures) < _FAILURES_MAX:
            shown = b"\n".join(texts)[:8_000].decode("utf-8", "backslashreplace")
            self._report.failures.append(Failure(kind, self._version, shown, reason))


async def _behave(node: Node, name: str, report: SocketReport, over: asyncio.Event) -> None:
    """A 1.6 charger that charges and says so, until `over`."""
    loop = asyncio.get_running_loop()
    serial = 0
    try:
        async with _open(node, name, "ocpp1.6") as socket:

            async def call(action: str, payload: dict[str, Any]) -> list[Any]:
                nonlocal serial
                serial += 1
                await socket.send(json.dumps([2, f"h{serial}", action, payload]))
                while True:
                    frame: list[Any] = json.loads(await socket.recv())
                    if frame[0] != 2:
                        return frame
                    await socket.send(json.dumps([3, frame[1], {"status": "Accepted"}]))

            boot = {"chargePointVendor": "Loadstar", "chargePointModel": "Honest"}
            await call("BootNotification", boot)
            start = {"connectorId": 1, "idTag": "H", "meterStart": 0}
            started = await call("StartTransaction", start | {"timestamp": iso_from_ms(_START_MS)})
            transaction_id = started[2]["transactionId"]
            while not over.is_set():
                begun_s = loop.time()
                async with asyncio.timeout(_ANSWER_TIMEOUT_S):
                    answer = await call("MeterValues", _sample(transaction_id, serial))
                report.honest_messages += 1
                proper = answer == [3, f"h{serial}", {}]
                report.honest_delayed += not proper or loop.time() - begun_s > _DELAY_MAX_S
                await asyncio.sleep(_HONEST_PAUSE_S)
    except (ConnectionClosed, TimeoutError) as error:
        report.honest_lost += 1
        report.failures.append(Failure("honest", "ocpp1.6", name, repr(error)))


def _sample(transaction_id: int, serial: int) -> dict[str, Any]:
    at = iso_from_ms(_START_MS + serial * 1_000)
    sampled = [{"value": f"{serial}", "measurand": "Energy.Active.Import.Register", "unit": "Wh"}]
    return {
        "connectorId": 1,
        "transactionId": transaction_id,
        "meterValue": [{"timestamp": at, "sampledValue": sampled}],
    }
