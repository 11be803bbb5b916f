//! A problem laid out for sweeps: vehicles that see the same prices together, and only the rows that
//! could ever bind: what is made of the vehicles stands in `car`, of the rows in `rows`, and how heavy
//! either is in `weigh`. Currents are amperes, powers kilowatts, energies
//! kilowatt-hours, money the currency: numbers near one, which is what 32-bit floats want.

use std::ops::Range;

use super::car::Car;
use super::problem::Problem;

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
}
