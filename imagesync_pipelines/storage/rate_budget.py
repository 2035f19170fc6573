"""Rate budgets: how many calls a principal has made lately, shared by every worker, process and host.

Calls are counted in twentieths of a window, so that no span of a window's length holds more calls than its limit,
wherever the other side lets its own windows begin. Where calls weigh differently, the limit is one of units. Where a
system also limits what is under way at once, a call holds a lease until it is given back. Time is the caller's, in
seconds since 1970.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.schema_accounts import rate_budget

TICKS = 20
# The tick under way, and those before it that reach into the window which ends now.
_SLOTS = TICKS + 1
# Longer than any system asks us to pause; a later moment can only come from a clock that was wrong.
LONGEST_BLOCK_SECONDS = 2 * 3600.0

# How soon somebody asks again who met too many calls in flight: nobody knows when one of them ends.
_CROWDED_SECONDS = 0.05

# A clock so much behind the newest count is believed to be one of several that differ a little; one further behind says
# that the newest count came from a clock that was wrong.
_BEHIND_SECONDS = 60

# Every statement that changes rows locks them in this order first, so that two callers never wait for each other.
_ROWS = sa.select(rate_budget).order_by(rate_budget.c.principal, rate_budget.c.window_seconds)
_SAVE = rate_budget.update().where(
    rate_budget.c.principal == sa.bindparam("whose"), rate_budget.c.window_seconds == sa.bindparam("of_seconds")
)


class Window(NamedTuple):
    """At most `calls` calls in any `seconds` seconds; units instead of calls, where calls weigh differently."""

    calls: int
    seconds: int


class Lease(NamedTuple):
    """A call under way: an id of its own, how many there may be at once, and when it is given up if nobody ends it."""

    id: str
    parallel: int
    until: float


class WindowLeft(NamedTuple):
    """A window now: calls made in it, calls left, seconds until every call is refused no longer (0: not blocked)."""

    window: Window
    used: int
    left: int
    blocked_seconds: float


class _Counted(NamedTuple):
    """A row as it is at a moment: its newest tick, the counts up to it, seconds for which every call is refused."""

    tick: int
    counts: list[int]
    blocked_seconds: float


def take(
    engine: sa.Engine, principal: str, windows: Sequence[Window], now: float, units: int = 1, lease: Lease | None = None
) -> float:
    """Count one call in all windows of a principal and give 0.0; when one of them is full, seconds until it is not.

    Nothing is counted then: wait and ask again. units: what the call weighs. lease: it also needs a place among the
    calls in flight, and has it until `give_back`. The first call of a principal makes its rows.
    """
    # Of two limits for the same time the stricter one.
    limits = {window.seconds: window.calls for window in sorted(windows, key=lambda one: -one.calls)}
    with engine.begin() as connection:
        while len(rows := _locked(connection, principal, limits)) < len(limits):
            _make_rows(connection, principal, limits)
        counted = [_counted(row, now) for row in rows]
        leases = [_in_flight(row.leases, now) for row in rows]
        crowded = lease is not None and any(len(held) >= lease.parallel for held in leases)
        waits = [
            _wait(one, Window(limits[row.window_seconds], row.window_seconds), now, units)
            for row, one in zip(rows, counted, strict=True)
        ]
        wait = max([_CROWDED_SECONDS if crowded else 0.0, *waits])
        saved = []
        for row, one, held in zip(rows, counted, leases, strict=True):
            if not wait:
                one.counts[-1] += units
                held |= {lease.id: lease.until} if lease else {}
            values = {"call_limit": limits[row.window_seconds], "tick": one.tick, "counts": one.counts, "leases": held}
            saved.append({"whose": principal, "of_seconds": row.window_seconds, **values})
        connection.execute(_SAVE, saved)
    return wait


def give_back(
    engine: sa.Engine, principal: str, lease: Lease, now: float, *, window: Window | None = None, units_left: int = 0
) -> None:
    """End a call in flight. window and units_left: what its answer says is left there; ours is lowered to that.

    It is never raised: what we took and the other side has not seen yet counts as well. What somebody else used is
    counted into the newest tick, since nobody knows when it was.
    """
    with engine.begin() as connection:
        saved = []
        for row in _locked(connection, principal):
            others = 0
            if window is not None and row.window_seconds == window.seconds:
                others = max(0, row.call_limit - units_left - sum(_counted(row, now).counts))
            values = {
                "counts": [*row.counts[:-1], row.counts[-1] + others],
                "leases": {name: until for name, until in row.leases.items() if name != lease.id},
            }
            saved.append({"whose": principal, "of_seconds": row.window_seconds, **values})
        if saved:
            connection.execute(_SAVE, saved)


def block(engine: sa.Engine, principal: str, until: float, now: float) -> None:
    """Let nobody call in the name of a principal until a moment; a later one that is set already stays.

    Only for a principal that has taken before: nobody is told to pause who never called.
    """
    with engine.begin() as connection:
        saved = []
        for row in _locked(connection, principal):
            longest = max(_counted(row, now).blocked_seconds, min(until - now, LONGEST_BLOCK_SECONDS))
            moment = datetime.fromtimestamp(now + longest, UTC)
            saved.append({"whose": principal, "of_seconds": row.window_seconds, "blocked_until": moment})
        if saved:
            connection.execute(_SAVE, saved)


def left(engine: sa.Engine, principal: str, windows: Sequence[Window], now: float) -> tuple[WindowLeft, ...]:
    """What is left of each window; nothing is counted."""
    with engine.connect() as connection:
        rows = connection.execute(_ROWS.where(rate_budget.c.principal == principal))
        known = {row.window_seconds: _counted(row, now) for row in rows}
    return tuple(_left(window, known.get(window.seconds, _Counted(0, [], 0.0))) for window in windows)


def budgets(engine: sa.Engine, now: float) -> dict[str, tuple[WindowLeft, ...]]:
    """What is left to every principal that ever called, in the windows in which it last called; nothing is counted."""
    found: dict[str, tuple[WindowLeft, ...]] = {}
    with engine.connect() as connection:
        for row in connection.execute(_ROWS):
            now_left = _left(Window(row.call_limit, row.window_seconds), _counted(row, now))
            found[row.principal] = (*found.get(row.principal, ()), now_left)
    return found


def _locked(connection: sa.Connection, principal: str, seconds: Collection[int] | None = None) -> Sequence[sa.Row[Any]]:
    """The rows of a principal, of these windows or all, which nobody else changes until the transaction ends."""
    query = _ROWS.where(rate_budget.c.principal == principal)
    if seconds is not None:
        query = query.where(rate_budget.c.window_seconds.in_(seconds))
    return connection.execute(query.with_for_update()).all()


def _make_rows(connection: sa.Connection, principal: str, limits: Mapping[int, int]) -> None:
    rows = [
        {"principal": principal, "window_seconds": seconds, "call_limit": calls, "tick": 0, "counts": [0] * _SLOTS}
        for seconds, calls in sorted(limits.items())
    ]
    connection.execute(insert(rate_budget).on_conflict_do_nothing(), rows)


def _counted(row: sa.Row[Any], now: float) -> _Counted:
    """Move a row's ticks on to now. A clock a little behind counts into the newest tick."""
    newest = int(now * TICKS // row.window_seconds)
    step = newest - row.tick
    behind = max(_SLOTS, _BEHIND_SECONDS * TICKS // row.window_seconds)
    blocked = 0.0 if row.blocked_until is None else row.blocked_until.timestamp() - now
    # A block of longer than anybody asks for came from a clock that was wrong.
    blocked = blocked if 0 < blocked <= LONGEST_BLOCK_SECONDS else 0.0
    if -behind <= step <= 0:
        return _Counted(row.tick, list(row.counts), blocked)
    kept = row.counts[step:] if step > 0 else []
    return _Counted(newest, [*kept, *[0] * (_SLOTS - len(kept))], blocked)


def _in_flight(leases: Mapping[str, float], now: float) -> dict[str, float]:
    """The leases that are held: not those given up by now, nor one that only a wrong clock can have made so long."""
    return {name: until for name, until in leases.items() if now <= until <= now + LONGEST_BLOCK_SECONDS}


def _wait(counted: _Counted, window: Window, now: float, units: int) -> float:
    """Seconds until this window takes a call: the pause asked for, or until enough counted ticks have left it."""
    used, slot = sum(counted.counts), 0
    while used + units > window.calls and slot < _SLOTS:
        used -= counted.counts[slot]
        slot += 1
    free_in = (counted.tick + slot) * window.seconds / TICKS - now if slot else 0.0
    wait = max(counted.blocked_seconds, free_in)
    # A wait of nothing would be no wait: at least the next moment that a clock can tell apart.
    return max(wait, 0.001) if slot or wait else 0.0


def _left(window: Window, counted: _Counted) -> WindowLeft:
    used = sum(counted.counts)
    return WindowLeft(window, used, max(0, window.calls - used), counted.blocked_seconds)
