"""The part of Ray that is this node: a private Ray of this machine, or the part of a Ray cluster
that is this machine.

Ray's ports run code for whoever can talk to them, so a token is required on all of them
(`ray_library.py`). What a node started on them ends with it."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from controlplane.config import Settings
from controlplane.errors import Unavailable
from controlplane.runtime.clock import Clock
from controlplane.runtime.links import Place
from controlplane.runtime.process_ends import HeldProcess, end_processes, parent_of
from controlplane.runtime.processes import GatewayProcess, HostProcess
from controlplane.runtime.ray_actors import GatewayActor, HostActor
from controlplane.runtime.ray_library import NodeAffinitySchedulingStrategy, RayError, ray
from controlplane.runtime.ray_processes import RayGateway, RayHost
from controlplane.runtime.residents import ActorFactory

__all__ = ["RayNode", "join_ray", "start_ray"]

_OBJECT_STORE_BYTES = 80 * 1_024 * 1_024
"""Ray's minimum is 75 MB. Nothing is kept in it: every argument travels inline."""
_QUIET = {
    # Records of every call and Ray's own statistics are work that nobody here looks at.
    "task_events_report_interval_ms": 0,
    "enable_metrics_collection": False,
    "event_stats": False,
}
_CALLS_AT_ONCE = 10_000
_LOOK_INTERVAL_S = 1.0
_NAMESPACE = "loadstar"


class RayNode:
    """The part of Ray that is this node."""

    def __init__(self, place: Place, *, strategy: Any = "DEFAULT") -> None:
        self.place = place
        options = {
            "num_cpus": 0,
            "max_concurrency": _CALLS_AT_ONCE,
            "max_restarts": 0,
            # They end with their supervisor by themselves, and in order (`ray_actors.py`).
            "lifetime": "detached",
            "scheduling_strategy": strategy,
        }
        self._gateway_class = ray.remote(**options)(GatewayActor)
        self._host_class = ray.remote(**options)(HostActor)

    @staticmethod
    def end_processes(pids: Iterable[int]) -> None:
        """Kill these processes of this node, as far as they are there; returns when they have
        ended. Blocks.

        Raises:
            TimeoutError: one of them did not end.
        """
        end_processes(pids)

    def gateway_spawner(self, settings: Settings) -> Callable[[], GatewayProcess]:
        """What makes gateways."""
        return lambda: RayGateway(self._gateway_class, settings, self.place)

    def host_spawner(
        self, name: str, settings: Settings, clock: Clock, create: ActorFactory | None
    ) -> Callable[[], HostProcess]:
        """What makes hosts."""
        return lambda: RayHost(
            self._host_class, name, settings, place=self.place, clock=clock, create=create
        )

    async def daemon_ended(self, child: Callable[[], int]) -> None:
        """Returns when Ray's daemon on this machine is gone: nothing can be started here any more,
        and Ray ends whatever runs.

        Args:
            child: the process id of something that Ray runs here, at this moment.
        """
        while True:
            try:
                pid = parent_of(child())
                break
            except OSError:
                # It has just died, and will have a successor.
                await asyncio.sleep(_LOOK_INTERVAL_S)
        with suppress(ProcessLookupError):
            await HeldProcess(pid).end()

    def stop(self) -> None:
        """End what was started here."""
        ray.shutdown()
        shutil.rmtree(self.place.folder, ignore_errors=True)


def start_ray(node: str) -> RayNode:
    """Start a private Ray on the loopback interface, for the node of this name. Blocks for some
    seconds."""
    # Short, because the paths of Ray's sockets may have 107 bytes at most.
    folder = tempfile.mkdtemp(prefix="loadstar-ray-")
    logging.getLogger("ray").setLevel(logging.ERROR)
    ray.init(
        address="local",
        include_dashboard=False,
        num_cpus=2,
        object_store_memory=_OBJECT_STORE_BYTES,
        log_to_driver=False,
        configure_logging=False,
        _temp_dir=folder,
        _node_ip_address="127.0.0.1",
        _system_config=_QUIET,
    )
    return RayNode(Place(node, folder, supervisor=os.getpid()))


def join_ray(node: str, settings: Settings) -> RayNode:
    """Join the Ray cluster at `settings.address`, for the node of this name. What is started runs
    on this machine. Blocks for some seconds.

    Raises:
        Unavailable: there is no such cluster, or it has another token.
    """
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        ray.init(
            address=settings.address,
            namespace=_NAMESPACE,
            log_to_driver=False,
            configure_logging=False,
            **({"_node_ip_address": settings.link_host} if settings.link_host else {}),
        )
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise Unavailable(
            f"the Ray cluster at {settings.address} cannot be joined: {error}",
            reason="RAY_NOT_JOINED",
        ) from error
    here = ray.get_runtime_context().get_node_id()
    place = Place(
        node,
        tempfile.mkdtemp(prefix="loadstar-links-"),
        link_host=settings.link_host or ray.util.get_node_ip_address(),
        token_file=settings.cluster_token_file,
        supervisor=os.getpid(),
    )
    return RayNode(place, strategy=NodeAffinitySchedulingStrategy(here, soft=False))
