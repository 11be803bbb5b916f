//! Whole steps: what a station accepts, and who gets what rounding left over.

use std::cmp::Reverse;
use std::hint::select_unpredictable;
use std::mem::{swap, take};

use crate::fill::GroupLoad;
use crate::outcome::Reason;
use crate::part::index;
use crate::round::{Leaf, Round, narrow};
use crate::setpoints::Setpoints;
use crate::units::{fine, whole_ma};

/// Memory of handing out steps.
#[derive(Debug, Default)]
pub(crate) struct StepSpace {
    /// What each rising leaf lost by being rounded down, in level units.
    lost: Vec<i64>,
    /// What rounding down left more than before to all rising leaves up to each.
    given_ma: Vec<i64>,
    /// By leaf place, how much more the next current is that a rising leaf accepts; 0 at its
    /// maximum.
    next_ma: Vec<u32>,
    group_room_ma: Vec<u32>,
    /// Indices in `rising` of those for whom there is room.
    fitting: Vec<u32>,
    candidates: Vec<Candidate>,
    keys: Vec<u64>,
    sorted: Vec<u64>,
    steps: Vec<Step>,
}

/// One that may go up a step: those that lost most come first, equal ones by rank, then index.
type Candidate = (Reverse<i64>, i64, u32);

/// What it takes to raise a leaf.
#[derive(Debug)]
struct Step {
    place: u32,
    group: u32,
    more_ma: u32,
    /// What the leaf then has, and how much more its next current then is.
    raised_ma: u32,
    next_ma: u32,
}

/// Bring `rising` from what filling reached to currents that they accept, and keep those of them
/// that can still go up a step.
pub(crate) fn whole_steps(round: &mut Round<'_>, rising: &mut Vec<u32>) {
    let mut space = take(&mut round.scratch.steps);
    space.next_ma.resize(round.leaves.len(), 0);
    round_down(round, rising, &mut space);
    list_candidates(round, rising, &mut space);
    sort(&mut space);
    raise_by_step(round, rising, &mut space);
    round.scratch.steps = space;
}

/// Note for all of `rising` what stopped them, after the first filling of their tier.
///
/// The first row that stops a leaf is what it is told: where the crumbs of rounding are handed out
/// later, other rows may fill, but they are not why its share is what it is.
pub(crate) fn note_bounds(round: &mut Round<'_>, rising: &[u32]) {
    for group in &round.scratch.fill.groups {
        let places = &rising[group.slots()];
        let Some(&first) = places.first() else {
            continue;
        };
        let (level, bound) = (group.bound().level, round.part.network_place(first));
        round.bounds[first as usize] = group.bound();
        for &place in places {
            let leaf = &mut round.leaves[place as usize];
            let at_minimum = i64::from(leaf.weight) * level <= fine(i64::from(leaf.current_ma));
            leaf.reason = select_unpredictable(at_minimum, Reason::Minimum, Reason::Share);
            leaf.bound = bound;
        }
    }
}

/// Give every one of `rising` the largest current it accepts up to what it reached.
fn round_down(round: &mut Round<'_>, rising: &[u32], space: &mut StepSpace) {
    let groups = take(&mut round.scratch.fill.groups);
    space.lost.clear();
    space.given_ma.clear();
    space.given_ma.push(0);
    let mut given_ma = 0;
    let given = &mut space.given_ma;
    space.lost.extend(rising.iter().map(|&place| {
        let at = place as usize;
        let group = &groups[round.part.group_of(at)];
        let leaf = &mut round.leaves[at];
        let had_ma = leaf.current_ma;
        let lost = accept(leaf, &round.setpoints, group, &mut space.next_ma[at]);
        given_ma += i64::from(leaf.current_ma - had_ma);
        given.push(given_ma);
        lost
    }));
    round.give_groups(groups.iter().map(|group| {
        let slots = group.slots();
        space.given_ma[slots.end] - space.given_ma[slots.start]
    }));
    round.scratch.fill.groups = groups;
}

/// Round a leaf down, and say how much it lost by that, in level units.
fn accept(leaf: &mut Leaf, setpoints: &Setpoints<'_>, group: &GroupLoad, next_ma: &mut u32) -> i64 {
    let max_ma = i64::from(leaf.max_ma);
    let share = group.share(leaf);
    // Nobody can foretell who is at the maximum, so that is the one thing not to branch on: what
    // follows is worked out for everyone, and means nothing for those.
    let at_max = whole_ma(share) >= max_ma;
    let whole = narrow(whole_ma(share) & i64::from(u32::MAX));
    let (down, up) = setpoints.around(leaf.accepts, whole);
    // What it has already is accepted, so it is never lowered.
    let below_max = i64::from(down.max(leaf.current_ma));
    let accepted = select_unpredictable(at_max, max_ma, below_max);
    let most_ma = select_unpredictable(at_max, i64::MAX, max_ma);
    let next = up.min(most_ma) - accepted;
    *next_ma = narrow(select_unpredictable(at_max, 0, next));
    leaf.current_ma = narrow(accepted);
    leaf.reason = select_unpredictable(at_max, Reason::Maximum, leaf.reason);
    select_unpredictable(at_max, 0, share - fine(accepted))
}

/// Those for whom there is room now.
fn list_candidates(round: &mut Round<'_>, rising: &[u32], space: &mut StepSpace) {
    round.find_group_room(&mut space.group_room_ma);
    let part = round.part;
    // Written in any case and counted if wanted, since nobody can foretell who is.
    space.fitting.resize(rising.len(), 0);
    let mut count = 0;
    for (slot, &place) in (0..).zip(rising) {
        let next_ma = space.next_ma[place as usize];
        let room_ma = space.group_room_ma[part.group_of(place as usize)];
        space.fitting[count] = slot;
        count += usize::from(may_step(next_ma, room_ma));
    }
    space.candidates.clear();
    space.candidates.extend(space.fitting[..count].iter().map(|&slot| {
        let at = part.leaf_at[rising[slot as usize] as usize];
        (Reverse(space.lost[slot as usize]), round.side.demand.rank[at as usize], at)
    }));
}

/// Whether there is a next current, and room for it; 0, for no next one, wraps beyond any room.
fn may_step(next_ma: u32, room_ma: u32) -> bool {
    next_ma.wrapping_sub(1) < room_ma
}

/// Put the candidates in order.
///
/// Where what was lost, rank and index fit in 64 bits together, as they do unless ranks or steps
/// are far apart, the order is that of whole numbers, which needs no comparison.
fn sort(space: &mut StepSpace) {
    let StepSpace { candidates, keys, sorted, .. } = space;
    let Some(packing) = Packing::of(candidates) else {
        candidates.sort_unstable();
        return;
    };
    keys.clear();
    keys.extend(candidates.iter().map(|candidate| packing.pack(candidate)));
    sort_keys(keys, sorted, packing.index_bits);
    for (candidate, &key) in candidates.iter_mut().zip(keys.iter()) {
        candidate.2 = packing.index(key);
    }
}

/// How a candidate is written as one number: what was lost less than the most, then the rank above
/// the least, then the index.
struct Packing {
    most_lost: i64,
    least_rank: i64,
    rank_bits: u32,
    index_bits: u32,
}

impl Packing {
    fn of(candidates: &[Candidate]) -> Option<Self> {
        let (mut least_lost, mut most_lost) = (i64::MAX, 0);
        let (mut least_rank, mut most_rank, mut most_at) = (i64::MAX, i64::MIN, 0);
        for &(Reverse(lost), rank, at) in candidates {
            (least_lost, most_lost) = (lost.min(least_lost), lost.max(most_lost));
            (least_rank, most_rank) = (rank.min(least_rank), rank.max(most_rank));
            most_at = at.max(most_at);
        }
        let bits = |most: u64| u64::BITS - most.leading_zeros();
        let rank_bits = bits(most_rank.checked_sub(least_rank)?.unsigned_abs());
        let index_bits = bits(u64::from(most_at));
        let lost_bits = bits(most_lost.abs_diff(least_lost));
        (lost_bits + rank_bits + index_bits <= u64::BITS).then_some(Self {
            most_lost,
            least_rank,
            rank_bits,
            index_bits,
        })
    }

    fn pack(&self, &(Reverse(lost), rank, at): &Candidate) -> u64 {
        let less = self.most_lost.abs_diff(lost);
        let above = rank.abs_diff(self.least_rank);
        (less << self.rank_bits | above) << self.index_bits | u64::from(at)
    }

    fn index(&self, key: u64) -> u32 {
        u32::try_from(key & ((1 << self.index_bits) - 1)).unwrap_or(u32::MAX)
    }
}

/// Sort by distribution on the bits above the lowest `tail_bits`, eleven at a time, then those that
/// are equal there by comparison.
fn sort_keys(keys: &mut Vec<u64>, sorted: &mut Vec<u64>, tail_bits: u32) {
    const DIGIT_BITS: u32 = 11;
    const DIGITS: usize = 1 << DIGIT_BITS;
    if keys.len() < DIGITS / 4 {
        keys.sort_unstable();
        return;
    }
    let bits = u64::BITS - keys.iter().fold(0, |all, key| all | key).leading_zeros();
    sorted.resize(keys.len(), 0);
    let mut shift = tail_bits;
    while shift < bits {
        let digit = |key: u64| usize::try_from(key >> shift).unwrap_or(0) % DIGITS;
        let mut next = [0_u32; DIGITS];
        for &key in keys.iter() {
            next[digit(key)] += 1;
        }
        let mut sum = 0;
        for count in &mut next {
            (sum, *count) = (sum + *count, sum);
        }
        for &key in keys.iter() {
            let slot = &mut next[digit(key)];
            sorted[*slot as usize] = key;
            *slot += 1;
        }
        swap(keys, sorted);
        shift += DIGIT_BITS;
    }
    for equal in keys.chunk_by_mut(|one, next| one >> tail_bits == next >> tail_bits) {
        if equal.len() > 1 {
            equal.sort_unstable();
        }
    }
}

/// Let each candidate go up one step if its rows have the room, and keep those of `rising` that can
/// then go up another.
fn raise_by_step(round: &mut Round<'_>, rising: &mut Vec<u32>, space: &mut StepSpace) {
    let part = round.part;
    // Nobody comes twice, so the steps can be looked up in one go: memory is slow to answer, but
    // answers many at a time, and the checks, one after the other, need not wait for it.
    space.steps.clear();
    space.steps.extend(space.candidates.iter().map(|&(.., at)| {
        let place = part.leaf_place(at);
        let leaf = &round.leaves[place as usize];
        let more_ma = space.next_ma[place as usize];
        let raised_ma = leaf.current_ma + more_ma;
        let up = round.setpoints.after(leaf.accepts, raised_ma).min(i64::from(leaf.max_ma));
        let next_ma = narrow(up - i64::from(raised_ma));
        let group = index(part.group_of(place as usize));
        Step { place, group, more_ma, raised_ma, next_ma }
    }));
    // Room only shrinks, so who has none for this step has none later.
    rising.clear();
    for step in &space.steps {
        let group = &part.groups()[step.group as usize];
        if round.fits(group, i64::from(step.more_ma)) {
            round.give(group, i64::from(step.more_ma));
            let leaf = &mut round.leaves[step.place as usize];
            leaf.current_ma = step.raised_ma;
            let at_max = step.next_ma == 0;
            leaf.reason = select_unpredictable(at_max, Reason::Maximum, Reason::Leftover);
            space.next_ma[step.place as usize] = step.next_ma;
            rising.push(step.place);
        }
    }
    round.find_group_room(&mut space.group_room_ma);
    rising.retain(|&place| {
        let next_ma = space.next_ma[place as usize];
        let group = part.group_of(place as usize);
        may_step(next_ma, space.group_room_ma[group])
            && round.fits_combined(&part.groups()[group], i64::from(next_ma))
    });
    rising.sort_unstable();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Many candidates, with ties in what they lost and in rank, in no order of their indices.
    fn candidates(losses: i64, ranks: i64) -> Vec<Candidate> {
        let count: u32 = 5_000;
        (0..count)
            .map(|at| at * 1_777 % count)
            .map(|at| {
                let drawn = i64::from(at.wrapping_mul(2_654_435_761) >> 8);
                (Reverse(drawn % losses), drawn / 7 % ranks - ranks / 2, at)
            })
            .collect()
    }

    #[test]
    fn candidates_sorted_as_numbers_are_in_the_order_of_comparison() {
        for (losses, ranks) in [(1, 1), (4, 1), (4, 3), (6_553_600, 100_000), (1, 1_000_000)] {
            for kept in [5_000, 700, 100, 1, 0] {
                let mut space =
                    StepSpace { candidates: candidates(losses, ranks), ..StepSpace::default() };
                space.candidates.truncate(kept);
                let mut expected = space.candidates.clone();
                expected.sort_unstable();
                assert!(kept == 0 || Packing::of(&expected).is_some());
                sort(&mut space);
                let order = |sorted: &[Candidate]| -> Vec<u32> {
                    sorted.iter().map(|candidate| candidate.2).collect()
                };
                assert_eq!(order(&space.candidates), order(&expected));
            }
        }
    }

    #[test]
    fn candidates_too_far_apart_for_one_number_are_compared() {
        let mut space =
            StepSpace { candidates: candidates(6_553_600, 100), ..StepSpace::default() };
        space.candidates[0].1 = i64::MIN;
        space.candidates[1].1 = i64::MAX;
        let mut expected = space.candidates.clone();
        expected.sort_unstable();
        assert!(Packing::of(&expected).is_none());
        sort(&mut space);
        assert_eq!(space.candidates, expected);
    }
}
