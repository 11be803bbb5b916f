//! The search for a plan: steps, and from time to time a look at what they have come to.

use super::bound::Bounder;
use super::layout::{Kind, Layout, SIDES, kilo};
use super::outcome::{Plan, outcome};
use super::problem::Problem;
use super::saddle::Saddle;
use super::schedule::{Schedule, Scheduler};
use crate::error::{NetworkError, check_length};
use crate::network::NONE;

/// How long to search.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Enough: a plan that costs at most this part more than the bound.
    pub gap: f64,
    /// The most steps.
    pub steps: u32,
    /// On how many threads; the plan is the same on any number.
    pub threads: usize,
}

impl Default for Effort {
    fn default() -> Self {
        Self { gap: 1e-3, steps: 20_000, threads: 1 }
    }
}

/// Where to begin: the parts of an earlier [`Plan`] by their names, moved to the slots and vehicles
/// of now. Any of them may be empty, and all may be wrong: they cost steps, never the proof.
#[derive(Debug, Clone, Copy, Default)]
pub struct Start<'a> {
    /// As [`Plan::current_ma`].
    pub current_ma: &'a [i32],
    /// As [`Plan::import_price`].
    pub import_price: &'a [f64],
    /// As [`Plan::export_price`].
    pub export_price: &'a [f64],
    /// As [`Plan::energy_price`].
    pub energy_price: &'a [f64],
    /// As [`Plan::demand_price`].
    pub demand_price: &'a [f64],
    /// As [`Plan::taper_price`].
    pub taper_price: &'a [f32],
    /// As [`Plan::balance`].
    pub balance: Option<f64>,
}

/// The least and the most that a balance may be begun with.
const BALANCES: (f64, f64) = (1e-12, 1e12);

/// The first look is due after so many steps. A look takes about as long as they do, so the next one
/// waits the longer the further the gap is from what is wanted: so many steps again at least, and a
/// part of those taken for each time that it is as wide.
const LOOK: f64 = 8.0;
const WAIT: f64 = 0.1;
const FAR: f64 = 5.0;
/// As long as the bound alone tells that the gap is so many times too wide, a new schedule is made
/// only at so many times the steps of the last.
const STALE: u32 = 2;

/// Find a plan: one that keeps every row, and a proof of how far it is from the best.
///
/// Ends when the gap is small enough, when the steps are used up, or soon after `stop`, asked after
/// each step, says so; what has been found by then is returned. There always is a plan.
///
/// # Errors
///
/// An input that contradicts itself, by element.
pub fn solve(
    problem: &Problem<'_>,
    start: &Start<'_>,
    effort: &Effort,
    stop: &dyn Fn() -> bool,
) -> Result<Plan, NetworkError> {
    problem.refuse_bad_input()?;
    check_start(problem, start)?;
    let layout = Layout::new(problem);
    let balance = start.balance.filter(|balance| balance.is_finite());
    let balance =
        balance.map_or_else(|| first_balance(&layout), |b| b.clamp(BALANCES.0, BALANCES.1));
    let (drawn, dual) = (first_drawn(&layout, start), first_dual(&layout, problem, start));
    let mut saddle = Saddle::new(&layout, drawn, dual, balance, effort.threads);
    let mut found = Found::new(&layout);
    let mut next_look = LOOK;
    loop {
        saddle.step();
        let last = saddle.steps >= effort.steps || stop();
        if last || f64::from(saddle.steps) >= next_look {
            found.look(&saddle, FAR * effort.gap, last);
            let gap = found.gap();
            if gap <= effort.gap || last {
                break;
            }
            let taken = f64::from(saddle.steps);
            next_look = taken + LOOK.max(WAIT * (gap / effort.gap).min(FAR) * taken);
        }
    }
    Ok(outcome(problem, &layout, &saddle, &found.best, &found.dual, found.bound))
}

/// What the search has come to.
struct Found {
    bounder: Bounder,
    scheduler: Scheduler,
    best: Schedule,
    scheduled: u32,
    bound: f64,
    dual: Vec<f64>,
}

impl Found {
    fn new(layout: &Layout) -> Self {
        Self {
            bounder: Bounder::new(layout),
            scheduler: Scheduler::default(),
            best: Schedule { current: Vec::new(), cost: f64::INFINITY },
            scheduled: 0,
            bound: f64::NEG_INFINITY,
            dual: Vec::new(),
        }
    }

    /// No plan is cheaper than the best by more than this part.
    fn gap(&self) -> f64 {
        let apart = self.best.cost - self.bound;
        if apart <= 0.0 { 0.0 } else { apart / self.best.cost.abs() }
    }

    /// Take the bound of the present prices and, where the gap may be less than `far`, a schedule of
    /// the present answers.
    fn look(&mut self, saddle: &Saddle<'_>, far: f64, last: bool) {
        let layout = saddle.layout;
        let bound = self.bounder.bound(layout, &saddle.dual_answer, &saddle.answer);
        if bound > self.bound {
            self.bound = bound;
            self.dual.clone_from(&saddle.dual_answer);
        }
        if self.gap() > far && saddle.steps < STALE * self.scheduled && !last {
            return;
        }
        self.scheduled = saddle.steps;
        let prices = &self.bounder.prices;
        let found = self.scheduler.schedule(layout, &saddle.answer, &saddle.dual_answer, prices);
        if found.cost < self.best.cost {
            self.best = found;
        }
    }
}

/// Refuse a start that was made for another problem.
fn check_start(problem: &Problem<'_>, start: &Start<'_>) -> Result<(), NetworkError> {
    let (slots, meters) = (problem.slots, &problem.meters);
    let rows = problem.network.nodes() * super::layout::KINDS * slots;
    let lengths = [
        ("import_price", start.import_price, rows),
        ("export_price", start.export_price, rows),
        ("energy_price", start.energy_price, meters.node.len() * slots),
        ("demand_price", start.demand_price, meters.demand_meter.len() * slots),
    ];
    for (array, values, expected) in lengths {
        if !values.is_empty() {
            check_length(array, values, expected)?;
        }
    }
    if !start.taper_price.is_empty() {
        check_length("taper_price", start.taper_price, problem.vehicles() * slots)?;
    }
    if start.current_ma.is_empty() {
        return Ok(());
    }
    check_length("current_ma", start.current_ma, problem.vehicles() * slots)
}

/// Where vehicles begin: as they were told, or spread evenly over their stay.
fn first_drawn(layout: &Layout, start: &Start<'_>) -> Vec<f32> {
    let mut drawn = vec![0.0; layout.upper.len()];
    for car in &layout.cars {
        if car.taper.is_some() && !start.taper_price.is_empty() {
            let told = &start.taper_price[car.index * layout.slots..][car.slots()];
            for (own, &told) in drawn[car.tapered()].iter_mut().zip(told) {
                *own = if told > 0.0 && told.is_finite() { told } else { 0.0 };
            }
        }
        let upper = &layout.upper[car.drawn()];
        if start.current_ma.is_empty() {
            let most: f64 = upper.iter().map(|&most| f64::from(most)).sum();
            let part = if most > 0.0 { car.need / (car.gain * most) } else { 0.0 };
            let part = part.clamp(0.0, 1.0) as f32;
            for (own, most) in drawn[car.drawn()].iter_mut().zip(upper) {
                *own = part * most;
            }
        } else {
            let told = &start.current_ma[car.index * layout.slots..][car.slots()];
            for (own, (&told, most)) in drawn[car.drawn()].iter_mut().zip(told.iter().zip(upper)) {
                *own = (kilo(i64::from(told)) as f32).clamp(0.0, *most);
            }
            let most = &layout.upper[car.fed()];
            for (own, (&told, most)) in drawn[car.fed()].iter_mut().zip(told.iter().zip(most)) {
                *own = (-kilo(i64::from(told)) as f32).clamp(0.0, *most);
            }
        }
    }
    drawn
}

/// Where prices begin: as they were told, or as if rows never bound.
fn first_dual(layout: &Layout, problem: &Problem<'_>, start: &Start<'_>) -> Vec<f64> {
    let slots = layout.slots;
    let mut dual = vec![0.0; layout.limit.len()];
    let told =
        |values: &[f64], at: usize| values.get(at).copied().filter(|price| price.is_finite());
    for (side, values) in
        [start.import_price, start.export_price].into_iter().enumerate().take(SIDES)
    {
        let kept = &layout.sides[side];
        for (&place, blocks) in kept.place.iter().zip(&kept.block) {
            let node = problem.network.node_at[place] as usize;
            for (kind, &block) in blocks.iter().enumerate().filter(|&(_, &block)| block != NONE) {
                let from = (node * blocks.len() + kind) * slots;
                for slot in 0..slots {
                    let row = block as usize * slots + slot;
                    let price = told(values, from + slot).unwrap_or(0.0);
                    // Where nobody is there, nobody could ever talk a wrong price down.
                    dual[row] = if layout.weight[row] > 0.0 { price.max(0.0) } else { 0.0 };
                }
            }
        }
    }
    for (block, kind) in layout.kinds.iter().enumerate() {
        let own = &mut dual[block * slots..][..slots];
        match *kind {
            Kind::Cap => {}
            Kind::Energy { meter } => {
                for (slot, price) in own.iter_mut().enumerate() {
                    let [low, high] = layout.price[meter * slots + slot];
                    let told = told(start.energy_price, meter * slots + slot).unwrap_or(high);
                    *price = told.clamp(low, high);
                }
            }
            Kind::Demand { charge } => {
                let counted = &layout.demand_slot[charge * slots..][..slots];
                let count = kilo(
                    1_000 * i64::try_from(counted.iter().filter(|&&c| c).count()).unwrap_or(1),
                );
                let (total, ..) = layout.demand[charge];
                for (slot, price) in own.iter_mut().enumerate().filter(|&(slot, _)| counted[slot]) {
                    *price = told(start.demand_price, charge * slots + slot)
                        .unwrap_or(total / count)
                        .max(0.0);
                }
                let sum: f64 = own.iter().sum();
                if sum > total {
                    for price in own.iter_mut() {
                        *price *= total / sum;
                    }
                }
            }
        }
    }
    dual
}

/// A first guess of how much heavier prices weigh than currents: what would let both move about as
/// far as they are large.
fn first_balance(layout: &Layout) -> f64 {
    let (mut moved, mut priced) = (0.0, 0.0);
    for class in &layout.classes {
        let prices = &layout.price[class.meter as usize * layout.slots..][..layout.slots];
        for car in &layout.cars[class.cars.clone()] {
            for (&upper, slot) in layout.upper[car.drawn()].iter().zip(car.slots()) {
                moved += f64::from(upper) * f64::from(upper) * car.weight;
                let price = prices[slot][1] * car.kw * layout.slot_h;
                priced += price * price;
            }
        }
    }
    if moved > 0.0 && priced > 0.0 { (priced / moved).sqrt() } else { 1e-3 }
}
