//! Bounds of every quantity, and the fixed point in which fair levels are kept.
//!
//! The bounds are far beyond any real network and leave `i64` arithmetic room: a load is at most
//! 2^31 connectors times [`CURRENT_MAX_MA`], below 2^61, and a level times the weights of a row
//! stays below 2^57 ([`CAPACITY_MAX_MA`] in level units, plus one level).

/// Phases of a node: L1, L2, L3. Row `node * PHASES + phase` is one phase of one node.
pub const PHASES: usize = 3;

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

/// The first level at which a share of `weight` (1 to 1,000) is at least `current_fine`, a current
/// in level units: the quotient, rounded up.
pub(crate) const fn level_from(current_fine: i64, weight: u16) -> i64 {
    (current_fine + weight as i64 - 1) / weight as i64
}
