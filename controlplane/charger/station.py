"""What a station says, taken in event by event, and what it is answered.

The invariant: every event has an answer, whoever sends it and whatever is known of the charger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from controlplane.charger import bidirectional, costs, der_controls, event_streams, payments
from controlplane.charger.device import Device
from controlplane.charger.firmware import Firmware
from controlplane.charger.inventory import identity
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.reports import Reports
from controlplane.charger.reservations import Reservations
from controlplane.charger.settling import seconds
from controlplane.charger.smart_charging import SmartCharging
from controlplane.charger.token_check import TokenCheck
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.config import ActorSettings
from controlplane.ocpp import events
from controlplane.ocpp.battery_swap import BatterySwapped
from controlplane.ocpp.der import DerAlarmed, DerReported, DerStarted
from controlplane.ocpp.dialect import (
    Answer,
    BootAnswer,
    Done,
    TimeAnswer,
    TokenAnswer,
    TransferAnswer,
)
from controlplane.ocpp.event_streams import StreamClosed, StreamOpened, StreamValues
from controlplane.ocpp.events import ConnectorStatus, Event
from controlplane.ocpp.payment import Settled, VatNumberAsked
from controlplane.ocpp.reports import external_limits_reported
from controlplane.ocpp.v2x import PriorityNotified, ScheduleAsked
from controlplane.tokens import Purpose, TokenStatus

__all__ = ["Station"]

_PENDING_INTERVAL_MS: Final = 60_000
"""When a charger that belongs to nobody may ask again."""

_NOTICE_MAX_BYTES: Final = 8_192
"""Longest notice that is journalled whole; reports of a whole device model are longer."""


class Station:
    """The station's side of one charger's memory."""

    __slots__ = (
        "_device",
        "_firmware",
        "_memory",
        "_reports",
        "_reservations",
        "_settings",
        "_smart_charging",
        "_transactions",
        "boot_pending",
        "report_ended",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        settings: ActorSettings,
        transactions: Transactions,
        *,
        smart_charging: SmartCharging,
        reports: Reports,
        firmware: Firmware,
        reservations: Reservations,
        device: Device,
    ) -> None:
        self._device = device
        self.report_ended = False
        """The latest event completed the report that its set-up waits for."""
        self._memory = memory
        self._firmware = firmware
        self._settings = settings
        self._reservations = reservations
        self._transactions = transactions
        self._smart_charging = smart_charging
        self._reports = reports
        self.boot_pending = False
        """Its last boot was answered Pending."""

    def hear(self, turn: Turn, event: Event) -> Answer:
        """Take in an event; returned is what the station is answered."""
        take = _HEARD.get(type(event))
        if take is not None:
            return take(self, turn, event)
        return _TAKEN[type(event)](turn, self._memory, event)

    def _booted(self, turn: Turn, event: events.Booted) -> Answer:
        memory = self._memory
        before = identity(memory)
        known = (memory.vendor, memory.model, memory.serial_number)
        exchanged = any(known) and known != (event.vendor, event.model, event.serial_number)
        memory.vendor, memory.model = event.vendor, event.model
        memory.firmware, memory.serial_number = event.firmware, event.serial_number
        memory.share_words()
        memory.cleared &= not exchanged
        if memory.probing.booted(turn.now_ms, event.firmware):
            turn.deviation("boots_when_sampling_is_set")
        if exchanged:
            memory.forget_hardware()
        for connector in memory.connectors.values():
            # Profiles of transactions need not survive a reboot; none survives new hardware.
            connector.limit_ma = None
            if exchanged:
                connector.default_ma, connector.default_sent_ma = None, ()
                connector.plugs = {}
        if event.reason != "Triggered":
            self._smart_charging.booted(turn)
        turn.changed = True
        turn.emit(
            "charger.booted",
            vendor=event.vendor,
            model=event.model,
            firmware=event.firmware,
            serial_number=event.serial_number,
            reason=event.reason,
        )
        self._device.booted(turn, before)
        self._firmware.booted(turn)
        self.boot_pending = turn.site_id is None
        interval_ms = self._settings.heartbeat_interval_ms
        if self.boot_pending:
            interval_ms = min(interval_ms, _PENDING_INTERVAL_MS)
        return BootAnswer(not self.boot_pending, turn.now_ms, seconds(interval_ms))

    def _heartbeat(self, turn: Turn, _: events.Heartbeat) -> Answer:
        return TimeAnswer(turn.now_ms)

    def _status_changed(self, turn: Turn, event: events.StatusChanged) -> Answer:
        self._transactions.hear_clock(turn, event.at_ms)
        connector = self._memory.connector(event.connector_id)
        if connector is None:
            return Done()
        before = self._memory.status(connector.id)
        told = connector.plugs.get(event.plug)
        status = event.status
        if event.plug:
            status = connector.plugged(event.plug, event.status)
            turn.changed |= told is not event.status
        faulted = ConnectorStatus.FAULTED in connector.plugs.values()
        if status is ConnectorStatus.AVAILABLE and not faulted:
            self._device.alarms.available(turn, connector.id)
        same = (connector.status, connector.error_code) == (status, event.error_code)
        news = told is not event.status if event.plug else not same
        if news and (event.status is ConnectorStatus.FAULTED or event.error_code):
            turn.emit(
                "charger.fault",
                connector_id=connector.id,
                status=event.status.value,
                error_code=event.error_code,
                vendor_error_code=event.vendor_error_code,
                info=event.info,
            )
        if same:
            return Done()
        connector.status, connector.error_code = status, event.error_code
        turn.changed = True
        self._reservations.status_changed(turn, connector.id, before, status)
        self._transactions.sessions.status_changed(turn, connector, status)
        turn.emit(
            "connector.status",
            connector_id=connector.id,
            status=status.value,
            before=None if before is None else before.value,
            error_code=event.error_code,
        )
        self._transactions.sessions.tell_state(turn, connector.id)
        return Done()

    def _authorize(self, turn: Turn, event: events.Authorize) -> Answer:
        """A charger that belongs to nobody serves nobody; else the token is looked up. Of a
        contract whose certificate is to be verified here (C07) nothing is believed: no authority
        of contracts is known, and a name alone is no proof."""
        if event.unproven:
            turn.emit("token.contract_unproven", id_token=event.id_token)
            return TokenAnswer(TokenStatus.INVALID, certificate_status="CertChainError")
        if turn.site_id is not None:
            tariff = costs.driver_tariff(self._memory, event.id_token)
            return TokenCheck(event.id_token, Purpose.AUTHORIZE, tariff=tariff)
        status = TokenStatus.INVALID
        turn.emit("token.authorised", id_token=event.id_token, status=status.value)
        return TokenAnswer(status)

    def _metered(self, turn: Turn, event: events.MeterReported) -> Answer:
        self._transactions.metered(turn, event)
        return Done()

    def _started(self, turn: Turn, event: events.TransactionStarted) -> Answer:
        call = turn.call
        message = "" if call is None else f"{call.connection}/{call.message_id}"
        answer = self._transactions.started(turn, event, message=message)
        costs.detailed(turn, self._memory, event)
        if event.reservation_number is not None:
            self._reservations.named(turn, event.reservation_number, event.connector_id)
        return answer

    def _updated(self, turn: Turn, event: events.TransactionUpdated) -> Answer:
        answer = self._transactions.updated(turn, event)
        costs.detailed(turn, self._memory, event)
        if event.reservation_number is not None:
            self._reservations.named(turn, event.reservation_number, event.connector_id or 0)
        return answer

    def _reservation_updated(self, turn: Turn, event: events.ReservationUpdated) -> Answer:
        self._reservations.told(turn, event.number, event.status)
        return Done()

    def _ended(self, turn: Turn, event: events.TransactionEnded) -> Answer:
        answer = self._transactions.ended(turn, event)
        costs.detailed(turn, self._memory, event)
        return answer

    def _needs_notified(self, turn: Turn, event: events.ChargingNeedsNotified) -> Answer:
        return self._transactions.needs.notified(turn, event)

    def _priority_notified(self, turn: Turn, event: PriorityNotified) -> Answer:
        self._transactions.needs.prioritise(turn, event.transaction_id, active=event.active)
        return Done()

    def _data_transferred(self, turn: Turn, event: events.DataTransferred) -> Answer:
        """1.6 section 4.3, 2.x P02.FR.03 to 06."""
        note = {"vendor_id": event.vendor_id, "message_id": event.message_id, "data": event.data}
        self._note(turn, "DataTransfer", note)
        if event.meaning is not None:
            answer = self.hear(turn, event.meaning)
            return TransferAnswer("Accepted", event.vendor_id, event.message_id, answer)
        if event.message_known:
            return TransferAnswer("Rejected")
        return TransferAnswer("UnknownMessageId" if event.vendor_known else "UnknownVendorId")

    def _unplugged(self, turn: Turn, event: events.VehicleUnplugged) -> Answer:
        session = self._transactions.sessions.find(event.transaction_id)
        turn.emit(
            "connector.unplugged",
            connector_id=None if session is None else session.connector_id,
            session_id=None if session is None else session.session_id,
            transaction_id=event.transaction_id,
            at_ms=event.at_ms,
        )
        return Done()

    def _limit_notified(self, turn: Turn, event: events.ChargingLimitNotified) -> Answer:
        return self._smart_charging.limit_notified(turn, event)

    def _limit_cleared(self, turn: Turn, event: events.ChargingLimitCleared) -> Answer:
        return self._smart_charging.limit_cleared(turn, event)

    def _schedule_notified(self, turn: Turn, event: events.VehicleScheduleNotified) -> Answer:
        return self._smart_charging.schedule_notified(turn, event)

    def _reported(self, turn: Turn, event: events.ReportReceived) -> Answer:
        self._reports.part(turn, event)
        if event.action == "ReportChargingProfiles":
            for limit in external_limits_reported(event.data):
                self._smart_charging.limit_reported(turn, limit)
        return Done()

    def _variables_reported(self, turn: Turn, event: events.VariablesReported) -> Answer:
        self.report_ended = self._device.inventory.variables(turn, event)
        return Done()

    def _monitors_reported(self, turn: Turn, event: events.MonitorsReported) -> Answer:
        self._device.inventory.monitors(turn, event)
        return Done()

    def _variables_noticed(self, turn: Turn, event: events.VariablesNoticed) -> Answer:
        for status in self._device.alarms.noticed(turn, event):
            self._status_changed(turn, status)
        return Done()

    def _firmware_progressed(self, turn: Turn, event: events.FirmwareProgress) -> Answer:
        self._firmware.update_progressed(turn, event)
        return Done()

    def _firmware_published(self, turn: Turn, event: events.FirmwarePublished) -> Answer:
        self._firmware.published(turn, event)
        return Done()

    def _log_progressed(self, turn: Turn, event: events.LogProgress) -> Answer:
        self._firmware.log_progressed(turn, event)
        return Done()

    def _noted(self, turn: Turn, event: events.Noted) -> Answer:
        self._note(turn, event.kind, event.data)
        return Done()

    def _note(self, turn: Turn, action: str, data: dict[str, Any]) -> None:
        size = len(msgspec.json.encode(data))
        if size > _NOTICE_MAX_BYTES:
            data = {"left_out_bytes": size}
        turn.emit("charger.notice", action=action, data=data)


_HEARD: Final[dict[type[Event], Callable[[Station, Turn, Any], Answer]]] = {
    events.Authorize: Station._authorize,
    events.Booted: Station._booted,
    events.ChargingLimitCleared: Station._limit_cleared,
    events.ChargingLimitNotified: Station._limit_notified,
    events.ChargingNeedsNotified: Station._needs_notified,
    events.DataTransferred: Station._data_transferred,
    events.FirmwareProgress: Station._firmware_progressed,
    events.FirmwarePublished: Station._firmware_published,
    events.Heartbeat: Station._heartbeat,
    events.LogProgress: Station._log_progressed,
    events.MeterReported: Station._metered,
    events.MonitorsReported: Station._monitors_reported,
    events.Noted: Station._noted,
    events.ReportReceived: Station._reported,
    events.ReservationUpdated: Station._reservation_updated,
    events.StatusChanged: Station._status_changed,
    events.TransactionEnded: Station._ended,
    events.TransactionStarted: Station._started,
    events.TransactionUpdated: Station._updated,
    events.VariablesNoticed: Station._variables_noticed,
    events.VariablesReported: Station._variables_reported,
    events.VehicleScheduleNotified: Station._schedule_notified,
    PriorityNotified: Station._priority_notified,
    events.VehicleUnplugged: Station._unplugged,
}

_TAKEN: Final[dict[type[Event], Callable[[Turn, ChargerMemory, Any], Answer]]] = {
    BatterySwapped: payments.swapped,
    DerAlarmed: der_controls.alarmed,
    DerReported: der_controls.reported,
    DerStarted: der_controls.started,
    ScheduleAsked: bidirectional.schedule_asked,
    Settled: payments.settled,
    StreamClosed: event_streams.closed,
    StreamOpened: event_streams.opened,
    StreamValues: event_streams.valued,
    VatNumberAsked: payments.vat_number_asked,
}
"""What concerns the charger's memory alone."""
