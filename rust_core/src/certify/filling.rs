//! At which level each connector of a tier stopped rising, and at which row.
//!
//! The reported levels are claims. A row cannot be full at another level than the one that follows
//! from where the connectors below it stopped; if that holds for every row, and every connector
//! stopped at the first of its rows to fill, then the claims are what raising one level for all
//! would have led to: of two different outcomes, the one that leaves the other first, at some level
//! and row, would have a row there that is full in one and not in the other, though everything
//! before is the same in both.
//!
//! What a connector at its maximum reports does not say whether the level took it there or what
//! rounding left over did. Where claims alone leave a row overloaded, such connectors stopped there,
//! and the first row of that kind is the next one known.

use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::connector::Connector;
use super::fault::{Fault, Row};
use super::rows::{ByKind, Ledger};
use crate::network::Group;

/// Where a connector stops: a level, then the row, nearer to the root first. What no row stops is
/// after all rows at the level of its maximum.
type Stop = (i128, u32, usize);

const NO_ROW: usize = usize::MAX;

/// The filling of one tier.
pub(super) struct Filling<'a, 'b> {
    ledger: &'a Ledger<'b>,
    connectors: &'a [Connector<'a>],
    /// Those that rise, and where each of them stops.
    rising: &'a [usize],
    stop: HashMap<usize, Stop>,
    /// Rows that are known to be full from some level.
    full: HashMap<usize, i128>,
}

impl<'a, 'b> Filling<'a, 'b> {
    /// Find out where `rising` stop, given what everyone else draws and their own minimums.
    pub(super) fn new(
        ledger: &'a Ledger<'b>,
        connectors: &'a [Connector<'a>],
        rising: &'a [usize],
        faults: &mut Vec<Fault>,
    ) -> Self {
        let (stop, full) = (HashMap::new(), HashMap::new());
        let mut filling = Self { ledger, connectors, rising, stop, full };
        filling.read_claims(faults);
        for &connector in rising {
            let first = filling.first_stop(connector);
            filling.stop.insert(connector, first);
        }
        let claimed: Vec<usize> = filling.full.keys().copied().collect();
        filling.find_unclaimed();
        filling.prove_rows(claimed, faults);
        filling
    }

    /// The level at which a connector that rises stops.
    pub(super) fn level(&self, connector: usize) -> i128 {
        self.stop[&connector].0
    }

    /// The row at which it does, if one stops it.
    pub(super) fn row(&self, connector: usize) -> Option<usize> {
        Some(self.stop[&connector].2).filter(|&row| row != NO_ROW)
    }

    fn group(&self, connector: usize) -> &'b Group {
        self.ledger.tree.group_of(connector)
    }

    /// Where connectors below the maximum are said to have stopped.
    fn read_claims(&mut self, faults: &mut Vec<Fault>) {
        for &at in self.rising {
            let Connector { given_ma, max_ma, row, level, .. } = self.connectors[at];
            if given_ma == max_ma {
                continue;
            }
            let index = usize::try_from(row).unwrap_or(NO_ROW);
            if !self.ledger.tree.rows_of(self.group(at)).any(|row| row == index) {
                faults.push(Fault::NotBelow { connector: at, row });
                continue;
            }
            // Where claims differ or are below any level, they are found to be wrong.
            let level = level.max(0);
            self.full.entry(index).and_modify(|last| *last = level.max(*last)).or_insert(level);
        }
    }

    /// The first of its rows that is known to be full before a connector reaches its maximum.
    fn first_stop(&self, at: usize) -> Stop {
        let tree = self.ledger.tree;
        let maximum = (self.connectors[at].full(), u32::MAX, NO_ROW);
        let stops = tree.rows_of(self.group(at)).filter_map(|row| {
            let level = *self.full.get(&row)?;
            Some((level, tree.depth_of(row), row))
        });
        stops.filter(|&(level, ..)| level < maximum.0).min().unwrap_or(maximum)
    }

    /// Add the rows that are full although nobody says so.
    fn find_unclaimed(&mut self) {
        let mut waiting = BinaryHeap::new();
        let entry = |filling: &Self, row: usize| {
            let level = filling.first_full(row)?;
            Some(std::cmp::Reverse((level, filling.ledger.tree.depth_of(row), row)))
        };
        for row in self.doubtful() {
            waiting.extend(entry(self, row));
        }
        while let Some(first) = waiting.pop() {
            // Connectors that stopped earlier than was thought may have left it room since.
            let row = first.0.2;
            let now = entry(self, row);
            if now != Some(first) {
                waiting.extend(now);
                continue;
            }
            self.full.insert(row, first.0.0);
            for at in self.rising_below(row) {
                if first.0 < self.stop[&at] && first.0.0 < self.connectors[at].full() {
                    self.stop.insert(at, first.0);
                }
            }
        }
    }

    /// Rows that nobody claims and that might be full: those that could not carry it if all whom
    /// some row stops went one level further.
    fn doubtful(&self) -> Vec<usize> {
        let mut flows: HashMap<usize, ByKind> = HashMap::new();
        for &at in self.rising {
            let (connector, group, stop) = (&self.connectors[at], self.group(at), self.stop[&at]);
            let level = if stop.2 == NO_ROW { stop.0 } else { stop.0 + 1 };
            let more = connector.share(level) - connector.share(0);
            for row in self.ledger.tree.rows_of(group) {
                let flow = flows.entry(row).or_insert_with(|| self.ledger.flow(row));
                flow[usize::from(group.kind)] += more;
            }
        }
        let unclaimed = flows.into_iter().filter(|(row, _)| !self.full.contains_key(row));
        let doubtful = unclaimed.filter(|(row, flow)| self.ledger.is_over(*row, flow));
        doubtful.map(|(row, _)| row).collect()
    }

    /// Every row that is said to be full must be, at the level of the claim and not before.
    fn prove_rows(&self, mut claimed: Vec<usize>, faults: &mut Vec<Fault>) {
        claimed.sort_unstable();
        for index in claimed {
            let (row, level) = (Row { index, export: self.ledger.export }, self.full[&index]);
            match self.first_full(index) {
                Some(first) if first == level => {}
                Some(first) if first < level => {
                    faults.push(Fault::FullBefore { row, level, first });
                }
                _ => faults.push(Fault::NotFull { row, level }),
            }
        }
    }

    fn rising_below(&self, row: usize) -> Vec<usize> {
        let tree = self.ledger.tree;
        let connectors = tree.groups_of(row).flat_map(|group| tree.connectors_of(group));
        connectors.filter(|at| self.stop.contains_key(at)).collect()
    }

    /// The first level after which a row cannot carry the next, if those that stopped before are
    /// held where they are and all others go on.
    fn first_full(&self, row: usize) -> Option<i128> {
        let below = Below::new(self, row);
        // Without those for whom "before" depends on the level: the load only grows.
        let end = below.rising.iter().map(|&(_, _, stop)| stop.0).max().unwrap_or(0);
        let bend = if below.is_over(|stop| stop.0) {
            let mut levels = (0, end);
            while levels.0 < levels.1 {
                let middle = levels.0 + (levels.1 - levels.0) / 2;
                let over = below.is_over(|stop| stop.0.min(middle + 1));
                levels = if over { (levels.0, middle) } else { (middle + 1, levels.1) };
            }
            Some(levels.0)
        } else {
            None
        };
        // At a level where this row or one further down stops somebody, those go on too.
        let key = (self.ledger.tree.depth_of(row), row);
        let later =
            below.rising.iter().filter(|(.., stop)| stop.2 != NO_ROW && (stop.1, stop.2) >= key);
        let levels: BTreeSet<i128> = later.map(|&(_, _, stop)| stop.0).collect();
        let before = |level: &i128| bend.is_none_or(|bend| *level < bend);
        let levels: Vec<i128> = levels.into_iter().filter(before).collect();
        // All of them at once going on is an upper bound that grows with the level.
        let safe = levels.partition_point(|&level| {
            !below.is_over(|stop| if stop.0 <= level { stop.0 + 1 } else { level + 1 })
        });
        let full = |level: i128| {
            below.is_over(|stop| if stop < (level, key.0, key.1) { stop.0 } else { level + 1 })
        };
        levels[safe..].iter().copied().find(|&level| full(level)).or(bend)
    }
}

/// What is below a row: the flow of all at their minimums, and those that rise.
struct Below<'a> {
    ledger: &'a Ledger<'a>,
    row: usize,
    flow: ByKind,
    rising: Vec<(&'a Connector<'a>, usize, Stop)>,
}

impl<'a> Below<'a> {
    fn new(filling: &'a Filling<'a, '_>, row: usize) -> Self {
        let mut rising = Vec::new();
        for at in filling.rising_below(row) {
            let kind = usize::from(filling.group(at).kind);
            rising.push((&filling.connectors[at], kind, filling.stop[&at]));
        }
        Self { ledger: filling.ledger, row, flow: filling.ledger.flow(row), rising }
    }

    /// Whether the row cannot carry those that rise at a level that follows from where they stop.
    fn is_over(&self, level: impl Fn(Stop) -> i128) -> bool {
        let mut flow = self.flow;
        for &(connector, kind, stop) in &self.rising {
            flow[kind] += connector.share(level(stop)) - connector.share(0);
        }
        self.ledger.is_over(self.row, &flow)
    }
}
