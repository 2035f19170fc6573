"""Rate budgets: how many calls a principal has made lately, shared by every worker, process and host.

What belongs here: the `rate_budget` table. What does not: where limits come from, and waiting (the rooms' api). Calls
are counted in twentieths of a window, so that no span of a window's length holds more calls than its limit, wherever
the other side lets its own windows begin. Time is the caller's, in seconds since 1970.
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

# A clock so much behind the newest count is believed to be one of several that differ a little; one further behind says
# that the newest count came from a clock that was wrong.
_BEHIND_SECONDS = 60

# The rows are locked in one order, so that two callers never wait for each other. A clock a little behind counts into
# the newest tick.
_TAKE = sa.text("""
WITH held AS MATERIALIZED (
    SELECT window_seconds, counts, tick, blocked_until
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
    SELECT window_seconds, call_limit, counts, blocked_until, held.tick AS old, asked.tick AS new,
           CASE WHEN asked.tick - held.tick NOT BETWEEN -asked.behind AND CAST(:slots AS int) THEN CAST(:slots AS int)
                ELSE greatest(asked.tick - held.tick, 0)::int END AS step
      FROM held JOIN asked USING (window_seconds)
), moved AS (
    SELECT window_seconds, call_limit, blocked_until,
           CASE WHEN step = 0 THEN old ELSE new END AS tick,
           (counts || array_fill(0, ARRAY[CAST(:slots AS int)]))[1 + step : CAST(:slots AS int) + step] AS counts
      FROM steps
), judged AS (
    SELECT count(*) = cardinality(CAST(:seconds AS int[])) AND bool_and(
               (SELECT sum(c) FROM unnest(counts) AS c) < call_limit
               AND (blocked_until IS NULL OR blocked_until NOT BETWEEN :moment AND :latest)
           ) AS free
      FROM moved
)
UPDATE imagesync.rate_budget AS b
   SET call_limit = m.call_limit,
       tick = m.tick,
       counts = m.counts[1 : CAST(:ticks AS int)] || (m.counts[CAST(:slots AS int)] + judged.free::int)
  FROM moved AS m, judged
 WHERE b.principal = :principal AND b.window_seconds = m.window_seconds
RETURNING b.window_seconds, b.call_limit, b.tick, b.counts, b.blocked_until, judged.free
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
    """At most `calls` calls in any `seconds` seconds."""

    calls: int
    seconds: int


class WindowLeft(NamedTuple):
    """A window now: calls made in it, calls left, seconds until every call is refused no longer (0: not blocked)."""

    window: Window
    used: int
    left: int
    blocked_seconds: float


def take(engine: sa.Engine, principal: str, windows: Sequence[Window], now: float) -> float:
    """Count one call in all windows of a principal and give 0.0; when one of them is full, seconds until it is not.

    Nothing is counted then: wait and ask again. One statement per call; the first one of a principal makes its rows.
    """
    with engine.begin() as connection:
        rows = _take(connection, principal, windows, now)
        if len(rows) < len(windows):
            _make_rows(connection, principal, windows)
            rows = _take(connection, principal, windows, now)
    if all(row.free for row in rows):
        return 0.0
    return max(_wait(row, now) for row in rows)


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


def _take(connection: sa.Connection, principal: str, windows: Sequence[Window], now: float) -> Sequence[sa.Row]:
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


def _wait(row: sa.Row, now: float) -> float:
    """Seconds until this window takes a call again: the pause asked for, or until enough counted ticks have left it."""
    waits = [0.0]
    if row.blocked_until is not None and 0 <= row.blocked_until.timestamp() - now <= LONGEST_BLOCK_SECONDS:
        waits.append(row.blocked_until.timestamp() - now)
    used, slot = sum(row.counts), 0
    while used >= row.call_limit and slot < _SLOTS:
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
