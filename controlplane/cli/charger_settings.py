"""`loadstar chargers settings` and `monitors`: what chargers say of themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.charger_commands import MARGIN_S, Timeout, report
from controlplane.cli.charger_messages import app
from controlplane.cli.chargers import ChargerId, charger_stub
from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    new_request_id,
)
from controlplane.cli.output import moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import chargers_pb2, device_model_pb2
    from controlplane.api.v1.device_model_pb2_grpc import DeviceModelServiceStub

__all__ = ["app"]

_PAGE_SIZE = 500


@app.command("settings")
def settings(
    charger_id: ChargerId,
    keys: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ask the charger for these: 1.6 configuration keys, or 2.x "
            "`Component{evse}.Variable`."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="Write a setting.", metavar="KEY=VALUE")
    ] = None,
    filter: Annotated[
        str, typer.Option("--filter", help="Only those with this in their key.")
    ] = "",
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Ask the charger to report all of them first.")
    ] = False,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show a charger's settings as it last told them; ask it where keys are named; write them with
    --set.

    \b
    loadstar chargers settings CP-1
    loadstar chargers settings CP-1 --filter measurands
    loadstar chargers settings CP-1 HeartbeatInterval MeterValueSampleInterval
    loadstar chargers settings CP-1 --set MeterValueSampleInterval=30
    loadstar chargers settings CP-2 SampledDataCtrlr.TxUpdatedInterval EVSE{1}.Power/MaxSet
    """
    from controlplane.api.v1 import chargers_pb2, device_model_pb2

    with connected(address) as channel:
        if changes:
            written = chargers_pb2.SetSettingsRequest(
                charger_id=charger_id,
                settings=dict(_key_value(change) for change in changes),
                timeout_s=timeout_s,
                request_id=new_request_id(),
            )
            report(
                charger_stub(channel).SetSettings(written, timeout=timeout_s + MARGIN_S),
                as_json=as_json,
            )
            return
        if keys:
            asked = chargers_pb2.GetSettingsRequest(
                charger_id=charger_id, keys=keys, timeout_s=timeout_s
            )
            _print_told(
                charger_stub(channel).GetSettings(asked, timeout=timeout_s + MARGIN_S),
                as_json=as_json,
            )
            return
        if refresh:
            request = device_model_pb2.RefreshDeviceModelRequest(
                charger_id=charger_id, timeout_s=timeout_s, request_id=new_request_id()
            )
            report(
                _stub(channel).RefreshDeviceModel(request, timeout=timeout_s + MARGIN_S),
                as_json=as_json,
            )
        found = list(_stored(channel, charger_id, filter))
    if as_json:
        print_json(device_model_pb2.GetDeviceModelResponse(variables=found))
        return
    table(
        ["Key", "Value", "Unit", "May be", "Note", "Told (UTC)"],
        (
            [
                variable.key + ("" if variable.attribute == "Actual" else f"/{variable.attribute}"),
                variable.value,
                variable.unit,
                _range(variable),
                "read only" if variable.mutability == "ReadOnly" else "",
                moment(variable, "reported_time"),
            ]
            for variable in found
        ),
    )


@app.command("monitors")
def monitors(
    charger_id: ChargerId, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Show the monitors that watch a 2.x charger's variables.

    \b
    loadstar chargers monitors CP-2
    """
    from controlplane.api.v1 import device_model_pb2

    found = device_model_pb2.ListMonitorsResponse()
    with connected(address) as channel:
        while True:
            page = _stub(channel).ListMonitors(
                device_model_pb2.ListMonitorsRequest(
                    charger_id=charger_id,
                    page_size=_PAGE_SIZE,
                    page_token=found.next_page_token,
                ),
                timeout=CALL_TIMEOUT_S,
            )
            found.monitors.extend(page.monitors)
            found.next_page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["#Monitor", "Variable", "Kind", "#Value", "#Severity", "Only charging"],
        (
            [
                str(monitor.monitor_id),
                monitor.key,
                word(device_model_pb2.MonitorKind, monitor.kind),
                f"{monitor.value:g}",
                str(monitor.severity),
                "yes" if monitor.transaction else "",
            ]
            for monitor in found.monitors
        ),
    )


def _stub(channel: grpc.Channel) -> DeviceModelServiceStub:
    from controlplane.api.v1 import device_model_pb2_grpc

    return device_model_pb2_grpc.DeviceModelServiceStub(channel)


def _stored(
    channel: grpc.Channel, charger_id: str, filter: str
) -> Iterator[device_model_pb2.Variable]:
    from controlplane.api.v1 import device_model_pb2

    token = ""
    while True:
        page = _stub(channel).GetDeviceModel(
            device_model_pb2.GetDeviceModelRequest(
                charger_id=charger_id, filter=filter, page_size=_PAGE_SIZE, page_token=token
            ),
            timeout=CALL_TIMEOUT_S,
        )
        yield from page.variables
        token = page.next_page_token
        if not token:
            return


def _range(variable: device_model_pb2.Variable) -> str:
    """What a setting can be set to, in short."""
    if variable.values_list:
        return variable.values_list
    least = f"{variable.limit_min:g}" if variable.HasField("limit_min") else ""
    most = f"{variable.limit_max:g}" if variable.HasField("limit_max") else ""
    return f"{least} to {most}".strip() if least or most else ""


def _print_told(response: chargers_pb2.GetSettingsResponse, *, as_json: bool) -> None:
    if as_json or not response.settings:
        report(response, as_json=as_json)
        return
    table(
        ["Key", "Value", "Note"],
        (
            [
                setting.key,
                setting.value,
                "read only" if setting.read_only else setting.status.removeprefix("Accepted"),
            ]
            for setting in response.settings
        ),
    )


def _key_value(change: str) -> tuple[str, str]:
    key, equals, value = change.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"{change!r} is not KEY=VALUE", param_hint="--set")
    return key, value
