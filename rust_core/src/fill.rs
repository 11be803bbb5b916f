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

use std::mem::take;
use std::ops::Range;

use crate::network::NONE;
use crate::round::{Round, Stop, add};
use crate::units::{CURRENT_MAX_MA, PHASES, fine, level_from, whole_ma};

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

    /// A leaf with `weight` on `phases` that holds `current`, waiting or growing, holds `reached`
    /// for good.
    fn settle(&mut self, phases: u8, weight: i64, stage: Stage, current: i64, reached: i64) {
        let (grew, held) = if stage == Stage::Growing { (weight, 0) } else { (0, current) };
        add(&mut self.open, phases, -weight);
        add(&mut self.grow, phases, -grew);
        add(&mut self.base, phases, reached - held);
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
    /// The leaves on this very node.
    slots: Range<usize>,
    child: u32,
    sibling: u32,
}

impl Branch {
    const NOTHING: Self = Self {
        level: 0,
        calm: 0,
        own: Load::NOTHING,
        all: Load::NOTHING,
        limit: [0; PHASES],
        slots: 0..0,
        child: NONE,
        sibling: NONE,
    };

    /// The highest level, up to `target`, that the node's own rows are sure to carry.
    fn sure(&self, target: i64) -> i64 {
        let mut sure = target;
        for phase in 0..PHASES {
            let (grow, open) = (self.all.grow[phase], self.all.open[phase]);
            let room = self.limit[phase] - self.all.base[phase] - grow * self.level;
            if open == 0
                || self.limit[phase] == i64::MAX
                || room >= open.saturating_mul(sure - self.level)
            {
                continue;
            }
            // Leaves that reach their maximum bend the load down only, so this holds throughout.
            let bound = self.level + room / open;
            // This may be higher, and holds as long as the load is the line it is now.
            let line = if grow == 0 { i64::MAX } else { self.level + room / grow };
            sure = sure.min(bound.max(line.min(self.all.kink - 1)));
        }
        sure
    }
}

/// Where a rising leaf is in the sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Its share is still below what it has.
    Waiting,
    /// Draws `weight * level`.
    Growing,
    Stopped,
}

/// A sweep; slot by slot in the order of the rising leaves, which is that of their nodes.
struct Sweep<'a, 'b> {
    round: &'a mut Round<'b>,
    leaves: &'a [u32],
    branches: Vec<Branch>,
    stage: Vec<Stage>,
    /// The level at which the leaf starts to grow, or reaches its maximum; `i64::MAX` if stopped.
    turn: Vec<i64>,
    /// What the leaf has reached once it is stopped, in level units.
    reached: &'a mut Vec<i64>,
}

/// Memory of sweeps.
#[derive(Debug, Default)]
pub(crate) struct FillSpace {
    branches: Vec<Branch>,
    stage: Vec<Stage>,
    turn: Vec<i64>,
}

/// Raise `leaves` (ascending) from what they have, as far as rows and their maximums allow. Writes
/// what each `reached`, in level units, and notes on every leaf the first row to stop it.
pub(crate) fn fill(round: &mut Round<'_>, leaves: &[u32], reached: &mut Vec<i64>) {
    let mut space = take(&mut round.workspace.fill);
    space.branches.clear();
    space.branches.resize(round.network.nodes(), Branch::NOTHING);
    space.stage.clear();
    space.stage.resize(leaves.len(), Stage::Waiting);
    space.turn.clear();
    reached.clear();
    reached.resize(leaves.len(), 0);
    let FillSpace { branches, stage, turn } = space;
    let mut sweep = Sweep { round, leaves, branches, stage, turn, reached };
    sweep.place_leaves();
    for root in sweep.join_branches() {
        sweep.advance(root, TOP);
    }
    let Sweep { round, branches, stage, turn, .. } = sweep;
    round.workspace.fill = FillSpace { branches, stage, turn };
}

impl Sweep<'_, '_> {
    /// Put every leaf on its node, waiting.
    fn place_leaves(&mut self) {
        for (slot, &place) in self.leaves.iter().enumerate() {
            let leaf = &self.round.leaves[place as usize];
            let branch = &mut self.branches[self.round.network.leaf_node[place as usize] as usize];
            if branch.slots.is_empty() {
                branch.slots = slot..slot;
            }
            branch.slots.end = slot + 1;
            let has = fine(i64::from(leaf.current_ma));
            self.turn.push(level_from(has, leaf.weight));
            add(&mut branch.own.base, leaf.phases, has);
            add(&mut branch.own.open, leaf.phases, i64::from(leaf.weight));
            // Holds the sum of the maximums until the room is known.
            add(&mut branch.limit, leaf.phases, i64::from(leaf.max_ma));
        }
    }

    /// Join the nodes that have rising leaves below them, at level 0. Returns the roots.
    fn join_branches(&mut self) -> Vec<usize> {
        let network = self.round.network;
        let mut roots = Vec::new();
        for at in (0..network.nodes()).rev() {
            // The parent stands before its children, so these are all joined by now.
            if self.branches[at].child == NONE && self.branches[at].slots.is_empty() {
                continue;
            }
            self.move_own(at, 0);
            self.sum_up(at, 0);
            let branch = &mut self.branches[at];
            let most_ma = branch.limit;
            for (phase, limit) in branch.limit.iter_mut().enumerate() {
                let most = fine(self.round.room_ma[at][phase]) + branch.all.base[phase];
                *limit = if whole_ma(most) >= *limit { i64::MAX } else { most };
            }
            branch.calm = branch.sure(branch.calm);
            let up = network.parent[at];
            if up == NONE {
                roots.push(at);
                continue;
            }
            self.branches[at].sibling = self.branches[up as usize].child;
            let above = &mut self.branches[up as usize];
            above.child = u32::try_from(at).unwrap_or(NONE);
            for (sum, most) in above.limit.iter_mut().zip(most_ma) {
                *sum += most;
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
                    self.stop_below(at, phase, Stop::row(at, phase), level);
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
        for slot in branch.slots.clone() {
            let leaf = &self.round.leaves[self.leaves[slot] as usize];
            if self.turn[slot] <= level && leaf.phases >> phase & 1 == 1 {
                let share = i64::from(leaf.weight) * level;
                let counted = match self.stage[slot] {
                    Stage::Growing => share,
                    _ => fine(i64::from(leaf.current_ma)),
                };
                load += share.min(fine(i64::from(leaf.max_ma))) - counted;
            }
        }
        let mut child = branch.child;
        while child != NONE {
            load += self.load_at(child as usize, phase, level);
            child = self.branches[child as usize].sibling;
        }
        load
    }

    /// Everyone on a phase below a node stays at `level`, because of the row `stop`.
    fn stop_below(&mut self, at: usize, phase: usize, stop: Stop, level: i64) {
        if self.branches[at].all.open[phase] == 0 {
            return;
        }
        let mut child = self.branches[at].child;
        while child != NONE {
            self.stop_below(child as usize, phase, stop, level);
            child = self.branches[child as usize].sibling;
        }
        let branch = &mut self.branches[at];
        let mut kink = i64::MAX;
        let slots = branch.slots.clone();
        let turns = self.turn[slots.clone()].iter_mut().zip(&mut self.stage[slots.clone()]);
        let places = self.reached[slots.clone()].iter_mut().zip(&self.leaves[slots]);
        for ((turn, stage), (reached, &place)) in turns.zip(places) {
            let leaf = self.round.leaves[place as usize];
            if *stage == Stage::Stopped || leaf.phases >> phase & 1 == 0 {
                kink = kink.min(*turn);
                continue;
            }
            let weight = i64::from(leaf.weight);
            let has = fine(i64::from(leaf.current_ma));
            *reached = if *stage == Stage::Growing { weight * level } else { has };
            branch.own.settle(leaf.phases, weight, *stage, has, *reached);
            *stage = Stage::Stopped;
            *turn = i64::MAX;
            self.round.note_stop(place as usize, stop);
        }
        branch.own.kink = kink;
        self.refresh(at, level);
    }

    /// Bring the leaves on this very node to `level`, which its rows carry.
    fn move_own(&mut self, at: usize, level: i64) {
        let branch = &mut self.branches[at];
        if level < branch.own.kink && level > 0 {
            return;
        }
        let mut kink = i64::MAX;
        let slots = branch.slots.clone();
        let turns = self.turn[slots.clone()].iter_mut().zip(&mut self.stage[slots.clone()]);
        let places = self.reached[slots.clone()].iter_mut().zip(&self.leaves[slots]);
        for ((turn, stage), (reached, &place)) in turns.zip(places) {
            if *turn > level {
                kink = kink.min(*turn);
                continue;
            }
            let leaf = &self.round.leaves[place as usize];
            let (weight, most) = (i64::from(leaf.weight), fine(i64::from(leaf.max_ma)));
            let has = fine(i64::from(leaf.current_ma));
            let grows = *stage == Stage::Growing;
            let full = if grows { *turn } else { level_from(most, leaf.weight) };
            if full <= level {
                branch.own.settle(leaf.phases, weight, *stage, has, most);
                *stage = Stage::Stopped;
                *turn = i64::MAX;
                *reached = most;
            } else {
                add(&mut branch.own.base, leaf.phases, -has);
                add(&mut branch.own.grow, leaf.phases, weight);
                *stage = Stage::Growing;
                *turn = full;
                kink = kink.min(full);
            }
        }
        branch.own.kink = kink;
    }

    /// Note what all draw below a node whose children are at `level`, and its calm level.
    fn refresh(&mut self, at: usize, level: i64) {
        self.sum_up(at, level);
        let branch = &mut self.branches[at];
        branch.calm = branch.sure(branch.calm);
    }

    /// As [`refresh`](Self::refresh), before the limits of the node's own rows are known.
    fn sum_up(&mut self, at: usize, level: i64) {
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
        branch.calm = calm.min(all.kink - 1);
    }
}
