"""What a node asks of Ray is waited for no longer than it can take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from controlplane.config import Settings
from controlplane.runtime import ray_processes
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.links import Place
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

    monkeypatch.setattr(ray_processes.ray, "kill", kill)
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
    monkeypatch.setattr(ray_processes.ray, "kill", kill)
    with pytest.raises(ValueError, match="no such actor"):
        await host(object()).kill()
