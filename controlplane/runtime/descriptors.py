"""How many files and sockets this process may have open.

Invariant: a process that is to hold many sockets says at its start that it may not, rather than
when chargers are refused."""

from __future__ import annotations

import resource

from controlplane.errors import Precondition

__all__ = ["SPARE_DESCRIPTORS", "allow_descriptors", "raise_descriptors"]

SPARE_DESCRIPTORS = 500
"""For what a process has open besides its sockets: logs, the database, Ray."""


def raise_descriptors(wanted: int) -> int:
    """Raise this process' limit to `wanted`, or as far as this user may; returns the limit in
    force, which may be higher."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    for new_hard in (max(hard, wanted), hard):
        if hard == resource.RLIM_INFINITY:
            new_hard = hard  # noqa: PLW2901 - there is no higher one
        new_soft = wanted if new_hard == resource.RLIM_INFINITY else min(wanted, new_hard)
        if new_soft <= soft:
            return soft
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (new_soft, new_hard))
        except (ValueError, OSError):
            # Only the superuser may raise the hard limit, and he not beyond the kernel's.
            continue
        return new_soft
    return soft


def allow_descriptors(wanted: int) -> None:
    """Raise this process' limit to `wanted` at least; processes that it starts inherit it.

    Raises:
        Precondition: this user may not.
    """
    limit = raise_descriptors(wanted)
    if limit < wanted:
        raise Precondition(
            f"{wanted} open files are needed and {limit} allowed: raise the limit "
            f"(`ulimit -Hn {wanted}`, or LimitNOFILE of the service)",
            reason="TOO_FEW_DESCRIPTORS",
        )
