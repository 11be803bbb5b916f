//! A problem laid out for sweeps: vehicles that see the same prices together, and only the rows that
//! could ever bind.
//!
//! A row that carries the maximums of everyone below it in every slot is left out; nodes without a
//! row that is left are left out with it. Currents are amperes, powers kilowatts, energies
//! kilowatt-hours, money the currency: numbers near one, which is what 32-bit floats want.

use std::ops::Range;

use super::battery::UJ_PER_WH;
use super::problem::{PERMILLE, Problem, at};
use crate::network::NONE;
use crate::units::PHASES;

/// Rows of a node on one side: three lines and the power of all.
pub(crate) const KINDS: usize = 4;
/// Which of them is the power.
pub(crate) const POWER: usize = 3;
/// Elements of a vehicle come in multiples of this, so that loops over them have no remainder.
pub(crate) const LANES: usize = 8;
/// What is drawn and what is fed in have rows of their own.
pub(crate) const SIDES: usize = 2;

/// Vehicles on the same lines of one node at one voltage: below the same rows.
#[derive(Debug, Clone)]
pub(crate) struct Class {
    pub(crate) cars: Range<usize>,
    /// The place of its node in the network.
    pub(crate) place: u32,
    /// The nearest node of each side that has rows, or `NONE`.
    pub(crate) node: [u32; SIDES],
    pub(crate) lines: u8,
    pub(crate) meter: u32,
    /// Kilowatts of an ampere.
    pub(crate) kw: f64,
    /// The sum of the coefficients of one ampere over all rows.
    pub(crate) weight: f64,
    /// Whether any of them can feed in.
    pub(crate) two_way: bool,
    /// The latest slot that any is there, and the first; one beyond the last.
    pub(crate) slots: Range<usize>,
}

/// One vehicle.
#[derive(Debug, Clone)]
pub(crate) struct Car {
    /// The caller's index.
    pub(crate) index: usize,
    /// Its first element, and how many slots it has; what is fed in follows after `stride`.
    pub(crate) offset: usize,
    pub(crate) stride: usize,
    pub(crate) first: usize,
    pub(crate) count: usize,
    pub(crate) two_way: bool,
    /// Kilowatt-hours that an ampere over a slot brings into the battery.
    pub(crate) gain: f64,
    /// Kilowatt-hours that feeding in an ampere over a slot takes out of it.
    pub(crate) loss: f64,
    /// Kilowatts of an ampere.
    pub(crate) kw: f64,
    pub(crate) volts: i64,
    /// Microjoules that a milliampere over a slot brings into the battery.
    pub(crate) unit: i64,
    /// Millijoules that a milliampere over a slot is at the connector, and what of a thousand taken
    /// from the battery arrives there.
    millijoules: i64,
    discharge_permille: i64,
    pub(crate) room_uj: i64,
    pub(crate) spare_uj: i64,
    /// What is due within the horizon, possible or not.
    pub(crate) due_uj: i64,
    /// What of it is possible.
    pub(crate) need: f64,
    pub(crate) room: f64,
    pub(crate) spare: f64,
    /// The sum of the coefficients of one ampere over all rows.
    pub(crate) weight: f64,
    /// Per kilowatt-hour.
    pub(crate) penalty: f64,
    /// Per ampere and slot fed in.
    pub(crate) wear: f64,
    /// Where the battery takes less and less as it fills.
    pub(crate) taper: Option<Taper>,
}

/// Drawing `x` amperes in a slot with `e` kilowatt-hours gained at its end, `x + slope * e <= limit`:
/// on the safe side, since it is the end of the slot that counts for all of it.
#[derive(Debug, Clone)]
pub(crate) struct Taper {
    pub(crate) slope: f64,
    pub(crate) limit: f64,
    /// The same exactly, mA and uJ: `x * width + drop * (e - from) <= most * width`.
    pub(crate) most: i64,
    pub(crate) drop: i64,
    pub(crate) from_uj: i64,
    pub(crate) width_uj: i64,
}

impl Car {
    /// Its slots.
    pub(crate) fn slots(&self) -> Range<usize> {
        self.first..self.first + self.count
    }

    /// Its elements for drawing.
    pub(crate) fn drawn(&self) -> Range<usize> {
        self.offset..self.offset + self.stride
    }

    /// Its elements for feeding in.
    pub(crate) fn fed(&self) -> Range<usize> {
        let start = self.offset + self.stride;
        start..start + if self.two_way { self.stride } else { 0 }
    }

    /// The sum of the coefficients of the taper's row of a slot; of an ampere, over all of them, it is
    /// at most that of the last.
    pub(crate) fn taper_row_weight(&self, taper: &Taper, slot: usize) -> f64 {
        let own = self.gain.max(if self.two_way { self.loss } else { 0.0 });
        1.0 + taper.slope * own * (slot + 1) as f64
    }

    /// Microjoules that feeding in takes out of the battery, rounded up.
    pub(crate) fn taken(&self, fed_ma: i32) -> i64 {
        let taken = i128::from(fed_ma) * i128::from(self.millijoules) * 1_000_000;
        let permille = i128::from(self.discharge_permille);
        i64::try_from((taken + permille - 1) / permille).unwrap_or(i64::MAX)
    }

    /// The most that can be fed in from an energy in the battery.
    pub(crate) fn feeds(&self, energy_uj: i64) -> i32 {
        let most = i128::from(energy_uj.max(0)) * i128::from(self.discharge_permille)
            / (i128::from(self.millijoules) * 1_000_000);
        i32::try_from(most).unwrap_or(i32::MAX)
    }

    /// The prices of its taper.
    pub(crate) fn tapered(&self) -> Range<usize> {
        let start = self.fed().end;
        start..start + if self.taper.is_some() { self.stride } else { 0 }
    }

    /// All its elements.
    pub(crate) fn all(&self) -> Range<usize> {
        self.offset..self.tapered().end
    }
}

/// The nodes of one side that have rows, parents before children.
#[derive(Debug, Clone, Default)]
pub(crate) struct Side {
    /// The nearest such node above, or `NONE`.
    pub(crate) parent: Vec<u32>,
    /// The place of each in the network.
    pub(crate) place: Vec<usize>,
    /// The rows that can bind, as blocks.
    pub(crate) block: Vec<[u32; KINDS]>,
    /// The classes below each.
    pub(crate) classes: Vec<Range<usize>>,
}

/// What a block of rows, one for each slot, holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A limit; its price is at least 0.
    Cap,
    /// The price of energy at a meter, between what feeding in earns and what drawing costs.
    Energy { meter: usize },
    /// Prices of power that sum up to a demand charge.
    Demand { charge: usize },
}

/// A problem laid out.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) slots: usize,
    /// Slots rounded up to whole lanes, plus one group: the length of a row of prices.
    pub(crate) width: usize,
    pub(crate) slot_h: f64,
    pub(crate) classes: Vec<Class>,
    pub(crate) cars: Vec<Car>,
    /// The most that each element may be, in amperes and in milliamperes.
    pub(crate) upper: Vec<f32>,
    pub(crate) most_ma: Vec<i32>,
    pub(crate) sides: [Side; SIDES],
    pub(crate) kinds: Vec<Kind>,
    /// What a row's load is compared with: `[block * slots + slot]`.
    pub(crate) limit: Vec<f64>,
    /// The same of limits in milliamperes and milliwatts, for those blocks that are limits.
    pub(crate) limit_exact: Vec<i64>,
    /// The sum of the coefficients of each row.
    pub(crate) weight: Vec<f64>,
    /// The least and the most that the price of energy at a meter may be.
    pub(crate) price: Vec<[f64; 2]>,
    /// What each demand charge costs per kilowatt, its meter, and the peak so far.
    pub(crate) demand: Vec<(f64, usize, f64)>,
    pub(crate) demand_slot: Vec<bool>,
    /// Kilowatts behind each meter that are not vehicles.
    pub(crate) base: Vec<f64>,
    /// What a kilowatt-hour is the worse per slot of waiting.
    pub(crate) late: f64,
    pub(crate) meters: usize,
    /// Classes that are worth a job of their own: the same whatever the number of threads.
    pub(crate) jobs: Vec<Range<usize>>,
    /// The classes below each meter.
    pub(crate) meter_classes: Vec<Range<usize>>,
    /// What no plan changes: the part of demand charges that is owed whatever the vehicles do, less
    /// what the building's energy costs alone.
    pub(crate) fixed: f64,
}

/// A price of the caller's, in the currency.
pub(crate) fn money(micro: i64) -> f64 {
    micro as f64 / 1e6
}

/// A thousandth of the caller's unit: amperes of milliamperes, kilowatts of watts.
pub(crate) fn kilo(thousandths: i64) -> f64 {
    thousandths as f64 / 1e3
}

impl Layout {
    pub(crate) fn new(problem: &Problem<'_>) -> Self {
        let slots = problem.slots;
        let meter_of_place = problem.meter_of_places();
        let mut layout = Self {
            slots,
            width: slots.next_multiple_of(LANES) + LANES,
            slot_h: kilo(problem.slot_s) / 3.6,
            classes: Vec::new(),
            cars: Vec::new(),
            upper: Vec::new(),
            most_ma: Vec::new(),
            limit_exact: Vec::new(),
            meter_classes: Vec::new(),
            fixed: 0.0,
            jobs: Vec::new(),
            sides: [Side::default(), Side::default()],
            kinds: Vec::new(),
            limit: Vec::new(),
            weight: Vec::new(),
            price: Vec::new(),
            demand: Vec::new(),
            demand_slot: problem.meters.demand_slot.to_vec(),
            base: problem.meters.base_w.iter().map(|&watts| kilo(watts)).collect(),
            late: money(problem.late_price),
            meters: problem.meters.node.len(),
        };
        layout.add_cars(problem, &meter_of_place);
        let potentials = [0, 1].map(|side| layout.potential(problem, side));
        for side in 0..SIDES {
            layout.add_side(problem, side, &potentials[side]);
        }
        layout.add_meters(problem);
        layout.weigh();
        layout.share_out();
        layout
    }

    /// Part the classes into jobs of about equal size.
    fn share_out(&mut self) {
        const JOB_ELEMENTS: usize = 6_144;
        let (mut first, mut from) = (0, 0);
        for (index, class) in self.classes.iter().enumerate() {
            let end = self.cars.get(class.cars.end).map_or(self.upper.len(), |car| car.offset);
            if end - from >= JOB_ELEMENTS || index + 1 == self.classes.len() {
                self.jobs.push(first..index + 1);
                (first, from) = (index + 1, end);
            }
        }
    }

    /// The cars of some classes.
    pub(crate) fn cars_of(&self, classes: &Range<usize>) -> Range<usize> {
        match &self.classes[classes.clone()] {
            [] => 0..0,
            [first, ..] => first.cars.start..self.classes[classes.end - 1].cars.end,
        }
    }

    /// The elements of some cars.
    pub(crate) fn elements_of(&self, cars: &Range<usize>) -> Range<usize> {
        match &self.cars[cars.clone()] {
            [] => 0..0,
            [first, ..] => first.offset..self.cars[cars.end - 1].all().end,
        }
    }

    /// The classes in the order of the network, with their vehicles.
    fn add_cars(&mut self, problem: &Problem<'_>, meter_of_place: &[u32]) {
        let (network, fleet) = (problem.network, &problem.fleet);
        for group in &network.groups {
            let mut leaves: Vec<usize> = network.leaf_at[group.first as usize..group.end as usize]
                .iter()
                .map(|&leaf| leaf as usize)
                .collect();
            leaves.sort_by_key(|&leaf| (fleet.volts[leaf], leaf));
            for same in leaves.chunk_by(|&a, &b| fleet.volts[a] == fleet.volts[b]) {
                let first = self.cars.len();
                for &leaf in same {
                    self.add_car(problem, leaf, meter_of_place[group.node as usize] as usize);
                }
                let cars = first..self.cars.len();
                let there = self.cars[cars.clone()].iter().filter(|car| car.count > 0);
                let begin = there.clone().map(|car| car.first).min().unwrap_or(0);
                let end = there.map(|car| car.first + car.count).max().unwrap_or(0);
                self.classes.push(Class {
                    place: group.node,
                    node: [NONE, NONE],
                    lines: group.phases,
                    meter: meter_of_place[group.node as usize],
                    kw: kilo(fleet.volts[same[0]]),
                    weight: 0.0,
                    two_way: self.cars[cars.clone()].iter().any(|car| car.two_way),
                    slots: begin..end,
                    cars,
                });
            }
        }
    }

    fn add_car(&mut self, problem: &Problem<'_>, index: usize, meter: usize) {
        let (fleet, slot_s) = (&problem.fleet, problem.slot_s);
        let end_s = i64::try_from(self.slots).unwrap_or(i64::MAX) * slot_s;
        let (from_s, until_s) =
            (fleet.arrival_s[index].clamp(0, end_s), fleet.departure_s[index].clamp(0, end_s));
        let first = usize::try_from(from_s / slot_s).unwrap_or(0);
        let beyond = usize::try_from((until_s + slot_s - 1) / slot_s).unwrap_or(0);
        let count = beyond.saturating_sub(first);
        let feeds_ma = at(fleet.discharge_ma, index, 0);
        let may_feed = feeds_ma > 0 && !problem.limits.export_ma.is_empty();
        let two_way = may_feed && count > 0;
        let kw = kilo(fleet.volts[index]);
        let charge = kilo(at(fleet.charge_permille, index, PERMILLE));
        let discharge = kilo(at(fleet.discharge_permille, index, PERMILLE));
        let gain = kw * self.slot_h * charge;
        let due_wh = due_wh(problem, index);
        let stride = count.next_multiple_of(LANES);
        let offset = self.upper.len();
        for (side, most_ma) in [fleet.max_ma[index], feeds_ma].into_iter().enumerate() {
            if side == 1 && !two_way {
                break;
            }
            for slot in first..first + stride {
                let begin_s = i64::try_from(slot).unwrap_or(0) * slot_s;
                let there_s = (until_s.min(begin_s + slot_s) - from_s.max(begin_s)).max(0);
                // Nobody is paid for burning energy: what is free to draw is not fed in.
                let price = problem.meters.import_price.get(meter * self.slots + slot);
                let stopped = side == 1 && price.is_none_or(|&price| price < 0);
                let most_ma = if stopped { 0 } else { most_ma * there_s / slot_s };
                self.upper.push(amperes(most_ma));
                self.most_ma.push(i32::try_from(most_ma).unwrap_or(i32::MAX));
            }
        }
        let taper = taper(problem, index);
        if taper.is_some() {
            self.upper.resize(self.upper.len() + stride, 0.0);
            self.most_ma.resize(self.upper.len(), 0);
        }
        // What full power for the whole stay could not bring is nobody's choice and costs nothing.
        let possible: f64 =
            self.upper[offset..offset + stride].iter().map(|&most| f64::from(most)).sum();
        self.cars.push(Car {
            index,
            offset,
            stride,
            first,
            count,
            two_way,
            gain,
            loss: kw * self.slot_h / discharge,
            kw,
            volts: fleet.volts[index],
            unit: fleet.volts[index] * slot_s * at(fleet.charge_permille, index, PERMILLE),
            millijoules: fleet.volts[index] * slot_s,
            discharge_permille: at(fleet.discharge_permille, index, PERMILLE),
            room_uj: fleet.room_wh[index] * UJ_PER_WH,
            spare_uj: at(fleet.spare_wh, index, 0) * UJ_PER_WH,
            due_uj: due_wh * UJ_PER_WH,
            need: kilo(due_wh).min(gain * possible),
            room: kilo(fleet.room_wh[index]),
            spare: kilo(at(fleet.spare_wh, index, 0)),
            weight: 0.0,
            penalty: money(fleet.penalty[index]),
            wear: money(at(fleet.wear_price, index, 0)) * kw * self.slot_h,
            taper,
        });
    }

    /// The most that could flow through each row of one side: `[(place * 4 + kind) * slots + slot]`.
    fn potential(&self, problem: &Problem<'_>, side: usize) -> Vec<f64> {
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
    fn add_side(&mut self, problem: &Problem<'_>, side: usize, potential: &[f64]) {
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

    fn add_meters(&mut self, problem: &Problem<'_>) {
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

    /// The sums of the coefficients, by which steps are scaled (Pock and Chambolle, Diagonal
    /// preconditioning for first order primal-dual algorithms, ICCV 2011).
    fn weigh(&mut self) {
        /// Keeps steps of those below no row in the range of their currents.
        const LEAST: f64 = 0.05;
        let slots = self.slots;
        self.weight = vec![0.0; self.limit.len()];
        for class in &mut self.classes {
            let mut count = vec![[0.0_f64; SIDES]; slots];
            for car in &self.cars[class.cars.clone()] {
                for slot in car.slots() {
                    count[slot][0] += 1.0;
                    count[slot][1] += f64::from(u8::from(car.two_way));
                }
            }
            let mut total = [0.0; SIDES];
            for (side, total) in total.iter_mut().enumerate() {
                let mut node = class.node[side];
                while node != NONE {
                    for (kind, &block) in self.sides[side].block[node as usize].iter().enumerate() {
                        let own = if kind == POWER {
                            class.kw
                        } else {
                            f64::from(class.lines >> kind & 1)
                        };
                        if block == NONE || own == 0.0 {
                            continue;
                        }
                        *total += own;
                        let rows = &mut self.weight[block as usize * slots..][..slots];
                        for (sum, count) in rows.iter_mut().zip(&count) {
                            *sum += own * count[side];
                        }
                    }
                    node = self.sides[side].parent[node as usize];
                }
            }
            class.weight = total[0].max(if class.two_way { total[1] } else { 0.0 });
            for (block, kind) in self.kinds.iter().enumerate() {
                let own = match *kind {
                    Kind::Energy { meter } if meter == class.meter as usize => {
                        let prices = &self.price[meter * slots..][..slots];
                        if prices.iter().all(|[low, high]| low == high) {
                            continue;
                        }
                        class.kw * self.slot_h
                    }
                    Kind::Demand { charge } if self.demand[charge].1 == class.meter as usize => {
                        class.kw
                    }
                    _ => continue,
                };
                class.weight += own;
                let rows = &mut self.weight[block * slots..][..slots];
                for (sum, count) in rows.iter_mut().zip(&count) {
                    *sum += own * (count[0] + count[1]);
                }
            }
            for car in &mut self.cars[class.cars.clone()] {
                let taper =
                    car.taper.as_ref().map_or(0.0, |taper| car.taper_row_weight(taper, car.count));
                car.weight = (class.weight + taper).max(LEAST);
            }
        }
    }
}

/// How a battery takes less as it fills, if it ever gets there.
fn taper(problem: &Problem<'_>, index: usize) -> Option<Taper> {
    let fleet = &problem.fleet;
    let &from_wh = fleet.taper_from_wh.get(index)?;
    let width_wh = fleet.room_wh[index] - from_wh;
    let (most, end) = (fleet.max_ma[index], at(fleet.taper_ma, index, 0));
    if width_wh <= 0 || most == end {
        return None;
    }
    let slope = kilo(most - end) / kilo(width_wh);
    Some(Taper {
        slope,
        limit: kilo(most) + slope * kilo(from_wh),
        most,
        drop: most - end,
        from_uj: from_wh * UJ_PER_WH,
        width_uj: width_wh * UJ_PER_WH,
    })
}

/// What is due within the horizon: what full power after it can still bring is left for then.
fn due_wh(problem: &Problem<'_>, index: usize) -> i64 {
    let fleet = &problem.fleet;
    let end_s = i64::try_from(problem.slots).unwrap_or(i64::MAX) * problem.slot_s;
    let later_s = fleet.departure_s[index] - fleet.arrival_s[index].max(end_s);
    let need_wh = fleet.need_wh[index];
    let charge = i128::from(at(fleet.charge_permille, index, PERMILLE));
    let later = i128::from(fleet.max_ma[index])
        * i128::from(fleet.volts[index])
        * i128::from(later_s.max(0))
        * charge
        / (3_600 * 1_000 * 1_000);
    let later_wh = i64::try_from(later).unwrap_or(i64::MAX);
    need_wh.min(need_wh.saturating_sub(later_wh).max(0))
}

fn amperes(most_ma: i64) -> f32 {
    kilo(most_ma) as f32
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
