"""OCPP 1.6J, with the security whitepaper's extensions, to and from domain events and commands.

Sections named here are those of the OCPP 1.6 edition 2 specification. Every module is a functional
block."""

from __future__ import annotations

from typing import Final

from controlplane.ocpp.dialect import Dialect, MeterSettings
from controlplane.ocpp.extensions import EXTENSIONS, data_transfer
from controlplane.ocpp.v16.authorization import AUTHORIZATION
from controlplane.ocpp.v16.availability import AVAILABILITY
from controlplane.ocpp.v16.customer import CUSTOMER
from controlplane.ocpp.v16.firmware import FIRMWARE
from controlplane.ocpp.v16.local_list import LOCAL_LIST
from controlplane.ocpp.v16.provisioning import PROVISIONING
from controlplane.ocpp.v16.remote_control import REMOTE_CONTROL
from controlplane.ocpp.v16.reservation import RESERVATION
from controlplane.ocpp.v16.security import SECURITY
from controlplane.ocpp.v16.smart_charging import SMART_CHARGING
from controlplane.ocpp.v16.transactions import TRANSACTIONS

__all__ = ["DIALECT_16"]

_BLOCKS: Final = (
    AUTHORIZATION,
    AVAILABILITY,
    CUSTOMER,
    FIRMWARE,
    LOCAL_LIST,
    PROVISIONING,
    REMOTE_CONTROL,
    RESERVATION,
    PROVISIONING,
    REMOTE_CONTROL,
    SECURITY,
    SMART_CHARGING,
    TRANSACTIONS,
    data_transfer(EXTENSIONS, text_only=True),
)

DIALECT_16: Final = Dialect(
    "ocpp1.6",
    "OCPP 1.6",
    _BLOCKS,
    MeterSettings(
        sampled="MeterValuesSampledData",
        sampled_interval="MeterValueSampleInterval",
        aligned="MeterValuesAlignedData",
        aligned_interval="ClockAlignedDataInterval",
    ),
)
