"""`loadstar openadr`: the OpenADR 3 VEN beside a running Loadstar."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import DEFAULT_ADDRESS, Address, fail
from controlplane.cli.output import table

if TYPE_CHECKING:
    from controlplane.integrations.openadr.settings import OpenAdrSettings
    from controlplane.integrations.openadr.ven import Look, Ven

__all__ = ["openadr"]


def openadr(
    vtn: Annotated[str | None, typer.Option(help="The VTN's base URL.")] = None,
    program: Annotated[str | None, typer.Option(help="The program's name or id.")] = None,
    target: Annotated[
        str | None, typer.Option(help="What follows the program: feeder:ID or site:ID.")
    ] = None,
    client_id: Annotated[str | None, typer.Option(help="OAuth 2.0 client id.")] = None,
    client_secret: Annotated[
        str | None,
        typer.Option(help="Its secret. Others on this machine see it; prefer a file."),
    ] = None,
    client_secret_file: Annotated[
        Path | None, typer.Option(help="A file that holds the secret.", dir_okay=False)
    ] = None,
    token_url: Annotated[
        str | None, typer.Option(help="Where tokens are fetched; by default the VTN says.")
    ] = None,
    scope: Annotated[str | None, typer.Option(help="Scope to ask a token for.")] = None,
    ca_file: Annotated[
        Path | None, typer.Option(help="Certificates to trust, PEM.", dir_okay=False)
    ] = None,
    ven_name: Annotated[str | None, typer.Option(help="Our name; `loadstar` by default.")] = None,
    resource_name: Annotated[
        str | None, typer.Option(help="The target's name; such as `feeder-north` by default.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A further name by which events may address us.")
    ] = None,
    level: Annotated[
        list[str] | None,
        typer.Option(help="What a SIMPLE level means: `2=80kW` limits, `1=-50kW` reduces."),
    ] = None,
    prices: Annotated[
        str | None,
        typer.Option(
            help="Push the program's prices to sites whose tariff has day_ahead: follow (default), "
            "or ignore."
        ),
    ] = None,
    poll: Annotated[float | None, typer.Option(help="Seconds between looks; 10.")] = None,
    acknowledge: Annotated[
        str | None,
        typer.Option(help="Report what was made of events: requested (default), always, never."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Look once, print what would be done, change nothing.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Follow a utility's OpenADR 3 program until Ctrl-C or SIGTERM.

    Logs in to the VTN, registers itself where it may, and turns the program's events into grid
    events of Loadstar for one feeder or site; what was made of them goes back as reports. Prices
    are pushed to the sites whose tariff follows a market. Keeps nothing of its own: stop and start
    it as you like. Every option is also a variable of the
    environment, such as LOADSTAR_OPENADR_CLIENT_SECRET; docs/integrations.md says which payloads
    mean what.

    \b
    loadstar openadr --vtn https://vtn.example/openadr3/3.1.0 --program evening-peak \\
        --target feeder:north --client-id depot --client-secret-file /etc/loadstar/vtn --check
    loadstar openadr --vtn https://vtn.example/openadr3/3.1.0 --program shed \\
        --target site:depot --client-id depot --client-secret-file /etc/loadstar/vtn \\
        --level 1=-50kW --level 2=80kW --level 3=0kW
    """
    settings = _settings(
        vtn=vtn,
        program=program,
        target=target,
        client_id=client_id,
        client_secret=client_secret,
        client_secret_file=client_secret_file,
        token_url=token_url,
        scope=scope,
        ca_file=ca_file,
        ven_name=ven_name,
        resource_name=resource_name,
        groups=group or None,
        levels=level or None,
        prices=prices,
        poll_s=poll,
        acknowledge=acknowledge,
    )
    from controlplane.errors import LoadstarError

    try:
        secret = settings.secret()
        asyncio.run(_follow(settings, secret, address, check=check))
    except LoadstarError as error:
        fail(error.message)
    except OSError as error:
        fail(f"The OpenADR client cannot start: {error}")


def _settings(**given: Any) -> OpenAdrSettings:
    from pydantic import ValidationError

    from controlplane.integrations.openadr.settings import OpenAdrSettings
    from controlplane.network_yaml import violations

    try:
        return OpenAdrSettings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        faults = "\n".join(
            f"  {place} (LOADSTAR_OPENADR_{place.split('.')[0].upper()}): {fault}"
            if place
            else f"  {fault}"
            for place, fault in violations(error)
        )
        fail(f"The OpenADR client cannot start with these settings:\n{faults}")


async def _follow(settings: OpenAdrSettings, secret: str, address: str, *, check: bool) -> None:
    import grpc

    from controlplane.config import Settings
    from controlplane.integrations.openadr.grid import GridClient
    from controlplane.integrations.openadr.ven import Ven
    from controlplane.integrations.openadr.vtn import VtnClient
    from controlplane.runtime.clock import SystemClock
    from controlplane.runtime.telemetry import configure_logging

    vtn = VtnClient(
        settings.vtn,
        client_id=settings.client_id,
        client_secret=secret,
        token_url=settings.token_url,
        scope=settings.scope,
        ca_file=settings.ca_file,
    )
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            ven = Ven(settings, vtn, GridClient(channel, settings.target), SystemClock())
            if check:
                _show(await ven.look(register=False))
                return
            configure_logging(Settings(), "openadr", to_file=False)
            typer.echo(f"Follows {settings.program} at {settings.vtn} for {settings.target}.")
            await _until_told(ven)
    finally:
        await vtn.close()


async def _until_told(ven: Ven) -> None:
    """Run until SIGINT or SIGTERM."""
    running = asyncio.ensure_future(ven.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        typer.echo("The OpenADR client stops; grid events in force run until their end.")


def _show(look: Look) -> None:
    from controlplane.integrations.openadr.timing import FOREVER_MS
    from controlplane.units import iso_from_ms

    table(
        ["Event", "Interval", "Payload", "Asks", "#Power", "From (UTC)", "Until (UTC)"],
        (
            [
                wish.event_id,
                str(wish.interval_id),
                wish.payload_type,
                wish.kind.value.replace("_", " "),
                f"{wish.power_w / 1_000:g} kW",
                "now" if wish.immediate else iso_from_ms(wish.start_ms),
                "called off" if wish.end_ms >= FOREVER_MS else iso_from_ms(wish.end_ms),
            ]
            for wish in look.wishes
        ),
    )
    if look.prices:
        table(
            ["Event", "#Price per kWh", "From (UTC)", "Until (UTC)"],
            (
                [
                    step.event_id,
                    f"{step.price_per_kwh.normalize():f} {step.currency}".rstrip(),
                    iso_from_ms(step.start_ms),
                    iso_from_ms(step.end_ms),
                ]
                for step in look.prices
            ),
        )
    for each in look.ignored:
        typer.echo(
            f"Ignored: event {each.event_id} interval {each.interval_id}: {each.payload_type}: "
            f"{each.words}"
        )
    for fault in look.malformed:
        typer.echo(f"Malformed: event {fault.id or '?'}: {fault.fault}")
