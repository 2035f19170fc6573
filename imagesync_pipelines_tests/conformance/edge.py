"""The edge in the conformance tests: the first of two stores of a head office."""

import hashlib
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import store as store_database
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.marking import MAKE_MARK, WRITE_MARK
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.connectors.edge.store import open_store, store_lock
from imagesync_pipelines.connectors.edge.store_schema import create_or_check
from imagesync_pipelines.defs import runs
from imagesync_pipelines.imaging import verdicts
from imagesync_pipelines.sandbox.faults import altered, answer
from imagesync_pipelines.sandbox.head_office.server import PASSWORD_VARIABLE
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING, STATUS
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.subject import (
    NOBODY,
    WRONG_PASSWORD,
    Automation,
    Held,
    Moment,
    Site,
    Subject,
    locked,
    ours,
    slow_call,
    spelt_otherwise,
    stumbling,
)
from imagesync_pipelines_tests.edge_installations import STORE, EdgeWorld, edge_world, head_office
from imagesync_pipelines_tests.edge_installations import Held as Photo

OTHER = "store2"
# Long enough that the call is still under way when its caller is killed; a sandbox that ends waits for it.
FOR_LONG = 8.0
CALLS = (LISTING, DOWNLOAD, STATUS)


@dataclass
class EdgeSite(Site):
    """A head office of twelve photos."""

    world: EdgeWorld

    def sync(self, **options: Any) -> runs.RunOutcome:
        return self.world.sync(**options)

    def has_table(self) -> bool:
        """A store gets its table from its first run."""
        return self.world.rows("SELECT to_regclass('product_photo')") != [(None,)]

    def photos(self) -> dict[str, Photo]:
        """What the store has, by photo id."""
        return self.world.photos() if self.has_table() else {}

    def held(self) -> Held:
        found: dict[str, dict[str, Photo]] = defaultdict(dict)
        for key, photo in self.photos().items():
            found[photo.product_id][key] = photo
        return found

    def written(self) -> Held:
        shown: dict[str, dict[str, Any]] = self.held()  # type: ignore[assignment]
        done = {key: {name: one for name, one in rows.items() if one.status == "synced"} for key, rows in shown.items()}
        return {key: rows for key, rows in done.items() if rows}

    def mains(self) -> Mapping[str, str]:
        skus = {str(row.product_id): row.sku for row in self.world.listed().values()}
        return {skus[one.product_id]: f"md5:{one.md5}" for one in self.photos().values() if one.is_primary}

    def wanted(self) -> Held:
        found: dict[str, dict[str, Photo]] = defaultdict(dict)
        primaries = self.world.primaries()
        for key, row in self.world.listed().items():
            product, first = str(row.product_id), key in primaries
            found[product][key] = Photo(product, row.checksum, row.checksum, "synced", "", row.sort_order, first)
        return found

    def stamps(self) -> object:
        return self.world.stamps() if self.has_table() else []

    def calls(self) -> int:
        return sum(self.world.office.ledger.count(endpoint) for endpoint in CALLS)

    def change(self) -> None:
        for operator in ("add", "replace", "delete_row"):
            self.world.office.mutate(operator)

    def change_again(self) -> None:
        for operator in ("replace", "replace", "delete_row"):
            self.world.office.mutate(operator)

    def put_beside(self) -> None:
        self.world.office.mutate("second_primary")

    def drop(self, group: str, key: str) -> None:
        self.world.office.mutate("delete_row", photo_id=uuid.UUID(key))

    def meddle(self, group: str, key: str) -> None:
        self.world.rows(f"UPDATE product_photo SET filename = 'by-hand.jpg' WHERE id = '{key}' RETURNING 1")

    def lose(self) -> None:
        """Photos vanish at the head office without a word, as the original one does it."""
        gone = sorted(self.photos())[:7]
        with self.world.office.office.engine.begin() as connection:
            statement = sa.text("DELETE FROM head_office.photo WHERE id = ANY(CAST(:ids AS uuid[]))")
            connection.execute(statement, {"ids": gone})

    @contextmanager
    def emptied(self) -> Iterator[None]:
        data = '{"photos": [], "total": 0, "has_more": false, "next_offset": null, "deleted_ids": []}'
        nothing = answer(200, f'{{"status": "success", "data": {data}}}', "application/json")
        self.world.office.faults.add(nothing.at(LISTING).for_good())
        yield
        self.world.office.faults.clear()

    @contextmanager
    def nameless(self) -> Iterator[str]:
        photo_id = self.unchanged()
        office = self.world.office
        office.faults.add(altered().at(LISTING).for_good())

        def unread(body: bytes) -> bytes:
            return body.replace(photo_id.encode(), b"?" * len(photo_id))

        with patch("imagesync_pipelines.sandbox.wire.flipped", unread):
            yield self.photos()[photo_id].product_id
        office.faults.clear()

    def unchanged(self) -> str:
        """A photo of a product that has been left alone."""
        held, listed = self.photos(), self.world.listed()
        changed = {str(row.product_id) for key, row in listed.items() if key not in held}
        changed |= {
            photo.product_id
            for key, photo in held.items()
            if key not in listed or listed[key].checksum != photo.checksum
        }
        return max(key for key, photo in held.items() if photo.product_id not in changed)

    def leave(self) -> Callable[[], object]:
        """A photo of a product that has been left alone, without a word of the head office."""
        engine, photo_id = self.world.office.office.engine, self.unchanged()
        with engine.begin() as connection:
            taken = sa.text("DELETE FROM head_office.photo WHERE id = CAST(:id AS uuid) RETURNING *")
            row = dict(connection.execute(taken, {"id": photo_id}).mappings().one())

        def back() -> None:
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            with engine.begin() as connection:
                connection.execute(sa.text(f"INSERT INTO head_office.photo ({names}) VALUES ({values})"), row)

        return back

    @contextmanager
    def broken(self) -> Iterator[set[str]]:
        office = self.world.office
        added = office.mutate("add")
        office.mutate("delete_object", photo_id=added.photo_id)
        yield {str(added.product_id)}
        office.mutate("replace", product_id=added.product_id)

    def stumbles(self) -> Mapping[str, AbstractContextManager[object]]:
        found = {str(row.product_id): (key, row.checksum) for key, row in sorted(self.world.listed().items())}
        (one, read), (two, checked), (three, written), *_ = found.items()

        def is_checked(body: bytes, **_: Any) -> bool:
            return hashlib.md5(body, usedforsecurity=False).hexdigest() == checked[1]

        return {
            one: stumbling(HeadOfficeApi, "open_photo", lambda api, key, *_, **__: key == read[0]),
            two: stumbling(verdicts, "check_image", is_checked),
            three: stumbling(
                store_database,
                "write_with_bytes",
                lambda connection, table, photos, moment: any(photo.photo_id == written[0] for photo, _ in photos),
            ),
        }

    def reasons(self) -> list[str]:
        return [photo.error for photo in self.photos().values()]

    @contextmanager
    def taken(self, owner: str) -> Iterator[None]:
        """A store is locked in its own database: nobody else may have our one."""
        database = open_store(store(self))
        try:
            with store_lock(database, 0):
                yield
        finally:
            database.engine.dispose()

    def set_aside(self) -> set[str]:
        failed = {key for key, photo in self.photos().items() if photo.status == "failed"}
        return super().set_aside() | failed

    @contextmanager
    def rotated(self) -> Iterator[None]:
        with self.with_accounts(store(self), spelt_otherwise(store(self))):
            yield

    @contextmanager
    def wrong_password(self) -> Iterator[str]:
        with self.with_variables(**{PASSWORD_VARIABLE: WRONG_PASSWORD}):
            yield f"edge {STORE} head office"

    @contextmanager
    def unreachable(self) -> Iterator[set[str]]:
        gone = sa.make_url(store(self)).set(database="gone").render_as_string(False)
        with self.with_accounts(self.world.office.url, NOBODY), self.with_accounts(store(self), gone):
            yield {f"edge {STORE} head office", f"edge {OTHER} head office", f"edge {STORE} database"}

    @contextmanager
    def another(self) -> Iterator[Callable[[], Held]]:
        """The database of a store that another installation filled; it is empty by now."""
        url = self.world.url_of(OTHER)
        database = open_store(url)
        create_or_check(database)
        with database.engine.begin() as connection:
            connection.execute(sa.text(MAKE_MARK))
            connection.execute(sa.text(WRITE_MARK), {"id": str(uuid.uuid4()), "installation": "gone"})
        database.engine.dispose()
        with (
            self.with_accounts(url, f"{url}_left"),
            self.with_accounts(store(self), url),
            self.with_variables(**{f"{STORE}_DATABASE": self.environment[f"{OTHER}_DATABASE"]}),
        ):
            yield self.held

    @contextmanager
    def own_source(self) -> Iterator[bool]:
        with self.with_accounts(store(self), self.world.office.office.engine.url.render_as_string(False)):
            yield True

    def assert_sound(self) -> None:
        photos = self.photos()
        assert all(photo.md5 in {None, photo.checksum} for photo in photos.values()), "nothing unproven"

    def assert_done_once(self) -> None:
        fetched = [call.part for call in self.world.office.ledger.calls(DOWNLOAD) if call.status == 200]
        assert len(fetched) == len(set(fetched)), "each photo is fetched once"
        assert set(self.photos()) <= set(fetched)

    def is_idle(self) -> bool:
        return not any(map(self.world.office.ledger.under_way, CALLS))

    def assert_right(self) -> None:
        super().assert_right()
        reported = {report.photo_id for report in self.world.office.reports() if report.status == "synced"}
        assert set(self.photos()) <= reported, "the head office hears of every photo"


@contextmanager
def made(server: EmbeddedServer, folder: Path) -> Iterator[EdgeSite]:
    """A site that was never synchronised."""
    with (
        head_office(server, folder / "office", photos=12) as office,
        edge_world(server, folder / "place", office) as running,
    ):
        # Photo by photo, so that a run can be caught in between.
        running.environment.update({"EDGE_ROWS_PER_COMMIT": "1", "EDGE_CONCURRENCY": "1"})
        yield EdgeSite(running.environment, running)


def day(site: EdgeSite) -> None:
    """Synchronised once; the head office has changed since."""
    site.sync(full=True)
    for operator in ("replace", "replace", "replace", "add", "add", "add", "delete_row", "edit"):
        site.world.office.mutate(operator)


def slow(endpoint: str, after: int = 0, seconds: float = FOR_LONG) -> Moment:
    """Calls of the head office that take long, after so many of their kind."""
    return slow_call(
        lambda site: site.world.office.faults,
        lambda site: site.world.office.ledger,
        endpoint,
        after,
        seconds=seconds,
        times=None,
    )


def store(site: EdgeSite) -> str:
    """The URL of the store's database."""
    return site.world.url_of(STORE)


SUBJECT = Subject(
    name="edge",
    settings=EdgeSettings,
    account=STORE,
    made=made,
    before_a_kill=day,
    command=lambda site: ("sync", "edge", "--store", STORE),
    moments={
        "listing": slow(LISTING),
        "downloading": slow(DOWNLOAD, 3),
        "reporting": slow(STATUS),
        "marking what is pending": locked(store, "product_photo"),
        "moving mirror and cursor": locked(ours, "imagesync.mirror"),
        "planning": locked(ours, "imagesync.plan"),
        "taking over the history": locked(ours, "imagesync.effect"),
    },
    planned=slow(DOWNLOAD),
    undoing=locked(store, "product_photo"),
    beside=slow(DOWNLOAD, seconds=1.0),
    quiet_calls=1,
    # A row of each store's listing.
    doctor_calls=2,
    quiet_events=50,
    quiet_connections=15,
    writes={"a report": lambda site: (STATUS, site.world.office.faults)},
    # The source mirror and its cursor are durable state: what a dry run read is not read again.
    after_plan=("photo_binaries",),
    applies="photo_binaries",
    whole={"full": True},
    automation=Automation(
        by_itself=("edge__sync__hourly", "edge__sync__daily_full", "edge__new_photos", "edge__overdue_runs"),
        needs={"IMAGESYNC_ACCOUNTS": "accounts.toml"},
        never=("edge__scrub__weekly",),
        schedule="edge__sync__hourly",
        partition_set="edge_stores",
        accounts=("store1", "store2"),
        missing="no edge stores",
    ),
    wrong={
        "EDGE_PAGE_SIZE": ("0", "greater than or equal to 1"),
        "EDGE_BYTES_FROM": ("ftp", "'ho' or 's3'"),
        "EDGE_FULL_SCHEDULE": ("daily", "five fields"),
        "EDGE_HEAD_OFFICE_TIMEZONE": ("Mars/Base", "no time zone of this name"),
        "EDGE_MISSING_PHOTO": ("teapot", "'404', 'placeholder' or 'redirect'"),
    },
)
