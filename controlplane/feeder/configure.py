"""What a feeder's description must be to be taken, and how a feeder refuses."""

from __future__ import annotations

from pydantic import ValidationError

from controlplane.errors import Refusal
from controlplane.feeder.messages import ConfigureFeeder
from controlplane.network import FeederConfig
from controlplane.network_yaml import violations

__all__ = ["refusal", "validated"]


def validated(
    request: ConfigureFeeder, feeder_id: str, *, described: bool
) -> FeederConfig | Refusal:
    """The description, or why it is none for this feeder.

    Args:
        described: whether there is such a feeder already.
    """
    if request.create_only and described:
        return refusal("already_exists", "FEEDER_EXISTS", f"feeder {feeder_id} exists", feeder_id)
    if request.update_only and not described:
        return refusal("not_found", "FEEDER_UNKNOWN", f"no feeder {feeder_id}", feeder_id)
    try:
        config = FeederConfig.model_validate_json(request.config)
    except ValidationError as error:
        faults = "\n".join(f"  {place or 'feeder'}: {fault}" for place, fault in violations(error))
        words = f"feeder {feeder_id}:\n{faults}"
        return refusal("invalid_input", "FEEDER_INVALID", words, feeder_id)
    if config.id != feeder_id:
        words = f"id: the description is of feeder {config.id}, sent to feeder {feeder_id}"
        return refusal("invalid_input", "FEEDER_INVALID", words, feeder_id)
    return config


def refusal(kind: str, reason: str, message: str, feeder_id: str) -> Refusal:
    """A refusal that names the feeder."""
    return Refusal(kind, reason, message, {"feeder_id": feeder_id})
