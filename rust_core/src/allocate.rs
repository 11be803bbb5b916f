//! The real-time round: admission, strict tiers, weighted max-min inside each, whole steps.

use crate::admit::admit;
use crate::error::NetworkError;
use crate::fill::fill;
use crate::input::refuse_bad_input;
use crate::network::{JOB_LEAVES, Network};
use crate::outcome::{Allocation, Reason, outcome};
use crate::part::Part;
use crate::round::{Given, GivenPart, Leaf, Round, Scratch, narrow};
use crate::setpoints::{Accepts, Setpoints};
use crate::steps::whole_steps;
use crate::threads::share_out;
use crate::units::PHASES;

/// What rows carry, at the moment of the round.
#[derive(Debug, Clone, Copy, Default)]
pub struct Capacity<'a> {
    /// What connectors may draw through each row `node * 3 + phase`; below 0 counts as 0.
    pub import_ma: &'a [i64],
    /// Optional: what they may feed in through each row; 0 where left out.
    pub export_ma: &'a [i64],
    /// The limit of each combined row, 0 to [`COMBINED_MAX`](crate::units::COMBINED_MAX).
    pub combined: &'a [i64],
    /// Optional: the limit of each combined row for what is fed in; 0 where left out.
    pub combined_export: &'a [i64],
}

/// What connectors ask for: one entry per connector, or none in a slice that is optional.
#[derive(Debug, Clone, Copy, Default)]
pub struct Demand<'a> {
    /// The least current at which each runs, 0 to its maximum.
    pub min_ma: &'a [i64],
    /// The most each may draw; 0 for a connector that wants nothing.
    pub max_ma: &'a [i64],
    /// What is given is a multiple of this, or exactly the minimum or the maximum.
    pub step_ma: &'a [i64],
    /// Share inside a tier, 1 to [`WEIGHT_MAX`](crate::units::WEIGHT_MAX).
    pub weight: &'a [i64],
    /// Strict priority; 0 is served first.
    pub tier: &'a [u8],
    /// Order of admission inside a tier, and of equal remainders; lower first, ties by index.
    pub rank: &'a [i64],
    /// Optional: running vehicles that are admitted before others of their tier.
    pub keep_on: &'a [bool],
    /// Optional: connectors that feed in. Their minimum and maximum are what they feed in, and what
    /// is given to them is below 0.
    pub discharge: &'a [bool],
    /// Optional: what a charger that cannot be steered may draw on each of its lines (feed in,
    /// where below 0), apart from what is given to it.
    pub liability_ma: &'a [i64],
    /// Optional: the set of currents that each accepts instead of steps, or -1.
    pub setpoint_set: &'a [i32],
    /// First entry in `setpoint_ma` of each set, and one entry more at the end.
    pub setpoint_start: &'a [i32],
    /// The currents of the sets, ascending inside each.
    pub setpoint_ma: &'a [i64],
}

impl<'a> Demand<'a> {
    pub(crate) fn setpoints(&self) -> Setpoints<'a> {
        Setpoints::new(self.setpoint_start, self.setpoint_ma)
    }

    /// Whether anybody feeds in, or is liable to.
    fn feeds_in(&self) -> bool {
        self.discharge.contains(&true)
            || self.liability_ma.iter().any(|&liability_ma| liability_ma < 0)
    }

    /// Whether a connector feeds in.
    pub(crate) fn discharges(&self, at: usize) -> bool {
        self.discharge.get(at).copied().unwrap_or(false)
    }

    /// The least and the greatest current that a connector accepts.
    #[inline]
    pub(crate) fn ends(&self, at: usize) -> (i64, i64) {
        let (min_ma, max_ma) = (self.min_ma[at], self.max_ma[at]);
        match self.setpoint_set.get(at) {
            Some(&set) if set >= 0 => self.setpoints().ends(set, min_ma, max_ma),
            _ => (min_ma, max_ma),
        }
    }

    fn accepts(&self, at: usize) -> Accepts {
        match self.setpoint_set.get(at) {
            Some(&set) if set >= 0 => Accepts::set(set),
            _ => Accepts::step(self.step_ma[at]),
        }
    }
}

/// What is drawn, or what is fed in: the two are shared out apart, since what one vehicle feeds in
/// may end before what another draws.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) demand: Demand<'a>,
    rows_ma: &'a [i64],
    combined: &'a [i64],
    export: bool,
}

impl<'a> Side<'a> {
    pub(crate) fn import(capacity: &Capacity<'a>, demand: &Demand<'a>) -> Self {
        let Capacity { import_ma, combined, .. } = *capacity;
        Self { demand: *demand, rows_ma: import_ma, combined, export: false }
    }

    pub(crate) fn export(capacity: &Capacity<'a>, demand: &Demand<'a>) -> Self {
        let Capacity { export_ma, combined_export, .. } = *capacity;
        Self { demand: *demand, rows_ma: export_ma, combined: combined_export, export: true }
    }

    /// A connector at its minimum.
    #[inline]
    pub(crate) fn leaf(&self, at: usize) -> Leaf {
        let demand = &self.demand;
        if demand.discharges(at) != self.export {
            return Leaf::NOTHING;
        }
        let (min_ma, max_ma) = demand.ends(at);
        Leaf {
            current_ma: narrow(min_ma),
            max_ma: narrow(max_ma),
            accepts: demand.accepts(at),
            bound: 0,
            weight: u16::try_from(demand.weight[at]).unwrap_or(1),
            tier: demand.tier[at],
            reason: Reason::Maximum,
        }
    }

    /// What a connector may draw, or feed in, unsteered.
    pub(crate) fn liability_ma(&self, at: usize) -> i64 {
        let liability_ma = self.demand.liability_ma.get(at).copied().unwrap_or(0);
        if self.export { (-liability_ma).max(0) } else { liability_ma.max(0) }
    }

    /// The capacity of the three rows of one of the caller's nodes.
    pub(crate) fn capacity_ma(&self, node: usize) -> [i64; PHASES] {
        match self.rows_ma.get(node * PHASES..node * PHASES + PHASES) {
            Some(rows) => [rows[0].max(0), rows[1].max(0), rows[2].max(0)],
            None => [0; PHASES],
        }
    }

    /// The limit of one of the caller's combined rows.
    pub(crate) fn combined_limit(&self, row: usize) -> i64 {
        self.combined.get(row).copied().unwrap_or(0)
    }
}

/// Memory that rounds use again. It holds nothing from one round to the next, and any network may
/// use any workspace.
#[derive(Debug, Default)]
pub struct Workspace {
    pub(crate) import: Given,
    pub(crate) export: Given,
    scratch: Vec<Scratch>,
}

/// One real-time round: admission at the minimum, then weighted max-min inside strict tiers, then
/// whole steps.
///
/// Inside a tier every connector is raised to `weight * level` clamped to its minimum and maximum,
/// with one level for all that grows until a row is full and stops those below it there
/// ([`LEVEL_BITS`](crate::units::LEVEL_BITS) gives the grid of levels). What was reached is rounded
/// down to what the station accepts; each connector may then go up one step, those that lost most
/// first; and as long as anyone can still go up, filling is repeated among these.
///
/// What is fed in is shared out in the same way, apart from what is drawn. Trees that share no row
/// are solved apart, on as many `threads` as are given; the result is the same for any number.
///
/// # Errors
///
/// A length that disagrees or a value outside its range.
pub fn allocate(
    workspace: &mut Workspace,
    network: &Network,
    capacity: &Capacity<'_>,
    demand: &Demand<'_>,
    threads: usize,
) -> Result<Allocation, NetworkError> {
    refuse_bad_input(network, capacity, demand)?;
    let Workspace { import, export, scratch } = workspace;
    // More threads than this would find nothing to do.
    let threads = threads.clamp(1, 1 + network.leaves() / JOB_LEAVES);
    scratch.resize_with(threads, Scratch::default);
    let (import_side, export_side) =
        (Side::import(capacity, demand), Side::export(capacity, demand));
    solve(network, import_side, import, scratch);
    let feeds_in = demand.feeds_in();
    if feeds_in {
        solve(network, export_side, export, scratch);
    }
    let export = feeds_in.then_some((export_side, &*export));
    Ok(outcome(network, (import_side, import), export, scratch))
}

/// One side of all trees.
fn solve(network: &Network, side: Side<'_>, given: &mut Given, scratch: &mut [Scratch]) {
    given.fit(network);
    let parts: Vec<Part<'_>> =
        network.parts.iter().map(|nodes| Part::new(network, nodes.clone())).collect();
    let given = given.parts(&parts);
    let jobs: Vec<_> = parts.into_iter().zip(given).collect();
    share_out(scratch, jobs, |(part, given), scratch| solve_part(part, side, given, scratch));
}

/// One side of a part.
pub(crate) fn solve_part(
    part: Part<'_>,
    side: Side<'_>,
    given: GivenPart<'_>,
    scratch: &mut Scratch,
) {
    let mut rising = std::mem::take(&mut scratch.rising);
    let mut round = Round::new(part, side, given, scratch);
    admit(&mut round);
    for tier in tiers(round.leaves) {
        list_rising(round.leaves, tier, &mut rising);
        let mut first = true;
        while !rising.is_empty() {
            fill(&mut round, &rising);
            whole_steps(&mut round, &mut rising, first);
            first = false;
        }
    }
    scratch.rising = rising;
}

/// The places of the leaves of a tier that may rise.
fn list_rising(leaves: &[Leaf], tier: u8, rising: &mut Vec<u32>) {
    rising.resize(leaves.len(), 0);
    let mut count = 0;
    for (leaf, place) in leaves.iter().zip(0..) {
        if leaf.tier == tier {
            // Written in any case and counted if wanted, since nobody can foretell who may.
            rising[count] = place;
            count += usize::from(leaf.may_rise());
        }
    }
    rising.truncate(count);
}

/// The tiers that occur, first served first.
fn tiers(leaves: &[Leaf]) -> impl Iterator<Item = u8> + use<> {
    let mut occurs = [false; 256];
    for leaf in leaves {
        occurs[leaf.tier as usize] = true;
    }
    (0..=u8::MAX).filter(move |&tier| occurs[tier as usize])
}
