//! Rounds that follow one another: changes go in, and only what they can affect is computed again.
//!
//! A row that could carry the maximums of everyone below it never stops anybody, so what hangs below
//! such rows alone does not depend on the rest. A change is therefore solved from the topmost node
//! above it whose rows can fill, and the result is the same, to the bit, as that of a full round.

use std::ops::Range;
use std::sync::Arc;

use crate::allocate::{Capacity, Demand, Side, Workspace, solve_part};
use crate::combined::ByKind;
use crate::error::NetworkError;
use crate::input::{check_connector, check_value, refuse_bad_input};
use crate::network::Network;
use crate::outcome::{Allocation, Reason, loads};
use crate::part::Part;
use crate::round::{Round, Scratch, add};
use crate::units::{CAPACITY_MAX_MA, COMBINED_MAX, KINDS, PHASES};

/// What one connector asks for; fields as in [`Demand`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "as in `Demand`")]
pub struct Connector {
    pub min_ma: i64,
    pub max_ma: i64,
    pub step_ma: i64,
    pub weight: i64,
    pub tier: u8,
    pub rank: i64,
    pub keep_on: bool,
    pub discharge: bool,
    pub liability_ma: i64,
    pub setpoint_set: i32,
}

/// The inputs of the next round.
#[derive(Debug)]
struct Inputs {
    import_ma: Vec<i64>,
    export_ma: Vec<i64>,
    combined: Vec<i64>,
    combined_export: Vec<i64>,
    min_ma: Vec<i64>,
    max_ma: Vec<i64>,
    step_ma: Vec<i64>,
    weight: Vec<i64>,
    tier: Vec<u8>,
    rank: Vec<i64>,
    keep_on: Vec<bool>,
    discharge: Vec<bool>,
    liability_ma: Vec<i64>,
    setpoint_set: Vec<i32>,
    setpoint_start: Vec<i32>,
    setpoint_ma: Vec<i64>,
}

/// The most that can flow below each node of one side: maximums and liabilities.
#[derive(Debug)]
struct Most {
    node_ma: Vec<[i64; PHASES]>,
    kind_ma: Vec<ByKind>,
}

/// Rounds over one network, each of which computes what changed since the one before.
#[derive(Debug)]
pub struct Allocator {
    network: Arc<Network>,
    inputs: Inputs,
    import: Most,
    export: Most,
    /// Connectors that have a liability.
    liable: usize,
    /// Connectors that feed in, or are liable to.
    feeding: usize,
    /// Whether there ever was one.
    fed_in: bool,
    workspace: Workspace,
    scratch: Scratch,
    /// Places of nodes below which everything is to be solved again.
    stale: Vec<usize>,
    /// What connectors are given; of rows, nothing.
    given: Allocation,
    changed: Vec<u32>,
}

impl Allocator {
    /// Take the first inputs. Nothing is given before [`solve`](Self::solve).
    ///
    /// # Errors
    ///
    /// As [`allocate`](crate::allocate()).
    pub fn new(
        network: Arc<Network>,
        capacity: &Capacity<'_>,
        demand: &Demand<'_>,
    ) -> Result<Self, NetworkError> {
        refuse_bad_input(&network, capacity, demand)?;
        let inputs = Inputs::new(&network, capacity, demand);
        let mut workspace = Workspace::default();
        workspace.import.fit(&network);
        workspace.export.fit(&network);
        let nothing = || Most {
            node_ma: vec![[0; PHASES]; network.nodes()],
            kind_ma: vec![[0; KINDS]; network.combined_nodes.len()],
        };
        let mut allocator = Self {
            import: nothing(),
            export: nothing(),
            liable: 0,
            feeding: 0,
            fed_in: false,
            workspace,
            scratch: Scratch::default(),
            stale: network.roots().collect(),
            given: Allocation {
                current_ma: vec![0; network.leaves()],
                binding_row: vec![-1; network.leaves()],
                level: vec![-1; network.leaves()],
                reason: vec![Reason::Maximum as u8; network.leaves()],
                row_load_ma: Vec::new(),
                export_load_ma: Vec::new(),
                combined_load: Vec::new(),
                combined_export_load: Vec::new(),
            },
            changed: Vec::new(),
            inputs,
            network,
        };
        for leaf in 0..allocator.network.leaves() {
            allocator.count(leaf, 1);
        }
        Ok(allocator)
    }

    /// What a connector asks for.
    #[must_use]
    pub fn connector(&self, leaf: usize) -> Option<Connector> {
        let inputs = &self.inputs;
        (leaf < self.network.leaves()).then(|| Connector {
            min_ma: inputs.min_ma[leaf],
            max_ma: inputs.max_ma[leaf],
            step_ma: inputs.step_ma[leaf],
            weight: inputs.weight[leaf],
            tier: inputs.tier[leaf],
            rank: inputs.rank[leaf],
            keep_on: inputs.keep_on[leaf],
            discharge: inputs.discharge[leaf],
            liability_ma: inputs.liability_ma[leaf],
            setpoint_set: inputs.setpoint_set[leaf],
        })
    }

    /// Change what a connector asks for, from the next round on.
    ///
    /// # Errors
    ///
    /// An unknown connector or a value outside its range; nothing is changed then.
    pub fn set_connector(&mut self, leaf: usize, asks: Connector) -> Result<(), NetworkError> {
        check_element("leaf", leaf, self.network.leaves())?;
        let sets = self.inputs.setpoint_start.len().saturating_sub(1);
        check_connector(leaf, &asks, sets)?;
        if self.connector(leaf) == Some(asks) {
            return Ok(());
        }
        let place = self.network.group_of(leaf).node as usize;
        let before = self.topmost_that_can_fill(place);
        self.count(leaf, -1);
        self.inputs.set(leaf, asks);
        self.count(leaf, 1);
        let after = self.topmost_that_can_fill(place);
        self.stale.push(before.min(after).min(place));
        Ok(())
    }

    /// Change what may be drawn, or fed in, through row `node * 3 + phase`; None leaves it.
    ///
    /// # Errors
    ///
    /// An unknown row or a value outside its range; nothing is changed then.
    pub fn set_row(
        &mut self,
        row: usize,
        import_ma: Option<i64>,
        export_ma: Option<i64>,
    ) -> Result<(), NetworkError> {
        check_element("import_ma", row, self.network.rows())?;
        for (array, value) in [("import_ma", import_ma), ("export_ma", export_ma)] {
            check_value(array, row, value.unwrap_or(0), -CAPACITY_MAX_MA, CAPACITY_MAX_MA)?;
        }
        let place = self.network.place_of_node(row / PHASES);
        self.change_row(place, |inputs| &mut inputs.import_ma[row], import_ma);
        self.change_row(place, |inputs| &mut inputs.export_ma[row], export_ma);
        Ok(())
    }

    /// Change the limit of a combined row for what is drawn, or fed in; None leaves it.
    ///
    /// # Errors
    ///
    /// As [`set_row`](Self::set_row).
    pub fn set_combined(
        &mut self,
        row: usize,
        limit: Option<i64>,
        export_limit: Option<i64>,
    ) -> Result<(), NetworkError> {
        check_element("combined", row, self.network.combined())?;
        for (array, value) in [("combined", limit), ("combined_export", export_limit)] {
            check_value(array, row, value.unwrap_or(0), 0, COMBINED_MAX)?;
        }
        let place = self.network.place_of_combined(row);
        self.change_row(place, |inputs| &mut inputs.combined[row], limit);
        self.change_row(place, |inputs| &mut inputs.combined_export[row], export_limit);
        Ok(())
    }

    /// Solve what changed. Returns the connectors that are given another current than before.
    pub fn solve(&mut self) -> &[u32] {
        self.changed.clear();
        self.stale.sort_unstable();
        let mut solved = 0;
        for place in std::mem::take(&mut self.stale) {
            // What is below a node that was just solved was solved with it.
            if place >= solved {
                solved = self.network.end[place] as usize;
                self.solve_below(place..solved);
            }
        }
        &self.changed
    }

    /// Everything that is given since the last [`solve`](Self::solve), as a full round says it. The
    /// loads of rows are the sums of that and of the liabilities as they are set now.
    #[must_use]
    pub fn allocation(&mut self) -> Allocation {
        let whole = Part::new(&self.network, 0..self.network.nodes());
        let (import, export) = self.inputs.sides(self.liable > 0);
        let Workspace { import: imported, export: exported, .. } = &mut self.workspace;
        // What was solved below a node is not known to the rows above it.
        Round::take_stock(whole, import, imported.part(&whole), &mut self.scratch);
        Round::take_stock(whole, export, exported.part(&whole), &mut self.scratch);
        let Allocation { current_ma, binding_row, level, reason, .. } = self.given.clone();
        let export = (self.feeding > 0).then_some((export, &*exported));
        let loads = loads(&self.network, (import, imported), export);
        Allocation { current_ma, binding_row, level, reason, ..loads }
    }

    fn solve_below(&mut self, nodes: Range<usize>) {
        let part = Part::new(&self.network, nodes);
        let (import, export) = self.inputs.sides(self.liable > 0);
        let Workspace { import: imported, export: exported, .. } = &mut self.workspace;
        solve_part(part, import, imported.part(&part), &mut self.scratch);
        if self.fed_in {
            solve_part(part, export, exported.part(&part), &mut self.scratch);
        }
        for &leaf in part.leaf_at {
            let (at, place) = (leaf as usize, self.network.place_of[leaf as usize]);
            let feeds_in = self.inputs.discharge[at];
            let given = if feeds_in { &*exported } else { &*imported };
            let (current_ma, row, level, reason) = given.answer(place);
            let current_ma = if feeds_in { -current_ma } else { current_ma };
            if current_ma != self.given.current_ma[at] {
                self.given.current_ma[at] = current_ma;
                self.changed.push(leaf);
            }
            (self.given.binding_row[at], self.given.level[at]) = (row, level);
            self.given.reason[at] = reason;
        }
    }

    /// Set a value of a row, and mark what that can affect.
    fn change_row(
        &mut self,
        place: usize,
        value: impl Fn(&mut Inputs) -> &mut i64,
        to: Option<i64>,
    ) {
        let Some(to) = to.filter(|&to| to != *value(&mut self.inputs)) else {
            return;
        };
        let before = self.topmost_that_can_fill(place);
        *value(&mut self.inputs) = to;
        let topmost = before.min(self.topmost_that_can_fill(place));
        if topmost <= place {
            self.stale.push(topmost);
        }
    }

    /// The place nearest to the root, at or above `place`, one of whose rows could not carry
    /// everything below it at its maximum; beyond all places if there is none.
    fn topmost_that_can_fill(&self, place: usize) -> usize {
        let (import, export) = self.inputs.sides(self.liable > 0);
        let can_fill = |&place: &usize| {
            self.import.exceeds(&self.network, import, place)
                || self.export.exceeds(&self.network, export, place)
        };
        self.network.path(place).filter(can_fill).last().unwrap_or(usize::MAX)
    }

    /// Count (1) or no longer count (-1) what a connector can take at most.
    fn count(&mut self, leaf: usize, sign: isize) {
        let (inputs, network) = (&self.inputs, &self.network);
        let (max_ma, liability_ma) = (inputs.max_ma[leaf], inputs.liability_ma[leaf]);
        let discharges = inputs.discharge[leaf];
        let drawn_ma = liability_ma.max(0) + if discharges { 0 } else { max_ma };
        let fed_in_ma = (-liability_ma).max(0) + if discharges { max_ma } else { 0 };
        self.import.add(network, leaf, sign as i64 * drawn_ma);
        self.export.add(network, leaf, sign as i64 * fed_in_ma);
        let feeds_in = discharges || liability_ma < 0;
        self.liable = self.liable.saturating_add_signed(sign * isize::from(liability_ma != 0));
        self.feeding = self.feeding.saturating_add_signed(sign * isize::from(feeds_in));
        self.fed_in |= feeds_in;
    }
}

impl Most {
    fn add(&mut self, network: &Network, leaf: usize, more_ma: i64) {
        if more_ma == 0 {
            return;
        }
        let group = network.group_of(leaf);
        for place in network.path(group.node as usize) {
            add(&mut self.node_ma[place], group.phases, more_ma);
            if let Some(node) = network.combined_at(place) {
                self.kind_ma[node][usize::from(group.kind)] += more_ma;
            }
        }
    }

    /// Whether a row of a node could not carry all of this.
    fn exceeds(&self, network: &Network, side: Side<'_>, place: usize) -> bool {
        let capacity_ma = side.capacity_ma(network.node_at[place] as usize);
        let over = |phase: usize| self.node_ma[place][phase] > capacity_ma[phase];
        (0..PHASES).any(over)
            || network.combined_at(place).is_some_and(|node| {
                let rows = network.combined_nodes[node].rows.clone();
                network.combined[rows].iter().any(|row| {
                    let limit = side.combined_limit(row.index as usize).unsigned_abs();
                    row.is_over(&self.kind_ma[node], u128::from(limit).pow(2))
                })
            })
    }
}

impl Inputs {
    fn new(network: &Network, capacity: &Capacity<'_>, demand: &Demand<'_>) -> Self {
        fn filled<T: Copy>(values: &[T], count: usize, left_out: T) -> Vec<T> {
            if values.is_empty() { vec![left_out; count] } else { values.to_vec() }
        }
        let leaves = network.leaves();
        Self {
            import_ma: capacity.import_ma.to_vec(),
            export_ma: filled(capacity.export_ma, network.rows(), 0),
            combined: capacity.combined.to_vec(),
            combined_export: filled(capacity.combined_export, network.combined(), 0),
            min_ma: demand.min_ma.to_vec(),
            max_ma: demand.max_ma.to_vec(),
            step_ma: demand.step_ma.to_vec(),
            weight: demand.weight.to_vec(),
            tier: demand.tier.to_vec(),
            rank: demand.rank.to_vec(),
            keep_on: filled(demand.keep_on, leaves, false),
            discharge: filled(demand.discharge, leaves, false),
            liability_ma: filled(demand.liability_ma, leaves, 0),
            setpoint_set: filled(demand.setpoint_set, leaves, -1),
            setpoint_start: demand.setpoint_start.to_vec(),
            setpoint_ma: demand.setpoint_ma.to_vec(),
        }
    }

    fn set(&mut self, leaf: usize, asks: Connector) {
        self.min_ma[leaf] = asks.min_ma;
        self.max_ma[leaf] = asks.max_ma;
        self.step_ma[leaf] = asks.step_ma;
        self.weight[leaf] = asks.weight;
        self.tier[leaf] = asks.tier;
        self.rank[leaf] = asks.rank;
        self.keep_on[leaf] = asks.keep_on;
        self.discharge[leaf] = asks.discharge;
        self.liability_ma[leaf] = asks.liability_ma;
        self.setpoint_set[leaf] = asks.setpoint_set;
    }

    /// What is drawn, and what is fed in.
    fn sides(&self, liable: bool) -> (Side<'_>, Side<'_>) {
        let capacity = Capacity {
            import_ma: &self.import_ma,
            export_ma: &self.export_ma,
            combined: &self.combined,
            combined_export: &self.combined_export,
        };
        let demand = Demand {
            min_ma: &self.min_ma,
            max_ma: &self.max_ma,
            step_ma: &self.step_ma,
            weight: &self.weight,
            tier: &self.tier,
            rank: &self.rank,
            keep_on: &self.keep_on,
            discharge: &self.discharge,
            liability_ma: if liable { &self.liability_ma } else { &[] },
            setpoint_set: &self.setpoint_set,
            setpoint_start: &self.setpoint_start,
            setpoint_ma: &self.setpoint_ma,
        };
        (Side::import(&capacity, &demand), Side::export(&capacity, &demand))
    }
}

fn check_element(array: &'static str, index: usize, count: usize) -> Result<(), NetworkError> {
    if index < count {
        return Ok(());
    }
    Err(NetworkError::Element { array, index, count })
}
