"""What a feeder wishes of those below it, where a grid event asks for more than pausing gives.

Caps bound what may be drawn; they know nothing of what vehicles feed in. So where everybody below
draws only what cannot wait and that is still too much, whoever can is wished down to so many watts:
what it needs less what it is to feed in. The cheapest come first; those of one price give alike, in
proportion to what each can spare. What is fed in at one site makes up for what another must draw.

Invariants: nobody is wished to feed in more than it said that it can; a wish holds for a minute
unless it is told again, so who loses its feeder stops by itself, and its cap, which is what it
needs, stays; caps stay within the feeder's rating, which bounds what it gives back as well."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import groupby
from typing import TypeVar

from controlplane.feeder.ledger import Account
from controlplane.feeder.messages import FeedIn, Spare
from controlplane.grid_events import WISH_HOLD_MS, GridWish
from controlplane.units import w_from_ma

__all__ = ["below", "renewed", "wishes_w"]

Member = TypeVar("Member")

SPARES_MAX = 16
"""Prices that a feeder tells apart towards the one above it; the dearest stand together."""

_CALM_PERMILLE = 3
"""Of what is to be fed in, so much may be amiss without anybody being told anew."""
_CALM_MIN_W = 100
_ABOVE_PERMILLE = 1_003
"""So much of what is over is shared out: what is amiss is to be more, not less."""
_UNEVEN_PERCENT = 5
"""Of what it can spare, somebody may give so much more or less than its share."""
_UNEVEN_MIN_W = 1_000
_LEAVE_PERCENT = 2
"""Of the limit, so much must be free before wishes end: need moves."""


def wishes_w(
    accounts: Mapping[Member, Account],
    *,
    limit_w: int,
    voltage_v: int,
    now_ms: int,
    patience_ms: int,
) -> dict[Member, int] | None:
    """What everybody who can feed in is to come down to; None where pausing is enough, or nobody
    can.

    Args:
        limit_w: what all together are to draw at most; below 0, what they are to give.
    """
    able: dict[Member, FeedIn] = {}
    others_w = 0
    for member, account in accounts.items():
        said = account.feed_in
        if said is None or account.silent(now_ms=now_ms, patience_ms=patience_ms):
            others_w += _unable_w(account, voltage_v, now_ms=now_ms, patience_ms=patience_ms)
        else:
            able[member] = said
    over_w = others_w + sum(each.needed_w for each in able.values()) - limit_w
    before = {
        member: wish.power_w
        for member in able
        if (wish := accounts[member].wish) is not None and wish.in_force(now_ms)
    }
    least_w = -abs(limit_w) * _LEAVE_PERCENT // 100 if before else 0
    if over_w <= least_w or not any(each.spare_w for each in able.values()):
        return None
    gives_w = _shared_w(able, over_w * _ABOVE_PERMILLE // 1_000)
    fair = {member: each.needed_w - gives_w[member] for member, each in able.items()}
    return before if _stands(before, fair, able, over_w) else fair


def _unable_w(account: Account, voltage_v: int, *, now_ms: int, patience_ms: int) -> int:
    """What somebody may draw of whom nothing is wished: the cap that it is given, or all that
    counts while it is silent."""
    silent = account.silent(now_ms=now_ms, patience_ms=patience_ms)
    current_ma = account.counted_ma if silent else account.needed_ma
    return w_from_ma(current_ma, voltage_v=voltage_v, phases=3)


def _shared_w(able: Mapping[Member, FeedIn], over_w: int) -> dict[Member, int]:
    """Who gives how much of `over_w`; below 0 where there is that much room."""
    gives_w = dict.fromkeys(able, 0)
    if over_w <= 0:
        return {member: -(-over_w // len(able)) for member in able}
    offers = [
        (Decimal(each.price_per_kwh), each.power_w, m) for m in able for each in able[m].spare
    ]
    rest_w = over_w
    for _, alike in groupby(sorted(offers, key=lambda offer: offer[0]), lambda offer: offer[0]):
        parts = list(alike)
        total_w = sum(power_w for _, power_w, _ in parts)
        wanted_w = min(rest_w, total_w)
        for _, power_w, member in parts:
            gives_w[member] += -(-power_w * wanted_w // max(1, total_w))
        rest_w -= wanted_w
    return gives_w


def _stands(
    before: Mapping[Member, int],
    fair: Mapping[Member, int],
    able: Mapping[Member, FeedIn],
    over_w: int,
) -> bool:
    """Whether what was wished last is still right: each building that moves by a watt is met by its
    own site, and told to nobody else."""
    if before.keys() != fair.keys():
        return False
    calm_w = max(_CALM_MIN_W, over_w * _CALM_PERMILLE // 1_000)
    if abs(sum(before.values()) - sum(fair.values())) > calm_w:
        return False
    return all(
        abs(before[member] - wish_w)
        <= max(_UNEVEN_MIN_W, able[member].spare_w * _UNEVEN_PERCENT // 100)
        and able[member].needed_w - before[member] <= max(able[member].spare_w, 0)
        for member, wish_w in fair.items()
    )


def renewed(
    wish: GridWish | None, power_w: int, *, ends_ms: int | None, until_ms: int, now_ms: int
) -> GridWish:
    """The wish that somebody is to have now: the one before, where that holds long enough.

    Args:
        ends_ms: when what it follows from ends; None: nobody knows.
        until_ms: it must not hold for longer.
    """
    until_ms = min(until_ms, now_ms + WISH_HOLD_MS)
    if wish is not None and (wish.power_w, wish.end_ms) == (power_w, ends_ms):
        long_enough = 2 * (wish.until_ms - now_ms) >= WISH_HOLD_MS
        if wish.in_force(now_ms) and (long_enough or wish.until_ms >= until_ms):
            return wish
    return GridWish(power_w, until_ms, ends_ms)


# --- towards the feeder above ---------------------------------------------------------------------


def below(
    accounts: Iterable[Account],
    *,
    power_max_w: int,
    voltage_v: int,
    limit_w: int | None,
    now_ms: int,
    patience_ms: int,
) -> FeedIn | None:
    """What all below a feeder together say of feeding in; None where nobody may.

    Args:
        power_max_w: the feeder's rating, for what it gives as well.
        limit_w: what the feeder's own events ask for; None: nothing.
    """
    needed_w = needed_ma = allowed_w = fed_w = 0
    found = False
    offers: list[Spare] = []
    for account in accounts:
        said = account.feed_in
        silent = account.silent(now_ms=now_ms, patience_ms=patience_ms)
        allowed_w += account.allowed_w(voltage_v=voltage_v, now_ms=now_ms, patience_ms=patience_ms)
        if said is None or silent:
            needed_w += _unable_w(account, voltage_v, now_ms=now_ms, patience_ms=patience_ms)
            needed_ma += account.counted_ma if silent else account.floor_ma
            continue
        found = True
        needed_w += said.needed_w
        needed_ma += max(account.floor_ma, said.needed_ma)
        fed_w += said.fed_w
        offers += said.spare
    if not found:
        return None
    spare = _least(_merged(offers), max(0, needed_w + power_max_w))
    return FeedIn(needed_w, needed_ma, allowed_w, fed_w, spare).beyond(limit_w)


def _merged(offers: Iterable[Spare]) -> list[Spare]:
    """By price, the cheapest first, and no more than `SPARES_MAX`."""
    by_price: dict[Decimal, int] = {}
    for each in offers:
        price = Decimal(each.price_per_kwh)
        by_price[price] = by_price.get(price, 0) + each.power_w
    prices = sorted(by_price)
    kept = [Spare(by_price[price], str(price)) for price in prices[: SPARES_MAX - 1]]
    rest = prices[SPARES_MAX - 1 :]
    if rest:
        kept.append(Spare(sum(by_price[price] for price in rest), str(rest[-1])))
    return kept


def _least(offers: Iterable[Spare], most_w: int) -> tuple[Spare, ...]:
    """No more than `most_w` of the offers, from the front."""
    found = []
    for each in offers:
        power_w = min(each.power_w, most_w)
        most_w -= power_w
        if power_w > 0:
            found.append(Spare(power_w, each.price_per_kwh))
    return tuple(found)
