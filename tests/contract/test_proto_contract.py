"""The public contract is what buf calls good, is explained throughout, and the committed Python is
what it generates."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.api.generate import generate

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "controlplane" / "api" / "v1"
PROTOS = sorted((REPOSITORY / "proto").rglob("*.proto"))
DECLARATION = re.compile(
    r"\s*(?:service|rpc|message|enum|oneof|(?:repeated |optional |map<.*> ?)?[\w.]+) \w+.*[{;]$"
    r"|\s*[A-Z][A-Z0-9_]+ = \d+;$"
    r"|\s*map<.*> \w+ = \d+;$"
)
QUANTITY = re.compile(r"(double|int32|int64) (\w+) = ")
UNITS = ("_ma", "_a", "_w", "_wh", "_v", "_s", "_us", "_percent", "_bytes", "_hz", "_per_s")
COUNTS = {
    "id",
    "connector",
    "connector_id",
    "port",
    "unit",
    "l1",  # addresses of registers
    "l2",
    "l3",
    "page_size",
    "limit",
    "priority",
    "weight",
    "phases",
    "round",
    "count",
    "pending_passwords",
    "security_profile",
    "security_profile_min",
    "security_profile_reached",
    "violations",
    "clock_speed",
    "level",
    "tier",
    "rank",
    "turns_primary",
    "turns_secondary",
    "version",
    "tokens_version",
    "concurrent_max",
    "evse_id",
    "limit_max",  # in the unit of the charger's own variable
    "limit_min",
    "monitor_id",
    "monitor_ids",
    "severity",
    "value",
    "message_id",
    "message_ids",
    "profile_id",
    "profile_ids",
    "sim_pin",
    "slot",
    "stack_level",
    "wave",
    "waves",
    "installed",
    "failed",
    "failures_max",
    "at_once_max",
    "connector_ids",
    "stack",
    "signal",
    "stream_id",
    "values",
}
ELSEWHERE = {
    # In the unit of their profile, ...
    "first",
    # ... of their error, ...
    "mean_error",
    "loss",
    # ... of their curve, ...
    "x",
    "y",
    "high",
    "low",
    # ... or of the grid code that OCPP 2.1 takes them from without naming one.
    "high_voltage",
    "low_voltage",
    "delay",
    "random_delay",
    "time_constant",
    "mean_10min",
    "trip_delay",
    "displacement",
    "over_droop",
    "under_droop",
}


def buf(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(Path(sys.executable).with_name("buf")), "lint"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_buf_finds_nothing() -> None:
    result = buf(REPOSITORY)
    assert result.returncode == 0, result.stdout + result.stderr


def test_buf_would_find_something(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "buf.yaml", tmp_path)
    shutil.copytree(REPOSITORY / "proto", tmp_path / "proto")
    file = tmp_path / "proto/controlplane/api/v1/system.proto"
    file.write_text(file.read_text().replace("string version = 1;", "string Version = 1;"))
    assert buf(tmp_path).returncode != 0


def test_generating_again_changes_nothing(tmp_path: Path) -> None:
    generated = generate(tmp_path)
    committed = sorted(path.relative_to(REPOSITORY) for path in PACKAGE.glob("*.py*"))
    assert generated == committed, "run `make proto`"
    for path in generated:
        assert (tmp_path / path).read_bytes() == (REPOSITORY / path).read_bytes(), (
            f"{path} is not what proto/ generates: run `make proto`"
        )


def test_files_without_a_source_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / "controlplane/api/v1/gone_pb2.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    generate(tmp_path)
    assert not stale.exists()


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: path.name)
def test_everything_is_explained(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    bare = [
        f"{path.name}:{number + 1}: {line.strip()}"
        for number, line in enumerate(lines)
        if DECLARATION.match(line)
        and not line.startswith(("syntax", "import", "package"))
        and not lines[number - 1].strip().startswith("//")
    ]
    assert not bare, "no comment above:\n" + "\n".join(bare)


@pytest.mark.parametrize("path", PROTOS, ids=lambda path: path.name)
def test_quantities_end_with_their_unit(path: Path) -> None:
    for _, name in QUANTITY.findall(path.read_text(encoding="utf-8")):
        counted = name.endswith(("_count", "cursor")) or name in COUNTS
        assert name.endswith(UNITS) or counted or name in ELSEWHERE, name
