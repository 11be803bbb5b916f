//! Why a network or the inputs of a round are refused.

use thiserror::Error;

/// The network or the inputs contradict themselves; the message names the element and its index.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// Two arrays that describe the same elements have different lengths.
    #[error("{array} has {found} elements, expected {expected}")]
    Length {
        /// Name of the array that does not fit.
        array: &'static str,
        /// Its length.
        found: usize,
        /// The length it must have.
        expected: usize,
    },
    /// More elements than 32-bit indices can name.
    #[error("{array} has {found} elements, more than {limit}")]
    TooMany {
        /// Name of the array.
        array: &'static str,
        /// Its length.
        found: usize,
        /// The most it may have.
        limit: usize,
    },
    /// A value outside its range.
    #[error("{array}[{index}] is {value}, must be {least} to {most}")]
    Range {
        /// Name of the array.
        array: &'static str,
        /// Index of the element.
        index: usize,
        /// What it is.
        value: i64,
        /// The least it may be.
        least: i64,
        /// The most it may be.
        most: i64,
    },
    /// No such element.
    #[error("{array}[{index}] does not exist, there are {count}")]
    Element {
        /// Name of the array.
        array: &'static str,
        /// Index of the element.
        index: usize,
        /// How many there are.
        count: usize,
    },
    /// A node is its own ancestor.
    #[error("node_parent[{node}]: node {node} is its own ancestor")]
    Cycle {
        /// The lowest-numbered node on a cycle.
        node: usize,
    },
    /// A node too far below its root.
    #[error("node_parent[{node}]: node {node} is more than {limit} levels below its root")]
    Depth {
        /// The node.
        node: usize,
        /// The most levels there may be.
        limit: u32,
    },
    /// A connector would be given a current it cannot run at.
    #[error("current_ma[{leaf}] is {current_ma}, must be 0 or {min_ma} to {max_ma}")]
    Current {
        /// Index of the connector.
        leaf: usize,
        /// What it is given.
        current_ma: i64,
        /// The least at which it runs.
        min_ma: i64,
        /// Its maximum.
        max_ma: i64,
    },
    /// A single value outside its range.
    #[error("{argument} is {value}, must be {least} to {most}")]
    Argument {
        /// Name of the value.
        argument: &'static str,
        /// What it is.
        value: i64,
        /// The least it may be.
        least: i64,
        /// The most it may be.
        most: i64,
    },
    /// Two entries for the same row and moment.
    #[error("start_s[{index}]: row {row} has another capacity from {start_s}")]
    Repeated {
        /// The later of the two entries.
        index: usize,
        /// The row.
        row: usize,
        /// The moment.
        start_s: i64,
    },
    /// Two meters of which one is below the other, or on the same node.
    #[error("{array}[{index}] is below another meter, or on its node")]
    Metered {
        /// Name of the array.
        array: &'static str,
        /// Index of the lower one.
        index: usize,
    },
    /// A vehicle whose energy nobody pays for.
    #[error("vehicle {vehicle} is below no meter")]
    Unmetered {
        /// Its index.
        vehicle: usize,
    },
    /// A line compared with itself.
    #[error("over and under are both line {line}, must differ")]
    SameLine {
        /// The line, 0 to 2.
        line: usize,
    },
}

/// Refuse `values` unless there are `expected` of them.
pub(crate) fn check_length<T>(
    array: &'static str,
    values: &[T],
    expected: usize,
) -> Result<(), NetworkError> {
    if values.len() == expected {
        return Ok(());
    }
    Err(NetworkError::Length { array, found: values.len(), expected })
}

/// Refuse the first of `values` that is outside `least..=most`, where `most` is not below 0.
pub(crate) fn check_range(
    array: &'static str,
    values: &[i64],
    least: i64,
    most: i64,
) -> Result<(), NetworkError> {
    // Below 0 as soon as one of the distances to the ends is; without branches, several at a time.
    let sign = values
        .iter()
        .fold(0, |sign, &value| sign | value.wrapping_sub(least) | most.wrapping_sub(value));
    if sign >= 0 {
        return Ok(());
    }
    match values.iter().position(|value| !(least..=most).contains(value)) {
        None => Ok(()),
        Some(index) => Err(NetworkError::Range { array, index, value: values[index], least, most }),
    }
}
