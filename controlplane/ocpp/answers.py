"""What a station answered to a question, free of any version.

Only answers that hold more than a status are read here: settings and composite schedules. The shape
tells the version; payloads have passed their schema, and what is missing in them stays unknown."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from controlplane.ocpp.commands import CertificateHash
from controlplane.ocpp.readings import instant_ms

__all__ = [
    "CompositeSchedule",
    "InstalledCertificate",
    "SchedulePeriod",
    "Setting",
    "installed_certificates_answered",
    "schedule_answered",
    "settings_answered",
]


class Setting(msgspec.Struct, frozen=True):
    """One setting of a station. `value` None: the station keeps it to itself or does not know the
    key; `status` is the station's word on it."""

    key: str
    value: str | None
    read_only: bool
    status: str


class SchedulePeriod(msgspec.Struct, frozen=True):
    """`limit`, in the schedule's unit, from `start_s` after the schedule's start until the next
    period begins. `phases` None: the station did not say."""

    start_s: int
    limit: float
    phases: int | None


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
            key=f"{_named(result['component'])}.{_named(result['variable'])}",
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
        duration_s=schedule.get("duration", 0),
        unit=schedule["chargingRateUnit"],
        periods=tuple(
            SchedulePeriod(
                start_s=period["startPeriod"],
                limit=period["limit"],
                phases=period.get("numberPhases"),
            )
            for period in sorted(
                schedule["chargingSchedulePeriod"], key=lambda period: period["startPeriod"]
            )
        ),
    )


def _named(element: dict[str, Any]) -> str:
    """The name as settings are asked for: with the instance in brackets."""
    instance = element.get("instance")
    return f"{element['name']}[{instance}]" if instance else str(element["name"])
