//! Admission: who runs at all. Minimum currents are handed out by tier, then rank, then index, to
//! everyone whose minimum still fits on all its rows.

use crate::network::NONE;
use crate::round::Round;
use crate::units::PHASES;

/// Take the minimum back from those for whom there is no room.
///
/// Rows that carry everyone's minimum refuse nobody, so only connectors below other rows queue.
/// Who has no minimum is always admitted. A connector that is refused is told the first row, from
/// its own node upwards, without room for its minimum when its turn came.
pub(crate) fn admit(round: &mut Round<'_>) {
    if round.room_ma.iter().flatten().all(|&room| room >= 0) {
        return;
    }
    let mut queue = contested(round);
    for &leaf in &queue {
        let (node, phases, least) = minimum(round, leaf);
        round.give(node, phases, -least);
    }
    let demand = round.demand;
    queue.sort_unstable_by_key(|&leaf| {
        let at = round.network.leaf_at[leaf as usize];
        (demand.tier[at as usize], demand.rank[at as usize], at)
    });
    for leaf in queue {
        let (node, phases, least) = minimum(round, leaf);
        let place = leaf as usize;
        if round.fits(node, phases, least) {
            round.give(node, phases, least);
        } else {
            round.stop[place] = round.blocking(place, least);
            round.leaves[place].current_ma = 0;
            round.leaves[place].max_ma = 0;
            round.refused.push(leaf);
        }
    }
}

fn minimum(round: &Round<'_>, leaf: u32) -> (u32, u8, i64) {
    let of = &round.leaves[leaf as usize];
    (round.network.leaf_node[leaf as usize], of.phases, i64::from(of.current_ma))
}

/// Leaf places with a minimum and a row that cannot carry all the minimums below it.
fn contested(round: &Round<'_>) -> Vec<u32> {
    let mut over = vec![0_u8; round.room_ma.len()];
    for (place, room) in round.room_ma.iter().enumerate() {
        let up = round.network.parent[place];
        over[place] = (0..PHASES).fold(0, |bits, phase| bits | u8::from(room[phase] < 0) << phase);
        if up != NONE {
            over[place] |= over[up as usize];
        }
    }
    (0..)
        .zip(round.leaves.iter().zip(&round.network.leaf_node))
        .filter(|(_, (leaf, node))| leaf.current_ma > 0 && leaf.phases & over[**node as usize] != 0)
        .map(|(leaf, _)| leaf)
        .collect()
}
