"""The coverage page says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.ocpp.coverage import page
from controlplane.ocpp.schemas import Direction, actions
from controlplane.ocpp.versions import DIALECTS

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_current() -> None:
    assert (ROOT / "docs" / "ocpp.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("version", DIALECTS)
def test_a_dialect_names_only_messages_of_its_version(version: str) -> None:
    dialect = DIALECTS[version]
    assert dialect.handled <= actions(version, Direction.STATION)
    assert set(dialect.commanded.values()) <= actions(version, Direction.CSMS)
    assert dialect.notices < dialect.handled
