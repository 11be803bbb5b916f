"""One charger's socket in the gateway: what is unanswered in each direction, without IO.

Invariant: at most one CALL is unanswered in each direction (OCPP-J 1.6 section 4.1.1, 2.x part 4
section 4.1.1). What a station sends meanwhile waits here, in order and bounded; a CALL of the
station is kept until it is answered, so that it can be delivered again to the next host."""

from __future__ import annotations

from collections import defaultdict, deque
from typing import TYPE_CHECKING

from controlplane.ids import ActorKind, ChargerId, SiteId, shard_of
from controlplane.runtime.wire import Admitted, CallOfStation, ToStation

if TYPE_CHECKING:
    from controlplane.runtime.station_socket import StationSocket

__all__ = ["CALLS_WAITING_MAX", "Station"]

CALLS_WAITING_MAX = 64
"""CALLs that a station may have sent ahead; beyond them its socket is not read."""
COMMANDS_WAITING_MAX = 64
FRAMES_PER_S = 100.0
FRAMES_BURST = 5_000.0
"""An offline charger replays thousands of messages at once; only a flood lasts."""


_FAULTS_S = 60.0
_FAULTS_LOGGED = 60
_ANYBODY = Admitted()


class Station:
    """State of one connection. `remote` is the peer's address for logs."""

    __slots__ = (
        "_budget",
        "_budget_at_s",
        "_calls",
        "_commands",
        "_logged",
        "_logged_at_s",
        "admitted",
        "called_at_s",
        "calls_counted",
        "charger_id",
        "command",
        "commanded_at_s",
        "connection",
        "pending",
        "remote",
        "shard",
        "site_id",
        "socket",
        "traced",
        "version",
    )

    def __init__(
        self,
        *,
        charger_id: ChargerId,
        site_id: SiteId | None,
        connection: str,
        version: str,
        remote: str,
        socket: StationSocket | None = None,
        admitted: Admitted = _ANYBODY,
        calls_counted: defaultdict[str, int] | None = None,
        traced: bool = False,
    ) -> None:
        self.charger_id = charger_id
        self.connection = connection
        self.version = version
        self.remote = remote
        self.socket = socket
        """None once it has closed."""
        self.admitted = admitted
        self.traced = traced
        """Whether everything that it says is traced."""
        self.calls_counted = defaultdict(int) if calls_counted is None else calls_counted
        """CALLs by action, together with those of others."""
        self.pending: CallOfStation | None = None
        self.called_at_s = 0.0
        self.command: ToStation | None = None
        self.commanded_at_s = 0.0
        self._calls: deque[CallOfStation] | None = None
        self._commands: deque[ToStation] | None = None
        self._budget = FRAMES_BURST
        self._budget_at_s = 0.0
        self._logged = 0
        self._logged_at_s = 0.0
        self.site_id: SiteId | None
        self.shard: int
        self.belongs_to(site_id)

    def belongs_to(self, site_id: SiteId | None) -> None:
        """The directory's word on where the charger lives."""
        self.site_id = site_id
        self.shard = shard_of(ActorKind.CHARGER, self.charger_id, site_id=site_id)

    @property
    def ahead(self) -> int:
        """CALLs that the station sent before their turn."""
        return 0 if self._calls is None else len(self._calls)

    @property
    def crowded(self) -> bool:
        """Whether the station sent ahead as much as is kept."""
        return self._calls is not None and len(self._calls) >= CALLS_WAITING_MAX

    def overdrawn_s(self, now_s: float) -> float:
        """Count one frame; how long to leave the socket unread, 0 nearly always."""
        budget = self._budget + (now_s - self._budget_at_s) * FRAMES_PER_S - 1.0
        self._budget = min(budget, FRAMES_BURST)
        self._budget_at_s = now_s
        return 0.0 if budget >= 0 else -budget / FRAMES_PER_S

    def may_be_logged(self, now_s: float) -> bool:
        """Whether one more of its faults gets a line in the log: a station that sends nothing else
        would fill it."""
        if now_s - self._logged_at_s > _FAULTS_S:
            self._logged, self._logged_at_s = 0, now_s
        self._logged += 1
        return self._logged <= _FAULTS_LOGGED

    def called(self, call: CallOfStation, now_s: float) -> bool:
        """The station sent a CALL; whether it may go to the host now."""
        if self.pending is None:
            self.pending = call
            self.called_at_s = now_s
            return True
        if self._calls is None:
            self._calls = deque()
        self._calls.append(call)
        return False

    def answered(self, now_s: float) -> CallOfStation | None:
        """The pending CALL is over; the next one, which is pending now."""
        self.pending = self._calls.popleft() if self._calls else None
        if not self._calls:
            self._calls = None
        self.called_at_s = now_s
        return self.pending

    def commanded(self, command: ToStation, now_s: float) -> bool | None:
        """The host sends a CALL; whether it may go out now, None where too many wait."""
        if self.command is None:
            self.command = command
            self.commanded_at_s = now_s
            return True
        if self._commands is None:
            self._commands = deque()
        if len(self._commands) >= COMMANDS_WAITING_MAX:
            return None
        self._commands.append(command)
        return False

    def replied(self, now_s: float) -> ToStation | None:
        """Our CALL is over; the next one, which is on its way now."""
        self.command = self._commands.popleft() if self._commands else None
        if not self._commands:
            self._commands = None
        self.commanded_at_s = now_s
        return self.command

    def forget_commands(self) -> None:
        """The host that wanted to send them is gone. The one that was sent stays: the station will
        answer it."""
        self._commands = None
