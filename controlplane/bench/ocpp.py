"""`loadstar bench ocpp`: what a MeterValues costs, from the charger's frame to the commit.

One node, as `loadstar up` runs it, and a plain server on the `ocpp` package are pressed by the same
generator in the same run. The figure is messages per processor second of all processes of a server
together, so it means the same on any number of cores and whatever else the machine does. A message
counts once the charger has its CALLRESULT; afterwards the store must hold a sample for each."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import create_engine, func, select

from controlplane.bench.generator import ChildProcess, LoadGenerator
from controlplane.bench.processes import cpu_seconds, descendants, pss_bytes
from controlplane.bench.station_load import LoadReport
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import ChargerConfig, CircuitConfig, ConnectorConfig, SiteConfig
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import ConfigureSite, SiteConfigured
from controlplane.store.samples import sample_days, sample_table

__all__ = ["Measured", "configure_sites", "projected", "run"]

_CHARGERS_PER_SITE = 50
_WARM_UP_CHARGERS = 20
_WARM_UP_S = 2.0
_SETTLE_S = 4.0
"""Longer than chargers are left in peace after a boot, so that idle means idle."""
_MODERATE_RATE_PER_CHARGER = 2.0
"""Messages a second: sixty times what a charger that samples every 30 s sends."""
_MEASURED_PREFIX, _WARM_UP_PREFIX = "bench-", "warm-"


class Measured(msgspec.Struct, frozen=True):
    """One server under the closed-loop load; processor seconds by what the processes do."""

    load: LoadReport
    cpu_s: dict[str, float]

    @property
    def messages_per_cpu_second(self) -> float:
        total_s = sum(self.cpu_s.values())
        return self.load.acknowledged / total_s if total_s else 0.0

    @property
    def cpu_us_per_message(self) -> dict[str, float]:
        return {
            role: round(used_s * 1e6 / self.load.acknowledged, 1)
            for role, used_s in self.cpu_s.items()
        }

    @property
    def host_cpu_s(self) -> list[float]:
        """Of each host."""
        return [used_s for role, used_s in self.cpu_s.items() if role.startswith("host")]

    @property
    def messages_per_host_cpu_second(self) -> float:
        """What a host carries with a whole core, on the average of the hosts."""
        total_s = sum(self.host_cpu_s)
        return self.load.acknowledged / total_s if total_s else 0.0


class _NodeMeasured(msgspec.Struct, frozen=True):
    """Everything that is measured of Loadstar itself."""

    pressed: Measured
    moderate: LoadReport
    bytes_per_charger: int
    lost: int


def run(*, chargers: int = 500, seconds: float = 10.0, hosts: int = 1) -> dict[str, Any]:
    """Measure and compare.

    Args:
        chargers: how many stations are connected, 1 to 20,000.
        seconds: how long each of the loads lasts, 0.5 to 3,600.
        hosts: how many hosts the node has, 1 to 8. With several, a node with one is measured too.

    Returns:
        `chargers`; `messages_per_cpu_second` and the `baseline_...` of the plain server; their
        `ratio`; `cpu_us_per_message` by process; `p50_ms` and `p99_ms`, the time to an answer at
        `moderate_messages_per_second`; `messages_per_second`, closed loop by the wall clock;
        `messages`, how many that were; `bytes_per_charger`, what a connected idle charger adds to
        gateway and host; `refused`; `lost`, acknowledged but not in the store; `hosts`;
        `messages_per_host_cpu_second`, of the hosts alone. With several hosts also
        `one_host_messages_per_host_cpu_second`; `busiest_host_share`, the part of all hosts' work
        that the busiest one had; and `projected_speed_up`, what they carry of what one does where
        each has a core and the gateways keep up: the busiest is full first.

    Raises:
        ValueError: an argument out of range.
        Unavailable: a station lost its connection or was left without an answer.
    """
    if not 1 <= chargers <= 20_000 or not 0.5 <= seconds <= 3_600:
        raise ValueError("chargers must be 1 to 20,000 and seconds 0.5 to 3,600")
    if not 1 <= hosts <= 8:
        raise ValueError("hosts must be 1 to 8")
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory:
        return asyncio.run(_run(chargers, seconds, Path(directory), hosts))


async def _run(chargers: int, seconds: float, directory: Path, hosts: int) -> dict[str, Any]:
    baseline = await _measure_baseline(chargers, seconds)
    loadstar = await _measure_node(chargers, seconds, directory, hosts)
    pressed = loadstar.pressed
    result = _figures(chargers, baseline, loadstar) | {
        "hosts": hosts,
        "messages_per_host_cpu_second": round(pressed.messages_per_host_cpu_second),
    }
    if hosts > 1:
        alone = await _measure_node(chargers, seconds, directory / "one-host", 1)
        result |= projected(pressed, alone.pressed)
    return result


def projected(several: Measured, one: Measured) -> dict[str, float]:
    """What several hosts would carry of what one does, from what their messages cost."""
    alone = one.messages_per_host_cpu_second
    share = max(several.host_cpu_s) / sum(several.host_cpu_s)
    return {
        "one_host_messages_per_host_cpu_second": round(alone),
        "busiest_host_share": round(share, 3),
        "projected_speed_up": round(several.messages_per_host_cpu_second / alone / share, 2),
    }


def _figures(chargers: int, baseline: Measured, loadstar: _NodeMeasured) -> dict[str, Any]:
    pressed, moderate = loadstar.pressed, loadstar.moderate
    return {
        "chargers": chargers,
        "messages_per_cpu_second": round(pressed.messages_per_cpu_second),
        "baseline_messages_per_cpu_second": round(baseline.messages_per_cpu_second),
        "cpu_us_per_message": pressed.cpu_us_per_message,
        "ratio": round(pressed.messages_per_cpu_second / baseline.messages_per_cpu_second, 2),
        "p50_ms": moderate.p50_ms,
        "p99_ms": moderate.p99_ms,
        "moderate_messages_per_second": round(moderate.acknowledged / moderate.elapsed_s),
        "messages_per_second": round(pressed.load.acknowledged / pressed.load.elapsed_s),
        "messages": pressed.load.acknowledged,
        "bytes_per_charger": loadstar.bytes_per_charger,
        "refused": pressed.load.refused + moderate.refused,
        "lost": loadstar.lost,
    }


async def _measure_baseline(chargers: int, seconds: float) -> Measured:
    async with ChildProcess("controlplane.bench.baseline") as server, LoadGenerator() as stations:
        port = int(await server.read_line(30.0))
        await stations.connect(port=port, prefix=_MEASURED_PREFIX, count=chargers)
        await stations.start_transactions()
        await stations.send_meter_values(seconds=_WARM_UP_S)
        return await _press(stations, {"server": {server.pid}}, seconds)


async def _measure_node(
    chargers: int, seconds: float, directory: Path, hosts: int
) -> _NodeMeasured:
    settings = Settings(data_dir=directory, ocpp_port=0, grpc_port=0, hosts=hosts)
    node = await start_node(settings, transport="ray")
    try:
        await _warm_up(node)
        await asyncio.sleep(_SETTLE_S)
        before_bytes = pss_bytes(_holders(node))
        await configure_sites(node, _MEASURED_PREFIX, chargers)
        async with LoadGenerator() as stations:
            await stations.connect(port=node.ocpp_port, prefix=_MEASURED_PREFIX, count=chargers)
            await asyncio.sleep(_SETTLE_S)
            idle_bytes = pss_bytes(_holders(node)) - before_bytes
            await stations.start_transactions()
            await asyncio.sleep(_SETTLE_S)
            warm = await stations.send_meter_values(seconds=_WARM_UP_S)
            pressed = await _press(stations, _loadstar(node, besides=stations), seconds)
            moderate = await stations.send_meter_values(
                seconds=seconds, rate=chargers * _MODERATE_RATE_PER_CHARGER
            )
            _refuse_incomplete(moderate)
            await stations.disconnect()
    finally:
        await node.stop()
    acknowledged = warm.acknowledged + pressed.load.acknowledged + moderate.acknowledged
    return _NodeMeasured(
        pressed=pressed,
        moderate=moderate,
        bytes_per_charger=idle_bytes // chargers,
        lost=acknowledged - _stored_samples(settings),
    )


async def _warm_up(node: Node) -> None:
    """Let the node load and compile what it needs once, with chargers that are not measured."""
    await configure_sites(node, _WARM_UP_PREFIX, _WARM_UP_CHARGERS)
    async with LoadGenerator() as stations:
        await stations.connect(port=node.ocpp_port, prefix=_WARM_UP_PREFIX, count=_WARM_UP_CHARGERS)
        await stations.start_transactions()
        await stations.send_meter_values(seconds=_WARM_UP_S)
        await stations.disconnect()


async def _press(
    stations: LoadGenerator, processes: Mapping[str, Collection[int]], seconds: float
) -> Measured:
    before_s = {role: cpu_seconds(pids) for role, pids in processes.items()}
    load = await stations.send_meter_values(seconds=seconds)
    used_s = {role: cpu_seconds(pids) - before_s[role] for role, pids in processes.items()}
    _refuse_incomplete(load)
    return Measured(load=load, cpu_s=used_s)


def _refuse_incomplete(load: LoadReport) -> None:
    if load.unanswered or load.lost_connections or not load.acknowledged:
        raise Unavailable(f"the load was not carried: {load}", reason="LOAD_NOT_CARRIED")


def _loadstar(node: Node, *, besides: LoadGenerator) -> dict[str, set[int]]:
    """Every process of Loadstar by what it does, each host by itself: all that the node names (this
    one, which drives it, among them) and all others below this one; not the generator."""
    processes = {role: set(pids) for role, pids in node.processes().items()}
    if len(processes["host"]) > 1:
        hosts = sorted(processes.pop("host"))
        processes |= {f"host-{number}": {pid} for number, pid in enumerate(hosts, start=1)}
    named = {pid for pids in processes.values() for pid in pids}
    others = (descendants(os.getpid()) | {os.getpid()}) - named - {besides.pid}
    return processes | {"others": others}


def _holders(node: Node) -> set[int]:
    """The processes whose memory grows with chargers: gateways and hosts."""
    processes = node.processes()
    return {pid for role in ("gateway", "host") for pid in processes[role]}


async def configure_sites(node: Node, prefix: str, chargers: int) -> None:
    """Describe `chargers` stations named `prefix` and a number, fifty to a site."""
    for first in range(0, chargers, _CHARGERS_PER_SITE):
        numbers = range(first, min(first + _CHARGERS_PER_SITE, chargers))
        site = _site(f"{prefix}site-{first}", [f"{prefix}{number}" for number in numbers])
        await node.client.ask(
            ActorRef(ActorKind.SITE, site.id),
            ConfigureSite(config=site.model_dump_json().encode()),
            SiteConfigured,
        )


def _site(id: str, charger_ids: list[str]) -> SiteConfig:
    """A car park with room for half of what its vehicles would take, so that rounds have work."""
    per_panel = 10
    panels = range(0, len(charger_ids), per_panel)
    return SiteConfig(
        id=id,
        circuits=(
            CircuitConfig(id="supply", rating_a=16.0 * max(len(charger_ids), 2) / 2),
            *(
                CircuitConfig(id=f"panel-{first}", parent="supply", rating_a=125.0)
                for first in panels
            ),
        ),
        chargers=tuple(
            ChargerConfig(
                id=charger_id,
                circuit=f"panel-{index - index % per_panel}",
                connectors=(ConnectorConfig(id=1, current_max_a=16.0),),
                offline_current_a=6.0,
            )
            for index, charger_id in enumerate(charger_ids)
        ),
    )


def _stored_samples(settings: Settings) -> int:
    """Samples of the measured chargers in the store of a node that has stopped."""
    engine = create_engine(settings.database)
    try:
        with engine.connect() as connection:
            # A register reading alone comes from a StartTransaction; only MeterValues tell power.
            return sum(
                connection.execute(
                    select(func.count()).where(
                        columns.charger_id.startswith(_MEASURED_PREFIX, autoescape=True),
                        columns.power_w.is_not(None),
                    )
                ).scalar_one()
                for columns in (sample_table(day).c for day in sample_days(connection))
            )
    finally:
        engine.dispose()
