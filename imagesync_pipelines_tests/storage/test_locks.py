"""One holder per connector at a time; a second waits, then is told who holds it; a killed holder holds nothing."""

import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.database import with_driver
from imagesync_pipelines.storage.errors import AccountBusyError, LockLostError
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines.storage.locks import HeldLock, account_lock

HOLDER = """
import sys, time, sqlalchemy as sa
from imagesync_pipelines.storage.locks import account_lock
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


def ask_for_long(held: HeldLock) -> None:
    """The server tells the end of a session when it has ended it."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        held.check()


def test_a_holder_whose_connection_is_cut_is_told_when_it_asks_and_a_second_one_comes_in(database: sa.Engine) -> None:
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'imagesync image%'"
    )
    with account_lock(database, "image_db", 0) as held:
        held.check()
        with database.connect() as connection:
            connection.execute(cut)
        was_cut = "image_db: the connection to the database was cut"
        with account_lock(database, "image_db", 5), pytest.raises(LockLostError, match=was_cut):
            ask_for_long(held)
        with pytest.raises(LockLostError):
            held.check()


def test_what_the_server_says_beside_is_not_taken_for_the_end(database: sa.Engine) -> None:
    """A reloaded configuration is told to every session, also to one that waits."""
    with account_lock(database, "image_db", 0) as held:
        held._connection.execute(sa.text("LISTEN something"))
        with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text("NOTIFY something"))
        time.sleep(0.1)
        held.check()
        assert not held.lost


def test_both_ends_of_a_locks_connection_look_after_it(database: sa.Engine) -> None:
    asked: list[str] = []
    sa.event.listen(database, "before_cursor_execute", lambda *heard: asked.append(str(heard[2])))
    with account_lock(database, "edge/store1", 0), database.connect() as connection:
        ours = connection.connection.driver_connection.info.get_parameters()  # type: ignore[union-attr]
    assert (ours["keepalives"], ours["keepalives_idle"], ours["keepalives_count"]) == ("1", "30", "3")
    assert any("set_config('tcp_keepalives_idle', '30'" in statement for statement in asked), "nor does the server wait"
