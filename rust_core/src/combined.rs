//! Combined rows: limits on what the currents of several phases or connections do together, such as
//! total power, phase imbalance, or a line whose currents add as vectors.
//!
//! A row knows the connectors below its node by their kind of connection. Its load is the largest
//! length that the sum of `coefficient * current`, a vector for every kind, has over *all subsets*
//! of kinds: the row then holds whatever part of the vehicles stops drawing, and nothing is netted
//! against a current that may end at any moment. That makes the load grow with every current, which
//! is what lets such rows stop connectors exactly as those of single phases do.
//!
//! The length of a sum is largest for a subset that lies on one side of some line through the
//! origin. These subsets do not depend on the currents, so they are listed once.

use crate::error::NetworkError;
use crate::units::{COEFFICIENT_MAX, KINDS, LEVEL_BITS};

/// The coefficients of a row: for each kind, two parts of a vector.
pub type Coefficients = [[i32; 2]; KINDS];

/// What flows below a node by kind, in milliamperes or in level units.
pub(crate) type ByKind = [i64; KINDS];

/// A checked row.
#[derive(Debug, Clone)]
pub(crate) struct CombinedRow {
    /// Caller's index among the combined rows.
    pub(crate) index: u32,
    pub(crate) coefficients: Coefficients,
    /// Kinds whose coefficient is not 0.
    pub(crate) kinds: u16,
    /// Subsets of `kinds` among which the longest sum is, whatever the currents are.
    subsets: Vec<u16>,
}

impl CombinedRow {
    pub(crate) fn new(index: usize, coefficients: &Coefficients) -> Result<Self, NetworkError> {
        let inside = |part: &i32| (-COEFFICIENT_MAX..=COEFFICIENT_MAX).contains(part);
        for (kind, vector) in coefficients.iter().enumerate() {
            if let Some(part) = vector.iter().position(|part| !inside(part)) {
                return Err(NetworkError::Range {
                    array: "combined_coefficient",
                    index: (index * KINDS + kind) * 2 + part,
                    value: i64::from(vector[part]),
                    least: i64::from(-COEFFICIENT_MAX),
                    most: i64::from(COEFFICIENT_MAX),
                });
            }
        }
        let kinds = subset_of(coefficients, |vector| vector != [0, 0]);
        Ok(Self {
            index: u32::try_from(index).unwrap_or(u32::MAX),
            coefficients: *coefficients,
            kinds,
            subsets: subsets(coefficients, kinds),
        })
    }

    /// Whether the square of the load of currents in milliamperes exceeds `square`.
    pub(crate) fn is_over(&self, current_ma: &ByKind, square: u128) -> bool {
        self.subsets.iter().any(|&subset| self.length_squared(subset, current_ma) > square)
    }

    /// As [`is_over`](Self::is_over), for currents in level units.
    pub(crate) fn is_over_fine(&self, current: &ByKind, square: u128) -> bool {
        self.is_over(current, square << (2 * LEVEL_BITS))
    }

    /// The most levels, up to `most`, or about as many, by which what flows `now` in level units may
    /// grow by `slope` each before the square of the load exceeds `square`; 0 if it does already.
    pub(crate) fn bears(&self, square: u128, now: &ByKind, slope: &ByKind, most: i64) -> i64 {
        let is_over = |levels: i64| {
            let mut then = *now;
            for (then, &slope) in then.iter_mut().zip(slope) {
                *then = slope.saturating_mul(levels).saturating_add(*then);
            }
            self.is_over_fine(&then, square)
        };
        if most <= 0 || !is_over(most) {
            return most.max(0);
        }
        // A guess is as good as a proof once it is tried, and all but a few are right.
        let guess = self.guess(square, now, slope).clamp(0, most);
        if guess > 0 && !is_over(guess) {
            return guess;
        }
        // Where a subset is exactly as long as it may be, a guess of none says nothing.
        let (mut low, mut high) = (0, if guess > 0 { guess } else { most });
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_over(middle) {
                high = middle;
            } else {
                low = middle;
            }
        }
        low
    }

    /// Where the load reaches the square root of `square`, by the quadratic formula in floating
    /// point, which nothing may rely on.
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a guess")]
    fn guess(&self, square: u128, now: &ByKind, slope: &ByKind) -> i64 {
        let limit = (square << (2 * LEVEL_BITS)) as f64;
        let levels = self.subsets.iter().map(|&subset| {
            let [x, y] = self.sum(subset, now).map(|part| part as f64);
            let [dx, dy] = self.sum(subset, slope).map(|part| part as f64);
            let (growth, half, room) = (dx * dx + dy * dy, x * dx + y * dy, limit - x * x - y * y);
            let reach = (half * half + growth * room).max(0.0).sqrt();
            // The larger root, in the form that does not cancel. What does not grow has none, be it
            // at the limit or, by rounding, beyond.
            if growth == 0.0 {
                f64::MAX
            } else if half > 0.0 {
                room / (half + reach)
            } else {
                (reach - half) / growth
            }
        });
        levels.fold(f64::MAX, f64::min) as i64
    }

    /// The square of the load.
    pub(crate) fn load_squared(&self, current_ma: &ByKind) -> u128 {
        let lengths = self.subsets.iter().map(|&subset| self.length_squared(subset, current_ma));
        lengths.max().unwrap_or(0)
    }

    /// The load of currents in milliamperes, rounded up.
    pub(crate) fn load(&self, current_ma: &ByKind) -> i64 {
        let square = self.load_squared(current_ma);
        let root = square.isqrt();
        i64::try_from(root + u128::from(root * root < square)).unwrap_or(i64::MAX)
    }

    /// What exceeds 128 bits exceeds every limit by far.
    fn length_squared(&self, subset: u16, current: &ByKind) -> u128 {
        let square = |part: i128| part.unsigned_abs().saturating_mul(part.unsigned_abs());
        let [x, y] = self.sum(subset, current);
        square(x).saturating_add(square(y))
    }

    fn sum(&self, subset: u16, current: &ByKind) -> [i128; 2] {
        let mut sum = [0; 2];
        let mut left = subset;
        while left != 0 {
            let kind = left.trailing_zeros() as usize;
            left &= left - 1;
            for (sum, &part) in sum.iter_mut().zip(&self.coefficients[kind]) {
                *sum += i128::from(part) * i128::from(current[kind]);
            }
        }
        sum
    }
}

/// The kinds whose coefficient passes `test`, as bits.
fn subset_of(coefficients: &Coefficients, test: impl Fn([i32; 2]) -> bool) -> u16 {
    let kinds = coefficients.iter().enumerate().filter(|(_, vector)| test(**vector));
    kinds.fold(0, |bits, (kind, _)| bits | 1 << kind)
}

/// The subsets that some line through the origin has on one side, none of them part of another
/// whose vectors are all within a right angle of each other.
fn subsets(coefficients: &Coefficients, kinds: u16) -> Vec<u16> {
    let dot = |one: [i32; 2], other: [i32; 2]| {
        i64::from(one[0]) * i64::from(other[0]) + i64::from(one[1]) * i64::from(other[1])
    };
    let mut found = Vec::new();
    for (kind, &edge) in coefficients.iter().enumerate() {
        if kinds >> kind & 1 == 0 {
            continue;
        }
        // The line turns past this vector: just before and just after, on either side of it. What
        // lies on the line itself goes with the direction in which the line turns.
        let across = [-edge[1], edge[0]];
        for side in [across, [-across[0], -across[1]]] {
            let inside = subset_of(coefficients, |other| dot(other, side) > 0);
            let ahead =
                subset_of(coefficients, |other| dot(other, side) == 0 && dot(other, edge) > 0);
            let behind =
                subset_of(coefficients, |other| dot(other, side) == 0 && dot(other, edge) < 0);
            found.extend([inside | ahead, inside | behind]);
        }
    }
    found.sort_unstable();
    found.dedup();
    // A sum only grows by vectors that are within a right angle of all the others.
    let acute = |subset: u16| {
        let within = |kind: usize| subset >> kind & 1 == 1;
        let vectors = || (0..KINDS).filter(|&kind| within(kind)).map(|kind| coefficients[kind]);
        vectors().all(|one| vectors().all(|other| dot(one, other) >= 0))
    };
    let kept: Vec<u16> = found
        .iter()
        .copied()
        .filter(|&subset| {
            !found
                .iter()
                .any(|&larger| larger != subset && larger & subset == subset && acute(larger))
        })
        .collect();
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::fine;

    /// Vectors of every direction, some of them parallel or opposite, and currents for them.
    fn drawn(seed: u64) -> (Coefficients, ByKind) {
        let mut state = seed;
        let mut below = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i32::try_from((state >> 33) % limit).unwrap_or(0)
        };
        let mut coefficients = [[0; 2]; KINDS];
        let mut current = [0; KINDS];
        let size = below(4) + 1;
        for kind in 0..usize::try_from(below(9)).unwrap_or(0) {
            coefficients[kind + 1] = [below(7) - 3, below(7) - 3].map(|part| part * size);
            current[kind + 1] = i64::from(below(6) * below(1_000));
        }
        (coefficients, current)
    }

    #[test]
    fn the_listed_subsets_hold_the_longest_sum_of_all() {
        for seed in 0..20_000 {
            let (coefficients, current) = drawn(seed);
            let Ok(row) = CombinedRow::new(0, &coefficients) else { unreachable!() };
            let length = |subset: u16| {
                let [x, y] = row.sum(subset, &current);
                x * x + y * y
            };
            let longest = (0..=row.kinds).filter(|set| set & !row.kinds == 0).map(length).max();
            let listed = row.subsets.iter().copied().map(length).max();
            assert_eq!(listed.unwrap_or(0), longest.unwrap_or(0), "seed {seed}");
        }
    }

    #[test]
    fn a_load_is_over_a_limit_exactly_when_it_is_longer() {
        for seed in 0..2_000 {
            let (coefficients, current) = drawn(seed);
            let Ok(row) = CombinedRow::new(0, &coefficients) else { unreachable!() };
            let load = row.load(&current);
            let square = |load: i64| u128::from(load.unsigned_abs()).pow(2);
            assert!(!row.is_over(&current, square(load)), "seed {seed}");
            assert!(load == 0 || row.is_over(&current, square(load - 1)), "seed {seed}");
        }
    }

    #[test]
    fn what_a_row_bears_is_never_too_much_and_hardly_ever_too_little() {
        let mut exact = 0;
        for seed in 0..2_000 {
            let (coefficients, now) = drawn(seed);
            let Ok(row) = CombinedRow::new(0, &coefficients) else { unreachable!() };
            let slope = drawn(seed + 1).1;
            let square = u128::from(seed) * 1_000_000;
            let bears = row.bears(square, &now.map(fine), &slope, 1 << 40);
            let then =
                |levels: i64| std::array::from_fn(|kind| fine(now[kind]) + slope[kind] * levels);
            assert!(bears == 0 || !row.is_over_fine(&then(bears), square), "seed {seed}");
            exact += i32::from(bears == 1 << 40 || row.is_over_fine(&then(bears + 1), square));
        }
        assert!(exact > 1_990, "{exact}");
    }

    #[test]
    fn a_kind_that_is_full_holds_up_no_other() {
        let mut coefficients = [[0; 2]; KINDS];
        let mut slope = [0; KINDS];
        (coefficients[1], coefficients[2]) = ([1_000_003, 777_777], [-600_000, -500_000]);
        slope[2] = 1_000;
        let Ok(row) = CombinedRow::new(0, &coefficients) else { unreachable!() };
        for current_ma in 10_000..12_000 {
            let mut now = [0; KINDS];
            now[1] = current_ma;
            // The other may draw more than this kind before the row notices.
            let square = row.load_squared(&now);
            let bears = row.bears(square, &now.map(fine), &slope, 1 << 40);
            assert!(bears > fine(current_ma) / slope[2], "{current_ma}: {bears}");
        }
    }

    #[test]
    fn vectors_within_a_right_angle_need_one_sum_only() {
        let mut coefficients = [[0; 2]; KINDS];
        coefficients[1] = [10_000, 0];
        coefficients[8] = [8_661, 5_000];
        coefficients[10] = [8_661, -5_000];
        let Ok(row) = CombinedRow::new(0, &coefficients) else { unreachable!() };
        assert_eq!(row.subsets, [0b101_0000_0010]);
    }

    #[test]
    fn a_coefficient_out_of_range_is_named() {
        let mut coefficients = [[0; 2]; KINDS];
        coefficients[3][1] = COEFFICIENT_MAX + 1;
        let refused =
            CombinedRow::new(2, &coefficients).map(|_| ()).map_err(|error| error.to_string());
        let message = "combined_coefficient[71] is 1048577, must be -1048576 to 1048576";
        assert_eq!(refused, Err(message.to_owned()));
    }
}
