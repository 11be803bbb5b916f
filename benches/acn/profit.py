"""The published profit study on every month at hand: what is earned under SCE TOU-EV-4.

Prints a table; with `--json PATH` (or `-` for standard output) one JSON object. Progress goes to
standard error. Every run checks the currents it drove against every row by a sum of its own."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import billing
import electrical
import months
import numpy as np
from acnportal import acnsim, algorithms
from acnportal.algorithms import sorted_algorithms
from checking import feasibility, largest_load
from planned import Planned
from scenario import PERIOD_MIN, VOLTAGE_V
from waiting import Waiting

_PLAN = "loadstar_plan"
_WAITING = "loadstar_waiting"
_UNCONTROLLED = "uncontrolled"
_ALGORITHMS = (_UNCONTROLLED, "round_robin", "fcfs", "edf", "llf", _PLAN, _WAITING)
_ORDER = (_PLAN, _WAITING, "round_robin", "llf", "edf", "fcfs", _UNCONTROLLED)
_TOLERANCE = 1e-6
_PUBLISHED = {"uncontrolled": 21.0, "llf": 58.0, "best online algorithm": 98.1}
"""Per cent of the offline optimum in September 2018 at Caltech, whose sessions are not at hand."""


@dataclass(frozen=True)
class Run:
    """One algorithm in one month.

    Attributes:
        of_optimum_percent: of the profit that nobody exceeds.
        plans: made in the month; None for the others.
        cpu_s: processor time, simulator included.
    """

    algorithm: str
    bill: billing.Bill
    of_optimum_percent: float
    delivered_percent: float
    plans: int | None
    cpu_s: float


def _scheduler(
    algorithm: str,
    network: acnsim.ChargingNetwork,
    rows: electrical.Electrical,
    month: months.Month,
) -> algorithms.BaseAlgorithm:
    if algorithm == _PLAN:
        return Planned(rows, months.transformers(network), month, _before(month))
    if algorithm == _WAITING:
        return Waiting(rows, months.transformers(network), month, _before(month))
    if algorithm == _UNCONTROLLED:
        return algorithms.UncontrolledCharging()
    if algorithm == "round_robin":
        return algorithms.RoundRobin(algorithms.first_come_first_served, continuous_inc=1)
    order = {
        "fcfs": algorithms.first_come_first_served,
        "edf": algorithms.earliest_deadline_first,
        "llf": algorithms.least_laxity_first,
    }
    return algorithms.SortedSchedulingAlgo(order[algorithm])


def _before(month: months.Month) -> months.Month | None:
    """The last month at hand before this one, of the same site."""
    earlier = [n for site, n in months.MONTHS if site == month.site and n < month.start.month]
    return months.load(month.site, earlier[-1]) if earlier else None


def simulate(site: str, number: int, algorithm: str, most: float) -> Run:
    """Run one month, in which nobody earns more than `most`."""
    started = time.process_time()
    month, network = months.load(site, number), months.network(site)
    rows = electrical.read(network)
    sorted_algorithms.infrastructure_constraints_feasible = feasibility(rows)
    scheduler = _scheduler(algorithm, network, rows, month)
    simulator = acnsim.Simulator(
        network,
        scheduler,
        month.events(),
        month.start.replace(tzinfo=None),
        period=PERIOD_MIN,
        signals={"tariff": billing.tariff()},
        verbose=False,
    )
    with warnings.catch_warnings():
        # Uncontrolled charging overloads the network: that is why it is controlled.
        warnings.filterwarnings("ignore", message="Invalid schedule")
        simulator.run()
    if algorithm != _UNCONTROLLED and largest_load(rows, simulator.charging_rates) > 1 + _TOLERANCE:
        raise RuntimeError(f"{algorithm} at {site} in month {number}: a row was overloaded")
    power_kw = np.asarray(simulator.charging_rates).sum(axis=0) * VOLTAGE_V / 1_000
    result = billing.bill(month, power_kw)
    requested_kwh = sum(stay.energy_kwh for stay in month.stays)
    return Run(
        algorithm=algorithm,
        bill=result,
        of_optimum_percent=round(100 * result.profit / most, 2),
        delivered_percent=round(100 * result.delivered_kwh / requested_kwh, 2),
        plans=scheduler.plans if isinstance(scheduler, Planned | Waiting) else None,
        cpu_s=round(time.process_time() - started, 1),
    )


def _all(wanted: list[tuple[str, int]], names: list[str], workers: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    most: dict[tuple[str, int], float] = {}
    for site, number in wanted:
        month = months.load(site, number)
        rows = electrical.read(months.network(site))
        profit, peak_kw = billing.optimum(month, rows)
        most[site, number] = profit
        results[f"{site} 2019-{number:02}"] = {
            "sessions": len(month.stays),
            "requested_kwh": round(sum(stay.energy_kwh for stay in month.stays), 1),
            "optimum": {"profit": round(profit, 2), "peak_kw": round(peak_kw, 2)},
            "algorithms": {},
        }
    with ProcessPoolExecutor(workers) as pool:
        pending = {
            pool.submit(simulate, site, number, name, most[site, number]): (
                f"{site} 2019-{number:02}"
            )
            for name in _ORDER
            if name in names
            for site, number in wanted
        }
        try:
            for done, future in enumerate(as_completed(pending), start=1):
                run, where = future.result(), pending[future]
                results[where]["algorithms"][run.algorithm] = asdict(run)
                sys.stderr.write(
                    f"[{done}/{len(pending)}] {run.algorithm}, {where}: "
                    f"{run.of_optimum_percent:.2f} % of the optimum\n"
                )
                sys.stderr.flush()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return {"bench": "acn profit", "published_percent": _PUBLISHED, "months": results}


def _table(report: dict[str, Any]) -> str:
    lines = []
    for where, result in report["months"].items():
        best = result["optimum"]
        lines += [
            "",
            f"{where}: {result['sessions']} sessions, {result['requested_kwh']:.0f} kWh; nobody "
            f"earns more than {best['profit']:.2f} USD (peak {best['peak_kw']:.1f} kW)",
            f"{'algorithm':<16}{'profit':>10}{'of optimum %':>14}{'delivered %':>13}"
            f"{'energy':>10}{'demand':>10}{'peak kW':>9}{'cpu s':>8}",
        ]
        for name in _ALGORITHMS:
            if name in result["algorithms"]:
                run = result["algorithms"][name]
                bill = run["bill"]
                lines.append(
                    f"{name:<16}{bill['profit']:>10.2f}{run['of_optimum_percent']:>14.2f}"
                    f"{run['delivered_percent']:>13.2f}{bill['energy_cost']:>10.2f}"
                    f"{bill['demand_charge']:>10.2f}{bill['peak_kw']:>9.1f}{run['cpu_s']:>8.1f}"
                )
    return "\n".join(lines).lstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="PATH", help="write JSON there; - is standard output")
    names = [f"{site}-{number}" for site, number in months.MONTHS]
    parser.add_argument("--month", action="append", choices=names, help="may be repeated")
    parser.add_argument("--algorithm", action="append", choices=_ALGORITHMS, help="as --month")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args()
    wanted = [
        (site, number)
        for site, number in months.MONTHS
        if f"{site}-{number}" in (arguments.month or names)
    ]
    report = _all(wanted, arguments.algorithm or list(_ALGORITHMS), arguments.workers)
    if arguments.json == "-":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    sys.stdout.write(_table(report))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
