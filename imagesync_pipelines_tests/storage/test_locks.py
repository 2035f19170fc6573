"""One holder per connector at a time; a second waits, then is told who holds it; a killed holder holds nothing."""

import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.database import account_lock, with_driver
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines.storage.installation import Locations

HOLDER = """
import sys, time, sqlalchemy as sa
from imagesync_pipelines.storage.database import account_lock
with account_lock(sa.create_engine(sys.argv[1]), "image_db", 0):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_holder_is_refused_and_told_who_holds_it_since_when(database: sa.Engine) -> None:
    with account_lock(database, "image_db", 0):
        busy = r"synchronised already \(imagesync image_db: process \d+ on \S+, since \d{4}-\d\d-\d\d .*\)"
        with pytest.raises(AccountBusyError, match=busy), account_lock(database, "image_db", 0.3):
            pytest.fail("two holders")


def test_a_second_holder_waits_for_the_first(database: sa.Engine) -> None:
    order = []
    ready = threading.Event()

    def first() -> None:
        with account_lock(database, "image_db", 0):
            ready.set()
            time.sleep(0.5)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    ready.wait()
    with account_lock(database, "image_db", 10):
        order.append("second")
    thread.join()
    assert order == ["first", "second"]


def test_connectors_and_databases_do_not_block_each_other(database: sa.Engine, locations: Locations) -> None:
    with account_lock(database, "image_db", 0), account_lock(database, "plytix", 0):
        pass
    elsewhere = sa.create_engine(with_driver(locations.dagster_url, "psycopg"))
    with account_lock(database, "image_db", 0), account_lock(elsewhere, "image_db", 0):
        pass


def test_the_lock_is_given_back_when_the_body_fails(database: sa.Engine) -> None:
    with pytest.raises(RuntimeError, match="body"), account_lock(database, "image_db", 0):
        raise RuntimeError("body")
    with account_lock(database, "image_db", 0):
        pass


def test_a_lost_connection_does_not_hide_the_error_of_the_body(
    database: sa.Engine, caplog: pytest.LogCaptureFixture
) -> None:
    others = sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'imagesync %'")

    def lose_the_connection_and_fail() -> None:
        with account_lock(database, "image_db", 0):
            with database.connect() as connection:
                connection.execute(others)
            raise RuntimeError("body")

    with pytest.raises(RuntimeError, match="body"):
        lose_the_connection_and_fail()
    assert "the lock was lost" in caplog.text
    with account_lock(database, "image_db", 5):
        pass


def test_a_killed_holder_holds_nothing(database: sa.Engine, database_url: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, database_url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(AccountBusyError, match=f"process {holder.pid} "), account_lock(database, "image_db", 0):
        pytest.fail("two holders")
    holder.kill()
    holder.communicate()
    with account_lock(database, "image_db", 5):
        pass


def test_the_holders_name_does_not_stay_on_pooled_connections(database: sa.Engine) -> None:
    with account_lock(database, "image_db", 0):
        pass
    with database.connect() as connection:
        assert connection.execute(sa.text("SHOW application_name")).scalar() == "imagesync"
