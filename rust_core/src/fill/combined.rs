//! Combined rows in a sweep. Sums by kind are not kept with the branches, since few nodes have such
//! rows: they are taken over all groups below when they are needed.

use super::Sweep;
use crate::combined::{ByKind, CombinedRow};
use crate::network::NONE;
use crate::round::Bound;
use crate::units::KINDS;

impl<const COMBINED: bool> Sweep<'_, '_, COMBINED> {
    /// Take what rising leaves have, at level 0, from what is known to be drawn below a node.
    pub(super) fn leave_others(&mut self, at: usize) {
        let part = self.round.part;
        let Some(node) = part.combined_at(at) else {
            return;
        };
        for group in &self.groups[part.groups_on(part.below(at))] {
            self.others[node][usize::from(group.kind)] -= group.base;
        }
    }

    /// As [`sure`](Self::sure), for the node's combined rows alone.
    pub(super) fn sure_combined(&self, at: usize, target: i64) -> i64 {
        let part = self.round.part;
        let Some(node) = part.combined_at(at) else {
            return target;
        };
        let level = self.branches[at].level;
        let (mut now, mut grow, mut open) = (self.others[node], [0; KINDS], [0; KINDS]);
        let mut kink = i64::MAX;
        for group in &self.groups[part.groups_on(part.below(at))] {
            let of = usize::from(group.kind);
            now[of] += group.base + group.grow * level;
            grow[of] += group.grow;
            open[of] += group.open;
            kink = kink.min(group.kink);
        }
        let mut sure = target;
        for (_, row, limit) in self.round.combined_rows(node) {
            if is_any(row, &open) {
                let bound = level + row.bears(limit, &now, &open, sure - level);
                let line = row.bears(limit, &now, &grow, sure.min(kink - 1) - level);
                sure = sure.min(bound.max(level + line));
            }
        }
        sure
    }

    /// The first combined row of the node that cannot carry everyone below at `level`.
    pub(super) fn first_full_combined(&self, at: usize, level: i64) -> Option<usize> {
        let part = self.round.part;
        let node = part.combined_at(at)?;
        let (mut then, mut open) = (self.others[node], [0; KINDS]);
        for group in &self.groups[part.groups_on(part.below(at))] {
            then[usize::from(group.kind)] += group.load_at(&self.slots, level);
            open[usize::from(group.kind)] += group.open;
        }
        let full = |(_, row, limit): &(usize, &CombinedRow, u128)| {
            is_any(row, &open) && row.is_over_fine(&then, *limit)
        };
        self.round.combined_rows(node).find(full).map(|(row, ..)| row)
    }

    /// Everyone of some kinds below a node stays where `bound` says.
    pub(super) fn stop_kinds_below(&mut self, at: usize, kinds: u16, bound: Bound) {
        let mut child = self.branches[at].child;
        while child != NONE {
            self.stop_kinds_below(child as usize, kinds, bound);
            child = self.branches[child as usize].sibling;
        }
        let of = self.groups_of(at);
        for group in &mut self.groups[of] {
            if kinds >> group.kind & 1 == 1 && group.open > 0 {
                group.stop(bound);
            }
        }
        self.refresh(at, bound.level);
    }
}

/// Whether some of what a row counts is not stopped.
fn is_any(row: &CombinedRow, open: &ByKind) -> bool {
    open.iter().enumerate().any(|(kind, &open)| open > 0 && row.kinds >> kind & 1 == 1)
}
