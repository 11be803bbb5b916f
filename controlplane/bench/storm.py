"""`loadstar bench storm`: every charger of a network loses its connection at once and comes back
within seconds, with a queue of what it measured meanwhile.

One node as `loadstar up` runs it; the stations are in processes of their own. The judge is the
store, read after the node has stopped: every sample that a station queued must be in it, once."""

from __future__ import annotations

import asyncio
import tempfile
import time
from itertools import pairwise, zip_longest
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import msgspec
from sqlalchemy import create_engine, select

from controlplane.bench.generator import ChildProcess
from controlplane.bench.ocpp import configure_sites
from controlplane.bench.processes import cpu_seconds
from controlplane.bench.storm_load import SAMPLE_INTERVAL_MS, StormOrder, StormReport
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.runtime.descriptors import SPARE_DESCRIPTORS, allow_descriptors
from controlplane.runtime.node import Node, start_node
from controlplane.store.samples import sample_days, sample_table

__all__ = ["run"]

_PREFIX = "storm-"
_PROCESSES = 2
_CONNECT_TIMEOUT_S = 300.0
_STORM_TIMEOUT_S = 240.0
_START_S = 1.0
_SETTLE_S = 4.0
_DARK_S = 2.0


def run(
    *,
    chargers: int = 10_000,
    queued: int = 20,
    within_s: float = 10.0,
    transport: Literal["ray", "local"] = "ray",
) -> dict[str, Any]:
    """Let the storm come.

    Args:
        chargers: how many stations, 2 to 20,000.
        queued: how many samples each has to deliver, 1 to 1,000.
        within_s: the seconds within which all dial again, 0 to 600.
        transport: see `start_node`.

    Returns:
        `chargers`; `connected`, how many had their boot answered; `messages`, how many samples
        there were to deliver; `acknowledged`; `lost` and `duplicated`, by the store; `redials` and
        `refused`, attempts that failed and answers that were errors; `too_early`, commands to
        stations whose boot was not answered yet; `boot_p50_ms`, `boot_p99_ms` and `boot_max_ms`,
        from the first attempt to the boot's answer; `drained_s`, until the last queue was empty;
        `backlog` after each second, and whether it was `shrinking` all the time; `cpu_s` by
        process.

    Raises:
        ValueError: an argument out of range.
        Precondition: this user may not have so many sockets open.
        Unavailable: the stations could not be brought up, or were not done in time.
    """
    if not 2 <= chargers <= 20_000 or not 1 <= queued <= 1_000 or not 0 <= within_s <= 600:
        raise ValueError("chargers must be 2 to 20,000, queued 1 to 1,000, within 0 to 600 s")
    allow_descriptors(chargers + SPARE_DESCRIPTORS)
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory:
        settings = Settings(data_dir=Path(directory), ocpp_port=0, grpc_port=0)
        return asyncio.run(_run(settings, chargers, queued, within_s, transport=transport))


async def _run(
    settings: Settings,
    chargers: int,
    queued: int,
    within_s: float,
    *,
    transport: Literal["ray", "local"],
) -> dict[str, Any]:
    node = await start_node(settings, transport=transport)
    try:
        await configure_sites(node, _PREFIX, chargers)
        async with _Stations(chargers) as stations:
            await stations.carry_out("connect", _CONNECT_TIMEOUT_S, port=node.ocpp_port)
            await asyncio.sleep(_SETTLE_S)
            await stations.carry_out("drop", _CONNECT_TIMEOUT_S)
            await asyncio.sleep(_DARK_S)
            since_ms = time.time_ns() // 1_000_000 - queued * SAMPLE_INTERVAL_MS
            before_s = _cpu_s(node)
            reports = await stations.carry_out(
                "storm",
                _STORM_TIMEOUT_S + within_s,
                port=node.ocpp_port,
                queued=queued,
                since_ms=since_ms,
                begin_s=time.time() + _START_S,
                within_s=within_s,
            )
            cpu_s = {role: round(s - before_s[role], 2) for role, s in _cpu_s(node).items()}
            await stations.carry_out("quit", _CONNECT_TIMEOUT_S)
    finally:
        await node.stop()
    result = _summary(reports, chargers=chargers, queued=queued) | {"cpu_s": cpu_s}
    return result | _audit(settings, chargers=chargers, queued=queued, since_ms=since_ms)


def _cpu_s(node: Node) -> dict[str, float]:
    return {role: cpu_seconds(pids) for role, pids in node.processes().items()}


class _Stations:
    """The stations, spread over processes."""

    def __init__(self, chargers: int) -> None:
        each = -(-chargers // _PROCESSES)
        self._firsts = [(first, min(each, chargers - first)) for first in range(0, chargers, each)]
        self._processes = [ChildProcess("controlplane.bench.storm_load") for _ in self._firsts]

    async def __aenter__(self) -> Self:
        for process in self._processes:
            await process.__aenter__()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self._processes:
            await process.__aexit__(exc_type, exc, traceback)

    async def carry_out(self, what: str, timeout_s: float, **details: Any) -> list[StormReport]:
        """The reports of all processes.

        Raises:
            Unavailable: some station could not do it in time.
        """

        async def one(process: ChildProcess, first: int, count: int) -> StormReport:
            order = StormOrder(
                what, prefix=_PREFIX, first=first, count=count, timeout_s=timeout_s, **details
            )
            await process.write_line(msgspec.json.encode(order))
            line = await process.read_line(timeout_s + 30.0)
            return msgspec.json.decode(line, type=StormReport)

        reports = await asyncio.gather(
            *(
                one(process, first, count)
                for process, (first, count) in zip(self._processes, self._firsts, strict=True)
            )
        )
        for report in reports:
            if report.reason:
                raise Unavailable(f"the storm's stations failed: {report.reason}")
        return list(reports)


def _summary(reports: list[StormReport], *, chargers: int, queued: int) -> dict[str, Any]:
    boots_ms = sorted(ms for report in reports for ms in report.boots_ms)
    backlog = [sum(left) for left in zip_longest(*(r.backlog for r in reports), fillvalue=0)]
    return {
        "chargers": chargers,
        "connected": sum(report.connected for report in reports),
        "messages": chargers * queued,
        "acknowledged": sum(report.acknowledged for report in reports),
        "refused": sum(report.refused for report in reports),
        "redials": sum(report.redials for report in reports),
        "too_early": sum(report.too_early for report in reports),
        "boot_p50_ms": round(boots_ms[len(boots_ms) // 2], 1),
        "boot_p99_ms": round(boots_ms[len(boots_ms) * 99 // 100], 1),
        "boot_max_ms": round(boots_ms[-1], 1),
        "drained_s": round(max(report.drained_s for report in reports), 2),
        "backlog": backlog,
        "shrinking": all(later < earlier for earlier, later in pairwise(backlog) if earlier),
    }


def _audit(settings: Settings, *, chargers: int, queued: int, since_ms: int) -> dict[str, int]:
    """What the store of a node that has stopped holds of what was queued."""
    wanted = {since_ms + number * SAMPLE_INTERVAL_MS for number in range(queued)}
    stored: dict[str, list[int]] = {f"{_PREFIX}{number}": [] for number in range(chargers)}
    engine = create_engine(settings.database)
    try:
        with engine.connect() as connection:
            for columns in (sample_table(day).c for day in sample_days(connection)):
                # A register reading alone comes from a StartTransaction; only MeterValues tell
                # power.
                samples = select(columns.charger_id, columns.at_ms)
                for charger_id, at_ms in connection.execute(
                    samples.where(columns.power_w.is_not(None))
                ):
                    stored[charger_id].append(at_ms)
    finally:
        engine.dispose()
    return {
        "lost": sum(len(wanted.difference(found)) for found in stored.values()),
        "duplicated": sum(len(found) - len(set(found)) for found in stored.values()),
    }
