"""An intent is there exactly while its outcome is not written."""

import sqlalchemy as sa

from imagesync_pipelines.storage.effects import Author, EffectRow, effects_of_run
from imagesync_pipelines.storage.outbox import IN_PART, Intent, begin_intent, close_intents, note_details, open_intents
from imagesync_pipelines.storage.schema import intent as table


def _runs(database: sa.Engine, owner: str) -> list[str | None]:
    """The runs of the open intents."""
    with database.connect() as connection:
        return list(connection.scalars(sa.select(table.c.run_id).where(table.c.connector == owner)))


def test_an_intent_is_open_until_the_transaction_of_its_outcome_commits(database: sa.Engine) -> None:
    one, two = Intent("gallery-1", "abc"), Intent("gallery-2", "def")
    begin_intent(database, "plytix", one, "run-1")
    begin_intent(database, "plytix", two, "run-1")
    begin_intent(database, "edge", Intent("gallery-1", "ghi"), "run-2")
    with database.connect() as connection:
        close_intents(connection, "plytix", ["gallery-1"])
        connection.rollback()
    assert open_intents(database, "plytix") == [one, two]
    with database.begin() as connection:
        close_intents(connection, "plytix", ["gallery-1"])
    assert open_intents(database, "plytix") == [two]
    assert _runs(database, "plytix") == ["run-1"]
    assert len(open_intents(database, "edge")) == 1


def test_a_second_attempt_on_a_group_replaces_the_first(database: sa.Engine) -> None:
    begin_intent(database, "plytix", Intent("gallery-1", "abc"), "run-1")
    begin_intent(database, "plytix", Intent("gallery-1", "xyz"), "run-2")
    assert open_intents(database, "plytix") == [Intent("gallery-1", "xyz")]
    assert _runs(database, "plytix") == ["run-2"]


def test_what_was_done_is_told_in_the_transaction_of_the_outcome(database: sa.Engine) -> None:
    rows = tuple(EffectRow(key, "update", "other content", fingerprint_after="\x00new") for key in ("a", "b", "c", "d"))
    by = Author("run-1", "anna", plan_id=7)
    begin_intent(database, "moysklad/child-1", Intent("product:1", "abc", rows, by), "run-1")
    with database.begin() as connection:
        note_details(connection, "moysklad/child-1", {"product:1": {"a": {"before": {"name": "a.jpg"}}, "c": {}}})
        note_details(
            connection, "moysklad/child-1", {"product:1": {"c": None}, "product:2": {}, "product:3": {"a": {}}}
        )
        note_details(connection, "moysklad/child-1", {"product:1": {"d": {IN_PART: {"fingerprint_after": "half"}}}})
    with database.connect() as connection:
        close_intents(connection, "moysklad/child-1", ["product:1"], lambda row: row if row.key in "ac" else None)
        connection.rollback()
    assert effects_of_run(database, "run-1") == []
    for _ in range(2):
        with database.begin() as connection:
            close_intents(connection, "moysklad/child-1", ["product:1"], lambda row: row if row.key in "ac" else None)
    (told,) = effects_of_run(database, "run-1")
    assert (told.connector, told.account, told.group, told.by) == ("moysklad", "child-1", "product:1", by)
    assert told.rows == (
        EffectRow("a", "update", "other content", fingerprint_after="\ufffdnew", before={"name": "a.jpg"}),
        EffectRow("d", "update", "other content", fingerprint_after="half"),
    )
