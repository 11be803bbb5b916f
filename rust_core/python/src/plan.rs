//! The horizon plan: what it is asked, from columns of Python, and what comes back.

#![allow(clippy::similar_names, reason = "slots, and how many seconds each has")]

use std::time::{Duration, Instant};

use loadstar_core::plan as core;
use numpy::{IntoPyArray, Ix1, PyArray1, PyArray2, PyArrayMethods};
use pyo3::prelude::*;

use crate::arrays::{Array, Column};
use crate::{Network, column, network_error};

/// A class of columns, of which those in brackets may be left out.
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

/// The columns of such a class, as variables of their names.
macro_rules! views {
    ($py:ident, $from:ident: $($field:ident),*) => {
        $(let $field = $from.$field.view($py);)*
        $(let $field = $field.values()?;)*
    };
}

columns! {
    /// What is left of the rows for vehicles, by slot.
    PlanLimits: import_ma: i64, [import_w: i64, export_ma: i64, export_w: i64,]
}

columns! {
    /// Where energy is paid for.
    PlanMeters: node: i32, base_w: i64, import_price: i64, export_price: i64,
    [demand_meter: i32, demand_price: i64, demand_so_far_w: i64, demand_slot: bool,]
}

columns! {
    /// Who wants what.
    PlanFleet: volts: i64, max_ma: i64, arrival_s: i64, departure_s: i64, need_wh: i64, room_wh: i64,
    penalty: i64,
    [charge_permille: i64, discharge_ma: i64, discharge_permille: i64, spare_wh: i64,
    wear_price: i64, taper_from_wh: i64, taper_ma: i64,]
}

columns! {
    /// Where a search begins.
    PlanStart: [current_ma: i32, import_price: f64, export_price: f64, energy_price: f64,
    demand_price: f64, taper_price: f32, balance: f64,]
}

/// What is planned.
#[pyclass(frozen, module = "controlplane._core")]
pub(crate) struct PlanProblem {
    network: Py<Network>,
    limits: Py<PlanLimits>,
    meters: Py<PlanMeters>,
    fleet: Py<PlanFleet>,
    slots: usize,
    slot_s: i64,
    late_price: i64,
}

#[pymethods]
impl PlanProblem {
    #[new]
    #[pyo3(signature = (network, limits, meters, fleet, *, slots, slot_s, late_price=0))]
    fn new(
        network: Py<Network>,
        limits: Py<PlanLimits>,
        meters: Py<PlanMeters>,
        fleet: Py<PlanFleet>,
        slots: usize,
        slot_s: i64,
        late_price: i64,
    ) -> Self {
        Self { network, limits, meters, fleet, slots, slot_s, late_price }
    }
}

impl PlanProblem {
    /// Hand the problem, as the core sees it, to `look`, without the interpreter's lock.
    fn with<T: Send>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&core::Problem<'_>) -> T + Send,
    ) -> PyResult<T> {
        let (limits, meters, fleet) = (self.limits.get(), self.meters.get(), self.fleet.get());
        views!(py, limits: import_ma, import_w, export_ma, export_w);
        let limits = core::Limits { import_ma, import_w, export_ma, export_w };
        views!(py, meters: node, base_w, import_price, export_price);
        views!(py, meters: demand_meter, demand_price, demand_so_far_w, demand_slot);
        let meters = core::Meters {
            node,
            base_w,
            import_price,
            export_price,
            demand_meter,
            demand_price,
            demand_so_far_w,
            demand_slot,
        };
        views!(py, fleet: volts, max_ma, arrival_s, departure_s, need_wh, room_wh, penalty);
        views!(py, fleet: charge_permille, discharge_ma, discharge_permille, spare_wh);
        views!(py, fleet: wear_price, taper_from_wh, taper_ma);
        let fleet = core::Fleet {
            volts,
            max_ma,
            arrival_s,
            departure_s,
            need_wh,
            room_wh,
            penalty,
            charge_permille,
            discharge_ma,
            discharge_permille,
            spare_wh,
            wear_price,
            taper_from_wh,
            taper_ma,
        };
        let network = &self.network.get().core;
        let (slots, slot_s, late_price) = (self.slots, self.slot_s, self.late_price);
        let problem = core::Problem { network, slots, slot_s, limits, meters, fleet, late_price };
        Ok(py.detach(|| look(&problem)))
    }
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
    #[pyo3(get)]
    balance: f64,
    #[pyo3(get)]
    shortfall_wh: Py<PyArray1<i64>>,
    #[pyo3(get)]
    reason: Py<PyArray1<u8>>,
    #[pyo3(get)]
    short_row: Py<PyArray1<i32>>,
    #[pyo3(get)]
    import_price: Py<PyArray1<f64>>,
    #[pyo3(get)]
    export_price: Py<PyArray1<f64>>,
    #[pyo3(get)]
    energy_price: Py<PyArray1<f64>>,
    #[pyo3(get)]
    demand_price: Py<PyArray1<f64>>,
    #[pyo3(get)]
    taper_price: Py<PyArray1<f32>>,
}

impl Plan {
    fn new(py: Python<'_>, found: core::Plan, slots: usize) -> PyResult<Self> {
        let vehicles = found.reason.len();
        let current_ma = found.current_ma.into_pyarray(py).reshape([vehicles, slots])?;
        Ok(Self {
            current_ma: current_ma.unbind(),
            cost: found.cost,
            bound: found.bound,
            steps: found.steps,
            balance: found.balance,
            shortfall_wh: column(py, found.shortfall_wh),
            reason: column(py, found.reason.iter().map(|&reason| reason as u8).collect()),
            short_row: column(py, found.short_row),
            import_price: column(py, found.import_price),
            export_price: column(py, found.export_price),
            energy_price: column(py, found.energy_price),
            demand_price: column(py, found.demand_price),
            taper_price: column(py, found.taper_price),
        })
    }
}

/// Find a plan.
#[pyfunction]
#[pyo3(signature = (problem, *, start=None, gap=1e-3, steps=20_000, timeout_s=None, threads=1))]
pub(crate) fn plan(
    py: Python<'_>,
    problem: &PlanProblem,
    start: Option<&PlanStart>,
    gap: f64,
    steps: u32,
    timeout_s: Option<f64>,
    threads: usize,
) -> PyResult<Plan> {
    let allowed = timeout_s.and_then(|timeout_s| Duration::try_from_secs_f64(timeout_s).ok());
    let until = allowed.and_then(|allowed| Instant::now().checked_add(allowed));
    let stop = || until.is_some_and(|until| Instant::now() >= until);
    let nothing = PlanStart {
        current_ma: Column::optional(None)?,
        import_price: Column::optional(None)?,
        export_price: Column::optional(None)?,
        energy_price: Column::optional(None)?,
        demand_price: Column::optional(None)?,
        taper_price: Column::optional(None)?,
        balance: Column::optional(None)?,
    };
    let start = start.unwrap_or(&nothing);
    views!(py, start: current_ma, import_price, export_price, energy_price);
    views!(py, start: demand_price, taper_price, balance);
    let start = core::Start {
        current_ma,
        import_price,
        export_price,
        energy_price,
        demand_price,
        taper_price,
        balance: balance.first().copied(),
    };
    let effort = core::Effort { gap, steps, threads };
    let found = problem
        .with(py, |problem| core::solve(problem, &start, &effort, &stop))?
        .map_err(network_error)?;
    Plan::new(py, found, problem.slots)
}

/// What a plan violates, in words, by a code path of its own.
#[pyfunction]
pub(crate) fn check_plan(
    py: Python<'_>,
    problem: &PlanProblem,
    current_ma: Array<'_, i32, numpy::Ix2>,
) -> PyResult<Vec<String>> {
    let current_ma = Column::new(current_ma)?.view(py);
    let current_ma = current_ma.values()?;
    let faults =
        problem.with(py, |problem| core::check(problem, current_ma))?.map_err(network_error)?;
    Ok(faults.iter().map(ToString::to_string).collect())
}
