"""Security profiles and bounds at the gateway's doors, with real TLS and real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import socket
import ssl
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from argon2 import PasswordHasher
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from runtime_actors import create_tiny
from security_stations import (
    HOST,
    client_context,
    dial,
    make_authority,
    make_csr,
    make_server_files,
    revocation_list,
    signed_list,
    station_certificate,
)
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidMessage, InvalidStatus
from websockets.typing import Subprotocol

from controlplane.charger.messages import SecurityNoticed
from controlplane.config import Settings
from controlplane.ids import SHARDS, ActorKind, ChargerId, SiteId, shard_of
from controlplane.runtime.authority import Authority, Wish, read_wish
from controlplane.runtime.gateway import Gateway
from controlplane.runtime.links import Reach
from controlplane.runtime.node import Node, start_node
from controlplane.runtime.passwords import basic_passwords, fast_hash, new_password
from controlplane.runtime.processes import LocalGateway
from controlplane.runtime.wire import (
    Announcement,
    CallOfStation,
    FrameKind,
    FromStation,
    ToStation,
)
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import migrate, open_engine
from controlplane.store.records import CertificateRecord, ChargerRecord, CredentialRecord, Record

METER_VALUES = {
    "connectorId": 1,
    "meterValue": [{"timestamp": "2026-01-01T00:00:00Z", "sampledValue": [{"value": "1"}]}],
}
PASSWORD = "a password of a charger"


def charger(name: str, password: str | None = None, **more: Any) -> ChargerRecord:
    hasher = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
    hashed = None if password is None else hasher.hash(password)
    return ChargerRecord(ChargerId(name), SiteId("S1"), hashed, 0, **more)


def write(settings: Settings, *records: Record) -> None:
    writer = StoreWriter(open_engine(settings.database, writer=True))
    writer.commit(CommitBatch(records=list(records)))
    writer.close()


@asynccontextmanager
async def running(folder: Path, *records: Record, **changes: Any) -> AsyncIterator[Node]:
    settings = Settings(data_dir=folder, ocpp_port=0, grpc_port=0, **changes)
    migrate(settings.database)
    write(settings, *records)
    node = await start_node(settings, transport="local", create=create_tiny)
    try:
        yield node
    finally:
        await node.stop()


@asynccontextmanager
async def running_tls(
    folder: Path, *records: Record, **changes: Any
) -> AsyncIterator[tuple[Node, Authority]]:
    authority = make_authority(folder / "ca")
    certificate, key = make_server_files(authority, folder)
    options = {"ocpp_tls_port": 0, "tls_certificate": certificate, "tls_key": key, **changes}
    async with running(folder, *records, **options) as node:
        yield node, authority


async def call(station: ClientConnection, number: str = "m") -> Any:
    await station.send(json.dumps([2, number, "MeterValues", METER_VALUES]))
    return json.loads(await asyncio.wait_for(station.recv(), 10))


async def works(dialling: Any) -> None:
    async with dialling as station:
        assert await call(station) == [3, "m", {}]


async def refused(dialling: Any) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as refusal:
        async with dialling:
            pass
    response = refusal.value.response
    return response.status_code, response.body.decode().strip()


def counted(gateway: Gateway) -> dict[str, Any]:
    """By the names of metrics without their prefix, and the labels' values behind them."""
    return {
        " ".join((reading.name.removeprefix("loadstar.gateway."), *labels)): value
        for reading in gateway.readings()
        for labels, value in reading.values.items()
    }


def counts(node: Node) -> dict[str, Any]:
    """What the gateway exports."""
    gateway = node._supervisor.gateway
    assert isinstance(gateway, LocalGateway)
    return counted(gateway.gateway)


async def test_every_profile_lets_its_own_in(tmp_path: Path) -> None:
    records = (charger("PLAIN"), charger("BASIC", PASSWORD), charger("CERT", PASSWORD))
    async with running_tls(tmp_path, *records) as (node, authority):
        context = client_context(authority, None, tmp_path)
        await works(dial(node, "PLAIN"))
        await works(dial(node, "BASIC", password=PASSWORD))
        await works(dial(node, "BASIC", password=PASSWORD, context=context))
        assert (await refused(dial(node, "BASIC", context=context)))[0] == 401
        assert (await refused(dial(node, "BASIC", password="wrong", context=context)))[0] == 401
        certificate, _ = station_certificate(authority, "CERT")
        await works(dial(node, "CERT", context=client_context(authority, certificate, tmp_path)))


async def test_a_minimum_profile_holds_for_the_network_and_for_a_charger(tmp_path: Path) -> None:
    records = (
        charger("CP1", PASSWORD),
        charger("OLD", security_profile_min=0),
        charger("BEST", PASSWORD, security_profile_min=3),
    )
    async with running_tls(tmp_path, *records, security_profile_min=2) as (node, authority):
        context = client_context(authority, None, tmp_path)
        status, words = await refused(dial(node, "CP1", password=PASSWORD))
        assert (status, words) == (403, "security profile 2 or higher is required")
        await works(dial(node, "CP1", password=PASSWORD, context=context))
        await works(dial(node, "OLD"))
        status, words = await refused(dial(node, "BEST", password=PASSWORD, context=context))
        assert (status, words) == (403, "security profile 3 or higher is required")


async def test_a_charger_never_goes_below_the_profile_it_has_shown(tmp_path: Path) -> None:
    shown = CredentialRecord(ChargerId("CP1"), None, None, None, 2, 0)
    record = charger("CP1", PASSWORD)
    async with running_tls(tmp_path, record, shown) as (node, authority):
        status, words = await refused(dial(node, "CP1", password=PASSWORD))
        assert (status, words) == (403, "security profile 2 or higher is required")
        context = client_context(authority, None, tmp_path)
        await works(dial(node, "CP1", password=PASSWORD, context=context))


async def test_a_certificate_is_its_own_chargers_and_of_a_believed_authority(
    tmp_path: Path,
) -> None:
    async with running_tls(tmp_path, charger("CP1"), charger("CP2")) as (node, authority):
        certificate, _ = station_certificate(authority, "CP1")
        context = client_context(authority, certificate, tmp_path)
        status, words = await refused(dial(node, "CP2", context=context))
        assert (status, words) == (403, "the client certificate is not this charger's")
        stranger = make_authority(tmp_path / "other")
        foreign, _ = station_certificate(stranger, "CP1")
        async with dial(node, "CP2") as honest:
            with pytest.raises((OSError, InvalidMessage)):
                await works(dial(node, "CP1", context=client_context(authority, foreign, tmp_path)))
            assert await call(honest) == [3, "m", {}]
        assert counts(node)["handshakes.failed tls"] == 1


async def test_a_certificate_of_the_local_authority_names_one_charger_alone(tmp_path: Path) -> None:
    """A station says itself what its serial number is, and may have it in its common name."""
    async with running_tls(tmp_path, charger("CP1"), charger("CP2")) as (node, authority):
        csr, key = make_csr("CP2")
        wish = read_wish(csr, ["CP1", "CP2"])
        assert isinstance(wish, Wish)
        record = authority.sign(
            wish, charger_id="CP1", purpose="ChargingStationCertificate", days=10
        )
        context = client_context(authority, (record.pem, key), tmp_path)
        await works(dial(node, "CP1", context=context))
        assert await refused(dial(node, "CP2", context=context)) == (
            403,
            "the client certificate is not this charger's",
        )


async def test_what_the_store_revoked_is_refused(tmp_path: Path) -> None:
    authority = make_authority(tmp_path / "ca")
    certificate, key = make_server_files(authority, tmp_path)
    shown, serial = station_certificate(authority, "CP1")
    revoked = CertificateRecord(serial, ChargerId("CP1"), "x", shown[0], 0, 1, 5, "lost")
    options = {"ocpp_tls_port": 0, "tls_certificate": certificate, "tls_key": key}
    async with running(tmp_path, charger("CP1"), revoked, **options) as node:
        context = client_context(authority, shown, tmp_path)
        status, words = await refused(dial(node, "CP1", context=context))
        assert (status, words) == (403, "the client certificate has been revoked")


async def test_files_are_taken_in_again_without_a_restart(tmp_path: Path) -> None:
    """A new server certificate of another authority, further client authorities, and a list that
    revokes a certificate."""
    listed = tmp_path / "revoked.pem"
    trusted = tmp_path / "trusted.pem"
    authority = make_authority(tmp_path / "ca")
    trusted.write_text(authority.pem)
    changes = {"tls_revocations": listed, "tls_client_ca": trusted}
    listed.write_text("")
    certificate, key = make_server_files(authority, tmp_path)
    options = {"ocpp_tls_port": 0, "tls_certificate": certificate, "tls_key": key, **changes}
    async with running(tmp_path, charger("CP1"), charger("CP2"), **options) as node:
        shown, serial = station_certificate(authority, "CP1")
        async with dial(node, "CP1", context=client_context(authority, shown, tmp_path)) as before:
            newer = make_authority(tmp_path / "newer")
            make_server_files(newer, tmp_path)
            trusted.write_text(authority.pem + newer.pem)
            listed.write_text(revocation_list(tmp_path / "ca", serial))
            gateway = node._supervisor.gateway
            assert isinstance(gateway, LocalGateway)
            tls = gateway.gateway.admission.tls
            assert tls is not None
            assert await tls.refresh()
            status, words = await refused(
                dial(node, "CP1", context=client_context(newer, shown, tmp_path))
            )
            assert (status, words) == (403, "the client certificate has been revoked")
            fresh, _ = station_certificate(newer, "CP2")
            await works(dial(node, "CP2", context=client_context(newer, fresh, tmp_path)))
            # The socket that stands on it is closed at once.
            await asyncio.wait_for(before.wait_closed(), 10)
            assert (before.close_code, before.close_reason) == (1008, "certificate revoked")
            # Files that cannot be used change nothing.
            certificate.write_text("half a file")
            assert not await tls.refresh()
            await works(dial(node, "CP2", context=client_context(newer, fresh, tmp_path)))


class Chained:
    """An authority of a chain, for what the local one does not do: sign another one."""

    def __init__(self, name: str, above: Chained | None = None) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (above or self).sign(self.name, self.key.public_key(), authority=True)

    def sign(self, name: x509.Name, key: Any, *, authority: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=10))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )

    def station(self, charger_id: str) -> tuple[tuple[str, str], x509.Certificate]:
        """A station's chain up to this authority with its key, and its certificate."""
        csr, key = make_csr(charger_id)
        wish = x509.load_pem_x509_csr(csr.encode())
        leaf = self.sign(wish.subject, wish.public_key())
        return (pem(leaf, self.certificate), key), leaf

    def revoke(self, certificate: x509.Certificate) -> str:
        return signed_list(self.key, self.certificate, certificate.serial_number)


def pem(*certificates: x509.Certificate) -> str:
    encoded = (each.public_bytes(serialization.Encoding.PEM).decode() for each in certificates)
    return "".join(encoded)


async def test_a_list_counts_at_every_step_of_a_chain(tmp_path: Path) -> None:
    """Only the root is described; stations show what is between."""
    root = Chained("Root")
    maker, other = Chained("Maker", root), Chained("Other", root)
    forger = Chained("Other")
    shown = {
        "CP1": maker.station("CP1"),
        "CP2": maker.station("CP2"),
        "CP3": other.station("CP3"),
    }
    trusted, listed = tmp_path / "trusted.pem", tmp_path / "revoked.pem"
    trusted.write_text(pem(root.certificate))
    listed.write_text("")
    files = {"tls_client_ca": trusted, "tls_revocations": listed}
    chargers = (charger(name) for name in shown)
    async with running_tls(tmp_path, *chargers, **files) as (node, authority):
        gateway = node._supervisor.gateway
        assert isinstance(gateway, LocalGateway)
        tls = gateway.gateway.admission.tls
        assert tls is not None

        async def served(*lists: str) -> set[str]:
            listed.write_text("".join(lists))
            await tls.refresh()
            found = set()
            for name, (certificate, _) in shown.items():
                context = client_context(authority, certificate, tmp_path)
                with contextlib.suppress(InvalidStatus):
                    async with dial(node, name, context=context) as station:
                        assert await call(station) == [3, "m", {}]
                        found.add(name)
            return found

        assert await served() == {"CP1", "CP2", "CP3"}
        # Whoever is connected is held against a new list, at every step as well.
        async with contextlib.AsyncExitStack() as sockets:
            open_sockets = {
                name: await sockets.enter_async_context(
                    dial(node, name, context=client_context(authority, chain, tmp_path))
                )
                for name, (chain, _) in shown.items()
            }
            listed.write_text(root.revoke(maker.certificate))
            await tls.refresh()
            async with asyncio.timeout(10):
                await open_sockets["CP1"].wait_closed()
                await open_sockets["CP2"].wait_closed()
            assert await call(open_sockets["CP3"]) == [3, "m", {}]
        # The station's own, by who signed it; who only has that name revokes nothing.
        assert await served(maker.revoke(shown["CP1"][1])) == {"CP2", "CP3"}
        assert await served(forger.revoke(shown["CP3"][1])) == {"CP1", "CP2", "CP3"}
        # An authority, with all that it signed.
        assert await served(root.revoke(maker.certificate)) == {"CP3"}
        both = root.revoke(maker.certificate), other.revoke(shown["CP3"][1])
        assert await served(*both) == set()


@pytest.mark.parametrize(
    ("version", "ciphers", "agreed"),
    [
        (ssl.TLSVersion.TLSv1_1, "ALL:@SECLEVEL=0", False),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-GCM-SHA256", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384", True),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA", False),
    ],
)
async def test_tls_is_12_or_higher_with_the_suites_of_the_specification(
    tmp_path: Path, version: ssl.TLSVersion, ciphers: str, agreed: bool
) -> None:
    async with running_tls(tmp_path, charger("CP1")) as (node, authority):
        context = client_context(authority, None, tmp_path)
        context.set_ciphers(ciphers)
        with warnings.catch_warnings():
            # What is asked for here is out of use, which is the point.
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
            context.maximum_version = version
        if agreed:
            await works(dial(node, "CP1", context=context))
        else:
            with pytest.raises((OSError, InvalidMessage)):
                await works(dial(node, "CP1", context=context))


async def test_a_plain_door_can_be_shut(tmp_path: Path) -> None:
    async with running_tls(tmp_path, charger("CP1"), ocpp_plain=False) as (node, authority):
        assert node.ocpp_port == 0
        await works(dial(node, "CP1", context=client_context(authority, None, tmp_path)))


async def test_guesses_are_bounded_and_keep_nobody_out_who_was_in_before(tmp_path: Path) -> None:
    async with running(tmp_path, charger("CP1", PASSWORD), charger("CP2", PASSWORD)) as node:
        await works(dial(node, "CP1", password=PASSWORD))
        statuses = [
            (await refused(dial(node, "CP1", password=f"guess {number}")))[0] for number in range(8)
        ]
        assert statuses == [401] * 5 + [429] * 3
        assert counts(node)["passwords.computed"] == 6
        await works(dial(node, "CP1", password=PASSWORD))
        await works(dial(node, "CP2", password=PASSWORD))


async def test_a_password_that_loadstar_made_costs_nothing_to_check(tmp_path: Path) -> None:
    password = new_password()
    record = ChargerRecord(ChargerId("CP1"), SiteId("S1"), fast_hash(password), 0)
    async with running(tmp_path, record) as node:
        await works(dial(node, "CP1", password=password))
        assert (await refused(dial(node, "CP1", password=new_password())))[0] == 401
        assert counts(node)["passwords.computed"] == 0


async def test_a_password_that_was_sent_is_no_guess_at_the_old_one(tmp_path: Path) -> None:
    described, sent = charger("CP1", PASSWORD), new_password()
    shown = CredentialRecord(ChargerId("CP1"), described.password_hash, None, fast_hash(sent), 1, 0)
    async with running(tmp_path, described, shown) as node:
        for _ in range(7):
            await works(dial(node, "CP1", password=sent))
        assert counts(node)["passwords.computed"] == 0
        await works(dial(node, "CP1", password=PASSWORD))


def test_a_key_may_come_as_text_or_as_its_bytes() -> None:
    import base64  # noqa: PLC0415

    key = new_password()

    def header(password: bytes) -> str:
        return "Basic " + base64.b64encode(b"CP:1:" + password).decode()

    assert key in basic_passwords(header(key.encode()), "CP:1")
    assert key in basic_passwords(header(bytes.fromhex(key)), "CP:1")
    # What can be read is a password like any other, and may still be meant as the other one.
    words = "0123456789 words"
    assert words.encode().hex() in basic_passwords(header(words.encode()), "CP:1")
    assert words in basic_passwords(header(words.encode().hex().encode()), "CP:1")
    # A station that was told the digits of the text, and takes these for the password.
    assert key in basic_passwords(header(key.encode().hex().encode()), "CP:1")
    assert basic_passwords(header(key.encode()), "CP") == ("1:" + key,)
    assert basic_passwords(header(key.encode()), "CP2") == ()
    assert basic_passwords("Basic !!", "CP:1") == basic_passwords("Bearer x", "CP:1") == ()


# --- bounds ---------------------------------------------------------------------------------------


async def _open(port: int, first: bytes = b"") -> tuple[Any, Any]:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(first)
    return reader, writer


async def _ended(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await asyncio.wait_for(reader.read(1_024), 20):
            pass


@pytest.mark.parametrize("first", [b"", b"GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\nX-Slow: 1"])
async def test_who_never_finishes_asking_is_cut_off(tmp_path: Path, first: bytes) -> None:
    async with (
        running(tmp_path, charger("CP1"), handshake_timeout_s=0.3) as node,
        dial(node, "CP1") as honest,
    ):
        slow = [await _open(node.ocpp_port, first) for _ in range(5)]
        for reader, _ in slow:
            await _ended(reader)
        assert counts(node)["handshakes.failed timed_out"] == 5
        assert await call(honest) == [3, "m", {}]
        for _, writer in slow:
            writer.close()


async def test_a_tls_handshake_that_stalls_is_cut_off(tmp_path: Path) -> None:
    async with running_tls(tmp_path, charger("CP1"), handshake_timeout_s=0.3) as (node, authority):
        context = client_context(authority, None, tmp_path)
        slow = await _open(node.ocpp_tls_port or 0, b"\x16\x03\x01\x02\x00\x01")
        await _ended(slow[0])
        slow[1].close()
        assert counts(node)["handshakes.failed timed_out"] == 1
        await works(dial(node, "CP1", context=context))


async def test_what_failed_in_its_tls_handshake_is_forgotten(tmp_path: Path) -> None:
    async with running_tls(tmp_path, charger("CP1")) as (node, authority):
        gateway = node._supervisor.gateway
        assert isinstance(gateway, LocalGateway)
        for _ in range(20):
            reader, writer = await _open(node.ocpp_tls_port or 0, b"GET / HTTP/1.1\r\n\r\n")
            await _ended(reader)
            writer.close()
        gc.collect()
        assert not any(door._visits for door in gateway.gateway.doors)
        await works(dial(node, "CP1", context=client_context(authority, None, tmp_path)))


async def test_the_silent_make_room_for_who_speaks(tmp_path: Path) -> None:
    async with running(tmp_path, charger("CP1"), handshakes_max=4) as node:
        silent = [await _open(node.ocpp_port) for _ in range(4)]
        await works(dial(node, "CP1"))
        assert counts(node)["handshakes.failed dropped"] == 1
        for _, writer in silent:
            writer.close()


async def test_an_address_holds_a_bounded_number_of_sockets(tmp_path: Path) -> None:
    async with (
        running(
            tmp_path, charger("CP1"), ocpp_host="0.0.0.0", connections_per_address_max=3
        ) as node,
        dial(node, "CP1") as honest,
    ):
        sockets = []
        for _ in range(6):
            held = socket.create_connection(
                (HOST, node.ocpp_port), timeout=5, source_address=("127.0.0.9", 0)
            )
            held.setblocking(False)
            sockets.append(held)
        loop = asyncio.get_running_loop()
        for held in sockets[3:]:
            assert await asyncio.wait_for(loop.sock_recv(held, 1), 5) == b""
        assert counts(node)["handshakes.failed address"] == 3
        assert await call(honest) == [3, "m", {}]
        for held in sockets:
            held.close()


async def test_sockets_are_accepted_at_a_bounded_rate_and_all_are_served(tmp_path: Path) -> None:
    names = [f"CP{number}" for number in range(30)]
    async with running(tmp_path, *map(charger, names), handshakes_per_s=100.0) as node:
        await asyncio.gather(*(works(dial(node, name)) for name in names))
        assert counts(node)["sockets.accepted"] == 30


async def test_the_number_of_chargers_is_bounded(tmp_path: Path) -> None:
    records = (charger("CP1"), charger("CP2"), charger("CP3"))
    async with (
        running(tmp_path, *records, connections_max=2) as node,
        dial(node, "CP1") as honest,
        dial(node, "CP2"),
    ):
        assert (await refused(dial(node, "CP3"))) == (503, "too many connections")
        assert await call(honest) == [3, "m", {}]


async def test_a_request_without_end_is_cut_off(tmp_path: Path) -> None:
    async with running(tmp_path, charger("CP1")) as node, dial(node, "CP1") as honest:
        reader, writer = await _open(node.ocpp_port, b"GET /ocpp/CP1 HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(200):
                writer.write(f"X-{number}: {'a' * 4_000}\r\n".encode())
                await writer.drain()
        await _ended(reader)
        writer.close()
        assert await call(honest) == [3, "m", {}]


class PromptHost:
    """A link to a host that answers every CALL at once, without a store."""

    full = False

    def __init__(self, gateway: Gateway) -> None:
        self.noticed: list[SecurityNoticed] = []
        self._gateway = gateway

    def send(self, parcel: FromStation | CallOfStation, *, urgent: bool = False) -> None:
        if isinstance(parcel, CallOfStation):
            shard = shard_of(ActorKind.CHARGER, parcel.charger_id, site_id=parcel.site_id)
            answer = ToStation(
                parcel.connection,
                shard,
                1,
                FrameKind.CALL_RESULT,
                parcel.message_id,
                "",
                f'[3,"{parcel.message_id}",{{}}]',
            )
            asyncio.get_running_loop().call_soon(lambda: self._gateway.receive([answer]))
        elif isinstance(parcel.message, SecurityNoticed):
            self.noticed.append(parcel.message)

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
        b"GET /ocpp/CP1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /ocpp/CP1 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        b"GET / HTTP/9.9\r\n\r\n",
        b"\0" * 10_000,
    ],
)
async def test_what_is_no_handshake_is_answered_or_cut_off(tmp_path: Path, garbage: bytes) -> None:
    async with running(tmp_path, charger("CP1")) as node, dial(node, "CP1") as honest:
        with capture_logs() as logs:
            reader, writer = await _open(node.ocpp_port, garbage)
            await _ended(reader)
            writer.close()
        assert not [line for line in logs if line["log_level"] in ("error", "critical")]
        assert await call(honest) == [3, "m", {}]


async def test_what_a_charger_kept_while_offline_is_no_flood_and_a_flood_is(tmp_path: Path) -> None:
    """2,000 messages at full speed are answered in order and none is held against the charger;
    what goes on like that is read more slowly and noticed once, while another is served."""
    settings = Settings(data_dir=tmp_path, ocpp_port=0)
    migrate(settings.database)
    write(settings, charger("CP1"), charger("CP2"))
    gateway = Gateway(settings, Reach("n"), "g")
    ports = await gateway.start()
    await gateway.enter("n local:g")
    host = PromptHost(gateway)
    gateway.routes.introduced(Announcement("h", "i", dict.fromkeys(range(SHARDS), 1)), host)  # type: ignore[arg-type]
    url = f"ws://{HOST}:{ports.plain}/ocpp/"
    protocol = [Subprotocol("ocpp1.6")]
    try:
        async with (
            connect(url + "CP1", subprotocols=protocol) as station,
            connect(url + "CP2", subprotocols=protocol) as other,
        ):

            async def send(count: int) -> None:
                for number in range(count):
                    await station.send(json.dumps([2, str(number), "Heartbeat", {}]))

            sending = asyncio.create_task(send(2_000))
            for number in range(2_000):
                answer = json.loads(await asyncio.wait_for(station.recv(), 30))
                assert answer == [3, str(number), {}]
            await sending
            assert counted(gateway)["reads.held flood"] == 0
            assert host.noticed == []
            # As though it had sent all that it may at full speed.
            gateway.connections.of_charger[ChargerId("CP1")]._budget = 0.0
            await send(60)
            for _ in range(60):
                await asyncio.wait_for(station.recv(), 30)
            assert await call(other) == [3, "m", {}]
            assert counted(gateway)["reads.held flood"]
            (notice,) = host.noticed
            assert (notice.kind, notice.count) == ("MessageFlood", 1)
    finally:
        await gateway.stop()
