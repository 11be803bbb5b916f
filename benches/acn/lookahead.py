"""What planning ahead adds to the real-time round, without knowing who will come.

A model-predictive controller in the manner of the published one: whenever a vehicle arrives, one
linear program plans the currents of all that are plugged in until the last of them departs, and
energy is worth more the sooner it is delivered (the published "quick charge" objective). Until the
next arrival the plan is followed. It is not part of Loadstar: it measures what a horizon plan can
add. Vector rows are bounded by tangents a few degrees apart, and each slot of a plan is scaled down
until every row holds exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import BaseAlgorithm
from electrical import Electrical, tangents
from numpy.typing import NDArray
from scipy import sparse
from scipy.optimize import linprog

__all__ = ["Lookahead"]

_TIMEOUT_S = 60.0
_SLOT_GROWTH = 4
"""A slot is at most a quarter as long as the time that lies before it."""


@dataclass(frozen=True)
class _Slots:
    """The time until the last departure, cut at every departure, finely at first.

    Attributes:
        edge: shape (slots + 1,), periods from now; the first is 0.
    """

    edge: NDArray[np.int64]

    @property
    def periods(self) -> NDArray[np.int64]:
        return np.diff(self.edge)

    @property
    def worth(self) -> NDArray[np.float64]:
        """Of energy delivered in each slot: 1 now, falling linearly to 0 at the end."""
        middle = (self.edge[1:] + self.edge[:-1] - 1) / 2
        return 1 - middle / self.edge[-1]


def _slots(left: NDArray[np.int64]) -> _Slots:
    edges, end, edge = {0, *left.tolist()}, int(left.max()), 1
    while edge < end:
        edges.add(edge)
        edge += max(1, edge // _SLOT_GROWTH)
    return _Slots(np.array(sorted(edges)))


class Lookahead(BaseAlgorithm):
    """Plans at every arrival, follows the plan in between."""

    def __init__(self, electrical: Electrical) -> None:
        super().__init__()
        self.max_recompute = 1
        self._electrical = electrical
        self._position = {name: index for index, name in enumerate(electrical.station_ids)}
        self._lines, self._limits = tangents(electrical)
        self._planned_at = 0
        self._slots = _Slots(np.array([0, 1]))
        self._current_a: dict[str, NDArray[np.float64]] = {}

    def schedule(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        """The currents of this period, in amperes."""
        if not active_sessions:
            return {}
        now = self.interface.current_time
        if any(session.session_id not in self._current_a for session in active_sessions):
            self._plan(active_sessions, now)
        planned_a = self._planned(active_sessions, now)
        return {
            session.station_id: [current_a]
            for session, current_a in zip(active_sessions, planned_a.tolist(), strict=True)
        }

    def _planned(self, sessions: list[SessionInfo], now: int) -> NDArray[np.float64]:
        """What the plan gives each of them now, in amperes."""
        slot = int(np.searchsorted(self._slots.edge, now - self._planned_at, side="right")) - 1
        return np.array([self._current_a[session.session_id][slot] for session in sessions])

    def _plan(self, sessions: list[SessionInfo], now: int) -> None:
        electrical = self._electrical
        station = np.array([self._position[session.station_id] for session in sessions])
        left = np.array([session.estimated_departure - now for session in sessions])
        need = np.array([self.interface.remaining_amp_periods(session) for session in sessions])
        max_a = electrical.max_ma[station] / 1000
        slots = _slots(left)
        periods, count, kinds = slots.periods, len(slots.periods), electrical.coefficient.shape[1]
        session, slot = np.nonzero(slots.edge[:-1] < left[:, None])
        column = np.arange(len(session))
        of_kind = sparse.csr_matrix(
            (np.ones(len(session)), (slot * kinds + electrical.kind[station[session]], column)),
            shape=(count * kinds, len(session)),
        )
        energy = sparse.csr_matrix((periods[slot].astype(float), (session, column)))
        rows = sparse.kron(sparse.identity(count), sparse.csr_matrix(self._lines)) @ of_kind
        result = linprog(
            -(periods * slots.worth)[slot],
            A_ub=sparse.vstack([energy, rows]),
            b_ub=np.concatenate([need, np.tile(self._limits, count)]),
            bounds=np.stack([np.zeros(len(session)), max_a[session]], axis=1),
            method="highs-ds",
            options={"time_limit": _TIMEOUT_S},
        )
        if result.status != 0:
            raise RuntimeError(f"no plan at period {now}: {result.message}")
        current_a = np.maximum(result.x, 0)
        vectors = (of_kind @ current_a).reshape(count, kinds) @ electrical.coefficient.T
        load = (np.abs(vectors) / electrical.limit_a).max(axis=1)
        plan = np.zeros((len(sessions), count))
        plan[session, slot] = current_a / np.maximum(1, load)[slot]
        self._planned_at, self._slots = now, slots
        self._current_a = {
            one.session_id: currents for one, currents in zip(sessions, plan, strict=True)
        }
