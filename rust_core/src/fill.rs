//! Weighted max-min by event-driven progressive filling.
//!
//! One level rises for everyone; a leaf draws `weight * level`, clamped to what it has and its
//! maximum. When a row cannot carry everyone below it at the next level, they stay at this one.
//! One- and three-phase leaves share rows without being nested, so the curves of a subtree cannot
//! be merged into one that its parent could use; what does nest is *time*: until a row further up
//! is full, a subtree can be swept on its own. So every node knows two levels, both exact integers:
//!
//! - a *sure* level that its own rows carry whatever happens below: the load follows its line up to
//!   the next kink, and from there on rises by no more than the weights of everyone not yet stopped
//!   (leaves only ever stop, so the bound can only grow);
//! - a *calm* level up to which nothing at all happens in its subtree, where its load is a line.
//!
//! Leaves on one node and the same phases are below the same rows, so one stop stops them all. They
//! are kept as one group, and what each of them reached follows from the level of the group's stop.
//!
//! A node advances its children to its sure level, computes a new one from what they then draw,
//! and so on until it is full or at its own target; a subtree that stays calm costs nothing. Rows
//! that cannot carry the same level are taken from the root downwards, L1 first, each with what
//! the ones before it have stopped: an order that no numbering of nodes or connectors changes.

mod combined;

use std::mem::take;
use std::ops::Range;

use crate::combined::ByKind;
use crate::network::{Group, NONE};
use crate::round::{Bound, Leaf, Round, add};
use crate::units::{COMBINED_MAX, CURRENT_MAX_MA, PHASES, fine, level_from, whole_ma};

/// A level at which everyone is at the maximum.
const TOP: i64 = fine(CURRENT_MAX_MA) + 1;

/// A rising leaf.
///
/// Records of the sweep are aligned so that none lies across more cache lines than it fills.
#[derive(Debug, Clone, Copy)]
#[repr(align(32))]
struct Slot {
    /// First level at which it draws `weight * level`; what it has until then.
    start: i64,
    /// First level at which it is at its maximum.
    full: i64,
    has_ma: u32,
    most_ma: u32,
    weight: u32,
}

impl Slot {
    const NOTHING: Self = Self { start: 0, full: 0, has_ma: 0, most_ma: 0, weight: 0 };

    fn new(leaf: &Leaf) -> Self {
        Self {
            start: level_from(leaf.current_ma, leaf.weight),
            full: level_from(leaf.max_ma, leaf.weight),
            has_ma: leaf.current_ma,
            most_ma: leaf.max_ma,
            weight: u32::from(leaf.weight),
        }
    }
}

/// The rising leaves of one [`Group`], which a row stops together.
#[derive(Debug, Clone)]
#[repr(align(64))]
pub(crate) struct GroupLoad {
    /// What they draw on each of their phases: `base + grow * level`, until `kink`.
    base: i64,
    /// Weights of those that grow now.
    grow: i64,
    /// Weights of those that are not stopped, be it by their maximum: the growing ones, and the
    /// ones whose share is still below what they have.
    open: i64,
    /// First level at which somebody starts to grow or reaches the maximum.
    kink: i64,
    /// What stopped them.
    bound: Bound,
    first_slot: u32,
    end_slot: u32,
    phases: u8,
    kind: u8,
}

impl GroupLoad {
    const NOTHING: Self = Self {
        base: 0,
        grow: 0,
        open: 0,
        kink: i64::MAX,
        bound: Bound { level: TOP, ..Bound::NONE },
        first_slot: 0,
        end_slot: 0,
        phases: 0,
        kind: 0,
    };

    /// What a leaf of this group has reached, in level units, if its maximum is above that.
    pub(crate) fn share(&self, leaf: &Leaf) -> i64 {
        (i64::from(leaf.weight) * self.bound.level).max(fine(i64::from(leaf.current_ma)))
    }

    /// Which of the rising leaves are in the group.
    pub(crate) fn slots(&self) -> Range<usize> {
        self.first_slot as usize..self.end_slot as usize
    }

    /// The row that stopped the group, if one did.
    pub(crate) fn bound(&self) -> Bound {
        self.bound
    }

    /// Bring the group to level 0 with the rising leaves `places`. Returns the sum of the maximums.
    fn start(&mut self, slots: &mut [Slot], places: &[u32], leaves: &[Leaf]) -> i64 {
        let (mut has_ma, mut most_ma) = (0, 0);
        for (slot, &place) in slots.iter_mut().zip(places) {
            *slot = Slot::new(&leaves[place as usize]);
            let waits = -slot.start >> 63;
            has_ma += i64::from(slot.has_ma);
            most_ma += i64::from(slot.most_ma);
            self.grow += i64::from(slot.weight) & !waits;
            self.open += i64::from(slot.weight);
            self.kink = self.kink.min(slot.start & waits | slot.full & !waits);
        }
        self.base = fine(has_ma);
        most_ma
    }

    /// Bring the group to `level`. Summed anew and without a branch, since nobody can foretell who is
    /// where; `waits` and `full` are masks, all bits or none, and never both.
    fn move_to(&mut self, slots: &[Slot], level: i64) {
        let (mut base_ma, mut all, mut waiting, mut done) = (0, 0, 0, 0);
        // How far it is to the next kink after the next level; those behind wrap beyond all others.
        let mut ahead = u64::MAX;
        for slot in &slots[self.slots()] {
            let (since_start, until_full) = (level - slot.start, slot.full - 1 - level);
            let (waits, full) = (since_start >> 63, until_full >> 63);
            base_ma += i64::from(slot.has_ma) & waits;
            base_ma += i64::from(slot.most_ma) & full;
            let weight = i64::from(slot.weight);
            all += weight;
            waiting += weight & waits;
            done += weight & full;
            ahead = ahead.min((!since_start).cast_unsigned()).min(until_full.cast_unsigned());
        }
        self.base = fine(base_ma);
        self.open = all - done;
        self.grow = self.open - waiting;
        self.kink = level.saturating_add_unsigned(ahead).saturating_add(1);
    }

    /// What the group would draw at `level`, at or above the present one.
    fn load_at(&self, slots: &[Slot], level: i64) -> i64 {
        if level < self.kink {
            return self.base + self.grow * level;
        }
        let share = |slot: &Slot| {
            let (has, most) = (fine(i64::from(slot.has_ma)), fine(i64::from(slot.most_ma)));
            (i64::from(slot.weight) * level).max(has).min(most)
        };
        slots[self.slots()].iter().map(share).sum()
    }

    /// Everyone stays where `bound` says.
    fn stop(&mut self, bound: Bound) {
        self.base += self.grow * bound.level;
        (self.grow, self.open, self.kink) = (0, 0, i64::MAX);
        self.bound = bound;
    }
}

/// The load of all groups below a node, on three phases; fields as in [`GroupLoad`].
#[derive(Debug, Clone, Copy)]
struct Load {
    base: [i64; PHASES],
    grow: [i64; PHASES],
    open: [i64; PHASES],
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

    fn add_group(&mut self, group: &GroupLoad) {
        add(&mut self.base, group.phases, group.base);
        add(&mut self.grow, group.phases, group.grow);
        add(&mut self.open, group.phases, group.open);
        self.kink = self.kink.min(group.kink);
    }
}

/// A node with rising leaves below it.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Branch {
    /// Everyone below is at this level, or still at one up to which they are calm.
    level: i64,
    calm: i64,
    /// All leaves below.
    all: Load,
    /// The most each row may carry for the rising leaves; `i64::MAX` if they can never fill it.
    limit: [i64; PHASES],
    child: u32,
    sibling: u32,
}

impl Branch {
    const NOTHING: Self = Self {
        level: 0,
        calm: 0,
        all: Load::NOTHING,
        limit: [0; PHASES],
        child: NONE,
        sibling: NONE,
    };

    /// The highest level, up to `target`, that the node's own rows are sure to carry.
    #[expect(clippy::needless_bitwise_bool, reason = "a wrong guess costs more than both sides")]
    #[inline]
    fn sure(&self, target: i64) -> i64 {
        let mut sure = target;
        // Up to here the load is the line it is now.
        let kink = self.all.kink - 1 - self.level;
        for phase in 0..PHASES {
            let (grow, open) = (self.all.grow[phase], self.all.open[phase]);
            let room = self.limit[phase] - self.all.base[phase] - grow * self.level;
            let far = sure - self.level;
            // One test for all three, since none can be foretold.
            if (open == 0) | (self.limit[phase] == i64::MAX) | (room >= open.saturating_mul(far)) {
                continue;
            }
            let near = kink.min(far);
            let left = room - grow.saturating_mul(near);
            // Beyond the kink it grows by no more than all who are open do, since those that reach
            // their maximum bend it down only.
            let carried = if left < 0 { room / grow } else { near + left / open };
            sure = self.level + carried.min(far);
        }
        sure
    }
}

/// A sweep, of a part with combined rows or without.
struct Sweep<'a, 'b, const COMBINED: bool> {
    round: &'a Round<'b>,
    branches: Vec<Branch>,
    groups: Vec<GroupLoad>,
    /// In the order of the rising leaves, which is that of their groups.
    slots: Vec<Slot>,
    /// What those draw that do not rise, below each node with combined rows.
    others: Vec<ByKind>,
}

/// Memory of sweeps, and what the last one gave.
#[derive(Debug, Default)]
pub(crate) struct FillSpace {
    branches: Vec<Branch>,
    pub(crate) groups: Vec<GroupLoad>,
    slots: Vec<Slot>,
    others: Vec<ByKind>,
}

/// Raise `leaves` (ascending) from what they have, as far as rows and their maximums allow. What
/// they reached is left with their groups.
pub(crate) fn fill(round: &mut Round<'_>, leaves: &[u32]) {
    let mut space = take(&mut round.scratch.fill);
    space.branches.clear();
    space.branches.resize(round.part.nodes(), Branch::NOTHING);
    space.groups.clear();
    let empty =
        |group: &Group| GroupLoad { phases: group.phases, kind: group.kind, ..GroupLoad::NOTHING };
    space.groups.extend(round.part.groups().iter().map(empty));
    round.scratch.fill = if round.part.combined.is_empty() {
        sweep::<false>(round, space, leaves)
    } else {
        let others =
            round.kind_ma.iter().map(|kind_ma| kind_ma.map(|ma| fine(ma.min(COMBINED_MAX))));
        space.others.clear();
        space.others.extend(others);
        sweep::<true>(round, space, leaves)
    };
}

fn sweep<const COMBINED: bool>(round: &Round<'_>, space: FillSpace, leaves: &[u32]) -> FillSpace {
    let FillSpace { branches, groups, slots, others } = space;
    let mut sweep = Sweep::<COMBINED> { round, branches, groups, slots, others };
    sweep.place_leaves(leaves);
    for root in sweep.join_branches() {
        if sweep.branches[root].calm < TOP {
            sweep.advance(root, TOP);
        }
    }
    let Sweep { branches, groups, slots, others, .. } = sweep;
    FillSpace { branches, groups, slots, others }
}

impl<const COMBINED: bool> Sweep<'_, '_, COMBINED> {
    /// Put every leaf in its group, bring the groups to level 0, and add their maximums to what stands
    /// for the limits of their nodes until the room is known.
    fn place_leaves(&mut self, leaves: &[u32]) {
        let part = self.round.part;
        for (slot, &place) in (0..).zip(leaves) {
            self.groups[part.group_of(place as usize)].end_slot = slot + 1;
        }
        self.slots.resize(leaves.len(), Slot::NOTHING);
        let mut start = 0;
        for (group, of) in self.groups.iter_mut().zip(part.groups()) {
            let end = group.end_slot.max(start);
            (group.first_slot, group.end_slot) = (start, end);
            if start == end {
                continue;
            }
            let (slots, places) = (&mut self.slots[group.slots()], &leaves[group.slots()]);
            let most_ma = group.start(slots, places, self.round.leaves);
            add(&mut self.branches[part.node_of(of)].limit, group.phases, most_ma);
            start = end;
        }
    }

    /// The groups on this very node.
    fn groups_of(&self, at: usize) -> Range<usize> {
        self.round.part.groups_on(at..at + 1)
    }

    /// Join the nodes that have rising leaves below them, at level 0. Returns the roots.
    fn join_branches(&mut self) -> Vec<usize> {
        let part = self.round.part;
        let mut roots = Vec::new();
        for at in (0..part.nodes()).rev() {
            // The parent stands before its children, so these are all joined by now. Rising leaves
            // have maximums above 0.
            if self.branches[at].limit == [0; PHASES] {
                continue;
            }
            self.sum_up(at, 0);
            let branch = &mut self.branches[at];
            let most_ma = branch.limit;
            for (phase, limit) in branch.limit.iter_mut().enumerate() {
                let most = fine(self.round.room_ma[at][phase]) + branch.all.base[phase];
                *limit = if whole_ma(most) >= *limit { i64::MAX } else { most };
            }
            if COMBINED {
                self.leave_others(at);
            }
            self.branches[at].calm = self.sure(at, self.branches[at].calm);
            let Some(up) = part.above(at) else {
                roots.push(at);
                continue;
            };
            self.branches[at].sibling = self.branches[up].child;
            let above = &mut self.branches[up];
            above.child = u32::try_from(at).unwrap_or(NONE);
            for (sum, most) in above.limit.iter_mut().zip(most_ma) {
                *sum += most;
            }
        }
        roots
    }

    /// Bring a subtree to level `target`, where it is not calm, stopping whom its rows stop on the
    /// way.
    fn advance(&mut self, at: usize, target: i64) {
        loop {
            let level = self.branches[at].level;
            let mut next = self.sure(at, target);
            if next == level {
                next += 1;
                if self.stop_at_full_row(at, next) {
                    if target <= self.branches[at].calm {
                        return;
                    }
                    continue;
                }
            }
            let mut child = self.branches[at].child;
            while child != NONE {
                if self.branches[child as usize].calm < next {
                    self.advance(child as usize, next);
                }
                child = self.branches[child as usize].sibling;
            }
            if next == target {
                self.refresh(at, next);
                return;
            }
            self.sum_up(at, next);
        }
    }

    /// The highest level, up to `target`, that the node's own rows are sure to carry.
    #[inline]
    fn sure(&self, at: usize, target: i64) -> i64 {
        let sure = self.branches[at].sure(target);
        if COMBINED { self.sure_combined(at, sure) } else { sure }
    }

    /// If a row of the node cannot carry everyone below at `level`, the one after this, stop them.
    fn stop_at_full_row(&mut self, at: usize, level: i64) -> bool {
        if let Some(phase) = self.first_full(at, level) {
            self.stop_below(at, phase, Bound::phase(&self.round.part, at, phase, level - 1));
            return true;
        }
        if !COMBINED {
            return false;
        }
        let Some(row) = self.first_full_combined(at, level) else {
            return false;
        };
        let bound = Bound::combined(&self.round.part, row, level - 1);
        self.stop_kinds_below(at, self.round.part.combined[row].kinds, bound);
        true
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
        let mut load = 0;
        for group in &self.groups[self.groups_of(at)] {
            if group.phases >> phase & 1 == 1 {
                load += group.load_at(&self.slots, level);
            }
        }
        let mut child = branch.child;
        while child != NONE {
            load += self.load_at(child as usize, phase, level);
            child = self.branches[child as usize].sibling;
        }
        load
    }

    /// Everyone on a phase below a node stays where `bound` says.
    fn stop_below(&mut self, at: usize, phase: usize, bound: Bound) {
        if self.branches[at].all.open[phase] == 0 {
            return;
        }
        let mut child = self.branches[at].child;
        while child != NONE {
            self.stop_below(child as usize, phase, bound);
            child = self.branches[child as usize].sibling;
        }
        let of = self.groups_of(at);
        for group in &mut self.groups[of] {
            if group.phases >> phase & 1 == 1 && group.open > 0 {
                group.stop(bound);
            }
        }
        self.refresh(at, bound.level);
    }

    /// Bring the groups on this very node to `level`, which its rows carry and its children are at,
    /// and note what all draw below it, and its calm level.
    fn refresh(&mut self, at: usize, level: i64) {
        self.sum_up(at, level);
        self.branches[at].calm = self.sure(at, self.branches[at].calm);
    }

    /// As [`refresh`](Self::refresh), but the calm level is not yet bounded by the node's own rows.
    fn sum_up(&mut self, at: usize, level: i64) {
        let mut all = Load::NOTHING;
        let mut calm = i64::MAX;
        let of = self.groups_of(at);
        for group in &mut self.groups[of] {
            if group.kink <= level {
                group.move_to(&self.slots, level);
            }
            all.add_group(group);
        }
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
