"""`loadstar allocate`: a problem in a file, and what people and programs are told of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from controlplane.cli import app

EXAMPLE = Path(__file__).parents[3] / "deploy/examples/allocation.yaml"


def allocate(file: Path, *words: str, status: int = 0) -> Result:
    result = CliRunner().invoke(app, ["allocate", str(file), *words])
    assert result.exit_code == status, result.output
    return result


def test_the_example_is_explained() -> None:
    output = allocate(EXAMPLE).output
    assert "not admitted: no room for its minimum of 6 A at circuit C1 phase L1" in output
    assert "P1 imbalance L2 over L1" in output
    assert "60,000 W" in output


def test_programs_get_the_whole_answer_as_json() -> None:
    found = json.loads(allocate(EXAMPLE, "--json").stdout)
    assert {share["id"]: share["current_ma"] for share in found["shares"]}["CP-4"] == 10_000
    assert found["solve_us"] >= 0
    assert found["loads"]


def test_a_json_file_is_read_as_well(tmp_path: Path) -> None:
    file = tmp_path / "problem.json"
    file.write_text('{"nodes": [{"id": "S1", "power_max_w": "6900"}], "connectors": []}')
    assert "S1 power" in allocate(file).output


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello", "must be a mapping with `nodes` and `connectors`"),
        ("nodes: [", "while parsing"),
        ("nodes: []", "nodes: 1 to 20,000 nodes, not 0"),
        ("sites: []", 'no field named "sites"'),
        ("connectors: [1]", "connectors[0]: must be a mapping"),
        ("connectors: [null]", "connectors[0]: must be a mapping"),
        ("connectors: {id: CP-1}", "connectors"),
        ("connectors: [{id: CP-1}, {id: 7}]", "connectors[1]: Failed to parse id field"),
        pytest.param("nodes: " + "[" * 10_000, "nested too deep", id="nested"),
        ("nodes: [{id: S1, import_ma: {l1_ma: .nan}}]", "l1_ma"),
        ("nodes: [{id: S1, import_ma: {l1_ma: 99999999999999999999}}]", "out of range"),
        ("nodes: [{id: S1, import_ma: {l1_ma: 6.5}}]", "l1_ma"),
        ("nodes: [{id: S1, power_max_w: 1}, {id: S1, power_max_w: 1}]", "taken by nodes[0]"),
        ("nodes: [{id: S1, power_max_w: 1, parent: S1}]", "node 'S1' is its own ancestor"),
    ],
)
def test_garbage_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "problem.yaml"
    file.write_text(text)
    output = allocate(file, status=1).output
    assert told in output
    assert "Traceback" not in output


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "No such file" in allocate(tmp_path / "gone.yaml", status=1).output
