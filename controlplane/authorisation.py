"""How a site authorises drivers, as its owner writes it in the description.

Everything is checked here; what follows from it is `tokens.judge` for Loadstar's own answers and
`charger/offline.py` for what stations are told to do by themselves."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from controlplane.tokens import CACHE_MAX_S, Authorisation, AuthorisationPolicy

__all__ = ["AuthorisationConfig"]


class AuthorisationConfig(BaseModel):
    """Whom a site serves. A site that does not say serves whoever comes unless the token is known
    and refused, and leaves its stations as they are."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)

    policy: AuthorisationPolicy = AuthorisationPolicy.OPEN
    local_list: bool = False
    """Keep the local lists of its chargers in step with the tokens that may charge here."""
    cache: bool | None = None
    """Whether stations remember whom they served; None leaves them as they are."""
    cache_s: Annotated[int, Field(ge=60, le=CACHE_MAX_S)] | None = None
    """For how many seconds they may believe an acceptance."""
    pre_authorise: bool | None = None
    """Whether stations start by list or cache before Loadstar has answered."""
    stop_on_invalid: bool | None = None
    """Whether stations end a transaction whose token Loadstar refuses; otherwise it goes on
    without power."""
    authorise_remote: bool | None = None
    """Whether stations ask about the token of a remote start as about any other."""
    master_pass_group: Annotated[str, Field(min_length=1, max_length=36)] | None = None
    """Tokens of this group may stop every transaction and start none (2.x part 2 C16)."""

    @model_validator(mode="after")
    def _cached(self) -> Self:
        if self.cache is False and self.cache_s is not None:
            raise ValueError("cache_s says nothing where cache is false")
        return self

    def told(self) -> Authorisation:
        """What chargers are told of it."""
        return Authorisation(
            policy=self.policy,
            configures=self != AuthorisationConfig(),
            local_list=self.local_list,
            cache=self.cache,
            cache_s=self.cache_s,
            pre_authorise=self.pre_authorise,
            stop_on_invalid=self.stop_on_invalid,
            authorise_remote=self.authorise_remote,
            master_pass_group=self.master_pass_group,
        )
