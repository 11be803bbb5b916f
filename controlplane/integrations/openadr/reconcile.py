"""What has to change in Loadstar so that its grid events are what the utility asks for.

Invariants: a wish that stands in Loadstar is left alone, so reading the same events again changes
nothing. The id of a grid event follows from what is wished, so that a wish is taken in once however
often it is sent. One that was taken in last of all that its source asked, and is not open any more,
has ended or was called off by a person (what we call off ourselves is restored, which is asked,
too): it stays off until the utility writes it anew. What
replaces another is created before the other is cancelled: in between, the lower of both holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from controlplane.integrations.openadr.mapping import Kind, Wish
from controlplane.integrations.openadr.timing import FOREVER_MS
from controlplane.units import MS_PER_HOUR

__all__ = [
    "HORIZON_MS",
    "OPEN_MAX",
    "Creation",
    "Held",
    "Plan",
    "Withdrawal",
    "grid_event_id",
    "missing",
    "plan",
]

HORIZON_MS = 24 * MS_PER_HOUR
"""What begins later is left to the utility until then."""

OPEN_MAX = 90
"""Of the 100 grid events that a feeder or site holds, some are left to others."""


@dataclass(frozen=True)
class Held:
    """A grid event of ours, as Loadstar holds it.

    Attributes:
        begun: it is in force.
        baseline_w: what it reduces from; None where none was given before it has begun, or nothing
            was measured.
    """

    event_id: str
    source: str
    kind: Kind
    power_w: int
    start_ms: int
    end_ms: int
    begun: bool
    baseline_w: int | None = None


@dataclass(frozen=True)
class Creation:
    """A grid event to be created. `start_ms` None begins at once, `end_ms` None has no end,
    `baseline_w` None counts from what is drawn before it begins."""

    event_id: str
    source: str
    kind: Kind
    power_w: int | None = None
    start_ms: int | None = None
    end_ms: int | None = None
    baseline_w: int | None = None


@dataclass(frozen=True)
class Withdrawal:
    """A grid event to be called off. `replaced` where its source has asked, or now asks, for
    something else."""

    event_id: str
    source: str
    replaced: bool


@dataclass(frozen=True)
class Plan:
    """To be done in this order. `settled` wishes were taken in before and are not begun again;
    `waiting` ones found no room, or begin after the horizon."""

    create: tuple[Creation, ...] = ()
    cancel: tuple[Withdrawal, ...] = ()
    settled: tuple[Wish, ...] = ()
    waiting: int = 0


def grid_event_id(wish: Wish) -> str:
    """The id under which a wish stands in Loadstar; where it is taken in again after something else
    of its source, `.1` and so on follow."""
    end = "open" if wish.end_ms >= FOREVER_MS else str(wish.end_ms)
    told = (wish.source, wish.version, wish.payload_type, wish.kind, wish.power_w, wish.start_ms)
    digest = blake2b(
        "|".join([*map(str, told), end, wish.target]).encode(), digest_size=12
    ).hexdigest()
    return f"openadr-{digest}"


def missing(wishes: Sequence[Wish], held: Sequence[Held], *, now_ms: int) -> list[Wish]:
    """Wishes that are due and that nothing open stands for."""
    wanted = [wish for wish in wishes if now_ms < wish.end_ms]
    unmatched = _unmatched(wanted, held, now_ms=now_ms)[0]
    return [wish for wish in unmatched if wish.start_ms < now_ms + HORIZON_MS]


def plan(
    wishes: Sequence[Wish],
    held: Sequence[Held],
    *,
    now_ms: int,
    untouched: Collection[str] = (),
    past: Mapping[str, Sequence[Held]] | None = None,
) -> Plan:
    """What to create and what to cancel.

    Args:
        wishes: everything that the utility asks for, past and future.
        held: what Loadstar holds open of our program.
        untouched: sources of which nothing is known at the moment; they stay as they are.
        past: for the source of every `missing` wish what it has asked before, open or not, in the
            order in which Loadstar took it in.
    """
    past = past or {}
    wanted = [wish for wish in wishes if now_ms < wish.end_ms]
    unmatched, left = _unmatched(wanted, held, now_ms=now_ms)
    soon = [wish for wish in unmatched if wish.start_ms < now_ms + HORIZON_MS]
    settled = [wish for wish in soon if _settled(wish, past.get(wish.source, ()))]
    fresh = sorted((w for w in soon if w not in settled), key=lambda wish: wish.start_ms)
    room = max(0, OPEN_MAX - (len(held) - len(left)))
    created = tuple(
        _creation(wish, past.get(wish.source, ()), now_ms=now_ms) for wish in fresh[:room]
    )
    anew = {creation.source for creation in created}
    return Plan(
        create=created,
        cancel=tuple(
            Withdrawal(event.event_id, event.source, replaced=event.source in anew)
            for event in left
            if event.source not in untouched
        ),
        settled=tuple(settled),
        waiting=len(unmatched) - len(soon) + len(fresh[room:]),
    )


def _settled(wish: Wish, past: Sequence[Held]) -> bool:
    return bool(past) and _stem(past[-1].event_id) == grid_event_id(wish)


def _stem(event_id: str) -> str:
    return event_id.partition(".")[0]


def _creation(wish: Wish, past: Sequence[Held], *, now_ms: int) -> Creation:
    begun = wish.begun(now_ms)
    stem = grid_event_id(wish)
    before = sum(1 for event in past if _stem(event.event_id) == stem)
    return Creation(
        event_id=f"{stem}.{before}" if before else stem,
        source=wish.source,
        kind=wish.kind,
        power_w=wish.power_w,
        start_ms=None if begun else wish.start_ms,
        end_ms=None if wish.end_ms >= FOREVER_MS else wish.end_ms,
        # Where it was changed while in force, what is measured now is already reduced.
        baseline_w=_baseline_w(past, now_ms) if begun and wish.kind is not Kind.RESTORE else None,
    )


def _baseline_w(past: Sequence[Held], now_ms: int) -> int | None:
    """What a source's wish is counted from that has gone on since it was last restored, or since
    another had come to its end."""
    baseline_w: int | None = None
    ended_ms = FOREVER_MS
    for event in past:
        if event.kind is Kind.RESTORE or event.start_ms >= ended_ms:
            baseline_w = None
        if event.kind is not Kind.RESTORE:
            ended_ms = event.end_ms
            baseline_w = event.baseline_w if baseline_w is None else baseline_w
    return baseline_w if now_ms < ended_ms else None


def _unmatched(
    wishes: Sequence[Wish], held: Sequence[Held], *, now_ms: int
) -> tuple[list[Wish], list[Held]]:
    """Wishes that nothing held stands for, and what is held that no wish asks for."""
    left = list(held)
    missing: list[Wish] = []
    for wish in wishes:
        stem = grid_event_id(wish)
        match = next((event for event in left if _stem(event.event_id) == stem), None) or next(
            (event for event in left if _same(wish, event, now_ms=now_ms)), None
        )
        if match is None:
            missing.append(wish)
        else:
            left.remove(match)
    return missing, left


def _same(wish: Wish, event: Held, *, now_ms: int) -> bool:
    """Whether an event asks for the same, although the utility has written its own anew."""
    return (
        (wish.source, wish.kind, wish.power_w, wish.end_ms)
        == (event.source, event.kind, event.power_w, event.end_ms)
    ) and (wish.start_ms == event.start_ms or (wish.begun(now_ms) and event.begun))
