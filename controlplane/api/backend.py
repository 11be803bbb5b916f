"""What every service is given, and what holds for every call: deadlines, request ids, pages,
instants.

A service keeps no state: what it answers is an actor's or the store's, so any number of API servers
may stand beside each other."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import msgspec
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.charger.messages import ChargerView, GetCharger, Submit
from controlplane.config import Settings
from controlplane.errors import InvalidInput, Precondition, TimedOut, Unavailable
from controlplane.files.store import FileStore
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.runtime.client import ActorClient, JournalEvent
from controlplane.runtime.clock import Clock
from controlplane.store.reader import PAGE_SIZE_MAX, StoreReader

__all__ = [
    "MESSAGE_MAX_BYTES",
    "Backend",
    "Caller",
    "Files",
    "ask_chargers",
    "check_request_id",
    "instant_ms",
    "invalid",
    "page_size",
    "required",
    "seconds",
    "span_ms",
    "timestamp",
]

Response = TypeVar("Response", bound=msgspec.Struct)

MESSAGE_MAX_BYTES = 64 * 1024 * 1024
"""Room for the description of a network of a hundred thousand chargers."""
ASK_TIMEOUT_S = 10.0
_PAGE_SIZE_DEFAULT = 100
_EVENTS_AT_ONCE = 1_000
_ASKED_AT_ONCE = 64
_EVENTS_WAIT_S = 10.0
_REQUEST_ID = re.compile(r"[!-~]{1,128}")


class Caller(Protocol):
    """What the services use of a `grpc.aio.ServicerContext`."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None where it set none."""


@dataclass(frozen=True)
class Files:
    """The object directory, and the address under which stations reach its server; empty where it
    is not served."""

    store: FileStore
    base_url: str

    def url(self, path: str) -> str:
        """Where a station finds, or brings, the file at `path`.

        Raises:
            Precondition: files are not served.
        """
        if not self.base_url:
            raise Precondition(
                "files are not served: start Loadstar with --files-port", reason="FILES_NOT_SERVED"
            )
        return f"{self.base_url.rstrip('/')}/{path}"


@dataclass(frozen=True)
class Backend:
    """The inside of Loadstar, as services see it."""

    settings: Settings
    client: ActorClient
    reader: StoreReader
    clock: Clock
    files: Files
    configuring: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a description is checked against the directory and brought into force, so that two
    sites cannot claim one charger at once."""
    creating_grid_events: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while an event is taken in, so that two targets cannot have one with the same id. Not
    the lock above: a wish of the grid does not wait for a large network to be described."""

    async def ask(
        self,
        ref: ActorRef,
        request: msgspec.Struct,
        response: type[Response],
        caller: Caller,
        *,
        timeout_s: float = ASK_TIMEOUT_S,
        request_id: str = "",
    ) -> Response:
        """Ask an actor, for no longer than the caller waits.

        `request_id` is the caller's; the request's own name goes before it, so that one id used for
        two different calls stands for two requests. Errors are those of `ActorClient.ask`.
        """
        remaining_s = caller.time_remaining()
        if remaining_s is not None:
            timeout_s = min(timeout_s, remaining_s)
        request_id = _scoped(request_id, ref, type(request))
        return await self.client.ask(
            ref, request, response, timeout_s=max(timeout_s, 0.001), request_id=request_id
        )

    async def submit(
        self,
        ref: ActorRef,
        submitted: Submit,
        response: type[Response],
        caller: Caller,
        *,
        timeout_s: float = ASK_TIMEOUT_S,
    ) -> Response:
        """Have a charger keep a command, for no longer than the caller waits. It may be told so
        again and again: the command's id says that it is the same one."""
        remaining_s = caller.time_remaining()
        if remaining_s is not None:
            timeout_s = min(timeout_s, remaining_s)
        return await self.client.ask(
            ref,
            submitted,
            response,
            timeout_s=max(timeout_s, 0.001),
            request_id=submitted.command_id,
        )

    async def answered(self, ref: ActorRef, request: type[msgspec.Struct], request_id: str) -> bool:
        """Whether a request of this type and id was answered by the actor before."""
        scoped = _scoped(request_id, ref, request)
        return bool(scoped) and await self.reader.request_result(scoped) is not None

    async def follow(
        self, after: int, *, interval_s: float = _EVENTS_WAIT_S
    ) -> AsyncIterator[list[JournalEvent]]:
        """Journal events with a cursor above `after`, in batches, for ever; an empty batch where
        nothing happened for `interval_s`.

        Nothing is queued here: a stream that is slow asks late and is given what it missed.

        Raises:
            Unavailable: the journal is out of reach.
        """
        while True:
            batch = await self.client.events(after, limit=_EVENTS_AT_ONCE, timeout_s=interval_s)
            yield batch
            if batch:
                after = batch[-1].cursor


async def ask_chargers(
    backend: Backend, charger_ids: Iterable[ChargerId], caller: Caller
) -> dict[ChargerId, ChargerView | None]:
    """What chargers say of themselves, asked side by side; None where the host does not answer."""
    places = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def one(charger_id: ChargerId) -> ChargerView | None:
        ref = ActorRef(ActorKind.CHARGER, charger_id)
        async with places:
            try:
                return await backend.ask(ref, GetCharger(), ChargerView, caller)
            except (Unavailable, TimedOut):
                return None

    asked = list(charger_ids)
    return dict(zip(asked, await asyncio.gather(*map(one, asked)), strict=True))


def invalid(field: str, fault: str) -> InvalidInput:
    """The error of a request in which `field` is wrong."""
    return InvalidInput(f"{field}: {fault}", violations=((field, fault),))


def required(message: Message, *fields: str) -> None:
    """Refuse a request that leaves one of `fields` away or empty.

    Raises:
        InvalidInput: naming the first of them.
    """
    for name in fields:
        descriptor = message.DESCRIPTOR.fields_by_name[name]
        given = message.HasField(name) if descriptor.has_presence else bool(getattr(message, name))
        if not given:
            raise invalid(name, "must be given")


def page_size(wanted: int) -> int:
    """How many elements a page holds.

    Raises:
        InvalidInput: below 0. More than the maximum is cut to it (AIP-158).
    """
    if wanted < 0:
        raise invalid("page_size", "0 (for the default) or more")
    return min(wanted, PAGE_SIZE_MAX) or _PAGE_SIZE_DEFAULT


def seconds(
    field: str, given_s: float, *, default_s: float, least_s: float, most_s: float
) -> float:
    """A duration of a request; 0 stands for the default.

    Raises:
        InvalidInput: outside its range, or not a number.
    """
    if given_s == 0:
        return default_s
    if not math.isfinite(given_s) or not least_s <= given_s <= most_s:
        raise invalid(field, f"{least_s:g} to {most_s:g} s, or 0 for {default_s:g} s")
    return given_s


def timestamp(instant_ms: int | None) -> Timestamp | None:
    """An instant for an answer; None, which leaves the field away, where there is none."""
    if instant_ms is None:
        return None
    whole_s, rest_ms = divmod(instant_ms, 1_000)
    return Timestamp(seconds=whole_s, nanos=rest_ms * 1_000_000)


def instant_ms(message: Any, field: str) -> int | None:
    """The instant in a field of a request, or None where it was left away.

    Raises:
        InvalidInput: not an instant between the years 1 and 9999.
    """
    if not message.HasField(field):
        return None
    given: Timestamp = getattr(message, field)
    try:
        given.ToDatetime()
    except (ValueError, OverflowError) as error:
        raise invalid(field, "an instant between the years 1 and 9999") from error
    return given.ToMilliseconds()


def span_ms(request: Any) -> tuple[int | None, int | None]:
    """`start_time` and `end_time` of a request, None where they were left away.

    Raises:
        InvalidInput: one of them is no instant, or the end is not after the start.
    """
    from_ms, until_ms = instant_ms(request, "start_time"), instant_ms(request, "end_time")
    if from_ms is not None and until_ms is not None and until_ms <= from_ms:
        raise invalid("end_time", "after start_time")
    return from_ms, until_ms


def _scoped(request_id: str, ref: ActorRef, request: type[msgspec.Struct]) -> str:
    """The id under which the answer to a request is kept; "" where the caller gave none."""
    if not request_id:
        return ""
    check_request_id(request_id)
    return f"{request.__struct_config__.tag or request.__name__}:{ref}:{request_id}"


def check_request_id(request_id: str) -> None:
    """Refuse an id that is none.

    Raises:
        InvalidInput: empty, too long, or of other characters.
    """
    if not _REQUEST_ID.fullmatch(request_id):
        raise invalid("request_id", "1 to 128 printable ASCII characters without blanks")
