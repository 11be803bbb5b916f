"""What a station of the deterministic world says and understands, in OCPP 1.6, 2.0.1 and 2.1.

Plain payloads, written from the specifications and shared with nobody, so that a mistake in
Loadstar's translation meets an independent reading. Pure: no clock, no socket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Protocol

from controlplane.sim.outlet import Outlet, OutletState, Transaction
from controlplane.sim.profiles import Kind, Period, Profile, Purpose
from controlplane.units import iso_from_ms, ms_from_datetime

__all__ = ["DIALECTS", "VirtualDialect"]

Payload = dict[str, Any]
_BATTERY_V = 400
_PURPOSES = {
    "ChargePointMaxProfile": Purpose.STATION_MAX,
    "ChargingStationMaxProfile": Purpose.STATION_MAX,
    "TxDefaultProfile": Purpose.DEFAULT,
    "TxProfile": Purpose.TRANSACTION,
}


class VirtualDialect(Protocol):
    """One version's words; every method returns the action and its payload."""

    version: str

    def boot(self, charger_id: str) -> tuple[str, Payload]: ...

    def state(self, outlet: Outlet, at_ms: int) -> list[tuple[str, Payload]]:
        """What is told when the state of an outlet changed and no transaction tells it."""

    def started(self, outlet: Outlet, transaction: Transaction) -> tuple[str, Payload]: ...

    def sampled(
        self, outlet: Outlet, transaction: Transaction, at_ms: int, *, asked: bool
    ) -> tuple[str, Payload]:
        """`asked`: Loadstar triggered it."""

    def ended(self, outlet: Outlet, transaction: Transaction, reason: str) -> tuple[str, Payload]:
        """`transaction` is closed: its end and its last register are known."""

    def late(self, payload: Payload, transaction: Transaction, *, offline: bool) -> Payload:
        """The payload as it is sent at last: 1.6 fills in the id that it was given meanwhile."""

    def answered_start(self, transaction: Transaction, answer: Payload) -> bool:
        """Take the answer to the start; whether the driver may charge."""

    def profile(self, payload: Payload) -> Profile:
        """The profile of a SetChargingProfile."""

    def cleared(self, payload: Payload) -> dict[str, Any]:
        """The criteria of a ClearChargingProfile, as `ProfileBook.clear` takes them."""

    def needs(self, outlet: Outlet) -> tuple[str, Payload] | None:
        """What a vehicle says of its needs, in versions that have words for giving back."""

    def settings(self, payload: Payload) -> tuple[dict[str, str], Payload]:
        """What a ChangeConfiguration or SetVariables sets, and the answer that accepts it."""


def _sampled_values(outlet: Outlet, context: str, *, words: bool) -> list[Payload]:
    """Energy, power and currents; `words` writes them as 1.6 does, as strings."""
    rows: list[tuple[str, float, str, str | None]] = [
        ("Energy.Active.Import.Register", int(outlet.register_wh), "Wh", None),
        ("Power.Active.Import", max(0, round(outlet.draw.power_w)), "W", None),
    ]
    if outlet.spec.direct_current:
        # At the battery's voltage: no current of the grid.
        drawn_a = max(0.0, round(outlet.draw.power_w / _BATTERY_V, 3))
        rows.append(("Current.Import", drawn_a, "A", None))
    else:
        for conductor, current_a in enumerate(outlet.currents_a()):
            drawn_a = max(0.0, round(current_a, 3))
            rows.append(("Current.Import", drawn_a, "A", f"L{conductor + 1}"))
    values = []
    if outlet.feeds_in:
        rows += _fed_values(outlet)
    for measurand, value, word, phase in rows:
        written: Payload = {"context": context, "measurand": measurand}
        if words:
            written |= {"value": str(value), "unit": word}
        else:
            written |= {"value": value, "unitOfMeasure": {"unit": word}}
        values.append(written | ({"phase": phase} if phase else {}))
    return values


def _fed_values(outlet: Outlet) -> Iterator[tuple[str, float, str, str | None]]:
    """What a meter of both directions adds: what is drawn and what is fed in are never below 0."""
    fed_w = max(0, -round(outlet.draw.power_w))
    yield "Energy.Active.Export.Register", int(outlet.exported_wh), "Wh", None
    yield "Power.Active.Export", fed_w, "W", None
    if not outlet.spec.direct_current:
        for conductor, current_a in enumerate(outlet.currents_a()):
            yield "Current.Export", round(max(0.0, -current_a), 3), "A", f"L{conductor + 1}"
    if outlet.vehicle is not None:
        yield "SoC", round(outlet.vehicle.soc * 100, 1), "Percent", None


def _schedule(schedule: Payload) -> dict[str, Any]:
    start = schedule.get("startSchedule")
    return {
        "unit": schedule["chargingRateUnit"],
        "duration_s": schedule.get("duration"),
        "start_ms": None
        if start is None
        else ms_from_datetime(datetime.fromisoformat(start.replace("Z", "+00:00"))),
        "periods": tuple(
            Period(
                period["startPeriod"],
                period["limit"],
                period.get("numberPhases"),
                period.get("setpoint"),
            )
            for period in schedule["chargingSchedulePeriod"]
        ),
    }


def _kind(profile: Payload) -> Kind:
    if profile["chargingProfileKind"] == "Recurring":
        return Kind(profile["recurrencyKind"])
    return Kind(profile["chargingProfileKind"])


class _Dialect16:
    version = "ocpp1.6"

    def boot(self, charger_id: str) -> tuple[str, Payload]:
        return "BootNotification", {
            "chargePointVendor": "Simulated",
            "chargePointModel": "World",
            "chargePointSerialNumber": charger_id,
            "firmwareVersion": "1.0",
        }

    def state(self, outlet: Outlet, at_ms: int) -> list[tuple[str, Payload]]:
        status = {
            "connectorId": outlet.spec.connector_id,
            "errorCode": "NoError",
            "status": outlet.state.value,
            "timestamp": iso_from_ms(at_ms),
        }
        return [("StatusNotification", status)]

    def started(self, outlet: Outlet, transaction: Transaction) -> tuple[str, Payload]:
        return "StartTransaction", {
            "connectorId": outlet.spec.connector_id,
            "idTag": transaction.id_token,
            "meterStart": transaction.register_start_wh,
            "timestamp": iso_from_ms(transaction.started_ms),
        }

    def sampled(
        self, outlet: Outlet, transaction: Transaction, at_ms: int, *, asked: bool
    ) -> tuple[str, Payload]:
        context = "Trigger" if asked else "Sample.Periodic"
        values = _sampled_values(outlet, context, words=True)
        return "MeterValues", {
            "connectorId": outlet.spec.connector_id,
            "meterValue": [{"timestamp": iso_from_ms(at_ms), "sampledValue": values}],
        }

    def ended(self, outlet: Outlet, transaction: Transaction, reason: str) -> tuple[str, Payload]:
        assert transaction.ended_ms is not None
        return "StopTransaction", {
            "meterStop": transaction.register_stop_wh,
            "timestamp": iso_from_ms(transaction.ended_ms),
            "reason": reason,
            "idTag": transaction.id_token,
        }

    def late(self, payload: Payload, transaction: Transaction, *, offline: bool) -> Payload:
        if "meterStart" in payload:
            return payload
        return payload | {"transactionId": int(transaction.id or -1)}

    def answered_start(self, transaction: Transaction, answer: Payload) -> bool:
        transaction.id = str(answer["transactionId"])
        return bool(answer["idTagInfo"]["status"] == "Accepted")

    def profile(self, payload: Payload) -> Profile:
        profile = payload["csChargingProfiles"]
        transaction_id = profile.get("transactionId")
        return Profile(
            id=profile["chargingProfileId"],
            stack_level=profile["stackLevel"],
            purpose=_PURPOSES[profile["chargingProfilePurpose"]],
            connector_id=payload["connectorId"],
            kind=_kind(profile),
            transaction_id=None if transaction_id is None else str(transaction_id),
            **_schedule(profile["chargingSchedule"]),
        )

    def cleared(self, payload: Payload) -> dict[str, Any]:
        purpose = payload.get("chargingProfilePurpose")
        return {
            "id": payload.get("id"),
            "connector_id": payload.get("connectorId"),
            "purpose": None if purpose is None else _PURPOSES[purpose],
            "stack_level": payload.get("stackLevel"),
        }

    def needs(self, outlet: Outlet) -> tuple[str, Payload] | None:
        return None

    def settings(self, payload: Payload) -> tuple[dict[str, str], Payload]:
        return {payload["key"]: payload["value"]}, {"status": "Accepted"}


class _Dialect201:
    version = "ocpp2.0.1"

    def boot(self, charger_id: str) -> tuple[str, Payload]:
        station = {
            "vendorName": "Simulated",
            "model": "World",
            "serialNumber": charger_id,
            "firmwareVersion": "1.0",
        }
        return "BootNotification", {"reason": "PowerUp", "chargingStation": station}

    def state(self, outlet: Outlet, at_ms: int) -> list[tuple[str, Payload]]:
        status = {
            "timestamp": iso_from_ms(at_ms),
            "connectorStatus": "Occupied" if outlet.vehicle is not None else "Available",
            "evseId": outlet.spec.connector_id,
            "connectorId": 1,
        }
        return [("StatusNotification", status)]

    def started(self, outlet: Outlet, transaction: Transaction) -> tuple[str, Payload]:
        payload = self._event(outlet, transaction, "Started", "Authorized", transaction.started_ms)
        return "TransactionEvent", payload | {
            "idToken": {"idToken": transaction.id_token, "type": "ISO14443"},
            "evse": {"id": outlet.spec.connector_id, "connectorId": 1},
        }

    def sampled(
        self, outlet: Outlet, transaction: Transaction, at_ms: int, *, asked: bool
    ) -> tuple[str, Payload]:
        trigger = "Trigger" if asked else "MeterValuePeriodic"
        return "TransactionEvent", self._event(outlet, transaction, "Updated", trigger, at_ms)

    def ended(self, outlet: Outlet, transaction: Transaction, reason: str) -> tuple[str, Payload]:
        assert transaction.ended_ms is not None
        trigger = "EVCommunicationLost" if reason == "EVDisconnected" else "AbnormalCondition"
        payload = self._event(outlet, transaction, "Ended", trigger, transaction.ended_ms)
        payload["transactionInfo"] |= {"stoppedReason": reason, "chargingState": "EVConnected"}
        return "TransactionEvent", payload

    def late(self, payload: Payload, transaction: Transaction, *, offline: bool) -> Payload:
        return payload | {"offline": True} if offline else payload

    def answered_start(self, transaction: Transaction, answer: Payload) -> bool:
        info = answer.get("idTokenInfo")
        return info is None or bool(info["status"] == "Accepted")

    def profile(self, payload: Payload) -> Profile:
        profile = payload["chargingProfile"]
        return Profile(
            id=profile["id"],
            stack_level=profile["stackLevel"],
            purpose=_PURPOSES[profile["chargingProfilePurpose"]],
            connector_id=payload["evseId"],
            kind=_kind(profile),
            transaction_id=profile.get("transactionId"),
            offline_max_s=profile.get("maxOfflineDuration"),
            ends_offline=bool(profile.get("invalidAfterOfflineDuration")),
            **_schedule(profile["chargingSchedule"][0]),
        )

    def cleared(self, payload: Payload) -> dict[str, Any]:
        criteria = payload.get("chargingProfileCriteria", {})
        purpose = criteria.get("chargingProfilePurpose")
        return {
            "id": payload.get("chargingProfileId"),
            "connector_id": criteria.get("evseId"),
            "purpose": None if purpose is None else _PURPOSES[purpose],
            "stack_level": criteria.get("stackLevel"),
        }

    def needs(self, outlet: Outlet) -> tuple[str, Payload] | None:
        return None

    def settings(self, payload: Payload) -> tuple[dict[str, str], Payload]:
        wanted = payload["setVariableData"]
        results = [
            {
                "attributeStatus": "Accepted",
                "component": item["component"],
                "variable": item["variable"],
            }
            for item in wanted
        ]
        values = {
            f"{item['component']['name']}.{item['variable']['name']}": item["attributeValue"]
            for item in wanted
        }
        return values, {"setVariableResult": results}

    def _event(
        self, outlet: Outlet, transaction: Transaction, kind: str, trigger: str, at_ms: int
    ) -> Payload:
        context = {"Started": "Transaction.Begin", "Ended": "Transaction.End"}.get(
            kind, "Trigger" if trigger == "Trigger" else "Sample.Periodic"
        )
        charging = {
            OutletState.CHARGING: "Charging",
            OutletState.SUSPENDED_EV: "SuspendedEV",
            OutletState.SUSPENDED_EVSE: "SuspendedEVSE",
        }
        return {
            "eventType": kind,
            "timestamp": iso_from_ms(at_ms),
            "triggerReason": trigger,
            "seqNo": transaction.next_seq_no(),
            "transactionInfo": {
                "transactionId": transaction.id,
                "chargingState": charging.get(outlet.state, "EVConnected"),
            },
            "meterValue": [
                {
                    "timestamp": iso_from_ms(at_ms),
                    "sampledValue": _sampled_values(outlet, context, words=False),
                }
            ],
        }


class _Dialect21(_Dialect201):
    """What the world makes use of is said in the words of 2.0.1; a transaction tells its mode."""

    version = "ocpp2.1"

    def _event(
        self, outlet: Outlet, transaction: Transaction, kind: str, trigger: str, at_ms: int
    ) -> Payload:
        payload = super()._event(outlet, transaction, kind, trigger, at_ms)
        feeds = outlet.offered_a < 0
        payload["transactionInfo"]["operationMode"] = "CentralSetpoint" if feeds else "ChargingOnly"
        return payload

    def needs(self, outlet: Outlet) -> tuple[str, Payload] | None:
        """What a vehicle that can feed in says of itself over ISO 15118-20 (Q01), once its cable is
        in: what its battery holds, and how much of it the vehicle itself would give."""
        vehicle = outlet.vehicle
        if vehicle is None or not outlet.feeds_in:
            return None
        spec = vehicle.spec
        power_w = min(spec.discharge_max_a, outlet.spec.current_max_a) * (
            outlet.spec.voltage_v * vehicle.phases
        )
        spare_wh = max(0.0, vehicle.soc - spec.discharge_floor_soc) * spec.battery_wh
        direct = outlet.spec.direct_current
        needs: Payload = {
            "requestedEnergyTransfer": "DC_BPT" if direct else "AC_BPT",
            "controlMode": "ScheduledControl",
            "v2xChargingParameters": {
                "minDischargePower": 500.0,
                "maxDischargePower": round(power_w, 1),
                "evMinV2XEnergyRequest": -round(spare_wh),
                "evMaxEnergyRequest": round((1 - vehicle.soc) * spec.battery_wh),
            },
        }
        if direct:
            needs["dcChargingParameters"] = {
                "evMaxCurrent": round(spec.power_max_w / _BATTERY_V, 1),
                "evMaxVoltage": _BATTERY_V,
                "evMaxPower": round(spec.power_max_w),
                "stateOfCharge": int(vehicle.soc * 100),
                "evEnergyCapacity": round(spec.battery_wh),
            }
        return "NotifyEVChargingNeeds", {
            "evseId": outlet.spec.connector_id,
            "chargingNeeds": needs,
        }


DIALECTS: dict[str, VirtualDialect] = {
    "1.6": _Dialect16(),
    "2.0.1": _Dialect201(),
    "2.1": _Dialect21(),
}
"""By the version that `StationSpec` names."""
