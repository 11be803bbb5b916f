"""The data directory: used by one node at a time, and where the node's name is kept.

Hosts of one name take each other's shards over at once (`ownership.py`). Invariant: two nodes that
run at the same time have different names, so neither takes the other for its own dead
predecessor."""

from __future__ import annotations

import fcntl
import uuid
from pathlib import Path

from controlplane.errors import Precondition

__all__ = ["DataDirectory"]

_FILE = "node"


class DataDirectory:
    """Held from the moment it is made; the kernel lets go of it when this process ends.

    Raises:
        Precondition: another process holds it.
        OSError: it cannot be made, or not written to.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # Not inherited by the processes that are started from here.
        self._file = (folder / _FILE).open("a+", encoding="ascii")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise Precondition(
                f"another Loadstar is running on the data directory {folder.resolve()}",
                reason="DATA_DIRECTORY_IN_USE",
            ) from error
        self._file.seek(0)
        self.node = self._file.read().strip() or self._named()
        """This node's name, the same for as long as the directory lasts."""

    def release(self) -> None:
        """Let another process have it."""
        self._file.close()

    def _named(self) -> str:
        node = uuid.uuid4().hex[:12]
        self._file.write(f"{node}\n")
        self._file.flush()
        return node
