//! Whole steps: what a station accepts, and who gets what rounding left over.

use std::cmp::Reverse;

use crate::allocate::{Round, Stop};
use crate::units::{fine, whole_ma};

/// Give every one of `rising` the largest current it accepts up to what it `reached` (level
/// units); returns what each lost by that.
pub(crate) fn round_down(round: &mut Round<'_>, rising: &[u32], reached: &[i64]) -> Vec<i64> {
    let mut lost = Vec::with_capacity(rising.len());
    for (&leaf, &reached) in rising.iter().zip(reached) {
        let leaf = leaf as usize;
        let whole = whole_ma(reached);
        let accepted = if whole >= round.max_ma[leaf] {
            round.max_ma[leaf]
        } else {
            // What it has already is accepted, so it is never lowered.
            (whole - whole % round.step_ma[leaf]).max(round.current_ma[leaf])
        };
        lost.push(reached - fine(accepted));
        round.give(leaf, accepted - round.current_ma[leaf]);
    }
    lost
}

/// Let each of `rising` go up one step if its rows have the room: those that lost most first,
/// equal ones by rank, then index.
pub(crate) fn raise_by_step(round: &mut Round<'_>, rising: &[u32], lost: &[i64]) {
    let mut order: Vec<(Reverse<i64>, i64, u32, u32)> = rising
        .iter()
        .zip(lost)
        .map(|(&leaf, &lost)| {
            let at = leaf as usize;
            (Reverse(lost), round.rank[at], round.network.leaf_at[at], leaf)
        })
        .collect();
    order.sort_unstable();
    for (.., leaf) in order {
        let leaf = leaf as usize;
        let step = next_step(round, leaf);
        if step > 0 && blocking_row(round, leaf, step).is_none() {
            round.give(leaf, step);
        }
    }
}

/// Those of `rising` that can still go up a step. For the others it is now settled what stops
/// them: the row that stopped the filling if it has no room for a step, else the first without
/// room from the connector's own node upwards.
pub(crate) fn still_raisable(round: &mut Round<'_>, rising: &[u32]) -> Vec<u32> {
    let mut raisable = Vec::new();
    for &place in rising {
        let leaf = place as usize;
        let step = next_step(round, leaf);
        if step == 0 {
            round.stop[leaf] = Stop::OWN;
            continue;
        }
        match blocking_row(round, leaf, step) {
            None => raisable.push(place),
            Some(first) => {
                let filled = round.stop[leaf].place();
                let row = filled.filter(|&row| round.room_ma[row] < step).unwrap_or(first);
                round.stop[leaf] = Stop::row(row);
            }
        }
    }
    raisable
}

/// How much more the next current is that this leaf accepts; 0 at its maximum.
fn next_step(round: &Round<'_>, leaf: usize) -> i64 {
    let (current, step) = (round.current_ma[leaf], round.step_ma[leaf]);
    (step - current % step).min(round.max_ma[leaf] - current)
}

fn blocking_row(round: &Round<'_>, leaf: usize, more_ma: i64) -> Option<usize> {
    round.network.rows_of(leaf).find(|&row| round.room_ma[row] < more_ma)
}
