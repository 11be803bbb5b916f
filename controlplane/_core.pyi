"""The Rust core: exact power allocation over an electrical tree. Pure functions over arrays; the
GIL is released.

Row `node * 3 + phase` is what flows on one line at one node of the tree; combined rows, which bound
what several lines or connections do together, are counted after these. Currents are integer
milliamperes, import positive. Results are the same bits on every machine, on any number of threads
and, where ranks differ, under every numbering of nodes and connectors. Arrays are taken as they are
where they lie in one piece (C order, aligned) and copied where not; another type or number of
dimensions is a TypeError. Nobody may write to them during a call. A single integer that fits no
machine word of its kind, such as an index below 0, is an OverflowError."""

from collections.abc import Sequence
from typing import final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Allocation",
    "Allocator",
    "Capacity",
    "Caps",
    "Demand",
    "Network",
    "NetworkError",
    "Plan",
    "PlanFleet",
    "PlanLimits",
    "PlanMeters",
    "PlanProblem",
    "PlanStart",
    "RowSums",
    "__version__",
    "allocate",
    "certify",
    "check",
    "check_plan",
    "delta_wye_primary_row",
    "imbalance_row",
    "line_current_row",
    "plan",
    "time_rounds",
    "total_power_row",
    "waiting_worth",
]

__version__: str

class NetworkError(ValueError):
    """The network or the inputs contradict themselves; the message names the element and its
    index."""

@final
class Network:
    """An immutable electrical tree with connectors as its leaves, or several: trees that share no
    row are solved apart from each other."""

    def __new__(
        cls,
        *,
        node_parent: NDArray[np.int32],
        leaf_node: NDArray[np.int32],
        leaf_phases: NDArray[np.uint8],
        leaf_rotation: NDArray[np.uint8] | None = None,
        leaf_kind: NDArray[np.uint8] | None = None,
        combined_node: NDArray[np.int32] | None = None,
        combined_coefficient: NDArray[np.int32] | None = None,
    ) -> Network:
        """
        Args:
            node_parent: shape (nodes,), index of each node's parent, -1 for a root; any order.
            leaf_node: shape (leaves,), the node each connector hangs on.
            leaf_phases: shape (leaves,), the conductors on which each connector draws, bit 0 to 2;
                1 to 7.
            leaf_rotation: shape (leaves,), the lines behind those conductors, by OCPP's names of
                rotations: 0 RST, 1 RTS, 2 SRT, 3 STR, 4 TRS, 5 TSR, where R is L1; RST where None.
            leaf_kind: shape (leaves,), 0 to 15, by which combined rows know each connector; where
                None, the set of its lines, 1 to 7.
            combined_node: shape (combined,), the node of each combined row.
            combined_coefficient: shape (combined, 16, 2), a vector for each kind, parts up to
                2**20 in magnitude. With s[k] the current of kind k below the node, the row bounds
                the length of the sum of coefficient[k] * s[k] over whichever subset of kinds makes
                it longest: it holds whatever part of the vehicles stops drawing. For vectors
                within a right angle of each other that is the sum of all.

        Raises:
            NetworkError: a cycle, a parent or node out of range, a node more than 64 levels below
            its root, a connector on no phase, an unknown rotation or kind, a coefficient out of
            range, sizes that disagree.
        """

    @property
    def nodes(self) -> int: ...
    @property
    def leaves(self) -> int: ...
    @property
    def combined(self) -> int:
        """Number of combined rows."""

@final
class Capacity:
    """What rows carry, at the moment of a round."""

    def __new__(
        cls,
        *,
        import_ma: NDArray[np.int64],
        export_ma: NDArray[np.int64] | None = None,
        combined: NDArray[np.int64] | None = None,
        combined_export: NDArray[np.int64] | None = None,
    ) -> Capacity:
        """
        Args:
            import_ma: shape (nodes, 3), what chargers may draw through each row; below 0 counts as
                0; at most 10**12 in magnitude.
            export_ma: shape (nodes, 3), what they may feed in; 0 where None.
            combined: shape (combined,), the limit of each combined row, 0 to 2**46, in the unit of
                its coefficients times milliamperes; may be None if there is none.
            combined_export: shape (combined,), the same for what is fed in; 0 where None.
        """

@final
class Demand:
    """What connectors ask for; every array has the shape (leaves,) but those of setpoints."""

    def __new__(
        cls,
        *,
        min_ma: NDArray[np.int64],
        max_ma: NDArray[np.int64],
        step_ma: NDArray[np.int64],
        weight: NDArray[np.int64],
        tier: NDArray[np.uint8],
        rank: NDArray[np.int64],
        keep_on: NDArray[np.bool_] | None = None,
        discharge: NDArray[np.bool_] | None = None,
        liability_ma: NDArray[np.int64] | None = None,
        setpoint_set: NDArray[np.int32] | None = None,
        setpoint_start: NDArray[np.int32] | None = None,
        setpoint_ma: NDArray[np.int64] | None = None,
    ) -> Demand:
        """
        Args:
            min_ma: the least current at which a connector runs; 0 <= min_ma <= max_ma.
            max_ma: up to 10**9; 0 for a connector that wants nothing.
            step_ma: 1 to 10**9: what is given is a multiple of it (or exactly min_ma or max_ma).
            weight: 1 to 1,000: shares inside a tier.
            tier: 0 is served first.
            rank: where not all minimums fit, lower ranks are admitted first (ties by index), inside
                a tier.
            keep_on: running vehicles, admitted before all others of their tier; nobody where None.
            discharge: connectors that feed in: min_ma and max_ma are then what they feed in, and
                what is given to them is below 0; nobody where None.
            liability_ma: what a charger that cannot be steered may draw on each of its lines (feed
                in, where below 0), apart from what is given to it; up to 10**9 in magnitude.
            setpoint_set: the set of currents that a connector accepts instead of steps, or -1.
                It then runs at members within min_ma to max_ma, or at 0 if min_ma is 0.
            setpoint_start: shape (sets + 1,), the first entry of each set in setpoint_ma.
            setpoint_ma: the currents of all sets, above 0 and ascending inside each.
        """

@final
class Allocation:
    """What a round gives. Arrays are in the order of the leaves, or (nodes, 3)."""

    @property
    def current_ma(self) -> NDArray[np.int64]:
        """Shape (leaves,): the current on each active line; below 0 for what is fed in."""

    @property
    def binding_row(self) -> NDArray[np.int32]:
        """Shape (leaves,): the row that was full when this connector's share stopped growing (or
        had no room for its minimum), or -1 where its own maximum (or 0 wanted) stops it. But for
        what rounding to whole steps moved, below one step for each connector on it, the row is
        full, and nobody of the same tier on it that is above the minimum has a higher level
        (current / weight): the bottleneck certificate of max-min fairness."""

    @property
    def admitted(self) -> NDArray[np.bool_]:
        """Shape (leaves,): False where not even the minimum could be given. A connector with
        minimum 0 is always admitted, be it at 0."""

    @property
    def level(self) -> NDArray[np.int64]:
        """Shape (leaves,): the level, in 1/65,536 mA per unit of weight, at which binding_row
        stopped the connector; 0 where it is not admitted, -1 where no row stopped it."""

    @property
    def reason(self) -> NDArray[np.uint8]:
        """Shape (leaves,), which step of the round decided: 0 it has all it can take or wants
        nothing; 1 not admitted; 2 at its minimum, which is at least its fair share; 3 its fair
        share, rounded down; 4 more than that, from what was left over."""

    @property
    def row_load_ma(self) -> NDArray[np.int64]:
        """Shape (nodes, 3): what is drawn below each row, liabilities included."""

    @property
    def export_load_ma(self) -> NDArray[np.int64] | None:
        """Shape (nodes, 3): what is fed in; None where nobody does or is liable to."""

    @property
    def combined_load(self) -> NDArray[np.int64]:
        """Shape (combined,): the load of each combined row by what is drawn, rounded up; 2**63 - 1
        where liabilities make it more."""

    @property
    def combined_export_load(self) -> NDArray[np.int64] | None:
        """Shape (combined,): the same by what is fed in; None where nobody does or is liable."""

def allocate(
    network: Network, capacity: Capacity, demand: Demand, *, threads: int = 1
) -> Allocation:
    """One real-time round: admission at the minimum, then weighted max-min inside strict tiers,
    then whole steps.

    Liabilities are taken off their rows first; what is left below 0 counts as 0. Admission goes by
    tier, then keep_on, then rank, then index; nobody's growth costs another its minimum. Then tier
    by tier one level rises for everyone in the tier, and a connector draws weight * level, never
    below its minimum nor above its maximum. At the first level that a row cannot carry, everybody
    below it stays at the level before (for a combined row: everybody of a kind that it counts; rows
    nearer to the root first, on a node L1 before L2 and single lines before combined rows).
    Levels are integers in units of 1/65,536 mA per unit of weight. What is reached is rounded down
    to what the station accepts; then each may go up one step where its rows have room, those that
    lost most first (ties by rank, then index); and as long as anyone in the tier can still go up a
    step, these are filled again from what they have. In the end nobody can be raised by a step.

    What is fed in is shared out in the same way over the export capacities, and never netted
    against what is drawn. Trees that share no row are solved on as many `threads` as are given.

    Raises:
        NetworkError: a shape or a value outside its range; the message names the array and the
            index.
    """

@final
class Allocator:
    """Rounds over one network, each of which computes only what the changes since the one before
    can affect: everything below the topmost node above a change one of whose rows could not carry
    the maximums of all below it. The results are, to the bit, those of `allocate`."""

    def __new__(cls, network: Network, capacity: Capacity, demand: Demand) -> Allocator:
        """Takes a copy of the inputs.

        Raises:
            NetworkError: as `allocate`.
        """

    def set_connector(
        self,
        leaf: int,
        *,
        min_ma: int | None = None,
        max_ma: int | None = None,
        step_ma: int | None = None,
        weight: int | None = None,
        tier: int | None = None,
        rank: int | None = None,
        keep_on: bool | None = None,
        discharge: bool | None = None,
        liability_ma: int | None = None,
        setpoint_set: int | None = None,
    ) -> None:
        """Change what a connector asks for from the next `solve` on; None leaves a value as it is.

        Raises:
            NetworkError: no such connector, or a value outside its range; nothing is changed then.
        """

    def set_capacity(
        self, node: int, phase: int, *, import_ma: int | None = None, export_ma: int | None = None
    ) -> None:
        """Change what the row of a phase, 0 to 2, of a node carries.

        Raises:
            NetworkError: no such row, or a value outside its range.
        """

    def set_combined(
        self, row: int, *, limit: int | None = None, export_limit: int | None = None
    ) -> None:
        """Change the limit of a combined row.

        Raises:
            NetworkError: no such row, or a value outside its range.
        """

    def solve(self) -> NDArray[np.uint32]:
        """Solve what changed, at first everything. Returns the connectors, in no order, that are
        given another current than before."""

    def allocation(self) -> Allocation:
        """Everything that was given by the last `solve`. The loads of rows are the sums of that and
        of the liabilities as they are set now."""

def check(
    network: Network, capacity: Capacity, demand: Demand, current_ma: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Rows whose load exceeds their capacity, drawn or fed in, by a code path of its own; empty
    when all is well. A row that liabilities alone overload is well if nothing is given on it.

    Also refuses (NetworkError) a current outside {0} or [min_ma, max_ma].
    """

@final
class RowSums:
    """Which rows each connector is on, for rows that are added up again and again."""

    def __new__(cls, rows: int, above: Sequence[Sequence[int]]) -> RowSums:
        """
        Args:
            rows: how many there are.
            above: the rows of each connector, one that counts it several times as often.

        Raises:
            NetworkError: a row that is not there.
        """

    def of(self, leaf_ma: Sequence[int]) -> list[int]:
        """The sum on every row of one current per connector; one beyond 64 bits stays at their end.

        Raises:
            NetworkError: not as many currents as connectors.
        """

def time_rounds(
    network: Network, capacity: Capacity, demand: Demand, *, rounds: int, threads: int = 1
) -> list[int]:
    """Solve the same round `rounds` times, and return how many nanoseconds each took inside the
    core, results freed but nothing handed over: for benches.

    Raises:
        NetworkError: as `allocate`.
    """

def certify(
    network: Network, capacity: Capacity, demand: Demand, allocation: Allocation
) -> list[str]:
    """What is wrong with a round, in words that name connectors and rows by index; empty where the
    round is proven to be right, by a code path that shares nothing with the one that computed it
    but the layout of the network and the check of inputs.

    Proven are: every current is one that its connector accepts, no row is overloaded, loads are as
    reported; whoever is refused had a row without room for its minimum when its turn came, and
    whoever is admitted had none; in every tier each connector stopped rising at the reported row
    and level, which was the first at which one of its rows was full, so that shares are exactly the
    weighted max-min shares on the grid of levels; nobody has less than its share rounded down to
    what it accepts; no tier could be raised by a step before later ones got more than their
    minimums; of connectors on the same lines of one node, those that lost most by rounding got
    first what it left over. Who gets that among others is not examined further.

    Raises:
        NetworkError: inputs that allocate refuses; an allocation of another network.
    """

@final
class Caps:
    """Capacities of rows that change with time, whole seconds UTC. Each row has a step function
    that never exceeds its rating."""

    def __new__(
        cls,
        *,
        rating_ma: NDArray[np.int64],
        row: NDArray[np.int32],
        start_s: NDArray[np.int64],
        capacity_ma: NDArray[np.int64],
    ) -> Caps:
        """
        Args:
            rating_ma: shape (nodes, 3), 0 to 10**12: what holds before the first entry of a row,
                and for rows without entries.
            row: shape (entries,), node * 3 + phase; in any order.
            start_s: shape (entries,), from when on the entry is in force, until the next of its
                row.
            capacity_ma: shape (entries,), up to 10**12 in magnitude; what exceeds the rating counts
                as the rating.

        Raises:
            NetworkError: sizes that disagree, a value out of range, two entries of one row with the
            same start.
        """

    def at(self, time_s: int) -> NDArray[np.int64]:
        """Shape (nodes, 3), what rows carry at a time, as Capacity takes it."""

    def lowest(self, from_s: int, until_s: int) -> NDArray[np.int64]:
        """Shape (nodes, 3), the lowest from from_s on and before until_s: what a limit may use that
        stays in force over that time.

        Raises:
            NetworkError: until_s is not after from_s.
        """

    def next_change_s(self, after_s: int) -> int | None:
        """The first time after after_s at which the capacity of any row changes."""

@final
class PlanLimits:
    """What is left of the rows for vehicles in every slot of a horizon. What is drawn and what is
    fed in are never netted here."""

    def __new__(
        cls,
        *,
        import_ma: NDArray[np.int64],
        import_w: NDArray[np.int64] | None = None,
        export_ma: NDArray[np.int64] | None = None,
        export_w: NDArray[np.int64] | None = None,
    ) -> PlanLimits:
        """
        Args:
            import_ma: shape (nodes * 3 * slots,), 0 to 10**12: what may be drawn on each line.
            import_w: shape (nodes * slots,), 0 to 10**12: on all lines together; None: as much as
                the lines carry.
            export_ma: as import_ma, of what is fed in; None: nothing.
            export_w: as import_w.
        """

@final
class PlanMeters:
    """Where energy is paid for. Prices are millionths of the currency, up to 10**12."""

    def __new__(
        cls,
        *,
        node: NDArray[np.int32],
        base_w: NDArray[np.int64],
        import_price: NDArray[np.int64],
        export_price: NDArray[np.int64],
        demand_meter: NDArray[np.int32] | None = None,
        demand_price: NDArray[np.int64] | None = None,
        demand_so_far_w: NDArray[np.int64] | None = None,
        demand_slot: NDArray[np.bool_] | None = None,
    ) -> PlanMeters:
        """
        Args:
            node: shape (meters,), none below another.
            base_w: shape (meters * slots,), what else flows: building less sun.
            import_price: shape (meters * slots,), of a kilowatt-hour drawn.
            export_price: shape (meters * slots,), what one fed in earns; at most import_price.
            demand_meter: shape (demands,), the meter of each demand charge.
            demand_price: shape (demands,), of a kilowatt by which the highest slot exceeds
                demand_so_far_w, shape (demands,).
            demand_slot: shape (demands * slots,), in which slots it is measured.
        """

@final
class PlanFleet:
    """Who wants what: an entry for each connector of the network, which is a session here, present
    or forecast. Energies are those in the battery, counted from what is in it on arrival."""

    def __new__(
        cls,
        *,
        volts: NDArray[np.int64],
        max_ma: NDArray[np.int64],
        arrival_s: NDArray[np.int64],
        departure_s: NDArray[np.int64],
        need_wh: NDArray[np.int64],
        room_wh: NDArray[np.int64],
        penalty: NDArray[np.int64],
        charge_permille: NDArray[np.int64] | None = None,
        discharge_ma: NDArray[np.int64] | None = None,
        discharge_permille: NDArray[np.int64] | None = None,
        spare_wh: NDArray[np.int64] | None = None,
        wear_price: NDArray[np.int64] | None = None,
        taper_from_wh: NDArray[np.int64] | None = None,
        taper_ma: NDArray[np.int64] | None = None,
    ) -> PlanFleet:
        """
        Args:
            volts: what a current on each of the lines drives, times the lines; 1 to 100,000.
            max_ma: on each line; with volts at most 10 MW.
            arrival_s: from the start of the horizon; may be before it.
            departure_s: after arrival_s. What is due after the horizon is left for then as far as
                full power allows.
            need_wh: wanted on departure, -spare_wh to room_wh.
            room_wh: what fits into the battery, 0 to 10**9.
            penalty: of each kilowatt-hour of the need that is missing, 0 to 10**12 millionths.
            charge_permille: what of a thousand watt-hours drawn is stored; None: all.
            discharge_ma: what can be fed in; None: nothing. Never in slots of negative price.
            discharge_permille: what of a thousand taken from the battery is fed in; None: all.
            spare_wh: how far below what it came with it may be discharged; None: not at all.
            wear_price: of a kilowatt-hour fed in, millionths; None: nothing.
            taper_from_wh: the gain from which on it charges less, linearly down to taper_ma when
                full; None: never.
        """

@final
class PlanStart:
    """Where a search begins: the parts of an earlier `Plan`, moved to the slots and vehicles of
    now, each in one piece. It costs steps where it is wrong, and never the proof."""

    def __new__(
        cls,
        *,
        current_ma: NDArray[np.int32] | None = None,
        import_price: NDArray[np.float64] | None = None,
        export_price: NDArray[np.float64] | None = None,
        energy_price: NDArray[np.float64] | None = None,
        demand_price: NDArray[np.float64] | None = None,
        taper_price: NDArray[np.float32] | None = None,
        balance: NDArray[np.float64] | None = None,
    ) -> PlanStart: ...

@final
class PlanProblem:
    """What is planned; see `docs/planning.md`."""

    def __new__(
        cls,
        network: Network,
        limits: PlanLimits,
        meters: PlanMeters,
        fleet: PlanFleet,
        *,
        slots: int,
        slot_s: int,
        late_price: int = 0,
    ) -> PlanProblem:
        """
        Args:
            network: without combined rows; its connectors are the vehicles.
            slots: 1 to 1,344.
            slot_s: 1 to 86,400.
            late_price: what a kilowatt-hour is the worse for each slot that it is later,
                millionths.
        """

@final
class Plan:
    """A plan, and what proves it."""

    @property
    def current_ma(self) -> NDArray[np.int32]:
        """Shape (vehicles, slots), on each line, on average over the slot; below 0: fed in."""

    @property
    def cost(self) -> float:
        """In the currency, without what nobody can change: the building's energy, and energy that
        no power could bring in the time."""

    @property
    def bound(self) -> float:
        """What every plan costs at least."""

    @property
    def steps(self) -> int: ...
    @property
    def balance(self) -> float:
        """For `PlanStart`."""

    @property
    def shortfall_wh(self) -> NDArray[np.int64]:
        """Shape (vehicles,), what is missing on departure, whole watt-hours."""

    @property
    def reason(self) -> NDArray[np.uint8]:
        """Shape (vehicles,): 0 nothing is missing, 1 the stay is too short, 2 a row is full, 3 more
        would cost more than it is worth."""

    @property
    def short_row(self) -> NDArray[np.int32]:
        """Shape (vehicles,): of reason 2 the dearest row, node * 4 + line, 3 for all lines; else
        -1."""

    @property
    def import_price(self) -> NDArray[np.float64]:
        """Shape (nodes * 4 * slots,): what one more ampere of a line, or kilowatt of all lines (3),
        would be worth in each slot."""

    @property
    def export_price(self) -> NDArray[np.float64]:
        """The same of what is fed in; empty where nobody can."""

    @property
    def energy_price(self) -> NDArray[np.float64]:
        """Shape (meters * slots,), of a kilowatt-hour, between export and import price."""

    @property
    def demand_price(self) -> NDArray[np.float64]:
        """Shape (demands * slots,): what a kilowatt adds to each demand charge in each slot."""

    @property
    def taper_price(self) -> NDArray[np.float32]:
        """Shape (vehicles * slots,), of an ampere that a full battery does not take; empty where
        there is no taper."""

def plan(
    problem: PlanProblem,
    *,
    start: PlanStart | None = None,
    gap: float = 1e-3,
    steps: int = 20_000,
    timeout_s: float | None = None,
    threads: int = 1,
) -> Plan:
    """The cheapest plan up to `gap`, as a part of its cost; the same on any number of threads. Ends
    after `steps`, or soon after `timeout_s`, with what has been found by then: there always is a
    plan that keeps every row.

    Raises:
        NetworkError: an input that contradicts itself, by its array and index.
    """

def check_plan(problem: PlanProblem, current_ma: NDArray[np.int32]) -> list[str]:
    """What a plan, shape (vehicles, slots), violates, in words, by a code path of its own; empty
    where all is well.

    Raises:
        NetworkError: as `plan`; another size.
    """

def waiting_worth(
    *,
    here: int,
    arrival_h: NDArray[np.float64],
    departure_h: NDArray[np.float64],
    energy_kwh: NDArray[np.float64],
    power_kw: NDArray[np.float64],
    group: NDArray[np.int32],
    group_kw: NDArray[np.float64],
    edge_h: NDArray[np.float64],
    earns: NDArray[np.float64],
    site_kw: float,
) -> tuple[NDArray[np.float64], float]:
    """What waiting is worth if the rest of a day comes like this: by each of the first `here`
    vehicles, what a kilowatt-hour earns that is left for later; and what another kilowatt of the
    site's power would earn. Columns are by vehicle, but for `group_kw` and `earns`, by slot, and
    `edge_h`, where slots begin and the last one ends. A number that is none counts as nothing.

    Raises:
        NetworkError: columns of other lengths, or a group that there is not, by its index.
    """

def total_power_row(volts_line_to_neutral: int) -> NDArray[np.int32]:
    """Coefficients, shape (16, 2), of a row that bounds the power of all; its limit is in
    milliwatts, rounded down. A connector between two lines counts with the square root of 3 times
    the voltage, rounded up to whole volts.

    These coefficients and those of the functions below hold for the kinds 1 to 7, the sets of lines
    of connectors to neutral, and 8, 9 and 10 for those between L1 and L2, L2 and L3, L3 and L1
    (leaf_phases 3, 6 and 5). Other kinds are not counted.

    Raises:
        NetworkError: not 1 to 349,525 V.
    """

def imbalance_row(over: int, under: int) -> NDArray[np.int32]:
    """Coefficients of a row that bounds by how much line over (0 to 2) carries more than line
    under; its limit is in milliamperes. Counted is what draws on over and not on under; nothing is
    netted against what draws on under only.

    Raises:
        NetworkError: not two different lines.
    """

def line_current_row(line: int) -> NDArray[np.int32]:
    """Coefficients of a row that bounds the current of a line (0 to 2) with loads to neutral and
    between lines, which add as vectors; its limit is in 1/10,000 of a milliampere, rounded down.
    It allows nothing beyond the limit, and all but 0.009 % of it.

    Rows of single lines add such currents as numbers: where this row shall bound a line, give the
    single line a capacity that never binds.

    Raises:
        NetworkError: not a line.
    """

def delta_wye_primary_row(
    line: int, turns_numerator: int, turns_denominator: int
) -> NDArray[np.int32]:
    """Coefficients of a row that bounds the current of a line (0 to 2) on the primary side of a
    delta-wye transformer: with a ratio of 4 of a primary to a secondary winding (480 V to 208/120
    V) it is (I1 - I3) / 4 on L1. Its limit is in 1/10,000 of a milliampere, rounded down.

    It allows nothing beyond the limit, whatever part of the vehicles stops drawing, and all but
    0.042 % times the ratio of what is safe in that sense. Where only the two pairs of lines draw
    whose currents partly cancel each other, that is up to 13.4 % less than what the present sum of
    vectors would allow; where pairs draw alike, it is the same.

    Raises:
        NetworkError: not a line; a ratio above 20 or below about 1/52 (a row for ratio 1 holds with
        the limit times the ratio).
    """
