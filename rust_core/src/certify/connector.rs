//! What a connector asked for and is said to have got.

use crate::allocate::Demand;
use crate::outcome::{Allocation, Reason};
use crate::units::LEVEL_BITS;

/// A connector on its side: what is fed in counts as given.
#[derive(Debug, Clone)]
pub(super) struct Connector<'a> {
    pub(super) export: bool,
    /// The ends of what it accepts: its effective minimum and maximum.
    pub(super) min_ma: i128,
    pub(super) max_ma: i128,
    setpoints: Setpoints<'a>,
    pub(super) weight: i128,
    pub(super) tier: u8,
    /// Lower is admitted first inside a tier.
    pub(super) turn: (bool, i64),
    pub(super) rank: i64,
    pub(super) given_ma: i128,
    pub(super) row: i32,
    pub(super) level: i128,
    pub(super) reason: u8,
}

#[derive(Debug, Clone)]
enum Setpoints<'a> {
    Step(i128),
    Set(&'a [i64]),
}

impl<'a> Connector<'a> {
    pub(super) fn new(demand: &Demand<'a>, given: &Allocation, at: usize) -> Self {
        let export = demand.discharges(at);
        let current_ma = i128::from(given.current_ma[at]);
        let set = demand.setpoint_set.get(at).and_then(|&set| usize::try_from(set).ok());
        let (mut min_ma, mut max_ma) = (demand.min_ma[at], demand.max_ma[at]);
        let setpoints = match set {
            None => Setpoints::Step(demand.step_ma[at].into()),
            Some(set) => {
                let start = |set: usize| demand.setpoint_start[set].unsigned_abs() as usize;
                let members = &demand.setpoint_ma[start(set)..start(set + 1)];
                let inside = |member: &&i64| (min_ma..=max_ma).contains(*member);
                let least = members.iter().find(inside).copied().unwrap_or(0);
                max_ma = members.iter().rfind(inside).copied().unwrap_or(0);
                min_ma = if min_ma == 0 { 0 } else { least };
                Setpoints::Set(members)
            }
        };
        Self {
            export,
            min_ma: min_ma.into(),
            max_ma: max_ma.into(),
            setpoints,
            weight: demand.weight[at].into(),
            tier: demand.tier[at],
            turn: (!demand.keep_on.get(at).copied().unwrap_or(false), demand.rank[at]),
            rank: demand.rank[at],
            given_ma: if export { -current_ma } else { current_ma },
            row: given.binding_row[at],
            level: given.level[at].into(),
            reason: given.reason[at],
        }
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.reason != Reason::Admission as u8
    }

    /// Whether it takes part in the filling of its tier.
    pub(super) fn rises(&self) -> bool {
        self.is_admitted() && self.min_ma < self.max_ma
    }

    /// The first level at which its share is its maximum.
    pub(super) fn full(&self) -> i128 {
        ((self.max_ma << LEVEL_BITS) + self.weight - 1) / self.weight
    }

    /// What it draws at a level, in level units.
    pub(super) fn share(&self, level: i128) -> i128 {
        (self.weight * level).clamp(self.min_ma << LEVEL_BITS, self.max_ma << LEVEL_BITS)
    }

    /// Whether it can run at what it is given, or be off.
    pub(super) fn accepts_given(&self) -> bool {
        let given_ma = self.given_ma;
        if given_ma == 0 {
            return self.min_ma == 0 || !self.is_admitted();
        }
        let is_setpoint = match self.setpoints {
            Setpoints::Step(step_ma) => {
                given_ma % step_ma == 0 || given_ma == self.min_ma || given_ma == self.max_ma
            }
            Setpoints::Set(members) => members.iter().any(|&member| given_ma == member.into()),
        };
        self.is_admitted() && is_setpoint && (self.min_ma..=self.max_ma).contains(&given_ma)
    }

    /// The greatest current up to its share that it accepts.
    pub(super) fn rounded_down(&self, level: i128) -> i128 {
        let share = self.share(level);
        if share == self.max_ma << LEVEL_BITS {
            return self.max_ma;
        }
        let share_ma = share >> LEVEL_BITS;
        let setpoint_ma = match self.setpoints {
            Setpoints::Step(step_ma) => share_ma - share_ma % step_ma,
            Setpoints::Set(members) => members
                .iter()
                .rfind(|&&member| i128::from(member) <= share_ma)
                .map_or(0, |&member| member.into()),
        };
        setpoint_ma.max(self.min_ma)
    }

    /// The least current above what it is given that it accepts.
    pub(super) fn next_ma(&self) -> Option<i128> {
        if !self.is_admitted() || self.given_ma >= self.max_ma {
            return None;
        }
        let setpoint_ma = match self.setpoints {
            Setpoints::Step(step_ma) => self.given_ma - self.given_ma % step_ma + step_ma,
            Setpoints::Set(members) => members
                .iter()
                .find(|&&member| i128::from(member) > self.given_ma)
                .map_or(self.max_ma, |&member| member.into()),
        };
        Some(setpoint_ma.min(self.max_ma))
    }

    /// The reason that goes with what it is given, if it stopped rising at `level`.
    pub(super) fn expected_reason(&self, level: i128) -> Reason {
        let (given, min) = (self.given_ma << LEVEL_BITS, self.min_ma << LEVEL_BITS);
        let share = self.weight * level;
        if !self.is_admitted() {
            Reason::Admission
        } else if self.given_ma == self.max_ma {
            Reason::Maximum
        } else if given > share.max(min) {
            Reason::Leftover
        } else if share <= min {
            Reason::Minimum
        } else {
            Reason::Share
        }
    }
}
