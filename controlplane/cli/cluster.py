"""`loadstar members`, `loadstar roll` and `loadstar drain`: who is there, and making room for new
code or for going."""

from __future__ import annotations

import typer

from controlplane.cli.connection import CALL_TIMEOUT_S, DEFAULT_ADDRESS, Address, Json, connected
from controlplane.cli.output import print_json, table

__all__ = ["drain", "members", "roll"]

_DONE_TIMEOUT_S = 300.0


def members(address: Address = DEFAULT_ADDRESS, as_json: Json = False) -> None:
    """Show the hosts and gateways of all nodes.

    \b
    loadstar members
    """
    from controlplane.api.v1 import cluster_pb2, cluster_pb2_grpc

    with connected(address) as channel:
        found = cluster_pb2_grpc.ClusterServiceStub(channel).ListMembers(
            cluster_pb2.ListMembersRequest(), timeout=CALL_TIMEOUT_S
        )
    if as_json:
        print_json(found)
        return
    kinds = {cluster_pb2.MEMBER_KIND_HOST: "host", cluster_pb2.MEMBER_KIND_GATEWAY: "gateway"}
    table(
        ["Name", "Does", "Node", "Shards", "State"],
        [
            [
                each.name,
                kinds.get(each.kind, "?"),
                each.node,
                str(each.shard_count) if each.kind == cluster_pb2.MEMBER_KIND_HOST else "",
                "draining" if each.draining else "",
            ]
            for each in found.members
        ],
    )


def roll(address: Address = DEFAULT_ADDRESS) -> None:
    """Replace the hosts of the node at --address by new processes, one after the other.

    Chargers keep their sockets: use it to bring new code into force.

    \b
    loadstar roll
    """
    from controlplane.api.v1 import cluster_pb2, cluster_pb2_grpc

    with connected(address) as channel:
        cluster_pb2_grpc.ClusterServiceStub(channel).RollHosts(
            cluster_pb2.RollHostsRequest(), timeout=_DONE_TIMEOUT_S
        )
    typer.echo("Every host was replaced.")


def drain(address: Address = DEFAULT_ADDRESS) -> None:
    """Hand everything that the node at --address serves over to the other nodes.

    Its chargers are let go of little by little and dial the others; then it can be stopped.
    Stopping it with SIGTERM does the same by itself.

    \b
    loadstar drain --address node-2:9090
    """
    from controlplane.api.v1 import cluster_pb2, cluster_pb2_grpc

    with connected(address) as channel:
        cluster_pb2_grpc.ClusterServiceStub(channel).DrainNode(
            cluster_pb2.DrainNodeRequest(), timeout=_DONE_TIMEOUT_S
        )
    typer.echo("The node has nothing left to do.")
