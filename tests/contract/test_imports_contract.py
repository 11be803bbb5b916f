"""The import rules hold, and a breach of them is found: each planted one must fail."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the copy of the package in `folder`."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder,
        env={"PYTHONPATH": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(
        REPOSITORY / "controlplane",
        tmp_path / "controlplane",
        ignore=shutil.ignore_patterns("__pycache__", "data", "*.so"),
    )
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_package_keeps_its_rules(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("file", "planted", "told"),
    [
        ("site/messages.py", "import time", "controlplane.site is not allowed to import time"),
        (
            "ocpp/framing.py",
            "import controlplane.store.engine",
            "controlplane.ocpp is not allowed to import sqlalchemy",
        ),
        (
            "charger/messages.py",
            "import controlplane.runtime.clock",
            "controlplane.charger is not allowed to import controlplane.runtime",
        ),
        ("units.py", "import controlplane.config", "is not allowed to import controlplane.config"),
        ("runtime/clock.py", "import controlplane.api.errors", "import controlplane.api"),
    ],
    ids=["clock in an actor", "sql through a chain", "upwards", "units", "runtime to api"],
)
def test_a_planted_breach_is_found(copy: Path, file: str, planted: str, told: str) -> None:
    path = copy / "controlplane" / file
    path.write_text(f"{path.read_text(encoding='utf-8')}\n{planted}\n", encoding="utf-8")
    result = lint(copy)
    assert result.returncode != 0, f"{planted!r} in {file} went unnoticed"
    assert told in " ".join(result.stdout.split()), result.stdout


def test_a_room_without_a_layer_is_found(copy: Path) -> None:
    (copy / "controlplane" / "attic.py").write_text('"""A room nobody planned."""\n')
    result = lint(copy)
    assert result.returncode != 0
    assert "attic" in result.stdout


def test_every_word_of_ocpp_is_imported_by_itself() -> None:
    """No module leans on another one's having been imported before it."""
    program = (
        "import pkgutil, sys, importlib, controlplane.ocpp as room\n"
        "found = pkgutil.iter_modules(room.__path__)\n"
        "names = [f'controlplane.ocpp.{each.name}' for each in found]\n"
        "for name in names:\n"
        "    for loaded in [each for each in sys.modules if each.startswith('controlplane')]:\n"
        "        del sys.modules[loaded]\n"
        "    importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) > 20
