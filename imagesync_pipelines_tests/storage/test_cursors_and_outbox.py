"""Cursors move with their transaction; reports wait until they were sent, and the newest of a key counts."""

import sqlalchemy as sa

from imagesync_pipelines.storage.mirror import move_cursor, read_cursor
from imagesync_pipelines.storage.outbox import (
    count_waiting,
    drop_after,
    note_attempt,
    queue_reports,
    take_out,
    waiting_keys,
    waiting_reports,
)
from imagesync_pipelines.storage.schema import cursor

WHO = ("edge", "bali")


def _keys(database: sa.Engine) -> list[str]:
    keys = waiting_keys(database, *WHO)
    assert [report.key for report in waiting_reports(database, *WHO, keys)] == keys
    return keys


def test_a_cursor_moves_with_the_transaction(database: sa.Engine) -> None:
    with database.connect() as connection:
        assert read_cursor(connection, *WHO) is None
        move_cursor(connection, *WHO, "1")
        connection.rollback()
        assert read_cursor(connection, *WHO) is None
        move_cursor(connection, *WHO, "1")
        move_cursor(connection, "edge", "java", "9")
        connection.commit()
        move_cursor(connection, *WHO, "2")
        connection.commit()
        assert read_cursor(connection, *WHO) == "2"
        assert read_cursor(connection, "edge", "java") == "9"


def test_a_cursor_that_is_there_already_is_not_written(database: sa.Engine) -> None:
    version = sa.select(sa.literal_column("ctid::text || xmin::text")).select_from(cursor)
    with database.connect() as connection:
        move_cursor(connection, *WHO, "1")
        connection.commit()
        before = connection.execute(version).scalar()
        move_cursor(connection, *WHO, "1")
        connection.commit()
        assert connection.execute(version).scalar() == before


def test_reports_wait_in_their_order_and_leave_when_sent(database: sa.Engine) -> None:
    queue_reports(database, *WHO, {"b": {"n": 1}})
    queue_reports(database, *WHO, {"a": {"n": 1}, "c": {"n": 1}})
    queue_reports(database, "edge", "java", {"z": {}})
    assert _keys(database) == ["b", "a", "c"]
    take_out(database, *WHO, waiting_reports(database, *WHO, ["a", "b", "z"]))
    assert _keys(database) == ["c"]
    assert count_waiting(database, "edge", "java") == 1


def test_a_newer_report_replaces_one_that_waits_and_is_not_taken_out_with_it(database: sa.Engine) -> None:
    queue_reports(database, *WHO, {"a": {"status": "failed"}})
    old = waiting_reports(database, *WHO, ["a"])
    note_attempt(database, *WHO, ["a"])
    queue_reports(database, *WHO, {"a": {"status": "synced"}})
    take_out(database, *WHO, old)
    [left] = waiting_reports(database, *WHO, ["a"])
    assert (left.payload, left.attempts) == ({"status": "synced"}, 0)


def test_what_was_refused_often_waits_longest_and_is_dropped_in_the_end(database: sa.Engine) -> None:
    queue_reports(database, *WHO, {"a": {}, "b": {}})
    note_attempt(database, *WHO, ["a"])
    assert _keys(database) == ["b", "a"]
    assert drop_after(database, *WHO, 2) == 0
    note_attempt(database, *WHO, ["a"])
    assert drop_after(database, *WHO, 2) == 1
    assert _keys(database) == ["b"]


def test_nothing_to_queue_is_no_error(database: sa.Engine) -> None:
    queue_reports(database, *WHO, {})
    assert count_waiting(database, *WHO) == 0
