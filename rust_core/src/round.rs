//! The state of one round, in the order of places, and the ways to read and change it.

use std::hint::select_unpredictable;
use std::mem::take;

use crate::allocate::{Allocation, Demand};
use crate::fill::FillSpace;
use crate::network::{NONE, Network};
use crate::steps::StepSpace;
use crate::units::PHASES;

/// What stops a connector: a row, by the caller's index, or nothing but its own maximum (-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stop(i32);

impl Stop {
    /// Its own maximum, or nothing wanted.
    pub(crate) const OWN: Self = Self(-1);

    /// The row of one phase of the node at a place.
    pub(crate) fn row(network: &Network, place: usize, phase: usize) -> Self {
        let node = network.node_at[place] as usize;
        Self(i32::try_from(node * PHASES + phase).unwrap_or(i32::MAX))
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
}

/// Memory that rounds use again: fresh pages cost as much as the arithmetic. It holds nothing from
/// one round to the next, and any network may use any workspace.
#[derive(Debug, Default)]
pub struct Workspace {
    leaves: Vec<Leaf>,
    room_ma: Vec<[i64; PHASES]>,
    stop: Vec<Stop>,
    pub(crate) rising: Vec<u32>,
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
        for group in &network.groups {
            let below = &leaves[group.first as usize..group.end as usize];
            let sum_ma = below.iter().map(|leaf| i64::from(leaf.current_ma)).sum();
            add(&mut load_ma[group.node as usize], group.phases, sum_ma);
        }
        take_from_room(network, &mut room_ma, load_ma);
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

    /// Give what `more_ma` says of each group, in the order of groups.
    pub(crate) fn give_groups(&mut self, more_ma: impl Iterator<Item = i64>) {
        let node_ma = &mut self.workspace.node_ma;
        node_ma.clear();
        node_ma.resize(self.network.nodes(), [0; PHASES]);
        for (group, more_ma) in self.network.groups.iter().zip(more_ma) {
            add(&mut node_ma[group.node as usize], group.phases, more_ma);
        }
        take_from_room(self.network, &mut self.room_ma, node_ma);
    }

    /// Whether the rows of `phases` on a node and all above it have room for `more_ma`.
    pub(crate) fn fits(&self, node: u32, phases: u8, more_ma: i64) -> bool {
        // Below 0 as soon as one row lacks room.
        let mut sign = 0;
        let mut place = node;
        while place != NONE {
            for (room, on) in self.room_ma[place as usize].iter().zip(ON[usize::from(phases & 7)]) {
                sign |= (room - more_ma) & on;
            }
            place = self.network.parent[place as usize];
        }
        sign >= 0
    }

    /// The first row of a leaf without room for `more_ma`, from its own node upwards, L1 before L2.
    pub(crate) fn blocking(&self, leaf: usize, more_ma: i64) -> Stop {
        let phases = self.leaves[leaf].phases;
        let mut place = self.network.leaf_node[leaf];
        while place != NONE {
            let room = &self.room_ma[place as usize];
            let full = |&phase: &usize| phases >> phase & 1 == 1 && room[phase] < more_ma;
            if let Some(phase) = (0..PHASES).find(full) {
                return Stop::row(self.network, place as usize, phase);
            }
            place = self.network.parent[place as usize];
        }
        Stop::OWN
    }

    /// The least room from the node of every group up to its root, on the phases of the group.
    pub(crate) fn find_group_room(&mut self, group_room_ma: &mut Vec<u32>) {
        let room_ma = &mut self.workspace.node_ma;
        room_ma.clone_from(&self.room_ma);
        for (place, &up) in self.network.parent.iter().enumerate() {
            if up != NONE {
                let above = room_ma[up as usize];
                for (room, above) in room_ma[place].iter_mut().zip(above) {
                    *room = above.min(*room);
                }
            }
        }
        group_room_ma.clear();
        group_room_ma.extend(self.network.groups.iter().map(|group| {
            // No step is larger than what 32 bits hold.
            u32::try_from(least(&room_ma[group.node as usize], group.phases)).unwrap_or(u32::MAX)
        }));
    }

    /// The result, in the caller's order.
    pub(crate) fn finish(self, capacity_ma: &[i64]) -> Allocation {
        let network = self.network;
        let places = || network.place_of.iter().map(|&place| place as usize);
        let current_ma = places().map(|place| i64::from(self.leaves[place].current_ma)).collect();
        let binding_row = places().map(|place| {
            select_unpredictable(self.leaves[place].may_rise(), self.stop[place], Stop::OWN).0
        });
        let mut given = Allocation {
            current_ma,
            binding_row: binding_row.collect(),
            admitted: vec![true; network.leaves()],
            row_load_ma: vec![0; network.rows()],
        };
        for leaf in self.refused {
            let at = network.leaf_at[leaf as usize] as usize;
            given.admitted[at] = false;
            given.binding_row[at] = self.stop[leaf as usize].0;
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

/// Take what is drawn on each node from its room and from that of all above it.
fn take_from_room(network: &Network, room_ma: &mut [[i64; PHASES]], load_ma: &mut [[i64; PHASES]]) {
    for place in (0..network.nodes()).rev() {
        let (load, up) = (load_ma[place], network.parent[place]);
        for phase in 0..PHASES {
            room_ma[place][phase] -= load[phase];
        }
        if up != NONE {
            for phase in 0..PHASES {
                load_ma[up as usize][phase] += load[phase];
            }
        }
    }
}

/// The least of `values` on `phases`.
pub(crate) fn least(values: &[i64; PHASES], phases: u8) -> i64 {
    let [l1, l2, l3] = ON[usize::from(phases & 7)];
    let on = |value: i64, on: i64| value & on | i64::MAX & !on;
    on(values[0], l1).min(on(values[1], l2)).min(on(values[2], l3))
}

/// A mask for each phase of each set of phases.
static ON: [[i64; PHASES]; 8] = [
    [0, 0, 0],
    [-1, 0, 0],
    [0, -1, 0],
    [-1, -1, 0],
    [0, 0, -1],
    [-1, 0, -1],
    [0, -1, -1],
    [-1, -1, -1],
];

/// Add `more` to each of `values` on `phases`.
pub(crate) fn add(values: &mut [i64; PHASES], phases: u8, more: i64) {
    for (value, on) in values.iter_mut().zip(ON[usize::from(phases & 7)]) {
        *value += more & on;
    }
}

/// A current that was checked to be within bounds; the mask spares checking it again.
pub(crate) fn narrow(current_ma: i64) -> u32 {
    u32::try_from(current_ma & i64::from(u32::MAX)).unwrap_or(0)
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
