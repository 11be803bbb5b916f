"""`LogsService`: logs of chargers, from the asking to the reading."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from controlplane.api.backend import Backend, span_ms, timestamp
from controlplane.api.executing import (
    charger_ref,
    execute,
    outcome_of,
    request_number,
    require_charger,
)
from controlplane.api.v1 import logs_pb2, logs_pb2_grpc
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.errors import NotFound
from controlplane.files.signing import Grant
from controlplane.files.store import LogFile
from controlplane.ocpp.commands import GetLog, LogKind

__all__ = ["Logs"]

_GRANT_S = 86_400
"""How long a charger may bring a log after it was asked; some only do so when they are idle."""
_PART_BYTES = 256 * 1024
_KINDS = {
    logs_pb2.LOG_KIND_UNSPECIFIED: LogKind.DIAGNOSTICS,
    logs_pb2.LOG_KIND_DIAGNOSTICS: LogKind.DIAGNOSTICS,
    logs_pb2.LOG_KIND_SECURITY: LogKind.SECURITY,
}
_KIND_NUMBERS = {kind: logs_pb2.LogKind.Value(f"LOG_KIND_{kind.name}") for kind in LogKind}


class Logs(logs_pb2_grpc.LogsServiceServicer):
    """Answers `controlplane.api.v1.LogsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def RequestLog(
        self, request: logs_pb2.RequestLogRequest, context: Any
    ) -> logs_pb2.RequestLogResponse:
        oldest_ms, latest_ms = span_ms(request)
        number, kind = request_number(request.request_id), _KINDS[request.kind]
        location = request.location or self._location(request.charger_id, number, kind)
        command = GetLog(
            request_id=number,
            kind=kind,
            location=location,
            oldest_ms=oldest_ms,
            latest_ms=latest_ms,
        )
        result = await execute(self._backend, command, request, context)
        name = result.payload.get("filename") or result.payload.get("fileName") or ""
        return logs_pb2.RequestLogResponse(outcome=outcome_of(result), name=str(name))

    async def GetUpload(
        self, request: logs_pb2.GetUploadRequest, context: Any
    ) -> logs_pb2.GetUploadResponse:
        await require_charger(self._backend, request.charger_id)
        view = await self._backend.ask(
            charger_ref(request.charger_id), GetCharger(), ChargerView, context
        )
        upload = view.upload
        if upload is None:
            raise NotFound(f"{request.charger_id} brings no log", reason="UPLOAD_UNKNOWN")
        return logs_pb2.GetUploadResponse(
            kind=_KIND_NUMBERS[upload.kind],
            name=upload.name,
            status=upload.status,
            ended=upload.ended,
            changed_time=timestamp(upload.changed_ms),
        )

    async def ListLogs(
        self, request: logs_pb2.ListLogsRequest, context: Any
    ) -> logs_pb2.ListLogsResponse:
        await require_charger(self._backend, request.charger_id)
        logs = await asyncio.to_thread(self._backend.files.store.logs, request.charger_id)
        return logs_pb2.ListLogsResponse(logs=map(_log_to_message, logs))

    async def ReadLog(
        self, request: logs_pb2.ReadLogRequest, context: Any
    ) -> AsyncIterator[logs_pb2.ReadLogResponse]:
        await require_charger(self._backend, request.charger_id)
        log, path = await asyncio.to_thread(
            self._backend.files.store.log, request.charger_id, request.log_id
        )
        yield logs_pb2.ReadLogResponse(log=_log_to_message(log), authentic=log.authentic)
        async for part in _parts(path):
            yield logs_pb2.ReadLogResponse(content=part)

    def _location(self, charger_id: str, request_id: int, kind: LogKind) -> str:
        """An address good for this one upload. A repeated request has the same one for as long as
        the station could be told it: the day it runs out is rounded up."""
        until_s = (int(time.time()) // _GRANT_S + 2) * _GRANT_S
        grant = Grant(charger_id, request_id, kind.value, until_s)
        return self._backend.files.url(f"logs/{self._backend.files.store.signer.token(grant)}")


async def _parts(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while part := await asyncio.to_thread(file.read, _PART_BYTES):
            yield part
    finally:
        await asyncio.to_thread(file.close)


def _log_to_message(log: LogFile) -> logs_pb2.LogFile:
    return logs_pb2.LogFile(
        log_id=log.log_id,
        kind=_KIND_NUMBERS[LogKind(log.kind)],
        name=log.name,
        size_bytes=log.size_bytes,
        sha256=log.sha256,
        received_time=timestamp(log.received_ms),
        remote=log.remote,
    )
