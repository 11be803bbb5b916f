"""Battery swapping at a 2.1 station: S01 to S04."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.battery_swap import Battery, BatterySwapped, SwapStep
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.events import Event
from controlplane.ocpp.readings import instant_ms
from controlplane.ocpp.shapes import NUMBER, WHOLE
from controlplane.ocpp.v201.common import evse_number

__all__ = ["BATTERY_SWAP"]

_BATTERIES_MAX: Final = 100


def _swapped(payload: dict[str, Any]) -> Event:
    token = payload["idToken"]
    return BatterySwapped(
        request_id=WHOLE.read(payload["requestId"]) or 0,
        step=SwapStep(payload["eventType"]),
        id_token=token["idToken"],
        id_token_type=token["type"],
        batteries=tuple(
            Battery(
                slot=evse_number(battery["evseId"]),
                serial_number=battery["serialNumber"],
                soc_percent=NUMBER.read(battery["soC"]) or 0.0,
                soh_percent=NUMBER.read(battery["soH"]) or 0.0,
                produced_ms=instant_ms(battery.get("productionDate")),
                vendor_info=battery.get("vendorInfo", ""),
            )
            for battery in payload["batteryData"][:_BATTERIES_MAX]
        ),
    )


def _request(command: commands.RequestBatterySwap, _: int) -> dict[str, Any]:
    return {
        "requestId": command.request_id,
        "idToken": {"idToken": command.id_token, "type": command.id_token_type},
    }


BATTERY_SWAP = Block(
    readers={"BatterySwap": _swapped},
    writers={commands.RequestBatterySwap: ("RequestBatterySwap", _request)},
)
