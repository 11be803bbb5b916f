"""Requests to actors that wait for their one answer.

A request with a `request_id` is done once: while it is under way a repetition waits for the same
answer, and afterwards, for a day, gets the stored one, which was committed together with what the
request changed. Refusals that only say 'not now' are not kept, so trying again means trying again.

A request that is not answered at once is stored as one of unknown outcome before anything of it
leaves the host, and the answer takes the place of that. So a host that comes after a crash does not
send a command a second time."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass

import msgspec

from controlplane.errors import Exhausted, InvalidInput, Refusal, TimedOut
from controlplane.ids import ActorRef
from controlplane.runtime.wire import encode
from controlplane.store.commit import RequestResult
from controlplane.store.reader import StoreReader

__all__ = ["OpenRequest", "Requests"]

OPEN_MAX = 10_000
_KEPT_S = 600.0
"""How long a request with a `request_id` whose asker has gone away may still be answered."""
_ANSWERED_KEPT_S = 30.0
_FORGOTTEN = b""
"""Stored in the place of an unknown outcome when it turns out that nothing was done."""
_OUTCOME_UNKNOWN = Refusal(
    "timed_out",
    "OUTCOME_UNKNOWN",
    "the host was lost while this request was under way; it may have been carried out",
)
_PASSING = frozenset({"unavailable", "timed_out", "exhausted", "internal"})


@dataclass(slots=True, eq=False)
class OpenRequest:
    """One request under way. `stepped` once the actor has seen it."""

    ask_id: str
    ref: ActorRef
    request_id: str
    fingerprint: bytes
    answered: asyncio.Future[bytes]
    until_s: float
    stepped: bool = False
    pending: bool = False
    """Stored as one of unknown outcome."""


class Requests:
    """The requests under way on a host."""

    def __init__(self, incarnation: str, reader: StoreReader) -> None:
        self._incarnation = incarnation
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._open: dict[str, OpenRequest] = {}
        self._by_request_id: dict[str, OpenRequest] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._open)

    def get(self, ask_id: str) -> OpenRequest | None:
        return self._open.get(ask_id)

    async def known(self, ref: ActorRef, request: bytes, request_id: str) -> bytes | None:
        """The answer already given to `request_id`, or, while it is under way, the one it will get;
        None where it is new.

        Raises:
            InvalidInput: the id was used for another request.
            Unavailable: the database is away.
        """
        fingerprint = _fingerprint(request)
        opened = self._by_request_id.get(request_id)
        if opened is not None:
            _same(opened.ref, opened.fingerprint, ref, fingerprint)
            return await asyncio.shield(opened.answered)
        stored = await self._reader.request_result(request_id)
        if stored is None or stored.response == _FORGOTTEN:
            return None
        _same(stored.ref, stored.fingerprint, ref, fingerprint)
        return stored.response

    def stepped(self) -> list[OpenRequest]:
        """The requests that actors have seen and not answered."""
        return [opened for opened in self._open.values() if opened.stepped]

    def under_way(self, request_id: str) -> OpenRequest | None:
        """The request of this id that was begun here, answered or not; None where there is none."""
        return self._by_request_id.get(request_id) if request_id else None

    def begin(
        self, ref: ActorRef, request: bytes, request_id: str, timeout_s: float
    ) -> OpenRequest:
        """Open a request.

        Raises:
            Exhausted: too many are under way.
        """
        if len(self._open) >= OPEN_MAX:
            raise Exhausted(f"{OPEN_MAX} requests are under way", reason="TOO_MANY_REQUESTS")
        self._serial += 1
        opened = OpenRequest(
            ask_id=f"{self._incarnation}-{self._serial}",
            ref=ref,
            request_id=request_id,
            fingerprint=_fingerprint(request) if request_id else b"",
            answered=self._loop.create_future(),
            until_s=self._loop.time() + (max(timeout_s, _KEPT_S) if request_id else timeout_s),
        )
        self._open[opened.ask_id] = opened
        if request_id:
            self._by_request_id[request_id] = opened
        return opened

    def pending(self, opened: OpenRequest) -> RequestResult | None:
        """What is to be stored for a request that the actor has seen and not answered, if
        anything."""
        if not opened.request_id or opened.answered.done():
            return None
        opened.pending = True
        return _result(opened, encode(_OUTCOME_UNKNOWN))

    def result(self, ask_id: str, response: msgspec.Struct) -> RequestResult | None:
        """What is to be stored with the answer, if anything."""
        opened = self._open.get(ask_id)
        if opened is None or not opened.request_id:
            return None
        if _passing(response):
            return _result(opened, _FORGOTTEN) if opened.pending else None
        return _result(opened, encode(response))

    def answer(self, ask_id: str, response: msgspec.Struct) -> None:
        """Give the answer; the first one counts."""
        opened = self._open.pop(ask_id, None)
        if opened is None:
            return
        if _passing(response):
            self._by_request_id.pop(opened.request_id, None)
        # Otherwise kept for a while: a repetition may be looking it up in the store, too early.
        opened.until_s = self._loop.time() + _ANSWERED_KEPT_S
        if not opened.answered.done():
            opened.answered.set_result(encode(response))

    def lost(self, refs: set[ActorRef]) -> None:
        """The actors of `refs` were thrown away; what they had been asked may or may not happen."""
        for opened in [o for o in self._open.values() if o.stepped and o.ref in refs]:
            self.answer(
                opened.ask_id,
                Refusal("timed_out", "ACTOR_RESTARTED", f"{opened.ref} was brought back"),
            )

    def expire(self) -> None:
        """Close what nobody answered in time."""
        now_s = self._loop.time()
        for opened in [o for o in self._open.values() if o.until_s <= now_s]:
            self.answer(opened.ask_id, Refusal("timed_out", "NO_ANSWER", "no answer in time"))
        for request_id, opened in list(self._by_request_id.items()):
            if opened.answered.done() and opened.until_s <= now_s:
                del self._by_request_id[request_id]

    async def wait(self, opened: OpenRequest, timeout_s: float) -> bytes:
        """The answer.

        Raises:
            TimedOut: not in time; it may still come, and is stored where it has a `request_id`.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.shield(opened.answered)
        except TimeoutError:
            raise TimedOut(
                f"{opened.ref} gave no answer within {timeout_s:g} s", reason="NO_ANSWER"
            ) from None


def _result(opened: OpenRequest, response: bytes) -> RequestResult:
    now_ms = time.time_ns() // 1_000_000
    return RequestResult(opened.request_id, opened.ref, opened.fingerprint, response, now_ms)


def _passing(response: msgspec.Struct) -> bool:
    return isinstance(response, Refusal) and response.kind in _PASSING


def _fingerprint(request: bytes) -> bytes:
    return hashlib.blake2b(request, digest_size=16).digest()


def _same(ref: ActorRef, fingerprint: bytes, other: ActorRef, other_fingerprint: bytes) -> None:
    if ref != other or fingerprint != other_fingerprint:
        raise InvalidInput(
            "this request_id was used for another request", reason="REQUEST_ID_REUSED"
        )
