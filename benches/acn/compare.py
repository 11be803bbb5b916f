"""Loadstar's real-time round beside the algorithms of ACN-Sim, on a published scenario.

Prints a table; with `--json PATH` (or `-` for standard output) one JSON object. Progress goes to
standard error. Every run checks the currents it drove against every row by a sum of its own.

ACN-Sim's algorithms ask hundreds of times a period whether a schedule is feasible, and its own
check builds its matrices anew each time. Unless `--stock` is given they get one that does not, with
the same result, so that all of it takes minutes."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import electrical
import optimum
import scenario
from acnportal import acnsim, algorithms
from acnportal.acnsim.interface import SessionInfo
from acnportal.algorithms import sorted_algorithms
from checking import feasibility, largest_load
from lookahead import Lookahead
from policies import POLICIES, RealTimeRound
from steering import Steered

_PEERS = ("fcfs", "edf", "llf", "round_robin")
_LOOKAHEAD = "lookahead"
_STEERED = "loadstar_steered"
_STEERED_KW = 10
"""Its order rests on no vehicle's own limit binding: only this transformer is so small."""
_OFFLINE = "offline"
# The longest first, so that the last worker does not finish alone.
_ORDER = ("round_robin", _STEERED, _LOOKAHEAD, _OFFLINE, "llf", "edf", "fcfs", *POLICIES)
_TOLERANCE = 1e-5 / 10
"""ACN-Sim tolerates 1e-5 A on a row; the smallest limit here is 12 A."""


@dataclass(frozen=True)
class Run:
    """One algorithm on one network.

    Attributes:
        delivered_percent: of the energy requested over the month.
        cpu_s: processor time of the whole simulated month, simulator included.
        round_us: processor time of one decision of the algorithm, mean over the periods in which
            somebody is plugged in.
        core_us: of it, the call of the core; None for the others.
        switched_off: how often a vehicle that was charging and wanted more got nothing; None for
            the others.
        row_load_percent: the fullest row at any time, of its limit.
        bounds: on the optimum, where the algorithm is that.
    """

    algorithm: str
    capacity_kw: int
    delivered_percent: float
    cpu_s: float
    round_us: float
    core_us: float | None
    switched_off: int | None
    row_load_percent: float
    bounds: dict[str, float] | None = None


class _Clock:
    """Processor time of an algorithm's decisions: unlike the clock on the wall, it means the same
    beside busy neighbours."""

    def __init__(self, scheduler: algorithms.BaseAlgorithm) -> None:
        self.cpu_s, self.rounds = 0.0, 0
        self._schedule = scheduler.schedule
        scheduler.schedule = self._timed

    def _timed(self, active_sessions: list[SessionInfo]) -> dict[str, list[float]]:
        started = time.process_time()
        schedule = self._schedule(active_sessions)
        if active_sessions:
            self.cpu_s += time.process_time() - started
            self.rounds += 1
        return schedule


def _scheduler(algorithm: str) -> algorithms.BaseAlgorithm:
    """ACN-Sim's algorithms with the settings of the published experiment: their defaults."""
    if algorithm == "round_robin":
        return algorithms.RoundRobin(algorithms.first_come_first_served)
    order = {
        "fcfs": algorithms.first_come_first_served,
        "edf": algorithms.earliest_deadline_first,
        "llf": algorithms.least_laxity_first,
    }
    return algorithms.SortedSchedulingAlgo(order[algorithm])


def simulate(algorithm: str, capacity_kw: int, *, stock: bool = False) -> Run:
    """Run one month."""
    network, events = scenario.network(capacity_kw), scenario.events()
    rows = electrical.read(network)
    if not stock:
        sorted_algorithms.infrastructure_constraints_feasible = feasibility(rows)
    bounds = None
    started = time.process_time()
    if algorithm in POLICIES:
        scheduler: Any = RealTimeRound(rows, POLICIES[algorithm])
    elif algorithm == _OFFLINE:
        best = optimum.solve(events, rows)
        scheduler = optimum.Replay(rows, best)
        bounds = {
            "upper_percent": round(best.upper_percent, 4),
            "lower_percent": round(best.lower_percent, 4),
            "lower_parts_percent": round(best.lower_parts_percent, 4),
            "linear_programs": best.programs,
        }
    elif algorithm == _LOOKAHEAD:
        scheduler = Lookahead(rows)
    elif algorithm == _STEERED:
        scheduler = Steered(rows)
    else:
        scheduler = _scheduler(algorithm)
    clock = _Clock(scheduler)
    simulator = acnsim.Simulator(
        network, scheduler, events, scenario.START, period=scenario.PERIOD_MIN, verbose=False
    )
    with warnings.catch_warnings():
        # A schedule that a row cannot carry is only a warning in ACN-Sim. Here it ends the run.
        warnings.filterwarnings("error", message="Invalid schedule")
        simulator.run()
    cpu_s = time.process_time() - started
    load = largest_load(rows, simulator.charging_rates)
    if load > 1 + _TOLERANCE:
        raise RuntimeError(
            f"{algorithm} at {capacity_kw} kW: a row carried {load:.6f} of its limit"
        )
    return Run(
        algorithm=algorithm,
        capacity_kw=capacity_kw,
        delivered_percent=round(100 * float(acnsim.proportion_of_energy_delivered(simulator)), 3),
        cpu_s=round(cpu_s, 1),
        round_us=round(1e6 * clock.cpu_s / clock.rounds, 1),
        core_us=(
            round(1e6 * scheduler.core_s / clock.rounds, 1) if algorithm in POLICIES else None
        ),
        switched_off=scheduler.switched_off if algorithm in POLICIES else None,
        row_load_percent=round(100 * load, 4),
        bounds=bounds,
    )


def _all(capacities_kw: list[int], *, workers: int, stock: bool) -> list[Run]:
    runs: list[Run] = []
    started = time.monotonic()
    with ProcessPoolExecutor(workers) as pool:
        pending = [
            pool.submit(simulate, algorithm, capacity_kw, stock=stock)
            for algorithm in _ORDER
            for capacity_kw in capacities_kw
            if algorithm != _STEERED or capacity_kw == _STEERED_KW
        ]
        try:
            for future in as_completed(pending):
                run = future.result()
                runs.append(run)
                _say(
                    f"[{len(runs)}/{len(pending)}, {time.monotonic() - started:.0f} s] "
                    f"{run.algorithm} at {run.capacity_kw} kW: {run.delivered_percent:.3f} %"
                )
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return runs


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _report(runs: list[Run], capacities_kw: list[int]) -> dict[str, Any]:
    results: dict[str, Any] = {}
    for capacity_kw in capacities_kw:
        of_capacity = {run.algorithm: run for run in runs if run.capacity_kw == capacity_kw}
        bounds = of_capacity[_OFFLINE].bounds
        assert bounds is not None
        results[str(capacity_kw)] = {
            "algorithms": {
                name: {
                    "delivered_percent": of_capacity[name].delivered_percent,
                    "of_optimum_percent": round(
                        100 * of_capacity[name].delivered_percent / bounds["upper_percent"], 2
                    ),
                    "cpu_s": of_capacity[name].cpu_s,
                    "round_us": of_capacity[name].round_us,
                    "core_us": of_capacity[name].core_us,
                    "switched_off": of_capacity[name].switched_off,
                    "row_load_percent": of_capacity[name].row_load_percent,
                }
                for name in (*_PEERS, *POLICIES, _STEERED, _LOOKAHEAD, _OFFLINE)
                if name in of_capacity
            },
            "optimum": bounds
            | {
                "parts_cost_percent_at_most": round(
                    bounds["upper_percent"] - bounds["lower_parts_percent"], 4
                )
            },
            "published_percent": scenario.PUBLISHED[capacity_kw],
        }
    sessions = [event.ev for _, event in scenario.events().queue]
    return {
        "bench": "acn",
        "data": {
            "sessions": len(sessions),
            "requested_kwh": round(sum(ev.requested_energy for ev in sessions), 1),
            "period_min": scenario.PERIOD_MIN,
            "voltage_v": scenario.VOLTAGE_V,
        },
        "versions": {
            name: metadata.version(name)
            for name in ("acnportal", "loadstar", "numpy", "pandas", "scipy")
        }
        | {"python": platform.python_version()},
        "cores": os.cpu_count(),
        "capacity_kw": results,
    }


def _table(report: dict[str, Any]) -> str:
    lines = []
    for capacity_kw, result in report["capacity_kw"].items():
        bounds = result["optimum"]
        lines += [
            "",
            f"{capacity_kw} kW transformer; the optimum lies between "
            f"{bounds['lower_percent']:.3f} and {bounds['upper_percent']:.3f} %",
            f"{'algorithm':<20}{'delivered %':>12}{'published %':>12}{'of optimum %':>14}"
            f"{'round us':>12}{'cpu s':>9}{'switched off':>14}",
        ]
        for name, run in result["algorithms"].items():
            published = result["published_percent"].get(name)
            lines.append(
                f"{name:<20}{run['delivered_percent']:>12.3f}"
                f"{'' if published is None else format(published, '.3f'):>12}"
                f"{run['of_optimum_percent']:>14.2f}{run['round_us']:>12.0f}{run['cpu_s']:>9.1f}"
                f"{'' if run['switched_off'] is None else run['switched_off']:>14}"
            )
    return "\n".join(lines).lstrip("\n") + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="PATH", help="write JSON there; - is standard output")
    parser.add_argument(
        "--capacity",
        type=int,
        action="append",
        choices=scenario.CAPACITIES_KW,
        help="only this transformer, in kW; may be repeated",
    )
    parser.add_argument("--stock", action="store_true", help="ACN-Sim's own feasibility check")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes")
    arguments = parser.parse_args()
    capacities_kw = sorted(set(arguments.capacity or scenario.CAPACITIES_KW))
    runs = _all(capacities_kw, workers=arguments.workers, stock=arguments.stock)
    report = _report(runs, capacities_kw) | {"stock": arguments.stock}
    if arguments.json == "-":
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
        return
    sys.stdout.write(_table(report))
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
