"""`CommandsService`: what chargers are told, as resources of their own.

A command is created by handing the request of a typed method to that very method, with a caller who
does not wait (`executing.Submission`); its typed response is what the method makes of the kept
answer (`executing.Replay`). So there is one way in which a request becomes a command, and none that
only one of the two can go."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from controlplane.api.backend import Backend, invalid, page_size, required, timestamp
from controlplane.api.battery_swap import BatterySwap
from controlplane.api.bidirectional import Bidirectional
from controlplane.api.certificates import Certificates
from controlplane.api.chargers import Chargers
from controlplane.api.charging_profiles import ChargingProfiles
from controlplane.api.customers import Customers
from controlplane.api.der import Der
from controlplane.api.device_model import DeviceModel
from controlplane.api.display import Display
from controlplane.api.event_streams import EventStreams
from controlplane.api.executing import (
    Replay,
    Submission,
    Submitted,
    charger_ref,
    outcome_of,
)
from controlplane.api.firmware import FirmwareCalls
from controlplane.api.logs import Logs
from controlplane.api.payments import Payments
from controlplane.api.reservations import Reservations
from controlplane.api.tariffs import Tariffs
from controlplane.api.tokens import Tokens
from controlplane.api.v1 import (
    battery_swap_pb2,
    bidirectional_pb2,
    certificates_pb2,
    chargers_pb2,
    charging_profiles_pb2,
    commands_pb2,
    commands_pb2_grpc,
    customers_pb2,
    der_pb2,
    device_model_pb2,
    display_pb2,
    event_streams_pb2,
    firmware_pb2,
    logs_pb2,
    payments_pb2,
    reservations_pb2,
    tariffs_pb2,
    tokens_pb2,
)
from controlplane.charger.messages import CancelCommand, ReservationAnswer
from controlplane.errors import LoadstarError, NotFound, Precondition, Refusal
from controlplane.ids import ChargerId
from controlplane.ocpp.commands import CommandResult
from controlplane.store.records import CommandRecord, CommandStage, JournalEvent

__all__ = ["Commands", "command_types"]

_SERVICES: Final[tuple[tuple[Callable[[Backend], Any], Any], ...]] = (
    (BatterySwap, battery_swap_pb2),
    (Bidirectional, bidirectional_pb2),
    (Certificates, certificates_pb2),
    (Chargers, chargers_pb2),
    (ChargingProfiles, charging_profiles_pb2),
    (Customers, customers_pb2),
    (Der, der_pb2),
    (DeviceModel, device_model_pb2),
    (Display, display_pb2),
    (EventStreams, event_streams_pb2),
    (FirmwareCalls, firmware_pb2),
    (Logs, logs_pb2),
    (Payments, payments_pb2),
    (Reservations, reservations_pb2),
    (Tariffs, tariffs_pb2),
    (Tokens, tokens_pb2),
)
"""Whose methods are commands: those that give the charger time (`timeout_s`). Not the one that
renews a password: what it tells the charger is made by Loadstar and known to nobody."""

_PREFIX: Final = "type.googleapis.com/"
_STAGES: Final = {
    stage: commands_pb2.CommandStage.Value(f"COMMAND_STAGE_{stage.name}") for stage in CommandStage
}
_answer = msgspec.msgpack.Decoder(CommandResult | ReservationAnswer | Refusal)

Method = Callable[[Any, Any], Awaitable[Any]]


def command_types() -> dict[str, Any]:
    """The method of every command, as its descriptor, by the full name of its request."""
    return {
        method.input_type.full_name: method
        for _, module in _SERVICES
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
        if "timeout_s" in method.input_type.fields_by_name
    }


class Commands(commands_pb2_grpc.CommandsServiceServicer):
    """Answers `controlplane.api.v1.CommandsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._types = command_types()
        servicers = {
            service.full_name: servicer(backend)
            for servicer, module in _SERVICES
            for service in module.DESCRIPTOR.services_by_name.values()
        }
        self._methods: dict[str, Method] = {
            name: getattr(servicers[method.containing_service.full_name], method.name)
            for name, method in self._types.items()
        }

    async def CreateCommand(
        self, request: commands_pb2.CreateCommandRequest, context: Any
    ) -> commands_pb2.CreateCommandResponse:
        required(request, "request")
        name = request.request.type_url.rpartition("/")[2]
        method = self._methods.get(name)
        if method is None:
            raise invalid("request", f"{name[:128]!r} is no request of a command")
        try:
            wanted = self._request(name, request.request.value)
        except DecodeError as error:
            raise invalid("request", f"no {name}: {error}") from error
        try:
            await method(wanted, Submission(context))
        except Submitted as submitted:
            return commands_pb2.CreateCommandResponse(command=await self._whole(submitted.record))
        raise AssertionError(f"{name} came to no command")

    async def GetCommand(
        self, request: commands_pb2.GetCommandRequest, context: Any
    ) -> commands_pb2.GetCommandResponse:
        record = await self._require(request.command_id)
        return commands_pb2.GetCommandResponse(command=await self._whole(record))

    async def ListCommands(
        self, request: commands_pb2.ListCommandsRequest, context: Any
    ) -> commands_pb2.ListCommandsResponse:
        records, token = await self._backend.reader.commands(
            charger_id=ChargerId(request.charger_id) if request.charger_id else None,
            open_only=request.open_only,
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return commands_pb2.ListCommandsResponse(
            commands=map(_to_message, records), next_page_token=token
        )

    async def WatchCommands(
        self, request: commands_pb2.WatchCommandsRequest, context: Any
    ) -> AsyncIterator[commands_pb2.WatchCommandsResponse]:
        # The cursor is taken first: what happens while the commands are read is told twice rather
        # than not at all.
        cursor = await self._backend.client.last_cursor()
        if request.command_id:
            record = await self._require(request.command_id)
            yield commands_pb2.WatchCommandsResponse(command=await self._whole(record))
            if record.ended_ms is not None:
                return
        else:
            async for record in self._open(request.charger_id):
                yield commands_pb2.WatchCommandsResponse(command=await self._whole(record))
        async for batch in self._backend.follow(cursor):
            for command_id in _changed(batch, request):
                changed = await self._backend.reader.command(command_id)
                if changed is None:
                    continue
                yield commands_pb2.WatchCommandsResponse(command=await self._whole(changed))
                if request.command_id and changed.ended_ms is not None:
                    return

    async def CancelCommand(
        self, request: commands_pb2.CancelCommandRequest, context: Any
    ) -> commands_pb2.CancelCommandResponse:
        record = await self._require(request.command_id)
        if record.ended_ms is None:
            record = await self._backend.ask(
                charger_ref(record.charger_id),
                CancelCommand(record.command_id),
                CommandRecord,
                context,
            )
        elif record.stage is not CommandStage.CANCELLED:
            raise Precondition(
                "the command has ended",
                reason="COMMAND_ENDED",
                metadata={"command_id": record.command_id},
            )
        return commands_pb2.CancelCommandResponse(command=await self._whole(record))

    async def _open(self, charger_id: str) -> AsyncIterator[CommandRecord]:
        token = ""
        while True:
            records, token = await self._backend.reader.commands(
                charger_id=ChargerId(charger_id) if charger_id else None,
                open_only=True,
                page_token=token,
            )
            for record in records:
                yield record
            if not token:
                return

    async def _require(self, command_id: str) -> CommandRecord:
        record = await self._backend.reader.command(command_id) if command_id else None
        if record is None:
            raise NotFound(
                f"there is no command {command_id[:64]!r}",
                reason="COMMAND_UNKNOWN",
                metadata={"command_id": command_id[:64]},
            )
        return record

    def _request(self, name: str, content: bytes) -> Message:
        message = GetMessageClass(self._types[name].input_type)()
        message.ParseFromString(content)
        return message

    async def _whole(self, record: CommandRecord) -> commands_pb2.Command:
        """A command with its request and its response."""
        command = _to_message(record)
        method = self._methods.get(record.request_type)
        if method is None or not record.request:
            return command
        command.request.CopyFrom(_packed(record.request_type, record.request))
        if command.HasField("outcome"):
            answer = _answer.decode(record.response)
            try:
                response = await method(
                    self._request(record.request_type, record.request), Replay(answer)
                )
            except LoadstarError:
                # What the method looks up besides is gone by now, such as a firmware image.
                return command
            command.response.CopyFrom(
                _packed(response.DESCRIPTOR.full_name, response.SerializeToString())
            )
        return command


def _changed(
    batch: list[JournalEvent], request: commands_pb2.WatchCommandsRequest
) -> dict[str, None]:
    """The commands to watch that changed, in the order in which they did last."""
    changed: dict[str, None] = {}
    for event in batch:
        if event.kind != "command.changed" or request.charger_id not in {"", event.actor.id}:
            continue
        command_id = event.data["command_id"]
        if request.command_id in {"", command_id}:
            changed.pop(command_id, None)
            changed[command_id] = None
    return changed


def _to_message(record: CommandRecord) -> commands_pb2.Command:
    command = commands_pb2.Command(
        command_id=record.command_id,
        charger_id=record.charger_id,
        request_type=record.request_type,
        request_id=record.request_id,
        stage=_STAGES[record.stage],
        attempts_count=record.attempts,
        create_time=timestamp(record.created_ms),
        expire_time=timestamp(record.until_ms),
        send_time=timestamp(record.sent_ms),
        end_time=timestamp(record.ended_ms),
    )
    if record.response:
        answer = _answer.decode(record.response)
        if isinstance(answer, Refusal):
            command.error.reason, command.error.message = answer.reason, answer.message
        else:
            result = answer.result if isinstance(answer, ReservationAnswer) else answer
            command.outcome.CopyFrom(outcome_of(result))
    return command


def _packed(name: str, content: bytes) -> AnyMessage:
    return AnyMessage(type_url=_PREFIX + name, value=content)
