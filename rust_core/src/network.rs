//! The electrical tree, checked once and laid out for sweeps.
//!
//! Nodes are kept in depth-first order, parents before children, and connectors in the order of
//! their nodes, so that whatever hangs below a node is one contiguous range; on a node, those on
//! the same phases stand together. Everything outside this crate keeps the caller's indices.

use crate::error::{NetworkError, check_length};
use crate::units::{DEPTH_MAX, PHASES};

/// No parent: the node is a root.
pub(crate) const NONE: u32 = u32::MAX;

/// Connectors on one node that are on the same phases, hence below the same rows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// Place of the node.
    pub(crate) node: u32,
    /// Active phases, bit 0 for L1.
    pub(crate) phases: u8,
    /// First leaf place of the group, and of the next.
    pub(crate) first: u32,
    pub(crate) end: u32,
}

/// An immutable electrical tree (or several) with connectors as its leaves.
#[derive(Debug, Clone)]
pub struct Network {
    /// Caller's index of the node at each place.
    pub(crate) node_at: Vec<u32>,
    /// Place of the parent of the node at each place, or `NONE`; always a lower place.
    pub(crate) parent: Vec<u32>,
    /// Caller's index of the leaf at each leaf place.
    pub(crate) leaf_at: Vec<u32>,
    /// Leaf place of each of the caller's leaves.
    pub(crate) place_of: Vec<u32>,
    /// Place of the node each leaf place hangs on.
    pub(crate) leaf_node: Vec<u32>,
    /// Active phases of each leaf place, bit 0 for L1.
    pub(crate) leaf_phases: Vec<u8>,
    /// Index in `groups` of each leaf place; ascending.
    pub(crate) leaf_group: Vec<u32>,
    /// The groups that have connectors, in the order of their nodes.
    pub(crate) groups: Vec<Group>,
    /// First group of the node at each place, and one entry more at the end.
    pub(crate) first_group: Vec<u32>,
}

impl Network {
    /// Check and lay out a tree.
    ///
    /// `node_parent` holds each node's parent or -1 for a root, in any order; `leaf_node` the node
    /// each connector hangs on; `leaf_phases` its active phases, bit 0 L1, bit 1 L2, bit 2 L3.
    ///
    /// # Errors
    ///
    /// A cycle, a parent or node out of range, a node more than [`DEPTH_MAX`] levels below its
    /// root, a connector on no phase, sizes that disagree.
    pub fn new(
        node_parent: &[i32],
        leaf_node: &[i32],
        leaf_phases: &[u8],
    ) -> Result<Self, NetworkError> {
        let nodes = index_limit("node_parent", node_parent, i32::MAX as usize / PHASES)?;
        index_limit("leaf_node", leaf_node, i32::MAX as usize)?;
        check_length("leaf_phases", leaf_phases, leaf_node.len())?;
        check_index("node_parent", node_parent, -1, nodes)?;
        check_index("leaf_node", leaf_node, 0, nodes)?;
        if let Some(index) = leaf_phases.iter().position(|phases| !(1..=7).contains(phases)) {
            let value = i64::from(leaf_phases[index]);
            return Err(NetworkError::Range {
                array: "leaf_phases",
                index,
                value,
                least: 1,
                most: 7,
            });
        }
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
        let (leaf_at, place_of) = by_node_and_phases(&node_of_leaf, leaf_phases, node_at.len());
        let in_order = leaf_at.iter().map(|&leaf| leaf as usize);
        let leaf_node: Vec<u32> = in_order.clone().map(|leaf| node_of_leaf[leaf]).collect();
        let leaf_phases: Vec<u8> = in_order.map(|leaf| leaf_phases[leaf]).collect();
        let (groups, leaf_group) = group(&leaf_node, &leaf_phases);
        let group_node: Vec<u32> = groups.iter().map(|group| group.node).collect();
        let first_group = starts(&group_node, node_at.len());
        Ok(Self {
            node_at,
            parent,
            leaf_at,
            place_of,
            leaf_node,
            leaf_phases,
            leaf_group,
            groups,
            first_group,
        })
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

/// The leaves by node, then phases, then index, and the place of each.
fn by_node_and_phases(leaf_node: &[u32], phases: &[u8], nodes: usize) -> (Vec<u32>, Vec<u32>) {
    let mut next = starts(leaf_node, nodes);
    let (mut leaf_at, mut place_of) = (vec![0; phases.len()], vec![0; phases.len()]);
    for wanted in 1..=7 {
        for (leaf, _) in (0_u32..).zip(phases).filter(|(_, phases)| **phases == wanted) {
            let place = &mut next[leaf_node[leaf as usize] as usize];
            leaf_at[*place as usize] = leaf;
            place_of[leaf as usize] = *place;
            *place += 1;
        }
    }
    (leaf_at, place_of)
}

/// The groups of leaf places, and the group of each.
fn group(leaf_node: &[u32], leaf_phases: &[u8]) -> (Vec<Group>, Vec<u32>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut leaf_group = Vec::with_capacity(leaf_node.len());
    let mut index = NONE;
    for (place, (&node, &phases)) in (0..).zip(leaf_node.iter().zip(leaf_phases)) {
        match groups.last_mut() {
            Some(group) if (group.node, group.phases) == (node, phases) => group.end = place + 1,
            _ => {
                groups.push(Group { node, phases, first: place, end: place + 1 });
                index = index.wrapping_add(1);
            }
        }
        leaf_group.push(index);
    }
    (groups, leaf_group)
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
