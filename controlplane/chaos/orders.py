"""Commands given over gRPC while everything breaks: each under a request id, repeated at another
node until it is known to have been taken in.

The command is one that no station may be told twice: it unlocks the connector."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage

from controlplane.api.v1 import chargers_pb2, commands_pb2, commands_pb2_grpc

__all__ = ["REQUEST_TYPE", "Orders"]

REQUEST_TYPE: Final = chargers_pb2.UnlockConnectorRequest.DESCRIPTOR.full_name
_INTERVAL_S: Final = 0.5
_CALL_TIMEOUT_S: Final = 5.0
_ANSWER_TIMEOUT_S: Final = 10.0
_TRIES: Final = 6
_RETRY_S: Final = 1.0
_AGAIN: Final = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}


class Orders:
    """Gives them.

    Args:
        addresses: of the nodes' gRPC servers.
    """

    def __init__(self, addresses: Sequence[str], charger_ids: Sequence[str], seed: int) -> None:
        self.taken_in: Counter[str] = Counter()
        """Requests, by charger."""
        self.faults: list[str] = []
        """Answers that should not be."""
        self._addresses = addresses
        self._charger_ids = charger_ids
        self._random = Random(f"{seed}/orders")
        self._giving: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Give one after the other until this is cancelled."""
        loop = asyncio.get_running_loop()
        channels = [grpc.aio.insecure_channel(address) for address in self._addresses]
        try:
            while True:
                task = loop.create_task(self._give(channels))
                self._giving.add(task)
                task.add_done_callback(self._giving.discard)
                await asyncio.sleep(_INTERVAL_S)
        finally:
            await asyncio.gather(*self._giving, return_exceptions=True)
            await asyncio.gather(*(channel.close(None) for channel in channels))

    async def _give(self, channels: Sequence[grpc.aio.Channel]) -> None:
        charger_id = self._random.choice(self._charger_ids)
        wish = AnyMessage()
        wish.Pack(
            chargers_pb2.UnlockConnectorRequest(
                charger_id=charger_id,
                connector_id=1,
                timeout_s=_ANSWER_TIMEOUT_S,
                request_id=str(uuid.uuid4()),
            )
        )
        request = commands_pb2.CreateCommandRequest(request=wish)
        first = self._random.randrange(len(channels))
        for number in range(_TRIES):
            stub = commands_pb2_grpc.CommandsServiceStub(channels[(first + number) % len(channels)])
            try:
                await stub.CreateCommand(request, timeout=_CALL_TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() not in _AGAIN:
                    self.faults.append(f"{charger_id}: {error.code().name}: {error.details()}")
                    return
                await asyncio.sleep(_RETRY_S)
            else:
                self.taken_in[charger_id] += 1
                return
