"""A crash at every effect, kill -9, a full disk, a cut connection: run again, converge, nothing lost, nothing twice."""

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import applying
from imagesync_pipelines.connectors.edge import store as stores
from imagesync_pipelines.connectors.edge.downloads import Downloads
from imagesync_pipelines.connectors.edge.errors import StoreFullError
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.store import StoreDatabase, anything_pending, mark_pending
from imagesync_pipelines.connectors.edge.target import SERVER_GONE
from imagesync_pipelines.sync.model import Scope
from imagesync_pipelines_tests.connectors.edge.photos import (
    Basket,
    Source,
    photo,
    picture,
    rows_of,
    run_sql,
    settings_of,
    some_id,
)
from imagesync_pipelines_tests.connectors.edge.test_applying import plan, source_of, sync
from imagesync_pipelines_tests.connectors.edge.test_applying_histories import check_pictures

EFFECTS = ("rename", "write_with_bytes", "write_without_bytes", "note_unwritten", "remove")
ABSENT = Scope(None, None, frozenset({some_id("photo", 3)}))


class CrashError(BaseException):
    """The process ends here."""


def day_two() -> list[Photo]:
    """1 is new, 2 has another order, 3 was replaced by 30, 4 has other bytes."""
    return [
        photo(1),
        photo(2, sort_order=5),
        photo(30, picture(30), product_id=some_id("product", 3)),
        photo(4, picture(40)),
    ]


@contextmanager
def crashing(monkeypatch: pytest.MonkeyPatch, effect: str, when: str) -> Iterator[None]:
    real: Callable[..., object] = getattr(stores, effect)

    def crash(*arguments: object, **named: object) -> object:
        if when == "after":
            real(*arguments, **named)
        raise CrashError(effect)

    with monkeypatch.context() as patch:
        patch.setattr(stores, effect, crash)
        yield


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", EFFECTS)
def test_a_crash_at_any_effect_leaves_nothing_half_done(
    store: StoreDatabase, monkeypatch: pytest.MonkeyPatch, effect: str, when: str
) -> None:
    sync(store, [photo(number) for number in (2, 3, 4)], source_of(2, 3, 4))
    source = source_of(1, 30)
    source.bodies[some_id("photo", 4)] = picture(40)
    mark_pending(store, day_two())
    before = rows_of(store)
    with crashing(monkeypatch, effect, when), pytest.raises(CrashError):
        sync(store, day_two(), source, ABSENT)
    assert rows_of(store) == before
    assert anything_pending(store)
    sync(store, day_two(), source, ABSENT)
    check_pictures(store)
    rows = rows_of(store)
    assert set(rows) == {listed.photo_id for listed in day_two()}
    assert set(plan(store, day_two()).plan["change"]) == {"keep"}


def test_a_crash_between_commit_and_report_is_reported_again_by_the_same_plan(store: StoreDatabase) -> None:
    made, source = plan(store, [photo(1)]), source_of(1)

    def crash(reports: object) -> None:
        raise CrashError("before the report was kept")

    with pytest.raises(CrashError):
        applying.apply_photos(made.plan, made.payload, store, downloads_of(source), Basket(), on_written=crash)
    told: list[str] = []
    applying.apply_photos(
        made.plan, made.payload, store, downloads_of(source), Basket(),
        on_written=lambda reports: told.extend(report.photo_id for report in reports),
    )  # fmt: skip
    assert told == [some_id("photo", 1)]
    assert len(source.opened) == 1


def downloads_of(source: Source) -> Downloads:
    return Downloads(source.open, settings_of())


def test_a_full_disk_ends_the_run_with_what_to_do_and_the_next_run_goes_on(
    store: StoreDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, source = [photo(number) for number in range(6)], source_of(*range(6))
    run_sql(
        store,
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON product_photo
        FOR EACH ROW WHEN (NEW.sort_order = 9) EXECUTE FUNCTION full_disk()
        """,
    )
    photos[4] = photos[4]._replace(sort_order=9)
    with pytest.raises(StoreFullError, match="no room left"):
        sync(store, photos, source, policy=settings_of(rows_per_commit=1))
    check_pictures(store)
    run_sql(store, "DROP TRIGGER full_disk ON product_photo")
    sync(store, photos, source)
    assert len(rows_of(store)) == 6


def test_a_connection_that_is_cut_ends_the_run_and_the_next_run_goes_on(store: StoreDatabase) -> None:
    photos, source = [photo(number) for number in range(10)], source_of(*range(10))

    def cut(listed: Photo) -> None:
        if listed.photo_id == photos[7].photo_id:
            url = store.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
            with psycopg.connect(url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )

    source.before = cut
    with pytest.raises(SERVER_GONE):
        hold_open_and_sync(store, photos, source)
    source.before = lambda listed: None
    sync(store, photos, source)
    check_pictures(store)
    assert len(rows_of(store)) == 10


def hold_open_and_sync(store: StoreDatabase, photos: list[Photo], source: Source) -> None:
    """Sync in one transaction that is open while photos are fetched, so that the cut meets it."""
    with store.engine.begin() as connection:
        connection.execute(sa.text("SELECT 1"))
        sync(store, photos, source)
        connection.execute(sa.text("SELECT 1"))


_KILLED = """
    import sys
    from imagesync_pipelines.connectors.edge.store import open_store
    from imagesync_pipelines_tests.connectors.edge.photos import photo, settings_of
    from imagesync_pipelines_tests.connectors.edge.test_applying import source_of, sync
    import time
    store = open_store(sys.argv[1])
    source = source_of(*range(300))
    source.before = lambda listed: time.sleep(0.01)
    print("ready", flush=True)
    sync(store, [photo(number) for number in range(300)], source, policy=settings_of(rows_per_commit=5))
"""


@pytest.mark.slow
def test_kill_9_in_the_middle_loses_nothing_and_doubles_nothing(store: StoreDatabase) -> None:
    url = store.engine.url.render_as_string(hide_password=False)
    command = [sys.executable, "-c", textwrap.dedent(_KILLED), url]
    photos = [photo(number) for number in range(300)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]) as child:
        deadline = time.monotonic() + 60
        while len(rows_of(store, "1")) < 20:
            assert time.monotonic() < deadline
            assert child.poll() is None
            time.sleep(0.02)
        child.send_signal(signal.SIGKILL)
    check_pictures(store)
    done = len(rows_of(store, "1"))
    assert 20 <= done < 300
    source = source_of(*range(300))
    assert sync(store, photos, source).verified == 300 - done
    check_pictures(store)
    assert set(plan(store, photos).plan["change"]) == {"keep"}
