//! From what the vehicles would like to what the rows carry, in whole milliamperes.
//!
//! Answers to prices overload rows by a little. They are cut down row by row from the leaves to the
//! root, and what vehicles lost is filled in again (`fill`). All sums are exact, so that a schedule
//! keeps every row by construction.

use super::battery::{UJ_PER_WH, fed, gained, keep_battery};
use super::layout::{KINDS, Kind, Layout, POWER, SIDES};
use super::sweep::row_of;
use crate::network::NONE;
use crate::units::PHASES;

/// Currents of all elements, and what they load.
#[derive(Debug, Clone, Default)]
pub(crate) struct Schedule {
    /// Milliamperes of each element.
    pub(crate) current: Vec<i32>,
    pub(crate) cost: f64,
}

/// Memory and the loads of a schedule in the making.
#[derive(Debug, Default)]
pub(crate) struct Scheduler {
    scale: Vec<f32>,
    class_load: Vec<f64>,
    /// By side, node, kind and slot: mA and mW.
    pub(super) node: [Vec<i64>; SIDES],
    /// By meter and slot, drawn less fed in, mW.
    pub(super) meter: Vec<i64>,
    /// What a meter should not exceed, mW.
    pub(super) peak: Vec<i64>,
    pub(super) base: Vec<i64>,
}

pub(super) fn milliwatts(kw: f64) -> i64 {
    (kw * 1e6).round() as i64
}

impl Scheduler {
    /// A schedule that keeps every row, close to `answer`.
    pub(crate) fn schedule(
        &mut self,
        layout: &Layout,
        answer: &[f32],
        dual: &[f64],
        prices: &[f32],
    ) -> Schedule {
        self.base = layout.base.iter().map(|&kw| milliwatts(kw)).collect();
        self.cut(layout, answer, dual);
        let mut schedule = Schedule { current: self.rounded(layout, answer), cost: 0.0 };
        for car in &layout.cars {
            // Answers are as exact as floats of 32 bits: the last milliampere may not fit.
            let own = &mut schedule.current[car.all()];
            if car.two_way || car.taper.is_some() || gained(car, own) > car.room_uj {
                keep_battery(car, own);
            }
        }
        self.load(layout, &schedule.current);
        self.feed_down_to_peaks(layout, &mut schedule.current);
        self.fill(layout, answer, prices, &mut schedule.current);
        schedule.cost = self.cost(layout, &schedule.current);
        schedule
    }

    /// What part of its wish each class keeps in each slot so that every row and every peak holds.
    fn cut(&mut self, layout: &Layout, answer: &[f32], dual: &[f64]) {
        let slots = layout.slots;
        self.class_load.clear();
        self.class_load.resize(layout.classes.len() * SIDES * layout.width, 0.0);
        self.scale.clear();
        self.scale.resize(self.class_load.len(), 1.0);
        for (index, class) in layout.classes.iter().enumerate() {
            for car in &layout.cars[class.cars.clone()] {
                for (side, elements) in [car.drawn(), car.fed()].into_iter().enumerate() {
                    let load = &mut self.class_load[row_of(layout, index, side) + car.first..];
                    for (sum, &own) in load.iter_mut().zip(&answer[elements]) {
                        *sum += f64::from(own);
                    }
                }
            }
        }
        for side in 0..SIDES {
            let kept = &layout.sides[side];
            for node in (0..kept.place.len()).rev() {
                let classes = kept.classes[node].clone();
                for (kind, &block) in kept.block[node].iter().enumerate() {
                    if block == NONE {
                        continue;
                    }
                    let limit = &layout.limit[block as usize * slots..][..slots];
                    for (slot, &limit) in limit.iter().enumerate() {
                        self.cut_row(layout, side, classes.clone(), kind, slot, limit);
                    }
                }
            }
        }
        self.choose_peaks(layout, dual);
        for meter in 0..layout.meters {
            let classes = layout.meter_classes[meter].clone();
            for slot in 0..slots {
                let peak = self.peak[meter * slots + slot];
                if peak == i64::MAX {
                    continue;
                }
                let row = |class: usize, side: usize| row_of(layout, class, side) + slot;
                let fed: f64 = classes
                    .clone()
                    .map(|class| layout.classes[class].kw * self.kept(row(class, 1)))
                    .sum();
                let limit = (peak - self.base[meter * slots + slot]) as f64 / 1e6 + fed;
                self.cut_row(layout, 0, classes.clone(), POWER, slot, limit.max(0.0));
            }
        }
    }

    fn kept(&self, row: usize) -> f64 {
        self.class_load[row] * f64::from(self.scale[row])
    }

    fn cut_row(
        &mut self,
        layout: &Layout,
        side: usize,
        classes: std::ops::Range<usize>,
        kind: usize,
        slot: usize,
        limit: f64,
    ) {
        let counts = |class: usize| {
            let class = &layout.classes[class];
            if kind == POWER { class.kw } else { f64::from(class.lines >> kind & 1) }
        };
        let row = |class: usize| row_of(layout, class, side) + slot;
        let load: f64 = classes.clone().map(|class| counts(class) * self.kept(row(class))).sum();
        if load > limit {
            let part = (limit / load * (1.0 - 1e-7)) as f32;
            for class in classes {
                if counts(class) > 0.0 {
                    self.scale[row(class)] *= part;
                }
            }
        }
    }

    /// Where demand charges hold the peaks: at the mean of the loads that pay for it.
    fn choose_peaks(&mut self, layout: &Layout, dual: &[f64]) {
        let slots = layout.slots;
        self.peak.clear();
        self.peak.resize(layout.meters * slots, i64::MAX);
        for (block, kind) in layout.kinds.iter().enumerate() {
            let Kind::Demand { charge } = *kind else { continue };
            let (charged, meter, so_far) = layout.demand[charge];
            if charged <= 0.0 {
                continue;
            }
            let price = &dual[block * slots..][..slots];
            let (mut paid, mut load, mut highest) = (0.0, 0.0, so_far);
            for slot in 0..slots {
                if !layout.demand_slot[charge * slots + slot] {
                    continue;
                }
                let mut net = layout.base[meter * slots + slot];
                for class in layout.meter_classes[meter].clone() {
                    let row = row_of(layout, class, 0) + slot;
                    let fed = row_of(layout, class, 1) + slot;
                    net += layout.classes[class].kw * (self.kept(row) - self.kept(fed));
                }
                paid += price[slot];
                load += price[slot] * net;
                highest = highest.max(net);
            }
            let peak = if paid > 1e-9 { (load / paid).max(so_far) } else { highest };
            for slot in 0..slots {
                if layout.demand_slot[charge * slots + slot] {
                    let row = &mut self.peak[meter * slots + slot];
                    *row = (*row).min(milliwatts(peak));
                }
            }
        }
    }

    fn rounded(&self, layout: &Layout, answer: &[f32]) -> Vec<i32> {
        let mut current = vec![0; answer.len()];
        for (index, class) in layout.classes.iter().enumerate() {
            for car in &layout.cars[class.cars.clone()] {
                for (side, elements) in [car.drawn(), car.fed()].into_iter().enumerate() {
                    let scale = &self.scale[row_of(layout, index, side) + car.first..];
                    let most = &layout.most_ma[elements.clone()];
                    let to = current[elements.clone()].iter_mut();
                    for (((to, &own), &scale), &most) in
                        to.zip(&answer[elements]).zip(scale).zip(most)
                    {
                        *to = ((own * scale * 1e3) as i32).clamp(0, most);
                    }
                }
            }
        }
        current
    }

    /// Sum up what every row carries.
    fn load(&mut self, layout: &Layout, current: &[i32]) {
        let slots = layout.slots;
        self.meter.clear();
        self.meter.resize(layout.meters * slots, 0);
        for side in 0..SIDES {
            let kept = &layout.sides[side];
            let length = KINDS * slots;
            let nodes = &mut self.node[side];
            nodes.clear();
            nodes.resize(kept.place.len() * length, 0);
            for class in &layout.classes {
                let node = class.node[side];
                let meter = class.meter as usize * slots;
                for car in &layout.cars[class.cars.clone()] {
                    let elements = if side == 0 { car.drawn() } else { car.fed() };
                    for (slot, &own) in car.slots().zip(&current[elements]) {
                        let own = i64::from(own);
                        let power = own * car.volts;
                        self.meter[meter + slot] += if side == 0 { power } else { -power };
                        if node != NONE {
                            let row = node as usize * length + slot;
                            for line in (0..PHASES).filter(|line| class.lines >> line & 1 == 1) {
                                nodes[row + line * slots] += own;
                            }
                            nodes[row + POWER * slots] += power;
                        }
                    }
                }
            }
            for node in (0..kept.place.len()).rev() {
                let up = kept.parent[node];
                if up != NONE {
                    let (above, below) = nodes.split_at_mut(node * length);
                    let above = &mut above[up as usize * length..][..length];
                    for (sum, own) in above.iter_mut().zip(&below[..length]) {
                        *sum += own;
                    }
                }
            }
        }
    }

    /// What the schedule costs, in the currency.
    fn cost(&self, layout: &Layout, current: &[i32]) -> f64 {
        let slots = layout.slots;
        let mut total = layout.fixed;
        let kw = |meter: usize, slot: usize| {
            layout.base[meter * slots + slot] + self.meter[meter * slots + slot] as f64 / 1e6
        };
        for meter in 0..layout.meters {
            for slot in 0..slots {
                let (net, [low, high]) = (kw(meter, slot), layout.price[meter * slots + slot]);
                total += layout.slot_h * net * if net > 0.0 { high } else { low };
            }
        }
        for (charge, &(price, meter, so_far)) in layout.demand.iter().enumerate() {
            let counted = &layout.demand_slot[charge * slots..][..slots];
            let peak = (0..slots)
                .filter(|&slot| counted[slot])
                .map(|slot| kw(meter, slot))
                .fold(so_far, f64::max);
            total += price * (peak - so_far);
        }
        for car in &layout.cars {
            let own = &current[car.all()];
            for (slot, &drawn) in car.slots().zip(&own[..car.stride]) {
                total +=
                    layout.late * slot as f64 * f64::from(drawn) / 1e3 * car.kw * layout.slot_h;
            }
            if car.two_way {
                let fed: i64 = fed(car, own).iter().map(|&own| i64::from(own)).sum();
                total += car.wear * fed as f64 / 1e3;
            }
            let missing = car.need - gained(car, own) as f64 / (UJ_PER_WH as f64 * 1e3);
            total += car.penalty * missing.max(0.0);
        }
        total
    }
}
