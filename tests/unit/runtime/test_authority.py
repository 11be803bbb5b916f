"""What the local authority signs, and what it refuses."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.errors import AlreadyExists, InvalidInput, NotFound
from controlplane.runtime.authority import Authority, Wish, read_certificate, read_wish, root_hash


def request(key: Any, *names: str, organisation: str = "") -> str:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names]
    if organisation:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    built = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    return built.sign(key, algorithm).public_bytes(serialization.Encoding.PEM).decode()


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", organisation="O", name="Root", days=100)


def test_what_is_signed_names_the_charger_and_is_for_clients(
    authority: Authority, key: Any
) -> None:
    wish = read_wish(request(key, "CP*1"), ["CP*1"])
    assert isinstance(wish, Wish)
    record = authority.sign(wish, charger_id="CP*1", purpose="p", days=1_000)
    leaf, root = x509.load_pem_x509_certificates(record.pem.encode())
    leaf.verify_directly_issued_by(root)
    assert f"{leaf.serial_number:x}" == record.serial
    # Nothing outlives the authority.
    assert leaf.not_valid_after_utc == root.not_valid_after_utc
    usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "urn:loadstar:charger:CP*1"
    ]


def test_a_request_may_come_without_its_frame_and_name_the_serial_number(key: Any) -> None:
    pem = request(key, "SN-7")
    bare = "".join(line for line in pem.splitlines() if "-----" not in line)
    wish = read_wish(bare, ["CP1", "SN-7"])
    assert isinstance(wish, Wish)
    assert wish.common_name == "SN-7"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no certificate signing request"),
        ("-----BEGIN CERTIFICATE REQUEST-----", "no certificate signing request"),
        ("\u00e4\u0000", "no certificate signing request"),
        ("x" * 5_501, "longer than 5500"),
    ],
)
def test_what_is_no_request_is_refused(text: str, reason: str) -> None:
    refused = read_wish(text, ["CP1"])
    assert isinstance(refused, str)
    assert reason in refused


def test_weak_keys_and_other_names_are_refused(key: Any) -> None:
    weak = rsa.generate_private_key(65_537, 1_024)
    for text, reason in (
        (request(weak, "CP1"), "2048 bits"),
        (request(ec.generate_private_key(ec.SECP192R1()), "CP1"), "curve secp192r1"),
        (request(ed25519.Ed25519PrivateKey.generate(), "CP1"), "neither RSA nor"),
        (request(key, "CP2"), "common name"),
        (request(key, "CP1", "CP2"), "common name"),
        (request(key), "common name"),
        (request(key, "CP1", organisation="Others"), "organisation"),
        (request(key, "CP1"), "organisation"),
    ):
        refused = read_wish(text, ["CP1"], "Ours")
        assert isinstance(refused, str), text
        assert reason in refused


def test_a_request_that_was_changed_is_refused(key: Any) -> None:
    pem = request(key, "CP1")
    der = bytearray(base64.b64decode("".join(pem.splitlines()[1:-1])))
    der[der.index(b"CP1") + 2] = ord("2")
    refused = read_wish(base64.b64encode(bytes(der)).decode(), ["CP1", "CP2"])
    assert refused == "its signature is not of its own key"


def test_an_authority_is_made_once_and_its_key_is_its_owners(tmp_path: Path) -> None:
    folder = tmp_path / "ca"
    with pytest.raises(NotFound):
        Authority.open(folder)
    made = Authority.create(folder, organisation="O", name="Root", days=10)
    assert (folder / "ca.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(AlreadyExists):
        Authority.create(folder, organisation="O", name="Root", days=10)
    assert Authority.open(folder).pem == made.pem
    other = Authority.create(tmp_path / "other", organisation="O", name="Root", days=10)
    (folder / "ca.pem").write_text(other.pem)
    with pytest.raises(InvalidInput):
        Authority.open(folder)


def test_another_signers_chain_is_read(authority: Authority) -> None:
    _, chain = authority.server_certificate(["csms.example", "192.0.2.1"], days=5)
    record = read_certificate(chain.encode(), "CP1", "V2GCertificate")
    assert (record.charger_id, record.purpose) == ("CP1", "V2GCertificate")
    with pytest.raises(InvalidInput):
        read_certificate(b"half", "CP1", "p")


def test_a_root_is_named_as_its_leaves_name_it(authority: Authority) -> None:
    from cryptography.x509 import ocsp  # noqa: PLC0415

    _, chain = authority.server_certificate(["a"], days=5)
    leaf = x509.load_pem_x509_certificate(chain.encode())
    asked = (
        ocsp.OCSPRequestBuilder()
        .add_certificate(leaf, authority.certificate, hashes.SHA256())
        .build()
    )
    name, key, _ = root_hash(authority.certificate)
    assert (name, key) == (asked.issuer_name_hash.hex(), asked.issuer_key_hash.hex())
