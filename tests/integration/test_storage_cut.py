"""A writer behind a cable that was pulled keeps nobody from the rows that it had locked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("cut_writer.py")


@pytest.mark.cluster
@pytest.mark.timeout(120)
def test_a_writer_that_is_cut_off_in_the_middle_of_a_statement_lets_go(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(PROGRAM)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    if done.stdout == "no namespaces\n":
        pytest.skip("machines with networks of their own want root and the command ip")
    assert (done.returncode, done.stdout) == (0, "free\n"), done.stderr
