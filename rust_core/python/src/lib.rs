//! The Python module `controlplane._core`: arrays in, arrays out, and nothing else. What the
//! functions mean stands in `loadstar-core`; what Python sees of them in `_core.pyi`.

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};

use loadstar_core as core;
use numpy::{IntoPyArray, PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2};
use pyo3::prelude::*;

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

/// An immutable electrical tree with connectors as its leaves.
#[pyclass(frozen, module = "controlplane._core")]
struct Network {
    core: core::Network,
    /// Memory of earlier rounds, one for each thread that ran one at the same time.
    workspaces: Mutex<Vec<core::Workspace>>,
}

#[pymethods]
impl Network {
    #[new]
    #[pyo3(signature = (*, node_parent, leaf_node, leaf_phases))]
    #[expect(clippy::needless_pass_by_value, reason = "as Python calls it")]
    fn new(
        py: Python<'_>,
        node_parent: PyReadonlyArray1<'_, i32>,
        leaf_node: PyReadonlyArray1<'_, i32>,
        leaf_phases: PyReadonlyArray1<'_, u8>,
    ) -> PyResult<Self> {
        let (node_parent, leaf_node) = (flat(&node_parent), flat(&leaf_node));
        let leaf_phases = flat(&leaf_phases);
        py.detach(|| core::Network::new(&node_parent, &leaf_node, &leaf_phases))
            .map(|core| Self { core, workspaces: Mutex::default() })
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
}

impl Network {
    fn allocate(
        &self,
        capacity_ma: &[i64],
        demand: &core::Demand<'_>,
    ) -> Result<core::Allocation, core::NetworkError> {
        // A workspace holds no state between rounds, so one left by a panic is as good as any.
        let spare = || self.workspaces.lock().unwrap_or_else(PoisonError::into_inner);
        let mut workspace = spare().pop().unwrap_or_default();
        let given = core::allocate_in(&mut workspace, &self.core, capacity_ma, demand);
        spare().push(workspace);
        given
    }
}

/// What a round gives.
#[pyclass(frozen, module = "controlplane._core")]
struct Allocation {
    #[pyo3(get)]
    current_ma: Py<PyArray1<i64>>,
    #[pyo3(get)]
    binding_row: Py<PyArray1<i32>>,
    #[pyo3(get)]
    admitted: Py<PyArray1<bool>>,
    #[pyo3(get)]
    row_load_ma: Py<PyArray2<i64>>,
}

/// One real-time round.
#[pyfunction]
#[pyo3(signature = (network, *, capacity_ma, min_ma, max_ma, step_ma, weight, tier, rank))]
#[expect(clippy::too_many_arguments, clippy::needless_pass_by_value, reason = "as Python calls it")]
fn allocate(
    py: Python<'_>,
    network: &Network,
    capacity_ma: PyReadonlyArray2<'_, i64>,
    min_ma: PyReadonlyArray1<'_, i64>,
    max_ma: PyReadonlyArray1<'_, i64>,
    step_ma: PyReadonlyArray1<'_, i64>,
    weight: PyReadonlyArray1<'_, i64>,
    tier: PyReadonlyArray1<'_, u8>,
    rank: PyReadonlyArray1<'_, i64>,
) -> PyResult<Allocation> {
    let capacity_ma = rows(network, &capacity_ma)?;
    let (min_ma, max_ma, step_ma) = (flat(&min_ma), flat(&max_ma), flat(&step_ma));
    let (weight, tier, rank) = (flat(&weight), flat(&tier), flat(&rank));
    let demand = core::Demand {
        min_ma: &min_ma,
        max_ma: &max_ma,
        step_ma: &step_ma,
        weight: &weight,
        tier: &tier,
        rank: &rank,
    };
    let given = py.detach(|| network.allocate(&capacity_ma, &demand)).map_err(network_error)?;
    let row_load_ma =
        given.row_load_ma.into_pyarray(py).reshape([network.core.nodes(), core::units::PHASES])?;
    Ok(Allocation {
        current_ma: given.current_ma.into_pyarray(py).unbind(),
        binding_row: given.binding_row.into_pyarray(py).unbind(),
        admitted: given.admitted.into_pyarray(py).unbind(),
        row_load_ma: row_load_ma.unbind(),
    })
}

/// Rows whose load exceeds their capacity, by a code path of its own.
#[pyfunction]
#[pyo3(signature = (network, *, capacity_ma, min_ma, max_ma, current_ma))]
#[expect(clippy::needless_pass_by_value, reason = "as Python calls it")]
fn check<'py>(
    py: Python<'py>,
    network: &Network,
    capacity_ma: PyReadonlyArray2<'py, i64>,
    min_ma: PyReadonlyArray1<'py, i64>,
    max_ma: PyReadonlyArray1<'py, i64>,
    current_ma: PyReadonlyArray1<'py, i64>,
) -> PyResult<Bound<'py, PyArray1<i32>>> {
    let capacity_ma = rows(network, &capacity_ma)?;
    let (min_ma, max_ma, current_ma) = (flat(&min_ma), flat(&max_ma), flat(&current_ma));
    let over = py
        .detach(|| core::check(&network.core, &capacity_ma, &min_ma, &max_ma, &current_ma))
        .map_err(network_error)?;
    Ok(over.into_pyarray(py))
}

/// The values of an array: borrowed where they lie in one piece, copied where not.
fn flat<'a, T: numpy::Element + Copy>(array: &'a PyReadonlyArray1<'_, T>) -> Cow<'a, [T]> {
    match array.as_slice() {
        Ok(values) => Cow::Borrowed(values),
        Err(_) => Cow::Owned(array.as_array().iter().copied().collect()),
    }
}

/// The rows of a (nodes, 3) array, node by node.
fn rows<'a>(network: &Network, array: &'a PyReadonlyArray2<'_, i64>) -> PyResult<Cow<'a, [i64]>> {
    let expected = [network.core.nodes(), core::units::PHASES];
    let view = array.as_array();
    if view.shape() != expected {
        let found = view.shape();
        return Err(NetworkError::new_err(format!(
            "capacity_ma has shape ({}, {}), expected ({}, {})",
            found[0], found[1], expected[0], expected[1]
        )));
    }
    // NumPy's own notion of one piece would include Fortran order, whose columns come first.
    Ok(match view.to_slice() {
        Some(values) => Cow::Borrowed(values),
        None => Cow::Owned(view.iter().copied().collect()),
    })
}

/// The Rust core: exact power allocation over an electrical tree.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("NetworkError", module.py().get_type::<NetworkError>())?;
    module.add_class::<Network>()?;
    module.add_class::<Allocation>()?;
    module.add_function(wrap_pyfunction!(allocate, module)?)?;
    module.add_function(wrap_pyfunction!(check, module)?)
}
