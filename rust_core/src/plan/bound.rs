//! What no plan can cost less than, whatever the prices of rows are.
//!
//! By weak duality: each vehicle's cheapest answer to the prices, found exactly, less what the rows'
//! limits are worth at them. The prices come rounded to 32 bits; what that can hide is taken off.

use super::car::Car;
use super::layout::Layout;
use super::respond::taper_prices;
use super::sweep::{Sweep, class_rows, row_of};

/// Above the part of a product that rounding its factors and sums can change.
const ROUNDING: f64 = 4e-7;

/// Memory for bounds.
#[derive(Debug)]
pub(crate) struct Bounder {
    pub(crate) prices: Vec<f32>,
    sweep: Sweep,
    taper: [Vec<f32>; 2],
    order: Vec<(f32, f32)>,
    pieces: Vec<(f64, f64)>,
}

impl Bounder {
    pub(crate) fn new(layout: &Layout) -> Self {
        Self {
            prices: class_rows(layout),
            sweep: Sweep::default(),
            taper: Default::default(),
            order: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// The bound that these prices of the rows, and those of tapers in `answer`, prove.
    pub(crate) fn bound(&mut self, layout: &Layout, dual: &[f64], answer: &[f32]) -> f64 {
        self.sweep.take_prices(layout, dual);
        for (index, class) in layout.classes.iter().enumerate() {
            for side in 0..=usize::from(class.two_way) {
                let to = &mut self.prices[row_of(layout, index, side)..][..layout.slots];
                self.sweep.prices(layout, class, side, to);
            }
        }
        let mut total: f64 =
            dual.iter().zip(&layout.limit).map(|(price, limit)| -price * limit).sum();
        let mut doubt: f64 = 1e-6
            * dual
                .iter()
                .zip(&layout.limit)
                .map(|(price, limit)| (price * limit).abs())
                .sum::<f64>();
        for (index, class) in layout.classes.iter().enumerate() {
            let rows = [0, 1].map(|side| row_of(layout, index, side));
            for car in &layout.cars[class.cars.clone()] {
                let mut price = rows.map(|row| &self.prices[row + car.first..][..car.count]);
                if let Some(taper) = &car.taper {
                    let rows = &answer[car.tapered()];
                    taper_prices(car, taper, rows, &mut self.taper);
                    for (side, seen) in self.taper.iter_mut().enumerate() {
                        seen.truncate(car.count);
                        for (sum, &price) in seen.iter_mut().zip(price[side]) {
                            *sum += price;
                        }
                        price[side] = seen;
                    }
                    let worth: f64 =
                        rows.iter().map(|&row| f64::from(row)).sum::<f64>() * taper.limit;
                    total -= worth;
                    doubt += worth.abs();
                }
                let (cost, moved) = if car.two_way {
                    stored(car, &layout.upper[car.all()], price, &mut self.pieces)
                } else {
                    charged(car, &layout.upper[car.drawn()], price[0], &mut self.order)
                };
                total += cost;
                doubt += moved;
            }
        }
        total - ROUNDING * doubt + layout.fixed
    }
}

/// The least that a vehicle which only draws can pay, and the sum of what it pays and spares.
fn charged(car: &Car, upper: &[f32], price: &[f32], order: &mut Vec<(f32, f32)>) -> (f64, f64) {
    order.clear();
    order.extend(price.iter().copied().zip(upper.iter().copied()));
    order.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (mut has, mut cost, mut moved) = (0.0, 0.0, 0.0);
    for &(price, most) in order.iter() {
        let (price, most) = (f64::from(price), f64::from(most) * car.gain);
        let worth = price / car.gain;
        let until = if worth < 0.0 {
            car.room
        } else if worth < car.penalty {
            car.need
        } else {
            break;
        };
        let taken = most.min(until - has).max(0.0);
        has += taken;
        cost += taken * worth;
        moved += taken * worth.abs();
    }
    let missing = car.penalty * (car.need - has).max(0.0);
    (cost + missing, moved + missing)
}

/// The same of one that also feeds in: the least cost of every energy that the battery may hold at
/// the end of each slot, a convex function in pieces of a slope and a length, from slot to slot.
fn stored(
    car: &Car,
    upper: &[f32],
    price: [&[f32]; 2],
    pieces: &mut Vec<(f64, f64)>,
) -> (f64, f64) {
    pieces.clear();
    let (mut has, mut cost, mut moved) = (0.0_f64, 0.0, 0.0);
    for slot in 0..car.count {
        let most = f64::from(upper[slot]) * car.gain;
        let least = f64::from(upper[car.stride + slot]) * car.loss;
        let draw = f64::from(price[0][slot]) / car.gain;
        let feed = -(f64::from(price[1][slot]) + car.wear) / car.loss;
        has -= least;
        cost -= feed * least;
        moved += (feed * least).abs() + (draw * most).abs();
        for (slope, length) in [(feed, least), (draw, most)] {
            if length > 0.0 {
                let place = pieces.partition_point(|piece| piece.0 < slope);
                pieces.insert(place, (slope, length));
            }
        }
        // Cut off what the battery cannot hold.
        let mut gone = 0;
        while has < -car.spare {
            let Some((slope, length)) = pieces.get_mut(gone) else { break };
            let part = length.min(-car.spare - has);
            has += part;
            cost += part * *slope;
            *length -= part;
            if *length <= 0.0 {
                gone += 1;
            } else {
                break;
            }
        }
        pieces.drain(..gone);
        let mut beyond = has + pieces.iter().map(|piece| piece.1).sum::<f64>() - car.room;
        while beyond > 0.0 {
            let Some((_, length)) = pieces.last_mut() else { break };
            let part = length.min(beyond);
            *length -= part;
            beyond -= part;
            if *length <= 0.0 {
                pieces.pop();
            }
        }
    }
    for &(slope, length) in pieces.iter() {
        let short = (car.need - has).clamp(0.0, length);
        if slope < car.penalty {
            has += short;
            cost += slope * short;
        }
        if slope < 0.0 {
            has += length - short;
            cost += slope * (length - short);
        }
        if slope >= car.penalty {
            break;
        }
    }
    (cost + car.penalty * (car.need - has).max(0.0), moved)
}
