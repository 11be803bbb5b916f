//! Weighted max-min by event-driven progressive filling.
//!
//! One level rises for everyone; a leaf draws `weight * level`, clamped to what it has and its
//! maximum. When a row cannot carry everyone below it at the next level, they stay at this one.
//! One- and three-phase leaves share rows without being nested, so the curves of a subtree cannot
//! be merged into one that its parent could use; what does nest is *time*: until a row further up
//! is full, a subtree can be swept on its own. So every node knows two levels, both exact integers:
//!
//! - a *sure* level that its own rows carry whatever happens below, from the load now and the
//!   slope of everyone not yet stopped (leaves only ever stop, so the bound can only grow);
//! - a *calm* level up to which nothing at all happens in its subtree, where its load is a line.
//!
//! A node advances its children to its sure level, computes a new one from what they then draw,
//! and so on until it is full or at its own target; a subtree that stays calm costs nothing. Rows
//! that cannot carry the same level are taken from the root downwards, L1 first, each with what
//! the ones before it have stopped: an order that no numbering of nodes or connectors changes.

use crate::allocate::{Round, Stop};
use crate::network::NONE;
use crate::units::{CURRENT_MAX_MA, PHASES, fine, level_from};

/// A level at which everyone is at the maximum.
const TOP: i64 = fine(CURRENT_MAX_MA) + 1;

/// The load of some leaves on three phases: `base + grow * level`, until `kink`.
#[derive(Debug, Clone, Copy)]
struct Load {
    base: [i64; PHASES],
    /// Weights of those that grow now.
    grow: [i64; PHASES],
    /// Weights of those not stopped: the growing ones, and the ones whose share is still below
    /// what they have.
    open: [i64; PHASES],
    /// First level at which somebody starts to grow or reaches the maximum.
    kink: i64,
}

impl Load {
    const NOTHING: Self =
        Self { base: [0; PHASES], grow: [0; PHASES], open: [0; PHASES], kink: i64::MAX };

    fn add(&mut self, other: &Self) {
        for phase in 0..PHASES {
            self.base[phase] += other.base[phase];
            self.grow[phase] += other.grow[phase];
            self.open[phase] += other.open[phase];
        }
        self.kink = self.kink.min(other.kink);
    }

    /// Change the line of one leaf's phases.
    fn shift(&mut self, phases: u8, base: i64, grow: i64, open: i64) {
        for phase in 0..PHASES {
            let on = i64::from(phases >> phase & 1);
            self.base[phase] += on * base;
            self.grow[phase] += on * grow;
            self.open[phase] += on * open;
        }
    }
}

/// A node with rising leaves below it.
#[derive(Debug, Clone)]
struct Branch {
    /// Everyone below is at this level; children may lag behind while they are calm.
    level: i64,
    calm: i64,
    /// The leaves on this very node.
    own: Load,
    /// All leaves below.
    all: Load,
    /// The most each row may carry for the rising leaves; `i64::MAX` if they can never fill it.
    limit: [i64; PHASES],
    /// Slots of the leaves on this very node that are not stopped.
    first: usize,
    count: usize,
    child: u32,
    sibling: u32,
}

impl Branch {
    /// The highest level, up to `target`, that the node's own rows are sure to carry.
    fn sure(&self, target: i64) -> i64 {
        let mut sure = target;
        for phase in 0..PHASES {
            let (grow, open) = (self.all.grow[phase], self.all.open[phase]);
            if open == 0 || self.limit[phase] == i64::MAX {
                continue;
            }
            let room = self.limit[phase] - self.all.base[phase] - grow * self.level;
            // Rising leaves that reach their maximum bend the load down only.
            let bound = self.level + room / open;
            let straight = if grow == open || bound >= sure {
                bound
            } else if grow == 0 {
                self.all.kink - 1
            } else {
                (self.level + room / grow).min(self.all.kink - 1)
            };
            sure = sure.min(bound.max(straight));
        }
        sure
    }
}

/// A rising leaf.
#[derive(Debug, Clone, Copy)]
struct Rising {
    /// What it has and its maximum, in level units.
    has: i64,
    most: i64,
    weight: u32,
    /// Position among the rising.
    index: u32,
    phases: u8,
    grows: bool,
}

pub(crate) struct Sweep<'a, 'b> {
    round: &'a mut Round<'b>,
    branches: Vec<Branch>,
    rising: Vec<Rising>,
    /// By slot, the level at which the leaf starts to grow, or reaches its maximum.
    turns: Vec<i64>,
    leaves: &'a [u32],
    reached: Vec<i64>,
}

/// Raise `leaves` (ascending) from what they have, as far as rows and their maximums allow.
/// Returns what each reached, in level units, and notes on every leaf the row that stopped it.
pub(crate) fn fill(round: &mut Round<'_>, leaves: &[u32]) -> Vec<i64> {
    let mut sweep = Sweep::new(round, leaves);
    let roots: Vec<usize> = sweep.plant();
    for root in roots {
        sweep.advance(root, TOP);
    }
    sweep.reached
}

impl<'a, 'b> Sweep<'a, 'b> {
    fn new(round: &'a mut Round<'b>, leaves: &'a [u32]) -> Self {
        let mut rising = Vec::with_capacity(leaves.len());
        let mut turns = Vec::with_capacity(leaves.len());
        for (index, &leaf) in (0..).zip(leaves) {
            let leaf = leaf as usize;
            round.stop[leaf] = Stop::OWN;
            let weight = round.weight[leaf];
            let has = fine(round.current_ma[leaf]);
            turns.push(level_from(has, weight));
            rising.push(Rising {
                has,
                most: fine(round.max_ma[leaf]),
                weight,
                index,
                phases: round.network.leaf_phases[leaf],
                grows: false,
            });
        }
        Self { round, branches: Vec::new(), rising, turns, leaves, reached: vec![0; leaves.len()] }
    }

    /// Lay out the nodes that have rising leaves below them, at level 0. Returns the roots.
    fn plant(&mut self) -> Vec<usize> {
        let network = self.round.network;
        let nothing = Branch {
            level: 0,
            calm: 0,
            own: Load::NOTHING,
            all: Load::NOTHING,
            limit: [0; PHASES],
            first: 0,
            count: 0,
            child: NONE,
            sibling: NONE,
        };
        self.branches = vec![nothing; network.nodes()];
        for (slot, &leaf) in self.leaves.iter().enumerate() {
            let branch = &mut self.branches[network.leaf_node[leaf as usize] as usize];
            if branch.count == 0 {
                branch.first = slot;
            }
            branch.count += 1;
            let rising = &self.rising[slot];
            branch.own.shift(rising.phases, rising.has, 0, i64::from(rising.weight));
            for phase in 0..PHASES {
                // `limit` holds the sum of the maximums until the room is known.
                let most = rising.most * i64::from(rising.phases >> phase & 1);
                branch.limit[phase] = branch.limit[phase].saturating_add(most);
            }
        }
        let mut roots = Vec::new();
        for at in (0..network.nodes()).rev() {
            let up = network.parent[at] as usize;
            let mut most = self.branches[at].limit;
            self.move_own(at, 0);
            if network.parent[at] != NONE {
                for phase in 0..PHASES {
                    let sum = &mut self.branches[up].limit[phase];
                    *sum = sum.saturating_add(most[phase]);
                }
            }
            let mut all = self.branches[at].own;
            let mut child = self.branches[at].child;
            while child != NONE {
                all.add(&self.branches[child as usize].all);
                child = self.branches[child as usize].sibling;
            }
            if all.open == [0; PHASES] {
                continue;
            }
            for phase in 0..PHASES {
                let room = fine(self.round.room_ma[at * PHASES + phase]);
                let limit = room + all.base[phase];
                most[phase] = if limit >= most[phase] { i64::MAX } else { limit };
            }
            self.branches[at].limit = most;
            self.refresh(at, 0);
            if network.parent[at] == NONE {
                roots.push(at);
            } else {
                self.branches[at].sibling = self.branches[up].child;
                self.branches[up].child = u32::try_from(at).unwrap_or(NONE);
            }
        }
        roots
    }

    /// Bring the subtree to level `target`, stopping whom its rows stop on the way.
    fn advance(&mut self, at: usize, target: i64) {
        loop {
            let branch = &mut self.branches[at];
            if target <= branch.calm {
                branch.level = target;
                return;
            }
            let level = branch.level;
            let mut next = branch.sure(target);
            if next == level {
                next += 1;
                if let Some(phase) = self.first_full(at, next) {
                    self.stop_below(at, phase, at * PHASES + phase, level);
                    continue;
                }
            }
            let mut child = self.branches[at].child;
            while child != NONE {
                self.advance(child as usize, next);
                child = self.branches[child as usize].sibling;
            }
            self.move_own(at, next);
            self.refresh(at, next);
        }
    }

    /// The first phase whose row cannot carry everyone below at `level`, the one after this.
    fn first_full(&self, at: usize, level: i64) -> Option<usize> {
        (0..PHASES).find(|&phase| {
            let branch = &self.branches[at];
            branch.limit[phase] != i64::MAX
                && branch.all.open[phase] > 0
                && self.load_at(at, phase, level) > branch.limit[phase]
        })
    }

    /// What everyone below would draw on a phase at `level`, at most one above the present one.
    fn load_at(&self, at: usize, phase: usize, level: i64) -> i64 {
        let branch = &self.branches[at];
        if level < branch.all.kink || branch.all.open[phase] == 0 {
            return branch.all.base[phase] + branch.all.grow[phase] * level;
        }
        let mut load = branch.own.base[phase] + branch.own.grow[phase] * level;
        for slot in branch.first..branch.first + branch.count {
            let rising = &self.rising[slot];
            if rising.phases >> phase & 1 == 1 && self.turns[slot] <= level {
                let share = i64::from(rising.weight) * level;
                let counted = if rising.grows { share } else { rising.has };
                load += share.min(rising.most) - counted;
            }
        }
        let mut child = branch.child;
        while child != NONE {
            load += self.load_at(child as usize, phase, level);
            child = self.branches[child as usize].sibling;
        }
        load
    }

    /// Everyone on a phase below a node stays at `level`, because of `row`.
    fn stop_below(&mut self, at: usize, phase: usize, row: usize, level: i64) {
        if self.branches[at].all.open[phase] == 0 {
            return;
        }
        let mut child = self.branches[at].child;
        while child != NONE {
            self.stop_below(child as usize, phase, row, level);
            child = self.branches[child as usize].sibling;
        }
        let branch = &mut self.branches[at];
        let own = &mut branch.own;
        own.kink = i64::MAX;
        let mut slot = branch.first;
        while slot < branch.first + branch.count {
            let rising = self.rising[slot];
            if rising.phases >> phase & 1 == 0 {
                own.kink = own.kink.min(self.turns[slot]);
                slot += 1;
                continue;
            }
            let weight = i64::from(rising.weight);
            let reached = if rising.grows { weight * level } else { rising.has };
            if rising.grows {
                own.shift(rising.phases, reached, -weight, -weight);
            } else {
                own.shift(rising.phases, 0, 0, -weight);
            }
            self.reached[rising.index as usize] = reached;
            self.round.stop[self.leaves[rising.index as usize] as usize] = Stop::row(row);
            branch.count -= 1;
            self.rising.swap(slot, branch.first + branch.count);
            self.turns.swap(slot, branch.first + branch.count);
        }
        self.refresh(at, level);
    }

    /// Bring the leaves on this very node to `level`, which its rows carry.
    fn move_own(&mut self, at: usize, level: i64) {
        let branch = &mut self.branches[at];
        let own = &mut branch.own;
        if level < own.kink && level > 0 {
            return;
        }
        own.kink = i64::MAX;
        let mut slot = branch.first;
        while slot < branch.first + branch.count {
            let turn = self.turns[slot];
            if turn > level {
                own.kink = own.kink.min(turn);
                slot += 1;
                continue;
            }
            let rising = &mut self.rising[slot];
            let weight = i64::from(rising.weight);
            if !rising.grows {
                rising.grows = true;
                own.shift(rising.phases, -rising.has, weight, 0);
                self.turns[slot] = level_from(rising.most, rising.weight);
                continue;
            }
            own.shift(rising.phases, rising.most, -weight, -weight);
            self.reached[rising.index as usize] = rising.most;
            branch.count -= 1;
            self.rising.swap(slot, branch.first + branch.count);
            self.turns.swap(slot, branch.first + branch.count);
        }
    }

    /// Sum up the load below a node whose children are all at `level`, and find its calm level.
    fn refresh(&mut self, at: usize, level: i64) {
        let mut all = self.branches[at].own;
        let mut calm = i64::MAX;
        let mut child = self.branches[at].child;
        while child != NONE {
            let below = &self.branches[child as usize];
            all.add(&below.all);
            calm = calm.min(below.calm);
            child = below.sibling;
        }
        let branch = &mut self.branches[at];
        branch.all = all;
        branch.level = level;
        branch.calm = branch.sure(calm.min(all.kink - 1));
    }
}
