"""`loadstar sim --day`: live through the day three ways, feeder by feeder, and compare.

Feeders share nothing and are handed to processes; what comes of them does not depend on how many
there are."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import date
from multiprocessing import get_context
from typing import Any

from controlplane.errors import InvalidInput, Unavailable
from controlplane.sim.day.actors import ActorsDay
from controlplane.sim.day.optimum import Optimum, solve
from controlplane.sim.day.outcome import Outcome
from controlplane.sim.day.report import report
from controlplane.sim.day.rows import Rows
from controlplane.sim.day.scenario import FeederDay, feeder_days
from controlplane.sim.day.tariff import SLOT_H, described, load_tariff
from controlplane.sim.day.uncontrolled import charge_alone, live_uncontrolled

__all__ = ["WORKERS_MAX", "LivedFeeder", "live_feeder", "parse_day", "run_day"]

WORKERS_MAX = 64
_VIOLATIONS_SHOWN = 20
_PROGRESS_H = 3


@dataclass(frozen=True)
class LivedFeeder:
    """What came of one feeder. `optimum` is None where `optimum_missing` says why."""

    feeder: FeederDay
    rows: Rows
    loadstar: Outcome
    uncontrolled: Outcome
    planned: Outcome | None
    """Loadstar with the tariff; None where nobody asked for it."""
    optimum: Optimum | None
    optimum_missing: str | None
    violations: int
    details: list[str] = field(default_factory=list)
    messages: int = 0
    sessions: int = 0
    digest: str = ""
    cpu_s: float = 0.0
    """Processor time of the actors and their world alone."""

    @property
    def possible_wh(self) -> dict[str, float]:
        return self.uncontrolled.delivered_wh


def parse_day(text: str) -> date:
    """A date as people write it in commands.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} is no date such as 2019-06-12", reason="DAY_INVALID"
        ) from error


def live_feeder(
    feeder: FeederDay,
    day: date,
    progress: Callable[[str], None] = lambda _: None,
    *,
    planned: bool = False,
) -> LivedFeeder:
    """Live through one feeder's day all three ways, and with a plan where that is wanted."""
    rows = Rows(feeder)
    alone = charge_alone(feeder)
    uncontrolled = live_uncontrolled(feeder, rows, alone)
    possible_wh = uncontrolled.delivered_wh
    optimum, missing = None, None
    try:
        optimum = solve(feeder, rows, load_tariff(day), possible_wh)
    except Unavailable as error:
        missing = error.message
    world = ActorsDay(feeder, rows, possible_wh)

    def after(slot: int) -> None:
        hour = (slot + 1) * SLOT_H
        if hour % _PROGRESS_H == 0:
            progress(f"{feeder.config.id} {hour:02.0f}:00, {world.messages:,} messages")

    begun_s = time.process_time()
    loadstar = world.live(after)
    cpu_s = time.process_time() - begun_s
    found = world.violations.found
    with_plan = None
    if planned:
        told = ActorsDay(feeder.with_tariff(described(day)), rows, possible_wh)
        with_plan = told.live()
        found = [*found, *told.violations.found]
    return LivedFeeder(
        feeder=feeder,
        rows=rows,
        loadstar=loadstar,
        uncontrolled=uncontrolled,
        planned=with_plan,
        optimum=optimum,
        optimum_missing=missing,
        violations=len(found),
        details=[str(violation) for violation in found[:_VIOLATIONS_SHOWN]],
        messages=world.messages,
        sessions=len(world.host.store.sessions),
        digest=world.host.digest,
        cpu_s=cpu_s,
    )


def run_day(
    day: date,
    *,
    sites: int,
    seed: int = 1,
    workers: int = 1,
    planned: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> tuple[dict[str, Any], list[LivedFeeder]]:
    """Live through one day.

    Args:
        day: a date of which there are sessions.
        sites: how many sites, each with a real day of its own.
        seed: decides the wiring, the stations, the vehicles and the buildings.
        workers: how many processes, 1 to 64; each lives through whole feeders.
        planned: live through it once more with sites that know the tariff.
        progress: is told in words how far it is.

    Returns:
        The result as `report.report` describes it, and what came of each feeder.

    Raises:
        InvalidInput: an unknown day, or an argument out of range.
    """
    if not 1 <= workers <= WORKERS_MAX:
        raise InvalidInput(f"workers: 1 to {WORKERS_MAX}")
    begun_s = time.perf_counter()
    feeders = feeder_days(day, sites=sites, seed=seed)
    progress(
        f"{day}: {sites} sites on {len(feeders)} feeders, "
        f"{sum(len(plan.stations) for feeder in feeders for plan in feeder.sites):,} chargers, "
        f"{sum(len(feeder.visits) for feeder in feeders):,} sessions"
    )
    replay = f"loadstar sim --day {day} --sites {sites} --seed {seed}"
    replay += " --planned" if planned else ""
    lived: dict[str, LivedFeeder] = {}
    try:
        for done in _live_all(feeders, day, workers, progress, planned=planned):
            lived[done.feeder.config.id] = done
            progress(
                f"{done.feeder.config.id} done ({len(lived)} of {len(feeders)}): "
                f"{done.messages:,} messages, {done.violations} violations, {done.cpu_s:.0f} s"
            )
    except Exception as error:
        error.add_note(f"replay: {replay}")
        raise
    in_order = [lived[feeder.config.id] for feeder in feeders]
    result = report(in_order, day=day, tariff=load_tariff(day))
    result |= {
        "speed": round(24 * 3_600 / (time.perf_counter() - begun_s), 1),
        "wall_s": round(time.perf_counter() - begun_s, 1),
        "cpu_actors_s": round(sum(each.cpu_s for each in in_order), 1),
        "workers": workers,
        "seed": seed,
        "digest": _digest(in_order),
        "replay": replay,
    }
    return result, in_order


def _live_all(
    feeders: list[FeederDay],
    day: date,
    workers: int,
    progress: Callable[[str], None],
    *,
    planned: bool,
) -> Iterator[LivedFeeder]:
    """Feeder by feeder here, which can say more of its progress, or in processes."""
    if workers == 1 or len(feeders) == 1:
        for feeder in feeders:
            yield live_feeder(feeder, day, progress, planned=planned)
        return
    with ProcessPoolExecutor(min(workers, len(feeders)), get_context("spawn")) as pool:
        waiting = [pool.submit(live_feeder, feeder, day, planned=planned) for feeder in feeders]
        for future in as_completed(waiting):
            yield future.result()


def _digest(lived: list[LivedFeeder]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for each in lived:
        digest.update(each.digest.encode())
    return digest.hexdigest()
