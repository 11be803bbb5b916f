//! Rows, and which of them could ever bind: those that carry the maximums of everyone below them in
//! every slot are left out, and nodes without a row that is left with them.

use std::ops::Range;

use super::layout::{KINDS, Kind, Layout, POWER, SIDES, kilo, money};
use super::problem::Problem;
use crate::network::NONE;
use crate::units::PHASES;

impl Layout {
    /// The most that could flow through each row of one side: `[(place * 4 + kind) * slots + slot]`.
    pub(super) fn potential(&self, problem: &Problem<'_>, side: usize) -> Vec<f64> {
        let (slots, nodes) = (self.slots, problem.network.nodes());
        let mut load = vec![0.0; nodes * KINDS * slots];
        if side == 1 && !self.classes.iter().any(|class| class.two_way) {
            return load;
        }
        for class in &self.classes {
            let row = class.place as usize * KINDS;
            for car in &self.cars[class.cars.clone()] {
                let elements = if side == 0 { car.drawn() } else { car.fed() };
                for (slot, &most) in car.slots().zip(&self.upper[elements]) {
                    for line in (0..PHASES).filter(|line| class.lines >> line & 1 == 1) {
                        load[(row + line) * slots + slot] += f64::from(most);
                    }
                    load[(row + POWER) * slots + slot] += f64::from(most) * class.kw;
                }
            }
        }
        for place in (1..nodes).rev() {
            let up = problem.network.parent[place];
            if up != NONE {
                let (above, below) = load.split_at_mut(place * KINDS * slots);
                let above = &mut above[up as usize * KINDS * slots..][..KINDS * slots];
                for (sum, value) in above.iter_mut().zip(below) {
                    *sum += *value;
                }
            }
        }
        load
    }

    /// Keep the rows of one side that some slot could fill.
    pub(super) fn add_side(&mut self, problem: &Problem<'_>, side: usize, potential: &[f64]) {
        let (slots, network) = (self.slots, problem.network);
        let class_place: Vec<u32> = self.classes.iter().map(|class| class.place).collect();
        let mut nearest = vec![NONE; network.nodes()];
        for place in 0..network.nodes() {
            let node = network.node_at[place] as usize;
            let up = network.parent[place];
            nearest[place] = if up == NONE { NONE } else { nearest[up as usize] };
            let mut blocks = [NONE; KINDS];
            for (kind, block) in blocks.iter_mut().enumerate() {
                let load = &potential[(place * KINDS + kind) * slots..][..slots];
                let Some(limit) = limits_of(problem, side, node, kind) else {
                    continue;
                };
                if load.iter().zip(limit).all(|(&load, &limit)| load <= kilo(limit)) {
                    continue;
                }
                *block = u32::try_from(self.kinds.len()).unwrap_or(NONE);
                self.kinds.push(Kind::Cap);
                self.limit.extend(limit.iter().map(|&limit| kilo(limit)));
                let exact = if kind == POWER { 1_000 } else { 1 };
                self.limit_exact.extend(limit.iter().map(|&limit| limit * exact));
            }
            if blocks.iter().any(|&block| block != NONE) {
                let kept = &mut self.sides[side];
                kept.parent.push(nearest[place]);
                kept.place.push(place);
                kept.classes.push(below(&class_place, place, network.end[place]));
                kept.block.push(blocks);
                nearest[place] = u32::try_from(kept.place.len() - 1).unwrap_or(NONE);
            }
        }
        for class in &mut self.classes {
            class.node[side] = nearest[class.place as usize];
        }
    }

    pub(super) fn add_meters(&mut self, problem: &Problem<'_>) {
        let (slots, meters) = (self.slots, &problem.meters);
        let mut most = vec![[0.0; SIDES]; self.meters * slots];
        for class in &self.classes {
            for car in &self.cars[class.cars.clone()] {
                for (side, elements) in [car.drawn(), car.fed()].into_iter().enumerate() {
                    for (slot, &upper) in car.slots().zip(&self.upper[elements]) {
                        most[class.meter as usize * slots + slot][side] +=
                            f64::from(upper) * class.kw;
                    }
                }
            }
        }
        let class_place: Vec<u32> = self.classes.iter().map(|class| class.place).collect();
        for meter in 0..self.meters {
            let place = problem.network.place_of_node(meters.node[meter].unsigned_abs() as usize);
            let end = problem.network.end[place];
            self.meter_classes.push(below(&class_place, place, end));
            self.kinds.push(Kind::Energy { meter });
            for entry in meter * slots..(meter + 1) * slots {
                let (dear, cheap) =
                    (money(meters.import_price[entry]), money(meters.export_price[entry]));
                let base = self.base[entry];
                self.price.push(if base - most[entry][1] >= 0.0 {
                    [dear, dear]
                } else if base + most[entry][0] <= 0.0 {
                    [cheap, cheap]
                } else {
                    [cheap, dear]
                });
                self.limit.push(-base * self.slot_h);
                self.fixed -= base * self.slot_h * if base > 0.0 { dear } else { cheap };
            }
        }
        self.add_demands(problem, &most);
    }

    /// Demand charges, given the most that the vehicles behind each meter draw and feed in by slot.
    fn add_demands(&mut self, problem: &Problem<'_>, most: &[[f64; SIDES]]) {
        let (slots, meters) = (self.slots, &problem.meters);
        for (charge, &meter) in meters.demand_meter.iter().enumerate() {
            let meter = meter.unsigned_abs() as usize;
            let price = money(meters.demand_price[charge]);
            let so_far = kilo(meters.demand_so_far_w[charge]);
            let rows = meter * slots..(meter + 1) * slots;
            let counted = &mut self.demand_slot[charge * slots..][..slots];
            // Owed whatever the vehicles do; and where there are none, nothing more can come.
            let mut owed = so_far;
            for ((counts, &base), most) in
                counted.iter_mut().zip(&self.base[rows.clone()]).zip(&most[rows.clone()])
            {
                if *counts {
                    owed = owed.max(base - most[1]);
                    *counts = most[0] > 0.0 || most[1] > 0.0;
                }
            }
            self.fixed += price * (owed - so_far);
            self.demand.push((price, meter, owed));
            self.kinds.push(Kind::Demand { charge });
            self.limit.extend(self.base[rows].iter().map(|base| owed - base));
        }
    }
}

/// The classes at the places from `first` to before `end`.
fn below(class_place: &[u32], first: usize, end: u32) -> Range<usize> {
    let start = class_place.partition_point(|&place| (place as usize) < first);
    start..class_place.partition_point(|&place| place < end)
}

/// The limits of one row, by slot; none where it has none.
fn limits_of<'a>(
    problem: &Problem<'a>,
    side: usize,
    node: usize,
    kind: usize,
) -> Option<&'a [i64]> {
    let limits = &problem.limits;
    let (lines, power) =
        [(limits.import_ma, limits.import_w), (limits.export_ma, limits.export_w)][side];
    let (values, start) = if kind == POWER {
        (power, node * problem.slots)
    } else {
        (lines, problem.row_start(node, kind))
    };
    values.get(start..start + problem.slots)
}
