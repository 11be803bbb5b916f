"""The real-time round, with more for the pair of lines that is pressed most.

Under a transformer so small that no vehicle's own limit binds, no order delivers more than serving
first who leaves first, whatever a pair of lines is given over time: periods are matched to vehicles
in order of time, each to the one that leaves first (Glover's rule for convex bipartite graphs),
which needs no knowledge of arrivals. What is left to decide is how much each pair has beside the
others.

A pair's pressure is the share of the level current that it would need from now on to have everyone
ready in time, at the departure where that is most. Where it is above 1 somebody will go short, and
what the pair does not get now is lost; where it is far below 1, the pair can wait, and the others
have room for more now. So a pair's current counts by its pressure, between half and twice that of a
pair that is just in time, and of all that the vector rows carry the round gets the weights of the
currents that count most. Nothing is foreseen, and nothing remembered."""

from __future__ import annotations

from itertools import product

import numpy as np
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import BaseAlgorithm
from electrical import Electrical
from numpy.typing import NDArray

from controlplane import _core

__all__ = ["Steered"]

_PRESSURE = 0.5, 2.0
"""The least and the most that counts."""
_DIRECTIONS = np.linspace(0, 1, 13)
_WEIGHT_MAX = 1_000


class Steered(BaseAlgorithm):
    """The policy `loadstar_steered`."""

    def __init__(self, electrical: Electrical) -> None:
        super().__init__()
        self.max_recompute = 1
        self._electrical = electrical
        self._position = {name: index for index, name in enumerate(electrical.station_ids)}
        self._pairs = int(electrical.line_pair.max()) + 1
        self._carried_a = _carried(electrical)
        self._level_a = float(self._carried_a[(True,) * self._pairs].min(axis=1).max())

    def schedule(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        """The currents of this period, in amperes."""
        if not active_sessions:
            return {}
        electrical, stations = self._electrical, len(self._electrical.station_ids)
        now = self.interface.current_time
        # Who leaves first is first.
        sessions = sorted(active_sessions, key=lambda session: session.estimated_departure)
        at = np.array([self._position[session.station_id] for session in sessions])
        pair = electrical.line_pair[at]
        left = np.array([session.estimated_departure - now for session in sessions])
        need_a = np.array([self.interface.remaining_amp_periods(session) for session in sessions])
        max_ma, weight = np.zeros(stations, np.int64), np.ones(stations, np.int64)
        tier, rank = np.zeros(stations, np.uint8), np.full(stations, stations, np.int64)
        # Up to the next milliampere: the vehicle stops by itself when it is full.
        max_ma[at] = np.minimum(np.ceil(need_a * 1_000).astype(np.int64), electrical.max_ma[at])
        rank[at] = np.arange(len(at))
        wanted_a = self._wanted_a(pair, left, need_a)
        for one in np.unique(pair):
            queue, own_a = at[pair == one], need_a[pair == one]
            before_a = np.cumsum(own_a) - own_a
            share_a = np.clip(wanted_a[one] - before_a, 0, own_a)
            weight[queue] = np.maximum(1, np.round(share_a / wanted_a.max() * _WEIGHT_MAX))
            # Those whose turn it is rise together; what they leave goes to the others in order.
            tier[queue] = np.where(share_a > 0, 0, np.arange(len(queue)))
        demand = _core.Demand(
            min_ma=np.zeros(stations, np.int64),
            max_ma=max_ma,
            step_ma=np.ones(stations, np.int64),
            weight=weight,
            tier=tier,
            rank=rank,
        )
        given_ma = _core.allocate(electrical.network, electrical.capacity, demand).current_ma
        return {
            session.station_id: [float(given_ma[self._position[session.station_id]]) / 1_000]
            for session in sessions
        }

    def _wanted_a(
        self, pair: NDArray[np.int64], left: NDArray[np.int64], need_a: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What each pair is to have, from vehicles in the order in which they leave."""
        counts = np.zeros(self._pairs)
        for one in np.unique(pair):
            own = pair == one
            pressure = (np.cumsum(need_a[own]) / left[own]).max() / self._level_a
            counts[one] = np.clip(pressure, *_PRESSURE)
        carried_a = self._carried_a[tuple((counts > 0).tolist())]
        return carried_a[int(np.argmax(carried_a @ counts))]


def _carried(electrical: Electrical) -> dict[tuple[bool, ...], NDArray[np.float64]]:
    """By which pairs have vehicles: currents that fill a row, in amperes, shape (points, pairs).

    Where kinds of one pair differ in a row, the one that loads it most stands for all.
    """
    pairs = int(electrical.line_pair.max()) + 1
    row = np.zeros((len(electrical.limit_a), pairs), np.complex128)
    for pair in range(pairs):
        kinds = np.unique(electrical.kind[electrical.line_pair == pair])
        of_pair = electrical.coefficient[:, kinds]
        row[:, pair] = of_pair[np.arange(len(row)), np.abs(of_pair).argmax(axis=1)]
    found = {}
    for busy in product((False, True), repeat=pairs):
        if not any(busy):
            continue
        shares = [_DIRECTIONS if one else [0.0] for one in busy]
        direction = np.array([each for each in product(*shares) if max(each) == 1])
        load = (np.abs(direction @ row.T) / electrical.limit_a).max(axis=1)
        found[busy] = direction / load[:, None]
    return found
