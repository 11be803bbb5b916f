"""The limit of open files is raised as far as it goes, and where it does not go far enough that is
said."""

from __future__ import annotations

import resource

import pytest

from controlplane.errors import Precondition
from controlplane.runtime.descriptors import allow_descriptors, raise_descriptors


class Limits:
    """The process' limits, of a user who may lower and raise the soft one only."""

    def __init__(self, soft: int, hard: int) -> None:
        self.soft, self.hard = soft, hard

    def get(self, _kind: int) -> tuple[int, int]:
        return self.soft, self.hard

    def set(self, _kind: int, limits: tuple[int, int]) -> None:
        if limits[1] > self.hard:
            raise ValueError("not allowed to raise maximum limit")
        self.soft, self.hard = limits


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Limits:
    limits = Limits(1_024, 20_000)
    monkeypatch.setattr(resource, "getrlimit", limits.get)
    monkeypatch.setattr(resource, "setrlimit", limits.set)
    return limits


def test_the_limit_is_raised_to_what_is_wanted(limits: Limits) -> None:
    allow_descriptors(10_500)
    assert limits.get(0) == (10_500, 20_000)


def test_a_higher_limit_stays(limits: Limits) -> None:
    allow_descriptors(100)
    assert limits.get(0) == (1_024, 20_000)


def test_what_the_user_may_not_have_is_said_and_as_much_as_he_may_is_taken(limits: Limits) -> None:
    assert raise_descriptors(100_500) == 20_000
    with pytest.raises(Precondition, match="100500 open files are needed and 20000 allowed"):
        allow_descriptors(100_500)
