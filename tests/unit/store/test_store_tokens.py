"""Tokens and reservations in the store: pages, look-ups, and what is left out."""

from __future__ import annotations

import msgspec

from controlplane.ids import ChargerId, SessionId, SiteId
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.queries import (
    ListFound,
    ListQuery,
    Query,
    SitesFound,
    SitesQuery,
    TokenFound,
    TokenQuery,
)
from controlplane.store.reader import StoreReader
from controlplane.store.records import (
    Record,
    ReservationRecord,
    ReservationState,
    SessionRecord,
    SessionState,
    SiteRecord,
    TokenRecord,
    TokenRemoved,
)
from controlplane.tokens import PENDING, Token


def stored(version: int, token: Token) -> TokenRecord:
    group_key = None if token.group_id is None else token.group_id.lower()
    return TokenRecord(token.key, version, group_key, msgspec.json.encode(token))


def session(number: int, status: str | None, *, ended: bool = False) -> SessionRecord:
    return SessionRecord(
        SessionId(f"s{number}"),
        ChargerId("CP1"),
        SiteId("S1"),
        1,
        str(number),
        "Anna",
        SessionState.ENDED if ended else SessionState.ACTIVE,
        number,
        token_key="anna",
        token_status=status,
    )


def write(writer: StoreWriter, *records: Record) -> None:
    writer.commit(CommitBatch(records=list(records)))


async def ask(reader: StoreReader, query: Query) -> object:
    (answer,) = await reader.look_up([query])
    return answer


async def test_tokens_are_read_in_pages_by_group_and_without_the_removed(
    writer: StoreWriter, reader: StoreReader
) -> None:
    first, second = stored(1, Token("Anna", group_id="G")), stored(1, Token("BEN", group_id="G"))
    other = stored(1, Token("CARL"))
    write(writer, first, second, other)
    write(writer, TokenRemoved("ben", 2), TokenRemoved("nobody", 2))
    assert await reader.token("anna") == first
    assert await reader.token("ben") is None
    page, token = await reader.tokens(page_size=1)
    assert page == [first]
    assert await reader.tokens(page_size=1, page_token=token) == ([other], "")
    assert await reader.tokens(group_key="g") == ([first], "")
    write(writer, stored(3, Token("BEN")))
    assert await reader.token("ben") == stored(3, Token("BEN"))


async def test_running_sessions_are_counted_only_where_their_number_is_bounded(
    writer: StoreWriter, reader: StoreReader
) -> None:
    free, bounded = Token("Anna"), Token("Anna", concurrent_max=1)
    write(writer, stored(1, free), session(1, "Accepted"))
    assert await ask(reader, TokenQuery("anna")) == TokenFound(free)
    write(writer, stored(2, bounded), session(2, PENDING), session(3, "Blocked"), session(4, None))
    write(writer, session(5, "Accepted", ended=True))
    answer = await ask(reader, TokenQuery("anna"))
    assert isinstance(answer, TokenFound)
    assert (answer.token, set(answer.sessions)) == (bounded, {"s1", "s2", "s4"})
    assert await ask(reader, TokenQuery("nobody")) == TokenFound(None)


async def test_a_list_holds_what_may_charge_here_and_then_what_changed(
    writer: StoreWriter, reader: StoreReader
) -> None:
    here, there = Token("HERE", sites=("S1",)), Token("THERE", sites=("S2",))
    write(writer, stored(1, here), stored(1, there), stored(1, Token("GONE")))
    write(writer, TokenRemoved("gone", 2))

    def wanted(after_version: int, entries_max: int = 10) -> ListQuery:
        return ListQuery(SiteId("S1"), ChargerId("CP1"), after_version, entries_max)

    assert await ask(reader, wanted(0)) == ListFound(2, (here,), (), True)
    assert await ask(reader, wanted(1)) == ListFound(2, (), ("GONE",), True)
    moved = Token("HERE", sites=("S2",))
    write(writer, stored(3, moved), stored(3, Token("ANNA")), stored(3, Token("BEN")))
    found = ListFound(3, (Token("ANNA"), Token("BEN")), ("HERE",), True)
    assert await ask(reader, wanted(2)) == found
    assert await ask(reader, wanted(2, 1)) == ListFound(3, (Token("ANNA"),), ("HERE",), False)


async def test_many_questions_are_answered_in_their_order(
    writer: StoreWriter, reader: StoreReader
) -> None:
    write(writer, SiteRecord(SiteId("S1"), None, b"{}", 1), stored(1, Token("T1")))
    asked: list[Query] = [TokenQuery(f"t{number}") for number in range(1_200)]
    answers = await reader.look_up([*asked, SitesQuery()])
    assert len(answers) == 1_201
    assert answers[1] == TokenFound(Token("T1")) and answers[0] == TokenFound(None)
    assert answers[-1] == SitesFound((SiteId("S1"),))


async def test_reservations_are_read_newest_first(writer: StoreWriter, reader: StoreReader) -> None:
    def kept(number: int, charger: str, state: ReservationState) -> ReservationRecord:
        return ReservationRecord(
            f"{charger}-R{number}", ChargerId(charger), SiteId("S1"), number, 1, "", "ANNA", None,
            state, created_ms=number, until_ms=number + 10,
        )  # fmt: skip

    old, new = kept(1, "CP1", ReservationState.ENDED), kept(2, "CP1", ReservationState.ACTIVE)
    other = kept(3, "CP2", ReservationState.ASKED)
    write(writer, old, new, other)
    assert await reader.reservation("CP1-R1") == old
    assert await reader.reservation("nothing") is None
    assert await reader.reservations(charger_id=ChargerId("CP1")) == ([new, old], "")
    page, token = await reader.reservations(open_only=True, page_size=1)
    assert page == [other]
    assert await reader.reservations(open_only=True, page_size=1, page_token=token) == ([new], "")
