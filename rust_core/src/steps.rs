//! Whole steps: what a station accepts, and who gets what rounding left over.

use std::cmp::Reverse;
use std::hint::select_unpredictable;
use std::mem::{swap, take};

use crate::fill::GroupLoad;
use crate::outcome::Reason;
use crate::part::Connection;
use crate::round::{Leaf, Round, narrow};
use crate::setpoints::Setpoints;
use crate::units::{fine, whole_ma};

/// Memory of handing out steps.
#[derive(Debug, Default)]
pub(crate) struct StepSpace {
    rounded: Vec<Rounded>,
    /// By group, what rounding down left more than before.
    group_ma: Vec<i64>,
    group_room_ma: Vec<u32>,
    /// Indices in `rising` of those for whom there is room.
    fitting: Vec<u32>,
    candidates: Vec<Candidate>,
    /// What it takes to raise each of the candidates.
    steps: Vec<Step>,
    /// The same in the order in which they are raised.
    ordered: Vec<Step>,
    keys: Vec<u64>,
    sorted: Vec<u64>,
}

/// What rounding down did to a rising leaf.
#[derive(Debug, Clone, Copy)]
struct Rounded {
    /// In level units; means nothing for those at their maximum.
    lost: i64,
    /// How much more the next current is that the leaf accepts; 0 at its maximum.
    next_ma: u32,
}

impl Rounded {
    const NOTHING: Self = Self { lost: 0, next_ma: 0 };
}

/// One that may go up a step: those that lost most come first, equal ones by rank, then index.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    lost: i64,
    rank: i64,
    at: u32,
}

impl Candidate {
    const NOTHING: Self = Self { lost: 0, rank: 0, at: 0 };

    fn order(&self) -> (Reverse<i64>, i64, u32) {
        (Reverse(self.lost), self.rank, self.at)
    }
}

/// What it takes to raise a leaf.
#[derive(Debug, Clone, Copy)]
struct Step {
    place: u32,
    /// 0 once there was no room for it.
    more_ma: u32,
    at: Connection,
}

impl Step {
    const NOTHING: Self = Self { place: 0, more_ma: 0, at: Connection::NOWHERE };
}

/// Bring `rising` from what filling reached to currents that they accept, and keep those of them
/// that can still go up a step. The `first` time in a tier, what stopped each is noted.
pub(crate) fn whole_steps(round: &mut Round<'_>, rising: &mut Vec<u32>, first: bool) {
    let mut space = take(&mut round.scratch.steps);
    round_down(round, rising, &mut space, first);
    list_candidates(round, rising, &mut space);
    let index_bits = sort(&mut space);
    raise_by_step(round, &mut space, index_bits);
    keep_rising(round, rising, &mut space);
    round.scratch.steps = space;
}

/// Give every one of `rising` the largest current it accepts up to what it reached.
///
/// The first row that stops a leaf is what it is told: where the crumbs of rounding are handed out
/// later, other rows may fill, but they are not why its share is what it is.
fn round_down(round: &mut Round<'_>, rising: &[u32], space: &mut StepSpace, first: bool) {
    let groups = take(&mut round.scratch.fill.groups);
    let StepSpace { rounded, group_ma, .. } = space;
    rounded.resize(rising.len(), Rounded::NOTHING);
    group_ma.clear();
    group_ma.extend(groups.iter().map(|group| {
        let mut given_ma = 0;
        let places = &rising[group.slots()];
        let noted = first && !places.is_empty();
        let bound = if noted { round.note(group.bound()) } else { 0 };
        for (&place, rounded) in places.iter().zip(&mut rounded[group.slots()]) {
            let leaf = &mut round.leaves[place as usize];
            let had_ma = leaf.current_ma;
            if first {
                leaf.bound = bound;
                let at_minimum = group.share(leaf) == fine(i64::from(had_ma));
                leaf.reason = select_unpredictable(at_minimum, Reason::Minimum, Reason::Share);
            }
            let (lost, next_ma) = accept(leaf, &round.setpoints, group);
            *rounded = Rounded { lost, next_ma };
            given_ma += i64::from(leaf.current_ma - had_ma);
        }
        given_ma
    }));
    round.give_groups(group_ma);
    round.scratch.fill.groups = groups;
}

/// Round a leaf down. Returns how much it lost by that, in level units, and how much more its next
/// current is, 0 at its maximum.
///
/// Nobody can foretell who is at the maximum, so that is the one thing not to branch on: what is
/// below it is worked out for everyone, and means nothing for those.
fn accept(leaf: &mut Leaf, setpoints: &Setpoints<'_>, group: &GroupLoad) -> (i64, u32) {
    let max_ma = i64::from(leaf.max_ma);
    let share = group.share(leaf);
    let at_max = whole_ma(share) >= max_ma;
    let (down_ma, up_ma) = setpoints.around(leaf.accepts, narrow(whole_ma(share)));
    // What it has already is accepted, so it is never lowered.
    let below_max_ma = i64::from(down_ma.max(leaf.current_ma));
    let accepted_ma = select_unpredictable(at_max, max_ma, below_max_ma);
    let most_ma = select_unpredictable(at_max, i64::MAX, max_ma);
    let next_ma = up_ma.min(most_ma) - accepted_ma;
    leaf.current_ma = narrow(accepted_ma);
    leaf.reason = select_unpredictable(at_max, Reason::Maximum, leaf.reason);
    (share - fine(accepted_ma), narrow(select_unpredictable(at_max, 0, next_ma)))
}

/// Those for whom there is room now.
fn list_candidates(round: &mut Round<'_>, rising: &[u32], space: &mut StepSpace) {
    let StepSpace { rounded, group_room_ma, fitting, candidates, steps, .. } = space;
    round.find_group_room(group_room_ma);
    let part = round.part;
    // Written in any case and counted if wanted, since nobody can foretell who is.
    fitting.resize(rising.len(), 0);
    let (mut slot, mut count) = (0, 0);
    for (&place, rounded) in rising.iter().zip(&*rounded) {
        let room_ma = group_room_ma[part.group_of(place as usize)];
        fitting[count] = slot;
        count += usize::from(may_step(rounded.next_ma, room_ma));
        slot += 1;
    }
    candidates.resize(count, Candidate::NOTHING);
    steps.resize(count, Step::NOTHING);
    let listed = candidates.iter_mut().zip(steps);
    for ((candidate, step), &slot) in listed.zip(&fitting[..count]) {
        let (place, rounded) = (rising[slot as usize], &rounded[slot as usize]);
        let at = part.leaf_at[place as usize];
        let rank = round.side.demand.rank[at as usize];
        *candidate = Candidate { lost: rounded.lost, rank, at };
        let at = part.connection(part.group_of(place as usize));
        *step = Step { place, more_ma: rounded.next_ma, at };
    }
}

/// Whether there is a next current, and room for it; 0, for no next one, wraps beyond any room.
fn may_step(next_ma: u32, room_ma: u32) -> bool {
    next_ma.wrapping_sub(1) < room_ma
}

/// Put the candidates in order: keys whose lowest bits, as many as are returned, are their indices.
///
/// Where what was lost, rank and index in `candidates` fit in 64 bits together, as they do unless
/// ranks or steps are far apart, the order is that of whole numbers, which hardly needs comparison.
fn sort(space: &mut StepSpace) -> u32 {
    let StepSpace { candidates, keys, sorted, .. } = space;
    keys.clear();
    let Some(packing) = Packing::of(candidates) else {
        keys.extend((0..).zip(&*candidates).map(|(index, _)| index));
        keys.sort_unstable_by_key(|&key| candidates[low_bits(key, u32::BITS)].order());
        return u32::BITS;
    };
    keys.extend(
        candidates.iter().zip(0..).map(|(candidate, index)| packing.pack(candidate, index)),
    );
    sort_keys(keys, sorted, packing.index_bits, candidates);
    packing.index_bits
}

/// The index that the lowest bits of a key are.
fn low_bits(key: u64, bits: u32) -> usize {
    usize::try_from(key & ((1 << bits) - 1)).unwrap_or(usize::MAX)
}

/// How a candidate is written as one number: what was lost less than the most, then the rank above
/// the least, then its index in the list.
struct Packing {
    most_lost: i64,
    least_rank: i64,
    rank_bits: u32,
    index_bits: u32,
}

impl Packing {
    fn of(candidates: &[Candidate]) -> Option<Self> {
        let (mut least_lost, mut most_lost) = (i64::MAX, 0);
        let (mut least_rank, mut most_rank) = (i64::MAX, i64::MIN);
        for &Candidate { lost, rank, .. } in candidates {
            (least_lost, most_lost) = (lost.min(least_lost), lost.max(most_lost));
            (least_rank, most_rank) = (rank.min(least_rank), rank.max(most_rank));
        }
        let bits = |most: u64| u64::BITS - most.leading_zeros();
        let rank_bits = bits(most_rank.checked_sub(least_rank)?.unsigned_abs());
        let index_bits = bits(u64::try_from(candidates.len()).ok()?);
        let lost_bits = bits(most_lost.abs_diff(least_lost));
        (lost_bits + rank_bits + index_bits <= u64::BITS).then_some(Self {
            most_lost,
            least_rank,
            rank_bits,
            index_bits,
        })
    }

    fn pack(&self, &Candidate { lost, rank, .. }: &Candidate, index: u64) -> u64 {
        let less = (self.most_lost - lost).cast_unsigned();
        let above = (rank - self.least_rank).cast_unsigned();
        (less << self.rank_bits | above) << self.index_bits | index
    }
}

/// Sort by distribution on the bits above the lowest `index_bits`, eleven at a time, then those
/// that are equal there by the indices of their leaves.
fn sort_keys(
    keys: &mut Vec<u64>,
    sorted: &mut Vec<u64>,
    index_bits: u32,
    candidates: &[Candidate],
) {
    const DIGIT_BITS: u32 = 11;
    const DIGITS: usize = 1 << DIGIT_BITS;
    if keys.len() < DIGITS / 4 {
        keys.sort_unstable();
    } else {
        let bits = u64::BITS - keys.iter().fold(0, |all, key| all | key).leading_zeros();
        sorted.resize(keys.len(), 0);
        for shift in (index_bits..bits).step_by(DIGIT_BITS as usize) {
            let digit = |key: u64| low_bits(key >> shift, DIGIT_BITS);
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
        }
    }
    let equal_above = |pair: &[u64]| (pair[0] ^ pair[1]) >> index_bits == 0;
    let mut rest = &mut keys[..];
    while let Some(first) = rest.windows(2).position(equal_above) {
        rest = &mut rest[first..];
        let above = rest[0] >> index_bits;
        let end = rest.iter().position(|key| key >> index_bits != above).unwrap_or(rest.len());
        let (equal, after) = rest.split_at_mut(end);
        // From here on only the index in a key counts, so the rest can be the index of the leaf.
        for key in equal.iter_mut() {
            let index = low_bits(*key, index_bits);
            *key = u64::from(candidates[index].at) << index_bits | index as u64;
        }
        equal.sort_unstable();
        rest = after;
    }
}

/// Let each candidate go up one step if its rows have the room.
fn raise_by_step(round: &mut Round<'_>, space: &mut StepSpace, index_bits: u32) {
    let StepSpace { steps, ordered, keys, .. } = space;
    // Looked up in one go: memory is slow to answer, but answers many at a time, and the checks,
    // one after the other, need not wait for it.
    ordered.clear();
    ordered.extend(keys.iter().map(|&key| steps[low_bits(key, index_bits)]));
    for (&key, step) in keys.iter().zip(&*ordered) {
        if round.fits(step.at, i64::from(step.more_ma)) {
            round.give(step.at, i64::from(step.more_ma));
        } else {
            steps[low_bits(key, index_bits)].more_ma = 0;
        }
    }
}

/// Note what the candidates were given, and keep those of them that can go up another step.
fn keep_rising(round: &mut Round<'_>, rising: &mut Vec<u32>, space: &mut StepSpace) {
    round.find_group_room(&mut space.group_room_ma);
    // Room only shrinks, so who had none for this step has none later.
    rising.resize(space.steps.len(), 0);
    let mut count = 0;
    for step in &space.steps {
        let leaf = &mut round.leaves[step.place as usize];
        leaf.current_ma += step.more_ma;
        let next_ma = round.setpoints.after(leaf.accepts, leaf.current_ma);
        let more_ma = narrow(next_ma.min(i64::from(leaf.max_ma)) - i64::from(leaf.current_ma));
        // Nobody can foretell who was raised, so all is worked out for everyone.
        let raised = step.more_ma > 0;
        let reason = select_unpredictable(more_ma > 0, Reason::Leftover, Reason::Maximum);
        leaf.reason = select_unpredictable(raised, reason, leaf.reason);
        let room_ma = space.group_room_ma[round.part.group_of(step.place as usize)];
        let more_ma = select_unpredictable(raised, more_ma, 0);
        let fits = may_step(more_ma, room_ma) && round.fits_combined(step.at, i64::from(more_ma));
        rising[count] = step.place;
        count += usize::from(fits);
    }
    rising.truncate(count);
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
                Candidate { lost: drawn % losses, rank: drawn / 7 % ranks - ranks / 2, at }
            })
            .collect()
    }

    /// The candidates in the order in which sorting leaves them, and in that of comparison.
    fn sorted_both_ways(candidates: Vec<Candidate>) -> [Vec<u32>; 2] {
        let mut compared = candidates.clone();
        compared.sort_unstable_by_key(Candidate::order);
        let mut space = StepSpace { candidates, ..StepSpace::default() };
        let index_bits = sort(&mut space);
        let at = |&key: &u64| space.candidates[low_bits(key, index_bits)].at;
        [space.keys.iter().map(at).collect(), compared.iter().map(|one| one.at).collect()]
    }

    #[test]
    fn candidates_sorted_as_numbers_are_in_the_order_of_comparison() {
        for (losses, ranks) in [(1, 1), (4, 1), (4, 3), (6_553_600, 100_000), (1, 1_000_000)] {
            for kept in [5_000, 700, 100, 1, 0] {
                let mut candidates = candidates(losses, ranks);
                candidates.truncate(kept);
                assert!(kept == 0 || Packing::of(&candidates).is_some());
                let [sorted, compared] = sorted_both_ways(candidates);
                assert_eq!(sorted, compared);
            }
        }
    }

    #[test]
    fn candidates_too_far_apart_for_one_number_are_compared() {
        let mut candidates = candidates(6_553_600, 100);
        candidates[0].rank = i64::MIN;
        candidates[1].rank = i64::MAX;
        assert!(Packing::of(&candidates).is_none());
        let [sorted, compared] = sorted_both_ways(candidates);
        assert_eq!(sorted, compared);
    }
}
