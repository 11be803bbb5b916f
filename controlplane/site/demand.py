"""What each connector could use, and who goes first where not everybody can be served.

Need and departure are the driver's word, else the vehicle's, else a forecast, and each says which
it is. Nothing here is durable but what `forecast.History` keeps: sessions are told again after a
crash, behaviour is learned again within minutes. Invariant: demand only ever narrows what a
connector is offered, and orders connectors; what it may draw is the ledger's business alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple

from controlplane.ids import ConnectorKey
from controlplane.ocpp.events import ConnectorStatus
from controlplane.planning.outlook import Expectation
from controlplane.site.behaviour import IDLE_MA, NOT_NUDGED, OFFER, START_MAX_MA, Behaviour
from controlplane.site.dormancy import Dormancy
from controlplane.site.forecast import Forecast
from controlplane.site.ledger import Entry
from controlplane.site.messages import SessionDemand, VehicleLimits
from controlplane.site.policy import UNRULED, Terms
from controlplane.site.tree import Leaf
from controlplane.site.urgency import STEP_UNKNOWN, Pace, Turn, admission, urgency_step
from controlplane.site.why import Cause
from controlplane.units import MS_PER_HOUR

__all__ = [
    "ROUND_TRIP_PERMILLE",
    "TIER_BOOST",
    "TIER_HOLDING",
    "Demand",
    "Pace",
    "Source",
    "Turn",
    "tier_of",
]

TIER_BOOST: Final = 0
"""Served before all priorities: what somebody asked to go first for a while."""

TIER_FIRST: Final = 10
TIERS_PER_PRIORITY: Final = 10
"""Priority p (0 to 9) has the tiers from 10 + 10 * p on, one per step of urgency."""

TIER_HOLDING: Final = 200
"""Served after all priorities: vehicles that do not charge, but may wake, and those that have all
they need."""

ROUND_TRIP_PERMILLE: Final = 800
"""What a battery gives back of what was charged into it, both measured at the meter; rather less
than the 0.8 to 0.9 that are reported of vehicles, so that a need is kept."""

_SOC_TELLING_MAX: Final = 90

URGENT_STEP_MAX: Final = 1
"""Steps up to this one have less than an hour to spare."""

_NOT_SAID = VehicleLimits()
_SUSPENDED_EV: Final = ConnectorStatus.SUSPENDED_EV
_SUSPENDED_EVSE: Final = ConnectorStatus.SUSPENDED_EVSE


class Source(StrEnum):
    """Who says so."""

    DRIVER = "driver"
    VEHICLE = "vehicle"
    FORECAST = "forecast"


class Promise(NamedTuple):
    """What a session still lacks of its need, below 0 where it has more, and when it leaves."""

    missing_wh: int
    departure_ms: int


def tier_of(priority: int, step: int = STEP_UNKNOWN) -> int:
    """The tier of a priority (0 to 9) and a step of urgency."""
    return TIER_FIRST + TIERS_PER_PRIORITY * priority + step


@dataclass(slots=True)
class Demand:
    """What one connector's session wants."""

    status: ConnectorStatus | None
    session: SessionDemand
    energy_wh: int
    behaviour: Behaviour
    turn: Turn
    dormancy: Dormancy = field(default_factory=Dormancy)
    forecast: Forecast | None = None
    expected: Expectation | None = None
    """What was forecast when it began, to be judged by when it ends."""
    soc_percent: float | None = None
    """As last measured."""
    step: int = STEP_UNKNOWN
    """Its urgency, as of the last round."""
    left_wh: int | None = None
    """What it still takes, where it is nearly full."""
    terms: Terms = UNRULED
    """What the site's hours and rules give its session at the moment."""
    boosted: bool = False
    """It goes first at the moment, because somebody asked for that."""
    override_ma: int | None = None
    """What an operator holds its connector to at the moment."""
    external_ma: int | None = None
    """What a system other than Loadstar holds its connector to."""
    exported_wh: int = 0
    """What it has fed in."""
    idle_since_ms: int | None = None
    """Since when its station says that the vehicle takes nothing of what is offered."""
    target_ma: int | None = None
    """What a plan wants of it on average for the rest of its slot; below 0: to feed in. None: no
    plan says anything."""
    shown_feed_ma: int | None = None
    """It fed in less than it was told to: no more than this is counted on for a while."""
    _shown_ms: int = 0
    _considered: tuple[int, int | None] = (-1, None)
    """When the last round was, and the laxity at that instant."""

    # --- what it wants ----------------------------------------------------------------------------

    @property
    def vehicle(self) -> VehicleLimits:
        """What the vehicle said of itself."""
        return self.session.vehicle or _NOT_SAID

    @property
    def charging(self) -> bool:
        """Whether it would draw if it were allowed to."""
        return self.session.charging or self.status is _SUSPENDED_EVSE

    @property
    def satisfied(self) -> bool:
        """Whether it has what its driver asked for; what a vehicle or a forecast says serves
        nobody off."""
        need_wh = self.session.need_wh
        return need_wh is not None and self.net_wh >= need_wh

    @property
    def holding(self) -> bool:
        """It does not charge for reasons of its own, or has all it needs: it is offered its
        minimum at most, because it may wake."""
        if self.behaviour.nudge is OFFER:
            return False
        dormancy = self.dormancy
        return not self.charging or self.satisfied or dormancy.asleep or dormancy.probed

    @property
    def dormant(self) -> bool:
        """It is known to take nothing, or has all it needs: it is offered what is left when all
        others have what they want."""
        return self.holding and (self.satisfied or self.dormancy.asleep)

    @property
    def net_wh(self) -> int:
        """What it was given and still has: what it fed in counts with what it takes to charge that
        again."""
        return self.energy_wh - -(-self.exported_wh * 1_000 // ROUND_TRIP_PERMILLE)

    @property
    def capacity_wh(self) -> int | None:
        """What the battery holds: by the vehicle's word, or from what it lacked until full and the
        state of charge, which says little when that is nearly full."""
        if self.vehicle.capacity_wh is not None:
            return self.vehicle.capacity_wh
        given, soc_percent = self.vehicle.discharge, self.soc_percent
        if given is None or given.energy_full_wh is None or soc_percent is None:
            return None
        if soc_percent > _SOC_TELLING_MAX:
            return None
        lacks_wh = given.energy_full_wh - (self.net_wh - self.vehicle.said_wh)
        return max(0, int(lacks_wh * 100 / (100 - soc_percent)))

    @staticmethod
    def exported_wh_of(spare_wh: int) -> int:
        """What can be fed in and charged again where `spare_wh` can still be charged."""
        return spare_wh * ROUND_TRIP_PERMILLE // 1_000

    @staticmethod
    def charged_wh_of(fed_in_wh: int) -> int:
        """What has to be charged for so much that is fed in."""
        return fed_in_wh * 1_000 // ROUND_TRIP_PERMILLE

    @property
    def need(self) -> tuple[int, Source] | None:
        """The energy of the whole session, in Wh, and who says so."""
        expected_wh = None if self.forecast is None else self.forecast.need_wh
        return _first(self.session.need_wh, self.vehicle.need_wh, expected_wh)

    def departure(self, now_ms: int) -> tuple[int, Source] | None:
        """When it leaves, and who says so. A departure that has passed was not true."""
        expected_ms = None if self.forecast is None else self.forecast.departure_ms
        driver_ms, vehicle_ms = self.session.departure_ms, self.vehicle.departure_ms
        return _first(
            driver_ms if driver_ms is not None and driver_ms > now_ms else None,
            vehicle_ms if vehicle_ms is not None and vehicle_ms > now_ms else None,
            expected_ms if expected_ms is not None and expected_ms > now_ms else None,
        )

    def promised(self, now_ms: int) -> Promise | None:
        """What must be kept: need and departure by the driver's or the vehicle's word. None where
        one of them is only a guess, which promises nobody anything."""
        need, departure = self.need, self.departure(now_ms)
        if need is None or departure is None:
            return None
        if Source.FORECAST in (need[1], departure[1]):
            return None
        return Promise(need[0] - self.net_wh, departure[0])

    def energy_needed_wh(self) -> int | None:
        """What is still missing: of the need, and no more than fits into the battery."""
        need = self.need
        return None if need is None else self._missing_wh(need)

    def _missing_wh(self, need: tuple[int, Source]) -> int:
        missing_wh = max(0, need[0] - self.net_wh)
        if self.vehicle.capacity_wh is not None and self.soc_percent is not None:
            empty_wh = int(self.vehicle.capacity_wh * (100 - self.soc_percent) / 100)
            missing_wh = min(missing_wh, max(0, empty_wh))
        return missing_wh if self.left_wh is None else min(missing_wh, self.left_wh)

    def power_max_w(self, leaf: Leaf) -> int:
        """The most that the vehicle can take at this connector, as far as it said or showed."""
        vehicle, known = self.vehicle, self.behaviour.known
        power_w = leaf.power_max_w
        if not leaf.direct_current:
            conductors = len(leaf.phases)
            # Measured conductors count before those that were announced.
            used = min(known.phases or vehicle.phases or conductors, conductors)
            carried_ma = self.current_max_ma(leaf) * used
            power_w = power_w * carried_ma // (leaf.max_ma * conductors)
        for least_w in (known.power_max_w, vehicle.power_max_w):
            if least_w is not None:
                power_w = min(power_w, least_w)
        return power_w

    def current_min_ma(self, leaf: Leaf) -> int:
        """The least at which the vehicle begins: never below the connector's own minimum, for which
        the pilot signal has no word."""
        behaviour = self.behaviour
        # What only failed so far is not held against a vehicle that may wait of its own accord.
        start_ma = behaviour.start_ma if self.charging else (behaviour.known.start_ma or 0)
        # A vehicle that says it needs more than any is known to would only starve itself.
        said_ma = self.vehicle.current_min_ma
        if not (start_ma or said_ma) and leaf.min_ma <= leaf.max_ma:
            return leaf.min_ma
        learned_ma = min(max(start_ma, said_ma or 0), START_MAX_MA)
        return min(max(leaf.min_ma, learned_ma), leaf.max_ma)

    def tries_ma(self, leaf: Leaf) -> int | None:
        """The least that it may begin at after all, where what was learned of its driver's vehicle
        says that it does not: worth what nobody else can use. None where nothing is worth that."""
        if self.behaviour.known.faults or self.dormancy.declined:
            return None
        if self.holding and not self.dormancy.trying:
            return None
        tries_ma = max(leaf.min_ma, self.vehicle.current_min_ma or 0, self.behaviour.untried_ma)
        return tries_ma if tries_ma < self.current_min_ma(leaf) else None

    def current_max_ma(self, leaf: Leaf) -> int:
        """The most the vehicle takes per phase, by its own word."""
        said_ma = self.vehicle.current_max_ma
        if said_ma is None or leaf.direct_current:
            return leaf.max_ma
        return min(leaf.max_ma, max(said_ma, self.current_min_ma(leaf)))

    # --- who goes first ---------------------------------------------------------------------------

    def laxity_ms(self, leaf: Leaf, now_ms: int) -> int | None:
        """How long the session could wait at full power and still be ready; None where need or
        departure is unknown."""
        return self._urgency(leaf, now_ms)[0]

    def urgent(self, leaf: Leaf, now_ms: int) -> bool:
        """Whether it charges and will not be ready unless it gets nearly all it can take from now
        on, by what its driver or vehicle said."""
        if self.holding:
            return False
        laxity_ms, guessed = self._urgency(leaf, now_ms)
        return urgency_step(laxity_ms, forecast=guessed) <= URGENT_STEP_MAX

    def tier(self, leaf: Leaf) -> int:
        if self.holding and (self.satisfied or not self.dormancy.probed):
            return TIER_HOLDING
        if self.boosted:
            return TIER_BOOST
        return tier_of(self.priority(leaf), self.step)

    def priority(self, leaf: Leaf) -> int:
        """0 to 9, by its rule or its connector."""
        return leaf.priority if self.terms.priority is None else self.terms.priority

    def weight(self, leaf: Leaf) -> int:
        return leaf.weight if self.terms.weight is None else self.terms.weight

    @property
    def ceiling_ma(self) -> int | None:
        """What it may be given at most, by its token, rules, operators and others that limit its
        charger; None where they do not say."""
        if not (self.terms.may_charge and self.session.authorised):
            return 0
        override_ma, external_ma = self.override_ma, self.external_ma
        if override_ma is None or external_ma is None:
            return external_ma if override_ma is None else override_ma
        return min(override_ma, external_ma)

    @property
    def held_by(self) -> Cause:
        """Whose word its ceiling is."""
        if not self.session.authorised:
            return Cause.UNAUTHORISED
        if not self.terms.may_charge:
            return Cause.CLOSED
        if self.override_ma is not None and self.override_ma == self.ceiling_ma:
            return Cause.OVERRIDE
        return Cause.EXTERNAL

    def consider(self, leaf: Leaf, entry: Entry, *, now_ms: int, pace: Pace) -> bool:
        """Let time pass, once before each round; True if the vehicle is to be told anew."""
        behaviour = self.behaviour
        was = behaviour.nudge
        if min(entry.asked_ma or 0, entry.acknowledged_ma or 0) < 0:
            # Of how it charges nothing is learned meanwhile; who was full is so no longer.
            self._feeds(entry, now_ms=now_ms, pace=pace)
            self._see_urgency(leaf, now_ms)
            return False
        self._doze(leaf, entry, now_ms=now_ms, pace=pace)
        # Who stopped by itself was not put to sleep by a pause, though it was paused since.
        full = self.dormancy.stopped and (self.dormancy.asleep or self.dormancy.probed)
        lacks = not self.satisfied and not full
        changed = behaviour.consider(
            leaf,
            entry,
            willing=lacks and self.charging,
            declines=lacks and self.status is _SUSPENDED_EV,
            now_ms=now_ms,
            pace=pace,
        )
        self.left_wh = behaviour.left_wh(now_ms, pace)
        self._see_urgency(leaf, now_ms)
        return changed and was is not OFFER and behaviour.nudge is OFFER

    def _see_urgency(self, leaf: Leaf, now_ms: int) -> None:
        laxity_ms, guessed = self._urgency(leaf, now_ms)
        self._considered = (now_ms, laxity_ms)
        self.step = urgency_step(laxity_ms, forecast=guessed, before=self.step)

    def _feeds(self, entry: Entry, *, now_ms: int, pace: Pace) -> None:
        """See whether it feeds in what it was told to."""
        self.dormancy.wake()
        self.left_wh = None
        told_ma = -(entry.asked_ma or 0)
        settled_ms = entry.acknowledged_ms + 2 * pace.ramp_ms
        follows = entry.settling or entry.measured_ms < settled_ms
        if told_ma > 0 and not follows and entry.fed_ma * 100 < told_ma * 95:
            self.shown_feed_ma = entry.fed_ma + max(500, entry.fed_ma // 20)
            self._shown_ms = now_ms
        if now_ms - self._shown_ms >= pace.probe_ms:
            self.shown_feed_ma = None

    def spoke(self, before: Demand) -> None:
        """Its station, its driver or the vehicle said something since `before`."""
        session, earlier = self.session, before.session
        wants_more = (
            (session.need_wh != earlier.need_wh and not self.satisfied)
            or session.vehicle != earlier.vehicle
            or (session.boost_until_ms or 0) > (earlier.boost_until_ms or 0)
        )
        begins = session.charging and self.status is not _SUSPENDED_EVSE
        if begins or wants_more:
            self.dormancy.wake(probe=not self.charging)

    def _doze(self, leaf: Leaf, entry: Entry, *, now_ms: int, pace: Pace) -> None:
        """See whether it has stopped of its own accord."""
        offered_ma = min(entry.acknowledged_ma or 0, entry.asked_ma or 0)
        offered = entry.online and offered_ma >= self.current_min_ma(leaf)
        drawn_ma = entry.measured_ma or 0
        if self.idle_since_ms is not None and entry.measured_ms <= self.idle_since_ms:
            # What was measured before its station said that it stopped tells nothing any more.
            drawn_ma = 0
        takes = not entry.draining_ma and drawn_ma >= IDLE_MA
        draws, tried = offered and takes, not offered and offered_ma >= leaf.min_ma
        if takes and (draws or tried) and entry.measured_ms > entry.acknowledged_ms:
            self.dormancy.wake()
        self.dormancy.see_try(
            declines=tried and not takes and self.status is _SUSPENDED_EV,
            since_ms=entry.acknowledged_ms,
            now_ms=now_ms,
            pace=pace,
        )
        nudged = self.behaviour.nudge is not NOT_NUDGED
        self.dormancy.consider(
            idle=not self.charging,
            offered=offered and not draws and not nudged,
            stopped=self.behaviour.stopped,
            satisfied=self.satisfied,
            turn=self.turn,
            now_ms=now_ms,
            pace=pace,
        )

    def order(
        self, leaf: Leaf, now_ms: int, pace: Pace
    ) -> tuple[tuple[int, int, int], ConnectorKey]:
        """Sort key of admission within a tier: lowest first."""
        at_ms, laxity_ms = self._considered
        if at_ms != now_ms:
            laxity_ms = self.laxity_ms(leaf, now_ms)
        keep = self.behaviour.delicate
        return admission(self.turn, laxity_ms, now_ms=now_ms, pace=pace, keep=keep), leaf.key

    def differs(self, other: Demand) -> bool:
        """Whether another round could come out differently for it."""
        return (
            self.holding != other.holding
            or self.session.session_id != other.session.session_id
            or self.session.need_wh != other.session.need_wh
            or self.session.departure_ms != other.session.departure_ms
            or self.session.vehicle != other.session.vehicle
            or self.session.id_token != other.session.id_token
            or self.session.boost_until_ms != other.session.boost_until_ms
            or self.session.authorised != other.session.authorised
            or self.session.reserve_percent != other.session.reserve_percent
            or self.external_ma != other.external_ma
        )

    def _urgency(self, leaf: Leaf, now_ms: int) -> tuple[int | None, bool]:
        """The laxity, and whether it rests on a forecast."""
        need = self.need
        departure = None if need is None else self.departure(now_ms)
        if need is None or departure is None:
            return None, False
        power_w = self.power_max_w(leaf)
        if power_w <= 0:
            return None, False
        guessed = need[1] is Source.FORECAST or departure[1] is Source.FORECAST
        missing_ms = self._missing_wh(need) * MS_PER_HOUR // power_w
        return departure[0] - now_ms - missing_ms, guessed


def _first(
    driver: int | None, vehicle: int | None, forecast: int | None
) -> tuple[int, Source] | None:
    """The first that is known."""
    if driver is not None:
        return driver, Source.DRIVER
    if vehicle is not None:
        return vehicle, Source.VEHICLE
    return None if forecast is None else (forecast, Source.FORECAST)
