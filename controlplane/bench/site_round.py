"""`loadstar bench site-round`: from what happens at a site to the limits on the wire.

One node, as `loadstar up` runs it, and one site with a hundred connectors in panels of four. What
is timed begins with a frame that leaves a station (StartTransaction, StopTransaction), or with a
report of the building's load, and ends when the last of the limits that follow has reached its
station: gateway, host, the site's round, the commit, and all the way back. Events come at instants
that have nothing to do with the site's own rhythm, so that waiting for a round is part of it."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from controlplane.bench.frame_ledger import StationSpec
from controlplane.bench.grid_event import GridStations
from controlplane.bench.grid_stations import GridOrder, GridReport
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.ids import ActorKind, ActorRef
from controlplane.network import (
    BuildingLoadConfig,
    ChargerConfig,
    CircuitConfig,
    ConnectorConfig,
    SiteConfig,
)
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import (
    ConfigureSite,
    GetSite,
    LoadTaken,
    ReportBuildingLoad,
    SiteConfigured,
    SiteView,
)

__all__ = ["run"]

_SITE = ActorRef(ActorKind.SITE, "bench-site")
_PER_PANEL = 4
_PANEL_A, _SHARE_MA = 48.0, 14_000
"""Three vehicles get 14 A each, because 6 A are kept for who may come; four get 12 A. Shares that
are whole steps leave no odd steps that wander from one to the other."""
_PAUSE_S = 0.1
_RAISES_SPACED_S = 6.0
"""A vehicle that was raised a little is not raised again before this."""
_SYNCS = 100
_STEPS, _STEP_MA = 9, 800
_SPARE_MA = 4_000
_PREPARED_TIMEOUT_S = 180.0


def run(*, connectors: int = 100, events: int = 300) -> dict[str, Any]:
    """Measure.

    Args:
        connectors: size of the site, a multiple of 4 from 40 to 1,000.
        events: how many vehicles arrive, and as many leave, 1 to 10,000; a sixth as many times the
            building's load rises.

    Returns:
        The keys that docs/benchmarks.md explains.

    Raises:
        ValueError: an argument out of range.
        Unavailable: stations lost their connections, or did not come to charge.
    """
    if connectors % _PER_PANEL or not 40 <= connectors <= 1_000:
        raise ValueError("connectors must be a multiple of 4 from 40 to 1,000")
    if not 1 <= events <= 10_000:
        raise ValueError("events must be 1 to 10,000")
    with tempfile.TemporaryDirectory(prefix="loadstar-bench-") as directory:
        settings = Settings(data_dir=Path(directory), ocpp_port=0, grpc_port=0)
        figures = asyncio.run(_measure(connectors, events, settings))
        syncs_s = _sync_seconds(Path(directory) / "probe")
    return figures | {
        "sync_p50_ms": _quantile_ms(syncs_s, 0.5),
        "sync_p99_ms": _quantile_ms(syncs_s, 0.99),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _sync_seconds(path: Path) -> list[float]:
    """How long the disk takes to make a page durable, which no limit can do without; sorted."""
    took_s: list[float] = []
    with path.open("wb") as file:
        for _ in range(_SYNCS):
            file.write(bytes(4_096))
            file.flush()
            begun_s = time.monotonic()
            os.fdatasync(file.fileno())
            took_s.append(time.monotonic() - begun_s)
    return sorted(took_s)


async def _measure(connectors: int, events: int, settings: Settings) -> dict[str, Any]:
    node = await start_node(settings, transport="ray")
    try:
        await node.client.ask(
            _SITE, ConfigureSite(_site(connectors).model_dump_json().encode()), SiteConfigured
        )
        async with GridStations() as stations:
            resident = await _charge(node, connectors, stations)
            arrivals, departures = await _exchanges(connectors, events, stations)
            rises = await _building(node, events // 6, resident, stations)
            judged = await stations.carry_out(GridOrder("judge"))
            await stations.carry_out(GridOrder("quit"))
        view = await node.client.ask(_SITE, GetSite(), SiteView)
    finally:
        await node.stop()
    neighbours = _PER_PANEL - 1
    return {
        "connectors": connectors,
        **_figures("arrival", arrivals, neighbours),
        **_figures("departure", departures, neighbours),
        **_figures("building", rises, len(resident)),
        "raises_judged": judged.raises,
        "first_violations": list(judged.words),
        "violations": judged.violations + view.violations,
    }


async def _charge(node: Node, connectors: int, stations: GridStations) -> list[int]:
    """Three vehicles charge on every panel; their places."""
    rows_ma = tuple(circuit.rating_ma for circuit in _site(connectors).circuits for _ in range(3))
    specs = tuple(
        StationSpec(
            id=f"bench-{place}",
            max_ma=16_000,
            phases=3,
            rows=(0, 1, 2, *range(3 + place // _PER_PANEL * 3, 6 + place // _PER_PANEL * 3)),
            samples_changes=True,
        )
        for place in range(connectors)
    )
    await stations.carry_out(
        GridOrder("connect", port=node.ocpp_port, stations=specs, rows_ma=rows_ma),
        _PREPARED_TIMEOUT_S,
    )
    every = len(specs)
    if not await stations.until(lambda report: report.settled == every, _PREPARED_TIMEOUT_S):
        raise Unavailable("not every station was told its default profile")
    resident = [place for place in range(connectors) if place % _PER_PANEL]
    await stations.carry_out(GridOrder("start", places=tuple(resident)), _PREPARED_TIMEOUT_S)
    await stations.carry_out(GridOrder("watch", limit_ma=rows_ma[0]))
    await _charging(len(resident), stations)
    await asyncio.sleep(_RAISES_SPACED_S)
    return resident


async def _exchanges(
    connectors: int, events: int, stations: GridStations
) -> tuple[list[GridReport], list[GridReport]]:
    """A fourth vehicle comes to one panel after the other, and leaves it half a tour later."""
    panels = connectors // _PER_PANEL
    arrivals: list[GridReport] = []
    departures: list[GridReport] = []
    stay = panels // 2
    begun_s = time.monotonic()
    for turn in range(events + stay):
        if turn < events:
            arrivals.append(await _exchange("arrive", turn % panels, turn, stations))
        if turn >= stay:
            departures.append(await _exchange("leave", (turn - stay) % panels, turn, stations))
        if (turn + 1) % panels == 0:
            # No panel is visited again before its raises may follow each other.
            await asyncio.sleep(max(0.0, begun_s + _RAISES_SPACED_S * 2 - time.monotonic()))
            begun_s = time.monotonic()
    return arrivals, departures


async def _exchange(what: Any, panel: int, turn: int, stations: GridStations) -> GridReport:
    # At any phase of the site's rounds: multiples of the golden ratio never fall into step.
    await asyncio.sleep(_PAUSE_S + (turn * 0.618034) % 1.0 * _PAUSE_S)
    first = panel * _PER_PANEL
    return await stations.carry_out(GridOrder(what, places=tuple(range(first, first + _PER_PANEL))))


async def _building(
    node: Node, events: int, resident: list[int], stations: GridStations
) -> list[GridReport]:
    """The building's load rises in steps that each take something from everybody, then falls."""
    reports: list[GridReport] = []
    # Up to here the building leaves every vehicle what its panel gives it.
    spare_ma = _SPARE_MA * len(resident)
    while len(reports) < events:
        for step in range(1, _STEPS + 1):
            await asyncio.sleep(_PAUSE_S + (step * 0.618034) % 1.0 * _PAUSE_S)
            await stations.carry_out(GridOrder("expect", places=tuple(resident)))
            event_s = time.monotonic()
            await _report_load(node, spare_ma + step * _STEP_MA * len(resident))
            report = await stations.carry_out(GridOrder("expected"))
            reports.append(GridReport(event_s=event_s, limits_s=report.limits_s))
        await _report_load(node, 0)
        await _charging(len(resident), stations)
        await asyncio.sleep(_RAISES_SPACED_S)
    return reports


async def _charging(vehicles: int, stations: GridStations) -> None:
    """Wait until every vehicle draws its share; chargers whose raises were taken back by the
    building again and again are not raised at once."""
    whole_ma = vehicles * _SHARE_MA
    charging = await stations.until(lambda report: report.drawn_ma >= whole_ma, _PREPARED_TIMEOUT_S)
    if charging is None:
        raise Unavailable("the vehicles did not come to charge")


async def _report_load(node: Node, load_ma: int) -> None:
    load = (load_ma, load_ma, load_ma)
    request = ReportBuildingLoad(node.clock.now_ms(), load, view=False)
    await node.client.ask(_SITE, request, LoadTaken)


def _site(connectors: int) -> SiteConfig:
    """A supply that binds only when the building takes its share, panels that always do."""
    panels = connectors // _PER_PANEL
    resident = panels * (_PER_PANEL - 1)
    return SiteConfig(
        id=_SITE.id,
        margin_percent=0,
        circuits=(
            # What the panels carry, and what the building may take without touching that.
            CircuitConfig(id="supply", rating_a=panels * _PANEL_A + resident * _SPARE_MA / 1_000),
            *(
                CircuitConfig(id=f"panel-{at}", parent="supply", rating_a=_PANEL_A)
                for at in range(panels)
            ),
        ),
        building_load=BuildingLoadConfig(circuit="supply", assumed_a=0, stale_after_s=3_600),
        chargers=tuple(
            ChargerConfig(
                id=f"bench-{place}",
                circuit=f"panel-{place // _PER_PANEL}",
                offline_current_a=6.0,
                connectors=(ConnectorConfig(id=1, current_max_a=16.0),),
            )
            for place in range(connectors)
        ),
    )


def _figures(name: str, reports: Sequence[GridReport], frames: int) -> dict[str, Any]:
    """How long it took until the last of the `frames` limits of an event."""
    whole = [report for report in reports if len(report.limits_s) == frames]
    took_s = sorted(max(report.limits_s) - (report.event_s or 0.0) for report in whole)
    return {
        f"{name}_events": len(reports),
        f"{name}_frames": frames,
        f"{name}_p50_ms": _quantile_ms(took_s, 0.5),
        f"{name}_p99_ms": _quantile_ms(took_s, 0.99),
        f"{name}_max_ms": _quantile_ms(took_s, 1.0),
        f"{name}_incomplete": len(reports) - len(whole),
    }


def _quantile_ms(took_s: Sequence[float], quantile: float) -> float | None:
    if not took_s:
        return None
    return round(took_s[min(len(took_s) - 1, int(len(took_s) * quantile))] * 1_000, 2)
