//! What a round gives and why, in the caller's order.

use std::hint::select_unpredictable;

use crate::allocate::{Demand, Side};
use crate::network::{Group, Network};
use crate::round::{Bound, Given, Scratch, add};
use crate::threads::share_out;
use crate::units::{KINDS, PHASES};

/// Which step of the round decided what a connector is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// It has all it can take, or wants nothing.
    Maximum = 0,
    /// Admission: there was no room for its minimum.
    Admission = 1,
    /// It runs at its minimum, which is at least its fair share.
    Minimum = 2,
    /// Its fair share at the level where a row stopped it, rounded down to what it accepts.
    Share = 3,
    /// More than its fair share: rounding the others down left room for it.
    Leftover = 4,
}

/// What a round gives, in the caller's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The current on each active line of each connector; below 0 for what is fed in.
    pub current_ma: Vec<i64>,
    /// The saturated row that stops each connector, or -1 where its own maximum does. Combined rows
    /// are counted after the rows of single phases.
    pub binding_row: Vec<i32>,
    /// The level, in [`LEVEL_BITS`](crate::units::LEVEL_BITS), at which that row stopped it; 0 where
    /// it is refused, -1 where no row stopped it.
    pub level: Vec<i64>,
    /// A [`Reason`] for each connector.
    pub reason: Vec<u8>,
    /// What is drawn below each row `node * 3 + phase`, liabilities included.
    pub row_load_ma: Vec<i64>,
    /// What is fed in below each row; empty where nobody does or is liable to.
    pub export_load_ma: Vec<i64>,
    /// The load of each combined row, rounded up.
    pub combined_load: Vec<i64>,
    /// The load of each combined row by what is fed in; empty where nobody does or is liable to.
    pub combined_export_load: Vec<i64>,
}

impl Allocation {
    /// Whether a connector was given at least its minimum.
    #[must_use]
    pub fn admitted(&self, leaf: usize) -> bool {
        self.reason[leaf] != Reason::Admission as u8
    }
}

/// What a side of a round gave, with what it was asked.
pub(crate) type Answered<'a> = (Side<'a>, &'a Given);

/// Bring what was given by place into the caller's order.
pub(crate) fn outcome(
    network: &Network,
    import: Answered<'_>,
    export: Option<Answered<'_>>,
    scratch: &mut [Scratch],
) -> Allocation {
    let leaves = network.leaves();
    let mut given = Allocation {
        current_ma: vec![0; leaves],
        binding_row: vec![0; leaves],
        level: vec![0; leaves],
        reason: vec![0; leaves],
        row_load_ma: row_loads(network, import),
        export_load_ma: export.map_or_else(Vec::new, |export| row_loads(network, export)),
        combined_load: combined_loads(network, import),
        combined_export_load: export
            .map_or_else(Vec::new, |export| combined_loads(network, export)),
    };
    // A few for each thread, in case one is held up.
    let chunk = (leaves / (4 * scratch.len())).max(4_096);
    let currents = given.current_ma.chunks_mut(chunk).zip(given.binding_row.chunks_mut(chunk));
    let reasons = given.level.chunks_mut(chunk).zip(given.reason.chunks_mut(chunk));
    let places = network.place_of.chunks(chunk).zip((0..).step_by(chunk));
    let jobs: Vec<_> = places.zip(currents.zip(reasons)).collect();
    share_out(scratch, jobs, |((places, first), (currents, reasons)), _| match export {
        None => answer(places, currents, reasons, |_| (import.1, 1)),
        Some((side, export)) => answer(places, currents, reasons, |at| {
            if side.demand.discharges(first + at) { (export, -1) } else { (import.1, 1) }
        }),
    });
    given
}

/// Say what the leaves at `places` are given and why, each by the side, and with the sign, it is on.
#[inline]
fn answer<'a>(
    places: &[u32],
    (current_ma, row): (&mut [i64], &mut [i32]),
    (level, reason): (&mut [i64], &mut [u8]),
    side: impl Fn(usize) -> (&'a Given, i64),
) {
    let currents = current_ma.iter_mut().zip(row);
    let reasons = level.iter_mut().zip(reason);
    let answers = places.iter().zip(currents.zip(reasons));
    for (at, (&place, ((current_ma, row), (level, reason)))) in answers.enumerate() {
        let (given, sign) = side(at);
        let leaf = &given.leaves[place as usize];
        // Nobody can foretell who is at the maximum.
        let free = leaf.reason == Reason::Maximum;
        let bound = &given.bounds[leaf.bound as usize];
        *current_ma = sign * i64::from(leaf.current_ma);
        *row = select_unpredictable(free, Bound::NONE.row, bound.row);
        *level = select_unpredictable(free, Bound::NONE.level, bound.level);
        *reason = leaf.reason as u8;
    }
}

/// The current of one of the caller's connectors, below 0 where it feeds in.
pub(crate) fn current_ma(
    network: &Network,
    demand: &Demand<'_>,
    (import, export): (&Given, &Given),
    at: usize,
) -> i64 {
    let place = network.place_of[at] as usize;
    if demand.discharges(at) {
        -i64::from(export.leaves[place].current_ma)
    } else {
        i64::from(import.leaves[place].current_ma)
    }
}

/// What flows below every row.
fn row_loads(network: &Network, answered: Answered<'_>) -> Vec<i64> {
    let mut sums = vec![[0; PHASES]; network.nodes()];
    for group in &network.groups {
        add(&mut sums[group.node as usize], group.phases, group_load_ma(network, group, answered));
    }
    network.add_up(&mut sums);
    let mut loads = vec![0; network.rows()];
    for (load_ma, &node) in sums.iter().zip(&network.node_at) {
        let row = node as usize * PHASES;
        loads[row..row + PHASES].copy_from_slice(load_ma);
    }
    loads
}

/// The load of every combined row.
fn combined_loads(network: &Network, answered: Answered<'_>) -> Vec<i64> {
    let mut loads = vec![0; network.combined.len()];
    for node in &network.combined_nodes {
        let mut kind_ma = [0; KINDS];
        for group in network.groups_below(node.place as usize) {
            kind_ma[usize::from(group.kind)] += group_load_ma(network, group, answered);
        }
        for row in &network.combined[node.rows.clone()] {
            loads[row.index as usize] = row.load(&kind_ma);
        }
    }
    loads
}

/// What the connectors of a group draw, or feed in, on each of their lines.
fn group_load_ma(network: &Network, group: &Group, (side, given): Answered<'_>) -> i64 {
    let places = group.first as usize..group.end as usize;
    let given_ma = given.leaves[places.clone()].iter().map(|leaf| i64::from(leaf.current_ma));
    if side.demand.liability_ma.is_empty() {
        return given_ma.sum();
    }
    let liable = network.leaf_at[places].iter().map(|&at| side.liability_ma(at as usize));
    given_ma.sum::<i64>() + liable.sum::<i64>()
}
