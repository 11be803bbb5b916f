"""The hand-written stub of the Rust module says what the module has."""

from __future__ import annotations

import subprocess
import sys


def test_stub_matches_the_built_module() -> None:
    stubtest = subprocess.run(
        [sys.executable, "-m", "mypy.stubtest", "controlplane._core"],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert stubtest.returncode == 0, stubtest.stdout + stubtest.stderr
