//! Capacities that change with time: caps of the feeder, grid events, tariffs of connection.
//!
//! Each row has a step function of time that never exceeds its rating. A round asks for what holds
//! now ([`Caps::at`]); a limit that stays in force for some time, because a charger keeps to it even
//! if nobody is there to change it, may use no more than the lowest over that window
//! ([`Caps::lowest`]). Times are whole seconds UTC; a step is in force from its first second on.

use std::ops::Range;

use crate::error::{NetworkError, check_length, check_range};
use crate::units::CAPACITY_MAX_MA;

/// The capacity of every row at every time.
#[derive(Debug, Clone)]
pub struct Caps {
    rating_ma: Vec<i64>,
    /// Rows that change, each with its steps.
    rows: Vec<(usize, Range<usize>)>,
    /// By row, then by time: from when which capacity is in force.
    steps: Vec<(i64, i64)>,
    /// When any row changes, ascending.
    changes_s: Vec<i64>,
}

impl Caps {
    /// Rows of `rating_ma`, each with the steps that entries say: `row[i]` has `capacity_ma[i]` from
    /// `start_s[i]` until its next entry. Entries may come in any order. Before the first of a row
    /// its rating holds, and never is a capacity above that.
    ///
    /// # Errors
    ///
    /// A length that disagrees, a row out of range, a rating below 0, a capacity out of range, two
    /// entries of one row with the same start.
    pub fn new(
        rating_ma: &[i64],
        row: &[i32],
        start_s: &[i64],
        capacity_ma: &[i64],
    ) -> Result<Self, NetworkError> {
        check_range("rating_ma", rating_ma, 0, CAPACITY_MAX_MA)?;
        check_length("start_s", start_s, row.len())?;
        check_length("capacity_ma", capacity_ma, row.len())?;
        check_range("capacity_ma", capacity_ma, -CAPACITY_MAX_MA, CAPACITY_MAX_MA)?;
        let mut order: Vec<(usize, i64, usize)> = Vec::with_capacity(row.len());
        for (index, (&row, &start_s)) in row.iter().zip(start_s).enumerate() {
            let at = usize::try_from(row).ok().filter(|&at| at < rating_ma.len());
            let at = at.ok_or(NetworkError::Range {
                array: "row",
                index,
                value: row.into(),
                least: 0,
                most: i64::try_from(rating_ma.len()).unwrap_or(i64::MAX) - 1,
            })?;
            order.push((at, start_s, index));
        }
        order.sort_unstable();
        let same = |pair: &&[(usize, i64, usize)]| (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1);
        if let Some(pair) = order.windows(2).find(same) {
            let (row, start_s, index) = pair[1];
            return Err(NetworkError::Repeated { index, row, start_s });
        }
        let mut caps = Self {
            rating_ma: rating_ma.to_vec(),
            rows: Vec::new(),
            steps: Vec::new(),
            changes_s: Vec::new(),
        };
        for entries in order.chunk_by(|one, next| one.0 == next.0) {
            let steps = entries.iter().map(|&(_, start_s, index)| (start_s, capacity_ma[index]));
            caps.add_row(entries[0].0, steps);
        }
        caps.changes_s.sort_unstable();
        caps.changes_s.dedup();
        Ok(caps)
    }

    /// Keep the steps of a row that change anything.
    fn add_row(&mut self, row: usize, steps: impl Iterator<Item = (i64, i64)>) {
        let first = self.steps.len();
        let rating_ma = self.rating_ma[row];
        let mut before_ma = rating_ma;
        for (start_s, capacity_ma) in steps {
            let capacity_ma = capacity_ma.min(rating_ma);
            if capacity_ma != before_ma {
                self.steps.push((start_s, capacity_ma));
                self.changes_s.push(start_s);
                before_ma = capacity_ma;
            }
        }
        if self.steps.len() > first {
            self.rows.push((row, first..self.steps.len()));
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rating_ma.len()
    }

    /// The capacity of every row at a time.
    #[must_use]
    pub fn at(&self, time_s: i64) -> Vec<i64> {
        self.over(time_s, time_s)
    }

    /// The lowest capacity of every row from `from_s` on and before `until_s`.
    ///
    /// # Errors
    ///
    /// `until_s` is not after `from_s`.
    pub fn lowest(&self, from_s: i64, until_s: i64) -> Result<Vec<i64>, NetworkError> {
        if until_s <= from_s {
            return Err(NetworkError::Argument {
                argument: "until_s",
                value: until_s,
                least: from_s.saturating_add(1),
                most: i64::MAX,
            });
        }
        Ok(self.over(from_s, until_s - 1))
    }

    /// The first time after `after_s` at which the capacity of any row changes.
    #[must_use]
    pub fn next_change_s(&self, after_s: i64) -> Option<i64> {
        let next = self.changes_s.partition_point(|&change_s| change_s <= after_s);
        self.changes_s.get(next).copied()
    }

    /// The lowest capacity of every row from one second to another, both included.
    fn over(&self, first_s: i64, last_s: i64) -> Vec<i64> {
        let mut capacity_ma = self.rating_ma.clone();
        for (row, steps) in &self.rows {
            let steps = &self.steps[steps.clone()];
            let begun = |until_s: i64| steps.partition_point(|&(start_s, _)| start_s <= until_s);
            // What is in force at first, the rating if nothing is, and what begins later.
            let (at_first, at_last) = (begun(first_s), begun(last_s));
            let in_force = &steps[at_first.saturating_sub(1)..at_last];
            let lowest = in_force.iter().map(|&(_, step_ma)| step_ma).min();
            capacity_ma[*row] = lowest.unwrap_or(capacity_ma[*row]);
        }
        capacity_ma
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(entries: &[(i32, i64, i64)]) -> Result<Caps, NetworkError> {
        let row: Vec<i32> = entries.iter().map(|entry| entry.0).collect();
        let start_s: Vec<i64> = entries.iter().map(|entry| entry.1).collect();
        let capacity_ma: Vec<i64> = entries.iter().map(|entry| entry.2).collect();
        Caps::new(&[100, 200, 300], &row, &start_s, &capacity_ma)
    }

    #[test]
    fn a_step_is_in_force_from_its_first_second_until_the_next() -> Result<(), NetworkError> {
        let caps = caps(&[(1, 20, 250), (1, 10, 50), (0, 10, -5)])?;
        assert_eq!(caps.at(i64::MIN), [100, 200, 300]);
        assert_eq!(caps.at(9), [100, 200, 300]);
        assert_eq!(caps.at(10), [-5, 50, 300]);
        assert_eq!(caps.at(19), [-5, 50, 300]);
        // Never above the rating.
        assert_eq!(caps.at(20), [-5, 200, 300]);
        assert_eq!(caps.at(i64::MAX), [-5, 200, 300]);
        Ok(())
    }

    #[test]
    fn the_lowest_over_a_window_is_that_of_its_seconds() -> Result<(), NetworkError> {
        let caps = caps(&[(1, 10, 50), (1, 20, 150), (1, 30, 100), (2, 25, 0), (2, 26, 300)])?;
        for from_s in 5..35 {
            for until_s in from_s + 1..40 {
                let each = (from_s..until_s).map(|time_s| caps.at(time_s));
                let lowest = each.reduce(|one, other| {
                    one.iter().zip(&other).map(|(one, other)| *one.min(other)).collect()
                });
                assert_eq!(Some(caps.lowest(from_s, until_s)?), lowest, "{from_s} to {until_s}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_change_is_what_changes_something() -> Result<(), NetworkError> {
        // The first of row 0 is its rating; the second of row 1 is what it was.
        let caps = caps(&[(0, 5, 100), (1, 10, 50), (1, 15, 50), (2, 10, 50), (0, 30, 1)])?;
        assert_eq!(caps.next_change_s(i64::MIN), Some(10));
        assert_eq!(caps.next_change_s(9), Some(10));
        assert_eq!(caps.next_change_s(10), Some(30));
        assert_eq!(caps.next_change_s(30), None);
        Ok(())
    }

    #[test]
    fn entries_that_contradict_themselves_are_refused_by_name() {
        let refusal = |entries: &[(i32, i64, i64)]| {
            caps(entries).map(|_| ()).map_err(|error| error.to_string()).err().unwrap_or_default()
        };
        assert_eq!(refusal(&[]), "");
        assert_eq!(refusal(&[(0, 1, 1), (3, 1, 1)]), "row[1] is 3, must be 0 to 2");
        assert_eq!(refusal(&[(-1, 1, 1)]), "row[0] is -1, must be 0 to 2");
        let message = "start_s[2]: row 1 has another capacity from 7";
        assert_eq!(refusal(&[(1, 7, 5), (1, 8, 5), (1, 7, 5)]), message);
        assert!(refusal(&[(0, 1, CAPACITY_MAX_MA + 1)]).starts_with("capacity_ma[0] is"));
        let rating = Caps::new(&[0, -1], &[], &[], &[]).map(|_| ());
        assert_eq!(
            rating.map_err(|error| error.to_string()),
            Err("rating_ma[1] is -1, must be 0 to 1000000000000".to_owned())
        );
        let lengths = Caps::new(&[0], &[0], &[], &[0]).map(|_| ());
        let message = "start_s has 0 elements, expected 1".to_owned();
        assert_eq!(lengths.map_err(|error| error.to_string()), Err(message));
        let backwards = caps(&[]).and_then(|caps| caps.lowest(10, 10)).map(|_| ());
        let message = "until_s is 10, must be 11 to 9223372036854775807".to_owned();
        assert_eq!(backwards.map_err(|error| error.to_string()), Err(message));
    }
}
