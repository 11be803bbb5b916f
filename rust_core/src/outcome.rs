//! What a round gives and why, in the caller's order.

use crate::allocate::Side;
use crate::network::Network;
use crate::round::{Given, Scratch, Stop};
use crate::threads::share_out;
use crate::units::{PHASES, fine, level_from};

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
    /// The level, in [`LEVEL_BITS`](crate::units::LEVEL_BITS), at which that row stopped it; the
    /// first at which it is at its maximum where none did, 0 where it is refused.
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
        combined_load: combined_loads(network, import.1),
        combined_export_load: export
            .map_or_else(Vec::new, |(_, given)| combined_loads(network, given)),
    };
    // A few for each thread, in case one is held up.
    let chunk = (leaves / (4 * scratch.len())).max(4_096);
    let currents = given.current_ma.chunks_mut(chunk).zip(given.binding_row.chunks_mut(chunk));
    let reasons = given.level.chunks_mut(chunk).zip(given.reason.chunks_mut(chunk));
    let jobs: Vec<_> = (0..leaves).step_by(chunk).zip(currents.zip(reasons)).collect();
    share_out(scratch, jobs, |(first, ((current_ma, binding_row), (level, reason))), _| {
        let answers = current_ma.iter_mut().zip(binding_row).zip(level.iter_mut().zip(reason));
        for (at, ((current_ma, binding_row), (level, reason))) in (first..).zip(answers) {
            let feeds_in = import.0.demand.discharges(at);
            let side = if feeds_in { export.unwrap_or(import) } else { import };
            let answer = answer(network, side, at);
            *current_ma = if feeds_in { -answer.current_ma } else { answer.current_ma };
            (*binding_row, *level, *reason) =
                (answer.stop.row(), answer.level, answer.reason as u8);
        }
    });
    given
}

/// What one connector is given.
pub(crate) struct Answer {
    pub(crate) current_ma: i64,
    stop: Stop,
    level: i64,
    reason: Reason,
}

/// What a side gave to one of the caller's connectors.
#[inline]
pub(crate) fn answer(network: &Network, (side, given): Answered<'_>, at: usize) -> Answer {
    let place = network.place_of[at] as usize;
    let leaf = &given.leaves[place];
    let (current_ma, stop) = (i64::from(leaf.current_ma), given.stop[place]);
    if leaf.max_ma == 0 && stop != Stop::OWN {
        return Answer { current_ma, stop, level: 0, reason: Reason::Admission };
    }
    if !leaf.may_rise() {
        let level = level_from(leaf.max_ma, leaf.weight);
        return Answer { current_ma, stop: Stop::OWN, level, reason: Reason::Maximum };
    }
    let level = given.level[place];
    let (min, share) = (fine(side.demand.ends(at).0), i64::from(leaf.weight) * level);
    let reason = if fine(current_ma) > share.max(min) {
        Reason::Leftover
    } else if share <= min {
        Reason::Minimum
    } else {
        Reason::Share
    };
    Answer { current_ma, stop, level, reason }
}

/// What flows below every row.
fn row_loads(network: &Network, (side, given): Answered<'_>) -> Vec<i64> {
    let liability_ma = liabilities(network, side);
    let mut loads = vec![0; network.rows()];
    for (place, room_ma) in given.room_ma.iter().enumerate() {
        let node = network.node_at[place] as usize;
        let liable_ma = liability_ma.get(place).copied().unwrap_or([0; PHASES]);
        let capacity_ma = side.capacity_ma(node);
        for phase in 0..PHASES {
            let at_first_ma = (capacity_ma[phase] - liable_ma[phase]).max(0);
            loads[node * PHASES + phase] = liable_ma[phase] + at_first_ma - room_ma[phase];
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
    for (place, &at) in network.leaf_at.iter().enumerate() {
        let group = &network.groups[network.leaf_group[place] as usize];
        let liability_ma = side.liability_ma(at as usize);
        crate::round::add(&mut sums[group.node as usize], group.phases, liability_ma);
    }
    network.add_up(&mut sums);
    sums
}

fn combined_loads(network: &Network, given: &Given) -> Vec<i64> {
    let mut loads = vec![0; network.combined.len()];
    for (node, kind_ma) in network.combined_nodes.iter().zip(&given.kind_ma) {
        for row in &network.combined[node.rows.clone()] {
            loads[row.index as usize] = row.load(kind_ma);
        }
    }
    loads
}
