//! Admission: who runs at all. Minimum currents are handed out by tier, then to those to be kept on,
//! then by rank, then index, to everyone whose minimum still fits on all its rows.

use crate::outcome::Reason;
use crate::part::Connection;
use crate::round::Round;
use crate::units::PHASES;

/// Take the minimum back from those for whom there is no room.
///
/// Rows that carry everyone's minimum refuse nobody, so only connectors below other rows queue.
/// Who has no minimum is always admitted. A connector that is refused is told the first row, from
/// its own node upwards, without room for its minimum when its turn came.
pub(crate) fn admit(round: &mut Round<'_>) {
    let combined = overloaded_kinds(round);
    if combined.is_empty() && round.room_ma.iter().flatten().all(|&room| room >= 0) {
        return;
    }
    let part = round.part;
    let mut queue = contested(round, combined);
    for &leaf in &queue {
        let (connection, least) = minimum(round, leaf);
        round.give(connection, -least);
    }
    let demand = round.side.demand;
    queue.sort_unstable_by_key(|&leaf| {
        let at = part.leaf_at[leaf as usize];
        let kept = demand.keep_on.get(at as usize).copied().unwrap_or(false);
        (demand.tier[at as usize], !kept, demand.rank[at as usize], at)
    });
    for leaf in queue {
        let (connection, least) = minimum(round, leaf);
        if round.fits(connection, least) {
            round.give(connection, least);
        } else {
            let place = leaf as usize;
            let bound = round.note(round.blocking(connection, least));
            let refused = &mut round.leaves[place];
            (refused.current_ma, refused.max_ma) = (0, 0);
            (refused.reason, refused.bound) = (Reason::Admission, bound);
        }
    }
}

fn minimum(round: &Round<'_>, leaf: u32) -> (Connection, i64) {
    let least = i64::from(round.leaves[leaf as usize].current_ma);
    (round.part.connection(round.part.group_of(leaf as usize)), least)
}

/// By place, the kinds below combined rows that cannot carry all the minimums below them; empty
/// where every row can.
fn overloaded_kinds(round: &Round<'_>) -> Vec<u16> {
    let mut over = Vec::new();
    for node in 0..round.part.combined_nodes.len() {
        for (_, row, limit) in round.combined_rows(node) {
            if row.is_over(&round.kind_ma[node], limit) {
                over.resize(round.part.nodes(), 0);
                over[round.part.place_of_combined(node)] |= row.kinds;
            }
        }
    }
    over
}

/// Leaf places with a minimum and a row that cannot carry all the minimums below it, given the
/// `kinds` for which that is a combined row.
fn contested(round: &Round<'_>, mut kinds: Vec<u16>) -> Vec<u32> {
    let part = round.part;
    kinds.resize(part.nodes(), 0);
    let mut phases = vec![0_u8; part.nodes()];
    for (place, room) in round.room_ma.iter().enumerate() {
        phases[place] =
            (0..PHASES).fold(0, |bits, phase| bits | u8::from(room[phase] < 0) << phase);
        if let Some(up) = part.above(place) {
            phases[place] |= phases[up];
            kinds[place] |= kinds[up];
        }
    }
    let below_such = |leaf: usize| {
        let group = &part.groups()[part.group_of(leaf)];
        let node = part.node_of(group);
        group.phases & phases[node] != 0 || kinds[node] >> group.kind & 1 == 1
    };
    (0..)
        .zip(round.leaves.iter())
        .filter(|(place, leaf)| leaf.current_ma > 0 && below_such(*place as usize))
        .map(|(place, _)| place)
        .collect()
}
