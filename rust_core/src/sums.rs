//! What flows on every row, from what every connector draws.

use crate::error::{NetworkError, check_length};

/// Which rows each connector is on, for rows that are added up again and again.
#[derive(Debug, Clone)]
pub struct RowSums {
    rows: usize,
    above: Vec<Vec<usize>>,
}

impl RowSums {
    /// Of so many `rows`, those `above` each connector; a row that counts a connector several times
    /// is there as often.
    ///
    /// # Errors
    ///
    /// A connector is on a row that is not there.
    pub fn new(rows: usize, above: Vec<Vec<usize>>) -> Result<Self, NetworkError> {
        for (index, &row) in above.iter().flatten().enumerate() {
            if row >= rows {
                let [value, most] = [row, rows].map(|each| i64::try_from(each).unwrap_or(i64::MAX));
                let array = "above";
                return Err(NetworkError::Range { array, index, value, least: 0, most: most - 1 });
            }
        }
        Ok(Self { rows, above })
    }

    /// The sum on every row of one current per connector; one beyond the range of the type stays at
    /// its end.
    ///
    /// # Errors
    ///
    /// There are not as many currents as connectors.
    pub fn of(&self, leaf_ma: &[i64]) -> Result<Vec<i64>, NetworkError> {
        check_length("leaf_ma", leaf_ma, self.above.len())?;
        let mut sums = vec![0_i64; self.rows];
        for (&current_ma, above) in leaf_ma.iter().zip(&self.above) {
            if current_ma != 0 {
                for &row in above {
                    sums[row] = sums[row].saturating_add(current_ma);
                }
            }
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::RowSums;

    #[test]
    fn a_row_carries_a_connector_as_often_as_it_counts_it() {
        let sums = RowSums::new(3, vec![vec![0, 2], vec![0, 1, 1], vec![]])
            .map(|each| each.of(&[5, 7, 9]));
        assert_eq!(sums, Ok(Ok(vec![12, 14, 5])));
    }

    #[test]
    fn a_row_that_is_not_there_and_a_current_too_few_are_refused() {
        assert!(RowSums::new(2, vec![vec![0], vec![2]]).is_err());
        let sums = RowSums::new(1, vec![vec![0]]).map(|each| each.of(&[]).is_err());
        assert_eq!(sums, Ok(true));
    }
}
