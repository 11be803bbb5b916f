"""What every vehicle draws over the next day, at the lowest cost, with proof: a horizon with names
in, currents and words out.

    plan = solve(Horizon(slots=96, slot_s=900, nodes=nodes, meters=meters, vehicles=vehicles))
    plan.current_ma["session-7"]   # by slot, below 0 where it feeds in
    plan.gap                       # proven: no plan is cheaper by more than this part

`_core` computes over arrays and knows no names; see `docs/planning.md` for what is computed and how
it is proven. Pure: no clock, no IO."""

from controlplane.planning.answer import Plan, Shortfall, ShortfallReason, solve
from controlplane.planning.arrays import Arrays, arrays_of
from controlplane.planning.problem import Cap, DemandCharge, Horizon, Meter, Node, Vehicle
from controlplane.planning.schedule import Desk, PlanQuestion, RowPrice, Schedule

__all__ = [
    "Arrays",
    "Cap",
    "DemandCharge",
    "Desk",
    "Horizon",
    "Meter",
    "Node",
    "Plan",
    "PlanQuestion",
    "RowPrice",
    "Schedule",
    "Shortfall",
    "ShortfallReason",
    "Vehicle",
    "arrays_of",
    "solve",
]
