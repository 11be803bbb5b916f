"""One plan for all sites below a feeder, and the part of its capacity that each may plan with.

A plan of every site's vehicles within the feeders' capacities says what each site draws in each
slot at the least cost for all. That, and an even part of what is left over, is its allotment:
within it the site plans for itself, at once when somebody comes, and all together keep to the
feeders. Where nothing could ever be full, there is nothing to plan.

Currents are per phase, as feeders count them: a site with that of its fullest line, buildings
included. Invariant: the allotments below a feeder, with what it keeps for others, are no more than
its capacity in any slot, unless what nobody can plan is more by itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from controlplane.planning.problem import Cap, DemandCharge, Horizon, Meter, Node, Vehicle
from controlplane.planning.schedule import PlanQuestion, RowPrice, Schedule
from controlplane.units import MS_PER_S

__all__ = ["FEEDER", "Currents", "FeederAhead", "Joint", "SitePart", "full_rows", "missing_wh"]

FEEDER = "feeder"
"""What people call the node of one."""

GAP = 1e-3
_LINES = 3
_SPLIT = "/"
"""Between a site's id and the name of what is in it; no id holds one."""

Currents = NDArray[np.int64]


class FeederAhead(msgspec.Struct, frozen=True, kw_only=True):
    """What a feeder will carry, per phase, in mA."""

    feeder_id: str
    parent: str | None
    voltage_v: int
    start_ms: int
    limit_ma: tuple[int, ...]
    """By slot: its rating, the limits of its owner and what the grid has asked of it."""
    kept_ma: int
    """For those below it who do not plan."""


class SitePart(msgspec.Struct, frozen=True, kw_only=True):
    """What a site asks, as if no feeder were above it."""

    site_id: str
    feeder_id: str
    question: PlanQuestion
    load_ma: tuple[int, ...]
    """By slot, what is drawn there beside the vehicles that are planned, on the fullest line."""
    able_ma: int
    """What its supply bears."""


class Joint:
    """The sites below one feeder at an instant.

    Args:
        parts: each of a site whose feeder is in `feeders`; all in one currency.
        feeders: the feeder that plans, and those below it.
        now_ms: of the slot that runs, what is left from then on is shared out.
    """

    def __init__(
        self,
        root: str,
        parts: Sequence[SitePart],
        feeders: Mapping[str, FeederAhead],
        now_ms: int,
    ) -> None:
        self.root, self.parts, self.feeders = root, parts, feeders
        self.slot_ms = parts[0].question.horizon.slot_s * MS_PER_S
        self.start_ms = now_ms - now_ms % self.slot_ms
        self._now_s = (now_ms - self.start_ms) // MS_PER_S
        self._left = 1 - (now_ms - self.start_ms) / self.slot_ms
        starts = [(part.question.start_ms, part.question.horizon.slots) for part in parts]
        starts += [(each.start_ms, len(each.limit_ma)) for each in feeders.values()]
        self.slots = min(count - self._since(start_ms) for start_ms, count in starts)
        self.horizons = [self._moved(part) for part in parts]
        self.load_ma = np.array([self._cut(p.question.start_ms, p.load_ma) for p in parts])
        self._able_ma = np.array([part.able_ma for part in parts], np.int64)[:, None]
        self._most_ma = np.minimum(
            self.load_ma + [_most(each) for each in self.horizons],
            np.maximum(self._able_ma, self.load_ma),
        )
        self.limit_ma = {
            name: self._cut(each.start_ms, each.limit_ma) for name, each in feeders.items()
        }

    def _since(self, start_ms: int) -> int:
        """How many slots have gone by since something that began then was said; a clock that is
        ahead of ours has told of the next one already."""
        return max(0, (self.start_ms - start_ms) // self.slot_ms)

    def _cut(self, start_ms: int, values: Sequence[int]) -> Currents:
        first = self._since(start_ms)
        return np.array(values[first : first + self.slots], np.int64)

    # --- the question -----------------------------------------------------------------------------

    @property
    def binds(self) -> bool:
        """Whether a feeder could be full in some slot, were everybody to draw the most."""
        return any(
            (self.below_ma(name, self._most_ma) > self.limit_ma[name]).any()
            for name in self.feeders
        )

    def question(self) -> PlanQuestion:
        """One horizon of all sites, below the feeders."""
        horizons = self.horizons
        penalties = max(len(each.tier_penalties_per_kwh) for each in horizons)
        return PlanQuestion(
            horizon=Horizon(
                slots=self.slots,
                slot_s=self.slot_ms // MS_PER_S,
                nodes=(
                    *map(self._feeder, self.feeders.values()),
                    *(node for each in horizons for node in each.nodes),
                ),
                meters=tuple(meter for each in horizons for meter in each.meters),
                vehicles=tuple(vehicle for each in horizons for vehicle in each.vehicles),
                # The same priority is worth the same at every site.
                tier_penalties_per_kwh=tuple(
                    max(
                        each.tier_penalties_per_kwh[min(at, len(each.tier_penalties_per_kwh) - 1)]
                        for each in horizons
                    )
                    for at in range(penalties)
                ),
                late_price_per_kwh=max(each.late_price_per_kwh for each in horizons),
            ),
            start_ms=self.start_ms,
            gap=GAP,
        )

    def _feeder(self, feeder: FeederAhead) -> Node:
        """What vehicles may use of a feeder."""
        name = feeder.feeder_id
        room_ma = self.limit_ma[name] - self.below_ma(name, self.load_ma)
        room_ma = np.maximum(room_ma, 0)
        room_ma[0] = int(room_ma[0] * self._left)
        most_ma = int(self.limit_ma[name].max())
        return Node(
            id=name,
            parent=self.parent(name),
            kind=FEEDER,
            export_ma=(most_ma, most_ma, most_ma),
            caps=tuple(
                Cap(from_slot=at, until_slot=at + 1, import_ma=(each, each, each))
                for at, each in enumerate(room_ma.tolist())
            ),
        )

    def _moved(self, part: SitePart) -> Horizon:
        """A site's horizon as of now, with names that are its own."""
        horizon, prefix = part.question.horizon, part.site_id + _SPLIT
        since = self._since(part.question.start_ms)
        slots = slice(since, since + self.slots)
        return msgspec.structs.replace(
            horizon,
            slots=self.slots,
            nodes=tuple(
                msgspec.structs.replace(
                    node,
                    id=prefix + node.id,
                    parent=part.feeder_id if node.parent is None else prefix + node.parent,
                    caps=tuple(self._caps(node, since)),
                )
                for node in horizon.nodes
            ),
            meters=tuple(_meter(meter, prefix, slots) for meter in horizon.meters),
            vehicles=tuple(self._vehicles(horizon, prefix, since)),
        )

    def _caps(self, node: Node, since: int) -> Iterator[Cap]:
        for cap in node.caps:
            first, until = max(0, cap.from_slot - since), min(cap.until_slot - since, self.slots)
            if first < until:
                yield msgspec.structs.replace(cap, from_slot=first, until_slot=until)

    def _vehicles(self, horizon: Horizon, prefix: str, since: int) -> Iterator[Vehicle]:
        """Those who are still there; what they need is what they last needed."""
        gone_s, end_s = since * horizon.slot_s, self.slots * horizon.slot_s
        for vehicle in horizon.vehicles:
            arrival_s = max(self._now_s, vehicle.arrival_s - gone_s)
            if vehicle.departure_s - gone_s <= arrival_s or arrival_s >= end_s:
                continue
            yield msgspec.structs.replace(
                vehicle,
                id=prefix + vehicle.id,
                node=prefix + vehicle.node,
                arrival_s=arrival_s,
                departure_s=vehicle.departure_s - gone_s,
            )

    # --- the answer -------------------------------------------------------------------------------

    def planned_ma(self, schedule: Schedule | None) -> Currents:
        """What each site draws, shape (sites, slots); by the most that it could where nothing had
        to be planned."""
        if schedule is None:
            return np.asarray(self._most_ma)
        lines_ma = np.zeros((len(self.parts), _LINES, self.slots), np.int64)
        first = 0
        for at, horizon in enumerate(self.horizons):
            last = first + len(horizon.vehicles)
            drawn_ma = np.maximum(schedule.current_ma[first:last], 0)
            for line in range(_LINES):
                on = [line + 1 in vehicle.lines for vehicle in horizon.vehicles]
                lines_ma[at, line] = drawn_ma[on].sum(axis=0)
            first = last
        drawn_ma = lines_ma.max(axis=1)
        drawn_ma[:, 0] = drawn_ma[:, 0] / self._left
        return np.asarray(self.load_ma + drawn_ma)

    def allotted_ma(self, planned_ma: Currents) -> Currents:
        """What each site may plan with, buildings included; shape (sites, slots)."""
        found = np.zeros_like(planned_ma)
        self._share(self.root, self.limit_ma[self.root], planned_ma, found)
        return found

    def _share(
        self, name: str, capacity_ma: Currents, planned_ma: Currents, found: Currents
    ) -> None:
        """Share what a feeder has among the sites and feeders below it."""
        sites = [at for at, part in enumerate(self.parts) if part.feeder_id == name]
        below = [each for each in self.feeders if each != name and self.parent(each) == name]
        if not (sites or below):
            return

        def of(values_ma: Currents) -> Currents:
            feeders_ma = [self.below_ma(each, values_ma) for each in below]
            return np.vstack([values_ma[sites], *feeders_ma])

        able_ma = np.maximum(np.broadcast_to(self._able_ma, planned_ma.shape), self.load_ma)
        most_ma = of(able_ma)
        for place, each in enumerate(below, start=len(sites)):
            most_ma[place] = np.minimum(most_ma[place], self.limit_ma[each])
        room_ma = capacity_ma - self.feeders[name].kept_ma
        shares_ma = _shares(of(self.load_ma), of(planned_ma), most_ma, room_ma)
        found[sites] = shares_ma[: len(sites)]
        for share_ma, each in zip(shares_ma[len(sites) :], below, strict=True):
            self._share(each, share_ma, planned_ma, found)

    def below_ma(self, name: str, values_ma: Currents) -> Currents:
        """The sum of what sites draw below a feeder, with what it keeps for others, by slot."""
        chosen = [at for at, part in enumerate(self.parts) if name in self.above(part)]
        kept_ma = sum(
            each.kept_ma for each in self.feeders.values() if name in self._line(each.feeder_id)
        )
        return np.asarray(values_ma[chosen].sum(axis=0) + kept_ma, np.int64)

    def above(self, part: SitePart) -> list[str]:
        """The feeders above a site, its own first."""
        return self._line(part.feeder_id)

    def _line(self, name: str) -> list[str]:
        found = [name]
        while (parent := self.parent(found[-1])) is not None and parent not in found:
            found.append(parent)
        return found

    def parent(self, name: str) -> str | None:
        """The feeder above a feeder; the one that plans, where that is on the move; None above
        that."""
        if name == self.root:
            return None
        parent = self.feeders[name].parent
        return parent if parent in self.feeders else self.root


def missing_wh(schedule: Schedule) -> dict[str, list[int]]:
    """By site, what each vehicle lacks that leaves with less than it needs."""
    found: dict[str, list[int]] = {}
    for short in schedule.shortfalls:
        site_id = short.vehicle.partition(_SPLIT)[0]
        found.setdefault(site_id, []).append(short.missing_wh)
    return found


def full_rows(schedule: Schedule) -> dict[str, RowPrice]:
    """By feeder, what one more ampere on each of its lines would be worth, by slot."""
    found: dict[str, RowPrice] = {}
    for row in schedule.rows:
        if row.kind == FEEDER:
            before = found.get(row.node)
            price = row.price
            if before is not None:
                price = tuple(a + b for a, b in zip(before.price, price, strict=True))
            found[row.node] = msgspec.structs.replace(row, line=0, price=price)
    return found


def _meter(meter: Meter, prefix: str, slots: slice) -> Meter:
    return msgspec.structs.replace(
        meter,
        id=prefix + meter.id,
        node=prefix + meter.node,
        import_price_per_kwh=meter.import_price_per_kwh[slots],
        export_price_per_kwh=meter.export_price_per_kwh[slots],
        base_w=meter.base_w[slots],
        demand=tuple(_charge(each, slots) for each in meter.demand),
    )


def _charge(charge: DemandCharge, slots: slice) -> DemandCharge:
    return msgspec.structs.replace(charge, slots=charge.slots[slots])


def _most(horizon: Horizon) -> Currents:
    """What the vehicles of a site could draw on its fullest line, by slot."""
    steps = np.zeros((_LINES, horizon.slots + 1), np.int64)
    for vehicle in horizon.vehicles:
        first = vehicle.arrival_s // horizon.slot_s
        until = min(-(-vehicle.departure_s // horizon.slot_s), horizon.slots)
        for line in vehicle.lines:
            steps[line - 1, first] += vehicle.max_ma
            steps[line - 1, until] -= vehicle.max_ma
    return np.asarray(steps.cumsum(axis=1)[:, :-1].max(axis=0), np.int64)


def _shares(
    least_ma: Currents, planned_ma: Currents, most_ma: Currents, capacity_ma: Currents
) -> Currents:
    """Everybody what is planned, and of the rest as much as brings the lowest to one level, up to
    what each could ever use. Where lines are uneven and not all of the plan fits, everybody gives
    up the same part of what is above `least_ma`.

    Args:
        least_ma: shape (members, slots), as are the next two.
        capacity_ma: shape (slots,).
    """
    planned_ma = np.maximum(planned_ma, least_ma)
    above_ma = planned_ma - least_ma
    room_ma = np.maximum(capacity_ma - least_ma.sum(axis=0), 0)
    wanted_ma = np.maximum(above_ma.sum(axis=0), 1)
    given_ma = least_ma + above_ma * np.minimum(room_ma, wanted_ma) // wanted_ma
    most_ma = np.maximum(most_ma, given_ma)
    low = np.zeros_like(capacity_ma)
    high = np.maximum(capacity_ma, 0)
    while (low < high).any():
        level = (low + high + 1) // 2
        fits = np.clip(level, given_ma, most_ma).sum(axis=0) <= capacity_ma
        low, high = np.where(fits, level, low), np.where(fits, high, level - 1)
    return np.asarray(np.clip(low, given_ma, most_ma), np.int64)
