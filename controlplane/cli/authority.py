"""`loadstar ca`: the local certificate authority, and what it signed.

`init` and `server-certificate` work on the authority's folder, where its key lies, and need no
running Loadstar; the others ask one."""

from __future__ import annotations

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
)
from controlplane.cli.output import moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1.certificates_pb2_grpc import CertificatesServiceStub

__all__ = ["app", "certificates_stub"]

app = typer.Typer(
    no_args_is_help=True, help="The authority that signs chargers' certificates (docs/security.md)."
)

CaDir = Annotated[
    Path,
    typer.Option(
        "--ca-dir",
        envvar="LOADSTAR_CA_DIR",
        help="Where the authority's key and certificate lie.",
        file_okay=False,
    ),
]
_DEFAULT_CA_DIR = Path("loadstar-data/ca")


@app.command("init")
def init(
    organisation: Annotated[str, typer.Option(help="Who runs the network (O).")],
    name: Annotated[str, typer.Option(help="The authority's name (CN).")] = "Loadstar CA",
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=36_500)] = 3_650,
    ca_dir: CaDir = _DEFAULT_CA_DIR,
) -> None:
    """Make a key and a root certificate for chargers' certificates.

    The key is not encrypted: keep the folder readable for Loadstar alone, and a copy in a safe
    place. A Loadstar that runs believes it within seconds.

    \b
    loadstar ca init --organisation "Example Charging"
    """
    from controlplane.errors import LoadstarError
    from controlplane.runtime.authority import Authority

    try:
        Authority.create(ca_dir, organisation=organisation, name=name, days=days)
    except LoadstarError as error:
        fail(error.message)
    except OSError as error:
        fail(f"{ca_dir}: {error.strerror}")
    typer.echo(f"certificate: {ca_dir / 'ca.pem'}\nkey:         {ca_dir / 'ca.key'}")


@app.command("server-certificate")
def server_certificate(
    names: Annotated[
        list[str], typer.Argument(help="Names and addresses under which chargers find Loadstar.")
    ],
    output: Annotated[
        Path, typer.Option(help="The folder for server.pem and server.key.", file_okay=False)
    ] = Path(),
    days: Annotated[int, typer.Option(help="How long it is valid.", min=1, max=3_650)] = 365,
    ca_dir: CaDir = _DEFAULT_CA_DIR,
) -> None:
    """Make a certificate for the gateway itself, where no public authority gives one.

    A Loadstar that runs takes changed files in within seconds.

    \b
    loadstar ca server-certificate csms.example 192.0.2.10
    loadstar up --ocpp-tls-port 9443 --tls-certificate server.pem --tls-key server.key
    """
    from controlplane.errors import LoadstarError
    from controlplane.runtime.authority import Authority, write_secret

    try:
        key, chain = Authority.open(ca_dir).server_certificate(names, days=days)
        output.mkdir(parents=True, exist_ok=True)
        write_secret(output / "server.key", key.encode())
        (output / "server.pem").write_text(chain, encoding="utf-8")
    except LoadstarError as error:
        fail(error.message)
    except OSError as error:
        fail(f"{output}: {error.strerror}")
    typer.echo(f"certificate: {output / 'server.pem'}\nkey:         {output / 'server.key'}")


@app.command("show")
def show(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show the authority's certificate.

    \b
    loadstar ca show
    """
    from controlplane.api.v1 import certificates_pb2

    with connected(address) as channel:
        found = certificates_stub(channel).GetAuthority(
            certificates_pb2.GetAuthorityRequest(), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(found)
        return
    typer.echo(
        f"{found.certificate_pem}\nsubject  {found.subject}\n"
        f"until    {moment(found, 'not_after_time')}\n"
        f"serial   {found.certificate.serial_number}"
    )


@app.command("list")
def list_certificates(
    charger: Annotated[str, typer.Option(help="Only this charger's.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List the certificates that were signed for chargers, and those that were handed over.

    \b
    loadstar ca list
    loadstar ca list --charger CP-1 --json
    """
    from controlplane.api.v1 import certificates_pb2

    found = certificates_pb2.ListCertificatesResponse()
    with connected(address) as channel:
        token = ""
        while True:
            page = certificates_stub(channel).ListCertificates(
                certificates_pb2.ListCertificatesRequest(
                    charger_id=charger, page_size=1_000, page_token=token
                ),
                timeout=CALL_TIMEOUT_S,
            )
            found.certificates.extend(page.certificates)
            token = page.next_page_token
            if not token:
                break
    if as_json:
        print_json(found)
        return
    table(
        ["Serial", "Charger", "Purpose", "Until (UTC)", "Handed over", "Revoked (UTC)", "Why"],
        (
            [
                each.serial,
                each.charger_id,
                each.purpose,
                moment(each, "not_after_time"),
                word(certificates_pb2.HandOver, each.handed_over),
                moment(each, "revoked_time"),
                each.revocation_reason,
            ]
            for each in found.certificates
        ),
    )


@app.command("requests")
def requests(
    charger: Annotated[str, typer.Option(help="Only this charger's.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List what chargers asked to be signed, and what became of it.

    \b
    loadstar ca requests
    """
    from controlplane.api.v1 import certificates_pb2

    with connected(address) as channel:
        found = certificates_stub(channel).ListSigningRequests(
            certificates_pb2.ListSigningRequestsRequest(charger_id=charger),
            timeout=CALL_TIMEOUT_S,
        )
    if as_json:
        print_json(found)
        return
    table(
        ["Charger", "Purpose", "State", "Asked (UTC)", "Serial", "Why"],
        (
            [
                each.charger_id,
                each.purpose,
                word(certificates_pb2.SigningState, each.state),
                moment(each, "ask_time"),
                each.serial,
                each.detail,
            ]
            for each in found.signing_requests
        ),
    )


@app.command("revoke")
def revoke(
    serial: Annotated[str, typer.Argument(help="The certificate's serial number.")],
    reason: Annotated[str, typer.Option(help="Why, for those who look at it later.")] = "",
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Revoke a certificate for good; a charger that is connected with it is cut off.

    \b
    loadstar ca revoke 63ac772ee2f749bd7131bd120e8db56bcd91aa02 --reason "charger stolen"
    """
    from controlplane.api.v1 import certificates_pb2

    with connected(address) as channel:
        answered = certificates_stub(channel).RevokeCertificate(
            certificates_pb2.RevokeCertificateRequest(serial=serial, reason=reason),
            timeout=CALL_TIMEOUT_S,
        )
    if as_json:
        print_json(answered)
    else:
        typer.echo(f"revoked: {answered.certificate.charger_id} {answered.certificate.serial}")


def certificates_stub(channel: grpc.Channel) -> CertificatesServiceStub:
    from controlplane.api.v1 import certificates_pb2_grpc

    return certificates_pb2_grpc.CertificatesServiceStub(channel)
