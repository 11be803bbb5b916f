"""`loadstar bench grid-event`: a feeder's limit falls by half over thousands of charging stations.

One node, as `loadstar up` runs it, and stations over real WebSockets whose vehicles follow limits
as slowly as vehicles do. Measured is how long it takes until every reduction is acknowledged, until
the meters show it, and until everybody has back what they had once the limit is lifted. All limits
are recorded at the stations, and judged there by a ledger that shares nothing with Loadstar's: no
station may be raised before the room for it was free."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from controlplane.bench.frame_ledger import StationSpec
from controlplane.bench.generator import ChildProcess
from controlplane.bench.grid_stations import GridOrder, GridReport
from controlplane.bench.processes import cpu_seconds
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.feeder.messages import (
    ConfigureFeeder,
    FeederConfigured,
    FeederView,
    GetFeeder,
    SetFeederLimit,
)
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import (
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    FeederConfig,
    Phase,
    SiteConfig,
)
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import ConfigureSite, GetSite, SiteConfigured, SiteView

__all__ = ["GridStations", "run"]

_FEEDER = ActorRef(ActorKind.FEEDER, "bench-feeder")
_VOLTAGE_V = 230
_PER_SITE, _PER_PANEL = 100, 10
_ANSWER_S = 0.1
_RAMP_LEAST_S = 2.0
_POLL_S = 0.1
_PREPARED_TIMEOUT_S = 300.0
_ACKNOWLEDGED_TIMEOUT_S = 60.0
_SPARE = 1.05
"""The feeder carries a little more than the vehicles take, so that these draw all they can."""


class GridStations(ChildProcess):
    """The stations of `grid_stations`, one order at a time."""

    def __init__(self) -> None:
        super().__init__("controlplane.bench.grid_stations")

    async def carry_out(self, order: GridOrder, timeout_s: float = 120.0) -> GridReport:
        """Carry out one order.

        Raises:
            Unavailable: the stations could not, or one of them lost its connection.
        """
        await self.write_line(msgspec.json.encode(order))
        report = msgspec.json.decode(await self.read_line(timeout_s), type=GridReport)
        if report.reason or report.lost_connections:
            lost = f"{report.lost_connections} connections were lost"
            raise Unavailable(f"the stations failed: {report.reason or lost}")
        return report

    async def until(
        self, holds: Callable[[GridReport], bool], timeout_s: float
    ) -> GridReport | None:
        """Ask for reports until one pleases; None where none does in time."""
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s:
            report = await self.carry_out(GridOrder("report"))
            if holds(report):
                return report
            await asyncio.sleep(0.5)
        return None


class _Network(msgspec.Struct, frozen=True):
    """The feeder, its sites, and the stations with the rows that carry them: three of the feeder,
    then three of each circuit."""

    feeder: FeederConfig
    sites: tuple[SiteConfig, ...]
    stations: tuple[StationSpec, ...]
    rows_ma: tuple[int, ...]
    full_ma: int
    """What all vehicles together take, on the worst phase."""


def run(
    *, chargers: int = 2_000, ramp_s: float = 28.0, sample_interval_s: float = 4.0
) -> dict[str, Any]:
    """Drop the limit, measure, lift it, measure.

    Args:
        chargers: how many stations charge, 10 to 20,000.
        ramp_s: how long the slowest vehicle takes to follow a limit; the fastest takes 2 s (or
            `ramp_s` where that is less), the others lie evenly between.
        sample_interval_s: how often stations are told to send MeterValues.

    Returns:
        The keys that docs/benchmarks.md explains.

    Raises:
        ValueError: an argument out of range.
        Unavailable: stations lost their connections, or did not come to charge.
    """
    if not 10 <= chargers <= 20_000:
        raise ValueError("chargers must be 10 to 20,000")
    if not 0 <= ramp_s <= 30 or not 1 <= sample_interval_s <= 300:
        raise ValueError("ramp_s must be 0 to 30 and sample_interval_s 1 to 300")
    network = _network(chargers, ramp_s)
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory:
        settings = Settings(
            data_dir=Path(directory),
            ocpp_port=0,
            grpc_port=0,
            meter_interval_s=sample_interval_s,
        )
        figures = asyncio.run(_measure(network, settings, ramp_s))
    return {
        "chargers": chargers,
        "sites": len(network.sites),
        "ramp_s": ramp_s,
        "sample_interval_s": sample_interval_s,
        **figures,
    }


async def _measure(network: _Network, settings: Settings, ramp_s: float) -> dict[str, Any]:
    node = await start_node(settings, transport="ray")
    try:
        await _describe(node, network)
        async with GridStations() as stations:
            await _charge(node, network, stations, ramp_s)
            figures = await _drop(node, network, stations, ramp_s)
            figures |= await _lift(node, network, stations)
            judged = await stations.carry_out(GridOrder("judge"))
            await stations.carry_out(GridOrder("quit"))
        own = [
            await node.client.ask(ActorRef(ActorKind.SITE, site.id), GetSite(), SiteView)
            for site in network.sites
        ]
    finally:
        await node.stop()
    return figures | {
        "raises_judged": judged.raises,
        "first_violations": list(judged.words),
        "violations": judged.violations + sum(view.violations for view in own),
    }


async def _describe(node: Node, network: _Network) -> None:
    feeder = network.feeder.model_dump_json().encode()
    await node.client.ask(_FEEDER, ConfigureFeeder(feeder), FeederConfigured)
    for site in network.sites:
        await node.client.ask(
            ActorRef(ActorKind.SITE, site.id),
            ConfigureSite(site.model_dump_json().encode()),
            SiteConfigured,
        )


async def _charge(node: Node, network: _Network, stations: GridStations, ramp_s: float) -> None:
    """Bring every vehicle to charge at all it can take, and Loadstar's meters to see it."""
    await stations.carry_out(
        GridOrder(
            "connect",
            port=node.ocpp_port,
            stations=network.stations,
            rows_ma=network.rows_ma,
        ),
        _PREPARED_TIMEOUT_S,
    )
    every = len(network.stations)
    if not await stations.until(lambda report: report.settled == every, _PREPARED_TIMEOUT_S):
        raise Unavailable("not every station was told its default profile")
    await stations.carry_out(GridOrder("start"), _PREPARED_TIMEOUT_S)
    await stations.carry_out(GridOrder("watch", limit_ma=network.feeder.current_max_ma))
    full_ma = network.full_ma
    charging = await stations.until(
        lambda report: report.held_ma >= full_ma and report.drawn_ma >= full_ma,
        _PREPARED_TIMEOUT_S + ramp_s,
    )
    if charging is None:
        raise Unavailable("the vehicles did not come to charge at their limits")
    seen_s = time.monotonic()
    while _measured_ma(await _feeder(node)) < full_ma * 99 // 100:
        if time.monotonic() - seen_s > _PREPARED_TIMEOUT_S:
            raise Unavailable("Loadstar's meters do not show what the vehicles draw")
        await asyncio.sleep(_POLL_S)


async def _drop(
    node: Node, network: _Network, stations: GridStations, ramp_s: float
) -> dict[str, Any]:
    """Halve the limit."""
    limit_w = network.full_ma // 2 * 3 * _VOLTAGE_V // 1_000
    limit_ma = limit_w * 1_000 // (3 * _VOLTAGE_V)
    await stations.carry_out(GridOrder("watch", limit_ma=limit_ma))
    processes = node.processes()
    before_s = {role: cpu_seconds(pids) for role, pids in processes.items()}
    begun_s = time.monotonic()
    await node.client.ask(_FEEDER, SetFeederLimit(limit_w), FeederView)
    answered_s = time.monotonic()
    measuring = asyncio.create_task(_measured_within(node, limit_ma, begun_s))
    held = await stations.until(
        lambda report: report.held_within_s is not None, _ACKNOWLEDGED_TIMEOUT_S
    )
    used_s = {role: cpu_seconds(pids) - before_s[role] for role, pids in processes.items()}
    measured_s = await measuring
    report = await stations.carry_out(GridOrder("report"))
    if held is None or report.held_within_s is None or report.ramp_end_s is None:
        raise Unavailable("the reductions were not acknowledged")
    first = [at_s for at_s in held.reductions_s if at_s <= report.held_within_s]
    return {
        "limit_before_w": network.feeder.power_max_w,
        "drawn_before_w": network.full_ma * 3 * _VOLTAGE_V // 1_000,
        "limit_w": limit_w,
        "request_ms": _ms(answered_s - begun_s),
        "reductions": len(first),
        "acknowledged_p50_ms": _ms(_quantile(first, 0.5) - begun_s),
        "acknowledged_ms": _ms(report.held_within_s - begun_s),
        "later_reductions": len(report.reductions_s) - len(first),
        "station_answer_ms": _ms(_ANSWER_S),
        "ramp_end_s": round(report.ramp_end_s - begun_s, 3),
        "drawn_within_s": _since(report.drawn_within_s, begun_s),
        "measured_within_s": _since(measured_s, begun_s),
        "measured_after_ramp_s": _since(measured_s, report.ramp_end_s),
        "cpu_s": {role: round(seconds, 2) for role, seconds in used_s.items()},
    }


async def _lift(node: Node, network: _Network, stations: GridStations) -> dict[str, Any]:
    """Lift the limit."""
    await stations.carry_out(GridOrder("watch", limit_ma=network.feeder.current_max_ma))
    begun_s = time.monotonic()
    await node.client.ask(_FEEDER, SetFeederLimit(None), FeederView)
    full = await stations.until(
        lambda report: report.held_ma >= network.full_ma, _PREPARED_TIMEOUT_S
    )
    raises = [] if full is None else full.raises_s
    return {
        "raises": len(raises),
        "recovery_p50_ms": _ms(_quantile(raises, 0.5) - begun_s) if raises else None,
        "recovery_ms": _ms(raises[-1] - begun_s) if raises else None,
    }


async def _measured_within(node: Node, limit_ma: int, begun_s: float) -> float | None:
    """When the sum of what sites report as measured first lay within the limit; None if never."""
    while time.monotonic() < begun_s + _PREPARED_TIMEOUT_S:
        view = await _feeder(node)
        if _measured_ma(view) <= limit_ma:
            return time.monotonic()
        await asyncio.sleep(_POLL_S)
    return None


async def _feeder(node: Node) -> FeederView:
    return await node.client.ask(_FEEDER, GetFeeder(), FeederView)


def _measured_ma(view: FeederView) -> int:
    return sum(share.measured_ma for share in view.sites)


def _network(chargers: int, ramp_s: float) -> _Network:
    """Sites of a hundred stations under one feeder. Of ten on a panel, four draw 16 A on three
    phases and six 32 A on one, two on each line. Panels and supplies have room for all."""
    rows_ma = [0, 0, 0]
    sites: list[SiteConfig] = []
    stations: list[StationSpec] = []
    per_site = min(_PER_SITE, max(_PER_PANEL, chargers // 4))
    for first in range(0, chargers, per_site):
        numbers = range(first, min(first + per_site, chargers))
        site = _site(len(sites), numbers)
        supply_row = len(rows_ma)
        rows_ma += [circuit.rating_ma for circuit in site.circuits for _ in range(3)]
        for number, charger in zip(numbers, site.chargers, strict=True):
            connector = charger.connectors[0]
            columns = [phase.column for phase in connector.phases]
            panel_row = supply_row + 3 * (1 + (number - first) // _PER_PANEL)
            least_s = min(_RAMP_LEAST_S, ramp_s)
            stations.append(
                StationSpec(
                    id=charger.id,
                    max_ma=connector.current_max_ma,
                    phases=len(columns),
                    rows=tuple(row + at for row in (0, supply_row, panel_row) for at in columns),
                    ramp_s=least_s + (ramp_s - least_s) * number / max(1, chargers - 1),
                    answer_s=_ANSWER_S,
                )
            )
        sites.append(site)
    full_ma = max(sum(spec.max_ma for spec in stations if row in spec.rows) for row in range(3))
    power_w = int(full_ma * _SPARE) * 3 * _VOLTAGE_V // 1_000
    feeder = FeederConfig(id=_FEEDER.id, power_max_w=power_w, voltage_v=_VOLTAGE_V)
    rows_ma[:3] = [feeder.current_max_ma] * 3
    return _Network(feeder, tuple(sites), tuple(stations), tuple(rows_ma), full_ma)


def _site(index: int, numbers: range) -> SiteConfig:
    panels = range(0, len(numbers), _PER_PANEL)
    return SiteConfig(
        id=f"bench-site-{index}",
        feeder=_FEEDER.id,
        voltage_v=_VOLTAGE_V,
        circuits=(
            CircuitConfig(id="supply", rating_a=160.0 * len(panels)),
            *(CircuitConfig(id=f"panel-{at}", parent="supply", rating_a=160.0) for at in panels),
        ),
        chargers=tuple(
            ChargerConfig(
                id=f"bench-{number}",
                circuit=f"panel-{place - place % _PER_PANEL}",
                offline_current_a=6.0,
                connectors=(_connector(place % _PER_PANEL),),
            )
            for place, number in enumerate(numbers)
        ),
    )


def _connector(place: int) -> ConnectorConfig:
    if place < 4:
        return ConnectorConfig(id=1, current_max_a=16.0)
    return ConnectorConfig(id=1, current_max_a=32.0, phases=(tuple(Phase)[place % 3],))


def _quantile(instants_s: Sequence[float], quantile: float) -> float:
    ordered = sorted(instants_s)
    return ordered[min(len(ordered) - 1, int(len(ordered) * quantile))]


def _since(at_s: float | None, begun_s: float) -> float | None:
    return None if at_s is None else round(at_s - begun_s, 3)


def _ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)
