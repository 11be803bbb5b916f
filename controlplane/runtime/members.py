"""Who is there: one row in `member` for every host and gateway, kept alive like a lease.

Invariant: a row speaks for one incarnation. Whoever finds that its row is gone, or is another's,
was taken for dead by the others and must not go on as if nothing had happened. Instants are those
of the database's clock."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import Connection, text

__all__ = [
    "ClusterReading",
    "Member",
    "MemberKind",
    "MemberRow",
    "forget_member",
    "now_ms_sql",
    "shards_of_hosts",
]

_NOW_MS = {
    "sqlite": "CAST((julianday('now') - 2440587.5) * 86400000 AS BIGINT)",
    "postgresql": "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)",
}


def now_ms_sql(connection: Connection) -> str:
    """The expression for the database's clock, in milliseconds UTC."""
    return _NOW_MS[connection.dialect.name]


class MemberKind(StrEnum):
    HOST = "host"
    GATEWAY = "gateway"


class Member(NamedTuple):
    """A host or gateway whose lease runs."""

    name: str
    kind: MemberKind
    node: str
    incarnation: str
    address: str
    """Where links to it begin; see `transport.connect`."""
    draining: bool


class MemberRow:
    """The row of one incarnation of one process."""

    def __init__(
        self, *, name: str, kind: MemberKind, node: str, incarnation: str, lease_s: float
    ) -> None:
        self.address = ""
        self.draining = False
        self.entered = False
        self._key = {"name": name, "incarnation": incarnation}
        self._constant = {"kind": kind.value, "node": node}
        self._lease = {"lease_ms": int(lease_s * 1_000)}

    def enter(self, connection: Connection) -> None:
        """Be there from now on, in the place of an earlier incarnation."""
        connection.execute(
            text(
                "INSERT INTO member"
                " (name, kind, node, incarnation, address, lease_until_ms, draining) VALUES"
                " (:name, :kind, :node, :incarnation, :address,"
                f" {now_ms_sql(connection)} + :lease_ms, :draining)"
                " ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, node = excluded.node,"
                " incarnation = excluded.incarnation, address = excluded.address,"
                " lease_until_ms = excluded.lease_until_ms, draining = excluded.draining"
            ),
            self._key
            | self._constant
            | self._lease
            | {"address": self.address, "draining": self.draining},
        )

    def renew(self, connection: Connection) -> bool:
        """Be there for another lease. Returns False where the row is gone or another's."""
        return (
            connection.execute(
                text(
                    f"UPDATE member SET lease_until_ms = {now_ms_sql(connection)} + :lease_ms"
                    " WHERE name = :name AND incarnation = :incarnation"
                ),
                self._key | self._lease,
            ).rowcount
            == 1
        )

    def drain(self, connection: Connection) -> None:
        """Let everybody know that nothing more should be given to it."""
        self.draining = True
        connection.execute(
            text(
                "UPDATE member SET draining = :draining"
                " WHERE name = :name AND incarnation = :incarnation"
            ),
            self._key | {"draining": True},
        )

    def leave(self, connection: Connection) -> None:
        """Be there no more."""
        connection.execute(
            text("DELETE FROM member WHERE name = :name AND incarnation = :incarnation"), self._key
        )


def forget_member(connection: Connection, name: str, incarnation: str) -> None:
    """Strike a host or gateway that has ended from the members, and let others claim what the host
    owned at once. Whatever another incarnation of its name has meanwhile is left alone: this
    statement may take effect long after it was sent.

    Call only when nothing of it can be written or sent any more."""
    # What it had on its way to the database is undone, or holds the rows until it has happened.
    connection.execute(
        text("UPDATE shard_owner SET lease_until_ms = 0 WHERE owner = :owner"),
        {"owner": f"{name}/{incarnation}"},
    )
    connection.execute(
        text("DELETE FROM member WHERE name = :name AND incarnation = :incarnation"),
        {"name": name, "incarnation": incarnation},
    )


def shards_of_hosts(connection: Connection) -> Counter[str]:
    """How many shards each host owns, by its name."""
    rows = connection.execute(
        text("SELECT owner, COUNT(*) AS shards FROM shard_owner GROUP BY owner")
    )
    counts: Counter[str] = Counter()
    for row in rows:
        counts[row.owner.partition("/")[0]] += row.shards
    return counts


class ClusterReading(NamedTuple):
    """What the database says at one moment."""

    now_ms: int
    members: dict[str, Member]
    ownership_version: int
    """Grows whenever a shard is claimed."""
    cursor: int
    """Of the newest event of the journal."""

    @classmethod
    def read(cls, connection: Connection) -> ClusterReading:
        now = now_ms_sql(connection)
        now_ms, version, cursor = connection.execute(
            text(
                f"SELECT {now}, (SELECT SUM(epoch) FROM shard_owner),"
                " (SELECT MAX(cursor) FROM journal_head)"
            )
        ).one()
        rows = connection.execute(
            text(
                "SELECT name, kind, node, incarnation, address, draining FROM member"
                " WHERE lease_until_ms >= :now_ms ORDER BY name"
            ),
            {"now_ms": now_ms},
        )
        members = {
            row.name: Member(
                row.name,
                MemberKind(row.kind),
                row.node,
                row.incarnation,
                row.address,
                bool(row.draining),
            )
            for row in rows
        }
        return cls(now_ms, members, int(version or 0), int(cursor or 0))

    def hosts(self) -> list[Member]:
        return [each for each in self.members.values() if each.kind is MemberKind.HOST]

    def gateways(self) -> list[Member]:
        return [each for each in self.members.values() if each.kind is MemberKind.GATEWAY]
