//! How long the core takes, by a clock of its own: `loadstar bench allocate` tells with it what
//! calling from Python adds.

use std::time::Instant;

use pyo3::prelude::*;

use crate::inputs::{Capacity, Demand};
use crate::{Network, network_error};

/// Time rounds without what Python does around them.
#[pyfunction]
#[pyo3(signature = (network, capacity, demand, *, rounds, threads=1))]
pub(crate) fn time_rounds(
    py: Python<'_>,
    network: &Network,
    capacity: &Capacity,
    demand: &Demand,
    rounds: usize,
    threads: usize,
) -> PyResult<Vec<u64>> {
    let (capacity, demand) = (capacity.views(py, &network.core)?, demand.views(py));
    let (capacity, demand) = (capacity.values()?, demand.values()?);
    let one = || {
        let started = Instant::now();
        drop(network.allocate(&capacity, &demand, threads)?);
        Ok(u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    };
    py.detach(|| (0..rounds).map(|_| one()).collect::<Result<_, _>>()).map_err(network_error)
}
