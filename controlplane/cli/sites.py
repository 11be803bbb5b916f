"""`loadstar sites`: describe sites, see who may draw how much, limit them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
    instant,
    new_request_id,
)
from controlplane.cli.output import amperes, echo_json, moment, print_json, table

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import electrical_pb2, network_pb2, sites_pb2
    from controlplane.api.v1.sites_pb2_grpc import SitesServiceStub

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True, help="Describe sites, see who may draw how much, limit them."
)

SiteId = Annotated[str, typer.Argument(help="The site's id.")]
File = Annotated[Path, typer.Argument(help="The site's description in YAML; `-` reads it.")]


@app.command("list")
def list_sites(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List sites.

    \b
    loadstar sites list
    """
    from controlplane.api.v1 import sites_pb2

    found = sites_pb2.ListSitesResponse()
    with connected(address) as channel:
        token = ""
        while True:
            page = _stub(channel).ListSites(
                sites_pb2.ListSitesRequest(page_size=500, page_token=token), timeout=CALL_TIMEOUT_S
            )
            found.sites.extend(page.sites)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Site", "Name", "Feeder", "#Supply", "#Circuits", "#Chargers", "Described (UTC)"],
        (
            [
                site.description.id,
                site.description.name,
                site.description.feeder,
                f"{_supply(site.description).rating_a:g} A",
                str(len(site.description.circuits)),
                str(len(site.description.chargers)),
                moment(site, "update_time"),
            ]
            for site in found.sites
        ),
    )


@app.command("get")
def get_site(site_id: SiteId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show a site as it is described, in the form that `update` takes.

    \b
    loadstar sites get depot > depot.yaml
    """
    from controlplane.api.v1 import sites_pb2

    with connected(address) as channel:
        request = sites_pb2.GetSiteRequest(site_id=site_id)
        site = _stub(channel).GetSite(request, timeout=CALL_TIMEOUT_S).site
    if as_json:
        print_json(site)
        return
    from controlplane.api.descriptions import site_from_message
    from controlplane.network_yaml import dump_site

    sys.stdout.write(dump_site(site_from_message(site.description)))


@app.command("allocation")
def allocation(site_id: SiteId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show who may draw how much at this moment, and how full each circuit is.

    \b
    loadstar sites allocation depot
    """
    from controlplane.api.v1 import sites_pb2

    with connected(address) as channel:
        request = sites_pb2.GetSiteAllocationRequest(site_id=site_id)
        found = _stub(channel).GetSiteAllocation(request, timeout=CALL_TIMEOUT_S).allocation
    _show(found, as_json=as_json)


@app.command("watch")
def watch(
    site_id: SiteId,
    interval_s: Annotated[
        float, typer.Option("--interval", help="Least seconds between two lines.")
    ] = 1.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Print a line whenever the allocation of a site changes, until Ctrl-C.

    \b
    loadstar sites watch depot
    loadstar sites watch depot --json | jq '.allocation.circuits[0].liability'
    """
    from controlplane.api.v1 import sites_pb2

    with connected(address) as channel:
        request = sites_pb2.WatchSiteAllocationRequest(site_id=site_id, interval_s=interval_s)
        for told in _stub(channel).WatchSiteAllocation(request):
            if as_json:
                echo_json(told)
                continue
            found = told.allocation
            supply = found.circuits[0]
            typer.echo(
                f"{moment(found, 'time')}  round {found.round:6}  "
                f"{supply.circuit_id}: building {_phases(supply.building)}, "
                f"chargers may draw {_phases(supply.liability)}, draw {_phases(supply.measured)}"
            )


@app.command("create")
def create(file: File, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Describe a new site.

    The file holds one element of `sites` of a network description.

    \b
    loadstar sites create depot.yaml
    """
    from controlplane.api.v1 import sites_pb2

    request = sites_pb2.CreateSiteRequest(site=_described(file), request_id=new_request_id())
    with connected(address) as channel:
        response = _stub(channel).CreateSite(request, timeout=CALL_TIMEOUT_S)
    _done(response, f"created {request.site.id}", as_json=as_json)


@app.command("update")
def update(file: File, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Replace the whole description of a site.

    \b
    loadstar sites get depot > depot.yaml
    loadstar sites update depot.yaml
    """
    from controlplane.api.v1 import sites_pb2

    request = sites_pb2.UpdateSiteRequest(site=_described(file), request_id=new_request_id())
    with connected(address) as channel:
        response = _stub(channel).UpdateSite(request, timeout=CALL_TIMEOUT_S)
    _done(response, f"updated {request.site.id}", as_json=as_json)


@app.command("delete")
def delete(site_id: SiteId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Forget a site on which nobody charges; its chargers may no longer connect.

    \b
    loadstar sites delete depot
    """
    from controlplane.api.v1 import sites_pb2

    with connected(address) as channel:
        request = sites_pb2.DeleteSiteRequest(site_id=site_id, request_id=new_request_id())
        response = _stub(channel).DeleteSite(request, timeout=CALL_TIMEOUT_S)
    _done(response, f"deleted {site_id}", as_json=as_json)


@app.command("limit")
def limit(
    site_id: SiteId,
    current_a: Annotated[
        float | None, typer.Option("--current", help="Amperes per phase, building included.", min=0)
    ] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Lift whatever limit was set.")] = False,
    circuit: Annotated[str, typer.Option(help="Only this circuit of the site.")] = "",
    connector: Annotated[
        str,
        typer.Option(help="Only the sessions of this connector.", metavar="CHARGER/CONNECTOR"),
    ] = "",
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; now by default.")] = None,
    end: Annotated[str | None, typer.Option("--until", help="RFC 3339; open by default.")] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Limit the current of a site, or of a circuit or connector in it, now or for a time to come,
    or lift the limit.

    \b
    loadstar sites limit depot --current 40
    loadstar sites limit depot --current 40 --from 2026-05-01T17:00Z --until 2026-05-01T20:00Z
    loadstar sites limit depot --circuit panel --current 25
    loadstar sites limit depot --connector DEPOT-1/2 --current 0
    loadstar sites limit depot --clear
    """
    if (current_a is None) != clear:
        raise typer.BadParameter("give either --current or --clear")
    if circuit and connector:
        raise typer.BadParameter("give either --circuit or --connector")
    given: dict[str, Any] = {"site_id": site_id, "request_id": new_request_id()}
    if current_a is not None:
        from controlplane.units import ma_from_a

        given |= {
            "limit_ma": ma_from_a(current_a),
            "start_time": instant("--from", start),
            "end_time": instant("--until", end),
        }
    with connected(address) as channel:
        if circuit:
            found = _limit_circuit(channel, given | {"circuit_id": circuit})
        elif connector:
            found = _limit_connector(channel, given | _connector(connector))
        else:
            found = _limit_site(channel, given)
    _show(found, as_json=as_json)


def _limit_site(channel: grpc.Channel, given: dict[str, Any]) -> sites_pb2.SiteAllocation:
    from controlplane.api.v1 import grid_pb2, grid_pb2_grpc

    stub = grid_pb2_grpc.GridServiceStub(channel)
    if "limit_ma" in given:
        request = grid_pb2.SetSiteLimitRequest(**given)
        return stub.SetSiteLimit(request, timeout=CALL_TIMEOUT_S).allocation
    lifted = grid_pb2.ClearSiteLimitRequest(**given)
    return stub.ClearSiteLimit(lifted, timeout=CALL_TIMEOUT_S).allocation


def _limit_circuit(channel: grpc.Channel, given: dict[str, Any]) -> sites_pb2.SiteAllocation:
    from controlplane.api.v1 import sites_pb2

    if "limit_ma" in given:
        request = sites_pb2.SetCircuitLimitRequest(**given)
        return _stub(channel).SetCircuitLimit(request, timeout=CALL_TIMEOUT_S).allocation
    lifted = sites_pb2.ClearCircuitLimitRequest(**given)
    return _stub(channel).ClearCircuitLimit(lifted, timeout=CALL_TIMEOUT_S).allocation


def _limit_connector(channel: grpc.Channel, given: dict[str, Any]) -> sites_pb2.SiteAllocation:
    from controlplane.api.v1 import sites_pb2

    if "limit_ma" in given:
        request = sites_pb2.SetConnectorLimitRequest(**given)
        return _stub(channel).SetConnectorLimit(request, timeout=CALL_TIMEOUT_S).allocation
    lifted = sites_pb2.ClearConnectorLimitRequest(**given)
    return _stub(channel).ClearConnectorLimit(lifted, timeout=CALL_TIMEOUT_S).allocation


def _connector(name: str) -> dict[str, Any]:
    """The charger and the number of a connector, such as `DEPOT-1/2`; `/1` may be left away."""
    charger_id, _, number = name.partition("/")
    if number and not number.isdecimal():
        raise typer.BadParameter(
            f"{name!r} is no connector, such as DEPOT-1/2", param_hint="--connector"
        )
    return {"charger_id": charger_id, "connector_id": int(number or 1)}


@app.command("report-load")
def report_load(
    site_id: SiteId,
    l1_a: Annotated[float, typer.Argument(help="Amperes on L1.")],
    l2_a: Annotated[float, typer.Argument(help="Amperes on L2.")],
    l3_a: Annotated[float, typer.Argument(help="Amperes on L3.")],
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Report what the building itself draws; a meter does this every few seconds.

    Below 0 where more is fed back than is drawn: vehicles are given nothing of that.

    \b
    loadstar sites report-load depot 12.5 10 11.2
    loadstar sites report-load depot -- -4.2 -3.9 1.5
    """
    from controlplane.api.v1 import electrical_pb2, sites_pb2
    from controlplane.units import ma_from_a

    with connected(address) as channel:
        request = sites_pb2.ReportBuildingLoadRequest(
            site_id=site_id,
            current=electrical_pb2.PhaseCurrents(
                l1_ma=ma_from_a(l1_a), l2_ma=ma_from_a(l2_a), l3_ma=ma_from_a(l3_a)
            ),
            request_id=new_request_id(),
        )
        response = _stub(channel).ReportBuildingLoad(request, timeout=CALL_TIMEOUT_S)
    _show(response.allocation, as_json=as_json)


@app.command("report-power")
def report_power(
    site_id: SiteId,
    solar_w: Annotated[int, typer.Option("--solar", help="Watts from the solar plant.", min=0)] = 0,
    battery_w: Annotated[
        int, typer.Option("--battery", help="Watts into the battery; below 0 it gives.")
    ] = 0,
    soc_percent: Annotated[
        float | None,
        typer.Option("--soc", help="State of charge of the battery, per cent.", min=0, max=100),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Report what the solar plant gives and the battery takes, every few seconds.

    Where the site's description has `solar` with `mode: surplus`, vehicles in no hurry charge from
    what the building leaves over. A report older than `stale_after_s` counts as no sun.

    \b
    loadstar sites report-power depot --solar 18500
    loadstar sites report-power depot --solar 18500 --battery -3000 --soc 64
    """
    from controlplane.api.v1 import sites_pb2

    with connected(address) as channel:
        request = sites_pb2.ReportSitePowerRequest(
            site_id=site_id,
            solar_w=solar_w,
            battery_w=battery_w,
            battery_soc_percent=soc_percent,
            request_id=new_request_id(),
        )
        response = _stub(channel).ReportSitePower(request, timeout=CALL_TIMEOUT_S)
    _show(response.allocation, as_json=as_json)


def _stub(channel: grpc.Channel) -> SitesServiceStub:
    from controlplane.api.v1 import sites_pb2_grpc

    return sites_pb2_grpc.SitesServiceStub(channel)


def _described(file: Path) -> network_pb2.SiteDescription:
    from controlplane.api.descriptions import site_to_message
    from controlplane.errors import InvalidInput
    from controlplane.network_yaml import parse_site

    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
        return site_to_message(parse_site(text, source=str(file)))
    except InvalidInput as error:
        fail(error.message)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {error.strerror if isinstance(error, OSError) else error}")


def _done(response: Any, told: str, *, as_json: bool) -> None:
    if as_json:
        print_json(response)
    else:
        typer.echo(told)


def _show(found: sites_pb2.SiteAllocation, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    limits = [
        f"feeder cap {amperes(found.feeder_cap_ma)}" if found.HasField("feeder_cap_ma") else "",
        f"limit {amperes(found.limit_ma)}" if found.HasField("limit_ma") else "",
        "building load is stale" if found.building_load_stale else "",
        f"{found.violations} VIOLATIONS" if found.violations else "",
    ]
    table(
        ["Circuit", "#Rating", "#Limit", "#Building", "#May draw", "#Draws", "#Free"],
        (
            [
                circuit.circuit_id,
                _phases(circuit.rating),
                amperes(circuit.limit_ma) if circuit.HasField("limit_ma") else "",
                _phases(circuit.building),
                _phases(circuit.liability),
                _phases(circuit.measured),
                _phases(circuit.capacity, less=circuit.liability),
            ]
            for circuit in found.circuits
        ),
        title=f"{found.site_id} at {moment(found, 'time')} UTC, round {found.round}"
        + "".join(f", {part}" for part in limits if part)
        + " (amperes on L1/L2/L3)",
    )
    if found.HasField("power"):
        for line in _power_lines(found.power):
            typer.echo(line)
    table(
        ["Connector", "#Target", "#Limit", "#Counted", "#Draws", "Session", "Why"],
        (
            [
                f"{connector.charger_id}/{connector.connector_id}",
                amperes(connector.target_ma),
                amperes(connector.limit_ma) if connector.HasField("limit_ma") else "unknown",
                amperes(connector.liability_ma),
                amperes(connector.measured_ma) if connector.HasField("measured_ma") else "",
                connector.session_id,
                connector.reason,
            ]
            for connector in found.connectors
        ),
    )


def _power_lines(power: sites_pb2.SitePower) -> list[str]:
    """Contract and sun in words."""
    lines = []
    draws = f"{'draws' if power.measured else 'draws at most'} {power.draws_w / 1_000:.1f} kW"
    if power.HasField("contract_w"):
        words = (
            f"Contract {power.contract_w / 1_000:g} kW until {moment(power, 'window_end_time')}: "
            f"{draws}, used {power.used_wh / 1_000:.2f} kWh, may draw "
            f"{power.allowed_w / 1_000:.1f} kW"
        )
        if power.HasField("last_mean_w"):
            held = "held" if power.last_held else "EXCEEDED"
            words += f"; window before {power.last_mean_w / 1_000:.1f} kW, {held}"
        lines.append(words)
    if power.HasField("solar_w"):
        words = f"Sun {power.solar_w / 1_000:.1f} kW, battery {power.battery_w / 1_000:+.1f} kW"
        if power.HasField("battery_soc_percent"):
            words += f" at {power.battery_soc_percent:g} %"
        lines.append(words + (": report is stale" if power.report_stale else ""))
    if power.HasField("surplus_w"):
        lines.append(f"Surplus for charging {power.surplus_w / 1_000:.1f} kW")
    return lines


def _phases(
    currents: electrical_pb2.PhaseCurrents, *, less: electrical_pb2.PhaseCurrents | None = None
) -> str:
    return "/".join(
        f"{(getattr(currents, line) - (getattr(less, line) if less else 0)) / 1_000:.1f}"
        for line in ("l1_ma", "l2_ma", "l3_ma")
    )


def _supply(site: network_pb2.SiteDescription) -> network_pb2.CircuitDescription:
    return next(circuit for circuit in site.circuits if not circuit.parent)
