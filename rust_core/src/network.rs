//! The electrical tree, checked once and laid out for sweeps.
//!
//! Nodes are kept in depth-first order, parents before children, and connectors in the order of
//! their nodes, so that whatever hangs below a node is one contiguous range; on a node, those on
//! the same lines and of the same kind stand together. Everything outside this crate keeps the
//! caller's indices.

use std::ops::Range;

use crate::combined::{Coefficients, CombinedRow};
use crate::error::{NetworkError, check_length};
use crate::units::{DEPTH_MAX, KINDS, PHASES};

/// No parent: the node is a root.
pub(crate) const NONE: u32 = u32::MAX;

/// What a network is made of. A slice that is said to be optional may be empty.
#[derive(Debug, Clone, Copy, Default)]
pub struct Description<'a> {
    /// Each node's parent, or -1 for a root, in any order.
    pub node_parent: &'a [i32],
    /// The node each connector hangs on.
    pub leaf_node: &'a [i32],
    /// The conductors on which each connector draws, bit 0 to 2; 1 to 7.
    pub leaf_phases: &'a [u8],
    /// Optional: which lines stand behind the conductors of each connector, as OCPP names
    /// rotations: 0 RST, 1 RTS, 2 SRT, 3 STR, 4 TRS, 5 TSR, where R is L1. RST where left out.
    pub leaf_rotation: &'a [u8],
    /// Optional: the kind of connection, below [`KINDS`], by which combined rows know each
    /// connector; the set of its lines where left out.
    pub leaf_kind: &'a [u8],
    /// Optional: the node of each combined row.
    pub combined_node: &'a [i32],
    /// Optional: the coefficients of each combined row.
    pub combined_coefficient: &'a [Coefficients],
}

/// Connectors on one node, on the same lines and of one kind, hence below the same rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// Place of the node.
    pub(crate) node: u32,
    /// Active lines, bit 0 for L1.
    pub(crate) phases: u8,
    pub(crate) kind: u8,
    /// First leaf place of the group, and of the next.
    pub(crate) first: u32,
    pub(crate) end: u32,
}

/// A node that has combined rows.
#[derive(Debug, Clone)]
pub(crate) struct CombinedNode {
    pub(crate) place: u32,
    /// Its rows in `Network::combined`.
    pub(crate) rows: Range<usize>,
    /// The next such node above it, or `NONE`.
    pub(crate) above: u32,
}

/// An immutable electrical tree (or several) with connectors as its leaves.
#[derive(Debug, Clone)]
pub struct Network {
    /// Caller's index of the node at each place.
    pub(crate) node_at: Vec<u32>,
    /// Place of the parent of the node at each place, or `NONE`; always a lower place.
    pub(crate) parent: Vec<u32>,
    /// One beyond the last place below the node at each place.
    pub(crate) end: Vec<u32>,
    /// Place of each of the caller's nodes.
    place_of_node: Vec<u32>,
    /// Caller's index of the leaf at each leaf place.
    pub(crate) leaf_at: Vec<u32>,
    /// Place of each of the caller's leaves.
    pub(crate) place_of: Vec<u32>,
    /// Index in `groups` of each leaf place; ascending.
    pub(crate) leaf_group: Vec<u32>,
    /// The groups that have connectors, in the order of their nodes.
    pub(crate) groups: Vec<Group>,
    /// First group of the node at each place, and one entry more at the end.
    pub(crate) first_group: Vec<u32>,
    /// The places of trees that are solved together, apart from all others.
    pub(crate) parts: Vec<Range<usize>>,
    /// Combined rows in the order of their nodes, then of the caller.
    pub(crate) combined: Vec<CombinedRow>,
    pub(crate) combined_nodes: Vec<CombinedNode>,
    /// The nearest of `combined_nodes` at or above each place, or `NONE`; empty where there is none.
    pub(crate) nearest_combined: Vec<u32>,
}

/// Connectors that are worth a job of their own; a tree with fewer is solved together with the next.
pub(crate) const JOB_LEAVES: usize = 4_096;

/// Lines behind the three conductors, for each rotation.
const ROTATIONS: [[u8; PHASES]; 6] =
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

impl Network {
    /// A network without combined rows and rotations; see [`Network::build`].
    ///
    /// # Errors
    ///
    /// As [`Network::build`].
    pub fn new(
        node_parent: &[i32],
        leaf_node: &[i32],
        leaf_phases: &[u8],
    ) -> Result<Self, NetworkError> {
        Self::build(&Description { node_parent, leaf_node, leaf_phases, ..Description::default() })
    }

    /// Check and lay out a tree, or several.
    ///
    /// # Errors
    ///
    /// A cycle, a parent or node out of range, a node more than [`DEPTH_MAX`] levels below its
    /// root, a connector on no phase, an unknown rotation or kind, a coefficient out of range,
    /// sizes that disagree.
    pub fn build(described: &Description<'_>) -> Result<Self, NetworkError> {
        let Description { node_parent, leaf_node, leaf_phases, .. } = *described;
        let nodes = index_limit("node_parent", node_parent, i32::MAX as usize / PHASES - KINDS)?;
        index_limit("leaf_node", leaf_node, i32::MAX as usize)?;
        check_length("leaf_phases", leaf_phases, leaf_node.len())?;
        check_index("node_parent", node_parent, -1, nodes)?;
        check_index("leaf_node", leaf_node, 0, nodes)?;
        check_codes("leaf_phases", leaf_phases, 1, 7)?;
        let lines = lines(leaf_phases, described.leaf_rotation)?;
        let kinds = kinds(&lines, described.leaf_kind)?;
        let (node_at, place) = depth_first(node_parent)?;
        let parent: Vec<u32> = node_at
            .iter()
            .map(|&node| {
                u32::try_from(node_parent[node as usize]).map_or(NONE, |up| place[up as usize])
            })
            .collect();
        check_depth(&node_at, &parent)?;
        let node_of_leaf: Vec<u32> =
            leaf_node.iter().map(|&node| place[node.unsigned_abs() as usize]).collect();
        let (leaf_at, place_of) = in_order(&node_of_leaf, &lines, &kinds);
        let (groups, leaf_group) = group(&leaf_at, &node_of_leaf, &lines, &kinds);
        let group_node: Vec<u32> = groups.iter().map(|group| group.node).collect();
        let first_group = starts(&group_node, node_at.len());
        let mut network = Self {
            end: ends(&parent),
            node_at,
            place_of_node: place,
            parent,
            leaf_at,
            place_of,
            leaf_group,
            groups,
            first_group,
            parts: Vec::new(),
            combined: Vec::new(),
            combined_nodes: Vec::new(),
            nearest_combined: Vec::new(),
        };
        network.parts = network.find_parts();
        network.add_combined(described, nodes)?;
        Ok(network)
    }

    /// Lay out the combined rows.
    fn add_combined(
        &mut self,
        described: &Description<'_>,
        nodes: u32,
    ) -> Result<(), NetworkError> {
        let Description { combined_node, combined_coefficient, .. } = *described;
        index_limit("combined_node", combined_node, i32::MAX as usize - self.rows())?;
        check_length("combined_coefficient", combined_coefficient, combined_node.len())?;
        check_index("combined_node", combined_node, 0, nodes)?;
        if combined_node.is_empty() {
            return Ok(());
        }
        let place = |row: usize| self.place_of_node[combined_node[row].unsigned_abs() as usize];
        let mut order: Vec<usize> = (0..combined_node.len()).collect();
        order.sort_by_key(|&row| place(row));
        self.nearest_combined = vec![NONE; self.node_at.len()];
        for row in order {
            let node = combined_node[row].unsigned_abs() as usize;
            let (at, place) = (self.combined.len(), self.place_of_node[node]);
            self.combined.push(CombinedRow::new(row, &combined_coefficient[row])?);
            match self.combined_nodes.last_mut() {
                Some(node) if node.place == place => node.rows.end = at + 1,
                _ => {
                    self.combined_nodes.push(CombinedNode { place, rows: at..at + 1, above: NONE });
                }
            }
        }
        for (index, node) in (0..).zip(&self.combined_nodes) {
            self.nearest_combined[node.place as usize] = index;
        }
        for place in 0..self.nodes() {
            let up = self.parent[place];
            let above = if up == NONE { NONE } else { self.nearest_combined[up as usize] };
            match self.nearest_combined[place] {
                NONE => self.nearest_combined[place] = above,
                own => self.combined_nodes[own as usize].above = above,
            }
        }
        Ok(())
    }

    /// Number of combined rows.
    #[must_use]
    pub fn combined(&self) -> usize {
        self.combined.len()
    }

    /// Number of nodes.
    #[must_use]
    pub fn nodes(&self) -> usize {
        self.node_at.len()
    }

    /// Number of rows: three per node.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.node_at.len() * PHASES
    }

    /// Number of connectors.
    #[must_use]
    pub fn leaves(&self) -> usize {
        self.leaf_at.len()
    }

    /// The leaf places of a range of groups.
    pub(crate) fn leaves_of(&self, groups: &Range<usize>) -> Range<usize> {
        match &self.groups[groups.clone()] {
            [] => 0..0,
            [only] => only.first as usize..only.end as usize,
            [first, .., last] => first.first as usize..last.end as usize,
        }
    }

    /// Those of `combined_nodes` that stand at a range of places.
    pub(crate) fn combined_nodes_of(&self, nodes: &Range<usize>) -> Range<usize> {
        let before = |place: usize| {
            self.combined_nodes.partition_point(|node| (node.place as usize) < place)
        };
        before(nodes.start)..before(nodes.end)
    }

    /// The places of the roots.
    pub(crate) fn roots(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes()).filter(|&place| self.parent[place] == NONE)
    }

    /// A place and all above it.
    pub(crate) fn path(&self, place: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(place), |&place| {
            Some(self.parent[place]).filter(|&up| up != NONE).map(|up| up as usize)
        })
    }

    /// The place of one of the caller's nodes.
    pub(crate) fn place_of_node(&self, node: usize) -> usize {
        self.place_of_node[node] as usize
    }

    /// The place of the node of one of the caller's combined rows.
    pub(crate) fn place_of_combined(&self, row: usize) -> usize {
        let has = |node: &&CombinedNode| {
            self.combined[node.rows.clone()].iter().any(|known| known.index as usize == row)
        };
        self.combined_nodes.iter().find(has).map_or(0, |node| node.place as usize)
    }

    /// Which of `combined_nodes` a node itself is.
    pub(crate) fn combined_at(&self, place: usize) -> Option<usize> {
        let nearest = *self.nearest_combined.get(place)?;
        let node = self.combined_nodes.get(nearest as usize)?;
        (node.place as usize == place).then_some(nearest as usize)
    }

    /// The group of one of the caller's leaves.
    pub(crate) fn group_of(&self, leaf: usize) -> &Group {
        &self.groups[self.leaf_group[self.place_of[leaf] as usize] as usize]
    }

    /// Add what stands at each place to all places above it.
    pub(crate) fn add_up(&self, at_places: &mut [[i64; PHASES]]) {
        for place in (0..self.nodes()).rev() {
            let (below, up) = (at_places[place], self.parent[place]);
            if up != NONE {
                for (sum, below) in at_places[up as usize].iter_mut().zip(below) {
                    *sum += below;
                }
            }
        }
    }

    /// Whole trees together, until they have enough connectors to be worth a part of their own.
    fn find_parts(&self) -> Vec<Range<usize>> {
        let mut parts = Vec::new();
        let mut first = 0;
        for place in 0..self.nodes() {
            let end = self.end[place] as usize;
            let groups = self.first_group[first] as usize..self.first_group[end] as usize;
            let last = end == self.nodes();
            if self.parent[place] == NONE && (last || self.leaves_of(&groups).len() >= JOB_LEAVES) {
                parts.push(first..end);
                first = end;
            }
        }
        parts
    }
}

fn index_limit<T>(array: &'static str, values: &[T], limit: usize) -> Result<u32, NetworkError> {
    let found = values.len();
    u32::try_from(found).ok().filter(|_| found <= limit).ok_or(NetworkError::TooMany {
        array,
        found,
        limit,
    })
}

fn check_index(
    array: &'static str,
    values: &[i32],
    least: i32,
    count: u32,
) -> Result<(), NetworkError> {
    let most = i64::from(count) - 1;
    let outside = |&value: &i32| value < least || i64::from(value) > most;
    match values.iter().position(outside) {
        None => Ok(()),
        Some(index) => Err(NetworkError::Range {
            array,
            index,
            value: i64::from(values[index]),
            least: i64::from(least),
            most,
        }),
    }
}

fn check_codes(
    array: &'static str,
    values: &[u8],
    least: u8,
    most: u8,
) -> Result<(), NetworkError> {
    match values.iter().position(|value| !(least..=most).contains(value)) {
        None => Ok(()),
        Some(index) => Err(NetworkError::Range {
            array,
            index,
            value: i64::from(values[index]),
            least: i64::from(least),
            most: i64::from(most),
        }),
    }
}

/// First slot of every key, and one entry more at the end, for keys below `count`.
fn starts(keys: &[u32], count: usize) -> Vec<u32> {
    let mut start = vec![0; count + 1];
    for &key in keys {
        start[key as usize + 1] += 1;
    }
    for at in 0..count {
        start[at + 1] += start[at];
    }
    start
}

/// The lines on which each connector draws.
fn lines(leaf_phases: &[u8], leaf_rotation: &[u8]) -> Result<Vec<u8>, NetworkError> {
    if leaf_rotation.is_empty() {
        return Ok(leaf_phases.to_vec());
    }
    check_length("leaf_rotation", leaf_rotation, leaf_phases.len())?;
    check_codes("leaf_rotation", leaf_rotation, 0, 5)?;
    let turned = |(&phases, &rotation): (&u8, &u8)| {
        let line = ROTATIONS[usize::from(rotation)];
        (0..PHASES).fold(0, |bits, phase| bits | (phases >> phase & 1) << line[phase])
    };
    Ok(leaf_phases.iter().zip(leaf_rotation).map(turned).collect())
}

fn kinds(lines: &[u8], leaf_kind: &[u8]) -> Result<Vec<u8>, NetworkError> {
    if leaf_kind.is_empty() {
        return Ok(lines.to_vec());
    }
    check_length("leaf_kind", leaf_kind, lines.len())?;
    check_codes("leaf_kind", leaf_kind, 0, 15)?;
    Ok(leaf_kind.to_vec())
}

/// The leaves by node, then lines, then kind, then index, and the place of each.
fn in_order(leaf_node: &[u32], lines: &[u8], kinds: &[u8]) -> (Vec<u32>, Vec<u32>) {
    let mut leaf_at: Vec<u32> = (0..).take(leaf_node.len()).collect();
    leaf_at.sort_by_key(|&leaf| {
        let leaf = leaf as usize;
        (leaf_node[leaf], lines[leaf], kinds[leaf])
    });
    let mut place_of = vec![0; leaf_at.len()];
    for (place, &leaf) in (0..).zip(&leaf_at) {
        place_of[leaf as usize] = place;
    }
    (leaf_at, place_of)
}

/// The groups of leaf places, and the group of each.
fn group(leaf_at: &[u32], leaf_node: &[u32], lines: &[u8], kinds: &[u8]) -> (Vec<Group>, Vec<u32>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut leaf_group = Vec::with_capacity(leaf_at.len());
    let mut index = NONE;
    for (place, &leaf) in (0..).zip(leaf_at) {
        let leaf = leaf as usize;
        let (node, phases, kind) = (leaf_node[leaf], lines[leaf], kinds[leaf]);
        match groups.last_mut() {
            Some(group) if (group.node, group.phases, group.kind) == (node, phases, kind) => {
                group.end = place + 1;
            }
            _ => {
                groups.push(Group { node, phases, kind, first: place, end: place + 1 });
                index = index.wrapping_add(1);
            }
        }
        leaf_group.push(index);
    }
    (groups, leaf_group)
}

/// One beyond the last place below each.
fn ends(parent: &[u32]) -> Vec<u32> {
    let mut end: Vec<u32> = (1..).take(parent.len()).collect();
    for place in (0..parent.len()).rev() {
        let up = parent[place];
        if up != NONE {
            end[up as usize] = end[place].max(end[up as usize]);
        }
    }
    end
}

/// The nodes in depth-first order, children by index, and the place of each.
fn depth_first(node_parent: &[i32]) -> Result<(Vec<u32>, Vec<u32>), NetworkError> {
    let nodes = node_parent.len();
    // Key 0 holds the roots, key n + 1 the children of node n.
    let keys: Vec<u32> = node_parent.iter().map(|&up| up.wrapping_add(1).unsigned_abs()).collect();
    let start = starts(&keys, nodes + 1);
    let mut next = start.clone();
    let mut by_parent = vec![0_u32; nodes];
    for (node, &key) in (0_u32..).zip(&keys) {
        let slot = &mut next[key as usize];
        by_parent[*slot as usize] = node;
        *slot += 1;
    }
    let children =
        |key: usize| by_parent[start[key] as usize..start[key + 1] as usize].iter().rev();
    let mut node_at = Vec::with_capacity(nodes);
    let mut place = vec![NONE; nodes];
    let mut open: Vec<u32> = children(0).copied().collect();
    while let Some(node) = open.pop() {
        place[node as usize] = u32::try_from(node_at.len()).unwrap_or(NONE);
        node_at.push(node);
        open.extend(children(node as usize + 1));
    }
    match place.iter().position(|&at| at == NONE) {
        None => Ok((node_at, place)),
        Some(unreached) => {
            Err(NetworkError::Cycle { node: lowest_on_cycle(node_parent, unreached) })
        }
    }
}

/// Refuse trees that are deeper than [`DEPTH_MAX`], parents before children.
fn check_depth(node_at: &[u32], parent: &[u32]) -> Result<(), NetworkError> {
    let mut depth = vec![0; parent.len()];
    for (place, &up) in parent.iter().enumerate() {
        if up != NONE {
            depth[place] = depth[up as usize] + 1;
            if depth[place] > DEPTH_MAX {
                return Err(NetworkError::Depth {
                    node: node_at[place] as usize,
                    limit: DEPTH_MAX,
                });
            }
        }
    }
    Ok(())
}

/// The lowest node of the cycle that the ancestors of `from` end in.
fn lowest_on_cycle(node_parent: &[i32], from: usize) -> usize {
    let up = |node: usize| usize::try_from(node_parent[node]).unwrap_or(node);
    let inside = (0..node_parent.len()).fold(from, |node, _| up(node));
    let (mut lowest, mut node) = (inside, up(inside));
    while node != inside {
        lowest = lowest.min(node);
        node = up(node);
    }
    lowest
}
