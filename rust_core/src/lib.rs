//! Exact real-time power allocation over an electrical tree.
//!
//! A site's breakers hang on this crate, so it holds three things at once: no row ever carries
//! more than its capacity, the shares are the weighted max-min shares and not an approximation of
//! them, and the same input gives the same bits on every machine. All arithmetic is on bounded
//! integers ([`units`]); nothing here reads a clock, draws a random number or panics on an input.
//!
//! ```
//! use loadstar_core::{Demand, Network, allocate, check};
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
//! };
//! let round = allocate(&network, &[50_000, 50_000, 50_000], &demand)?;
//! assert_eq!(round.current_ma, [20_000, 20_000, 10_000]);
//! assert_eq!(round.binding_row, [0, 0, -1]);
//! let over = check(&network, &[50_000; 3], demand.min_ma, demand.max_ma, &round.current_ma)?;
//! assert!(over.is_empty());
//! # Ok::<(), loadstar_core::NetworkError>(())
//! ```

mod admit;
mod allocate;
mod check;
mod error;
mod fill;
mod network;
mod round;
mod steps;
pub mod units;

pub use allocate::{Allocation, Demand, allocate, allocate_in};
pub use check::check;
pub use error::NetworkError;
pub use network::Network;
pub use round::Workspace;
