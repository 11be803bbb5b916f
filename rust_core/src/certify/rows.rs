//! What rows may carry and carry, on one side of a network: plain sums, nothing incremental.

use std::cmp::Ordering;

use crate::allocate::{Capacity, Demand};
use crate::combined::Coefficients;
use crate::network::{Group, NONE, Network};
use crate::units::{KINDS, LEVEL_BITS, PHASES};

/// What flows through a row, by kind of connection.
pub(super) type ByKind = [i128; KINDS];

/// The way from connectors to rows, by the caller's index of rows.
pub(super) struct Tree<'a> {
    pub(super) network: &'a Network,
    /// Place of each of the caller's nodes, and how far below its root each place is.
    place: Vec<usize>,
    depth: Vec<u32>,
    /// Combined rows by the caller's index, and which of them stand at each place.
    vectors: Vec<Vectors>,
    vectors_at: Vec<Vec<usize>>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        let mut place = vec![0; network.nodes()];
        let mut depth = vec![0; network.nodes()];
        for (at, (&node, &up)) in network.node_at.iter().zip(&network.parent).enumerate() {
            place[node as usize] = at;
            depth[at] = if up == NONE { 0 } else { depth[up as usize] + 1 };
        }
        let mut vectors_at = vec![Vec::new(); network.nodes()];
        let mut rows = Vec::new();
        for node in &network.combined_nodes {
            for row in &network.combined[node.rows.clone()] {
                rows.push((row.index, Vectors::new(&row.coefficients, node.place as usize)));
                vectors_at[node.place as usize].push(row.index as usize);
            }
        }
        rows.sort_by_key(|&(index, _)| index);
        for rows in &mut vectors_at {
            rows.sort_unstable();
        }
        let vectors = rows.into_iter().map(|(_, row)| row).collect();
        Self { network, place, depth, vectors, vectors_at }
    }

    pub(super) fn rows(&self) -> usize {
        self.network.rows() + self.vectors.len()
    }

    /// The rows that count a group, from its own node upwards; on a node L1 first, single lines
    /// before combined rows.
    pub(super) fn rows_of(&self, group: &Group) -> impl Iterator<Item = usize> + use<'_> {
        let Group { node, phases, kind, .. } = *group;
        let network = self.network;
        let path = std::iter::successors(Some(node), |&at| {
            Some(network.parent[at as usize]).filter(|&up| up != NONE)
        });
        path.flat_map(move |at| {
            let first = network.node_at[at as usize] as usize * PHASES;
            let lines = (0..PHASES).filter(move |line| phases >> line & 1 == 1);
            let vectors = self.vectors_at[at as usize].iter();
            let counted = vectors.filter(move |&&row| self.vectors[row].counts(kind));
            let vectors = counted.map(|&row| network.rows() + row);
            lines.map(move |line| first + line).chain(vectors)
        })
    }

    /// Whether a row counts what is below its node on these lines and of this kind.
    pub(super) fn counts(&self, row: usize, group: &Group) -> bool {
        match row.checked_sub(self.network.rows()) {
            None => group.phases >> (row % PHASES) & 1 == 1,
            Some(vector) => self.vectors[vector].counts(group.kind),
        }
    }

    fn place_of(&self, row: usize) -> usize {
        match row.checked_sub(self.network.rows()) {
            None => self.place[row / PHASES],
            Some(vector) => self.vectors[vector].place,
        }
    }

    /// How far a row's node is below its root.
    pub(super) fn depth_of(&self, row: usize) -> u32 {
        self.depth[self.place_of(row)]
    }

    /// The groups that a row counts.
    pub(super) fn groups_of(&self, row: usize) -> impl Iterator<Item = &'a Group> + use<'_, 'a> {
        let place = self.place_of(row);
        let first = self.network.first_group[place] as usize;
        let end = self.network.first_group[self.network.end[place] as usize] as usize;
        self.network.groups[first..end].iter().filter(move |group| self.counts(row, group))
    }

    /// The group of one of the caller's connectors.
    pub(super) fn group_of(&self, connector: usize) -> &'a Group {
        let place = self.network.place_of[connector] as usize;
        &self.network.groups[self.network.leaf_group[place] as usize]
    }

    /// The caller's connectors of a group.
    pub(super) fn connectors_of(&self, group: &Group) -> impl Iterator<Item = usize> + use<'a> {
        let places = group.first as usize..group.end as usize;
        self.network.leaf_at[places].iter().map(|&leaf| leaf as usize)
    }
}

/// A combined row.
struct Vectors {
    place: usize,
    coefficients: Coefficients,
    /// The kinds that it counts by the direction of their vectors, each turned to point upwards.
    around: Vec<usize>,
}

impl Vectors {
    fn new(coefficients: &Coefficients, place: usize) -> Self {
        let mut around: Vec<usize> =
            (0..KINDS).filter(|&kind| coefficients[kind] != [0, 0]).collect();
        let turned = |kind: usize| {
            let [x, y] = coefficients[kind].map(i64::from);
            if points_down(coefficients[kind]) { [-x, -y] } else { [x, y] }
        };
        around.sort_by(|&one, &other| {
            let ([x, y], [other_x, other_y]) = (turned(one), turned(other));
            Ordering::reverse((x * other_y - y * other_x).cmp(&0))
        });
        Self { place, coefficients: *coefficients, around }
    }

    fn counts(&self, kind: u8) -> bool {
        self.coefficients[usize::from(kind)] != [0, 0]
    }

    /// The square of the length of the longest sum of some of the vectors, each times a current.
    ///
    /// The sums of all parts of all vectors fill a convex polygon, and the longest ends in one of
    /// its corners. Its lowest corner is the sum of the vectors that point down. From there the
    /// edges on one side are all the vectors, turned upwards, in the order of their directions, and
    /// those on the other side the same in the opposite order.
    fn longest_squared(&self, current: &ByKind) -> u128 {
        let edge =
            |kind: usize| self.coefficients[kind].map(|part| i128::from(part) * current[kind]);
        let mut lowest = [0; 2];
        for &kind in self.around.iter().filter(|&&kind| points_down(self.coefficients[kind])) {
            let [x, y] = edge(kind);
            lowest = [lowest[0] + x, lowest[1] + y];
        }
        let mut longest = length_squared(lowest);
        let (mut right, mut left) = (lowest, lowest);
        for (&next, &last) in self.around.iter().zip(self.around.iter().rev()) {
            for (corner, kind) in [(&mut right, next), (&mut left, last)] {
                let [x, y] = edge(kind);
                let down = points_down(self.coefficients[kind]);
                let [x, y] = if down { [-x, -y] } else { [x, y] };
                *corner = [corner[0] + x, corner[1] + y];
                longest = longest.max(length_squared(*corner));
            }
        }
        longest
    }
}

fn points_down([x, y]: [i32; 2]) -> bool {
    y < 0 || (y == 0 && x < 0)
}

/// What exceeds 128 bits exceeds every limit by far.
fn length_squared(vector: [i128; 2]) -> u128 {
    let [x, y] = vector.map(|part| part.unsigned_abs().saturating_mul(part.unsigned_abs()));
    x.saturating_add(y)
}

/// What the rows of one side may carry, and what they carry so far.
pub(super) struct Ledger<'a> {
    pub(super) tree: &'a Tree<'a>,
    pub(super) export: bool,
    /// What each single line may carry beside what is liable on it, and what is.
    capacity_ma: Vec<i128>,
    liable_ma: Vec<i128>,
    /// Square of the limit of each combined row.
    square: Vec<u128>,
    /// What was given on each single line.
    given_ma: Vec<i128>,
    /// What flows through each combined row, liabilities included.
    flow_ma: Vec<ByKind>,
}

impl<'a> Ledger<'a> {
    /// Nothing but liabilities.
    pub(super) fn new(
        tree: &'a Tree<'a>,
        capacity: &Capacity<'_>,
        demand: &Demand<'_>,
        export: bool,
    ) -> Self {
        let (lines, limits) = if export {
            (capacity.export_ma, capacity.combined_export)
        } else {
            (capacity.import_ma, capacity.combined)
        };
        let zero = |values: &[i64], at: usize| values.get(at).map_or(0, |&value| i128::from(value));
        let mut ledger = Self {
            tree,
            export,
            capacity_ma: vec![0; tree.network.rows()],
            liable_ma: vec![0; tree.network.rows()],
            square: vec![0; tree.vectors.len()],
            given_ma: vec![0; tree.network.rows()],
            flow_ma: vec![[0; KINDS]; tree.vectors.len()],
        };
        for connector in 0..tree.network.leaves() {
            let liable_ma = zero(demand.liability_ma, connector);
            let liable_ma = if export { -liable_ma } else { liable_ma };
            ledger.give(tree.group_of(connector), liable_ma.max(0));
        }
        ledger.liable_ma.clone_from(&ledger.given_ma);
        ledger.given_ma.fill(0);
        for (row, capacity_ma) in ledger.capacity_ma.iter_mut().enumerate() {
            *capacity_ma = (zero(lines, row).max(0) - ledger.liable_ma[row]).max(0);
        }
        for (row, square) in ledger.square.iter_mut().enumerate() {
            let limit = zero(limits, row).unsigned_abs();
            *square = limit * limit;
        }
        ledger
    }

    /// Give `more_ma` to a group, on all its rows.
    pub(super) fn give(&mut self, group: &Group, more_ma: i128) {
        for row in self.tree.rows_of(group) {
            match row.checked_sub(self.given_ma.len()) {
                None => self.given_ma[row] += more_ma,
                Some(vector) => self.flow_ma[vector][usize::from(group.kind)] += more_ma,
            }
        }
    }

    /// The first row, from its own node upwards, without room for `more_ma` on a group.
    pub(super) fn lacking(&self, group: &Group, more_ma: i128) -> Option<usize> {
        self.tree.rows_of(group).find(|&row| {
            let mut flow = self.flow(row);
            flow[usize::from(group.kind)] += more_ma << LEVEL_BITS;
            self.is_over(row, &flow)
        })
    }

    /// What flows through a row so far, in level units. For a single line all stands at one kind.
    pub(super) fn flow(&self, row: usize) -> ByKind {
        match row.checked_sub(self.given_ma.len()) {
            None => {
                let mut flow = [0; KINDS];
                flow[0] = self.given_ma[row] << LEVEL_BITS;
                flow
            }
            Some(vector) => self.flow_ma[vector].map(|flow_ma| flow_ma << LEVEL_BITS),
        }
    }

    /// Whether a row cannot carry a flow in level units.
    pub(super) fn is_over(&self, row: usize, flow: &ByKind) -> bool {
        match row.checked_sub(self.given_ma.len()) {
            None => flow.iter().sum::<i128>() > self.capacity_ma[row] << LEVEL_BITS,
            Some(vector) => {
                let square = self.square[vector] << (2 * LEVEL_BITS);
                self.tree.vectors[vector].longest_squared(flow) > square
            }
        }
    }

    /// What a row carries, liabilities included; for a combined row rounded up, and the largest number
    /// that can be reported where it is more.
    pub(super) fn load(&self, row: usize) -> i128 {
        match row.checked_sub(self.given_ma.len()) {
            None => self.liable_ma[row] + self.given_ma[row],
            Some(vector) => {
                let square = self.tree.vectors[vector].longest_squared(&self.flow_ma[vector]);
                let root = square.isqrt();
                (root + u128::from(root * root < square)).cast_signed().min(i64::MAX.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_sum_is_that_of_trying_every_subset() {
        let mut state = 1_u64;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i32::try_from((state >> 33) % limit).unwrap_or(0)
        };
        for _ in 0..5_000 {
            let mut coefficients = [[0; 2]; KINDS];
            let mut current = [0; KINDS];
            let size = below(4) + 2;
            for kind in 0..usize::try_from(below(9)).unwrap_or(0) {
                coefficients[kind] = [0, 1].map(|_| below(7) - 3).map(|part| part * size);
                current[kind] = i128::from(below(6) * below(1_000));
            }
            let sum = |subset: u32, part: usize| -> i128 {
                (0..KINDS)
                    .filter(|kind| subset >> kind & 1 == 1)
                    .map(|kind| i128::from(coefficients[kind][part]) * current[kind])
                    .sum()
            };
            let length = |subset: u32| length_squared([sum(subset, 0), sum(subset, 1)]);
            let longest = (0..1 << 9).map(length).max();
            let row = Vectors::new(&coefficients, 0);
            assert_eq!(
                Some(row.longest_squared(&current)),
                longest,
                "{coefficients:?} {current:?}"
            );
        }
    }
}
