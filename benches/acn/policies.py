"""Loadstar's real-time round as an ACN-Sim algorithm.

Each period the core shares out what the network carries, knowing the vehicles that are plugged in
and nothing of those to come. What a policy knows of a vehicle is what ACN-Sim tells every
algorithm: station, energy still requested, departure. Policies differ only in the arrays they hand
to `allocate`: minimums, weights, tiers, ranks. `loadstar_site` takes tiers and ranks from
`controlplane.site.urgency`, by which the site actor orders its own."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import BaseAlgorithm
from electrical import Electrical
from numpy.typing import NDArray

from controlplane import _core
from controlplane.site.urgency import Pace, Turn, admission, urgency_step

__all__ = ["POLICIES", "Policy", "RealTimeRound"]

_MA_PER_A = 1000
_LEAST_MA = 6_000
_WEIGHT_MAX = 1_000
_RAMP_MS = 30_000
"""The default of `ActorSettings.ramp_ms`, from which the site's dwell and turns follow."""


@dataclass(frozen=True)
class _Plugged:
    """The vehicles present, one entry each, in the order of their stations.

    Attributes:
        session_id: the sessions.
        station: index of the station.
        need_a: what is still requested, in amperes for one period.
        left: periods until departure.
        pair: the pair of lines its station hangs between.
        max_ma: what it can use this period.
        station_max_ma: what its station can give.
    """

    session_id: list[str]
    station: NDArray[np.int64]
    need_a: NDArray[np.float64]
    left: NDArray[np.int64]
    pair: NDArray[np.int64]
    max_ma: NDArray[np.int64]
    station_max_ma: NDArray[np.int64]

    @property
    def laxity(self) -> NDArray[np.float64]:
        """Periods it could wait at full power and still get all it asked for."""
        return self.left - self.need_a * _MA_PER_A / self.station_max_ma

    @property
    def urgency(self) -> NDArray[np.float64]:
        """The share of full power it needs from now on to be ready, at most 1."""
        return np.minimum(1.0, self.need_a * _MA_PER_A / (self.left * self.station_max_ma))


@dataclass(frozen=True)
class Policy:
    """How vehicles are told apart.

    Attributes:
        min_ma: the least current at which a vehicle runs; below it, it gets nothing.
        queue_per_pair: tier by place in the queue, least laxity first, of the own pair of lines.
        as_site: tiers by steps of laxity and turns, as the site actor has them.
        balanced: weights in proportion to urgency, the same sum for each pair of lines.
    """

    min_ma: int = 0
    queue_per_pair: bool = False
    as_site: bool = False
    balanced: bool = False


POLICIES: dict[str, Policy] = {
    "loadstar_fair": Policy(),
    "loadstar_fair_6a": Policy(min_ma=_LEAST_MA),
    "loadstar_site": Policy(min_ma=_LEAST_MA, as_site=True),
    "loadstar_balanced": Policy(balanced=True),
    "loadstar_queues": Policy(queue_per_pair=True),
    "loadstar_queues_6a": Policy(queue_per_pair=True, min_ma=_LEAST_MA),
}


@dataclass
class _Kept:
    """What a round keeps of a vehicle until the next."""

    turn: Turn = field(default_factory=Turn)
    step: int | None = None


class RealTimeRound(BaseAlgorithm):
    """One call of `controlplane._core.allocate` each period.

    Attributes:
        core_s: processor time spent in these calls.
        switched_off: how often a vehicle that was charging and wanted more got nothing.
    """

    def __init__(self, electrical: Electrical, policy: Policy) -> None:
        super().__init__()
        self.max_recompute = 1
        self.core_s = 0.0
        self.switched_off = 0
        self._kept: dict[str, _Kept] = {}
        self._electrical = electrical
        self._policy = policy
        self._position = {name: index for index, name in enumerate(electrical.station_ids)}

    def schedule(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        """The currents of this period, in amperes."""
        if not active_sessions:
            return {}
        plugged = self._plugged(active_sessions)
        current_ma = self._allocate(plugged)
        self._note(plugged, current_ma)
        electrical = self._electrical
        return {
            electrical.station_ids[station]: [current_ma[station] / _MA_PER_A]
            for station in plugged.station
        }

    def _plugged(self, sessions: list[SessionInfo]) -> _Plugged:
        electrical = self._electrical
        by_station = sorted(
            ((self._position[session.station_id], session) for session in sessions),
            key=lambda each: each[0],
        )
        station = np.array([position for position, _ in by_station])
        need_a = np.array([self.interface.remaining_amp_periods(one) for _, one in by_station])
        now = self.interface.current_time
        left = np.array([one.estimated_departure - now for _, one in by_station])
        station_max_ma = electrical.max_ma[station]
        # Up to the next milliampere: the vehicle stops by itself when it is full.
        need_ma = np.ceil(need_a * _MA_PER_A).astype(np.int64)
        return _Plugged(
            session_id=[one.session_id for _, one in by_station],
            station=station,
            need_a=need_a,
            left=np.maximum(left, 1),
            pair=electrical.line_pair[station],
            max_ma=np.clip(need_ma, 0, station_max_ma),
            station_max_ma=station_max_ma,
        )

    def _allocate(self, plugged: _Plugged) -> NDArray[np.int64]:
        electrical, policy = self._electrical, self._policy
        at, stations = plugged.station, len(electrical.station_ids)
        min_ma = np.zeros(stations, dtype=np.int64)
        max_ma = np.zeros(stations, dtype=np.int64)
        weight = np.ones(stations, dtype=np.int64)
        tier = np.zeros(stations, dtype=np.uint8)
        rank = np.full(stations, stations, dtype=np.int64)
        # The last few ampere-minutes may be less than the minimum: then it is offered the minimum.
        min_ma[at] = policy.min_ma
        max_ma[at] = np.maximum(plugged.max_ma, policy.min_ma)
        order = np.argsort(plugged.laxity, kind="stable")
        rank[at[order]] = np.arange(len(at))
        if policy.queue_per_pair:
            tier[at] = _places(plugged.pair, order)
        if policy.as_site:
            tier[at], rank[at] = self._site_order(plugged)
        if policy.balanced:
            weight[at] = _balanced_weights(plugged)
        demand = _core.Demand(
            min_ma=min_ma,
            max_ma=max_ma,
            step_ma=np.ones(stations, dtype=np.int64),
            weight=weight,
            tier=tier,
            rank=rank,
        )
        started = time.process_time()
        allocation = _core.allocate(electrical.network, electrical.capacity, demand)
        self.core_s += time.process_time() - started
        return allocation.current_ma

    @property
    def _now_ms(self) -> int:
        return int(self.interface.current_time * self.interface.period * 60_000)

    def _site_order(self, plugged: _Plugged) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Tier and rank of each vehicle, by the site actor's own rules."""
        pace, period_ms = Pace(_RAMP_MS), int(self.interface.period * 60_000)
        keys = []
        for place, (name, laxity) in enumerate(
            zip(plugged.session_id, plugged.laxity, strict=True)
        ):
            kept = self._kept.setdefault(name, _Kept(Turn(since_ms=self._now_ms)))
            laxity_ms = int(laxity * period_ms)
            kept.step = urgency_step(laxity_ms, before=kept.step)
            key = admission(kept.turn, laxity_ms, now_ms=self._now_ms, pace=pace)
            keys.append((kept.step, key, place))
        tier = np.array([step for step, _, _ in keys], dtype=np.uint8)
        rank = np.zeros(len(keys), dtype=np.int64)
        rank[[place for _, _, place in sorted(keys)]] = np.arange(len(keys))
        return tier, rank

    def _note(self, plugged: _Plugged, current_ma: NDArray[np.int64]) -> None:
        """Remember who charges."""
        here = set(plugged.session_id)
        self._kept = {name: kept for name, kept in self._kept.items() if name in here}
        for name, station in zip(plugged.session_id, plugged.station, strict=True):
            kept = self._kept.setdefault(name, _Kept(Turn(since_ms=self._now_ms)))
            on = bool(current_ma[station])
            self.switched_off += kept.turn.on and not on
            kept.turn.observe(on=on, now_ms=self._now_ms)


def _places(pair: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Each vehicle's place in the queue of its own pair of lines, 0 first."""
    place = np.zeros(len(pair), dtype=np.uint8)
    for one in np.unique(pair):
        queue = order[pair[order] == one]
        place[queue] = np.arange(len(queue))
    return place


def _balanced_weights(plugged: _Plugged) -> NDArray[np.int64]:
    """Weights in proportion to urgency, with the same sum on each pair of lines."""
    share = plugged.urgency.copy()
    for one in np.unique(plugged.pair):
        members = plugged.pair == one
        share[members] /= share[members].sum()
    return np.clip(np.round(share / share.max() * _WEIGHT_MAX), 1, _WEIGHT_MAX).astype(np.int64)
