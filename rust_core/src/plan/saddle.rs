//! The plan and its prices, brought to meet.
//!
//! The plan is a linear program: vehicles on one side, each with limits of its own, and rows on the
//! other. Vehicles answer to prices and rows to loads, in turn (Chambolle and Pock, A first-order
//! primal-dual algorithm for convex problems with applications to imaging, 2011), with steps scaled
//! to the tree, averaged with where they began (Halpern) and reflected, and begun anew from where
//! they are when enough has been gained (Lu and Yang, Restarted Halpern PDHG for linear programming,
//! 2024). Everything that is a vehicle's own is kept exactly in each step, so only rows are left
//! to be settled by prices.

// What is not inlined into the closures that `Arch::dispatch` runs is not compiled for the vectors
// that this machine has.
#![allow(clippy::inline_always)]

use std::ops::Range;

use pulp::Arch;

use super::layout::{Kind, LANES, Layout};
use super::respond::{Scratch, Seen, respond, taper_moved, total};
use super::sweep::{Sweep, class_rows, row_of};
use crate::threads::Team;

/// A part of the longest step that is sure to converge.
const SURE: f64 = 0.999;
/// The longest step that is tried, and by what part steps become shorter, down to what is sure, when
/// they do not lead nearer, or have not led there after so many. What is sure counts on everybody
/// moving at once; most are at a limit.
const LONG: f64 = 1.4;
const SHORTER: f64 = 0.85;
const LONG_STEPS: u32 = 500;
/// Begin anew when the distance from a fixed point has fallen to this part, or to this part and no
/// longer falls, or after this part of all steps.
const SUFFICIENT: f64 = 0.2;
const NECESSARY: f64 = 0.8;
const ARTIFICIAL: f64 = 0.36;
/// How much more one side is let move when the other, where currents are all at a limit or prices at
/// 0, does not move at all: by what it goes alone nothing tells how far it has to.
const ALONE: f64 = 4.0;
/// How far the balance may go from where it began.
const REACH: f64 = 1e3;

/// Where the vehicles and the rows are.
#[derive(Debug)]
pub(crate) struct Saddle<'a> {
    pub(crate) layout: &'a Layout,
    /// What the elements draw: now, when last begun anew, and by the last answers.
    drawn: Vec<f32>,
    drawn_start: Vec<f32>,
    pub(crate) answer: Vec<f32>,
    worth: Vec<f32>,
    /// Likewise the prices of the rows.
    dual: Vec<f64>,
    dual_start: Vec<f64>,
    pub(crate) dual_answer: Vec<f64>,
    /// And the loads of the rows.
    load: Vec<f64>,
    load_start: Vec<f64>,
    pub(crate) load_answer: Vec<f64>,
    /// How far the price of a row moves at an ampere too much, before stride and balance.
    pace: Vec<f64>,
    /// How much heavier a price weighs than a current.
    pub(crate) balance: f64,
    first_balance: f64,
    /// How long steps are.
    stride: f64,
    since: u32,
    pub(crate) steps: u32,
    first_error: f64,
    last_error: f64,
    class_load: Vec<f32>,
    sweep: Sweep,
    team: Team,
    /// One for each thread.
    scratch: Vec<Scratch>,
    /// What vectors this machine has.
    arch: Arch,
}

impl<'a> Saddle<'a> {
    pub(crate) fn new(
        layout: &'a Layout,
        drawn: Vec<f32>,
        dual: Vec<f64>,
        balance: f64,
        threads: usize,
    ) -> Self {
        let mut saddle = Self {
            layout,
            answer: vec![0.0; drawn.len()],
            worth: vec![0.0; layout.cars.len()],
            drawn_start: drawn.clone(),
            drawn,
            dual_answer: vec![0.0; dual.len()],
            load: vec![0.0; dual.len()],
            load_start: Vec::new(),
            load_answer: vec![0.0; dual.len()],
            dual_start: dual.clone(),
            dual,
            pace: layout.weight.iter().map(|&w| if w > 0.0 { 1.0 / w } else { 0.0 }).collect(),
            balance,
            first_balance: balance,
            stride: LONG,
            since: 0,
            steps: 0,
            first_error: f64::MAX,
            last_error: f64::MAX,
            class_load: class_rows(layout),
            sweep: Sweep::default(),
            team: Team::new(threads),
            scratch: (0..threads.max(1)).map(|_| Scratch::default()).collect(),
            arch: Arch::new(),
        };
        saddle.class_loads();
        let mut load = std::mem::take(&mut saddle.load);
        saddle.sweep.loads(layout, &saddle.class_load, &mut load);
        saddle.load_start.clone_from(&load);
        saddle.load = load;
        saddle
    }

    /// Sum up what is drawn now.
    fn class_loads(&mut self) {
        self.class_load.fill(0.0);
        for (index, class) in self.layout.classes.iter().enumerate() {
            for car in &self.layout.cars[class.cars.clone()] {
                for (side, elements) in [car.drawn(), car.fed()].into_iter().enumerate() {
                    let start = row_of(self.layout, index, side) + car.first;
                    let own = &self.drawn[elements];
                    for (sum, own) in self.class_load[start..].iter_mut().zip(own) {
                        *sum += own;
                    }
                }
            }
        }
    }

    /// One step of everyone.
    pub(crate) fn step(&mut self) {
        let arch = self.arch;
        let blend = f64::from(self.since + 1) / f64::from(self.since + 2);
        arch.dispatch(|| self.sweep.take_prices(self.layout, &self.dual));
        let moved = self.vehicles(blend);
        arch.dispatch(|| {
            self.sweep.loads(self.layout, &self.class_load, &mut self.load_answer);
        });
        let [priced, crossed] = arch.dispatch(|| self.rows(blend));
        let square = moved + priced / self.balance - 2.0 * crossed;
        let error = square.max(0.0).sqrt();
        self.since += 1;
        self.steps += 1;
        if self.since == 1 {
            self.first_error = error;
        }
        let due = error <= SUFFICIENT * self.first_error
            || (error <= NECESSARY * self.first_error && error > self.last_error)
            || f64::from(self.since) >= ARTIFICIAL * f64::from(self.steps) && self.since > 10;
        let too_long = square < 0.0 || error > self.first_error || self.steps > LONG_STEPS;
        self.last_error = error;
        if due && self.since > 1 {
            if too_long {
                self.stride = (SHORTER * self.stride).max(SURE);
            }
            self.begin_anew();
        }
    }

    /// Let every vehicle answer, sum up, and move. Returns the weighted square of the moves,
    /// prices of tapers included.
    fn vehicles(&mut self, blend: f64) -> f64 {
        let layout = self.layout;
        let step = Step {
            layout,
            sweep: &self.sweep,
            start: &self.drawn_start,
            blend: blend as f32,
            stride: self.stride,
            balance: self.balance,
        };
        let mut jobs = Vec::with_capacity(layout.jobs.len());
        let (mut drawn, mut answer) = (&mut self.drawn[..], &mut self.answer[..]);
        let (mut worth, mut load) = (&mut self.worth[..], &mut self.class_load[..]);
        let mut moves = vec![0.0; layout.jobs.len()];
        for (classes, moved) in layout.jobs.iter().zip(&mut moves) {
            let cars = layout.cars_of(classes);
            let elements = layout.elements_of(&cars).len();
            jobs.push(Job {
                classes: classes.clone(),
                drawn: drawn.split_off_mut(..elements).unwrap_or_default(),
                answer: answer.split_off_mut(..elements).unwrap_or_default(),
                worth: worth.split_off_mut(..cars.len()).unwrap_or_default(),
                load: load.split_off_mut(..row_of(layout, classes.len(), 0)).unwrap_or_default(),
                moved,
            });
        }
        let arch = self.arch;
        self.team.share_out(&mut self.scratch, jobs, |job, scratch| {
            arch.dispatch(|| step.take(job, scratch));
        });
        moves.iter().sum()
    }

    /// Let every row answer to its load, extrapolated, and move. Returns the weighted square of the
    /// answers' moves, and their product with those of the loads.
    #[inline(always)]
    fn rows(&mut self, blend: f64) -> [f64; 2] {
        let layout = self.layout;
        let slots = layout.slots;
        let scale = self.stride * self.balance;
        let (mut priced, mut crossed) = ([0.0; LANES], [0.0; LANES]);
        for (block, kind) in layout.kinds.iter().enumerate() {
            let rows = block * slots..(block + 1) * slots;
            let weights = &layout.weight[rows.clone()];
            let paces = &self.pace[rows.clone()];
            let limits = &layout.limit[rows.clone()];
            let answers = &mut self.dual_answer[rows.clone()];
            let duals = &mut self.dual[rows.clone()];
            let dual_starts = &self.dual_start[rows.clone()];
            let load_answers = &self.load_answer[rows.clone()];
            let loads = &mut self.load[rows.clone()];
            let load_starts = &self.load_start[rows];
            for slot in 0..slots {
                let ahead = 2.0 * load_answers[slot] - loads[slot] - limits[slot];
                answers[slot] = duals[slot] + paces[slot] * scale * ahead;
            }
            match *kind {
                Kind::Cap => answers.iter_mut().for_each(|price| *price = price.max(0.0)),
                Kind::Energy { meter } => {
                    let bounds = &layout.price[meter * slots..][..slots];
                    for (price, &[low, high]) in answers.iter_mut().zip(bounds) {
                        *price = price.clamp(low, high);
                    }
                }
                Kind::Demand { charge } => {
                    let counted = &layout.demand_slot[charge * slots..][..slots];
                    onto_simplex(answers, counted, weights, layout.demand[charge].0);
                }
            }
            for from in (0..slots).step_by(LANES) {
                for (lane, slot) in (from..slots.min(from + LANES)).enumerate() {
                    let gap = answers[slot] - duals[slot];
                    priced[lane] += gap * gap * weights[slot];
                    crossed[lane] += (load_answers[slot] - loads[slot]) * gap;
                    duals[slot] = blend * (2.0 * answers[slot] - duals[slot])
                        + (1.0 - blend) * dual_starts[slot];
                    loads[slot] = blend * (2.0 * load_answers[slot] - loads[slot])
                        + (1.0 - blend) * load_starts[slot];
                }
            }
        }
        [total(priced) / self.stride, total(crossed)]
    }

    fn begin_anew(&mut self) {
        let layout = self.layout;
        let (mut moved, mut priced) = (0.0, 0.0);
        for class in &layout.classes {
            for car in &layout.cars[class.cars.clone()] {
                let all = car.offset..car.fed().end;
                let square: f32 = self.drawn[all.clone()]
                    .iter()
                    .zip(&self.drawn_start[all])
                    .map(|(now, start)| (now - start) * (now - start))
                    .sum();
                moved += f64::from(square) * car.weight;
                let prices = car.tapered();
                priced += taper_moved(car, &self.drawn_start[prices.clone()], &self.drawn[prices]);
            }
        }
        for row in 0..self.dual.len() {
            let gap = self.dual[row] - self.dual_start[row];
            priced += gap * gap * layout.weight[row];
        }
        // Both sides should have about equally far to go.
        let change = if moved > 0.0 && priced > 0.0 {
            ((priced / moved).sqrt() / self.balance).sqrt()
        } else if moved > 0.0 {
            1.0 / ALONE
        } else if priced > 0.0 {
            ALONE
        } else {
            1.0
        };
        let (least, most) = (self.first_balance / REACH, self.first_balance * REACH);
        self.balance = (self.balance * change).clamp(least, most);
        self.drawn_start.copy_from_slice(&self.drawn);
        self.dual_start.copy_from_slice(&self.dual);
        self.load_start.copy_from_slice(&self.load);
        self.since = 0;
        self.last_error = f64::MAX;
    }
}

/// Some classes, and what is theirs.
struct Job<'a> {
    classes: Range<usize>,
    drawn: &'a mut [f32],
    answer: &'a mut [f32],
    worth: &'a mut [f32],
    load: &'a mut [f32],
    moved: &'a mut f64,
}

/// What all vehicles see of a step.
struct Step<'a> {
    layout: &'a Layout,
    sweep: &'a Sweep,
    start: &'a [f32],
    blend: f32,
    stride: f64,
    balance: f64,
}

impl Step<'_> {
    /// Let the vehicles of a job answer, sum up, and move.
    #[inline(always)]
    fn take(&self, job: Job<'_>, scratch: &mut Scratch) {
        let layout = self.layout;
        let cars = layout.cars_of(&job.classes);
        let first = layout.elements_of(&cars).start;
        job.load.fill(0.0);
        for (number, index) in job.classes.enumerate() {
            let class = &layout.classes[index];
            let Scratch { prices, .. } = scratch;
            for (side, prices) in prices.iter_mut().enumerate() {
                prices.resize(layout.width, 0.0);
                if side == 0 || class.two_way {
                    self.sweep.prices(layout, class, side, prices);
                }
            }
            let summed = [0, 1].map(|side| row_of(layout, number, side));
            for car_number in class.cars.clone() {
                let car = &layout.cars[car_number];
                if car.count == 0 {
                    continue;
                }
                let scale = self.stride / car.weight;
                let own = car.offset - first..car.all().end - first;
                let (now, to) = (&mut job.drawn[own.clone()], &mut job.answer[own]);
                let seen = Seen {
                    upper: &layout.upper[car.all()],
                    step: (scale / self.balance) as f32,
                    balance: self.balance,
                };
                let worth = &mut job.worth[car_number - cars.start];
                respond(car, &seen, now, worth, scratch, to);
                let fed = car.stride..car.fed().end - car.offset;
                for (side, elements) in [0..car.stride, fed.clone()].into_iter().enumerate() {
                    let load = &mut job.load[summed[side] + car.first..];
                    for (sum, &own) in load.iter_mut().zip(&to[elements]) {
                        *sum += own;
                    }
                }
                let currents = fed.end;
                let priced = taper_moved(car, &now[currents..], &to[currents..]);
                let start = &self.start[car.all()];
                let (now, now_taper) = now.split_at_mut(currents);
                let moved = self.advance(now, &to[..currents], &start[..currents]);
                self.advance(now_taper, &to[currents..], &start[currents..]);
                *job.moved += self.balance * moved / scale + priced / self.balance;
            }
        }
    }

    /// Go where the answer, mirrored, and the start lead. Returns the square of the move.
    #[inline(always)]
    fn advance(&self, now: &mut [f32], to: &[f32], start: &[f32]) -> f64 {
        let mut square = [0.0_f32; LANES];
        let chunks = now.as_chunks_mut::<LANES>().0.iter_mut().zip(to.as_chunks::<LANES>().0);
        for ((now, to), start) in chunks.zip(start.as_chunks::<LANES>().0) {
            for lane in 0..LANES {
                let gap = to[lane] - now[lane];
                square[lane] += gap * gap;
                now[lane] = self.blend * (to[lane] + gap) + (1.0 - self.blend) * start[lane];
            }
        }
        f64::from(total(square))
    }
}

/// The nearest prices, where the distance in each slot counts by its weight, that are at least 0,
/// are 0 in slots that do not count, and sum up to at most `total`.
fn onto_simplex(prices: &mut [f64], counted: &[bool], weight: &[f64], total: f64) {
    let mut sum = 0.0;
    for (price, &counts) in prices.iter_mut().zip(counted) {
        *price = if counts { price.max(0.0) } else { 0.0 };
        sum += *price;
    }
    if sum <= total {
        return;
    }
    // What is taken off falls on slots by the inverse of their weights, until they are at 0; with
    // each round fewer are left to fall, so the rounds end.
    let mut shift = 0.0;
    for _ in 0..=prices.len() {
        let (mut left, mut pace) = (0.0, 0.0);
        for (&price, &weight) in prices.iter().zip(weight) {
            if price > 0.0 && weight > 0.0 && price > shift / weight {
                left += price;
                pace += 1.0 / weight;
            }
        }
        let next = if pace > 0.0 { (left - total) / pace } else { shift };
        if next <= shift {
            break;
        }
        shift = next;
    }
    for (price, &weight) in prices.iter_mut().zip(weight) {
        *price = if weight > 0.0 { (*price - shift / weight).max(0.0) } else { 0.0 };
    }
}
