"""The day as a picture: what was charged, the row that would have been overloaded most, and who was
ready. Plain SVG that follows the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from controlplane.sim.day.outcome import Outcome, plugged_in
from controlplane.sim.day.scenario import VOLTAGE_V
from controlplane.sim.day.tariff import SLOT_H, SLOTS

if TYPE_CHECKING:
    from controlplane.sim.day.run import LivedFeeder

__all__ = ["draw"]

Floats = NDArray[np.float64]

_WIDTH = 960
_LEFT, _RIGHT = 74, 24
_PANEL_HEIGHT, _PANEL_GAP, _TOP, _BOTTOM = 210, 74, 96, 48
_TICKS_H = range(0, 25, 3)

_STYLE = """
svg { color-scheme: light dark; font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
.paper { fill: #ffffff } text { fill: #1f2328; font-size: 13px }
.title { font-size: 17px; font-weight: 600 } .note { fill: #57606a }
.grid { stroke: #d8dee4; stroke-width: 1 } .axis { stroke: #57606a; stroke-width: 1 }
.line { fill: none; stroke-width: 2; stroke-linejoin: round }
.uncontrolled { stroke: #c4501b } .loadstar { stroke: #0b5fc1; stroke-width: 3 }
.optimum { stroke: #1a7f4b; stroke-dasharray: 7 4 }
.planned { stroke: #8250df; stroke-width: 3 }
.limit { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 2 3 }
.plugged { stroke: #6e7781; stroke-width: 1.5 }
.building { fill: #6e7781; fill-opacity: 0.22; stroke: none }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117 } text { fill: #e6edf3 } .note { fill: #9da7b3 }
.grid { stroke: #30363d } .axis { stroke: #9da7b3 }
.uncontrolled { stroke: #f0883e } .loadstar { stroke: #58a6ff } .optimum { stroke: #3fb950 }
.planned { stroke: #bc8cff }
.limit { stroke: #e6edf3 } .plugged { stroke: #8b949e } .building { fill: #8b949e }
}
"""


@dataclass(frozen=True)
class _Series:
    """One value per quarter hour; `kind` names its style."""

    label: str
    kind: str
    values: Floats


@dataclass(frozen=True)
class _Panel:
    title: str
    unit: str
    series: Sequence[_Series]


def draw(lived: Sequence[LivedFeeder], *, title: str) -> str:
    """The picture of a day as an SVG document."""
    panels = [_charging(lived), _worst_row(lived), _vehicles(lived)]
    height = _TOP + len(panels) * (_PANEL_HEIGHT + _PANEL_GAP) - _PANEL_GAP + _BOTTOM
    body = [
        f'<text class="title" x="{_LEFT}" y="30">{escape(title)}</text>',
        *_legend([series for panel in panels for series in panel.series]),
    ]
    for number, panel in enumerate(panels):
        body += _panel(panel, _TOP + number * (_PANEL_HEIGHT + _PANEL_GAP))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{_STYLE}</style>\n'
        f'<rect class="paper" width="{_WIDTH}" height="{height}"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


# --- what is shown --------------------------------------------------------------------------------


def _ways(lived: Sequence[LivedFeeder]) -> list[tuple[str, str, list[Outcome]]]:
    found = [
        ("uncontrolled", "uncontrolled", [each.uncontrolled for each in lived]),
        ("Loadstar", "loadstar", [each.loadstar for each in lived]),
    ]
    plans = [each.planned for each in lived if each.planned is not None]
    if len(plans) == len(lived):
        found.append(("Loadstar with a plan", "planned", plans))
    optima = [each.optimum.outcome for each in lived if each.optimum is not None]
    if len(optima) == len(lived):
        found.append(("optimum, knowing the day", "optimum", optima))
    return found


def _charging(lived: Sequence[LivedFeeder]) -> _Panel:
    series = [
        _Series(label, kind, _sum([each.slot_wh.sum(axis=0) for each in outcomes]) / SLOT_H / 1e6)
        for label, kind, outcomes in _ways(lived)
    ]
    limit_mw = _sum([_room_w(each) for each in lived]) / 1e6
    return _Panel(
        "Charging power of the whole network, mean of each quarter hour",
        "MW",
        [*series, _Series("limit", "limit", limit_mw)],
    )


def _room_w(lived: LivedFeeder) -> Floats:
    """What feeder and supplies leave for charging beside the buildings, over all phases."""
    building_a = _buildings_a(lived)
    room_a = np.maximum(0, lived.rows.rating_a[:, None] - building_a)
    supplies = [nodes.start * 3 for nodes in lived.rows.site_nodes]
    below_a = _sum([room_a[row : row + 3] for row in supplies])
    return np.asarray(np.minimum(room_a[:3], below_a).sum(axis=0) * VOLTAGE_V)


def _buildings_a(lived: LivedFeeder) -> Floats:
    start_ms = lived.feeder.start_ms
    middles_ms = [start_ms + round((slot + 0.5) * SLOT_H * 3_600_000) for slot in range(SLOTS)]
    return lived.rows.buildings_a(lived.feeder, middles_ms)


def _worst_row(lived: Sequence[LivedFeeder]) -> _Panel:
    """The row that would go furthest over its rating without control, in amperes."""
    over_a = [each.uncontrolled.peak_a - each.rows.rating_a for each in lived]
    feeder = int(np.argmax([each.max() for each in over_a]))
    row = int(over_a[feeder].argmax())
    rows = lived[feeder].rows
    series = [
        _Series("building", "building", _buildings_a(lived[feeder])[row]),
        *(
            _Series(label, kind, outcomes[feeder].slot_peak_a[row])
            for label, kind, outcomes in _ways(lived)
        ),
        _Series("limit", "limit", np.full(SLOTS, rows.rating_a[row])),
    ]
    return _Panel(
        f"The row that needs control most: {rows.name(row)}, highest current in each quarter hour",
        "A",
        series,
    )


def _vehicles(lived: Sequence[LivedFeeder]) -> _Panel:
    plugged = [
        sum(len(plugged_in(each.feeder, each.feeder.visits, slot)) for each in lived)
        for slot in range(SLOTS)
    ]
    series = [_Series("plugged in", "plugged", np.array(plugged, dtype=np.float64))]
    for label, kind, outcomes in _ways(lived):
        series.append(_Series(label, kind, _sum([each.ready.astype(float) for each in outcomes])))
    return _Panel("Vehicles plugged in, and of those ready to leave", "vehicles", series)


def _sum(arrays: Sequence[Floats]) -> Floats:
    return np.asarray(np.sum(arrays, axis=0), dtype=np.float64)


# --- how it is drawn ------------------------------------------------------------------------------


def _legend(series: Sequence[_Series]) -> list[str]:
    found, x = [], float(_LEFT)
    for label, kind in dict.fromkeys((each.label, each.kind) for each in series):
        if kind == "building":
            found.append(f'<rect class="building" x="{x:g}" y="46" width="30" height="14"/>')
        else:
            found.append(f'<path class="line {kind}" d="M{x:g} 53h30"/>')
        found.append(f'<text x="{x + 36:g}" y="57">{escape(label)}</text>')
        x += 36 + 7.4 * len(label) + 26
    return found


def _panel(panel: _Panel, top: float) -> list[str]:
    bottom, right = top + _PANEL_HEIGHT, _WIDTH - _RIGHT
    step = _nice_step(max(float(each.values.max()) for each in panel.series))
    highest = step * float(
        np.ceil(max(float(each.values.max()) for each in panel.series) / step + 0.02)
    )

    def y(value: float) -> float:
        return bottom - value / highest * _PANEL_HEIGHT

    parts = [
        f'<text x="{_LEFT}" y="{top - 12}">{escape(panel.title)}</text>',
        f'<text class="note" x="{_LEFT - 8}" y="{top - 12}" text-anchor="end">{panel.unit}</text>',
    ]
    for number in range(round(highest / step) + 1):
        value = number * step
        parts.append(f'<path class="grid" d="M{_LEFT} {y(value):.1f}H{right}"/>')
        parts.append(
            f'<text class="note" x="{_LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">'
            f"{value:g}</text>"
        )
    for hour in _TICKS_H:
        parts.append(f'<path class="axis" d="M{_x(hour):.1f} {bottom}v5"/>')
        parts.append(
            f'<text class="note" x="{_x(hour):.1f}" y="{bottom + 20}" text-anchor="middle">'
            f"{hour:02d}:00</text>"
        )
    parts.append(f'<path class="axis" d="M{_LEFT} {bottom}H{right}"/>')
    for each in panel.series:
        points = " ".join(
            f"{_x((slot + 0.5) * SLOT_H):.1f},{y(value):.1f}"
            for slot, value in enumerate(each.values.tolist())
        )
        if each.kind == "building":
            first, last = _x(0.5 * SLOT_H), _x((SLOTS - 0.5) * SLOT_H)
            area = f"{first:.1f},{bottom} {points} {last:.1f},{bottom}"
            parts.append(f'<polygon class="building" points="{area}"/>')
        else:
            parts.append(f'<polyline class="line {each.kind}" points="{points}"/>')
    return parts


def _x(hour: float) -> float:
    return _LEFT + hour / 24 * (_WIDTH - _LEFT - _RIGHT)


def _nice_step(highest: float) -> float:
    """A step of 1, 2, 2.5 or 5 times a power of ten that divides the axis in four to eight."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(highest / 4))
    return float(max(factor * power for factor in (1, 2, 2.5, 5) if factor * power <= highest / 4))
