"""What a node asks of Ray is waited for no longer than it can take."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.config import Settings
from controlplane.runtime import ray_processes
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.links import Place
from controlplane.runtime.ray_library import ray
from controlplane.runtime.ray_processes import RayHost


@pytest.fixture
def head_is_back(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Until then Ray kills nobody of whom its head has not heard."""
    back = threading.Event()
    monkeypatch.setattr(ray_processes, "_KILL_TIMEOUT_S", 0.02)
    yield back
    back.set()


def host(handle: object) -> RayHost:
    actor_class: Any = SimpleNamespace(remote=lambda *_: handle)
    place = Place("node", "folder", supervisor=1)
    return RayHost(actor_class, "host", Settings(), place=place, clock=SystemClock(), create=None)


async def test_nobody_waits_for_the_end_of_a_process_of_which_the_head_has_not_heard(
    monkeypatch: pytest.MonkeyPatch, head_is_back: threading.Event
) -> None:
    killed: list[object] = []
    done = threading.Event()

    def kill(handle: object) -> None:
        head_is_back.wait(10)
        killed.append(handle)
        done.set()

    monkeypatch.setattr(ray, "kill", kill)
    handle = object()
    await host(handle).kill()
    assert not killed
    head_is_back.set()
    assert done.wait(10)
    assert killed == [handle], "it is killed all the same"


async def test_a_refusal_of_ray_is_told(
    monkeypatch: pytest.MonkeyPatch, head_is_back: threading.Event
) -> None:
    def kill(_: object) -> None:
        raise ValueError("no such actor")

    monkeypatch.setattr(ray_processes, "_KILL_TIMEOUT_S", 10.0)
    monkeypatch.setattr(ray, "kill", kill)
    with pytest.raises(ValueError, match="no such actor"):
        await host(object()).kill()


async def test_a_process_that_ray_cannot_kill_is_killed_and_known_to_have_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def kill(_: object) -> None:
        raise RuntimeError("the head is away")

    monkeypatch.setattr(ray, "kill", kill)
    monkeypatch.setattr(ray_processes, "_KILL_GRACE_S", 0.0)
    process = await asyncio.create_subprocess_exec("sleep", "600")
    # SIGKILL ends a process that is stopped as well.
    process.send_signal(signal.SIGSTOP)

    async def begin(name: str, incarnation: str) -> int:
        return process.pid

    begun = host(SimpleNamespace(begin=SimpleNamespace(remote=begin)))
    await begun.start()
    assert await begun.kill()
    assert await begun.kill(), "once more, by whoever saw it end"
    assert await process.wait() == -signal.SIGKILL


class Actor:
    """Says that it is alive, while it is."""

    def __init__(self) -> None:
        self.asked = 0
        self.frozen = False
        self.alive = SimpleNamespace(remote=self._answer)

    async def _answer(self) -> None:
        self.asked += 1
        while self.frozen:  # noqa: ASYNC110 - a frozen process has no events
            await asyncio.sleep(0.001)


async def until_asked(actor: Actor, more: int) -> None:
    enough = actor.asked + more
    async with asyncio.timeout(10):
        while actor.asked < enough:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.001)


async def test_who_was_frozen_himself_takes_nobody_for_frozen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(ray_processes, "_ALIVE_INTERVAL_S", 0.002)
    actor, slept_s, now_s = Actor(), 0.0, loop.time
    monkeypatch.setattr(loop, "time", lambda: now_s() + slept_s)
    silence = asyncio.create_task(ray_processes._silence(actor, 10.0))
    await until_asked(actor, 2)
    actor.frozen = True
    await asyncio.sleep(0.01)
    slept_s = 60.0
    actor.frozen = False
    await until_asked(actor, 3)
    assert not silence.done()
    silence.cancel()


async def test_who_does_not_answer_is_taken_for_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_processes, "_ALIVE_INTERVAL_S", 0.002)
    actor = Actor()
    actor.frozen = True
    async with asyncio.timeout(10):
        await ray_processes._silence(actor, 0.05)
