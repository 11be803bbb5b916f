//! Proof of a round by a path of its own: apart from the layout of the network and the check of
//! inputs it shares no code with what computed the round, keeps nothing from step to step but plain
//! sums, and takes what is reported as a claim.
//!
//! What is proven, in the order of the round: every current is one that its connector accepts, no
//! row carries more than it may, and loads are what is reported; whoever was refused had a row
//! without room when its turn came, and whoever was admitted had none; in every tier, with earlier
//! ones at what they were given and later ones at their minimums, each connector stopped where the
//! first of its rows was full ([`filling`]), which makes the shares weighted max-min on the grid of
//! levels; nobody has less than its share rounded down; nobody can be raised by another step before
//! later tiers get any; what rounding left over went to those first, on the same lines of one node,
//! that lost most. Between nodes, who gets what rounding left over is not examined beyond that.

mod connector;
mod fault;
mod filling;
mod rows;

use std::cmp::Reverse;
use std::collections::BTreeMap;

pub use fault::{Fault, Row};

use crate::allocate::{Capacity, Demand};
use crate::error::{NetworkError, check_length, check_range};
use crate::input::refuse_bad_input;
use crate::network::Network;
use crate::outcome::Allocation;
use crate::units::{CURRENT_MAX_MA, LEVEL_BITS};
use connector::Connector;
use filling::Filling;
use rows::{Ledger, Tree};

/// What is wrong with a round; empty where it is proven to be right.
///
/// # Errors
///
/// Inputs that [`allocate`](crate::allocate()) refuses; arrays of the round whose length disagrees
/// with the network; a current beyond [`CURRENT_MAX_MA`].
pub fn certify(
    network: &Network,
    capacity: &Capacity<'_>,
    demand: &Demand<'_>,
    allocation: &Allocation,
) -> Result<Vec<Fault>, NetworkError> {
    refuse_bad_input(network, capacity, demand)?;
    let feeds_in = demand.discharge.contains(&true) || demand.liability_ma.iter().any(|&ma| ma < 0);
    check_shape(network, allocation, feeds_in)?;
    let tree = Tree::new(network);
    let connectors: Vec<_> =
        (0..network.leaves()).map(|at| Connector::new(demand, allocation, at)).collect();
    let mut faults = Vec::new();
    for (connector, (wish, &current_ma)) in
        connectors.iter().zip(&allocation.current_ma).enumerate()
    {
        if !wish.accepts_given() {
            faults.push(Fault::NotAccepted { connector, current_ma });
        }
    }
    for export in [false, true].into_iter().take(1 + usize::from(feeds_in)) {
        let (lines, combined) = if export {
            (&allocation.export_load_ma, &allocation.combined_export_load)
        } else {
            (&allocation.row_load_ma, &allocation.combined_load)
        };
        let ledger = Ledger::new(&tree, capacity, demand, export);
        let side = Side { connectors: &connectors, export };
        side.prove_loads(
            Ledger::new(&tree, capacity, demand, export),
            lines,
            combined,
            &mut faults,
        );
        side.prove_round(ledger, &mut faults);
    }
    Ok(faults)
}

fn check_shape(
    network: &Network,
    allocation: &Allocation,
    feeds_in: bool,
) -> Result<(), NetworkError> {
    let (leaves, rows, combined) = (network.leaves(), network.rows(), network.combined());
    let export = usize::from(feeds_in);
    check_length("current_ma", &allocation.current_ma, leaves)?;
    check_length("binding_row", &allocation.binding_row, leaves)?;
    check_length("level", &allocation.level, leaves)?;
    check_length("reason", &allocation.reason, leaves)?;
    check_length("row_load_ma", &allocation.row_load_ma, rows)?;
    check_length("combined_load", &allocation.combined_load, combined)?;
    check_length("export_load_ma", &allocation.export_load_ma, rows * export)?;
    check_length("combined_export_load", &allocation.combined_export_load, combined * export)?;
    check_range("current_ma", &allocation.current_ma, -CURRENT_MAX_MA, CURRENT_MAX_MA)
}

/// Reported where no row stops a connector.
const NO_LEVEL: i128 = -1;

/// Who goes up a step first: what a connector lost by rounding down, its rank and index; then how
/// much more it has since.
type Turn = (Reverse<i128>, i64, usize, i128);

/// What is drawn, or what is fed in.
struct Side<'a> {
    connectors: &'a [Connector<'a>],
    export: bool,
}

impl Side<'_> {
    fn row(&self, index: usize) -> Row {
        Row { index, export: self.export }
    }

    fn members(&self) -> impl Iterator<Item = (usize, &Connector<'_>)> {
        let members = self.connectors.iter().enumerate();
        members.filter(|(_, connector)| connector.export == self.export)
    }

    /// No row is overloaded by what was given, and the loads are those reported.
    fn prove_loads(
        &self,
        mut ledger: Ledger<'_>,
        lines: &[i64],
        combined: &[i64],
        faults: &mut Vec<Fault>,
    ) {
        let total = |ledger: &Ledger<'_>, row: usize| ledger.flow(row).iter().sum::<i128>();
        let before: Vec<i128> = (0..ledger.tree.rows()).map(|row| total(&ledger, row)).collect();
        for (at, connector) in self.members() {
            ledger.give(ledger.tree.group_of(at), connector.given_ma.max(0));
        }
        for (index, &reported) in lines.iter().chain(combined).enumerate() {
            let (row, load) = (self.row(index), ledger.load(index));
            // A row that liabilities alone overload is well if nothing is given on it.
            let given = total(&ledger, index) > before[index];
            if given && ledger.is_over(index, &ledger.flow(index)) {
                faults.push(Fault::Overloaded { row });
            }
            if load != i128::from(reported) {
                faults.push(Fault::Load { row, load, reported });
            }
        }
    }

    /// Admission, then every tier.
    fn prove_round(&self, mut ledger: Ledger<'_>, faults: &mut Vec<Fault>) {
        self.prove_admission(&mut ledger, faults);
        let mut tiers: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
        for (at, connector) in self.members() {
            if connector.rises() {
                tiers.entry(connector.tier).or_default().push(at);
            } else if connector.is_admitted() {
                self.prove_report(at, None, NO_LEVEL, faults);
            }
        }
        for rising in tiers.values() {
            let filling = Filling::new(&ledger, self.connectors, rising, faults);
            for &at in rising {
                self.prove_share(at, &filling, faults);
            }
            let levels: Vec<i128> = rising.iter().map(|&at| filling.level(at)).collect();
            for &at in rising {
                let Connector { given_ma, min_ma, .. } = self.connectors[at];
                ledger.give(ledger.tree.group_of(at), given_ma - min_ma);
            }
            self.prove_leftovers(&ledger, rising, &levels, faults);
        }
    }

    /// Minimums, one after the other.
    fn prove_admission(&self, ledger: &mut Ledger<'_>, faults: &mut Vec<Fault>) {
        let mut queue: Vec<usize> = self.members().map(|(at, _)| at).collect();
        queue.sort_by_key(|&at| (self.connectors[at].tier, self.connectors[at].turn, at));
        for at in queue {
            let connector = &self.connectors[at];
            let group = ledger.tree.group_of(at);
            let lacking = ledger.lacking(group, connector.min_ma).filter(|_| connector.min_ma > 0);
            match (connector.is_admitted(), lacking) {
                (true, lacking) => {
                    if let Some(row) = lacking {
                        faults.push(Fault::Admitted { connector: at, row: self.row(row) });
                    }
                    ledger.give(group, connector.min_ma);
                }
                (false, None) => faults.push(Fault::Refused { connector: at }),
                (false, Some(row)) => self.prove_report(at, Some(row), 0, faults),
            }
        }
    }

    /// The report names the row that stops a connector, or its maximum, and the level.
    fn prove_report(&self, at: usize, row: Option<usize>, level: i128, faults: &mut Vec<Fault>) {
        let connector = &self.connectors[at];
        let reported = (usize::try_from(connector.row).ok(), connector.level);
        if reported != (row, level) || connector.row < -1 {
            faults.push(match row {
                Some(row) => Fault::Stopped { connector: at, row: self.row(row), level },
                None => Fault::AtMaximum { connector: at },
            });
        }
        let expected = connector.expected_reason(level) as u8;
        if connector.reason != expected {
            let reported = connector.reason;
            faults.push(Fault::WrongReason { connector: at, expected, reported });
        }
    }

    /// A connector that rose has its share at least, and says where it stopped.
    fn prove_share(&self, at: usize, filling: &Filling<'_, '_>, faults: &mut Vec<Fault>) {
        let (connector, level) = (&self.connectors[at], filling.level(at));
        if connector.given_ma == connector.max_ma {
            self.prove_report(at, None, NO_LEVEL, faults);
        } else {
            self.prove_report(at, filling.row(at), level, faults);
        }
        let least_ma = connector.rounded_down(level);
        if connector.given_ma < least_ma {
            faults.push(Fault::BelowShare { connector: at, least_ma });
        }
    }

    /// Nobody can be raised now, and what was left over went first to those that lost most.
    fn prove_leftovers(
        &self,
        ledger: &Ledger<'_>,
        rising: &[usize],
        levels: &[i128],
        faults: &mut Vec<Fault>,
    ) {
        let mut groups: BTreeMap<u32, Vec<Turn>> = BTreeMap::new();
        for (&at, &level) in rising.iter().zip(levels) {
            let (connector, group) = (&self.connectors[at], ledger.tree.group_of(at));
            let down_ma = connector.rounded_down(level);
            let lost = connector.share(level) - (down_ma << LEVEL_BITS);
            let turn = (Reverse(lost), connector.rank, at, connector.given_ma - down_ma);
            groups.entry(group.first).or_default().push(turn);
            if let Some(next_ma) = connector.next_ma()
                && ledger.lacking(group, next_ma - connector.given_ma).is_none()
            {
                faults.push(Fault::Raisable { connector: at, next_ma });
            }
        }
        for turns in groups.values_mut() {
            turns.sort_unstable();
            // Of those with nothing more so far, the one whose next step is the smallest.
            let mut waiting: Option<(i128, usize)> = None;
            for &(_, _, at, more_ma) in turns.iter() {
                let connector = &self.connectors[at];
                match (connector.next_ma(), waiting) {
                    (Some(next_ma), _) if more_ma == 0 => {
                        let step = (next_ma - connector.given_ma, at);
                        waiting = Some(waiting.map_or(step, |least| least.min(step)));
                    }
                    (_, Some((step_ma, first))) if step_ma <= more_ma => {
                        faults.push(Fault::OutOfTurn { connector: at, first });
                    }
                    _ => {}
                }
            }
        }
    }
}
