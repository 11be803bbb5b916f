//! The inputs of a round, refused by name where they contradict themselves.

use crate::allocate::{Capacity, Demand};
use crate::error::{NetworkError, check_length, check_range};
use crate::incremental::Connector;
use crate::network::Network;
use crate::units::{CAPACITY_MAX_MA, COMBINED_MAX, CURRENT_MAX_MA, WEIGHT_MAX};

/// Refuse a length that disagrees or a value outside its range.
pub(crate) fn refuse_bad_input(
    network: &Network,
    capacity: &Capacity<'_>,
    demand: &Demand<'_>,
) -> Result<(), NetworkError> {
    check_capacity(network, capacity)?;
    let leaves = network.leaves();
    check_length("min_ma", demand.min_ma, leaves)?;
    check_length("max_ma", demand.max_ma, leaves)?;
    check_length("step_ma", demand.step_ma, leaves)?;
    check_length("weight", demand.weight, leaves)?;
    check_length("tier", demand.tier, leaves)?;
    check_length("rank", demand.rank, leaves)?;
    check_optional_length("keep_on", demand.keep_on, leaves)?;
    check_optional_length("discharge", demand.discharge, leaves)?;
    check_optional_length("liability_ma", demand.liability_ma, leaves)?;
    check_range("max_ma", demand.max_ma, 0, CURRENT_MAX_MA)?;
    check_range("step_ma", demand.step_ma, 1, CURRENT_MAX_MA)?;
    check_range("weight", demand.weight, 1, WEIGHT_MAX)?;
    check_range("liability_ma", demand.liability_ma, -CURRENT_MAX_MA, CURRENT_MAX_MA)?;
    demand.setpoints().check(demand.setpoint_set, leaves)?;
    check_minimums(demand)
}

/// Refuse what rows carry, unless it fits the network.
pub(crate) fn check_capacity(
    network: &Network,
    capacity: &Capacity<'_>,
) -> Result<(), NetworkError> {
    check_length("import_ma", capacity.import_ma, network.rows())?;
    check_range("import_ma", capacity.import_ma, -CAPACITY_MAX_MA, CAPACITY_MAX_MA)?;
    check_optional_length("export_ma", capacity.export_ma, network.rows())?;
    check_range("export_ma", capacity.export_ma, -CAPACITY_MAX_MA, CAPACITY_MAX_MA)?;
    check_length("combined", capacity.combined, network.combined())?;
    check_range("combined", capacity.combined, 0, COMBINED_MAX)?;
    check_optional_length("combined_export", capacity.combined_export, network.combined())?;
    check_range("combined_export", capacity.combined_export, 0, COMBINED_MAX)
}

fn check_optional_length<T>(
    array: &'static str,
    values: &[T],
    expected: usize,
) -> Result<(), NetworkError> {
    if values.is_empty() { Ok(()) } else { check_length(array, values, expected) }
}

/// Refuse what one connector asks for, where there are `sets` of setpoints.
pub(crate) fn check_connector(
    leaf: usize,
    asks: &Connector,
    sets: usize,
) -> Result<(), NetworkError> {
    check_value("max_ma", leaf, asks.max_ma, 0, CURRENT_MAX_MA)?;
    check_value("min_ma", leaf, asks.min_ma, 0, asks.max_ma)?;
    check_value("step_ma", leaf, asks.step_ma, 1, CURRENT_MAX_MA)?;
    check_value("weight", leaf, asks.weight, 1, WEIGHT_MAX)?;
    check_value("liability_ma", leaf, asks.liability_ma, -CURRENT_MAX_MA, CURRENT_MAX_MA)?;
    let last = i64::try_from(sets).unwrap_or(i64::MAX) - 1;
    check_value("setpoint_set", leaf, i64::from(asks.setpoint_set), -1, last)
}

/// Refuse a value outside `least..=most`.
pub(crate) fn check_value(
    array: &'static str,
    index: usize,
    value: i64,
    least: i64,
    most: i64,
) -> Result<(), NetworkError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(NetworkError::Range { array, index, value, least, most })
}

fn check_minimums(demand: &Demand<'_>) -> Result<(), NetworkError> {
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
