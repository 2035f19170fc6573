"""An item in quarantine keeps its reason, counts its attempts and never stops the others from going in."""

import secrets

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.quarantine import QuarantineItem, QuarantineTable


def _item(
    key: str, stage: str = "apply", reason: str = "it broke", group: str | None = None, payload: str | None = None
) -> QuarantineItem:
    return QuarantineItem(key, group, stage, reason, payload)


def test_meeting_an_item_again_counts_the_attempts_and_takes_the_newest_reason(database: sa.Engine) -> None:
    QuarantineTable(database, "image_db", "run-1").put([_item("1/7", reason="first", group="1")])
    (before,) = QuarantineTable(database, "image_db").list()
    QuarantineTable(database, "image_db", "run-2").put([_item("1/7", reason="second", payload="{}")])
    (after,) = QuarantineTable(database, "image_db").list()
    assert (before.attempts, after.attempts) == (1, 2)
    assert (before.group, after.group) == ("1", None)
    assert (after.reason, after.payload, after.run_id) == ("second", "{}", "run-2")
    assert after.first_seen == before.first_seen
    assert after.last_seen > before.last_seen


def test_the_same_item_twice_in_one_call_is_one(database: sa.Engine) -> None:
    table = QuarantineTable(database, "image_db")
    table.put([_item("a", reason="one"), _item("a", reason="two"), _item("a", stage="records")])
    assert sorted((e.stage, e.reason, e.attempts) for e in table.list()) == [
        ("apply", "two", 1),
        ("records", "it broke", 1),
    ]


def test_clearing_takes_a_key_out_whatever_stage_it_failed_in(database: sa.Engine) -> None:
    table, other = QuarantineTable(database, "image_db"), QuarantineTable(database, "plytix")
    for one in (table, other):
        one.put([_item("a"), _item("a", stage="records"), _item("b")])
    table.clear({"a"})
    assert [entry.key for entry in table.list()] == ["b"]
    assert len(other.list()) == 3


def test_dropping_by_number_stays_in_the_connector(database: sa.Engine) -> None:
    table, other = QuarantineTable(database, "image_db"), QuarantineTable(database, "plytix")
    table.put([_item("a")])
    (entry,) = table.list()
    assert other.drop([entry.id]) == 0
    assert table.list() == [entry]
    assert table.drop([entry.id]) == 1
    assert table.list() == []


@pytest.mark.parametrize("text", ["nul \x00 inside", "half a pair \ud83d", "Zinnfigur größer 漢字"])
def test_text_that_postgresql_refuses_does_not_stop_the_others(database: sa.Engine, text: str) -> None:
    table = QuarantineTable(database, "image_db")
    table.put([_item(text, reason=text, payload=text, group=text), _item("fine")])
    assert len(table.list()) == 2
    table.clear([text])
    assert [entry.key for entry in table.list()] == ["fine"]


def test_a_key_that_no_index_takes_is_kept_by_its_beginning_and_a_digest(database: sa.Engine) -> None:
    table = QuarantineTable(database, "folder")
    one, other = (secrets.token_hex(4500) for _ in range(2))
    table.put([_item(one), _item(one + "x"), _item(other)])
    assert len(table.list()) == 3
    table.clear([one, other])
    (left,) = table.list()
    assert left.key.startswith(one[:500])


def test_the_keys_of_a_large_run_are_cleared_in_one_go(database: sa.Engine) -> None:
    table = QuarantineTable(database, "image_db")
    table.put([_item(str(number)) for number in range(0, 1000, 2)])
    table.clear({str(number) for number in range(100_000)} - {"4"})
    assert [entry.key for entry in table.list()] == ["4"]


def test_nothing_in_nothing_out(database: sa.Engine) -> None:
    table = QuarantineTable(database, "image_db")
    table.put([])
    table.clear([])
    assert table.drop([]) == 0
    assert table.list() == []
