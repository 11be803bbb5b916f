"""The demonstration as seen in a terminal.

Pure: a scene in, something that rich can print out; nothing here asks for the time or touches a
process. Shows physics (what flows) rather than Loadstar's opinion of it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controlplane.demo.audit import Audit, Load
from controlplane.demo.reports import OutletReport, SiteReport
from controlplane.demo.scenario import TIME_ZONE, Scenario, Visit
from controlplane.demo.summary import Summary
from controlplane.network import CurrentType, SiteConfig
from controlplane.sim.vehicle import VehicleState

__all__ = ["Scene", "line", "picture", "render", "render_summary"]

LINES = ("L1", "L2", "L3")
NARROW = 90
_STYLES = {
    VehicleState.CHARGING: "green",
    VehicleState.WAITING: "yellow",
    VehicleState.ASLEEP: "magenta",
    VehicleState.FULL: "cyan",
}


@dataclass
class Scene:
    """What there is to see at one instant."""

    scenario: Scenario
    audit: Audit
    now_ms: int = 0
    reports: dict[str, SiteReport] = field(default_factory=dict)
    host_kills: int = 0
    note: str = ""

    @property
    def messages(self) -> int:
        return sum(
            report.messages_sent + report.messages_received for report in self.reports.values()
        )

    @property
    def progress(self) -> float:
        """How much of the day has passed, 0 to 1."""
        day_ms = self.scenario.end_ms - self.scenario.start_ms
        return min(1.0, max(0.0, (self.now_ms - self.scenario.start_ms) / day_ms))


def clock_text(instant_ms: int) -> str:
    """The time of day at the sites."""
    return datetime.fromtimestamp(instant_ms / 1_000, tz=ZoneInfo(TIME_ZONE)).strftime("%H:%M")


def render(scene: Scene, *, width: int, height: int) -> RenderableType:
    """The whole picture, as much of it as fits."""
    parts: list[RenderableType] = [_header(scene, width)]
    sites = scene.scenario.network.sites
    full_height = 3 + sum(7 + len(site.chargers) for site in sites)
    for site in sites:
        report = scene.reports.get(site.id)
        body: list[RenderableType] = [_rows(scene, site, width - 4)]
        if report is not None and height >= full_height:
            body.append(_vehicles(scene, site, report, width))
        elif report is not None:
            body.append(Text(_counts(report), style="dim"))
        building_w = scene.scenario.buildings[site.id].power_w(scene.now_ms)
        title = f"[bold]{site.name or site.id}[/]  [blue]building {building_w / 1e3:.0f} kW[/]"
        parts.append(Panel(Group(*body), title=title, title_align="left", border_style="blue"))
    return Group(*parts)


def _header(scene: Scene, width: int) -> RenderableType:
    violations = scene.audit.overloads
    text = Text(no_wrap=True, overflow="crop")
    text.append(" Loadstar ", style="bold black on bright_yellow")
    text.append(f"  12 June  {clock_text(scene.now_ms)}", style="bold")
    text.append(f"  {scene.scenario.speed:.0f}x  ", style="dim")
    text.append_text(bar([(scene.progress, "bright_yellow")], max(8, width // 10)))
    for label, value, style in (
        ("messages", f"{scene.messages:,}", "cyan"),
        ("peak row", f"{scene.audit.max_row_utilisation:.0%}", "cyan"),
        ("violations", str(violations), "red" if violations else "green"),
    ):
        text.append(f"  {label} ", style="dim")
        text.append(value, style=f"bold {style}")
    feeders = Text(no_wrap=True, overflow="crop")
    for feeder in scene.scenario.network.feeders:
        power_w = scene.audit.feeder_power_w()
        feeders.append(f" {feeder.name or feeder.id}  ", style="bold")
        share = power_w / feeder.power_max_w
        feeders.append_text(bar([(share, _heat(share))], max(8, width // 3)))
        feeders.append(f" {power_w / 1e3:.0f} of {feeder.power_max_w / 1e3:.0f} kW  ")
    if scene.host_kills:
        feeders.append(f"  hosts killed {scene.host_kills}", style="bold magenta")
    feeders.append(f"  {scene.note}", style="yellow")
    return Group(text, feeders)


def bar(parts: Iterable[tuple[float, str]], width: int, *, mark: float | None = None) -> Text:
    """A bar of `width` cells with parts (share of the whole, style) one after the other, and a
    mark at a share."""
    cells: list[tuple[str, str]] = []
    reached = 0.0
    for share, style in parts:
        reached += max(0.0, share)
        cells += [("█", style)] * (min(width, round(reached * width)) - len(cells))
    cells += [("─", "bright_black")] * (width - len(cells))
    if mark is not None:
        place = min(width - 1, max(0, int(mark * width)))
        cells[place] = (
            "│",
            f"bold white on {cells[place][1]}" if cells[place][0] == "█" else "white",
        )
    text = Text()
    for (cell, style), run in groupby(cells):
        text.append(cell * len(list(run)), style=style)
    return text


def _heat(share: float) -> str:
    if share > 1.0:
        return "red"
    return "yellow" if share > 0.93 else "green"


def _rows(scene: Scene, site: SiteConfig, width: int) -> RenderableType:
    """Each line of the site's supply and of its other circuits against their ratings."""
    loads = scene.audit.loads.get(site.id, [])
    shown = loads[:1] + loads[1 : 2 if width < NARROW else 3]
    table = Table(box=None, padding=(0, 1), show_header=True, header_style="dim")
    table.add_column("")
    cell_width = max(8, (width - 6) // max(1, len(shown)) - 16)
    for load in shown:
        table.add_column(f"{load.circuit_id}, {load.rating_a:g} A a line", no_wrap=True)
    for number, name in enumerate(LINES):
        table.add_row(name, *(_load_cell(load, number, cell_width) for load in shown))
    return table


def _load_cell(load: Load, number: int, width: int) -> Text:
    total_a, building_a = load.lines_a[number], load.building_a[number]
    share = total_a / load.rating_a
    parts = [
        (building_a / load.rating_a, "blue"),
        ((total_a - building_a) / load.rating_a, _heat(share)),
    ]
    text = bar(parts, width)
    text.append(f" {total_a:5.1f} A {share:4.0%}", style="bold" if share > 0.93 else "")
    return text


def _vehicles(scene: Scene, site: SiteConfig, report: SiteReport, width: int) -> RenderableType:
    delivered_wh = {session.id_token: session.delivered_wh for session in report.sessions}
    visits = {visit.id_token: visit for visit in scene.scenario.visits}
    chargers = {charger.id: charger for charger in site.chargers}
    wide = width >= NARROW
    table = Table(box=None, padding=(0, 1), header_style="dim", expand=False)
    table.add_column("charger", no_wrap=True)
    if wide:
        table.add_column("kind", no_wrap=True)
    table.add_column("draws / may", justify="right", no_wrap=True)
    table.add_column("vehicle", no_wrap=True)
    table.add_column("energy, │ time gone", no_wrap=True)
    table.add_column("kWh, asked", justify="right", no_wrap=True)
    table.add_column("leaves", no_wrap=True)
    bar_width = max(8, width - (82 if wide else 68))
    for outlet in report.outlets:
        charger = chargers[outlet.charger_id]
        connector = charger.connector(outlet.connector_id)
        direct_current = charger.current_type is CurrentType.DC
        phases = "".join(p.value[1] for p in connector.phases) if connector else ""
        version = scene.scenario.version_of[charger.id]
        kind = f"{'DC' if direct_current else 'AC'} L{phases:<3} {version}"
        visit = visits.get(outlet.id_token)
        table.add_row(
            Text(outlet.charger_id, style="" if outlet.online else "red"),
            *((Text(kind, style="dim"),) if wide else ()),
            *_vehicle_cells(scene, outlet, visit, delivered_wh.get(outlet.id_token, 0), bar_width),
        )
    return table


def _vehicle_cells(
    scene: Scene, outlet: OutletReport, visit: Visit | None, delivered_wh: int, width: int
) -> Sequence[Text]:
    if visit is None:
        return Text("free", style="bright_black"), Text(""), Text(""), Text(""), Text("")
    style = _STYLES[VehicleState(outlet.vehicle_state)]
    draws_a = max(outlet.lines_a)
    met = visit.satisfied_by(delivered_wh)
    stay_ms = max(1, visit.departure_ms - visit.arrival_ms)
    gone = (scene.now_ms - visit.arrival_ms) / stay_ms
    share = min(1.0, delivered_wh / max(1, visit.requested_wh))
    energy_style = "green" if met or share >= gone else "yellow"
    return (
        Text(f"{draws_a:5.1f} / {outlet.offered_a:4.1f} A"),
        Text(outlet.vehicle_state, style=style),
        bar([(share, energy_style)], width, mark=min(1.0, max(0.0, gone))),
        Text(f"{delivered_wh / 1e3:5.1f} {visit.requested_wh / 1e3:5.1f}"),
        Text(
            f"{clock_text(visit.departure_ms)} {'✓' if met else ' '}", style="green" if met else ""
        ),
    )


def _counts(report: SiteReport) -> str:
    plugged = [outlet for outlet in report.outlets if outlet.id_token]
    charging = sum(outlet.vehicle_state == VehicleState.CHARGING for outlet in plugged)
    return f"{len(plugged)} of {len(report.outlets)} connectors taken, {charging} charging"


def picture(scene: Scene, *, width: int, height: int) -> str:
    """The scene as an SVG that fetches nothing from anywhere: without the web fonts that rich would
    name."""
    canvas = Console(record=True, width=width, height=height, file=io.StringIO())
    canvas.print(render(scene, width=width, height=height))
    drawn = canvas.export_svg(title="loadstar demo")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)


def line(scene: Scene) -> str:
    """The scene in one line, for logs and pipes."""
    sites = []
    for site in scene.scenario.network.sites:
        report = scene.reports.get(site.id)
        if report is not None:
            worst = max(
                (
                    current_a / load.rating_a
                    for load in scene.audit.loads[site.id]
                    for current_a in load.lines_a
                ),
                default=0.0,
            )
            sites.append(f"{site.id}: {_counts(report)}, fullest conductor {worst:.0%}")
    if not sites:
        return scene.note or "starting"
    return (
        f"{clock_text(scene.now_ms)}  {'; '.join(sites)}; "
        f"{scene.messages} messages, {scene.audit.overloads} violations {scene.note}"
    ).rstrip()


def render_summary(summary: Summary) -> RenderableType:
    """The end of the day as a table."""
    table = Table(title="A day at two sites", box=box.SIMPLE, show_header=False, title_style="bold")
    table.add_column(style="dim")
    table.add_column(justify="right")
    missed = f" ({', '.join(summary.missed)} missed)" if summary.missed else ""
    good, bad = "bold green", "bold red"
    for name, value, style in (
        ("sessions", str(summary.sessions), ""),
        ("energy delivered", f"{summary.delivered_wh / 1e3:,.1f} kWh", ""),
        ("energy asked for", f"{summary.requested_wh / 1e3:,.1f} kWh", ""),
        (
            "ready when they left",
            f"{summary.deadlines_met} of {summary.deadlines_total}{missed}",
            good if summary.deadlines_met == summary.deadlines_total else "yellow",
        ),
        ("fullest conductor", f"{summary.max_row_utilisation:.1%} at {summary.worst_row}", ""),
        ("energy not accounted for", f"{summary.unaccounted_wh} Wh", ""),
        ("OCPP messages", f"{summary.messages:,}", ""),
        ("hosts killed", str(summary.host_kills), ""),
        ("first power after", f"{summary.first_power_s:.1f} s", ""),
        ("violations", str(summary.violations), bad if summary.violations else good),
    ):
        table.add_row(name, Text(value, style=style))
    parts: list[RenderableType] = [table]
    parts.extend(Text(fault, style="red") for fault in summary.faults[:10])
    return Group(*parts)
