//! Does a plan keep everything that it must? By a path of its own: the tree is walked for each
//! vehicle and slot, every sum is a plain one of integers, and nothing of the search is used.

use std::fmt;

use super::battery::UJ_PER_WH;
use super::problem::{PERMILLE, Problem, at};
use crate::error::{NetworkError, check_length};
use crate::network::NONE;
use crate::units::PHASES;

/// What a plan violates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanFault {
    /// A row carries more than its limit.
    Row {
        /// The node.
        node: usize,
        /// The line, or 3 for the power of all.
        line: usize,
        /// Whether it is what is fed in.
        export: bool,
        /// When.
        slot: usize,
        /// What it carries, mA or mW.
        load: i64,
        /// What it may.
        limit: i64,
    },
    /// A vehicle is told more than it can do in that slot: it is away, or this is above its maximum.
    Current {
        /// The vehicle.
        vehicle: usize,
        /// When.
        slot: usize,
    },
    /// A battery would be fuller than it can be, or emptier than it may.
    Battery {
        /// The vehicle.
        vehicle: usize,
        /// When.
        slot: usize,
    },
    /// A battery that is this full takes less.
    Taper {
        /// The vehicle.
        vehicle: usize,
        /// When.
        slot: usize,
    },
}

impl fmt::Display for PlanFault {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Row { node, line, export, slot, load, limit } => {
                let (what, unit) = if line == PHASES { ("power", "mW") } else { ("line", "mA") };
                let side = if export { "export" } else { "import" };
                write!(
                    to,
                    "node {node} {side} {what} {line} slot {slot}: {load} {unit} over {limit}"
                )
            }
            Self::Current { vehicle, slot } => {
                write!(to, "vehicle {vehicle} slot {slot}: more than it can do")
            }
            Self::Battery { vehicle, slot } => {
                write!(to, "vehicle {vehicle} slot {slot}: battery out of bounds")
            }
            Self::Taper { vehicle, slot } => {
                write!(to, "vehicle {vehicle} slot {slot}: more than so full a battery takes")
            }
        }
    }
}

/// Everything that a plan violates; empty where all is well.
///
/// # Errors
///
/// An input that [`super::solve`] refuses, or a plan of another size.
pub fn check(problem: &Problem<'_>, current_ma: &[i32]) -> Result<Vec<PlanFault>, NetworkError> {
    problem.refuse_bad_input()?;
    check_length("current_ma", current_ma, problem.vehicles() * problem.slots)?;
    let mut faults = check_rows(problem, current_ma);
    for vehicle in 0..problem.vehicles() {
        let own = &current_ma[vehicle * problem.slots..][..problem.slots];
        check_vehicle(problem, vehicle, own, &mut faults);
    }
    Ok(faults)
}

fn check_rows(problem: &Problem<'_>, current_ma: &[i32]) -> Vec<PlanFault> {
    let (network, slots, limits) = (problem.network, problem.slots, &problem.limits);
    let size = network.nodes() * (PHASES + 1) * slots;
    let mut loads = [vec![0_i64; size], vec![0_i64; size]];
    for vehicle in 0..problem.vehicles() {
        let group = network.group_of(vehicle);
        for slot in 0..slots {
            let own = i64::from(current_ma[vehicle * slots + slot]);
            if own == 0 {
                continue;
            }
            let load = &mut loads[usize::from(own < 0)];
            let mut place = group.node;
            while place != NONE {
                let node = network.node_at[place as usize] as usize;
                for line in (0..PHASES).filter(|line| group.phases >> line & 1 == 1) {
                    load[(node * (PHASES + 1) + line) * slots + slot] += own.abs();
                }
                let power = own.abs() * problem.fleet.volts[vehicle];
                load[(node * (PHASES + 1) + PHASES) * slots + slot] += power;
                place = network.parent[place as usize];
            }
        }
    }
    let mut faults = Vec::new();
    for node in 0..network.nodes() {
        for line in 0..=PHASES {
            for slot in 0..slots {
                for (side, load) in loads.iter().enumerate() {
                    let load = load[(node * (PHASES + 1) + line) * slots + slot];
                    let lines = [limits.import_ma, limits.export_ma][side];
                    let power = [limits.import_w, limits.export_w][side];
                    let limit = if line < PHASES {
                        lines.get((node * PHASES + line) * slots + slot).copied().unwrap_or(0)
                    } else {
                        power.get(node * slots + slot).map_or(i64::MAX, |&watts| watts * 1_000)
                    };
                    if load > limit {
                        let export = side == 1;
                        faults.push(PlanFault::Row { node, line, export, slot, load, limit });
                    }
                }
            }
        }
    }
    faults
}

fn check_vehicle(
    problem: &Problem<'_>,
    vehicle: usize,
    current_ma: &[i32],
    faults: &mut Vec<PlanFault>,
) {
    let (fleet, slot_s) = (&problem.fleet, problem.slot_s);
    let uj_per_wh = i128::from(UJ_PER_WH);
    let room = i128::from(fleet.room_wh[vehicle]) * uj_per_wh;
    let spare = i128::from(at(fleet.spare_wh, vehicle, 0)) * uj_per_wh;
    let charge = i128::from(at(fleet.charge_permille, vehicle, PERMILLE));
    let discharge = i128::from(at(fleet.discharge_permille, vehicle, PERMILLE));
    let mut has = 0_i128;
    let mut begin_s = 0;
    for (slot, &own) in current_ma.iter().enumerate() {
        let there_s = fleet.departure_s[vehicle].min(begin_s + slot_s)
            - fleet.arrival_s[vehicle].max(begin_s);
        begin_s += slot_s;
        let most_ma =
            if own > 0 { fleet.max_ma[vehicle] } else { at(fleet.discharge_ma, vehicle, 0) };
        if i64::from(own.abs()) * slot_s > most_ma * there_s.max(0) {
            faults.push(PlanFault::Current { vehicle, slot });
        }
        let millijoules = i128::from(own) * i128::from(fleet.volts[vehicle]) * i128::from(slot_s);
        has += if own > 0 {
            millijoules * charge
        } else {
            (millijoules * 1_000_000).div_euclid(discharge)
        };
        if own != 0 && (has > room || has < -spare) {
            faults.push(PlanFault::Battery { vehicle, slot });
        }
        if let Some(&from_wh) = fleet.taper_from_wh.get(vehicle) {
            let width = room - i128::from(from_wh) * uj_per_wh;
            let drop = i128::from(fleet.max_ma[vehicle] - at(fleet.taper_ma, vehicle, 0));
            let beyond = has - i128::from(from_wh) * uj_per_wh;
            let allowed = i128::from(fleet.max_ma[vehicle]) * width - drop * beyond;
            if own > 0 && width > 0 && i128::from(own) * width > allowed {
                faults.push(PlanFault::Taper { vehicle, slot });
            }
        }
    }
}
