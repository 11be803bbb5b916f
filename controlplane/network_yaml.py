"""The described network as an owner writes it, in YAML: read, with every fault by its place, and
written so that it reads back to the same.

Invariant: what is read unfolds to no more than any network needs, and says nothing twice."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from controlplane.errors import InvalidInput
from controlplane.network import NetworkConfig, SiteConfig
from controlplane.network_tariff import TariffConfig

__all__ = [
    "dump_network",
    "dump_site",
    "load_network",
    "parse_network",
    "parse_site",
    "parse_tariff",
    "violations",
]

_ELEMENTS_MAX = 5_000_000

Description = TypeVar("Description", bound=BaseModel)


def load_network(path: Path) -> NetworkConfig:
    """Read and check a network description.

    Raises:
        InvalidInput: unreadable, no YAML, or not a network; the message has a line per fault, each
        naming its place.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidInput(f"{path}: {why}", reason="DESCRIPTION_UNREADABLE") from error
    return parse_network(text, source=str(path))


def parse_network(text: str, *, source: str = "network") -> NetworkConfig:
    """Check a network description in YAML (of which JSON is a part); `source` names it in messages.

    Raises:
        InvalidInput: as `load_network`; `violations` holds each fault with its place.
    """
    return _parse(text, NetworkConfig, source)


def parse_site(text: str, *, source: str = "site") -> SiteConfig:
    """Check the description of one site, written as under `sites` in a network.

    Raises:
        InvalidInput: as `parse_network`.
    """
    return _parse(text, SiteConfig, source)


def parse_tariff(text: str, *, source: str = "tariff") -> TariffConfig:
    """Check a tariff, written as under `tariff` in a site, by itself or under that name.

    Raises:
        InvalidInput: as `parse_network`.
    """
    return _parse(text, TariffConfig, source, below="tariff")


def _parse(text: str, model: type[Description], source: str, *, below: str = "") -> Description:
    try:
        # A safe loader, though not by its name.
        document = yaml.load(text, Loader=_Loader)
        _bound_aliases(document)
    except (yaml.YAMLError, ValueError) as error:
        raise InvalidInput(f"{source}: {error}", reason="DESCRIPTION_UNREADABLE") from error
    if below and isinstance(document, dict) and below in document:
        document = document[below]
    if not isinstance(document, dict):
        keys = ", ".join(f"`{name}`" for name in list(model.model_fields)[:3])
        raise InvalidInput(
            f"{source}: must be a mapping with {keys} and so on", reason="DESCRIPTION_INVALID"
        )
    try:
        return model.model_validate(document)
    except ValidationError as error:
        found = violations(error, document)
        lines = "\n".join(f"  {place or 'document'}: {fault}" for place, fault in found)
        raise InvalidInput(
            f"{source}:\n{lines}", reason="DESCRIPTION_INVALID", violations=found
        ) from error


def violations(
    error: ValidationError, document: Any = None, *, below: str = ""
) -> tuple[tuple[str, str], ...]:
    """Place and fault of everything that `error` found, each place written as
    `sites[0].circuits[1].rating_a`; below `below` where that is given.

    Where `document` is what was checked, an element of a list that has an id is named by it too:
    `sites[0] (office)`.
    """
    found = []
    for fault in error.errors(include_url=False, include_context=False):
        message = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "string_type" and isinstance(fault["input"], int | float):
            message += f": write it in quotes, {str(fault['input'])!r}"
        # Which kind of meter it is stands in no place of the document.
        steps = tuple(
            step
            for before, step in pairwise(("", *fault["loc"]))
            if not (before == "meter" and step in ("ocpp", "modbus"))
        )
        found.append((_place(steps, document, below), message))
    return tuple(found)


def dump_network(network: NetworkConfig) -> str:
    """YAML that `load_network` reads back to the same network."""
    return yaml.safe_dump({"version": 1} | _document(network), sort_keys=False, allow_unicode=True)


def dump_site(site: SiteConfig) -> str:
    """YAML that `parse_site` reads back to the same site."""
    return yaml.safe_dump(_document(site), sort_keys=False, allow_unicode=True)


def _document(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_defaults=True)


def _place(path: tuple[int | str, ...], document: Any, below: str) -> str:
    place = below
    for step in path:
        if isinstance(step, int):
            place += f"[{step}]"
        else:
            place += f".{step}" if place else step
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            document = None
        if isinstance(step, int) and isinstance(document, dict) and "id" in document:
            place += f" ({document['id']})"
    return place


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, where YAML would silently keep the last, and
    reads `19:00` as a time of day, where YAML 1.1 would read 1140, a number of base sixty."""

    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012 - as its base declares it
        first: [("tag:yaml.org,2002:str", re.compile(r"[0-9]{1,2}:[0-9]{2}$")), *known]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        written = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for position, key in enumerate(written):
            if key in written[:position]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def _bound_aliases(document: Any) -> None:
    """Refuse a document whose aliases unfold to more than any network needs: a few hundred bytes of
    YAML can stand for billions of elements."""
    waiting, elements = [document], 0
    while waiting:
        element = waiting.pop()
        elements += 1
        if elements > _ELEMENTS_MAX:
            raise ValueError(f"the description has more than {_ELEMENTS_MAX} elements")
        if isinstance(element, dict):
            waiting.extend(element.values())
        elif isinstance(element, list):
            waiting.extend(element)
