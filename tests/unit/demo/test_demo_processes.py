"""What the demonstration starts, it ends; what fails, it explains."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from controlplane.demo import children
from controlplane.demo.main import run_demo

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie whose parent has not looked yet is dead for us.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"


async def test_a_child_takes_its_own_children_with_it(tmp_path: Path) -> None:
    child = await children.start(
        "family", [sys.executable, "-c", FAMILY], log=tmp_path / "log", reports=True
    )
    assert child.process.stdout is not None
    grandchild = int(await asyncio.wait_for(child.process.stdout.readline(), 10))
    assert alive(grandchild)
    await child.stop()
    for _ in range(100):
        if not alive(grandchild):
            break
        await asyncio.sleep(0.05)
    assert not alive(grandchild)
    assert child.process.returncode == -signal.SIGTERM


async def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    child = await children.start(
        "clumsy", [sys.executable, "-c", "raise SystemExit('I fell')"], log=tmp_path / "log"
    )
    await asyncio.wait_for(child.process.wait(), 10)
    assert str(child.failure("ended")) == "clumsy ended. The end of its log:\nI fell"


async def test_settings_of_this_machine_stay_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADSTAR_DATABASE_URL", "postgresql://somewhere/real")
    script = "import os; print({n: v for n, v in os.environ.items() if n.startswith('LOADSTAR_')})"
    child = await children.start(
        "sealed",
        [sys.executable, "-c", script],
        log=tmp_path / "log",
        environment={"LOADSTAR_LOG_LEVEL": "WARNING"},
        without="LOADSTAR_",
    )
    await asyncio.wait_for(child.process.wait(), 10)
    assert child.tail() == "{'LOADSTAR_LOG_LEVEL': 'WARNING'}"


def test_an_impossible_duration_is_a_clear_refusal(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo(duration_s=1, headless=True) == 2
    assert "duration 1 s" in capsys.readouterr().out


def test_a_loadstar_that_does_not_start_is_explained(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # An interpreter that knows no controlplane.cli.
    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\necho 'no such module' >&2\nexit 3\n")
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run_demo(duration_s=10, headless=True, json_path="-") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "loadstar up ended with code 3" in captured.err
    assert "no such module" in captured.err
    (kept,) = tmp_path.glob("loadstar-demo-*")
    assert str(kept) in captured.err
