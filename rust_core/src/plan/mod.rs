//! The horizon plan.

mod bound;
mod layout;
mod problem;
mod respond;
mod saddle;
mod schedule;
mod solve;
mod sweep;

pub use problem::*;
pub use solve::{Effort, Plan, solve};
