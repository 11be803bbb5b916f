//! The horizon plan: `Limits`, `Meters`, `Fleet` and `plan`.

use loadstar_core::plan as core;
use numpy::{IntoPyArray, Ix1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Array, Column};
use crate::{Network, network_error};

/// A class of columns, those given as `[...]` optional, and the views by which the core sees them.
macro_rules! columns {
    ($(#[$doc:meta])* $name:ident: $($field:ident: $kind:ty,)* [$($optional:ident: $other:ty,)*]) => {
        $(#[$doc])*
        #[pyclass(frozen, module = "controlplane._core")]
        pub(crate) struct $name {
            $($field: Column<$kind, Ix1>,)*
            $($optional: Column<$other, Ix1>,)*
        }

        #[pymethods]
        impl $name {
            #[new]
            #[pyo3(signature = (*, $($field,)* $($optional=None,)*))]
            #[allow(clippy::too_many_arguments, reason = "as Python calls it")]
            fn new(
                $($field: Array<'_, $kind, Ix1>,)*
                $($optional: Option<Array<'_, $other, Ix1>>,)*
            ) -> PyResult<Self> {
                Ok(Self {
                    $($field: Column::new($field)?,)*
                    $($optional: Column::optional($optional)?,)*
                })
            }
        }
    };
}

columns! {
    /// What is left of the rows, by slot.
    PlanLimits: import_ma: i64, [import_w: i64, export_ma: i64, export_w: i64,]
}

columns! {
    /// Where energy is paid for.
    PlanMeters:
    node: i32, base_w: i64, import_price: i64, export_price: i64,
    [demand_meter: i32, demand_price: i64, demand_so_far_w: i64, demand_slot: bool,]
}

columns! {
    /// Who wants what.
    PlanFleet:
    volts: i64, max_ma: i64, arrival_s: i64, departure_s: i64, need_wh: i64, room_wh: i64, penalty: i64,
    [charge_permille: i64, discharge_ma: i64, discharge_permille: i64, spare_wh: i64, wear_price: i64,
     taper_from_wh: i64, taper_ma: i64,]
}

/// A plan.
#[pyclass(frozen, module = "controlplane._core")]
pub(crate) struct Plan {
    #[pyo3(get)]
    current_ma: Py<PyArray2<i32>>,
    #[pyo3(get)]
    cost: f64,
    #[pyo3(get)]
    bound: f64,
    #[pyo3(get)]
    steps: u32,
}

/// Find a plan.
#[pyfunction]
#[pyo3(signature = (network, limits, meters, fleet, *, slots, slot_s, late_price=0, gap=1e-3, steps=20_000, threads=1))]
#[expect(clippy::too_many_arguments, reason = "as Python calls it")]
pub(crate) fn plan(
    py: Python<'_>,
    network: &Network,
    limits: &PlanLimits,
    meters: &PlanMeters,
    fleet: &PlanFleet,
    slots: usize,
    slot_s: i64,
    late_price: i64,
    gap: f64,
    steps: u32,
    threads: usize,
) -> PyResult<Plan> {
    macro_rules! views {
        ($from:ident: $($field:ident),*) => { $(let $field = $from.$field.view(py); let $field = $field.values()?;)* };
    }
    views!(limits: import_ma, import_w, export_ma, export_w);
    let limits = core::Limits { import_ma, import_w, export_ma, export_w };
    views!(meters: node, base_w, import_price, export_price, demand_meter, demand_price, demand_so_far_w, demand_slot);
    let meters = core::Meters { node, base_w, import_price, export_price, demand_meter, demand_price, demand_so_far_w, demand_slot };
    views!(fleet: volts, max_ma, arrival_s, departure_s, need_wh, room_wh, penalty, charge_permille, discharge_ma, discharge_permille, spare_wh, wear_price, taper_from_wh, taper_ma);
    let fleet = core::Fleet { volts, max_ma, arrival_s, departure_s, need_wh, room_wh, penalty, charge_permille, discharge_ma, discharge_permille, spare_wh, wear_price, taper_from_wh, taper_ma };
    let tree = network.core.clone();
    let found = py.detach(|| {
        let problem = core::Problem { network: &tree, slots, slot_s, limits, meters, fleet, late_price };
        core::solve(&problem, &core::Effort { gap, steps, threads }, &|| false)
    }).map_err(network_error)?;
    let vehicles = found.current_ma.len() / slots.max(1);
    Ok(Plan {
        current_ma: found.current_ma.into_pyarray(py).reshape([vehicles, slots])?.unbind(),
        cost: found.cost,
        bound: found.bound,
        steps: found.steps,
    })
}
