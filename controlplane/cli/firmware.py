"""`loadstar firmware`: keep images, update chargers one by one or in campaigns."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    instant,
    new_request_id,
)
from controlplane.cli.output import moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import chargers_pb2, firmware_pb2
    from controlplane.api.v1.firmware_pb2_grpc import FirmwareServiceStub

__all__ = ["app"]

_PART_BYTES = 512 * 1024
_UPLOAD_TIMEOUT_S = 600.0

app = typer.Typer(
    no_args_is_help=True, help="Keep firmware, update chargers one by one or in campaigns."
)
campaigns = typer.Typer(no_args_is_help=True, help="Bring many chargers to one version in waves.")
app.add_typer(campaigns, name="campaign")

Image = Annotated[str, typer.Argument(help="SHA-256 of the image; see `firmware list`.")]
Campaign = Annotated[str, typer.Argument(help="The campaign's name.")]


@app.command("upload")
def upload(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="The file.")
    ],
    version: Annotated[
        str, typer.Option("--version", help="What a station calls itself once it has this.")
    ],
    certificate: Annotated[
        Path | None, typer.Option("--certificate", help="The maker's certificate, PEM.")
    ] = None,
    signature: Annotated[
        Path | None, typer.Option("--signature", help="The maker's signature, base64.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Keep a file of firmware for chargers to fetch.

    \b
    loadstar firmware upload charger-2.1.bin --version 2.1
    loadstar firmware upload charger-2.1.bin --version 2.1 \
        --certificate maker.pem --signature charger-2.1.sig
    """
    from controlplane.api.v1 import firmware_pb2

    description = firmware_pb2.FirmwareDescription(
        version=version,
        name=file.name,
        signing_certificate=certificate.read_text(encoding="ascii") if certificate else "",
        signature="".join(signature.read_text(encoding="ascii").split()) if signature else "",
    )
    with connected(address) as channel:
        response = _stub(channel).UploadFirmware(
            _parts(description, file), timeout=_UPLOAD_TIMEOUT_S
        )
    if as_json:
        print_json(response.image)
    else:
        typer.echo(f"kept as {response.image.sha256}, {response.image.size_bytes} bytes")


@app.command("list")
def list_images(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List the images that are kept.

    \b
    loadstar firmware list
    """
    from controlplane.api.v1 import firmware_pb2

    with connected(address) as channel:
        response = _stub(channel).ListFirmware(
            firmware_pb2.ListFirmwareRequest(), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(response)
        return
    table(
        ["image", "version", "file", "#bytes", "signed", "since"],
        (
            [
                image.sha256,
                image.description.version,
                image.description.name,
                f"{image.size_bytes:,}",
                "yes" if image.description.signature else "no",
                moment(image, "stored_time"),
            ]
            for image in response.images
        ),
    )


@app.command("delete")
def delete(image: Image, address: Address = DEFAULT_ADDRESS) -> None:
    """Keep an image no longer.

    \b
    loadstar firmware delete 9f86d081...
    """
    from controlplane.api.v1 import firmware_pb2

    with connected(address) as channel:
        _stub(channel).DeleteFirmware(
            firmware_pb2.DeleteFirmwareRequest(sha256=image), timeout=CALL_TIMEOUT_S
        )


@app.command("update")
def update(
    charger_id: Annotated[str, typer.Argument(help="The charger.")],
    image: Annotated[str, typer.Option("--image", help="An image that is kept here.")] = "",
    location: Annotated[str, typer.Option("--location", help="A file elsewhere, as a URL.")] = "",
    install: Annotated[
        str | None, typer.Option("--install", help="Install not before; RFC 3339.")
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have one charger fetch and install firmware; `firmware status` says how far it is.

    \b
    loadstar firmware update CP1 --image 9f86d081...
    loadstar firmware update CP1 --location ftp://maker.example/charger-2.1.bin
    """
    from controlplane.api.v1 import firmware_pb2

    if bool(image) == bool(location):
        raise typer.BadParameter("give either --image or --location")
    request = firmware_pb2.UpdateFirmwareRequest(
        charger_id=charger_id,
        install_time=instant("--install", install),
        request_id=new_request_id(),
    )
    if image:
        request.sha256 = image
    else:
        request.location = location
    with connected(address) as channel:
        response = _stub(channel).UpdateFirmware(request, timeout=CALL_TIMEOUT_S + 5)
    if as_json:
        print_json(response)
    else:
        typer.echo(_outcome(response.outcome))


@app.command("status")
def status(
    charger_id: Annotated[str, typer.Argument(help="The charger.")],
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Show how far the latest update of a charger has come.

    \b
    loadstar firmware status CP1
    """
    from controlplane.api.v1 import firmware_pb2

    with connected(address) as channel:
        response = _stub(channel).GetUpdate(
            firmware_pb2.GetUpdateRequest(charger_id=charger_id), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(response)
        return
    ended = ", at its end" if response.ended else ""
    typer.echo(f"{response.status} since {moment(response, 'changed_time')}{ended}")


# --- campaigns ------------------------------------------------------------------------------------


@campaigns.command("create")
def create(
    campaign_id: Campaign,
    image: Annotated[str, typer.Option("--image", help="An image that is kept here.")],
    wave: Annotated[
        list[str],
        typer.Option("--wave", help="Chargers with commas between; once for each wave."),
    ],
    failures_max: Annotated[
        int, typer.Option("--failures-max", help="Stop when more than so many fail.", min=0)
    ] = 0,
    start: Annotated[str | None, typer.Option("--from", help="RFC 3339; now by default.")] = None,
    also_busy: Annotated[
        bool, typer.Option("--also-busy", help="Also chargers that charge somebody.")
    ] = False,
    patience_s: Annotated[
        float, typer.Option("--patience", help="Seconds that a charger may take.", min=60)
    ] = 7_200.0,
    pause_s: Annotated[
        float, typer.Option("--pause", help="Seconds between two waves.", min=0)
    ] = 600.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Begin a campaign: one wave after the other, stopped when too many updates fail.

    \b
    loadstar firmware campaign create spring --image 9f86d081... --wave CP1 --wave CP2,CP3,CP4
    loadstar firmware campaign create spring --image 9f86d081... --wave CP1,CP2 --failures-max 1
    """
    from controlplane.api.v1 import firmware_pb2

    request = firmware_pb2.CreateCampaignRequest(
        campaign_id=campaign_id,
        sha256=image,
        waves=[firmware_pb2.CampaignWave(charger_ids=each.split(",")) for each in wave],
        failures_max=failures_max,
        start_time=instant("--from", start),
        also_busy=also_busy,
        patience_s=patience_s,
        pause_s=pause_s,
        request_id=new_request_id(),
    )
    with connected(address) as channel:
        response = _stub(channel).CreateCampaign(request, timeout=CALL_TIMEOUT_S)
    _show(response.campaign, as_json=as_json)


@campaigns.command("list")
def list_campaigns(
    only_open: Annotated[bool, typer.Option("--open", help="Only those not at an end.")] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List campaigns, the one that changed last first.

    \b
    loadstar firmware campaign list --open
    """
    from controlplane.api.v1 import firmware_pb2

    with connected(address) as channel:
        response = _stub(channel).ListCampaigns(
            firmware_pb2.ListCampaignsRequest(only_open=only_open), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(response)
        return
    table(
        ["campaign", "version", "stage", "changed"],
        (
            [each.campaign_id, each.version, _stage(each.stage), moment(each, "updated_time")]
            for each in response.campaigns
        ),
    )


@campaigns.command("show")
def show(campaign_id: Campaign, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show a campaign, charger by charger.

    \b
    loadstar firmware campaign show spring
    """
    from controlplane.api.v1 import firmware_pb2

    with connected(address) as channel:
        response = _stub(channel).GetCampaign(
            firmware_pb2.GetCampaignRequest(campaign_id=campaign_id), timeout=CALL_TIMEOUT_S
        )
    _show(response.campaign, as_json=as_json)


@campaigns.command("pause")
def pause(campaign_id: Campaign, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Tell no more chargers for now.

    \b
    loadstar firmware campaign pause spring
    """
    _change(campaign_id, "PAUSE", address, as_json=as_json)


@campaigns.command("resume")
def resume(
    campaign_id: Campaign, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Go on; after a stop, try what failed once more.

    \b
    loadstar firmware campaign resume spring
    """
    _change(campaign_id, "RESUME", address, as_json=as_json)


@campaigns.command("cancel")
def cancel(
    campaign_id: Campaign, address: Address = DEFAULT_ADDRESS, as_json: Json = False
) -> None:
    """Tell no more chargers, ever.

    \b
    loadstar firmware campaign cancel spring
    """
    _change(campaign_id, "CANCEL", address, as_json=as_json)


def _change(campaign_id: str, change: str, address: str, *, as_json: bool) -> None:
    from controlplane.api.v1 import firmware_pb2

    request = firmware_pb2.ChangeCampaignRequest(
        campaign_id=campaign_id,
        change=firmware_pb2.CampaignChange.Value(f"CAMPAIGN_CHANGE_{change}"),
        request_id=new_request_id(),
    )
    with connected(address) as channel:
        response = _stub(channel).ChangeCampaign(request, timeout=CALL_TIMEOUT_S)
    _show(response.campaign, as_json=as_json)


def _show(campaign: firmware_pb2.Campaign, *, as_json: bool) -> None:
    if as_json:
        print_json(campaign)
        return
    table(
        ["#wave", "charger", "status", "since"],
        (
            [
                str(member.wave + 1),
                member.charger_id,
                member.status or "waits",
                moment(member, "changed_time"),
            ]
            for member in campaign.members
        ),
        title=f"{campaign.campaign_id}: {campaign.version}, {_stage(campaign.stage)}, wave "
        f"{campaign.wave + 1} of {campaign.waves}, {campaign.installed} installed, "
        f"{campaign.failed} failed (at most {campaign.failures_max})",
    )


def _parts(
    description: firmware_pb2.FirmwareDescription, path: Path
) -> Iterator[firmware_pb2.UploadFirmwareRequest]:
    from controlplane.api.v1 import firmware_pb2

    yield firmware_pb2.UploadFirmwareRequest(description=description)
    with path.open("rb") as file:
        while content := file.read(_PART_BYTES):
            yield firmware_pb2.UploadFirmwareRequest(content=content)


def _outcome(outcome: chargers_pb2.CommandOutcome) -> str:
    from controlplane.api.v1 import chargers_pb2

    said = word(chargers_pb2.CommandState, outcome.state)
    more = outcome.status or outcome.error_description
    return f"{said}: {more}" if more else said


def _stage(number: int) -> str:
    from controlplane.api.v1 import firmware_pb2

    return word(firmware_pb2.CampaignStage, number)


def _stub(channel: grpc.Channel) -> FirmwareServiceStub:
    from controlplane.api.v1 import firmware_pb2_grpc

    stub: Any = firmware_pb2_grpc.FirmwareServiceStub(channel)
    return stub  # type: ignore[no-any-return]
