"""A small central system on the `ocpp` package, to try simulated stations without Loadstar."""

# The decorators of the ocpp package are not typed.
# mypy: disallow-untyped-decorators=False

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from ocpp.exceptions import InternalError
from ocpp.routing import on
from ocpp.v16 import ChargePoint as PointV16
from ocpp.v16 import call_result as result_v16
from ocpp.v201 import ChargePoint as PointV201
from ocpp.v201 import call_result as result_v201
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

NOW = "2019-06-12T14:00:00Z"


class SmallCsms:
    """Accepts everybody; keeps what it heard as (action, payload in snake case)."""

    def __init__(self) -> None:
        self.heard: dict[str, list[tuple[str, dict[str, Any]]]] = {}
        self.points: dict[str, Any] = {}
        self.transactions = 0
        self.refuse_tokens: set[str] = set()
        self.fail_next: dict[str, int] = {}
        """How many more of an action are answered with an error."""
        self.port = 0
        self._news = asyncio.Event()

    def note(self, station_id: str, action: str, payload: dict[str, Any]) -> None:
        if self.fail_next.get(action, 0) > 0:
            self.fail_next[action] -= 1
            raise InternalError(description="not now")
        self.heard.setdefault(station_id, []).append((action, payload))
        self._news.set()

    def payloads(self, station_id: str, action: str) -> list[dict[str, Any]]:
        return [payload for heard, payload in self.heard.get(station_id, []) if heard == action]

    async def until(self, station_id: str, action: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until an action was heard `count` times."""
        async with asyncio.timeout(10):
            while len(found := self.payloads(station_id, action)) < count:
                self._news.clear()
                await self._news.wait()
        return found

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[SmallCsms]:
        subprotocols = [Subprotocol("ocpp1.6"), Subprotocol("ocpp2.0.1")]
        async with serve(self._serve, "127.0.0.1", self.port, subprotocols=subprotocols) as server:
            self.port = server.sockets[0].getsockname()[1]
            yield self

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ocpp"

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        station_id = socket.request.path.rsplit("/", 1)[-1]
        kind = _ForV16 if socket.subprotocol == "ocpp1.6" else _ForV201
        point = kind(station_id, socket, self)
        self.points[station_id] = point
        with contextlib.suppress(ConnectionClosed):
            await point.start()

    def authorization(self, token: str) -> dict[str, str]:
        return {"status": "Invalid" if token in self.refuse_tokens else "Accepted"}


class _ForV16(PointV16):  # type: ignore[misc]
    def __init__(self, station_id: str, socket: ServerConnection, csms: SmallCsms) -> None:
        super().__init__(station_id, socket, response_timeout=5)
        self.csms = csms

    @on("BootNotification")
    def on_boot(self, **payload: Any) -> Any:
        self.csms.note(self.id, "BootNotification", payload)
        return result_v16.BootNotification(current_time=NOW, interval=300, status="Accepted")

    @on("Heartbeat")
    def on_heartbeat(self) -> Any:
        self.csms.note(self.id, "Heartbeat", {})
        return result_v16.Heartbeat(current_time=NOW)

    @on("StatusNotification")
    def on_status(self, **payload: Any) -> Any:
        self.csms.note(self.id, "StatusNotification", payload)
        return result_v16.StatusNotification()

    @on("Authorize")
    def on_authorize(self, id_tag: str) -> Any:
        self.csms.note(self.id, "Authorize", {"id_tag": id_tag})
        return result_v16.Authorize(id_tag_info=self.csms.authorization(id_tag))

    @on("StartTransaction")
    def on_start(self, **payload: Any) -> Any:
        self.csms.note(self.id, "StartTransaction", payload)
        self.csms.transactions += 1
        return result_v16.StartTransaction(
            transaction_id=self.csms.transactions,
            id_tag_info=self.csms.authorization(payload["id_tag"]),
        )

    @on("MeterValues")
    def on_meter(self, **payload: Any) -> Any:
        self.csms.note(self.id, "MeterValues", payload)
        return result_v16.MeterValues()

    @on("StopTransaction")
    def on_stop(self, **payload: Any) -> Any:
        self.csms.note(self.id, "StopTransaction", payload)
        return result_v16.StopTransaction()


class _ForV201(PointV201):  # type: ignore[misc]
    def __init__(self, station_id: str, socket: ServerConnection, csms: SmallCsms) -> None:
        super().__init__(station_id, socket, response_timeout=5)
        self.csms = csms

    @on("BootNotification")
    def on_boot(self, **payload: Any) -> Any:
        self.csms.note(self.id, "BootNotification", payload)
        return result_v201.BootNotification(current_time=NOW, interval=300, status="Accepted")

    @on("Heartbeat")
    def on_heartbeat(self) -> Any:
        self.csms.note(self.id, "Heartbeat", {})
        return result_v201.Heartbeat(current_time=NOW)

    @on("StatusNotification")
    def on_status(self, **payload: Any) -> Any:
        self.csms.note(self.id, "StatusNotification", payload)
        return result_v201.StatusNotification()

    @on("Authorize")
    def on_authorize(self, id_token: dict[str, str]) -> Any:
        self.csms.note(self.id, "Authorize", id_token)
        return result_v201.Authorize(id_token_info=self.csms.authorization(id_token["id_token"]))

    @on("TransactionEvent")
    def on_event(self, **payload: Any) -> Any:
        self.csms.note(self.id, "TransactionEvent", payload)
        token = payload.get("id_token")
        if token is None:
            return result_v201.TransactionEvent()
        return result_v201.TransactionEvent(
            id_token_info=self.csms.authorization(token["id_token"])
        )
