"""Whatever a station may say or answer by the schema of its version, it is answered by that schema,
and nothing breaks."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import Charger
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_payloads import anything, largest, request_schema, smallest

from controlplane.ocpp.schemas import Direction, actions, check_call
from controlplane.ocpp.versions import DIALECTS

EVERY = [
    (version, action)
    for version in DIALECTS
    for action in sorted(actions(version, Direction.STATION) & DIALECTS[version].handled)
]
TURNS = 14
"""As many as the longest list of words that changes what is done."""


def settled(version: str) -> Charger:
    """A charger with a session, at whose state snapshots of later steps are compared."""
    charger = Charger()
    charger.settle(version, connectors=2)
    return charger


@pytest.fixture(scope="module", params=list(DIALECTS))
def snapshots(request: pytest.FixtureRequest) -> tuple[str, bytes]:
    charger = settled(request.param)
    assert charger.snapshot is not None
    return request.param, charger.snapshot


def revived(version: str, snapshot: bytes) -> Charger:
    charger = Charger(snapshot=snapshot)
    charger.connect(version)
    return charger


@pytest.mark.parametrize(("version", "action"), EVERY)
def test_the_smallest_and_the_largest_of_every_message_are_answered(
    version: str, action: str
) -> None:
    charger = settled(version)
    schema = request_schema(version, action)
    payloads: list[Any] = [smallest(schema), *(largest(schema, turn) for turn in range(TURNS))]
    for payload in payloads:
        assert check_call(version, action, payload) is None, payload
        assert "error" not in charger.call(action, **payload)
    again = charger.reborn()
    again.connect(version)


@given(data=st.data())
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_station_may_say_anything_its_schemas_let_through(
    snapshots: tuple[str, bytes], data: st.DataObject
) -> None:
    version, snapshot = snapshots
    charger = revived(version, snapshot)
    said = data.draw(st.lists(st.sampled_from(MESSAGES[version]), min_size=1, max_size=4))
    for action, payloads in said:
        payload = data.draw(payloads, label=action)
        if check_call(version, action, payload) is None:
            assert "error" not in charger.call(action, **payload)
    charger.wait(60_000)
    charger.reborn()


MESSAGES = {
    version: [
        (action, anything(request_schema(version, action)))
        for action in sorted(actions(version, Direction.STATION) & DIALECTS[version].handled)
    ]
    for version in DIALECTS
}
