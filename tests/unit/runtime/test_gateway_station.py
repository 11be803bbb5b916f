from __future__ import annotations

from controlplane.ids import ActorKind, ChargerId, SiteId, shard_of
from controlplane.runtime.station import CALLS_WAITING_MAX, FRAMES_BURST, Station
from controlplane.runtime.wire import CallOfStation, FrameKind, ToStation


def station() -> Station:
    return Station(
        charger_id=ChargerId("CP1"), site_id=None, connection="g:1", version="ocpp1.6", remote=""
    )


def called(number: int) -> CallOfStation:
    return CallOfStation(ChargerId("CP1"), None, "g:1", f"m{number}", "Heartbeat", b"")


def command(number: int) -> ToStation:
    return ToStation("g:1", 1, 1, FrameKind.CALL, f"c{number}", "Reset", "")


def test_one_call_of_the_station_at_a_time() -> None:
    held = station()
    assert held.called(called(1), 0.0)
    assert not held.called(called(2), 0.0)
    assert not held.called(called(3), 0.0)
    assert held.answered(1.0) == called(2)
    assert held.answered(2.0) == called(3)
    assert held.answered(3.0) is None
    assert held.pending is None


def test_calls_sent_ahead_are_bounded() -> None:
    held = station()
    for number in range(CALLS_WAITING_MAX):
        held.called(called(number), 0.0)
        assert not held.crowded
    held.called(called(99), 0.0)
    assert held.crowded


def test_one_command_at_a_time_and_those_of_a_dead_host_are_forgotten() -> None:
    held = station()
    assert held.commanded(command(1), 0.0) is True
    assert held.commanded(command(2), 0.0) is False
    assert held.replied(1.0) == command(2)
    assert held.commanded(command(3), 1.0) is False
    held.forget_commands()
    assert held.replied(2.0) is None


def test_commands_are_bounded() -> None:
    held = station()
    answers = [held.commanded(command(number), 0.0) for number in range(70)]
    assert answers[0] is True
    assert answers[-1] is None


def test_replay_of_an_offline_charger_is_not_slowed_and_a_flood_is() -> None:
    held = station()
    waits = [held.overdrawn_s(10.0) for _ in range(int(FRAMES_BURST))]
    assert max(waits) == 0.0
    assert max(held.overdrawn_s(10.0) for _ in range(10)) > 0.0
    assert held.overdrawn_s(60.0) == 0.0


def test_a_charger_lives_where_its_site_does() -> None:
    held = station()
    assert held.shard == shard_of(ActorKind.CHARGER, "CP1")
    held.belongs_to(SiteId("S1"))
    assert held.shard == shard_of(ActorKind.SITE, "S1")
