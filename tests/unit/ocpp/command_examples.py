"""Every command there is, as small and as large as it comes."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from controlplane.charging_tariff import EnergyPrice, Tariff
from controlplane.ocpp import commands, der
from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.commands import (
    AccessPoint,
    AnyCommand,
    CustomerCertificate,
    DisplayMessage,
    DisplayPriority,
    DisplayState,
    LimitPurpose,
    MessageContent,
    ProfilePurpose,
    TextFormat,
    VirtualNetwork,
)
from controlplane.ocpp.event_streams import StreamRate
from controlplane.ocpp.v2x import (
    EnergyTransfer,
    PhaseValues,
    PowerProfile,
    PowerPurpose,
    ProfileKind,
    ScheduleValues,
    SetpointPeriod,
)
from controlplane.tokens import TokenStatus, TokenType

__all__ = ["EXAMPLES"]

_AT_MS = 1_704_067_200_000
_CERTIFICATE = CustomerCertificate("SHA256", "a" * 64, "b" * 64, "01")

_OF_ALL: Sequence[AnyCommand] = (
    commands.RemoteStart(connector_id=None, id_token="TAG"),
    commands.RemoteStart(connector_id=2, id_token="T" * 20, remote_start_id=2**31 - 1),
    commands.RemoteStop("7"),
    commands.Reset(),
    commands.Reset(hard=True),
    commands.UnlockConnector(1),
    commands.ClearLimit(1, commands.LimitPurpose.DEFAULT),
    commands.ClearProfile(500),
    commands.SetProfile(
        0,
        commands.ChargingProfile(
            500,
            commands.ProfilePurpose.DEFAULT,
            commands.ScheduleKind.DAILY,
            "A",
            (commands.LimitPeriod(16), commands.LimitPeriod(8.09, 3_600, 1)),
            stack_level=1,
            start_ms=_AT_MS,
        ),
    ),
    commands.GetBaseReport(request_id=1),
    commands.ChangeAvailability(0, operative=False),
    commands.ChangeAvailability(2, operative=True),
    commands.Trigger("Heartbeat"),
    commands.Trigger("StatusNotification", 2),
    commands.Trigger("MeterValues", 1),
    commands.Trigger("LogStatusNotification"),
    commands.Trigger("SignChargingStationCertificate"),
    commands.Trigger("FirmwareStatusNotification"),
    commands.GetSettings(("SampledDataCtrlr.TxUpdatedInterval", "A.B[1]")),
    commands.SetSettings({"A.B": "1", "C[x].D[y]": "2"}),
    *(commands.SetLimit(2, purpose, 13_990, 9_653, "A", 3, "7") for purpose in LimitPurpose),
    *(commands.SetLimit(2, purpose, 13_990, 9_653, "W", 1, "7") for purpose in LimitPurpose),
    *(commands.ClearLimits(purpose) for purpose in LimitPurpose),
    commands.GetCompositeSchedule(0, 60),
    commands.GetCompositeSchedule(1, 86_400, "W"),
    commands.UpdateCost("7", Decimal("7.42"), meter_wh=1_000),
    commands.UpdateCost(
        "7", Decimal(0), idle=True, price_per_kwh=Decimal("0.35"), price_per_hour=Decimal(2)
    ),
    commands.TransferData("com.example"),
    commands.TransferData("com.example", "Message", {"a": [1, None]}),
    commands.UpdateFirmware(
        request_id=1,
        location="https://files.example/f.bin",
        retrieve_ms=_AT_MS,
        install_ms=_AT_MS,
        retries=3,
        retry_interval_s=60,
        signing_certificate="-----BEGIN CERTIFICATE-----",
        signature="c2lnbmF0dXJl",
    ),
    *(
        commands.GetLog(kind=kind, request_id=1, location="https://files.example")
        for kind in commands.LogKind
    ),
    commands.GetListVersion(),
    commands.SendList(1, full=True),
    commands.SendList(
        2**31 - 1,
        full=False,
        entries=(
            *(commands.ListEntry("T", status=status) for status in TokenStatus),
            *(commands.ListEntry("T", type=each, expires_ms=_AT_MS) for each in TokenType),
            commands.ListEntry("T" * 255, status=None),
            commands.ListEntry("T", status=None),
            commands.ListEntry("T", group_id="G" * 255, language="x" * 9, message="x" * 1_024),
        ),
    ),
    commands.ClearCache(),
    commands.ReserveNow(1, 0, "TAG", _AT_MS),
    commands.ReserveNow(2**31 - 1, 2, "TAG", _AT_MS, TokenType.EMAID, "G" * 255),
    commands.CancelReservation(1),
    commands.CertificateSigned("-----BEGIN CERTIFICATE-----"),
    commands.InstallCertificate("CSMSRootCertificate", "-----BEGIN CERTIFICATE-----"),
    commands.DeleteCertificate(CertificateHash("SHA256", "a" * 64, "b" * 64, "01")),
    commands.GetInstalledCertificates(),
    commands.GetInstalledCertificates(("ManufacturerRootCertificate",)),
    commands.SetPassword("0" * 40),
)
"""Said in every version."""

_OF_16: Sequence[AnyCommand] = (
    commands.GetSettings(),
    commands.Trigger("DiagnosticsStatusNotification"),
    commands.Trigger("SignedFirmwareStatusNotification"),
    commands.Trigger("SignChargePointCertificate"),
    commands.UpdateFirmware(request_id=1, location="ftp://files.example/f.bin", retrieve_ms=_AT_MS),
)

_OF_2X: Sequence[AnyCommand] = (
    commands.Reset(connector_id=1),
    commands.Trigger("TransactionEvent", 1),
    commands.Trigger("SignV2GCertificate"),
    commands.Trigger("SignCombinedCertificate"),
    commands.Trigger("PublishFirmwareStatusNotification"),
    commands.SetDisplayMessage(
        DisplayMessage(0, DisplayPriority.NORMAL_CYCLE, MessageContent("Welcome"))
    ),
    *(
        commands.SetDisplayMessage(
            DisplayMessage(
                message_id=7,
                priority=priority,
                content=MessageContent("W" * 512, text_format, "de-AT"),
                state=state,
                start_ms=_AT_MS,
                end_ms=_AT_MS + 60_000,
                transaction_id="f3a1",
                display="Display",
                connector_id=2,
            )
        )
        for priority, text_format, state in (
            (DisplayPriority.ALWAYS_FRONT, TextFormat.ASCII, DisplayState.CHARGING),
            (DisplayPriority.IN_FRONT, TextFormat.HTML, DisplayState.FAULTED),
            (DisplayPriority.NORMAL_CYCLE, TextFormat.URI, DisplayState.IDLE),
            (DisplayPriority.NORMAL_CYCLE, TextFormat.UTF8, DisplayState.UNAVAILABLE),
        )
    ),
    commands.GetDisplayMessages(1),
    commands.GetDisplayMessages(
        2, message_ids=(1, 2), priority=DisplayPriority.IN_FRONT, state=DisplayState.IDLE
    ),
    commands.ClearDisplayMessage(7),
    commands.GetCustomerInformation(1, report=True, clear=False, id_token="TAG"),
    commands.GetCustomerInformation(2, report=False, clear=True, customer_identifier="c" * 64),
    commands.GetCustomerInformation(3, report=True, clear=True, certificate=_CERTIFICATE),
    commands.GetTransactionStatus(),
    commands.GetTransactionStatus("f3a1"),
    commands.SetNetworkProfile(1, "wss://csms.example/ocpp", 30, 2),
    commands.SetNetworkProfile(
        slot=0,
        url="ws://192.0.2.1",
        message_timeout_s=1,
        security_profile=0,
        interface="Wireless3",
        ocpp_version="1.6",
        access_point=AccessPoint("apn", "chap", "user", "word", 1234, "23201", True),
        virtual_network=VirtualNetwork("ikev2", "vpn.example", "user", "word", "key", "group"),
    ),
    commands.PublishFirmware(
        request_id=1, location="https://files.example/f.bin", checksum="0" * 32
    ),
    commands.UnpublishFirmware("0" * 32),
    *(commands.GetBaseReport(base, 1) for base in ("configuration", "summary")),
    commands.GetReport(
        criteria=("Active", "Available", "Enabled", "Problem"),
        keys=("EVSE", "Connector[a]{1.2}.Power[b]"),
        request_id=2,
    ),
    commands.GetMonitoringReport(request_id=3),
    commands.GetMonitoringReport(
        criteria=("ThresholdMonitoring", "DeltaMonitoring", "PeriodicMonitoring"),
        keys=("EVSE{1}.Power",),
        request_id=4,
    ),
    commands.SetVariableMonitoring(
        (
            commands.MonitorWanted("EVSE{1}.Power", "UpperThreshold", 1.5, 0),
            commands.MonitorWanted("EVSE.Power", "PeriodicClockAligned", 60, 9, True, 7),
        )
    ),
    commands.ClearVariableMonitoring((1, 2)),
    *(commands.SetMonitoringBase(base) for base in ("all", "factory", "hard_wired")),
    commands.SetMonitoringLevel(9),
    commands.GetChargingProfiles(1),
    *(
        commands.GetChargingProfiles(
            2,
            connector_id=0,
            purpose=purpose,
            stack_level=1,
            profile_ids=(1, 2),
            sources=("CSO", "EMS"),
        )
        for purpose in ProfilePurpose
        if purpose not in {ProfilePurpose.LOCAL_GENERATION, ProfilePurpose.PRIORITY}
    ),
)

_CURVE = der.DerCurve(points=((92.0, 44.0), (108.0, -44.0)), y_unit=der.DerUnit.PCT_MAX_VAR)
_TARIFF = Tariff("T", "EUR", energy=(EnergyPrice(Decimal("0.39")),))
_POWER = ScheduleValues(limit=PhaseValues(11_000.0), discharge_limit=PhaseValues(-5_000.0))

_OF_21: Sequence[AnyCommand] = (
    commands.Trigger("CustomTrigger", custom="SelfTest"),
    commands.Reset(hard=True, connector_id=1, resume=True),
    commands.SetVariableMonitoring(
        (commands.MonitorWanted("EVSE.Power", "TargetDelta", 1, 0, stream=StreamRate(5, 10)),)
    ),
    commands.AllowEnergyTransfer("f3a1", tuple(EnergyTransfer)),
    commands.SendFrequencySignal(_AT_MS, -3),
    commands.SetPowerProfile(
        1,
        PowerProfile(
            500,
            PowerPurpose.TRANSACTION,
            ProfileKind.DYNAMIC,
            "W",
            (SetpointPeriod(_POWER),),
            transaction_id="f3a1",
            update_interval_s=60,
        ),
    ),
    commands.UpdateSchedule(500, _POWER),
    commands.UsePriority("f3a1", active=True),
    commands.SetDerControl("c" * 36, der.DerKind.VOLT_VAR, True, _CURVE),
    commands.SetDerControl("g", der.DerKind.GRADIENTS, True, der.Gradient()),
    commands.GetDerControls(1),
    commands.GetDerControls(1, True, der.DerKind.VOLT_VAR, "c"),
    commands.ClearDerControl(is_default=True),
    commands.SetDefaultTariff(0, _TARIFF),
    commands.GetTariffs(),
    commands.ClearTariffs(),
    commands.ClearTariffs(("T",), 1),
    commands.ChangeTransactionTariff("f3a1", _TARIFF),
    commands.GetStreams(),
    commands.AdjustStream(7, StreamRate(60, 10)),
    commands.RequestBatterySwap("TAG", request_id=1),
    commands.NotifyWebPayment(1, 120),
)

EXAMPLES: dict[str, Sequence[AnyCommand]] = {
    "ocpp1.6": (*_OF_ALL, *_OF_16),
    "ocpp2.0.1": (*_OF_ALL, *_OF_2X),
    "ocpp2.1": (*_OF_ALL, *_OF_2X, *_OF_21),
}
"""By version; what a version does not say is not there."""
