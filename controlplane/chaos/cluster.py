"""The machines of a chaos run: a Ray head, nodes of Loadstar, and the service manager of each,
which starts anew what has ended as systemd does with the units of `deploy/systemd`.

Invariant: what was started here can be told by its environment, wherever it hangs in the tree of
processes, and ends with the run (`undertaker.py`)."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from controlplane.chaos.fabric import Fabric, Machine
from controlplane.chaos.marks import MACHINE, RUN, is_marked, is_program, marked
from controlplane.errors import Unavailable
from controlplane.runtime.clock import SetClock

__all__ = ["Cluster", "Node"]

_RAY_PORT: Final = 6_379
_OCPP_PORT: Final = 9_000
_GRPC_PORT: Final = 9_090
_OBJECT_STORE_BYTES: Final = 80 * 1_024 * 1_024
_RESTART_S: Final = 2.0
"""As `RestartSec` of the units."""
_LOOK_S: Final = 0.2
_READY_TIMEOUT_S: Final = 300.0
_END_TIMEOUT_S: Final = 90.0
_SETTINGS: Final = {
    "LOADSTAR_LOG_LEVEL": "INFO",
    "LOADSTAR_METER_INTERVAL_S": "5",
    "LOADSTAR_CALL_TIMEOUT_S": "10",
    "LOADSTAR_RAMP_S": "5",
    "LOADSTAR_SITE_REPORT_INTERVAL_S": "2",
    "LOADSTAR_DRAIN_S": "2",
}
"""Vehicles here follow their pilot within a second, so nobody needs the field's patience."""


@dataclass(frozen=True)
class _Programs:
    """What every machine of a run needs to know."""

    run: str
    folder: Path
    database_url: str
    network: Path
    hosts: int
    token: str

    @property
    def token_file(self) -> Path:
        return self.folder / "token"

    @property
    def ray_folder(self) -> Path:
        return self.folder / "ray"

    def environment(self, machine: Machine) -> dict[str, str]:
        return (
            dict(os.environ)
            | _SETTINGS
            | {
                RUN: self.run,
                MACHINE: machine.name,
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": self.token,
                "RAY_USAGE_STATS_ENABLED": "0",
                "RAY_gcs_rpc_server_reconnect_timeout_s": "604800",
                "RAY_worker_niceness": "0",
                "RAY_gcs_storage": "rocksdb",
                "RAY_gcs_storage_path": str(self.folder / "gcs"),
                "LOADSTAR_CLOCK_OFFSET_FILE": str(self.clock_file(machine)),
            }
        )

    def clock_file(self, machine: Machine) -> Path:
        return self.folder / f"{machine.name}.clock"


class _Service:
    """One unit of a service manager: a process of a machine."""

    def __init__(self, machine: Machine, programs: _Programs, name: str, *command: str) -> None:
        self._machine = machine
        self._programs = programs
        self._name = f"{machine.name}-{name}"
        self._command = command
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        folder = self._programs.folder
        log: IO[bytes]
        with (folder / f"{self._name}.out").open("ab") as log, self._machine.inside():
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._command],
                cwd=folder,
                env=self._programs.environment(self._machine),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL for who does not listen."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(self.process.wait, _END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class _RayService(_Service):
    """`ray start`: the head, or a machine of the cluster."""

    def __init__(self, machine: Machine, programs: _Programs, *role: str) -> None:
        super().__init__(
            machine,
            programs,
            "ray",
            *("ray.scripts.scripts", "start", "--block", "--disable-usage-stats", "--num-cpus=0"),
            f"--node-ip-address={machine.address}",
            f"--object-store-memory={_OBJECT_STORE_BYTES}",
            *role,
        )


class Node:
    """A machine with Ray, Loadstar, and a service manager that keeps both running."""

    def __init__(self, machine: Machine, programs: _Programs, head: Machine) -> None:
        self.machine = machine
        self.hosts = programs.hosts
        self.restarts = 0
        """How often its service manager had to start something anew."""
        self.clock_file = programs.clock_file(machine)
        SetClock.set(self.clock_file, 0)
        self._ready_file = programs.folder / f"{machine.name}.ready"
        self._run = programs.run
        self._ray = _RayService(machine, programs, f"--address={head.address}:{_RAY_PORT}")
        self._loadstar = _Service(
            machine,
            programs,
            "loadstar",
            *("controlplane.cli", "up", "--address", f"{head.address}:{_RAY_PORT}"),
            *("--cluster-token-file", str(programs.token_file), "--hosts", str(programs.hosts)),
            *("--database-url", programs.database_url, "--network", str(programs.network)),
            *("--data-dir", str(programs.folder / machine.name), "--link-host", machine.address),
            *("--ocpp-host", machine.address, "--ocpp-port", str(_OCPP_PORT)),
            *("--grpc-host", machine.address, "--grpc-port", str(_GRPC_PORT)),
            *("--ready-file", str(self._ready_file)),
        )
        self._keeping: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where stations connect."""
        return f"ws://{self.machine.address}:{_OCPP_PORT}/ocpp"

    @property
    def grpc_address(self) -> str:
        return f"{self.machine.address}:{_GRPC_PORT}"

    @property
    def ready(self) -> bool:
        """Whether it serves: its gateway and all its hosts are there."""
        return (
            self._loadstar.running
            and len(self.pids("host")) == self.hosts
            and len(self.pids("gateway")) == 1
        )

    def pids(self, role: str) -> list[int]:
        """The processes of a role that run, as the node tells them."""
        told: list[int] = self._told().get("pids", {}).get(role, [])
        return [pid for pid in told if is_marked(pid, self._run, self.machine.name)]

    def all_pids(self) -> list[int]:
        """Every process of the machine, Ray's too."""
        return marked(self._run, self.machine.name)

    def _told(self) -> dict[str, Any]:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            told: dict[str, Any] = json.loads(self._ready_file.read_text(encoding="utf-8"))
            return told
        return {}

    def ray_daemons(self) -> list[int]:
        """The process by which Ray runs everything else here."""
        return [pid for pid in self.all_pids() if is_program(pid, "raylet")]

    def start(self) -> None:
        """Switch the machine on."""
        self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def off(self) -> None:
        """Switch the machine off: everything on it is gone at once."""
        await self._leave_alone()
        self.signal(signal.SIGKILL)
        self._reap()

    async def drain(self) -> None:
        """Have the node hand everything over and end; its service manager starts it anew."""
        await self._leave_alone()
        await self._loadstar.stop()
        self.start()

    async def stop(self) -> None:
        """End in order."""
        await self._leave_alone()
        await self._loadstar.stop()
        await self._ray.stop()
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Signal every process of the machine."""
        for pid in self.all_pids():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    async def _leave_alone(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)

    def _reap(self) -> None:
        for service in (self._loadstar, self._ray):
            if service.process is not None:
                service.process.wait()
        self._ready_file.unlink(missing_ok=True)

    async def _keep(self) -> None:
        """What a service manager does. Loadstar is bound to Ray: it goes and comes with it."""
        first = True
        while True:
            if not self._ray.running:
                await self._loadstar.stop()
                await self._restart(self._ray, at_once=first)
            elif not self._loadstar.running:
                self._ready_file.unlink(missing_ok=True)
                await self._restart(self._loadstar, at_once=first)
                first = False
            await asyncio.sleep(_LOOK_S)

    async def _restart(self, service: _Service, *, at_once: bool) -> None:
        if not at_once:
            self.restarts += 1
            await asyncio.sleep(_RESTART_S)
        service.start()
        if service is self._ray:
            await asyncio.sleep(_RESTART_S)


class Cluster:
    """All machines.

    Args:
        folder: for their data and logs; a short path, since Unix sockets are made below it.
        network: the file that describes the charging network.
    """

    def __init__(
        self,
        fabric: Fabric,
        *,
        run: str,
        folder: Path,
        database_url: str,
        network: Path,
        nodes: int,
        hosts: int,
    ) -> None:
        token = secrets.token_hex(32)
        self._programs = _Programs(run, folder, database_url, network, hosts, token)
        self._programs.token_file.touch(mode=0o600)
        self._programs.token_file.write_text(token, encoding="ascii")
        self._run = run
        self.head = fabric.add("head")
        self._head = _RayService(
            self.head,
            self._programs,
            *("--head", f"--port={_RAY_PORT}", "--include-dashboard=false"),
            f"--temp-dir={self._programs.ray_folder}",
        )
        self.nodes = [
            Node(fabric.add(f"node{number}"), self._programs, self.head) for number in range(nodes)
        ]

    async def start(self) -> None:
        """Returns once every node serves.

        Raises:
            Unavailable: one did not in time.
        """
        await self.start_head()
        for node in self.nodes:
            node.start()
            # The first one brings the database up to date.
            await self.ready([node])

    async def ready(self, nodes: list[Node], timeout_s: float = _READY_TIMEOUT_S) -> None:
        """
        Raises:
            Unavailable: one of these did not serve in time.
        """
        until_s = time.monotonic() + timeout_s
        while waiting := [node.machine.name for node in nodes if not node.ready]:
            if time.monotonic() > until_s:
                raise Unavailable(f"{waiting[0]} did not start in time", reason="NODE_NOT_STARTED")
            await asyncio.sleep(_LOOK_S)

    async def start_head(self) -> None:
        """Start Ray's head; returns when it takes connections."""
        # As the unit of `deploy/systemd` does: Ray takes it for a head that runs.
        (self._programs.ray_folder / "ray_current_cluster").unlink(missing_ok=True)
        self._head.start()
        until_s = time.monotonic() + _READY_TIMEOUT_S
        while True:
            try:
                _, writer = await asyncio.open_connection(self.head.address, _RAY_PORT)
            except OSError:
                if time.monotonic() > until_s or not self._head.running:
                    raise Unavailable(
                        "Ray's head did not start", reason="HEAD_NOT_STARTED"
                    ) from None
                await asyncio.sleep(_LOOK_S)
            else:
                writer.close()
                return

    def kill_head(self) -> None:
        """Everything on the head's machine is gone at once."""
        for pid in marked(self._run, self.head.name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self._head.process is not None:
            self._head.process.wait()

    async def stop(self) -> None:
        """End everything in order."""
        await asyncio.gather(*(node.stop() for node in self.nodes))
        await self._head.stop()
        self.kill_head()

    def restarts(self) -> Mapping[str, int]:
        """How often each machine's service manager had to start something anew."""
        return {node.machine.name: node.restarts for node in self.nodes}
