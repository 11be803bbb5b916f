"""The fuzzer, small: what `make fuzz` does a million times over, and that it finds faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.charger.station import Station
from controlplane.ocpp import framing
from controlplane.ocpp.versions import DIALECTS
from controlplane.sim.fuzz.codec import run_chunk
from controlplane.sim.fuzz.frames import Frames
from controlplane.sim.fuzz.sockets import run_sockets


def test_spoilt_frames_are_all_answered_as_they_should() -> None:
    report = run_chunk(seed=20_261_123, frames=2_000)
    assert report.failures == []
    assert (report.crashes, report.unanswered, report.slow) == (0, 0, 0)
    assert report.frames == 2_000
    # It must not all die at the first check.
    assert report.calls - report.refused > 300
    assert min(report.refused, report.faults, report.answers) > 50


def test_a_seed_gives_the_same_frames_again() -> None:
    assert run_chunk(seed=7, frames=300) == run_chunk(seed=7, frames=300)


def test_every_version_is_fuzzed_with_frames_that_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    original = Frames.call

    def call(self: Frames, *, now_ms: int) -> bytes:
        seen.add(self._version)
        return original(self, now_ms=now_ms)

    monkeypatch.setattr(Frames, "call", call)
    run_chunk(seed=1, frames=100)
    assert seen == set(DIALECTS)


def test_a_crash_and_a_wrong_answer_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise KeyError("planted")

    with monkeypatch.context() as planted:
        planted.setattr(Station, "hear", refuse)
        report = run_chunk(seed=1, frames=200)
    assert report.crashes > 20
    assert "planted" in report.failures[0].reason
    with monkeypatch.context() as planted:
        planted.setattr(
            framing, "encode_error", lambda *_: framing.encode_result("somebody else's", {})
        )
        report = run_chunk(seed=1, frames=200)
    assert report.unanswered > 20


async def test_spoilt_frames_through_sockets_disturb_no_honest_charger(tmp_path: Path) -> None:
    report = await run_sockets(3, 300, tmp_path, stations=4, honest=2, transport="local")
    assert report.failures == []
    assert report.frames == 300
    assert report.answered > 100
    assert (report.unanswered, report.internal_errors) == (0, 0)
    assert report.honest_messages > 2
    assert (report.honest_delayed, report.honest_lost) == (0, 0)
