//! Cases that were hard once, or that a solver of another make gets wrong. Those of few connectors
//! are compared with the slow reference, too.

use loadstar_core::units::{
    CAPACITY_MAX_MA, COMBINED_MAX, CURRENT_MAX_MA, DEPTH_MAX, KINDS, PHASES, WEIGHT_MAX,
};
use loadstar_core::{Allocation, Reason};

use crate::problem::Problem;
use crate::reference::solve;

/// What the crate gives, and the slow reference as well; for an interpreter that is too slow.
fn allocate(problem: &Problem) -> Allocation {
    let given = problem.allocate();
    assert!(
        cfg!(miri) || given == solve(problem),
        "{problem:?}: {given:?}, not {:?}",
        solve(problem)
    );
    given
}

const MAXIMUM: u8 = Reason::Maximum as u8;
const ADMISSION: u8 = Reason::Admission as u8;
const MINIMUM: u8 = Reason::Minimum as u8;
const SHARE: u8 = Reason::Share as u8;
const LEFTOVER: u8 = Reason::Leftover as u8;

#[test]
fn the_maximum_lies_between_two_levels_and_the_row_fills_just_there() {
    let mut problem = Problem::one_row(9, &[10, 10]);
    problem.weight = vec![3, 1_000];
    allocate(&problem);
    let mut problem = Problem::one_row(10, &[10, 1]);
    problem.weight = vec![WEIGHT_MAX, 1];
    allocate(&problem);
}

#[test]
fn rows_that_fill_at_the_same_level_are_named_from_the_root_down() {
    // Three nodes in a row, each as large as the one above.
    let mut problem = Problem::one_row(10_000, &[16_000, 16_000]);
    problem.node_parent = vec![1, 2, -1];
    problem.import_ma = vec![10_000; 3 * PHASES];
    problem.leaf_phases = vec![0b111; 2];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [5_000, 5_000]);
    assert_eq!(given.binding_row, [6, 6]);
}

#[test]
fn two_lines_that_fill_at_the_same_level_stop_each_its_own() {
    let mut problem = Problem::one_row(10_000, &[16_000; 3]);
    problem.leaf_phases = vec![0b001, 0b010, 0b011];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [5_000; 3]);
    assert_eq!(given.binding_row, [0, 1, 0]);
}

#[test]
fn no_capacity_gives_nothing_and_refuses_who_has_a_minimum() {
    for capacity_ma in [0, -1, -CAPACITY_MAX_MA] {
        let mut problem = Problem::one_row(capacity_ma, &[16_000, 16_000, 0]);
        problem.min_ma = vec![6_000, 0, 0];
        let given = allocate(&problem);
        assert_eq!(given.current_ma, [0; 3]);
        assert_eq!(given.reason, [ADMISSION, MINIMUM, MAXIMUM]);
        assert_eq!(given.binding_row, [0, 0, -1]);
        assert_eq!(given.level, [0, 0, -1]);
    }
}

#[test]
fn the_largest_weights_are_the_same_as_the_least() {
    let mut problem = Problem::one_row(10_000, &[3_000, 6_000, 16_000]);
    problem.weight = vec![WEIGHT_MAX; 3];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [3_000, 3_500, 3_500]);
    problem.weight = vec![1; 3];
    assert_eq!(allocate(&problem).current_ma, given.current_ma);
}

#[test]
fn who_has_one_current_only_gets_it_or_nothing() {
    let mut problem = Problem::one_row(20_000, &[9_000, 9_000, 9_000]);
    problem.min_ma = vec![9_000; 3];
    problem.rank = vec![2, 0, 1];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [0, 9_000, 9_000]);
    assert_eq!(given.reason, [ADMISSION, MAXIMUM, MAXIMUM]);
}

#[test]
fn who_runs_is_not_switched_off_for_a_newcomer_of_its_tier() {
    let mut problem = Problem::one_row(13_000, &[16_000; 3]);
    problem.min_ma = vec![6_000; 3];
    problem.rank = vec![0, 1, 2];
    problem.keep_on = vec![false, false, true];
    problem.tier = vec![1, 1, 1];
    assert_eq!(allocate(&problem).reason, [SHARE, ADMISSION, SHARE]);
    problem.tier = vec![0, 0, 1];
    assert_eq!(allocate(&problem).reason, [SHARE, SHARE, ADMISSION]);
}

#[test]
fn a_chain_as_deep_as_allowed_whose_rows_fill_one_after_the_other() {
    let nodes = DEPTH_MAX as usize + 1;
    let leaves = nodes;
    let mut problem = Problem::one_row(0, &vec![32_000; leaves]);
    problem.node_parent = (-1..).take(nodes).collect();
    problem.leaf_node = (0..).take(leaves).collect();
    problem.leaf_phases = (0..leaves).map(|leaf| [1, 7, 3][leaf % 3]).collect();
    // The deeper, the tighter for each connector below.
    let below = |node: usize| i64::try_from(nodes - node).unwrap();
    let rating_ma = |row: usize| below(row / PHASES) * (5_000 + 100 * below(row / PHASES));
    problem.import_ma = (0..nodes * PHASES).map(rating_ma).collect();
    let given = problem.allocate();
    let named: std::collections::BTreeSet<i32> = given.binding_row.iter().copied().collect();
    assert!(named.len() > 20, "{named:?}");
    allocate(&problem);
}

#[test]
fn thousands_of_connectors_on_a_node_share_to_the_last_milliampere() {
    let leaves = if cfg!(miri) { 50 } else { 5_000 };
    let mut problem = Problem::one_row(7_777_777, &vec![32_000; leaves]);
    problem.weight = (0..).map(|leaf| 1 + leaf % 3).take(leaves).collect();
    let given = problem.allocate();
    let sum_ma: i64 = given.current_ma.iter().sum();
    assert_eq!(sum_ma, 7_777_777.min(32_000 * i64::try_from(leaves).unwrap()));
    for (leaf, &current_ma) in given.current_ma.iter().enumerate() {
        if given.binding_row[leaf] < 0 {
            assert_eq!(current_ma, 32_000);
            continue;
        }
        let share_ma = (problem.weight[leaf] * given.level[leaf]) >> 16;
        assert!(current_ma == share_ma || current_ma == share_ma + 1);
    }
}

/// A row whose coefficients point in opposite directions: nothing is netted, so each direction is
/// held on its own, and freeing one does not free the other.
#[test]
fn opposite_coefficients_are_not_netted() {
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &[32_000, 32_000]);
    problem.leaf_phases = vec![0b001, 0b010];
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[0; 2]; KINDS]];
    problem.combined_coefficient[0][1] = [1, 0];
    problem.combined_coefficient[0][2] = [-1, 0];
    problem.combined = vec![10_000];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [10_000, 10_000]);
    assert_eq!(given.combined_load, [10_000]);
    problem.max_ma = vec![4_000, 32_000];
    assert_eq!(allocate(&problem).current_ma, [4_000, 10_000]);
}

/// At 120 degrees one after the other is longest alone: three one-phase currents through a neutral,
/// each of which may be the only one that is left.
#[test]
fn a_neutral_is_held_against_the_end_of_any_current() {
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &[32_000; 3]);
    problem.leaf_phases = vec![0b001, 0b010, 0b100];
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[0; 2]; KINDS]];
    problem.combined_coefficient[0][1] = [10_000, 0];
    problem.combined_coefficient[0][2] = [-5_000, 8_660];
    problem.combined_coefficient[0][4] = [-5_000, -8_660];
    problem.combined = vec![16_000 * 10_000];
    assert_eq!(allocate(&problem).current_ma, [16_000; 3]);
}

/// 1 A against neutral and 1 A between lines make 1.93 A on the line they share, not 2.
#[test]
fn currents_of_different_angles_add_as_vectors() {
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &[32_000; 3]);
    problem.leaf_phases = vec![0b001, 0b011, 0b101];
    problem.leaf_kind = vec![1, 8, 10];
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[0; 2]; KINDS]];
    problem.combined_coefficient[0][1] = [10_000, 0];
    problem.combined_coefficient[0][8] = [8_660, 5_000];
    problem.combined_coefficient[0][10] = [8_660, -5_000];
    problem.combined = vec![27_320 * 10_000];
    assert_eq!(allocate(&problem).current_ma, [10_000; 3]);
}

#[test]
fn currents_that_differ_by_less_than_the_largest_square_are_told_apart() {
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &[67_000_000, 67_000_000]);
    problem.leaf_phases = vec![0b001, 0b010];
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[0; 2]; KINDS]];
    problem.combined_coefficient[0][1] = [1 << 20, 0];
    problem.combined_coefficient[0][2] = [0, 1 << 20];
    problem.combined = vec![COMBINED_MAX];
    // Half the diagonal of a square of 2^26 is 47,453,132.8, and one crumb is left.
    assert_eq!(allocate(&problem).current_ma, [47_453_133, 47_453_132]);
    problem.combined = vec![COMBINED_MAX - 1];
    allocate(&problem);
}

/// What may be drawn unsteered fills one direction beyond the limit; when it ends, the other
/// direction must hold as well.
#[test]
fn a_combined_row_that_liabilities_overload_bears_nothing_more() {
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &[0, 32_000]);
    problem.leaf_phases = vec![0b001, 0b010];
    problem.liability_ma = vec![30_000, 0];
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[0; 2]; KINDS]];
    problem.combined_coefficient[0][1] = [1, 0];
    problem.combined_coefficient[0][2] = [-1, 0];
    problem.combined = vec![10_000];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [0, 0]);
    assert_eq!(given.combined_load, [30_000]);
    problem.liability_ma = vec![10_000, 0];
    assert_eq!(allocate(&problem).current_ma, [0, 10_000]);
}

/// Whoever is stopped by a row that its kind alone would not fill can be raised afterwards.
#[test]
fn who_is_stopped_beside_the_full_direction_takes_what_is_left() {
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &[32_000, 32_000]);
    problem.leaf_phases = vec![0b001, 0b010];
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[0; 2]; KINDS]];
    problem.combined_coefficient[0][1] = [2, 0];
    problem.combined_coefficient[0][2] = [-1, 0];
    problem.combined = vec![20_000];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [10_000, 20_000]);
    assert_eq!(given.reason, [SHARE, LEFTOVER]);
    assert_eq!(given.level, [10_000 << 16; 2]);
}

#[test]
fn sets_fill_as_far_as_whole_members_go() {
    let mut problem = Problem::one_row(50_000, &[32_000; 3]);
    problem.setpoint_set = vec![0, 0, -1];
    problem.setpoint_start = vec![0, 4];
    problem.setpoint_ma = vec![8_000, 16_000, 24_000, 32_000];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [16_000, 16_000, 18_000]);
    assert_eq!(given.reason, [SHARE, SHARE, LEFTOVER]);
    problem.min_ma = vec![9_000, 9_000, 0];
    problem.import_ma = vec![24_000; PHASES];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [16_000, 0, 8_000]);
    assert_eq!(given.reason, [MINIMUM, ADMISSION, SHARE]);
}

#[test]
fn a_set_without_a_member_in_reach_wants_nothing() {
    let mut problem = Problem::one_row(50_000, &[14_000]);
    problem.min_ma = vec![9_000];
    problem.setpoint_set = vec![0];
    problem.setpoint_start = vec![0, 2];
    problem.setpoint_ma = vec![8_000, 16_000];
    let given = allocate(&problem);
    assert_eq!((given.current_ma, given.reason), (vec![0], vec![MAXIMUM]));
}

#[test]
fn a_liability_beyond_the_capacity_leaves_nothing_and_shows_in_the_load() {
    let mut problem = Problem::one_row(20_000, &[16_000, 16_000]);
    problem.liability_ma = vec![32_000, 0];
    problem.max_ma = vec![0, 16_000];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [0, 0]);
    assert_eq!(given.row_load_ma, [32_000, 0, 0]);
    // What may be fed in is not netted against what is drawn.
    problem.liability_ma = vec![-32_000, 0];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [0, 16_000]);
    assert_eq!(given.export_load_ma, [32_000, 0, 0]);
}

#[test]
fn export_is_shared_out_on_its_own() {
    let mut problem = Problem::one_row(10_000, &[16_000; 4]);
    problem.discharge = vec![true, true, false, false];
    problem.export_ma = vec![8_000; PHASES];
    let given = allocate(&problem);
    assert_eq!(given.current_ma, [-4_000, -4_000, 5_000, 5_000]);
    assert_eq!(given.row_load_ma, [10_000, 0, 0]);
    assert_eq!(given.export_load_ma, [8_000, 0, 0]);
    assert_eq!(given.binding_row, [0; 4]);
}

#[test]
fn a_rotation_moves_conductors_to_other_lines() {
    let mut problem = Problem::one_row(9_000, &[16_000; 6]);
    problem.leaf_rotation = vec![0, 1, 2, 3, 4, 5];
    let given = allocate(&problem);
    // The first conductor is on L1 of RST and RTS, on L2 of SRT and STR, on L3 of TRS and TSR.
    assert_eq!(given.current_ma, [4_500; 6]);
    assert_eq!(given.binding_row, [0, 0, 1, 1, 2, 2]);
    problem.leaf_phases = vec![0b010; 6];
    assert_eq!(allocate(&problem).binding_row, [1, 2, 0, 2, 0, 1]);
}

#[test]
fn the_largest_inputs_do_not_overflow() {
    let leaves = if cfg!(miri) { 30 } else { 3_000 };
    let mut problem = Problem::one_row(CAPACITY_MAX_MA, &vec![CURRENT_MAX_MA; leaves]);
    problem.node_parent = vec![-1, 0];
    problem.leaf_node = vec![1; leaves];
    problem.leaf_phases = vec![7; leaves];
    problem.import_ma = vec![CAPACITY_MAX_MA; 6];
    problem.step_ma =
        (0..leaves).map(|leaf| if leaf % 2 == 0 { 1 } else { CURRENT_MAX_MA }).collect();
    problem.rank =
        (0..leaves).map(|leaf| if leaf % 2 == 0 { i64::MIN } else { i64::MAX }).collect();
    problem.weight = vec![WEIGHT_MAX; leaves];
    let given = problem.allocate();
    let wanted_ma = CURRENT_MAX_MA * i64::try_from(leaves).unwrap();
    assert_eq!(given.row_load_ma, vec![CAPACITY_MAX_MA.min(wanted_ma); 6]);
    // With coefficients as large as they may be, a combined row stops them long before.
    problem.combined_node = vec![0];
    problem.combined_coefficient = vec![[[1 << 20, -(1 << 20)]; KINDS]];
    problem.combined = vec![COMBINED_MAX];
    let given = problem.allocate();
    assert!(given.combined_load[0] <= COMBINED_MAX);
    assert!(given.combined_load[0] > COMBINED_MAX - (1 << 22));
}

#[test]
fn more_threads_than_there_can_be_are_as_good_as_one() {
    let problem = Problem::one_row(10_000, &[6_000; 3]);
    assert_eq!(problem.allocate_on(usize::MAX), problem.allocate());
    assert_eq!(problem.allocate_on(0), problem.allocate());
}

#[test]
fn a_connector_that_does_not_exist_is_not_admitted() {
    let given = allocate(&Problem::one_row(10_000, &[6_000]));
    assert_eq!([0, 1].map(|leaf| given.admitted(leaf)), [true, false]);
}
