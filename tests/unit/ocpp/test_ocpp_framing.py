"""OCPP-J frames: what each text is read as, and what a broken one is answered."""

from __future__ import annotations

import pytest

from controlplane.ocpp.framing import (
    MESSAGE_ID_MAX,
    Call,
    CallError,
    CallResult,
    CallResultError,
    FrameFault,
    Send,
    encode_call,
    encode_error,
    encode_result,
    encode_result_error,
    parse,
)


def fault(version: str, text: str | bytes) -> FrameFault:
    frame = parse(version, text)
    assert isinstance(frame, FrameFault)
    return frame


def test_the_three_kinds_of_frame_are_read() -> None:
    assert parse("ocpp1.6", '[2,"a","Heartbeat",{}]') == Call("a", "Heartbeat", {})
    assert parse("ocpp1.6", b'[3,"a",{"status":"Accepted"}]') == CallResult(
        "a", {"status": "Accepted"}
    )
    assert parse("ocpp2.0.1", '[4,"a","GenericError","why",{"x":1}]') == CallError(
        "a", "GenericError", "why"
    )


def test_frames_over_several_lines_are_read() -> None:
    assert parse("ocpp1.6", '[2,\n "a",\n "Heartbeat",\n {}\n]') == Call("a", "Heartbeat", {})


@pytest.mark.parametrize("text", ['[4,"a","GenericError"]', '[4,"a","GenericError",null,null]'])
def test_callerrors_that_leave_things_out_are_read(text: str) -> None:
    assert parse("ocpp1.6", text) == CallError("a", "GenericError", "")


@pytest.mark.parametrize(
    "text", ["", "{", '[2,"a","MeterValues",{"transactionId":,}]', "\ud800", b"\xff\xfe", "[2]"]
)
def test_what_cannot_be_read_is_answered_with_the_unreadable_id(text: str | bytes) -> None:
    old, new = fault("ocpp1.6", text), fault("ocpp2.0.1", text)
    assert (old.message_id, old.code, old.answerable) == ("-1", "FormationViolation", True)
    assert (new.message_id, new.code, new.answerable) == ("-1", "RpcFrameworkError", True)


def test_a_message_id_that_is_no_string_or_too_long_is_unreadable() -> None:
    assert fault("ocpp2.0.1", '[2,7,"Heartbeat",{}]').message_id == "-1"
    assert fault("ocpp2.0.1", f'[2,"{"x" * (MESSAGE_ID_MAX + 1)}","Heartbeat",{{}}]').code == (
        "RpcFrameworkError"
    )
    longer_than_specified = "x" * 40
    frame = parse("ocpp2.0.1", f'[2,"{longer_than_specified}","Heartbeat",{{}}]')
    assert frame == Call(longer_than_specified, "Heartbeat", {})


@pytest.mark.parametrize(
    ("text", "old_code", "new_code"),
    [
        ('[2,"a","Heartbeat"]', "FormationViolation", "RpcFrameworkError"),
        ('[2,"a","Heartbeat",{},{}]', "FormationViolation", "RpcFrameworkError"),
        ('[2,"a",5,{}]', "FormationViolation", "RpcFrameworkError"),
        ('[2,"a","Heartbeat",[]]', "FormationViolation", "FormatViolation"),
        ('[2,"a","Heartbeat",null]', "FormationViolation", "FormatViolation"),
        ('[9,"a",{}]', "GenericError", "MessageTypeNotSupported"),
        ('["2","a",{}]', "FormationViolation", "RpcFrameworkError"),
    ],
)
def test_a_broken_frame_with_an_id_is_answered_with_it(
    text: str, old_code: str, new_code: str
) -> None:
    old, new = fault("ocpp1.6", text), fault("ocpp2.0.1", text)
    assert (old.message_id, old.code, old.answerable) == ("a", old_code, True)
    assert (new.message_id, new.code, new.answerable) == ("a", new_code, True)


@pytest.mark.parametrize("text", ['[3,"a"]', '[3,"a",null]', '[4,"a"]', '[4,"a",1,"",{}]'])
def test_a_broken_answer_is_never_answered(text: str) -> None:
    assert fault("ocpp1.6", text).answerable is False
    assert fault("ocpp1.6", text).message_id == "a"


def test_the_two_kinds_that_came_with_21_are_read_there_and_only_there() -> None:
    send = '[6,"a","NotifyPeriodicEventStream",{"id":1}]'
    assert parse("ocpp2.1", send) == Send("a", "NotifyPeriodicEventStream", {"id": 1})
    refusal = '[5,"a","FormatViolation","why",{}]'
    assert parse("ocpp2.1", refusal) == CallResultError("a", "FormatViolation", "why")
    assert parse("ocpp2.1", '[5,"a","FormatViolation"]') == CallResultError(
        "a", "FormatViolation", ""
    )
    for text in (send, refusal):
        older = fault("ocpp2.0.1", text)
        assert (older.code, older.answerable) == ("MessageTypeNotSupported", True)


@pytest.mark.parametrize(
    "text", ['[6,"a"]', '[6,1,"A",{}]', '[6,"a","A",[]]', '[5,"a"]', "[5,1,2]"]
)
def test_what_wants_no_answer_gets_none_when_it_is_broken(text: str) -> None:
    # No message id: nothing of ours may be taken to be answered by it.
    broken = fault("ocpp2.1", text)
    assert (broken.message_id, broken.answerable) == ("", False)


def test_nesting_beyond_any_message_is_refused() -> None:
    text = '[2,"a","DataTransfer",' + '{"data":' * 500 + "1" + "}" * 500 + "]"
    assert "nested" in fault("ocpp2.0.1", text).description


def test_many_brackets_side_by_side_are_not_nesting() -> None:
    samples = ",".join(["{}"] * 200)
    assert isinstance(parse("ocpp1.6", f'[2,"a","MeterValues",{{"x":[{samples}]}}]'), Call)


def test_nul_padding_is_taken_out() -> None:
    frame = parse("ocpp1.6", '[2,"a","BootNotification",{"chargePointModel":"M\\u0000\\u0000"}]')
    assert frame == Call("a", "BootNotification", {"chargePointModel": "M"})
    escaped = parse("ocpp1.6", '[2,"a","DataTransfer",{"data":"\\\\u0000"}]')
    assert escaped == Call("a", "DataTransfer", {"data": "\\u0000"})


def test_frames_are_written_without_blanks() -> None:
    assert encode_call("1", "Reset", {"type": "Soft"}) == '[2,"1","Reset",{"type":"Soft"}]'
    assert encode_result("1", {"status": "Accepted"}) == '[3,"1",{"status":"Accepted"}]'
    assert encode_error("1", "GenericError", "why") == '[4,"1","GenericError","why",{}]'
    assert len(encode_error("1", "GenericError", "x" * 1_000)) < 300
    assert encode_result_error("1", "GenericError", "why") == '[5,"1","GenericError","why",{}]'
