"""What a charger's meters say: each reading kept once, its session's energy counted, its site told.

The invariants: a reading that is repeated leaves one sample; what is told to the site is never
older than what it was told before; what is measured for no known session is kept all the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any, Final

from controlplane.actor import Persist
from controlplane.charger.clock import HISTORY_MS
from controlplane.charger.credits import accrue, worth_accruing
from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.sampling import TRIGGERED, Asked
from controlplane.charger.turn import Turn
from controlplane.ocpp.events import MeterReading
from controlplane.site.messages import ConnectorMetered
from controlplane.store.records import MeterSample, SessionRecord, SessionState
from controlplane.tokens import token_key
from controlplane.units import MS_PER_HOUR

__all__ = ["REPLACED", "Metering", "session_record"]

REPLACED: Final = "Replaced"
"""Why a session ended on whose connector another one began."""

_READINGS_SEEN_MAX: Final = 32
_DOUBTS_MAX: Final = 20
"""Quarantined messages of one session; a meter that is broken for good does not fill the store."""
_SPAN_MAX_MS: Final = 900_000
"""Longer pauses between readings are not counted as drawn."""
_DRAWN_MIN_WH: Final = 1_000
_FAR_BELOW: Final = 50
"""How many times more the power readings must add up to before the register is doubted."""

_key: Final = attrgetter(
    "at_ms",
    "energy_wh",
    "power_w",
    "current_l1_ma",
    "current_l2_ma",
    "current_l3_ma",
    "soc_percent",
)
"""What makes a reading the same one again, of a stored sample."""


def session_record(memory: ChargerMemory, session: Session) -> SessionRecord:
    """The session as it is stored."""
    ended = session.ended_ms is not None
    return SessionRecord(
        session_id=session.session_id,
        charger_id=memory.charger_id,
        site_id=memory.site_id,
        connector_id=session.connector_id,
        transaction_id=session.transaction_id,
        id_token=session.id_token,
        state=SessionState.ENDED if ended else SessionState.ACTIVE,
        started_ms=session.started_ms,
        ended_ms=session.ended_ms,
        meter_start_wh=session.register.first_wh,
        meter_stop_wh=session.meter_stop_wh,
        energy_wh=session.register.energy_wh,
        need_wh=session.need_wh,
        departure_ms=session.departure_ms,
        stop_reason=session.stop_reason,
        boost_until_ms=session.boost_until_ms,
        started_station_ms=session.started_station_ms,
        started_received_ms=session.started_received_ms or None,
        ended_station_ms=session.ended_station_ms,
        ended_received_ms=session.ended_received_ms,
        events_missing=session.sequence.missing,
        token_key=None if session.id_token is None else token_key(session.id_token),
        token_status=session.token_status,
        exported_wh=session.exported.energy_wh,
        discharge_reserve_percent=session.reserve_percent,
        credited_wh=session.credit.energy_wh,
        credit_amount=str(session.credit.amount),
        credit_currency=session.credit.currency,
        credit_price_per_kwh=str(session.credit.price_per_kwh),
    )


class _Seen:
    """The latest readings of a connector, each by the 64 bits that its values hash to: to keep the
    values would cost a charger that charges a third of its memory. One newer than all before is
    none of them: there is no need to look."""

    __slots__ = ("hashes", "newest_ms")

    def __init__(self) -> None:
        self.hashes: deque[int] = deque(maxlen=_READINGS_SEEN_MAX)
        self.newest_ms = -1


class Metering:
    """The measurements of one charger."""

    __slots__ = ("_asked", "_memory", "_readings_seen")

    def __init__(self, memory: ChargerMemory, asked: Asked) -> None:
        self._memory = memory
        self._asked = asked
        self._readings_seen: dict[int, _Seen] = {}
        """The latest readings per connector."""

    def take_all(
        self,
        turn: Turn,
        connector_id: int,
        session: Session | None,
        readings: tuple[MeterReading, ...],
    ) -> None:
        """Keep every reading once; tell the site the newest."""
        energy_before_wh = 0 if session is None else session.register.energy_wh
        readings = tuple(each for each in readings if self._is_new(turn, connector_id, each))
        answer, asked_ms = self._answer(turn, connector_id, readings)
        newest: ConnectorMetered | None = None
        for reading in readings:
            proven_ms = asked_ms if reading is answer else None
            newest = self._take(turn, connector_id, session, reading, proven_ms) or newest
        if newest is not None:
            turn.tell_site(newest)
        if session is None:
            return
        if session.ended_ms is not None:
            self.correct(turn, session, energy_before_wh)
        elif worth_accruing(self._memory, session) and accrue(turn, self._memory, session):
            turn.effects.append(Persist(session_record(self._memory, session)))

    def _answer(
        self, turn: Turn, connector_id: int, readings: tuple[MeterReading, ...]
    ) -> tuple[MeterReading | None, int | None]:
        """The reading that answers a question, and when that left (see `Asked.answered`): of one
        message the newest, because one question has one answer."""
        asked_for = [each for each in readings if each.context == TRIGGERED]
        if not asked_for:
            return None, None
        answer = max(asked_for, key=lambda each: each.at_ms or 0)
        return answer, self._asked.answered(connector_id, answer.at_ms, turn.now_ms)

    def _take(
        self,
        turn: Turn,
        connector_id: int,
        session: Session | None,
        reading: MeterReading,
        asked_ms: int | None,
    ) -> ConnectorMetered | None:
        """`asked_ms`: it was taken no earlier than that, whatever its station's clock shows."""
        now_ms = turn.now_ms
        at_ms = now_ms if reading.at_ms is None else reading.at_ms
        l1_ma, l2_ma, l3_ma = reading.current_ma
        memory = self._memory
        turn.effects.append(
            Persist(
                MeterSample(
                    memory.charger_id,
                    connector_id,
                    None if session is None else session.session_id,
                    at_ms,
                    now_ms,
                    reading.energy_wh,
                    reading.power_w,
                    l1_ma,
                    l2_ma,
                    l3_ma,
                    reading.soc_percent,
                )
            )
        )
        at_ms = memory.clock.correct(reading.at_ms, now_ms)
        # Whatever its clock shows, it was not after now.
        measured_ms = min(at_ms, now_ms)
        if session is not None:
            if reading.power_w:
                self._add_up_power(session, measured_ms, reading.power_w)
            if reading.energy_wh is not None:
                self.take_register(turn, session, reading.energy_wh, at_ms, said_ms=reading.at_ms)
            if reading.exported_wh is not None:
                self._take_export(turn, session, reading.exported_wh, at_ms, said_ms=reading.at_ms)
        if session is not None and session.ended_ms is not None:
            return None
        if connector_id == 0 and session is not None:
            # A session of which nobody knows yet where it runs; connector 0 is the main meter.
            return None
        if not self._measured(
            connector_id,
            measured_ms,
            reading.power_w,
            reading.current_ma,
            reading.soc_percent,
            now_ms=now_ms,
            newest=asked_ms is not None,
        ):
            if session is not None:
                self._asked.unclear(turn, connector_id)
            return None
        if not turn.settled and now_ms - measured_ms > HISTORY_MS:
            # Told late, on a connection that has just begun: what flows now comes after it.
            return None
        return ConnectorMetered(
            memory.charger_id,
            connector_id,
            measured_ms if asked_ms is None else asked_ms,
            reading.current_ma,
            reading.power_w,
            None if session is None else session.register.energy_wh,
            reading.soc_percent,
            None if session is None else session.exported.energy_wh,
            asked_ms is not None,
        )

    def _take_export(
        self, turn: Turn, session: Session, wh: int, at_ms: int, *, said_ms: int | None
    ) -> None:
        """Count what was fed in. A step that cannot be believed is owed to nobody."""
        register = session.exported
        if session.ended_ms is not None and at_ms > session.ended_ms:
            return
        doubt = register.take(
            wh, at_ms, turn.now_ms, power_max_w=self._memory.power_max_w(session.connector_id)
        )
        turn.changed |= register.first_wh == wh and register.first_ms == at_ms
        if doubt is not None:
            turn.deviation(
                "export_" + doubt,
                session_id=session.session_id,
                register_wh=wh,
                register_before_wh=register.last_wh,
            )

    def take_register(
        self,
        turn: Turn,
        session: Session,
        wh: int,
        at_ms: int,
        *,
        said_ms: int | None,
        begins: bool = False,
    ) -> None:
        """Take a register of a session into account. `at_ms` is of our clock, `said_ms` what the
        station said."""
        register = session.register
        if (
            session.ended_ms is not None
            and register.first_wh is not None
            and at_ms >= register.first_ms
            and not (session.stop_reason == REPLACED and at_ms <= session.ended_ms)
        ):
            return
        in_kwh = register.in_kwh
        register.untimed |= at_ms != said_ms
        doubt = register.take(
            wh,
            at_ms,
            turn.now_ms,
            power_max_w=self._memory.power_max_w(session.connector_id),
            begins=begins,
            # A time that is not believed became that of its receipt.
            unset_ms=None
            if at_ms != turn.now_ms or self._memory.clock.believes(said_ms, turn.now_ms)
            else said_ms,
        )
        if register.in_kwh != in_kwh:
            turn.deviation("register_in_kwh", session_id=session.session_id, register=wh)
        if doubt is not None:
            before_wh = register.last_wh
            self.doubt(
                turn,
                session,
                doubt,
                register_wh=wh,
                register_before_wh=before_wh,
                held_wh=max(0, wh - before_wh),
            )

    def settle(self, turn: Turn, session: Session) -> None:
        """Hold a session that is over against its register as a whole. Its beginning and its end
        may have been told of at once, hours later, or by a clock that was set in between: the
        longest that it can have lasted counts."""
        if session.meter_stop_wh is None or session.ended_ms is None:
            return
        register = session.register
        elapsed_ms = max(
            session.ended_ms - session.started_ms,
            register.last_ms - register.first_ms,
            turn.now_ms - session.started_ms,
        )
        began_ms, ended_ms = session.started_station_ms, session.ended_station_ms
        if began_ms is not None and ended_ms is not None:
            # Where the station's word was not believed, what it says of both may be right.
            elapsed_ms = max(elapsed_ms, ended_ms - began_ms)
        register.settle(
            session.meter_stop_wh,
            power_max_w=self._memory.power_max_w(session.connector_id),
            elapsed_ms=elapsed_ms,
        )

    @staticmethod
    def doubt(turn: Turn, session: Session, reason: str, **facts: Any) -> None:
        """Keep what is being handled for an operator; `held_wh` is what the session would have more
        if it were true."""
        if session.doubts < _DOUBTS_MAX:
            session.doubts += 1
            turn.changed = True
            turn.quarantine(reason, session_id=session.session_id, **facts)

    def _add_up_power(self, session: Session, at_ms: int, power_w: int) -> None:
        """Count what the connector drew since it was measured last."""
        connector = self._memory.connectors.get(session.connector_id)
        if connector is None or not connector.power_w or session.ended_ms is not None:
            return
        span_ms = at_ms - max(connector.measured_ms, session.started_ms)
        if 0 < span_ms <= _SPAN_MAX_MS:
            session.power_w_ms += max(0, min(power_w, connector.power_w)) * span_ms

    def hold_against_power(self, turn: Turn, session: Session) -> None:
        """A register that shows a thousandth of what its own power readings add up to counts
        kilowatt-hours and calls them watt-hours: held for review."""
        drawn_wh = session.power_w_ms // MS_PER_HOUR
        energy_wh = session.register.energy_wh
        if drawn_wh >= _DRAWN_MIN_WH and energy_wh * _FAR_BELOW < drawn_wh:
            self.doubt(
                turn,
                session,
                "register_below_power",
                energy_wh=energy_wh,
                drawn_wh=drawn_wh,
                held_wh=energy_wh * 999,
            )

    def _measured(
        self,
        connector_id: int,
        at_ms: int,
        power_w: int | None,
        current_ma: tuple[int | None, int | None, int | None],
        soc_percent: float | None,
        *,
        now_ms: int,
        newest: bool = False,
    ) -> bool:
        """Remember a measurement unless a newer one is known. `newest`: none is, though the clock
        of the station may have been set back since. One that was known before our own clock was
        set back is not newer."""
        connector = self._memory.connector(connector_id)
        if connector is None:
            return False
        if not newest and at_ms < connector.measured_ms <= now_ms:
            return False
        connector.measured_ms = at_ms
        connector.power_w = power_w
        connector.current_ma = current_ma
        if soc_percent is not None:
            connector.soc_percent = soc_percent
        return True

    def _is_new(self, turn: Turn, connector_id: int, reading: MeterReading) -> bool:
        """False if the reading is one of the latest again."""
        at_ms = turn.now_ms if reading.at_ms is None else reading.at_ms
        l1_ma, l2_ma, l3_ma = reading.current_ma
        hashed = hash(
            (at_ms, reading.energy_wh, reading.power_w, l1_ma, l2_ma, l3_ma, reading.soc_percent)
        )
        seen = self._readings_seen.get(connector_id)
        if seen is None:
            seen = self._readings_seen[connector_id] = _Seen()
        if at_ms > seen.newest_ms:
            seen.newest_ms = at_ms
        elif hashed in seen.hashes:
            return False
        seen.hashes.append(hashed)
        return True

    def correct(
        self, turn: Turn, session: Session, energy_before_wh: int, *, always: bool = False
    ) -> None:
        """A late message changed what is stored of a session."""
        credited = accrue(turn, self._memory, session)
        if always or credited or session.register.energy_wh != energy_before_wh:
            turn.changed = True
            turn.effects.append(Persist(session_record(self._memory, session)))
            turn.emit(
                "session.corrected",
                session_id=session.session_id,
                started_ms=session.started_ms,
                ended_ms=session.ended_ms,
                energy_wh=session.register.energy_wh,
                exported_wh=session.exported.energy_wh,
            )

    def restore(self, samples: Iterable[MeterSample]) -> None:
        """Take in stored samples that are newer than the snapshot may be, those of a session one
        after the other, in the order of their receipt. A host that takes over a network does this
        with hundreds of thousands: what is done with each is little."""
        for session_id, of_session in groupby(samples, attrgetter("session_id")):
            session = None if session_id is None else self._memory.session(session_id)
            if session is not None and session.ended_ms is not None:
                session = None
            readings: list[tuple[int, int, int]] = []
            for connector_id, of_connector in groupby(of_session, attrgetter("connector_id")):
                readings += self._restore(connector_id, list(of_connector))
            if session is not None and readings:
                session.register.restore(
                    readings,
                    power_max_w=self._memory.power_max_w(session.connector_id),
                    # Beyond so many, a doubt is no reason for a snapshot.
                    believed=session.doubts < _DOUBTS_MAX,
                )

    def _restore(self, connector_id: int, samples: list[MeterSample]) -> list[tuple[int, int, int]]:
        """Take in what was measured last, and what would be the same again. Returns the register in
        Wh, when that was by our clock, and when it was received."""
        seen = self._readings_seen.get(connector_id)
        if seen is None:
            seen = self._readings_seen[connector_id] = _Seen()
        # They were compared with each other before they were stored.
        seen.hashes.extend(map(hash, map(_key, samples)))
        seen.newest_ms = max(seen.newest_ms, *[sample.at_ms for sample in samples])
        correct = self._memory.clock.correct
        times_ms = [correct(sample.at_ms, sample.received_ms) for sample in samples]
        newest_ms = max(times_ms)
        until = len(samples) - times_ms[::-1].index(newest_ms)
        latest = samples[until - 1]
        charges = (sample.soc_percent for sample in reversed(samples[:until]))
        self._measured(
            connector_id,
            newest_ms,
            latest.power_w,
            (latest.current_l1_ma, latest.current_l2_ma, latest.current_l3_ma),
            next((charge for charge in charges if charge is not None), None),
            now_ms=latest.received_ms,
        )
        return [
            (sample.energy_wh, at_ms, sample.received_ms)
            for sample, at_ms in zip(samples, times_ms, strict=True)
            if sample.energy_wh is not None
        ]
