//! The state of one round over a part, in the order of places, and the ways to read and change it.

use std::mem::take;

use crate::allocate::Side;
use crate::combined::{ByKind, CombinedRow};
use crate::fill::FillSpace;
use crate::network::Network;
use crate::outcome::Reason;
use crate::part::{Connection, Part};
use crate::setpoints::{Accepts, Setpoints};
use crate::steps::StepSpace;
use crate::units::{KINDS, PHASES};

/// What stops a connector: a row and the level at which it did, or nothing but its own maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bound {
    pub(crate) level: i64,
    /// As the caller counts rows, or -1.
    pub(crate) row: i32,
}

impl Bound {
    /// Its own maximum, or nothing wanted.
    pub(crate) const NONE: Self = Self { level: -1, row: -1 };

    /// The row of one phase of the node at a place.
    pub(crate) fn phase(part: &Part<'_>, place: usize, phase: usize, level: i64) -> Self {
        let node = part.node_at[place] as usize;
        Self { level, row: i32::try_from(node * PHASES + phase).unwrap_or(i32::MAX) }
    }

    /// A combined row of the part.
    pub(crate) fn combined(part: &Part<'_>, row: usize, level: i64) -> Self {
        let row = part.phase_rows + part.combined[row].index as usize;
        Self { level, row: i32::try_from(row).unwrap_or(i32::MAX) }
    }
}

/// A connector in the round. The bounds of inputs leave currents in 32 bits, and small records are
/// what keeps a round in the caches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) current_ma: u32,
    /// 0 once admission is refused.
    pub(crate) max_ma: u32,
    pub(crate) accepts: Accepts,
    /// Where in the network's bounds that is which stopped it, unless it has its maximum.
    pub(crate) bound: u32,
    pub(crate) weight: u16,
    pub(crate) tier: u8,
    /// Why it has what it has.
    pub(crate) reason: Reason,
}

impl Leaf {
    pub(crate) const NOTHING: Self = Self {
        current_ma: 0,
        max_ma: 0,
        accepts: Accepts::ANY,
        bound: 0,
        weight: 1,
        tier: 0,
        reason: Reason::Maximum,
    };

    pub(crate) fn may_rise(&self) -> bool {
        self.current_ma < self.max_ma
    }
}

/// What a side of a network has given, by place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Given {
    pub(crate) leaves: Vec<Leaf>,
    /// What is left on the three rows of each node.
    pub(crate) room_ma: Vec<[i64; PHASES]>,
    /// What stopped leaves, once for all that it stopped together. Those of a part stand from the
    /// place of its first leaf on, and count until another part with leaves of this one is solved.
    pub(crate) bounds: Vec<Bound>,
    /// What flows below each node that has combined rows, by kind.
    pub(crate) kind_ma: Vec<ByKind>,
}

/// The stretch of a [`Given`] that belongs to a part.
#[derive(Debug, Default)]
pub(crate) struct GivenPart<'a> {
    pub(crate) leaves: &'a mut [Leaf],
    pub(crate) room_ma: &'a mut [[i64; PHASES]],
    pub(crate) bounds: &'a mut [Bound],
    pub(crate) kind_ma: &'a mut [ByKind],
}

impl Given {
    /// Memory for a network. Nothing in it counts until a round has written it.
    pub(crate) fn fit(&mut self, network: &Network) {
        self.leaves.resize(network.leaves(), Leaf::NOTHING);
        self.room_ma.resize(network.nodes(), [0; PHASES]);
        self.bounds.resize(network.leaves(), Bound::NONE);
        self.kind_ma.resize(network.combined_nodes.len(), [0; KINDS]);
    }

    pub(crate) fn part(&mut self, part: &Part<'_>) -> GivenPart<'_> {
        let (leaves, nodes) = (part.leaf_places(), part.node_places());
        GivenPart {
            leaves: &mut self.leaves[leaves.clone()],
            room_ma: &mut self.room_ma[nodes],
            bounds: &mut self.bounds[leaves],
            kind_ma: &mut self.kind_ma[part.combined_places()],
        }
    }

    /// The stretches of parts that follow one another and cover the network.
    pub(crate) fn parts<'a>(&'a mut self, parts: &[Part<'_>]) -> Vec<GivenPart<'a>> {
        let mut rest = GivenPart {
            leaves: &mut self.leaves,
            room_ma: &mut self.room_ma,
            bounds: &mut self.bounds,
            kind_ma: &mut self.kind_ma,
        };
        parts.iter().map(|part| rest.take(part)).collect()
    }
}

impl<'a> GivenPart<'a> {
    fn take(&mut self, part: &Part<'_>) -> GivenPart<'a> {
        let (leaves, nodes) = (part.leaf_at.len(), part.nodes());
        let combined = part.combined_nodes.len();
        GivenPart {
            leaves: self.leaves.split_off_mut(..leaves).unwrap_or_default(),
            room_ma: self.room_ma.split_off_mut(..nodes).unwrap_or_default(),
            bounds: self.bounds.split_off_mut(..leaves).unwrap_or_default(),
            kind_ma: self.kind_ma.split_off_mut(..combined).unwrap_or_default(),
        }
    }
}

/// Memory that the rounds of one thread use again: fresh pages cost as much as the arithmetic. It
/// holds nothing from one round to the next.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) rising: Vec<u32>,
    pub(crate) fill: FillSpace,
    pub(crate) steps: StepSpace,
    /// Squares, as are the loads that they bound.
    combined_limit: Vec<u128>,
    node_ma: Vec<[i64; PHASES]>,
    group_ma: Vec<i64>,
    /// The minimums of all leaves before each.
    total_ma: Vec<i64>,
}

/// A round in progress.
pub(crate) struct Round<'a> {
    pub(crate) part: Part<'a>,
    pub(crate) side: Side<'a>,
    pub(crate) setpoints: Setpoints<'a>,
    pub(crate) leaves: &'a mut [Leaf],
    /// Never below 0 between the steps.
    pub(crate) room_ma: &'a mut [[i64; PHASES]],
    bounds: &'a mut [Bound],
    /// How many of these count.
    noted: u32,
    pub(crate) kind_ma: &'a mut [ByKind],
    pub(crate) scratch: &'a mut Scratch,
}

impl<'a> Round<'a> {
    /// Everyone at the minimum, whether that fits or not.
    pub(crate) fn new(
        part: Part<'a>,
        side: Side<'a>,
        given: GivenPart<'a>,
        scratch: &'a mut Scratch,
    ) -> Self {
        let GivenPart { leaves, room_ma, bounds, kind_ma } = given;
        let setpoints = side.demand.setpoints();
        let mut total_ma = 0;
        scratch.total_ma.resize(leaves.len() + 1, 0);
        for ((leaf, total), &at) in leaves.iter_mut().zip(&mut scratch.total_ma).zip(part.leaf_at) {
            *leaf = side.leaf(at as usize);
            *total = total_ma;
            total_ma += i64::from(leaf.current_ma);
        }
        scratch.total_ma[leaves.len()] = total_ma;
        let mut round =
            Self { part, side, setpoints, leaves, room_ma, bounds, noted: 0, kind_ma, scratch };
        round.find_combined_limits();
        round.open_rows();
        // Sums up to each leaf need no loop for each group, whose end nobody can foretell.
        let total_ma = take(&mut round.scratch.total_ma);
        round.give_each_group(|group, _| {
            let leaves = part.leaves_of(group);
            total_ma[leaves.end] - total_ma[leaves.start]
        });
        round.scratch.total_ma = total_ma;
        round
    }

    /// Find anew what is left on all rows, for what the leaves are given already.
    pub(crate) fn take_stock(
        part: Part<'a>,
        side: Side<'a>,
        given: GivenPart<'a>,
        scratch: &'a mut Scratch,
    ) {
        let GivenPart { leaves, room_ma, bounds, kind_ma } = given;
        let setpoints = side.demand.setpoints();
        let mut round =
            Self { part, side, setpoints, leaves, room_ma, bounds, noted: 0, kind_ma, scratch };
        round.open_rows();
        round.give_each_group(|group, leaves| {
            leaves[part.leaves_of(group)].iter().map(|leaf| i64::from(leaf.current_ma)).sum()
        });
    }

    /// Nothing but liabilities on any row.
    fn open_rows(&mut self) {
        for (room, &node) in self.room_ma.iter_mut().zip(self.part.node_at) {
            *room = self.side.capacity_ma(node as usize);
        }
        self.kind_ma.fill([0; KINDS]);
        self.take_liabilities();
    }

    /// Take what cannot be steered off the rows. What is left below 0 counts as 0.
    fn take_liabilities(&mut self) {
        if self.side.demand.liability_ma.is_empty() {
            return;
        }
        let (part, side) = (self.part, self.side);
        self.give_each_group(|group, _| {
            let leaves = part.leaf_at[part.leaves_of(group)].iter();
            leaves.map(|&at| side.liability_ma(at as usize)).sum()
        });
        for room in self.room_ma.iter_mut().flatten() {
            *room = (*room).max(0);
        }
    }

    /// The squares of the limits of combined rows. A row that liabilities alone overload bears nothing
    /// more, be it in another direction: that must hold as well once the liabilities are gone.
    fn find_combined_limits(&mut self) {
        self.scratch.combined_limit.clear();
        self.scratch.combined_limit.extend(self.part.combined.iter().map(|row| {
            let limit = self.side.combined_limit(row.index as usize);
            u128::from(limit.unsigned_abs()).pow(2)
        }));
    }

    /// Give each group what `more_ma` makes of its index and all leaves.
    fn give_each_group(&mut self, more_ma: impl Fn(usize, &[Leaf]) -> i64) {
        let mut group_ma = take(&mut self.scratch.group_ma);
        group_ma.clear();
        group_ma.extend((0..self.part.groups().len()).map(|group| more_ma(group, self.leaves)));
        self.give_groups(&group_ma);
        self.scratch.group_ma = group_ma;
    }

    /// The combined rows of one of the part's combined nodes, each with the square of its limit.
    pub(crate) fn combined_rows(
        &self,
        node: usize,
    ) -> impl Iterator<Item = (usize, &'a CombinedRow, u128)> {
        let rows = self.part.rows_of(node);
        let limits = &self.scratch.combined_limit[rows.clone()];
        let combined = &self.part.combined[rows.clone()];
        rows.zip(combined).zip(limits).map(|((index, row), &limit)| (index, row, limit))
    }

    /// Note what stopped leaves. Returns where in the network's bounds it stands.
    pub(crate) fn note(&mut self, bound: Bound) -> u32 {
        // There are no more of them than leaves, each of which is stopped once.
        self.bounds[self.noted as usize] = bound;
        self.noted += 1;
        self.part.first_leaf + self.noted - 1
    }

    /// Give `more_ma` (take, where negative) on each line of a connection, on its node and all above.
    pub(crate) fn give(&mut self, to: Connection, more_ma: i64) {
        let mut at = Some(to.place as usize);
        while let Some(place) = at {
            add(&mut self.room_ma[place], to.phases, -more_ma);
            at = self.part.above(place);
        }
        for combined in self.part.combined_above(to.place as usize) {
            self.kind_ma[combined][usize::from(to.kind)] += more_ma;
        }
    }

    /// Give each group what is said, in the order of groups.
    pub(crate) fn give_groups(&mut self, group_ma: &[i64]) {
        let part = self.part;
        let node_ma = &mut self.scratch.node_ma;
        node_ma.clear();
        node_ma.resize(part.nodes(), [0; PHASES]);
        for (group, &more_ma) in part.groups().iter().zip(group_ma) {
            add(&mut node_ma[part.node_of(group)], group.phases, more_ma);
        }
        for place in (0..part.nodes()).rev() {
            let load_ma = node_ma[place];
            for (room_ma, load_ma) in self.room_ma[place].iter_mut().zip(load_ma) {
                *room_ma -= load_ma;
            }
            if let Some(up) = part.above(place) {
                for (sum_ma, load_ma) in node_ma[up].iter_mut().zip(load_ma) {
                    *sum_ma += load_ma;
                }
            }
        }
        if part.combined.is_empty() {
            return;
        }
        for (group, &more_ma) in part.groups().iter().zip(group_ma) {
            for combined in part.combined_above(part.node_of(group)) {
                self.kind_ma[combined][usize::from(group.kind)] += more_ma;
            }
        }
    }

    /// Whether the rows of a connection, on its node and all above, have room for `more_ma`.
    pub(crate) fn fits(&self, to: Connection, more_ma: i64) -> bool {
        // Below 0 as soon as one row lacks room.
        let mut sign = 0;
        let mut at = Some(to.place as usize);
        while let Some(place) = at {
            for (room, on) in self.room_ma[place].iter().zip(ON[usize::from(to.phases & 7)]) {
                sign |= (room - more_ma) & on;
            }
            at = self.part.above(place);
        }
        sign >= 0 && self.fits_combined(to, more_ma)
    }

    /// Whether the combined rows of a connection have room for `more_ma`.
    pub(crate) fn fits_combined(&self, to: Connection, more_ma: i64) -> bool {
        let mut nodes = self.part.combined_above(to.place as usize);
        nodes.all(|node| self.over_combined(node, to, more_ma).is_none())
    }

    /// The first row of a combined node that `more_ma` on a connection would overload.
    fn over_combined(&self, node: usize, to: Connection, more_ma: i64) -> Option<usize> {
        let mut kind_ma = self.kind_ma[node];
        kind_ma[usize::from(to.kind)] += more_ma;
        let over = |(_, row, limit): &(usize, &CombinedRow, u128)| {
            row.kinds >> to.kind & 1 == 1 && row.is_over(&kind_ma, *limit)
        };
        self.combined_rows(node).find(over).map(|(index, ..)| index)
    }

    /// The first row of a connection without room for `more_ma`, from its own node upwards, L1
    /// before L2 and single phases before combined rows.
    pub(crate) fn blocking(&self, to: Connection, more_ma: i64) -> Bound {
        let mut at = Some(to.place as usize);
        while let Some(place) = at {
            let room = &self.room_ma[place];
            let full = |&phase: &usize| to.phases >> phase & 1 == 1 && room[phase] < more_ma;
            if let Some(phase) = (0..PHASES).find(full) {
                return Bound::phase(&self.part, place, phase, 0);
            }
            let own = self.part.combined_at(place);
            if let Some(row) = own.and_then(|node| self.over_combined(node, to, more_ma)) {
                return Bound::combined(&self.part, row, 0);
            }
            at = self.part.above(place);
        }
        Bound::NONE
    }

    /// The least room from the node of every group up to its root, on the lines of the group.
    /// Combined rows are not asked.
    pub(crate) fn find_group_room(&mut self, group_room_ma: &mut Vec<u32>) {
        let part = self.part;
        let room_ma = &mut self.scratch.node_ma;
        room_ma.clear();
        room_ma.extend_from_slice(self.room_ma);
        for place in 0..part.nodes() {
            if let Some(up) = part.above(place) {
                let above = room_ma[up];
                for (room, above) in room_ma[place].iter_mut().zip(above) {
                    *room = above.min(*room);
                }
            }
        }
        group_room_ma.clear();
        group_room_ma.extend(part.groups().iter().map(|group| {
            // No step is larger than what 32 bits hold.
            u32::try_from(least(&room_ma[part.node_of(group)], group.phases)).unwrap_or(u32::MAX)
        }));
    }
}

/// The least of `values` on `phases`.
pub(crate) fn least(values: &[i64; PHASES], phases: u8) -> i64 {
    let [l1, l2, l3] = ON[usize::from(phases & 7)];
    let on = |value: i64, on: i64| value & on | i64::MAX & !on;
    on(values[0], l1).min(on(values[1], l2)).min(on(values[2], l3))
}

/// A mask for each phase of each set of phases.
static ON: [[i64; PHASES]; 8] = [
    [0, 0, 0],
    [-1, 0, 0],
    [0, -1, 0],
    [-1, -1, 0],
    [0, 0, -1],
    [-1, 0, -1],
    [0, -1, -1],
    [-1, -1, -1],
];

/// Add `more` to each of `values` on `phases`.
pub(crate) fn add(values: &mut [i64; PHASES], phases: u8, more: i64) {
    for (value, on) in values.iter_mut().zip(ON[usize::from(phases & 7)]) {
        *value += more & on;
    }
}

/// A current that was checked to be within bounds; the mask spares checking it again.
pub(crate) fn narrow(current_ma: i64) -> u32 {
    u32::try_from(current_ma & i64::from(u32::MAX)).unwrap_or(0)
}
