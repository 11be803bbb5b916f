"""The coverage page says what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from controlplane.ocpp.coverage import page
from controlplane.ocpp.schemas import Direction, actions
from controlplane.ocpp.versions import DIALECTS

ROOT = Path(__file__).parents[2]
BEHIND = {
    "CancelReservation": "CancelReserved",
    "ReserveNow": "ReserveConnector",
    "GetSecurityLog": "GetLog",
    "SignedUpdate": "UpdateFirmware",
    "_ExtendedTrigger": "Trigger",
}
"""Commands that are sent for the sake of others, by what methods of the API ask for."""


def test_the_committed_page_is_current() -> None:
    assert (ROOT / "docs" / "ocpp.md").read_text(encoding="utf-8") == page()


@pytest.mark.parametrize("version", DIALECTS)
def test_a_dialect_names_only_messages_of_its_version(version: str) -> None:
    dialect = DIALECTS[version]
    assert dialect.handled <= actions(version, Direction.STATION)
    assert set(dialect.commanded.values()) <= actions(version, Direction.CSMS)
    assert dialect.notices < dialect.handled


@pytest.mark.parametrize("version", DIALECTS)
def test_every_message_of_a_csms_is_behind_a_typed_method(version: str) -> None:
    dialect = DIALECTS[version]
    api = "".join(
        path.read_text(encoding="utf-8") for path in (ROOT / "controlplane/api").glob("*.py")
    )
    named = set(re.findall(r"\b[A-Z]\w+(?=\()", api))
    reached = {
        action
        for command, action in dialect.commanded.items()
        if BEHIND.get(command.__name__, command.__name__) in named
    }
    assert reached == actions(version, Direction.CSMS)
