"""`loadstar network`: the described network as one YAML file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
    new_request_id,
)
from controlplane.cli.output import print_json, table, word

if TYPE_CHECKING:
    from controlplane.network import NetworkConfig

__all__ = ["app", "described"]

app = typer.Typer(
    no_args_is_help=True, help="Check, apply and export the network as one YAML file."
)

File = Annotated[Path, typer.Argument(help="A network description in YAML.", dir_okay=False)]
APPLY_TIMEOUT_S = 300.0


@app.command("validate")
def validate(file: File) -> None:
    """Check a description without a running Loadstar; every fault is named with its place.

    \b
    loadstar network validate network.yaml
    """
    network = described(file)
    chargers = sum(len(site.chargers) for site in network.sites)
    typer.echo(
        f"{file}: {len(network.feeders)} feeders, {len(network.sites)} sites, {chargers} chargers"
    )


@app.command("apply")
def apply(
    file: File,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change; change nothing.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Bring a description into force: create what is new, replace what differs, delete nothing.

    \b
    loadstar network apply network.yaml --dry-run
    loadstar network apply network.yaml
    """
    from controlplane.api.descriptions import network_to_message
    from controlplane.api.v1 import network_pb2, network_pb2_grpc

    request = network_pb2.ApplyNetworkRequest(
        network=network_to_message(described(file)),
        validate_only=dry_run,
        request_id=new_request_id(),
    )
    with connected(address) as channel:
        response = network_pb2_grpc.NetworkServiceStub(channel).ApplyNetwork(
            request, timeout=APPLY_TIMEOUT_S
        )
    if as_json:
        print_json(response)
        return
    table(
        ["Element", "Id", "Would be" if dry_run else "Was"],
        (
            [
                "feeder" if change.feeder_id else "site",
                change.feeder_id or change.site_id,
                word(network_pb2.NetworkChangeAction, change.action),
            ]
            for change in response.changes
        ),
    )


@app.command("export")
def export(
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Write the network in force to standard output, as YAML that `apply` and `up` take.

    \b
    loadstar network export > network.yaml
    """
    from controlplane.api.v1 import network_pb2, network_pb2_grpc

    with connected(address) as channel:
        response = network_pb2_grpc.NetworkServiceStub(channel).ExportNetwork(
            network_pb2.ExportNetworkRequest(format=network_pb2.NETWORK_FORMAT_YAML),
            timeout=CALL_TIMEOUT_S,
        )
    if as_json:
        import yaml

        # JSON is a part of YAML: `apply` takes either.
        document = json.dumps(yaml.safe_load(response.yaml), indent=2, ensure_ascii=False)
        sys.stdout.write(document + "\n")
    else:
        sys.stdout.write(response.yaml)


def described(file: Path) -> NetworkConfig:
    """The network in `file`; a fault ends the command."""
    from controlplane.errors import InvalidInput
    from controlplane.network_yaml import load_network

    try:
        return load_network(file)
    except InvalidInput as error:
        fail(error.message)
