"""OCPP 2.1 to and from domain events and commands: the functional blocks of 2.0.1, and over them
what 2.1 changed or added. Use cases named here are those of OCPP 2.1 part 2."""

from __future__ import annotations

from typing import Final

from controlplane.ocpp.dialect import Dialect
from controlplane.ocpp.v21.battery_swap import BATTERY_SWAP
from controlplane.ocpp.v21.der import DER
from controlplane.ocpp.v21.event_streams import EVENT_STREAMS
from controlplane.ocpp.v21.payment import PAYMENT
from controlplane.ocpp.v21.smart_charging import SMART_CHARGING
from controlplane.ocpp.v21.tariff import TARIFFS
from controlplane.ocpp.v21.transactions import TRANSACTIONS
from controlplane.ocpp.v201 import BLOCKS as BLOCKS_201
from controlplane.ocpp.v201 import METER_SETTINGS
from controlplane.ocpp.v201.security import CERTIFICATE_CHAINS

__all__ = ["BLOCKS", "DIALECT_21"]

BLOCKS: Final = (
    *BLOCKS_201,
    BATTERY_SWAP,
    CERTIFICATE_CHAINS,
    DER,
    EVENT_STREAMS,
    PAYMENT,
    SMART_CHARGING,
    TARIFFS,
    TRANSACTIONS,
)


class Dialect21(Dialect):
    """Stations of 2.1 may feed in, and are asked to measure it."""

    measurands = (
        "Current.Import,Current.Export,Power.Active.Import,Power.Active.Export,"
        "Energy.Active.Import.Register,Energy.Active.Export.Register,SoC",
        *Dialect.measurands,
    )


DIALECT_21: Final = Dialect21("ocpp2.1", "OCPP 2.1", BLOCKS, METER_SETTINGS)
