"""Rate budgets: how many calls a principal has made lately, shared by every worker, process and host.

Calls are counted in twentieths of a window, so that no span of a window's length holds more calls than its limit,
wherever the other side lets its own windows begin. Where calls weigh differently, the limit is one of units. Where a
system also limits what is under way at once, a call holds a lease until it is given back. Time is the caller's, in
seconds since 1970.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.storage.schema import rate_budget

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

# The rows are locked in one order, so that two callers never wait for each other. A clock a little behind counts into
# the newest tick.
_TAKE = sa.text("""
WITH held AS MATERIALIZED (
    SELECT window_seconds, counts, tick, blocked_until, leases
      FROM imagesync.rate_budget
     WHERE principal = :principal AND window_seconds = ANY(CAST(:seconds AS int[]))
     ORDER BY window_seconds
       FOR UPDATE
), asked AS (
    SELECT window_seconds, call_limit,
           floor(CAST(:now AS float8) * CAST(:ticks AS int) / window_seconds)::bigint AS tick,
           greatest(CAST(:slots AS int), CAST(:behind AS int) * CAST(:ticks AS int) / window_seconds) AS behind
      FROM unnest(CAST(:seconds AS int[]), CAST(:limits AS int[])) AS a (window_seconds, call_limit)
), steps AS (
    SELECT window_seconds, call_limit, counts, blocked_until, leases, held.tick AS old, asked.tick AS new,
           CASE WHEN asked.tick - held.tick NOT BETWEEN -asked.behind AND CAST(:slots AS int) THEN CAST(:slots AS int)
                ELSE greatest(asked.tick - held.tick, 0)::int END AS step
      FROM held JOIN asked USING (window_seconds)
), moved AS (
    SELECT window_seconds, call_limit, blocked_until,
           CASE WHEN step = 0 THEN old ELSE new END AS tick,
           (counts || array_fill(0, ARRAY[CAST(:slots AS int)]))[1 + step : CAST(:slots AS int) + step] AS counts,
           (SELECT coalesce(jsonb_object_agg(key, value), '{}'::jsonb) FROM jsonb_each(leases)
             WHERE value::float8 BETWEEN :now AND CAST(:now AS float8) + CAST(:longest AS float8)) AS leases
      FROM steps
), judged AS (
    SELECT count(*) = cardinality(CAST(:seconds AS int[])) AND bool_and(
               (SELECT sum(c) FROM unnest(counts) AS c) + CAST(:units AS int) <= call_limit
               AND (blocked_until IS NULL OR blocked_until NOT BETWEEN :moment AND :latest)
           ) AS free,
           bool_or((SELECT count(*) FROM jsonb_object_keys(leases)) >= CAST(:parallel AS int)) IS TRUE AS crowded
      FROM moved
), outcome AS (
    SELECT free AND NOT crowded AS free, crowded FROM judged
)
UPDATE imagesync.rate_budget AS b
   SET call_limit = m.call_limit,
       tick = m.tick,
       counts = m.counts[1 : CAST(:ticks AS int)]
                || (m.counts[CAST(:slots AS int)] + outcome.free::int * CAST(:units AS int)),
       leases = CASE WHEN outcome.free AND CAST(:lease AS text) <> ''
                     THEN m.leases || jsonb_build_object(CAST(:lease AS text), CAST(:until AS float8))
                     ELSE m.leases END
  FROM moved AS m, outcome
 WHERE b.principal = :principal AND b.window_seconds = m.window_seconds
RETURNING b.window_seconds, b.call_limit, b.tick, b.counts, b.blocked_until, outcome.free, outcome.crowded
""")

# What somebody else used of the principal's limit is counted into the newest tick: nobody knows when it was.
_GIVE_BACK = sa.text("""
WITH held AS MATERIALIZED (
    SELECT window_seconds FROM imagesync.rate_budget WHERE principal = :principal ORDER BY window_seconds FOR UPDATE
)
UPDATE imagesync.rate_budget AS b
   SET leases = b.leases - CAST(:lease AS text),
       counts = b.counts[1 : CAST(:ticks AS int)] || (b.counts[CAST(:slots AS int)] + CASE
           WHEN b.window_seconds = CAST(:seconds AS int) THEN greatest(0, b.call_limit - CAST(:left AS int) - (
               SELECT coalesce(sum(c), 0) FROM unnest(b.counts[
                   1 + least(CAST(:slots AS int), greatest(0,
                       floor(CAST(:now AS float8) * CAST(:ticks AS int) / b.window_seconds)::bigint - b.tick))::int
                   :]) AS c))
           ELSE 0 END)
  FROM held
 WHERE b.principal = :principal AND b.window_seconds = held.window_seconds
""")

_BLOCK = sa.text("""
WITH held AS MATERIALIZED (
    SELECT window_seconds FROM imagesync.rate_budget WHERE principal = :principal ORDER BY window_seconds FOR UPDATE
)
UPDATE imagesync.rate_budget AS b
   SET blocked_until = CASE WHEN b.blocked_until <= :latest THEN greatest(b.blocked_until, :until) ELSE :until END
  FROM held
 WHERE b.principal = :principal AND b.window_seconds = held.window_seconds
""")


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


def take(
    engine: sa.Engine,
    principal: str,
    windows: Sequence[Window],
    now: float,
    *,
    units: int = 1,
    lease: Lease | None = None,
) -> float:
    """Count one call in all windows of a principal and give 0.0; when one of them is full, seconds until it is not.

    Nothing is counted then: wait and ask again. units: what the call weighs. lease: it also needs a place among the
    calls in flight, and has it until `give_back`. One statement per call; the first one of a principal makes its rows.
    """
    with engine.begin() as connection:
        rows = _take(connection, principal, windows, now, units, lease)
        if len(rows) < len(windows):
            _make_rows(connection, principal, windows)
            rows = _take(connection, principal, windows, now, units, lease)
    if all(row.free for row in rows):
        return 0.0
    return max(_wait(row, now, units) for row in rows)


def give_back(
    engine: sa.Engine, principal: str, lease: Lease, now: float, *, window: Window | None = None, units_left: int = 0
) -> None:
    """End a call in flight. window and units_left: what its answer says is left there; ours is lowered to that.

    It is never raised: what we took and the other side has not seen yet counts as well.
    """
    values = {
        "principal": principal,
        "lease": lease.id,
        "now": now,
        "seconds": window.seconds if window else 0,
        "left": units_left,
        "ticks": TICKS,
        "slots": _SLOTS,
    }
    with engine.begin() as connection:
        connection.execute(_GIVE_BACK, values)


def block(engine: sa.Engine, principal: str, until: float, now: float) -> None:
    """Let nobody call in the name of a principal until a moment; a later one that is set already stays.

    Only for a principal that has taken before: nobody is told to pause who never called.
    """
    until = min(until, now + LONGEST_BLOCK_SECONDS)
    values = {"principal": principal, "until": _moment(until), "latest": _moment(now + LONGEST_BLOCK_SECONDS)}
    with engine.begin() as connection:
        connection.execute(_BLOCK, values)


def left(engine: sa.Engine, principal: str, windows: Sequence[Window], now: float) -> tuple[WindowLeft, ...]:
    """What is left of each window; nothing is counted."""
    query = sa.select(rate_budget).where(rate_budget.c.principal == principal)
    with engine.connect() as connection:
        rows = {row.window_seconds: row for row in connection.execute(query)}
    return tuple(_left(window, rows.get(window.seconds), now) for window in windows)


def budgets(engine: sa.Engine, now: float) -> dict[str, tuple[WindowLeft, ...]]:
    """What is left to every principal that ever called, in the windows in which it last called; nothing is counted."""
    query = sa.select(rate_budget).order_by(rate_budget.c.principal, rate_budget.c.window_seconds)
    found: dict[str, tuple[WindowLeft, ...]] = {}
    with engine.connect() as connection:
        for row in connection.execute(query):
            window = Window(row.call_limit, row.window_seconds)
            found[row.principal] = (*found.get(row.principal, ()), _left(window, row, now))
    return found


def _take(
    connection: sa.Connection,
    principal: str,
    windows: Sequence[Window],
    now: float,
    units: int,
    lease: Lease | None,
) -> Sequence[sa.Row]:
    values = {
        "principal": principal,
        "seconds": [window.seconds for window in windows],
        "limits": [window.calls for window in windows],
        "now": now,
        "moment": _moment(now),
        "latest": _moment(now + LONGEST_BLOCK_SECONDS),
        "ticks": TICKS,
        "slots": _SLOTS,
        "behind": _BEHIND_SECONDS,
        "longest": LONGEST_BLOCK_SECONDS,
        "units": units,
        "lease": lease.id if lease else "",
        "parallel": lease.parallel if lease else None,
        "until": lease.until if lease else now,
    }
    return connection.execute(_TAKE, values).all()


def _make_rows(connection: sa.Connection, principal: str, windows: Sequence[Window]) -> None:
    rows = [
        {
            "principal": principal,
            "window_seconds": window.seconds,
            "call_limit": window.calls,
            "tick": 0,
            "counts": [0] * _SLOTS,
        }
        for window in sorted(windows, key=lambda window: window.seconds)
    ]
    connection.execute(insert(rate_budget).on_conflict_do_nothing(), rows)


def _wait(row: sa.Row, now: float, units: int) -> float:
    """Seconds until this window takes a call again: the pause asked for, or until enough counted ticks have left it."""
    waits = [_CROWDED_SECONDS if row.crowded else 0.0]
    if row.blocked_until is not None and 0 <= row.blocked_until.timestamp() - now <= LONGEST_BLOCK_SECONDS:
        waits.append(row.blocked_until.timestamp() - now)
    used, slot = sum(row.counts), 0
    while used + units > row.call_limit and slot < _SLOTS:
        used -= row.counts[slot]
        slot += 1
    if slot:
        waits.append((row.tick + slot) * row.window_seconds / TICKS - now)
    # A wait of nothing would be no wait: at least the next moment that a clock can tell apart.
    return max(max(waits), 0.001)


def _left(window: Window, row: sa.Row | None, now: float) -> WindowLeft:
    if row is None:
        return WindowLeft(window, 0, window.calls, 0.0)
    step = int(now * TICKS // window.seconds) - row.tick
    behind = max(_SLOTS, _BEHIND_SECONDS * TICKS // window.seconds)
    used = sum(row.counts[max(step, 0) :]) if step >= -behind else 0
    until = 0.0 if row.blocked_until is None else row.blocked_until.timestamp() - now
    return WindowLeft(window, used, max(0, window.calls - used), until if 0 < until <= LONGEST_BLOCK_SECONDS else 0.0)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
