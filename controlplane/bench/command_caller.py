"""The callers of a bench of commands: gRPC clients in a process of their own.

Driven like the load generator by one order on standard input and one report on standard output.
Commands fall due evenly over time, whether those before are answered or not, and each is timed from
the moment at which it was due, so that a server that stalls cannot hide behind its own stall."""

from __future__ import annotations

import asyncio
import sys
import time

import grpc
import msgspec
import uvloop

from controlplane.api.v1 import chargers_pb2, chargers_pb2_grpc

__all__ = ["CallOrder", "CallReport", "main"]

_KEY = "HeartbeatInterval"
_TIMEOUT_S = 30.0


class CallOrder(msgspec.Struct, frozen=True):
    """Ask chargers named `prefix` and a number below `chargers` for a setting, `rate` times a
    second for `seconds`, over the channel to `port`."""

    port: int
    prefix: str
    chargers: int
    seconds: float
    rate: float


class CallReport(msgspec.Struct, frozen=True):
    """What came of it. `answered` counts the commands that the station accepted; `latencies_ms`
    are theirs, in ascending order. `reason` is the first failure."""

    sent: int
    answered: int
    latencies_ms: list[float]
    reason: str = ""


async def call(order: CallOrder) -> CallReport:
    """Carry out an order."""
    latencies_ms: list[float] = []
    failures: list[str] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{order.port}") as channel:
        stub = chargers_pb2_grpc.ChargersServiceStub(channel)
        await asyncio.wait_for(channel.channel_ready(), _TIMEOUT_S)

        async def one(number: int, due_s: float) -> None:
            request = chargers_pb2.GetSettingsRequest(
                charger_id=f"{order.prefix}{number * 7919 % order.chargers}", keys=[_KEY]
            )
            try:
                told = await stub.GetSettings(request, timeout=_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                failures.append(f"{error.code().name}: {error.details()}")
                return
            if told.outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED:
                latencies_ms.append((time.perf_counter() - due_s) * 1_000)
            else:
                failures.append(str(told.outcome))

        begun_s = time.perf_counter()
        sent = round(order.rate * order.seconds)
        async with asyncio.TaskGroup() as group:
            for number in range(sent):
                due_s = begun_s + number / order.rate
                await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
                group.create_task(one(number, due_s))
    return CallReport(sent, len(latencies_ms), sorted(latencies_ms), (failures or [""])[0])


async def main() -> None:
    """Carry out orders from standard input until its end."""
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        report = await call(msgspec.json.decode(line, type=CallOrder))
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(main())
