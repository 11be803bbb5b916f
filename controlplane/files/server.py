"""The HTTP server that stations fetch firmware from and bring logs to.

It runs on the node's loop, apart from OCPP: a station that uploads slowly holds a bounded place
here and nothing else. A log is taken by PUT or POST, raw or as a form, with the file's name in the
address, in the form or nowhere: makers differ. Whoever holds the address of an upload may bring
that log and no other, until the address runs out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import structlog
from aiohttp import BodyPartReader, web

from controlplane.errors import Exhausted, InvalidInput, LoadstarError, NotFound
from controlplane.files.signing import Grant
from controlplane.files.store import FileStore

__all__ = ["FileServer"]

_UPLOADS_MAX: Final = 64
_CHUNK_BYTES: Final = 64 * 1024
_CHUNK_TIMEOUT_S: Final = 60.0
"""How long a station may take for the next part of its file."""
_UPLOAD_TIMEOUT_S: Final = 3_600.0

log = structlog.get_logger()

Chunks = AsyncIterator[bytes]


class FileServer:
    """Listens for HTTP."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._uploads = 0
        self._refused = 0
        self._kept = 0
        app = web.Application(client_max_size=0)
        app.router.add_get("/firmware/{sha256}/{name}", self._firmware)
        for method in ("PUT", "POST"):
            app.router.add_route(method, "/logs/{token}", self._upload)
            app.router.add_route(method, "/logs/{token}/{name:.*}", self._upload)
        self._runner = web.AppRunner(
            app, access_log=None, keepalive_timeout=30.0, shutdown_timeout=2.0
        )
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Begin to listen; `port` 0 picks a free one.

        Raises:
            OSError: the port is taken.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        log.info("files_listening", host=host, port=self.port)

    async def stop(self) -> None:
        """Listen no more; uploads under way are given two seconds."""
        await self._runner.cleanup()

    def counts(self) -> dict[str, int]:
        """Uploads kept and refused so far."""
        return {"logs_kept": self._kept, "uploads_refused": self._refused}

    async def _firmware(self, request: web.Request) -> web.StreamResponse:
        try:
            path = await asyncio.to_thread(
                self._store.firmware_path, request.match_info["sha256"], request.match_info["name"]
            )
        except NotFound as error:
            raise web.HTTPNotFound(text=error.message) from error
        return web.FileResponse(path)

    async def _upload(self, request: web.Request) -> web.Response:
        grant = self._store.signer.grant(request.match_info["token"], now_s=time.time())
        if grant is None:
            self._refused += 1
            raise web.HTTPForbidden(text="this address is not, or no longer, good for an upload")
        if self._uploads >= _UPLOADS_MAX:
            self._refused += 1
            raise web.HTTPServiceUnavailable(text="too many uploads", headers={"Retry-After": "60"})
        self._uploads += 1
        try:
            async with asyncio.timeout(_UPLOAD_TIMEOUT_S):
                await self._keep(request, grant)
        except (LoadstarError, TimeoutError, ValueError, web.RequestPayloadError) as error:
            # The last two: a form that is none.
            self._refused += 1
            log.warning("upload_refused", charger_id=grant.charger_id, error=str(error))
            raise _http_error(error) from error
        finally:
            self._uploads -= 1
        self._kept += 1
        return web.Response(status=201, text="kept")

    async def _keep(self, request: web.Request, grant: Grant) -> None:
        name, chunks = await _body(request)
        stack = self._store.incoming()
        incoming, path = await asyncio.to_thread(stack.__enter__)
        try:
            async for chunk in chunks:
                await asyncio.to_thread(incoming.write, chunk)
            keep = partial(
                self._store.keep_log,
                incoming,
                path,
                grant,
                name=name,
                received_ms=time.time_ns() // 1_000_000,
                remote=request.remote or "",
            )
            await asyncio.to_thread(keep)
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)


async def _body(request: web.Request) -> tuple[str, Chunks]:
    """The file's name, as far as anybody says it, and its content."""
    name = request.match_info.get("name", "")
    if not request.content_type.startswith("multipart/"):
        return name, _chunks(request.content.readany)
    async for part in await request.multipart():
        if isinstance(part, BodyPartReader) and (part.filename or part.name):
            return name or part.filename or "", _chunks(partial(part.read_chunk, _CHUNK_BYTES))
    raise InvalidInput("the form holds no file", reason="FILE_MISSING")


async def _chunks(read: Callable[[], Awaitable[bytes | bytearray]]) -> Chunks:
    while True:
        async with asyncio.timeout(_CHUNK_TIMEOUT_S):
            chunk = await read()
        if not chunk:
            return
        yield bytes(chunk)


def _http_error(error: Exception) -> web.HTTPException:
    match error:
        case Exhausted(reason="FILE_TOO_LARGE"):
            return web.HTTPRequestEntityTooLarge(0, 0, text=str(error))
        case Exhausted():
            return web.HTTPInsufficientStorage(text=str(error))
        case TimeoutError():
            return web.HTTPRequestTimeout(text="the upload took too long")
        case _:
            return web.HTTPBadRequest(text=str(error))
