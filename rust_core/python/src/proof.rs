//! `certify`: the proof of a round.

use loadstar_core as core;
use numpy::ndarray::Dimension;
use numpy::{Element, PyArray, PyArrayMethods};
use pyo3::prelude::*;

use crate::inputs::{Capacity, Demand};
use crate::{Allocation, Network, network_error};

/// What is wrong with a round, each with the element by its index; empty where it is proven.
#[pyfunction]
pub(crate) fn certify(
    py: Python<'_>,
    network: &Network,
    capacity: &Capacity,
    demand: &Demand,
    allocation: &Allocation,
) -> PyResult<Vec<String>> {
    let (capacity, demand) = (capacity.views(py, &network.core)?, demand.views(py));
    let (capacity, demand) = (capacity.values()?, demand.values()?);
    let given = core::Allocation {
        current_ma: values(py, &allocation.current_ma),
        binding_row: values(py, &allocation.binding_row),
        level: values(py, &allocation.level),
        reason: values(py, &allocation.reason),
        row_load_ma: values(py, &allocation.row_load_ma),
        export_load_ma: optional(py, allocation.export_load_ma.as_ref()),
        combined_load: values(py, &allocation.combined_load),
        combined_export_load: optional(py, allocation.combined_export_load.as_ref()),
    };
    py.detach(|| core::certify(&network.core, &capacity, &demand, &given))
        .map(|faults| faults.iter().map(ToString::to_string).collect())
        .map_err(network_error)
}

fn values<T: Element + Copy, D: Dimension>(py: Python<'_>, array: &Py<PyArray<T, D>>) -> Vec<T> {
    array.bind(py).readonly().as_array().iter().copied().collect()
}

fn optional<T: Element + Copy, D: Dimension>(
    py: Python<'_>,
    array: Option<&Py<PyArray<T, D>>>,
) -> Vec<T> {
    array.map_or_else(Vec::new, |array| values(py, array))
}
