"""What nobody could have done better: how much energy had to be missing, and what charging had to
cost, for whoever knew the months of a question in advance.

Month by month, all sessions that began in it are planned at once, with their real departures; the
planner's dual bound is a proof that needs no trust in its search. Everything left out makes a bound
lower, never higher: what is kept for connectors counts only in quarters of an hour in which nobody
stood there at all, a session that begins in a month adds to no later month's peak, and one that
stays beyond the day after its month costs nothing. So they hold for every controller that keeps the
rows.

Money is compared at the same service: with any price m of a missing kilowatt-hour, a plan that
misses no more than M costs at least L(m) - m M, where L(m) is the bound on costs and missing energy
together (weak duality). m is searched where that is highest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import ROUND_FLOOR, Decimal
from typing import NamedTuple

import msgspec
import numpy as np

from controlplane.planning.answer import Plan, solve
from controlplane.planning.problem import Horizon, Meter, Vehicle
from controlplane.rows_ahead import SLOT_S, Slots
from controlplane.units import MS_PER_S
from controlplane.what_if.money import Money
from controlplane.what_if.rows import Rows
from controlplane.what_if.stays import Stay

__all__ = ["PARTS", "Least", "least"]

_SLOT_MS = SLOT_S * MS_PER_S
_AFTER = 96
"""Slots after a month in which its last sessions may still charge."""

_GAP = 1e-3
_STEPS = 6_000
_SEARCHED = 10
PARTS = _SEARCHED + 2
"""Of the work, for those who are told how far it is."""
_PRICE_STEP = Decimal("0.0001")
_CENT = Decimal("0.01")


class Least(NamedTuple):
    """What holds for every controller."""

    missing_wh: int
    cost: Decimal
    """Of charging, for whoever misses no more than was given; without the building's energy."""


class _Month(NamedTuple):
    """One month with all that is known of it."""

    horizon: Horizon
    left_out_cost: Decimal
    """At least; of stays that are left out, which could at best be paid for drawing."""


def least(
    rows: Rows,
    money: Money,
    stays: Sequence[Stay],
    *,
    missing_wh: int,
    price_max: Decimal,
    told: Callable[[int], None],
) -> Least:
    """The bounds.

    Args:
        missing_wh: what was missing in the replay.
        price_max: of a missing kilowatt-hour, beyond which is not searched.
        told: called with the parts that are done, of `PARTS`.
    """
    months = list(_months(rows, money, stays))
    missing_kwh = sum(_solved(_free(each.horizon), Decimal(1)).bound for each in months)
    left_out = sum((each.left_out_cost for each in months), Decimal(0))
    told(1)
    best: Decimal | None = None
    low, high = price_max / 100_000, price_max
    price = price_max
    for number in range(_SEARCHED + 1):
        plans = [_solved(each.horizon, price) for each in months]
        told(number + 2)
        cost = sum((Decimal(plan.bound) for plan in plans), left_out)
        holds = cost - price * missing_wh / 1_000
        best = holds if best is None else max(best, holds)
        would_miss_wh = sum(int(plan.core.shortfall_wh.sum()) for plan in plans)
        if would_miss_wh >= missing_wh:
            if number == 0:
                break
            low = price
        else:
            high = price
        price = (low * high).sqrt().quantize(_PRICE_STEP)
    told(PARTS)
    assert best is not None  # at least one price was looked at
    return Least(max(0, int(missing_kwh * 1_000)), best.quantize(_CENT, ROUND_FLOOR))


def _solved(horizon: Horizon, price: Decimal) -> Plan:
    asked = msgspec.structs.replace(horizon, tier_penalties_per_kwh=(price,))
    return solve(asked, gap=_GAP, steps=_STEPS)


def _free(horizon: Horizon) -> Horizon:
    """The same where energy costs nothing, so that only what is missing counts."""
    meters = tuple(
        msgspec.structs.replace(
            meter,
            import_price_per_kwh=(Decimal(0),) * horizon.slots,
            export_price_per_kwh=(),
            demand=(),
        )
        for meter in horizon.meters
    )
    return msgspec.structs.replace(horizon, meters=meters)


def _months(rows: Rows, money: Money, stays: Sequence[Stay]) -> Iterator[_Month]:
    months = money.month[: money.slots]
    for month in np.unique(months).tolist():
        places = np.flatnonzero(months == month)
        first, until = int(places[0]), int(places[-1]) + 1
        slots = Slots(money.start_ms + first * _SLOT_MS, _SLOT_MS, until - first + _AFTER)
        ends_ms = slots.at(until - first)
        inside = [each for each in stays if slots.start_ms <= each.visit.arrival_ms < ends_ms]
        fits = [each for each in inside if each.visit.departure_ms <= slots.at(slots.count)]
        left_out_wh = sum(each.want_wh for each in inside) - sum(each.want_wh for each in fits)
        inputs = money.inputs(first, slots.count, peaks_w={})
        meter = Meter(
            id="meter",
            node=rows.tree.config.supply.id,
            import_price_per_kwh=inputs.import_price_per_kwh,
            export_price_per_kwh=inputs.export_price_per_kwh,
            base_w=inputs.base_w,
            demand=tuple(money.demand(first, slots.count, peaks_w={}, month=month)),
        )
        horizon = Horizon(
            slots=slots.count,
            slot_s=SLOT_S,
            nodes=rows.nodes(slots, first, rows.kept_ma(stays, slots)),
            meters=(meter,),
            vehicles=tuple(_vehicle(rows, each, slots) for each in fits if each.want_wh > 0),
            late_price_per_kwh=Decimal(0),
        )
        paid = min(Decimal(0), *inputs.import_price_per_kwh)
        yield _Month(horizon, paid * left_out_wh / 1_000)


def _vehicle(rows: Rows, stay: Stay, slots: Slots) -> Vehicle:
    """A stay as it really was. Times are rounded to its advantage."""
    leaf, config = rows.tree.leaves[stay.position], rows.tree.config
    charger = next(each for each in config.chargers if each.id == leaf.key.charger_id)
    return Vehicle(
        id=stay.visit.id,
        node=charger.circuit,
        lines=tuple(column + 1 for column in leaf.phases),
        voltage_v=config.voltage_v,
        max_ma=stay.max_ma,
        arrival_s=(stay.visit.arrival_ms - slots.start_ms) // MS_PER_S,
        departure_s=-((slots.start_ms - stay.visit.departure_ms) // MS_PER_S),
        need_wh=stay.want_wh,
        room_wh=stay.want_wh,
        charge_permille=charger.efficiency_permille,
    )
