//! The state of one round, in the order of places, and the ways to read and change it.

use std::mem::take;

use crate::allocate::{Allocation, Demand};
use crate::fill::FillSpace;
use crate::network::{NONE, Network};
use crate::steps::StepSpace;
use crate::units::PHASES;

/// What stops a connector: a row, or nothing but its own maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop(i32);

impl Stop {
    /// Its own maximum, or nothing wanted.
    pub(crate) const OWN: Self = Self(-1);

    /// The row of one phase of the node at a place.
    pub(crate) fn row(place: usize, phase: usize) -> Self {
        Self(i32::try_from(place * PHASES + phase).unwrap_or(i32::MAX))
    }

    /// The caller's index of the row, or -1.
    fn row_index(self, network: &Network) -> i32 {
        let Ok(row) = usize::try_from(self.0) else { return -1 };
        let node = network.node_at[row / PHASES] as usize;
        i32::try_from(node * PHASES + row % PHASES).unwrap_or(i32::MAX)
    }
}

/// A connector in the round. The bounds of inputs leave currents in 32 bits, and small records are
/// what keeps a round in the caches.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) current_ma: u32,
    /// 0 once admission is refused.
    pub(crate) max_ma: u32,
    pub(crate) step_ma: u32,
    pub(crate) weight: u16,
    pub(crate) phases: u8,
    pub(crate) tier: u8,
}

impl Leaf {
    pub(crate) fn may_rise(&self) -> bool {
        self.current_ma < self.max_ma
    }

    /// How much more the next current is that this connector accepts; 0 at its maximum.
    pub(crate) fn next_step(&self) -> u32 {
        (self.step_ma - self.current_ma % self.step_ma).min(self.max_ma - self.current_ma)
    }
}

/// Memory that rounds use again: fresh pages cost as much as the arithmetic. It holds nothing from
/// one round to the next, and any network may use any workspace.
#[derive(Debug, Default)]
pub struct Workspace {
    leaves: Vec<Leaf>,
    room_ma: Vec<[i64; PHASES]>,
    stop: Vec<Stop>,
    pub(crate) rising: Vec<u32>,
    pub(crate) reached: Vec<i64>,
    pub(crate) fill: FillSpace,
    pub(crate) steps: StepSpace,
    node_ma: Vec<[i64; PHASES]>,
}

/// A round in progress.
pub(crate) struct Round<'a> {
    pub(crate) network: &'a Network,
    pub(crate) demand: Demand<'a>,
    pub(crate) leaves: Vec<Leaf>,
    /// What is left on the three rows of each node; never below 0 between the steps.
    pub(crate) room_ma: Vec<[i64; PHASES]>,
    pub(crate) stop: Vec<Stop>,
    /// Leaf places that are not admitted.
    pub(crate) refused: Vec<u32>,
    pub(crate) workspace: &'a mut Workspace,
}

impl<'a> Round<'a> {
    /// Everyone at the minimum, whether that fits or not.
    pub(crate) fn new(
        network: &'a Network,
        capacity_ma: &[i64],
        demand: Demand<'a>,
        workspace: &'a mut Workspace,
    ) -> Self {
        let leaf = |(&at, &phases): (&u32, &u8)| {
            let at = at as usize;
            Leaf {
                current_ma: narrow(demand.min_ma[at]),
                max_ma: narrow(demand.max_ma[at]),
                step_ma: narrow(demand.step_ma[at]),
                weight: u16::try_from(demand.weight[at]).unwrap_or(1),
                phases,
                tier: demand.tier[at],
            }
        };
        let mut leaves = take(&mut workspace.leaves);
        leaves.clear();
        leaves.extend(network.leaf_at.iter().zip(&network.leaf_phases).map(leaf));
        let mut room_ma = take(&mut workspace.room_ma);
        room_ma.clear();
        room_ma.extend(capacity_in_places(network, capacity_ma));
        let load_ma = &mut workspace.node_ma;
        load_ma.clear();
        load_ma.resize(network.nodes(), [0; PHASES]);
        for (leaf, &node) in leaves.iter().zip(&network.leaf_node) {
            add(&mut load_ma[node as usize], leaf.phases, i64::from(leaf.current_ma));
        }
        for place in (0..network.nodes()).rev() {
            let (load, up) = (load_ma[place], network.parent[place]);
            for phase in 0..PHASES {
                room_ma[place][phase] -= load[phase];
                if up != NONE {
                    load_ma[up as usize][phase] += load[phase];
                }
            }
        }
        let mut stop = take(&mut workspace.stop);
        stop.clear();
        stop.resize(leaves.len(), Stop::OWN);
        Self { network, demand, leaves, room_ma, stop, refused: Vec::new(), workspace }
    }

    /// Give `more_ma` (take, where negative) to each phase of `phases` on a node and all above it.
    pub(crate) fn give(&mut self, node: u32, phases: u8, more_ma: i64) {
        let mut place = node;
        while place != NONE {
            add(&mut self.room_ma[place as usize], phases, -more_ma);
            place = self.network.parent[place as usize];
        }
    }

    /// As [`give`](Self::give), with an amount of its own on each phase.
    pub(crate) fn give_each(&mut self, node: u32, more_ma: [i64; PHASES]) {
        let mut place = node;
        while place != NONE {
            for (room, more) in self.room_ma[place as usize].iter_mut().zip(more_ma) {
                *room -= more;
            }
            place = self.network.parent[place as usize];
        }
    }

    /// Whether the rows of `phases` on a node and all above it have room for `more_ma`.
    pub(crate) fn fits(&self, node: u32, phases: u8, more_ma: i64) -> bool {
        let mut place = node;
        while place != NONE {
            if least(&self.room_ma[place as usize], phases) < more_ma {
                return false;
            }
            place = self.network.parent[place as usize];
        }
        true
    }

    /// The first row of a leaf without room for `more_ma`, from its own node upwards, L1 before L2.
    pub(crate) fn blocking(&self, leaf: usize, more_ma: i64) -> Stop {
        let phases = self.leaves[leaf].phases;
        let mut place = self.network.leaf_node[leaf];
        while place != NONE {
            let room = &self.room_ma[place as usize];
            let full = |&phase: &usize| phases >> phase & 1 == 1 && room[phase] < more_ma;
            if let Some(phase) = (0..PHASES).find(full) {
                return Stop::row(place as usize, phase);
            }
            place = self.network.parent[place as usize];
        }
        Stop::OWN
    }

    /// A row stopped a leaf. The first that does is what it is told: where the crumbs of rounding
    /// are handed out later, other rows may fill, but they are not why its share is what it is.
    pub(crate) fn note_stop(&mut self, leaf: usize, stop: Stop) {
        if self.stop[leaf] == Stop::OWN {
            self.stop[leaf] = stop;
        }
    }

    /// Find the least room on each phase from every node up to its root, for
    /// [`may_step`](Self::may_step).
    pub(crate) fn find_room_to_root(&mut self) {
        let room_ma = &mut self.workspace.node_ma;
        room_ma.clone_from(&self.room_ma);
        for place in 0..room_ma.len() {
            let up = self.network.parent[place];
            if up != NONE {
                let above = room_ma[up as usize];
                for (room, above) in room_ma[place].iter_mut().zip(above) {
                    *room = above.min(*room);
                }
            }
        }
    }

    /// Whether a leaf below its maximum had room for a step on all its rows when that was last
    /// found.
    pub(crate) fn may_step(&self, place: u32) -> bool {
        let leaf = &self.leaves[place as usize];
        let room_ma = &self.workspace.node_ma[self.network.leaf_node[place as usize] as usize];
        // One test for both, since neither can be foretold.
        leaf.may_rise() & (least(room_ma, leaf.phases) >= i64::from(leaf.next_step()))
    }

    /// The result, in the caller's order.
    pub(crate) fn finish(self, capacity_ma: &[i64]) -> Allocation {
        let network = self.network;
        let count = network.leaves();
        let mut given = Allocation {
            current_ma: vec![0; count],
            binding_row: vec![-1; count],
            admitted: vec![true; count],
            row_load_ma: vec![0; network.rows()],
        };
        for ((leaf, stop), &at) in self.leaves.iter().zip(&self.stop).zip(&network.leaf_at) {
            given.current_ma[at as usize] = i64::from(leaf.current_ma);
            let stop = if leaf.may_rise() { *stop } else { Stop::OWN };
            given.binding_row[at as usize] = stop.row_index(network);
        }
        for leaf in self.refused {
            let at = network.leaf_at[leaf as usize] as usize;
            given.admitted[at] = false;
            given.binding_row[at] = self.stop[leaf as usize].row_index(network);
        }
        for (room, &node) in self.room_ma.iter().zip(&network.node_at) {
            for (phase, room) in room.iter().enumerate() {
                let row = node as usize * PHASES + phase;
                given.row_load_ma[row] = capacity_ma[row].max(0) - room;
            }
        }
        self.workspace.leaves = self.leaves;
        self.workspace.room_ma = self.room_ma;
        self.workspace.stop = self.stop;
        given
    }
}

/// The least of `values` on `phases`.
pub(crate) fn least(values: &[i64; PHASES], phases: u8) -> i64 {
    let on = |phase: usize| if phases >> phase & 1 == 1 { values[phase] } else { i64::MAX };
    on(0).min(on(1)).min(on(2))
}

/// Add `more` to each of `values` on `phases`.
pub(crate) fn add(values: &mut [i64; PHASES], phases: u8, more: i64) {
    for (phase, value) in values.iter_mut().enumerate() {
        *value += more & -i64::from(phases >> phase & 1);
    }
}

/// A current that was checked to be within bounds.
fn narrow(current_ma: i64) -> u32 {
    u32::try_from(current_ma).unwrap_or(0)
}

fn capacity_in_places<'a>(
    network: &'a Network,
    capacity_ma: &'a [i64],
) -> impl Iterator<Item = [i64; PHASES]> + 'a {
    network.node_at.iter().map(|&node| {
        let row = node as usize * PHASES;
        [capacity_ma[row].max(0), capacity_ma[row + 1].max(0), capacity_ma[row + 2].max(0)]
    })
}
