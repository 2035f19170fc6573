"""The mirror is brought up to date set-based: what is as before is not written, what is gone stays as a tombstone."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.storage import mirror as code
from imagesync_pipelines.storage.mirror import Merged, MirrorRow
from imagesync_pipelines.storage.schema import mirror

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
WHO = ("edge", "bali")


def _row(key: str, fingerprint: str = "f", group: str | None = None, **payload: str) -> MirrorRow:
    return MirrorRow(key, group or f"group {key}", fingerprint, json.dumps({"key": key, **payload}), NOON)


@pytest.fixture
def connection(database: sa.Engine) -> Iterator[sa.Connection]:
    with database.connect() as connection, code.staging(connection):
        yield connection


def _merge(connection: sa.Connection, *rows: MirrorRow, scan: int | None = 1) -> Merged:
    code.stage_nothing(connection)
    code.stage(connection, rows)
    code.settle_staging(connection)
    merged = code.merge(connection, *WHO, scan)
    connection.commit()
    return merged


def _versions(connection: sa.Connection) -> dict[str, str]:
    """The physical version of every row: it changes when a row is written."""
    found = connection.execute(sa.select(mirror.c.key, sa.literal_column("ctid::text || xmin::text"))).all()
    connection.commit()
    return {row[0]: row[1] for row in found}


def test_rows_are_new_once_and_then_unchanged(connection: sa.Connection) -> None:
    assert _merge(connection, _row("a"), _row("b")) == (2, 0, 0, 0)
    before, at = _versions(connection), code.mirror_at(connection, *WHO)
    assert _merge(connection, _row("a"), _row("b"), scan=2) == (0, 0, 0, 2)
    assert _versions(connection) == before
    assert code.mirror_at(connection, *WHO) == at


def test_a_reading_that_waits_for_its_source_leaves_no_transaction_open(
    connection: sa.Connection, database: sa.Engine
) -> None:
    server = connection.connection.driver_connection.info.backend_pid  # type: ignore[union-attr]
    code.stage(connection, [_row("a")])
    with database.connect() as other:
        state = other.scalar(sa.text("SELECT state FROM pg_stat_activity WHERE pid = :server"), {"server": server})
    assert state == "idle"


def test_only_what_changed_is_written(connection: sa.Connection) -> None:
    _merge(connection, _row("a"), _row("b"))
    before, at = _versions(connection), code.mirror_at(connection, *WHO)
    assert _merge(connection, _row("a", "g"), _row("b")) == (0, 1, 0, 1)
    after = _versions(connection)
    assert after["a"] != before["a"]
    assert after["b"] == before["b"]
    assert code.mirror_at(connection, *WHO) > at  # type: ignore[operator]


def test_a_payload_is_kept_up_to_date_without_counting_as_a_change(connection: sa.Connection) -> None:
    _merge(connection, _row("a", name="old"))
    at = code.mirror_at(connection, *WHO)
    assert _merge(connection, _row("a", name="new")) == (0, 0, 0, 1)
    assert list(code.read_mirror(connection, *WHO, {"name": pa.string()})["name"]) == ["new"]
    assert code.mirror_at(connection, *WHO) == at


def test_of_a_key_that_comes_twice_the_later_row_counts(connection: sa.Connection) -> None:
    code.stage(connection, [_row("a", "1"), _row("b")])
    code.stage(connection, [_row("a", "2")])
    assert code.settle_staging(connection) == 2
    assert code.merge(connection, *WHO, None) == (2, 0, 0, 0)
    assert list(code.read_mirror(connection, *WHO)["fingerprint"]) == ["2", "f"]


def test_a_row_that_was_not_legible_keeps_what_the_mirror_has(connection: sa.Connection) -> None:
    _merge(connection, _row("a"), _row("b"))
    unreadable = MirrorRow("a", None, None, None, None)
    assert _merge(connection, unreadable, _row("c")) == (1, 0, 0, 0)
    assert code.mark_missing_gone(connection, *WHO, "not listed") == 1
    assert list(code.read_mirror(connection, *WHO)["key"]) == ["a", "c"]


def test_what_is_gone_stays_as_a_tombstone_and_may_come_back(connection: sa.Connection) -> None:
    _merge(connection, _row("a"), _row("b"), _row("c"))
    assert code.mark_gone(connection, *WHO, ["a", "x"], "deleted") == 1
    assert code.mark_gone(connection, *WHO, ["a"], "deleted") == 0
    assert code.count_live(connection, *WHO) == 2
    assert code.read_gone(connection, *WHO, ["deleted"]) == {"a"}
    assert _merge(connection, _row("a"), _row("b")) == (0, 0, 1, 1)
    assert code.read_gone(connection, *WHO, ["deleted"]) == frozenset()
    assert code.count_live(connection, *WHO) == 3


def test_a_better_reason_replaces_the_first(connection: sa.Connection) -> None:
    _merge(connection, _row("a"), _row("b"))
    _merge(connection, _row("b"))
    code.mark_missing_gone(connection, *WHO, "not listed")
    assert code.read_gone(connection, *WHO, ["deleted"]) == frozenset()
    assert code.mark_gone(connection, *WHO, ["a"], "deleted") == 1
    assert code.read_gone(connection, *WHO, ["deleted"]) == {"a"}


def test_accounts_and_connectors_do_not_see_each_other(connection: sa.Connection) -> None:
    _merge(connection, _row("a"))
    assert code.merge(connection, "edge", "java", None) == (1, 0, 0, 0)
    code.mark_gone(connection, "edge", "java", ["a"], "deleted")
    assert list(code.read_mirror(connection, *WHO)["key"]) == ["a"]
    assert code.mirror_at(connection, "moysklad", "bali") is None


def test_left_behind_are_the_others_of_a_group_that_got_a_new_key(connection: sa.Connection) -> None:
    _merge(connection, _row("old", group="p"), _row("same", group="q"), _row("far", group="r"))
    code.stage_nothing(connection)
    code.stage(connection, [_row("new", group="p"), _row("same", group="q")])
    assert code.left_behind(connection, *WHO) == ["old"]


def test_changes_are_told_before_they_are_merged(connection: sa.Connection) -> None:
    _merge(connection, _row("a"), _row("b"), _row("c"))
    code.mark_gone(connection, *WHO, ["c"], "deleted")
    code.stage_nothing(connection)
    code.stage(connection, [_row("a"), _row("b", "g"), _row("c"), _row("d"), MirrorRow("e", None, None, None, None)])
    told = [payload["key"] for payloads in code.staged_changes(connection, *WHO) for payload in payloads]
    assert told == ["b", "c", "d"]


def test_many_changes_are_told_in_portions(connection: sa.Connection) -> None:
    code.stage(connection, [_row(f"{number:05}") for number in range(2500)])
    sizes = [len(payloads) for payloads in code.staged_changes(connection, *WHO)]
    assert sizes == [1000, 1000, 500]


def test_a_merge_that_is_not_committed_leaves_no_trace(database: sa.Engine) -> None:
    with database.connect() as connection, code.staging(connection):
        code.stage(connection, [_row("a")])
        code.merge(connection, *WHO, 1)
    with database.connect() as connection, code.staging(connection):
        assert code.count_live(connection, *WHO) == 0
        assert code.settle_staging(connection) == 0


def test_values_of_the_payload_are_read_as_columns_and_payloads_for_the_keys_asked(connection: sa.Connection) -> None:
    odd = "a 'quoted' \"name\",\nwith a % and a \\"
    _merge(connection, _row("it's", name=odd, size="12"), _row("b"), _row("gone"), _row("{c, \\d}", name=""))
    code.mark_gone(connection, *WHO, ["gone"], "deleted")
    frame = code.read_mirror(connection, *WHO, {"name": pa.string(), "size": pa.int64()})
    names = dict(zip(frame["key"], frame["name"], strict=True))
    assert names["it's"] == odd
    assert names["{c, \\d}"] == ""
    assert pd.isna(names["b"])
    assert frame.set_index("key").at["it's", "size"] == 12
    found = code.read_payloads(connection, *WHO, ["{c, \\d}", "it's", "gone", "unknown"])
    assert set(found["key"]) == {"it's", "{c, \\d}"}
    assert {json.loads(text)["name"] for text in found["payload"]} == {odd, ""}
    assert code.read_payloads(connection, *WHO, []).empty


def test_an_empty_mirror_is_an_empty_frame_with_its_columns(connection: sa.Connection) -> None:
    frame = code.read_mirror(connection, *WHO)
    assert list(frame.columns) == list(code.MIRROR_COLUMNS)
    assert frame.empty


READING = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from(["1", "2", None]), max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(readings=st.lists(st.tuples(READING, st.booleans()), min_size=1, max_size=4))
def test_the_mirror_is_what_was_last_seen(
    connection: sa.Connection, readings: list[tuple[dict[str, str | None], bool]]
) -> None:
    connection.execute(mirror.delete())
    connection.commit()
    expected: dict[str, str] = {}
    for reading, proven in readings:
        code.stage_nothing(connection)
        rows = [MirrorRow(k, None, None, None, None) if f is None else _row(k, f) for k, f in reading.items()]
        code.stage(connection, rows)
        merged = code.merge(connection, *WHO, None)
        if proven:
            code.mark_missing_gone(connection, *WHO, "not listed")
            expected = {key: fingerprint for key, fingerprint in expected.items() if key in reading}
        legible = {key: fingerprint for key, fingerprint in reading.items() if fingerprint is not None}
        expected |= legible
        assert sum(merged) == len(legible)
        frame = code.read_mirror(connection, *WHO)
        assert dict(zip(frame["key"], frame["fingerprint"], strict=True)) == expected
        connection.commit()
