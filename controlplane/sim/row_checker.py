"""No conductor over its rating, looked at on every tick, from outside.

The rule, exactly. On every phase of every circuit and feeder, at the end of every tick:

1. *May draw.* The building load, plus for each outlet on each of its conductors the larger of what
   flows and what its station offers, is within the rating. This holds at every tick and under every
   fault. What an outlet's station offers beyond the profiles it accepted is a lie that nobody can
   know before the meter tells: while a station lies, and for the 45 s after that a vehicle may need
   to follow, such an outlet counts with what was promised, everybody else with the truth.
2. *Does draw.* Where lies of stations in reach put what flows over the rating, Loadstar has
   `grace_ms` to see it and to make room: after that, no outlet on the row may still be offered,
   unchanged for as long, more than its default profile by a station that does not lie and was
   reachable all the time.
3. *Alarm.* A vehicle that draws over 1 A more than its station promised, for `grace_ms` during
   which the station was reachable and had nothing old to tell first, has brought the alarm
   `limit_exceeded`.

The rating is the highest that the description gave the circuit: an owner who describes less is
obeyed as soon as that is possible, which `optimum.py` checks. A checker trusts nothing that
Loadstar says of itself: currents come from vehicles, offers from the stations' own profiles.

Between two changes of what outlets draw or may draw, only buildings move. So ticks are noted as
they pass and looked at together: by the highest load of each building among them where that leaves
every row within its rating, one by one where it does not. Nothing goes unseen by that: what holds
under the highest load holds at every tick."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from controlplane.network import FeederConfig, Phase, SiteConfig
from controlplane.sim.buildings import Buildings
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_station import LIE_LASTS_MS, VirtualStation

__all__ = ["FEEDER_MARGIN", "RowChecker"]

FEEDER_MARGIN = 0.15
"""A feeder's description has no margin of its own, so its owner states a power that is this much
below what the conductor takes: buildings move between two reports, and while chargers are away."""

_ROUNDING_A = 0.001
"""What a limit in watts may gain per connector when it is turned into amperes."""
_BACKLOG_MAX = 5
"""Messages that wait in a station that tells of the present; with more it still tells of the
past."""
_LIE_SEEN_A = 1.0
"""A meter that stands less above its limit than this proves nothing."""
_TICKS_MAX = 30
"""Ticks that are looked at together: fewer than any grace lasts."""
_SPAN_MS = 60_000
"""The highest load of buildings is worked out for so long at once."""
_NEAR_A = 1e-6
"""A row that comes so near to its rating is looked at tick by tick."""

Floats = NDArray[np.float64]


class RowChecker:
    """See the module's docstring. `alarmed` says whether the alarm about a connector is on."""

    def __init__(
        self,
        sites: Sequence[SiteConfig],
        feeders: Sequence[FeederConfig],
        stations: Mapping[str, VirtualStation],
        violations: Violations,
        *,
        buildings: Buildings,
        grace_ms: int,
    ) -> None:
        self._violations = violations
        self._buildings = buildings
        self._grace_ms = grace_ms
        self.alarmed: set[str] = set()
        """Connectors about which Loadstar has raised `limit_exceeded`, by the alarm's subject."""
        self.utilisation_max = 0.0
        """The highest share of a rating that was drawn."""
        self._names: list[str] = []
        self._node: dict[str, int] = {}
        ratings_a: list[float] = []
        self._feeder_above = {feeder.id: feeder.parent for feeder in feeders}
        for feeder in feeders:
            self._add_node(f"feeder {feeder.id}")
            ratings_a.append(feeder.current_max_ma / 1_000 / (1 - FEEDER_MARGIN))
        for site in sites:
            for circuit in site.circuits:
                self._add_node(f"{site.id}/{circuit.id}")
                ratings_a.append(circuit.rating_a)
        self._rating_a = np.repeat(np.array(ratings_a), 3)
        self._outlets: list[tuple[VirtualStation, VirtualOutlet]] = []
        self._first_slot: list[int] = []
        self._lay_out(sites, stations)
        self._told: list[object] = [None] * len(self._outlets)
        """What is known of each outlet."""
        slots = self._first_slot[-1]
        self._slots_a = np.zeros((3, slots + 1))
        """What flows in each conductor, what counts of it, and the larger; a last one is empty."""
        self._most_a = np.zeros(len(self._rating_a))
        """On every row the sum of what counts, or with liars of the larger, unless `_dirty`."""
        self._rows_a: Floats | None = None
        """The sums of what flows and of what counts; None until somebody asks."""
        self._room_a = self._rating_a
        """What they leave to buildings without any doubt, unless `_dirty`."""
        self._loads_a = np.zeros(3 * len(sites) + 1)
        """What buildings draw per line; a last one draws nothing."""
        self._dirty = True
        self._span_end_ms = -1
        self._span_a = np.zeros(len(self._rating_a))
        """The most that buildings draw on every row at any instant of the present span."""
        self._ticks_ms: list[int] = []
        """Those not yet looked at."""
        self._liars: set[int] = set()
        """Outlets of stations that may lie."""
        self._suspects: dict[int, bool | None] = {}
        """Those of them that lie (True), did so a moment ago, or of which there is news (None)."""
        self._away: set[int] = set()
        """Those of all liars that are out of reach."""
        self._over_since_ms: dict[int, int] = {}
        self._lied_since_ms: dict[int, int] = {}

    def _add_node(self, name: str) -> None:
        self._node[name] = len(self._names)
        self._names.append(name)

    def _lay_out(self, sites: Sequence[SiteConfig], stations: Mapping[str, VirtualStation]) -> None:
        """Number outlets and their conductors (slots), and list which slot is on which row."""
        rows = range(3 * len(self._names))
        carried: list[list[int]] = [[] for _ in rows]
        measured: list[list[int]] = [[] for _ in rows]
        slot = 0
        for number, site in enumerate(sites):
            parents = {circuit.id: circuit.parent for circuit in site.circuits}
            if site.building_load is not None:
                for node in self._above(site, site.building_load.circuit, parents):
                    for column in range(3):
                        measured[node * 3 + column].append(number * 3 + column)
            for charger in site.chargers:
                nodes = self._above(site, charger.circuit, parents)
                for outlet in stations[charger.id].outlets:
                    outlet.index = len(self._outlets)
                    self._outlets.append((stations[charger.id], outlet))
                    self._first_slot.append(slot)
                    for line in outlet.spec.lines:
                        for node in nodes:
                            carried[node * 3 + line].append(slot)
                        slot += 1
        self._first_slot.append(slot)
        self._carried = _Sums(carried, empty=slot)
        self._measured = _Sums(measured, empty=3 * len(sites))
        self._tolerance_a = _ROUNDING_A * np.array([len(each) for each in carried])

    def _above(
        self, site: SiteConfig, circuit: str | None, parents: Mapping[str, str | None]
    ) -> list[int]:
        nodes = []
        while circuit:
            nodes.append(self._node[f"{site.id}/{circuit}"])
            circuit = parents[circuit]
        feeder = site.feeder
        while feeder:
            nodes.append(self._node[f"feeder {feeder}"])
            feeder = self._feeder_above[feeder]
        return nodes

    # --- news -------------------------------------------------------------------------------------

    def described(self, site: SiteConfig) -> None:
        """A site's description has changed; its circuits are the same."""
        self.settle()
        for circuit in site.circuits:
            row = self._node[f"{site.id}/{circuit.id}"] * 3
            self._rating_a[row : row + 3] = np.maximum(
                self._rating_a[row : row + 3], circuit.rating_a
            )

    def watch(self, station: VirtualStation, outlet: VirtualOutlet) -> None:
        """What an outlet draws or may draw has changed, or whether its station is in reach."""
        index, draw = outlet.index, outlet.draw
        lies, connected = station.quirks.lies, bool(station.connection)
        told = (
            draw.current_a,
            draw.phases,
            outlet.offered_a,
            outlet.promised_a,
            lies,
            connected,
        )
        if told == self._told[index]:
            return
        self._told[index] = told
        self.settle()
        if lies or index in self._liars:
            self._dirty |= not self._liars
            self._liars.add(index)
            self._suspects[index] = None
            (self._away.discard if connected else self._away.add)(index)
        self._count(outlet, outlet.offered_a)

    def _count(self, outlet: VirtualOutlet, may_a: float, *, flows_count: bool = True) -> None:
        first, end = self._first_slot[outlet.index], self._first_slot[outlet.index + 1]
        draw, slots_a = outlet.draw, self._slots_a
        # What feeds in may end at any moment: it takes nothing off what others draw.
        drawn_a, may_a = max(0.0, draw.current_a), max(0.0, may_a)
        for slot in range(first, end):
            flows_a = drawn_a if slot - first < draw.phases else 0.0
            counts_a = max(flows_a, may_a) if flows_count else may_a
            if slots_a[0, slot] != flows_a or slots_a[1, slot] != counts_a:
                slots_a[:, slot] = flows_a, counts_a, max(flows_a, counts_a)
                self._dirty = True

    # --- the tick ---------------------------------------------------------------------------------

    def check(self, now_ms: int) -> None:
        """A tick ends: look at this instant, now or before anything changes."""
        if self._suspects:
            self._look_at_suspects(now_ms)
        self._ticks_ms.append(now_ms)
        if self._over_since_ms or len(self._ticks_ms) >= _TICKS_MAX:
            self.settle()

    def settle(self) -> None:
        """Look at all ticks that were noted."""
        if not self._ticks_ms:
            return
        ticks_ms, self._ticks_ms = self._ticks_ms, []
        if self._dirty:
            self._add_up()
        if ticks_ms[-1] > self._span_end_ms:
            self._span_end_ms = max(ticks_ms[-1], ticks_ms[0] + _SPAN_MS)
            highest_a = self._buildings.highest_a(ticks_ms[0], self._span_end_ms)
            self._span_a = self._building_a(highest_a).copy()
        self._see_utilisation(ticks_ms)
        if np.logical_and.reduce(self._span_a <= self._room_a):
            self._found(ticks_ms[0], {}, set())
            return
        for now_ms in ticks_ms:
            self._look(now_ms)

    def _add_up(self) -> None:
        self._dirty = False
        # Where all that liars take leaves a row within its rating, they have taken nobody's room.
        self._most_a = self._carried.of(self._slots_a[2 if self._liars else 1])
        self._rows_a = None
        self._room_a = self._rating_a + (self._tolerance_a - _NEAR_A) - self._most_a

    def _see_utilisation(self, ticks_ms: Sequence[int]) -> None:
        """Note the highest share of a rating that is drawn. As much as counts is never less than
        what flows, so that mostly nobody need know how much that is."""

        def highest(building_a: Floats, rows_a: Floats) -> float:
            return float(np.maximum.reduce((building_a + rows_a) / self._rating_a))

        if highest(self._span_a, self._most_a) <= self.utilisation_max:
            return
        flows_a = self._sums_a[0]
        if highest(self._span_a, flows_a) > self.utilisation_max:
            building_a = self._building_a(self._buildings.highest_a(ticks_ms[0], ticks_ms[-1]))
            self.utilisation_max = max(self.utilisation_max, highest(building_a, flows_a))

    @property
    def _sums_a(self) -> Floats:
        """What flows and what counts on every row."""
        if self._rows_a is None:
            self._rows_a = self._carried.of(self._slots_a[:2])
        return self._rows_a

    def _look(self, now_ms: int) -> None:
        """Look at one instant."""
        building_a = self._building_a(self._buildings.current_a(now_ms))
        drawn_a, counted_a = building_a + self._sums_a
        over = counted_a > self._rating_a + self._tolerance_a + 1e-9
        words = {
            self._row_name(row): f"{counted_a[row]:.3f} A, of which {drawn_a[row]:.3f} A flow, "
            f"rated {self._rating_a[row]:g} A"
            for row in np.flatnonzero(over).tolist()
        }
        crowded: set[int] = set()
        if self._liars:
            seen_a = building_a + self._carried.of(self._seen_a())
            flows_over = seen_a > self._rating_a + _LIE_SEEN_A * len(self._liars)
            crowded = set(np.flatnonzero(flows_over & ~over).tolist())
        self._found(now_ms, words, crowded)

    def _found(self, now_ms: int, over: dict[str, str], crowded: set[int]) -> None:
        """Take in which rows are over their rating, in words, and which carry too much by lies."""
        self._violations.lasting_all(now_ms, "row over its rating", over)
        if self._over_since_ms or crowded:
            self._make_room(now_ms, crowded)

    def _building_a(self, buildings_a: Floats) -> Floats:
        """What buildings draw on every row."""
        self._loads_a[:-1] = buildings_a.ravel()
        return self._measured.of(self._loads_a)

    def _seen_a(self) -> Floats:
        """What flows, as far as Loadstar can know: of a liar that is out of reach, what it
        promised."""
        seen_a: Floats = self._slots_a[0].copy()
        for index in self._away & self._liars:
            slots = slice(self._first_slot[index], self._first_slot[index + 1])
            seen_a[slots] = self._slots_a[1, slots]
        return seen_a

    def _row_name(self, row: int) -> str:
        return f"{self._names[row // 3]} {list(Phase)[row % 3].value}"

    # --- stations that lie ------------------------------------------------------------------------

    def _look_at_suspects(self, now_ms: int) -> None:
        """Count liars with what they promised, and see that the alarm is raised."""
        for index, lied in sorted(self._suspects.items()):
            station, outlet = self._outlets[index]
            if outlet.offered_a > outlet.promised_a + _ROUNDING_A:
                outlet.liar_until_ms = now_ms + LIE_LASTS_MS
            lying = now_ms < outlet.liar_until_ms
            if lying is not lied:
                self.settle()
                self._suspects[index] = lying
                may_a = outlet.promised_a if lying else outlet.offered_a
                self._count(outlet, may_a, flows_count=not lying)
            if not lying:
                del self._suspects[index]
                if not station.quirks.lies:
                    self._liars.discard(index)
                    self._dirty = True
            above = outlet.draw.current_a > outlet.promised_a + _LIE_SEEN_A
            heard = station.connection and station.backlog <= _BACKLOG_MAX
            if not (above and lying and heard):
                self._lied_since_ms.pop(index, None)
                continue
            name = station.spec.id
            if len(station.outlets) > 1:
                name += f"/{outlet.spec.connector_id}"
            since_ms = max(self._lied_since_ms.setdefault(index, now_ms), station.connected_ms)
            if name in self.alarmed:
                # A host that takes over may see for itself first: it has as long again.
                self._lied_since_ms[index] = now_ms
            elif now_ms - since_ms > self._grace_ms:
                self._violations.record(now_ms, "no alarm about a station that lies", name)
                self._lied_since_ms[index] = now_ms

    def _make_room(self, now_ms: int, over: set[int]) -> None:
        for row in [row for row in self._over_since_ms if row not in over]:
            del self._over_since_ms[row]
        for row in sorted(over):
            since_ms = self._over_since_ms.setdefault(row, now_ms)
            if now_ms - since_ms <= self._grace_ms:
                continue
            left = self._reducible(row, now_ms - self._grace_ms)
            if left:
                self._violations.record(
                    now_ms, "no room made for a lie", f"{self._row_name(row)}: {', '.join(left)}"
                )
                self._over_since_ms[row] = now_ms

    def _reducible(self, row: int, before_ms: int) -> list[str]:
        """Who could long have been given less."""
        slots = self._carried.parts[row]
        found = []
        for index, (station, outlet) in enumerate(self._outlets):
            if slots.isdisjoint(range(self._first_slot[index], self._first_slot[index + 1])):
                continue
            if (
                index not in self._liars
                and station.connection
                and station.connected_ms < before_ms
                and outlet.stayed_since_ms < before_ms
                and outlet.offered_a > outlet.default_a + _LIE_SEEN_A
            ):
                found.append(f"{station.spec.id} at {outlet.offered_a:g} A")
        return found


class _Sums:
    """Sums of some of the values of an array, all in one pass. `parts` says of which; `empty` is
    the place of a 0 in the array."""

    def __init__(self, parts: Sequence[Sequence[int]], *, empty: int) -> None:
        self.parts = [frozenset(part) for part in parts]
        # `reduceat` knows no empty segments: every sum has a 0 besides.
        padded = [[*part, empty] for part in parts]
        self._starts = np.cumsum([0, *map(len, padded[:-1])], dtype=np.intp)
        self._places = np.array([place for part in padded for place in part], dtype=np.intp)

    def of(self, values: Floats) -> Floats:
        """The sums, along the last axis."""
        # `take` gathers six times as fast as an index array does.
        gathered = values.take(self._places, axis=-1)
        sums: Floats = np.add.reduceat(gathered, self._starts, axis=-1)
        return sums
