"""`ClusterService`: the hosts and gateways of all nodes, and what is done with this one's."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

from controlplane.api.backend import Backend
from controlplane.api.v1 import cluster_pb2, cluster_pb2_grpc
from controlplane.errors import Precondition
from controlplane.runtime.members import ClusterReading, Member, MemberKind, shards_of_hosts

__all__ = ["Cluster", "NodeControl"]

_KINDS = {
    MemberKind.HOST: cluster_pb2.MEMBER_KIND_HOST,
    MemberKind.GATEWAY: cluster_pb2.MEMBER_KIND_GATEWAY,
}


class NodeControl(Protocol):
    """The node in which this server runs."""

    async def roll(self) -> None:
        """See `runtime.node.Node.roll`."""

    async def drain(self) -> None:
        """See `runtime.node.Node.drain`."""


class Cluster(cluster_pb2_grpc.ClusterServiceServicer):
    """Answers `controlplane.api.v1.ClusterService`.

    Args:
        node: None where this server runs in no node.
    """

    def __init__(self, backend: Backend, node: NodeControl | None) -> None:
        self._reader = backend.reader
        self._node = node

    async def ListMembers(
        self, request: cluster_pb2.ListMembersRequest, context: Any
    ) -> cluster_pb2.ListMembersResponse:
        reading = await self._reader.read(ClusterReading.read)
        shards = await self._reader.read(shards_of_hosts)
        return cluster_pb2.ListMembersResponse(
            members=[_member(member, shards) for member in reading.members.values()]
        )

    async def RollHosts(
        self, request: cluster_pb2.RollHostsRequest, context: Any
    ) -> cluster_pb2.RollHostsResponse:
        await self._here().roll()
        return cluster_pb2.RollHostsResponse()

    async def DrainNode(
        self, request: cluster_pb2.DrainNodeRequest, context: Any
    ) -> cluster_pb2.DrainNodeResponse:
        await self._here().drain()
        return cluster_pb2.DrainNodeResponse()

    def _here(self) -> NodeControl:
        if self._node is None:
            raise Precondition("this server runs in no node", reason="NO_NODE")
        return self._node


def _member(member: Member, shards: Counter[str]) -> cluster_pb2.Member:
    return cluster_pb2.Member(
        name=member.name,
        kind=_KINDS[member.kind],
        node=member.node,
        address=member.address,
        draining=member.draining,
        shard_count=shards[member.name],
    )
