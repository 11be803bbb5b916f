"""How rows become records and pages: what all reads have in common.

A page token is the key of the last row of the page before, so pages neither skip nor repeat a row
while rows are added."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Connection, Row, Select, Table, select

from controlplane.errors import InvalidInput
from controlplane.ids import ActorKind
from controlplane.store.records import (
    CommandRecord,
    CommandStage,
    GridEventRecord,
    Record,
    ReservationRecord,
    ReservationState,
    SessionRecord,
    SessionState,
)

__all__ = [
    "PAGE_SIZE_MAX",
    "Found",
    "Reads",
    "Result",
    "bounded",
    "parts",
    "read_token",
    "records",
    "token_of",
]

PAGE_SIZE_MAX = 1_000
_KEYS_PER_SELECT = 500

Result = TypeVar("Result")
Found = TypeVar("Found", bound=Record)


class Reads:
    """Some of what `StoreReader` reads; it runs the reads."""

    async def read(self, read: Callable[[Connection], Result]) -> Result:
        """The result of `read`, which is called on a thread with a connection of this reader.

        Raises:
            Unavailable: the database is away.
        """
        raise NotImplementedError

    async def _one(self, table: Table, id: str, record: type[Found]) -> Found | None:
        (key,) = table.primary_key
        query = select(table).where(key == id)
        found = await self.read(lambda connection: records(connection, query, record))
        return found[0] if found else None

    async def _page(
        self,
        query: Select[Any],
        record: type[Found],
        page_size: int,
        key: Callable[[Found], tuple[Any, ...]],
    ) -> tuple[list[Found], str]:
        size = bounded(page_size, PAGE_SIZE_MAX)
        limited = query.limit(size + 1)
        found = await self.read(lambda connection: records(connection, limited, record))
        if len(found) <= size:
            return found, ""
        return found[:size], token_of(key(found[size - 1]))


def records(connection: Connection, query: Select[Any], record: type[Found]) -> list[Found]:
    """The records that `query` finds."""
    return [_record(row, record) for row in connection.execute(query)]


def _record(row: Row[Any], record: type[Found]) -> Found:
    values = row._asdict()
    if record is SessionRecord:
        values["state"] = SessionState(values["state"])
    if record is ReservationRecord:
        values["state"] = ReservationState(values["state"])
    if record is CommandRecord:
        values["stage"] = CommandStage(values["stage"])
    if record is GridEventRecord:
        values["target_kind"] = ActorKind(values["target_kind"])
    return record(**values)


def bounded(wanted: int, most: int) -> int:
    """How many rows are read where so many are wanted: 1 to `most`."""
    return max(1, min(wanted, most))


def parts(ids: list[Any]) -> Iterable[list[Any]]:
    """Keys, as many at a time as one question may name."""
    for start in range(0, len(ids), _KEYS_PER_SELECT):
        yield ids[start : start + _KEYS_PER_SELECT]


def token_of(key: tuple[Any, ...]) -> str:
    """The token of the page that begins after this key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode()


def read_token(token: str, shape: type[Result]) -> Result:
    """The key in a token.

    Raises:
        InvalidInput: it is no token of this kind of page.
    """
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(token.encode()), type=shape)
    except (binascii.Error, msgspec.DecodeError, UnicodeEncodeError) as error:
        raise InvalidInput(
            "page_token was not given out by this method", reason="PAGE_TOKEN_INVALID"
        ) from error
