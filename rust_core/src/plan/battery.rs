//! What a vehicle's battery does of currents in whole milliamperes: exact sums, in microjoules.

use super::car::{Car, Taper};

/// Microjoules of a watt-hour.
pub(crate) const UJ_PER_WH: i64 = 3_600_000_000;

/// What the battery gains over the whole stay, in microjoules.
pub(super) fn gained(car: &Car, current: &[i32]) -> i64 {
    let drawn: i64 = current[..car.stride].iter().map(|&own| i64::from(own)).sum();
    drawn * car.unit - fed(car, current).iter().map(|&own| car.taken(own)).sum::<i64>()
}

/// What is fed in, by slot; nothing where it never does.
pub(super) fn fed<'a>(car: &Car, current: &'a [i32]) -> &'a [i32] {
    &current[car.stride..car.fed().end - car.offset]
}

/// What it would like to gain: what its answer brings, rounded up to the need where that is near.
pub(super) fn wanted(car: &Car, answer: &[f32]) -> i64 {
    let sum = |elements: &[f32]| elements.iter().map(|&own| f64::from(own)).sum::<f64>();
    let drawn = sum(&answer[..car.stride]);
    let energy = car.gain * drawn - car.loss * sum(&answer[car.stride..car.fed().end - car.offset]);
    let wanted =
        if energy > car.need * (1.0 - 1e-4) - 1e-6 { energy.max(car.need) } else { energy };
    (wanted.min(car.room) * UJ_PER_WH as f64 * 1e3) as i64
}

/// Keep the energy in the battery within its bounds in every slot, later slots giving way.
pub(super) fn keep_battery(car: &Car, current: &mut [i32]) {
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
pub(super) fn battery_room(car: &Car, current: &[i32], slot: usize) -> i64 {
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

/// What is drawn from a slot on when up to `most` more is drawn in it and later slots take what the
/// taper then leaves; none where it would bring less in the end.
pub(super) fn drawn_before_taper(
    car: &Car,
    current: &[i32],
    slot: usize,
    most: i64,
) -> Option<Vec<i32>> {
    let taper = car.taper.as_ref()?;
    let fed = |at: usize| if car.two_way { current[car.stride + at] } else { 0 };
    if fed(slot) > 0 {
        return None;
    }
    let (mut had, mut has) = (0, 0);
    let mut changed = Vec::with_capacity(car.count - slot);
    for at in 0..car.count {
        let own = i64::from(current[at]);
        had += own * car.unit;
        let open = (car.room_uj - has).div_euclid(car.unit).min(taper.room(0, has, car.unit));
        let drawn = if at == slot { (own + most).min(open) } else { own.min(open) };
        has += drawn * car.unit;
        if has < had || drawn < 0 {
            return None;
        }
        if at >= slot {
            changed.push(i32::try_from(drawn).ok()?);
        }
        let taken = car.taken(fed(at));
        (had, has) = (had - taken, has - taken);
    }
    (changed[0] > current[slot]).then_some(changed)
}

/// How many milliamperes less can be drawn in a slot without a battery that is too empty later.
pub(super) fn battery_gives(car: &Car, current: &[i32], slot: usize) -> i64 {
    if !car.two_way {
        return i64::MAX;
    }
    battery_spares(car, current, slot).div_euclid(car.unit)
}

/// How many microjoules less could be in the battery from a slot on.
pub(super) fn battery_spares(car: &Car, current: &[i32], slot: usize) -> i64 {
    let (mut has, mut least) = (car.spare_uj, i64::MAX);
    for at in 0..car.count {
        has += i64::from(current[at]) * car.unit - car.taken(current[car.stride + at]);
        if at >= slot {
            least = least.min(has);
        }
    }
    least
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
