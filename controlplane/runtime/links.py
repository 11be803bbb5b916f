"""The links of one process to those that it found, by their names.

Invariant: at most one link to a name is open, to the address that was given last. A link that broke
is gone from here before anybody is told; whoever needs it opens it anew."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from controlplane.runtime.transport import Inlet, Link, connect

__all__ = ["Links", "Place", "Reach", "listen"]


@dataclass(frozen=True)
class Place:
    """Where a process runs: its node, and the folder for that node's Unix sockets, which only this
    user can enter. The path of a Unix socket has 107 bytes at most."""

    node: str
    folder: str


@dataclass(frozen=True)
class Reach:
    """From where this process links to others, and how it proves itself to other nodes."""

    node: str
    tls: ssl.SSLContext | None = None


async def listen(inlet: Inlet, place: Place) -> str:
    """Take links from others at a new address; returns it.

    Raises:
        OSError: the folder is gone, or its path too long.
    """
    path = await inlet.listen(Path(place.folder) / f"{uuid.uuid4().hex[:12]}.sock")
    return f"{place.node} unix:{path}"


class Links:
    """Outgoing links.

    Args:
        broken: called with the name and the link when the other end is gone.
    """

    def __init__(self, reach: Reach, broken: Callable[[str, Link], None]) -> None:
        self._reach = reach
        self._broken = broken
        self._links: dict[str, tuple[str, Link]] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._links

    def names(self) -> list[str]:
        """Of those to which a link is open."""
        return list(self._links)

    def get(self, name: str) -> Link | None:
        """The open link to `name`."""
        found = self._links.get(name)
        return None if found is None else found[1]

    async def open(self, name: str, address: str) -> tuple[Link, bool]:
        """The link to `name` at `address`, and whether it was opened just now.

        Raises:
            ConnectionError: it is gone, or cannot be reached.
        """
        async with self._opening.setdefault(name, asyncio.Lock()):
            found = self._links.get(name)
            if found is not None and found[0] == address:
                return found[1], False
            self.close(name)
            link: Link

            def broken() -> None:
                if self.get(name) is link:
                    del self._links[name]
                    self._broken(name, link)

            link = await connect(address, broken, node=self._reach.node, tls=self._reach.tls)
            self._links[name] = (address, link)
            return link, True

    def close(self, name: str) -> None:
        """Close the link to `name`, if there is one."""
        found = self._links.pop(name, None)
        if found is not None:
            found[1].close()

    def close_all(self) -> None:
        for name in self.names():
            self.close(name)
