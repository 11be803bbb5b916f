//! The vehicles of a problem as the search wants them: slots in which each is there, elements of what
//! it draws and feeds in, and what its battery takes.

use std::ops::Range;

use super::battery::UJ_PER_WH;
use super::layout::{Class, LANES, Layout, kilo, money};
use super::problem::{PERMILLE, Problem, at};
use crate::network::NONE;

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

impl Layout {
    /// The classes in the order of the network, with their vehicles.
    pub(super) fn add_cars(&mut self, problem: &Problem<'_>, meter_of_place: &[u32]) {
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
        let two_way = at(fleet.discharge_ma, index, 0) > 0
            && !problem.limits.export_ma.is_empty()
            && count > 0;
        let kw = kilo(fleet.volts[index]);
        let charge = kilo(at(fleet.charge_permille, index, PERMILLE));
        let discharge = kilo(at(fleet.discharge_permille, index, PERMILLE));
        let gain = kw * self.slot_h * charge;
        let due_wh = due_wh(problem, index);
        let stride = count.next_multiple_of(LANES);
        let offset = self.upper.len();
        for side in 0..=usize::from(two_way) {
            self.add_elements(problem, index, (side, meter), (from_s, until_s), stride);
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

    /// The most that a vehicle may draw, or feed in, in each of its slots.
    fn add_elements(
        &mut self,
        problem: &Problem<'_>,
        index: usize,
        (side, meter): (usize, usize),
        (from_s, until_s): (i64, i64),
        stride: usize,
    ) {
        let (fleet, slot_s) = (&problem.fleet, problem.slot_s);
        let most_ma = [fleet.max_ma[index], at(fleet.discharge_ma, index, 0)][side];
        let first = usize::try_from(from_s / slot_s).unwrap_or(0);
        for slot in first..first + stride {
            let begin_s = i64::try_from(slot).unwrap_or(0) * slot_s;
            let there_s = (until_s.min(begin_s + slot_s) - from_s.max(begin_s)).max(0);
            // Nobody is paid for burning energy: what is free to draw is not fed in.
            let price = problem.meters.import_price.get(meter * self.slots + slot);
            let stopped = side == 1 && price.is_none_or(|&price| price < 0);
            let most_ma = if stopped { 0 } else { most_ma * there_s / slot_s };
            self.upper.push(kilo(most_ma) as f32);
            self.most_ma.push(i32::try_from(most_ma).unwrap_or(i32::MAX));
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
