"""The frames that OCPP 2.1 added, through a real gateway."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from controlplane.charger.messages import Execute
from controlplane.config import Onboarding, Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.ocpp.commands import CommandResult, CommandState, GetStreams
from controlplane.runtime.node import Node, start_node

CHARGER = ActorRef(ActorKind.CHARGER, "CP21")
VALUES = {
    "id": 7,
    "pending": 0,
    "basetime": "2026-01-01T00:00:00Z",
    "data": [{"t": 0.5, "v": "231.4"}],
}


async def receive(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), 10))


async def kinds(node: Node) -> list[str]:
    return [event.kind for event in await node.client.events(0, limit=1_000, timeout_s=1.0)]


async def test_what_wants_no_answer_and_what_cannot_be_taken(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, onboarding=Onboarding.PENDING)
    node = await start_node(settings, transport="local")
    url = f"ws://127.0.0.1:{node.ocpp_port}/ocpp/CP21"
    try:
        async with connect(url, subprotocols=[Subprotocol("ocpp2.1")], compression=None) as socket:

            async def send(*frame: Any) -> None:
                await socket.send(json.dumps(frame))

            params = {"id": 7, "variableMonitoringId": 1, "params": {"interval": 1}}
            await send(2, "1", "OpenPeriodicEventStream", {"constantStreamData": params})
            assert await receive(socket) == [3, "1", {"status": "Accepted"}]
            # Good, broken, of the wrong action, against its schema: none is answered.
            await send(6, "s1", "NotifyPeriodicEventStream", VALUES)
            await send(6, "s2", "NotifyPeriodicEventStream")
            await send(6, "s3", "Heartbeat", {})
            await send(6, "s4", "NotifyPeriodicEventStream", {"id": 7})
            await send(5, "1", "FormatViolation", "status", {})
            await send(2, "2", "Heartbeat", {})
            assert (await receive(socket))[:2] == [3, "2"]
            assert {"stream.values", "charger.answer_refused"} <= set(await kinds(node))

            asking = asyncio.create_task(
                node.client.ask(CHARGER, Execute(GetStreams()), CommandResult)
            )
            kind, message_id, action, _ = await receive(socket)
            assert (kind, action) == (2, "GetPeriodicEventStream")
            await send(3, message_id, {"constantStreamData": []})
            refusal = await receive(socket)
            assert refusal[:3] == [5, message_id, "OccurrenceConstraintViolation"]
            result = await asking
            assert (result.state, result.error_code) == (CommandState.ERROR, refusal[2])
    finally:
        await node.stop()
