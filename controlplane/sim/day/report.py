"""The day's figures: one document for programs, one table for people.

Every key ends with its unit. Percentages are of what was possible: for a vehicle, what its driver
asked for or, where that is less, what it could have drawn alone by its departure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from controlplane.sim.day.outcome import Outcome, ready
from controlplane.sim.day.scenario import VOLTAGE_V
from controlplane.sim.day.tariff import SLOT_H, Tariff

if TYPE_CHECKING:
    from controlplane.sim.day.run import LivedFeeder

__all__ = ["report", "table"]

_SHARES_PERCENT = (95, 99, 100)
_WAYS = ("loadstar", "planned", "uncontrolled", "optimum")

Outcomes = Sequence[Outcome | None]


def report(lived: Sequence[LivedFeeder], *, day: date, tariff: Tariff) -> dict[str, Any]:
    """The comparable figures of the whole network; `run.run_day` adds those of the run itself."""
    ways: dict[str, list[Outcome] | None] = {
        "loadstar": [each.loadstar for each in lived],
        "planned": None,
        "uncontrolled": [each.uncontrolled for each in lived],
        "optimum": None,
    }
    plans = [each.planned for each in lived if each.planned is not None]
    if len(plans) == len(lived):
        ways["planned"] = plans
    optima = [each.optimum for each in lived if each.optimum is not None]
    if len(optima) == len(lived):
        ways["optimum"] = [each.outcome for each in optima]
    visits = [visit for each in lived for visit in each.feeder.visits]
    possible_wh = sum(wh for each in lived for wh in each.possible_wh.values())
    requested_kwh = sum(visit.session.requested_wh for visit in visits) / 1_000
    missing = next((each.optimum_missing for each in lived if each.optimum_missing), None)
    return {
        "day": day.isoformat(),
        "sites": sum(len(each.feeder.sites) for each in lived),
        "feeders": len(lived),
        "chargers": sum(len(site.stations) for each in lived for site in each.feeder.sites),
        "sessions": len(visits),
        "sessions_stored": sum(each.sessions for each in lived),
        "requested_kwh": round(requested_kwh, 1),
        "possible_kwh": round(possible_wh / 1_000, 1),
        "optimum_bound_kwh": (
            round(sum(each.bound_wh for each in optima) / 1_000, 1) if ways["optimum"] else None
        ),
        "optimum_missing": missing,
        "tariff": tariff.name,
        **{
            name: None if outcomes is None else _way(lived, outcomes, tariff, requested_kwh)
            for name, outcomes in ways.items()
        },
        "feeder_peaks": [_feeder(each) for each in lived],
        "site_peaks": [
            _site(each, site) for each in lived for site in range(len(each.feeder.sites))
        ],
        "violations": sum(each.violations for each in lived),
        "details": [detail for each in lived for detail in each.details],
        "messages": sum(each.messages for each in lived),
    }


def _way(
    lived: Sequence[LivedFeeder], outcomes: Sequence[Outcome], tariff: Tariff, requested_kwh: float
) -> dict[str, Any]:
    pairs = list(zip(lived, outcomes, strict=True))
    delivered_kwh = sum(sum(outcome.delivered_wh.values()) for outcome in outcomes) / 1_000
    possible_kwh = sum(sum(each.possible_wh.values()) for each in lived) / 1_000
    energy_usd = sum(tariff.energy_usd(outcome.slot_wh) for outcome in outcomes)
    demand_usd = sum(tariff.demand_usd(outcome.slot_wh) for outcome in outcomes)
    network_kw = np.sum([outcome.slot_wh.sum(axis=0) for outcome in outcomes], axis=0) / SLOT_H
    over_h = np.concatenate([outcome.over_h for outcome in outcomes])
    load = np.concatenate([outcome.peak_a / each.rows.rating_a for each, outcome in pairs])
    sites_over = sum(
        bool(outcome.over_h[nodes.start * 3 : nodes.stop * 3].any())
        for each, outcome in pairs
        for nodes in each.rows.site_nodes
    )
    return {
        "delivered_kwh": round(delivered_kwh, 1),
        "of_requested_percent": _percent(delivered_kwh, requested_kwh),
        "of_possible_percent": _percent(delivered_kwh, possible_kwh),
        "deadlines": _deadlines(pairs),
        "charging_peak_kw": round(float(network_kw.max()) / 1_000, 1),
        "row_peak_percent": round(float(load.max()) * 100, 1),
        "rows_over_rating": int(np.count_nonzero(over_h)),
        "sites_over_rating": sites_over,
        "over_rating_row_h": round(float(over_h.sum()), 2),
        "over_rating_longest_h": round(float(over_h.max()), 2),
        "cost_usd": round(energy_usd + demand_usd, 2),
        "cost_energy_usd": round(energy_usd, 2),
        "cost_demand_usd": round(demand_usd, 2),
        "cost_usd_per_kwh": round((energy_usd + demand_usd) / delivered_kwh, 4)
        if delivered_kwh
        else None,
    }


def _deadlines(pairs: Sequence[tuple[LivedFeeder, Outcome]]) -> dict[str, Any]:
    """Of the vehicles that left before the day was over."""
    found: dict[str, Any] = {"vehicles": 0} | {
        f"ready_to_{share}_percent": 0 for share in _SHARES_PERCENT
    }
    for lived, outcome in pairs:
        for visit in lived.feeder.visits:
            if visit.session.departure_ms > lived.feeder.end_ms:
                continue
            found["vehicles"] += 1
            for share in _SHARES_PERCENT:
                found[f"ready_to_{share}_percent"] += ready(
                    outcome.delivered_wh[visit.id],
                    requested_wh=visit.session.requested_wh,
                    possible_wh=lived.possible_wh[visit.id],
                    share=share / 100,
                )
    return found


def _feeder(lived: LivedFeeder) -> dict[str, Any]:
    return {"id": lived.feeder.config.id} | _peaks(lived, range(1))


def _site(lived: LivedFeeder, site: int) -> dict[str, Any]:
    plan = lived.feeder.sites[site]
    return {
        "id": plan.config.id,
        "lived_day": plan.source.day.isoformat(),
        "lived_at": plan.source.campus,
        "chargers": len(plan.stations),
        "sessions": len(plan.visits),
    } | _peaks(lived, range(lived.rows.site_nodes[site].start, lived.rows.site_nodes[site].stop))


def _peaks(lived: LivedFeeder, nodes: range) -> dict[str, Any]:
    """The first of `nodes` (a supply, a feeder) in kW on its fullest phase times three; the fullest
    of all of them in per cent of its rating."""
    rows = slice(nodes.start * 3, nodes.stop * 3)
    rating_a = lived.rows.rating_a[rows]
    found: dict[str, Any] = {"rating_kw": _kw(float(rating_a[0]))}
    ways: dict[str, Outcome | None] = {
        "loadstar": lived.loadstar,
        "planned": lived.planned,
        "uncontrolled": lived.uncontrolled,
        "optimum": None if lived.optimum is None else lived.optimum.outcome,
    }
    for name, outcome in ways.items():
        peak_a = None if outcome is None else outcome.peak_a[rows]
        found[f"{name}_peak_kw"] = None if peak_a is None else _kw(float(peak_a[:3].max()))
        found[f"{name}_row_peak_percent"] = (
            None if peak_a is None else round(float((peak_a / rating_a).max()) * 100, 1)
        )
    found["uncontrolled_over_h"] = round(float(lived.uncontrolled.over_h[rows].max()), 2)
    return found


def _kw(current_a: float) -> float:
    return round(current_a * VOLTAGE_V * 3 / 1_000, 1)


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 100.0


# --- for people -----------------------------------------------------------------------------------


def table(result: dict[str, Any]) -> str:
    """The figures side by side."""
    shown = [name for name in _WAYS if name != "planned" or result[name] is not None]
    ways = [result[name] for name in shown]
    lines: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("energy delivered, MWh", lambda way: f"{way['delivered_kwh'] / 1_000:.2f}"),
        ("  of what was requested", lambda way: f"{way['of_requested_percent']:.1f} %"),
        ("  of what was possible alone", lambda way: f"{way['of_possible_percent']:.1f} %"),
        *(
            (
                f"vehicles ready to {share} % when leaving",
                lambda way, share=share: _ready(way, share),
            )
            for share in _SHARES_PERCENT
        ),
        (
            "highest quarter hour of charging, MW",
            lambda way: f"{way['charging_peak_kw'] / 1e3:.2f}",
        ),
        ("fullest row, of its rating", lambda way: f"{way['row_peak_percent']:.1f} %"),
        ("sites with a row over its rating", lambda way: f"{way['sites_over_rating']}"),
        ("longest time over, h", lambda way: f"{way['over_rating_longest_h']:.1f}"),
        ("energy cost, USD", lambda way: f"{way['cost_energy_usd']:,.0f}"),
        ("demand charge of the day, USD", lambda way: f"{way['cost_demand_usd']:,.0f}"),
        ("cost, USD per kWh", lambda way: f"{way['cost_usd_per_kwh'] or 0:.4f}"),
    ]
    text = [
        f"{result['day']}: {result['sites']} sites, {result['feeders']} feeders, "
        f"{result['chargers']:,} chargers, {result['sessions']:,} sessions",
        f"{'':38}" + "".join(f"{name:>15}" for name in shown),
    ]
    for name, figure in lines:
        cells = ["-" if way is None else figure(way) for way in ways]
        text.append(f"{name:38}" + "".join(f"{cell:>15}" for cell in cells))
    if result["optimum_missing"]:
        text.append(f"no optimum: {result['optimum_missing']}")
    else:
        bound_mwh = result["optimum_bound_kwh"] / 1_000
        text.append(f"nobody can deliver more than {bound_mwh:.2f} MWh within the ratings")
    text += [
        f"violations {result['violations']}, messages {result['messages']:,}, "
        f"{result['wall_s']:.0f} s, {result['speed']:,.0f} times real time",
        *(f"  {detail}" for detail in result["details"]),
        f"replay: {result['replay']} (digest {result['digest']})",
    ]
    return "\n".join(text)


def _ready(way: dict[str, Any], share: int) -> str:
    deadlines = way["deadlines"]
    met = deadlines[f"ready_to_{share}_percent"]
    return f"{100 * met / max(1, deadlines['vehicles']):.1f} %"
