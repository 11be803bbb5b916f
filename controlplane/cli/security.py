"""`loadstar security`: how chargers prove themselves and what happened that concerns it; and what
of `loadstar chargers` has to do with passwords, certificates and candidates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.authority import certificates_stub
from controlplane.cli.charger_commands import MARGIN_S, Timeout, report
from controlplane.cli.chargers import ChargerId, charger_stub
from controlplane.cli.chargers import app as chargers
from controlplane.cli.connection import (
    CALL_TIMEOUT_S,
    DEFAULT_ADDRESS,
    Address,
    Json,
    connected,
    fail,
    new_request_id,
)
from controlplane.cli.output import echo_json, moment, print_json, table, word

if TYPE_CHECKING:
    import grpc

    from controlplane.api.v1 import security_pb2
    from controlplane.api.v1.security_pb2_grpc import SecurityServiceStub

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="How chargers prove themselves (docs/security.md).")


@app.command("events")
def events(
    charger: Annotated[str, typer.Option(help="Only of this charger.")] = "",
    critical: Annotated[
        bool, typer.Option("--critical", help="Only those that OCPP's list marks critical.")
    ] = False,
    count: Annotated[int, typer.Option(help="How many, the newest first.", min=1, max=1_000)] = 100,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List what chargers told and Loadstar saw that concerns security.

    \b
    loadstar security events
    loadstar security events --charger CP-1 --critical --json
    """
    from controlplane.api.v1 import security_pb2

    with connected(address) as channel:
        found = _stub(channel).ListSecurityEvents(
            security_pb2.ListSecurityEventsRequest(
                charger_id=charger, critical_only=critical, page_size=count
            ),
            timeout=CALL_TIMEOUT_S,
        )
    if as_json:
        print_json(found)
        return
    table(
        ["Time (UTC)", "Charger", "Event", "Critical", "Source", "#Count", "Detail"],
        (
            [
                moment(event, "receive_time"),
                event.charger_id,
                event.type,
                "critical" if event.critical else "",
                event.source,
                str(event.count),
                event.detail,
            ]
            for event in found.events
        ),
    )


@app.command("show")
def show(charger_id: ChargerId, address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show how a charger proves itself.

    \b
    loadstar security show CP-1
    """
    from controlplane.api.v1 import security_pb2

    with connected(address) as channel:
        found = _stub(channel).GetChargerSecurity(
            security_pb2.GetChargerSecurityRequest(charger_id=charger_id), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(found)
        return
    table(
        ["Charger", charger_id],
        [
            ["Profile reached", str(found.security_profile_reached)],
            ["Profile wanted", str(found.security_profile_min)],
            ["Password", "known" if found.has_password else "none"],
            ["Passwords not used yet", str(found.pending_passwords)],
        ],
    )


@app.command("lower-profile")
def lower_profile(
    charger_id: ChargerId,
    profile: Annotated[int, typer.Argument(help="The security profile.", min=0, max=3)],
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Let a charger connect at a lower security profile than it has shown.

    For one whose controller was exchanged; it never happens by itself.

    \b
    loadstar security lower-profile CP-1 1
    """
    from controlplane.api.v1 import security_pb2

    with connected(address) as channel:
        _stub(channel).LowerSecurityProfile(
            security_pb2.LowerSecurityProfileRequest(
                charger_id=charger_id, security_profile=profile
            ),
            timeout=CALL_TIMEOUT_S,
        )
    typer.echo(f"{charger_id} may connect at security profile {profile}.")


# --- chargers: passwords and certificates ---------------------------------------------------------


@chargers.command("rotate-password")
def rotate_password(
    charger_id: Annotated[
        str, typer.Argument(help="The charger; or name a site with --site.")
    ] = "",
    site: Annotated[str, typer.Option(help="Every charger of this site.")] = "",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Make up a new password for a charger and give it to the charger, and to nobody else.

    The old one stays right until the charger has come back with the new one, and alone where the
    charger refuses it.

    \b
    loadstar chargers rotate-password CP-1
    loadstar chargers rotate-password --site depot
    """
    from controlplane.api.v1 import chargers_pb2, security_pb2

    if bool(charger_id) == bool(site):
        raise typer.BadParameter("give either a charger or --site")
    with connected(address) as channel:
        if not site:
            response = _rotate(channel, charger_id, timeout_s)
            report(response, as_json=as_json)
            return
        failed = 0
        for each in _chargers_of(channel, site):
            line, ok = _rotated_line(channel, each, timeout_s)
            failed += not ok
            if as_json:
                echo_json(
                    security_pb2.RotatePasswordResponse(
                        outcome=chargers_pb2.CommandOutcome(status=line)
                    )
                )
            else:
                typer.echo(f"{each:20} {line}")
    if failed:
        fail(f"{failed} chargers keep their old password.")


def _rotated_line(channel: grpc.Channel, charger_id: str, timeout_s: float) -> tuple[str, bool]:
    """What became of one of many; one that is offline keeps nobody else from being served."""
    import grpc

    from controlplane.api.v1 import chargers_pb2

    try:
        outcome = _rotate(channel, charger_id, timeout_s).outcome
    except grpc.RpcError as error:
        return str(error.details()), False
    accepted = outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
    return word(chargers_pb2.CommandState, outcome.state), accepted


def _rotate(
    channel: grpc.Channel, charger_id: str, timeout_s: float
) -> security_pb2.RotatePasswordResponse:
    from controlplane.api.v1 import security_pb2

    return _stub(channel).RotatePassword(
        security_pb2.RotatePasswordRequest(charger_id=charger_id, timeout_s=timeout_s),
        timeout=timeout_s + MARGIN_S,
    )


def _chargers_of(channel: grpc.Channel, site: str) -> list[str]:
    from controlplane.api.v1 import chargers_pb2

    found, token = [], ""
    while True:
        page = charger_stub(channel).ListChargers(
            chargers_pb2.ListChargersRequest(
                site_id=site,
                view=chargers_pb2.CHARGER_VIEW_BASIC,
                page_size=1_000,
                page_token=token,
            ),
            timeout=CALL_TIMEOUT_S,
        )
        found += [charger.charger_id for charger in page.chargers]
        token = page.next_page_token
        if not token:
            return found


@chargers.command("certificates")
def installed_certificates(
    charger_id: ChargerId,
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """List the root certificates that a charger holds.

    \b
    loadstar chargers certificates CP-1
    """
    from controlplane.api.v1 import certificates_pb2, chargers_pb2

    with connected(address) as channel:
        found = certificates_stub(channel).GetInstalledCertificateIds(
            certificates_pb2.GetInstalledCertificateIdsRequest(
                charger_id=charger_id, timeout_s=timeout_s
            ),
            timeout=timeout_s + MARGIN_S,
        )
    if as_json or found.outcome.state != chargers_pb2.COMMAND_STATE_ACCEPTED:
        report(found, as_json=as_json)
        return
    table(
        ["Type", "Serial", "Issuer's key", "Hash"],
        (
            [
                each.certificate_type,
                each.certificate.serial_number,
                each.certificate.issuer_key_hash,
                each.certificate.hash_algorithm,
            ]
            for each in found.certificates
        ),
    )


@chargers.command("install-certificate")
def install_certificate(
    charger_id: ChargerId,
    file: Annotated[
        Path | None, typer.Argument(help="PEM; without it the local authority's.", dir_okay=False)
    ] = None,
    certificate_type: Annotated[
        str, typer.Option("--type", help="What it is for, in the words of OCPP 2.x.")
    ] = "CSMSRootCertificate",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have a charger believe a root certificate.

    \b
    loadstar chargers install-certificate CP-1
    loadstar chargers install-certificate CP-1 root.pem --type ManufacturerRootCertificate
    """
    from controlplane.api.v1 import certificates_pb2

    pem = ""
    if file is not None:
        try:
            pem = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{file}: {error}")
    with connected(address) as channel:
        response = certificates_stub(channel).InstallCertificate(
            certificates_pb2.InstallCertificateRequest(
                charger_id=charger_id,
                certificate_type=certificate_type,
                certificate_pem=pem,
                timeout_s=timeout_s,
                request_id=new_request_id(),
            ),
            timeout=timeout_s + MARGIN_S,
        )
    report(response, as_json=as_json)


@chargers.command("renew-certificate")
def renew_certificate(
    charger_id: ChargerId,
    purpose: Annotated[
        str, typer.Option(help="In the words of OCPP 2.x.")
    ] = "ChargingStationCertificate",
    timeout_s: Timeout = 30.0,
    address: Address = DEFAULT_ADDRESS,
    as_json: Json = False,
) -> None:
    """Have a charger ask for a new certificate of its own; `loadstar ca requests` shows how far it
    has come.

    \b
    loadstar chargers renew-certificate CP-1
    """
    from controlplane.api.v1 import certificates_pb2

    with connected(address) as channel:
        response = certificates_stub(channel).RenewCertificate(
            certificates_pb2.RenewCertificateRequest(
                charger_id=charger_id,
                purpose=purpose,
                timeout_s=timeout_s,
                request_id=new_request_id(),
            ),
            timeout=timeout_s + MARGIN_S,
        )
    report(response, as_json=as_json)


# --- chargers: candidates -------------------------------------------------------------------------


@chargers.command("candidates")
def candidates(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """List chargers that came without being described and wait for an owner.

    \b
    loadstar chargers candidates
    """
    from controlplane.api.v1 import security_pb2

    with connected(address) as channel:
        found = _stub(channel).ListCandidates(
            security_pb2.ListCandidatesRequest(), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(found)
        return
    table(
        ["Charger", "Vendor", "Model", "Serial number", "OCPP", "From", "First seen (UTC)"],
        (
            [
                each.charger_id,
                each.vendor,
                each.model,
                each.serial_number,
                each.ocpp_version.removeprefix("ocpp"),
                each.remote,
                moment(each, "first_seen_time"),
            ]
            for each in found.candidates
        ),
    )


@chargers.command("accept")
def accept(
    charger_id: ChargerId,
    site: Annotated[str, typer.Option(help="The site it stands in.")],
    circuit: Annotated[str, typer.Option(help="The circuit that feeds it.")],
    offline_current_a: Annotated[
        float | None,
        typer.Option("--offline-current", help="Amperes while nobody steers it.", min=0),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
) -> None:
    """Put a charger that waits for an owner into a site, with one three-phase connector.

    Describe it further in the network description. Give it a password at once, with `loadstar
    chargers rotate-password`: until then anybody may connect under its name.

    \b
    loadstar chargers accept CP-9 --site depot --circuit main
    """
    from controlplane.api.v1 import network_pb2, security_pb2

    with connected(address) as channel:
        _stub(channel).AcceptCandidate(
            security_pb2.AcceptCandidateRequest(
                site_id=site,
                charger=network_pb2.ChargerDescription(
                    id=charger_id, circuit=circuit, offline_current_a=offline_current_a
                ),
            ),
            timeout=CALL_TIMEOUT_S,
        )
    typer.echo(f"{charger_id} stands in {site}.")


@chargers.command("dismiss")
def dismiss(charger_id: ChargerId, address: Address = DEFAULT_ADDRESS) -> None:
    """Forget a charger that waits for an owner.

    \b
    loadstar chargers dismiss CP-9
    """
    from controlplane.api.v1 import security_pb2

    with connected(address) as channel:
        _stub(channel).DismissCandidate(
            security_pb2.DismissCandidateRequest(charger_id=charger_id), timeout=CALL_TIMEOUT_S
        )
    typer.echo(f"{charger_id} is no candidate any more.")


def _stub(channel: grpc.Channel) -> SecurityServiceStub:
    from controlplane.api.v1 import security_pb2_grpc

    return security_pb2_grpc.SecurityServiceStub(channel)
