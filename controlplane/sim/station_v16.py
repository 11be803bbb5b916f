"""What a simulated station says and answers in OCPP 1.6J, through the `ocpp` package.

The station's books (`station.Station`) know no version; this module turns them into messages of
1.6 and the CSMS's calls into operations on them."""

# The decorators of the ocpp package are not typed.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

from typing import Any, Literal

from ocpp.routing import after, on
from ocpp.v16 import ChargePoint, call, call_result
from ocpp.v16.enums import Action

from controlplane.sim.line import CountedConnection
from controlplane.sim.outlet import Outlet, OutletState, Transaction
from controlplane.sim.profiles import Purpose, profile_from_wire
from controlplane.sim.station import Station

__all__ = ["DialectV16"]

_PURPOSES = {
    "ChargePointMaxProfile": Purpose.STATION_MAX,
    "TxDefaultProfile": Purpose.DEFAULT,
    "TxProfile": Purpose.TRANSACTION,
}
_REASONS = {"ImmediateReset": "HardReset", "Reboot": "SoftReset"}
_READONLY = {
    "NumberOfConnectors": "1",
    "ChargeProfileMaxStackLevel": "8",
    "ChargingScheduleAllowedChargingRateUnit": "Current",
    "ChargingScheduleMaxPeriods": "24",
    "MaxChargingProfilesInstalled": "16",
    "SupportedFeatureProfiles": "Core,SmartCharging,RemoteTrigger",
}
_HEARTBEAT, _METER = "HeartbeatInterval", "MeterValueSampleInterval"


class DialectV16:
    """OCPP 1.6J for one station."""

    subprotocol = "ocpp1.6"

    def __init__(self, station: Station) -> None:
        self.station = station
        self.readonly = _READONLY | {
            "NumberOfConnectors": str(len(station.outlets)),
            "ChargingScheduleAllowedChargingRateUnit": (
                "Power" if station.spec.unit == "W" else "Current"
            ),
        }
        self.settings = {
            _HEARTBEAT: "300",
            _METER: "60",
            "ClockAlignedDataInterval": "0",
            "ConnectionTimeOut": "120",
            "LocalPreAuthorize": "false",
            "MeterValuesSampledData": (
                "Energy.Active.Import.Register,Power.Active.Import,Current.Import,SoC"
            ),
            "StopTransactionOnEVSideDisconnect": "true",
            "TransactionMessageAttempts": "3",
            "TransactionMessageRetryInterval": "60",
            "WebSocketPingInterval": "0",
        }

    def point(self, connection: CountedConnection) -> PointV16:
        return PointV16(self, connection)

    def boot(self, reason: str) -> Any:
        spec = self.station.spec
        return call.BootNotification(
            charge_point_model=spec.model,
            charge_point_vendor=spec.vendor,
            charge_point_serial_number=spec.id[:25],
            firmware_version=spec.firmware,
        )

    def set_heartbeat_s(self, interval_s: int) -> None:
        self.settings[_HEARTBEAT] = str(interval_s)

    def setting_s(self, name: Literal["heartbeat", "meter"]) -> float:
        return float(self.settings[_HEARTBEAT if name == "heartbeat" else _METER])

    def heartbeat(self) -> Any:
        return call.Heartbeat()

    def authorize(self, id_token: str) -> Any:
        return call.Authorize(id_tag=id_token)

    def authorized(self, answer: Any) -> bool:
        return bool(answer.id_tag_info["status"] == "Accepted")

    def tell_state(self, outlet: Outlet, before: OutletState | None) -> None:
        status = call.StatusNotification(
            connector_id=outlet.spec.connector_id,
            error_code=outlet.fault or "NoError",
            status=outlet.state.value,
            timestamp=self.station.now_iso(),
        )
        self.station.post(lambda: status, keep=False)

    def tell_started(self, outlet: Outlet, transaction: Transaction) -> None:
        started = call.StartTransaction(
            connector_id=outlet.spec.connector_id,
            id_tag=transaction.id_token,
            meter_start=transaction.register_start_wh,
            timestamp=self.station.now_iso(),
        )

        def confirmed(answer: Any) -> None:
            transaction.id = str(answer.transaction_id)
            if answer.id_tag_info["status"] != "Accepted" and outlet.transaction is transaction:
                self.station.end(outlet, "DeAuthorized")

        self.station.post(lambda: started, keep=True, on_result=confirmed)

    def tell_sample(self, outlet: Outlet, transaction: Transaction, *, context: str) -> None:
        reading = [{"timestamp": self.station.now_iso(), "sampledValue": _sampled(outlet, context)}]
        self.station.post(
            lambda: call.MeterValues(
                connector_id=outlet.spec.connector_id,
                meter_value=reading,
                transaction_id=_number(transaction),
            ),
            keep=True,
            sample=True,
        )

    def tell_ended(self, outlet: Outlet, transaction: Transaction, *, reason: str) -> None:
        timestamp = self.station.now_iso()
        self.station.post(
            lambda: call.StopTransaction(
                meter_stop=transaction.register_stop_wh or 0,
                timestamp=timestamp,
                transaction_id=_number(transaction),
                reason=_REASONS.get(reason, reason),
                id_tag=transaction.id_token,
            ),
            keep=True,
        )


def _number(transaction: Transaction) -> int:
    """The CSMS's number; -1 where it refused to give one, as stations in the field send."""
    return -1 if transaction.id is None else int(transaction.id)


def _sampled(outlet: Outlet, context: str) -> list[dict[str, Any]]:
    values = [
        _value(str(int(outlet.register_wh)), "Energy.Active.Import.Register", "Wh", context),
        _value(f"{outlet.draw.power_w:.0f}", "Power.Active.Import", "W", context),
    ]
    for conductor, current_a in enumerate(outlet.currents_a(), start=1):
        value = _value(f"{current_a:.2f}", "Current.Import", "A", context)
        values.append(value | {"phase": f"L{conductor}"})
    if outlet.spec.direct_current and outlet.vehicle is not None:
        soc = _value(f"{outlet.vehicle.soc * 100:.1f}", "SoC", "Percent", context)
        values.append(soc | {"location": "EV"})
    return values


def _value(value: str, measurand: str, unit: str, context: str) -> dict[str, Any]:
    return {"value": value, "measurand": measurand, "unit": unit, "context": context}


class PointV16(ChargePoint):  # type: ignore[misc]  # the package is not typed
    """Answers the CSMS's calls on one connection."""

    def __init__(self, dialect: DialectV16, connection: CountedConnection) -> None:
        super().__init__(dialect.station.spec.id, connection)
        self._dialect = dialect
        self._station = dialect.station

    @on(Action.set_charging_profile)
    def on_set_charging_profile(
        self, connector_id: int, cs_charging_profiles: dict[str, Any]
    ) -> Any:
        schedule = cs_charging_profiles["charging_schedule"]
        profile = profile_from_wire(cs_charging_profiles, schedule, connector_id)
        accepted = self._station.install(profile)
        return call_result.SetChargingProfile(status="Accepted" if accepted else "Rejected")

    @on(Action.clear_charging_profile)
    def on_clear_charging_profile(
        self,
        id: int | None = None,
        connector_id: int | None = None,
        charging_profile_purpose: str | None = None,
        stack_level: int | None = None,
    ) -> Any:
        cleared = self._station.book.clear(
            id=id,
            connector_id=connector_id,
            purpose=_PURPOSES.get(charging_profile_purpose or ""),
            stack_level=stack_level,
        )
        return call_result.ClearChargingProfile(status="Accepted" if cleared else "Unknown")

    @on(Action.get_composite_schedule)
    def on_get_composite_schedule(
        self, connector_id: int, duration: int, charging_rate_unit: str | None = None
    ) -> Any:
        outlet = self._station.outlets.get(connector_id)
        if outlet is None:
            return call_result.GetCompositeSchedule(status="Rejected")
        unit: Literal["A", "W"] = "W" if charging_rate_unit == "W" else "A"
        pairs = self._station.book.composite(
            self._station.situation(outlet),
            at_ms=self._station.clock.now_ms(),
            duration_s=duration,
            unit=unit,
        )
        now = self._station.now_iso()
        schedule = {
            "duration": duration,
            "startSchedule": now,
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [
                {"startPeriod": start_s, "limit": limit} for start_s, limit in pairs
            ],
        }
        return call_result.GetCompositeSchedule(
            status="Accepted",
            connector_id=connector_id,
            schedule_start=now,
            charging_schedule=schedule,
        )

    @on(Action.get_configuration)
    def on_get_configuration(self, key: list[str] | None = None) -> Any:
        known = self._dialect.settings | self._dialect.readonly
        wanted = key or list(known)
        return call_result.GetConfiguration(
            configuration_key=[
                {"key": name, "readonly": name in self._dialect.readonly, "value": known[name]}
                for name in wanted
                if name in known
            ],
            unknown_key=[name for name in wanted if name not in known],
        )

    @on(Action.change_configuration)
    def on_change_configuration(self, key: str, value: str) -> Any:
        if key in self._dialect.readonly:
            return call_result.ChangeConfiguration(status="Rejected")
        if key not in self._dialect.settings:
            return call_result.ChangeConfiguration(status="NotSupported")
        if self._dialect.settings[key].isdigit() and not value.isdigit():
            return call_result.ChangeConfiguration(status="Rejected")
        self._dialect.settings[key] = value
        return call_result.ChangeConfiguration(status="Accepted")

    @on(Action.remote_start_transaction)
    def on_remote_start_transaction(
        self,
        id_tag: str,
        connector_id: int | None = None,
        charging_profile: dict[str, Any] | None = None,
    ) -> Any:
        started = self._station.remote_start(connector_id, id_tag)
        if started and charging_profile is not None and connector_id is not None:
            schedule = charging_profile["charging_schedule"]
            self._station.install(profile_from_wire(charging_profile, schedule, connector_id))
        return call_result.RemoteStartTransaction(status="Accepted" if started else "Rejected")

    @on(Action.remote_stop_transaction)
    def on_remote_stop_transaction(self, transaction_id: int) -> Any:
        stopped = self._station.remote_stop(str(transaction_id))
        return call_result.RemoteStopTransaction(status="Accepted" if stopped else "Rejected")

    @on(Action.reset)
    def on_reset(self, type: str) -> Any:
        return call_result.Reset(status="Accepted")

    @after(Action.reset)
    async def after_reset(self, type: str) -> None:
        self._station.reset(hard=type == "Hard")

    @on(Action.unlock_connector)
    def on_unlock_connector(self, connector_id: int) -> Any:
        outlet = self._station.outlets.get(connector_id)
        if outlet is None:
            return call_result.UnlockConnector(status="NotSupported")
        self._station.end(outlet, "UnlockCommand")
        return call_result.UnlockConnector(status="Unlocked")

    @on(Action.change_availability)
    def on_change_availability(self, connector_id: int, type: str) -> Any:
        status = self._station.set_operative(connector_id, operative=type == "Operative")
        return call_result.ChangeAvailability(status=status)

    @on(Action.clear_cache)
    def on_clear_cache(self) -> Any:
        return call_result.ClearCache(status="Accepted")

    @on(Action.trigger_message)
    def on_trigger_message(self, requested_message: str, connector_id: int | None = None) -> Any:
        known = ("BootNotification", "Heartbeat", "StatusNotification", "MeterValues")
        status = "Accepted" if requested_message in known else "NotImplemented"
        if connector_id not in (None, 0, *self._station.outlets):
            status = "Rejected"
        return call_result.TriggerMessage(status=status)

    @after(Action.trigger_message)
    async def after_trigger_message(
        self, requested_message: str, connector_id: int | None = None
    ) -> None:
        station = self._station
        match requested_message:
            case "BootNotification":
                station.post(lambda: self._dialect.boot("Triggered"), keep=False)
            case "Heartbeat":
                station.post(self._dialect.heartbeat, keep=False)
            case "MeterValues":
                station.sample(context="Trigger", connector_id=connector_id)
            case "StatusNotification":
                for outlet in station.outlets.values():
                    if connector_id in (None, 0, outlet.spec.connector_id):
                        self._dialect.tell_state(outlet, None)
