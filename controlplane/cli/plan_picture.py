"""A plan as a picture: what flows beside what the supply carries, what it costs, and what each
session is to draw. Plain SVG that follows the reader's light or dark theme."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from html import escape
from itertools import groupby
from math import ceil
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from controlplane.api.v1 import planning_pb2

__all__ = ["draw"]

_WIDTH, _LEFT, _RIGHT = 960, 120, 24
_TOP, _GAP, _BOTTOM = 92, 58, 40
_POWER_HEIGHT, _PRICE_HEIGHT, _ROW_HEIGHT = 230, 90, 22
_SESSIONS_MAX = 40
_TICK_H = 3

_STYLE = """
svg { color-scheme: light dark; font-family: system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
.paper { fill: #ffffff } text { fill: #1f2328; font-size: 13px }
.title { font-size: 17px; font-weight: 600 } .note { fill: #57606a } .small { font-size: 11px }
.grid { stroke: #d8dee4; stroke-width: 1 } .axis { stroke: #57606a; stroke-width: 1 }
.vehicles { fill: #0b5fc1; fill-opacity: 0.75 } .building { fill: #6e7781; fill-opacity: 0.3 }
.fed { fill: #1a7f4b; fill-opacity: 0.75 } .expected { fill: #8250df; fill-opacity: 0.55 }
.there { fill: #6e7781; fill-opacity: 0.16 }
.limit { fill: none; stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 2 3 }
.price { fill: none; stroke: #c4501b; stroke-width: 2 }
@media (prefers-color-scheme: dark) {
.paper { fill: #0d1117 } text { fill: #e6edf3 } .note { fill: #9da7b3 }
.grid { stroke: #30363d } .axis { stroke: #9da7b3 } .limit { stroke: #e6edf3 }
.vehicles { fill: #58a6ff } .building, .there { fill: #8b949e } .fed { fill: #3fb950 }
.expected { fill: #bc8cff } .price { stroke: #f0883e }
}
"""


def draw(found: planning_pb2.Plan) -> str:
    """The picture as an SVG document.

    Args:
        found: a plan with at least one slot.
    """
    sessions = [each for each in found.sessions if any(each.slot_w)][:_SESSIONS_MAX]
    price_top = _TOP + _POWER_HEIGHT + _GAP
    rows_top = price_top + _PRICE_HEIGHT + _GAP
    height = rows_top + len(sessions) * _ROW_HEIGHT + _BOTTOM
    picture = _Picture(found)
    begins = picture.clock(found.start_time)
    title = f"Site {found.site_id}: the plan of {begins:%A}, {begins.day} {begins:%B %Y}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="{escape(title)}">',
            f"<style>{_STYLE}</style>",
            f'<rect class="paper" width="{_WIDTH}" height="{height}"/>',
            f'<text class="title" x="{_LEFT}" y="28">{escape(title)}</text>',
            f'<text class="note" x="{_LEFT}" y="48">{escape(picture.cost_words())}</text>',
            *picture.legend(60),
            *picture.power(_TOP),
            *picture.price(price_top),
            *picture.sessions(sessions, rows_top),
            "</svg>\n",
        ]
    )


class _Picture:
    def __init__(self, found: planning_pb2.Plan) -> None:
        self._found = found
        self._zone = ZoneInfo(found.time_zone)
        self._step = (_WIDTH - _LEFT - _RIGHT) / len(found.slots)

    def clock(self, stamp: Timestamp) -> datetime:
        return datetime.fromtimestamp(stamp.ToSeconds(), self._zone)

    def cost_words(self) -> str:
        found = self._found
        return (
            f"{float(found.cost):.2f} {found.currency}; no plan costs less than "
            f"{float(found.bound):.2f} {found.currency} (gap {found.gap_percent:.3f} %)"
        )

    def legend(self, y: float) -> Iterator[str]:
        slots, sessions = self._found.slots, self._found.sessions
        kinds = [("vehicles", "vehicles")]
        if any(slot.base_w > 0 for slot in slots):
            kinds.append(("building", "building"))
        if any(each.expected for each in sessions):
            kinds.append(("expected", "sessions that are expected"))
        if any(slot.planned_w < 0 for slot in slots):
            kinds.append(("fed", "fed in"))
        x = float(_LEFT)
        for kind, label in kinds:
            yield f'<rect class="{kind}" x="{x:g}" y="{y}" width="26" height="12"/>'
            yield f'<text class="small" x="{x + 32:g}" y="{y + 10}">{label}</text>'
            x += 32 + 6.4 * len(label) + 22
        yield f'<path class="limit" d="M{x:g} {y + 6}h26"/>'
        yield f'<text class="small" x="{x + 32:g}" y="{y + 10}">what the supply carries</text>'

    # --- the panels -------------------------------------------------------------------------------

    def power(self, top: float) -> Iterator[str]:
        """Vehicles on the building; what is fed in below nothing."""
        slots = self._found.slots
        base = [max(0, slot.base_w) / 1_000 for slot in slots]
        drawn = [max(0, slot.planned_w) / 1_000 for slot in slots]
        fed = [max(0, -slot.planned_w) / 1_000 for slot in slots]
        limit = [at + slot.limit_w / 1_000 for at, slot in zip(base, slots, strict=True)]
        most = max(low + more for low, more in zip(base, drawn, strict=True))
        highest, step = _axis(min(max(limit), 2 * max(most, *fed, 1.0)) * 1.02)
        bottom = top + _POWER_HEIGHT
        scale = _POWER_HEIGHT / highest

        yield from self._frame(top, bottom, "kW", highest, step)
        tops = [(low, low + more) for low, more in zip(base, drawn, strict=True)]
        yield from self._bars("building", [(bottom - low * scale, bottom) for low, _ in tops])
        yield from self._bars(
            "vehicles", [(bottom - top * scale, bottom - low * scale) for low, top in tops]
        )
        yield from self._bars("fed", [(bottom - back * scale, bottom) for back in fed])
        lines = [bottom - min(each, highest) * scale for each in limit]
        if min(limit) < highest:
            yield f'<path class="limit" d="{self._steps(lines)}"/>'
        yield from self._hours(bottom)

    def price(self, top: float) -> Iterator[str]:
        """Of a kilowatt-hour drawn."""
        prices = [float(slot.import_price_per_kwh) for slot in self._found.slots]
        highest, step = _axis(max(*prices, 0.01))
        lowest = min(*prices, 0.0)
        bottom = top + _PRICE_HEIGHT
        scale = _PRICE_HEIGHT / (highest - lowest)
        yield from self._frame(
            top, bottom, f"{self._found.currency}/kWh", highest, step, lowest=lowest
        )
        lines = [bottom - (each - lowest) * scale for each in prices]
        yield f'<path class="price" d="{self._steps(lines)}"/>'
        yield from self._hours(bottom)

    def sessions(
        self, sessions: Sequence[planning_pb2.PlannedSession], top: float
    ) -> Iterator[str]:
        """A row for each: when it is there, and when it draws how much of its most."""
        for number, each in enumerate(sessions):
            upper = top + number * _ROW_HEIGHT
            lower = upper + _ROW_HEIGHT - 6
            name = f"{each.charger_id}/{each.connector_id}" if each.charger_id else "expected"
            yield (
                f'<text class="small note" x="{_LEFT - 8}" y="{lower - 4:g}" text-anchor="end">'
                f"{escape(name)}</text>"
            )
            from_x, until_x = self._x(each.arrival_time), self._x(each.departure_time)
            yield (
                f'<rect class="there" x="{from_x:.1f}" y="{upper:g}" '
                f'width="{max(0.0, until_x - from_x):.1f}" height="{_ROW_HEIGHT - 6}"/>'
            )
            most = max(abs(power_w) for power_w in each.slot_w)
            parts = [power_w / most * (_ROW_HEIGHT - 6) for power_w in each.slot_w]
            kind = "expected" if each.expected else "vehicles"
            yield from self._bars(kind, [(lower - max(0.0, part), lower) for part in parts])
            yield from self._bars("fed", [(lower - max(0.0, -part), lower) for part in parts])
            words = f"{each.planned_wh / 1_000:.1f} kWh"
            if each.missing_wh:
                words += f", {each.missing_wh / 1_000:.1f} missing"
            anchored = ' text-anchor="end"' if until_x > _WIDTH - _RIGHT - 110 else ""
            x = until_x - 4 if anchored else until_x + 4
            yield (f'<text class="small" x="{x:.1f}" y="{lower - 4:g}"{anchored}>{words}</text>')

    # --- parts ------------------------------------------------------------------------------------

    def _frame(
        self,
        top: float,
        bottom: float,
        unit: str,
        highest: float,
        step: float,
        *,
        lowest: float = 0.0,
    ) -> Iterator[str]:
        yield (
            f'<text class="note" x="{_LEFT - 8}" y="{top - 10:g}" text-anchor="end">{unit}</text>'
        )
        scale = (bottom - top) / (highest - lowest)
        for number in range(ceil(lowest / step), int(highest / step + 1e-9) + 1):
            y = bottom - (number * step - lowest) * scale
            yield f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
            yield (
                f'<text class="note" x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">'
                f"{number * step:.4g}</text>"
            )

    def _bars(self, kind: str, spans: Sequence[tuple[float, float]]) -> Iterator[str]:
        """The part of each slot between two heights, equal neighbours as one; nothing where there
        is none."""
        drawn = [(f"{upper:.1f}", f"{lower - upper:.1f}") for upper, lower in spans]
        for (upper, height), run in groupby(range(len(drawn)), key=drawn.__getitem__):
            places = list(run)
            if float(height) > 0:
                yield (
                    f'<rect class="{kind}" x="{_LEFT + places[0] * self._step:.1f}" y="{upper}" '
                    f'width="{len(places) * self._step:.1f}" height="{height}"/>'
                )

    def _steps(self, heights: Sequence[float]) -> str:
        """A line that is level over each slot."""
        points = "".join(
            f"V{y:.1f}H{_LEFT + (at + 1) * self._step:.1f}" for at, y in enumerate(heights)
        )
        return f"M{_LEFT} {heights[0]:.1f}{points}"

    def _hours(self, bottom: float) -> Iterator[str]:
        """Times of day below the slots in which they begin."""
        yield f'<path class="axis" d="M{_LEFT} {bottom:g}H{_WIDTH - _RIGHT}"/>'
        for at, slot in enumerate(self._found.slots):
            local = self.clock(slot.start_time)
            if local.hour % _TICK_H == 0 and local.minute * 60 < self._found.slot_s:
                x = _LEFT + at * self._step
                yield f'<path class="axis" d="M{x:.1f} {bottom:g}v5"/>'
                yield (
                    f'<text class="note small" x="{x:.1f}" y="{bottom + 18:g}" '
                    f'text-anchor="middle">{local:%H:%M}</text>'
                )

    def _x(self, stamp: Timestamp) -> float:
        """Where an instant lies, within the picture."""
        since_s = stamp.ToSeconds() - self._found.start_time.ToSeconds()
        x = _LEFT + since_s / self._found.slot_s * self._step
        return min(max(x, _LEFT), _WIDTH - _RIGHT)


def _axis(highest: float) -> tuple[float, float]:
    """The end of an axis and its step: 1, 2 or 5 times a power of ten, in three to eight parts."""
    power = 10.0
    while power * 3 > highest:
        power /= 10
    while power * 30 <= highest:
        power *= 10
    step = next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 8)
    return ceil(highest / step - 1e-9) * step, step
