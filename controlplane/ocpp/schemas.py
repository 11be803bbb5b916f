"""The JSON schemas of every OCPP version, compiled once each, on first use.

The files are those that the `ocpp` package ships (the Open Charge Alliance's own). A frame is
checked here before anything else looks into it, so translation may rely on every required field.
What is tolerated against the letter of a schema stands in `TOLERATED` and nowhere else; each entry
is a deviation that stations in the field show and that loses energy data when refused."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any, Final

import jsonschema_rs
import orjson

from controlplane.ocpp.framing import ErrorCode, Fault, code_word

__all__ = [
    "TOLERATED",
    "VERSIONS",
    "Direction",
    "actions",
    "check_call",
    "check_command",
    "check_result",
    "check_send",
    "errors_in",
    "request_schema",
    "response_schema",
]

VERSIONS: Final = {"ocpp1.6": "v16", "ocpp2.0.1": "v201", "ocpp2.1": "v21"}
"""Subprotocol to the folder of its schemas."""


class Direction(Enum):
    """Who may send the CALL."""

    STATION = "station"
    CSMS = "CSMS"


_BOTH: Final = frozenset({"DataTransfer"})


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_STATION_16: Final = _words(
    "Authorize BootNotification DataTransfer DiagnosticsStatusNotification "
    "FirmwareStatusNotification Heartbeat LogStatusNotification MeterValues "
    "SecurityEventNotification SignCertificate SignedFirmwareStatusNotification "
    "StartTransaction StatusNotification StopTransaction"
)
_STATION_201: Final = _words(
    "Authorize BootNotification ClearedChargingLimit DataTransfer FirmwareStatusNotification "
    "Get15118EVCertificate GetCertificateStatus Heartbeat LogStatusNotification MeterValues "
    "NotifyChargingLimit NotifyCustomerInformation NotifyDisplayMessages "
    "NotifyEVChargingNeeds NotifyEVChargingSchedule NotifyEvent NotifyMonitoringReport "
    "NotifyReport PublishFirmwareStatusNotification ReportChargingProfiles "
    "ReservationStatusUpdate SecurityEventNotification SignCertificate StatusNotification "
    "TransactionEvent"
)
_STATION_21: Final = _STATION_201 | _words(
    "BatterySwap ClosePeriodicEventStream GetCertificateChainStatus NotifyDERAlarm "
    "NotifyDERStartStop NotifyPeriodicEventStream NotifyPriorityCharging NotifySettlement "
    "OpenPeriodicEventStream PullDynamicScheduleUpdate ReportDERControl VatNumberValidation"
)
_STATION: Final = {"ocpp1.6": _STATION_16, "ocpp2.0.1": _STATION_201, "ocpp2.1": _STATION_21}
_SENT: Final = {"ocpp2.1": frozenset({"NotifyPeriodicEventStream"})}

TOLERATED: Final = (
    "Formats are not checked (`date-time` without a zone or without seconds, `uri`): times are"
    " read where they are used, and a time that cannot be read counts as not given.",
    "`meterValue` and `sampledValue` may be empty; the latter's `context`, `format`, `measurand`,"
    " `phase`, `location` and `unit` may be any string, and `value` a string or a number.",
    "`meterStart` and `meterStop` may have a fraction, and may be left away; energy is rounded down"
    " to the watt-hour.",
    "`idTag` of StartTransaction and StopTransaction may be longer than 20 characters: refusing"
    " the message would lose the transaction.",
    "A message that its schema refuses is mended where it is clear what was meant: numbers and"
    " texts in each other's place, words spelt otherwise or unknown where there is one for the"
    " rest, fields that no version knows, fields that are missing and may count as not said, an"
    " action in other capitals, JSON with a value left away or a comma too many. See"
    " `docs/deviations.md`.",
)

_SAMPLED_WORDS: Final = ("context", "format", "measurand", "phase", "location", "unit")


def check_call(version: str, action: str, payload: dict[str, Any]) -> Fault | None:
    """Whether a station may send this; None when it may.

    An action that no version knows is NotImplemented; one that only a CSMS sends is NotSupported.
    """
    known = _known(version)
    if action not in known:
        return Fault(
            code_word(version, ErrorCode.NOT_IMPLEMENTED),
            f"{action[:64]} is not known in {version}",
        )
    if action not in _STATION[version]:
        return Fault(
            code_word(version, ErrorCode.NOT_SUPPORTED), f"{action} is not sent by stations"
        )
    return _check(version, action, _request_validator(version, action), payload)


def check_send(version: str, action: str, payload: dict[str, Any]) -> Fault | None:
    """Whether a station may tell this without wanting an answer (2.1); None when it may."""
    if action not in _SENT.get(version, ()):
        return Fault(
            code_word(version, ErrorCode.NOT_SUPPORTED),
            f"{action[:64]} is not sent without wanting an answer",
        )
    return _check(version, action, _request_validator(version, action), payload)


def errors_in(version: str, action: str, payload: dict[str, Any], most: int) -> list[Any]:
    """What is wrong with a CALL of a known action: up to `most` errors of jsonschema-rs."""
    return list(islice(_request_validator(version, action).iter_errors(payload), most))


def check_result(version: str, action: str, payload: dict[str, Any]) -> Fault | None:
    """Whether this is an answer to `action`; None when it is."""
    if action not in _known(version):
        return Fault(
            code_word(version, ErrorCode.NOT_IMPLEMENTED),
            f"{action[:64]} is not known in {version}",
        )
    return _check(version, action, _response_validator(version, action), payload)


def check_command(version: str, action: str, payload: dict[str, Any]) -> Fault | None:
    """Whether a CSMS may send this; None when it may, and then it can be written as a frame."""
    if action not in actions(version, Direction.CSMS):
        return Fault(
            code_word(version, ErrorCode.NOT_IMPLEMENTED),
            f"{action[:64]} is not an action that a CSMS sends in {version}",
        )
    try:
        orjson.dumps(payload)
    except TypeError as error:
        return Fault(code_word(version, ErrorCode.FORMAT_VIOLATION), f"{action}: {error}"[:255])
    return _check(version, action, _request_validator(version, action), payload)


@cache
def actions(version: str, direction: Direction) -> frozenset[str]:
    """The actions that one side may send in a version."""
    known = _known(version)
    station = _STATION[version]
    return station if direction is Direction.STATION else (known - station) | _BOTH


@cache
def _known(version: str) -> frozenset[str]:
    return frozenset(
        file.name.removesuffix(".json").removesuffix("Request")
        for file in _folder(version).iterdir()
        if file.name.endswith(".json") and not file.name.endswith("Response.json")
    )


def _folder(version: str) -> Any:
    return resources.files("ocpp") / VERSIONS[version] / "schemas"


def request_schema(version: str, action: str) -> dict[str, Any]:
    """The schema that a CALL is checked against, tolerations included."""
    folder = _folder(version)
    file = folder / f"{action}Request.json"
    if not file.is_file():
        file = folder / f"{action}.json"
    schema: dict[str, Any] = orjson.loads(file.read_bytes())
    tolerate = _TOLERATIONS.get((VERSIONS[version], action))
    if tolerate is not None:
        tolerate(schema)
    return schema


def response_schema(version: str, action: str) -> dict[str, Any]:
    """The schema that a CALLRESULT is checked against."""
    file = _folder(version) / f"{action}Response.json"
    if not file.is_file():
        # What 2.1 sends without wanting an answer has no schema for one. Where a station asks it as
        # a CALL after all, the answer is empty.
        return {"type": "object", "maxProperties": 0}
    schema: dict[str, Any] = orjson.loads(file.read_bytes())
    return schema


@cache
def _request_validator(version: str, action: str) -> jsonschema_rs.Validator:
    return _compile(request_schema(version, action))


@cache
def _response_validator(version: str, action: str) -> jsonschema_rs.Validator:
    return _compile(response_schema(version, action))


def _compile(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(schema, validate_formats=False)


def _check(
    version: str, action: str, validator: jsonschema_rs.Validator, payload: dict[str, Any]
) -> Fault | None:
    # is_valid costs a third of validate; the reason is looked for only where there is one.
    if validator.is_valid(payload):
        return None
    error = next(iter(validator.iter_errors(payload)))
    place = ".".join(str(part) for part in error.instance_path) or action
    code = _CODE_OF_KEYWORD.get(error.kind.name, ErrorCode.FORMAT_VIOLATION)
    return Fault(code_word(version, code), f"{place}: {error.message}"[:255])


_CODE_OF_KEYWORD: Final = {
    "type": ErrorCode.TYPE_CONSTRAINT_VIOLATION,
    "required": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "minItems": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "maxItems": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "enum": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "maxLength": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "minLength": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "maximum": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "minimum": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
    "multipleOf": ErrorCode.PROPERTY_CONSTRAINT_VIOLATION,
}


# --- what is tolerated ----------------------------------------------------------------------------


def _tolerate_sampled_16(meter_value: dict[str, Any]) -> None:
    sampled = meter_value["items"]["properties"]["sampledValue"]
    sampled.pop("minItems", None)
    properties = sampled["items"]["properties"]
    for word in _SAMPLED_WORDS:
        properties[word] = {"type": "string"}
    properties["value"] = {"type": ["string", "number"]}


def _tolerate_meter_values_16(schema: dict[str, Any]) -> None:
    schema["properties"]["meterValue"].pop("minItems", None)
    _tolerate_sampled_16(schema["properties"]["meterValue"])


def _tolerate_start_16(schema: dict[str, Any]) -> None:
    schema["properties"]["meterStart"] = {"type": "number"}
    schema["required"].remove("meterStart")
    schema["properties"]["idTag"] = {"type": "string", "maxLength": 255}


def _tolerate_stop_16(schema: dict[str, Any]) -> None:
    _tolerate_sampled_16(schema["properties"]["transactionData"])
    schema["properties"]["meterStop"] = {"type": "number"}
    schema["required"].remove("meterStop")
    schema["properties"]["idTag"] = {"type": "string", "maxLength": 255}


def _tolerate_sampled_2x(schema: dict[str, Any]) -> None:
    schema["properties"]["meterValue"].pop("minItems", None)
    definitions = schema["definitions"]
    definitions["MeterValueType"]["properties"]["sampledValue"].pop("minItems", None)
    properties = definitions["SampledValueType"]["properties"]
    for word in ("context", "measurand", "phase", "location"):
        properties[word] = {"type": "string"}
    properties["value"] = {"type": ["string", "number"]}


_TOLERATIONS: Final[dict[tuple[str, str], Callable[[dict[str, Any]], None]]] = {
    ("v16", "MeterValues"): _tolerate_meter_values_16,
    ("v16", "StartTransaction"): _tolerate_start_16,
    ("v16", "StopTransaction"): _tolerate_stop_16,
    ("v201", "MeterValues"): _tolerate_sampled_2x,
    ("v201", "TransactionEvent"): _tolerate_sampled_2x,
    ("v21", "MeterValues"): _tolerate_sampled_2x,
    ("v21", "TransactionEvent"): _tolerate_sampled_2x,
}
