"""The service that answers for certificates misses nothing of what stations asked."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from controlplane.charger.messages import AnswerCertificateStatus, Recorded
from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.ids import ActorKind, ActorRef
from controlplane.runtime import signing
from controlplane.runtime.client import ActorClient
from controlplane.runtime.signing import CertificateService
from controlplane.store.reader import StoreReader
from controlplane.store.records import JournalEvent


class Client:
    """A journal that is away for a moment, in which a station asks."""

    def __init__(self) -> None:
        self.answered = asyncio.Event()
        self._journal: list[JournalEvent] = []
        self._away = True

    async def last_cursor(self) -> int:
        return self._journal[-1].cursor if self._journal else 0

    async def events(self, after: int, *, limit: int) -> list[JournalEvent]:
        if self._away:
            self._away = False
            data = {"question_id": "c/1", "chain": False, "certificates": []}
            charger = ActorRef(ActorKind.CHARGER, "CP1")
            self._journal.append(JournalEvent(1, 0, "certificate.status_asked", charger, data))
            raise Unavailable("the store is away", reason="STORE_AWAY")
        found = [event for event in self._journal if event.cursor > after][:limit]
        if not found:
            await asyncio.Event().wait()
        return found

    def near(self, _: ActorRef) -> bool:
        return True

    async def ask(self, _: ActorRef, request: Any, *__: Any, **___: Any) -> Recorded:
        assert isinstance(request, AnswerCertificateStatus)
        self.answered.set()
        return Recorded()


class Reader:
    """Nothing was ever asked to be signed."""

    async def signings(self, **_: Any) -> list[Any]:
        return []

    async def certificates(self, **_: Any) -> list[Any]:
        return []


async def test_a_question_is_heard_though_the_journal_was_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(signing, "_RETRY_S", 0.0)
    client = Client()
    service = CertificateService(
        Settings(data_dir=tmp_path), cast(ActorClient, client), cast(StoreReader, Reader())
    )
    service.start()
    try:
        await asyncio.wait_for(client.answered.wait(), 10)
    finally:
        await service.stop()
