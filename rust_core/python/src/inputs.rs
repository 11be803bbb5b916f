//! What a round is asked, as Python hands it over: `Capacity` and `Demand`.

use loadstar_core as core;
use loadstar_core::units::PHASES;
use numpy::{Ix1, Ix2};
use pyo3::prelude::*;

use crate::NetworkError;
use crate::arrays::{Array, Column, View};

/// What rows carry, at the moment of the round.
#[pyclass(frozen, module = "controlplane._core")]
pub(crate) struct Capacity {
    import_ma: Column<i64, Ix2>,
    export_ma: Column<i64, Ix2>,
    combined: Column<i64, Ix1>,
    combined_export: Column<i64, Ix1>,
}

/// The arrays of a [`Capacity`] while they are looked at.
pub(crate) struct CapacityViews<'py> {
    import_ma: View<'py, i64, Ix2>,
    export_ma: View<'py, i64, Ix2>,
    combined: View<'py, i64, Ix1>,
    combined_export: View<'py, i64, Ix1>,
}

#[pymethods]
impl Capacity {
    #[new]
    #[pyo3(signature = (*, import_ma, export_ma=None, combined=None, combined_export=None))]
    fn new(
        import_ma: Array<'_, i64, Ix2>,
        export_ma: Option<Array<'_, i64, Ix2>>,
        combined: Option<Array<'_, i64, Ix1>>,
        combined_export: Option<Array<'_, i64, Ix1>>,
    ) -> PyResult<Self> {
        Ok(Self {
            import_ma: Column::new(import_ma)?,
            export_ma: Column::optional(export_ma)?,
            combined: Column::optional(combined)?,
            combined_export: Column::optional(combined_export)?,
        })
    }
}

impl Capacity {
    pub(crate) fn views<'py>(
        &self,
        py: Python<'py>,
        network: &core::Network,
    ) -> PyResult<CapacityViews<'py>> {
        for (array, column) in [("import_ma", &self.import_ma), ("export_ma", &self.export_ma)] {
            let (found, expected) = (column.shape(py), [network.nodes(), PHASES]);
            if !found.is_empty() && found != expected {
                return Err(NetworkError::new_err(format!(
                    "{array} has shape ({}, {}), expected ({}, {})",
                    found[0], found[1], expected[0], expected[1]
                )));
            }
        }
        Ok(CapacityViews {
            import_ma: self.import_ma.view(py),
            export_ma: self.export_ma.view(py),
            combined: self.combined.view(py),
            combined_export: self.combined_export.view(py),
        })
    }
}

impl CapacityViews<'_> {
    pub(crate) fn values(&self) -> PyResult<core::Capacity<'_>> {
        Ok(core::Capacity {
            import_ma: self.import_ma.values()?,
            export_ma: self.export_ma.values()?,
            combined: self.combined.values()?,
            combined_export: self.combined_export.values()?,
        })
    }
}

/// What connectors ask for.
#[pyclass(frozen, module = "controlplane._core")]
pub(crate) struct Demand {
    min_ma: Column<i64, Ix1>,
    max_ma: Column<i64, Ix1>,
    step_ma: Column<i64, Ix1>,
    weight: Column<i64, Ix1>,
    tier: Column<u8, Ix1>,
    rank: Column<i64, Ix1>,
    keep_on: Column<bool, Ix1>,
    discharge: Column<bool, Ix1>,
    liability_ma: Column<i64, Ix1>,
    setpoint_set: Column<i32, Ix1>,
    setpoint_start: Column<i32, Ix1>,
    setpoint_ma: Column<i64, Ix1>,
}

/// The arrays of a [`Demand`] while they are looked at.
pub(crate) struct DemandViews<'py> {
    min_ma: View<'py, i64, Ix1>,
    max_ma: View<'py, i64, Ix1>,
    step_ma: View<'py, i64, Ix1>,
    weight: View<'py, i64, Ix1>,
    tier: View<'py, u8, Ix1>,
    rank: View<'py, i64, Ix1>,
    keep_on: View<'py, bool, Ix1>,
    discharge: View<'py, bool, Ix1>,
    liability_ma: View<'py, i64, Ix1>,
    setpoint_set: View<'py, i32, Ix1>,
    setpoint_start: View<'py, i32, Ix1>,
    setpoint_ma: View<'py, i64, Ix1>,
}

#[pymethods]
impl Demand {
    #[new]
    #[pyo3(signature = (
        *, min_ma, max_ma, step_ma, weight, tier, rank, keep_on=None, discharge=None,
        liability_ma=None, setpoint_set=None, setpoint_start=None, setpoint_ma=None,
    ))]
    #[expect(clippy::too_many_arguments, reason = "as Python calls it")]
    fn new(
        min_ma: Array<'_, i64, Ix1>,
        max_ma: Array<'_, i64, Ix1>,
        step_ma: Array<'_, i64, Ix1>,
        weight: Array<'_, i64, Ix1>,
        tier: Array<'_, u8, Ix1>,
        rank: Array<'_, i64, Ix1>,
        keep_on: Option<Array<'_, bool, Ix1>>,
        discharge: Option<Array<'_, bool, Ix1>>,
        liability_ma: Option<Array<'_, i64, Ix1>>,
        setpoint_set: Option<Array<'_, i32, Ix1>>,
        setpoint_start: Option<Array<'_, i32, Ix1>>,
        setpoint_ma: Option<Array<'_, i64, Ix1>>,
    ) -> PyResult<Self> {
        Ok(Self {
            min_ma: Column::new(min_ma)?,
            max_ma: Column::new(max_ma)?,
            step_ma: Column::new(step_ma)?,
            weight: Column::new(weight)?,
            tier: Column::new(tier)?,
            rank: Column::new(rank)?,
            keep_on: Column::optional(keep_on)?,
            discharge: Column::optional(discharge)?,
            liability_ma: Column::optional(liability_ma)?,
            setpoint_set: Column::optional(setpoint_set)?,
            setpoint_start: Column::optional(setpoint_start)?,
            setpoint_ma: Column::optional(setpoint_ma)?,
        })
    }
}

impl Demand {
    pub(crate) fn views<'py>(&self, py: Python<'py>) -> DemandViews<'py> {
        DemandViews {
            min_ma: self.min_ma.view(py),
            max_ma: self.max_ma.view(py),
            step_ma: self.step_ma.view(py),
            weight: self.weight.view(py),
            tier: self.tier.view(py),
            rank: self.rank.view(py),
            keep_on: self.keep_on.view(py),
            discharge: self.discharge.view(py),
            liability_ma: self.liability_ma.view(py),
            setpoint_set: self.setpoint_set.view(py),
            setpoint_start: self.setpoint_start.view(py),
            setpoint_ma: self.setpoint_ma.view(py),
        }
    }
}

impl DemandViews<'_> {
    pub(crate) fn values(&self) -> PyResult<core::Demand<'_>> {
        Ok(core::Demand {
            min_ma: self.min_ma.values()?,
            max_ma: self.max_ma.values()?,
            step_ma: self.step_ma.values()?,
            weight: self.weight.values()?,
            tier: self.tier.values()?,
            rank: self.rank.values()?,
            keep_on: self.keep_on.values()?,
            discharge: self.discharge.values()?,
            liability_ma: self.liability_ma.values()?,
            setpoint_set: self.setpoint_set.values()?,
            setpoint_start: self.setpoint_start.values()?,
            setpoint_ma: self.setpoint_ma.values()?,
        })
    }
}
