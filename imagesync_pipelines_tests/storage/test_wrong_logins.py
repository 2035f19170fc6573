"""Wrong passwords make the same name wait at the same address, and nobody anywhere else."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema_catalogue import wrong_login
from imagesync_pipelines.storage.wrong_logins import (
    BY_ADDRESS,
    BY_PAIR,
    KNOWN,
    Allowed,
    WrongLogins,
    seconds_to_wait,
    still_wrong,
)

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
RULE = Allowed(3, 10)


@pytest.mark.parametrize(
    ("wrong", "seconds_ago", "wait"),
    [(0, 0, 0), (2, 0, 0), (3, 0, 10), (3, 4, 6), (3, 10, 0), (9, 0, 70), (9, 1000, 0), (3, -5, 10), (3, -3600, 0)],
    ids=["none", "one left", "none left", "half forgotten", "one more", "many", "long ago", "a clock a little ahead",
         "a clock that was wrong"],
)  # fmt: skip
def test_so_many_are_free_then_one_more_each_time(wrong: float, seconds_ago: int, wait: float) -> None:
    left = still_wrong(wrong, NOON - timedelta(seconds=seconds_ago), RULE, NOON)
    assert seconds_to_wait(left, RULE) == pytest.approx(wait)


def test_a_stranger_elsewhere_makes_nobody_wait(database: sa.Engine) -> None:
    tries = WrongLogins(database, wrong_login)
    for _ in range(BY_PAIR.at_once):
        assert tries.wait("anna", "192.0.2.66", NOON) == 0
        tries.note_wrong("anna", "192.0.2.66", NOON)
    assert tries.wait("anna", "192.0.2.66", NOON) == BY_PAIR.seconds
    assert tries.wait("anna", "192.0.2.1", NOON) == 0
    assert tries.wait("bela", "192.0.2.66", NOON) == 0
    assert tries.wait("anna", "192.0.2.66", NOON + timedelta(seconds=BY_PAIR.seconds)) == 0


def test_one_address_that_tries_many_names_waits_but_not_who_came_in_from_there(database: sa.Engine) -> None:
    tries = WrongLogins(database, wrong_login)
    tries.note_right("anna", "192.0.2.66", NOON)
    for nth in range(BY_ADDRESS.at_once):
        tries.note_wrong(f"name {nth}", "192.0.2.66", NOON)
    assert tries.wait("one more", "192.0.2.66", NOON) == BY_ADDRESS.seconds
    assert tries.wait("anna", "192.0.2.66", NOON) == 0
    later = NOON + KNOWN
    for nth in range(BY_ADDRESS.at_once):
        tries.note_wrong(f"name {nth}", "192.0.2.66", later)
    assert tries.wait("anna", "192.0.2.66", later) == BY_ADDRESS.seconds


def test_the_right_password_ends_what_was_wrong_and_is_noted_once_a_day(database: sa.Engine) -> None:
    tries = WrongLogins(database, wrong_login)
    for _ in range(BY_PAIR.at_once - 1):
        tries.note_wrong("anna", "192.0.2.1", NOON)
    tries.note_right("anna", "192.0.2.1", NOON)
    assert tries.wait("anna", "192.0.2.1", NOON) == 0
    tries.note_wrong("anna", "192.0.2.1", NOON)
    assert tries.wait("anna", "192.0.2.1", NOON) == 0
    tries.note_right("anna", "192.0.2.1", NOON)
    tries.note_right("anna", "192.0.2.1", NOON + timedelta(hours=23))
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.max(wrong_login.c.let_in_at))) == NOON


def test_tries_at_the_same_moment_are_all_counted_and_old_ones_are_forgotten(database: sa.Engine) -> None:
    tries = WrongLogins(database, wrong_login)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: tries.note_wrong("anna", "192.0.2.66", NOON), range(16)))
    assert tries.wait("anna", "192.0.2.66", NOON) == seconds_to_wait(16, BY_PAIR)
    tries.note_wrong("bela", "192.0.2.77", NOON + timedelta(days=2))
    with database.connect() as connection:
        assert connection.scalar(sa.select(sa.func.count()).select_from(wrong_login)) == 2


def test_nothing_that_was_typed_is_kept(database: sa.Engine) -> None:
    WrongLogins(database, wrong_login).note_wrong("a password in the wrong field \ud800", "192.0.2.1", NOON)
    with database.connect() as connection:
        assert all(len(whose) == 32 for whose in connection.scalars(sa.select(wrong_login.c.whose)))
