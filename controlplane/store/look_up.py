"""How the questions of `queries.py` are answered from the tables.

Many are answered in one transaction: a token costs a place in one SELECT, and chargers of one site
that ask for the same list are given the same one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, func, or_, select

from controlplane.ids import SessionId, SiteId
from controlplane.store import schema
from controlplane.store.queries import (
    LIST_SCAN_MAX,
    ListFound,
    ListQuery,
    Query,
    QueryAnswer,
    SitesFound,
    SitesQuery,
    TokenFound,
    TokenQuery,
)
from controlplane.store.records import SessionState
from controlplane.tokens import PENDING, Token, TokenStatus

__all__ = ["look_up"]

_KEYS_PER_SELECT: Final = 500
_SESSIONS_MAX: Final = 1_000

_token = msgspec.json.Decoder(Token)


def look_up(connection: Connection, queries: Sequence[Query]) -> list[QueryAnswer]:
    """The answers, in the order of the questions."""
    keys = {query.token_key for query in queries if isinstance(query, TokenQuery)}
    tokens = _tokens(connection, keys) if keys else {}
    lists: dict[ListQuery, ListFound] = {}
    answers: list[QueryAnswer] = []
    for query in queries:
        match query:
            case TokenQuery(token_key):
                answers.append(tokens[token_key])
            case ListQuery():
                if query not in lists:
                    lists[query] = _list(connection, query)
                answers.append(lists[query])
            case SitesQuery():
                answers.append(_sites(connection))
    return answers


def _tokens(connection: Connection, keys: Iterable[str]) -> dict[str, TokenFound]:
    columns = schema.token.c
    found = {key: TokenFound(None) for key in keys}
    for part in _parts(found):
        query = select(columns.token_key, columns.token).where(
            columns.token_key.in_(part), columns.removed.is_(False)
        )
        for row in connection.execute(query):
            found[row.token_key] = TokenFound(_token.decode(row.token))
    bounded = [
        key
        for key, each in found.items()
        if each.token is not None and each.token.concurrent_max is not None
    ]
    for key, sessions in _sessions(connection, bounded).items():
        found[key] = TokenFound(found[key].token, tuple(sessions))
    return found


def _sessions(connection: Connection, keys: Iterable[str]) -> dict[str, list[SessionId]]:
    columns = schema.session.c
    running: dict[str, list[SessionId]] = {}
    for part in _parts(keys):
        query = (
            select(columns.token_key, columns.session_id)
            .where(
                columns.token_key.in_(part),
                columns.state == SessionState.ACTIVE,
                or_(
                    columns.token_status.is_(None),
                    columns.token_status.in_((TokenStatus.ACCEPTED, PENDING)),
                ),
            )
            .limit(_SESSIONS_MAX * len(part))
        )
        for row in connection.execute(query):
            running.setdefault(row.token_key, []).append(SessionId(row.session_id))
    return running


def _list(connection: Connection, wanted: ListQuery) -> ListFound:
    columns = schema.token.c
    version = connection.execute(select(func.max(columns.version))).scalar_one() or 0
    query = select(columns.token, columns.removed).order_by(columns.token_key)
    if wanted.after_version:
        query = query.where(columns.version > wanted.after_version)
    else:
        query = query.where(columns.removed.is_(False))
    tokens: list[Token] = []
    gone: list[str] = []
    complete = True
    scanned = 0
    for row in connection.execute(query.limit(LIST_SCAN_MAX + 1)):
        scanned += 1
        token = _token.decode(row.token)
        if row.removed or not token.allowed_at(wanted.site_id, wanted.charger_id):
            gone.append(token.id_token)
        elif len(tokens) < wanted.entries_max:
            tokens.append(token)
        else:
            complete = False
    if not wanted.after_version:
        gone = []
    return ListFound(
        int(version), tuple(tokens), tuple(gone), complete and scanned <= LIST_SCAN_MAX
    )


def _sites(connection: Connection) -> SitesFound:
    rows = connection.execute(select(schema.site.c.site_id).order_by(schema.site.c.site_id))
    return SitesFound(tuple(SiteId(row.site_id) for row in rows))


def _parts(keys: Iterable[Any]) -> Iterable[tuple[Any, ...]]:
    listed = list(keys)
    return (
        tuple(listed[start : start + _KEYS_PER_SELECT])
        for start in range(0, len(listed), _KEYS_PER_SELECT)
    )
