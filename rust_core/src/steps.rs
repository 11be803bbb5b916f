//! Whole steps: what a station accepts, and who gets what rounding left over.

use std::cmp::Reverse;

use crate::round::{Round, Stop, add, least};
use crate::units::{PHASES, fine, whole_ma};

/// Give every one of `rising` the largest current it accepts up to what it `reached` (level
/// units), and write what each lost by that in its place.
pub(crate) fn round_down(round: &mut Round<'_>, rising: &[u32], reached: &mut [i64]) {
    let mut below = 0;
    let mut more_ma = [0_i64; PHASES];
    for (&place, reached) in rising.iter().zip(reached) {
        let node = round.network.leaf_node[place as usize];
        if node != below {
            round.give_each(below, more_ma);
            (below, more_ma) = (node, [0; PHASES]);
        }
        let leaf = &mut round.leaves[place as usize];
        let whole = u32::try_from(whole_ma(*reached)).unwrap_or(leaf.max_ma);
        let accepted = if whole >= leaf.max_ma {
            leaf.max_ma
        } else {
            // What it has already is accepted, so it is never lowered.
            (whole - whole % leaf.step_ma).max(leaf.current_ma)
        };
        add(&mut more_ma, leaf.phases, i64::from(accepted - leaf.current_ma));
        leaf.current_ma = accepted;
        *reached -= fine(i64::from(accepted));
    }
    round.give_each(below, more_ma);
}

/// One that may go up a step: those that lost most come first, equal ones by rank, then index.
type Candidate = (Reverse<i64>, i64, u32, u32);

/// Let each of `rising` go up one step if its rows have the room, those that lost most first.
pub(crate) fn raise_by_step(round: &mut Round<'_>, rising: &[u32], lost: &[i64]) {
    let sorted = candidates(round, rising, lost);
    // Nobody comes twice, so the steps can be looked up in one go, ahead of the checks.
    let look_up = |&(.., place): &Candidate| {
        let leaf = &round.leaves[place as usize];
        (place, round.network.leaf_node[place as usize], leaf.phases, leaf.next_step())
    };
    let steps: Vec<(u32, u32, u8, u32)> = sorted.iter().map(look_up).collect();
    for (place, node, phases, step) in steps {
        if round.fits(node, phases, i64::from(step)) {
            round.leaves[place as usize].current_ma += step;
            round.give(node, phases, i64::from(step));
        }
    }
}

/// Those for whom there is room now, in order.
fn candidates(round: &Round<'_>, rising: &[u32], lost: &[i64]) -> Vec<Candidate> {
    let room_ma = round.room_to_root();
    let mut candidates = Vec::with_capacity(rising.len());
    for (&place, &lost) in rising.iter().zip(lost) {
        let leaf = &round.leaves[place as usize];
        let node = round.network.leaf_node[place as usize];
        if leaf.may_rise()
            && least(&room_ma[node as usize], leaf.phases) >= i64::from(leaf.next_step())
        {
            let at = round.network.leaf_at[place as usize];
            candidates.push((Reverse(lost), round.demand.rank[at as usize], at, place));
        }
    }
    sort(candidates)
}

/// Sort by distribution on the leading bits of what was lost, then by comparison inside each part.
fn sort(candidates: Vec<Candidate>) -> Vec<Candidate> {
    const PARTS: usize = 2_048;
    if candidates.len() < PARTS {
        let mut sorted = candidates;
        sorted.sort_unstable();
        return sorted;
    }
    let most = candidates.iter().map(|candidate| candidate.0.0).max().unwrap_or(0);
    let shift = (i64::BITS - most.leading_zeros()).saturating_sub(PARTS.ilog2());
    let part =
        |candidate: &Candidate| usize::try_from((most - candidate.0.0) >> shift).unwrap_or(0);
    let mut ends = vec![0_usize; PARTS + 1];
    for candidate in &candidates {
        ends[part(candidate) + 1] += 1;
    }
    for at in 0..PARTS {
        ends[at + 1] += ends[at];
    }
    let mut sorted = vec![(Reverse(0), 0, 0, 0); candidates.len()];
    for candidate in candidates {
        let end = &mut ends[part(&candidate)];
        sorted[*end] = candidate;
        *end += 1;
    }
    let mut first = 0;
    for end in ends {
        if end > first {
            sorted[first..end].sort_unstable();
            first = end;
        }
    }
    sorted
}

/// Those of `rising` that can still go up a step.
pub(crate) fn still_raisable(round: &mut Round<'_>, rising: &[u32]) -> Vec<u32> {
    let room_ma = round.room_to_root();
    let mut raisable = Vec::new();
    for &place in rising {
        let leaf = &round.leaves[place as usize];
        let node = round.network.leaf_node[place as usize];
        if !leaf.may_rise() {
            round.stop[place as usize] = Stop::OWN;
        } else if least(&room_ma[node as usize], leaf.phases) >= i64::from(leaf.next_step()) {
            raisable.push(place);
        }
    }
    raisable
}
