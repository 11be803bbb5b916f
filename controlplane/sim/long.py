"""Many seeds of the deterministic world on all cores: `make sim-long`.

Every seed is a process's own run, so a seed that fails here fails alone. Stops at the first seed
that is violated (`--go-on` does not) and prints the command that replays it; says how far it is
meanwhile, and with `--log` writes down every seed as it ends, a line of JSON each; ends with a
summary as JSON on the standard output."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import islice
from pathlib import Path
from typing import Any

from controlplane.sim.world import run

__all__ = ["main", "run_seeds"]

_SAY_EVERY_S = 10.0


def run_seeds(
    seeds: range,
    *,
    hours: float,
    chargers: int,
    faults: str,
    workers: int,
    go_on: bool = False,
    log: Path | None = None,
) -> dict[str, Any]:
    """Run every seed until one fails.

    Args:
        go_on: run the others all the same.
        log: a file to which the result of every seed is appended.

    Returns:
        `seeds`, how many were run; `hours` and `faults` of each; `violations`, `messages`,
        `sessions` and `delivered_wh` of all; `optimum_s`, the longest of any; `speed`, virtual time
        of all over real time; `failed`, the result of the first seed that failed, or None.
    """
    begun_s = said_s = time.monotonic()
    done: list[dict[str, Any]] = []
    failed: dict[str, Any] | None = None
    with ProcessPoolExecutor(max_workers=workers) as pool:

        def submitted() -> Iterator[Future[dict[str, Any]]]:
            for seed in seeds:
                yield pool.submit(run, seed=seed, hours=hours, chargers=chargers, faults=faults)

        waiting = submitted()
        # A few more than there are workers, so that none waits and few run in vain at the end.
        running = set(islice(waiting, 2 * workers))
        while running and (go_on or failed is None):
            finished, running = wait(running, timeout=_SAY_EVERY_S, return_when=FIRST_COMPLETED)
            for future in finished:
                result = future.result()
                done.append(result)
                if log is not None:
                    with log.open("a", encoding="utf-8") as lines:
                        lines.write(json.dumps(result) + "\n")
                if result["violations"] and failed is None:
                    failed = result
            running |= set(islice(waiting, len(finished)))
            if time.monotonic() - said_s >= _SAY_EVERY_S:
                said_s = time.monotonic()
                _say(f"{len(done)} of {len(seeds)} seeds, {said_s - begun_s:.0f} s")
        pool.shutdown(wait=not running, cancel_futures=True)
    spent_s = time.monotonic() - begun_s
    return {
        "seeds": len(done),
        "hours": hours,
        "chargers": chargers,
        "faults": faults,
        "violations": sum(result["violations"] for result in done),
        "messages": sum(result["messages"] for result in done),
        "sessions": sum(result["sessions"] for result in done),
        "delivered_wh": sum(result["delivered_wh"] for result in done),
        "optimum_s": max((result["optimum_s"] for result in done), default=0),
        "speed": round(hours * 3_600 * len(done) / spent_s, 1),
        "failed": failed,
    }


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    """The command; 1 where a seed failed."""
    parser = argparse.ArgumentParser(prog="python -m controlplane.sim.long", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--chargers", type=int, default=20)
    parser.add_argument("--faults", default="all")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--go-on", action="store_true", help="after a seed that failed, too")
    parser.add_argument("--log", type=Path, help="append a line of JSON for every seed")
    options = parser.parse_args()
    result = run_seeds(
        range(options.first, options.first + options.seeds),
        hours=options.hours,
        chargers=options.chargers,
        faults=options.faults,
        workers=max(1, options.workers),
        go_on=options.go_on,
        log=options.log,
    )
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    failed = result["failed"]
    if failed is None:
        return 0
    _say("\n".join([f"seed {failed['seed']} failed:", *failed["details"]]))
    _say(f"replay: {failed['replay']}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
