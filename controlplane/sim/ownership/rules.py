"""The rules that a schedule runs by: those of production, which a test may exchange one by one for
a planted mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controlplane.runtime.owners import Owners
from controlplane.runtime.placement import Lease, claimable
from controlplane.runtime.tenure import Tenure
from controlplane.sim.ownership.clockwork import Process
from controlplane.store.commit import check_epochs

__all__ = ["Rules"]


@dataclass(frozen=True)
class Rules:
    """Classes and functions of production, and the steps of its protocol that can be left out."""

    tenure: Callable[[float], Tenure] = Tenure
    owners: Callable[[], Owners] = Owners
    claimable: Callable[[Lease, str, int], bool] = claimable
    check_epochs: Callable[[Mapping[int, int], Mapping[int, int]], None] = check_epochs
    now_s: Callable[[Process], float] = Process.boottime_s
    next_epoch: Callable[[int], int] = lambda epoch: epoch + 1
    same_tenure: Callable[[int, int], bool] = lambda stored, given: stored == given
    count_from_start: bool = True
    """A lease counts from the start of the statement that extended it, not from its answer."""
    share_locks: bool = True
    """A transaction that checked an epoch keeps claims off until it ends (FOR SHARE)."""
    skip_locked: bool = True
    """A claim passes over rows that such a transaction locks (SKIP LOCKED)."""
    idle_timeout: bool = True
    """The database ends transactions whose client has gone silent."""
    settle: bool = True
    """After a commit without an answer, actors are read back once it can take no effect any
    more."""
    answer_after_commit: bool = True
    announce_first: bool = True
    """Every gateway has heard of a claim before the shard is served."""
    unheard_wait: float = 1.0
    """For how many leases a gateway is waited for that does not answer."""
    gateway_tenure: bool = True
    """A gateway delivers commands only while it is a member by its own clock."""
    gateway_reads: bool = True
    """A gateway reads the epochs whenever it enters or renews its membership."""
    finish_first: bool = True
    """A shard is given back when all that was done for it is committed."""
    forget_on_return: bool = True
    """Actors of a shard that is given back are dropped, and read anew after the next claim."""
    certain_end: bool = True
    """A supervisor strikes nobody who may still live."""
    strike_incarnation: bool = True
    """It strikes the incarnation that ended, and not whoever has its name by then."""
