"""MeterValues of 1.6 read by its type: nothing is let through that the schema refuses, and nothing
is understood otherwise than in the general way, however the frame is spoilt."""

from __future__ import annotations

import copy
import json
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schema_payloads import anything, largest, request_schema, smallest

from controlplane.ocpp import framing, mending, typed
from controlplane.ocpp.versions import DIALECTS

VERSION = "ocpp1.6"
SCHEMA = request_schema(VERSION, "MeterValues")
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False),
    st.sampled_from(
        [[], {}, "", "L1", "kWh", "Outlet", "1,5", "\0", "\u2028", "a\nb", 1.0, -0.0, 2**64, [[]]]
    ),
    st.text(max_size=8),
)
PIECES = [
    b"",
    b",",
    b'"',
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"\xff",
    b"\0",
    b"NaN",
    b"1e999",
    b"}",
    b"\n",
]


def checked(text: bytes) -> bool:
    """Whether `text` is read by its type; what that says is held against the general way."""
    metered = typed.read(VERSION, text)
    if metered is None:
        return False
    payload = metered.payload.untyped()
    general = mending.read(VERSION, text)
    assert general == framing.Call(metered.message_id, "MeterValues", payload)
    assert framing.call_text(general, text) == text
    dialect = DIALECTS[VERSION]
    event = dialect.event("MeterValues", metered.payload)
    assert event is not None
    assert event == dialect.event("MeterValues", payload)
    assert typed.read_payload(text) == metered.payload
    return True


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    found = [(value, key) for key in keys]
    for key in keys:
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


@pytest.mark.parametrize("payload", [smallest(SCHEMA), *(largest(SCHEMA, n) for n in range(23))])
def test_what_the_schema_allows_is_read_by_its_type(payload: Any) -> None:
    assert checked(json.dumps([2, "17", "MeterValues", payload]).encode())


@given(payload=anything(SCHEMA), message_id=st.text(max_size=130), data=st.data())
def test_a_spoilt_frame_is_refused_or_understood_as_ever(
    payload: Any, message_id: str, data: st.DataObject
) -> None:
    frame: Any = [2, message_id, "MeterValues", copy.deepcopy(payload)]
    for _ in range(data.draw(st.integers(0, 2))):
        container, key = data.draw(st.sampled_from(places(frame)))
        odd = data.draw(ODD)
        if isinstance(container, dict):
            name = data.draw(st.sampled_from([key, "unit", "extra", "transactionId"]))
            container[name] = odd
        else:
            container[key] = odd
    text = json.dumps(frame, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    checked(text)
    at = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(at, min(at + 3, len(text))))
    checked(text[:at] + data.draw(st.sampled_from(PIECES)) + text[end:])
    checked(text[:at] + text[at : at + 1] * 2 + text[end:])


@pytest.mark.parametrize(
    "text",
    [
        b'[2,"1","MeterValues",{"connectorId":1,"connectorId":2,"meterValue":[]}]',
        b'[2,"1","MeterValues",{"conn\\u0065ctorId":1,"meterValue":[]}]\n ',
    ],
)
def test_json_says_the_same_either_way(text: bytes) -> None:
    assert checked(text)


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
def test_other_versions_are_read_the_general_way(version: str) -> None:
    text = json.dumps([2, "1", "MeterValues", largest(SCHEMA)]).encode()
    assert typed.read(version, text) is None


def test_its_words_are_those_of_the_schema() -> None:
    sampled = SCHEMA["properties"]["meterValue"]["items"]["properties"]["sampledValue"]["items"]
    words = {
        name: set(said["enum"]) for name, said in sampled["properties"].items() if "enum" in said
    }
    hints = get_type_hints(typed.SampledValue)
    assert {name: set(get_args(get_args(hints[name])[0])) for name in words} == words
