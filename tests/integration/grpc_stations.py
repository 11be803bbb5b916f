"""Two stations on the `ocpp` package's own classes, as a maker of chargers would write them: they
do what they are told and keep a list of it."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from ocpp import v16, v201
from ocpp.routing import after, on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

__all__ = ["Station16", "Station201", "connected"]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Station16(v16.ChargePoint):  # type: ignore[misc]
    """A 1.6 station with one connector; its meter stands at 1,000 Wh and runs when it is told."""

    subprotocol = "ocpp1.6"

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.told: list[str] = []
        self.settings = {"HeartbeatInterval": "300", "MeterValueSampleInterval": "60"}
        self.transaction_id: int | None = None
        self.register_wh = 1_000
        self.work: set[asyncio.Task[None]] = set()

    async def boot(self) -> None:
        await self.call(
            call16.BootNotification(
                charge_point_model="Sixteen", charge_point_vendor="Maker", firmware_version="1.0"
            )
        )
        for connector_id in (0, 1):
            await self.call(
                call16.StatusNotification(
                    connector_id=connector_id, error_code="NoError", status="Available"
                )
            )

    async def meter(self, register_wh: int) -> None:
        self.register_wh = register_wh
        await self.call(
            call16.MeterValues(
                connector_id=1,
                transaction_id=self.transaction_id,
                meter_value=[
                    {
                        "timestamp": now(),
                        "sampled_value": [
                            {
                                "value": str(register_wh),
                                "measurand": "Energy.Active.Import.Register",
                                "unit": "Wh",
                            },
                            {"value": "3680", "measurand": "Power.Active.Import", "unit": "W"},
                        ],
                    }
                ],
            )
        )

    async def begin(self, id_tag: str) -> None:
        answer = await self.call(
            call16.StartTransaction(
                connector_id=1, id_tag=id_tag, meter_start=self.register_wh, timestamp=now()
            )
        )
        self.transaction_id = answer.transaction_id
        await self.call(
            call16.StatusNotification(connector_id=1, error_code="NoError", status="Charging")
        )

    async def end(self) -> None:
        await self.call(
            call16.StopTransaction(
                meter_stop=self.register_wh,
                timestamp=now(),
                transaction_id=self.transaction_id,
                reason="Remote",
            )
        )
        self.transaction_id = None

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.work.add(task)
        task.add_done_callback(self.work.discard)

    @on("RemoteStartTransaction")
    def on_start(self, id_tag: str, **_: Any) -> Any:
        self.told.append("start")
        return result16.RemoteStartTransaction(status="Accepted")

    @after("RemoteStartTransaction")
    def after_start(self, id_tag: str, **_: Any) -> None:
        self._later(self.begin(id_tag))

    @on("RemoteStopTransaction")
    def on_stop(self, transaction_id: int) -> Any:
        self.told.append("stop")
        known = transaction_id == self.transaction_id
        return result16.RemoteStopTransaction(status="Accepted" if known else "Rejected")

    @after("RemoteStopTransaction")
    def after_stop(self, transaction_id: int) -> None:
        if transaction_id == self.transaction_id:
            self._later(self.end())

    @on("Reset")
    def on_reset(self, type: str) -> Any:
        self.told.append(f"reset {type}")
        return result16.Reset(status="Accepted")

    @on("UnlockConnector")
    def on_unlock(self, connector_id: int) -> Any:
        self.told.append(f"unlock {connector_id}")
        return result16.UnlockConnector(status="Unlocked")

    @on("ChangeAvailability")
    def on_availability(self, connector_id: int, type: str) -> Any:
        self.told.append(f"{type} {connector_id}")
        return result16.ChangeAvailability(status="Scheduled")

    @on("TriggerMessage")
    def on_trigger(self, requested_message: str, **_: Any) -> Any:
        self.told.append(f"trigger {requested_message}")
        return result16.TriggerMessage(status="Accepted")

    @on("GetConfiguration")
    def on_get_configuration(self, key: list[str] | None = None) -> Any:
        wanted = key or list(self.settings)
        return result16.GetConfiguration(
            configuration_key=[
                {"key": name, "readonly": False, "value": self.settings[name]}
                for name in wanted
                if name in self.settings
            ],
            unknown_key=[name for name in wanted if name not in self.settings],
        )

    @on("ChangeConfiguration")
    def on_change_configuration(self, key: str, value: str) -> Any:
        if key not in self.settings:
            return result16.ChangeConfiguration(status="NotSupported")
        self.settings[key] = value
        return result16.ChangeConfiguration(status="Accepted")

    @on("SetChargingProfile")
    def on_profile(self, connector_id: int, cs_charging_profiles: Any) -> Any:
        self.told.append("profile")
        return result16.SetChargingProfile(status="Accepted")

    @on("ClearChargingProfile")
    def on_clear(self, **_: Any) -> Any:
        return result16.ClearChargingProfile(status="Accepted")

    @on("GetCompositeSchedule")
    def on_schedule(self, connector_id: int, duration: int, **_: Any) -> Any:
        return result16.GetCompositeSchedule(
            status="Accepted",
            connector_id=connector_id,
            schedule_start="2026-05-01T10:00:00Z",
            charging_schedule={
                "duration": duration,
                "charging_rate_unit": "A",
                "charging_schedule_period": [
                    {"start_period": 0, "limit": 16.0, "number_phases": 3},
                    {"start_period": 600, "limit": 8.5},
                ],
            },
        )

    @on("DataTransfer")
    def on_data(self, vendor_id: str, **_: Any) -> Any:
        return result16.DataTransfer(status="Accepted", data=f"hello {vendor_id}")


class Station201(v201.ChargePoint):  # type: ignore[misc]
    """A 2.0.1 station with one EVSE."""

    subprotocol = "ocpp2.0.1"

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.told: list[str] = []
        self.messages: dict[int, dict[str, Any]] = {}

    async def boot(self) -> None:
        await self.call(
            call201.BootNotification(
                charging_station={"model": "TwoOhOne", "vendor_name": "Maker"}, reason="PowerUp"
            )
        )
        await self.call(
            call201.StatusNotification(
                timestamp=now(), connector_status="Available", evse_id=1, connector_id=1
            )
        )

    @on("GetVariables")
    def on_get_variables(self, get_variable_data: list[dict[str, Any]]) -> Any:
        return result201.GetVariables(
            get_variable_result=[
                {
                    "attribute_status": "Accepted",
                    "component": wanted["component"],
                    "variable": wanted["variable"],
                    "attribute_value": "30",
                }
                if wanted["variable"]["name"] != "Nothing"
                else {
                    "attribute_status": "UnknownVariable",
                    "component": wanted["component"],
                    "variable": wanted["variable"],
                }
                for wanted in get_variable_data
            ]
        )

    @on("SetVariables")
    def on_set_variables(self, set_variable_data: list[dict[str, Any]]) -> Any:
        return result201.SetVariables(
            set_variable_result=[
                {
                    "attribute_status": "Accepted",
                    "component": wanted["component"],
                    "variable": wanted["variable"],
                }
                for wanted in set_variable_data
            ]
        )

    @on("SetChargingProfile")
    def on_profile(self, **_: Any) -> Any:
        return result201.SetChargingProfile(status="Accepted")

    @on("ClearChargingProfile")
    def on_clear(self, **_: Any) -> Any:
        return result201.ClearChargingProfile(status="Accepted")

    @on("Reset")
    def on_reset(self, type: str, **_: Any) -> Any:
        self.told.append(f"reset {type}")
        return result201.Reset(status="Scheduled")

    @on("RequestStartTransaction")
    def on_start(self, **_: Any) -> Any:
        return result201.RequestStartTransaction(status="Rejected")

    async def limited_by_others(self, limit_a: float) -> None:
        await self.call(
            call201.NotifyChargingLimit(
                charging_limit={"charging_limit_source": "EMS"},
                charging_schedule=[
                    {
                        "id": 1,
                        "charging_rate_unit": "A",
                        "charging_schedule_period": [{"start_period": 0, "limit": limit_a}],
                    }
                ],
            )
        )

    @on("SetDisplayMessage")
    def on_display(self, message: dict[str, Any]) -> Any:
        self.messages[message["id"]] = message
        return result201.SetDisplayMessage(status="Accepted")

    @on("ClearDisplayMessage")
    def on_clear_display(self, id: int) -> Any:
        known = self.messages.pop(id, None) is not None
        return result201.ClearDisplayMessage(status="Accepted" if known else "Unknown")

    @on("GetDisplayMessages")
    def on_get_display(self, request_id: int, **_: Any) -> Any:
        return result201.GetDisplayMessages(status="Accepted" if self.messages else "Unknown")

    @after("GetDisplayMessages")
    async def after_get_display(self, request_id: int, **_: Any) -> None:
        found = list(self.messages.values())
        for number, message in enumerate(found, 1):
            await self.call(
                call201.NotifyDisplayMessages(
                    request_id=request_id, message_info=[message], tbc=number < len(found)
                )
            )

    @on("CustomerInformation")
    def on_customer(self, report: bool, clear: bool, **_: Any) -> Any:
        self.told.append(f"customer report={report} clear={clear}")
        return result201.CustomerInformation(status="Accepted")

    @after("CustomerInformation")
    async def after_customer(self, request_id: int, report: bool, **_: Any) -> None:
        for number, text in enumerate(["seen twice, ", "last today"] if report else []):
            await self.call(
                call201.NotifyCustomerInformation(
                    request_id=request_id,
                    data=text,
                    seq_no=number,
                    generated_at=now(),
                    tbc=number == 0,
                )
            )

    @on("GetTransactionStatus")
    def on_transaction_status(self, transaction_id: str | None = None) -> Any:
        ongoing = None if transaction_id is None else False
        return result201.GetTransactionStatus(messages_in_queue=True, ongoing_indicator=ongoing)

    @on("CostUpdated")
    def on_cost(self, total_cost: float, transaction_id: str) -> Any:
        self.told.append(f"{transaction_id} costs {total_cost}")
        return result201.CostUpdated()

    @on("DataTransfer")
    def on_data(self, vendor_id: str, **payload: Any) -> Any:
        return result201.DataTransfer(status="Accepted", data={"got": payload.get("data")})

    @on("SetNetworkProfile")
    def on_network_profile(self, configuration_slot: int, connection_data: Any) -> Any:
        self.told.append(f"slot {configuration_slot}: {connection_data['ocpp_csms_url']}")
        return result201.SetNetworkProfile(status="Accepted")

    @on("GetChargingProfiles")
    def on_get_profiles(self, **_: Any) -> Any:
        return result201.GetChargingProfiles(status="Accepted")

    @after("GetChargingProfiles")
    async def after_get_profiles(self, request_id: int, **_: Any) -> None:
        await self.call(
            call201.ReportChargingProfiles(
                request_id=request_id,
                charging_limit_source="CSO",
                evse_id=1,
                charging_profile=[
                    {
                        "id": 12,
                        "stack_level": 0,
                        "charging_profile_purpose": "TxDefaultProfile",
                        "charging_profile_kind": "Relative",
                        "charging_schedule": [
                            {
                                "id": 1,
                                "charging_rate_unit": "A",
                                "charging_schedule_period": [{"start_period": 0, "limit": 6.0}],
                            }
                        ],
                    }
                ],
            )
        )

    @on("GetBaseReport")
    def on_report(self, request_id: int, report_base: str) -> Any:
        self.told.append(f"report {report_base}")
        return result201.GetBaseReport(status="Accepted")


@asynccontextmanager
async def connected(kind: type[Any], id: str, port: int) -> AsyncIterator[Any]:
    """A station of `kind` that has connected and booted."""
    async with connect(
        f"ws://127.0.0.1:{port}/ocpp/{id}", subprotocols=[Subprotocol(kind.subprotocol)]
    ) as socket:
        station = kind(id, socket)
        listening = asyncio.create_task(station.start())
        try:
            await station.boot()
            yield station
        finally:
            listening.cancel()
            await asyncio.gather(listening, *getattr(station, "work", ()), return_exceptions=True)
