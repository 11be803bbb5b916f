"""Every command explains itself, and starts without what it does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from argon2 import PasswordHasher
from typer.testing import CliRunner

import controlplane
from controlplane.cli import app


def commands(group: Any, words: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found += commands(command, (*words, name))
        else:
            found.append(((*words, name), command))
    return found


COMMANDS = commands(typer.main.get_command(app))


def test_the_commands_that_were_promised() -> None:
    names = {words[0] for words, _ in COMMANDS}
    assert {
        *("up", "demo", "status", "chargers", "sites", "sessions", "bench", "sim", "version"),
        *("network", "allocate", "openadr", "meters", "tokens", "reservations"),
    } <= names


@pytest.mark.parametrize(
    ("words", "command"), COMMANDS, ids=[" ".join(words) for words, _ in COMMANDS]
)
def test_help_teaches(words: tuple[str, ...], command: Any) -> None:
    result = CliRunner().invoke(app, [*words, "--help"])
    assert result.exit_code == 0, result.output
    if words != ("version",):
        assert f"loadstar {' '.join(words)}" in command.help, "no example"
    for parameter in command.params:
        explained = parameter.help or parameter.hidden or "/" in "".join(parameter.opts)
        assert explained or parameter.secondary_opts, f"{parameter.name} is not explained"


def test_version() -> None:
    result = CliRunner().invoke(app, ["version"])
    assert result.output.strip() == controlplane.__version__


def test_help_loads_neither_ray_nor_grpc() -> None:
    program = (
        "import sys; from controlplane.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'grpc', 'sqlalchemy', 'numpy', 'pydantic', 'controlplane.runtime'}\n"
        "sys.exit(f'loaded: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr


def test_a_request_is_shown_as_it_is_to_be_filled_in() -> None:
    listed = json.loads(CliRunner().invoke(app, ["command", "kinds", "--json"]).stdout)
    assert {"SetDerControl", "RequestBatterySwap", "NotifyWebPayment", "Reserve"} <= set(listed)
    for kind in listed:
        shown = CliRunner().invoke(app, ["command", "kinds", kind])
        assert shown.exit_code == 0, shown.output
        assert "timeout_s" in json.loads(shown.stdout)
    form = json.loads(CliRunner().invoke(app, ["command", "kinds", "SetDefaultTariff"]).stdout)
    assert form["tariff"]["energy"][0]["conditions"]["evse_kind"] == "EVSE_KIND_AC | EVSE_KIND_DC"
    nothing = CliRunner().invoke(app, ["command", "kinds", "GetToken"])
    assert nothing.exit_code == 1


def test_a_generated_password_fits_its_hash() -> None:
    result = CliRunner().invoke(app, ["chargers", "password", "--generate"])
    lines = dict(line.split(": ", 1) for line in result.output.splitlines())
    assert len(lines["password"]) == 40
    assert PasswordHasher().verify(lines["password_hash"], lines["password"])


def test_a_password_is_asked_for_twice_and_not_shown() -> None:
    given = "correct-horse-battery"
    result = CliRunner().invoke(app, ["chargers", "password"], input=f"{given}\n{given}\n")
    assert result.exit_code == 0
    assert given not in result.output
    hashed = result.output.splitlines()[-1].removeprefix("password_hash: ")
    assert PasswordHasher().verify(hashed, given)
    short = CliRunner().invoke(app, ["chargers", "password"], input="short\nshort\n")
    assert short.exit_code == 1


def test_a_bench_prints_one_json_object_or_writes_it(tmp_path: Path) -> None:
    words = ["bench", "allocate", "--connectors", "40", "--repeats", "1", "--json"]
    printed = CliRunner().invoke(app, [*words, "-"])
    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    assert found["connectors"] == 40
    assert {"rows", "solve_ms", "check_ms", "ratio", "violations"} <= set(found)
    file = tmp_path / "result.json"
    written = CliRunner().invoke(app, [*words, str(file)])
    assert json.loads(file.read_text())["connectors"] == 40
    assert "solve ms" in written.output


def test_a_simulation_prints_one_json_object() -> None:
    words = ["sim", "--seed", "3", "--hours", "0.1", "--chargers", "2", "--json", "-"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["violations"] == 0


def test_a_fault_that_nobody_knows_is_named() -> None:
    result = CliRunner().invoke(app, ["sim", "--faults", "gremlins"])
    assert result.exit_code == 1
    assert "gremlins" in result.output
