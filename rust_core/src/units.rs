//! Bounds of every quantity, and the fixed point in which fair levels are kept.
//!
//! The bounds are far beyond any real network and leave `i64` arithmetic room: a load is at most
//! 2^31 connectors times [`CURRENT_MAX_MA`], below 2^61, and a level times the weights of a row
//! stays below 2^57 ([`CAPACITY_MAX_MA`] in level units, plus one level).

/// Phases of a node: L1, L2, L3. Row `node * PHASES + phase` is one phase of one node.
pub const PHASES: usize = 3;

/// Kinds of connection that a combined row can tell apart.
pub const KINDS: usize = 16;

/// The largest coefficient of a combined row, in either part.
pub const COEFFICIENT_MAX: i32 = 1 << 20;

/// The largest limit of a combined row, in the unit of its coefficients times milliamperes.
pub const COMBINED_MAX: i64 = 1 << 46;

/// The largest current a connector may ask for: one million amperes.
pub const CURRENT_MAX_MA: i64 = 1_000_000_000;

/// The largest capacity of a row: one thousand million amperes.
pub const CAPACITY_MAX_MA: i64 = 1_000_000_000_000;

/// The largest share of a connector.
pub const WEIGHT_MAX: i64 = 1_000;

/// The most levels a node may be below its root; what an allocation costs grows with it.
pub const DEPTH_MAX: u32 = 64;

/// A fair level is an integer in units of 1 / 65,536 milliampere per unit of weight.
///
/// Levels are what progressive filling raises, and exact ones would be fractions whose
/// denominators grow with every saturated row. Rounding each level down to this grid when a row
/// saturates keeps everything an exact integer; what is lost, below 1 / 65 milliampere even for
/// the largest weight, is handed out when currents are rounded to whole steps.
pub const LEVEL_BITS: u32 = 16;

/// A current in level units.
pub(crate) const fn fine(current_ma: i64) -> i64 {
    current_ma << LEVEL_BITS
}

/// Whole milliamperes of a current in level units, rounded down.
pub(crate) const fn whole_ma(current_fine: i64) -> i64 {
    current_fine >> LEVEL_BITS
}

#[expect(clippy::cast_possible_truncation, reason = "a thousand fits into any size")]
const WEIGHTS: usize = WEIGHT_MAX as usize + 1;

/// 2^63 / weight, rounded up.
static RECIPROCAL: [u64; WEIGHTS] = {
    let mut table = [0; WEIGHTS];
    let mut weight = 1;
    while weight < table.len() {
        table[weight] = (1_u64 << 63).div_ceil(weight as u64);
        weight += 1;
    }
    table
};

/// The first level at which a share of `weight` (1 to 1,000) is at least `current_ma`: the quotient
/// of the current in level units, rounded up.
///
/// Multiplied, since a round needs two for each connector. The reciprocal is less than 2^-63 too
/// high, so for dividends below 2^47 the product is less than 2^-16 too high, and the quotient, a
/// multiple of 1/1,000, is rounded down as it should be.
pub(crate) fn level_from(current_ma: u32, weight: u16) -> i64 {
    let dividend = (u64::from(current_ma) << LEVEL_BITS) + u64::from(weight) - 1;
    // Doubled, so that the quotient is the upper half of the product.
    let product = u128::from(dividend << 1) * u128::from(RECIPROCAL[usize::from(weight)]);
    u64::try_from(product >> 64).unwrap_or(u64::MAX).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_by_reciprocal_are_those_of_division() {
        let currents = (0..30).flat_map(|bit| {
            let power = 1_u32 << bit;
            [power - 1, power, power + 1, power / 3, power / 7 * 11]
        });
        for current_ma in currents.chain([999_999_999, 1_000_000_000]) {
            for weight in 1..=1_000 {
                let exact = (u64::from(current_ma) << LEVEL_BITS).div_ceil(u64::from(weight));
                assert_eq!(level_from(current_ma, weight).cast_unsigned(), exact);
            }
        }
    }
}
