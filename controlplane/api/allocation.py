"""`AllocationService`: the allocation core by itself, for other systems and for measurements.

Invariant: a caller, however large its problem, keeps no other call from being answered. Everything
but waiting is done on a few threads of this service's own; the core gives the interpreter up while
it calculates, and what is not done in time is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from controlplane import _core
from controlplane.allocation import (
    Arrays,
    Connector,
    DeltaPrimary,
    Node,
    PhaseCurrents,
    Row,
    RowKind,
    RowLoad,
    arrays_of,
    loads_of,
    shares_of,
)
from controlplane.api.backend import MESSAGE_MAX_BYTES, invalid
from controlplane.api.v1 import allocation_pb2, allocation_pb2_grpc, electrical_pb2
from controlplane.errors import Exhausted, InvalidInput, TimedOut

__all__ = ["CONNECTORS_MAX", "NODES_MAX", "Allocations", "answer"]

CONNECTORS_MAX: Final = 100_000
NODES_MAX: Final = 20_000
_UNDER_WAY_MAX: Final = 4 * (CONNECTORS_MAX + NODES_MAX)
"""Nodes and connectors of all calls together, which bounds the memory that they take."""
_THREADS: Final = 2
_TIMEOUT_S: Final = 60.0

_PLAIN: Final = Connector(id="", node="")
"""What a connector is where the request does not say."""

Result = TypeVar("Result")


class Allocations(allocation_pb2_grpc.AllocationServiceServicer):
    """Answers `controlplane.api.v1.AllocationService`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="allocate")
        self.under_way = 0
        """Nodes and connectors of all calls that are not answered yet."""

    async def Allocate(
        self, request: allocation_pb2.AllocateRequest, context: Any
    ) -> allocation_pb2.AllocateResponse:
        _check_size(request)
        size = len(request.nodes) + len(request.connectors)
        if self.under_way + size > _UNDER_WAY_MAX:
            raise Exhausted("too many allocations wait already", reason="ALLOCATIONS_FULL")
        remaining_s = context.time_remaining()
        self.under_way += size
        try:
            async with asyncio.timeout(min(_TIMEOUT_S, remaining_s or _TIMEOUT_S)):
                # Three turns on a thread: who gives up in between has no more done for it.
                arrays = await self._aside(lambda: _read(request))
                solved = await self._aside(lambda: _solved(arrays))
                response = await self._aside(lambda: _written(arrays, *solved))
        except TimeoutError as error:
            raise TimedOut("this allocation was not done in time") from error
        finally:
            self.under_way -= size
        if response.ByteSize() > MESSAGE_MAX_BYTES:
            raise InvalidInput(
                f"the answer would be larger than a message may be ({MESSAGE_MAX_BYTES:,} bytes): "
                "shorten the ids or divide the problem",
                reason="ANSWER_TOO_LARGE",
            )
        return response

    async def _aside(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def answer(request: allocation_pb2.AllocateRequest) -> allocation_pb2.AllocateResponse:
    """What the service answers, calculated here and now.

    Raises:
        InvalidInput: with a violation for each of the first ten faults.
    """
    _check_size(request)
    arrays = _read(request)
    return _written(arrays, *_solved(arrays))


def _check_size(request: allocation_pb2.AllocateRequest) -> None:
    if not 1 <= len(request.nodes) <= NODES_MAX:
        raise invalid("nodes", f"1 to {NODES_MAX:,} nodes, not {len(request.nodes):,}")
    if len(request.connectors) > CONNECTORS_MAX:
        raise invalid(
            "connectors", f"at most {CONNECTORS_MAX:,} connectors, not {len(request.connectors):,}"
        )


def _read(request: allocation_pb2.AllocateRequest) -> Arrays:
    return arrays_of(
        [_node(message) for message in request.nodes],
        [_connector(message) for message in request.connectors],
    )


def _solved(arrays: Arrays) -> tuple[_core.Allocation, int]:
    """The allocation and how many microseconds it took."""
    # One thread: beside reading and writing the messages, several would save nothing.
    started_ns = time.perf_counter_ns()
    allocation = arrays.allocate()
    return allocation, (time.perf_counter_ns() - started_ns) // 1_000


def _node(message: allocation_pb2.AllocationNode) -> Node:
    given: dict[str, Any] = {
        name: getattr(message, name)
        for name in ("power_max_w", "export_power_max_w", "voltage_v", "imbalance_max_ma")
        if message.HasField(name)
    }
    for name in ("import_ma", "export_ma"):
        if message.HasField(name):
            given[name] = _currents(getattr(message, name))
    if message.HasField("primary"):
        given["primary"] = DeltaPrimary(
            max_ma=_currents(message.primary.max_ma),
            turns_primary=message.primary.turns_primary or 1,
            turns_secondary=message.primary.turns_secondary or 1,
        )
    return Node(
        id=message.id,
        parent=message.parent or None,
        kind=message.kind,
        vector_sum=message.vector_sum,
        **given,
    )


def _currents(message: electrical_pb2.PhaseCurrents) -> PhaseCurrents:
    return message.l1_ma, message.l2_ma, message.l3_ma


def _connector(message: allocation_pb2.AllocationConnector) -> Connector:
    given = message.HasField
    return Connector(
        id=message.id,
        node=message.node,
        # A slice of a repeated field is several times as fast as walking it.
        phases=tuple(message.phases[:]) or _PLAIN.phases,
        rotation=message.rotation or _PLAIN.rotation,
        line_to_line=message.line_to_line,
        min_ma=message.min_ma if given("min_ma") else _PLAIN.min_ma,
        max_ma=message.max_ma if given("max_ma") else _PLAIN.max_ma,
        step_ma=message.step_ma if given("step_ma") else _PLAIN.step_ma,
        setpoints_ma=tuple(message.setpoints_ma[:]),
        weight=message.weight if given("weight") else _PLAIN.weight,
        tier=message.tier,
        rank=message.rank,
        keep_on=message.keep_on,
        discharge=message.discharge,
        liability_ma=message.liability_ma,
    )


def _written(
    arrays: Arrays, allocation: _core.Allocation, solve_us: int
) -> allocation_pb2.AllocateResponse:
    response = allocation_pb2.AllocateResponse(solve_us=solve_us)
    rows: dict[Row, allocation_pb2.AllocationRow] = {}
    for share in shares_of(arrays, allocation):
        binding = share.binding
        response.shares.add(
            id=share.id,
            current_ma=share.current_ma,
            admitted=share.admitted,
            # The contract counts from 1, because 0 is what was never sent.
            reason=share.reason + 1,
            binding_row=None
            if binding is None
            else rows.get(binding) or rows.setdefault(binding, _row(binding)),
            level=share.level,
            words=share.words,
        )
    for load in loads_of(arrays, allocation):
        response.loads.append(_load(load))
    return response


def _row(row: Row) -> allocation_pb2.AllocationRow:
    message = allocation_pb2.AllocationRow(node=row.node.id, kind=row.kind)  # type: ignore[arg-type]
    if row.kind is not RowKind.POWER:
        message.phase = row.line + 1  # type: ignore[assignment]
    if row.kind is RowKind.IMBALANCE:
        message.over_phase = row.over + 1  # type: ignore[assignment]
    return message


def _load(load: RowLoad) -> allocation_pb2.AllocationLoad:
    row = load.row
    if row.kind is RowKind.POWER:
        return allocation_pb2.AllocationLoad(
            row=_row(row),
            load_w=load.load,
            capacity_w=row.limit,
            export_load_w=load.export_load,
            export_capacity_w=row.export_limit,
        )
    return allocation_pb2.AllocationLoad(
        row=_row(row),
        load_ma=load.load,
        capacity_ma=row.limit,
        export_load_ma=load.export_load,
        export_capacity_ma=row.export_limit,
    )
