//! Every round can be proven by `certify`, and no result but the one of the round can.

#![allow(clippy::unwrap_used, reason = "a test stops at the first fault")]

use loadstar_core::units::{
    CAPACITY_MAX_MA, COEFFICIENT_MAX, COMBINED_MAX, CURRENT_MAX_MA, KINDS, PHASES, WEIGHT_MAX,
};
use loadstar_core::{
    Allocation, Capacity, Coefficients, Demand, Description, Fault, Network, Workspace, allocate,
    certify, check,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// Everything of one round, owned.
#[derive(Debug, Clone, Default)]
struct Problem {
    node_parent: Vec<i32>,
    leaf_node: Vec<i32>,
    leaf_phases: Vec<u8>,
    leaf_rotation: Vec<u8>,
    leaf_kind: Vec<u8>,
    combined_node: Vec<i32>,
    combined_coefficient: Vec<Coefficients>,
    import_ma: Vec<i64>,
    export_ma: Vec<i64>,
    combined: Vec<i64>,
    combined_export: Vec<i64>,
    min_ma: Vec<i64>,
    max_ma: Vec<i64>,
    step_ma: Vec<i64>,
    weight: Vec<i64>,
    tier: Vec<u8>,
    rank: Vec<i64>,
    keep_on: Vec<bool>,
    discharge: Vec<bool>,
    liability_ma: Vec<i64>,
    setpoint_set: Vec<i32>,
}

const SETPOINT_START: [i32; 4] = [0, 4, 7, 7];
const SETPOINT_MA: [i64; 7] = [8_000, 16_000, 24_000, 32_000, 1, 6_000, 50_000];

impl Problem {
    fn network(&self) -> Network {
        Network::build(&Description {
            node_parent: &self.node_parent,
            leaf_node: &self.leaf_node,
            leaf_phases: &self.leaf_phases,
            leaf_rotation: &self.leaf_rotation,
            leaf_kind: &self.leaf_kind,
            combined_node: &self.combined_node,
            combined_coefficient: &self.combined_coefficient,
        })
        .unwrap()
    }

    fn capacity(&self) -> Capacity<'_> {
        Capacity {
            import_ma: &self.import_ma,
            export_ma: &self.export_ma,
            combined: &self.combined,
            combined_export: &self.combined_export,
        }
    }

    fn demand(&self) -> Demand<'_> {
        Demand {
            min_ma: &self.min_ma,
            max_ma: &self.max_ma,
            step_ma: &self.step_ma,
            weight: &self.weight,
            tier: &self.tier,
            rank: &self.rank,
            keep_on: &self.keep_on,
            discharge: &self.discharge,
            liability_ma: &self.liability_ma,
            setpoint_set: &self.setpoint_set,
            setpoint_start: &SETPOINT_START,
            setpoint_ma: &SETPOINT_MA,
        }
    }

    fn allocate(&self) -> Allocation {
        let mut workspace = Workspace::default();
        allocate(&mut workspace, &self.network(), &self.capacity(), &self.demand(), 1).unwrap()
    }

    fn faults(&self, given: &Allocation) -> Vec<Fault> {
        certify(&self.network(), &self.capacity(), &self.demand(), given).unwrap()
    }
}

/// Values for all, or none where the slice is optional.
fn optional<T: Clone + std::fmt::Debug + 'static>(
    values: impl Strategy<Value = Vec<T>> + 'static,
) -> impl Strategy<Value = Vec<T>> {
    prop_oneof![Just(Vec::new()).boxed(), values.boxed()]
}

/// Vectors of every direction, some of them parallel or opposite, and many of no length.
fn coefficients() -> impl Strategy<Value = Coefficients> {
    let part = || prop_oneof![4 => -3..=3_i32, 1 => -1_000..=1_000_i32, 1 => Just(COEFFICIENT_MAX), 1 => Just(-COEFFICIENT_MAX)];
    let vector = prop_oneof![2 => Just([0, 0]), 3 => (part(), part()).prop_map(|(x, y)| [x, y])];
    vec(vector, KINDS).prop_map(|vectors| vectors.try_into().unwrap())
}

prop_compose! {
    fn shape(nodes: usize, leaves: usize, combined: usize)(
        parents in vec(any::<Index>(), nodes),
        leaf_node in vec(0..i32::try_from(nodes).unwrap(), leaves),
        leaf_phases in vec(1..=7_u8, leaves),
        leaf_rotation in optional(vec(0..=5_u8, leaves)),
        leaf_kind in optional(vec(0..=15_u8, leaves)),
        combined_node in vec(0..i32::try_from(nodes).unwrap(), combined),
        combined_coefficient in vec(coefficients(), combined),
    ) -> Problem {
        // Parents are drawn among the nodes before, so every shape of tree and forest occurs.
        let up = |(node, index): (usize, &Index)| i32::try_from(index.index(node + 1)).unwrap() - 1;
        Problem {
            node_parent: parents.iter().enumerate().map(up).collect(),
            leaf_node, leaf_phases, leaf_rotation, leaf_kind, combined_node, combined_coefficient,
            ..Problem::default()
        }
    }
}

prop_compose! {
    fn wishes(shape: Problem)(
        max_ma in {
            let maximum = prop_oneof![
                1 => Just(0), 2 => 1..50_i64, 5 => 5_000..80_000_i64, 2 => Just(32_000), 1 => Just(CURRENT_MAX_MA), 1 => 1..CURRENT_MAX_MA
            ];
            vec(maximum, shape.leaf_node.len())
        },
        percent in vec(prop_oneof![Just(0), Just(15), Just(100)], shape.leaf_node.len()),
        step_ma in {
            let step = prop_oneof![Just(1_i64), Just(100), Just(1_000), Just(8_000), Just(CURRENT_MAX_MA)];
            vec(step, shape.leaf_node.len())
        },
        weight in vec(prop_oneof![3 => Just(1), 1 => 1..=1_000_i64, 1 => Just(WEIGHT_MAX)], shape.leaf_node.len()),
        tier in vec(0..3_u8, shape.leaf_node.len()),
        rank in vec(-5..5_i64, shape.leaf_node.len()),
        keep_on in optional(vec(any::<bool>(), shape.leaf_node.len())),
        discharge in optional(vec(any::<bool>(), shape.leaf_node.len())),
        liability_ma in optional(vec(
            prop_oneof![4 => Just(0), 1 => -40_000..40_000_i64, 1 => -CURRENT_MAX_MA..=CURRENT_MAX_MA], shape.leaf_node.len(),
        )),
        setpoint_set in optional(vec(-1..3_i32, shape.leaf_node.len())),
        import_ma in {
            // Some of them alike, so that rows of several nodes are full at one level.
            let round = (0..20_i64).prop_map(|times| times * 20_000);
            vec(prop_oneof![-1_000..600_000_i64, round, 0..=CAPACITY_MAX_MA, 0..CAPACITY_MAX_MA / 100], shape.node_parent.len() * PHASES)
        },
        export_ma in optional(vec(-1_000..300_000_i64, shape.node_parent.len() * PHASES)),
        combined in vec(prop_oneof![0..2_000_i64, 0..600_000_i64, 0..=COMBINED_MAX], shape.combined_node.len()),
        combined_export in optional(vec(0..600_000_i64, shape.combined_node.len())),
        shape in Just(shape),
    ) -> Problem {
        let min_ma = max_ma.iter().zip(&percent).map(|(max, percent)| max * percent / 100);
        Problem {
            min_ma: min_ma.collect(),
            max_ma, step_ma, weight, tier, rank, keep_on, discharge, liability_ma, setpoint_set,
            import_ma, export_ma, combined, combined_export,
            ..shape
        }
    }
}

fn problems(leaves: usize) -> impl Strategy<Value = Problem> {
    (1..20_usize, 1..=leaves, 0..4_usize)
        .prop_flat_map(|(nodes, leaves, combined)| shape(nodes, leaves, combined))
        .prop_flat_map(wishes)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(6_000))]

    #[test]
    fn a_round_of_few_is_proven(problem in problems(12)) {
        let given = problem.allocate();
        prop_assert_eq!(problem.faults(&given), vec![]);
        let over = check(
            &problem.network(), &problem.capacity(), &problem.demand(), &given.current_ma,
        );
        prop_assert_eq!(over, Ok(vec![]));
    }
}

proptest! {
    #![proptest_config(config(1_500))]

    #[test]
    fn a_round_of_many_is_proven(problem in problems(250)) {
        prop_assert_eq!(problem.faults(&problem.allocate()), vec![]);
    }

    /// Loads apart, since those differ in any case.
    #[test]
    fn a_result_with_anything_changed_is_not(
        problem in problems(30),
        at in any::<Index>(),
        current_ma in prop_oneof![-1..=1_i64, -10_000..10_000_i64],
        level in prop_oneof![-1..=1_i64, -1_000_000..1_000_000_i64],
        row in any::<Index>(),
        reason in 0..5_u8,
    ) {
        let given = problem.allocate();
        let faults = |changed: &Allocation| {
            let mut faults = problem.faults(changed);
            faults.retain(|fault| !matches!(fault, Fault::Load { .. }));
            faults
        };
        let at = at.index(problem.leaf_node.len());
        let mut changed = given.clone();
        let current_ma = given.current_ma[at] + current_ma;
        changed.current_ma[at] = current_ma.clamp(-CURRENT_MAX_MA, CURRENT_MAX_MA);
        prop_assert_eq!(changed == given, faults(&changed).is_empty());
        let mut changed = given.clone();
        changed.level[at] += level;
        prop_assert_eq!(level == 0, faults(&changed).is_empty());
        let mut changed = given.clone();
        changed.reason[at] = reason;
        prop_assert_eq!(reason == given.reason[at], faults(&changed).is_empty());
        let rows = problem.import_ma.len() + problem.combined.len();
        let row = i32::try_from(row.index(rows + 2)).unwrap() - 1;
        let mut changed = given.clone();
        changed.binding_row[at] = row;
        prop_assert_eq!(row == given.binding_row[at], faults(&changed).is_empty());
    }
}

/// Panels 1 and 2 below a site, steps of 100 mA. Connectors 0 to 2 share L1 of panel 1 (row 3), and
/// 1 is soon at its maximum; 3 shares L1 of the site (row 0) with them. Connector 4, of the next
/// tier, gets no more than its minimum, and there is no room for that of 5. Connector 6 is alone on
/// L2, where a combined row (9) bounds it to 15 A.
fn example() -> Problem {
    let mut coefficient = [[0; 2]; KINDS];
    coefficient[0b010] = [3, 4];
    Problem {
        node_parent: vec![-1, 0, 0],
        leaf_node: vec![1, 1, 1, 2, 2, 2, 0],
        leaf_phases: vec![1, 1, 1, 1, 1, 1, 2],
        combined_node: vec![0],
        combined_coefficient: vec![coefficient],
        import_ma: vec![60_000, 60_000, 0, 30_150, 0, 0, 99_000, 0, 0],
        combined: vec![5 * 15_000],
        min_ma: vec![6_000, 0, 6_000, 6_000, 6_000, 40_000, 6_000],
        max_ma: vec![32_000, 5_000, 32_000, 32_000, 32_000, 40_000, 32_000],
        step_ma: vec![100; 7],
        weight: vec![1; 7],
        tier: vec![0, 0, 0, 0, 1, 2, 0],
        rank: vec![0; 7],
        ..Problem::default()
    }
}

/// What is said about the example with something changed.
fn said(change: impl Fn(&mut Problem, &mut Allocation)) -> Vec<String> {
    let mut problem = example();
    let mut given = problem.allocate();
    change(&mut problem, &mut given);
    problem.faults(&given).iter().map(ToString::to_string).collect()
}

#[test]
fn the_example_is_as_described() {
    let given = example().allocate();
    assert_eq!(given.current_ma, [12_600, 5_000, 12_500, 23_900, 6_000, 0, 15_000]);
    assert_eq!(given.binding_row, [3, -1, 3, 0, 0, 0, 9]);
    assert_eq!(given.reason, [4, 0, 3, 4, 2, 1, 3]);
    assert!(example().faults(&given).is_empty());
}

#[test]
fn what_is_given_against_the_rules_is_named() {
    let not_accepted = said(|_, given| given.current_ma[2] += 50);
    assert_eq!(not_accepted[0], "connector 2 does not accept 12550 mA");
    let not_accepted = said(|_, given| given.current_ma[6] = -15_000);
    assert_eq!(not_accepted[0], "connector 6 does not accept -15000 mA");
    let overloaded = said(|problem, _| problem.import_ma[3] = 30_099);
    assert!(overloaded.contains(&"row 3 is overloaded".to_owned()), "{overloaded:?}");
    let overloaded = said(|problem, _| problem.combined[0] -= 1);
    assert!(overloaded.contains(&"row 9 is overloaded".to_owned()), "{overloaded:?}");
    let load = said(|_, given| given.row_load_ma[3] += 1);
    assert_eq!(load, ["row 3 carries 30100, reported are 30101"]);
    let load = said(|_, given| given.combined_load[0] -= 1);
    assert_eq!(load, ["row 9 carries 75000, reported are 74999"]);
}

#[test]
fn a_load_beyond_what_can_be_reported_is_proven() {
    let mut problem = example();
    problem.node_parent.push(-1);
    problem.import_ma.extend([0; PHASES]);
    problem.leaf_node = vec![3; 9_000];
    problem.leaf_phases = vec![0b010; 9_000];
    problem.combined_node = vec![3];
    problem.combined_coefficient[0][0b010] = [COEFFICIENT_MAX, COEFFICIENT_MAX];
    problem.min_ma = vec![0; 9_000];
    problem.max_ma = vec![32_000; 9_000];
    problem.step_ma = vec![100; 9_000];
    problem.weight = vec![1; 9_000];
    problem.tier = vec![0; 9_000];
    problem.rank = vec![0; 9_000];
    problem.liability_ma = vec![CURRENT_MAX_MA; 9_000];
    let given = problem.allocate();
    assert_eq!(given.combined_load, [i64::MAX]);
    assert!(problem.faults(&given).is_empty());
}

#[test]
fn a_wrong_admission_is_named() {
    let refused = said(|_, given| {
        (given.current_ma[4], given.level[4], given.reason[4]) = (0, 0, 1);
        given.row_load_ma[0] -= 6_000;
        given.row_load_ma[6] -= 6_000;
    });
    assert_eq!(refused[0], "connector 4 is refused, but there was room for its minimum");
    let admitted = said(|_, given| {
        (given.current_ma[5], given.level[5], given.reason[5]) = (40_000, 40_000 << 16, 0);
        given.binding_row[5] = -1;
    });
    let message = "connector 5 is admitted, but row 0 had no room for its minimum";
    assert!(admitted.contains(&message.to_owned()), "{admitted:?}");
    let other_row = said(|_, given| given.binding_row[5] = 6);
    assert_eq!(other_row, ["connector 5 is stopped by row 0 at level 0, which is not reported"]);
}

#[test]
fn a_wrong_certificate_is_named() {
    let level = 12_575 << 16;
    let not_below = said(|_, given| given.binding_row[0] = 6);
    assert_eq!(not_below[0], "connector 0 is not below row 6, which is said to stop it");
    let stopped = said(|_, given| given.binding_row[0] = 0);
    let message =
        format!("connector 0 is stopped by row 3 at level {level}, which is not reported");
    assert_eq!(stopped, [message]);
    let maximum = said(|_, given| given.level[1] += 1);
    assert_eq!(maximum, ["connector 1 is at its maximum, which is not reported"]);
    let both = |more: i64| {
        said(move |_, given| {
            given.level[0] += more;
            given.level[2] += more;
        })
    };
    let not_full =
        format!("row 3 is not full at level {}, where it is said to stop connectors", level - 1);
    assert!(both(-1).contains(&not_full));
    let before = format!(
        "row 3 is full at level {level} and is said to stop connectors at level {}",
        level + 1
    );
    assert!(both(1).contains(&before));
    let reason = said(|_, given| given.reason[0] = 3);
    assert_eq!(reason, ["connector 0 has reason 4, reported is 3"]);
}

#[test]
fn wrong_steps_are_named() {
    let below = said(|_, given| {
        given.current_ma[6] -= 100;
        given.row_load_ma[1] -= 100;
        given.combined_load[0] -= 500;
    });
    let messages = [
        "connector 6 has less than its share, which is 15000 mA rounded down",
        "connector 6 could be raised to 15000 mA",
    ];
    assert_eq!(below, messages);
    let raisable = said(|_, given| {
        (given.current_ma[3], given.reason[3]) = (23_800, 3);
        given.row_load_ma[0] -= 100;
        given.row_load_ma[6] -= 100;
    });
    assert!(raisable.contains(&"connector 3 could be raised to 23900 mA".to_owned()));
    let out_of_turn = said(|_, given| {
        given.current_ma.swap(0, 2);
        given.reason.swap(0, 2);
    });
    assert_eq!(out_of_turn, ["connector 2 has what rounding left over before connector 0"]);
}
