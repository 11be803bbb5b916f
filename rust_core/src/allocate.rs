//! The real-time round: admission, strict tiers, weighted max-min inside each, whole steps.

use crate::admit::admit;
use crate::error::{NetworkError, check_length, check_range};
use crate::fill::fill;
use crate::network::Network;
use crate::steps::{raise_by_step, round_down, still_raisable};
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

/// What stops a connector: a row, or nothing but its own maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop(i32);

impl Stop {
    /// Its own maximum, or nothing wanted.
    pub(crate) const OWN: Self = Self(-1);

    /// The row at place `row`.
    pub(crate) fn row(row: usize) -> Self {
        Self(i32::try_from(row).unwrap_or(i32::MAX))
    }

    pub(crate) fn place(self) -> Option<usize> {
        usize::try_from(self.0).ok()
    }
}

/// A round in progress; every array is in the order of places.
pub(crate) struct Round<'a> {
    pub(crate) network: &'a Network,
    pub(crate) min_ma: Vec<i64>,
    pub(crate) max_ma: Vec<i64>,
    pub(crate) step_ma: Vec<i64>,
    pub(crate) weight: Vec<u32>,
    pub(crate) tier: Vec<u8>,
    pub(crate) rank: Vec<i64>,
    /// What is left on each row; never below 0.
    pub(crate) room_ma: Vec<i64>,
    pub(crate) current_ma: Vec<i64>,
    pub(crate) admitted: Vec<bool>,
    pub(crate) stop: Vec<Stop>,
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
    refuse_bad_input(network, capacity_ma, demand)?;
    let mut round = Round::new(network, capacity_ma, demand);
    admit(&mut round);
    let mut tiers = round.tier.clone();
    tiers.sort_unstable();
    tiers.dedup();
    for tier in tiers {
        let mut rising: Vec<u32> = round
            .leaf_places()
            .filter(|&leaf| round.tier[leaf as usize] == tier && round.may_rise(leaf as usize))
            .collect();
        while !rising.is_empty() {
            let reached = fill(&mut round, &rising);
            let lost = round_down(&mut round, &rising, &reached);
            raise_by_step(&mut round, &rising, &lost);
            rising = still_raisable(&mut round, &rising);
        }
    }
    Ok(round.finish(capacity_ma))
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

impl<'a> Round<'a> {
    fn new(network: &'a Network, capacity_ma: &[i64], demand: &Demand<'_>) -> Self {
        fn placed<T: Copy>(network: &Network, values: &[T]) -> Vec<T> {
            network.leaf_at.iter().map(|&leaf| values[leaf as usize]).collect()
        }
        Self {
            network,
            min_ma: placed(network, demand.min_ma),
            max_ma: placed(network, demand.max_ma),
            step_ma: placed(network, demand.step_ma),
            weight: network
                .leaf_at
                .iter()
                .map(|&leaf| u32::try_from(demand.weight[leaf as usize]).unwrap_or(1))
                .collect(),
            tier: placed(network, demand.tier),
            rank: placed(network, demand.rank),
            room_ma: (0..network.rows())
                .map(|row| capacity_ma[network.row_index(row)].max(0))
                .collect(),
            current_ma: vec![0; network.leaves()],
            admitted: vec![true; network.leaves()],
            stop: vec![Stop::OWN; network.leaves()],
        }
    }

    pub(crate) fn leaf_places(&self) -> impl Iterator<Item = u32> + use<> {
        0..u32::try_from(self.network.leaves()).unwrap_or(u32::MAX)
    }

    pub(crate) fn may_rise(&self, leaf: usize) -> bool {
        self.admitted[leaf] && self.current_ma[leaf] < self.max_ma[leaf]
    }

    /// Give `more_ma` to a leaf (take, where negative) on all its rows.
    pub(crate) fn give(&mut self, leaf: usize, more_ma: i64) {
        self.current_ma[leaf] += more_ma;
        for row in self.network.rows_of(leaf) {
            self.room_ma[row] -= more_ma;
        }
    }

    fn finish(self, capacity_ma: &[i64]) -> Allocation {
        let network = self.network;
        let leaves = network.leaves();
        let mut given = Allocation {
            current_ma: vec![0; leaves],
            binding_row: vec![-1; leaves],
            admitted: vec![true; leaves],
            row_load_ma: vec![0; network.rows()],
        };
        for (leaf, &at) in network.leaf_at.iter().enumerate() {
            let at = at as usize;
            given.current_ma[at] = self.current_ma[leaf];
            given.admitted[at] = self.admitted[leaf];
            if let Some(row) = self.stop[leaf].place() {
                given.binding_row[at] = i32::try_from(network.row_index(row)).unwrap_or(i32::MAX);
            }
        }
        for (row, room) in self.room_ma.iter().enumerate() {
            let at = network.row_index(row);
            given.row_load_ma[at] = capacity_ma[at].max(0) - room;
        }
        given
    }
}
