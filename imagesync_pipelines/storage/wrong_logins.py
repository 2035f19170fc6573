"""Wrong passwords, counted by name and address: how long the next try has to wait. Shared by every process and host.

Only wrong passwords count, and what a stranger tries from elsewhere never makes the owner of a name wait: tries are
counted by name *and* address. The tries from one address, of whatever names, are counted too; that does not stop a name
that was let in from there before. Time is the caller's.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert


class Allowed(NamedTuple):
    """So many wrong passwords in a row, then one more every so many seconds."""

    at_once: int
    seconds: float


BY_PAIR = Allowed(10, 90)
BY_ADDRESS = Allowed(50, 10)
# For so long a name is known at an address from which it was let in; what was wrong is forgotten much sooner.
KNOWN = timedelta(days=90)
_KNOWN_NOTED_EVERY = timedelta(days=1)
# Clocks of several hosts differ a little; a moment further ahead came from a clock that was wrong.
_AHEAD = timedelta(minutes=1)


def wrong_login_table(metadata: sa.MetaData) -> sa.Table:
    """The table, for the database of a service that people or systems log in to."""
    return sa.Table(
        "wrong_login",
        metadata,
        sa.Column("whose", sa.Text, primary_key=True, comment="digest of a name and an address, or of an address"),
        sa.Column("wrong", sa.Float, nullable=False, comment="wrong passwords, less those forgotten by noted_at"),
        sa.Column("noted_at", sa.TIMESTAMP(timezone=True), nullable=False, index=True),
        sa.Column("let_in_at", sa.TIMESTAMP(timezone=True), comment="when this name last came in from this address"),
    )


def still_wrong(wrong: float, noted_at: datetime, rule: Allowed, now: datetime) -> float:
    """The wrong passwords that are not forgotten yet; none when they were noted by a clock that was wrong."""
    if noted_at > now + _AHEAD:
        return 0.0
    return max(0.0, wrong - max(0.0, (now - noted_at).total_seconds()) / rule.seconds)


def seconds_to_wait(wrong: float, rule: Allowed) -> float:
    """Until the next try, after so many wrong passwords."""
    return max(0.0, (wrong - rule.at_once + 1) * rule.seconds)


class WrongLogins:
    """The tries at one service."""

    def __init__(self, engine: sa.Engine, table: sa.Table) -> None:
        self._engine = engine
        self._table = table

    def wait(self, name: str, address: str, now: datetime) -> float:
        """Seconds until this name may be tried from this address again; 0: now."""
        rows = self._rows(name, address)
        pair, place = rows[_digest(name, address)], rows[_digest(address)]
        known = pair is not None and pair.let_in_at is not None and pair.let_in_at > now - KNOWN
        asked = [(pair, BY_PAIR)] + ([] if known else [(place, BY_ADDRESS)])
        waits = (seconds_to_wait(still_wrong(row.wrong, row.noted_at, rule, now), rule) for row, rule in asked if row)
        return max(waits, default=0.0)

    def note_wrong(self, name: str, address: str, now: datetime) -> None:
        """Count a wrong password, and forget who has not come for long."""
        c = self._table.c
        old = (c.noted_at < now - timedelta(days=1)) & sa.func.coalesce(c.let_in_at < now - KNOWN, sa.true())
        # In one order, so that two tries at once wait for each other instead of blocking each other.
        rules = sorted({_digest(name, address): BY_PAIR, _digest(address): BY_ADDRESS}.items())
        with self._engine.begin() as connection:
            for whose, rule in rules:
                rows = connection.execute(sa.select(self._table).where(c.whose == whose).with_for_update()).all()
                wrong = still_wrong(rows[0].wrong, rows[0].noted_at, rule, now) if rows else 0.0
                new = insert(self._table).values(whose=whose, wrong=wrong + 1, noted_at=now)
                # Another process may have made the row meanwhile: then its count is the one that goes on.
                more = {"wrong": wrong + 1 if rows else c.wrong + 1, "noted_at": now}
                connection.execute(new.on_conflict_do_update(index_elements=["whose"], set_=more))
        with self._engine.begin() as connection:
            connection.execute(self._table.delete().where(old))

    def note_right(self, name: str, address: str, now: datetime) -> None:
        """Forget what was wrong for this name at this address, and know it there; most times nothing is written."""
        whose = _digest(name, address)
        row = self._rows(name, address)[whose]
        if row and not row.wrong and row.let_in_at is not None and row.let_in_at > now - _KNOWN_NOTED_EVERY:
            return
        values = {"wrong": 0.0, "noted_at": now, "let_in_at": now}
        new = insert(self._table).values(whose=whose, **values)
        with self._engine.begin() as connection:
            connection.execute(new.on_conflict_do_update(index_elements=["whose"], set_=values))

    def _rows(self, name: str, address: str) -> Mapping[str, sa.Row[Any] | None]:
        wanted = [_digest(name, address), _digest(address)]
        with self._engine.connect() as connection:
            rows = connection.execute(sa.select(self._table).where(self._table.c.whose.in_(wanted))).all()
        return dict.fromkeys(wanted) | {row.whose: row for row in rows}


def _digest(*parts: str) -> str:
    # People type passwords into the field of the name: what was typed is not kept.
    return hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()[:32]
