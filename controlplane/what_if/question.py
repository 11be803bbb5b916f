"""A question and its answer, as they cross between the API and the process that works it out.

Energies are integer watt-hours, powers watts, instants milliseconds UTC, money `Decimal` in the
currency of its tariff. Invariant: the answer follows from the question alone."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import msgspec

from controlplane.planning.series import Interval

__all__ = [
    "STEP_MS",
    "DemandCost",
    "Fault",
    "Half",
    "MonthOutcome",
    "Outcome",
    "Progress",
    "Question",
    "Visit",
]

STEP_MS = 300_000
"""What is replayed at once: the interval in which sites plan anew."""


class Visit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One session of the past."""

    id: str
    charger_id: str
    """Empty for one that was turned away."""
    connector_id: int
    arrival_ms: int
    departure_ms: int
    """When it left in reality; nobody knows it before."""
    energy_wh: int
    """What it took in reality, by its meter."""
    need_wh: int | None = None
    """By its driver's word."""
    said_ms: int | None = None
    """When it would leave, by its driver's word."""
    token: str | None = None
    power_max_w: int | None = None
    """The most that its samples show; None where there are none."""
    estimated: bool = False
    """Nobody saw it: it stands for those who found no free connector."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be replayed. `as_is` and `what_if` are `network.SiteConfig` as JSON."""

    as_is: bytes
    what_if: bytes
    start_ms: int
    """Midnight on the site's clock, as `end_ms`."""
    end_ms: int
    visits: tuple[Visit, ...]
    """That begin and end within that time."""
    before: tuple[Visit, ...]
    """Those that ended in the weeks before: what forecasts are learned from."""
    building_w: tuple[int, ...] = ()
    """A usual week of the building, by the hour from Monday 00:00 on; empty: nothing is known."""
    solar_w: tuple[int, ...] = ()
    prices: tuple[Interval, ...] = ()
    """Of the market in that time, in millionths per kilowatt-hour, for tariffs that follow it."""


class Progress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """How far one of the two is."""

    done_percent: float
    day: date
    """On the site's clock."""


class DemandCost(msgspec.Struct, frozen=True, kw_only=True):
    """One demand charge of one month."""

    name: str
    peak_w: int
    """The highest mean of its windows, all that the tariff meters."""
    at_ms: int | None
    """When that window began."""
    cost: Decimal


class MonthOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One calendar month, or the part of it that was asked about."""

    month: str
    """As `2026-09`."""
    charged_wh: int
    """What chargers drew from the grid."""
    peak_w: int
    """The highest mean of a quarter of an hour, building included."""
    energy_cost: Decimal
    demand: tuple[DemandCost, ...]
    cost: Decimal


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one of the two."""

    connectors: int
    sessions: int
    """That found a connector."""
    turned_away: int
    """That found none."""
    turned_away_estimated: int
    """Of them, how many are only estimated to have come."""
    estimated: int
    """Of `sessions`, how many are only estimated to have come."""
    wanted_wh: int
    delivered_wh: int
    missing_wh: int
    """What was wanted and could have been had, and was not there on departure."""
    missing_least_wh: int
    """So much at least would have been missing whatever anybody did, had he known all before."""
    short: int
    """Sessions that missed more than `SHORT_PERCENT` of what they wanted."""
    peak_w: int
    peak_at_ms: int | None
    charging_peak_w: int
    """The same of chargers alone."""
    currency: str
    energy_cost: Decimal
    demand_cost: Decimal
    cost: Decimal
    cost_least: Decimal
    """Whoever delivers as much, had he known all before, would have paid at least this."""
    months: tuple[MonthOutcome, ...]
    plans: int
    stale: tuple[str, ...]
    """In words, what stood in for prices that were not given."""


class Half(msgspec.Struct, frozen=True, kw_only=True, tag="half"):
    """The outcome of one of the two."""

    outcome: Outcome
    assumptions: tuple[str, ...]
    """In words, what had to be taken for granted; the same of both."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag="fault"):
    """It could not be worked out; `kind` as in `errors.Refusal`."""

    kind: str
    reason: str
    message: str
