"""What an operator decides about what was not believed."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from charger_driver import Charger

from controlplane.actor import Ask
from controlplane.charger.messages import (
    DismissQuarantined,
    QuarantineDecision,
    ReleaseQuarantined,
)
from controlplane.errors import Refusal
from controlplane.ids import ChargerId, SessionId
from controlplane.store.records import (
    QuarantinedEntry,
    QuarantineRecord,
    QuarantineResolved,
    QuarantineState,
    SessionRecord,
    SessionState,
)

MINUTE_MS = 60_000


def settled(version: str = "ocpp1.6") -> Charger:
    charger = Charger()
    charger.settle(version)
    return charger


def latest(charger: Charger, session_id: str = "CP1-1") -> SessionRecord:
    found = [each for each in charger.records(SessionRecord) if each.session_id == session_id]
    return found[-1]


def entry(charger: Charger, number: int = 0) -> QuarantinedEntry:
    return QuarantinedEntry(number + 1, charger.records(QuarantineRecord)[number])


def release(
    charger: Charger,
    entry: QuarantinedEntry,
    session: SessionRecord,
    *,
    energy_wh: int | None = None,
    ask_id: str = "release",
) -> Any:
    charger.tell(Ask(ask_id, ReleaseQuarantined(entry, session, energy_wh, "seen on site")))
    return charger.answered(ask_id)[-1]


def unknown_stop(charger: Charger) -> QuarantinedEntry:
    """A session runs, and a stop of a transaction that nobody knows is held."""
    charger.start_16(1_000)
    charger.wait(30 * MINUTE_MS)
    charger.stop_16(4_711, 5_000)
    return entry(charger)


def test_a_released_stop_ends_the_session_it_is_released_to() -> None:
    charger = settled()
    held = unknown_stop(charger)
    stopped_ms = charger.now_ms
    charger.wait(10 * MINUTE_MS)
    decision = release(charger, held, latest(charger))
    assert isinstance(decision, QuarantineDecision)
    assert decision.session is not None
    assert (decision.session.energy_wh, decision.session.meter_stop_wh) == (4_000, 5_000)
    record = latest(charger)
    assert (record.state, record.ended_ms, record.energy_wh) == (
        SessionState.ENDED,
        stopped_ms,
        4_000,
    )
    (resolved,) = charger.records(QuarantineResolved)
    assert (resolved.quarantine_id, resolved.state, resolved.session_id, resolved.note) == (
        1,
        QuarantineState.RELEASED,
        "CP1-1",
        "seen on site",
    )
    (told,) = charger.journal("quarantine.released")
    assert (told["energy_before_wh"], told["energy_wh"]) == (0, 4_000)
    # The connector is free for the next one, on another host too.
    assert charger.reborn().actor.open_sessions == ()


def test_a_released_stop_corrects_a_session_that_is_over_and_long_forgotten() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.stop_16(number, 1_500)
    old = latest(charger)
    for meter_wh in range(2_000, 2_020):
        number = charger.start_16(meter_wh)
        charger.wait(1_000)
        charger.stop_16(number, meter_wh)
    charger.stop_16(4_711, 1_700)
    release(charger, entry(charger), old)
    record = latest(charger)
    assert (record.energy_wh, record.meter_stop_wh, record.ended_ms) == (700, 1_700, old.ended_ms)


def test_a_register_that_jumped_is_added_once_it_is_released() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    for meter_wh in (9_000, 9_010):
        charger.wait(MINUTE_MS)
        charger.meter_16(meter_wh, number)
    charger.wait(30 * MINUTE_MS)
    charger.stop_16(number, 12_000)
    assert latest(charger).energy_wh == 3_000
    release(charger, entry(charger), latest(charger))
    assert latest(charger).energy_wh == 11_000


def test_a_step_that_was_borne_out_later_does_not_count_twice() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(MINUTE_MS)
    charger.meter_16(9_000, number)
    charger.wait(30 * MINUTE_MS)
    charger.stop_16(number, 10_000)
    release(charger, entry(charger), latest(charger))
    assert latest(charger).energy_wh == 9_000


def test_nothing_impossible_is_released_on_the_stations_word() -> None:
    charger = settled()
    number = charger.start_16(0)
    charger.wait(MINUTE_MS)
    charger.meter_16(909_948, number)
    charger.wait(MINUTE_MS)
    charger.stop_16(number, 910_031)
    refusal = release(charger, entry(charger), latest(charger))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "ENERGY_IMPOSSIBLE"
    assert latest(charger).energy_wh == 83
    release(charger, entry(charger), latest(charger), energy_wh=90, ask_id="said")
    assert latest(charger).energy_wh == 90


@pytest.mark.parametrize("meter_stop", [0, 999])
def test_releasing_never_takes_energy_away(meter_stop: int) -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.meter_16(1_500, number)
    charger.wait(10 * MINUTE_MS)
    charger.stop_16(4_711, meter_stop)
    release(charger, entry(charger), latest(charger))
    assert (latest(charger).state, latest(charger).energy_wh) == (SessionState.ENDED, 500)


def test_an_entry_is_decided_about_once() -> None:
    charger = settled()
    held = unknown_stop(charger)
    release(charger, held, latest(charger))
    for again in (charger, charger.reborn()):
        refusal = release(again, held, latest(charger), ask_id="again")
        assert isinstance(refusal, Refusal)
        assert refusal.reason == "QUARANTINE_RESOLVED"
    assert len(charger.journal("quarantine.released")) == 1


def test_a_dismissed_entry_counts_for_nothing() -> None:
    charger = settled()
    held = unknown_stop(charger)
    charger.tell(Ask("a", DismissQuarantined(held, "test bench")))
    (decision,) = charger.answered("a")
    assert isinstance(decision, QuarantineDecision)
    assert decision.entry.record.state is QuarantineState.DISMISSED
    assert latest(charger).state is SessionState.ACTIVE
    assert isinstance(release(charger, held, latest(charger)), Refusal)


def test_an_entry_without_energy_needs_the_operators_word() -> None:
    charger = settled()
    charger.start_16(1_000)
    held = QuarantinedEntry(
        9, QuarantineRecord(ChargerId("CP1"), 0, "UNSTORABLE", "MeterSample", {"record": "..."})
    )
    refusal = release(charger, held, latest(charger))
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "NOTHING_HELD"
    release(charger, held, latest(charger), energy_wh=123, ask_id="said")
    assert latest(charger).energy_wh == 123


def test_nobody_elses_entry_or_session_is_touched() -> None:
    charger = settled()
    held = unknown_stop(charger)
    session = latest(charger)
    foreign = msgspec.structs.replace(session, charger_id=ChargerId("CP2"))
    strange = QuarantinedEntry(1, msgspec.structs.replace(held.record, charger_id=ChargerId("CP2")))
    for asked in ((held, foreign), (strange, session)):
        refusal = release(charger, *asked)
        assert isinstance(refusal, Refusal)
        assert refusal.kind == "invalid_input"
    assert SessionId("CP1-1") in charger.actor.open_sessions
