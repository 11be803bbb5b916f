"""What every plan of a site takes for granted: what missing energy costs, by when a vehicle is to
be ready, what is assumed of one of which nobody says anything.

Shared by the plan that a site follows (`horizon.py`) and by the replay of its past (`what_if/`), so
that the one says of the other what is true. Invariant: numbers and rules only; nothing here knows a
session's state."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from controlplane.network import SiteConfig
from controlplane.planning.inputs import ExpectedSession, SiteInputs
from controlplane.planning.problem import Vehicle
from controlplane.rows_ahead import SLOT_S, Slots
from controlplane.units import MS_PER_HOUR, MS_PER_S, ma_from_w

__all__ = [
    "EARLY_PARTS",
    "ENERGY_MAX_WH",
    "FEW",
    "GAP_FEW",
    "GAP_MANY",
    "LAXITY_MIN_MS",
    "NEED_LEAST_WH",
    "NEED_USUAL_WH",
    "STAY_MAX_MS",
    "STAY_MIN_MS",
    "TIER_EXPECTED",
    "aims_ms",
    "dearest",
    "expected_vehicles",
    "penalties",
    "tier_of_priority",
]

READY_EARLY_MS = 600_000
"""So long before it leaves a vehicle is to be ready, where that can be: ramps, minimum currents and
whoever goes first cost a little that no plan knows."""

FEW = 20
GAP_FEW, GAP_MANY = 1e-4, 5e-4
"""The proof that is enough, as a part of the cost. For few vehicles nearer than money needs: what
is left open spreads energy over slots that cost nearly the same, and a charger is better told
less."""

EARLY_PARTS = 2_000
"""Charging a slot later is worth this part of the dearest price: where hours cost nearly the same,
a vehicle is rather ready early, and charges in one piece."""

NEED_USUAL_WH = 10_000
"""What a session is taken to need of which nobody says or knows anything."""

NEED_LEAST_WH = 2_000
"""What one still takes that charges on beyond what was expected of it."""

LAXITY_MIN_MS = 300_000
"""A session that can wait no longer than this is not held back by any plan."""

ENERGY_MAX_WH: Final = 10_000_000
"""No battery holds more, whatever a vehicle says of itself."""

STAY_MIN_MS = 60_000
STAY_MAX_MS: Final = 31 * 24 * MS_PER_HOUR
"""A session is planned for as leaving by then, whatever is said."""

_DEAREST_MAX: Final = Decimal(100_000)
"""More is not weighed against energy that is missing: eight times that is about all that the
planner takes."""

_PRIORITIES = 10
TIER_EXPECTED: Final = _PRIORITIES + 1


def tier_of_priority(priority: int) -> int:
    """The tier of a session that nobody boosted."""
    return 1 + priority


def aims_ms(*, arrival_ms: int, leaves_ms: int, fastest_ms: int, usual_ms: int | None) -> int:
    """By when a vehicle is to be ready, where that can be: a little before it leaves.

    Drivers say when they mean to leave, and many leave before: where it is sooner, what is known of
    those who came at such an hour counts (docs/demand.md).

    Args:
        fastest_ms: how long it takes at full power.
        usual_ms: when those leave who came at such an hour, by the forecast.
    """
    goes_ms = leaves_ms if usual_ms is None else min(leaves_ms, usual_ms)
    early_ms = max(goes_ms - READY_EARLY_MS, min(leaves_ms, arrival_ms + fastest_ms))
    return max(early_ms, arrival_ms + STAY_MIN_MS)


def expected_vehicles(
    config: SiteConfig, inputs: SiteInputs, slots: Slots, next_ms: int
) -> Iterator[tuple[Vehicle, ExpectedSession]]:
    """Those who are not there yet, at no connector of their own: on all lines of the supply.

    Nobody is counted on in slots that begin before the next plan, which is due at `next_ms`: what
    this one gave to somebody who does not come would be drawn by nobody, and for somebody who does
    come it is made anew."""
    first_ms = slots.at(slots.within(next_ms, None).start)
    for number, each in enumerate(inputs.expected):
        arrival_ms = max(each.arrival_ms, first_ms)
        max_ma = ma_from_w(each.power_max_w, voltage_v=config.voltage_v, phases=3)
        if max_ma <= 0 or each.need_wh <= 0 or each.departure_ms < arrival_ms + STAY_MIN_MS:
            continue
        if arrival_ms >= slots.at(slots.count):
            continue
        vehicle = Vehicle(
            id=f"expected-{number}",
            node=config.supply.id,
            voltage_v=config.voltage_v,
            max_ma=max_ma,
            arrival_s=(arrival_ms - slots.start_ms) // MS_PER_S,
            departure_s=(each.departure_ms - slots.start_ms) // MS_PER_S,
            need_wh=each.need_wh,
            room_wh=each.need_wh,
            tier=TIER_EXPECTED,
            charge_permille=1_000,
        )
        yield vehicle, each


def penalties(inputs: SiteInputs) -> tuple[Decimal, ...]:
    """What a missing kilowatt-hour costs: more than any kilowatt-hour that could be had, a last
    quarter of an hour that raises the month's peak included, and the more the higher its priority.
    Boosted sessions come first, expected ones last."""
    most = dearest(inputs)
    most += 3_600 * sum((each.price_per_kw for each in inputs.demand), Decimal(0)) / SLOT_S
    most = min(most, _DEAREST_MAX)
    steps = [8, *(4 - 0.25 * priority for priority in range(_PRIORITIES)), 1.25]
    return tuple((most * Decimal(step)).quantize(Decimal("0.0001")) for step in steps)


def dearest(inputs: SiteInputs) -> Decimal:
    """The highest price of a kilowatt-hour; where all cost next to nothing, something."""
    return max((*inputs.import_price_per_kwh, Decimal("0.01")))
