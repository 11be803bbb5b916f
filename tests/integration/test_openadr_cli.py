"""`loadstar openadr`: what a person is told before anything runs."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from openadr_vtn import CLIENT_ID, SECRET, Vtn, serving_vtn
from typer.testing import CliRunner, Result

from controlplane.cli import app


@pytest.fixture
def vtn() -> Iterator[Vtn]:
    with serving_vtn(Vtn()) as served:
        yield served


def words(vtn: Vtn, secret: Path) -> list[str]:
    return [
        *("openadr", "--vtn", vtn.url, "--program", "evening peak", "--target", "feeder:north"),
        *("--client-id", CLIENT_ID, "--client-secret-file", str(secret)),
    ]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    return file


async def run(*arguments: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, list(arguments))


async def test_a_check_shows_what_would_be_done(vtn: Vtn, secret: Path) -> None:
    vtn.event("IMPORT_CAPACITY_LIMIT", 250)
    vtn.event("SIMPLE", 2)
    vtn.event("PRICE", 0.2)
    vtn.event("IMPORT_CAPACITY_LIMIT", 10, intervals="none")
    result = await run(*words(vtn, secret), "--level", "2=-80kW", "--check")
    assert result.exit_code == 0, result.output
    assert "250 kW" in result.output
    assert "reduce by" in result.output
    assert re.search(r"event-\d+ +0\.2 +2", result.output), "a price, from when on"
    assert "Malformed: event event-5: intervals" in result.output
    assert not vtn.objects["vens"], "a check registers nobody"


async def test_settings_may_stand_in_the_environment(
    vtn: Vtn, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOADSTAR_OPENADR_VTN", vtn.url)
    monkeypatch.setenv("LOADSTAR_OPENADR_PROGRAM", "evening peak")
    monkeypatch.setenv("LOADSTAR_OPENADR_TARGET", "site:depot")
    monkeypatch.setenv("LOADSTAR_OPENADR_CLIENT_ID", CLIENT_ID)
    monkeypatch.setenv("LOADSTAR_OPENADR_CLIENT_SECRET", SECRET)
    monkeypatch.setenv("LOADSTAR_OPENADR_LEVELS", "1=-50kW,3=0kW")
    monkeypatch.setenv("LOADSTAR_OPENADR_GROUPS", "west, north")
    vtn.event("ALERT_GRID_EMERGENCY", "now", targets=["west"])
    result = await run("openadr", "--check")
    assert result.exit_code == 0, result.output
    assert "ALERT_GRID_EMERGENCY" in result.output


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("--target", "north"), "feeder:ID or site:ID"),
        (("--vtn", "vtn.example"), "a URL such as"),
        (("--vtn", "http://vtn.example/"), "https: the client's secret is sent there"),
        (("--level", "4=1kW"), "a level is 1, 2 or 3"),
        (("--level", "1=a lot"), "is no power such as 80kW"),
        (("--poll", "0"), "greater than or equal to 1"),
        (("--client-secret", "twice"), "either client_secret or client_secret_file"),
        (("--program", "another"), "shows us no program 'another'"),
        (("--client-id", "stranger"), "invalid_client"),
    ],
)
async def test_faults_are_told_in_words(
    vtn: Vtn, secret: Path, changed: tuple[str, ...], told: str
) -> None:
    result = await run(*words(vtn, secret), *changed, "--check")
    assert result.exit_code == 1, result.output
    assert told in result.output
    assert SECRET not in result.output
    assert "Traceback" not in result.output


def test_it_runs_until_it_is_told_to_stop(vtn: Vtn, secret: Path) -> None:
    """Also where there is no Loadstar: it waits for one."""
    command = [sys.executable, "-m", "controlplane.cli", *words(vtn, secret)]
    with subprocess.Popen(
        [*command, "--address", "127.0.0.1:9", "--poll", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "Follows evening peak" in process.stdout.readline()
        for line in process.stderr:
            if "LOADSTAR_UNAVAILABLE" in line:
                break
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert "stops" in out
        assert process.returncode == 0
    assert "GET /events" in vtn.requests
