//! What it is worth to let vehicles wait.

use loadstar_core::waiting as core;
use numpy::{Ix1, PyArray1};
use pyo3::prelude::*;

use crate::arrays::{Array, Column};
use crate::{column, network_error};

/// What waiting is worth to the first `here` vehicles of a day, and what another kilowatt is.
#[pyfunction]
#[pyo3(signature = (
    *, here, arrival_h, departure_h, energy_kwh, power_kw, group, group_kw, edge_h, earns, site_kw,
))]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub(crate) fn waiting_worth(
    py: Python<'_>,
    here: usize,
    arrival_h: Array<'_, f64, Ix1>,
    departure_h: Array<'_, f64, Ix1>,
    energy_kwh: Array<'_, f64, Ix1>,
    power_kw: Array<'_, f64, Ix1>,
    group: Array<'_, i32, Ix1>,
    group_kw: Array<'_, f64, Ix1>,
    edge_h: Array<'_, f64, Ix1>,
    earns: Array<'_, f64, Ix1>,
    site_kw: f64,
) -> PyResult<(Py<PyArray1<f64>>, f64)> {
    let arrival_h = Column::new(arrival_h)?.view(py);
    let departure_h = Column::new(departure_h)?.view(py);
    let energy_kwh = Column::new(energy_kwh)?.view(py);
    let power_kw = Column::new(power_kw)?.view(py);
    let group = Column::new(group)?.view(py);
    let group_kw = Column::new(group_kw)?.view(py);
    let edge_h = Column::new(edge_h)?.view(py);
    let earns = Column::new(earns)?.view(py);
    let day = core::Day {
        arrival_h: arrival_h.values()?,
        departure_h: departure_h.values()?,
        energy_kwh: energy_kwh.values()?,
        power_kw: power_kw.values()?,
        group: group.values()?,
        group_kw: group_kw.values()?,
        edge_h: edge_h.values()?,
        earns: earns.values()?,
        site_kw,
    };
    let found = py.detach(|| core::worth(&day, here)).map_err(network_error)?;
    Ok((column(py, found.loss), found.more))
}
