"""The demonstration for real: `loadstar up` and both sites in their processes, on a short day."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
import sys
from controlplane.demo.main import run_demo
kill = float(sys.argv[3]) or None
sys.exit(run_demo(duration_s=float(sys.argv[1]), headless=True, json_path="-",
                  kill_host_every_s=kill, record_svg=sys.argv[2]))
"""


def demonstrate(folder: Path, *, duration_s: float, kill_host_every_s: float = 0) -> dict[str, Any]:
    """Run a demonstration in a process of its own and give its summary."""
    picture = folder / "demo.svg"
    arguments = [str(duration_s), str(picture), str(kill_host_every_s)]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    summary = json.loads(done.stdout)
    assert isinstance(summary, dict)
    assert "OFFICE-10" in picture.read_text(encoding="utf-8").replace("&#160;", " ")
    return summary


def assert_a_good_day(summary: dict[str, Any]) -> None:
    assert summary["violations"] == 0
    assert summary["unaccounted_wh"] == 0
    assert summary["sessions"] >= 14
    assert summary["delivered_wh"] > 20_000
    assert 0.5 < summary["max_row_utilisation"] <= 1.0
    assert 0 < summary["first_power_s"] < 30
    assert summary["messages"] > 500


@pytest.mark.timeout(240)
def test_a_short_day_ends_without_a_violation(tmp_path: Path) -> None:
    summary = demonstrate(tmp_path, duration_s=20)
    assert_a_good_day(summary)
    assert summary["host_kills"] == 0


@pytest.mark.timeout(240)
def test_killing_the_host_loses_nothing(tmp_path: Path) -> None:
    summary = demonstrate(tmp_path, duration_s=30, kill_host_every_s=12)
    assert_a_good_day(summary)
    assert summary["host_kills"] >= 2
    assert summary["deadlines_total"] >= 1
    # The sockets stay with the gateway: nobody had to dial again.
    assert summary["connections"] == 16
