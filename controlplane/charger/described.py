"""A charger as its owner described it: what its actor is told by its site, and never by the
station."""

from __future__ import annotations

import msgspec

from controlplane.charger.messages import FeedInTerms
from controlplane.network import ChargerConfig, CurrentType, LimitUnit
from controlplane.tokens import Authorisation

__all__ = ["Described", "DescribedConnector"]


class DescribedConnector(msgspec.Struct, frozen=True, array_like=True):
    """A connector as its owner described it; `phases` is how many of its conductors are lines."""

    id: int
    phases: int
    current_max_ma: int


class Described(msgspec.Struct, frozen=True):
    """The part of `network.ChargerConfig` that the charger's actor lives by."""

    voltage_v: int
    unit: LimitUnit | None
    """None: as the charger reports it, else amperes."""
    offline_ma: int
    connectors: tuple[DescribedConnector, ...]
    efficiency_permille: int = 1_000
    """What reaches the vehicle of what is taken from the grid."""
    main_meter_interval_s: int | None = None
    """How often its main meter is wanted; None where nobody reads it."""
    authorisation: Authorisation | None = None
    """How its site authorises; None where nobody looks tokens up."""
    quirks: tuple[str, ...] = ()
    """Profiles that its owner named; empty: those that match what it says when it boots."""
    direct_current: bool = False
    feed_in: FeedInTerms | None = None
    """What drivers get for what is fed in."""

    @classmethod
    def of(
        cls,
        config: ChargerConfig,
        *,
        voltage_v: int,
        main_meter_interval_s: int | None = None,
        authorisation: Authorisation | None = None,
        feed_in: FeedInTerms | None = None,
    ) -> Described:
        return cls(
            voltage_v,
            config.limit_unit,
            config.offline_current_ma,
            tuple(
                DescribedConnector(connector.id, len(connector.phases), connector.current_max_ma)
                for connector in config.connectors
            ),
            config.efficiency_permille,
            main_meter_interval_s,
            authorisation,
            config.quirks,
            config.current_type is CurrentType.DC,
            feed_in,
        )

    def connector(self, connector_id: int) -> DescribedConnector | None:
        for connector in self.connectors:
            if connector.id == connector_id:
                return connector
        return None
