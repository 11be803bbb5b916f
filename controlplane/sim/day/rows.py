"""The rows of a feeder: every phase of every circuit and of the feeder itself, and what flows on
them.

Invariant: rows are added up from what stations physically draw or offer and what buildings draw,
in whole milliamperes, so that sums kept over a day do not drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from controlplane.network import SiteConfig
from controlplane.sim.day.scenario import FeederDay
from controlplane.sim.outlet import Outlet
from controlplane.sim.violations import Violations

__all__ = ["RowMeter", "Rows"]

_ROUNDING_MA = 1
"""What a limit in watts may gain per station when it is turned into amperes."""


class Rows:
    """Which rows there are, what each is rated for and which of them a station's lines load.

    Row `node * 3 + line`; node 0 is the feeder, then the circuits of each site in order."""

    def __init__(self, feeder: FeederDay) -> None:
        self.names = [feeder.config.id]
        ratings_a = [float(feeder.rating_a)]
        self.site_nodes: list[range] = []
        self._nodes: dict[str, tuple[int, ...]] = {}
        """By charger: its circuit, all above it, the feeder."""
        self._building_nodes: list[tuple[int, ...]] = []
        for plan in feeder.sites:
            first = len(self.names)
            index = {each.id: first + number for number, each in enumerate(plan.config.circuits)}
            self.site_nodes.append(range(first, first + len(index)))
            self.names += [f"{plan.config.id}/{each.id}" for each in plan.config.circuits]
            ratings_a += [circuit.rating_a for circuit in plan.config.circuits]
            paths = _paths(plan.config, index)
            for charger in plan.config.chargers:
                self._nodes[charger.id] = paths[charger.circuit]
            self._building_nodes.append(paths[plan.config.supply.id])
        self.rating_a = np.repeat(np.array(ratings_a), 3)

    def __len__(self) -> int:
        return len(self.rating_a)

    def name(self, row: int) -> str:
        return f"{self.names[row // 3]} L{row % 3 + 1}"

    def of_line(self, charger_id: str, line: int) -> list[int]:
        """The rows that one line of a charger loads."""
        return [node * 3 + line for node in self._nodes[charger_id]]

    def of_building(self, site: int, line: int) -> list[int]:
        """The rows that one line of a site's building loads."""
        return [node * 3 + line for node in self._building_nodes[site]]

    def buildings_a(self, feeder: FeederDay, instants_ms: Sequence[int]) -> NDArray[np.float64]:
        """What buildings alone put on each row, shape (rows, instants)."""
        load_a = np.zeros((len(self), len(instants_ms)))
        for site, plan in enumerate(feeder.sites):
            currents = np.array([plan.building.current_a(at_ms) for at_ms in instants_ms])
            for line in range(3):
                for row in self.of_building(site, line):
                    load_a[row] += currents[:, line]
        return load_a


def _paths(site: SiteConfig, index: Mapping[str, int]) -> dict[str, tuple[int, ...]]:
    parents = {circuit.id: circuit.parent for circuit in site.circuits}
    paths = {}
    for circuit in site.circuits:
        path, node = [], circuit.id
        while True:
            path.append(index[node])
            parent = parents[node]
            if parent is None:
                break
            node = parent
        paths[circuit.id] = (*path, 0)
    return paths


class RowMeter:
    """Adds rows up at every change of anything on them, and holds each to its rating: what flows or
    what a station would let flow, whichever is more, beside the buildings."""

    def __init__(self, rows: Rows, feeder: FeederDay, violations: Violations) -> None:
        self._rows = rows
        self._violations = violations
        count = len(rows)
        self._rating_ma = [round(rating_a * 1_000) for rating_a in rows.rating_a.tolist()]
        self._drawn_ma = [0] * count
        self._counted_ma = [0] * count
        self._peak_ma = [0] * count
        self._over: dict[str, str] = {}
        self._lines: dict[str, list[list[int]]] = {}
        self._last: dict[str, list[tuple[int, int]]] = {}
        self._buildings: list[tuple[int, int, int]] = [(0, 0, 0)] * len(feeder.sites)
        for plan in feeder.sites:
            for station in plan.stations:
                lines = station.outlets[0].lines
                self._lines[station.id] = [rows.of_line(station.id, line) for line in lines]
                self._last[station.id] = [(0, 0)] * len(lines)
        below = [0] * count
        for conductors in self._lines.values():
            for conductor in conductors:
                for row in conductor:
                    below[row] += 1
        self._allowed_ma = [
            rating_ma + _ROUNDING_MA * number
            for rating_ma, number in zip(self._rating_ma, below, strict=True)
        ]

    def station(self, station_id: str, outlet: Outlet, now_ms: int) -> None:
        """What an outlet draws or offers may have changed."""
        last, draw = self._last[station_id], outlet.draw
        flows_ma = round(draw.current_a * 1_000)
        offered_ma = round(outlet.offered_a * 1_000) if outlet.vehicle is not None else 0
        for conductor, rows in enumerate(self._lines[station_id]):
            drawn_ma = flows_ma if conductor < draw.phases else 0
            counted_ma = max(drawn_ma, offered_ma)
            if last[conductor] != (drawn_ma, counted_ma):
                before_drawn_ma, before_counted_ma = last[conductor]
                last[conductor] = (drawn_ma, counted_ma)
                self._add(rows, drawn_ma - before_drawn_ma, counted_ma - before_counted_ma, now_ms)

    def building(self, site: int, current_a: tuple[float, float, float], now_ms: int) -> None:
        """What a building draws has changed."""
        l1, l2, l3 = (round(each * 1_000) for each in current_a)
        before, self._buildings[site] = self._buildings[site], (l1, l2, l3)
        for line in range(3):
            more_ma = self._buildings[site][line] - before[line]
            self._add(self._rows.of_building(site, line), more_ma, more_ma, now_ms)

    def take_peaks_a(self) -> NDArray[np.float64]:
        """The most that each row carried since this was asked last."""
        peaks_ma, self._peak_ma = self._peak_ma, list(self._drawn_ma)
        return np.array(peaks_ma) / 1_000

    def _add(self, rows: list[int], drawn_ma: int, counted_ma: int, now_ms: int) -> None:
        for row in rows:
            self._drawn_ma[row] += drawn_ma
            self._counted_ma[row] += counted_ma
            self._peak_ma[row] = max(self._peak_ma[row], self._drawn_ma[row])
            over = self._counted_ma[row] > self._allowed_ma[row]
            if over or self._over:
                self._judge(row, now_ms, over=over)

    def _judge(self, row: int, now_ms: int, *, over: bool) -> None:
        name = self._rows.name(row)
        if over:
            self._over[name] = (
                f"{self._counted_ma[row] / 1_000:.3f} A, of which {self._drawn_ma[row] / 1_000:.3f}"
                f" A flow, rated {self._rating_ma[row] / 1_000:g} A"
            )
        elif self._over.pop(name, None) is None:
            return
        self._violations.lasting_all(now_ms, "row over its rating", self._over)
