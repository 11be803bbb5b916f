"""Why one connector may draw what it may: everything that bounds it, side by side.

Invariant: nothing is decided here. What binds is what the last round's plan says; the other bounds
are worked out from the same rows, so that the tightest of them explains the figure."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.ids import SiteId
from controlplane.site.demand import tier_of
from controlplane.site.messages import ConnectorExplanation, LimitFactor, RowShare
from controlplane.site.view import (
    UNAUTHORISED_WORDS,
    Picture,
    amperes,
    closed_words,
    connector_allocation,
    external_words,
    holding_words,
    override_words,
    row_words,
)
from controlplane.site.why import Cause, Why

__all__ = ["explanation"]

_ROW_CAUSES = frozenset({Cause.ROW, Cause.PAUSED, Cause.TIGHT})


def explanation(picture: Picture, position: int, now_ms: int) -> ConnectorExplanation:
    """Explain the connector at a position of the tree."""
    allocation = connector_allocation(picture, position, now_ms)
    why = Why(Cause.UNSTEERED) if picture.plan is None else picture.plan.why[position]
    factors = [
        *_own(picture, position, why, allocation.target_ma),
        *_rules(picture, position, why),
        *_circuits(picture, position, why),
        *_power(picture, position, why, allocation.target_ma),
        *_plan(picture, position, why, allocation.target_ma),
        *_ledger(picture, position, allocation.reason),
    ]
    factors.sort(key=lambda factor: (not factor.binding, factor.limit_ma))
    return ConnectorExplanation(
        site_id=SiteId(picture.tree.config.id),
        at_ms=now_ms,
        allocation=allocation,
        factors=tuple(factors),
        shares=tuple(_shares(picture, position, why)),
    )


def _own(picture: Picture, position: int, why: Why, target_ma: int) -> Iterator[LimitFactor]:
    """What the charger and the vehicle set themselves."""
    leaf = picture.tree.leaves[position]
    yield LimitFactor(
        kind="hardware",
        subject=leaf.name,
        limit_ma=leaf.max_ma,
        binding=why.cause is Cause.OWN_MAXIMUM,
        words=f"the connector takes up to {amperes(leaf.max_ma)}",
    )
    words = {
        Cause.HABIT: "the vehicle draws less than it was offered; the rest is lent to others",
        Cause.VEHICLE_MAXIMUM: "the vehicle said that it takes no more",
        Cause.NUDGED: "the vehicle sleeps; it is paused for a moment to wake it",
        Cause.HOLDING: f"{holding_words(picture, position)}; others go first",
        Cause.STALE: "the building meter has fallen silent; nobody is raised",
    }.get(why.cause)
    if words is not None:
        kind = "building_meter" if why.cause is Cause.STALE else "vehicle"
        yield LimitFactor(kind, leaf.name, target_ma, binding=True, words=words)


def _rules(picture: Picture, position: int, why: Why) -> Iterator[LimitFactor]:
    """What opening hours, operators and other systems allow."""
    leaf, demand = picture.tree.leaves[position], picture.demands[position]
    if demand is not None and not demand.terms.may_charge:
        yield LimitFactor(
            kind="opening_hours",
            subject=picture.tree.config.id,
            limit_ma=0,
            binding=why.cause is Cause.CLOSED,
            words=closed_words(picture),
        )
    if demand is not None and not demand.session.authorised:
        yield LimitFactor(
            kind="authorisation",
            subject=leaf.name,
            limit_ma=0,
            binding=why.cause is Cause.UNAUTHORISED,
            words=UNAUTHORISED_WORDS,
        )
    override_ma = picture.override_ma[position]
    if override_ma is not None:
        yield LimitFactor(
            kind="operator",
            subject=leaf.name,
            limit_ma=override_ma,
            binding=why.cause is Cause.OVERRIDE,
            words=override_words(picture, leaf),
        )
    if demand is not None and demand.external_ma is not None:
        yield LimitFactor(
            kind="external",
            subject=leaf.key.charger_id,
            limit_ma=demand.external_ma,
            binding=why.cause is Cause.EXTERNAL,
            words=external_words(picture, leaf),
        )


def _circuits(picture: Picture, position: int, why: Why) -> Iterator[LimitFactor]:
    """For every circuit above the connector the phase that leaves it least: the room that is left
    on it beside what counts for all others."""
    tree, rows = picture.tree, picture.rows
    reserve_ma = picture.entries[position].reserve_ma
    least: dict[int, tuple[int, int]] = {}
    for row in tree.leaves[position].rows:
        others_ma = rows.reserve_ma[row] - reserve_ma
        room_ma = max(0, rows.capacity_ma[row] - others_ma)
        binds = why.cause in _ROW_CAUSES and why.row == row
        node = row // 3
        if binds or node not in least or (room_ma < least[node][1] and least[node][0] != why.row):
            least[node] = (row, room_ma)
    for row, room_ma in least.values():
        others_ma = rows.reserve_ma[row] - reserve_ma
        yield LimitFactor(
            kind="circuit",
            subject=tree.row_name(row),
            limit_ma=room_ma,
            binding=why.cause in _ROW_CAUSES and why.row == row,
            words=(
                f"{row_words(picture, row)} has {amperes(rows.capacity_ma[row])} for chargers, "
                f"{amperes(others_ma)} of which count for others"
            ),
        )


def _power(picture: Picture, position: int, why: Why, target_ma: int) -> Iterator[LimitFactor]:
    """What contract and sun leave, per phase."""
    tree, rows, leaf = picture.tree, picture.rows, picture.tree.leaves[position]
    if tree.power_row is not None and tree.config.contract is not None:
        own_ma = len(leaf.phases) * picture.entries[position].liability_ma
        others_ma = rows.liability_ma[tree.power_row] - own_ma
        room_ma = max(0, rows.capacity_ma[tree.power_row] - others_ma)
        yield LimitFactor(
            kind="contract",
            subject=tree.row_name(tree.power_row),
            limit_ma=room_ma // len(leaf.phases),
            binding=why.cause in _ROW_CAUSES and why.row == tree.power_row,
            words=(
                f"the contract leaves chargers {amperes(rows.capacity_ma[tree.power_row])}, summed "
                f"over conductors, {amperes(others_ma)} of which count for others"
            ),
        )
    if why.cause is Cause.SURPLUS:
        words = "the session is in no hurry, and sun and battery give no more"
        yield LimitFactor("surplus", leaf.name, target_ma, binding=True, words=words)


def _plan(picture: Picture, position: int, why: Why, target_ma: int) -> Iterator[LimitFactor]:
    """What the site's plan makes of it, whether it is held back or not."""
    words, demand = picture.plan_words(position), picture.demands[position]
    if words and demand is not None:
        wanted_ma = target_ma if demand.target_ma is None else max(0, demand.target_ma)
        binding = why.cause is Cause.PLAN
        yield LimitFactor("plan", picture.tree.config.id, wanted_ma, binding=binding, words=words)


def _ledger(picture: Picture, position: int, reason: str) -> Iterator[LimitFactor]:
    """What was given is not what is wanted while a charger or another one has to confirm first."""
    entry = picture.entries[position]
    unusual = not entry.online or not entry.settled or entry.stuck or entry.excess_ma
    if unusual or entry.reducing or position in picture.waiting:
        yield LimitFactor("ledger", "ledger", entry.liability_ma, binding=True, words=reason)


def _shares(picture: Picture, position: int, why: Why) -> Iterator[RowShare]:
    """The others on the row that binds, who has most leading."""
    if picture.plan is None or why.row < 0:
        return
    found = [
        RowShare(
            charger_id=leaf.key.charger_id,
            connector_id=leaf.key.connector_id,
            target_ma=picture.plan.target_ma[other] or 0,
            liability_ma=picture.entries[other].liability_ma,
            tier=tier_of(leaf.priority)
            if (demand := picture.demands[other]) is None
            else demand.tier(leaf),
        )
        for other, leaf in enumerate(picture.tree.leaves)
        if other != position
        and (why.row in leaf.rows or why.row == picture.tree.power_row)
        and picture.entries[other].liability_ma
    ]
    yield from sorted(found, key=lambda share: (-share.target_ma, share.charger_id))
