"""`loadstar chaos` for real: a short run finds nothing, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controlplane.chaos.marks import RUN, marked
from controlplane.sim.afterwards import Afterwards

FAULTLESS = (
    "lost",
    "duplicated",
    "violations",
    "stale_commands",
    "charge_records_wrong",
    "orders_wrong",
    "undelivered",
    "unserved",
)


def chaos(folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "controlplane.cli", "chaos", "--json", "-", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 0, result
    return result


@pytest.mark.cluster
@pytest.mark.timeout(1_000)
def test_hosts_die_the_database_restarts_and_a_node_is_cut_off_silently(tmp_path: Path) -> None:
    kinds = "host_killed,host_frozen,database_killed,node_cut"
    result = chaos(tmp_path, "--seed", "1", "--faults", "8", "--stations", "24", "--kinds", kinds)
    assert {key: result[key] for key in FAULTLESS} == dict.fromkeys(FAULTLESS, 0)
    assert sum(result["faults"].values()) == 8
    assert result["acknowledged"] > 0
    assert result["charge_records"] > 0
    assert result["commands"] > 0
    assert not result["sockets_lost"].get("host_killed")
    if result["network"] == "namespaces":
        assert result["faults"]["node_cut"]


def waited(condition: Callable[[], bool]) -> bool:
    until_s = time.monotonic() + 20
    while not condition() and time.monotonic() < until_s:
        time.sleep(0.02)
    return condition()


def test_what_a_run_has_started_is_known_by_its_mark_and_ends_after_it() -> None:
    """The process that is marked stands for a node; its parent, which is killed, for the run."""
    run = f"test-{os.getpid()}"
    script = (
        "import subprocess, sys, time\n"
        "from controlplane.sim.afterwards import Afterwards\n"
        f"Afterwards([sys.executable, '-m', 'controlplane.chaos.undertaker', {run!r}, ''])\n"
        f"subprocess.Popen(['sleep', '60'], env={{{RUN!r}: {run!r}}}, start_new_session=True)\n"
        "print('started', flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        assert waited(lambda: len(marked(run)) == 1)
        process.send_signal(signal.SIGKILL)
    assert waited(lambda: not marked(run))


def test_what_is_to_be_done_afterwards_is_done_once_now(tmp_path: Path) -> None:
    file = tmp_path / "done"
    Afterwards(["/bin/sh", "-c", f"echo done >> {file}"]).now()
    assert file.read_text() == "done\n"


def test_a_database_server_ends_with_whoever_started_it_even_where_that_is_killed() -> None:
    script = (
        "import time\n"
        "from controlplane.sim.postgresql import PostgresqlServer\n"
        "server = PostgresqlServer()\n"
        "print(server.pid, server.binaries, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, binaries = process.stdout.readline().split()
        process.send_signal(signal.SIGKILL)
    assert waited(lambda: not Path(f"/proc/{pid}/exe").exists())
    if Path(binaries).is_relative_to(tempfile.gettempdir()):
        assert waited(lambda: not Path(binaries).exists())
