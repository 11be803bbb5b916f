//! Rounds that follow one another.

use std::sync::Arc;

use loadstar_core as core;
use loadstar_core::units::PHASES;
use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;

use crate::inputs::{Capacity, Demand};
use crate::{Allocation, Network, NetworkError, network_error};

/// Rounds over one network, each of which computes what changed since the one before.
#[pyclass(module = "controlplane._core")]
pub(crate) struct Allocator(core::Allocator);

#[pymethods]
impl Allocator {
    #[new]
    fn new(
        py: Python<'_>,
        network: &Network,
        capacity: &Capacity,
        demand: &Demand,
    ) -> PyResult<Self> {
        let (capacity, demand) = (capacity.views(py, &network.core)?, demand.views(py));
        let (capacity, demand) = (capacity.values()?, demand.values()?);
        let network = Arc::clone(&network.core);
        py.detach(|| core::Allocator::new(network, &capacity, &demand))
            .map(Self)
            .map_err(network_error)
    }

    /// Change what a connector asks for.
    #[pyo3(signature = (
        leaf, *, min_ma=None, max_ma=None, step_ma=None, weight=None, tier=None, rank=None,
        keep_on=None, discharge=None, liability_ma=None, setpoint_set=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn set_connector(
        &mut self,
        leaf: usize,
        min_ma: Option<i64>,
        max_ma: Option<i64>,
        step_ma: Option<i64>,
        weight: Option<i64>,
        tier: Option<u8>,
        rank: Option<i64>,
        keep_on: Option<bool>,
        discharge: Option<bool>,
        liability_ma: Option<i64>,
        setpoint_set: Option<i32>,
    ) -> PyResult<()> {
        let Some(has) = self.0.connector(leaf) else {
            return Err(NetworkError::new_err(format!("connector {leaf} does not exist")));
        };
        let asks = core::Connector {
            min_ma: min_ma.unwrap_or(has.min_ma),
            max_ma: max_ma.unwrap_or(has.max_ma),
            step_ma: step_ma.unwrap_or(has.step_ma),
            weight: weight.unwrap_or(has.weight),
            tier: tier.unwrap_or(has.tier),
            rank: rank.unwrap_or(has.rank),
            keep_on: keep_on.unwrap_or(has.keep_on),
            discharge: discharge.unwrap_or(has.discharge),
            liability_ma: liability_ma.unwrap_or(has.liability_ma),
            setpoint_set: setpoint_set.unwrap_or(has.setpoint_set),
        };
        self.0.set_connector(leaf, asks).map_err(network_error)
    }

    /// Change what one row of single lines carries.
    #[pyo3(signature = (node, phase, *, import_ma=None, export_ma=None))]
    fn set_capacity(
        &mut self,
        node: usize,
        phase: usize,
        import_ma: Option<i64>,
        export_ma: Option<i64>,
    ) -> PyResult<()> {
        if phase >= PHASES {
            return Err(NetworkError::new_err(format!("phase is {phase}, must be 0 to 2")));
        }
        let row = node.saturating_mul(PHASES).saturating_add(phase);
        self.0.set_row(row, import_ma, export_ma).map_err(network_error)
    }

    /// Change the limit of a combined row.
    #[pyo3(signature = (row, *, limit=None, export_limit=None))]
    fn set_combined(
        &mut self,
        row: usize,
        limit: Option<i64>,
        export_limit: Option<i64>,
    ) -> PyResult<()> {
        self.0.set_combined(row, limit, export_limit).map_err(network_error)
    }

    /// Solve what changed.
    fn solve<'py>(&mut self, py: Python<'py>) -> Bound<'py, PyArray1<u32>> {
        py.detach(|| self.0.solve().to_vec()).into_pyarray(py)
    }

    /// Everything that is given.
    fn allocation(&mut self, py: Python<'_>) -> PyResult<Allocation> {
        let given = py.detach(|| self.0.allocation());
        Allocation::new(py, given)
    }
}
