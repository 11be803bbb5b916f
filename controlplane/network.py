"""The described network: feeders, sites, circuits, chargers, connectors, as an owner writes them in
YAML.

One model serves the YAML file, gRPC, the store and the actors. Everything is checked here, and
every message names the element that is wrong. Amperes may be written with a fraction; actors use
the integer milliampere properties."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from controlplane.authorisation import AuthorisationConfig
from controlplane.errors import InvalidInput
from controlplane.ids import CHARGER_ID_PATTERN, ChargerId, ConnectorKey
from controlplane.network_power import (
    Amperes,
    BatteryConfig,
    BuildingLoadConfig,
    ContractConfig,
    DescribedModel,
    Name,
    OcppMeterConfig,
    Phase,
    SolarConfig,
    SolarMode,
    VehicleToGridConfig,
)
from controlplane.network_tariff import TariffConfig
from controlplane.rules import RULES_MAX, HoursConfig, RuleConfig
from controlplane.units import ma_from_a, ma_from_w

__all__ = [
    "AuthorisationConfig",
    "BatteryConfig",
    "BuildingLoadConfig",
    "ChargerConfig",
    "CircuitConfig",
    "ConnectorConfig",
    "ContractConfig",
    "CurrentType",
    "FeederConfig",
    "LimitUnit",
    "NetworkConfig",
    "Phase",
    "SiteConfig",
    "SolarConfig",
    "TariffConfig",
    "VehicleToGridConfig",
    "dump_network",
    "dump_site",
    "feeder_faults",
    "load_network",
    "parse_network",
    "parse_site",
    "parse_tariff",
    "violations",
]

_ELEMENTS_MAX = 5_000_000


class CurrentType(StrEnum):
    AC = "ac"
    DC = "dc"


class LimitUnit(StrEnum):
    """The unit this charger takes in charging profiles (OCPP chargingRateUnit); W for direct
    current."""

    A = "A"
    W = "W"


class ConnectorConfig(DescribedModel):
    """One connector. `phases` says on which line of the site each of its conductors sits, in the
    connector's own order: `[L2]` is a one-phase outlet on L2, `[L2, L3, L1]` a three-phase one that
    is rotated."""

    id: Annotated[int, Field(ge=1, le=1_000)]
    phases: tuple[Phase, ...] = (Phase.L1, Phase.L2, Phase.L3)
    current_min_a: Amperes = 6.0
    current_max_a: Amperes = 32.0
    current_step_a: Amperes = 0.1
    priority: Annotated[int, Field(ge=0, le=9)] = 5
    """0 is served first; inside a priority, shares follow `weight`."""
    weight: Annotated[int, Field(ge=1, le=1_000)] = 1

    @field_validator("phases")
    @classmethod
    def _phases_once(cls, phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
        if not phases or len(set(phases)) != len(phases):
            raise ValueError("a connector sits on one to three different phases")
        return phases

    @model_validator(mode="after")
    def _min_below_max(self) -> Self:
        if self.current_max_a <= 0 or self.current_min_a > self.current_max_a:
            raise ValueError("current_min_a must not exceed current_max_a, which must be above 0")
        return self

    @property
    def current_min_ma(self) -> int:
        return ma_from_a(self.current_min_a)

    @property
    def current_max_ma(self) -> int:
        return ma_from_a(self.current_max_a)

    @property
    def current_step_ma(self) -> int:
        return max(1, ma_from_a(self.current_step_a))


class ChargerConfig(DescribedModel):
    """One charger (OCPP: charge point, charging station).

    `offline_current_a` is what each of its connectors may draw when nobody steers it: installed as
    its default profile and counted whenever it is offline without a transaction profile."""

    id: str
    circuit: Name
    connectors: tuple[ConnectorConfig, ...] = (ConnectorConfig(id=1),)
    current_type: CurrentType = CurrentType.AC
    limit_unit: LimitUnit | None = None
    """Unless given, what the charger says it takes, and amperes where it does not say."""
    quirks: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Profiles of quirks that hold for this charger (`docs/quirks.md`), in place of those that are
    chosen by what it says when it boots; `none` for none at all."""
    efficiency_percent: Annotated[float, Field(ge=50, le=100, allow_inf_nan=False)] | None = None
    """What reaches the vehicle of what the charger takes from the grid. Rows are counted on the
    grid's side and a limit in watts holds on the vehicle's, so it is made smaller by this. Unless
    given, 100 for AC and 92 for DC, the low end of what rectifiers are sold with."""
    offline_current_a: Amperes = 6.0
    password_hash: str | None = None
    """Argon2 hash for HTTP Basic (security profile 1); none means security profile 0. See `loadstar
    chargers password`."""
    security_profile_min: Annotated[int, Field(ge=0, le=3)] | None = None
    """The lowest OCPP security profile at which it may connect; none leaves that to the node
    (`LOADSTAR_SECURITY_PROFILE_MIN`)."""
    meter_only: bool = False
    """A dedicated meter that speaks OCPP: it connects like a charger and has no connectors."""

    @model_validator(mode="before")
    @classmethod
    def _meter_has_no_connectors(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("meter_only") is True:
            return {"connectors": (), **values}
        return values

    @field_validator("id")
    @classmethod
    def _id(cls, id: str) -> str:
        if not CHARGER_ID_PATTERN.fullmatch(id):
            raise ValueError(f"charger id {id!r}: 1 to 48 of letters, digits and *-_=:+|@.")
        return id

    @field_validator("connectors")
    @classmethod
    def _connectors_once(
        cls, connectors: tuple[ConnectorConfig, ...]
    ) -> tuple[ConnectorConfig, ...]:
        ids = [connector.id for connector in connectors]
        if len(set(ids)) != len(ids):
            raise ValueError("a charger has one or more connectors with different ids")
        return connectors

    @model_validator(mode="after")
    def _connectors_or_meter(self) -> Self:
        if self.meter_only and self.connectors:
            raise ValueError(f"charger {self.id}: a meter has no connectors")
        if not self.meter_only and not self.connectors:
            raise ValueError("a charger has one or more connectors with different ids")
        return self

    @model_validator(mode="after")
    def _direct_current_in_watts(self) -> Self:
        # Amperes would be those of the battery's voltage, which nobody here knows.
        if self.current_type is CurrentType.DC and self.limit_unit is not LimitUnit.W:
            raise ValueError(
                f"charger {self.id}: direct current is limited in watts; set limit_unit to W"
            )
        return self

    @property
    def offline_current_ma(self) -> int:
        return ma_from_a(self.offline_current_a)

    @property
    def efficiency_permille(self) -> int:
        """`efficiency_percent` or its default, rounded down to the thousandth."""
        assumed_percent = 92.0 if self.current_type is CurrentType.DC else 100.0
        return int((self.efficiency_percent or assumed_percent) * 10 + 1e-6)

    def connector(self, connector_id: int) -> ConnectorConfig | None:
        return next(
            (connector for connector in self.connectors if connector.id == connector_id), None
        )


class CircuitConfig(DescribedModel):
    """A conductor with a breaker; `rating_a` holds on each phase. The one circuit without a parent
    is the site's supply. `export_a` is what vehicles below it may feed in together, on each phase,
    where that is less than its rating; what others draw meanwhile is never counted against it."""

    id: Name
    parent: Name | None = None
    rating_a: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)]
    export_a: Amperes | None = None

    @property
    def rating_ma(self) -> int:
        return ma_from_a(self.rating_a)

    @property
    def export_ma(self) -> int:
        """The most that may be fed in through it, on each phase."""
        if self.export_a is None:
            return self.rating_ma
        return min(self.rating_ma, ma_from_a(self.export_a))


class SiteConfig(DescribedModel):
    """A place with one supply. `voltage_v` is line to neutral. `margin_percent` of every rating is
    never given away. Outside `opening_hours`, where there are any, only sessions are served whose
    rule says so. `tariff` is what energy costs there."""

    id: Name
    name: str = ""
    feeder: Name | None = None
    voltage_v: Annotated[int, Field(ge=50, le=1_000)] = 230
    time_zone: str = "UTC"
    margin_percent: Annotated[float, Field(ge=0, le=90)] = 5.0
    circuits: tuple[CircuitConfig, ...]
    building_load: BuildingLoadConfig | None = None
    chargers: tuple[ChargerConfig, ...] = ()
    opening_hours: Annotated[tuple[HoursConfig, ...], Field(max_length=50)] = ()
    rules: Annotated[tuple[RuleConfig, ...], Field(max_length=RULES_MAX)] = ()
    contract: ContractConfig | None = None
    solar: SolarConfig | None = None
    battery: BatteryConfig | None = None
    authorisation: AuthorisationConfig = AuthorisationConfig()
    tariff: TariffConfig | None = None
    vehicle_to_grid: VehicleToGridConfig | None = None

    @field_validator("time_zone")
    @classmethod
    def _time_zone(cls, time_zone: str) -> str:
        try:
            ZoneInfo(time_zone)
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"{time_zone!r} is no IANA time zone, such as Europe/Berlin"
            ) from error
        return time_zone

    @field_validator("rules")
    @classmethod
    def _rules_once(cls, rules: tuple[RuleConfig, ...]) -> tuple[RuleConfig, ...]:
        ids = [rule.id for rule in rules]
        for rule_id in ids:
            if ids.count(rule_id) > 1:
                raise ValueError(f"two rules share the id {rule_id!r}")
        return rules

    @model_validator(mode="after")
    def _tree(self) -> Self:
        by_id = {circuit.id: circuit for circuit in self.circuits}
        if len(by_id) != len(self.circuits):
            raise ValueError(f"site {self.id}: two circuits share an id")
        roots = [circuit.id for circuit in self.circuits if circuit.parent is None]
        if len(roots) != 1:
            raise ValueError(
                f"site {self.id}: exactly one circuit has no parent (the supply), "
                f"found {roots or 'none'}"
            )
        for circuit in self.circuits:
            seen, node = {circuit.id}, circuit
            while node.parent is not None:
                if node.parent not in by_id:
                    raise ValueError(
                        f"site {self.id}: circuit {node.id} names an unknown parent {node.parent!r}"
                    )
                node = by_id[node.parent]
                if node.id in seen:
                    raise ValueError(f"site {self.id}: circuit {node.id} is its own ancestor")
                seen.add(node.id)
        if self.building_load is not None and self.building_load.circuit not in by_id:
            raise ValueError(
                f"site {self.id}: building_load names an unknown circuit "
                f"{self.building_load.circuit!r}"
            )
        ids: set[str] = set()
        for charger in self.chargers:
            if charger.circuit not in by_id:
                raise ValueError(
                    f"site {self.id}: charger {charger.id} names an unknown circuit "
                    f"{charger.circuit!r}"
                )
            if charger.id in ids:
                raise ValueError(f"site {self.id}: two chargers share the id {charger.id!r}")
            ids.add(charger.id)
        self._meter_is_there()
        self._offline_currents_fit()
        self._guarantees_possible()
        return self

    def _meter_is_there(self) -> None:
        meter = None if self.building_load is None else self.building_load.meter
        if not isinstance(meter, OcppMeterConfig):
            return
        charger = next((each for each in self.chargers if each.id == meter.charger), None)
        if charger is None:
            raise ValueError(
                f"site {self.id}: building_load.meter names an unknown charger {meter.charger!r}"
            )
        if charger.connector(meter.connector) is not None:
            raise ValueError(
                f"site {self.id}: building_load.meter: connector {meter.connector} of charger "
                f"{meter.charger} feeds a vehicle; its own meter is connector 0"
            )

    def _offline_currents_fit(self) -> None:
        """Silence everywhere must be safe: the sum of all offline currents within every rating, on
        every phase."""
        load_ma = {(circuit.id, phase): 0 for circuit in self.circuits for phase in Phase}
        parent = {circuit.id: circuit.parent for circuit in self.circuits}
        for charger in self.chargers:
            offline_ma = charger.offline_current_ma
            for connector in charger.connectors:
                drawn_ma = min(offline_ma, connector.current_max_ma)
                node: str | None = charger.circuit
                while node is not None:
                    for phase in connector.phases:
                        load_ma[node, phase] += drawn_ma
                    node = parent[node]
        for circuit in self.circuits:
            for phase in Phase:
                if load_ma[circuit.id, phase] > circuit.rating_ma:
                    raise ValueError(
                        f"site {self.id}: circuit {circuit.id} phase {phase}: the offline currents "
                        f"of its chargers add up to {load_ma[circuit.id, phase] / 1000:g} A, over "
                        f"its rating of {circuit.rating_a:g} A; lower offline_current_a"
                    )

    def main_meter_interval_s(self, charger_id: str) -> int | None:
        """How often the main meter of a charger is wanted: four times before it is stale; None
        where it does not measure the building."""
        building = self.building_load
        meter = None if building is None else building.meter
        if building is None or not isinstance(meter, OcppMeterConfig):
            return None
        return max(1, int(building.stale_after_s // 4)) if meter.charger == charger_id else None

    @property
    def surplus_only(self) -> bool:
        """Whether charging that is not urgent waits for the sun."""
        return self.solar is not None and self.solar.mode is SolarMode.SURPLUS

    def _guarantees_possible(self) -> None:
        """How many sessions a rule will meet nobody knows, but one alone must fit."""
        for rule in self.rules:
            if rule.guaranteed_ma > self.supply.rating_ma:
                raise ValueError(
                    f"site {self.id}: rule {rule.id} guarantees {rule.guaranteed_a:g} A, over the "
                    f"rating of its supply of {self.supply.rating_a:g} A"
                )

    @cached_property
    def supply(self) -> CircuitConfig:
        return next(circuit for circuit in self.circuits if circuit.parent is None)

    def connectors(self) -> Iterator[tuple[ConnectorKey, ChargerConfig, ConnectorConfig]]:
        """Every connector of the site, in the order of the description."""
        for charger in self.chargers:
            for connector in charger.connectors:
                yield ConnectorKey(ChargerId(charger.id), connector.id), charger, connector


class FeederConfig(DescribedModel):
    """A grid feeder that supplies sites and other feeders, whose `parent` it is. `power_max_w` is
    shared by all below it."""

    id: Name
    name: str = ""
    parent: Name | None = None
    power_max_w: Annotated[int, Field(gt=0, le=10**12)]
    voltage_v: Annotated[int, Field(ge=50, le=1_000)] = 230

    @property
    def current_max_ma(self) -> int:
        """The balanced per-phase current, on three phases at `voltage_v`, of the whole power."""
        return ma_from_w(self.power_max_w, voltage_v=self.voltage_v, phases=3)


Description = TypeVar("Description", bound=BaseModel)


class NetworkConfig(DescribedModel):
    """A whole network: what `loadstar up --network FILE` loads and `loadstar network export`
    writes."""

    version: Literal[1] = 1
    feeders: tuple[FeederConfig, ...] = ()
    sites: tuple[SiteConfig, ...] = ()

    @model_validator(mode="after")
    def _references(self) -> Self:
        feeders = {feeder.id for feeder in self.feeders}
        if len(feeders) != len(self.feeders):
            raise ValueError("two feeders share an id")
        for fault in feeder_faults({feeder.id: feeder for feeder in self.feeders}):
            raise ValueError(fault)
        chargers: dict[str, str] = {}
        sites: set[str] = set()
        for site in self.sites:
            if site.id in sites:
                raise ValueError(f"two sites share the id {site.id!r}")
            sites.add(site.id)
            if site.feeder is not None and site.feeder not in feeders:
                raise ValueError(f"site {site.id} names an unknown feeder {site.feeder!r}")
            for charger in site.chargers:
                if charger.id in chargers:
                    raise ValueError(
                        f"charger {charger.id} stands in site {chargers[charger.id]} "
                        f"and in site {site.id}"
                    )
                chargers[charger.id] = site.id
        return self


def feeder_faults(feeders: Mapping[str, FeederConfig]) -> Iterator[str]:
    """What is wrong with how feeders supply each other, in words."""
    for feeder in feeders.values():
        if feeder.parent is None:
            continue
        parent = feeders.get(feeder.parent)
        if parent is None:
            yield f"feeder {feeder.id} names an unknown parent {feeder.parent!r}"
            continue
        if parent.voltage_v != feeder.voltage_v:
            yield (
                f"feeder {feeder.id} and its parent {parent.id} differ in voltage_v: describe both "
                "at the voltage of the sites"
            )
        above = parent
        passed = {feeder.id}
        while above.id not in passed and above.parent is not None and above.parent in feeders:
            passed.add(above.id)
            above = feeders[above.parent]
        if above.id == feeder.id:
            yield f"feeder {feeder.id} would in the end be supplied by itself"


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
