"""`loadstar sim --day`: two sites through a real day, three ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from controlplane.cli.root import app
from controlplane.sim.day.run import run_day

QUIET_FRIDAY = date(2019, 7, 5)
"""Few sessions, and more than their sites' supplies can carry at once."""
COMMAND = f"{sys.executable} -m controlplane.cli sim --day 2019-07-05 --sites 2".split()


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    return run_day(QUIET_FRIDAY, sites=2, seed=1)[0]


def test_no_row_is_ever_over_its_rating(result: dict[str, Any]) -> None:
    assert result["violations"] == 0, result["details"]
    assert result["loadstar"]["row_peak_percent"] <= 100
    assert result["loadstar"]["sites_over_rating"] == 0


def test_without_control_ratings_would_have_been_exceeded(result: dict[str, Any]) -> None:
    free = result["uncontrolled"]
    assert free["row_peak_percent"] > 110
    assert free["over_rating_longest_h"] > 1
    assert free["sites_over_rating"] == 2
    assert all(site["uncontrolled_over_h"] > 0 for site in result["site_peaks"])
    assert free["of_possible_percent"] == 100
    assert free["deadlines"]["ready_to_100_percent"] == free["deadlines"]["vehicles"]


def test_nobody_delivers_more_than_the_bound(result: dict[str, Any]) -> None:
    pytest.importorskip("highspy")
    bound_kwh = result["optimum_bound_kwh"]
    assert result["optimum"]["delivered_kwh"] == pytest.approx(bound_kwh, rel=1e-4)
    assert result["loadstar"]["delivered_kwh"] <= bound_kwh < result["possible_kwh"]
    assert result["loadstar"]["delivered_kwh"] > 0.75 * bound_kwh
    assert result["optimum"]["cost_usd_per_kwh"] < result["loadstar"]["cost_usd_per_kwh"]


def test_deadlines_are_counted_by_how_ready_a_vehicle_was(result: dict[str, Any]) -> None:
    met = result["loadstar"]["deadlines"]
    counts = [met[f"ready_to_{share}_percent"] for share in (95, 99, 100)]
    assert met["vehicles"] >= counts[0] >= counts[1] >= counts[2] > 0
    assert result["sessions"] == result["sessions_stored"] == 18


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_the_command_gives_the_same_in_every_process(
    result: dict[str, Any], hash_seed: str, tmp_path: Path
) -> None:
    picture = tmp_path / "day.svg"
    done = subprocess.run(
        [*COMMAND, "--json", "-", "--picture", str(picture)],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        check=True,
        capture_output=True,
        timeout=60,
    )
    document = json.loads(done.stdout)
    timed = {"speed", "wall_s", "cpu_actors_s", "workers"}
    assert {key: value for key, value in document.items() if key not in timed} == {
        key: value for key, value in result.items() if key not in timed
    }
    assert document["speed"] > 0
    assert b"feeder-01 done" in done.stderr
    drawn = ET.fromstring(picture.read_text(encoding="utf-8"))
    words = {element.text for element in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert {"5 July 2019: 2 sites, 18 sessions", "MW", "A", "vehicles", "12:00", "limit"} <= words


def test_the_table_is_for_people() -> None:
    done = CliRunner().invoke(app, ["sim", "--day", "2019-06-16", "--sites", "1"])
    assert done.exit_code == 0, done.output
    assert "energy delivered, MWh" in done.output
    assert "replay: loadstar sim --day 2019-06-16 --sites 1 --seed 1" in done.output


def test_without_the_solver_there_is_no_optimum_and_it_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "highspy", None)
    result, _ = run_day(date(2019, 6, 16), sites=1)
    assert result["optimum"] is None
    assert result["optimum_bound_kwh"] is None
    assert "pip install highspy" in result["optimum_missing"]
    assert result["violations"] == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--day", "2020-01-01"], "from 2019-05-01 to 2019-08-31"),
        (["--day", "yesterday"], "is no date such as 2019-06-12"),
        (["--day", "2019-06-12", "--sites", "1000"], "1 to 172"),
        (["--day", "2019-06-12", "--faults", "all"], "no meaning for a real day"),
        (["--picture", "day.svg"], "needs --day"),
        (["--day", "2019-06-12", "--picture", "-"], "'-' is no file"),
    ],
)
def test_what_cannot_be_lived_through_is_refused(arguments: list[str], words: str) -> None:
    done = CliRunner().invoke(app, ["sim", *arguments])
    assert done.exit_code != 0
    assert words in " ".join(done.output.replace("│", " ").split())
