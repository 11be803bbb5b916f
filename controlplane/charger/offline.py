"""What a station is told of how to authorise by itself, from its site's policy.

Invariant: a site that describes no authorisation leaves its stations as they are."""

from __future__ import annotations

from controlplane.ocpp.commands import ConfigureAccess
from controlplane.tokens import Authorisation, AuthorisationPolicy

__all__ = ["access_wanted"]


def access_wanted(authorisation: Authorisation | None) -> ConfigureAccess | None:
    """The settings that follow from a policy: an open site's station serves everybody while it is
    offline; one of known tokens whom its list or cache knows; a closed site's whom the list that
    Loadstar keeps knows, and nobody where none is kept."""
    if authorisation is None or not authorisation.configures:
        return None
    return ConfigureAccess(
        offline=authorisation.policy is not AuthorisationPolicy.CLOSED or authorisation.local_list,
        unknown_offline=authorisation.policy is AuthorisationPolicy.OPEN,
        local_list=authorisation.local_list,
        cache=authorisation.cache,
        cache_s=authorisation.cache_s,
        pre_authorise=authorisation.pre_authorise,
        stop_on_invalid=authorisation.stop_on_invalid,
        authorise_remote=authorisation.authorise_remote,
        master_pass_group=authorisation.master_pass_group,
    )
