"""What a station answered to a question, free of any version.

Only answers that hold more than a status are read here: settings, composite schedules and the like.
The shape tells the version; payloads have passed their schema, and what is missing in them stays
unknown."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.event_streams import Stream, StreamRate
from controlplane.ocpp.events import SchedulePeriod
from controlplane.ocpp.readings import bounded_integer, instant_ms
from controlplane.ocpp.schedules import charging_schedule
from controlplane.ocpp.shapes import WHOLE
from controlplane.ocpp.v201.common import variable_name
from controlplane.ocpp.variables import Attribute

__all__ = [
    "CompositeSchedule",
    "InstalledCertificate",
    "Setting",
    "TariffAssignment",
    "TariffCleared",
    "installed_certificates_answered",
    "list_version_answered",
    "schedule_answered",
    "settings_answered",
    "streams_answered",
    "tariffs_answered",
    "tariffs_cleared",
    "transaction_status_answered",
    "transferred_answered",
]


class Setting(msgspec.Struct, frozen=True):
    """One setting of a station. `value` None: the station keeps it to itself or does not know the
    key; `status` is the station's word on it."""

    key: str
    value: str | None
    read_only: bool
    status: str


class CompositeSchedule(msgspec.Struct, frozen=True):
    """The limits that a station holds, all its profiles combined (1.6 section 7.14, 2.x part 2
    K08)."""

    start_ms: int | None
    duration_s: int
    unit: Literal["A", "W"]
    periods: tuple[SchedulePeriod, ...]


class InstalledCertificate(msgspec.Struct, frozen=True):
    """A certificate that a station holds, and those between it and its root."""

    certificate_type: str
    certificate: CertificateHash
    children: tuple[CertificateHash, ...]


def installed_certificates_answered(payload: dict[str, Any]) -> tuple[InstalledCertificate, ...]:
    """The certificates in a GetInstalledCertificateIds answer, 1.6's in the form of 2.x."""
    return tuple(
        InstalledCertificate(
            each["certificateType"],
            _hash(each["certificateHashData"]),
            tuple(map(_hash, each.get("childCertificateHashData", ()))),
        )
        for each in payload.get("certificateHashDataChain", ())
    )


def _hash(payload: dict[str, Any]) -> CertificateHash:
    return CertificateHash(
        payload["hashAlgorithm"],
        payload["issuerNameHash"],
        payload["issuerKeyHash"],
        payload["serialNumber"],
    )


def settings_answered(payload: dict[str, Any]) -> tuple[Setting, ...]:
    """The settings in a GetConfiguration (1.6) or GetVariables (2.x) answer; those that the station
    does not know come last."""
    known = [
        Setting(
            key=setting["key"],
            value=setting.get("value"),
            read_only=setting["readonly"],
            status="Accepted",
        )
        for setting in payload.get("configurationKey", ())
    ]
    unknown = [
        Setting(key=key, value=None, read_only=False, status="UnknownKey")
        for key in payload.get("unknownKey", ())
    ]
    for result in payload.get("getVariableResult", ()):
        setting = Setting(
            key=_key(result),
            value=result.get("attributeValue"),
            read_only=False,
            status=result["attributeStatus"],
        )
        (known if setting.status == "Accepted" else unknown).append(setting)
    return (*known, *unknown)


def schedule_answered(payload: dict[str, Any]) -> CompositeSchedule | None:
    """The schedule in a GetCompositeSchedule answer, or None where the station holds none."""
    # 1.6 keeps the start beside the schedule, 2.x inside.
    schedule = payload.get("chargingSchedule") or payload.get("schedule")
    if not schedule:
        return None
    start = payload.get("scheduleStart") or schedule.get("scheduleStart")
    return CompositeSchedule(
        start_ms=instant_ms(start or schedule.get("startSchedule")),
        duration_s=bounded_integer(schedule.get("duration", 0)),
        unit=schedule["chargingRateUnit"],
        periods=charging_schedule(schedule).periods,
    )


def list_version_answered(payload: dict[str, Any]) -> int | None:
    """The version in a GetLocalListVersion answer: 0 for an empty list, -1 where a 1.6 station has
    none (section 5.10); None where it does not say."""
    version = payload.get("listVersion", payload.get("versionNumber"))
    return None if version is None else int(version)


def _key(result: dict[str, Any]) -> str:
    """The key by which the variable of a result is asked for."""
    key = variable_name(result).key
    attribute = result.get("attributeType", Attribute.ACTUAL)
    return key if attribute == Attribute.ACTUAL else f"{key}/{attribute}"


def transaction_status_answered(payload: dict[str, Any]) -> tuple[bool | None, bool]:
    """Whether the transaction still runs, None where the station did not say, and whether messages
    about it still wait to be sent; from a GetTransactionStatus answer."""
    return payload.get("ongoingIndicator"), payload.get("messagesInQueue", False)


def transferred_answered(payload: dict[str, Any]) -> str:
    """What a station said to a DataTransfer: text as it is, anything else as JSON; "" for
    nothing."""
    data = payload.get("data")
    if data is None or isinstance(data, str):
        return data or ""
    return msgspec.json.encode(data).decode()


def _named(element: dict[str, Any]) -> str:
    """The name as settings are asked for: with the instance in brackets."""
    instance = element.get("instance")
    return f"{element['name']}[{instance}]" if instance else str(element["name"])


class TariffAssignment(msgspec.Struct, frozen=True):
    """A tariff that a station has: for which EVSEs and, where it is a driver's own, for which
    tokens."""

    tariff_id: str
    is_driver: bool
    valid_from_ms: int | None = None
    connector_ids: tuple[int, ...] = ()
    id_tokens: tuple[str, ...] = ()


class TariffCleared(msgspec.Struct, frozen=True):
    """What became of a tariff that was to go; `status` is the station's word."""

    tariff_id: str
    status: str


def streams_answered(payload: dict[str, Any]) -> tuple[Stream, ...]:
    """The streams in a GetPeriodicEventStream answer (2.1)."""
    return tuple(
        Stream(
            stream_id=bounded_integer(stream["id"]),
            monitor_id=bounded_integer(stream["variableMonitoringId"]),
            rate=StreamRate(
                WHOLE.read(stream["params"].get("interval")),
                WHOLE.read(stream["params"].get("values")),
            ),
        )
        for stream in payload.get("constantStreamData", ())
    )


def tariffs_answered(payload: dict[str, Any]) -> tuple[TariffAssignment, ...]:
    """The tariffs in a GetTariffs answer (2.1)."""
    return tuple(
        TariffAssignment(
            tariff_id=assignment["tariffId"],
            is_driver=assignment["tariffKind"] == "DriverTariff",
            valid_from_ms=instant_ms(assignment.get("validFrom")),
            connector_ids=tuple(map(bounded_integer, assignment.get("evseIds", ()))),
            id_tokens=tuple(assignment.get("idTokens", ())),
        )
        for assignment in payload.get("tariffAssignments", ())
    )


def tariffs_cleared(payload: dict[str, Any]) -> tuple[TariffCleared, ...]:
    """What a ClearTariffs answer (2.1) says of each tariff."""
    return tuple(
        TariffCleared(result.get("tariffId", ""), result["status"])
        for result in payload.get("clearTariffsResult", ())
    )
