"""Ray, with what it reads from the environment in place before it is imported. Nobody else here
imports it.

Ray's ports run code for whoever can talk to them (CVE-2023-48022), so a token is required on all of
them: new at each start for a private Ray, the cluster's where one is joined."""

from __future__ import annotations

import os
import secrets

# Read by Ray when it is imported, here and in every process that it starts.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_DEDUP_LOGS", "0")
# Nobody is told what these processes print; its files need not be looked for ten times a second.
os.environ.setdefault("RAY_LOG_MONITOR_MANY_FILES_THRESHOLD", "0")
os.environ.setdefault("LOG_NAME_UPDATE_INTERVAL_S", "60")
# What runs goes on for a week without Ray's head.
os.environ.setdefault("RAY_gcs_rpc_server_reconnect_timeout_s", str(7 * 86_400))
# What Ray starts would let every other process of the machine go first: hosts and gateways are what
# the machine is for.
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

__all__ = [
    "ActorUnavailableError",
    "NodeAffinitySchedulingStrategy",
    "RayActorError",
    "RayError",
    "RayTaskError",
    "ray",
]
