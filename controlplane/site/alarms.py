"""What an operator has to know about a site, told once when it begins and once when it ends.

Invariant: the journal gets two events per alarm, however many rounds it lasts and whatever hosts
die meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Final

from controlplane.actor import Emit
from controlplane.ids import ConnectorKey
from controlplane.site.check import Overload
from controlplane.site.ledger import Entry
from controlplane.site.round import Plan
from controlplane.site.state import SiteState
from controlplane.site.tree import SiteTree

__all__ = ["Alarms", "alarm_changes", "lasting_alarms", "present_alarms"]

Alarms = Mapping[tuple[str, str], str]
"""Words, by an alarm's name and its subject."""

_UNHEARD: Final = "building_meter_unheard"
_UNMET: Final = "grid_event_unmet"
_NONE: Final[Alarms] = {}


def lasting_alarms(
    state: SiteState, tree: SiteTree, *, since_ms: int, now_ms: int, grace_ms: int
) -> tuple[Alarms, bool]:
    """What is wrong only because it lasts, and whether that is news.

    Args:
        since_ms: since when the building's meter could have been heard.
        grace_ms: how long chargers and vehicles may take to let go.
    """
    present: dict[tuple[str, str], str] = {}
    site_id = tree.config.id
    if state.building is None and tree.meter_awaited:
        lasts = now_ms - since_ms > tree.stale_after_ms
        if lasts or (_UNHEARD, site_id) in state.alarms:
            present[_UNHEARD, site_id] = (
                "the building meter has not been heard yet; on each phase "
                f"{tree.building_assumed_ma / 1_000:g} A are assumed"
            )
    for event in state.grid.events:
        unmet = event.in_force and event.limit_w is not None and event.acknowledged_ms is None
        if unmet and now_ms - max(event.start_ms, event.received_ms) > grace_ms:
            allowed_w = 0 if state.grid.observed is None else state.grid.observed.allowed_w
            present[_UNMET, event.event_id] = (
                f"grid event {event.event_id} asks for no more than {event.limit_w} W, and up to "
                f"{allowed_w} W may still be drawn"
            )
    on = {key for key in state.alarms if key[0] in (_UNHEARD, _UNMET)}
    return present, on != present.keys()


def alarm_changes(on: dict[tuple[str, str], str], present: Alarms) -> list[Emit]:
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
    lasting: Alarms = _NONE,
) -> Alarms:
    """Everything that is wrong at this moment; `contract` says in words why the contract's power
    cannot be held, and is empty where it can; likewise `late` of the site's plan. `lasting` is what
    `lasting_alarms` found."""
    present = dict(lasting)
    for leaf, entry in zip(tree.leaves, entries, strict=True):
        for alarm, words in _of_connector(leaf.name, entry):
            present[alarm, leaf.name] = words
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


def _of_connector(name: str, entry: Entry) -> Iterator[tuple[str, str]]:
    """What is wrong with one connector, in words."""
    if entry.default_ma is None and entry.online and entry.settled:
        yield (
            "default_unknown",
            f"{name} has not taken its default profile: it counts with its rating of "
            f"{entry.hardware_ma / 1_000:g} A",
        )
    if entry.excess_ma:
        yield (
            "limit_exceeded",
            f"{name} draws {entry.excess_ma / 1_000:g} A, more than any limit it was sent",
        )
    if entry.feed_excess_ma:
        yield (
            "limit_exceeded",
            f"{name} feeds in {entry.feed_excess_ma / 1_000:g} A, more than it was told to",
        )
    if entry.stuck:
        yield "limit_refused", f"{name} did not take {entry.failures} limits in a row"
