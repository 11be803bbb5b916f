"""A site as people see it: sums per circuit, and for every connector why it is given what it is.

Invariant: what is said here is read from the ledger and the last plan; nothing is decided here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from controlplane.ids import SiteId
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.budget import Budget
from controlplane.site.demand import Demand
from controlplane.site.ledger import Entry
from controlplane.site.messages import (
    CircuitView,
    ConnectorAllocation,
    PhaseCurrents,
    SitePowerView,
    SiteView,
)
from controlplane.site.round import Plan
from controlplane.site.state import SiteState
from controlplane.site.tree import Leaf, SiteTree
from controlplane.site.why import Cause, Why

__all__ = [
    "UNAUTHORISED_WORDS",
    "Picture",
    "amperes",
    "closed_words",
    "connector_allocation",
    "decision_words",
    "external_words",
    "holding_words",
    "measured_rows",
    "override_words",
    "row_words",
    "site_view",
]


class Picture(msgspec.Struct, frozen=True):
    """All that a view is drawn from."""

    state: SiteState
    tree: SiteTree
    entries: Sequence[Entry]
    demands: Sequence[Demand | None]
    measured_ma: Sequence[PhaseCurrents | None]
    """Per connector, on the lines of the site."""
    statuses: Sequence[ConnectorStatus | None]
    """Per connector, as its station said last."""
    rows: Budget
    plan: Plan | None
    waiting: Mapping[int, int]
    """Connectors whose increase waits for room, and the row that is short."""
    limit_ma: int | None
    grid_ma: int | None
    """What the grid asks the site to stay below, per phase."""
    stale: bool
    circuit_limits_ma: Mapping[int, int]
    """Operators' limits in force, by node."""
    override_ma: Sequence[int | None]
    """Per connector, the operator's limit in force."""
    opens: str
    """When the site opens next; empty where it is open."""
    power: SitePowerView | None = None
    plan_words: Callable[[int], str] = lambda _: ""
    """What the site's plan makes a connector do, by its position; empty where there is none."""


def site_view(picture: Picture, now_ms: int) -> SiteView:
    """The view at an instant."""
    state = picture.state
    measured = measured_rows(picture.tree, picture.measured_ma)
    return SiteView(
        site_id=SiteId(picture.tree.config.id),
        config=state.config,
        at_ms=now_ms,
        round=state.round,
        cap_ma=state.cap_ma,
        limit_ma=picture.limit_ma,
        building_load_stale=picture.stale,
        violations=state.violations,
        circuits=tuple(
            CircuitView(
                circuit_id=circuit.id,
                rating_ma=_phases(picture.tree.rating_ma, node),
                capacity_ma=_phases(picture.rows.capacity_ma, node),
                building_ma=_phases(picture.rows.building_ma, node),
                liability_ma=_phases(picture.rows.liability_ma, node),
                measured_ma=_phases(measured, node),
                limit_ma=picture.circuit_limits_ma.get(node),
            )
            for node, circuit in enumerate(picture.tree.config.circuits)
        ),
        connectors=tuple(
            connector_allocation(picture, position, now_ms)
            for position in range(len(picture.entries))
        ),
        power=picture.power,
    )


def measured_rows(tree: SiteTree, measured_ma: Sequence[PhaseCurrents | None]) -> list[int]:
    """What the meters of the connectors below each row show together."""
    sums = [0] * tree.lines
    for leaf, currents in zip(tree.leaves, measured_ma, strict=True):
        if currents is not None:
            for row in leaf.rows:
                sums[row] += currents[row % 3]
    return sums


def _phases(rows: Sequence[int], node: int) -> PhaseCurrents:
    return (rows[node * 3], rows[node * 3 + 1], rows[node * 3 + 2])


def connector_allocation(picture: Picture, position: int, now_ms: int) -> ConnectorAllocation:
    """One connector, by its position in the tree."""
    entry = picture.entries[position]
    target_ma = None if picture.plan is None else picture.plan.target_ma[position]
    if target_ma is None:
        target_ma = 0 if entry.session_id is None else (entry.asked_ma or 0)
    demand, leaf = picture.demands[position], picture.tree.leaves[position]
    need = None if demand is None else demand.need
    departure = None if demand is None else demand.departure(now_ms)
    return ConnectorAllocation(
        charger_id=leaf.key.charger_id,
        connector_id=leaf.key.connector_id,
        session_id=entry.session_id,
        target_ma=target_ma,
        limit_ma=entry.acknowledged_ma if entry.session_id is not None else entry.default_ma,
        liability_ma=entry.liability_ma,
        measured_ma=entry.measured_ma,
        reason=_reason(picture, position, target_ma),
        override_ma=picture.override_ma[position],
        energy_needed_wh=None if demand is None else demand.energy_needed_wh(),
        laxity_ms=None if demand is None else demand.laxity_ms(leaf, now_ms),
        departure_ms=None if departure is None else departure[0],
        need_source=None if need is None else need[1].value,
        departure_source=None if departure is None else departure[1].value,
    )


def _reason(picture: Picture, position: int, target_ma: int) -> str:
    """Why the connector may draw what it may: what is unusual first, then what the ledger waits
    for, then what the plan found."""
    entry, leaf = picture.entries[position], picture.tree.leaves[position]
    if entry.feed_excess_ma:
        return f"feeds in {amperes(entry.feed_excess_ma)}, more than it was told to"
    if entry.excess_ma:
        return f"draws {amperes(entry.excess_ma)} against a limit of {amperes(entry.held_ma)}"
    if entry.default_ma is None and entry.acknowledged_ma is None:
        return f"default profile not acknowledged yet: {_counted(entry)}, its rating"
    if not entry.online:
        return f"charger offline: {_counted(entry)}"
    if not entry.settled:
        return f"charger not settled after its boot: {_counted(entry)}"
    if entry.session_id is None:
        status = picture.statuses[position] or ConnectorStatus.AVAILABLE
        return f"{_IDLE_WORDS.get(status, 'no session')}: {_counted(entry)}, its default profile"
    if entry.stuck:
        return f"{entry.failures} limits failed in a row: {_counted(entry)}, tried again"
    doubtful_ma = entry.uncertain_ma if entry.failures and not entry.pending else 0
    if doubtful_ma > max(entry.held_ma, entry.draining_ma):
        told = f"its limit of {amperes(doubtful_ma)} was not answered or not taken"
        return f"{told}: {_counted(entry)}, tried again"
    if entry.reducing and entry.asked_ma is not None:
        return f"reduction to {amperes(entry.asked_ma)} not confirmed yet: {_counted(entry)}"
    if position in picture.waiting:
        return _waiting(picture, picture.waiting[position])
    if picture.plan is None or picture.demands[position] is None:
        return f"session not known in full yet: {_counted(entry)}"
    return _words(picture, picture.plan.why[position], leaf, target_ma)


def decision_words(picture: Picture, position: int, limit_ma: int) -> str:
    """Why the last round gives a connector this limit now; where that is only a part of what it
    wants, whom the rest waits for."""
    plan, entry = picture.plan, picture.entries[position]
    target_ma = None if plan is None else plan.target_ma[position]
    if plan is None or target_ma is None:
        return "told again what it was told before"
    if entry.stuck:
        return f"{entry.failures} limits failed in a row: asked for the least it needs"
    words = _words(picture, plan.why[position], picture.tree.leaves[position], target_ma)
    if limit_ma < target_ma:
        return f"{words}; a part of {amperes(target_ma)}, the rest waits for room"
    return words


def _counted(entry: Entry) -> str:
    return f"counted at {amperes(entry.liability_ma)}"


def _waiting(picture: Picture, row: int) -> str:
    """Whose reduction an increase waits for."""
    blockers = [
        leaf.name
        for leaf, entry in zip(picture.tree.leaves, picture.entries, strict=True)
        if entry.reducing and (row in leaf.rows or row == picture.tree.power_row)
    ]
    if not blockers:
        return f"waiting for room on {picture.tree.row_name(row)}"
    more = f" and {len(blockers) - 1} more" if len(blockers) > 1 else ""
    return f"waiting for {blockers[0]}{more} to confirm its reduction"


_IDLE_WORDS = {
    ConnectorStatus.FAULTED: "its station reports a fault",
    ConnectorStatus.FINISHING: "its session is over, its vehicle is still plugged in",
    ConnectorStatus.OCCUPIED: "plugged in, no session yet",
    ConnectorStatus.PREPARING: "plugged in, no session yet",
    ConnectorStatus.RESERVED: "reserved, no session",
    ConnectorStatus.UNAVAILABLE: "out of service",
}
"""What there is instead of a session."""

UNAUTHORISED_WORDS = "its token is not accepted"
"""Why a session without authorisation is given nothing."""

_FIXED_WORDS = {
    Cause.UNAUTHORISED: UNAUTHORISED_WORDS,
    Cause.NUDGED: "vehicle did not resume after a pause: paused once more to wake it",
    Cause.SURPLUS: "waits for the sun: the solar surplus allows no more",
    Cause.FEEDS: "feeds in: the grid or the plan wants it",
    Cause.GRID: "waits: the grid wants the site to draw less, and there is time",
    Cause.STALE: "building meter is stale: nobody is raised",
    Cause.NO_SESSION: "not steered at the moment",
    Cause.UNSTEERED: "not steered at the moment",
}


def _words(picture: Picture, why: Why, leaf: Leaf, target_ma: int) -> str:
    row = row_words(picture, why.row) if why.row >= 0 else ""
    match why.cause:
        case Cause.OWN_MAXIMUM:
            return f"own maximum of {amperes(leaf.max_ma)}"
        case Cause.VEHICLE_MAXIMUM:
            return f"the vehicle's own maximum of {amperes(target_ma)}"
        case Cause.PLAN:
            return picture.plan_words(picture.tree.index[leaf.key])
        case Cause.HABIT:
            return f"draws less than offered: held at {amperes(target_ma)}, the rest is lent"
        case Cause.ROW:
            return f"limited by {row}"
        case Cause.PAUSED:
            return f"paused: no room for its minimum on {row}"
        case Cause.TIGHT:
            return f"held at its default: {row} has no room beyond the default profiles"
        case Cause.HOLDING:
            holds = holding_words(picture, picture.tree.index[leaf.key])
            return f"{holds}: offered its minimum in case it wakes, where others leave room"
        case Cause.CLOSED:
            return closed_words(picture)
        case Cause.OVERRIDE:
            return override_words(picture, leaf)
        case Cause.EXTERNAL:
            return external_words(picture, leaf)
        case _:
            return _FIXED_WORDS[why.cause]


def holding_words(picture: Picture, position: int) -> str:
    """Why a session is offered its minimum at most."""
    demand = picture.demands[position]
    if picture.statuses[position] is ConnectorStatus.FAULTED:
        return _IDLE_WORDS[ConnectorStatus.FAULTED]
    if demand is not None and demand.satisfied:
        return "it has what its driver asked for"
    return "vehicle takes no more at present"


def closed_words(picture: Picture) -> str:
    """That the site is closed, and until when."""
    return "outside opening hours" + (picture.opens and f", open from {picture.opens}")


def override_words(picture: Picture, leaf: Leaf) -> str:
    """The operator's limit on a connector."""
    limit_ma = picture.override_ma[picture.tree.index[leaf.key]] or 0
    return _below_minimum(f"the operator's limit of {amperes(limit_ma)}", leaf, limit_ma)


def external_words(picture: Picture, leaf: Leaf) -> str:
    """The limit on a connector that is nobody's here."""
    demand = picture.demands[picture.tree.index[leaf.key]]
    limit_ma = 0 if demand is None else demand.external_ma or 0
    words = f"another system's limit of {amperes(limit_ma)} on the charger"
    return _below_minimum(words, leaf, limit_ma)


def _below_minimum(words: str, leaf: Leaf, limit_ma: int) -> str:
    too_low = 0 < limit_ma < leaf.min_ma
    return f"{words}, below its minimum of {amperes(leaf.min_ma)}" if too_low else words


def row_words(picture: Picture, row: int) -> str:
    """The row, and whether it is the rating or a given limit that binds."""
    name = picture.tree.row_name(row)
    if row == picture.tree.power_row:
        return name
    given = {"the operator's limit": picture.circuit_limits_ma.get(row // 3)}
    if row in picture.tree.supply_rows:
        if picture.tree.config.feeder is not None and picture.state.cap_id == 0:
            return f"{name} (its feeder has not said yet what the site may draw)"
        given |= {"the feeder's cap": picture.state.cap_ma, "the site's limit": picture.limit_ma}
        if picture.grid_ma is not None and picture.grid_ma == picture.limit_ma:
            del given["the site's limit"]
            given["the grid event's limit"] = picture.grid_ma
    known = [(limit_ma, source) for source, limit_ma in given.items() if limit_ma is not None]
    rating_ma = picture.tree.rating_ma[row] - picture.tree.margin_ma[row]
    least_ma, source = min(known, default=(rating_ma, ""))
    if least_ma >= rating_ma:
        return name
    return f"{name} ({source} of {amperes(least_ma)})"


def amperes(current_ma: int) -> str:
    """A current for people."""
    return f"{current_ma / 1_000:g} A"
