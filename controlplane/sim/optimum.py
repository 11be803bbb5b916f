"""Is the allocation the offline optimum of the moment? An oracle over the whole tree, by its own
arithmetic, that sees vehicles and stations and nothing of what Loadstar thinks.

An allocation wastes nothing if and only if everybody who could take more has a *bottleneck*: a row
on its path that is full. So no second solver is needed, and none can be wrong. Full means full
under what the rules reserve: the building's load, the margin, the default profile of every
connector that has no session. Who goes first on a full row is a matter of weights, turns and
urgency, which cannot be told from outside; that it is shared out fairly is for the core's own
certificates.

Tolerances, all in the chargers' own terms: a row is full with less than `_ROW_A` left (steps of up
to 1 A, changes below half an ampere, a part of an increase not worth a message); a site's supply
under a cap is full within 2 % of it, as caps change by no less. A vehicle that takes less than it
is offered may keep 2 A or a tenth of that in hand and no more (`lent`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from controlplane.network import ChargerConfig, ConnectorConfig, SiteConfig
from controlplane.sim.vehicle import Vehicle
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_station import VirtualStation

__all__ = ["Moment", "OptimumWatch", "shortfalls"]

_ROW_A = 2.0
_HEADROOM_A, _HEADROOM_SHARE = 2.0, 0.1
_LENT_TOLERANCE_A = 1.5
_CAP_SHARE = 0.02
_CAP_A = 1.5
_STEP_A = 0.5
_GIVES_UP_STEPS = 2
"""A sleeper is first held at the least that it could wake up with, and then switched off."""

Lines = tuple[float, float, float]


@dataclass(frozen=True)
class Moment:
    """What counts at an instant: descriptions and limits in force, in amperes per phase."""

    sites: Sequence[SiteConfig]
    stations: Mapping[str, VirtualStation]
    buildings_a: Mapping[str, Lines]
    feeder_a: float
    limits_a: Mapping[str, float]
    """Of sites that are told to stay below their supply."""

    @cached_property
    def added_up(self) -> list[_Site]:
        """Every site, with what stands on its rows."""
        return [_Site(self, site) for site in self.sites]


@dataclass(frozen=True)
class _Claim:
    """One connector: what it is offered, and what it would take if it were offered more."""

    name: str
    rows: tuple[int, ...]
    offered_a: float
    fallback_a: float
    least_a: float
    could_a: float
    charging: bool
    lends_a: float
    """Offered, beyond what its vehicle takes and may keep in hand."""

    @property
    def reserved_a(self) -> float:
        return max(self.offered_a, self.fallback_a)

    @property
    def short_a(self) -> float:
        return self.could_a - self.offered_a


class OptimumWatch:
    """Who gets less than at the optimum, and for how long: while nobody comes, goes or fails, a
    shortfall ends within `within_ms`; None only measures how long it lasts.

    A vehicle that takes nothing any more goes, though its cable stays: what it gives back counts
    from when it was told to, in `_GIVES_UP_STEPS` at most, on its own site. Where meters speak less
    often than the bound lasts (`seldom_metered`), one whose meter showed more than its station had
    promised keeps what it took until that meter speaks again."""

    def __init__(
        self,
        rule: str,
        violations: Violations,
        *,
        lent: bool,
        within_ms: int | None,
        seldom_metered: bool = False,
    ) -> None:
        self.longest_ms = 0
        """The longest that somebody was short, by what was looked at."""
        self._rule = rule
        self._violations = violations
        self._lent = lent
        self._within_ms = within_ms
        self._seldom_metered = seldom_metered
        self._since_ms: dict[str, int] = {}
        self._asleep_a: dict[str, float] = {}
        self._gave_up: Counter[str] = Counter()

    def begin(self, now_ms: int, moment: Moment) -> None:
        """Faults have stopped: whoever is short is so from now on."""
        self._asleep_a = {}
        self._gave_up.clear()
        self._since_ms = dict.fromkeys(shortfalls(moment, lent=self._lent), now_ms)

    def look(self, now_ms: int, moment: Moment) -> None:
        """Look at this instant."""
        short = shortfalls(moment, lent=self._lent)
        excused = self._sites_given_back(moment)
        if self._seldom_metered:
            excused += _sites_in_excess(moment)
        for site in excused:
            for charger in site.chargers:
                for connector in charger.connectors:
                    self._since_ms.pop(f"{charger.id}/{connector.id}", None)
        self._since_ms = {name: self._since_ms.get(name, now_ms) for name in short}
        for name, words in short.items():
            lasted_ms = now_ms - self._since_ms[name]
            within_ms = self._within_ms
            if within_ms is not None and lasted_ms > within_ms >= self.longest_ms:
                self._violations.record(now_ms, self._rule, f"{name} {words}")
            self.longest_ms = max(self.longest_ms, lasted_ms)

    def _sites_given_back(self, moment: Moment) -> list[SiteConfig]:
        """Where a sleeper was told to take less since the last look."""
        asleep_a: dict[str, float] = {}
        found = []
        for site in moment.sites:
            gave_up = False
            for name, offered_a in _asleep(moment, site):
                asleep_a[name] = offered_a
                if offered_a < self._asleep_a.get(name, 0.0) - _STEP_A:
                    self._gave_up[name] += 1
                    gave_up |= self._gave_up[name] <= _GIVES_UP_STEPS
            if gave_up:
                found.append(site)
        self._asleep_a = asleep_a
        return found


def shortfalls(moment: Moment, *, lent: bool) -> dict[str, str]:
    """Everybody who gets less than at the optimum, and why in words; none at the optimum.

    Args:
        lent: whether what vehicles do not take must have been lent by now.
    """
    sites = moment.added_up
    spare_a = moment.feeder_a - sum(site.used_a(lent=lent) for site in sites)
    slack_a = sum(max(_CAP_A, _CAP_SHARE * site.used_a(lent=False)) for site in sites)
    found: dict[str, str] = {}
    for site in sites:
        found |= site.shortfalls(feeder_a=spare_a - slack_a, lent=lent)
    return found


class _Site:
    def __init__(self, moment: Moment, config: SiteConfig) -> None:
        self._config = config
        nodes = {circuit.id: node for node, circuit in enumerate(config.circuits)}
        parents = {circuit.id: circuit.parent for circuit in config.circuits}
        self._supply = nodes[config.supply.id] * 3
        building_a = [0.0] * (3 * len(nodes))
        if config.building_load is not None:
            for node in _path(config.building_load.circuit, parents):
                row = nodes[node] * 3
                building_a[row : row + 3] = moment.buildings_a[config.id]
        self._building_a = building_a
        self._claims = [
            _claim(
                charger,
                connector,
                outlet,
                rows=tuple(
                    nodes[node] * 3 + phase.column
                    for node in _path(charger.circuit, parents)
                    for phase in connector.phases
                ),
            )
            for charger in config.chargers
            for connector, outlet in zip(
                charger.connectors, moment.stations[charger.id].outlets, strict=True
            )
        ]
        self._fallback_a = self._sums([claim.fallback_a for claim in self._claims])
        self._reserved_a = self._sums([claim.reserved_a for claim in self._claims])
        self._lends_a = self._sums([claim.lends_a for claim in self._claims])
        self._room_a = self._rooms(moment.limits_a.get(config.id))

    def _sums(self, claims_a: Sequence[float]) -> list[float]:
        """Added up on every row."""
        sums_a = [0.0] * len(self._building_a)
        for claim, claim_a in zip(self._claims, claims_a, strict=True):
            for row in claim.rows:
                sums_a[row] += claim_a
        return sums_a

    def _rooms(self, limit_a: float | None) -> list[float]:
        """What every row has for chargers."""
        rooms = []
        for node, circuit in enumerate(self._config.circuits):
            margin_a = circuit.rating_a * self._config.margin_percent / 100
            for row in range(3 * node, 3 * node + 3):
                fallback_a = self._fallback_a[row]
                room_a = circuit.rating_a - self._building_a[row]
                within_a = room_a - margin_a
                if limit_a is not None and circuit.parent is None:
                    room_a = min(room_a, limit_a - self._building_a[row])
                rooms.append(max(min(within_a, room_a), min(fallback_a, room_a)))
        return rooms

    def _left_a(self, row: int, *, lent: bool) -> float:
        lends_a = self._lends_a[row] if lent else 0.0
        return self._room_a[row] - self._reserved_a[row] + lends_a

    def used_a(self, *, lent: bool) -> float:
        """What the site needs of its feeder, on its worst phase."""
        rows = range(self._supply, self._supply + 3)
        return max(
            self._room_a[row] - self._left_a(row, lent=lent) + self._building_a[row] for row in rows
        )

    def shortfalls(self, *, feeder_a: float, lent: bool) -> dict[str, str]:
        """`feeder_a`: what the feeder has left, beyond the changes of caps that it keeps to itself;
        full with as little left as a row."""
        found: dict[str, str] = {}
        for claim in self._claims:
            # What it lacks to run at all, or a little more where it runs.
            step_a = max(_ROW_A, claim.least_a - claim.reserved_a)
            if not claim.charging or claim.short_a <= _ROW_A or feeder_a < step_a:
                continue
            offered = f"is offered {claim.offered_a:.2f} A of {claim.could_a:.2f} A"
            full = [row for row in claim.rows if self._left_a(row, lent=lent) < step_a]
            if not full:
                left_a = min(self._left_a(row, lent=lent) for row in claim.rows)
                found[claim.name] = f"{offered}, and {left_a:.2f} A are left on all its rows"
        return found


def _sites_in_excess(moment: Moment) -> list[SiteConfig]:
    """Where the last that was heard of a meter is that more flows than was promised."""
    return [
        site
        for site in moment.sites
        if any(
            outlet.shows_excess
            for charger in site.chargers
            for outlet in moment.stations[charger.id].outlets
        )
    ]


def _asleep(moment: Moment, site: SiteConfig) -> Iterator[tuple[str, float]]:
    """Vehicles that take nothing now, and what they are offered."""
    for charger in site.chargers:
        outlets = moment.stations[charger.id].outlets
        for connector, outlet in zip(charger.connectors, outlets, strict=True):
            vehicle = outlet.vehicle if outlet.transaction is not None else None
            if vehicle is not None and vehicle.usable_a() < connector.current_min_a:
                yield f"{charger.id}/{connector.id}", outlet.offered_a


def _claim(
    charger: ChargerConfig,
    connector: ConnectorConfig,
    outlet: VirtualOutlet,
    rows: tuple[int, ...],
) -> _Claim:
    vehicle = outlet.vehicle if outlet.transaction is not None else None
    usable_a = 0.0 if vehicle is None else vehicle.usable_a()
    takes_a = 0.0 if vehicle is None else min(usable_a, outlet.offered_a)
    fallback_a = min(charger.offline_current_a, connector.current_max_a)
    keeps_a = takes_a + max(_HEADROOM_A, takes_a * _HEADROOM_SHARE) + _LENT_TOLERANCE_A
    # One that sleeps keeps what it needs to begin.
    begins_a = 0.0 if vehicle is None else vehicle.spec.current_min_a + _LENT_TOLERANCE_A
    keeps_a = max(keeps_a, connector.current_min_a, begins_a, fallback_a)
    could_a = min(usable_a, connector.current_max_a)
    return _Claim(
        name=f"{charger.id}/{connector.id}",
        rows=rows,
        offered_a=outlet.offered_a,
        fallback_a=fallback_a,
        least_a=connector.current_min_a,
        could_a=could_a,
        charging=vehicle is not None and _claims(vehicle, connector, usable_a),
        lends_a=max(0.0, outlet.offered_a - keeps_a),
    )


def _claims(vehicle: Vehicle, connector: ConnectorConfig, usable_a: float) -> bool:
    """Whether it can be seen to want current. One that pauses by itself, or that needs more than
    its connector's described minimum to start, is understood only over many minutes."""
    spec = vehicle.spec
    steady = spec.rhythm_s is None and spec.current_min_a <= connector.current_min_a
    return steady and usable_a >= connector.current_min_a


def _path(circuit: str | None, parents: Mapping[str, str | None]) -> list[str]:
    nodes = []
    while circuit is not None:
        nodes.append(circuit)
        circuit = parents[circuit]
    return nodes
