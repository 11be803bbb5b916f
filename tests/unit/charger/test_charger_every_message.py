"""Whatever a station may say or answer by the schema of its version, it is answered by that schema,
and nothing breaks."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger
from command_examples import EXAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_payloads import anything, largest, request_schema, response_schema, smallest

from controlplane.ocpp import answers
from controlplane.ocpp.commands import AnyCommand, CommandResult
from controlplane.ocpp.schemas import Direction, actions, check_call, check_result
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


@pytest.fixture(scope="module")
def settled_snapshots() -> dict[str, bytes]:
    return {version: settled(version).snapshot or b"" for version in DIALECTS}


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


ANSWERED = [
    (version, number, command)
    for version, examples in EXAMPLES.items()
    for number, command in enumerate(examples)
]


@pytest.mark.parametrize(
    ("version", "number", "command"),
    ANSWERED,
    ids=[f"{version}-{number}" for version, number, _ in ANSWERED],
)
def test_whatever_is_answered_to_a_command_is_a_result(
    settled_snapshots: dict[str, bytes], version: str, number: int, command: AnyCommand
) -> None:
    charger = revived(version, settled_snapshots[version])
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    for turn in range(-1, 7):
        ask_id = f"ask-{turn}"
        charger.execute(command, ask_id, timeout_ms=1_000)
        while charger.outstanding is not None:
            action = charger.outstanding.action
            schema = response_schema(version, action)
            answer = smallest(schema) if turn < 0 else largest(schema, turn)
            assert check_result(version, action, answer) is None
            charger.answer(**answer)
        charger.wait(1_000)
        (result,) = charger.answered(ask_id)
        assert isinstance(result, CommandResult)
        read_by_the_api(result)


def read_by_the_api(result: CommandResult) -> None:
    answers.settings_answered(result.payload)
    answers.transaction_status_answered(result.payload)
    answers.transferred_answered(result.payload)
    if "chargingRateUnit" in repr(result.payload):
        answers.schedule_answered(result.payload)


@pytest.mark.parametrize("version", DIALECTS)
@given(data=st.data())
@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_station_may_say_anything_its_schemas_let_through(
    settled_snapshots: dict[str, bytes], version: str, data: st.DataObject
) -> None:
    charger = revived(version, settled_snapshots[version])
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
