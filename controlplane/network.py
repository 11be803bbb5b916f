"""The described network: feeders, sites, circuits, chargers, connectors.

One model serves the YAML file (`network_yaml.py`), gRPC, the store and the actors. Everything is
checked here, and every message names the element that is wrong. Amperes may be written with a
fraction; actors use the integer milliampere properties."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator

from controlplane.authorisation import AuthorisationConfig
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
    "feeder_faults",
]


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
