//! The plan of a horizon: what every vehicle draws in every slot, at the lowest cost, with proof.
//!
//! A round shares out one moment; a plan looks at the next day. It is a linear program: vehicles
//! with power, stay, battery, need and taper of their own; the rows of the electrical tree in each
//! slot; energy bought and sold at meters, and demand charges on what a peak rises above that of the
//! month so far. What is missing on departure costs a penalty, so there always is a plan.
//!
//! [`solve`] returns a plan in whole milliamperes that keeps every row, a bound that no plan can
//! cost less than, and the prices that prove it. [`check()`] verifies a plan by plain sums. How both
//! are found stands in the modules: `saddle`, `respond`, `bound`, `schedule`.
//!
//! ```
//! use loadstar_core::Network;
//! use loadstar_core::plan::{Effort, Fleet, Limits, Meters, Problem, Start, check, solve};
//!
//! // Two vehicles on a line of 16 A for two hours; the second hour is cheaper.
//! let network = Network::new(&[-1], &[0, 0], &[0b001, 0b001])?;
//! let problem = Problem {
//!     network: &network,
//!     slots: 2,
//!     slot_s: 3_600,
//!     late_price: 0,
//!     limits: Limits { import_ma: &[16_000, 16_000, 0, 0, 0, 0], ..Limits::default() },
//!     meters: Meters {
//!         node: &[0],
//!         base_w: &[0, 0],
//!         import_price: &[300_000, 100_000],
//!         export_price: &[0, 0],
//!         ..Meters::default()
//!     },
//!     fleet: Fleet {
//!         volts: &[230, 230],
//!         max_ma: &[16_000, 16_000],
//!         arrival_s: &[0, 0],
//!         departure_s: &[7_200, 7_200],
//!         need_wh: &[3_680, 1_840],
//!         room_wh: &[10_000, 10_000],
//!         penalty: &[5_000_000, 5_000_000],
//!         ..Fleet::default()
//!     },
//! };
//! let plan = solve(&problem, &Start::default(), &Effort::default(), &|| false)?;
//! // 3.68 kWh fit into the cheap hour, and 1.84 kWh are left for the dear one.
//! assert!((plan.cost - 0.92).abs() < 1e-3);
//! assert!(plan.cost - plan.bound <= 1e-3 * plan.cost);
//! assert!(check(&problem, &plan.current_ma)?.is_empty());
//! # Ok::<(), loadstar_core::NetworkError>(())
//! ```

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::float_cmp,
    reason = "the search is in floats, rounded as kept; what must hold is exact in `schedule`"
)]
#![allow(clippy::needless_range_loop, clippy::similar_names, reason = "a slot is what rows share")]

mod battery;
mod bound;
mod car;
mod check;
mod fill;
mod layout;
mod outcome;
mod problem;
mod respond;
mod rows;
mod saddle;
mod schedule;
mod solve;
mod sweep;
mod weigh;

pub use check::{PlanFault, check};
pub use outcome::{Plan, Shortfall};
pub use problem::{
    ENERGY_MAX_WH, Fleet, INSTANT_MAX_S, Limits, Meters, POWER_MAX_W, PRICE_MAX, Problem,
    SLOT_MAX_S, SLOTS_MAX, VEHICLE_POWER_MAX_MW, VOLTAGE_MAX_V,
};
pub use solve::{Effort, Start, solve};
