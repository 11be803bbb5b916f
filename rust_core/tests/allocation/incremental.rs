//! Rounds after changes, each bit for bit the full round of the changed inputs.

use std::sync::Arc;

use loadstar_core::{Allocator, Connector};
use proptest::prelude::*;
use proptest::sample::Index;

use crate::problem::part::{ANY, COMBINED, EXPORTS, LIABILITIES};
use crate::problem::{Problem, problems};

const CASES: u32 = if cfg!(miri) { 1 } else { 10_000 };

/// A change takes what `from`, another problem of the same size, says of one element.
#[derive(Debug, Clone)]
struct Change {
    what: u8,
    at: Index,
    /// Whether it is solved before the next change.
    solve: bool,
}

fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let change = (0..12_u8, any::<Index>(), any::<bool>());
    prop::collection::vec(change.prop_map(|(what, at, solve)| Change { what, at, solve }), 1..most)
}

/// The value of an optional input.
fn of<T: Copy>(values: &[T], at: usize, none: T) -> T {
    values.get(at).copied().unwrap_or(none)
}

fn connector(problem: &Problem, leaf: usize) -> Connector {
    Connector {
        min_ma: problem.min_ma[leaf],
        max_ma: problem.max_ma[leaf],
        step_ma: problem.step_ma[leaf],
        weight: problem.weight[leaf],
        tier: problem.tier[leaf],
        rank: problem.rank[leaf],
        keep_on: of(&problem.keep_on, leaf, false),
        discharge: of(&problem.discharge, leaf, false),
        liability_ma: of(&problem.liability_ma, leaf, 0),
        setpoint_set: of(&problem.setpoint_set, leaf, -1),
    }
}

fn put(problem: &mut Problem, leaf: usize, asks: Connector) {
    problem.min_ma[leaf] = asks.min_ma;
    problem.max_ma[leaf] = asks.max_ma;
    problem.step_ma[leaf] = asks.step_ma;
    problem.weight[leaf] = asks.weight;
    problem.tier[leaf] = asks.tier;
    problem.rank[leaf] = asks.rank;
    problem.keep_on[leaf] = asks.keep_on;
    problem.discharge[leaf] = asks.discharge;
    problem.liability_ma[leaf] = asks.liability_ma;
    problem.setpoint_set[leaf] = asks.setpoint_set;
}

/// Everything that is optional said in full.
fn in_full(mut problem: Problem) -> Problem {
    let (leaves, rows) = (problem.leaves(), problem.import_ma.len());
    problem.keep_on.resize(leaves, false);
    problem.discharge.resize(leaves, false);
    problem.liability_ma.resize(leaves, 0);
    problem.setpoint_set.resize(leaves, -1);
    problem.export_ma.resize(rows, 0);
    problem.combined_export.resize(problem.combined.len(), 0);
    problem
}

/// Make a change to the problem and to the allocator.
fn change(problem: &mut Problem, allocator: &mut Allocator, from: &Problem, how: &Change) {
    let leaf = how.at.index(problem.leaves());
    let other = how.at.index(from.leaves());
    let row = how.at.index(problem.import_ma.len());
    let mut asks = connector(problem, leaf);
    let wanted = connector(from, other);
    match how.what {
        0 => (asks.min_ma, asks.max_ma) = (0, 0),
        1 => (asks.min_ma, asks.max_ma) = (wanted.min_ma, wanted.max_ma),
        2 => (asks.weight, asks.step_ma) = (wanted.weight, wanted.step_ma),
        3 => (asks.tier, asks.rank) = (wanted.tier, wanted.rank),
        4 => asks.keep_on = wanted.keep_on,
        5 => asks.discharge = wanted.discharge,
        6 => asks.liability_ma = wanted.liability_ma,
        7 if !problem.setpoint_start.is_empty() => {
            asks.setpoint_set = -1 - asks.setpoint_set.min(0);
        }
        8 => {
            problem.import_ma[row] = of(&from.import_ma, row, 0);
            allocator.set_row(row, Some(problem.import_ma[row]), None).unwrap();
        }
        9 => {
            problem.export_ma[row] = of(&from.export_ma, row, 0);
            allocator.set_row(row, None, Some(problem.export_ma[row])).unwrap();
        }
        10 if !problem.combined.is_empty() => {
            let at = how.at.index(problem.combined.len());
            problem.combined[at] = of(&from.combined, at, 0);
            allocator.set_combined(at, Some(problem.combined[at]), None).unwrap();
        }
        11 if !problem.combined.is_empty() => {
            let at = how.at.index(problem.combined.len());
            problem.combined_export[at] = of(&from.combined_export, at, 0);
            allocator.set_combined(at, None, Some(problem.combined_export[at])).unwrap();
        }
        _ => {}
    }
    put(problem, leaf, asks);
    allocator.set_connector(leaf, asks).unwrap();
}

fn follow(problem: Problem, from: &Problem, changes: &[Change]) -> Result<(), TestCaseError> {
    let (first, mut problem) = (problem.clone(), in_full(problem));
    let network = Arc::new(first.network());
    let mut allocator = Allocator::new(network, &first.capacity(), &first.demand()).unwrap();
    allocator.solve();
    let mut before = first.allocate();
    prop_assert_eq!(&allocator.allocation(), &before);
    let last = changes.len() - 1;
    for (at, how) in changes.iter().enumerate() {
        change(&mut problem, &mut allocator, from, how);
        if !how.solve && at < last {
            continue;
        }
        let mut moved = allocator.solve().to_vec();
        moved.sort_unstable();
        let after = problem.allocate();
        prop_assert_eq!(&allocator.allocation(), &after);
        let differs =
            |leaf: &u32| before.current_ma[*leaf as usize] != after.current_ma[*leaf as usize];
        let expected: Vec<u32> = (0..).take(problem.leaves()).filter(differs).collect();
        prop_assert_eq!(moved, expected);
        before = after;
    }
    Ok(())
}

/// The same with capacities that only some rows can fill, so that changes reach only a part.
fn roomy(mut problem: Problem, seed: u64) -> Problem {
    for (row, capacity_ma) in problem.import_ma.iter_mut().chain(&mut problem.export_ma).enumerate()
    {
        if !(row as u64 + 1).wrapping_mul(seed | 1).rotate_left(23).is_multiple_of(3) {
            *capacity_ma *= 20;
        }
    }
    problem
}

#[test]
fn sets_that_nobody_names_yet_are_refused_where_they_contradict_themselves() {
    let mut problem = Problem::one_row(10_000, &[6_000]);
    problem.setpoint_start = vec![5, 100];
    problem.setpoint_ma = vec![6_000];
    let network = Arc::new(problem.network());
    let refused = Allocator::new(network, &problem.capacity(), &problem.demand()).map(|_| ());
    let message = "setpoint_start[0] is 5, must be 0 to 0".to_owned();
    assert_eq!(refused.map_err(|error| error.to_string()), Err(message));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changes_one_after_the_other_give_what_full_rounds_give(
        problem in problems(6, 9, ANY), from in problems(6, 9, ANY), changes in changes(12),
    ) {
        follow(problem, &from, &changes)?;
    }

    #[test]
    fn changes_that_reach_only_a_part_give_what_full_rounds_give(
        problem in problems(12, 16, ANY), from in problems(12, 16, ANY), changes in changes(12),
        seed in any::<u64>(),
    ) {
        follow(roomy(problem, seed), &from, &changes)?;
    }

    #[test]
    fn changes_of_plain_rounds_give_what_full_rounds_give(
        problem in problems(12, 16, ANY & !(COMBINED | EXPORTS | LIABILITIES)),
        from in problems(12, 16, ANY & !(COMBINED | EXPORTS | LIABILITIES)),
        changes in changes(20), seed in any::<u64>(),
    ) {
        follow(roomy(problem, seed), &from, &changes)?;
    }
}
