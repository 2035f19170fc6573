"""The image database in the conformance tests."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imagesync_pipelines.connectors.image_db import columns, records
from imagesync_pipelines.connectors.image_db.settings import ImageDbSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.products import target
from imagesync_pipelines.sandbox.faults import answer
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.product_images import ProductImageSite, by_product
from imagesync_pipelines_tests.conformance.subject import (
    NOBODY,
    WRONG_PASSWORD,
    Automation,
    Held,
    Moment,
    Subject,
    locked,
    ours,
    slow_call,
    stumbling,
)
from imagesync_pipelines_tests.installations import World, world
from imagesync_pipelines_tests.places import databases, entered, environment_of, rows_of

RECORDS, PAGES = 130, 7
_IMAGES = """
SELECT p.sku, to_jsonb(i) - '{id,product_id,created_at,updated_at,first_synced,last_synced,plan_id,run_id}'::text[]
  FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id ORDER BY p.sku, i.external_id
"""


@dataclass
class ImageDbSite(ProductImageSite):
    """130 records on seven pages, and an ERP of files."""

    world: World
    server: EmbeddedServer
    folder: Path
    seen: dict[str, Held] = field(default_factory=dict, repr=False)

    def sync(self, **options: Any) -> runs.RunOutcome:
        return self.world.sync(**options)

    def held(self) -> Held:
        return by_product(self.rows(_IMAGES))

    def wanted(self) -> Held:
        """What an installation shows that begins now: nothing may depend on the way."""
        erp = [path.read_text() for path in sorted((self.folder / "erp").iterdir())]
        now = repr((self.environment, self.world.sandbox.catalogue.records(), erp))
        if now not in self.seen:
            self.seen[now] = self._begun_now()
        return self.seen[now]

    def _begun_now(self) -> Held:
        fresh = self.folder / "fresh"
        with databases(self.server) as (url, dagsters):
            environment = {**self.environment, **environment_of(fresh, url, dagsters)}
            with entered(environment):
                outcome = World(self.world.sandbox, environment).sync()
            assert outcome.status is not runs.Status.FAILED, outcome.error
            return by_product(rows_of(url, _IMAGES))

    def calls(self) -> int:
        return self.world.sandbox.ledger.count(ENDPOINT)

    def images(self) -> list[int]:
        """The file ids of the images that are shown."""
        found = self.rows("SELECT DISTINCT external_id::bigint FROM imagesync.product_image ORDER BY 1")
        return [row[0] for row in found]

    def change(self) -> None:
        first, second, *_ = self.images()
        self.world.sandbox.mutate("delete", file_id=first)
        self.world.sandbox.mutate("re_export", file_id=second)
        self.world.sandbox.mutate("insert")

    def change_again(self) -> None:
        self.change()

    def drop(self, group: str, key: str) -> None:
        self.world.sandbox.mutate("delete", file_id=int(key.partition("/")[2]))

    def sign(self, number: int) -> None:
        """The addresses of originals that no browser shows; those of the exports stay."""
        catalogue = self.world.sandbox.catalogue
        for file_id in catalogue.file_ids():
            record = catalogue.record(file_id)
            address = str(record["original_file"]["file_url"] or "").partition("?")[0]
            if address and record["original_file"]["format"] == "psd":
                record["original_file"]["file_url"] = f"{address}?X-Amz-Expires=60&X-Amz-Signature={number:064x}"
                catalogue.replace(file_id, record)

    def blur(self) -> None:
        catalogue = self.world.sandbox.catalogue
        record = next(
            found
            for found in map(catalogue.record, reversed(self.images()[:-1]))
            if any(export["resolution"] for export in found["exported_files"])
        )
        for export in record["exported_files"]:
            export["file_size"] = "much"
        record["original_file"]["uploaded_from"] = 7
        catalogue.replace(record["original_file"]["file_id"], record)

    @contextmanager
    def emptied(self) -> Iterator[None]:
        nothing = answer(200, '{"count": 0, "next": null, "previous": null, "results": []}', "application/json")
        self.world.sandbox.faults.add(nothing.at(ENDPOINT).for_good())
        yield
        self.world.sandbox.faults.clear()

    @contextmanager
    def nameless(self) -> Iterator[str]:
        catalogue, file_id = self.world.sandbox.catalogue, self.images()[-1]
        (sku, *_), *_ = self.rows(
            "SELECT p.sku FROM imagesync.product p JOIN imagesync.product_image i ON i.product_id = p.id "
            f"WHERE i.external_id = '{file_id}'"
        )
        place = catalogue.file_ids().index(file_id)
        record = catalogue.remove(file_id)
        unknown = -1
        catalogue.insert({**record, "original_file": {**record["original_file"], "file_id": unknown}}, place)
        yield sku
        catalogue.remove(unknown)
        catalogue.insert(record, place)

    @contextmanager
    def wrong_password(self) -> Iterator[str]:
        with self.with_variables(IMAGE_API_PASSWORD=WRONG_PASSWORD):
            yield "image_db source"

    @contextmanager
    def unreachable(self) -> Iterator[set[str]]:
        with self.with_variables(
            IMAGE_API_URL=f"{NOBODY}/api/", ERP_PARENTS_FILE="gone.csv", ERP_VARIANTS_FILE="gone.csv"
        ):
            yield {"image_db source", "image_db erp"}

    def lose(self) -> None:
        for file_id in self.world.sandbox.catalogue.file_ids()[-60:]:
            self.world.sandbox.mutate("delete", file_id=file_id)

    def leave(self) -> Callable[[], object]:
        catalogue = self.world.sandbox.catalogue
        file_id = self.images()[-1]
        place = catalogue.file_ids().index(file_id)
        record = catalogue.remove(file_id)
        return lambda: catalogue.insert(record, place)

    @contextmanager
    def broken(self) -> Iterator[set[str]]:
        catalogue, file_id = self.world.sandbox.catalogue, self.images()[-1]
        groups = self.rows(
            "SELECT DISTINCT p.sku FROM imagesync.product p JOIN imagesync.product_image i ON i.product_id = p.id "
            f"WHERE i.external_id = '{file_id}'"
        )
        record = catalogue.record(file_id)
        articles = record["articles"]
        catalogue.replace(file_id, {**record, "articles": None})
        yield {row[0] for row in groups}
        catalogue.replace(file_id, {**catalogue.record(file_id), "articles": articles})

    def stumbles(self) -> Mapping[str, AbstractContextManager[object]]:
        """Of images that are shown already and are exported anew; an image may be shown by several products."""
        self.sync()
        read, written, *others = self.images()[:6]
        for file_id in (read, written, *others):
            self.world.sandbox.mutate("re_export", file_id=file_id)
        faults = {
            read: _stumbling_on(read),
            written: stumbling(
                target, "_copied", lambda images, values: str(written) in images["external_id"].to_pylist()
            ),
        }
        shown = self.rows(
            "SELECT p.sku, i.external_id::bigint FROM imagesync.product p JOIN imagesync.product_image i "
            f"ON i.product_id = p.id WHERE i.external_id IN ('{read}', '{written}')"
        )
        return {sku: faults.pop(file_id, nullcontext()) for sku, file_id in shown}


@contextmanager
def _stumbling_on(file_id: int) -> Iterator[None]:
    """Reading many records at once, and reading this one alone."""
    many = stumbling(columns, "record_in_order", lambda raw: str(file_id).encode() in raw)
    alone = stumbling(records, "_record", lambda item, _: item["original_file"]["file_id"] == file_id)
    with many, alone:
        yield


@contextmanager
def made(server: EmbeddedServer, folder: Path) -> Iterator[ImageDbSite]:
    """A site that was never synchronised."""
    with world(server, folder, records=RECORDS) as running:
        yield ImageDbSite(running.environment, running, server, folder)


def night(site: ImageDbSite) -> None:
    """Synchronised once; the catalogue and the ERP have changed since."""
    site.sync()
    shown, sandbox = site.images(), site.world.sandbox
    for file_id in shown[:3]:
        sandbox.mutate("delete", file_id=file_id)
    for file_id in shown[3:9]:
        sandbox.mutate("re_export", file_id=file_id)
    for _ in range(3):
        sandbox.mutate("insert")
    sandbox.catalogue.products.parents[0]["name"] = "Another name"
    sandbox.write_erp_csv(site.folder / "erp")


def slow_pages(after: int) -> Moment:
    """Pages that take half a second, after so many that do not."""
    return slow_call(
        lambda site: site.world.sandbox.faults,
        lambda site: site.world.sandbox.ledger,
        ENDPOINT,
        after,
        seconds=0.5,
        times=None,
    )


SUBJECT = Subject(
    name="image_db",
    settings=ImageDbSettings,
    account="",
    made=made,
    before_a_kill=night,
    command=lambda site: ("sync", "image-db"),
    moments={
        "reading pages": slow_pages(4),
        "taking over products": locked(ours, "imagesync.product", "ACCESS EXCLUSIVE"),
        "validating": locked(ours, "imagesync.quarantine", "ACCESS EXCLUSIVE"),
        "planning": locked(ours, "imagesync.plan", "ACCESS EXCLUSIVE"),
        "applying": locked(ours, "imagesync.product_image"),
    },
    planned=locked(ours, "imagesync.product_image"),
    beside=slow_pages(0),
    # Every page, and one call to find out how many there are.
    quiet_calls=PAGES + 1,
    doctor_calls=1,
    # One for each of the five blocks of pages, because their records come in another order; without these it is 64.
    quiet_events=69,
    quiet_connections=11,
    after_plan=("product_images", "unmatched_articles"),
    applies="product_images",
    automation=Automation(
        by_itself=("image_db__sync__daily", "image_db__page_discovery"),
        needs={
            "IMAGE_API_URL": "https://images.example/api/",
            "IMAGE_API_USERNAME": "reader",
            "IMAGE_API_PASSWORD": "secret",
            "ERP_DATABASE_URL": "postgresql+psycopg://erp.example/erp",
        },
    ),
    wrong={
        "IMAGE_API_TIMEOUT": ("soon", "valid number"),
        "IMAGE_API_CONCURRENCY": ("0", "greater than or equal to 1"),
        "IMAGE_DB_SCHEDULE": ("daily", "five fields"),
        "ERP_PARENTS_FILE": ("parents.csv", "go together"),
    },
)
