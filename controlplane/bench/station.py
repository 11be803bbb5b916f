"""An OCPP 1.6J station of a bench: one connector, a client of its own that costs little.

Invariant: at most one CALL of the station is outstanding (OCPP-J 1.6 section 4.1.1), and an answer
counts only if it is a CALLRESULT. What the server asks is answered on the turn of the event loop
in which it came in."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from controlplane.bench.websocket_client import WebSocketClient

__all__ = ["ANSWER_TIMEOUT_S", "VOLTAGE_V", "BenchStation", "Timestamps"]

ANSWER_TIMEOUT_S = 30.0
VOLTAGE_V = 230


class Timestamps:
    """RFC 3339 texts of instants, formatted once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def text(self, instant_ms: int) -> str:
        second, millisecond = divmod(instant_ms, 1_000)
        if second != self._second:
            self._second = second
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        return f"{self._text}.{millisecond:03d}Z"


class BenchStation:
    """One charge point with one connector. What its vehicle does is for those who inherit."""

    def __init__(self, identity: str, timestamps: Timestamps) -> None:
        self.identity = identity
        self.transaction_id = 0
        self.lost = ""
        self._timestamps = timestamps
        self._socket: WebSocketClient | None = None
        self._message_id = 0
        self._waiter: asyncio.Future[dict[str, Any]] | None = None

    async def connect(self, port: int) -> None:
        """Open the socket and boot as 1.6 section 4.2 wants it: BootNotification, then the status
        of the charge point and of its connector."""
        await self._open(port)
        await self._boot()
        for connector_id in (0, 1):
            await self._status(connector_id, "Available")

    async def _open(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        _, self._socket = await loop.create_connection(
            lambda: WebSocketClient(
                host=f"127.0.0.1:{port}", path=f"/ocpp/{self.identity}", subprotocol="ocpp1.6"
            ),
            "127.0.0.1",
            port,
        )
        self._socket.on_text = self._received
        self._socket.on_lost = self._ended
        await asyncio.wait_for(self._socket.opened, ANSWER_TIMEOUT_S)

    async def _boot(self) -> None:
        boot = {
            "chargePointVendor": "Loadstar",
            "chargePointModel": "Bench",
            "chargePointSerialNumber": self.identity,
            "firmwareVersion": "1.0",
        }
        answer = await self._request("BootNotification", boot)
        if answer.get("status") != "Accepted":
            raise ConnectionError(f"{self.identity}: the boot was answered {answer}")

    async def start(self, meter_wh: int = 0) -> None:
        """Plug in and start a transaction."""
        await self._status(1, "Preparing")
        await self._start_transaction(time.time_ns() // 1_000_000, meter_wh)
        await self._status(1, "Charging")

    async def _start_transaction(self, now_ms: int, meter_wh: int) -> None:
        answer = await self._request(
            "StartTransaction",
            {
                "connectorId": 1,
                "idTag": "BENCH",
                "meterStart": meter_wh,
                "timestamp": self._timestamps.text(now_ms),
            },
        )
        if answer["idTagInfo"]["status"] != "Accepted":
            raise ConnectionError(f"{self.identity}: the transaction was answered {answer}")
        self.transaction_id = answer["transactionId"]

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()

    def _take_limit(self, purpose: str, limit: float, unit: str) -> None:
        """A charging profile was set, `limit` in `unit` A or W; it is accepted after this."""

    def _take_setting(self, key: str, value: str) -> None:
        """A configuration key was set."""

    async def _status(self, connector_id: int, status: str) -> None:
        await self._request(
            "StatusNotification",
            {"connectorId": connector_id, "errorCode": "NoError", "status": status},
        )

    async def _request(self, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        if self.lost:
            raise ConnectionError(f"{self.identity}: {self.lost}")
        self._waiter = asyncio.get_running_loop().create_future()
        self._message_id += 1
        frame = json.dumps([2, str(self._message_id), action, payload], separators=(",", ":"))
        self._send(frame)
        return await asyncio.wait_for(self._waiter, ANSWER_TIMEOUT_S)

    def _send(self, frame: str) -> None:
        assert self._socket is not None
        self._socket.send_text(frame.encode())

    def _received(self, text: bytes) -> None:
        if text[1:2] == b"2":
            self._called(*json.loads(text)[1:])
        elif self._waiter is not None:
            self._answered(json.loads(text))
        else:
            self._answered_unasked(text)

    def _answered(self, frame: list[Any]) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if frame[0] == 3:
            waiter.set_result(frame[2])
        else:
            waiter.set_exception(ConnectionError(f"{self.identity}: {frame[2]}: {frame[3]}"))

    def _answered_unasked(self, text: bytes) -> None:
        """An answer that no `_request` waits for."""

    def _called(self, message_id: str, action: str, payload: dict[str, Any]) -> None:
        answer: dict[str, Any] = {"status": "Accepted"}
        if action == "SetChargingProfile":
            profile = payload["csChargingProfiles"]
            schedule = profile["chargingSchedule"]
            limit = schedule["chargingSchedulePeriod"][0]["limit"]
            self._take_limit(profile["chargingProfilePurpose"], limit, schedule["chargingRateUnit"])
        elif action == "ChangeConfiguration":
            self._take_setting(payload["key"], payload["value"])
        elif action == "GetConfiguration":
            answer = {"configurationKey": [], "unknownKey": payload.get("key", [])}
        elif action not in {"ClearChargingProfile", "TriggerMessage"}:
            self._send(json.dumps([4, message_id, "NotImplemented", action, {}]))
            return
        self._send(json.dumps([3, message_id, answer]))

    def _ended(self, reason: str) -> None:
        self.lost = reason
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(ConnectionError(f"{self.identity}: {reason}"))
