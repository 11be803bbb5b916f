//! The real-time round: admission, strict tiers, weighted max-min inside each, whole steps.

use std::mem::take;

use crate::admit::admit;
use crate::error::{NetworkError, check_length, check_range};
use crate::fill::fill;
use crate::network::Network;
use crate::round::{Leaf, Round, Workspace};
use crate::steps::whole_steps;
use crate::units::{CAPACITY_MAX_MA, CURRENT_MAX_MA, WEIGHT_MAX};

/// What connectors ask for: one entry per connector in every slice.
#[derive(Debug, Clone, Copy)]
pub struct Demand<'a> {
    /// The least current at which each runs, 0 to its maximum.
    pub min_ma: &'a [i64],
    /// The most each may draw; 0 for a connector that wants nothing.
    pub max_ma: &'a [i64],
    /// What is given is a multiple of this, or exactly the minimum or the maximum.
    pub step_ma: &'a [i64],
    /// Share inside a tier, 1 to [`WEIGHT_MAX`].
    pub weight: &'a [i64],
    /// Strict priority; 0 is served first.
    pub tier: &'a [u8],
    /// Order of admission inside a tier, and of equal remainders; lower first, ties by index.
    pub rank: &'a [i64],
}

/// What a round gives, in the caller's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Allocation {
    /// The current on each active phase of each connector.
    pub current_ma: Vec<i64>,
    /// The saturated row that stops each connector, or -1 where its own maximum does.
    pub binding_row: Vec<i32>,
    /// False where not even the minimum could be given.
    pub admitted: Vec<bool>,
    /// The sum of what was given below each row.
    pub row_load_ma: Vec<i64>,
}

/// One real-time round: admission at the minimum, then weighted max-min inside strict tiers, then
/// whole steps.
///
/// `capacity_ma` is what connectors may draw through each row `node * 3 + phase`; below 0 counts
/// as 0. Inside a tier every connector is raised to `weight * level` clamped to its minimum and
/// maximum, with one level for all that grows until a row is full and stops those below it there
/// ([`LEVEL_BITS`](crate::units::LEVEL_BITS) gives the grid of levels). What was reached is rounded
/// down to whole steps; each connector may then go up one step, those that lost most first; and as
/// long as anyone can still go up, filling is repeated among these.
///
/// # Errors
///
/// A length that disagrees or a value outside its range.
pub fn allocate(
    network: &Network,
    capacity_ma: &[i64],
    demand: &Demand<'_>,
) -> Result<Allocation, NetworkError> {
    allocate_in(&mut Workspace::default(), network, capacity_ma, demand)
}

/// As [`allocate`], with memory of earlier rounds.
///
/// # Errors
///
/// As [`allocate`].
pub fn allocate_in(
    workspace: &mut Workspace,
    network: &Network,
    capacity_ma: &[i64],
    demand: &Demand<'_>,
) -> Result<Allocation, NetworkError> {
    refuse_bad_input(network, capacity_ma, demand)?;
    let mut rising = take(&mut workspace.rising);
    let mut round = Round::new(network, capacity_ma, *demand, workspace);
    admit(&mut round);
    for tier in tiers(demand.tier) {
        list_rising(&round.leaves, tier, &mut rising);
        while !rising.is_empty() {
            fill(&mut round, &rising);
            whole_steps(&mut round, &mut rising);
        }
    }
    round.workspace.rising = rising;
    Ok(round.finish(capacity_ma))
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
fn tiers(of_leaves: &[u8]) -> impl Iterator<Item = u8> + use<> {
    let mut occurs = [false; 256];
    for &tier in of_leaves {
        occurs[tier as usize] = true;
    }
    (0..=u8::MAX).filter(move |&tier| occurs[tier as usize])
}

fn refuse_bad_input(
    network: &Network,
    capacity_ma: &[i64],
    demand: &Demand<'_>,
) -> Result<(), NetworkError> {
    let leaves = network.leaves();
    check_length("capacity_ma", capacity_ma, network.rows())?;
    check_range("capacity_ma", capacity_ma, -CAPACITY_MAX_MA, CAPACITY_MAX_MA)?;
    check_length("min_ma", demand.min_ma, leaves)?;
    check_length("max_ma", demand.max_ma, leaves)?;
    check_length("step_ma", demand.step_ma, leaves)?;
    check_length("weight", demand.weight, leaves)?;
    check_length("tier", demand.tier, leaves)?;
    check_length("rank", demand.rank, leaves)?;
    check_range("max_ma", demand.max_ma, 0, CURRENT_MAX_MA)?;
    check_range("step_ma", demand.step_ma, 1, CURRENT_MAX_MA)?;
    check_range("weight", demand.weight, 1, WEIGHT_MAX)?;
    // Below 0 as soon as one difference is; without branches, several at a time.
    let sign = demand
        .min_ma
        .iter()
        .zip(demand.max_ma)
        .fold(0, |sign, (&min, &max)| sign | min | (max - min.max(0)));
    if sign >= 0 {
        return Ok(());
    }
    for (index, (&min, &max)) in demand.min_ma.iter().zip(demand.max_ma).enumerate() {
        if !(0..=max).contains(&min) {
            return Err(NetworkError::Range {
                array: "min_ma",
                index,
                value: min,
                least: 0,
                most: max,
            });
        }
    }
    Ok(())
}
