//! The proof of the crate: every result against a slow reference bit for bit, laws that need no
//! second solver, and cases that were hard once.

#![allow(clippy::unwrap_used, reason = "a test stops at the first fault")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "indices of small cases"
)]

mod equality;
mod hard_cases;
mod incremental;
#[cfg(not(miri))]
mod laws;
mod problem;
mod reference;
mod refusals;
mod theorems;
