//! What can be wrong with a round.

use std::fmt;

use thiserror::Error;

/// A row of one side of the network, by the caller's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `node * 3 + phase`; combined rows are counted after these.
    pub index: usize,
    /// Whether it is about what is fed in.
    pub export: bool,
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = if self.export { "export row" } else { "row" };
        write!(formatter, "{side} {}", self.index)
    }
}

/// Something that a round may not do, or that it says without being so. Levels are in
/// [`LEVEL_BITS`](crate::units::LEVEL_BITS).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Fault {
    /// A current that is not a setpoint of the connector, or has the wrong sign.
    #[error("connector {connector} does not accept {current_ma} mA")]
    NotAccepted {
        /// The connector.
        connector: usize,
        /// What it is given.
        current_ma: i64,
    },
    /// The sum of what was given and is liable exceeds what the row carries.
    #[error("{row} is overloaded")]
    Overloaded {
        /// The row.
        row: Row,
    },
    /// The reported load is not the sum of what flows.
    #[error("{row} carries {load}, reported are {reported}")]
    Load {
        /// The row.
        row: Row,
        /// What it carries.
        load: i128,
        /// What is reported.
        reported: i64,
    },
    /// A connector that has no minimum, or whose minimum had room, is refused.
    #[error("connector {connector} is refused, but there was room for its minimum")]
    Refused {
        /// The connector.
        connector: usize,
    },
    /// A connector is admitted although a row had no room for its minimum.
    #[error("connector {connector} is admitted, but {row} had no room for its minimum")]
    Admitted {
        /// The connector.
        connector: usize,
        /// The first such row.
        row: Row,
    },
    /// The reported row does not carry what the connector draws.
    #[error("connector {connector} is not below row {row}, which is said to stop it")]
    NotBelow {
        /// The connector.
        connector: usize,
        /// The reported row.
        row: i32,
    },
    /// Another row, or a row at another level, stopped the connector first.
    #[error("connector {connector} is stopped by {row} at level {level}, which is not reported")]
    Stopped {
        /// The connector.
        connector: usize,
        /// The row that stops it.
        row: Row,
        /// The level at which it does.
        level: i128,
    },
    /// The connector is at its maximum, and a row or a level is reported.
    #[error("connector {connector} is at its maximum, which is not reported")]
    AtMaximum {
        /// The connector.
        connector: usize,
    },
    /// The row could carry a higher level than the one at which it is said to stop connectors.
    #[error("{row} is not full at level {level}, where it is said to stop connectors")]
    NotFull {
        /// The row.
        row: Row,
        /// The reported level.
        level: i128,
    },
    /// The row was full before the level at which it is said to stop connectors.
    #[error("{row} is full at level {first} and is said to stop connectors at level {level}")]
    FullBefore {
        /// The row.
        row: Row,
        /// The reported level.
        level: i128,
        /// The first level after which it cannot carry the next.
        first: i128,
    },
    /// Less than the share of the connector, rounded down to what it accepts.
    #[error("connector {connector} has less than its share, which is {least_ma} mA rounded down")]
    BelowShare {
        /// The connector.
        connector: usize,
        /// What it must be given at least.
        least_ma: i128,
    },
    /// All rows have room for the connector's next setpoint, those of later tiers being at their
    /// minimums.
    #[error("connector {connector} could be raised to {next_ma} mA")]
    Raisable {
        /// The connector.
        connector: usize,
        /// Its next setpoint.
        next_ma: i128,
    },
    /// What rounding left over would have served a connector on the same lines of the same node
    /// that lost more by it.
    #[error("connector {connector} has what rounding left over before connector {first}")]
    OutOfTurn {
        /// The connector that has it.
        connector: usize,
        /// The connector that should.
        first: usize,
    },
    /// The reason does not agree with current and level.
    #[error("connector {connector} has reason {expected}, reported is {reported}")]
    WrongReason {
        /// The connector.
        connector: usize,
        /// The [`Reason`](crate::Reason) as a number.
        expected: u8,
        /// What is reported.
        reported: u8,
    },
}
