"""What a `SiteActor` can be told: by its chargers, by its feeder, by the API."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

import msgspec

from controlplane.actor import Message
from controlplane.grid_events import CancelGridEvent, CreateGridEvent, GetGridEvent, GridWish
from controlplane.ids import ChargerId, FeederId, SessionId, SiteId
from controlplane.ocpp.commands import CommandState
from controlplane.ocpp.events import ConnectorStatus, DischargeAbility
from controlplane.site.foresight_messages import GetForecasts, PushForecast, PushPrices

__all__ = [
    "CURRENT_MAX_MA",
    "POWER_MAX_W",
    "CapChanged",
    "ChargerPresence",
    "CircuitView",
    "ConfigureSite",
    "ConnectorAllocation",
    "ConnectorExplanation",
    "ConnectorMetered",
    "ConnectorState",
    "DeleteSite",
    "ExplainConnector",
    "FlexibilityOffer",
    "GetFlexibility",
    "GetPlan",
    "GetSite",
    "LimitFactor",
    "LimitOutcome",
    "LoadTaken",
    "OfferedPart",
    "PlanRowView",
    "PlanSlotView",
    "PlanState",
    "PlanView",
    "PlannedSessionView",
    "ReportBuildingLoad",
    "ReportMeterState",
    "ReportSitePower",
    "RowShare",
    "SessionDemand",
    "SetCircuitLimit",
    "SetConnectorLimit",
    "SetSiteLimit",
    "SiteConfigured",
    "SiteDeleted",
    "SitePowerView",
    "SiteRequest",
    "SiteView",
    "TokensChanged",
    "VehicleLimits",
]

CURRENT_MAX_MA = 100_000_000
"""No conductor of a site carries more; what a meter shows beyond counts as this."""

POWER_MAX_W = 10**12
"""No plant or battery gives or takes more."""

METERED_MAX_W = 10**9
"""No meter of a site shows more power."""

PhaseCurrents = tuple[int, int, int]
"""Milliamperes on L1, L2, L3 of the site."""


def _bounded(value: int | None, most: int) -> int | None:
    return None if value is None else max(-most, min(value, most))


# --- from its chargers ----------------------------------------------------------------------------


class ChargerPresence(Message, frozen=True, tag="charger_presence"):
    """The charger's connection came or went. `settled` once it has booted and its default profile
    was dealt with; no limit is sent to it before. `default_ma` is the default profile it
    acknowledged, None while unknown, and `lower_ma` that of connectors that have a lower one: where
    limits are default profiles, each has the one of its session."""

    charger_id: ChargerId
    online: bool
    settled: bool
    default_ma: int | None
    lower_ma: dict[int, int] = msgspec.field(default_factory=dict)


class VehicleLimits(msgspec.Struct, frozen=True):
    """What a vehicle said of itself (OCPP 2.x NotifyEVChargingNeeds); None where it did not.

    Currents are per phase, of alternating current; `power_max_w` is the vehicle's side of a
    rectifier. `need_wh` is of the whole session, what it had when it spoke included. `said_ms` is
    when it spoke last: whatever its station is told after that answers it. `discharge` is what it
    can give back, None for one that only takes; what it says of energies counts from `said_wh`,
    what the session had then, less what it had fed in.
    """

    current_min_ma: int | None = None
    current_max_ma: int | None = None
    phases: int | None = None
    power_max_w: int | None = None
    soc_percent: int | None = None
    capacity_wh: int | None = None
    need_wh: int | None = None
    departure_ms: int | None = None
    said_ms: int = 0
    discharge: DischargeAbility | None = None
    said_wh: int = 0


class SessionDemand(msgspec.Struct, frozen=True):
    """What the session on a connector still wants. `need_wh` and `departure_ms` are the driver's
    word, `vehicle` is the vehicle's. `charging` is False while the vehicle or the driver holds
    it; `id_token` is what the driver identified with; until `boost_until_ms` the session goes
    first. `authorised` False: its token is refused, or still looked up, and it is given nothing.
    `exported_wh` is what it fed in; down to `reserve_percent` of its battery its driver lets it
    feed in, None: not at all."""

    session_id: SessionId
    started_ms: int
    energy_wh: int
    need_wh: int | None
    departure_ms: int | None
    charging: bool
    id_token: str | None = None
    boost_until_ms: int | None = None
    vehicle: VehicleLimits | None = None
    authorised: bool = True
    exported_wh: int = 0
    reserve_percent: int | None = None


class ConnectorState(Message, frozen=True, tag="connector_state"):
    """The status, the session or what bounds a connector changed. `external_ma` is what a system
    other than Loadstar holds it to, per phase; None: nothing is known of one."""

    charger_id: ChargerId
    connector_id: int
    status: ConnectorStatus | None
    session: SessionDemand | None
    external_ma: int | None = None


class ConnectorMetered(Message, frozen=True, tag="connector_metered"):
    """A connector was measured. Currents per conductor of the connector, below 0 where it feeds in;
    `energy_wh` is the session's so far, `exported_wh` what it fed in. Connector 0 is the
    charger's own main meter, on the lines of the site. `fresh`: the station was asked for it after
    it took the limit in force, so it is newer than that whatever clocks show; `at_ms` is then when
    it was asked, by our clock, and it was taken at that instant or after it."""

    charger_id: ChargerId
    connector_id: int
    at_ms: int
    current_ma: tuple[int | None, int | None, int | None]
    power_w: int | None
    energy_wh: int | None
    soc_percent: float | None
    exported_wh: int | None = None
    fresh: bool = False

    def believed(self) -> ConnectorMetered:
        """The same without what is beyond all reason: whatever a station writes arrives here, and
        sums of it must not overflow."""
        power_w = self.power_w
        l1, l2, l3 = self.current_ma
        if (
            (power_w is None or -METERED_MAX_W <= power_w <= METERED_MAX_W)
            and (l1 is None or -CURRENT_MAX_MA <= l1 <= CURRENT_MAX_MA)
            and (l2 is None or -CURRENT_MAX_MA <= l2 <= CURRENT_MAX_MA)
            and (l3 is None or -CURRENT_MAX_MA <= l3 <= CURRENT_MAX_MA)
        ):
            return self
        return msgspec.structs.replace(
            self,
            power_w=_bounded(power_w, METERED_MAX_W),
            current_ma=(
                _bounded(l1, CURRENT_MAX_MA),
                _bounded(l2, CURRENT_MAX_MA),
                _bounded(l3, CURRENT_MAX_MA),
            ),
        )


class LimitOutcome(Message, frozen=True, tag="limit_outcome"):
    """What became of `ApplyLimit` `limit_id`. `superseded` means it was never sent."""

    charger_id: ChargerId
    connector_id: int
    limit_id: int
    state: CommandState
    superseded: bool = False


# --- from its feeder ------------------------------------------------------------------------------


class CapChanged(Message, frozen=True, tag="cap_changed"):
    """What the whole site, building included, may draw per phase; None lifts the cap. The site
    answers with `feeder.messages.SiteReport` as soon as its liability is within it, or with
    `SiteLeft` where it does not belong to this feeder. `wish` is what it is to come down to
    besides, feeding in; the same cap told again may prolong it."""

    feeder_id: FeederId
    cap_id: int
    cap_ma: int | None
    wish: GridWish | None = None


# --- from the registry of tokens ------------------------------------------------------------------


class TokensChanged(Message, frozen=True, tag="tokens_changed"):
    """Tokens were written, the last of them under `version`; a site passes it on to its chargers.
    `keys` are those of the tokens, None where they are too many to name."""

    version: int
    keys: tuple[str, ...] | None = None


# --- from the API ---------------------------------------------------------------------------------


class ConfigureSite(msgspec.Struct, frozen=True, tag="configure_site"):
    """Create or replace the description (`network.SiteConfig` as JSON). Answered with
    `SiteConfigured`, or refused. `create_only` refuses where the site exists, `update_only` where
    it does not."""

    config: bytes
    create_only: bool = False
    update_only: bool = False


class SiteConfigured(msgspec.Struct, frozen=True, tag="site_configured"):
    site_id: SiteId


class DeleteSite(msgspec.Struct, frozen=True, tag="delete_site"):
    """Answered with `SiteDeleted`; refused while a session runs."""


class SiteDeleted(msgspec.Struct, frozen=True, tag="site_deleted"):
    site_id: SiteId


class ReportBuildingLoad(msgspec.Struct, frozen=True, tag="report_building_load"):
    """A measurement of the building's own load on the circuit its description names. Answered with
    `SiteView`, or with `LoadTaken` where `view` is False: to say of every connector what it may
    draw, and why, costs more than to take a measurement in."""

    at_ms: int
    current_ma: PhaseCurrents
    view: bool = True


class LoadTaken(msgspec.Struct, frozen=True, tag="load_taken"):
    """The measurement was taken in."""

    site_id: SiteId


class ReportMeterState(msgspec.Struct, frozen=True, tag="report_meter_state"):
    """Whoever reads the building's meter for the site cannot (`fault` says why), or can again
    (empty). The alarm `meter_unreachable` follows it. Answered with `SiteView`."""

    fault: str


class ReportSitePower(msgspec.Struct, frozen=True, tag="report_site_power"):
    """What the solar plant gives (0 and up) and the battery takes (below 0: it gives) at an
    instant; `battery_soc_percent` is 0 to 100. Answered with `SiteView`."""

    at_ms: int
    solar_w: int = 0
    battery_w: int = 0
    battery_soc_percent: float | None = None

    @property
    def plausible(self) -> bool:
        """Whether the values are within their ranges."""
        soc_percent = self.battery_soc_percent
        return (
            0 <= self.solar_w <= POWER_MAX_W
            and abs(self.battery_w) <= POWER_MAX_W
            and (soc_percent is None or 0 <= soc_percent <= 100)
        )


class SetSiteLimit(msgspec.Struct, frozen=True, tag="set_site_limit"):
    """Cap the whole site per phase from `from_ms` (None: now) to `until_ms` (None: until changed);
    `limit_ma` None lifts it. Answered with `SiteView`."""

    limit_ma: int | None
    from_ms: int | None = None
    until_ms: int | None = None


class SetCircuitLimit(msgspec.Struct, frozen=True, tag="set_circuit_limit"):
    """Hold one circuit to `limit_ma` per phase, building included, from `from_ms` (None: now) to
    `until_ms` (None: until changed); None lifts it. Answered with `SiteView`."""

    circuit_id: str
    limit_ma: int | None
    from_ms: int | None = None
    until_ms: int | None = None


class SetConnectorLimit(msgspec.Struct, frozen=True, tag="set_connector_limit"):
    """Give the sessions of one connector no more than `limit_ma` per phase; as
    `SetCircuitLimit`."""

    charger_id: ChargerId
    connector_id: int
    limit_ma: int | None
    from_ms: int | None = None
    until_ms: int | None = None


class GetSite(msgspec.Struct, frozen=True, tag="get_site"):
    """Answered with `SiteView`."""


class GetPlan(msgspec.Struct, frozen=True, tag="get_plan"):
    """Answered with `PlanView`."""


class ExplainConnector(msgspec.Struct, frozen=True, tag="explain_connector"):
    """Why a connector may draw what it may; `connector_id` 0 is the only one of its charger.
    Answered with `ConnectorExplanation`."""

    charger_id: ChargerId
    connector_id: int


class GetFlexibility(msgspec.Struct, frozen=True, tag="get_flexibility"):
    """By how much the site could draw less, or more, for `duration_ms` from now on. Answered with
    `FlexibilityOffer`."""

    duration_ms: int
    more: bool = False


class OfferedPart(msgspec.Struct, frozen=True):
    """One way to draw less, `pause` or `feed_in`, or more, `charge`, by `sessions` of them. The
    price is for a kilowatt-hour, a decimal number; `currency` is empty where it costs nothing."""

    kind: str
    power_w: int
    sessions: int
    price_per_kwh: str = "0"
    currency: str = ""


class FlexibilityOffer(msgspec.Struct, frozen=True, tag="flexibility_offer"):
    """What a site could leave undrawn, or draw besides, the cheapest part first. `baseline_w` is
    the mean of the last quarter of an hour, against which what begins now would be measured; None
    where nothing was measured."""

    site_id: SiteId
    at_ms: int
    duration_ms: int
    drawn_w: int
    baseline_w: int | None
    parts: tuple[OfferedPart, ...]
    more: bool = False


SiteRequest = (
    ConfigureSite
    | DeleteSite
    | ReportBuildingLoad
    | ReportMeterState
    | ReportSitePower
    | SetSiteLimit
    | SetCircuitLimit
    | SetConnectorLimit
    | GetSite
    | ExplainConnector
    | GetPlan
    | CreateGridEvent
    | CancelGridEvent
    | GetGridEvent
    | PushPrices
    | PushForecast
    | GetForecasts
    | GetFlexibility
)


class CircuitView(msgspec.Struct, frozen=True):
    """One circuit at this moment, per phase. `liability_ma` is what its chargers may draw,
    `measured_ma` what their meters show, `building_ma` the building load on it; `capacity_ma` is
    what may be given to chargers; `limit_ma` the operator's limit, where one is in force."""

    circuit_id: str
    rating_ma: PhaseCurrents
    capacity_ma: PhaseCurrents
    building_ma: PhaseCurrents
    liability_ma: PhaseCurrents
    measured_ma: PhaseCurrents
    limit_ma: int | None = None


class ConnectorAllocation(msgspec.Struct, frozen=True):
    """One connector at this moment. `target_ma` is what the last round wants, `limit_ma` what is
    acknowledged, `liability_ma` what counts on the rows, `reason` why, in words; `override_ma` the
    operator's limit, where one is in force.

    `energy_needed_wh` is what is still missing, `laxity_ms` how long the session could wait at full
    power and still be ready; None where need or departure is unknown. `need_source` and
    `departure_source` tell who says so: `driver`, `vehicle` or `forecast`; None for nobody."""

    charger_id: ChargerId
    connector_id: int
    session_id: SessionId | None
    target_ma: int
    limit_ma: int | None
    liability_ma: int
    measured_ma: int | None
    reason: str
    override_ma: int | None = None
    energy_needed_wh: int | None = None
    laxity_ms: int | None = None
    departure_ms: int | None = None
    need_source: str | None = None
    departure_source: str | None = None


class SitePowerView(msgspec.Struct, frozen=True):
    """Contract, sun and battery at this moment; None for what is not described or not known.
    `draws_w` is what the site draws from the grid by its meters or, where `measured` is False, at
    most; `used_wh` what it has drawn since the window began, `allowed_w` what it may draw for the
    rest of it."""

    draws_w: int
    measured: bool
    contract_w: int | None
    window_start_ms: int | None
    window_end_ms: int | None
    used_wh: int | None
    allowed_w: int | None
    last_mean_w: int | None
    last_held: bool | None
    solar_w: int | None
    battery_w: int | None
    battery_soc_percent: float | None
    report_stale: bool
    surplus_w: int | None


class SiteView(msgspec.Struct, frozen=True, tag="site_view"):
    """`config` is `network.SiteConfig` as JSON. `violations` counts the rounds in which some row's
    building load plus liability was over its rating through what was released. Rows that the
    building's rise, unknown chargers or vehicles that ignore their limits put over raise an alarm
    that names the cause, and are not counted."""

    site_id: SiteId
    config: bytes
    at_ms: int
    round: int
    cap_ma: int | None
    limit_ma: int | None
    building_load_stale: bool
    violations: int
    circuits: tuple[CircuitView, ...]
    connectors: tuple[ConnectorAllocation, ...]
    power: SitePowerView | None = None


class LimitFactor(msgspec.Struct, frozen=True):
    """One thing that bounds a connector: no more than `limit_ma` per phase. `subject` is what it
    comes from (a circuit's phase, the charger); `binding` marks what stopped the last round."""

    kind: str
    subject: str
    limit_ma: int
    binding: bool
    words: str


class RowShare(msgspec.Struct, frozen=True):
    """Another connector on the row that binds."""

    charger_id: ChargerId
    connector_id: int
    target_ma: int
    liability_ma: int
    tier: int


class ConnectorExplanation(msgspec.Struct, frozen=True, tag="connector_explanation"):
    """Why a connector may draw what it may at this moment: everything that bounds it, tightest
    first, and whom it shares the row with that binds."""

    site_id: SiteId
    at_ms: int
    allocation: ConnectorAllocation
    factors: tuple[LimitFactor, ...]
    shares: tuple[RowShare, ...]


class PlanState(StrEnum):
    """How a site stands to its plan; see `planning.proto`."""

    NONE = "none"
    AWAITED = "awaited"
    FOLLOWED = "followed"
    LATE = "late"


class PlanSlotView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One slot of a plan; prices per kilowatt-hour and, of the demand charge, per kilowatt."""

    planned_w: int
    base_w: int
    limit_w: int
    import_price: Decimal
    export_price: Decimal | None
    demand_price: float


class PlannedSessionView(msgspec.Struct, frozen=True):
    """What is planned for one session; `charger_id` is None of one that is only expected."""

    session_id: str
    charger_id: ChargerId | None
    connector_id: int
    arrival_ms: int
    departure_ms: int
    need_source: str | None
    departure_source: str | None
    need_wh: int
    planned_wh: int
    missing_wh: int
    missing_reason: str
    slot_w: tuple[int, ...]
    target_ma: int | None
    words: str


class PlanRowView(msgspec.Struct, frozen=True):
    """A row that is full in some slot: `line` 1 to 3, 0 for the power on all lines; of every slot
    in which it is full, what one more ampere or kilowatt would be worth."""

    subject: str
    kind: str
    line: int
    worths: tuple[tuple[int, float], ...]
    """The beginning of the slot and the worth."""
    feeds: bool = False
    """Full of what is fed in, and not of what is drawn."""


class PlanView(msgspec.Struct, frozen=True, tag="plan_view"):
    """A site's plan at this moment; see `Plan` in `planning.proto`. All but the first five fields
    are those of the last plan, and empty where there was none."""

    site_id: SiteId
    at_ms: int
    state: PlanState
    words: str
    time_zone: str
    plan_ms: int | None = None
    feeder_id: str = ""
    start_ms: int | None = None
    slot_s: int = 0
    currency: str = ""
    cost: float = 0.0
    bound: float = 0.0
    slots: tuple[PlanSlotView, ...] = ()
    sessions: tuple[PlannedSessionView, ...] = ()
    full_rows: tuple[PlanRowView, ...] = ()
    stale: tuple[str, ...] = ()
