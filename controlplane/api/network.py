"""`NetworkService`: the described network as one document."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, invalid
from controlplane.api.configuring import Change, apply_network, network_in_force
from controlplane.api.descriptions import network_from_message, network_to_message
from controlplane.api.v1 import network_pb2, network_pb2_grpc
from controlplane.ids import ActorKind
from controlplane.network_yaml import dump_network, parse_network

__all__ = ["Network"]

_ACTIONS = {
    "created": network_pb2.NETWORK_CHANGE_ACTION_CREATED,
    "updated": network_pb2.NETWORK_CHANGE_ACTION_UPDATED,
    "unchanged": network_pb2.NETWORK_CHANGE_ACTION_UNCHANGED,
}


class Network(network_pb2_grpc.NetworkServiceServicer):
    """Answers `controlplane.api.v1.NetworkService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ApplyNetwork(
        self, request: network_pb2.ApplyNetworkRequest, context: Any
    ) -> network_pb2.ApplyNetworkResponse:
        match request.WhichOneof("document"):
            case "network":
                network = network_from_message(request.network)
            case "yaml":
                network = parse_network(request.yaml, source="yaml")
            case _:
                raise invalid("network", "network or yaml must be given")
        changes = await apply_network(
            self._backend,
            network,
            context,
            request_id=request.request_id,
            validate_only=request.validate_only,
        )
        return network_pb2.ApplyNetworkResponse(
            changes=[_change_to_message(change) for change in changes]
        )

    async def ExportNetwork(
        self, request: network_pb2.ExportNetworkRequest, context: Any
    ) -> network_pb2.ExportNetworkResponse:
        network = await network_in_force(self._backend)
        match request.format:
            case network_pb2.NETWORK_FORMAT_YAML:
                return network_pb2.ExportNetworkResponse(yaml=dump_network(network))
            case network_pb2.NETWORK_FORMAT_UNSPECIFIED | network_pb2.NETWORK_FORMAT_MESSAGES:
                return network_pb2.ExportNetworkResponse(network=network_to_message(network))
            case _:
                raise invalid("format", "not a form of a document")


def _change_to_message(change: Change) -> network_pb2.NetworkChange:
    action = _ACTIONS[change.action]
    if change.kind is ActorKind.FEEDER:
        return network_pb2.NetworkChange(feeder_id=change.id, action=action)
    return network_pb2.NetworkChange(site_id=change.id, action=action)
