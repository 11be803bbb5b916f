"""The file server and uploads that are no uploads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from controlplane.files.server import FileServer
from controlplane.files.signing import Grant
from controlplane.files.store import FileStore

GRANT = Grant("CP1", 7, "diagnostics", 2_000_000_000)


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[tuple[FileServer, str]]:
    store = FileStore(tmp_path, max_bytes=100)
    server = FileServer(store)
    await server.start("127.0.0.1", 0)
    try:
        yield server, f"http://127.0.0.1:{server.port}/logs/{store.signer.token(GRANT)}"
    finally:
        await server.stop()


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("multipart/form-data", b"line"),
        ("multipart/form-data; boundary=x", b"line"),
        ("multipart/form-data; boundary=x", b'--x\r\nContent-Disposition: form-data; name="f"'),
    ],
)
async def test_a_form_that_is_none_is_refused_and_counted(
    served: tuple[FileServer, str], kind: str, content: bytes
) -> None:
    server, url = served
    async with httpx.AsyncClient() as station:
        answer = await station.post(url, content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert server.counts() == {"logs_kept": 0, "uploads_refused": 1}


async def test_odd_addresses_are_refused(served: tuple[FileServer, str]) -> None:
    _, url = served
    base, _, token = url.rpartition("/")
    async with httpx.AsyncClient() as station:
        for made_up in ("x", "%C3%A9", "A" * 5_000, token[:-2], token + "A", "..%2f..%2fetc"):
            answer = await station.put(f"{base}/{made_up}", content=b"line")
            assert answer.status_code in (403, 404), made_up
