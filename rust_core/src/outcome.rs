//! What a round gives and why, in the caller's order.

use std::hint::select_unpredictable;

use crate::allocate::Side;
use crate::network::{JOB_LEAVES, Network};
use crate::round::{Bound, Given, Scratch, add};
use crate::threads::share_out;
use crate::units::PHASES;

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
    /// More than its fair share, from what was left over: mostly by rounding others down.
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
    /// The load of each combined row, rounded up; `i64::MAX` where liabilities make it more.
    pub combined_load: Vec<i64>,
    /// The load of each combined row by what is fed in; empty where nobody does or is liable to.
    pub combined_export_load: Vec<i64>,
}

impl Allocation {
    /// Whether there is such a connector, and it was given at least its minimum.
    #[must_use]
    pub fn admitted(&self, leaf: usize) -> bool {
        self.reason.get(leaf).is_some_and(|&reason| reason != Reason::Admission as u8)
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
        ..loads(network, import, export)
    };
    // A few for each thread, in case one is held up.
    let chunk = (leaves / (4 * scratch.len())).max(JOB_LEAVES);
    let currents = given.current_ma.chunks_mut(chunk).zip(given.binding_row.chunks_mut(chunk));
    let reasons = given.level.chunks_mut(chunk).zip(given.reason.chunks_mut(chunk));
    let places = network.place_of.chunks(chunk).zip((0..).step_by(chunk));
    let jobs: Vec<_> = places.zip(currents.zip(reasons)).collect();
    share_out(scratch, jobs, |((places, first), (currents, reasons)), _| {
        let currents = currents.0.iter_mut().zip(currents.1);
        let answers = currents.zip(reasons.0.iter_mut().zip(reasons.1));
        match export {
            None => {
                for (&place, ((current_ma, row), (level, reason))) in places.iter().zip(answers) {
                    (*current_ma, *row, *level, *reason) = import.1.answer(place);
                }
            }
            Some((side, export)) => {
                for ((at, &place), ((current_ma, row), (level, reason))) in
                    (first..).zip(places).zip(answers)
                {
                    let feeds_in = side.demand.discharges(at);
                    let given = if feeds_in { export } else { import.1 };
                    (*current_ma, *row, *level, *reason) = given.answer(place);
                    *current_ma *= if feeds_in { -1 } else { 1 };
                }
            }
        }
    });
    given
}

/// The loads of all rows, beside connectors of which nothing is said.
pub(crate) fn loads(
    network: &Network,
    import: Answered<'_>,
    export: Option<Answered<'_>>,
) -> Allocation {
    Allocation {
        current_ma: Vec::new(),
        binding_row: Vec::new(),
        level: Vec::new(),
        reason: Vec::new(),
        row_load_ma: row_loads(network, import),
        export_load_ma: export.map_or_else(Vec::new, |export| row_loads(network, export)),
        combined_load: combined_loads(network, import.1),
        combined_export_load: export
            .map_or_else(Vec::new, |(_, given)| combined_loads(network, given)),
    }
}

impl Given {
    /// The current of the leaf at a place, the row that stopped it, at which level, and why.
    #[inline]
    pub(crate) fn answer(&self, place: u32) -> (i64, i32, i64, u8) {
        let leaf = &self.leaves[place as usize];
        // Nobody can foretell who is at the maximum.
        let free = leaf.reason == Reason::Maximum;
        let bound = &self.bounds[leaf.bound as usize];
        let row = select_unpredictable(free, Bound::NONE.row, bound.row);
        let level = select_unpredictable(free, Bound::NONE.level, bound.level);
        (i64::from(leaf.current_ma), row, level, leaf.reason as u8)
    }
}

/// What flows below every row.
fn row_loads(network: &Network, (side, given): Answered<'_>) -> Vec<i64> {
    let liability_ma = liabilities(network, side);
    let mut loads = vec![0; network.rows()];
    for (place, (room_ma, &node)) in given.room_ma.iter().zip(&network.node_at).enumerate() {
        let liable_ma = liability_ma.get(place).copied().unwrap_or([0; PHASES]);
        let capacity_ma = side.capacity_ma(node as usize);
        for phase in 0..PHASES {
            let at_first_ma = (capacity_ma[phase] - liable_ma[phase]).max(0);
            let given_ma = at_first_ma - room_ma[phase];
            loads[node as usize * PHASES + phase] = liable_ma[phase] + given_ma;
        }
    }
    loads
}

/// By place, what cannot be steered; empty where there is nothing of that kind.
fn liabilities(network: &Network, side: Side<'_>) -> Vec<[i64; PHASES]> {
    let mut sums = Vec::new();
    if side.demand.liability_ma.is_empty() {
        return sums;
    }
    sums.resize(network.nodes(), [0; PHASES]);
    for group in &network.groups {
        let leaves = network.leaf_at[group.first as usize..group.end as usize].iter();
        let liable_ma = leaves.map(|&at| side.liability_ma(at as usize)).sum();
        add(&mut sums[group.node as usize], group.phases, liable_ma);
    }
    network.add_up(&mut sums);
    sums
}

/// The load of every combined row.
fn combined_loads(network: &Network, given: &Given) -> Vec<i64> {
    let mut loads = vec![0; network.combined.len()];
    for (node, kind_ma) in network.combined_nodes.iter().zip(&given.kind_ma) {
        for row in &network.combined[node.rows.clone()] {
            loads[row.index as usize] = row.load(kind_ma);
        }
    }
    loads
}
