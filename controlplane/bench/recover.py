"""`loadstar bench recover`: how long chargers are without their actors when a host is killed.

A store is filled with sites whose chargers are in the middle of sessions (`recover_network.py`), a
node is started on it as `loadstar up` does, and its host is killed without notice. The clock runs
from the kill until every charger's actor has been brought back and answers: the supervisor has to
notice, a new process to start, to claim the shards and to read sites, snapshots, samples and
commands. Nobody is connected: sockets stay with the gateway anyhow, and what they add is not the
store's."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from controlplane.bench.processes import cpu_seconds
from controlplane.bench.recover_network import CHARGERS_PER_SITE, charger_name, seed
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime.node import Node, start_node

__all__ = ["run"]

_TIMEOUT_S = 120.0
_ASKED_AT_ONCE = 256


def run(
    *, chargers: int = 10_000, database_url: str = "", transport: Literal["ray", "local"] = "ray"
) -> dict[str, Any]:
    """Measure.

    Args:
        chargers: how many, a multiple of 50 from 50 to 100,000.
        database_url: of an empty database; "" for a file of SQLite's.
        transport: `ray` kills a process; `local` brings host and store alone to account.

    Returns:
        `chargers`; `database`; `seeded_s`, to fill the store; `started_s`, until the node served
        all of them for the first time; `first_s` and `recovered_s`, from the kill until the first
        and until the last charger of every site answered; `wrong`, chargers whose session or energy
        is not what it was; `host_cpu_s`, what the new host used until then, 0 with `local`.

    Raises:
        ValueError: `chargers` is out of range.
        LoadstarError: the database is not empty, or out of reach; the node does not recover.
    """
    if chargers % CHARGERS_PER_SITE or not CHARGERS_PER_SITE <= chargers <= 100_000:
        raise ValueError("chargers must be a multiple of 50 from 50 to 100,000")
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory:
        settings = Settings(
            data_dir=Path(directory), ocpp_port=0, grpc_port=0, database_url=database_url
        )
        begun_s = time.perf_counter()
        sites = chargers // CHARGERS_PER_SITE
        seed(settings.database, sites=sites, now_ms=time.time_ns() // 1_000_000)
        seeded_s = time.perf_counter() - begun_s
        measured = asyncio.run(_run(settings, sites, transport))
    return {
        "chargers": chargers,
        "database": settings.database.partition(":")[0].partition("+")[0],
        "seeded_s": round(seeded_s, 2),
        **measured,
    }


async def _run(
    settings: Settings, sites: int, transport: Literal["ray", "local"]
) -> dict[str, Any]:
    begun_s = time.perf_counter()
    node = await start_node(settings, transport=transport)
    try:
        before, _ = await _answered(node, sites)
        started_s = time.perf_counter() - begun_s
        killed_s = time.perf_counter()
        await node.kill_host()
        after, first_s = await _answered(node, sites)
        recovered_s = time.perf_counter() - killed_s
        host_cpu_s = cpu_seconds(node.processes()["host"])
        everybody = await _views(node, range(sites * CHARGERS_PER_SITE))
    finally:
        await node.stop()
    return {
        "started_s": round(started_s, 2),
        "first_s": round(first_s - killed_s, 2),
        "recovered_s": round(recovered_s, 2),
        "host_cpu_s": round(host_cpu_s, 2),
        "wrong": sum(_state(view) != _state(before[0]) for view in (*after, *everybody)),
    }


async def _answered(node: Node, sites: int) -> tuple[list[ChargerView], float]:
    """The last charger of every site, asked all at once, and the instant of the first answer: the
    chargers of a site are brought back in their order."""
    first_s = 0.0

    async def last_of(site: int) -> ChargerView:
        nonlocal first_s
        view = await _view(node, site * CHARGERS_PER_SITE + CHARGERS_PER_SITE - 1)
        first_s = first_s or time.perf_counter()
        return view

    return list(await asyncio.gather(*map(last_of, range(sites)))), first_s


async def _views(node: Node, numbers: range) -> list[ChargerView]:
    places = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def one(number: int) -> ChargerView:
        async with places:
            return await _view(node, number)

    return list(await asyncio.gather(*map(one, numbers)))


async def _view(node: Node, number: int) -> ChargerView:
    ref = ActorRef(ActorKind.CHARGER, charger_name(number))
    return await node.client.ask(ref, GetCharger(), ChargerView, timeout_s=_TIMEOUT_S)


def _state(view: ChargerView) -> tuple[Any, ...]:
    """What must be as it was: the session that runs, and what it delivered."""
    return tuple(
        (each.session_id is not None, each.energy_wh, each.power_w) for each in view.connectors
    )
