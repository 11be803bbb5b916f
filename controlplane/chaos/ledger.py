"""What is stored after a chaos run, and what sites say of their own rows.

Reads the tables as they are, and the sites over gRPC as any other program does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Final

import grpc
from sqlalchemy import select

from controlplane.api.v1 import sites_pb2, sites_pb2_grpc
from controlplane.chaos.audit import StoredCommand, StoredSession
from controlplane.chaos.books import Reading
from controlplane.store import schema
from controlplane.store.engine import open_engine
from controlplane.store.records import SessionState
from controlplane.store.samples import sample_days, sample_table

__all__ = ["read_commands", "read_store", "sites_violations"]

_CALL_TIMEOUT_S: Final = 30.0


def read_store(database_url: str) -> tuple[Counter[Reading], list[StoredSession]]:
    """The readings of meters, each with how often it is stored, and the charge records. Blocks."""
    readings: Counter[Reading] = Counter()
    engine = open_engine(database_url, writer=False)
    try:
        with engine.connect() as connection:
            for day in sample_days(connection):
                each = sample_table(day).c
                columns = (each.charger_id, each.connector_id, each.at_ms, each.energy_wh)
                for row in connection.execute(select(*columns).where(each.energy_wh.is_not(None))):
                    readings[Reading(*row)] += 1
            session = schema.session.c
            sessions = [
                StoredSession(
                    row.charger_id,
                    row.connector_id,
                    row.transaction_id,
                    row.state == SessionState.ENDED.value,
                    row.energy_wh,
                )
                for row in connection.execute(
                    select(
                        session.charger_id,
                        session.connector_id,
                        session.transaction_id,
                        session.state,
                        session.energy_wh,
                    )
                )
            ]
    finally:
        engine.dispose()
    return readings, sessions


def read_commands(database_url: str, request_type: str) -> list[StoredCommand]:
    """The commands of one type. Blocks."""
    engine = open_engine(database_url, writer=False)
    try:
        with engine.connect() as connection:
            command = schema.command.c
            return [
                StoredCommand(*row)
                for row in connection.execute(
                    select(command.charger_id, command.request_id, command.stage).where(
                        command.request_type == request_type
                    )
                )
            ]
    finally:
        engine.dispose()


async def sites_violations(address: str, site_ids: Iterable[str]) -> dict[str, int]:
    """How many rounds each site has counted, since it was made, after which one of its rows stood
    over its rating by its own ledger."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = sites_pb2_grpc.SitesServiceStub(channel)
        return {
            site_id: (
                await stub.GetSiteAllocation(
                    sites_pb2.GetSiteAllocationRequest(site_id=site_id), timeout=_CALL_TIMEOUT_S
                )
            ).allocation.violations
            for site_id in site_ids
        }
