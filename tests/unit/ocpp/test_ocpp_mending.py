"""Frames that are not quite ones, and what is meant by them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.ocpp import schemas
from controlplane.ocpp.framing import Call, FrameFault
from controlplane.ocpp.mending import read, transaction_action

STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
START = {"connectorId": 1, "idTag": "TAG", "meterStart": 5, "timestamp": "2024-01-01T00:00:00Z"}


def call(text: str, version: str = "ocpp1.6") -> Call:
    frame = read(version, text)
    assert isinstance(frame, Call), frame
    return frame


def sent(action: str, payload: Any, version: str = "ocpp1.6") -> Call:
    return call(json.dumps([2, "m", action, payload]), version)


def test_a_frame_that_is_right_is_passed_on_untouched() -> None:
    frame = sent("StatusNotification", STATUS)
    assert (frame.payload, frame.mended) == (STATUS, ())


@pytest.mark.parametrize(
    ("text", "payload"),
    [
        ('[2,"m","MeterValues",{"connectorId":1,"transactionId":,"meterValue":[]}]',
         {"connectorId": 1, "meterValue": []}),
        ('[2,"m","DataTransfer",{"vendorId":"v","data":"a\nb\tc",}]',
         {"vendorId": "v", "data": "a\nb\tc"}),
        ('\ufeff[2,"m","DataTransfer",{"vendorId":"C:\\path"},]\0',
         {"vendorId": "C:\\path"}),
        ('[2,"m","StartTransaction",{"connectorId":1,"idTag":":,NaN","meterStart":NaN,'
         '"timestamp":"x"}]',
         {"connectorId": 1, "idTag": ":,NaN", "timestamp": "x"}),
    ],
    ids=["no value", "line break", "backslash", "NaN"],
)  # fmt: skip
def test_what_is_nearly_json_is_read(text: str, payload: Any) -> None:
    frame = call(text)
    assert frame.payload == payload
    assert frame.mended[0] == "json:"


@pytest.mark.parametrize(
    ("action", "payload", "changes", "name"),
    [
        ("StatusNotification", STATUS, {"errorCode": "Error"}, "unknown_word:errorCode"),
        ("StatusNotification", STATUS, {"status": "available"}, "unknown_word:status"),
        ("StatusNotification", STATUS, {"connectorId": "1"}, "wrong_type:connectorId"),
        ("StatusNotification", STATUS, {"info": None}, "wrong_type:info"),
        ("StatusNotification", STATUS, {"info": "x" * 99}, "too_long:info"),
        ("StatusNotification", STATUS, {"extra": 1}, "unknown_field:extra"),
        ("StatusNotification", STATUS, {"vendorErrorCode": 12}, "wrong_type:vendorErrorCode"),
        ("StartTransaction", START, {"connectorId": 1.0000001}, "wrong_type:connectorId"),
        ("StartTransaction", START, {"idTag": 4711}, "wrong_type:idTag"),
        ("StartTransaction", START, {"meterStart": "5"}, "wrong_type:meterStart"),
    ],
)  # fmt: skip
def test_what_is_meant_is_taken(
    action: str, payload: dict[str, Any], changes: dict[str, Any], name: str
) -> None:
    frame = sent(action, payload | changes)
    assert schemas.check_call("ocpp1.6", action, frame.payload) is None
    assert name in frame.mended


@pytest.mark.parametrize("gone", ["errorCode", "connectorId"])
def test_what_is_missing_counts_as_not_said(gone: str) -> None:
    frame = sent("StatusNotification", {k: v for k, v in STATUS.items() if k != gone})
    assert frame.mended == (f"missing:{gone}",)


def test_an_action_in_other_capitals_is_that_action() -> None:
    frame = sent("HeartBeat", {})
    assert (frame.action, frame.mended) == ("Heartbeat", ("spelling:HeartBeat",))


@pytest.mark.parametrize(
    ("version", "action", "payload"),
    [
        ("ocpp1.6", "StatusNotification", STATUS | {"status": "Sleeping"}),
        ("ocpp1.6", "Authorize", {"idTag": "x" * 21}),
        ("ocpp1.6", "Levitate", {}),
        ("ocpp1.6", "Reset", {"type": "Soft"}),
        ("ocpp2.0.1", "Authorize", {}),
        ("ocpp2.0.1", "TransactionEvent",
         {"eventType": "Ended", "timestamp": "", "triggerReason": "Trigger", "seqNo": 1,
          "transactionInfo": {}}),
    ],
    ids=["status", "long token", "no action", "not a station's", "no token", "no transaction"],
)  # fmt: skip
def test_what_cannot_be_told_is_refused(version: str, action: str, payload: Any) -> None:
    frame = read(version, json.dumps([2, "m", action, payload]))
    assert isinstance(frame, FrameFault)
    assert frame.answerable
    assert frame.message_id == "m"


def test_a_message_that_is_cut_off_is_not_guessed_and_its_action_is_known() -> None:
    text = '[2,"m","StopTransaction",{"transactionId":1,"meterStop":1234'
    assert isinstance(read("ocpp1.6", text), FrameFault)
    assert transaction_action(text) == "StopTransaction"
    assert transaction_action('[2,"m","Heartbeat",{') == ""


@given(st.text(alphabet='[]{}:,"\\ \n\0nNaul12', max_size=60))
def test_no_text_is_too_broken(text: str) -> None:
    for version in schemas.VERSIONS:
        read(version, text)


def test_quotes_without_end_cost_no_time() -> None:
    assert isinstance(read("ocpp1.6", '[2,"' + '\\"' * 32_000), FrameFault)
    assert isinstance(read("ocpp1.6", "[2," + ":," * 32_000), FrameFault)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2)
    ),
    max_leaves=4,
)


@given(
    st.sampled_from(["StatusNotification", "StartTransaction", "MeterValues", "StopTransaction"]),
    st.dictionaries(
        st.sampled_from([*STATUS, *START, "transactionId", "meterStop", "meterValue", "reason"]),
        VALUES,
        max_size=6,
    ),
)
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_what_is_mended_has_passed_its_schema(action: str, payload: dict[str, Any]) -> None:
    frame = read("ocpp1.6", json.dumps([2, "m", action, payload]))
    if isinstance(frame, Call):
        assert schemas.check_call("ocpp1.6", action, frame.payload) is None
    else:
        assert isinstance(frame, FrameFault)
