//! What a plan comes back with.

use super::battery::{UJ_PER_WH, gained, keep_battery};
use super::car::Car;
use super::layout::{KINDS, Kind, Layout, SIDES};
use super::problem::Problem;
use super::saddle::Saddle;
use super::schedule::Schedule;
use crate::network::NONE;

/// Why a vehicle leaves with less than it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Shortfall {
    /// It does not.
    None = 0,
    /// Its stay is too short: full power all the time would not do.
    Stay = 1,
    /// A row has no more room at a price worth paying; [`Plan::short_row`] tells the dearest.
    Row = 2,
    /// What is missing would cost more than it is worth.
    Price = 3,
}

/// A plan, and what proves it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What each vehicle draws on each of its lines, mA on average over each slot, below 0 where it
    /// feeds in: `[vehicle * slots + slot]`.
    pub current_ma: Vec<i32>,
    /// What it costs in the currency, without what nobody can change: the building's energy, and
    /// energy that no power could bring in the time.
    pub cost: f64,
    /// What every plan costs at least, by weak duality from the prices below.
    pub bound: f64,
    /// Steps of the search.
    pub steps: u32,
    /// Where the search ended between currents and prices; for [`super::Start`].
    pub balance: f64,
    /// What is missing of each vehicle's need on departure, whole Wh.
    pub shortfall_wh: Vec<i64>,
    /// Why.
    pub reason: Vec<Shortfall>,
    /// For [`Shortfall::Row`] the row, `node * 4 + line`, 3 for the power of all lines; else -1.
    pub short_row: Vec<i32>,
    /// What one more ampere (line) or kilowatt (all lines) of a row would be worth in a slot:
    /// `[(node * 4 + line) * slots + slot]`.
    pub import_price: Vec<f64>,
    /// The same for feeding in; empty where nobody can.
    pub export_price: Vec<f64>,
    /// What a kilowatt-hour costs at each meter, between export and import price.
    pub energy_price: Vec<f64>,
    /// What a kilowatt adds to each demand charge in each slot.
    pub demand_price: Vec<f64>,
    /// What an ampere more of each vehicle's taper would be worth in each slot; empty where there is
    /// no taper.
    pub taper_price: Vec<f32>,
}

/// Put together what was found, in the caller's order.
pub(super) fn outcome(
    problem: &Problem<'_>,
    layout: &Layout,
    saddle: &Saddle<'_>,
    best: &Schedule,
    dual: &[f64],
    bound: f64,
) -> Plan {
    let (slots, vehicles) = (layout.slots, problem.vehicles());
    let [import_price, export_price] = [0, 1].map(|side| row_prices(problem, layout, side, dual));
    let mut plan = Plan {
        current_ma: vec![0; vehicles * slots],
        cost: best.cost,
        bound,
        steps: saddle.steps,
        balance: saddle.balance,
        shortfall_wh: vec![0; vehicles],
        reason: vec![Shortfall::None; vehicles],
        short_row: vec![-1; vehicles],
        import_price,
        export_price,
        energy_price: Vec::new(),
        demand_price: Vec::new(),
        taper_price: taper_prices(layout, saddle, vehicles),
    };
    for (block, kind) in layout.kinds.iter().enumerate() {
        let own = &dual[block * slots..][..slots];
        match kind {
            Kind::Cap => {}
            Kind::Energy { .. } => plan.energy_price.extend(own),
            Kind::Demand { .. } => plan.demand_price.extend(own),
        }
    }
    for (index, class) in layout.classes.iter().enumerate() {
        for car in &layout.cars[class.cars.clone()] {
            let own = &best.current[car.all()];
            let to = &mut plan.current_ma[car.index * slots..][..slots];
            for (at, slot) in car.slots().enumerate() {
                let fed = if car.two_way { own[car.stride + at] } else { 0 };
                to[slot] = own[at] - fed;
            }
            let missing = car.due_uj - gained(car, own);
            if missing < UJ_PER_WH {
                continue;
            }
            plan.shortfall_wh[car.index] = missing / UJ_PER_WH;
            let row = dearest_row(problem, layout, index, car, own, dual);
            plan.reason[car.index] = if possible(layout, car) - gained(car, own) < rounded(car) {
                Shortfall::Stay
            } else if let Some(row) = row {
                plan.short_row[car.index] = row;
                Shortfall::Row
            } else {
                Shortfall::Price
            };
        }
    }
    plan
}

/// The prices of tapers where the search ended.
fn taper_prices(layout: &Layout, saddle: &Saddle<'_>, vehicles: usize) -> Vec<f32> {
    if layout.cars.iter().all(|car| car.taper.is_none()) {
        return Vec::new();
    }
    let mut prices = vec![0.0; vehicles * layout.slots];
    for car in layout.cars.iter().filter(|car| car.taper.is_some()) {
        let own = &saddle.answer[car.tapered()];
        prices[car.index * layout.slots..][car.slots()].copy_from_slice(&own[..car.count]);
    }
    prices
}

/// What full power all the time brings, as far as the battery takes it.
fn possible(layout: &Layout, car: &Car) -> i64 {
    let mut most = vec![0; car.all().len()];
    most[..car.stride].copy_from_slice(&layout.most_ma[car.drawn()]);
    if car.taper.is_some() {
        keep_battery(car, &mut most);
    }
    gained(car, &most)
}

/// What may be missing by rounding: a watt-hour, and with a taper a milliampere in each slot, since
/// its own row holds a vehicle back in all of them.
fn rounded(car: &Car) -> i64 {
    let slots = if car.taper.is_some() { car.count } else { 0 };
    UJ_PER_WH + i64::try_from(slots).unwrap_or(0) * car.unit
}

/// Of the rows above a vehicle, the one that costs it most in the slots in which it could draw more.
fn dearest_row(
    problem: &Problem<'_>,
    layout: &Layout,
    class: usize,
    car: &Car,
    own: &[i32],
    dual: &[f64],
) -> Option<i32> {
    let class = &layout.classes[class];
    let (mut dearest, mut most) = (None, 0.0);
    let mut node = class.node[0];
    while node != NONE {
        let index = node as usize;
        for (kind, &block) in layout.sides[0].block[index].iter().enumerate() {
            let counts =
                if kind == KINDS - 1 { class.kw } else { f64::from(class.lines >> kind & 1) };
            if block == NONE || counts == 0.0 {
                continue;
            }
            let prices = &dual[block as usize * layout.slots..][..layout.slots];
            let open = car.slots().zip(own.iter().zip(&layout.most_ma[car.drawn()]));
            let paid: f64 = open
                .filter(|(_, (own, most))| own < most)
                .map(|(slot, _)| counts * prices[slot])
                .sum();
            if paid > most {
                let at = problem.network.node_at[layout.sides[0].place[index]] as usize;
                (dearest, most) = (i32::try_from(at * KINDS + kind).ok(), paid);
            }
        }
        node = layout.sides[0].parent[index];
    }
    dearest
}

/// The prices of one side's rows, by the caller's nodes.
fn row_prices(problem: &Problem<'_>, layout: &Layout, side: usize, dual: &[f64]) -> Vec<f64> {
    let slots = layout.slots;
    if side == SIDES - 1 && !layout.classes.iter().any(|class| class.two_way) {
        return Vec::new();
    }
    let kept = &layout.sides[side];
    let mut prices = vec![0.0; problem.network.nodes() * KINDS * slots];
    for (&place, blocks) in kept.place.iter().zip(&kept.block) {
        let node = problem.network.node_at[place] as usize;
        for (kind, &block) in blocks.iter().enumerate().filter(|&(_, &block)| block != NONE) {
            prices[(node * KINDS + kind) * slots..][..slots]
                .copy_from_slice(&dual[block as usize * slots..][..slots]);
        }
    }
    prices
}
