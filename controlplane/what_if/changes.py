"""A site's description as it would be: another cap, more or fewer chargers, another tariff.

Invariant: what comes of it is a description that an owner could bring into force; where it would be
refused, the words of the refusal say why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from controlplane.errors import InvalidInput
from controlplane.network import ChargerConfig, SiteConfig, TariffConfig
from controlplane.network_yaml import violations
from controlplane.what_if.question import Visit

__all__ = ["CHARGERS_MAX", "changed"]

CHARGERS_MAX = 1_000
"""How many may be added at once."""


def changed(
    site: SiteConfig,
    visits: Sequence[Visit],
    *,
    cap_w: int | None = None,
    added_charger_count: int = 0,
    circuit: str = "",
    tariff: TariffConfig | None = None,
) -> tuple[SiteConfig, list[str]]:
    """The site as it would be, and what had to be assumed for that, in words.

    Args:
        visits: of the time in question: chargers that were used least are the first to go.
        cap_w: what the whole site may draw in any quarter of an hour, in place of its contract.
        added_charger_count: below 0: fewer.
        circuit: where those that are more hang; empty: where most do.

    Raises:
        InvalidInput: no such circuit, no charger left, or a description that would be refused.
    """
    document = site.model_dump(mode="json")
    words: list[str] = []
    if cap_w is not None:
        document["contract"] = {**(document["contract"] or {}), "power_w": cap_w}
    if tariff is not None:
        document["tariff"] = tariff.model_dump(mode="json")
    if added_charger_count < 0:
        gone = _least_used(site, visits, -added_charger_count)
        document["chargers"] = [each for each in document["chargers"] if each["id"] not in gone]
        words.append(f"the chargers that were used least would go: {', '.join(sorted(gone))}")
    elif added_charger_count or circuit:
        model = _usual_charger(site, circuit)
        return _with_more(
            document, model, circuit or model.circuit, added_charger_count, words
        ), words
    return _checked(document), words


def _with_more(
    document: dict[str, Any], model: ChargerConfig, circuit: str, more: int, words: list[str]
) -> SiteConfig:
    if not 0 <= more <= CHARGERS_MAX:
        raise _invalid("added_charger_count", f"{CHARGERS_MAX} at most")
    known = {each["id"] for each in document["chargers"]}
    names = (name for n in range(1, len(known) + more + 1) if (name := f"more-{n}") not in known)
    copy = {**model.model_dump(mode="json"), "circuit": circuit, "password_hash": None}
    added = [{**copy, "id": next(names)} for _ in range(more)]
    if more:
        words.append(f"added chargers are like {model.id}, on circuit {circuit}")
    try:
        return SiteConfig.model_validate({**document, "chargers": [*document["chargers"], *added]})
    except ValidationError:
        # Most often because so many offline currents do not fit below the ratings.
        added = [{**each, "offline_current_a": 0} for each in added]
        words.append(
            "their offline current would be 0 A, because that of the others does not fit below "
            "the ratings"
        )
        return _checked({**document, "chargers": [*document["chargers"], *added]})


def _checked(document: dict[str, Any]) -> SiteConfig:
    try:
        return SiteConfig.model_validate(document)
    except ValidationError as error:
        found = violations(error, document)
        raise InvalidInput(
            "; ".join(fault for _, fault in found), reason="DESCRIPTION_INVALID", violations=found
        ) from error


def _usual_charger(site: SiteConfig, circuit: str) -> ChargerConfig:
    """The charger that most others are like, of those on the circuit where there are any."""
    circuits = {each.id for each in site.circuits}
    if circuit and circuit not in circuits:
        raise _invalid("circuit_id", f"site {site.id} has no circuit {circuit!r}")
    chargers = [each for each in site.chargers if not each.meter_only]
    if not chargers:
        raise _invalid(
            "added_charger_count", f"site {site.id} has no charger that others could be like"
        )
    near = [each for each in chargers if not circuit or each.circuit == circuit] or chargers
    kinds = Counter(each.model_copy(update={"id": "", "password_hash": None}) for each in near)
    usual = kinds.most_common(1)[0][0]
    return next(
        each for each in near if each.model_copy(update={"id": "", "password_hash": None}) == usual
    )


def _least_used(site: SiteConfig, visits: Sequence[Visit], fewer: int) -> set[str]:
    used = Counter(visit.charger_id for visit in visits)
    chargers = [each.id for each in site.chargers if not each.meter_only]
    if fewer >= len(chargers):
        raise _invalid(
            "added_charger_count", f"site {site.id} has {len(chargers)} chargers; one must stay"
        )
    order = sorted(range(len(chargers)), key=lambda at: (used[chargers[at]], -at))
    return {chargers[at] for at in order[:fewer]}


def _invalid(field: str, fault: str) -> InvalidInput:
    return InvalidInput(f"{field}: {fault}", violations=((field, fault),))
