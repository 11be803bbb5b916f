"""Passwords, certificates, security events and candidates, from gRPC to stations and back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, Self

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from grpc_node import serving
from security_stations import (
    client_context,
    dial,
    make_authority,
    make_csr,
    make_server_files,
    revocation_list,
    station_certificate,
)
from websockets.exceptions import ConnectionClosed, InvalidStatus

from controlplane.api.v1 import (
    certificates_pb2,
    certificates_pb2_grpc,
    chargers_pb2,
    network_pb2,
    security_pb2,
    security_pb2_grpc,
    sites_pb2,
    sites_pb2_grpc,
)
from controlplane.config import ActorSettings, Settings
from controlplane.ids import ChargerId
from controlplane.runtime.authority import Authority, Wish, read_wish
from controlplane.runtime.node import Node
from controlplane.store.records import SigningState

ACCEPTED = {"status": "Accepted"}
BOOT = {
    "ocpp1.6": {
        "chargePointVendor": "Maker",
        "chargePointModel": "M",
        "chargeBoxSerialNumber": "7",
    },
    "ocpp2.0.1": {
        "reason": "PowerUp",
        "chargingStation": {"vendorName": "Maker", "model": "M", "serialNumber": "7"},
    },
}


@pytest.fixture(autouse=True)
def _quickly_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stations are left in peace for a moment only."""
    monkeypatch.setattr(Settings, "actors", ActorSettings(settle_ms=50))


class Loadstar(NamedTuple):
    node: Node
    authority: Authority
    security: security_pb2_grpc.SecurityServiceAsyncStub
    certificates: certificates_pb2_grpc.CertificatesServiceAsyncStub
    sites: sites_pb2_grpc.SitesServiceAsyncStub


@asynccontextmanager
async def loadstar(folder: Path, **changes: Any) -> AsyncIterator[Loadstar]:
    """With an authority, a TLS door and the site `depot` with CP1 and CP2."""
    authority = make_authority(folder / "ca")
    certificate, key = make_server_files(authority, folder)
    settings = Settings(
        data_dir=folder,
        ocpp_port=0,
        grpc_port=0,
        ocpp_tls_port=0,
        tls_certificate=certificate,
        tls_key=key,
        **changes,
    )
    async with serving(settings) as (node, _, channel):
        running = Loadstar(
            node,
            authority,
            security_pb2_grpc.SecurityServiceStub(channel),
            certificates_pb2_grpc.CertificatesServiceStub(channel),
            sites_pb2_grpc.SitesServiceStub(channel),
        )
        await running.sites.CreateSite(
            sites_pb2.CreateSiteRequest(
                site=network_pb2.SiteDescription(
                    id="depot",
                    circuits=[network_pb2.CircuitDescription(id="main", rating_a=100)],
                    chargers=[
                        network_pb2.ChargerDescription(id=name, circuit="main")
                        for name in ("CP1", "CP2")
                    ],
                )
            )
        )
        yield running


class Station:
    """Answers what it is asked: with `answers[action]`, or Accepted."""

    def __init__(self, dialling: Any, version: str = "ocpp1.6", **answers: Any) -> None:
        self.version = version
        self.answers = answers
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self._dialling = dialling
        self._answered: dict[str, asyncio.Future[Any]] = {}

    async def __aenter__(self) -> Self:
        self._socket = await self._dialling.__aenter__()
        self._reading = asyncio.create_task(self._read())
        self.booted = await self.call("BootNotification", BOOT[self.version])
        return self

    async def __aexit__(self, *error: object) -> None:
        self._reading.cancel()
        await self._socket.close()

    async def call(self, action: str, payload: Any) -> Any:
        message_id = f"s{len(self._answered)}"
        answered = self._answered[message_id] = asyncio.get_running_loop().create_future()
        await self._socket.send(json.dumps([2, message_id, action, payload]))
        return await asyncio.wait_for(answered, 15)

    async def closed(self) -> None:
        await asyncio.wait_for(asyncio.shield(self._reading), 15)

    async def _read(self) -> None:
        try:
            async for text in self._socket:
                kind, message_id, *rest = json.loads(text)
                if kind == 2:
                    self.asked.append((rest[0], rest[1]))
                    answer = self.answers.get(rest[0], _answer(rest[0], rest[1]))
                    await self._socket.send(json.dumps([3, message_id, answer]))
                else:
                    self._answered[message_id].set_result(rest[0])
        except ConnectionClosed:
            pass

    def last(self, action: str) -> dict[str, Any] | None:
        return next((payload for told, payload in reversed(self.asked) if told == action), None)


def _answer(action: str, payload: dict[str, Any]) -> dict[str, Any]:
    if action == "SetVariables":
        return {
            "setVariableResult": [
                {
                    "attributeStatus": "Accepted",
                    "component": each["component"],
                    "variable": each["variable"],
                }
                for each in payload["setVariableData"]
            ]
        }
    return dict(ACCEPTED)


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a poll over gRPC has no event
            await asyncio.sleep(0.05)
    return found


async def journal(node: Node) -> str:
    return str(await node.reader.journal(0, 1_000))


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
async def test_a_station_gets_a_certificate_uses_it_and_loses_it(
    tmp_path: Path, version: str
) -> None:
    async with loadstar(tmp_path) as running:
        node, authority = running.node, running.authority
        csr, key = make_csr("CP1")
        wrong, _ = make_csr("CP2")
        async with Station(dial(node, "CP1", version=version), version) as station:
            assert await station.call("SignCertificate", {"csr": wrong}) == ACCEPTED

            async def judged() -> Any:
                found = await running.certificates.ListSigningRequests(
                    certificates_pb2.ListSigningRequestsRequest(charger_id="CP1")
                )
                (request,) = found.signing_requests
                return request if request.state != certificates_pb2.SIGNING_STATE_PENDING else None

            request = await until(judged)
            assert request.state == certificates_pb2.SIGNING_STATE_REFUSED
            assert "common name" in request.detail
            assert await station.call("SignCertificate", {"csr": csr}) == ACCEPTED

            async def delivered() -> bool:
                state = (await judged() or request).state
                return bool(state == certificates_pb2.SIGNING_STATE_DELIVERED)

            await until(delivered)
            told = station.last("CertificateSigned")
            assert told is not None
            chain = told["certificateChain"]
        leaf = x509.load_pem_x509_certificates(chain.encode())[0]
        leaf.verify_directly_issued_by(authority.certificate)
        context = client_context(authority, (chain, key), tmp_path)
        async with Station(dial(node, "CP1", context=context, version=version), version) as station:
            assert (await station.call("Heartbeat", {}))["currentTime"]

            async def shown() -> bool:
                found = await running.security.GetChargerSecurity(
                    security_pb2.GetChargerSecurityRequest(charger_id="CP1")
                )
                return bool(found.security_profile_reached == 3)

            await until(shown)
            # A05: what has shown a certificate does without none any more.
            with pytest.raises(InvalidStatus):
                await dial(node, "CP1", version=version)
            await running.certificates.RevokeCertificate(
                certificates_pb2.RevokeCertificateRequest(
                    serial=f"{leaf.serial_number:X}", reason="lost"
                )
            )
            await station.closed()
        with pytest.raises(InvalidStatus) as refused:
            await dial(node, "CP1", context=context, version=version)
        assert refused.value.response.status_code == 403
        (certificate,) = (
            await running.certificates.ListCertificates(certificates_pb2.ListCertificatesRequest())
        ).certificates
        assert certificate.revocation_reason == "lost"

        async def noticed() -> Any:
            found = await running.security.ListSecurityEvents(
                security_pb2.ListSecurityEventsRequest(charger_id="CP1", critical_only=True)
            )
            return {(event.type, event.source) for event in found.events}

        async def both() -> bool:
            wanted = {
                ("SecurityProfileTooLow", "loadstar"),
                ("InvalidClientCertificate", "loadstar"),
            }
            return wanted <= set(await noticed())

        await until(both)


async def test_a_wish_outlives_the_host_and_the_connection(tmp_path: Path) -> None:
    """The host is killed as soon as the wish was taken up, and the station goes away before it
    could be given its certificate."""
    async with loadstar(tmp_path) as running:
        node = running.node
        csr, _ = make_csr("CP1")
        async with Station(dial(node, "CP1")) as station:
            assert await station.call("SignCertificate", {"csr": csr}) == ACCEPTED
            await node.kill_host()
        async with Station(dial(node, "CP1")) as station:
            await until(lambda: _told(station, "CertificateSigned"))

            async def delivered() -> bool:
                found = await running.certificates.ListSigningRequests(
                    certificates_pb2.ListSigningRequestsRequest()
                )
                (wish,) = found.signing_requests
                return bool(wish.state == certificates_pb2.SIGNING_STATE_DELIVERED)

            await until(delivered)


async def test_a_serial_number_that_is_another_chargers_id_is_no_name_to_sign(
    tmp_path: Path,
) -> None:
    """The serial number is a station's own word; what is laid out for a signer is ours."""
    folder = tmp_path / "signer"
    async with (
        loadstar(tmp_path, ca_external_dir=folder) as running,
        Station(dial(running.node, "CP1")) as station,
    ):
        await station.call(
            "BootNotification",
            {"chargePointVendor": "M", "chargePointModel": "M", "chargeBoxSerialNumber": "CP2"},
        )
        csr, _ = make_csr("CP2")
        assert await station.call("SignCertificate", {"csr": csr}) == ACCEPTED

        async def refused() -> Any:
            return await running.node.reader.signings(states=(SigningState.REFUSED,))

        (wish,) = await until(refused)
        assert "common name" in wish.detail
        assert not list(folder.glob("*.csr"))


async def test_another_signer_answers_through_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "signer"
    async with (
        loadstar(tmp_path, ca_external_dir=folder) as running,
        Station(dial(running.node, "CP1", version="ocpp2.0.1"), "ocpp2.0.1") as station,
    ):
        csr, _ = make_csr("SECC-1")
        wish = {"csr": csr, "certificateType": "V2GCertificate"}
        assert await station.call("SignCertificate", wish) == ACCEPTED

        async def laid_out() -> Any:
            return list(folder.glob("*.csr"))

        (file,) = await until(laid_out)
        read = read_wish(file.read_text(), ["SECC-1"])
        assert isinstance(read, Wish)
        other = make_authority(tmp_path / "v2g")
        record = other.sign(read, charger_id="CP1", purpose="V2GCertificate", days=5)
        file.with_suffix(".pem").write_text(record.pem)
        await until(lambda: _told(station, "CertificateSigned"))
        told = station.last("CertificateSigned")
        assert told == {
            "certificateChain": record.pem.strip() + "\n",
            "certificateType": "V2GCertificate",
        }


async def test_installed_certificates_and_their_status(tmp_path: Path) -> None:
    hashed = {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": "aa",
        "issuerKeyHash": "bb",
        "serialNumber": "1f",
    }
    chained = {"certificateType": "CSMSRootCertificate", "certificateHashData": hashed}
    async with (
        loadstar(tmp_path) as running,
        Station(
            dial(running.node, "CP1"),
            GetInstalledCertificateIds={"status": "Accepted", "certificateHashData": [hashed]},
            DeleteCertificate={"status": "NotFound"},
        ) as old,
        Station(
            dial(running.node, "CP2", version="ocpp2.0.1"),
            "ocpp2.0.1",
            GetInstalledCertificateIds={
                "status": "Accepted",
                "certificateHashDataChain": [chained],
            },
        ) as new,
    ):
        stub = running.certificates
        request = certificates_pb2.GetInstalledCertificateIdsRequest(charger_id="CP1")
        types = [
            c.certificate_type
            for c in (await stub.GetInstalledCertificateIds(request)).certificates
        ]
        assert types == ["CSMSRootCertificate", "ManufacturerRootCertificate"]
        request.charger_id = "CP2"
        (found,) = (await stub.GetInstalledCertificateIds(request)).certificates
        assert found.certificate.serial_number == "1f"
        deleted = await stub.DeleteCertificate(
            certificates_pb2.DeleteCertificateRequest(
                charger_id="CP1", certificate=found.certificate
            )
        )
        assert deleted.outcome.state == chargers_pb2.COMMAND_STATE_REJECTED
        installing = certificates_pb2.InstallCertificateRequest(
            charger_id="CP1", certificate_type="CSMSRootCertificate"
        )
        assert (await stub.InstallCertificate(installing)).outcome.status == "Accepted"
        told = old.last("InstallCertificate")
        assert told == {
            "certificateType": "CentralSystemRootCertificate",
            "certificate": running.authority.pem,
        }
        foreign = make_authority(tmp_path / "foreign")
        for charger_id, station in (("CP1", old), ("CP2", new)):
            (chain, _), _ = station_certificate(foreign, charger_id)
            sending = certificates_pb2.SendCertificateRequest(
                charger_id=charger_id, chain_pem=chain
            )
            assert (await stub.SendCertificate(sending)).outcome.status == "Accepted"
            told = station.last("CertificateSigned")
            assert told is not None
            assert told["certificateChain"] == chain
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.SendCertificate(
                certificates_pb2.SendCertificateRequest(charger_id="CP1", chain_pem="none")
            )
        for charger_id, station, action in (
            ("CP1", old, "ExtendedTriggerMessage"),
            ("CP2", new, "TriggerMessage"),
        ):
            await stub.RenewCertificate(
                certificates_pb2.RenewCertificateRequest(charger_id=charger_id)
            )
            told = station.last(action)
            assert told is not None
            assert told["requestedMessage"].startswith("SignCharg")
        await _asks_for_status(running, new)


async def test_what_was_handed_over_is_listed_and_a_revocation_list_cuts_it_off(
    tmp_path: Path,
) -> None:
    """A certificate of a signer that Loadstar only believes: from the operator's hand to the list
    by which that signer takes it back."""
    foreign = make_authority(tmp_path / "foreign", "Foreign CA")
    trusted, listed = tmp_path / "trusted.pem", tmp_path / "revoked.pem"
    trusted.write_text(foreign.pem)
    listed.write_text("")
    files = {"tls_client_ca": trusted, "tls_revocations": listed}
    async with loadstar(tmp_path, **files) as running:
        node, stub = running.node, running.certificates
        (chain, key), serial = station_certificate(foreign, "CP1")

        async def send(charger_id: str) -> Any:
            return await stub.SendCertificate(
                certificates_pb2.SendCertificateRequest(charger_id=charger_id, chain_pem=chain)
            )

        async def shown() -> Any:
            asked = certificates_pb2.ListCertificatesRequest()
            (certificate,) = (await stub.ListCertificates(asked)).certificates
            assert (certificate.serial, certificate.charger_id) == (serial, "CP1")
            return certificate.handed_over

        async with Station(dial(node, "CP1")) as station:
            station.answers["CertificateSigned"] = {"status": "Rejected"}
            refused = (await send("CP1")).outcome
            assert refused.state == chargers_pb2.COMMAND_STATE_REJECTED
            assert await shown() == certificates_pb2.HAND_OVER_REFUSED
            del station.answers["CertificateSigned"]
            await send("CP1")
            assert await shown() == certificates_pb2.HAND_OVER_ACCEPTED
            # By its serial number it would be revoked: it is one certificate of one charger.
            with pytest.raises(grpc.aio.AioRpcError) as taken:
                await send("CP2")
            assert taken.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        context = client_context(running.authority, (chain, key), tmp_path)
        async with Station(dial(node, "CP1", context=context)) as station:
            listed.write_text(revocation_list(tmp_path / "foreign", serial))
            await station.closed()

        async def told() -> bool:
            kinds = f"the client certificate has been revoked: {serial}"
            text = await journal(node)
            return kinds in text and "1008 certificate revoked" in text

        await until(told)
        revoking = certificates_pb2.RevokeCertificateRequest(serial=serial, reason="sold")
        await stub.RevokeCertificate(revoking)
        async with Station(dial(node, "CP2")):
            with pytest.raises(grpc.aio.AioRpcError) as revoked:
                await send("CP1")
            assert "revoked" in str(revoked.value.details())


async def _asks_for_status(running: Loadstar, station: Station) -> None:
    csr, _ = make_csr("CP2")
    assert await station.call("SignCertificate", {"csr": csr}) == ACCEPTED

    async def signed() -> Any:
        return await running.node.reader.certificates(charger_id=ChargerId("CP2"))

    (record,) = await until(signed)
    leaf = x509.load_pem_x509_certificates(record.pem.encode())[0]
    asked = ocsp.OCSPRequestBuilder().add_certificate(
        leaf, running.authority.certificate, hashes.SHA256()
    ).build()  # fmt: skip
    question = {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": asked.issuer_name_hash.hex(),
        "issuerKeyHash": asked.issuer_key_hash.hex(),
        "serialNumber": f"{asked.serial_number:x}",
        "responderURL": "http://ocsp.example",
    }
    answer = await station.call("GetCertificateStatus", {"ocspRequestData": question})
    assert answer["status"] == "Accepted"
    response = ocsp.load_der_ocsp_response(base64.b64decode(answer["ocspResult"]))
    assert response.certificate_status is ocsp.OCSPCertStatus.GOOD
    foreign = {**question, "issuerKeyHash": "00", "serialNumber": "not a number"}
    answer = await station.call("GetCertificateStatus", {"ocspRequestData": foreign})
    assert answer == {"status": "Failed", "statusInfo": {"reasonCode": "UnknownIssuer"}}
    answer = await station.call(
        "Get15118EVCertificate",
        {"iso15118SchemaVersion": "urn", "action": "Install", "exiRequest": "AA=="},
    )
    assert (answer["status"], answer["exiResponse"]) == ("Failed", "")


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
async def test_a_password_is_changed_and_nobody_sees_it(tmp_path: Path, version: str) -> None:
    async with loadstar(tmp_path) as running:
        node, rotating = running.node, security_pb2.RotatePasswordRequest(charger_id="CP1")

        def given(station: Station) -> str:
            if version == "ocpp1.6":
                told = [p for a, p in station.asked if p.get("key") == "AuthorizationKey"]
                return str(told[-1]["value"])
            told = [p["setVariableData"][0] for a, p in station.asked if a == "SetVariables"]
            secrets = [p for p in told if p["variable"]["name"] == "BasicAuthPassword"]
            return str(secrets[-1]["attributeValue"])

        async with Station(dial(node, "CP1", version=version), version) as station:
            answered = await running.security.RotatePassword(rotating)
            assert answered.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED
            first = given(station)
        assert len(first) == 40
        # Until the station has come with it, it may come without.
        async with Station(dial(node, "CP1", version=version), version):
            pass
        async with Station(dial(node, "CP1", version=version, password=first), version):

            async def used() -> bool:
                return "charger.password_rotated" in await journal(node)

            await until(used)
        with pytest.raises(InvalidStatus):
            await dial(node, "CP1", version=version)
        refusing = {"ChangeConfiguration": {"status": "Rejected"}}
        async with Station(
            dial(node, "CP1", version=version, password=first), version, **refusing
        ) as station:
            if version == "ocpp1.6":
                answered = await running.security.RotatePassword(rotating)
                assert answered.outcome.state == chargers_pb2.COMMAND_STATE_REJECTED
                second = given(station)
                with pytest.raises(InvalidStatus):
                    await dial(node, "CP1", version=version, password=second)
        async with Station(dial(node, "CP1", version=version, password=first), version):
            pass
        assert first not in await journal(node)
        assert not await asyncio.to_thread(_files_with, tmp_path, first.encode())


def _files_with(folder: Path, secret: bytes) -> list[Path]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    return [file for file in files if secret in file.read_bytes()]


async def test_security_events_are_kept_and_the_critical_ones_marked(tmp_path: Path) -> None:
    async with loadstar(tmp_path) as running:
        async with Station(dial(running.node, "CP1")) as station:
            for kind in ("TamperDetectionActivated", "InvalidMessages", "MakersOwn"):
                answer = await station.call(
                    "SecurityEventNotification",
                    {"type": kind, "timestamp": "2026-01-01T00:00:00Z", "techInfo": "lid"},
                )
                assert answer == {}
        request = security_pb2.ListSecurityEventsRequest(page_size=2)
        page = await running.security.ListSecurityEvents(request)
        assert [event.type for event in page.events] == ["MakersOwn", "InvalidMessages"]
        request.page_token = page.next_page_token
        page = await running.security.ListSecurityEvents(request)
        assert page.next_page_token == ""
        (event,) = page.events
        assert (event.type, event.critical, event.detail) == (
            "TamperDetectionActivated",
            True,
            "lid",
        )


async def test_unknown_chargers_wait_for_an_owner_within_bounds(tmp_path: Path) -> None:
    async with loadstar(tmp_path, onboarding="pending", candidates_max=2) as running:
        node, security = running.node, running.security
        async with (
            Station(dial(node, "NEW1")) as first,
            Station(dial(node, "NEW2", version="ocpp2.0.1"), "ocpp2.0.1") as second,
            Station(dial(node, "CP1")) as honest,
        ):
            assert first.booted["status"] == second.booted["status"] == "Pending"
            assert await first.call("SignCertificate", {"csr": "x"}) == {"status": "Rejected"}
            listed = await security.ListCandidates(security_pb2.ListCandidatesRequest())
            found = {each.charger_id: each for each in listed.candidates}
            assert set(found) == {"NEW1", "NEW2"}
            assert (found["NEW2"].vendor, found["NEW2"].serial_number) == ("Maker", "7")
            with pytest.raises(InvalidStatus) as refused:
                await dial(node, "NEW3")
            assert refused.value.response.status_code == 503
            assert honest.booted["status"] == "Accepted"
            await security.AcceptCandidate(
                security_pb2.AcceptCandidateRequest(
                    site_id="depot",
                    charger=network_pb2.ChargerDescription(id="NEW1", circuit="main"),
                )
            )
            # It is asked to boot again, and is welcome now.
            await until(lambda: _told(first, "TriggerMessage"))
            assert (await first.call("BootNotification", BOOT["ocpp1.6"]))["status"] == "Accepted"
            await security.DismissCandidate(security_pb2.DismissCandidateRequest(charger_id="NEW2"))
            await second.closed()
        listed = await security.ListCandidates(security_pb2.ListCandidatesRequest())
        assert not listed.candidates
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await security.DismissCandidate(security_pb2.DismissCandidateRequest(charger_id="NEW2"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND


async def _told(station: Station, action: str) -> bool:
    return station.last(action) is not None


async def test_chargers_of_an_allowed_name_are_put_into_their_site(tmp_path: Path) -> None:
    changes = {"onboarding": "allow", "onboarding_allow": ("ACME-*=depot/main",)}
    async with loadstar(tmp_path, **changes) as running:
        with pytest.raises(InvalidStatus) as refused:
            await dial(running.node, "OTHER-1")
        assert refused.value.response.status_code == 404
        async with Station(dial(running.node, "ACME-1")) as station:

            async def adopted() -> bool:
                found = await running.sites.GetSite(sites_pb2.GetSiteRequest(site_id="depot"))
                return "ACME-1" in {charger.id for charger in found.site.description.chargers}

            await until(adopted)

            async def welcome() -> bool:
                booted = await station.call("BootNotification", BOOT["ocpp1.6"])
                return bool(booted["status"] == "Accepted")

            await until(welcome)
