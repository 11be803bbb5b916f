"""The power of one site as it is now: what building, chargers, sun and battery draw and give, and
what contract and surplus leave for charging.

Invariant: nothing here is needed for the safety of a conductor except the building's load behind a
meter of the whole supply, which errs to the high side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from controlplane.actor import Emit
from controlplane.config import ActorSettings
from controlplane.ids import ChargerId
from controlplane.network import SiteConfig
from controlplane.network_power import CONTRACT_MAX_W, Measures, OcppMeterConfig
from controlplane.site.building import building_from_supply, drawn, line_currents
from controlplane.site.demand import Pace
from controlplane.site.messages import ConnectorMetered, PhaseCurrents, SitePowerView
from controlplane.site.power import ClosedWindow, ContractWindow, Smoothed, Target
from controlplane.site.solar import SolarInput, exempt_from_surplus
from controlplane.site.state import SiteState
from controlplane.site.tree import SiteTree
from controlplane.units import MS_PER_HOUR, w_from_ma

if TYPE_CHECKING:
    from controlplane.site.live import LiveConnector

__all__ = ["LivePower", "window_event"]

MJ_PER_WH = MS_PER_HOUR
"""Energy is counted in W x ms."""


def window_event(window: ClosedWindow) -> Emit:
    """The journal's event of a window that ended."""
    return Emit(
        "site.contract_window",
        {
            "start_ms": window.start_ms,
            "end_ms": window.end_ms,
            "mean_w": window.mean_w,
            "contract_w": window.power_w,
            "held": window.held,
            "estimated_ms": window.estimated_ms,
        },
    )


@dataclass(frozen=True, slots=True)
class _Supply:
    """What a meter of the whole supply showed last."""

    at_ms: int
    power_w: int


class LivePower:
    """See the module's docstring; not durable but for `SiteState.window`."""

    def __init__(
        self,
        state: SiteState,
        config: SiteConfig,
        tree: SiteTree,
        connectors: Sequence[LiveConnector],
        settings: ActorSettings,
    ) -> None:
        self._state = state
        self._config = config
        self._tree = tree
        self._connectors = connectors
        self._pace = Pace(settings.ramp_ms)
        self._fresh_ms = settings.meter_interval_ms * 5 // 2
        """For how long a charger's sample counts: two may be late."""
        self.solar = SolarInput()
        self._building = Smoothed(lag_ms=self._pace.habit_ms)
        self._supply: _Supply | None = None
        building = config.building_load
        self._measures_supply = building is not None and building.measures is Measures.SUPPLY
        self._meter = None
        if building is not None and isinstance(building.meter, OcppMeterConfig):
            self._meter = building.meter
        self._dedicated = self._meter is not None and any(
            each.meter_only and each.id == self._meter.charger for each in config.chargers
        )
        self._target = None
        if config.contract is not None:
            self._target = Target.of(
                config.contract, margin_percent=config.margin_percent, ramp_ms=settings.ramp_ms
            )

    def inherit(self, before: LivePower) -> None:
        """Take over what is known of sun and supply from the description before."""
        self.solar = before.solar
        self._building = before._building
        if self._config.building_load == before._config.building_load:
            self._supply = before._supply

    def clock_set(self, change_ms: int) -> None:
        """The clock was set back by so much: a report ages as before."""
        report = self.solar.report
        if change_ms < 0 and report is not None:
            self.solar.report = msgspec.structs.replace(report, at_ms=report.at_ms + change_ms)

    # --- the building -----------------------------------------------------------------------------

    def reads(self, charger_id: ChargerId, connector_id: int) -> bool:
        """Whether this is where the building's meter hangs."""
        meter = self._meter
        return (
            meter is not None
            and meter.charger == charger_id
            and (meter.connector == connector_id or self._dedicated)
        )

    def metered_lines(self, sample: ConnectorMetered) -> PhaseCurrents | None:
        """The lines of a sample of the building's meter; None where it does not tell."""
        return line_currents(
            sample.current_ma,
            sample.power_w,
            voltage_v=self._config.voltage_v,
            balanced=self._meter is not None and self._meter.balanced,
        )

    def building(
        self, measured_ma: PhaseCurrents, power_w: int | None, *, at_ms: int, now_ms: int
    ) -> PhaseCurrents:
        """The building's own load, where its meter shows `measured_ma` and `power_w`."""
        if not self._measures_supply:
            return measured_ma
        voltage_v = self._config.voltage_v
        if power_w is None:
            power_w = w_from_ma(max(0, sum(measured_ma)), voltage_v=voltage_v, phases=1)
        before = self._supply
        if before is None or not at_ms < before.at_ms <= now_ms:
            self._supply = _Supply(at_ms, max(0, min(power_w, CONTRACT_MAX_W)))
        hidden_ma = self.solar.hidden_ma(now_ms, self._config.solar, voltage_v=voltage_v)
        chargers = []
        for connector, below in zip(self._connectors, self._tree.below_meter, strict=True):
            if below:
                chargers.append(self._lines(connector, now_ms))
        known = self._state.building
        before_ma = None if known is None else known.current_ma
        return building_from_supply(measured_ma, hidden_ma, chargers, before_ma)

    def _lines(self, connector: LiveConnector, now_ms: int) -> tuple[PhaseCurrents, PhaseCurrents]:
        """The least and the most that a connector surely draws on the lines of the site."""
        lines_ma = connector.measured_ma or (0, 0, 0)
        least, most = [0, 0, 0], [0, 0, 0]
        for line in connector.leaf.phases:
            found = drawn(connector.entry, lines_ma[line], now_ms=now_ms, fresh_ms=self._fresh_ms)
            if found is not None:
                least[line], most[line] = found.least_ma, found.most_ma
        return (least[0], least[1], least[2]), (most[0], most[1], most[2])

    # --- the contract -----------------------------------------------------------------------------

    def keep_window(
        self, now_ms: int, *, building_ma: list[int], stale: bool
    ) -> list[ClosedWindow]:
        """Count the energy up to now; gives the windows that ended.

        Args:
            building_ma: the building's load, per row.
            stale: whether its meter is silent.
        """
        contract = self._config.contract
        if contract is None:
            self._state.window = None
            return []
        power_w, measured = self.draws_w(now_ms, building_ma=building_ma, stale=stale)
        if self._state.window is None:
            self._state.window = ContractWindow.begin(now_ms, power_w=power_w, contract=contract)
            return []
        return self._state.window.advance(
            now_ms, power_w=power_w, measured=measured, contract=contract
        )

    def draws_w(self, now_ms: int, *, building_ma: list[int], stale: bool) -> tuple[int, bool]:
        """What the site draws from the grid, and whether meters say so."""
        voltage_v = self._config.voltage_v
        if self._supply is not None and not stale:
            return self._supply.power_w, True
        current_ma, measured = self._building_sum(building_ma), not stale
        for connector in self._connectors:
            most_ma = sum(self._lines(connector, now_ms)[1])
            if most_ma == 0 and not self._known(connector, now_ms):
                measured = False
                most_ma = connector.entry.liability_ma * len(connector.leaf.phases)
            current_ma += most_ma
        power_w = w_from_ma(current_ma, voltage_v=voltage_v, phases=1)
        grid_w = power_w - self.solar.feeding_w(now_ms, self._config.solar)
        return max(0, min(grid_w, CONTRACT_MAX_W)), measured

    def _known(self, connector: LiveConnector, now_ms: int) -> bool:
        lines_ma = connector.measured_ma or (0, 0, 0)
        found = drawn(connector.entry, max(lines_ma), now_ms=now_ms, fresh_ms=self._fresh_ms)
        return found is not None

    def _building_sum(self, building_ma: list[int]) -> int:
        """The building on the lines of the supply, in mA."""
        return sum(building_ma[row] for row in self._tree.supply_rows)

    @property
    def window_end_ms(self) -> int | None:
        window, contract = self._state.window, self._config.contract
        if window is None or contract is None:
            return None
        return window.start_ms + contract.window_ms

    def allowed_w(self, now_ms: int) -> int | None:
        """What the site may draw from the grid for the rest of the window; None: no contract."""
        if self._target is None:
            return None
        if self._state.window is None:
            return self._target.power_w
        return self._state.window.allowed_w(self._target, now_ms)

    def contract_ma(self, now_ms: int, building_ma: list[int]) -> int | None:
        """What chargers may draw by the contract, summed over conductors, 0 and up: what the grid
        may give, and what sun and battery add to it at this moment, less the building.

        The building is smoothed here, as only its mean counts; without this every lift and every
        kettle would cost each charger a message.
        """
        allowed_w = self.allowed_w(now_ms)
        if allowed_w is None:
            return None
        self._building.follow(self._building_sum(building_ma), now_ms)
        fed_w = self.solar.feeding_w(now_ms, self._config.solar)
        given_ma = (allowed_w + fed_w) * 1_000 // self._config.voltage_v
        return max(0, given_ma - self._building.value)

    def contract_words(self, now_ms: int, building_ma: list[int]) -> str:
        """What is wrong with the contract, in words; empty where it holds."""
        contract, window = self._config.contract, self._state.window
        if contract is None or window is None:
            return ""
        kept = [
            0 if each.entry.idle else min(each.entry.liability_ma, each.entry.fallback_ma)
            for each in self._connectors
        ]
        least_ma = self._building_sum(building_ma) + self._tree.power_sum(kept)
        least_w = w_from_ma(least_ma, voltage_v=self._config.voltage_v, phases=1)
        least_w -= self.solar.feeding_w(now_ms, self._config.solar)
        if not window.lost(contract, least_w=max(0, least_w)):
            return ""
        return (
            f"the mean power of this window cannot be held within {contract.power_w} W: it is "
            f"{window.mean_w()} W so far, and building and guarantees take {max(0, least_w)} W"
        )

    # --- the sun ----------------------------------------------------------------------------------

    def surplus_ma(self, now_ms: int, building_ma: list[int]) -> int | None:
        """What may be charged without urgency, summed over conductors; None where it is not
        limited. Moves the smoothing on."""
        solar, voltage_v = self._config.solar, self._config.voltage_v
        if solar is None or not self._config.surplus_only:
            return None
        surplus_w = self.solar.follow(
            now_ms,
            solar=solar,
            battery=self._config.battery,
            building_ma=self._building_sum(building_ma),
            voltage_v=voltage_v,
            pace=self._pace,
        )
        return surplus_w * 1_000 // voltage_v

    def exempt(self, now_ms: int) -> list[bool]:
        """Per connector, whether it need not wait for the sun."""
        return [
            connector.demand is not None
            and exempt_from_surplus(connector.leaf, connector.demand, now_ms)
            for connector in self._connectors
        ]

    # --- the view ---------------------------------------------------------------------------------

    def view(self, now_ms: int, *, building_ma: list[int], stale: bool) -> SitePowerView | None:
        """Contract and sun as people see them; None where neither is described."""
        config, window = self._config, self._state.window
        if config.contract is None and config.solar is None and self.solar.report is None:
            return None
        report, surplus = self.solar.report, self.solar.surplus
        closed = None if window is None else window.closed
        draws_w, measured = self.draws_w(now_ms, building_ma=building_ma, stale=stale)
        return SitePowerView(
            draws_w=draws_w,
            measured=measured,
            contract_w=None if config.contract is None else config.contract.power_w,
            window_start_ms=None if window is None else window.start_ms,
            window_end_ms=self.window_end_ms,
            used_wh=None if window is None else window.energy_mj // MJ_PER_WH,
            allowed_w=self.allowed_w(now_ms),
            last_mean_w=None if closed is None else closed.mean_w,
            last_held=None if closed is None else closed.held,
            solar_w=None if report is None else report.solar_w,
            battery_w=None if report is None else report.battery_w,
            battery_soc_percent=None if report is None else report.battery_soc_percent,
            report_stale=report is not None and self.solar.fresh(now_ms, config.solar) is None,
            surplus_w=None if surplus is None or not config.surplus_only else surplus.value,
        )
