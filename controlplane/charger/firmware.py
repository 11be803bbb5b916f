"""How far an update of the station's firmware and the upload of its log have come.

Invariant: the status kept is the station's last word on the request that Loadstar made last; the
campaign that wanted an update hears of every change exactly as it is kept. A station that was
updated says so when it boots with the version that was wanted, even if it never sent a status.

A campaign's order is written down before it is sent. Where its answer was lost, with the connection
or with a host, the station is asked how far it is before it is told again: told twice it might
begin a download anew, or install what it has installed. Only one that cannot be asked is told
again."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.actor import Send
from controlplane.campaign.messages import UpdateDeferred, UpdateProgress
from controlplane.charger.memory import ChargerMemory, FirmwareUpdate, LogUpload
from controlplane.charger.messages import UpdateWanted
from controlplane.charger.turn import Turn
from controlplane.ids import ActorKind, ActorRef
from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.firmware import LOG_ENDED, UPDATE_ENDED

__all__ = ["Firmware"]

INSTALLED: Final = "Installed"
_IDLE: Final = "Idle"
_STATUS_MESSAGE: Final = "FirmwareStatusNotification"
_UNANSWERED: Final = frozenset({CommandState.OFFLINE, CommandState.TIMED_OUT})
_STATUS_MAX: Final = 64


class Firmware:
    """The part of a charger's memory that is about its firmware and its logs."""

    __slots__ = ("_memory", "_under_way")

    def __init__(self, memory: ChargerMemory) -> None:
        self._memory = memory
        self._under_way = False
        """Whether a campaign's order waits for its turn or for its answer."""

    def asked(
        self, turn: Turn, command: commands.Command, result: CommandResult, *, sent: bool
    ) -> None:
        """The station has answered to a command about its firmware or a log, or will not any
        more."""
        match command:
            case commands.Trigger(message=message) if message == _STATUS_MESSAGE:
                if result.state in {CommandState.REJECTED, CommandState.ERROR}:
                    self._order_over(turn)
            case commands.UpdateFirmware():
                self._under_way &= not command.campaign_id
                if not sent or result.state not in _UNANSWERED:
                    self._order_over(turn)
                if result.state is CommandState.ACCEPTED:
                    self._memory.firmware_update = _update_of(command, turn.now_ms)
                    self._update(turn, "Accepted")
                elif command.campaign_id:
                    self._not_taken(turn, command, result)
            case commands.GetLog() if result.state is CommandState.ACCEPTED:
                name = result.payload.get("filename") or result.payload.get("fileName") or ""
                self._memory.log_upload = LogUpload(
                    command.request_id, command.kind, str(name)[:255], turn.now_ms
                )
                self._log(turn, "Accepted")

    def wanted(
        self, turn: Turn, wanted: UpdateWanted, *, online: bool
    ) -> commands.UpdateFirmware | commands.Trigger | None:
        """What the station is to be told now for a campaign's update; where that is not the update,
        the campaign is told why, or how far it is already."""
        update, command = self._memory.firmware_update, wanted.command
        ordered = self._memory.update_ordered
        if (
            update is not None
            and update.request_id == command.request_id
            and not (update.ended_ms is not None and update.status != INSTALLED)
        ):
            ended = update.ended_ms is not None
            self._tell(turn, command.campaign_id, update.request_id, update.status, ended=ended)
        elif self._under_way:
            # What comes of it is told when it comes.
            return None
        elif not online:
            self._defer(turn, command, "Offline")
        elif ordered is not None and ordered.request_id == command.request_id:
            self._defer(turn, command, "NoAnswer")
            return commands.Trigger(_STATUS_MESSAGE)
        elif wanted.only_idle and any(self._memory.open_sessions()):
            self._defer(turn, command, "Busy")
        else:
            self._memory.update_ordered = _update_of(command, turn.now_ms)
            self._under_way = turn.changed = True
            return command
        return None

    def unspeakable(self, turn: Turn, command: commands.UpdateFirmware, reason: str) -> None:
        """The station's version cannot be told this."""
        self._under_way = False
        self._order_over(turn)
        self._tell(turn, command.campaign_id, command.request_id, reason, ended=True)

    def _not_taken(
        self, turn: Turn, command: commands.UpdateFirmware, result: CommandResult
    ) -> None:
        if result.state in _UNANSWERED:
            self._defer(turn, command, "NoAnswer")
            return
        status = result.status or result.error_code or result.state.value
        self._tell(turn, command.campaign_id, command.request_id, status, ended=True)

    def _defer(self, turn: Turn, command: commands.UpdateFirmware, reason: str) -> None:
        deferred = UpdateDeferred(turn.charger_id, command.request_id, reason)
        turn.effects.append(Send(ActorRef(ActorKind.CAMPAIGN, command.campaign_id), deferred))

    def update_progressed(self, turn: Turn, event: events.FirmwareProgress) -> None:
        """A status of an update. Idle, which is an answer to a trigger, ends nothing, and says that
        what was ordered without an answer did not come to the station."""
        if event.status != _IDLE:
            self._was_taken(event.request_id)
        elif not self._under_way:
            self._order_over(turn)
        update = self._memory.firmware_update
        turn.emit(
            "charger.firmware",
            status=event.status,
            request_id=event.request_id,
            version=None if update is None else update.version,
        )
        if update is None or event.status in {_IDLE, update.status}:
            return
        if event.request_id is not None and event.request_id != update.request_id:
            return
        if update.ended_ms is None:
            self._update(turn, event.status)

    def published(self, turn: Turn, event: events.FirmwarePublished) -> None:
        """A local controller tells how far it is."""
        turn.emit("charger.firmware_published", **msgspec.to_builtins(event))

    def log_progressed(self, turn: Turn, event: events.LogProgress) -> None:
        """A status of an upload."""
        upload = self._memory.log_upload
        turn.emit("charger.log", status=event.status, request_id=event.request_id)
        if upload is None or event.status in {_IDLE, upload.status} or upload.ended_ms is not None:
            return
        if event.request_id is None or event.request_id == upload.request_id:
            self._log(turn, event.status)

    def booted(self, turn: Turn) -> None:
        """The station has started, perhaps with what was wanted."""
        ordered = self._memory.update_ordered
        if ordered is not None and ordered.version and ordered.version == self._memory.firmware:
            self._was_taken(None)
        update = self._memory.firmware_update
        if (
            update is not None
            and update.ended_ms is None
            and update.version
            and update.version == self._memory.firmware
        ):
            self._update(turn, INSTALLED)

    def _was_taken(self, request_id: int | None) -> None:
        """The station tells of an update: of the one that was ordered, where that has no answer."""
        ordered = self._memory.update_ordered
        if ordered is None or self._under_way:
            return
        if request_id in {None, ordered.request_id}:
            self._memory.firmware_update, self._memory.update_ordered = ordered, None

    def _order_over(self, turn: Turn) -> None:
        """What became of the order is known."""
        if self._memory.update_ordered is not None:
            self._memory.update_ordered = None
            turn.changed = True

    def _update(self, turn: Turn, status: str) -> None:
        update = self._memory.firmware_update
        assert update is not None, "there is an update to tell of"
        update.status, update.changed_ms = status[:_STATUS_MAX], turn.now_ms
        if status in UPDATE_ENDED:
            update.ended_ms = turn.now_ms
        turn.changed = True
        if update.campaign_id:
            ended = update.ended_ms is not None
            self._tell(turn, update.campaign_id, update.request_id, update.status, ended=ended)

    def _log(self, turn: Turn, status: str) -> None:
        upload = self._memory.log_upload
        assert upload is not None, "there is an upload to tell of"
        upload.status, upload.changed_ms = status[:_STATUS_MAX], turn.now_ms
        if status in LOG_ENDED:
            upload.ended_ms = turn.now_ms
        turn.changed = True

    def _tell(
        self, turn: Turn, campaign_id: str, request_id: int, status: str, *, ended: bool
    ) -> None:
        progress = UpdateProgress(turn.charger_id, request_id, status, ended, status == INSTALLED)
        turn.effects.append(Send(ActorRef(ActorKind.CAMPAIGN, campaign_id), progress))


def _update_of(command: commands.UpdateFirmware, now_ms: int) -> FirmwareUpdate:
    return FirmwareUpdate(
        request_id=command.request_id,
        version=command.version,
        campaign_id=command.campaign_id,
        asked_ms=now_ms,
    )
