"""Every error has its gRPC status, a reason for machines, and the details that help a caller."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from controlplane.api.errors import status_of
from controlplane.errors import (
    AlreadyExists,
    Exhausted,
    Fenced,
    InvalidInput,
    LoadstarError,
    NotFound,
    Precondition,
    TimedOut,
    Unavailable,
)

CODES = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Precondition: grpc.StatusCode.FAILED_PRECONDITION,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    TimedOut: grpc.StatusCode.DEADLINE_EXCEEDED,
    Exhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Fenced: grpc.StatusCode.UNAVAILABLE,
    LoadstarError: grpc.StatusCode.INTERNAL,
}


def details(error: LoadstarError) -> dict[str, Any]:
    found = {}
    for packed in status_of(error).details:
        kind = getattr(error_details_pb2, packed.TypeName().removeprefix("google.rpc."))
        detail = kind()
        assert packed.Unpack(detail)
        found[kind.__name__] = detail
    return found


def test_the_whole_tree_is_in_the_table() -> None:
    assert set(CODES) == {LoadstarError, *LoadstarError.__subclasses__()}


@pytest.mark.parametrize("kind", CODES, ids=lambda kind: kind.__name__)
def test_status_and_reason(kind: type[LoadstarError]) -> None:
    error = kind("what happened", reason="WHY", metadata={"charger_id": "CP-1"})
    status = status_of(error)
    assert status.code == CODES[kind].value[0]
    assert status.message == "what happened"
    info = details(error)["ErrorInfo"]
    assert (info.domain, info.reason) == ("loadstar", "WHY")
    assert dict(info.metadata) == {"charger_id": "CP-1"}


def test_invalid_input_names_its_fields() -> None:
    error = InvalidInput("two faults", violations=(("site.id", "empty"), ("site.name", "long")))
    violations = details(error)["BadRequest"].field_violations
    assert [(v.field, v.description) for v in violations] == [
        ("site.id", "empty"),
        ("site.name", "long"),
    ]


@pytest.mark.parametrize("kind", [Unavailable, Fenced, Exhausted])
def test_what_is_worth_trying_again_says_when(kind: type[LoadstarError]) -> None:
    assert details(kind("later"))["RetryInfo"].retry_delay.seconds >= 1


@pytest.mark.parametrize("kind", [InvalidInput, NotFound, Precondition, TimedOut])
def test_what_is_not_does_not(kind: type[LoadstarError]) -> None:
    assert "RetryInfo" not in details(kind("no"))
