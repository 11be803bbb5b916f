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

from controlplane.runtime.cluster_token import LinkTls, link_tls, read_token
from controlplane.runtime.transport import Inlet, Link, connect

__all__ = ["Links", "Place", "Reach", "listen"]


@dataclass(frozen=True)
class Place:
    """Where a process runs.

    Attributes:
        folder: of the node's Unix sockets, which only this user can enter. The path of a Unix
            socket has 107 bytes at most.
        link_host: where other nodes reach this one; empty where there are none.
        token_file: what the cluster's token is in.
        supervisor: the process without which those of this node must not go on.
    """

    node: str
    folder: str
    link_host: str = ""
    token_file: Path | None = None
    supervisor: int = 0

    def tls(self) -> LinkTls | None:
        """The TLS of links to other nodes.

        Raises:
            InvalidInput: see `cluster_token.read_token`.
        """
        return None if self.token_file is None else link_tls(read_token(self.token_file))


@dataclass(frozen=True)
class Reach:
    """From where this process links to others, and how it proves itself to other nodes."""

    node: str
    tls: ssl.SSLContext | None = None

    @classmethod
    def of(cls, place: Place, tls: LinkTls | None) -> Reach:
        return cls(place.node, None if tls is None else tls.dialling)


async def listen(inlet: Inlet, place: Place, tls: LinkTls | None) -> str:
    """Take links from others at a new address; returns it.

    Raises:
        OSError: the folder is gone, or its path too long, or the machine has no such address.
    """
    path = await inlet.listen(Path(place.folder) / f"{uuid.uuid4().hex[:12]}.sock")
    address = f"{place.node} unix:{path}"
    if tls is not None:
        address += f" {await inlet.listen_tcp(place.link_host, tls.listening)}"
    return address


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
