"""`loadstar database` from the command line, on both kinds of database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from test_store_backup import ROWS
from test_store_samples import NOON
from typer.testing import CliRunner

import controlplane.bench.database
from controlplane.cli import app
from controlplane.store.commit import StoreWriter

HOUR = "2024-10-04T11:00:00Z"
"""Before the first of the samples; the machine's clock is long after all of them."""


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No `.env` and no settings of whoever runs the tests."""
    monkeypatch.chdir(tmp_path)


def run(*words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, ["database", *words])
    assert result.exit_code == status, result.output
    return result.output


def said(*words: str) -> Any:
    return json.loads(run(*words, "--json"))


def test_status_export_and_prune(
    database_url: str, writer: StoreWriter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.commit(ROWS)
    where = ("--database-url", database_url)
    status = said("status", *where)
    assert status["dialect"] == database_url.partition(":")[0]
    assert status["size_bytes"] > 0
    assert {name: kind["rows"] for name, kind in status["kinds"].items()} == {
        "samples": 4, "sessions": 1, "decisions": 1, "journal": 5, "security-events": 0,
        "results": 1, "commands": 0, "quarantine": 1,
    }  # fmt: skip
    assert status["kinds"]["samples"]["kept_days"] == 400
    assert status["kinds"]["sessions"] == {
        "rows": 1, "oldest_ms": NOON, "newest_ms": NOON, "kept_days": None,
    }  # fmt: skip
    assert "for ever" in run("status", *where)

    folder = str(tmp_path / "out")
    written = said("export", *where, "--from", HOUR, "--kind", "samples", folder)
    assert sum(written.values()) == 4
    assert sorted(file.name for file in Path(folder).iterdir()) == sorted(
        Path(file).name for file in written
    )
    assert "is there already" in run("export", *where, "--from", HOUR, folder, status=1)
    run("export", *where, "--from", HOUR, "--kind", "sins", folder, status=2)
    run("export", *where, "--from", HOUR, "--to", HOUR, folder, status=2)

    monkeypatch.setenv("LOADSTAR_RETENTION_JOURNAL_DAYS", "0")
    removed = said("prune", *where)
    assert removed == {
        "samples": 3, "decisions": 1, "journal": 0, "security-events": 0, "results": 1,
        "commands": 0, "sessions": 0,
    }  # fmt: skip
    kinds = said("status", *where)["kinds"]
    assert (kinds["samples"]["rows"], kinds["journal"]["rows"]) == (0, 5)


def test_back_up_verify_and_restore(database_url: str, writer: StoreWriter, tmp_path: Path) -> None:
    writer.commit(ROWS)
    file = str(tmp_path / "loadstar.backup")
    written = said("backup", "--database-url", database_url, file)
    assert said("verify", file) == written
    assert written["sha256"] in run("verify", file)
    new = str(tmp_path / "new")
    assert "no database in" in run("status", "--data-dir", new, status=1)
    said("restore", file, "--data-dir", new)
    assert said("status", "--data-dir", new)["kinds"]["journal"]["rows"] == 5
    assert "restore into an empty one" in run("restore", file, "--data-dir", new, status=1)
    Path(file).write_bytes(b"loadstar backup 1\n")
    assert "is not whole" in run("verify", file, status=1)
    assert "No such file" in run("verify", f"{file}.nowhere", status=1)


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_bench_database(dialect: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controlplane.bench.database, "_COMMITS", 4)
    result = controlplane.bench.database.run(dialect=dialect, days=2, per_day=960)
    assert result["rows"] == 1_920
    assert result["full"]["whole_ended_session_ms"] > 0
