//! From what the vehicles would like to what the rows carry, in whole milliamperes.
//!
//! Answers to prices overload rows by a little. They are cut down row by row from the leaves to the
//! root, and what vehicles lost is filled in again in the cheapest slots that have room. All sums
//! are exact, so that a schedule keeps every row by construction.

use super::layout::{Car, KINDS, Layout, POWER, SIDES, Taper};
use super::sweep::row_of;
use crate::network::NONE;
use crate::units::PHASES;

/// Microjoules of a watt-hour.
pub(crate) const UJ_PER_WH: i64 = 3_600_000_000;

/// How much a peak may be raised for what found no room below it, in turns, as parts of it.
const RAISES: [f64; 6] = [0.0, 0.0002, 0.001, 0.004, 0.02, 0.1];

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
    node: [Vec<i64>; SIDES],
    /// By meter and slot, drawn less fed in, mW.
    meter: Vec<i64>,
    /// What a meter should not exceed, mW.
    peak: Vec<i64>,
    base: Vec<i64>,
}

fn milliwatts(kw: f64) -> i64 {
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
            if car.two_way || car.taper.is_some() {
                keep_battery(car, &mut schedule.current[car.all()]);
            }
        }
        self.load(layout, &schedule.current);
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
            let super::layout::Kind::Demand { charge } = *kind else { continue };
            let (_, meter, so_far) = layout.demand[charge];
            let price = &dual[block * slots..][..slots];
            let (mut paid, mut load, mut least) = (0.0, 0.0, so_far);
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
                if paid <= 0.0 {
                    least = least.max(net);
                }
            }
            let peak = if paid > 1e-9 { (load / paid).max(so_far) } else { least };
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

    /// Give vehicles back what they lost, in the cheapest slots with room, and where there is none
    /// below a peak, above it.
    fn fill(&mut self, layout: &Layout, answer: &[f32], prices: &[f32], current: &mut [i32]) {
        let mut short: Vec<(usize, usize, i64)> = Vec::new();
        for (index, class) in layout.classes.iter().enumerate() {
            for number in class.cars.clone() {
                let car = &layout.cars[number];
                let missing = wanted(car, &answer[car.all()]) - gained(car, &current[car.all()]);
                if missing > 0 {
                    short.push((index, number, missing));
                }
            }
        }
        // Those whose energy matters most first, then those that have the least choice.
        short.sort_by(|a, b| {
            let (one, other) = (&layout.cars[a.1], &layout.cars[b.1]);
            other
                .penalty
                .total_cmp(&one.penalty)
                .then(one.count.cmp(&other.count))
                .then(a.1.cmp(&b.1))
        });
        let base = self.peak.clone();
        let mut order = Vec::new();
        for raise in RAISES {
            for (peak, &base) in self.peak.iter_mut().zip(&base) {
                if base != i64::MAX {
                    *peak = base + milliwatts(raise * base as f64 / 1e6);
                }
            }
            for (class, number, missing) in &mut short {
                let car = &layout.cars[*number];
                let row = row_of(layout, *class, 0) + car.first;
                order.clear();
                order.extend(prices[row..row + car.count].iter().copied().zip(0..car.count));
                order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                for &(price, slot) in &order {
                    if *missing <= 0 || f64::from(price) >= car.penalty * car.gain {
                        break;
                    }
                    // The last milliampere may bring more than is missing, if it fits.
                    let most = (*missing + car.unit - 1) / car.unit;
                    let given = self.raise(layout, *class, car, slot, most, current);
                    *missing -= given * car.unit;
                }
            }
            short.retain(|(.., missing)| *missing > 0);
            if short.is_empty() {
                break;
            }
        }
    }

    /// Let a vehicle draw up to `most` more in a slot; returns what it got.
    fn raise(
        &mut self,
        layout: &Layout,
        index: usize,
        car: &Car,
        slot: usize,
        most: i64,
        current: &mut [i32],
    ) -> i64 {
        let (slots, class) = (layout.slots, &layout.classes[index]);
        let at = car.first + slot;
        let element = car.offset + slot;
        let meter = class.meter as usize * slots + at;
        let mut room = most.min(i64::from(layout.most_ma[element] - current[element]));
        if self.peak[meter] != i64::MAX {
            let below = self.peak[meter] - self.base[meter] - self.meter[meter];
            room = room.min(below.div_euclid(car.volts));
        }
        let mut node = class.node[0];
        while node != NONE && room > 0 {
            let row = node as usize * KINDS * slots + at;
            for (kind, &block) in layout.sides[0].block[node as usize].iter().enumerate() {
                if block == NONE || (kind != POWER && class.lines >> kind & 1 == 0) {
                    continue;
                }
                let left = layout.limit_exact[block as usize * slots + at]
                    - self.node[0][row + kind * slots];
                room = room.min(if kind == POWER { left.div_euclid(car.volts) } else { left });
            }
            node = layout.sides[0].parent[node as usize];
        }
        if room > 0 {
            room = room.min(battery_room(car, &current[car.all()], slot));
        }
        if room <= 0 {
            return 0;
        }
        current[element] += i32::try_from(room).unwrap_or(0);
        self.meter[meter] += room * car.volts;
        let mut node = class.node[0];
        while node != NONE {
            let row = node as usize * KINDS * slots + at;
            for line in (0..PHASES).filter(|line| class.lines >> line & 1 == 1) {
                self.node[0][row + line * slots] += room;
            }
            self.node[0][row + POWER * slots] += room * car.volts;
            node = layout.sides[0].parent[node as usize];
        }
        room
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

/// What the battery gains over the whole stay, in microjoules.
pub(crate) fn gained(car: &Car, current: &[i32]) -> i64 {
    let drawn: i64 = current[..car.stride].iter().map(|&own| i64::from(own)).sum();
    drawn * car.unit - fed(car, current).iter().map(|&own| car.taken(own)).sum::<i64>()
}

/// What is fed in, by slot; nothing where it never does.
fn fed<'a>(car: &Car, current: &'a [i32]) -> &'a [i32] {
    &current[car.stride..car.fed().end - car.offset]
}

/// What it would like to gain: what its answer brings, rounded up to the need where that is near.
fn wanted(car: &Car, answer: &[f32]) -> i64 {
    let sum = |elements: &[f32]| elements.iter().map(|&own| f64::from(own)).sum::<f64>();
    let drawn = sum(&answer[..car.stride]);
    let energy = car.gain * drawn - car.loss * sum(&answer[car.stride..car.fed().end - car.offset]);
    let wanted =
        if energy > car.need * (1.0 - 1e-4) - 1e-6 { energy.max(car.need) } else { energy };
    (wanted.min(car.room) * UJ_PER_WH as f64 * 1e3) as i64
}

/// Keep the energy in the battery within its bounds in every slot, later slots giving way.
fn keep_battery(car: &Car, current: &mut [i32]) {
    let mut has = 0;
    for slot in 0..car.count {
        if car.two_way {
            one_way_at_once(car, current, slot);
        }
        let mut most = (car.room_uj - has) / car.unit;
        if let Some(taper) = &car.taper {
            most = most.min(taper.room(0, has, car.unit));
        }
        let drawn = i32::try_from(most.clamp(0, i64::from(current[slot]))).unwrap_or(0);
        current[slot] = drawn;
        has += i64::from(drawn) * car.unit;
        if car.two_way {
            let fed = &mut current[car.stride + slot];
            *fed = (*fed).min(car.feeds(has + car.spare_uj));
            has -= car.taken(*fed);
        }
    }
}

/// Nobody draws and feeds in at once: what is drawn only to be fed in again is left out.
fn one_way_at_once(car: &Car, current: &mut [i32], slot: usize) {
    let (drawn, fed) = (i64::from(current[slot]), current[car.stride + slot]);
    if drawn == 0 || fed == 0 {
        return;
    }
    let taken = car.taken(fed);
    let left = drawn - (taken + car.unit - 1) / car.unit;
    let feeds = if left >= 0 { 0 } else { car.feeds(taken - drawn * car.unit) };
    current[slot] = i32::try_from(left.max(0)).unwrap_or(0);
    current[car.stride + slot] = feeds;
}

/// How many milliamperes more can be drawn in a slot without a battery that is too full then or later.
fn battery_room(car: &Car, current: &[i32], slot: usize) -> i64 {
    if car.two_way && current[car.stride + slot] > 0 {
        return 0;
    }
    if !car.two_way && car.taper.is_none() {
        return (car.room_uj - gained(car, current)).div_euclid(car.unit);
    }
    let (mut has, mut most) = (0, i64::MAX);
    for at in 0..car.count {
        has += i64::from(current[at]) * car.unit;
        if at >= slot {
            most = most.min((car.room_uj - has).div_euclid(car.unit));
            if let Some(taper) = &car.taper {
                let own = i64::from(current[at]);
                let more = if at == slot {
                    taper.room(own, has, car.unit)
                } else {
                    taper.later_room(own, has, car.unit)
                };
                most = most.min(more);
            }
        }
        if car.two_way {
            has -= car.taken(current[car.stride + at]);
        }
    }
    most
}

impl Taper {
    /// How much is left below the limit, mA times uJ, drawing `own` with `has` at the end of a slot.
    fn left(&self, own: i64, has: i64) -> i128 {
        i128::from(self.most - own) * i128::from(self.width_uj)
            - i128::from(self.drop) * i128::from(has - self.from_uj)
    }

    /// How much more may be drawn in the slot, each milliampere bringing `unit`.
    fn room(&self, own: i64, has: i64, unit: i64) -> i64 {
        let each = i128::from(self.width_uj) + i128::from(self.drop) * i128::from(unit);
        i64::try_from(self.left(own, has).div_euclid(each)).unwrap_or(i64::MIN)
    }

    /// How much more may have been drawn before it.
    fn later_room(&self, own: i64, has: i64, unit: i64) -> i64 {
        if own == 0 {
            return i64::MAX;
        }
        let each = i128::from(self.drop) * i128::from(unit);
        i64::try_from(self.left(own, has).div_euclid(each)).unwrap_or(i64::MAX)
    }
}
