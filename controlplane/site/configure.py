"""Taking in a site's description: is it right, and who has to hear of it.

Invariants: nothing is forgotten while it may still draw: a connector with a session is not removed;
no default profile is raised into room that another one, still in force, takes up."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from controlplane.actor import Effect, Message, Persist, Send
from controlplane.charger.messages import ChargerAssigned, ChargerUnassigned, FeedInTerms
from controlplane.errors import Refusal
from controlplane.feeder.messages import SiteLeft
from controlplane.ids import ActorKind, ActorRef, ChargerId, FeederId, SiteId
from controlplane.network import ChargerConfig, SiteConfig
from controlplane.network_yaml import violations
from controlplane.site.ledger import Entry
from controlplane.site.live import LiveConnector, LiveSite
from controlplane.site.messages import ConfigureSite
from controlplane.site.tree import SiteTree
from controlplane.store.records import ChargerRecord, ChargerRemoved, SiteRecord, SiteRemoved

__all__ = [
    "assignment",
    "busy_refusal",
    "charger_ref",
    "description_effects",
    "feeder_ref",
    "passed_on",
    "refusal",
    "removal_effects",
    "validated",
]


def validated(
    request: ConfigureSite, site_id: str, before: LiveSite | None
) -> SiteConfig | Refusal:
    """The description that `request` brings, or why it cannot be taken."""
    if request.create_only and before is not None:
        return refusal("already_exists", "SITE_EXISTS", f"site {site_id} exists", site_id)
    if request.update_only and before is None:
        return refusal("not_found", "SITE_UNKNOWN", f"no site {site_id}", site_id)
    try:
        config = SiteConfig.model_validate_json(request.config)
    except ValidationError as error:
        faults = "\n".join(f"  {place or 'site'}: {fault}" for place, fault in violations(error))
        return refusal("invalid_input", "SITE_INVALID", f"site {site_id}:\n{faults}", site_id)
    if config.id != site_id:
        return refusal(
            "invalid_input",
            "SITE_INVALID",
            f"id: the description is of site {config.id}, sent to site {site_id}",
            site_id,
        )
    if before is None:
        return config
    keys = {key for key, _, _ in config.connectors()}
    gone = [each for each in before.connectors if each.leaf.key not in keys]
    return busy_refusal(gone, site_id) or _defaults_refusal(before, config) or config


def busy_refusal(connectors: Iterable[LiveConnector], site_id: str) -> Refusal | None:
    """Refuse to forget connectors that have a session."""
    busy = [str(each.leaf.key) for each in connectors if each.entry.session_id is not None]
    if not busy:
        return None
    return refusal(
        "precondition",
        "SESSION_RUNNING",
        f"a session runs on {', '.join(busy)}: what may draw cannot be removed",
        site_id,
    )


def _defaults_refusal(before: LiveSite, config: SiteConfig) -> Refusal | None:
    """Refuse to raise default profiles before the lowered ones are confirmed.

    A charger that is offline keeps the profile it has for as long as it stays away; until it has
    taken the lower one, and a vehicle that ran at the other has had its time to follow, both count.
    Lowering alone, of profiles or of ratings, is never refused.
    """
    tree = SiteTree(config)
    in_force, raised = [], []
    for leaf in tree.leaves:
        known = before.by_key.get(leaf.key)
        entry = Entry(hardware_ma=0, offline_ma=0) if known is None else known.entry
        held_ma = max(entry.offline_ma, entry.default_ma or 0, entry.receding_ma)
        in_force.append(max(leaf.offline_ma, min(held_ma, leaf.max_ma)))
        raised.append(max(0, leaf.offline_ma - entry.offline_ma))
    sums, raises = tree.row_sums(in_force), tree.row_sums(raised)
    for row, rating_ma in enumerate(tree.rating_ma):
        if raises[row] and sums[row] > rating_ma:
            return refusal(
                "precondition",
                "DEFAULTS_IN_FORCE",
                f"{tree.row_name(row)}: with those still in force the default profiles add up to "
                f"{sums[row] / 1_000:g} A, over its rating of {rating_ma / 1_000:g} A; lower "
                "offline_current_a first, and raise others once the chargers have taken that",
                config.id,
            )
    return None


def description_effects(
    before: SiteConfig | None, config: SiteConfig, *, stored: bytes, now_ms: int
) -> list[Effect]:
    """Records and news of a new description; chargers that stay as they were hear nothing."""
    site_id = SiteId(config.id)
    feeder_id = None if config.feeder is None else FeederId(config.feeder)
    effects: list[Effect] = [Persist(SiteRecord(site_id, feeder_id, stored, now_ms))]
    known = {} if before is None else {each.id: each for each in before.chargers}
    same_authorisation = before is not None and before.authorisation == config.authorisation
    same_terms = before is not None and before.vehicle_to_grid == config.vehicle_to_grid
    same_voltage = before is not None and before.voltage_v == config.voltage_v
    for charger in config.chargers:
        old = known.pop(charger.id, None)
        same_meter = before is not None and before.main_meter_interval_s(
            charger.id
        ) == config.main_meter_interval_s(charger.id)
        same = same_voltage and same_meter and same_authorisation and same_terms
        if old == charger and same:
            continue
        record = ChargerRecord(
            ChargerId(charger.id),
            site_id,
            charger.password_hash,
            now_ms,
            charger.security_profile_min,
        )
        effects.append(Persist(record))
        effects.append(assignment(config, charger))
    for gone in known:
        effects += _unassigned(ChargerId(gone), site_id)
    if before is not None and before.feeder is not None and before.feeder != config.feeder:
        effects.append(Send(feeder_ref(before.feeder), SiteLeft(site_id, now_ms)))
    return effects


def assignment(config: SiteConfig, charger: ChargerConfig, *, again: bool = False) -> Send:
    """Tell a charger where it belongs and how it is described; once more does no harm. `again`: see
    `ChargerAssigned`."""
    description = charger.model_dump_json(exclude_defaults=True).encode()
    return Send(
        charger_ref(ChargerId(charger.id)),
        ChargerAssigned(
            SiteId(config.id),
            config.voltage_v,
            description,
            config.main_meter_interval_s(charger.id),
            config.authorisation.told(),
            None
            if config.vehicle_to_grid is None
            else FeedInTerms(
                config.vehicle_to_grid.credit_per_kwh, config.vehicle_to_grid.currency
            ),
            again,
        ),
    )


def passed_on(config: SiteConfig, news: Message) -> list[Effect]:
    """Tell every charger."""
    return [Send(charger_ref(ChargerId(charger.id)), news) for charger in config.chargers]


def removal_effects(config: SiteConfig, *, now_ms: int) -> list[Effect]:
    """News of a site that is no more."""
    site_id = SiteId(config.id)
    effects: list[Effect] = [Persist(SiteRemoved(site_id))]
    for charger in config.chargers:
        effects += _unassigned(ChargerId(charger.id), site_id)
    if config.feeder is not None:
        effects.append(Send(feeder_ref(config.feeder), SiteLeft(site_id, now_ms)))
    return effects


def _unassigned(charger_id: ChargerId, site_id: SiteId) -> list[Effect]:
    return [
        Persist(ChargerRemoved(charger_id)),
        Send(charger_ref(charger_id), ChargerUnassigned(site_id)),
    ]


def charger_ref(charger_id: ChargerId) -> ActorRef:
    return ActorRef(ActorKind.CHARGER, charger_id)


def feeder_ref(feeder_id: str) -> ActorRef:
    return ActorRef(ActorKind.FEEDER, feeder_id)


def refusal(kind: str, reason: str, message: str, site_id: str) -> Refusal:
    """A refusal that names the site it is about."""
    return Refusal(kind, reason, message, {"site_id": site_id})
