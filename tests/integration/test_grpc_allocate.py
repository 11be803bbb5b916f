"""`AllocationService` over a real channel. It keeps no state, so no node stands behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from controlplane.api import allocation
from controlplane.api.allocation import Allocations
from controlplane.api.backend import MESSAGE_MAX_BYTES
from controlplane.api.errors import ErrorInterceptor
from controlplane.api.v1 import allocation_pb2, allocation_pb2_grpc, electrical_pb2

OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
]


class Service(NamedTuple):
    servicer: Allocations
    stub: allocation_pb2_grpc.AllocationServiceAsyncStub


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=OPTIONS)
    servicer = Allocations()
    allocation_pb2_grpc.add_AllocationServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:
        yield Service(servicer, allocation_pb2_grpc.AllocationServiceStub(channel))
    await server.stop(None)


PHASES = [electrical_pb2.PHASE_L1, electrical_pb2.PHASE_L2, electrical_pb2.PHASE_L3]


def problem(connectors: int, *, capacity_ma: int = 63_000) -> allocation_pb2.AllocateRequest:
    """A panel with one connector per phase in turn."""
    return allocation_pb2.AllocateRequest(
        nodes=[
            allocation_pb2.AllocationNode(
                id="P2",
                kind="panel",
                import_ma=electrical_pb2.PhaseCurrents(
                    l1_ma=capacity_ma, l2_ma=capacity_ma, l3_ma=capacity_ma
                ),
            )
        ],
        connectors=[
            allocation_pb2.AllocationConnector(id=f"CP-{n}", node="P2", phases=[PHASES[n % 3]])
            for n in range(connectors)
        ],
    )


async def becomes(condition: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("did not happen")


async def refused(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str, list[str], bool]:
    """The status of a refusal, its reason, the fields at fault, and whether to try again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None, caught.value
    info, fields = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(fields)
        detail.Unpack(retry)
    return (
        caught.value.code(),
        info.reason,
        [violation.field for violation in fields.field_violations],
        retry.retry_delay.seconds > 0,
    )


async def test_shares_loads_and_the_time_it_took(service: Service) -> None:
    response = await service.stub.Allocate(problem(9, capacity_ma=30_000))
    assert [share.id for share in response.shares] == [f"CP-{n}" for n in range(9)]
    assert [share.current_ma for share in response.shares] == [10_000] * 9
    assert [share.words for share in response.shares[:3]] == [
        f"limited by panel P2 phase L{line}" for line in (1, 2, 3)
    ]
    assert [load.load_ma for load in response.loads] == [30_000] * 3
    assert 0 <= response.solve_us < 10_000_000


async def test_faults_are_field_violations(service: Service) -> None:
    wrong = problem(2)
    wrong.nodes[0].parent = "P2"
    wrong.connectors[1].CopyFrom(wrong.connectors[0])
    wrong.connectors[1].node = "P9"
    wrong.connectors[0].min_ma = -(2**63)
    assert await refused(service.stub.Allocate(wrong)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "ALLOCATION_INVALID",
        ["nodes[0].parent", "connectors[1].id", "connectors[1].node", "connectors[0].min_ma"],
        False,
    )
    code, _, fields, _ = await refused(service.stub.Allocate(allocation_pb2.AllocateRequest()))
    assert (code, fields) == (grpc.StatusCode.INVALID_ARGUMENT, ["nodes"])


async def test_ten_thousand_faults_fit_a_status(service: Service) -> None:
    wrong = problem(10_000)
    for connector in wrong.connectors:
        connector.id = "x" * 128
        connector.weight = 0
    code, reason, fields, _ = await refused(service.stub.Allocate(wrong))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ALLOCATION_INVALID")
    assert len(fields) == 10


async def test_who_asks_meanwhile_is_answered(service: Service) -> None:
    large = asyncio.ensure_future(service.stub.Allocate(problem(20_000)))
    await becomes(lambda: service.servicer.under_way > 0)
    await refused(service.stub.Allocate(allocation_pb2.AllocateRequest()))
    assert not large.done()
    assert len((await large).shares) == 20_000
    assert service.servicer.under_way == 0


async def test_a_caller_who_cannot_wait_is_let_go(service: Service) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.stub.Allocate(problem(50_000), timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await becomes(lambda: service.servicer.under_way == 0)
    assert len((await service.stub.Allocate(problem(1))).shares) == 1


async def test_its_own_patience_ends(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_TIMEOUT_S", 0.001)
    code, *_ = await refused(service.stub.Allocate(problem(20_000)))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_what_waits_is_bounded(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_UNDER_WAY_MAX", 5)
    assert len((await service.stub.Allocate(problem(4))).shares) == 4
    assert await refused(service.stub.Allocate(problem(5))) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "ALLOCATIONS_FULL",
        [],
        True,
    )


async def test_an_answer_that_no_message_holds_is_refused(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "MESSAGE_MAX_BYTES", 100)
    code, reason, *_ = await refused(service.stub.Allocate(problem(4)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "ANSWER_TOO_LARGE")
