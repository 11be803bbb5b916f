//! Sums over rows, from and to plain lists: a site has a few dozen connectors, and adds them up
//! several times in every round.

use loadstar_core as core;
use pyo3::prelude::*;

use crate::network_error;

/// Which rows each connector is on.
#[pyclass(frozen, module = "controlplane._core")]
pub(crate) struct RowSums(core::RowSums);

#[pymethods]
impl RowSums {
    #[new]
    fn new(rows: usize, above: Vec<Vec<usize>>) -> PyResult<Self> {
        core::RowSums::new(rows, above).map(Self).map_err(network_error)
    }

    /// The sum on every row of one current per connector.
    #[expect(clippy::needless_pass_by_value, reason = "as Python calls it")]
    fn of(&self, leaf_ma: Vec<i64>) -> PyResult<Vec<i64>> {
        self.0.of(&leaf_ma).map_err(network_error)
    }
}
