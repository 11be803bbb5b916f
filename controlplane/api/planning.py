"""`PlanningService`: what sites plan over the next day, and what they plan with."""

from __future__ import annotations

from controlplane.api.foresight import ForesightCalls
from controlplane.api.v1 import planning_pb2_grpc

__all__ = ["PlanningCalls"]


class PlanningCalls(ForesightCalls, planning_pb2_grpc.PlanningServiceServicer):
    """Answers `controlplane.api.v1.PlanningService`."""
