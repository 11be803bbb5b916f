//! Laws of a round that need no second solver, on random networks of some hundred connectors. The
//! bit-for-bit comparison with a slow reference is in `tests/property` of the repository.

#![allow(clippy::unwrap_used, reason = "a test stops at the first fault")]

use loadstar_core::units::PHASES;
use loadstar_core::{
    Allocation, Capacity, Demand, Network, NetworkError, Workspace, allocate, check,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// Everything of one round, owned.
#[derive(Debug, Clone)]
struct Problem {
    node_parent: Vec<i32>,
    leaf_node: Vec<i32>,
    leaf_phases: Vec<u8>,
    capacity_ma: Vec<i64>,
    min_ma: Vec<i64>,
    max_ma: Vec<i64>,
    step_ma: Vec<i64>,
    weight: Vec<i64>,
    tier: Vec<u8>,
    rank: Vec<i64>,
}

impl Problem {
    fn network(&self) -> Network {
        Network::new(&self.node_parent, &self.leaf_node, &self.leaf_phases).unwrap()
    }

    fn demand(&self) -> Demand<'_> {
        Demand {
            min_ma: &self.min_ma,
            max_ma: &self.max_ma,
            step_ma: &self.step_ma,
            weight: &self.weight,
            tier: &self.tier,
            rank: &self.rank,
            ..Demand::default()
        }
    }

    fn capacity(&self) -> Capacity<'_> {
        Capacity { import_ma: &self.capacity_ma, ..Capacity::default() }
    }

    fn allocate(&self) -> Allocation {
        let mut workspace = Workspace::default();
        allocate(&mut workspace, &self.network(), &self.capacity(), &self.demand(), 1).unwrap()
    }

    fn leaves(&self) -> usize {
        self.leaf_node.len()
    }

    fn rows_of(&self, leaf: usize) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut node = self.leaf_node[leaf];
        while node >= 0 {
            let first = usize::try_from(node).unwrap() * PHASES;
            let on = |phase: &usize| self.leaf_phases[leaf] >> phase & 1 == 1;
            rows.extend((0..PHASES).filter(on).map(|phase| first + phase));
            node = self.node_parent[usize::try_from(node).unwrap()];
        }
        rows
    }

    fn loads(&self, current_ma: &[i64]) -> Vec<i64> {
        let mut loads = vec![0; self.capacity_ma.len()];
        for (leaf, current) in current_ma.iter().enumerate() {
            for row in self.rows_of(leaf) {
                loads[row] += current;
            }
        }
        loads
    }
}

/// Parents are drawn among the nodes before, so every shape of tree and forest occurs.
fn problems(leaves_max: usize) -> impl Strategy<Value = Problem> {
    let shape = (1..30_usize, 1..=leaves_max);
    shape.prop_flat_map(|(nodes, leaves)| {
        let node = 0..i32::try_from(nodes).unwrap();
        let parents = vec(any::<prop::sample::Index>(), nodes);
        let network = (parents, vec(node, leaves), vec(1..=7_u8, leaves));
        let maximum = prop_oneof![1 => Just(0), 9 => 5_000..80_000_i64];
        let demand = (
            vec(maximum, leaves),
            vec(prop_oneof![Just(0), Just(15), Just(100)], leaves),
            vec(prop_oneof![3 => Just(1), 1 => 1..=1_000_i64], leaves),
            vec(0..3_u8, leaves),
            vec(-5..5_i64, leaves),
        );
        let capacity = vec(-1_000..600_000_i64, nodes * PHASES);
        let step = prop_oneof![Just(1_i64), Just(100), Just(1_000), Just(8_000)];
        (network, demand, capacity, vec(step, leaves)).prop_map(
            |((parents, leaf_node, leaf_phases), demand, capacity_ma, step_ma)| {
                let (max_ma, percent, weight, tier, rank) = demand;
                let up = |(node, index): (usize, &prop::sample::Index)| {
                    i32::try_from(index.index(node + 1)).unwrap() - 1
                };
                let least = |(max, percent): (&i64, &i64)| max * percent / 100;
                Problem {
                    node_parent: parents.iter().enumerate().map(up).collect(),
                    leaf_node,
                    leaf_phases,
                    capacity_ma,
                    min_ma: max_ma.iter().zip(&percent).map(least).collect(),
                    max_ma,
                    step_ma,
                    weight,
                    tier,
                    rank,
                }
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_row_is_overloaded_and_every_current_is_accepted(problem in problems(300)) {
        let given = problem.allocate();
        let current_ma = &given.current_ma;
        let over =
            check(&problem.network(), &problem.capacity(), &problem.demand(), current_ma);
        prop_assert_eq!(over, Ok(vec![]));
        prop_assert_eq!(&given.row_load_ma, &problem.loads(current_ma));
        for (leaf, &current) in current_ma.iter().enumerate() {
            let (min, max) = (problem.min_ma[leaf], problem.max_ma[leaf]);
            prop_assert!(given.admitted(leaf) || current == 0);
            prop_assert!(!given.admitted(leaf) || (min..=max).contains(&current));
            let at_an_end = current == min || current == max || current == 0;
            prop_assert!(at_an_end || current % problem.step_ma[leaf] == 0);
        }
    }

    #[test]
    fn whoever_is_below_the_maximum_is_held_by_a_row_that_shows_why(mut problem in problems(200)) {
        problem.step_ma.fill(1);
        let given = problem.allocate();
        let loads = problem.loads(&given.current_ma);
        // Steps are one milliampere, so rounding moves no more than one for everybody.
        let rounding = i64::try_from(problem.leaves()).unwrap();
        for leaf in 0..problem.leaves() {
            let current = given.current_ma[leaf];
            if !given.admitted(leaf) || current == problem.max_ma[leaf] {
                continue;
            }
            let row = usize::try_from(given.binding_row[leaf]).unwrap();
            prop_assert!(problem.rows_of(leaf).contains(&row));
            prop_assert!(loads[row] > problem.capacity_ma[row].max(0) - rounding);
            for other in (0..problem.leaves()).filter(|&other| problem.rows_of(other).contains(&row)) {
                let sure = given.current_ma[other] - rounding;
                if sure > problem.min_ma[other] {
                    prop_assert!(problem.tier[other] <= problem.tier[leaf]);
                }
                if sure > problem.min_ma[other] && problem.tier[other] == problem.tier[leaf] {
                    let (mine, others) = (problem.weight[leaf], problem.weight[other]);
                    prop_assert!(sure * mine <= (current + 1) * others);
                }
            }
        }
    }

    #[test]
    fn nobody_can_be_raised_by_another_step(problem in problems(200)) {
        let given = problem.allocate();
        for leaf in 0..problem.leaves() {
            let (current, step) = (given.current_ma[leaf], problem.step_ma[leaf]);
            let next = (current - current % step + step).min(problem.max_ma[leaf]);
            if given.admitted(leaf) && next > current {
                let full = problem.rows_of(leaf).into_iter().any(|row| {
                    given.row_load_ma[row] + next - current > problem.capacity_ma[row].max(0)
                });
                prop_assert!(full);
            }
        }
    }

    #[test]
    fn a_later_tier_takes_nothing_beyond_its_minimums_from_an_earlier(mut problem in problems(120)) {
        problem.min_ma.fill(0);
        let together = problem.allocate();
        let mut first_only = problem.clone();
        for leaf in 0..problem.leaves() {
            if problem.tier[leaf] > 0 {
                first_only.max_ma[leaf] = 0;
            }
        }
        let alone = first_only.allocate();
        for leaf in (0..problem.leaves()).filter(|&leaf| problem.tier[leaf] == 0) {
            prop_assert_eq!(together.current_ma[leaf], alone.current_ma[leaf]);
        }
    }
}

#[test]
fn the_largest_inputs_do_not_overflow() {
    use loadstar_core::units::{CAPACITY_MAX_MA, CURRENT_MAX_MA, WEIGHT_MAX};
    let leaves = 3_000;
    let problem = Problem {
        node_parent: vec![-1, 0],
        leaf_node: vec![1; leaves],
        leaf_phases: vec![7; leaves],
        capacity_ma: vec![CAPACITY_MAX_MA; 6],
        min_ma: vec![0; leaves],
        max_ma: vec![CURRENT_MAX_MA; leaves],
        step_ma: (0..leaves).map(|leaf| if leaf % 2 == 0 { 1 } else { CURRENT_MAX_MA }).collect(),
        weight: vec![WEIGHT_MAX; leaves],
        tier: vec![0; leaves],
        rank: (0..leaves).map(|leaf| if leaf % 2 == 0 { i64::MIN } else { i64::MAX }).collect(),
    };
    let given = problem.allocate();
    assert_eq!(given.row_load_ma, vec![CAPACITY_MAX_MA; 6]);
}

#[test]
fn networks_that_contradict_themselves_are_refused_by_name() {
    let refusal = |parent: &[i32], node: &[i32], phases: &[u8]| {
        Network::new(parent, node, phases).unwrap_err().to_string()
    };
    assert_eq!(refusal(&[-1, 3, 1, 2], &[], &[]), "node_parent[1]: node 1 is its own ancestor");
    assert_eq!(refusal(&[-1, 7], &[], &[]), "node_parent[1] is 7, must be -1 to 1");
    assert_eq!(refusal(&[-1], &[0, 1], &[7, 7]), "leaf_node[1] is 1, must be 0 to 0");
    assert_eq!(refusal(&[-1], &[0, 0], &[7, 0]), "leaf_phases[1] is 0, must be 1 to 7");
    assert_eq!(refusal(&[-1], &[0, 0], &[7]), "leaf_phases has 1 elements, expected 2");
    let chain: Vec<i32> = (-1..99).collect();
    assert_eq!(
        refusal(&chain, &[], &[]),
        "node_parent[65]: node 65 is more than 64 levels below its root"
    );
}

#[test]
fn a_current_that_no_connector_runs_at_is_refused() {
    let problem = Problem {
        node_parent: vec![-1],
        leaf_node: vec![0],
        leaf_phases: vec![1],
        capacity_ma: vec![16_000; 3],
        min_ma: vec![6_000],
        max_ma: vec![16_000],
        step_ma: vec![1],
        weight: vec![1],
        tier: vec![0],
        rank: vec![0],
    };
    let refused = check(&problem.network(), &problem.capacity(), &problem.demand(), &[5_000]);
    let expected =
        NetworkError::Current { leaf: 0, current_ma: 5_000, min_ma: 6_000, max_ma: 16_000 };
    assert_eq!(refused, Err(expected));
}
