//! Whole steps: what a station accepts, and who gets what rounding left over.

use std::cmp::Reverse;
use std::mem::{swap, take};

use crate::round::{Round, add};
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
        // What it has already is accepted, so it is never lowered.
        let stepped = (whole - whole % leaf.step_ma).max(leaf.current_ma);
        let accepted = if whole >= leaf.max_ma { leaf.max_ma } else { stepped };
        add(&mut more_ma, leaf.phases, i64::from(accepted - leaf.current_ma));
        leaf.current_ma = accepted;
        *reached -= fine(i64::from(accepted));
    }
    round.give_each(below, more_ma);
}

/// One that may go up a step: those that lost most come first, equal ones by rank, then index.
type Candidate = (Reverse<i64>, i64, u32, u32);

/// Leaf place, its node and phases, and how much more its next current is.
type Step = (u32, u32, u8, u32);

/// Memory of handing out steps.
#[derive(Debug, Default)]
pub(crate) struct StepSpace {
    candidates: Vec<Candidate>,
    sorted: Vec<Candidate>,
    steps: Vec<Step>,
}

/// Let each of `rising` go up one step if its rows have the room, those that lost most first.
pub(crate) fn raise_by_step(round: &mut Round<'_>, rising: &[u32], lost: &[i64]) {
    let mut space = take(&mut round.workspace.steps);
    list_candidates(round, rising, lost, &mut space.candidates);
    sort(&mut space.candidates, &mut space.sorted);
    // Nobody comes twice, so the steps can be looked up in one go, ahead of the checks.
    space.steps.clear();
    space.steps.extend(space.candidates.iter().map(|&(.., place)| {
        let leaf = &round.leaves[place as usize];
        (place, round.network.leaf_node[place as usize], leaf.phases, leaf.next_step())
    }));
    for &(place, node, phases, step) in &space.steps {
        if round.fits(node, phases, i64::from(step)) {
            round.leaves[place as usize].current_ma += step;
            round.give(node, phases, i64::from(step));
        }
    }
    round.workspace.steps = space;
}

/// Those for whom there is room now.
fn list_candidates(
    round: &mut Round<'_>,
    rising: &[u32],
    lost: &[i64],
    candidates: &mut Vec<Candidate>,
) {
    round.find_room_to_root();
    candidates.clear();
    for (&place, &lost) in rising.iter().zip(lost) {
        if round.may_step(place) {
            let at = round.network.leaf_at[place as usize];
            candidates.push((Reverse(lost), round.demand.rank[at as usize], at, place));
        }
    }
}

/// Sort by distribution on the leading bits of what was lost, then by comparison inside each part.
fn sort(candidates: &mut Vec<Candidate>, sorted: &mut Vec<Candidate>) {
    const PARTS: usize = 2_048;
    if candidates.len() < PARTS {
        candidates.sort_unstable();
        return;
    }
    let most = candidates.iter().map(|candidate| candidate.0.0).max().unwrap_or(0);
    let shift = (i64::BITS - most.leading_zeros()).saturating_sub(PARTS.ilog2());
    let part =
        |candidate: &Candidate| usize::try_from((most - candidate.0.0) >> shift).unwrap_or(0);
    let mut ends = vec![0_usize; PARTS + 1];
    for candidate in candidates.iter() {
        ends[part(candidate) + 1] += 1;
    }
    for at in 0..PARTS {
        ends[at + 1] += ends[at];
    }
    sorted.resize(candidates.len(), (Reverse(0), 0, 0, 0));
    for candidate in candidates.iter() {
        let end = &mut ends[part(candidate)];
        sorted[*end] = *candidate;
        *end += 1;
    }
    let mut first = 0;
    for end in ends {
        if end > first {
            sorted[first..end].sort_unstable();
            first = end;
        }
    }
    swap(candidates, sorted);
}

/// Keep those of `rising` that can still go up a step.
pub(crate) fn keep_raisable(round: &mut Round<'_>, rising: &mut Vec<u32>) {
    round.find_room_to_root();
    rising.retain(|&place| round.may_step(place));
}
