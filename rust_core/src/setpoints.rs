//! Which currents a station accepts: multiples of a step, or the members of a set.

use crate::error::{NetworkError, check_length};
use crate::round::narrow;
use crate::units::CURRENT_MAX_MA;

/// Sets of currents, one after the other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setpoints<'a> {
    start: &'a [i32],
    current_ma: &'a [i64],
}

/// What one connector accepts: a step in milliamperes or, with the highest bit, a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepts(u32);

const SET: u32 = 1 << 31;

impl Accepts {
    /// Every milliampere.
    pub(crate) const ANY: Self = Self(1);

    /// Multiples of a step, 1 to [`CURRENT_MAX_MA`].
    pub(crate) fn step(step_ma: i64) -> Self {
        Self(narrow(step_ma))
    }

    /// The members of a set.
    pub(crate) fn set(index: i32) -> Self {
        Self(SET | index.unsigned_abs())
    }
}

impl<'a> Setpoints<'a> {
    pub(crate) fn new(start: &'a [i32], current_ma: &'a [i64]) -> Self {
        Self { start, current_ma }
    }

    /// Refuse sets that are not ascending, and connectors that name none of them.
    pub(crate) fn check(&self, of_leaf: &[i32], leaves: usize) -> Result<(), NetworkError> {
        if !of_leaf.is_empty() {
            check_length("setpoint_set", of_leaf, leaves)?;
        }
        let sets = i64::try_from(self.start.len()).unwrap_or(i64::MAX) - 1;
        let refuse = |array, index, value, least, most| {
            Err(NetworkError::Range { array, index, value, least, most })
        };
        let named = |&set: &i32| set < -1 || i64::from(set) >= sets.max(0);
        if let Some(index) = of_leaf.iter().position(named) {
            return refuse("setpoint_set", index, i64::from(of_leaf[index]), -1, sets.max(0) - 1);
        }
        let end = i32::try_from(self.current_ma.len()).unwrap_or(i32::MAX);
        let mut least = 0;
        for (index, &start) in self.start.iter().enumerate() {
            let bounds = if index == 0 {
                0..=0
            } else if index + 1 == self.start.len() {
                end..=end
            } else {
                least..=end
            };
            if !bounds.contains(&start) {
                let (least, most) = (i64::from(*bounds.start()), i64::from(*bounds.end()));
                return refuse("setpoint_start", index, i64::from(start), least, most);
            }
            least = start;
        }
        for set in self.start.windows(2) {
            let mut least = 1;
            for index in set[0].unsigned_abs() as usize..set[1].unsigned_abs() as usize {
                let value = self.current_ma[index];
                if !(least..=CURRENT_MAX_MA).contains(&value) {
                    return refuse("setpoint_ma", index, value, least, CURRENT_MAX_MA);
                }
                least = value + 1;
            }
        }
        Ok(())
    }

    fn members(&self, set: usize) -> &'a [i64] {
        let (from, to) = (self.start[set].unsigned_abs(), self.start[set + 1].unsigned_abs());
        &self.current_ma[from as usize..to as usize]
    }

    /// The least and the greatest current of a set within `min_ma` to `max_ma`, where 0 is always
    /// one; 0 and 0 where there is none.
    pub(crate) fn ends(&self, set: i32, min_ma: i64, max_ma: i64) -> (i64, i64) {
        let members = self.members(set.unsigned_abs() as usize);
        let first = members.partition_point(|&member| member < min_ma);
        let end = members.partition_point(|&member| member <= max_ma);
        match &members[first.min(end)..end] {
            [] => (0, 0),
            [least, ..] => (if min_ma > 0 { *least } else { 0 }, members[end - 1]),
        }
    }

    /// The greatest current up to `current_ma`, and the least above it.
    #[inline]
    pub(crate) fn around(&self, accepts: Accepts, current_ma: u32) -> (u32, i64) {
        let step_ma = accepts.0;
        if step_ma & SET == 0 {
            let down = current_ma - current_ma % step_ma;
            return (down, i64::from(down) + i64::from(step_ma));
        }
        let members = self.members((step_ma & !SET) as usize);
        let above = members.partition_point(|&member| member <= i64::from(current_ma));
        let down = if above == 0 { 0 } else { narrow(members[above - 1]) };
        (down, members.get(above).copied().unwrap_or(i64::MAX))
    }

    /// The least accepted current above `current_ma`, which a step or a set gave.
    #[inline]
    pub(crate) fn after(&self, accepts: Accepts, current_ma: u32) -> i64 {
        if accepts.0 & SET == 0 {
            return i64::from(current_ma) + i64::from(accepts.0);
        }
        self.around(accepts, current_ma).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_offers_what_lies_within_the_range() {
        let sets = Setpoints::new(&[0, 4, 4], &[8_000, 16_000, 24_000, 32_000]);
        assert_eq!(sets.ends(0, 6_000, 20_000), (8_000, 16_000));
        assert_eq!(sets.ends(0, 0, 20_000), (0, 16_000));
        assert_eq!(sets.ends(0, 17_000, 20_000), (0, 0));
        assert_eq!(sets.ends(0, 0, 7_999), (0, 0));
        assert_eq!(sets.ends(1, 0, 32_000), (0, 0));
        assert_eq!(sets.around(Accepts::set(0), 17_000), (16_000, 24_000));
        assert_eq!(sets.around(Accepts::set(0), 7_999), (0, 8_000));
        assert_eq!(sets.around(Accepts::set(0), 32_000), (32_000, i64::MAX));
        assert_eq!(sets.around(Accepts::step(100), 6_050), (6_000, 6_100));
    }

    #[test]
    fn sets_that_contradict_themselves_are_refused_by_name() {
        let refusal = |start: &[i32], current_ma: &[i64], of_leaf: &[i32]| {
            let checked = Setpoints::new(start, current_ma).check(of_leaf, 1);
            checked.map_err(|error| error.to_string()).err().unwrap_or_default()
        };
        assert_eq!(refusal(&[0, 1], &[8_000], &[0]), "");
        assert_eq!(refusal(&[0, 1], &[8_000], &[1]), "setpoint_set[0] is 1, must be -1 to 0");
        assert_eq!(refusal(&[0, 2], &[8_000], &[0]), "setpoint_start[1] is 2, must be 1 to 1");
        assert_eq!(refusal(&[0, 2, 1, 2], &[1, 2], &[0]), "setpoint_start[2] is 1, must be 2 to 2");
        assert_eq!(
            refusal(&[0, 2], &[8_000, 8_000], &[0]),
            "setpoint_ma[1] is 8000, must be 8001 to 1000000000"
        );
        assert_eq!(refusal(&[], &[], &[0, 0]), "setpoint_set has 2 elements, expected 1");
        // Connectors may come to name sets later.
        assert_eq!(refusal(&[5, 6], &[8_000], &[]), "setpoint_start[0] is 5, must be 0 to 0");
    }
}
