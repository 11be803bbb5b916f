//! Coefficients of combined rows for the limits that networks have: total power, imbalance between
//! lines, lines that carry wye and line-to-line loads, primaries of delta-wye transformers.
//!
//! They hold for connectors of kinds 1 to 7, the sets of lines of those that draw between lines and
//! neutral, and 8, 9 and 10, those that draw between L1 and L2, L2 and L3, L3 and L1. Other kinds
//! are not counted. Angles are those of equal power factors and lines 120 degrees apart, L2 behind
//! L1. A connector between two lines is on both of these (phases 3, 6, 5), and rows of single lines
//! add its current to others as a number: where a row of vectors shall bound a line instead, the
//! row of the single line needs a capacity that never binds.
//!
//! All is computed in integers, so that every machine has the same rows, and rounded such that a
//! row never makes less of currents than they are. A limit is rounded down: to milliwatts,
//! milliamperes, or milliamperes times [`VECTOR_SCALE`]. What a row then allows, it allows safely.
//!
//! **Rounding of vectors.** Each vector is written in a frame in which all point forwards, at most
//! 60 degrees from the first axis; there the part `y` across is rounded to the nearest integer, and
//! the part `x` along up, and once more if `y` was not exact. The longest sum over subsets of the
//! exact vectors is within 60 degrees of the first axis too. In its direction a rounded vector has
//! lost at most `0.5 * sin(60°) < 0.44` by its `y`, and won at least `1 * cos(60°) = 0.5` by its
//! `x`: so the sum of the same rounded vectors is at least as long. No vector has become longer by
//! more than `|(2, 0.5)| < 2.07`, while the exact load is at least the sum of all `x`, of which the
//! least is half the scale: loads are overstated by less than 0.042 % times the turns ratio of a
//! transformer (which is why that is at most 20). For a line, where `y` is exact, it is less than
//! 0.009 %.
//!
//! **Subsets and the plain norm.** Vectors of a line are within a right angle, and the row bounds
//! the length of their sum. Those of a delta-wye primary are up to 120 degrees apart, so one
//! connector's current may shorten the sum of others. The row does not count on that, since any of
//! them may stop drawing at any time; it is then up to `2 / sqrt(3)` of the plain norm, 15.5 % more
//! (a limit allows 13.4 % less), namely where only the two pairs of lines at the ends draw, one of
//! them half as much as the other. Where pairs draw alike, the two are the same.

use crate::combined::Coefficients;
use crate::error::NetworkError;
use crate::units::{COEFFICIENT_MAX, KINDS, PHASES};

/// What coefficients and limits of vectors in milliamperes are multiplied by.
pub const VECTOR_SCALE: i64 = 10_000;

/// The first of the kinds between lines: L1 and L2, then L2 and L3, L3 and L1.
const BETWEEN: usize = 8;

/// The lines that each kind is on, bit 0 for L1.
const LINES: [u8; BETWEEN + PHASES] = [0, 1, 2, 3, 4, 5, 6, 7, 0b011, 0b110, 0b101];

/// The largest turns ratio, where loads are overstated by 0.84 %, and the largest part of one.
const RATIO_MAX: i64 = 20;
const TURNS_MAX: i64 = 1_000_000;

/// The sum of all power, for a limit in milliwatts.
///
/// A connector between two lines has the square root of 3 times the voltage to neutral, rounded up
/// to whole volts.
///
/// # Errors
///
/// `volts_line_to_neutral` is not 1 to 349,525.
pub fn total_power_row(volts_line_to_neutral: i64) -> Result<Coefficients, NetworkError> {
    let (volts, most) = (volts_line_to_neutral, i64::from(COEFFICIENT_MAX) / 3);
    check_argument("volts_line_to_neutral", volts, 1, most)?;
    let between = Part::of_square(3).times(volts, 1).up();
    let mut row = [[0; 2]; KINDS];
    for (kind, lines) in LINES.iter().enumerate() {
        let to_neutral = i128::from(lines.count_ones()) * i128::from(volts);
        row[kind][0] = coefficient(if kind < BETWEEN { to_neutral } else { between })?;
    }
    Ok(row)
}

/// By how much the line `over` carries more than the line `under` (0 to 2), for a limit in
/// milliamperes.
///
/// Counted is what draws on `over` and not on `under`, and nothing is netted against what draws on
/// `under` only. Currents add as numbers: connectors between these two lines load both alike, though
/// where they add to others as vectors, the two lengths may grow apart by up to half of their
/// current.
///
/// # Errors
///
/// `over` or `under` is not a line; both are the same.
pub fn imbalance_row(over: i64, under: i64) -> Result<Coefficients, NetworkError> {
    let (over, under) = (line_of("over", over)?, line_of("under", under)?);
    if over == under {
        return Err(NetworkError::SameLine { line: over });
    }
    let mut row = [[0; 2]; KINDS];
    for (kind, lines) in LINES.iter().enumerate() {
        row[kind][0] = i32::from(lines >> over & 1 == 1 && lines >> under & 1 == 0);
    }
    Ok(row)
}

/// The current of a line (0 to 2) that feeds loads to neutral and between lines, for a limit in
/// milliamperes times [`VECTOR_SCALE`].
///
/// Currents to neutral are in phase with the line, those between it and the next line 30 degrees
/// ahead, those between it and the one before 30 degrees behind.
///
/// # Errors
///
/// `line` is not 0 to 2.
pub fn line_current_row(line: i64) -> Result<Coefficients, NetworkError> {
    let line = line_of("line", line)?;
    let mut row = [[0; 2]; KINDS];
    for (kind, lines) in LINES.iter().enumerate().take(BETWEEN) {
        if lines >> line & 1 == 1 {
            row[kind] = FORWARD.rounded(VECTOR_SCALE, 1)?;
        }
    }
    row[BETWEEN + line] = AHEAD_30.rounded(VECTOR_SCALE, 1)?;
    row[BETWEEN + before(line)] = AHEAD_30.mirrored().rounded(VECTOR_SCALE, 1)?;
    Ok(row)
}

/// The current of a line (0 to 2) on the primary side of a delta-wye transformer, for a limit in
/// milliamperes times [`VECTOR_SCALE`].
///
/// It is that of the same line of the secondary less that of the line before, over the turns ratio
/// `turns_numerator / turns_denominator` of a primary to a secondary winding: behind a transformer
/// from 480 V to 208/120 V, with a ratio of 4, the primary carries (I1 - I3) / 4 on L1. Kinds and
/// lines are those of the secondary. For windings connected the other way round, where it is
/// (I1 - I2) / 4, name the lines of the secondary in the opposite order.
///
/// # Errors
///
/// `line` is not 0 to 2, or part of the ratio not 1 to 1,000,000; a ratio above 20, or so small that
/// coefficients are out of range. Behind a transformer of any ratio, a row for ratio 1 holds with
/// the limit times the ratio.
pub fn delta_wye_primary_row(
    line: i64,
    turns_numerator: i64,
    turns_denominator: i64,
) -> Result<Coefficients, NetworkError> {
    let line = line_of("line", line)?;
    check_argument("turns_denominator", turns_denominator, 1, TURNS_MAX)?;
    let most = TURNS_MAX.min(RATIO_MAX * turns_denominator);
    check_argument("turns_numerator", turns_numerator, 1, most)?;
    let scale = VECTOR_SCALE * turns_denominator;
    let rounded = |vector: Vector| vector.rounded(scale, turns_numerator);
    let (next, last) = (before(before(line)), before(line));
    let mut row = [[0; 2]; KINDS];
    for (kind, lines) in LINES.iter().enumerate().take(BETWEEN) {
        row[kind] = match (lines >> line & 1, lines >> last & 1) {
            (1, 1) => rounded(FORWARD_ROOT_3)?,
            (1, _) => rounded(AHEAD_30)?,
            (_, 1) => rounded(AHEAD_30.mirrored())?,
            _ => [0, 0],
        };
    }
    row[BETWEEN + last] = rounded(FORWARD_2)?;
    row[BETWEEN + line] = rounded(AHEAD_60)?;
    row[BETWEEN + next] = rounded(AHEAD_60.mirrored())?;
    Ok(row)
}

/// The line that is 120 degrees ahead of a line.
const fn before(line: usize) -> usize {
    (line + PHASES - 1) % PHASES
}

/// The part of a vector along one axis: `sqrt(square) / 2 * factor / divisor`.
#[derive(Debug, Clone, Copy)]
struct Part {
    square: u128,
    divisor: u128,
}

impl Part {
    /// The root of `square`.
    fn of_square(square: u128) -> Self {
        Self { square: 4 * square, divisor: 1 }
    }

    /// `factor` and `divisor` are not below 1.
    fn times(self, factor: i64, divisor: i64) -> Self {
        let factor = u128::from(factor.unsigned_abs());
        let divisor = self.divisor * u128::from(divisor.unsigned_abs());
        Self { square: self.square * factor * factor, divisor }
    }

    /// Rounded up.
    fn up(self) -> i128 {
        let root = self.square.isqrt();
        let root = root + u128::from(root * root < self.square);
        root.div_ceil(2 * self.divisor).cast_signed()
    }

    /// Rounded to the nearest integer, and whether that is exact.
    fn nearest(self) -> (i128, bool) {
        let nearest = ((4 * self.square).isqrt() + 2 * self.divisor) / (4 * self.divisor);
        (nearest.cast_signed(), (2 * self.divisor * nearest).pow(2) == self.square)
    }
}

/// A vector that points forwards: four times the squares of its parts along the first axis and
/// across, and whether the latter is below 0.
#[derive(Debug, Clone, Copy)]
struct Vector {
    along: u128,
    across: u128,
    behind: bool,
}

const FORWARD: Vector = Vector { along: 4, across: 0, behind: false };
const FORWARD_ROOT_3: Vector = Vector { along: 12, across: 0, behind: false };
const FORWARD_2: Vector = Vector { along: 16, across: 0, behind: false };
const AHEAD_30: Vector = Vector { along: 3, across: 1, behind: false };
const AHEAD_60: Vector = Vector { along: 1, across: 3, behind: false };

impl Vector {
    /// As far behind the first axis as it was ahead.
    const fn mirrored(self) -> Self {
        Self { behind: !self.behind, ..self }
    }

    /// The vector times `factor / divisor`, rounded so that no sum is shortened by it.
    fn rounded(self, factor: i64, divisor: i64) -> Result<[i32; 2], NetworkError> {
        let part = |square: u128| Part { square, divisor: 1 }.times(factor, divisor);
        let (across, exact) = part(self.across).nearest();
        let along = part(self.along).up() + i128::from(!exact);
        Ok([coefficient(along)?, coefficient(if self.behind { -across } else { across })?])
    }
}

fn coefficient(value: i128) -> Result<i32, NetworkError> {
    let inside = i32::try_from(value).ok().filter(|value| value.abs() <= COEFFICIENT_MAX);
    inside.ok_or(NetworkError::Argument {
        argument: "coefficient",
        value: i64::try_from(value).unwrap_or(i64::MAX),
        least: i64::from(-COEFFICIENT_MAX),
        most: i64::from(COEFFICIENT_MAX),
    })
}

fn line_of(argument: &'static str, line: i64) -> Result<usize, NetworkError> {
    check_argument(argument, line, 0, 2)?;
    Ok(usize::try_from(line).unwrap_or(0))
}

fn check_argument(
    argument: &'static str,
    value: i64,
    least: i64,
    most: i64,
) -> Result<(), NetworkError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(NetworkError::Argument { argument, value, least, most })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact coefficients of a row, in the frame of its own.
    fn exact(row: impl Fn(usize) -> (f64, f64), scale: f64) -> [[f64; 2]; KINDS] {
        std::array::from_fn(|kind| {
            let (length, degrees) = row(kind);
            let (y, x) = degrees.to_radians().sin_cos();
            [scale * length * x, scale * length * y]
        })
    }

    /// The length of the longest sum over subsets.
    fn longest(row: &[[f64; 2]; KINDS], current: &[f64; KINDS]) -> f64 {
        // In every direction, what points there; the longest sum is one of these.
        let towards = |step: u32| {
            let (sin, cos) = (f64::from(step) * std::f64::consts::TAU / 7_200.0).sin_cos();
            let ahead = |[x, y]: [f64; 2]| (x * cos + y * sin).max(0.0);
            row.iter().zip(current).map(|(&vector, current)| ahead(vector) * current).sum::<f64>()
        };
        (0..7_200).map(towards).fold(0.0, f64::max)
    }

    fn widened(row: &Coefficients) -> [[f64; 2]; KINDS] {
        row.map(|vector| vector.map(f64::from))
    }

    /// Currents of all kinds: one or two at first, then of all sizes.
    fn currents() -> impl Iterator<Item = [f64; KINDS]> {
        let mut state = 7_u64;
        (0..600).map(move |round| {
            std::array::from_fn(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let drawn = u32::try_from(state >> 43).unwrap_or(0);
                let off = round < 300 && drawn % 6 > 0;
                if off { 0.0 } else { f64::from(drawn / 6 % 1_000) }
            })
        })
    }

    fn primary(kind: usize) -> (f64, f64) {
        match kind {
            1 | 3 => (1.0, 30.0),
            4 | 6 => (1.0, -30.0),
            5 | 7 => (3_f64.sqrt(), 0.0),
            8 => (1.0, 60.0),
            9 => (1.0, -60.0),
            10 => (2.0, 0.0),
            _ => (0.0, 0.0),
        }
    }

    #[test]
    fn rounding_never_shortens_a_sum_and_lengthens_it_within_the_bound() {
        for (numerator, denominator) in
            [(1_i32, 1_i32), (4, 1), (1_385, 120), (15, 1), (1, 4), (7, 3)]
        {
            let Ok(row) = delta_wye_primary_row(0, numerator.into(), denominator.into()) else {
                unreachable!()
            };
            let ratio = f64::from(numerator) / f64::from(denominator);
            let exact = exact(primary, 10_000.0 / ratio);
            for current in currents() {
                let (load, rounded) =
                    (longest(&exact, &current), longest(&widened(&row), &current));
                // The directions that are looked at are 1/20 degree apart.
                assert!(rounded >= load * (1.0 - 1e-6), "{current:?}");
                assert!(rounded <= load * (1.0 + 0.000_42 * ratio + 1e-6), "{current:?}");
            }
        }
        let exact = exact(
            |kind| match kind {
                1 | 3 | 5 | 7 => (1.0, 0.0),
                8 => (1.0, 30.0),
                10 => (1.0, -30.0),
                _ => (0.0, 0.0),
            },
            10_000.0,
        );
        let Ok(row) = line_current_row(0) else { unreachable!() };
        let row = widened(&row);
        for current in currents() {
            let (load, rounded) = (longest(&exact, &current), longest(&row, &current));
            assert!(rounded >= load * (1.0 - 1e-6), "{current:?}");
            assert!(rounded <= load * (1.0 + 0.000_09 + 1e-6), "{current:?}");
        }
    }
}
