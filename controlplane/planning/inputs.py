"""What a site's plan starts from, beside who is there now: prices, what else flows through its
meter, what the billing period has cost so far, and who is expected.

Invariant: every series has one value for each slot. Energies are integer watt-hours, powers integer
watts, instants milliseconds UTC, prices `Decimal` in the site's currency."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from controlplane.planning.problem import DemandCharge

__all__ = ["ExpectedSession", "SiteInputs"]


class ExpectedSession(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One session that has not begun and probably will."""

    arrival_ms: int
    departure_ms: int
    need_wh: int
    """What it will want in its battery."""
    power_max_w: int
    """What its vehicle will take at most."""


class SiteInputs(msgspec.Struct, frozen=True, kw_only=True):
    """What is known and forecast of one site for `slots` slots from `start_ms` on."""

    start_ms: int
    slot_s: int
    slots: int
    currency: str
    """ISO 4217; all prices of one plan have the same."""
    import_price_per_kwh: tuple[Decimal, ...]
    export_price_per_kwh: tuple[Decimal, ...] = ()
    """Empty: feeding in earns nothing."""
    base_w: tuple[int, ...] = ()
    """The building less its sun, as forecast; empty: nothing."""
    demand: tuple[DemandCharge, ...] = ()
    """With the highest of the billing period so far in `so_far_w`."""
    expected: tuple[ExpectedSession, ...] = ()
    stale: tuple[str, ...] = ()
    """In words, what this had to be guessed for: prices that were not pushed in time, a meter that
    is silent. Shown beside the plan."""
