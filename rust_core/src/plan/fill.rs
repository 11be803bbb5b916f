//! What vehicles lost when a schedule was cut to its rows, filled in again where there is room.
//!
//! The cheapest slots come first, and vehicles in the order of what their energy is worth. What then
//! is missing still is exchanged: where a row is full, one whose energy is worth less gives way.

use std::ops::Range;

use super::battery::{
    battery_gives, battery_room, battery_spares, drawn_before_taper, gained, wanted,
};
use super::car::Car;
use super::layout::{KINDS, Layout, POWER};
use super::schedule::{Scheduler, milliwatts};
use super::sweep::row_of;
use crate::network::NONE;
use crate::units::PHASES;

/// How much a peak may be raised for what found no room below it, in turns, as parts of it.
const RAISES: [f64; 6] = [0.0, 0.0002, 0.001, 0.004, 0.02, 0.1];
/// How many exchanges are tried, beside one for each vehicle of the horizon.
const EXCHANGES: usize = 1_000;

/// A vehicle that has less than it would like.
struct Short {
    class: usize,
    car: usize,
    /// Microjoules.
    missing: i64,
}

impl Scheduler {
    /// Give those that feed in back the milliampere that rounding took, where a peak lacks it: a watt
    /// above a peak may cost more than all the energy that it is about.
    pub(super) fn feed_down_to_peaks(&mut self, layout: &Layout, current: &mut [i32]) {
        for (index, class) in layout.classes.iter().enumerate().filter(|(_, class)| class.two_way) {
            for car in layout.cars[class.cars.clone()].iter().filter(|car| car.two_way) {
                for slot in 0..car.count {
                    let meter = class.meter as usize * layout.slots + car.first + slot;
                    let load = self.base[meter] + self.meter[meter];
                    if load > self.peak[meter] {
                        self.feed_one_more(layout, (index, car, slot), current);
                    }
                }
            }
        }
    }

    /// Let a vehicle that feeds in feed in a milliampere more, if its battery and every row allow.
    fn feed_one_more(
        &mut self,
        layout: &Layout,
        (index, car, slot): (usize, &Car, usize),
        current: &mut [i32],
    ) {
        let element = car.fed().start + slot;
        let fed = current[element];
        let taken = car.taken(fed + 1) - car.taken(fed);
        if fed == 0
            || fed >= layout.most_ma[element]
            || battery_spares(car, &current[car.all()], slot) < taken
        {
            return;
        }
        let mut node = layout.classes[index].node[1];
        while node != NONE {
            if self.node_room(layout, index, (1, car.first + slot), car.volts, node) <= 0 {
                return;
            }
            node = layout.sides[1].parent[node as usize];
        }
        current[element] += 1;
        self.add_load(layout, index, (1, car.first + slot), 1, car.volts);
    }

    /// Give vehicles back what they lost; where there is no room below a peak, above it.
    pub(super) fn fill(
        &mut self,
        layout: &Layout,
        answer: &[f32],
        prices: &[f32],
        current: &mut [i32],
    ) {
        let mut short = shortest_first(layout, answer, current);
        let base = self.peak.clone();
        let mut order = Vec::new();
        for (turn, raise) in RAISES.into_iter().enumerate() {
            for (peak, &base) in self.peak.iter_mut().zip(&base) {
                if base != i64::MAX {
                    *peak = base + milliwatts(raise * base as f64 / 1e6);
                }
            }
            for each in &mut short {
                cheapest_first(layout, each, prices, &mut order);
                for &(_, slot) in &order {
                    if each.missing <= 0 {
                        break;
                    }
                    let most = each.most(layout);
                    let car = &layout.cars[each.car];
                    let given = self.raise(layout, each.class, car, slot, most, current);
                    each.missing -= given.unwrap_or(0);
                }
            }
            short.retain(|each| each.missing > 0);
            if turn == 0 {
                self.exchange(layout, &mut short, prices, current);
            }
            if short.is_empty() {
                break;
            }
        }
    }

    /// Let others give way to those that are still short and whose energy is worth more; others are
    /// short then.
    fn exchange(
        &mut self,
        layout: &Layout,
        short: &mut Vec<Short>,
        prices: &[f32],
        current: &mut [i32],
    ) {
        let mut tries = EXCHANGES + layout.cars.len();
        let (mut order, mut gave) = (Vec::new(), Vec::new());
        for each in short.iter_mut() {
            cheapest_first(layout, each, prices, &mut order);
            for &(_, slot) in &order {
                if each.missing <= 0 || tries == 0 {
                    break;
                }
                self.exchange_in(layout, each, slot, current, (&mut tries, &mut gave));
            }
        }
        short.retain(|each| each.missing > 0);
        short.append(&mut gave);
    }

    /// Let others give way in one slot.
    fn exchange_in(
        &mut self,
        layout: &Layout,
        short: &mut Short,
        slot: usize,
        current: &mut [i32],
        (tries, gave): (&mut usize, &mut Vec<Short>),
    ) {
        let car = &layout.cars[short.car];
        let at = car.first + slot;
        for class in self.below_full_row(layout, short.class, car, slot) {
            for number in layout.classes[class].cars.clone() {
                if short.missing <= 0 || *tries == 0 {
                    return;
                }
                let other = &layout.cars[number];
                if other.penalty >= car.penalty || !other.slots().contains(&at) {
                    continue;
                }
                let from = at - other.first;
                let most = short.most(layout);
                let wanted = most.max((most * car.volts + other.volts - 1) / other.volts);
                let taken = wanted.min(i64::from(current[other.offset + from])).min(battery_gives(
                    other,
                    &current[other.all()],
                    from,
                ));
                if taken <= 0 {
                    continue;
                }
                *tries -= 1;
                self.add(layout, class, other, from, -taken, current);
                let Some(given) = self.raise(layout, short.class, car, slot, most, current) else {
                    self.add(layout, class, other, from, taken, current);
                    continue;
                };
                let back = self.raise(layout, class, other, from, taken, current);
                short.missing -= given;
                let missing = taken * other.unit - back.unwrap_or(0);
                if missing > 0 {
                    gave.push(Short { class, car: number, missing });
                }
            }
        }
    }

    /// The classes below the lowest row that leaves a vehicle no room in a slot.
    fn below_full_row(
        &self,
        layout: &Layout,
        index: usize,
        car: &Car,
        slot: usize,
    ) -> Range<usize> {
        let class = &layout.classes[index];
        let mut node = class.node[0];
        while node != NONE {
            if self.node_room(layout, index, (0, car.first + slot), car.volts, node) <= 0 {
                return layout.sides[0].classes[node as usize].clone();
            }
            node = layout.sides[0].parent[node as usize];
        }
        layout.meter_classes[class.meter as usize].clone()
    }

    /// What the rows of one node leave a vehicle of some voltage on a side in a slot, in milliamperes.
    fn node_room(
        &self,
        layout: &Layout,
        index: usize,
        (side, at): (usize, usize),
        volts: i64,
        node: u32,
    ) -> i64 {
        let (slots, lines) = (layout.slots, layout.classes[index].lines);
        let row = node as usize * KINDS * slots + at;
        let mut room = i64::MAX;
        for (kind, &block) in layout.sides[side].block[node as usize].iter().enumerate() {
            if block == NONE || (kind != POWER && lines >> kind & 1 == 0) {
                continue;
            }
            let left = layout.limit_exact[block as usize * slots + at]
                - self.node[side][row + kind * slots];
            room = room.min(if kind == POWER { left.div_euclid(volts) } else { left });
        }
        room
    }

    /// Let a vehicle draw up to `most` more in a slot. Returns the microjoules that it gained by that,
    /// none where it cannot.
    fn raise(
        &mut self,
        layout: &Layout,
        index: usize,
        car: &Car,
        slot: usize,
        most: i64,
        current: &mut [i32],
    ) -> Option<i64> {
        let class = &layout.classes[index];
        let element = car.offset + slot;
        let meter = class.meter as usize * layout.slots + car.first + slot;
        let mut room = most.min(i64::from(layout.most_ma[element] - current[element]));
        if self.peak[meter] != i64::MAX {
            let below = self.peak[meter] - self.base[meter] - self.meter[meter];
            room = room.min(below.div_euclid(car.volts));
        }
        let mut node = class.node[0];
        while node != NONE && room > 0 {
            room = room.min(self.node_room(layout, index, (0, car.first + slot), car.volts, node));
            node = layout.sides[0].parent[node as usize];
        }
        if room <= 0 {
            return None;
        }
        let fits = room.min(battery_room(car, &current[car.all()], slot));
        if fits > 0 {
            self.add(layout, index, car, slot, fits, current);
            return Some(fits * car.unit);
        }
        self.raise_before_taper(layout, (index, car, slot), room, current)
    }

    /// Where only later slots stand in the way, in which a fuller battery takes less: draw more now and
    /// less then. Returns what is gained in the end.
    fn raise_before_taper(
        &mut self,
        layout: &Layout,
        (index, car, slot): (usize, &Car, usize),
        most: i64,
        current: &mut [i32],
    ) -> Option<i64> {
        let changed = drawn_before_taper(car, &current[car.all()], slot, most)?;
        let before = gained(car, &current[car.all()]);
        for (at, &new) in (slot..car.count).zip(&changed) {
            let more = i64::from(new) - i64::from(current[car.offset + at]);
            if more != 0 {
                self.add(layout, index, car, at, more, current);
            }
        }
        Some(gained(car, &current[car.all()]) - before)
    }

    /// Let a vehicle draw so much more, or less, in a slot.
    fn add(
        &mut self,
        layout: &Layout,
        index: usize,
        car: &Car,
        slot: usize,
        more_ma: i64,
        current: &mut [i32],
    ) {
        current[car.offset + slot] += i32::try_from(more_ma).unwrap_or(0);
        self.add_load(layout, index, (0, car.first + slot), more_ma, car.volts);
    }

    /// Count so much more, or less, on the meter and the rows of one side in a slot.
    fn add_load(
        &mut self,
        layout: &Layout,
        index: usize,
        (side, at): (usize, usize),
        more_ma: i64,
        volts: i64,
    ) {
        let (slots, class) = (layout.slots, &layout.classes[index]);
        let power = more_ma * volts;
        self.meter[class.meter as usize * slots + at] += if side == 0 { power } else { -power };
        let mut node = class.node[side];
        while node != NONE {
            let row = node as usize * KINDS * slots + at;
            for line in (0..PHASES).filter(|line| class.lines >> line & 1 == 1) {
                self.node[side][row + line * slots] += more_ma;
            }
            self.node[side][row + POWER * slots] += power;
            node = layout.sides[side].parent[node as usize];
        }
    }
}

impl Short {
    /// What it would take at most: the last milliampere may bring more than is missing, if it fits.
    fn most(&self, layout: &Layout) -> i64 {
        let unit = layout.cars[self.car].unit;
        (self.missing + unit - 1) / unit
    }
}

/// Who has less than it would like: those whose energy matters most first, then those that have the
/// least choice.
fn shortest_first(layout: &Layout, answer: &[f32], current: &[i32]) -> Vec<Short> {
    let mut short = Vec::new();
    for (index, class) in layout.classes.iter().enumerate() {
        for number in class.cars.clone() {
            let car = &layout.cars[number];
            let missing = wanted(car, &answer[car.all()]) - gained(car, &current[car.all()]);
            if missing > 0 {
                short.push(Short { class: index, car: number, missing });
            }
        }
    }
    short.sort_by(|a, b| {
        let (one, other) = (&layout.cars[a.car], &layout.cars[b.car]);
        other
            .penalty
            .total_cmp(&one.penalty)
            .then(one.count.cmp(&other.count))
            .then(a.car.cmp(&b.car))
    });
    short
}

/// The slots in which drawing costs less than what is missing is worth.
fn cheapest_first(layout: &Layout, short: &Short, prices: &[f32], order: &mut Vec<(f32, usize)>) {
    let car = &layout.cars[short.car];
    let row = row_of(layout, short.class, 0) + car.first;
    let worth = car.penalty * car.gain;
    let own = prices[row..row + car.count].iter().copied().zip(0..car.count);
    order.clear();
    order.extend(own.filter(|&(price, _)| f64::from(price) < worth));
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
}
