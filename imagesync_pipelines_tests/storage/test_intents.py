"""An intent is there exactly while its outcome is not written."""

import sqlalchemy as sa

from imagesync_pipelines.storage.intents import begin_intent, close_intents, open_intents


def test_an_intent_is_open_until_the_transaction_of_its_outcome_commits(database: sa.Engine) -> None:
    begin_intent(database, "plytix", "gallery-1", "abc", "run-1")
    begin_intent(database, "plytix", "gallery-2", "def", "run-1")
    begin_intent(database, "edge", "gallery-1", "ghi", None)
    with database.connect() as connection:
        close_intents(connection, "plytix", ["gallery-1"])
        connection.rollback()
    assert [intent.group for intent in open_intents(database, "plytix")] == ["gallery-1", "gallery-2"]
    with database.begin() as connection:
        close_intents(connection, "plytix", ["gallery-1"])
    (left,) = open_intents(database, "plytix")
    assert (left.group, left.fingerprint, left.run_id) == ("gallery-2", "def", "run-1")
    assert len(open_intents(database, "edge")) == 1


def test_a_second_attempt_on_a_group_replaces_the_first(database: sa.Engine) -> None:
    begin_intent(database, "plytix", "gallery-1", "abc", "run-1")
    begin_intent(database, "plytix", "gallery-1", "xyz", "run-2")
    (only,) = open_intents(database, "plytix")
    assert (only.fingerprint, only.run_id) == ("xyz", "run-2")
