"""An allocation problem as people describe it: nodes of an electrical tree and the connectors on
them, by name.

Nothing is checked here; `arrays.arrays_of` checks a whole problem at once, so that every fault can
be told together. Currents are integer milliamperes, powers integer watts.

The structs of this room refer to no one that refers to them. They say so (`gc=False`), because with
a hundred thousand of them half of the time would go into looking for cycles."""

from __future__ import annotations

from enum import IntEnum
from typing import TypeAlias

import msgspec

__all__ = ["Connector", "DeltaPrimary", "Node", "PhaseCurrents", "Reason", "Rotation"]

PhaseCurrents: TypeAlias = tuple[int, int, int]
"""Milliamperes on L1, L2, L3."""


class Rotation(IntEnum):
    """How a connector's own phases sit on the lines of the supply (OCPP 2.0.1 part 2 appendix,
    PhaseRotation): the n-th letter is the line behind its n-th phase; R is L1, S is L2, T is L3.
    The values are those of `PhaseRotation` in `allocation.proto`."""

    RST = 1
    RTS = 2
    SRT = 3
    STR = 4
    TRS = 5
    TSR = 6


class Reason(IntEnum):
    """Why a connector has what it has; the values of `_core.Allocation.reason`."""

    MAXIMUM = 0
    """It has all it can use, or wants nothing."""
    ADMISSION = 1
    """Not even its minimum fitted."""
    MINIMUM = 2
    """It has its minimum, which is at least its fair share."""
    SHARE = 3
    """It has its fair share of a row that is full."""
    LEFTOVER = 4
    """It has more than its share: some of what was left over, by rounding or by a combined row that
    stopped it before all of that row was used."""


class DeltaPrimary(msgspec.Struct, frozen=True, kw_only=True):
    """The primary side of a delta-wye transformer whose secondary side is a node.

    A secondary line's current flows through one winding, which lies between two primary lines: each
    primary line carries the difference of two secondary lines, divided by the ratio of turns: L1
    that of L1 and L3, and so on. For windings connected the other way round, name the secondary
    lines in the opposite order. For 480 V delta to 120/208 V wye the turns are as 4 to 1.
    """

    max_ma: PhaseCurrents
    """What each primary line carries."""
    turns_primary: int = 1
    turns_secondary: int = 1


class Node(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A feeder, site, panel, circuit: whatever has a rating. Limits are what chargers may use of
    it: rating less building load and margin. One of `import_ma`, `power_max_w` and `primary` must
    be given, so that nothing is unlimited by oversight."""

    id: str
    parent: str | None = None
    """None for a root. Several roots are networks of their own, solved side by side."""
    kind: str = ""
    """What people call it in a sentence: `panel`, `circuit`, `site`."""
    import_ma: PhaseCurrents | None = None
    """What may be drawn through it on each line; None: as much as the other limits allow."""
    export_ma: PhaseCurrents | None = None
    """What may be fed back through it on each line; None: nothing."""
    vector_sum: bool = False
    """Line currents of line-to-neutral and line-to-line loads are added as the vectors that they
    are, at balanced voltages, and `import_ma` and `export_ma` bound their length. Otherwise they
    are added arithmetically, which is exact for line-to-neutral loads alone and on the safe side
    for others."""
    power_max_w: int | None = None
    """What may be drawn through it on all lines together, at unity power factor."""
    export_power_max_w: int | None = None
    """What may be fed back on all lines together; None: as much as `export_ma` allows."""
    voltage_v: int = 230
    """Line to neutral; turns currents into power."""
    imbalance_max_ma: int | None = None
    """How much more one line may carry than another, for import and for export; 20 A at 230 V
    under VDE-AR-N 4100 (4.6 kVA). A load on the other line does not make up for it, because it may
    stop at any moment; what lies on both lines counts for neither."""
    primary: DeltaPrimary | None = None
    """Set on the secondary side of a delta-wye transformer; holds for import and for export."""


class Connector(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One connector and what it can use. It draws the same current on each phase it uses."""

    id: str
    node: str
    """The node that feeds it."""
    phases: tuple[int, ...] = (1, 2, 3)
    """Which of its own phases draw."""
    rotation: int = Rotation.RST
    """One of `Rotation`."""
    line_to_line: bool = False
    """Connected between the lines of its two phases, without neutral."""
    min_ma: int | None = None
    """The least at which it runs. None: 6 A (IEC 61851-1), or `max_ma` where that is less."""
    max_ma: int = 32_000
    """The most it can use; 0 if it wants nothing."""
    step_ma: int = 100
    """What is given is a multiple of this, or exactly the minimum or maximum."""
    setpoints_ma: tuple[int, ...] = ()
    """For a station that accepts only these (and 0), in any order; empty: any multiple of
    `step_ma`."""
    weight: int = 1
    """1 to 1,000: shares inside a tier."""
    tier: int = 0
    """0 to 255; 0 is served first."""
    rank: int = 0
    """Where not all minimums of a tier fit, lower ranks are admitted first, then in the order
    given."""
    keep_on: bool = False
    """It runs already: admitted before all newcomers of its tier."""
    discharge: bool = False
    """It feeds back: minimum, maximum and share are those of its export."""
    liability_ma: int = 0
    """What it may draw (below 0: feed back) on each of its phases beyond this allocation, because
    it cannot be steered now. Taken off its rows before anything is shared."""
