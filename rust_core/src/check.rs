//! Verification by a path of its own: every row's load is summed again, connector by connector and
//! row by row, from the currents alone.

use crate::error::{NetworkError, check_length, check_range};
use crate::network::{NONE, Network};
use crate::units::{CAPACITY_MAX_MA, CURRENT_MAX_MA, PHASES};

/// Rows (`node * 3 + phase`, ascending) whose load exceeds their capacity; empty when all is well.
///
/// # Errors
///
/// A length that disagrees, a value outside its range, or a current outside 0 or `min_ma` to
/// `max_ma` of its connector.
pub fn check(
    network: &Network,
    capacity_ma: &[i64],
    min_ma: &[i64],
    max_ma: &[i64],
    current_ma: &[i64],
) -> Result<Vec<i32>, NetworkError> {
    check_length("capacity_ma", capacity_ma, network.rows())?;
    check_range("capacity_ma", capacity_ma, -CAPACITY_MAX_MA, CAPACITY_MAX_MA)?;
    for (array, values) in [("min_ma", min_ma), ("max_ma", max_ma), ("current_ma", current_ma)] {
        check_length(array, values, network.leaves())?;
        check_range(array, values, 0, CURRENT_MAX_MA)?;
    }
    for (leaf, &current) in current_ma.iter().enumerate() {
        if current != 0 && !(min_ma[leaf]..=max_ma[leaf]).contains(&current) {
            let (min_ma, max_ma) = (min_ma[leaf], max_ma[leaf]);
            return Err(NetworkError::Current { leaf, current_ma: current, min_ma, max_ma });
        }
    }
    let mut over = Vec::new();
    for (row, load) in loads(network, current_ma).into_iter().enumerate() {
        if load > capacity_ma[row].max(0) {
            over.push(i32::try_from(row).unwrap_or(i32::MAX));
        }
    }
    Ok(over)
}

/// The load of every row, in the caller's order.
fn loads(network: &Network, current_ma: &[i64]) -> Vec<i64> {
    let mut by_place = vec![[0_i64; PHASES]; network.nodes()];
    for (leaf, &node) in network.leaf_node.iter().enumerate() {
        let current = current_ma[network.leaf_at[leaf] as usize];
        let phases = network.leaf_phases[leaf];
        for (phase, load) in by_place[node as usize].iter_mut().enumerate() {
            *load += current * i64::from(phases >> phase & 1);
        }
    }
    for place in (0..by_place.len()).rev() {
        let up = network.parent[place];
        if up != NONE {
            let below = by_place[place];
            for (load, more) in by_place[up as usize].iter_mut().zip(below) {
                *load += more;
            }
        }
    }
    let mut by_row = vec![0; network.rows()];
    for (place, loads) in by_place.iter().enumerate() {
        let row = network.node_at[place] as usize * PHASES;
        by_row[row..row + PHASES].copy_from_slice(loads);
    }
    by_row
}
