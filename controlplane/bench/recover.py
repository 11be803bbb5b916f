"""`loadstar bench recover`: how long chargers are without their actors when a host is killed.

A store is filled with sites whose chargers are in the middle of sessions (`recover_network.py`), a
node is started on it as `loadstar up` does, and its host is killed without notice. A charger is
recovered when its actor, with its session and its energy, answers for the first time. By default
every actor is asked, and nobody is connected: that is the host, the store and the start of a
process. With stations every charger is connected over a WebSocket and sends a meter reading at the
instant of the kill: it is recovered when that is stored and answered, gateway and allocation rounds
included."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from controlplane.bench.generator import LoadGenerator
from controlplane.bench.processes import cpu_seconds
from controlplane.bench.recover_network import CHARGERS_PER_SITE, SITE_PREFIX, charger_name, seed
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime.descriptors import SPARE_DESCRIPTORS, allow_descriptors
from controlplane.runtime.node import Node, start_node
from controlplane.sim.postgresql import PostgresqlServer

__all__ = ["run"]

_TIMEOUT_S = 120.0
_ASKED_AT_ONCE = 256
_REST_S = 12.0
"""Between the start and the kill, as a node that has run for a while: its spare process is loaded,
tokens are looked up, chargers are settled."""


def run(
    *,
    chargers: int = 10_000,
    database: Literal["sqlite", "postgresql"] = "sqlite",
    database_url: str = "",
    transport: Literal["ray", "local"] = "ray",
    stations: bool = False,
) -> dict[str, Any]:
    """Measure.

    Args:
        chargers: how many, a multiple of 50 from 50 to 100,000.
        database: a file of SQLite's, or a PostgreSQL server of the bench's own.
        database_url: of an empty database elsewhere; goes before `database`.
        transport: `ray` kills a process; `local` brings host and store alone to account.
        stations: connect every charger, up to 20,000.

    Returns:
        `chargers`; `database`; `seeded_s`, to fill the store; `started_s`, until the node served
        all of them for the first time; `first_s`, `half_s` and `recovered_s`, from the kill until
        the first, half of and all chargers were served; `wrong`, chargers whose session or energy
        is not what it was; `host_cpu_s`, what the new host used until then, 0 with `local`.

    Raises:
        ValueError: `chargers` is out of range.
        LoadstarError: the database is not empty, or out of reach; the node does not recover.
    """
    if chargers % CHARGERS_PER_SITE or not CHARGERS_PER_SITE <= chargers <= 100_000:
        raise ValueError("chargers must be a multiple of 50 from 50 to 100,000")
    if stations:
        if chargers > 20_000:
            raise ValueError("up to 20,000 chargers can be connected")
        allow_descriptors(2 * chargers + SPARE_DESCRIPTORS)
    with (
        tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory,
        _database_url(database_url, database) as url,
    ):
        settings = Settings(data_dir=Path(directory), ocpp_port=0, grpc_port=0, database_url=url)
        begun_s = time.perf_counter()
        seed(
            settings.database,
            sites=chargers // CHARGERS_PER_SITE,
            now_ms=time.time_ns() // 1_000_000,
        )
        seeded_s = time.perf_counter() - begun_s
        measured = asyncio.run(_run(settings, chargers, transport, stations=stations))
    return {
        "chargers": chargers,
        "database": settings.database.partition(":")[0].partition("+")[0],
        "stations": chargers if stations else 0,
        "seeded_s": round(seeded_s, 2),
        **measured,
    }


@contextmanager
def _database_url(given: str, database: str) -> Iterator[str]:
    if given or database == "sqlite":
        yield given
        return
    with PostgresqlServer(durable=True) as server:
        yield server.create("bench")


async def _run(
    settings: Settings, chargers: int, transport: Literal["ray", "local"], *, stations: bool
) -> dict[str, Any]:
    begun_s = time.perf_counter()
    async with AsyncExitStack() as closing:
        node = await start_node(settings, transport=transport)
        closing.push_async_callback(node.stop)
        await _views(node, range(chargers))
        started_s = time.perf_counter() - begun_s
        generator: LoadGenerator | None = None
        if stations:
            generator = await closing.enter_async_context(LoadGenerator())
            await generator.connect(
                port=node.ocpp_port,
                prefix=SITE_PREFIX,
                count=chargers,
                per_site=CHARGERS_PER_SITE,
            )
            await generator.start_transactions()
        await asyncio.sleep(_REST_S)
        before, _ = await _views(node, range(chargers))
        hosts = node.processes()["host"]
        killed_s = time.perf_counter()
        await node.kill_host()
        await _gone(hosts)
        if generator is None:
            after, served_s = await _views(node, range(chargers))
            times_s = sorted(each - killed_s for each in served_s)
            host_cpu_s = cpu_seconds(node.processes()["host"])
        else:
            dead_s = time.perf_counter() - killed_s
            times_s = [dead_s + each for each in await _served(generator)]
            host_cpu_s = cpu_seconds(node.processes()["host"])
            after, _ = await _views(node, range(chargers))
            await generator.disconnect()
    return {
        "started_s": round(started_s, 2),
        "first_s": round(times_s[0], 2),
        "half_s": round(times_s[len(times_s) // 2], 2),
        "recovered_s": round(times_s[-1], 2),
        "host_cpu_s": round(host_cpu_s, 2),
        "wrong": sum(map(_changed, before, after)),
    }


async def _gone(pids: Iterable[int]) -> None:
    """Returns when these processes are dead: nothing that is answered now is their answer."""
    for pid in pids:
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            dead = asyncio.Event()
            asyncio.get_running_loop().add_reader(descriptor, dead.set)
            try:
                async with asyncio.timeout(_TIMEOUT_S):
                    await dead.wait()
            finally:
                asyncio.get_running_loop().remove_reader(descriptor)
                os.close(descriptor)


async def _served(generator: LoadGenerator) -> Sequence[float]:
    """When the first, half of and all stations were answered, seconds after they sent.

    Raises:
        Unavailable: a station was not answered, or refused, or lost its connection.
    """
    report = await generator.send_once()
    if report.acknowledged != report.stations or report.lost_connections:
        raise Unavailable(f"not every station was served: {report}", reason="NOT_SERVED")
    return [each / 1_000 for each in (report.min_ms, report.p50_ms, report.max_ms)]


async def _views(node: Node, numbers: range) -> tuple[list[ChargerView], list[float]]:
    """What every charger's actor says, asked some at a time, and when it did."""
    answers: dict[int, tuple[ChargerView, float]] = {}
    left = iter(numbers)

    async def ask_on() -> None:
        for number in left:
            ref = ActorRef(ActorKind.CHARGER, charger_name(number))
            view = await node.client.ask(ref, GetCharger(), ChargerView, timeout_s=_TIMEOUT_S)
            answers[number] = view, time.perf_counter()

    await asyncio.gather(*(ask_on() for _ in range(_ASKED_AT_ONCE)))
    return [answers[number][0] for number in numbers], [at_s for _, at_s in answers.values()]


def _changed(before: ChargerView, after: ChargerView) -> bool:
    """Whether a session is another than it was, or has lost energy."""
    return any(
        was.session_id != now.session_id or (now.energy_wh or 0) < (was.energy_wh or 0)
        for was, now in zip(before.connectors, after.connectors, strict=True)
    )
