"""The network between the machines of a chaos run: one network namespace per machine, on a bridge.

This process leaves the machine's network for a namespace of its own, in which the bridge stands, so
nothing here touches what else runs, and all of it goes with the last process inside. Machines are
cut off without a word: their port is taken from the bridge, no connection is refused and no link
goes down. Where namespaces are not to be had (they want root and the command `ip`), the
machines are addresses of the loopback interface, and nothing can be cut.

Invariant: every neighbour's hardware address is known for good, so that silence is never turned
into an error by the address resolution of a small network."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from controlplane.errors import Unavailable

__all__ = ["Fabric", "Machine", "leave_network"]

_CLONE_NEWNET: Final = 0x40000000
_BRIDGE: Final = "chaos"
_SUBNET: Final = "198.18.0"
"""Of the range that RFC 2544 keeps for trials."""
_OWN: Final = 1
_OWN_NAMESPACE: Final = "/proc/thread-self/ns/net"
_IP_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Machine:
    """Where processes run. `namespace` is an open descriptor, or None on the loopback."""

    name: str
    address: str
    namespace: int | None = None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """What this thread starts meanwhile runs on the machine. Do not await in it."""
        if self.namespace is None:
            yield
            return
        before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _set_namespace(self.namespace)
            try:
                yield
            finally:
                _set_namespace(before)
        finally:
            os.close(before)


def leave_network() -> bool:
    """Give this process a network of its own, with nothing in it but the loopback; whether it could
    be had. Call before there are other threads.

    Nothing outside can be reached any more."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
        return False
    _ip("link set lo up")
    return True


class Fabric:
    """The machines, and what is cut between them.

    Args:
        namespaces: whether this process has left the network (`leave_network`).
    """

    def __init__(self, *, namespaces: bool) -> None:
        self.namespaces = namespaces
        self.machines: dict[str, Machine] = {}
        if namespaces:
            _ip(f"link add {_BRIDGE} address {_hardware(_OWN)} type bridge")
            _ip(f"address add {_SUBNET}.{_OWN}/24 dev {_BRIDGE}")
            _ip(f"link set {_BRIDGE} up")

    @property
    def subnet(self) -> str:
        """All addresses there are."""
        return f"{_SUBNET}.0/24" if self.namespaces else "127.0.0.0/8"

    def add(self, name: str) -> Machine:
        """One more machine.

        Raises:
            Unavailable: the kernel refused.
        """
        number = len(self.machines) + _OWN + 1
        if not self.namespaces:
            machine = Machine(name, f"127.0.0.{number}")
        else:
            machine = Machine(name, f"{_SUBNET}.{number}", _new_namespace())
            self._plug_in(machine, number)
        self.machines[name] = machine
        return machine

    def cut(self, name: str) -> None:
        """Nothing reaches the machine and nothing comes from it, without a word."""
        _ip(f"link set dev to-{name} nomaster")

    def cut_between(self, *names: str) -> None:
        """These do not reach each other; everybody else reaches them."""
        for name in names:
            _ip(f"link set dev to-{name} type bridge_slave isolated on")

    def heal(self) -> None:
        """Everybody reaches everybody."""
        for name in self.machines if self.namespaces else ():
            _ip(f"link set dev to-{name} master {_BRIDGE}")
            _ip(f"link set dev to-{name} type bridge_slave isolated off")

    def _plug_in(self, machine: Machine, number: int) -> None:
        there = f"/proc/{os.getpid()}/fd/{machine.namespace}"
        _ip(f"link add to-{machine.name} type veth peer name eth0 netns {there}")
        _ip(f"link set to-{machine.name} master {_BRIDGE} up")
        with machine.inside():
            _ip("link set lo up")
            _ip(f"link set eth0 address {_hardware(number)}")
            _ip(f"address add {machine.address}/24 dev eth0")
            _ip("link set eth0 up")
            _ip(_neighbour(_OWN, "eth0"))
            for other in range(_OWN + 1, number):
                _ip(_neighbour(other, "eth0"))
        _ip(_neighbour(number, _BRIDGE))
        for earlier in self.machines.values():
            with earlier.inside():
                _ip(_neighbour(number, "eth0"))


def _neighbour(number: int, device: str) -> str:
    return f"neigh replace {_SUBNET}.{number} lladdr {_hardware(number)} dev {device} nud permanent"


def _hardware(number: int) -> str:
    return f"02:00:c6:12:00:{number:02x}"


def _new_namespace() -> int:
    before = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET) != 0:
            raise _refused("unshare")
        made = os.open(_OWN_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
        _set_namespace(before)
    finally:
        os.close(before)
    return made


def _set_namespace(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise _refused("setns")


def _refused(call: str) -> Unavailable:
    why = os.strerror(ctypes.get_errno())
    return Unavailable(f"no network of a machine's own: {call}: {why}", reason="NO_NAMESPACE")


def _ip(arguments: str) -> None:
    done = subprocess.run(
        ["ip", *arguments.split()],
        capture_output=True,
        text=True,
        check=False,
        timeout=_IP_TIMEOUT_S,
    )
    if done.returncode:
        raise Unavailable(f"ip {arguments}: {done.stderr.strip()}", reason="NO_NAMESPACE")
