//! Prices down the tree to the vehicles, and what they draw up the tree to the rows.

// What is not inlined into the closures that `Arch::dispatch` runs is not compiled for the vectors
// that this machine has.
#![allow(clippy::inline_always)]

use super::layout::{Class, KINDS, Kind, LANES, Layout, POWER, SIDES};
use crate::network::NONE;
use crate::units::PHASES;

/// Prices above the classes, by the nearest node of each side and by meter, and memory for sweeps.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    nodes: [Vec<f64>; SIDES],
    meters: Vec<f64>,
}

/// Where the values of a class on one side begin: `[(class * 2 + side) * width + slot]`.
pub(crate) fn row_of(layout: &Layout, class: usize, side: usize) -> usize {
    (class * SIDES + side) * layout.width
}

impl Sweep {
    /// Take in the prices of all rows.
    #[inline(always)]
    pub(crate) fn take_prices(&mut self, layout: &Layout, dual: &[f64]) {
        let slots = layout.slots;
        self.meters.clear();
        self.meters.resize(layout.meters * slots, 0.0);
        for (block, kind) in layout.kinds.iter().enumerate() {
            let (meter, scale) = match *kind {
                Kind::Cap => continue,
                Kind::Energy { meter } => (meter, layout.slot_h),
                Kind::Demand { charge } => (layout.demand[charge].1, 1.0),
            };
            let into = &mut self.meters[meter * slots..][..slots];
            for (sum, own) in into.iter_mut().zip(&dual[block * slots..][..slots]) {
                *sum += scale * own;
            }
        }
        for side in 0..SIDES {
            self.node_prices(layout, side, dual);
        }
    }

    /// The price of an ampere over each slot, for a class and side, from those taken in. Slots in
    /// which none of the class is there are left as they are.
    #[inline(always)]
    pub(crate) fn prices(&self, layout: &Layout, class: &Class, side: usize, to: &mut [f32]) {
        let slots = layout.slots;
        let range = class.slots.clone();
        let meter = &self.meters[class.meter as usize * slots..][..slots];
        let sign = if side == 0 { class.kw } else { -class.kw };
        let late = if side == 0 { class.kw * layout.slot_h * layout.late } else { 0.0 };
        for slot in range.clone() {
            to[slot] = (sign * meter[slot] + late * slot as f64) as f32;
        }
        if class.node[side] == NONE {
            return;
        }
        let node = &self.nodes[side][class.node[side] as usize * KINDS * slots..][..KINDS * slots];
        let power = &node[POWER * slots..][..slots];
        let lines = [0, 1, 2].map(|line| &node[line * slots..][..slots]);
        let counts = [0, 1, 2].map(|line| f64::from(class.lines >> line & 1));
        for slot in range {
            let mut sum = class.kw * power[slot];
            for line in 0..PHASES {
                sum += counts[line] * lines[line][slot];
            }
            to[slot] += sum as f32;
        }
    }

    /// The prices of rows summed from the root down to each node.
    #[inline(always)]
    fn node_prices(&mut self, layout: &Layout, side: usize, dual: &[f64]) {
        let (slots, kept) = (layout.slots, &layout.sides[side]);
        let length = KINDS * slots;
        let nodes = &mut self.nodes[side];
        nodes.resize(kept.place.len() * length, 0.0);
        for node in 0..kept.place.len() {
            let (above, below) = nodes.split_at_mut(node * length);
            let own = &mut below[..length];
            match kept.parent[node] {
                NONE => own.fill(0.0),
                up => own.copy_from_slice(&above[up as usize * length..][..length]),
            }
            for (kind, &block) in kept.block[node].iter().enumerate() {
                if block != NONE {
                    let rows = &dual[block as usize * slots..][..slots];
                    for (sum, row) in own[kind * slots..][..slots].iter_mut().zip(rows) {
                        *sum += row;
                    }
                }
            }
        }
    }

    /// The load of every row from what the classes draw and feed in.
    #[inline(always)]
    pub(crate) fn loads(&mut self, layout: &Layout, drawn: &[f32], rows: &mut [f64]) {
        let slots = layout.slots;
        self.meters.clear();
        self.meters.resize(layout.meters * slots, 0.0);
        for side in 0..SIDES {
            let kept = &layout.sides[side];
            let length = KINDS * slots;
            let nodes = &mut self.nodes[side];
            nodes.clear();
            nodes.resize(kept.place.len() * length, 0.0);
            for (index, class) in layout.classes.iter().enumerate() {
                if side == 1 && !class.two_way {
                    continue;
                }
                let own = &drawn[row_of(layout, index, side)..][..slots];
                let sign = if side == 0 { class.kw } else { -class.kw };
                let meter = &mut self.meters[class.meter as usize * slots..][..slots];
                for slot in class.slots.clone() {
                    meter[slot] += sign * f64::from(own[slot]);
                }
                if class.node[side] == NONE {
                    continue;
                }
                let node = &mut nodes[class.node[side] as usize * length..][..length];
                for line in (0..PHASES).filter(|line| class.lines >> line & 1 == 1) {
                    let node = &mut node[line * slots..][..slots];
                    for slot in class.slots.clone() {
                        node[slot] += f64::from(own[slot]);
                    }
                }
                let node = &mut node[POWER * slots..][..slots];
                for slot in class.slots.clone() {
                    node[slot] += class.kw * f64::from(own[slot]);
                }
            }
            for node in (0..kept.place.len()).rev() {
                let (above, below) = nodes.split_at_mut(node * length);
                if kept.parent[node] != NONE {
                    let up = &mut above[kept.parent[node] as usize * length..][..length];
                    for (sum, own) in up.iter_mut().zip(&below[..length]) {
                        *sum += own;
                    }
                }
                for (kind, &block) in kept.block[node].iter().enumerate() {
                    if block != NONE {
                        rows[block as usize * slots..][..slots]
                            .copy_from_slice(&below[kind * slots..][..slots]);
                    }
                }
            }
        }
        for (block, kind) in layout.kinds.iter().enumerate() {
            let (meter, scale) = match *kind {
                Kind::Cap => continue,
                Kind::Energy { meter } => (meter, layout.slot_h),
                Kind::Demand { charge } => (layout.demand[charge].1, 1.0),
            };
            let from = &self.meters[meter * slots..][..slots];
            for (row, load) in rows[block * slots..][..slots].iter_mut().zip(from) {
                *row = scale * load;
            }
        }
    }
}

/// Room for the values of all classes; what is beyond the last slot stays 0.
pub(crate) fn class_rows(layout: &Layout) -> Vec<f32> {
    debug_assert!(layout.width.is_multiple_of(LANES));
    vec![0.0; layout.classes.len() * SIDES * layout.width]
}
