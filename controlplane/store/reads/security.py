"""Reads of what concerns security: credentials, candidates, certificates, security events.

A token of a page is the key of its last row, as elsewhere."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, desc, func, select

from controlplane.ids import ChargerId
from controlplane.store import schema
from controlplane.store.reads.pages import Reads, Result
from controlplane.store.records import (
    CandidateRecord,
    CertificateRecord,
    ChargerRecord,
    CredentialRecord,
    HandOver,
    SecurityEventRecord,
    SigningRecord,
    SigningState,
)

__all__ = ["SecurityReads"]

_FOUND_MAX = 1_000


class SecurityReads(Reads):
    """Part of `StoreReader`. Every method raises `Unavailable` where the database is away."""

    async def admission(
        self, charger_id: ChargerId
    ) -> tuple[ChargerRecord, CredentialRecord | None] | None:
        """What decides on a described charger's handshake, or None for one that nobody
        described."""
        described, shown = schema.charger.c, schema.credential.c
        query = (
            select(schema.charger, *(shown[name].label(f"shown_{name}") for name in _CREDENTIAL))
            .outerjoin(schema.credential, shown.charger_id == described.charger_id)
            .where(described.charger_id == charger_id)
        )
        row = await self.read(lambda connection: connection.execute(query).one_or_none())
        if row is None:
            return None
        values = row._asdict()
        credential = {name: values.pop(f"shown_{name}") for name in _CREDENTIAL}
        record = ChargerRecord(**values)
        if credential["charger_id"] is None:
            return record, None
        return record, CredentialRecord(**credential)

    async def credential(self, charger_id: ChargerId) -> CredentialRecord | None:
        """What the charger has shown and been given, or None."""
        columns = schema.credential.c
        found = await self._found(
            select(schema.credential).where(columns.charger_id == charger_id), CredentialRecord
        )
        return found[0] if found else None

    async def candidates(self) -> list[CandidateRecord]:
        """The chargers that wait for an owner, the newest first; their number is bounded."""
        columns = schema.candidate.c
        query = select(schema.candidate).order_by(desc(columns.first_seen_ms), columns.charger_id)
        return await self._found(query.limit(_FOUND_MAX * 10), CandidateRecord)

    async def candidate(self, charger_id: ChargerId) -> CandidateRecord | None:
        """The charger, if it waits for an owner."""
        query = select(schema.candidate).where(schema.candidate.c.charger_id == charger_id)
        found = await self._found(query, CandidateRecord)
        return found[0] if found else None

    async def candidates_count(self) -> int:
        """How many chargers wait for an owner."""
        query = select(func.count()).select_from(schema.candidate)
        return await self.read(lambda connection: connection.execute(query).scalar_one())

    async def certificate(self, serial: str) -> CertificateRecord | None:
        """The certificate, or None."""
        query = select(schema.certificate).where(schema.certificate.c.serial == serial)
        found = await self._certificates(query)
        return found[0] if found else None

    async def certificates(
        self,
        *,
        charger_id: ChargerId | None = None,
        ends_before_ms: int | None = None,
        after_serial: str = "",
        limit: int = 100,
    ) -> list[CertificateRecord]:
        """Certificates in order of serials."""
        columns = schema.certificate.c
        query = select(schema.certificate).order_by(columns.serial)
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if ends_before_ms is not None:
            query = query.where(columns.not_after_ms < ends_before_ms)
        if after_serial:
            query = query.where(columns.serial > after_serial)
        return await self._certificates(query.limit(limit))

    async def signing(self, request_id: str) -> SigningRecord | None:
        """The wish for a certificate, or None."""
        query = select(schema.signing).where(schema.signing.c.request_id == request_id)
        found = await self._signings(query)
        return found[0] if found else None

    async def signings(
        self,
        *,
        charger_id: ChargerId | None = None,
        states: tuple[SigningState, ...] = (),
        limit: int = _FOUND_MAX,
    ) -> list[SigningRecord]:
        """Wishes for certificates, the newest first."""
        columns = schema.signing.c
        query = select(schema.signing).order_by(desc(columns.asked_ms), columns.request_id)
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if states:
            query = query.where(columns.state.in_(states))
        return await self._signings(query.limit(limit))

    async def security_events(
        self,
        *,
        charger_id: ChargerId | None = None,
        critical_only: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> list[tuple[int, SecurityEventRecord]]:
        """Security events with their numbers, newest first, those below `before` where given."""
        columns = schema.security_event.c
        query = select(schema.security_event).order_by(desc(columns.event_id))
        if charger_id is not None:
            query = query.where(columns.charger_id == charger_id)
        if critical_only:
            query = query.where(columns.critical.is_(True))
        if before is not None:
            query = query.where(columns.event_id < before)
        limited = query.limit(limit)

        def read(connection: Connection) -> list[tuple[int, SecurityEventRecord]]:
            found = []
            for row in connection.execute(limited):
                values = row._asdict()
                found.append((values.pop("event_id"), SecurityEventRecord(**values)))
            return found

        return await self.read(read)

    async def _certificates(self, query: Select[Any]) -> list[CertificateRecord]:
        def read(connection: Connection) -> list[CertificateRecord]:
            return [
                CertificateRecord(**(row._asdict() | {"handed_over": HandOver(row.handed_over)}))
                for row in connection.execute(query)
            ]

        return await self.read(read)

    async def _signings(self, query: Select[Any]) -> list[SigningRecord]:
        def read(connection: Connection) -> list[SigningRecord]:
            return [
                SigningRecord(**(row._asdict() | {"state": SigningState(row.state)}))
                for row in connection.execute(query)
            ]

        return await self.read(read)

    async def _found(self, query: Select[Any], record: type[Result]) -> list[Result]:
        def read(connection: Connection) -> list[Result]:
            return [record(**row._asdict()) for row in connection.execute(query)]

        return await self.read(read)


_CREDENTIAL = tuple(CredentialRecord.__struct_fields__)
