"""Whatever a station sends: no exception, and exactly one answer to every CALL.

Frames are made two ways: out of arbitrary JSON, and out of the schemas themselves, so that what
passes the checks reaches every corner of the translation and of the actor."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.actor import Persist, Reply, ReplyError, SetTimer, TimerFired
from controlplane.charger.actor import ChargerActor
from controlplane.charger.messages import ChargerAssigned, StationCalled, StationConnected
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.network import ChargerConfig
from controlplane.ocpp import framing, schemas
from controlplane.ocpp.versions import DIALECTS
from controlplane.store.records import ActorSnapshot

NOW_MS = 1_704_067_200_000

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=15,
)
NUMBERS = st.one_of(
    st.integers(-5, 100),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
)
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "0", "1.5", "1e400", "2024-01-01T00:00:00Z", "1970-01-01T00:00:00", "kWh"]
    ),
)


@cache
def schema_of(version: str, action: str) -> dict[str, Any]:
    folder = resources.files("ocpp") / schemas.VERSIONS[version] / "schemas"
    name = action if version == "ocpp1.6" else f"{action}Request"
    file = folder / f"{name}.json"
    if not file.is_file():
        # What 2.1 sends without wanting an answer.
        file = folder / f"{action}.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    return schema


def instances(schema: dict[str, Any], root: dict[str, Any]) -> st.SearchStrategy[Any]:
    """JSON that a schema of OCPP allows, mostly: what it forbids after all is filtered later."""
    if "$ref" in schema:
        return instances(root["definitions"][schema["$ref"].rsplit("/", 1)[1]], root)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            required = set(schema.get("required", ()))
            parts = {
                name: instances(part, root)
                for name, part in properties.items()
                if name != "customData"
            }
            return st.fixed_dictionaries(
                {name: part for name, part in parts.items() if name in required},
                optional={name: part for name, part in parts.items() if name not in required},
            )
        case "array":
            return st.lists(
                instances(schema["items"], root), min_size=schema.get("minItems", 0), max_size=3
            )
        case "integer":
            least = int(schema.get("minimum", -(2**63)))
            return st.integers(max(least, -3), 5) | st.integers(least, 2**63 - 1)
        case "number":
            return NUMBERS
        case "string":
            return TEXTS.map(lambda text: text[: schema.get("maxLength", 1_000)])
        case "boolean":
            return st.booleans()
        case _:
            return JSON


def charger(version: str) -> ChargerActor:
    actor = ChargerActor(ActorRef(ActorKind.CHARGER, "CP1"), ActorSettings(), None)
    config = ChargerConfig(id="CP1", circuit="main").model_dump_json().encode()
    actor.step(ChargerAssigned(SiteId("site"), 230, config), NOW_MS)
    actor.step(StationConnected("c", version, "192.0.2.1:5000"), NOW_MS)
    return actor


def answered_once(actor: ChargerActor, version: str, call: framing.Call, now_ms: int) -> None:
    """The actor answers the call once, with what its schema allows, and can be brought back from
    what it then persists."""
    effects = actor.step(StationCalled("c", call.message_id, call.action, call.payload), now_ms)
    for timer in [effect for effect in effects if isinstance(effect, SetTimer)]:
        if not any(isinstance(effect, Reply | ReplyError) for effect in effects):
            # What others are asked for is answered without them in the end.
            effects = [*effects, *actor.step(TimerFired(timer.key), timer.at_ms)]
    answers = [effect for effect in effects if isinstance(effect, Reply | ReplyError)]
    assert len(answers) == 1
    assert answers[0].message_id == call.message_id
    if isinstance(answers[0], Reply):
        assert schemas.check_result(version, call.action, answers[0].payload) is None
    for effect in effects:
        if isinstance(effect, Persist) and isinstance(effect.record, ActorSnapshot):
            ChargerActor(actor.ref, ActorSettings(), effect.record.state).activate(now_ms)


@pytest.mark.parametrize("version", sorted(schemas.VERSIONS))
@given(text=st.text(max_size=200) | st.binary(max_size=200) | JSON.map(json.dumps))
def test_every_text_is_a_frame_or_a_fault(version: str, text: str | bytes) -> None:
    frame = framing.parse(version, text)
    if isinstance(frame, framing.FrameFault) and frame.answerable:
        answer = json.loads(framing.encode_error(frame.message_id, frame.code, frame.description))
        assert answer[:2] == [4, frame.message_id]


@pytest.mark.parametrize("version", sorted(DIALECTS))
@given(data=st.data())
def test_arbitrary_payloads_are_refused_or_answered_once(version: str, data: st.DataObject) -> None:
    known = [*schemas.actions(version, schemas.Direction.STATION), "Reset", "Nonsense"]
    action = data.draw(st.sampled_from(sorted(known)))
    text = json.dumps([2, "m", action, data.draw(st.dictionaries(st.text(max_size=10), JSON))])
    frame = framing.parse(version, text)
    if isinstance(frame, framing.Call):
        fault = schemas.check_call(version, frame.action, frame.payload)
        if fault is None:
            answered_once(charger(version), version, frame, NOW_MS)
        else:
            assert fault.code
            assert len(fault.description) <= 255


@pytest.mark.parametrize("version", sorted(DIALECTS))
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_conversations_made_of_the_schemas_are_answered_call_by_call(
    version: str, data: st.DataObject
) -> None:
    actor = charger(version)
    now_ms = NOW_MS
    dialect = DIALECTS[version]
    actions = sorted(schemas.actions(version, schemas.Direction.STATION) - dialect.notices)
    for number in range(data.draw(st.integers(1, 6))):
        action = data.draw(st.sampled_from(actions))
        schema = schema_of(version, action)
        payload = data.draw(instances(schema, schema))
        frame = framing.parse(version, json.dumps([2, str(number), action, payload]))
        now_ms += data.draw(st.integers(0, 10_000_000))
        if isinstance(frame, framing.Call):
            if schemas.check_call(version, action, frame.payload) is None:
                answered_once(actor, version, frame, now_ms)
        else:
            assert isinstance(frame, framing.FrameFault)


@pytest.mark.parametrize("version", sorted(DIALECTS))
@given(data=st.data())
def test_the_generator_reaches_the_actor(version: str, data: st.DataObject) -> None:
    """Guards the test above: what it makes does pass the schemas."""
    schema = schema_of(version, "MeterValues")
    payload = data.draw(instances(schema, schema))
    frame = framing.parse(version, json.dumps([2, "m", "MeterValues", payload]))
    assert isinstance(frame, framing.Call)
    assert schemas.check_call(version, "MeterValues", frame.payload) is None
