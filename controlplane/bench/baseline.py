"""The server that Loadstar is measured against: what the `ocpp` package's own documentation builds.

`websockets` carries the frames, `ocpp.v16.ChargePoint` validates them as it does by default, routes
them and validates the answer. Nothing is stored. It runs on uvloop, which its documentation does
not, so that the ratio shows the design and not the event loop."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from itertools import count
from typing import Any

import uvloop
from ocpp.routing import on
from ocpp.v16 import ChargePoint, call_result
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

__all__ = ["main"]

_transaction_ids = count(1)


class _BaselineChargePoint(ChargePoint):  # type: ignore[misc]
    @on("BootNotification")  # type: ignore[untyped-decorator]
    def on_boot(self, **_payload: Any) -> call_result.BootNotification:
        return call_result.BootNotification(
            current_time=datetime.now(UTC).isoformat(), interval=300, status="Accepted"
        )

    @on("StatusNotification")  # type: ignore[untyped-decorator]
    def on_status(self, **_payload: Any) -> call_result.StatusNotification:
        return call_result.StatusNotification()

    @on("StartTransaction")  # type: ignore[untyped-decorator]
    def on_start(self, **_payload: Any) -> call_result.StartTransaction:
        return call_result.StartTransaction(
            transaction_id=next(_transaction_ids), id_tag_info={"status": "Accepted"}
        )

    @on("MeterValues")  # type: ignore[untyped-decorator]
    def on_meter_values(self, **_payload: Any) -> call_result.MeterValues:
        return call_result.MeterValues()


async def _serve_station(connection: ServerConnection) -> None:
    assert connection.request is not None
    identity = connection.request.path.rsplit("/", 1)[-1]
    try:
        await _BaselineChargePoint(identity, connection).start()
    except ConnectionClosed:
        return


async def main() -> None:
    """Serve until standard input ends; the port is the first line of standard output."""
    async with serve(
        _serve_station, "127.0.0.1", 0, subprotocols=[Subprotocol("ocpp1.6")], compression=None
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)


if __name__ == "__main__":
    uvloop.run(main())
