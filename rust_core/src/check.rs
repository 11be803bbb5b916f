//! Verification by a path of its own: every row's load is summed again, connector by connector and
//! row by row, from the currents alone.

use crate::allocate::{Capacity, Demand};
use crate::combined::Coefficients;
use crate::error::{NetworkError, check_length, check_range};
use crate::input::refuse_bad_input;
use crate::network::{NONE, Network};
use crate::units::{CURRENT_MAX_MA, KINDS, PHASES};

/// Rows whose load exceeds their capacity, drawn or fed in, ascending; empty when all is well.
/// Combined rows are counted after the rows of single phases.
///
/// A row that liabilities alone overload is well as long as nothing is given on it.
///
/// # Errors
///
/// A length that disagrees, a value outside its range, or a current other than 0 outside the
/// minimum to the maximum of its connector.
pub fn check(
    network: &Network,
    capacity: &Capacity<'_>,
    demand: &Demand<'_>,
    current_ma: &[i64],
) -> Result<Vec<i32>, NetworkError> {
    refuse_bad_input(network, capacity, demand)?;
    check_length("current_ma", current_ma, network.leaves())?;
    check_range("current_ma", current_ma, -CURRENT_MAX_MA, CURRENT_MAX_MA)?;
    for (leaf, &current) in current_ma.iter().enumerate() {
        let (min_ma, max_ma) = (demand.min_ma[leaf], demand.max_ma[leaf]);
        let given = if demand.discharges(leaf) { -current } else { current };
        if given != 0 && !(min_ma.max(0)..=max_ma).contains(&given) {
            return Err(NetworkError::Current { leaf, current_ma: given, min_ma, max_ma });
        }
    }
    let drawn = |leaf: usize| (current_ma[leaf].max(0), liable(demand, leaf).max(0));
    let fed_in = |leaf: usize| ((-current_ma[leaf]).max(0), (-liable(demand, leaf)).max(0));
    let mut over = overloaded(network, capacity.import_ma, capacity.combined, drawn);
    let negative = |values: &[i64]| values.iter().any(|&value| value < 0);
    if negative(current_ma) || negative(demand.liability_ma) {
        over.extend(overloaded(network, capacity.export_ma, capacity.combined_export, fed_in));
        over.sort_unstable();
        over.dedup();
    }
    Ok(over)
}

fn liable(demand: &Demand<'_>, leaf: usize) -> i64 {
    demand.liability_ma.get(leaf).copied().unwrap_or(0)
}

/// What flows at one place: what was given, and what cannot be steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Flow {
    given_ma: i64,
    liable_ma: i64,
}

/// The rows that what flows overloads, given what was given to each connector and is liable.
fn overloaded(
    network: &Network,
    rows_ma: &[i64],
    limits: &[i64],
    flow: impl Fn(usize) -> (i64, i64),
) -> Vec<i32> {
    let nothing = Flow { given_ma: 0, liable_ma: 0 };
    let mut by_place = vec![[nothing; PHASES]; network.nodes()];
    for group in &network.groups {
        let mut sum = nothing;
        for &leaf in &network.leaf_at[group.first as usize..group.end as usize] {
            let (given_ma, liable_ma) = flow(leaf as usize);
            sum.given_ma += given_ma;
            sum.liable_ma += liable_ma;
        }
        for (phase, load) in by_place[group.node as usize].iter_mut().enumerate() {
            if group.phases >> phase & 1 == 1 {
                load.given_ma += sum.given_ma;
                load.liable_ma += sum.liable_ma;
            }
        }
    }
    for place in (0..by_place.len()).rev() {
        let up = network.parent[place];
        if up != NONE {
            let below = by_place[place];
            for (load, more) in by_place[up as usize].iter_mut().zip(below) {
                load.given_ma += more.given_ma;
                load.liable_ma += more.liable_ma;
            }
        }
    }
    let mut over = Vec::new();
    for (place, loads) in by_place.iter().enumerate() {
        let first = network.node_at[place] as usize * PHASES;
        for (row, load) in (first..).zip(loads) {
            let capacity_ma = rows_ma.get(row).copied().unwrap_or(0).max(0);
            if load.given_ma > (capacity_ma - load.liable_ma).max(0) {
                over.push(i32::try_from(row).unwrap_or(i32::MAX));
            }
        }
    }
    over.extend(overloaded_combined(network, limits, flow));
    over.sort_unstable();
    over
}

/// The combined rows that what flows overloads.
fn overloaded_combined(
    network: &Network,
    limits: &[i64],
    flow: impl Fn(usize) -> (i64, i64),
) -> Vec<i32> {
    let mut over = Vec::new();
    for node in &network.combined_nodes {
        let end = network.end[node.place as usize];
        let [first, end] = [node.place, end].map(|place| network.first_group[place as usize]);
        let (mut all_ma, mut given_ma) = ([0; KINDS], [0; KINDS]);
        for group in &network.groups[first as usize..end as usize] {
            let kind = usize::from(group.kind);
            for &leaf in &network.leaf_at[group.first as usize..group.end as usize] {
                let (given, liable) = flow(leaf as usize);
                all_ma[kind] += given + liable;
                given_ma[kind] += given;
            }
        }
        for row in &network.combined[node.rows.clone()] {
            let limit = i128::from(limits.get(row.index as usize).copied().unwrap_or(0));
            let limit = (limit * limit).unsigned_abs();
            let load = longest_squared(&row.coefficients, &all_ma);
            let mut kinds = row.coefficients.iter().zip(&given_ma);
            if load > limit && kinds.any(|(vector, &given)| *vector != [0, 0] && given > 0) {
                let index = network.rows() + row.index as usize;
                over.push(i32::try_from(index).unwrap_or(i32::MAX));
            }
        }
    }
    over
}

/// The square of the longest sum over all subsets, every one of them tried.
fn longest_squared(coefficients: &Coefficients, current_ma: &[i64; KINDS]) -> u128 {
    let mut vectors: Vec<[i128; 2]> = Vec::new();
    for (vector, &current_ma) in coefficients.iter().zip(current_ma) {
        if current_ma != 0 && *vector != [0, 0] {
            vectors.push(vector.map(|part| i128::from(part) * i128::from(current_ma)));
        }
    }
    // Where all point into one quadrant, the sum of all is the longest.
    let along = |part: usize| {
        vectors.iter().all(|vector| vector[part] >= 0)
            || vectors.iter().all(|vector| vector[part] <= 0)
    };
    if along(0) && along(1) {
        let all = vectors.iter().fold([0; 2], |sum, vector| plus(sum, *vector));
        vectors = vec![all];
    }
    // The sums without a vector, and the same with it.
    let mut sums = vec![[0; 2]];
    for vector in vectors {
        for without in 0..sums.len() {
            sums.push(plus(sums[without], vector));
        }
    }
    let square = |part: i128| part.unsigned_abs().saturating_mul(part.unsigned_abs());
    sums.iter().map(|&[x, y]| square(x).saturating_add(square(y))).max().unwrap_or(0)
}

fn plus(one: [i128; 2], other: [i128; 2]) -> [i128; 2] {
    [one[0] + other[0], one[1] + other[1]]
}
