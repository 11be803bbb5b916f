"""What an operator has to know about a site, told once when it begins and once when it ends.

Invariant: the journal gets two events per alarm, however many rounds it lasts and whatever hosts
die meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from controlplane.actor import Emit
from controlplane.ids import ConnectorKey
from controlplane.site.check import Overload
from controlplane.site.ledger import Entry
from controlplane.site.round import Plan
from controlplane.site.tree import SiteTree

__all__ = ["alarm_changes", "present_alarms"]


def alarm_changes(
    on: dict[tuple[str, str], str], present: Mapping[tuple[str, str], str]
) -> list[Emit]:
    """Events for what began and what ended; `on` holds the alarms that are on and is brought up to
    date. Both map an alarm's name and its subject to words."""
    ended = [key for key in on if key not in present]
    begun = [key for key in present if key not in on]
    events = [_event(*key, words=on.pop(key), active=False) for key in ended]
    for key in begun:
        on[key] = present[key]
        events.append(_event(*key, words=present[key], active=True))
    return events


def _event(alarm: str, subject: str, *, words: str, active: bool) -> Emit:
    return Emit(
        "site.alarm", {"alarm": alarm, "subject": subject, "active": active, "message": words}
    )


def present_alarms(
    tree: SiteTree,
    entries: Sequence[Entry],
    *,
    overloads: Sequence[Overload],
    undescribed: Collection[ConnectorKey],
    stale: bool,
    plan: Plan,
    meter_fault: str = "",
    contract: str = "",
    late: str = "",
) -> dict[tuple[str, str], str]:
    """Everything that is wrong at this moment; `contract` says in words why the contract's power
    cannot be held, and is empty where it can; likewise `late` of the site's plan."""
    present: dict[tuple[str, str], str] = {}
    for leaf, entry in zip(tree.leaves, entries, strict=True):
        if entry.excess_ma:
            present["limit_exceeded", leaf.name] = (
                f"{leaf.name} draws {entry.excess_ma / 1_000:g} A, more than any limit it was sent"
            )
        if entry.feed_excess_ma:
            present["limit_exceeded", leaf.name] = (
                f"{leaf.name} feeds in {entry.feed_excess_ma / 1_000:g} A, more than it was told to"
            )
        if entry.stuck:
            present["limit_refused", leaf.name] = (
                f"{leaf.name} did not take {entry.failures} limits in a row"
            )
    for key in undescribed:
        present["connector_undescribed", str(key)] = (
            f"a session runs on {key}, which the site's description does not have: nothing steers "
            "it and no circuit counts it"
        )
    for overload in overloads:
        row = f"circuit {overload.circuit_id} phase {overload.phase}"
        present["overload" if not overload.ours else "violation", row] = (
            f"{row}: up to {overload.load_ma / 1_000:g} A may flow over a rating of "
            f"{overload.rating_ma / 1_000:g} A: {overload.cause}"
        )
    if stale:
        present["building_meter_stale", tree.config.id] = (
            "the building meter has fallen silent; nobody is raised"
        )
    if meter_fault:
        present["meter_unreachable", tree.config.id] = meter_fault
    if contract:
        present["contract_exceeded", tree.config.id] = contract
    if late:
        present["plan_late", tree.config.id] = late
    for short in plan.shortfalls:
        name = tree.leaves[short.position].name
        why = "the site is cautious at the moment" if short.row < 0 else tree.row_name(short.row)
        present["guarantee_unmet", name] = (
            f"{name} is guaranteed {short.guaranteed_ma / 1_000:g} A by its rule and can be given "
            f"{short.granted_ma / 1_000:g} A: {why}"
        )
    if not plan.checked:
        present["plan_refused", tree.config.id] = (
            "the check of the round found a row over its capacity; nobody is raised"
        )
    return present
