"""What a simulated station says and answers in OCPP 2.1: all of 2.0.1, and what 2.1 added.

It calculates what a transaction costs by the tariff it was given, keeps DER controls, follows
dynamic profiles, and tells the power of an EVSE as a periodic event stream, by SEND. Written from
the specification, on the `ocpp` package's messages; shared with nobody."""

# The decorators of the ocpp package are not typed.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from ocpp.routing import on
from ocpp.v21 import call, call_result

from controlplane.sim.line import CountedConnection
from controlplane.sim.outlet import Outlet, Transaction
from controlplane.sim.profiles import Kind, Period, profile_from_wire
from controlplane.sim.station import Station
from controlplane.sim.station_v201 import DialectV201, PointV201

__all__ = ["DialectV21"]

_CENT = Decimal("0.01")
_WH_PER_KWH = 1_000


class DialectV21(DialectV201):
    """OCPP 2.1 for one station."""

    subprotocol = "ocpp2.1"

    def __init__(self, station: Station) -> None:
        super().__init__(station)
        self.controls: dict[str, dict[str, Any]] = {}
        """DER controls by id, as they were set."""
        self.tariff: dict[str, Any] | None = None
        self.signals: list[int] = []
        self.allowed: list[str] = []
        """The modes of energy transfer that a vehicle may choose from."""
        self.streams: dict[int, dict[str, Any]] = {}
        self.refused: list[tuple[str, str]] = []
        """Answers that the CSMS could not take: message id and error code."""
        self.swaps: list[int] = []
        self.web_payments: list[tuple[int, int]] = []
        self._point: PointV21 | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def point(self, connection: CountedConnection) -> PointV21:
        self._point = PointV21(self, connection)
        return self._point

    def tell_started(self, outlet: Outlet, transaction: Transaction) -> None:
        super().tell_started(outlet, transaction)
        vehicle = outlet.vehicle
        if vehicle is None or not outlet.feeds_in:
            return
        # Q01: what the vehicle said over ISO 15118-20 when its transaction began.
        spec, voltage_v = vehicle.spec, outlet.spec.voltage_v
        fed_a = min(spec.discharge_max_a, outlet.spec.current_max_a)
        spare_wh = max(0.0, vehicle.soc - spec.discharge_floor_soc) * spec.battery_wh
        self.needs(
            outlet.spec.connector_id,
            {
                "requested_energy_transfer": "DC_BPT" if outlet.spec.direct_current else "AC_BPT",
                "control_mode": "ScheduledControl",
                "v2x_charging_parameters": {
                    "max_discharge_power": round(fed_a * voltage_v * vehicle.phases, 1),
                    "ev_min_v2x_energy_request": -round(spare_wh),
                    "ev_max_energy_request": round((1 - vehicle.soc) * spec.battery_wh),
                },
            },
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
        """As in 2.0.1, with the mode, the tariff and, once there is a reading, the cost."""
        info: dict[str, Any] = {
            "transaction_id": transaction.id,
            "charging_state": self.charging_state(outlet),
            "operation_mode": "CentralSetpoint" if outlet.offered_a < 0 else "ChargingOnly",
        }
        if stopped_reason is not None:
            info["stopped_reason"] = stopped_reason
        if transaction.remote_start_id is not None:
            info["remote_start_id"] = transaction.remote_start_id
        if self.tariff is not None:
            info["tariff_id"] = self.tariff["tariff_id"]
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
            cost_details=None if reading is None else self._cost(outlet, transaction),
        )
        sample = event == "Updated" and reading is not None
        self.station.post(lambda: message, keep=True, sample=sample, on_result=on_result)

    def _cost(self, outlet: Outlet, transaction: Transaction) -> dict[str, Any] | None:
        """I12: the energy so far at the tariff's last price, which is the one without conditions,
        rounded to the cent."""
        if self.tariff is None:
            return None
        energy_wh = int(outlet.register_wh) - transaction.register_start_wh
        price = Decimal(str(self.tariff["energy"]["prices"][-1]["price_kwh"]))
        net = (price * energy_wh / _WH_PER_KWH).quantize(_CENT)
        seconds = (self.station.clock.now_ms() - transaction.started_ms) // 1_000
        return {
            "total_cost": {
                "currency": self.tariff["currency"],
                "type_of_cost": "NormalCost",
                "energy": {"excl_tax": float(net)},
                "total": {"excl_tax": float(net)},
            },
            "total_usage": {"energy": energy_wh, "charging_time": seconds, "idle_time": 0},
        }

    # --- what it says of its own accord -----------------------------------------------------------

    def alarm(self, control_type: str, fault: str, *, ended: bool = False) -> None:
        """A protection acts upon the grid, or does no more."""
        message = call.NotifyDERAlarm(
            control_type=control_type,
            timestamp=self.station.now_iso(),
            grid_event_fault=fault,
            alarm_ended=ended,
        )
        self.station.post(lambda: message, keep=True)

    def needs(self, connector_id: int, charging_needs: dict[str, Any]) -> None:
        """A vehicle says what it needs, and what it can give back."""
        message = call.NotifyEVChargingNeeds(evse_id=connector_id, charging_needs=charging_needs)
        self.station.post(lambda: message, keep=False)

    def settle(self, reference: str, amount: float, transaction_id: str | None = None) -> None:
        """A payment was settled at the terminal."""
        message = call.NotifySettlement(
            psp_ref=reference,
            status="Settled",
            settlement_amount=amount,
            settlement_time=self.station.now_iso(),
            transaction_id=transaction_id,
        )
        self.station.post(lambda: message, keep=True)

    def swap(self, request_id: int, step: str, id_token: str, serial_number: str) -> None:
        """A battery goes in or out."""
        battery = {"evse_id": 1, "serial_number": serial_number, "so_c": 50, "so_h": 95}
        message = call.BatterySwap(
            battery_data=[battery],
            event_type=step,
            id_token=self.token(id_token),
            request_id=request_id,
        )
        self.station.post(lambda: message, keep=True)

    def open_stream(self, stream_id: int, *, monitor_id: int, interval_s: int) -> None:
        """Ask for a stream of an EVSE's power; it flows once it is allowed."""
        data = {
            "id": stream_id,
            "variable_monitoring_id": monitor_id,
            "params": {"interval": interval_s, "values": 1},
        }

        def answered(answer: Any) -> None:
            if answer.status == "Accepted":
                self.streams[stream_id] = data
                task = asyncio.ensure_future(self._stream(stream_id))
                self._sending.add(task)
                task.add_done_callback(self._sending.discard)

        message = call.OpenPeriodicEventStream(constant_stream_data=data)
        self.station.post(lambda: message, keep=False, on_result=answered)

    def close_stream(self, stream_id: int) -> None:
        """End a stream."""
        self.streams.pop(stream_id, None)
        message = call.ClosePeriodicEventStream(id=stream_id)
        self.station.post(lambda: message, keep=False)

    async def _stream(self, stream_id: int) -> None:
        while stream_id in self.streams and self._point is not None:
            outlet = next(iter(self.station.outlets.values()))
            payload = {
                "id": stream_id,
                "pending": 0,
                "basetime": self.station.now_iso(),
                "data": [{"t": 0, "v": str(round(outlet.draw.power_w))}],
            }
            await self._point.send("NotifyPeriodicEventStream", payload)
            interval_s = self.streams[stream_id]["params"]["interval"]
            await asyncio.sleep(interval_s / self.station.clock.speed)

    def pull(self, profile_id: int) -> None:
        """Ask for the present values of a dynamic profile."""
        message = call.PullDynamicScheduleUpdate(charging_profile_id=profile_id)

        def answered(answer: Any) -> None:
            if answer.status == "Accepted":
                self.update(profile_id, answer.schedule_update)

        self.station.post(lambda: message, keep=False, on_result=answered)

    def update(self, profile_id: int, values: dict[str, Any]) -> bool:
        """K28: replace the limit of a dynamic profile, if there is such a one."""
        held = next((each for each in self.station.book.profiles if each.id == profile_id), None)
        if held is None:
            return False
        if "limit" in values:
            period = replace(held.periods[0], limit=float(values["limit"]))
            self.station.book.install(replace(held, periods=(period,)))
        return True


class PointV21(PointV201):
    """Answers the CSMS's calls on one connection."""

    _call = call
    _call_result = call_result
    _ocpp_version = "2.1"

    def __init__(self, dialect: DialectV21, connection: CountedConnection) -> None:
        super().__init__(dialect, connection)
        self._own = dialect

    async def send(self, action: str, payload: dict[str, Any]) -> None:
        """Tell without wanting an answer."""
        await self._send(json.dumps([6, str(uuid.uuid4()), action, payload]))

    async def route_message(self, raw_msg: str) -> None:
        """As the package does; it does not know CALLRESULTERROR yet."""
        frame = json.loads(raw_msg)
        if frame[0] == 5:
            self._own.refused.append((frame[1], frame[2]))
            return
        await super().route_message(raw_msg)

    @on("SetChargingProfile")
    def on_set_charging_profile(self, evse_id: int, charging_profile: dict[str, Any]) -> Any:
        schedule = charging_profile["charging_schedule"][0]
        periods = schedule["charging_schedule_period"]
        if charging_profile["charging_profile_kind"] != "Dynamic":
            return super().on_set_charging_profile(evse_id, charging_profile)
        if len(periods) != 1 or "limit" not in periods[0]:
            info = {"reason_code": "InvalidSchedule"}
            return call_result.SetChargingProfile(status="Rejected", status_info=info)
        # It counts from now on, and its one period is replaced by what comes.
        profile = profile_from_wire(
            charging_profile | {"charging_profile_kind": "Absolute"}, schedule, evse_id
        )
        profile = replace(
            profile, kind=Kind.ABSOLUTE, periods=(Period(0, float(periods[0]["limit"])),)
        )
        accepted = self._station.install(profile)
        return call_result.SetChargingProfile(status="Accepted" if accepted else "Rejected")

    @on("UpdateDynamicSchedule")
    def on_update_schedule(self, charging_profile_id: int, schedule_update: dict[str, Any]) -> Any:
        known = self._own.update(charging_profile_id, schedule_update)
        return call_result.UpdateDynamicSchedule(status="Accepted" if known else "Rejected")

    @on("NotifyAllowedEnergyTransfer")
    def on_allowed(self, transaction_id: str, allowed_energy_transfer: list[str]) -> Any:
        known = self._station.outlet_of(transaction_id) is not None
        if known:
            self._own.allowed = allowed_energy_transfer
        return call_result.NotifyAllowedEnergyTransfer(status="Accepted" if known else "Rejected")

    @on("UsePriorityCharging")
    def on_priority(self, transaction_id: str, activate: bool) -> Any:
        # It is never given a profile for it.
        known = self._station.outlet_of(transaction_id) is not None
        return call_result.UsePriorityCharging(status="NoProfile" if known else "Rejected")

    @on("AFRRSignal")
    def on_signal(self, timestamp: str, signal: int) -> Any:
        self._own.signals.append(signal)
        return call_result.AFRRSignal(status="Accepted")

    @on("SetDERControl")
    def on_set_control(self, control_id: str, **control: Any) -> Any:
        self._own.controls[control_id] = control
        return call_result.SetDERControl(status="Accepted")

    @on("GetDERControl")
    def on_get_control(self, request_id: int, control_type: str | None = None, **_: Any) -> Any:
        curves = [
            {
                "id": control_id,
                "curve_type": control["control_type"],
                "is_default": control["is_default"],
                "is_superseded": False,
                "curve": control["curve"],
            }
            for control_id, control in self._own.controls.items()
            if "curve" in control and control_type in (None, control["control_type"])
        ]
        if not curves:
            return call_result.GetDERControl(status="NotFound")
        report = call.ReportDERControl(request_id=request_id, curve=curves)
        self._station.post(lambda: report, keep=False)
        return call_result.GetDERControl(status="Accepted")

    @on("ClearDERControl")
    def on_clear_control(
        self, is_default: bool, control_type: str | None = None, control_id: str | None = None
    ) -> Any:
        gone = [
            known
            for known, control in self._own.controls.items()
            if control["is_default"] == is_default
            and control_type in (None, control["control_type"])
            and control_id in (None, known)
        ]
        for known in gone:
            del self._own.controls[known]
        return call_result.ClearDERControl(status="Accepted" if gone else "NotFound")

    @on("SetDefaultTariff")
    def on_set_tariff(self, evse_id: int, tariff: dict[str, Any]) -> Any:
        if "energy" not in tariff:
            return call_result.SetDefaultTariff(status="ConditionNotSupported")
        self._own.tariff = tariff
        return call_result.SetDefaultTariff(status="Accepted")

    @on("ChangeTransactionTariff")
    def on_change_tariff(self, transaction_id: str, tariff: dict[str, Any]) -> Any:
        before = self._own.tariff
        if self._station.outlet_of(transaction_id) is None:
            return call_result.ChangeTransactionTariff(status="TxNotFound")
        if before is not None and before["currency"] != tariff["currency"]:
            return call_result.ChangeTransactionTariff(status="NoCurrencyChange")
        self._own.tariff = tariff
        return call_result.ChangeTransactionTariff(status="Accepted")

    @on("GetTariffs")
    def on_get_tariffs(self, evse_id: int) -> Any:
        if self._own.tariff is None:
            return call_result.GetTariffs(status="NoTariff")
        assignment = {
            "tariff_id": self._own.tariff["tariff_id"],
            "tariff_kind": "DefaultTariff",
            "evse_ids": list(self._station.outlets),
        }
        return call_result.GetTariffs(status="Accepted", tariff_assignments=[assignment])

    @on("ClearTariffs")
    def on_clear_tariffs(
        self, tariff_ids: list[str] | None = None, evse_id: int | None = None
    ) -> Any:
        held = None if self._own.tariff is None else self._own.tariff["tariff_id"]
        results = [
            {"tariff_id": tariff_id, "status": "Accepted" if tariff_id == held else "NoTariff"}
            for tariff_id in tariff_ids or ([held] if held else [])
        ]
        if any(result["status"] == "Accepted" for result in results):
            self._own.tariff = None
        return call_result.ClearTariffs(clear_tariffs_result=results or [{"status": "NoTariff"}])

    @on("AdjustPeriodicEventStream")
    def on_adjust_stream(self, id: int, params: dict[str, Any]) -> Any:
        if id not in self._own.streams:
            return call_result.AdjustPeriodicEventStream(status="Rejected")
        self._own.streams[id]["params"] |= params
        return call_result.AdjustPeriodicEventStream(status="Accepted")

    @on("GetPeriodicEventStream")
    def on_get_streams(self) -> Any:
        streams = list(self._own.streams.values())
        return call_result.GetPeriodicEventStream(constant_stream_data=streams or None)

    @on("RequestBatterySwap")
    def on_swap(self, id_token: dict[str, Any], request_id: int) -> Any:
        self._own.swaps.append(request_id)
        return call_result.RequestBatterySwap(status="Accepted")

    @on("NotifyWebPaymentStarted")
    def on_web_payment(self, evse_id: int, timeout: int) -> Any:
        self._own.web_payments.append((evse_id, timeout))
        return call_result.NotifyWebPaymentStarted()
