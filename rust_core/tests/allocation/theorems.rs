//! What must not change, and what must change in one direction only, when a round is changed in a
//! known way. All of these hold exactly, grid of levels and crumbs of rounding included.

use loadstar_core::units::{CAPACITY_MAX_MA, COMBINED_MAX, CURRENT_MAX_MA, KINDS, PHASES};
use loadstar_core::{Allocation, Reason, Workspace, allocate};
use proptest::prelude::*;

use crate::problem::part::{ANY, COMBINED, SETS};
use crate::problem::{Problem, problems};

const CASES: u32 = if cfg!(miri) { 2 } else { 3_000 };

/// Whether connectors are given the same, where rows of `before` are renamed by `row`.
fn given_the_same(
    before: &Allocation,
    after: &Allocation,
    row: impl Fn(usize, i32) -> i32,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(&before.current_ma, &after.current_ma);
    prop_assert_eq!(&before.level, &after.level);
    prop_assert_eq!(&before.reason, &after.reason);
    let renamed: Vec<i32> =
        before.binding_row.iter().enumerate().map(|(leaf, &bound)| row(leaf, bound)).collect();
    prop_assert_eq!(&renamed, &after.binding_row);
    Ok(())
}

/// Add a node; combined rows, which are numbered after those of nodes, move up by its three.
fn add_node(problem: &mut Problem, parent: i32, capacity_ma: [i64; 6]) -> usize {
    problem.node_parent.push(parent);
    problem.import_ma.extend(&capacity_ma[..PHASES]);
    if !problem.export_ma.is_empty() {
        problem.export_ma.extend(&capacity_ma[PHASES..]);
    }
    problem.nodes() - 1
}

fn row_after_adding_a_node(nodes_before: usize, row: i32) -> i32 {
    let plain = i32::try_from(PHASES * nodes_before).unwrap();
    if row < plain { row } else { row + 3 }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    /// Of the two the one nearer to the root is named, but to those that are not admitted, who are
    /// told the first row on the way up.
    #[test]
    fn splitting_a_node_in_two_equal_rows_changes_nothing(
        problem in problems(6, 9, ANY), at in any::<prop::sample::Index>(),
    ) {
        let (nodes, split) = (problem.nodes(), at.index(problem.nodes()));
        let mut doubled = problem.clone();
        let rows = PHASES * split..PHASES * (split + 1);
        let mut capacity_ma = [0; 6];
        capacity_ma[..PHASES].copy_from_slice(&problem.import_ma[rows.clone()]);
        if let Some(export_ma) = problem.export_ma.get(rows) {
            capacity_ma[PHASES..].copy_from_slice(export_ma);
        }
        let upper = add_node(&mut doubled, problem.node_parent[split], capacity_ma);
        doubled.node_parent[split] = i32::try_from(upper).unwrap();
        let (before, after) = (problem.allocate(), doubled.allocate());
        given_the_same(&before, &after, |leaf, row| {
            let refused = before.reason[leaf] == Reason::Admission as u8;
            if !refused && row >= 0 && row as usize / PHASES == split {
                row + i32::try_from(PHASES * (upper - split)).unwrap()
            } else {
                row_after_adding_a_node(nodes, row)
            }
        })?;
    }

    #[test]
    fn a_node_without_a_limit_changes_nothing(
        problem in problems(6, 9, ANY), at in any::<prop::sample::Index>(),
    ) {
        let (nodes, below) = (problem.nodes(), at.index(problem.nodes()));
        let mut longer = problem.clone();
        let new = add_node(&mut longer, problem.node_parent[below], [CAPACITY_MAX_MA; 6]);
        longer.node_parent[below] = i32::try_from(new).unwrap();
        given_the_same(&problem.allocate(), &longer.allocate(), |_, row| {
            row_after_adding_a_node(nodes, row)
        })?;
    }

    #[test]
    fn a_combined_row_without_a_limit_changes_nothing(
        problem in problems(6, 9, ANY), at in any::<prop::sample::Index>(),
    ) {
        let mut more = problem.clone();
        more.combined_node.push(i32::try_from(at.index(problem.nodes())).unwrap());
        more.combined_coefficient.push([[230, -400]; KINDS]);
        more.combined.push(COMBINED_MAX);
        if !more.export_ma.is_empty() {
            more.combined_export.resize(more.combined_node.len(), COMBINED_MAX);
        }
        given_the_same(&problem.allocate(), &more.allocate(), |_, row| row)?;
    }

    /// A row of one line is the combined row that counts all kinds on that line.
    #[test]
    fn rows_of_lines_written_as_combined_rows_give_the_same(
        problem in problems(6, 9, ANY & !COMBINED), at in any::<prop::sample::Index>(),
    ) {
        let node = at.index(problem.nodes());
        let mut written = problem.clone();
        for line in 0..PHASES {
            let row = PHASES * node + line;
            let on = |kind: usize| [i32::from(kind < 8 && kind >> line & 1 == 1), 0];
            written.combined_node.push(i32::try_from(node).unwrap());
            written.combined_coefficient.push(std::array::from_fn(on));
            written.combined.push(problem.import_ma[row].max(0));
            written.import_ma[row] = CAPACITY_MAX_MA;
            if !problem.export_ma.is_empty() {
                written.combined_export.push(problem.export_ma[row].max(0));
                written.export_ma[row] = CAPACITY_MAX_MA;
            }
        }
        given_the_same(&problem.allocate(), &written.allocate(), |_, row| {
            if row >= 0 && row as usize / PHASES == node {
                i32::try_from(PHASES * problem.nodes()).unwrap() + row % 3
            } else {
                row
            }
        })?;
    }

    /// Whoever is refused takes part in nothing.
    #[test]
    fn removing_a_refused_connector_changes_nothing(problem in problems(6, 9, ANY)) {
        let before = problem.allocate();
        let refused = |leaf: &usize| before.reason[*leaf] == Reason::Admission as u8;
        let mut without = problem.clone();
        for leaf in (0..problem.leaves()).filter(refused) {
            (without.min_ma[leaf], without.max_ma[leaf]) = (0, 0);
        }
        let after = without.allocate();
        prop_assert_eq!(&before.current_ma, &after.current_ma);
        prop_assert_eq!(&before.row_load_ma, &after.row_load_ma);
        for leaf in (0..problem.leaves()).filter(|leaf| !refused(leaf)) {
            prop_assert_eq!(before.binding_row[leaf], after.binding_row[leaf]);
            prop_assert_eq!(before.level[leaf], after.level[leaf]);
            prop_assert_eq!(before.reason[leaf], after.reason[leaf]);
        }
    }

    /// For rows of lines; a combined row bears them as vectors.
    #[test]
    fn a_liability_is_so_much_less_capacity(problem in problems(6, 9, ANY & !COMBINED)) {
        let mut less = problem.clone();
        less.liability_ma.clear();
        for leaf in 0..problem.leaves() {
            let liability_ma = problem.liability(leaf);
            for row in problem.rows_of(leaf) {
                if liability_ma >= 0 {
                    less.import_ma[row] -= liability_ma;
                } else if let Some(export_ma) = less.export_ma.get_mut(row) {
                    *export_ma += liability_ma;
                }
            }
        }
        given_the_same(&problem.allocate(), &less.allocate(), |_, row| row)?;
    }

    #[test]
    fn export_is_import_with_the_sign_turned(problem in problems(6, 9, ANY)) {
        let mut turned = problem.clone();
        let zeros = |count: usize, values: &[i64]| {
            if values.is_empty() { vec![0; count] } else { values.to_vec() }
        };
        turned.import_ma = zeros(problem.import_ma.len(), &problem.export_ma);
        turned.export_ma.clone_from(&problem.import_ma);
        turned.combined = zeros(problem.combined.len(), &problem.combined_export);
        turned.combined_export.clone_from(&problem.combined);
        turned.discharge = (0..problem.leaves()).map(|leaf| !problem.discharges(leaf)).collect();
        turned.liability_ma.iter_mut().for_each(|liability_ma| *liability_ma = -*liability_ma);
        let (before, mut after) = (problem.allocate(), turned.allocate());
        after.current_ma.iter_mut().for_each(|current_ma| *current_ma = -*current_ma);
        given_the_same(&before, &after, |_, row| row)?;
        // Where everybody discharged before, nobody does now, and there are no such loads.
        if !after.export_load_ma.is_empty() {
            prop_assert_eq!(before.row_load_ma, after.export_load_ma);
            prop_assert_eq!(before.combined_load, after.combined_export_load);
        }
    }

    #[test]
    fn a_rotation_is_other_lines(problem in problems(6, 9, ANY)) {
        let mut unturned = problem.clone();
        unturned.leaf_rotation.clear();
        unturned.leaf_phases =
            (0..problem.leaves()).map(|leaf| problem.lines(leaf).iter().map(|line| 1 << line).sum()).collect();
        prop_assert_eq!(problem.allocate(), unturned.allocate());
    }

    #[test]
    fn a_set_of_all_whole_steps_is_a_step(problem in problems(6, 9, ANY & !SETS)) {
        const STEPS: i64 = 12;
        let (mut stepped, mut listed) = (problem.clone(), problem.clone());
        listed.setpoint_start = vec![0];
        for leaf in 0..problem.leaves() {
            let step_ma = 1 + problem.max_ma[leaf] / STEPS;
            let whole = |current_ma: i64| current_ma / step_ma * step_ma;
            stepped.step_ma[leaf] = step_ma;
            stepped.min_ma[leaf] = whole(problem.min_ma[leaf]);
            stepped.max_ma[leaf] = whole(problem.max_ma[leaf]);
            // A set whose members are below the minimum or above the maximum has these left out.
            listed.min_ma[leaf] = (stepped.min_ma[leaf] - step_ma + 1).max(0);
            listed.max_ma[leaf] = (stepped.max_ma[leaf] + step_ma - 1).min(CURRENT_MAX_MA);
            if stepped.min_ma[leaf] == 0 {
                listed.min_ma[leaf] = 0;
            }
            listed.setpoint_set.push(i32::try_from(leaf).unwrap());
            let members = (1..=STEPS + 2).map(|count| count * step_ma);
            listed.setpoint_ma.extend(members.filter(|&member| member <= CURRENT_MAX_MA));
            listed.setpoint_start.push(i32::try_from(listed.setpoint_ma.len()).unwrap());
        }
        prop_assert_eq!(stepped.allocate(), listed.allocate());
    }

    #[test]
    fn the_number_of_threads_changes_nothing(problem in problems(12, 20, ANY), threads in 2..6_usize) {
        prop_assert_eq!(problem.allocate_on(1), problem.allocate_on(threads));
    }

    #[test]
    fn memory_of_other_rounds_changes_nothing(
        others in prop::collection::vec(problems(9, 12, ANY), 1..4), problem in problems(6, 9, ANY),
    ) {
        let mut workspace = Workspace::default();
        for other in &others {
            let (network, capacity, demand) = (other.network(), other.capacity(), other.demand());
            allocate(&mut workspace, &network, &capacity, &demand, 2).unwrap();
        }
        let (network, capacity, demand) = (problem.network(), problem.capacity(), problem.demand());
        let given = allocate(&mut workspace, &network, &capacity, &demand, 1).unwrap();
        prop_assert_eq!(given, problem.allocate());
    }

    /// Trees of one network are rounds of their own.
    #[test]
    fn a_forest_gives_each_tree_what_it_gets_alone(problem in problems(6, 9, ANY)) {
        let root_of = |leaf: usize| {
            let mut node = problem.leaf_node[leaf] as usize;
            while let Ok(up) = usize::try_from(problem.node_parent[node]) {
                node = up;
            }
            node
        };
        let together = problem.allocate();
        for root in (0..problem.nodes()).filter(|&node| problem.node_parent[node] == -1) {
            // The others stay, but want and do nothing.
            let mut alone = problem.clone();
            for leaf in (0..problem.leaves()).filter(|&leaf| root_of(leaf) != root) {
                (alone.min_ma[leaf], alone.max_ma[leaf]) = (0, 0);
                if let Some(liability_ma) = alone.liability_ma.get_mut(leaf) {
                    *liability_ma = 0;
                }
            }
            let alone = alone.allocate();
            for leaf in (0..problem.leaves()).filter(|&leaf| root_of(leaf) == root) {
                prop_assert_eq!(together.current_ma[leaf], alone.current_ma[leaf]);
                prop_assert_eq!(together.binding_row[leaf], alone.binding_row[leaf]);
                prop_assert_eq!(together.level[leaf], alone.level[leaf]);
                prop_assert_eq!(together.reason[leaf], alone.reason[leaf]);
            }
        }
    }

    /// Where nobody has a minimum or gets its maximum, the lowest level of all does not fall when
    /// rows can carry more. (Others may well get less: who shared a row with one that is freed now
    /// shares it with one that takes more.)
    #[test]
    fn more_capacity_lowers_nobody_below_the_lowest(
        problem in problems(6, 9, ANY), more in prop::collection::vec(0..50_i64, 18 + 3),
    ) {
        let mut problem = problem;
        problem.min_ma.fill(0);
        problem.max_ma.fill(CURRENT_MAX_MA);
        problem.tier.fill(0);
        problem.step_ma.fill(1);
        problem.discharge.clear();
        problem.setpoint_set.clear();
        let mut wider = problem.clone();
        for (capacity, more) in wider.import_ma.iter_mut().chain(&mut wider.combined).zip(more) {
            *capacity = capacity.saturating_add(more * 100).min(COMBINED_MAX);
        }
        let (before, after) = (problem.allocate(), wider.allocate());
        prop_assume!(!before.reason.contains(&(Reason::Maximum as u8)));
        for (level, reason) in after.level.iter().zip(after.reason) {
            prop_assert!(reason == Reason::Maximum as u8 || before.level.iter().min() <= Some(level));
        }
    }

    /// Below one row, nobody's level falls when it can carry more.
    #[test]
    fn on_a_single_row_more_capacity_lowers_nobody(
        problem in problems(1, 12, 0), more in 1..5_000_i64,
    ) {
        let mut problem = problem;
        problem.min_ma.fill(0);
        problem.leaf_phases.fill(0b010);
        let mut wider = problem.clone();
        wider.import_ma[1] += more;
        let (before, after) = (problem.allocate(), wider.allocate());
        for leaf in 0..problem.leaves() {
            let weight = problem.weight[leaf];
            let bound = |given: &Allocation| given.reason[leaf] != Reason::Maximum as u8;
            let share_ma = |given: &Allocation| (weight * given.level[leaf]) >> 16;
            if bound(&before) && bound(&after) {
                prop_assert!(before.level[leaf] <= after.level[leaf]);
            }
            if bound(&after) {
                // Of the crumbs it has one less at most.
                prop_assert!(share_ma(&after) <= after.current_ma[leaf]);
                prop_assert!(before.current_ma[leaf] <= after.current_ma[leaf] + 1);
            }
        }
    }

    /// Everything a whole number of times as large: who is admitted stays the same, and the level of
    /// a single row, rounded down to the grid, is so many times as high but for the rounding.
    #[test]
    fn everything_scaled_scales_admission_and_levels(
        problem in problems(6, 9, ANY), times in 2..1_000_i64,
    ) {
        prop_assume!(small(&problem));
        let mut scaled = problem.clone();
        let limits = [&mut scaled.import_ma, &mut scaled.export_ma, &mut scaled.combined, &mut scaled.combined_export];
        let currents = [&mut scaled.min_ma, &mut scaled.max_ma, &mut scaled.step_ma, &mut scaled.liability_ma];
        for values in limits.into_iter().chain(currents).chain([&mut scaled.setpoint_ma]) {
            for value in values {
                *value *= times;
            }
        }
        prop_assume!(scaled.combined.iter().chain(&scaled.combined_export).all(|&limit| limit <= COMBINED_MAX));
        let (before, after) = (problem.allocate(), scaled.allocate());
        let refused = |given: &Allocation| -> Vec<(bool, i32)> {
            let refused = |(&reason, &row): (&u8, &i32)| (reason == Reason::Admission as u8, row);
            given.reason.iter().zip(&given.binding_row).map(refused).filter(|(refused, _)| *refused).collect()
        };
        prop_assert_eq!(refused(&before), refused(&after));
    }

    #[test]
    fn scaled_a_single_row_has_the_scaled_level(problem in problems(1, 12, 0), times in 2..1_000_i64) {
        prop_assume!(small(&problem));
        let mut problem = problem;
        problem.min_ma.fill(0);
        problem.leaf_phases.fill(0b100);
        let mut scaled = problem.clone();
        for values in [&mut scaled.import_ma, &mut scaled.max_ma, &mut scaled.step_ma] {
            for value in values {
                *value *= times;
            }
        }
        let (before, after) = (problem.allocate(), scaled.allocate());
        for leaf in 0..problem.leaves() {
            let bound = |given: &Allocation| given.reason[leaf] != Reason::Maximum as u8;
            if bound(&before) && bound(&after) {
                let (low, high) = (before.level[leaf] * times, (before.level[leaf] + 1) * times);
                prop_assert!((low..high).contains(&after.level[leaf]));
            }
        }
    }

    /// With ranks that differ, renaming connectors and nodes renames the result.
    #[test]
    fn the_order_of_nodes_and_connectors_does_not_matter(
        problem in problems(6, 9, ANY), seed in any::<u64>(),
    ) {
        let mut problem = problem;
        problem.rank = (0..).take(problem.leaves()).collect();
        let leaf_at = shuffled(problem.leaves(), seed);
        let node_at = shuffled(problem.nodes(), !seed);
        let node_of = |old: i32| node_at.iter().position(|&node| node as i32 == old).map_or(-1, |new| new as i32);
        let by_rows = |values: &[i64]| -> Vec<i64> {
            if values.is_empty() { return Vec::new(); }
            node_at.iter().flat_map(|&node| values[PHASES * node..PHASES * (node + 1)].to_vec()).collect()
        };
        let renamed = Problem {
            node_parent: by(&node_at, &problem.node_parent).into_iter().map(node_of).collect(),
            leaf_node: by(&leaf_at, &problem.leaf_node).into_iter().map(node_of).collect(),
            leaf_phases: by(&leaf_at, &problem.leaf_phases),
            leaf_rotation: by(&leaf_at, &problem.leaf_rotation),
            leaf_kind: by(&leaf_at, &problem.leaf_kind),
            combined_node: problem.combined_node.iter().map(|&node| node_of(node)).collect(),
            import_ma: by_rows(&problem.import_ma),
            export_ma: by_rows(&problem.export_ma),
            min_ma: by(&leaf_at, &problem.min_ma),
            max_ma: by(&leaf_at, &problem.max_ma),
            step_ma: by(&leaf_at, &problem.step_ma),
            weight: by(&leaf_at, &problem.weight),
            tier: by(&leaf_at, &problem.tier),
            rank: by(&leaf_at, &problem.rank),
            keep_on: by(&leaf_at, &problem.keep_on),
            discharge: by(&leaf_at, &problem.discharge),
            liability_ma: by(&leaf_at, &problem.liability_ma),
            setpoint_set: by(&leaf_at, &problem.setpoint_set),
            ..problem.clone()
        };
        let (before, after) = (problem.allocate(), renamed.allocate());
        let row_of = |row: i32| match row {
            -1 => -1,
            row if row as usize >= PHASES * problem.nodes() => row,
            row => 3 * node_of(row / 3) + row % 3,
        };
        prop_assert_eq!(by(&leaf_at, &before.current_ma), after.current_ma);
        prop_assert_eq!(by(&leaf_at, &before.level), after.level);
        prop_assert_eq!(by(&leaf_at, &before.reason), after.reason);
        let rows: Vec<i32> = by(&leaf_at, &before.binding_row).into_iter().map(row_of).collect();
        prop_assert_eq!(rows, after.binding_row);
        prop_assert_eq!(by_rows(&before.row_load_ma), after.row_load_ma);
        prop_assert_eq!(by_rows(&before.export_load_ma), after.export_load_ma);
        prop_assert_eq!(before.combined_load, after.combined_load);
    }
}

/// Optional values stay left out.
fn by<T: Clone>(order: &[usize], values: &[T]) -> Vec<T> {
    if values.is_empty() {
        return Vec::new();
    }
    order.iter().map(|&at| values[at].clone()).collect()
}

/// Whether everything may be a thousand times as large.
fn small(problem: &Problem) -> bool {
    let plain = problem.import_ma.iter().chain(&problem.export_ma);
    let currents = problem.max_ma.iter().chain(&problem.step_ma).chain(&problem.setpoint_ma);
    plain.chain(currents).chain(&problem.liability_ma).all(|value| value.abs() <= 1_000_000)
}

/// The numbers below `count` in an order drawn from `seed`.
fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&at| {
        (at as u64 + 1).wrapping_mul(seed | 1).rotate_left(17).wrapping_mul(seed | 1)
    });
    order
}
