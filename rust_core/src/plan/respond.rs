//! How one vehicle answers to prices, when it may not move far from where it is.
//!
//! The answer is the proximal step of its own problem: the point that minimises what it pays, plus
//! the squared distance from where it is over twice the step. Everything that is the vehicle's own,
//! its power, battery and need, is kept exactly; one number, the worth of a kilowatt-hour in the
//! battery, settles all its slots, and is found by a search of one dimension.

// What is not inlined into the closures that `Arch::dispatch` runs is not compiled for the vectors
// that this machine has.
#![allow(clippy::inline_always)]

use std::ops::{Add, Range};

use super::car::{Car, Taper};
use super::layout::LANES;

/// Memory of one thread.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// What drawing and feeding in an ampere costs the class of the vehicle, by slot.
    pub(crate) prices: [Vec<f32>; 2],
    /// Where each element would go, were the battery worth nothing.
    point: Vec<f32>,
    /// What the taper adds to the prices of drawing and feeding in.
    taper: [Vec<f32>; 2],
    /// What is open of the slots of a vehicle with a battery to mind: first and last slot, the
    /// energy before and after.
    open: Vec<(usize, usize, f64, f64)>,
}

/// Searches end when this part of what is wanted is left.
const EXACT: f32 = 2e-6;
const SEARCHES: usize = 40;

/// What a vehicle answers to.
pub(crate) struct Seen<'a> {
    /// The most that each of its elements may be.
    pub(crate) upper: &'a [f32],
    /// How far it moves at a price.
    pub(crate) step: f32,
    /// How far prices of its taper move.
    pub(crate) balance: f64,
}

/// Move `from` a step against the prices, into `to`. `worth` is that of the last answer, where the
/// search begins, and becomes that of this one.
#[inline(always)]
pub(crate) fn respond(
    car: &Car,
    seen: &Seen<'_>,
    from: &[f32],
    worth: &mut f32,
    scratch: &mut Scratch,
    to: &mut [f32],
) {
    let Seen { upper, step, balance } = *seen;
    let price = scratch.prices.each_ref().map(|prices| &prices[car.first..][..car.stride]);
    let wear = car.wear as f32;
    let point = &mut scratch.point;
    point.clear();
    let (drawn, fed) = (&from[..car.stride], &from[car.stride..car.fed().end - car.offset]);
    point.extend(drawn.iter().zip(price[0]).map(|(&from, &price)| from - step * price));
    point.extend(fed.iter().zip(price[1]).map(|(&from, &price)| from - step * (price + wear)));
    if let Some(taper) = &car.taper {
        taper_prices(car, taper, &from[point.len()..], &mut scratch.taper);
        let (draw, feed) = point.split_at_mut(car.stride);
        for (side, point) in [draw, feed].into_iter().enumerate() {
            for (point, price) in point.iter_mut().zip(&scratch.taper[side]) {
                *point -= step * price;
            }
        }
    }
    if car.two_way {
        store(car, upper, step, scratch, to);
    } else {
        charge(car, &scratch.point, upper, step, worth, &mut to[..car.stride]);
    }
    if let Some(taper) = &car.taper {
        taper_answer(car, taper, from, to, balance);
    }
}

/// What the prices of the taper's rows add to those of drawing and feeding in.
pub(crate) fn taper_prices(car: &Car, taper: &Taper, rows: &[f32], prices: &mut [Vec<f32>; 2]) {
    for side in prices.iter_mut() {
        side.clear();
        side.resize(car.stride, 0.0);
    }
    let mut later = 0.0;
    for slot in (0..car.count).rev() {
        later += taper.slope * f64::from(rows[slot]);
        prices[0][slot] = rows[slot] + (car.gain * later) as f32;
        prices[1][slot] = (-car.loss * later) as f32;
    }
}

/// The weighted square of how far the prices of the taper's rows went.
pub(crate) fn taper_moved(car: &Car, from: &[f32], to: &[f32]) -> f64 {
    let Some(taper) = &car.taper else { return 0.0 };
    let square = |slot: usize| f64::from(to[slot] - from[slot]).powi(2);
    (0..car.count).map(|slot| square(slot) * car.taper_row_weight(taper, slot)).sum()
}

/// How the rows of the taper answer to where the vehicle went.
fn taper_answer(car: &Car, taper: &Taper, from: &[f32], to: &mut [f32], balance: f64) {
    let rows = car.fed().end - car.offset;
    let ahead = |element: usize, to: &[f32]| f64::from(2.0 * to[element] - from[element]);
    let mut has = 0.0;
    for slot in 0..car.count {
        let drawn = ahead(slot, to);
        has += car.gain * drawn;
        if car.two_way {
            has -= car.loss * ahead(car.stride + slot, to);
        }
        let scale = balance / car.taper_row_weight(taper, slot);
        let over = drawn + taper.slope * has - taper.limit;
        to[rows + slot] = (f64::from(from[rows + slot]) + scale * over).max(0.0) as f32;
    }
    to[rows + car.count..].fill(0.0);
}

/// The answer of a vehicle that only draws.
#[inline(always)]
fn charge(car: &Car, point: &[f32], upper: &[f32], step: f32, worth: &mut f32, to: &mut [f32]) {
    let scale = step * car.gain as f32;
    let most = scale * car.penalty as f32;
    let need = (car.need / car.gain) as f32;
    let room = (car.room / car.gain) as f32;
    let (free, _) = sum_at(point, upper, 0.0);
    let shift = if free > room {
        search(point, upper, room, -1.0)
    } else if free >= need {
        0.0
    } else {
        let (dear, _) = sum_at(point, upper, most);
        if dear <= need { most } else { search(point, upper, need, worth.clamp(0.0, most)) }
    };
    *worth = shift;
    let mut sum = [0.0_f32; LANES];
    let chunks = point.as_chunks::<LANES>().0.iter().zip(upper.as_chunks::<LANES>().0);
    for (to, (point, upper)) in to.as_chunks_mut::<LANES>().0.iter_mut().zip(chunks) {
        for lane in 0..LANES {
            to[lane] = clamp(point[lane] + shift, upper[lane]);
            sum[lane] += to[lane];
        }
    }
    // Where steps are long against currents, the search is no more exact than they are.
    let sum = total(sum);
    if sum > room * (1.0 + EXACT) {
        let part = room / sum;
        for own in to.iter_mut() {
            *own *= part;
        }
    }
}

/// The shift at which the elements sum up to `target`.
#[inline(always)]
fn search(point: &[f32], upper: &[f32], target: f32, start: f32) -> f32 {
    let (mut lows, mut highs) = ([f32::MAX; LANES], [f32::MIN; LANES]);
    for (point, upper) in point.as_chunks::<LANES>().0.iter().zip(upper.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let (least, most) = (-point[lane], upper[lane] - point[lane]);
            let open = upper[lane] > 0.0;
            lows[lane] = if open && least < lows[lane] { least } else { lows[lane] };
            highs[lane] = if open && most > highs[lane] { most } else { highs[lane] };
        }
    }
    let mut low = lows.into_iter().fold(f32::MAX, f32::min);
    let mut high = highs.into_iter().fold(f32::MIN, f32::max);
    let mut shift = start.clamp(low, high);
    for _ in 0..SEARCHES {
        let (sum, inside) = sum_at(point, upper, shift);
        let missing = target - sum;
        if missing.abs() <= EXACT * target {
            break;
        }
        if missing > 0.0 {
            low = shift;
        } else {
            high = shift;
        }
        let next = shift + missing / inside;
        shift = if inside > 0.0 && next > low && next < high { next } else { 0.5 * (low + high) };
        if low >= high {
            break;
        }
    }
    shift
}

/// Between 0 and `upper`.
#[inline(always)]
fn clamp(value: f32, upper: f32) -> f32 {
    let value = if value > 0.0 { value } else { 0.0 };
    if value < upper { value } else { upper }
}

/// The sum of the elements at a shift, and how many of them follow it.
#[inline(always)]
fn sum_at(point: &[f32], upper: &[f32], shift: f32) -> (f32, f32) {
    let (mut sum, mut inside) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for (point, upper) in point.as_chunks::<LANES>().0.iter().zip(upper.as_chunks::<LANES>().0) {
        for lane in 0..LANES {
            let value = point[lane] + shift;
            let kept = clamp(value, upper[lane]);
            sum[lane] += kept;
            inside[lane] += if kept == value && upper[lane] > 0.0 { 1.0 } else { 0.0 };
        }
    }
    (total(sum), total(inside))
}

/// The sum of all lanes, always in the same order, whatever vectors a machine has.
#[inline(always)]
pub(crate) fn total<Number: Copy + Add<Output = Number>>(lanes: [Number; LANES]) -> Number {
    let by_four = [0, 1, 2, 3].map(|lane| lanes[lane] + lanes[lane + 4]);
    (by_four[0] + by_four[2]) + (by_four[1] + by_four[3])
}

/// The answer of a vehicle that also feeds in: the energy in its battery must stay in its bounds at
/// the end of every slot.
///
/// Without those bounds one worth would do for all slots. The bound that is then violated most is
/// met exactly in the answer (van der Klauw, Gerards, Hurink, Resource allocation problems in
/// decentralized energy management, OR Spectrum 2017), so it parts the slots, and each part is the
/// same problem again.
#[inline(always)]
fn store(car: &Car, upper: &[f32], step: f32, scratch: &mut Scratch, to: &mut [f32]) {
    let Scratch { point, open, .. } = scratch;
    let part = Part { car, point, upper, step: f64::from(step) };
    open.clear();
    open.push((0, car.count, 0.0, f64::NAN));
    while let Some((first, end, before, after)) = open.pop() {
        let worth = part.worth(first, end, before, after);
        let mut has = before;
        let (mut worst, mut over) = (None, 1e-5 * (1.0 + car.room));
        part.answer(first, end, worth, to);
        for slot in first..end {
            let (drawn, fed) = (to[slot], to[car.stride + slot]);
            has += car.gain * f64::from(drawn) - car.loss * f64::from(fed);
            let beyond = (has - car.room).max(-car.spare - has);
            if beyond > over && slot + 1 < end {
                (worst, over) = (Some((slot + 1, has)), beyond);
            }
        }
        if let Some((split, has)) = worst {
            let bound = if has > car.room { car.room } else { -car.spare };
            open.push((split, end, bound, after));
            open.push((first, split, before, bound));
        }
    }
    for padding in car.count..car.stride {
        (to[padding], to[car.stride + padding]) = (0.0, 0.0);
    }
}

struct Part<'a> {
    car: &'a Car,
    point: &'a [f32],
    upper: &'a [f32],
    step: f64,
}

impl Part<'_> {
    /// How far drawing and feeding in move where a kilowatt-hour in the battery is worth `worth`.
    #[inline(always)]
    fn shifts(&self, worth: f64) -> (f32, f32) {
        ((self.step * self.car.gain * worth) as f32, (-self.step * self.car.loss * worth) as f32)
    }

    /// What is drawn and fed in from slot `first` to before `end`, into `to`.
    #[inline(always)]
    fn answer(&self, first: usize, end: usize, worth: f64, to: &mut [f32]) {
        let (draw, feed) = self.shifts(worth);
        for (from, shift) in [(0, draw), (self.car.stride, feed)] {
            let slots = from + first..from + end;
            let (point, upper) = (&self.point[slots.clone()], &self.upper[slots.clone()]);
            for ((to, &point), &upper) in to[slots].iter_mut().zip(point).zip(upper) {
                *to = clamp(point + shift, upper);
            }
        }
    }

    /// What is gained from `first` to before `end`, and how fast that grows with the worth.
    #[inline(always)]
    fn gained(&self, first: usize, end: usize, worth: f64) -> (f64, f64) {
        let (draw, feed) = self.shifts(worth);
        let (gain, loss) = (self.car.gain, self.car.loss);
        let (drawn, drawing) = self.sum(first..end, draw);
        let other = self.car.stride;
        let (fed, feeding) = self.sum(other + first..other + end, feed);
        let slope = self.step * (gain * gain * drawing + loss * loss * feeding);
        (gain * drawn - loss * fed, slope)
    }

    /// The sum of some elements at a shift, and how many of them follow it.
    #[inline(always)]
    fn sum(&self, elements: Range<usize>, shift: f32) -> (f64, f64) {
        let (mut sum, mut inside) = ([0.0_f64; LANES], [0.0_f32; LANES]);
        let (points, rest) = self.point[elements.clone()].as_chunks::<LANES>();
        let (uppers, rest_upper) = self.upper[elements].as_chunks::<LANES>();
        for (point, upper) in points.iter().zip(uppers) {
            for lane in 0..LANES {
                let kept = clamp(point[lane] + shift, upper[lane]);
                sum[lane] += f64::from(kept);
                inside[lane] += if kept > 0.0 && kept < upper[lane] { 1.0 } else { 0.0 };
            }
        }
        for (lane, (point, &upper)) in rest.iter().zip(rest_upper).enumerate() {
            let kept = clamp(point + shift, upper);
            sum[lane] += f64::from(kept);
            inside[lane] += if kept > 0.0 && kept < upper { 1.0 } else { 0.0 };
        }
        (total(sum), f64::from(total(inside)))
    }

    /// The least and the most shift at which some elements still follow it.
    #[inline(always)]
    fn reach(&self, elements: Range<usize>) -> (f64, f64) {
        let (mut low, mut high) = (f32::MAX, f32::MIN);
        for (&point, &upper) in self.point[elements.clone()].iter().zip(&self.upper[elements]) {
            low = if -point < low { -point } else { low };
            high = if upper - point > high { upper - point } else { high };
        }
        (f64::from(low), f64::from(high))
    }

    /// The worth that leads from `before` to `after`; at the end of the stay to what is best.
    #[inline(always)]
    fn worth(&self, first: usize, end: usize, before: f64, after: f64) -> f64 {
        let target = if after.is_nan() {
            let (free, _) = self.gained(first, end, 0.0);
            let (need, room) = (self.car.need - before, self.car.room - before);
            let floor = -self.car.spare - before;
            if free > room {
                room
            } else if free < floor && need <= floor {
                floor
            } else if free >= need {
                return 0.0;
            } else {
                let (dear, _) = self.gained(first, end, self.car.penalty);
                if dear <= need {
                    if dear >= floor {
                        return self.car.penalty;
                    }
                    floor
                } else {
                    need
                }
            }
        } else {
            after - before
        };
        self.search(first, end, target)
    }

    #[inline(always)]
    fn search(&self, first: usize, end: usize, target: f64) -> f64 {
        let (up, down) = (self.step * self.car.gain, self.step * self.car.loss);
        let other = self.car.stride;
        let (draw_low, draw_high) = self.reach(first..end);
        let (feed_low, feed_high) = self.reach(other + first..other + end);
        // A kilowatt-hour that is worth more is drawn more and fed in less.
        let mut low = (draw_low / up).min(-feed_high / down);
        let mut high = (draw_high / up).max(-feed_low / down);
        let mut worth = 0.5 * (low + high);
        for _ in 0..SEARCHES {
            let (sum, slope) = self.gained(first, end, worth);
            let missing = target - sum;
            if missing.abs() <= 1e-6 * (target.abs() + self.car.gain) {
                break;
            }
            if missing > 0.0 {
                low = worth;
            } else {
                high = worth;
            }
            let next = worth + missing / slope;
            worth =
                if slope > 0.0 && next > low && next < high { next } else { 0.5 * (low + high) };
        }
        worth
    }
}
