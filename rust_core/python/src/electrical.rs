//! Coefficients of combined rows, as arrays of shape (16, 2), and capacities through time.

use loadstar_core as core;
use loadstar_core::units::{KINDS, PHASES};
use numpy::{IntoPyArray, Ix1, Ix2, PyArray2, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Array, Column};
use crate::{NetworkError, network_error};

type Row<'py> = PyResult<Bound<'py, PyArray2<i32>>>;

fn array(py: Python<'_>, row: Result<core::Coefficients, core::NetworkError>) -> Row<'_> {
    row.map_err(network_error)?.concat().into_pyarray(py).reshape([KINDS, 2])
}

/// The sum of all power, for a limit in milliwatts.
#[pyfunction]
pub(crate) fn total_power_row(py: Python<'_>, volts_line_to_neutral: i64) -> Row<'_> {
    array(py, core::electrical::total_power_row(volts_line_to_neutral))
}

/// By how much a line carries more than another, for a limit in milliamperes.
#[pyfunction]
pub(crate) fn imbalance_row(py: Python<'_>, over: i64, under: i64) -> Row<'_> {
    array(py, core::electrical::imbalance_row(over, under))
}

/// The current of a line that feeds loads to neutral and between lines.
#[pyfunction]
pub(crate) fn line_current_row(py: Python<'_>, line: i64) -> Row<'_> {
    array(py, core::electrical::line_current_row(line))
}

/// The current of a line on the primary side of a delta-wye transformer.
#[pyfunction]
pub(crate) fn delta_wye_primary_row(
    py: Python<'_>,
    line: i64,
    turns_numerator: i64,
    turns_denominator: i64,
) -> Row<'_> {
    let row = core::electrical::delta_wye_primary_row(line, turns_numerator, turns_denominator);
    array(py, row)
}

/// The capacity of every row at every time.
#[pyclass(frozen, module = "controlplane._core")]
pub(crate) struct Caps(core::Caps);

#[pymethods]
impl Caps {
    #[new]
    #[pyo3(signature = (*, rating_ma, row, start_s, capacity_ma))]
    fn new(
        py: Python<'_>,
        rating_ma: Array<'_, i64, Ix2>,
        row: Array<'_, i32, Ix1>,
        start_s: Array<'_, i64, Ix1>,
        capacity_ma: Array<'_, i64, Ix1>,
    ) -> PyResult<Self> {
        let shape = rating_ma.0.shape();
        if shape[1] != PHASES {
            return Err(NetworkError::new_err(format!(
                "rating_ma has shape ({}, {}), expected ({}, {PHASES})",
                shape[0], shape[1], shape[0]
            )));
        }
        let rating_ma = Column::new(rating_ma)?.view(py);
        let row = Column::new(row)?.view(py);
        let start_s = Column::new(start_s)?.view(py);
        let capacity_ma = Column::new(capacity_ma)?.view(py);
        let (rating_ma, row) = (rating_ma.values()?, row.values()?);
        core::Caps::new(rating_ma, row, start_s.values()?, capacity_ma.values()?)
            .map(Self)
            .map_err(network_error)
    }

    /// The capacity of every row at a time.
    fn at<'py>(&self, py: Python<'py>, time_s: i64) -> PyResult<Bound<'py, PyArray2<i64>>> {
        self.0.at(time_s).into_pyarray(py).reshape([self.0.rows() / PHASES, PHASES])
    }

    /// The lowest capacity of every row over a window.
    fn lowest<'py>(
        &self,
        py: Python<'py>,
        from_s: i64,
        until_s: i64,
    ) -> PyResult<Bound<'py, PyArray2<i64>>> {
        let lowest = self.0.lowest(from_s, until_s).map_err(network_error)?;
        lowest.into_pyarray(py).reshape([self.0.rows() / PHASES, PHASES])
    }

    /// The first time after another at which the capacity of any row changes.
    fn next_change_s(&self, after_s: i64) -> Option<i64> {
        self.0.next_change_s(after_s)
    }
}
