"""What a simulated station says and answers in OCPP 2.0.1, through the `ocpp` package.

The station's books (`station.Station`) know no version; this module turns them into messages of
2.0.1 and the CSMS's calls into operations on them. One EVSE has one connector, so a connector of
the books is an EVSE here."""

# The decorators of the ocpp package are not typed.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any, Literal

from ocpp.routing import after, on
from ocpp.v201 import ChargePoint, call, call_result
from ocpp.v201.enums import Action

from controlplane.sim.device_v201 import DeviceModel, DeviceModelCalls
from controlplane.sim.line import CountedConnection
from controlplane.sim.outlet import Outlet, OutletState, Transaction
from controlplane.sim.profiles import Purpose, profile_from_wire
from controlplane.sim.station import Station

__all__ = ["DialectV201", "PointV201"]

_PURPOSES = {
    "ChargingStationMaxProfile": Purpose.STATION_MAX,
    "TxDefaultProfile": Purpose.DEFAULT,
    "TxProfile": Purpose.TRANSACTION,
}
_HEARTBEAT = "OCPPCommCtrlr.HeartbeatInterval"
_METER = "SampledDataCtrlr.TxUpdatedInterval"
_TRIGGERS = {
    "EVDisconnected": "EVDeparted",
    "Remote": "RemoteStop",
    "DeAuthorized": "Deauthorized",
    "ImmediateReset": "ResetCommand",
    "Reboot": "ResetCommand",
    "UnlockCommand": "UnlockCommand",
}
_STOPPED = {"UnlockCommand": "Other"}
_CONNECTOR_STATUS = {
    OutletState.AVAILABLE: "Available",
    OutletState.FAULTED: "Faulted",
    OutletState.UNAVAILABLE: "Unavailable",
}
_CHARGING_STATES = {
    OutletState.PREPARING: "EVConnected",
    OutletState.CHARGING: "Charging",
    OutletState.SUSPENDED_EV: "SuspendedEV",
    OutletState.SUSPENDED_EVSE: "SuspendedEVSE",
}


class DialectV201:
    """OCPP 2.0.1 for one station."""

    subprotocol = "ocpp2.0.1"

    def __init__(self, station: Station) -> None:
        self.station = station
        self.readonly = {
            "SmartChargingCtrlr.RateUnit": station.spec.unit,
            "SmartChargingCtrlr.ProfileStackLevel": "8",
            "SmartChargingCtrlr.PeriodsPerSchedule": "24",
        }
        self.settings = {
            _HEARTBEAT: "300",
            _METER: "60",
            "SampledDataCtrlr.TxUpdatedMeasurands": (
                "Energy.Active.Import.Register,Power.Active.Import,Current.Import,SoC"
            ),
            "AlignedDataCtrlr.Interval": "0",
            "TxCtrlr.StopTxOnEVSideDisconnect": "true",
            "TxCtrlr.EVConnectionTimeOut": "120",
        }
        self.device = DeviceModel(station, self.settings, self.readonly)

    def point(self, connection: CountedConnection) -> PointV201:
        return PointV201(self, connection)

    def boot(self, reason: str) -> Any:
        spec = self.station.spec
        station = {
            "model": spec.model,
            "vendor_name": spec.vendor,
            "serial_number": spec.id[:25],
            "firmware_version": spec.firmware,
        }
        return call.BootNotification(charging_station=station, reason=reason)

    def set_heartbeat_s(self, interval_s: int) -> None:
        self.settings[_HEARTBEAT] = str(interval_s)

    def setting_s(self, name: Literal["heartbeat", "meter"]) -> float:
        return float(self.settings[_HEARTBEAT if name == "heartbeat" else _METER])

    def heartbeat(self) -> Any:
        return call.Heartbeat()

    def authorize(self, id_token: str) -> Any:
        return call.Authorize(id_token=self.token(id_token))

    def token(self, id_token: str) -> dict[str, str]:
        """A driver's card."""
        return {"id_token": id_token, "type": "ISO14443"}

    def charging_state(self, outlet: Outlet) -> str:
        """What a transaction is told to do."""
        return _CHARGING_STATES.get(outlet.state, "Idle")

    def authorized(self, answer: Any) -> bool:
        return bool(answer.id_token_info["status"] == "Accepted")

    def tell_state(self, outlet: Outlet, before: OutletState | None) -> None:
        status = _CONNECTOR_STATUS.get(outlet.state, "Occupied")
        if before is None or status != _CONNECTOR_STATUS.get(before, "Occupied"):
            notification = call.StatusNotification(
                timestamp=self.station.now_iso(),
                connector_status=status,
                evse_id=outlet.spec.connector_id,
                connector_id=1,
            )
            self.station.post(lambda: notification, keep=False)
        if outlet.transaction is not None and before is not None:
            self._event(outlet, outlet.transaction, "Updated", "ChargingStateChanged")

    def tell_started(self, outlet: Outlet, transaction: Transaction) -> None:
        transaction.id = str(uuid.uuid4())
        trigger = "Authorized" if transaction.remote_start_id is None else "RemoteStart"
        reading = _reading(outlet, "Transaction.Begin", self.station.now_iso())

        def confirmed(answer: Any) -> None:
            info = answer.id_token_info
            refused = info is not None and info["status"] != "Accepted"
            if refused and outlet.transaction is transaction:
                self.station.end(outlet, "DeAuthorized")

        self._event(outlet, transaction, "Started", trigger, reading=reading, on_result=confirmed)

    def tell_sample(self, outlet: Outlet, transaction: Transaction, *, context: str) -> None:
        trigger = "Trigger" if context == "Trigger" else "MeterValuePeriodic"
        reading = _reading(outlet, context, self.station.now_iso())
        self._event(outlet, transaction, "Updated", trigger, reading=reading)

    def tell_ended(self, outlet: Outlet, transaction: Transaction, *, reason: str) -> None:
        self._event(
            outlet,
            transaction,
            "Ended",
            _TRIGGERS.get(reason, "AbnormalCondition"),
            reading=_reading(outlet, "Transaction.End", self.station.now_iso()),
            stopped_reason=_STOPPED.get(reason, reason),
        )

    def _event(
        self,
        outlet: Outlet,
        transaction: Transaction,
        event: Literal["Started", "Updated", "Ended"],
        trigger: str,
        *,
        reading: list[dict[str, Any]] | None = None,
        stopped_reason: str | None = None,
        on_result: Any = lambda _: None,
    ) -> None:
        """Post a TransactionEvent (2.0.1 part 2 E)."""
        info: dict[str, Any] = {
            "transaction_id": transaction.id,
            "charging_state": self.charging_state(outlet),
        }
        if stopped_reason is not None:
            info["stopped_reason"] = stopped_reason
        if transaction.remote_start_id is not None:
            info["remote_start_id"] = transaction.remote_start_id
        message = call.TransactionEvent(
            event_type=event,
            timestamp=self.station.now_iso(),
            trigger_reason=trigger,
            seq_no=transaction.next_seq_no(),
            transaction_info=info,
            meter_value=reading,
            offline=not self.station.settled.is_set(),
            evse={"id": outlet.spec.connector_id, "connector_id": 1},
            id_token=self.token(transaction.id_token) if event != "Updated" else None,
        )
        sample = event == "Updated" and reading is not None
        self.station.post(lambda: message, keep=True, sample=sample, on_result=on_result)


def _reading(outlet: Outlet, context: str, timestamp: str) -> list[dict[str, Any]]:
    values = [
        _value(int(outlet.register_wh), "Energy.Active.Import.Register", "Wh", context),
        _value(max(0, round(outlet.draw.power_w)), "Power.Active.Import", "W", context),
    ]
    for conductor, current_a in enumerate(outlet.currents_a(), start=1):
        value = _value(max(0.0, round(current_a, 2)), "Current.Import", "A", context)
        values.append(value | {"phase": f"L{conductor}"})
    if outlet.feeds_in:
        values += _fed(outlet, context)
    if (outlet.spec.direct_current or outlet.feeds_in) and outlet.vehicle is not None:
        soc = _value(round(outlet.vehicle.soc * 100, 1), "SoC", "Percent", context)
        values.append(soc | {"location": "EV"})
    return [{"timestamp": timestamp, "sampled_value": values}]


def _fed(outlet: Outlet, context: str) -> Iterator[dict[str, Any]]:
    """What a meter of both directions adds."""
    yield _value(int(outlet.exported_wh), "Energy.Active.Export.Register", "Wh", context)
    yield _value(max(0, -round(outlet.draw.power_w)), "Power.Active.Export", "W", context)
    for conductor, current_a in enumerate(outlet.currents_a(), start=1):
        value = _value(max(0.0, -round(current_a, 2)), "Current.Export", "A", context)
        yield value | {"phase": f"L{conductor}"}


def _value(value: float, measurand: str, unit: str, context: str) -> dict[str, Any]:
    return {
        "value": value,
        "measurand": measurand,
        "unit_of_measure": {"unit": unit},
        "context": context,
    }


class PointV201(DeviceModelCalls, ChargePoint):  # type: ignore[misc]  # the package is not typed
    """Answers the CSMS's calls on one connection."""

    def __init__(self, dialect: DialectV201, connection: CountedConnection) -> None:
        super().__init__(dialect.station.spec.id, connection)
        self._dialect = dialect
        self._station = dialect.station
        self.device = dialect.device

    @on(Action.set_charging_profile)
    def on_set_charging_profile(self, evse_id: int, charging_profile: dict[str, Any]) -> Any:
        schedule = charging_profile["charging_schedule"][0]
        profile = profile_from_wire(charging_profile, schedule, evse_id)
        accepted = self._station.install(profile)
        return call_result.SetChargingProfile(status="Accepted" if accepted else "Rejected")

    @on(Action.clear_charging_profile)
    def on_clear_charging_profile(
        self,
        charging_profile_id: int | None = None,
        charging_profile_criteria: dict[str, Any] | None = None,
    ) -> Any:
        criteria = charging_profile_criteria or {}
        cleared = self._station.book.clear(
            id=charging_profile_id,
            connector_id=criteria.get("evse_id"),
            purpose=_PURPOSES.get(criteria.get("charging_profile_purpose", "")),
            stack_level=criteria.get("stack_level"),
        )
        return call_result.ClearChargingProfile(status="Accepted" if cleared else "Unknown")

    @on(Action.get_composite_schedule)
    def on_get_composite_schedule(
        self, duration: int, evse_id: int, charging_rate_unit: str | None = None
    ) -> Any:
        outlet = self._station.outlets.get(evse_id)
        if outlet is None:
            return call_result.GetCompositeSchedule(status="Rejected")
        unit: Literal["A", "W"] = "W" if charging_rate_unit == "W" else "A"
        pairs = self._station.book.composite(
            self._station.situation(outlet),
            at_ms=self._station.clock.now_ms(),
            duration_s=duration,
            unit=unit,
        )
        schedule = {
            "evse_id": evse_id,
            "duration": duration,
            "schedule_start": self._station.now_iso(),
            "charging_rate_unit": unit,
            "charging_schedule_period": [
                {"start_period": start_s, "limit": limit} for start_s, limit in pairs
            ],
        }
        return call_result.GetCompositeSchedule(status="Accepted", schedule=schedule)

    @on(Action.get_variables)
    def on_get_variables(self, get_variable_data: list[dict[str, Any]]) -> Any:
        known = self._dialect.settings | self._dialect.readonly
        results = []
        for wanted in get_variable_data:
            value = known.get(_name(wanted))
            result = _place(wanted) | {
                "attribute_status": "Accepted" if value is not None else "UnknownVariable"
            }
            if value is not None:
                result["attribute_value"] = value
            results.append(result)
        return call_result.GetVariables(get_variable_result=results)

    @on(Action.set_variables)
    def on_set_variables(self, set_variable_data: list[dict[str, Any]]) -> Any:
        return call_result.SetVariables(
            set_variable_result=[
                _place(wanted) | {"attribute_status": self._set(wanted)}
                for wanted in set_variable_data
            ]
        )

    def _set(self, wanted: dict[str, Any]) -> str:
        name, value = _name(wanted), wanted["attribute_value"]
        if name not in self._dialect.settings:
            return "Rejected" if name in self._dialect.readonly else "UnknownVariable"
        if self._dialect.settings[name].isdigit() and not value.isdigit():
            return "Rejected"
        self._dialect.settings[name] = value
        return "Accepted"

    @on(Action.request_start_transaction)
    def on_request_start_transaction(
        self,
        id_token: dict[str, Any],
        remote_start_id: int,
        evse_id: int | None = None,
        group_id_token: dict[str, Any] | None = None,
        charging_profile: dict[str, Any] | None = None,
    ) -> Any:
        started = self._station.remote_start(
            evse_id, id_token["id_token"], remote_start_id=remote_start_id
        )
        if started and charging_profile is not None and evse_id is not None:
            schedule = charging_profile["charging_schedule"][0]
            self._station.install(profile_from_wire(charging_profile, schedule, evse_id))
        return call_result.RequestStartTransaction(status="Accepted" if started else "Rejected")

    @on(Action.request_stop_transaction)
    def on_request_stop_transaction(self, transaction_id: str) -> Any:
        stopped = self._station.remote_stop(transaction_id)
        return call_result.RequestStopTransaction(status="Accepted" if stopped else "Rejected")

    @on(Action.get_transaction_status)
    def on_get_transaction_status(self, transaction_id: str | None = None) -> Any:
        running = None
        if transaction_id is not None:
            running = self._station.outlet_of(transaction_id) is not None
        return call_result.GetTransactionStatus(
            messages_in_queue=self._station.backlog > 0, ongoing_indicator=running
        )

    @on(Action.reset)
    def on_reset(self, type: str, evse_id: int | None = None) -> Any:
        if evse_id is not None:
            return call_result.Reset(status="Rejected")
        waits = type == "OnIdle" and self._station.busy
        return call_result.Reset(status="Scheduled" if waits else "Accepted")

    @after(Action.reset)
    async def after_reset(self, type: str, evse_id: int | None = None) -> None:
        if evse_id is not None:
            return
        if type == "OnIdle":
            self._station.reset_when_idle()
        else:
            self._station.reset(hard=True)

    @on(Action.unlock_connector)
    def on_unlock_connector(self, evse_id: int, connector_id: int) -> Any:
        outlet = self._station.outlets.get(evse_id)
        if outlet is None or connector_id != 1:
            return call_result.UnlockConnector(status="UnknownConnector")
        if outlet.transaction is not None:  # F05.FR.03: never during an authorised transaction
            return call_result.UnlockConnector(status="OngoingAuthorizedTransaction")
        return call_result.UnlockConnector(status="Unlocked")

    @on(Action.change_availability)
    def on_change_availability(
        self, operational_status: str, evse: dict[str, Any] | None = None
    ) -> Any:
        status = self._station.set_operative(
            0 if evse is None else evse["id"], operative=operational_status == "Operative"
        )
        return call_result.ChangeAvailability(status=status)

    @on(Action.clear_cache)
    def on_clear_cache(self) -> Any:
        return call_result.ClearCache(status="Accepted")

    @on(Action.trigger_message)
    def on_trigger_message(self, requested_message: str, evse: dict[str, Any] | None = None) -> Any:
        known = (
            "BootNotification",
            "Heartbeat",
            "StatusNotification",
            "MeterValues",
            "TransactionEvent",
        )
        status = "Accepted" if requested_message in known else "NotImplemented"
        if evse is not None and evse["id"] not in self._station.outlets:
            status = "Rejected"
        return call_result.TriggerMessage(status=status)

    @after(Action.trigger_message)
    async def after_trigger_message(
        self, requested_message: str, evse: dict[str, Any] | None = None
    ) -> None:
        station = self._station
        connector_id = None if evse is None else evse["id"]
        match requested_message:
            case "BootNotification":
                station.post(lambda: self._dialect.boot("Triggered"), keep=False)
            case "Heartbeat":
                station.post(self._dialect.heartbeat, keep=False)
            case "MeterValues" | "TransactionEvent":
                station.sample(context="Trigger", connector_id=connector_id)
            case "StatusNotification":
                for outlet in station.outlets.values():
                    if connector_id in (None, 0, outlet.spec.connector_id):
                        self._dialect.tell_state(outlet, None)


def _name(wanted: dict[str, Any]) -> str:
    return f"{wanted['component']['name']}.{wanted['variable']['name']}"


def _place(wanted: dict[str, Any]) -> dict[str, Any]:
    return {"component": wanted["component"], "variable": wanted["variable"]}
