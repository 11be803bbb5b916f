"""Values that no service takes are refused as usage, before anybody is asked."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from controlplane.cli import app

NOBODY = ["--address", "127.0.0.1:1"]
DAYS = ["--from", "2026-09-01", "--to", "2026-09-02"]


@pytest.mark.parametrize("value", ["inf", "nan", "1e30", "-1"])
@pytest.mark.parametrize(
    "words",
    [
        ["what-if", "depot", *DAYS, "--cap-kw"],
        ["flexibility", "activate", "depot", "--power"],
        ["grid-events", "create", "--site", "depot", "--limit"],
        ["grid-events", "create", "--site", "depot", "--reduce-by"],
        ["grid-events", "create", "--site", "depot", "--increase-by"],
        ["feeders", "limit", "north", "--power"],
        ["sessions", "need", "S", "--energy"],
    ],
)
def test_a_power_that_cannot_be_is_refused(words: list[str], value: str) -> None:
    result = CliRunner().invoke(app, [*words, value, *NOBODY])
    assert result.exit_code == 2, result.output
    assert "Invalid value for" in result.output


def test_prices_for_what_if_are_read_on_the_clock_that_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("start,price_per_kwh\n2026-09-01T00:00,0.1\n2026-09-01T01:00,0.2\n")
    words = ["what-if", "depot", *DAYS, "--cap-kw", "5", "--prices", str(file), *NOBODY]
    refused = CliRunner().invoke(app, words)
    assert "line 2: start '2026-09-01T00:00' has no offset" in refused.output
    taken = CliRunner().invoke(app, [*words, "--time-zone", "Europe/Berlin"])
    assert "Nobody answers" in taken.output
