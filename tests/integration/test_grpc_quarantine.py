"""What is quarantined, over gRPC and on the command line."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from stepped_node import SteppedClock, Talker, stepped_node
from typer.testing import CliRunner

from controlplane.api.server import serve
from controlplane.api.v1 import (
    quarantine_pb2,
    quarantine_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
)
from controlplane.cli import app
from controlplane.runtime.node import Node

MINUTE_MS = 60_000


class Api(NamedTuple):
    node: Node
    clock: SteppedClock
    address: str
    quarantine: quarantine_pb2_grpc.QuarantineServiceAsyncStub
    sessions: sessions_pb2_grpc.SessionsServiceAsyncStub


@pytest.fixture
async def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    async with stepped_node(tmp_path, monkeypatch, [{"id": "CP1"}]) as (node, clock):
        server = await serve(node.settings, node.client, node.reader, clock=node.clock)
        address = f"127.0.0.1:{server.port}"
        async with grpc.aio.insecure_channel(address) as channel:
            yield Api(
                node,
                clock,
                address,
                quarantine_pb2_grpc.QuarantineServiceStub(channel),
                sessions_pb2_grpc.SessionsServiceStub(channel),
            )
        await server.stop()


async def held_stops(api: Api) -> None:
    """A session runs; two stops of transactions that nobody knows are held."""
    async with Talker.connected(api.node, "CP1") as talker:
        await talker.start_16(api.clock.now_ms(), 1_000)
        api.clock.advance(30 * MINUTE_MS)
        for transaction_id in (4_711, 4_712):
            await talker.stop_16(api.clock.now_ms(), 5_000, transaction_id)


async def listed(api: Api, **more: object) -> list[quarantine_pb2.QuarantinedEntry]:
    request = quarantine_pb2.ListQuarantineRequest(**more)  # type: ignore[arg-type]
    return list((await api.quarantine.ListQuarantine(request)).entries)


async def test_an_entry_is_released_once_and_its_session_is_corrected(api: Api) -> None:
    await held_stops(api)
    second, first = await listed(api)
    assert (first.reason, first.action) == ("transaction_unknown", "StopTransaction")
    assert (first.payload["meterStop"], first.facts["transaction_id"]) == (5_000, "4711")
    request = quarantine_pb2.ReleaseQuarantinedRequest(
        quarantine_id=first.quarantine_id, session_id="CP1-1", note="seen", request_id="r1"
    )
    released = await api.quarantine.ReleaseQuarantined(request)
    assert (released.session.energy_wh, released.session.state) == (
        4_000,
        sessions_pb2.SESSION_STATE_ENDED,
    )
    assert released.entry.note == "seen"
    # The same request again is the same answer, another one is refused.
    assert await api.quarantine.ReleaseQuarantined(request) == released
    request.request_id = "r2"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.quarantine.ReleaseQuarantined(request)
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    session = await api.sessions.GetSession(sessions_pb2.GetSessionRequest(session_id="CP1-1"))
    assert session.session.energy_wh == 4_000
    assert session.session.end_receive_time.ToMilliseconds() == api.clock.now_ms()
    open_state = quarantine_pb2.QUARANTINE_STATE_OPEN
    assert [each.quarantine_id for each in await listed(api, state=open_state)] == [
        second.quarantine_id
    ]
    dismissed = await api.quarantine.DismissQuarantined(
        quarantine_pb2.DismissQuarantinedRequest(quarantine_id=second.quarantine_id)
    )
    assert dismissed.entry.state == quarantine_pb2.QUARANTINE_STATE_DISMISSED
    kinds = [event.kind for event in await api.node.reader.journal(0)]
    assert kinds.count("quarantine.released") == kinds.count("quarantine.dismissed") == 1


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"quarantine_id": "999"}, grpc.StatusCode.NOT_FOUND),
        ({"quarantine_id": "none"}, grpc.StatusCode.NOT_FOUND),
        ({"quarantine_id": "1", "session_id": "CP1-9"}, grpc.StatusCode.NOT_FOUND),
        ({"quarantine_id": "1"}, grpc.StatusCode.INVALID_ARGUMENT),
        (
            {"quarantine_id": "1", "session_id": "CP1-1", "energy_wh": -1},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
        (
            {"quarantine_id": "1", "session_id": "CP1-1", "note": "x" * 256},
            grpc.StatusCode.INVALID_ARGUMENT,
        ),
    ],
)
async def test_what_cannot_be_released_is_refused(
    api: Api, request_: dict[str, object], code: grpc.StatusCode
) -> None:
    await held_stops(api)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await api.quarantine.ReleaseQuarantined(
            quarantine_pb2.ReleaseQuarantinedRequest(**request_)  # type: ignore[arg-type]
        )
    assert refused.value.code() is code


async def test_an_operator_decides_on_the_command_line(api: Api) -> None:
    await held_stops(api)

    async def cli(*arguments: str) -> str:
        result = await asyncio.to_thread(
            CliRunner().invoke, app, ["quarantine", *arguments, "--address", api.address]
        )
        assert result.exit_code == 0, result.output
        return result.output

    assert (await cli("list")).count("transaction_unknown") == 2
    assert "4.00 kWh" in await cli("release", "1", "--session", "CP1-1", "--note", "seen")
    assert "dismissed" in await cli("dismiss", "2")
    assert "transaction_unknown" not in await cli("list")
    assert '"note": "seen"' in await cli("list", "--all", "--json")
