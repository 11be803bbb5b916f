"""Links between nodes: who has the cluster's token gets in, and nobody else."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from controlplane.errors import InvalidInput
from controlplane.ids import ChargerId
from controlplane.runtime.cluster_token import link_tls, read_token
from controlplane.runtime.transport import Inlet, connect
from controlplane.runtime.wire import DirectoryChanged, Parcel

TOKEN, OTHER = "a" * 32, "b" * 32
PARCEL = DirectoryChanged((ChargerId("CP1"),))


def never(*_: object) -> None:
    pytest.fail("the link broke")


@pytest.fixture
async def received() -> list[Parcel]:
    return []


async def listening(received: list[Parcel]) -> tuple[Inlet, str]:
    inlet = Inlet(received.extend, failed=never)
    return inlet, f"there {await inlet.listen_tcp('127.0.0.1', link_tls(TOKEN).listening)}"


async def test_nodes_with_the_same_token_reach_each_other(received: list[Parcel]) -> None:
    inlet, address = await listening(received)
    # Made anew, as in another process.
    link = await connect(address, never, node="here", tls=link_tls(TOKEN).dialling)
    link.send(PARCEL)
    async with asyncio.timeout(10):
        while not received:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.005)
    assert received == [PARCEL]
    link.close()
    inlet.close()


def without_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize(
    "tls",
    [link_tls(OTHER).dialling, without_certificate(), None],
    ids=["another token", "no certificate", "no TLS"],
)
async def test_strangers_are_not_heard(received: list[Parcel], tls: ssl.SSLContext | None) -> None:
    inlet, address = await listening(received)
    broken = asyncio.Event()
    host, _, port = address.rpartition(":")
    if tls is None:
        _, writer = await asyncio.open_connection(host.rpartition(":")[2], int(port))
        writer.write(b"\0" * 1_000)
        await writer.drain()
        writer.close()
    else:
        try:
            link = await connect(address, broken.set, node="here", tls=tls)
        except ConnectionError:
            pass
        else:
            # With TLS 1.3 the one who dials hears of a refusal only after it.
            link.send(PARCEL, urgent=True)
            await asyncio.wait_for(broken.wait(), 10)
    await asyncio.sleep(0.05)
    assert received == []
    inlet.close()


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        ("a" * 31, 0o600, "CLUSTER_TOKEN_SHORT"),
        ("a" * 32, 0o604, "CLUSTER_TOKEN_OPEN"),
        ("", 0o600, "CLUSTER_TOKEN_SHORT"),
    ],
)
def test_a_token_that_protects_nothing_is_refused(
    tmp_path: Path, text: str, mode: int, reason: str
) -> None:
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(InvalidInput) as refused:
        read_token(file)
    assert refused.value.reason == reason


def test_a_token_is_read_without_what_stands_around_it(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN
    with pytest.raises(InvalidInput):
        read_token(tmp_path / "missing")
