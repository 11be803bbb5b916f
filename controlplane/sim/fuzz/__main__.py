"""`python -m controlplane.sim.fuzz`: a million spoilt frames through the codec and the actor, ten
thousand through real sockets.

Prints one JSON object; ends with status 1 where anything was found. Frames come in chunks of a seed
each, worked on by a process per processor; a chunk that does not end is a hang, and is named like
every other failure by the command that replays it."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import secrets
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from controlplane.ocpp.versions import DIALECTS
from controlplane.sim.fuzz.codec import CodecReport, joined, run_chunk
from controlplane.sim.fuzz.sockets import SocketReport, run_sockets

__all__ = ["main"]

_CHUNK = 10_000
_CHUNK_TIMEOUT_S = 300.0


def _run_codec(seed: int, frames: int, processes: int) -> tuple[CodecReport, list[str]]:
    """The sum of all chunks, and the commands that replay those in which something was found."""
    seeds = [seed + number for number in range(-(-frames // _CHUNK))]
    size = min(frames, _CHUNK)
    reports: list[CodecReport] = []
    replays: list[str] = []
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        coming = pool.imap(partial(run_chunk, frames=size), seeds)
        for chunk_seed in seeds:
            replay = f"python -m controlplane.sim.fuzz --seed {chunk_seed} --frames {size}"
            try:
                report = coming.next(timeout=_CHUNK_TIMEOUT_S)
            except multiprocessing.TimeoutError:
                report = CodecReport(crashes=1, failures=[])
                replays.append(f"{replay} --sockets 0  # hangs")
                reports.append(report)
                break
            reports.append(report)
            if report.failures:
                replays.append(f"{replay} --sockets 0")
            done = sum(each.frames for each in reports)
            found = sum(len(each.failures) for each in reports)
            sys.stderr.write(f"\r{done:,} frames, {found} failures ")
            sys.stderr.flush()
    sys.stderr.write("\n")
    return joined(reports), replays


def _run_sockets(seed: int, frames: int) -> SocketReport:
    with tempfile.TemporaryDirectory(prefix="loadstar-fuzz-") as directory:
        return asyncio.run(run_sockets(seed, frames, Path(directory)))


def main() -> int:
    """Run, print the result; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--frames", type=int, default=1_000_000, help="through the codec")
    parser.add_argument("--sockets", type=int, default=10_000, help="through real sockets")
    parser.add_argument("--seed", type=int, default=None, help="of the first chunk")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args()
    seed: int = secrets.randbits(40) if given.seed is None else given.seed
    begun_s = time.monotonic()
    codec = CodecReport(failures=[])
    replays: list[str] = []
    if given.frames:
        codec, replays = _run_codec(seed, given.frames, given.processes)
    sockets = SocketReport(failures=[])
    if given.sockets:
        sockets = _run_sockets(seed, given.sockets)
    if sockets.failures:
        replays.append(
            f"python -m controlplane.sim.fuzz --seed {seed} --frames 0 --sockets {given.sockets}"
        )
    result: dict[str, Any] = {
        "seed": seed,
        "versions": list(DIALECTS),
        "frames": codec.frames,
        "crashes": codec.crashes + sockets.internal_errors,
        "unanswered": codec.unanswered + sockets.unanswered,
        "slow": codec.slow,
        "calls": codec.calls,
        "refused": codec.refused,
        "faults": codec.faults,
        "answers": codec.answers,
        "socket_frames": sockets.frames,
        "socket_answers": sockets.answered,
        "closed_by_server": sockets.closed_by_server,
        "honest_messages": sockets.honest_messages,
        "honest_delayed": sockets.honest_delayed,
        "honest_lost": sockets.honest_lost,
        "elapsed_s": round(time.monotonic() - begun_s, 1),
        "replay": replays[:10],
        "failures": msgspec.to_builtins((codec.failures + sockets.failures)[:10]),
    }
    print(json.dumps(result, indent=2))  # noqa: T201 - it is what this command is for
    wrong = result["crashes"] or result["unanswered"] or result["slow"]
    return 1 if wrong or result["honest_delayed"] or result["honest_lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
