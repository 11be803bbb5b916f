//! The Python module `controlplane._core`: arrays in, arrays out, and nothing else. What the
//! functions mean stands in `loadstar-core`; what Python sees of them in `_core.pyi`.

mod allocator;
mod arrays;
mod electrical;
mod inputs;
mod plan;
mod proof;
mod sums;
mod timing;
mod waiting;

use std::sync::{Arc, Mutex, PoisonError};

use loadstar_core as core;
use loadstar_core::units::{KINDS, PHASES};
use numpy::{
    Element, IntoPyArray, Ix1, Ix3, PyArray1, PyArray2, PyArrayMethods, PyUntypedArrayMethods,
};
use pyo3::prelude::*;

use crate::allocator::Allocator;
use crate::arrays::{Array, Column};
use crate::inputs::{Capacity, Demand};

pyo3::create_exception!(
    controlplane._core,
    NetworkError,
    pyo3::exceptions::PyValueError,
    "The network or the inputs contradict themselves; the message names the element and its index."
);

#[expect(clippy::needless_pass_by_value, reason = "the signature `map_err` wants")]
fn network_error(error: core::NetworkError) -> PyErr {
    NetworkError::new_err(error.to_string())
}

/// An immutable electrical tree, or several, with connectors as its leaves.
#[pyclass(frozen, module = "controlplane._core")]
struct Network {
    core: Arc<core::Network>,
    /// Memory of earlier rounds, one for each thread that ran one at the same time.
    workspaces: Mutex<Vec<core::Workspace>>,
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (
        *, node_parent, leaf_node, leaf_phases,
        leaf_rotation=None, leaf_kind=None, combined_node=None, combined_coefficient=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn new(
        py: Python<'_>,
        node_parent: Array<'_, i32, Ix1>,
        leaf_node: Array<'_, i32, Ix1>,
        leaf_phases: Array<'_, u8, Ix1>,
        leaf_rotation: Option<Array<'_, u8, Ix1>>,
        leaf_kind: Option<Array<'_, u8, Ix1>>,
        combined_node: Option<Array<'_, i32, Ix1>>,
        combined_coefficient: Option<Array<'_, i32, Ix3>>,
    ) -> PyResult<Self> {
        let node_parent = Column::new(node_parent)?.view(py);
        let leaf_node = Column::new(leaf_node)?.view(py);
        let leaf_phases = Column::new(leaf_phases)?.view(py);
        let leaf_rotation = Column::optional(leaf_rotation)?.view(py);
        let leaf_kind = Column::optional(leaf_kind)?.view(py);
        let combined_node = Column::optional(combined_node)?.view(py);
        let coefficients = coefficients(combined_coefficient)?;
        let described = core::Description {
            node_parent: node_parent.values()?,
            leaf_node: leaf_node.values()?,
            leaf_phases: leaf_phases.values()?,
            leaf_rotation: leaf_rotation.values()?,
            leaf_kind: leaf_kind.values()?,
            combined_node: combined_node.values()?,
            combined_coefficient: &coefficients,
        };
        py.detach(|| core::Network::build(&described))
            .map(|core| Self { core: Arc::new(core), workspaces: Mutex::default() })
            .map_err(network_error)
    }

    /// Number of nodes.
    #[getter]
    fn nodes(&self) -> usize {
        self.core.nodes()
    }

    /// Number of connectors.
    #[getter]
    fn leaves(&self) -> usize {
        self.core.leaves()
    }

    /// Number of combined rows.
    #[getter]
    fn combined(&self) -> usize {
        self.core.combined()
    }
}

impl Network {
    fn allocate(
        &self,
        capacity: &core::Capacity<'_>,
        demand: &core::Demand<'_>,
        threads: usize,
    ) -> Result<core::Allocation, core::NetworkError> {
        // A workspace holds no state between rounds, so one left by a panic is as good as any.
        let spare = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = spare().pop().unwrap_or_default();
        let given = core::allocate(&mut workspace, &self.core, capacity, demand, threads);
        spare().push(workspace);
        given
    }
}

/// The coefficients of combined rows, from an array of shape (combined, 16, 2).
fn coefficients(array: Option<Array<'_, i32, Ix3>>) -> PyResult<Vec<core::Coefficients>> {
    let Some(array) = array else {
        return Ok(Vec::new());
    };
    let py = array.0.py();
    let found = array.0.shape();
    if found[1..] != [KINDS, 2] {
        return Err(NetworkError::new_err(format!(
            "combined_coefficient has shape ({}, {}, {}), expected ({}, {KINDS}, 2)",
            found[0], found[1], found[2], found[0]
        )));
    }
    let view = Column::new(array)?.view(py);
    Ok(view.values()?.as_chunks().0.as_chunks().0.to_vec())
}

/// What a round gives.
#[pyclass(frozen, module = "controlplane._core")]
struct Allocation {
    #[pyo3(get)]
    current_ma: Py<PyArray1<i64>>,
    #[pyo3(get)]
    binding_row: Py<PyArray1<i32>>,
    #[pyo3(get)]
    level: Py<PyArray1<i64>>,
    #[pyo3(get)]
    reason: Py<PyArray1<u8>>,
    #[pyo3(get)]
    row_load_ma: Py<PyArray2<i64>>,
    #[pyo3(get)]
    export_load_ma: Option<Py<PyArray2<i64>>>,
    #[pyo3(get)]
    combined_load: Py<PyArray1<i64>>,
    #[pyo3(get)]
    combined_export_load: Option<Py<PyArray1<i64>>>,
}

#[pymethods]
impl Allocation {
    #[getter]
    fn admitted<'py>(&self, py: Python<'py>) -> Bound<'py, PyArray1<bool>> {
        let reason = self.reason.bind(py).readonly();
        let refused = core::Reason::Admission as u8;
        PyArray1::from_iter(py, reason.as_array().iter().map(|&reason| reason != refused))
    }
}

impl Allocation {
    fn new(py: Python<'_>, given: core::Allocation) -> PyResult<Self> {
        let table = |values: Vec<i64>| {
            let nodes = values.len() / PHASES;
            values.into_pyarray(py).reshape([nodes, PHASES]).map(Bound::unbind)
        };
        let exports = !given.export_load_ma.is_empty();
        let export_load_ma = exports.then(|| table(given.export_load_ma)).transpose()?;
        Ok(Self {
            current_ma: column(py, given.current_ma),
            binding_row: column(py, given.binding_row),
            level: column(py, given.level),
            reason: column(py, given.reason),
            row_load_ma: table(given.row_load_ma)?,
            combined_export_load: exports.then(|| column(py, given.combined_export_load)),
            export_load_ma,
            combined_load: column(py, given.combined_load),
        })
    }
}

fn column<T: Element>(py: Python<'_>, values: Vec<T>) -> Py<PyArray1<T>> {
    values.into_pyarray(py).unbind()
}

/// One real-time round.
#[pyfunction]
#[pyo3(signature = (network, capacity, demand, *, threads=1))]
fn allocate(
    py: Python<'_>,
    network: &Network,
    capacity: &Capacity,
    demand: &Demand,
    threads: usize,
) -> PyResult<Allocation> {
    let (capacity, demand) = (capacity.views(py, &network.core)?, demand.views(py));
    let (capacity, demand) = (capacity.values()?, demand.values()?);
    let given = py.detach(|| network.allocate(&capacity, &demand, threads));
    Allocation::new(py, given.map_err(network_error)?)
}

/// Rows whose load exceeds their capacity, by a code path of its own.
#[pyfunction]
fn check<'py>(
    py: Python<'py>,
    network: &Network,
    capacity: &Capacity,
    demand: &Demand,
    current_ma: Array<'_, i64, Ix1>,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let (capacity, demand) = (capacity.views(py, &network.core)?, demand.views(py));
    let (capacity, demand) = (capacity.values()?, demand.values()?);
    let current_ma = Column::new(current_ma)?.view(py);
    let current_ma = current_ma.values()?;
    let over = py
        .detach(|| core::check(&network.core, &capacity, &demand, current_ma))
        .map_err(network_error)?;
    Ok(over.into_pyarray(py))
}

/// The Rust core: exact power allocation over an electrical tree.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("NetworkError", module.py().get_type::<NetworkError>())?;
    module.add_class::<Network>()?;
    module.add_class::<Capacity>()?;
    module.add_class::<Demand>()?;
    module.add_class::<Allocation>()?;
    module.add_class::<sums::RowSums>()?;
    module.add_class::<Allocator>()?;
    module.add_function(wrap_pyfunction!(allocate, module)?)?;
    module.add_function(wrap_pyfunction!(check, module)?)?;
    module.add_class::<electrical::Caps>()?;
    module.add_class::<plan::PlanLimits>()?;
    module.add_class::<plan::PlanMeters>()?;
    module.add_class::<plan::PlanFleet>()?;
    module.add_class::<plan::PlanStart>()?;
    module.add_class::<plan::PlanProblem>()?;
    module.add_class::<plan::Plan>()?;
    module.add_function(wrap_pyfunction!(plan::check_plan, module)?)?;
    module.add_function(wrap_pyfunction!(plan::plan, module)?)?;
    module.add_function(wrap_pyfunction!(electrical::total_power_row, module)?)?;
    module.add_function(wrap_pyfunction!(electrical::imbalance_row, module)?)?;
    module.add_function(wrap_pyfunction!(electrical::line_current_row, module)?)?;
    module.add_function(wrap_pyfunction!(electrical::delta_wye_primary_row, module)?)?;
    module.add_function(wrap_pyfunction!(waiting::waiting_worth, module)?)?;
    module.add_function(wrap_pyfunction!(proof::certify, module)?)?;
    module.add_function(wrap_pyfunction!(timing::time_rounds, module)?)
}
