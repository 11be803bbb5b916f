//! Admission: who runs at all. Minimum currents are handed out by tier, then rank, then index,
//! to everyone whose minimum still fits on all its rows.

use crate::allocate::{Round, Stop};

/// Give every connector its minimum, or nothing where it no longer fits.
///
/// Leaves without a minimum are always admitted. A connector that is refused is stopped by the
/// first row, from its own node upwards, without room for its minimum.
pub(crate) fn admit(round: &mut Round<'_>) {
    let mut order: Vec<u32> = round.leaf_places().collect();
    order.sort_unstable_by_key(|&leaf| {
        let leaf = leaf as usize;
        (round.tier[leaf], round.rank[leaf], round.network.leaf_at[leaf])
    });
    for leaf in order {
        let leaf = leaf as usize;
        let least = round.min_ma[leaf];
        let full = round.network.rows_of(leaf).find(|&row| round.room_ma[row] < least);
        match full {
            Some(row) if least > 0 => {
                round.admitted[leaf] = false;
                round.stop[leaf] = Stop::row(row);
            }
            _ => round.give(leaf, least),
        }
    }
}
