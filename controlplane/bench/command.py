"""`loadstar bench command`: how long a command takes from the caller over gRPC to the station and
back.

One node, as `loadstar up` runs it, with its API server; stations in one process, which send
MeterValues all the while; callers in another. A command is a `GetSettings`: a GetConfiguration that
the station answers at once, kept as a resource like every command (two commits: one before it is
sent, one with its answer). Afterwards the store must hold each of them with its answer."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import create_engine, func, select

from controlplane.api.server import serve
from controlplane.bench.command_caller import CallOrder, CallReport
from controlplane.bench.generator import ChildProcess, LoadGenerator
from controlplane.bench.ocpp import configure_sites
from controlplane.bench.processes import cpu_seconds
from controlplane.bench.station_load import LoadReport
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.runtime.node import Node, start_node
from controlplane.store.records import CommandStage
from controlplane.store.schema import command

__all__ = ["run"]

_PREFIX = "bench-"
_SETTLE_S = 4.0
"""Longer than chargers are left in peace after a boot."""
_WARM_UP_S = 3.0
_LOADED_MARGIN_S = 1.0
"""How much longer the messages go on than the commands that are measured."""


def run(
    *,
    chargers: int = 2_000,
    rate: float = 2_000.0,
    commands_per_s: float = 50.0,
    seconds: float = 20.0,
) -> dict[str, Any]:
    """Measure.

    Args:
        chargers: how many stations are connected, 1 to 20,000.
        rate: MeterValues a second of all of them together, above 0.
        commands_per_s: how many commands fall due in a second, above 0.
        seconds: how long, 1 to 3,600.

    Returns:
        `chargers`; `messages_per_second` that were acknowledged beside, with `message_p50_ms` and
        `message_p99_ms`; `commands`; `p50_ms`, `p99_ms` and `max_ms` of them, from the moment at
        which each was due; `cpu_ms_per_second` of Loadstar's processes, by what they do; `failed`,
        not accepted by the station; `lost`, answered and not in the store as answered.

    Raises:
        ValueError: an argument out of range.
        Unavailable: a station lost its connection, or the load was not carried.
    """
    if not 1 <= chargers <= 20_000 or not 1 <= seconds <= 3_600:
        raise ValueError("chargers must be 1 to 20,000 and seconds 1 to 3,600")
    if rate <= 0 or commands_per_s <= 0:
        raise ValueError("rates must be above 0")
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory:
        settings = Settings(data_dir=Path(directory), ocpp_port=0, grpc_port=0)
        load = _Load(chargers, rate, commands_per_s, seconds)
        return asyncio.run(_run(settings, load))


class _Load(msgspec.Struct, frozen=True):
    chargers: int
    rate: float
    commands_per_s: float
    seconds: float


async def _run(settings: Settings, load: _Load) -> dict[str, Any]:
    node = await start_node(settings, transport="ray")
    api = await serve(settings, node.client, node.reader, clock=node.clock)
    try:
        await configure_sites(node, _PREFIX, load.chargers)
        async with (
            LoadGenerator() as stations,
            ChildProcess("controlplane.bench.command_caller") as callers,
        ):
            await stations.connect(port=node.ocpp_port, prefix=_PREFIX, count=load.chargers)
            await asyncio.sleep(_SETTLE_S)
            await stations.start_transactions()
            await asyncio.sleep(_SETTLE_S)
            warm_up = msgspec.structs.replace(load, seconds=_WARM_UP_S)
            warm, _, _ = await _measure(node, api.port, stations, callers, warm_up)
            calls, messages, used_s = await _measure(node, api.port, stations, callers, load)
            await stations.disconnect()
    finally:
        await api.stop()
        await node.stop()
    answered = warm.answered + calls.answered
    return {
        "chargers": load.chargers,
        "messages_per_second": round(messages.acknowledged / messages.elapsed_s),
        "message_p50_ms": messages.p50_ms,
        "message_p99_ms": messages.p99_ms,
        "commands": calls.sent,
        "p50_ms": _quantile(calls.latencies_ms, 0.5),
        "p99_ms": _quantile(calls.latencies_ms, 0.99),
        "max_ms": _quantile(calls.latencies_ms, 1.0),
        "cpu_ms_per_second": {
            role: round(1_000 * each_s / (load.seconds + _LOADED_MARGIN_S))
            for role, each_s in used_s.items()
        },
        "failed": calls.sent - calls.answered,
        "reason": calls.reason,
        "lost": answered - _stored(settings),
    }


async def _measure(
    node: Node, port: int, stations: LoadGenerator, callers: ChildProcess, load: _Load
) -> tuple[CallReport, LoadReport, dict[str, float]]:
    """Commands while the stations send; processor seconds by what the processes do."""
    order = CallOrder(port, _PREFIX, load.chargers, load.seconds, load.commands_per_s)
    before_s = {role: cpu_seconds(pids) for role, pids in node.processes().items()}
    sending = asyncio.create_task(
        stations.send_meter_values(seconds=load.seconds + _LOADED_MARGIN_S, rate=load.rate)
    )
    await callers.write_line(msgspec.json.encode(order))
    line = await callers.read_line(load.seconds + 60.0)
    messages = await sending
    if messages.unanswered or messages.lost_connections or not messages.acknowledged:
        raise Unavailable(f"the load was not carried: {messages}", reason="LOAD_NOT_CARRIED")
    used_s = {role: cpu_seconds(pids) - before_s[role] for role, pids in node.processes().items()}
    return msgspec.json.decode(line, type=CallReport), messages, used_s


def _quantile(ascending: list[float], quantile: float) -> float:
    if not ascending:
        return 0.0
    return round(ascending[min(len(ascending) - 1, int(len(ascending) * quantile))], 2)


def _stored(settings: Settings) -> int:
    """Answered commands in the store of a node that has stopped."""
    engine = create_engine(settings.database)
    try:
        with engine.connect() as connection:
            query = select(func.count()).where(command.c.stage == CommandStage.ANSWERED)
            return connection.execute(query).scalar_one()
    finally:
        engine.dispose()
