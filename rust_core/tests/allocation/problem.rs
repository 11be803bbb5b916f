//! Everything of one round, owned, and random ones.

use std::fmt;

use loadstar_core::units::{COMBINED_MAX, KINDS, PHASES};
use loadstar_core::{Allocation, Capacity, Demand, Description, Network, Workspace, allocate};
use proptest::prelude::*;

/// Fields as in [`Description`], [`Capacity`] and [`Demand`]; what is optional there may be empty.
#[derive(Clone, Default)]
pub struct Problem {
    pub node_parent: Vec<i32>,
    pub leaf_node: Vec<i32>,
    pub leaf_phases: Vec<u8>,
    pub leaf_rotation: Vec<u8>,
    pub leaf_kind: Vec<u8>,
    pub combined_node: Vec<i32>,
    pub combined_coefficient: Vec<[[i32; 2]; KINDS]>,
    pub import_ma: Vec<i64>,
    pub export_ma: Vec<i64>,
    pub combined: Vec<i64>,
    pub combined_export: Vec<i64>,
    pub min_ma: Vec<i64>,
    pub max_ma: Vec<i64>,
    pub step_ma: Vec<i64>,
    pub weight: Vec<i64>,
    pub tier: Vec<u8>,
    pub rank: Vec<i64>,
    pub keep_on: Vec<bool>,
    pub discharge: Vec<bool>,
    pub liability_ma: Vec<i64>,
    pub setpoint_set: Vec<i32>,
    pub setpoint_start: Vec<i32>,
    pub setpoint_ma: Vec<i64>,
}

impl Problem {
    /// Connectors on L1 of one node of `capacity_ma`: from 0 to `max_ma`, in steps of a
    /// milliampere, of equal weight.
    pub fn one_row(capacity_ma: i64, max_ma: &[i64]) -> Self {
        let leaves = max_ma.len();
        Self {
            node_parent: vec![-1],
            leaf_node: vec![0; leaves],
            leaf_phases: vec![0b001; leaves],
            import_ma: vec![capacity_ma; PHASES],
            min_ma: vec![0; leaves],
            max_ma: max_ma.to_vec(),
            step_ma: vec![1; leaves],
            weight: vec![1; leaves],
            tier: vec![0; leaves],
            rank: vec![0; leaves],
            ..Self::default()
        }
    }

    pub fn network(&self) -> Network {
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

    pub fn capacity(&self) -> Capacity<'_> {
        Capacity {
            import_ma: &self.import_ma,
            export_ma: &self.export_ma,
            combined: &self.combined,
            combined_export: &self.combined_export,
        }
    }

    pub fn demand(&self) -> Demand<'_> {
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
            setpoint_start: &self.setpoint_start,
            setpoint_ma: &self.setpoint_ma,
        }
    }

    pub fn allocate(&self) -> Allocation {
        self.allocate_on(1)
    }

    pub fn allocate_on(&self, threads: usize) -> Allocation {
        let workspace = &mut Workspace::default();
        allocate(workspace, &self.network(), &self.capacity(), &self.demand(), threads).unwrap()
    }

    pub fn leaves(&self) -> usize {
        self.leaf_node.len()
    }

    pub fn nodes(&self) -> usize {
        self.node_parent.len()
    }

    pub fn keeps_on(&self, leaf: usize) -> bool {
        self.keep_on.get(leaf).copied().unwrap_or(false)
    }

    pub fn discharges(&self, leaf: usize) -> bool {
        self.discharge.get(leaf).copied().unwrap_or(false)
    }

    pub fn liability(&self, leaf: usize) -> i64 {
        self.liability_ma.get(leaf).copied().unwrap_or(0)
    }

    /// The members of the set that steers a connector, if one does.
    pub fn setpoints(&self, leaf: usize) -> Option<&[i64]> {
        let set = usize::try_from(*self.setpoint_set.get(leaf)?).ok()?;
        let edge = |at: usize| usize::try_from(self.setpoint_start[at]).unwrap();
        Some(&self.setpoint_ma[edge(set)..edge(set + 1)])
    }

    /// The lines behind the active conductors of a connector, ascending.
    pub fn lines(&self, leaf: usize) -> Vec<usize> {
        let rotation = usize::from(self.leaf_rotation.get(leaf).copied().unwrap_or(0));
        let behind = ["RST", "RTS", "SRT", "STR", "TRS", "TSR"][rotation].as_bytes();
        let active = (0..PHASES).filter(|&phase| self.leaf_phases[leaf] >> phase & 1 == 1);
        let mut lines: Vec<usize> = active.map(|phase| usize::from(behind[phase] - b'R')).collect();
        lines.sort_unstable();
        lines
    }

    pub fn kind(&self, leaf: usize) -> usize {
        let of_lines = || self.lines(leaf).iter().map(|line| 1 << line).sum();
        self.leaf_kind.get(leaf).map_or_else(of_lines, |&kind| usize::from(kind))
    }

    /// The rows a connector counts on: from its own node upwards, on each node L1 to L3, then the
    /// combined ones that have a coefficient for its kind.
    pub fn rows_of(&self, leaf: usize) -> Vec<usize> {
        let mut rows = Vec::new();
        let mut up = self.leaf_node[leaf];
        while let Ok(node) = usize::try_from(up) {
            rows.extend(self.lines(leaf).iter().map(|line| PHASES * node + line));
            for (index, coefficient) in self.combined_coefficient.iter().enumerate() {
                if self.combined_node[index] == up && coefficient[self.kind(leaf)] != [0, 0] {
                    rows.push(PHASES * self.nodes() + index);
                }
            }
            up = self.node_parent[node];
        }
        rows
    }
}

/// As one would write it in a test: a line for each field that is not empty.
impl fmt::Debug for Problem {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            ("node_parent", format!("{:?}", self.node_parent)),
            ("leaf_node", format!("{:?}", self.leaf_node)),
            ("leaf_phases", format!("{:?}", self.leaf_phases)),
            ("leaf_rotation", format!("{:?}", self.leaf_rotation)),
            ("leaf_kind", format!("{:?}", self.leaf_kind)),
            ("combined_node", format!("{:?}", self.combined_node)),
            ("combined_coefficient", format!("{:?}", self.combined_coefficient)),
            ("import_ma", format!("{:?}", self.import_ma)),
            ("export_ma", format!("{:?}", self.export_ma)),
            ("combined", format!("{:?}", self.combined)),
            ("combined_export", format!("{:?}", self.combined_export)),
            ("min_ma", format!("{:?}", self.min_ma)),
            ("max_ma", format!("{:?}", self.max_ma)),
            ("step_ma", format!("{:?}", self.step_ma)),
            ("weight", format!("{:?}", self.weight)),
            ("tier", format!("{:?}", self.tier)),
            ("rank", format!("{:?}", self.rank)),
            ("keep_on", format!("{:?}", self.keep_on)),
            ("discharge", format!("{:?}", self.discharge)),
            ("liability_ma", format!("{:?}", self.liability_ma)),
            ("setpoint_set", format!("{:?}", self.setpoint_set)),
            ("setpoint_start", format!("{:?}", self.setpoint_start)),
            ("setpoint_ma", format!("{:?}", self.setpoint_ma)),
        ];
        for (name, values) in fields.iter().filter(|(_, values)| values != "[]") {
            writeln!(to, "{name}: vec!{values},")?;
        }
        Ok(())
    }
}

/// Random values that depend on nothing but a seed, what they are for, and the index of the element:
/// the same element keeps its values when there are fewer others, so that failures shrink.
struct Draw {
    seed: u64,
}

impl Draw {
    fn below(&self, what: &str, at: usize, limit: u64) -> u64 {
        let mut bits = self.seed ^ (at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for letter in what.bytes() {
            bits = (bits ^ u64::from(letter)).wrapping_mul(0xff51_afd7_ed55_8ccd);
            bits ^= bits >> 32;
        }
        bits % limit
    }

    fn of<T: Copy>(&self, what: &str, at: usize, values: &[T]) -> T {
        values[usize::try_from(self.below(what, at, values.len() as u64)).unwrap()]
    }

    fn amount(&self, what: &str, at: usize, limit: u64) -> i64 {
        i64::try_from(self.below(what, at, limit)).unwrap()
    }

    fn each<T>(&self, count: usize, value: impl Fn(&Self, usize) -> T) -> Vec<T> {
        (0..count).map(|at| value(self, at)).collect()
    }
}

/// Parts of a round that may be used, as bits, so that failures shrink to the simplest that shows
/// them.
pub mod part {
    pub const COMBINED: u8 = 1;
    pub const EXPORTS: u8 = 1 << 1;
    pub const LIABILITIES: u8 = 1 << 2;
    pub const SETS: u8 = 1 << 3;
    pub const STEPS: u8 = 1 << 4;
    pub const TIERS: u8 = 1 << 5;
    pub const KEEP_ON: u8 = 1 << 6;
    pub const ROTATIONS: u8 = 1 << 7;
    pub const ANY: u8 = 0xff;
}

/// Rounds of up to `nodes_max` nodes and `leaves_max` connectors, with any of `parts`; currents from
/// single milliamperes to the largest.
pub fn problems(nodes_max: usize, leaves_max: usize, parts: u8) -> impl Strategy<Value = Problem> {
    let size = (1..=nodes_max, 1..=leaves_max);
    (size, any::<u8>(), any::<u64>()).prop_map(move |((nodes, leaves), bits, seed)| {
        drawn(&Draw { seed }, nodes, leaves, bits & parts)
    })
}

/// Scales of currents, in milliamperes: the last makes maximums up to the largest accepted.
const SCALES: [i64; 6] = [1, 1, 7, 1_000, 1_000, 24_999_999];

fn drawn(draw: &Draw, nodes: usize, leaves: usize, parts: u8) -> Problem {
    let with = |part: u8| parts & part != 0;
    let scale = draw.of("scale", 0, &SCALES);
    let ties = draw.below("ties", 0, 3) == 0;
    let capacity = |draw: &Draw, what: &str, at: usize| {
        let at = if ties { at % 2 } else { at };
        (draw.amount(what, at, 123) - 2) * scale
    };
    let only = |used: bool| if used { leaves } else { 0 };
    let max_ma = draw.each(leaves, |draw, at| draw.amount("max", at, 41) * scale);
    let share = |(at, max): (usize, &i64)| max * draw.of("min", at, &[0, 0, 15, 50, 100]) / 100;
    let mut problem = Problem {
        node_parent: parents(draw, nodes),
        leaf_node: draw
            .each(leaves, |draw, at| i32::try_from(draw.below("node", at, nodes as u64)).unwrap()),
        leaf_phases: draw.each(leaves, |draw, at| draw.of("phases", at, &[1, 2, 4, 7, 7, 3, 6, 5])),
        leaf_rotation: draw.each(only(with(part::ROTATIONS)), |draw, at| {
            draw.of("rotation", at, &[0, 1, 2, 3, 4, 5])
        }),
        import_ma: draw.each(nodes * PHASES, |draw, at| capacity(draw, "import", at)),
        min_ma: max_ma.iter().enumerate().map(share).collect(),
        max_ma,
        step_ma: draw.each(leaves, |draw, at| {
            if with(part::STEPS) { draw.of("step", at, &[1, 3, scale, 8 * scale, 100]) } else { 1 }
        }),
        weight: draw.each(leaves, |draw, at| draw.of("weight", at, &[1, 1, 1, 2, 3, 10, 1_000])),
        tier: draw.each(leaves, |draw, at| {
            if with(part::TIERS) { draw.of("tier", at, &[0, 1, 2]) } else { 0 }
        }),
        rank: draw.each(leaves, |draw, at| draw.amount("rank", at, 5) - 2),
        keep_on: draw.each(only(with(part::KEEP_ON)), |draw, at| draw.below("keep", at, 2) == 0),
        discharge: draw
            .each(only(with(part::EXPORTS)), |draw, at| draw.below("discharge", at, 2) == 0),
        liability_ma: draw.each(only(with(part::LIABILITIES)), |draw, at| {
            draw.of("liable", at, &[0, 0, 1]) * (draw.amount("liability", at, 61) - 20) * scale
        }),
        ..Problem::default()
    };
    if with(part::EXPORTS) {
        problem.export_ma = draw.each(nodes * PHASES, |draw, at| capacity(draw, "export", at));
    }
    if with(part::SETS) {
        add_sets(draw, &mut problem, scale);
    }
    if with(part::COMBINED) {
        add_combined(draw, &mut problem, scale, with(part::EXPORTS));
    }
    problem
}

/// Every second tree is a bush, every fourth a chain, the others are forests; later nodes stand
/// before their parents as well as after.
fn parents(draw: &Draw, nodes: usize) -> Vec<i32> {
    let shape = draw.below("shape", 0, 4);
    let turned = draw.below("turned", 0, 2) == 1;
    let place = |at: usize| if turned { nodes - 1 - at } else { at };
    let mut parent = vec![-1; nodes];
    for at in 1..nodes {
        let up = match shape {
            0 => at,
            1 => draw.below("parent", at, at as u64 + 1) as usize,
            _ => draw.below("parent", at, at as u64) as usize + 1,
        };
        if up > 0 {
            parent[place(at)] = i32::try_from(place(up - 1)).unwrap();
        }
    }
    parent
}

fn add_sets(draw: &Draw, problem: &mut Problem, scale: i64) {
    let mut members = vec![vec![8, 16, 24, 32], vec![6, 10, 13], vec![20]];
    let mut drawn = draw.each(4, |draw, at| draw.amount("member", at, 40) + 1);
    drawn.sort_unstable();
    drawn.dedup();
    members.push(drawn);
    problem.setpoint_start = vec![0];
    for set in members {
        problem.setpoint_ma.extend(set.iter().map(|member| member * scale));
        problem.setpoint_start.push(i32::try_from(problem.setpoint_ma.len()).unwrap());
    }
    problem.setpoint_set =
        draw.each(problem.leaves(), |draw, at| draw.of("set", at, &[-1, -1, 0, 0, 1, 2, 3]));
}

fn add_combined(draw: &Draw, problem: &mut Problem, scale: i64, exports: bool) {
    let (nodes, rows) = (problem.nodes() as u64, 1 + draw.below("rows", 0, 3) as usize);
    problem.combined_node =
        draw.each(rows, |draw, at| i32::try_from(draw.below("on", at, nodes)).unwrap());
    problem.combined_coefficient = draw.each(rows, coefficients);
    let limit = |what: &str, at: usize| {
        let of_row = &problem.combined_coefficient[at];
        let largest = of_row.iter().flatten().map(|part| i64::from(part.abs())).max().unwrap();
        let most = draw.amount(what, at, 123) * scale * largest + draw.amount("odd", at, 2);
        most.min(COMBINED_MAX)
    };
    problem.combined = (0..rows).map(|at| limit("limit", at)).collect();
    if exports {
        problem.combined_export = (0..rows).map(|at| limit("export limit", at)).collect();
    }
    if draw.below("kinds", 0, 2) == 0 {
        problem.leaf_kind = draw
            .each(problem.leaves(), |draw, at| u8::try_from(draw.below("kind", at, 11)).unwrap());
    }
}

/// Total power, imbalance, a line current, a primary of a delta-wye transformer, or vectors in all
/// directions, opposite ones among them.
fn coefficients(draw: &Draw, row: usize) -> [[i32; 2]; KINDS] {
    let mut of_kind = [[0, 0]; KINDS];
    let form = draw.below("form", row, 6);
    for (kind, vector) in of_kind.iter_mut().enumerate().take(11) {
        let on = |line: usize| i32::from(kind < 8 && kind >> line & 1 == 1);
        let random = |values: &[i32]| {
            [0, 1].map(|part| draw.of("part", (row * KINDS + kind) * 2 + part, values))
        };
        *vector = match (form, kind) {
            (0, 8..) => [400, 0],
            (0, _) => [230 * (on(0) + on(1) + on(2)), 0],
            (1, _) => [on(0) * (1 - on(1)), 0],
            (2, 8) => [8_660, 5_000],
            (2, 10) => [8_660, -5_000],
            (2, _) => [10_000 * on(0), 0],
            (3, 8) => [7_505, 4_333],
            (3, 9) => [0, 4_333],
            (3, 10) => [3_753, -2_167],
            (3, _) => [4_333 * on(0) + 2_167 * on(1), 3_753 * on(1)],
            (4, _) => random(&[0, 0, 1, -1, 2, -3, 7]),
            _ => random(&[0, 1 << 20, -(1 << 20), (1 << 20) - 1]),
        };
    }
    of_kind
}
