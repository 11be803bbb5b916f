//! Laws of a round on networks of some hundred connectors, where a second solver would be too slow.

use loadstar_core::Reason;
use proptest::prelude::*;

use crate::problem::part::{ANY, EXPORTS, KEEP_ON, ROTATIONS, TIERS};
use crate::problem::{Problem, problems};

const CASES: u32 = 2_000;

/// Whether all rows bear these currents, import and export each on its own.
fn fits(problem: &Problem, current_ma: &[i64]) -> bool {
    crate::reference::overloaded(problem, current_ma).is_empty()
}

fn refused(reason: u8) -> bool {
    reason == Reason::Admission as u8
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_row_is_overloaded_and_every_current_is_accepted(problem in problems(30, 300, ANY)) {
        let given = problem.allocate();
        prop_assert!(fits(&problem, &given.current_ma));
        for (leaf, &current_ma) in given.current_ma.iter().enumerate() {
            prop_assert!(current_ma == 0 || (current_ma < 0) == problem.discharges(leaf));
            let current_ma = current_ma.abs();
            let (min, max) = (problem.min_ma[leaf], problem.max_ma[leaf]);
            if refused(given.reason[leaf]) {
                prop_assert_eq!(current_ma, 0);
            } else if let Some(set) = problem.setpoints(leaf) {
                let none = !set.iter().any(|member| (min..=max).contains(member));
                prop_assert!(
                    current_ma == 0 && (min == 0 || none)
                        || (min..=max).contains(&current_ma) && set.contains(&current_ma)
                );
            } else {
                prop_assert!((min..=max).contains(&current_ma));
                let at_an_end = current_ma == min || current_ma == max;
                prop_assert!(at_an_end || current_ma % problem.step_ma[leaf] == 0);
            }
        }
    }

    /// The bottleneck certificate, but for the milliamperes that rounding to whole ones moves.
    #[test]
    fn whoever_is_below_the_maximum_is_held_by_a_row_that_shows_why(problem in problems(30, 120, EXPORTS | TIERS | KEEP_ON | ROTATIONS)) {
        let mut problem = problem;
        problem.step_ma.fill(1);
        let given = problem.allocate();
        let rounding = i64::try_from(problem.leaves()).unwrap();
        let rows_of: Vec<_> = (0..problem.leaves()).map(|leaf| problem.rows_of(leaf)).collect();
        for leaf in 0..problem.leaves() {
            let current_ma = given.current_ma[leaf].abs();
            if refused(given.reason[leaf]) || current_ma == problem.max_ma[leaf] {
                continue;
            }
            let row = usize::try_from(given.binding_row[leaf]).unwrap();
            prop_assert!(rows_of[leaf].contains(&row));
            let exporting = problem.discharges(leaf);
            let (load, capacity) = if exporting {
                (given.export_load_ma[row], problem.export_ma[row])
            } else {
                (given.row_load_ma[row], problem.import_ma[row])
            };
            prop_assert!(load > capacity.max(0) - rounding);
            let beside = |&other: &usize| {
                problem.discharges(other) == exporting && rows_of[other].contains(&row)
            };
            for other in (0..problem.leaves()).filter(beside) {
                let sure = given.current_ma[other].abs() - rounding;
                if sure > problem.min_ma[other] {
                    prop_assert!(problem.tier[other] <= problem.tier[leaf]);
                }
                if sure > problem.min_ma[other] && problem.tier[other] == problem.tier[leaf] {
                    let (mine, others) = (problem.weight[leaf], problem.weight[other]);
                    prop_assert!(sure * mine <= (current_ma + 1) * others);
                }
            }
        }
    }

    #[test]
    fn nobody_can_be_raised_by_another_step(problem in problems(12, 60, ANY)) {
        let given = problem.allocate();
        for leaf in 0..problem.leaves() {
            let current_ma = given.current_ma[leaf].abs();
            let next_ma = crate::reference::accepted_above(&problem, leaf, current_ma);
            if !refused(given.reason[leaf]) && next_ma > current_ma {
                let mut raised = given.current_ma.clone();
                raised[leaf] = if problem.discharges(leaf) { -next_ma } else { next_ma };
                prop_assert!(!fits(&problem, &raised));
            }
        }
    }

    #[test]
    fn a_later_tier_takes_nothing_beyond_its_minimums_from_an_earlier(problem in problems(12, 60, ANY)) {
        let mut problem = problem;
        problem.min_ma.fill(0);
        let together = problem.allocate();
        let mut first_only = problem.clone();
        for leaf in (0..problem.leaves()).filter(|&leaf| problem.tier[leaf] > 0) {
            first_only.max_ma[leaf] = 0;
        }
        let alone = first_only.allocate();
        for leaf in (0..problem.leaves()).filter(|&leaf| problem.tier[leaf] == 0) {
            prop_assert_eq!(together.current_ma[leaf], alone.current_ma[leaf]);
            prop_assert_eq!(together.level[leaf], alone.level[leaf]);
        }
    }
}
