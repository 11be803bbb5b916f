"""The day without control: every vehicle draws all it can from the moment it is plugged in.

Nobody looks at ratings here, so what it delivers is the most that each vehicle can get, and what it
puts on the rows is what the network would have to be built for. Worked out minute by minute."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from controlplane.sim.day.outcome import Outcome, plugged_in, ready
from controlplane.sim.day.rows import Rows
from controlplane.sim.day.scenario import FeederDay, Visit
from controlplane.sim.day.tariff import SLOTS

__all__ = ["Alone", "charge_alone", "live_uncontrolled"]

MINUTE_MS = 60_000
_MINUTES_A_SLOT = 15
_MINUTES = SLOTS * _MINUTES_A_SLOT


class Alone:
    """One vehicle at full power: its energy and its current in each minute of the day from `first`
    on, until it is full, leaves, or the day ends."""

    def __init__(self, visit: Visit, feeder: FeederDay) -> None:
        self.first = (visit.session.arrival_ms - feeder.start_ms) // MINUTE_MS
        self.energy_wh: list[float] = []
        self.current_a: list[float] = []
        end_ms = min(visit.session.departure_ms, feeder.end_ms)
        now_ms = visit.session.arrival_ms
        vehicle = visit.arrive(len(visit.lines))
        while now_ms < end_ms and not vehicle.full:
            next_ms = min(end_ms, (now_ms // MINUTE_MS + 1) * MINUTE_MS)
            draw = vehicle.step((next_ms - now_ms) / 1_000, visit.current_max_a)
            self.energy_wh.append(draw.energy_wh)
            self.current_a.append(draw.current_a)
            now_ms = next_ms

    @property
    def total_wh(self) -> float:
        return sum(self.energy_wh)


def charge_alone(feeder: FeederDay) -> dict[str, Alone]:
    """Every vehicle as if it had the network for itself, by the visit's id."""
    return {visit.id: Alone(visit, feeder) for visit in feeder.visits}


def live_uncontrolled(feeder: FeederDay, rows: Rows, alone: dict[str, Alone]) -> Outcome:
    """All of them at once."""
    minutes_ms = [feeder.start_ms + minute * MINUTE_MS for minute in range(_MINUTES)]
    load_a = rows.buildings_a(feeder, minutes_ms)
    minute_wh = np.zeros((len(feeder.sites), _MINUTES))
    for visit in feeder.visits:
        each = alone[visit.id]
        span = slice(each.first, each.first + len(each.energy_wh))
        minute_wh[visit.site, span] += each.energy_wh
        for line in visit.lines:
            load_a[rows.of_line(visit.charger_id, line), span] += each.current_a
    over = load_a > rows.rating_a[:, None]
    return Outcome(
        delivered_wh={visit.id: alone[visit.id].total_wh for visit in feeder.visits},
        slot_wh=minute_wh.reshape(len(feeder.sites), SLOTS, _MINUTES_A_SLOT).sum(axis=2),
        slot_peak_a=load_a.reshape(len(rows), SLOTS, _MINUTES_A_SLOT).max(axis=2),
        over_h=over.sum(axis=1) / 60,
        ready=_ready(feeder, alone),
    )


def _ready(feeder: FeederDay, alone: dict[str, Alone]) -> NDArray[np.int64]:
    counts = np.zeros(SLOTS, dtype=np.int64)
    visits = feeder.visits
    for slot in range(SLOTS):
        minute = (slot + 1) * _MINUTES_A_SLOT
        for visit in plugged_in(feeder, visits, slot):
            each = alone[visit.id]
            counts[slot] += ready(
                sum(each.energy_wh[: minute - each.first]),
                requested_wh=visit.session.requested_wh,
                possible_wh=each.total_wh,
            )
    return counts
