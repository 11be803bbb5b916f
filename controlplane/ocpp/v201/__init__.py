"""OCPP 2.0.1 to and from domain events and commands.

Loadstar steers one connector per EVSE, so an event's `connector_id` is the EVSE number. Use cases
named here are those of OCPP 2.0.1 part 2. Every module is a functional block; 2.1 is made of the
same ones and more."""

from __future__ import annotations

from typing import Final

from controlplane.ocpp.dialect import Dialect, MeterSettings
from controlplane.ocpp.extensions import EXTENSIONS, data_transfer
from controlplane.ocpp.v201.authorization import AUTHORIZATION
from controlplane.ocpp.v201.availability import AVAILABILITY
from controlplane.ocpp.v201.charging_profiles import CHARGING_PROFILES
from controlplane.ocpp.v201.customer import CUSTOMER
from controlplane.ocpp.v201.device_model import DEVICE_MODEL
from controlplane.ocpp.v201.display import DISPLAY
from controlplane.ocpp.v201.firmware import FIRMWARE
from controlplane.ocpp.v201.local_list import LOCAL_LIST
from controlplane.ocpp.v201.network_profile import NETWORK_PROFILE
from controlplane.ocpp.v201.provisioning import PROVISIONING
from controlplane.ocpp.v201.remote_control import REMOTE_CONTROL
from controlplane.ocpp.v201.reservation import RESERVATION
from controlplane.ocpp.v201.security import SECURITY
from controlplane.ocpp.v201.smart_charging import SMART_CHARGING
from controlplane.ocpp.v201.transactions import TRANSACTIONS

__all__ = ["BLOCKS", "DIALECT_201", "METER_SETTINGS"]

BLOCKS: Final = (
    AUTHORIZATION,
    AVAILABILITY,
    DEVICE_MODEL,
    CHARGING_PROFILES,
    CUSTOMER,
    DISPLAY,
    NETWORK_PROFILE,
    FIRMWARE,
    LOCAL_LIST,
    PROVISIONING,
    REMOTE_CONTROL,
    RESERVATION,
    SECURITY,
    SMART_CHARGING,
    TRANSACTIONS,
    data_transfer(EXTENSIONS),
)

METER_SETTINGS: Final = MeterSettings(
    sampled="SampledDataCtrlr.TxUpdatedMeasurands",
    sampled_interval="SampledDataCtrlr.TxUpdatedInterval",
    aligned="AlignedDataCtrlr.Measurands",
    aligned_interval="AlignedDataCtrlr.Interval",
)

DIALECT_201: Final = Dialect("ocpp2.0.1", "OCPP 2.0.1", BLOCKS, METER_SETTINGS)
