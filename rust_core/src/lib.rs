//! Exact real-time power allocation over an electrical tree.
//!
//! A site's breakers hang on this crate, so it holds three things at once: no row ever carries
//! more than its capacity, the shares are the weighted max-min shares and not an approximation of
//! them, and the same input gives the same bits on every machine. All arithmetic is on bounded
//! integers ([`units`]); nothing here reads a clock, draws a random number or panics on an input.
//!
//! ```
//! use loadstar_core::{Capacity, Demand, Network, Workspace, allocate, check};
//!
//! // One panel of 50 A per phase; a three-phase car, and two one-phase cars on L1.
//! let network = Network::new(&[-1], &[0, 0, 0], &[0b111, 0b001, 0b001])?;
//! let demand = Demand {
//!     min_ma: &[6_000, 6_000, 6_000],
//!     max_ma: &[32_000, 32_000, 10_000],
//!     step_ma: &[100, 100, 100],
//!     weight: &[1, 1, 1],
//!     tier: &[0, 0, 0],
//!     rank: &[0, 0, 0],
//!     ..Demand::default()
//! };
//! let capacity = Capacity { import_ma: &[50_000, 50_000, 50_000], ..Capacity::default() };
//! let round = allocate(&mut Workspace::default(), &network, &capacity, &demand, 1)?;
//! assert_eq!(round.current_ma, [20_000, 20_000, 10_000]);
//! assert_eq!(round.binding_row, [0, 0, -1]);
//! assert!(check(&network, &capacity, &demand, &round.current_ma)?.is_empty());
//! # Ok::<(), loadstar_core::NetworkError>(())
//! ```

mod admit;
mod allocate;
mod caps;
mod certify;
mod check;
mod combined;
pub mod electrical;
mod error;
mod fill;
mod incremental;
mod input;
mod network;
mod outcome;
mod part;
pub mod plan;
mod round;
mod setpoints;
mod steps;
mod sums;
mod threads;
pub mod units;
pub mod waiting;

pub use allocate::{Capacity, Demand, Workspace, allocate};
pub use caps::Caps;
pub use certify::{Fault, Row, certify};
pub use check::check;
pub use combined::Coefficients;
pub use error::NetworkError;
pub use incremental::{Allocator, Connector};
pub use network::{Description, Network};
pub use outcome::{Allocation, Reason};
pub use sums::RowSums;
