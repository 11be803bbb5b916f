//! A stretch of the network that is solved on its own: whole trees, or a node with all below it
//! when no row above can fill.
//!
//! Places, leaf places and groups are counted from the first of the part, so that what a round
//! keeps for each of them is as long as the part.

use std::ops::Range;

use crate::combined::CombinedRow;
use crate::network::{CombinedNode, Group, Network};

/// Where connectors hang: on the node at a place, on some lines, by a kind of connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) place: u32,
    pub(crate) phases: u8,
    pub(crate) kind: u8,
}

impl Connection {
    pub(crate) const NOWHERE: Self = Self { place: 0, phases: 0, kind: 0 };
}

/// A view on a network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// Caller's index of each node.
    pub(crate) node_at: &'a [u32],
    /// Caller's index of each leaf.
    pub(crate) leaf_at: &'a [u32],
    /// Combined rows, in the order of their nodes.
    pub(crate) combined: &'a [CombinedRow],
    pub(crate) combined_nodes: &'a [CombinedNode],
    /// Rows of single phases in the whole network, after which combined rows are counted.
    pub(crate) phase_rows: usize,
    parent: &'a [u32],
    end: &'a [u32],
    leaf_group: &'a [u32],
    groups: &'a [Group],
    group_start: &'a [u32],
    nearest_combined: &'a [u32],
    first_node: u32,
    pub(crate) first_leaf: u32,
    first_group: u32,
    first_combined: u32,
    first_combined_node: u32,
}

impl<'a> Part<'a> {
    /// The nodes at a range of places: those of whole trees, or of one node and all below it.
    pub(crate) fn new(network: &'a Network, nodes: Range<usize>) -> Self {
        let group_start = &network.first_group[nodes.start..=nodes.end];
        let groups = group_start[0] as usize..group_start[nodes.len()] as usize;
        let leaves = network.leaves_of(&groups);
        let combined_nodes = network.combined_nodes_of(&nodes);
        let rows = match &network.combined_nodes[combined_nodes.clone()] {
            [] => 0..0,
            [first, .., last] => first.rows.start..last.rows.end,
            [only] => only.rows.clone(),
        };
        let nearest = if network.combined.is_empty() { 0..0 } else { nodes.clone() };
        Self {
            node_at: &network.node_at[nodes.clone()],
            leaf_at: &network.leaf_at[leaves.clone()],
            combined: &network.combined[rows.clone()],
            combined_nodes: &network.combined_nodes[combined_nodes.clone()],
            phase_rows: network.rows(),
            parent: &network.parent[nodes.clone()],
            end: &network.end[nodes.clone()],
            leaf_group: &network.leaf_group[leaves.clone()],
            groups: &network.groups[groups.clone()],
            group_start,
            nearest_combined: &network.nearest_combined[nearest],
            first_node: index(nodes.start),
            first_leaf: index(leaves.start),
            first_group: index(groups.start),
            first_combined: index(rows.start),
            first_combined_node: index(combined_nodes.start),
        }
    }

    pub(crate) fn nodes(&self) -> usize {
        self.node_at.len()
    }

    /// Where the leaves of the part stand in the network.
    pub(crate) fn leaf_places(&self) -> Range<usize> {
        let first = self.first_leaf as usize;
        first..first + self.leaf_at.len()
    }

    /// Where the nodes of the part stand in the network.
    pub(crate) fn node_places(&self) -> Range<usize> {
        let first = self.first_node as usize;
        first..first + self.node_at.len()
    }

    /// Where the combined nodes of the part stand in the network.
    pub(crate) fn combined_places(&self) -> Range<usize> {
        let first = self.first_combined_node as usize;
        first..first + self.combined_nodes.len()
    }

    /// The node above, within the part.
    pub(crate) fn above(&self, place: usize) -> Option<usize> {
        // What is above the part, or nothing, wraps beyond any place.
        let up = self.parent[place].wrapping_sub(self.first_node) as usize;
        (up < place).then_some(up)
    }

    /// The node and all below it.
    pub(crate) fn below(&self, place: usize) -> Range<usize> {
        place..(self.end[place] - self.first_node) as usize
    }

    pub(crate) fn groups(&self) -> &'a [Group] {
        self.groups
    }

    /// The group of a leaf place.
    pub(crate) fn group_of(&self, leaf: usize) -> usize {
        (self.leaf_group[leaf] - self.first_group) as usize
    }

    /// The leaf places of a group.
    pub(crate) fn leaves_of(&self, group: usize) -> Range<usize> {
        let Group { first, end, .. } = self.groups[group];
        (first - self.first_leaf) as usize..(end - self.first_leaf) as usize
    }

    /// The groups on the nodes at a range of places.
    pub(crate) fn groups_on(&self, nodes: Range<usize>) -> Range<usize> {
        let start = |place: usize| (self.group_start[place] - self.first_group) as usize;
        start(nodes.start)..start(nodes.end)
    }

    /// The place of the node that a group hangs on.
    pub(crate) fn node_of(&self, group: &Group) -> usize {
        (group.node - self.first_node) as usize
    }

    /// Where the connectors of a group hang.
    pub(crate) fn connection(&self, group: usize) -> Connection {
        let Group { node, phases, kind, .. } = self.groups[group];
        Connection { place: node - self.first_node, phases, kind }
    }

    /// The combined rows of one of `combined_nodes`.
    pub(crate) fn rows_of(&self, node: usize) -> Range<usize> {
        let rows = &self.combined_nodes[node].rows;
        let first = self.first_combined as usize;
        rows.start - first..rows.end - first
    }

    /// The place of one of `combined_nodes`.
    pub(crate) fn place_of_combined(&self, node: usize) -> usize {
        (self.combined_nodes[node].place - self.first_node) as usize
    }

    /// Which of `combined_nodes` a node itself is.
    pub(crate) fn combined_at(&self, place: usize) -> Option<usize> {
        self.combined_above(place).next().filter(|&node| self.place_of_combined(node) == place)
    }

    /// Those of `combined_nodes` that are at or above a node.
    pub(crate) fn combined_above(&self, place: usize) -> impl Iterator<Item = usize> + use<'a> {
        let (nodes, first) = (self.combined_nodes, self.first_combined_node);
        let within = move |node: u32| {
            let node = node.wrapping_sub(first) as usize;
            (node < nodes.len()).then_some(node)
        };
        let nearest = self.nearest_combined.get(place).copied().and_then(within);
        std::iter::successors(nearest, move |&node| within(nodes[node].above))
    }
}

/// Counts were checked to fit when the network was built.
pub(crate) fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}
