"""Brings descriptions into force: one feeder, one site, or a whole network.

Invariants: a charger belongs to one site (the directory is asked before a site's actor is told),
a site names a feeder that exists, and nothing is changed before the whole request has been
checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError

from controlplane.api.backend import Backend, Caller
from controlplane.charger.quirks import unknown_profiles
from controlplane.errors import AlreadyExists, InvalidInput, NotFound, Precondition
from controlplane.feeder.messages import ConfigureFeeder, FeederConfigured
from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SiteId
from controlplane.network import (
    ChargerConfig,
    FeederConfig,
    NetworkConfig,
    SiteConfig,
    feeder_faults,
)
from controlplane.network_yaml import violations
from controlplane.site.messages import ConfigureSite, SiteConfigured

__all__ = [
    "Change",
    "add_charger",
    "apply_network",
    "configure_feeder",
    "configure_site",
    "network_in_force",
]

CONFIGURE_TIMEOUT_S = 30.0


class Change(NamedTuple):
    """What was done, or would be, with one feeder or site."""

    kind: ActorKind
    id: str
    action: str
    """`created`, `updated` or `unchanged`."""


async def configure_feeder(
    backend: Backend,
    config: FeederConfig,
    caller: Caller,
    *,
    request_id: str,
    create_only: bool = False,
    update_only: bool = False,
) -> None:
    """Check the description against the other feeders and tell the feeder's actor.

    Raises:
        InvalidInput: the parent does not exist, or would in the end be supplied by this feeder.
        LoadstarError: the feeder's actor refused.
    """
    async with backend.configuring:
        others: dict[str, FeederConfig] = {
            record.feeder_id: FeederConfig.model_validate_json(record.config)
            for record in await backend.reader.feeders()
        }
        faults = list(feeder_faults({**others, config.id: config}))
        if faults:
            raise InvalidInput(
                faults[0],
                reason="FEEDER_PARENT_INVALID",
                violations=tuple(("feeder.parent", fault) for fault in faults),
            )
        await _tell_feeder(
            backend,
            config,
            caller,
            request_id=request_id,
            create_only=create_only,
            update_only=update_only,
        )


async def _tell_feeder(
    backend: Backend,
    config: FeederConfig,
    caller: Caller,
    *,
    request_id: str,
    create_only: bool = False,
    update_only: bool = False,
) -> None:
    await backend.ask(
        ActorRef(ActorKind.FEEDER, config.id),
        ConfigureFeeder(
            config=config.model_dump_json().encode(),
            create_only=create_only,
            update_only=update_only,
        ),
        FeederConfigured,
        caller,
        timeout_s=CONFIGURE_TIMEOUT_S,
        request_id=request_id,
    )


async def configure_site(
    backend: Backend,
    config: SiteConfig,
    caller: Caller,
    *,
    request_id: str,
    create_only: bool = False,
    update_only: bool = False,
) -> None:
    """Check the description against the directory and tell the site's actor.

    Raises:
        InvalidInput: the site names a feeder that does not exist.
        InvalidInput: a charger names a profile of quirks that does not exist.
        AlreadyExists: a charger stands in another site.
        LoadstarError: the site's actor refused.
    """
    _check_quirks([config], "site")
    async with backend.configuring:
        if config.feeder and await backend.reader.feeder(FeederId(config.feeder)) is None:
            raise InvalidInput(
                f"site {config.id} names an unknown feeder {config.feeder!r}",
                reason="FEEDER_UNKNOWN",
                violations=(("site.feeder", f"there is no feeder {config.feeder!r}"),),
            )
        elsewhere = await _chargers_elsewhere(backend, [config])
        if elsewhere:
            raise _claimed(config.id, elsewhere)
        await _tell_site(
            backend,
            config,
            caller,
            request_id=request_id,
            create_only=create_only,
            update_only=update_only,
        )


async def add_charger(
    backend: Backend, site_id: SiteId, charger: ChargerConfig, caller: Caller
) -> SiteConfig:
    """Put one more charger into a site; returns the site with it.

    Raises:
        NotFound: there is no such site.
        InvalidInput: the site cannot take it: no such circuit, or its offline current does not fit.
        AlreadyExists: it stands in another site.
        LoadstarError: the site's actor refused.
    """
    async with backend.configuring:
        record = await backend.reader.site(site_id)
        if record is None:
            raise NotFound(
                f"there is no site {site_id}",
                reason="SITE_UNKNOWN",
                metadata={"site_id": site_id},
            )
        before = SiteConfig.model_validate_json(record.config)
        others = [each for each in before.chargers if each.id != charger.id]
        try:
            site = SiteConfig.model_validate(
                {**before.model_dump(), "chargers": [*(c.model_dump() for c in others), charger]}
            )
        except ValidationError as error:
            found = violations(error, below="site")
            raise InvalidInput(
                "; ".join(f"{place}: {fault}" for place, fault in found),
                reason="DESCRIPTION_INVALID",
                violations=found,
            ) from error
        elsewhere = await _chargers_elsewhere(backend, [site])
        if elsewhere:
            raise _claimed(site.id, elsewhere)
        await _tell_site(backend, site, caller, request_id="", update_only=True)
        return site


async def network_in_force(backend: Backend) -> NetworkConfig:
    """The whole network as it is described at this moment."""
    return NetworkConfig(
        feeders=tuple(
            FeederConfig.model_validate_json(record.config)
            for record in await backend.reader.feeders()
        ),
        sites=tuple(
            SiteConfig.model_validate_json(record.config) for record in await backend.reader.sites()
        ),
    )


async def apply_network(
    backend: Backend,
    network: NetworkConfig,
    caller: Caller,
    *,
    request_id: str,
    validate_only: bool = False,
) -> list[Change]:
    """Create what is new and replace what differs, feeders first, each after the one that supplies
    it; delete nothing.

    Returns:
        Every feeder and site of `network` with what was done, in the order in which it was done.

    Raises:
        InvalidInput: a charger names a profile of quirks that does not exist.
        AlreadyExists: a charger stands in a site outside `network`.
        Precondition: sites exchange chargers.
        LoadstarError: an actor refused; what stood before it in the order is in force.
    """
    _check_quirks(network.sites, "network.sites")
    async with backend.configuring:
        in_force = await network_in_force(backend)
        sites = await _in_order(backend, network.sites)
        feeders = _parents_first(network.feeders)
        feeder_changes = _compared(ActorKind.FEEDER, feeders, in_force.feeders)
        site_changes = _compared(ActorKind.SITE, sites, in_force.sites)
        if not validate_only:
            for change, feeder in zip(feeder_changes, feeders, strict=True):
                if change.action != "unchanged":
                    await _tell_feeder(backend, feeder, caller, request_id=request_id)
            for change, site in zip(site_changes, sites, strict=True):
                if change.action != "unchanged":
                    await _tell_site(backend, site, caller, request_id=request_id)
        return feeder_changes + site_changes


def _check_quirks(sites: Iterable[SiteConfig], field: str) -> None:
    faults = tuple(
        (field, f"charger {charger.id}: there is no profile of quirks {name!r}")
        for site in sites
        for charger in site.chargers
        for name in unknown_profiles(charger.quirks)
    )
    if faults:
        raise InvalidInput(faults[0][1], reason="QUIRKS_UNKNOWN", violations=faults)


def _parents_first(feeders: tuple[FeederConfig, ...]) -> list[FeederConfig]:
    """`feeders`, which do not supply each other in a circle, from the grid downwards."""
    by_id = {feeder.id: feeder for feeder in feeders}

    def depth(feeder: FeederConfig) -> int:
        return 0 if feeder.parent is None else 1 + depth(by_id[feeder.parent])

    return sorted(feeders, key=depth)


async def _tell_site(
    backend: Backend,
    config: SiteConfig,
    caller: Caller,
    *,
    request_id: str,
    create_only: bool = False,
    update_only: bool = False,
) -> None:
    await backend.ask(
        ActorRef(ActorKind.SITE, config.id),
        ConfigureSite(
            config=config.model_dump_json().encode(),
            create_only=create_only,
            update_only=update_only,
        ),
        SiteConfigured,
        caller,
        timeout_s=CONFIGURE_TIMEOUT_S,
        request_id=request_id,
    )


async def _chargers_elsewhere(
    backend: Backend, sites: Iterable[SiteConfig]
) -> dict[ChargerId, SiteId]:
    """The chargers of `sites` that stand in another site at this moment, and in which."""
    claimed = {
        ChargerId(charger.id): SiteId(site.id) for site in sites for charger in site.chargers
    }
    return {
        charger_id: record.site_id
        for charger_id, record in (await backend.reader.chargers_named(claimed)).items()
        if record.site_id != claimed[charger_id]
    }


async def _in_order(backend: Backend, sites: tuple[SiteConfig, ...]) -> list[SiteConfig]:
    """`sites` such that a charger leaves its old site before it enters its new one."""
    elsewhere = await _chargers_elsewhere(backend, sites)
    waiting = {site.id: site for site in sites}
    for site in sites:
        outside = {
            ChargerId(charger.id): elsewhere[ChargerId(charger.id)]
            for charger in site.chargers
            if elsewhere.get(ChargerId(charger.id), site.id) not in waiting
        }
        if outside:
            raise _claimed(site.id, outside)
    ordered: list[SiteConfig] = []
    while waiting:
        ready = [
            site
            for site in waiting.values()
            if not any(elsewhere.get(ChargerId(charger.id)) in waiting for charger in site.chargers)
        ]
        if not ready:
            raise Precondition(
                f"sites {', '.join(sorted(waiting))} exchange chargers: apply the document twice, "
                "first without the chargers that move",
                reason="CHARGERS_EXCHANGED",
            )
        ordered.extend(ready)
        for site in ready:
            del waiting[site.id]
    return ordered


def _compared(
    kind: ActorKind,
    wanted: Iterable[FeederConfig | SiteConfig],
    in_force: Iterable[FeederConfig | SiteConfig],
) -> list[Change]:
    present = {config.id: config for config in in_force}
    return [
        Change(
            kind,
            config.id,
            "created"
            if config.id not in present
            else "unchanged"
            if present[config.id] == config
            else "updated",
        )
        for config in wanted
    ]


def _claimed(site_id: str, elsewhere: dict[ChargerId, SiteId]) -> AlreadyExists:
    charger_id, owner_id = next(iter(elsewhere.items()))
    others = f" (and {len(elsewhere) - 1} more)" if len(elsewhere) > 1 else ""
    return AlreadyExists(
        f"site {site_id}: charger {charger_id} stands in site {owner_id}{others}",
        reason="CHARGER_IN_OTHER_SITE",
        metadata={"charger_id": charger_id, "site_id": owner_id},
    )
