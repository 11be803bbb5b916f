//! The search for a plan: steps, and from time to time a look at what they have come to.

use super::bound::Bounder;
use super::layout::{Kind, Layout};
use super::problem::Problem;
use super::saddle::Saddle;
use super::schedule::{Schedule, Scheduler};
use crate::error::NetworkError;

/// How long to search.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Enough, as a part of the cost: the plan costs at most this much more than the bound.
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

/// A plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What each vehicle draws in each slot, below 0 where it feeds in, mA on each of its lines.
    pub current_ma: Vec<i32>,
    /// What the plan costs, in the currency.
    pub cost: f64,
    /// What every plan costs at least.
    pub bound: f64,
    /// Steps taken.
    pub steps: u32,
}

/// Find a plan.
///
/// # Errors
///
/// An input that contradicts itself, by element.
pub fn solve(problem: &Problem<'_>, effort: &Effort, stop: &dyn Fn() -> bool) -> Result<Plan, NetworkError> {
    problem.refuse_bad_input()?;
    let layout = Layout::new(problem);
    let (drawn, dual) = start(&layout);
    let mut saddle = Saddle::new(&layout, drawn, dual, balance(&layout), effort.threads);
    let (mut bounder, mut scheduler) = (Bounder::new(&layout), Scheduler::default());
    let (mut best, mut bound): (Option<Schedule>, f64) = (None, f64::MIN);
    let mut looked = 0;
    let debug = std::env::var("PLAN_DEBUG").is_ok();
    loop {
        let due = saddle.step();
        let last = saddle.steps >= effort.steps || stop();
        if !(due || last || saddle.steps - looked >= 40) { continue; }
        looked = saddle.steps;
        let t0 = std::time::Instant::now();
        bound = bound.max(bounder.bound(&layout, &saddle.dual_answer, &saddle.answer));
        let t1 = std::time::Instant::now();
        let found = scheduler.schedule(&layout, &saddle.answer, &saddle.dual_answer, &bounder.prices);
        let t2 = std::time::Instant::now();
        if debug {
            eprintln!("{:5} {} bound {:.4} cost {:.4} gap {:.2e} balance {:.2e}  tb {:?} ts {:?}", saddle.steps, due, bound, found.cost, (found.cost - bound)/found.cost.abs(), saddle.balance, t1-t0, t2-t1);
        }
        if best.as_ref().is_none_or(|best| found.cost < best.cost) {
            best = Some(found);
        }
        let cost = best.as_ref().map_or(f64::MAX, |best| best.cost);
        if last || cost - bound <= effort.gap * cost.abs() {
            break;
        }
    }
    let best = best.unwrap_or_default();
    let slots = layout.slots;
    let mut current_ma = vec![0; problem.vehicles() * slots];
    for car in &layout.cars {
        let own = &best.current[car.all()];
        let to = &mut current_ma[car.index * slots..][..slots];
        for (at, slot) in car.slots().enumerate() {
            let fed = if car.two_way { own[car.stride + at] } else { 0 };
            to[slot] = own[at] - fed;
        }
    }
    Ok(Plan { current_ma, cost: best.cost, bound, steps: saddle.steps })
}

/// Everyone spread evenly over the stay, and the prices of energy.
#[expect(clippy::cast_possible_truncation, reason = "rounded to what is kept")]
fn start(layout: &Layout) -> (Vec<f32>, Vec<f64>) {
    let mut drawn = vec![0.0; layout.upper.len()];
    for car in &layout.cars {
        let upper = &layout.upper[car.drawn()];
        let most: f64 = upper.iter().map(|&most| f64::from(most)).sum();
        let part = if most > 0.0 { (car.need / (car.gain * most)).clamp(0.0, 1.0) as f32 } else { 0.0 };
        for (own, most) in drawn[car.drawn()].iter_mut().zip(upper) {
            *own = part * most;
        }
    }
    let mut dual = vec![0.0; layout.limit.len()];
    for (block, kind) in layout.kinds.iter().enumerate() {
        match *kind {
            Kind::Cap => {}
            Kind::Energy { meter } => {
                for slot in 0..layout.slots {
                    dual[block * layout.slots + slot] = layout.price[meter * layout.slots + slot][1];
                }
            }
            Kind::Demand { charge } => {
                let counted = &layout.demand_slot[charge * layout.slots..][..layout.slots];
                let count = counted.iter().filter(|&&counts| counts).count().max(1);
                for (slot, _) in counted.iter().enumerate().filter(|(_, counts)| **counts) {
                    dual[block * layout.slots + slot] = layout.demand[charge].0 / count as f64;
                }
            }
        }
    }
    (drawn, dual)
}

/// A first guess of how much heavier prices weigh than currents.
fn balance(layout: &Layout) -> f64 {
    let (mut moved, mut priced) = (0.0, 0.0);
    for class in &layout.classes {
        for car in &layout.cars[class.cars.clone()] {
            for (&upper, slot) in layout.upper[car.drawn()].iter().zip(car.slots()) {
                moved += f64::from(upper) * f64::from(upper) * class.weight;
                let price = layout.price[class.meter as usize * layout.slots + slot][1] * car.kw * layout.slot_h;
                priced += price * price;
            }
        }
    }
    if moved > 0.0 && priced > 0.0 { (priced / moved).sqrt() } else { 1e-3 }
}
