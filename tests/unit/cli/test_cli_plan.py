"""A plan as it is drawn in the terminal."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from controlplane.api.v1 import planning_pb2
from controlplane.cli.plan import chart

BERLIN = ZoneInfo("Europe/Berlin")
START_S = 1_792_882_800
"""25 October 2026, 01:00 in Berlin, two hours before the clock is set back."""


def plan(first_slot: int = 0) -> planning_pb2.Plan:
    found = planning_pb2.Plan(site_id="depot", slot_s=900, currency="EUR")
    found.start_time.FromSeconds(START_S + 900 * first_slot)
    for at in range(first_slot, first_slot + 96):
        slot = found.slots.add(
            base_w=2_000,
            planned_w=9_000 if at == 50 else 3_000,
            limit_w=20_000,
            import_price_per_kwh="-0.1" if at < 20 else "0.3",
        )
        slot.start_time.FromSeconds(START_S + 900 * at)
    return found


@pytest.mark.parametrize("width", [None, 200, 106, 105, 80, 60, 40, 20])
@pytest.mark.parametrize("first_slot", [0, 1, 3])
def test_a_chart_is_no_wider_than_the_terminal(width: int | None, first_slot: int) -> None:
    lines = chart(plan(first_slot), BERLIN, width)
    bars = [line for line in lines if "┤" in line]
    assert len({len(line) for line in bars}) == 1
    if width is None or width > 105:
        assert len(bars[0]) == 9 + 96
    else:
        assert max(map(len, lines[: len(bars)])) <= width
    assert width is None or width < 60 or any("╵12:00" in line for line in lines)
    # The quarter of an hour with the peak is seen however many share its column.
    assert lines[1].startswith("   11.6 ┤") and len(lines[1].split()) == 3
