"""The folder connector in the conformance tests: two pictures of each of eight products, in a folder on the disk."""

import hashlib
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import dagster as dg
from fsspec.implementations.local import LocalFileSystem
from PIL import Image

from imagesync_pipelines.connectors.folder import reading
from imagesync_pipelines.connectors.folder.settings import FolderSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.products import target
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.product_images import ProductImageSite, by_product
from imagesync_pipelines_tests.conformance.subject import Automation, Held, Moment, Subject, locked, ours, stumbling
from imagesync_pipelines_tests.places import databases, environment_of, rows_of

SKUS = tuple(f"A{number}" for number in range(1, 9))
URL = "https://images.example.com"
_PRODUCTS = "INSERT INTO imagesync.product (kind, erp_id, sku, name) VALUES " + ", ".join(
    f"('variant', '{sku}', '{sku}', 'Product {sku}')" for sku in SKUS
)
_IMAGES = """
SELECT p.sku, jsonb_build_array(i.external_id, i.image_url, i.is_primary)
  FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id ORDER BY p.sku, i.external_id
"""


@dataclass
class FolderSite(ProductImageSite):
    """Pictures named SKU_1 and SKU_2, and an installation that knows the products."""

    pictures: Path
    colours: Iterator[int] = field(default_factory=lambda: count(1), repr=False)

    def put(self, name: str) -> None:
        """A picture that no file had before, under this name."""
        made = io.BytesIO()
        Image.new("RGB", (30, 20), next(self.colours)).save(made, "PNG")
        (self.pictures / name).write_bytes(made.getvalue())

    def sync(self, **options: Any) -> runs.RunOutcome:
        with self.entered():
            return runs.only(runs.sync("folder", **options))

    def held(self) -> Held:
        return by_product(self.rows(_IMAGES))

    def wanted(self) -> Held:
        """Each file on the product that its name begins with; the first of a product is its primary."""
        files = sorted(self.pictures.iterdir())
        rows: list[tuple[str, list[Any]]] = []
        for path in files:
            sku, address = path.name.partition("_")[0], hashlib.sha256(path.read_bytes()).hexdigest()
            first = not rows or rows[-1][0] != sku
            rows.append((sku, [path.name, f"{URL}/images/content/{address}", first]))
        return by_product(rows)

    def calls(self) -> int:
        """The files that were read so far, as the runs tell it: a disk keeps no ledger."""
        with self.opened() as (_, instance):
            found = instance.fetch_materializations(dg.AssetKey(["folder", "files"]), limit=100).records
        told = [one.asset_materialization for one in found]
        return sum(int(str(one.metadata["files/read"].value)) for one in told if one is not None)

    def change(self) -> None:
        self.put("A1_3.png")
        self.put("A2_1.png")
        (self.pictures / "A3_2.png").unlink()

    @contextmanager
    def emptied(self) -> Iterator[None]:
        away = self.pictures.rename(self.pictures.with_name("away"))
        self.pictures.mkdir()
        yield
        self.pictures.rmdir()
        away.rename(self.pictures)

    @contextmanager
    def nameless(self) -> Iterator[str]:
        """A name that is not in the characters that the system says it is in."""
        self.put("A7_3.png")
        well = self.pictures / "A7_3.png"
        bad = well.rename(os.fsdecode(os.fsencode(self.pictures) + b"/A7_3\xff.png"))
        yield "A7"
        bad.rename(well)

    def change_again(self) -> None:
        self.put("A1_3.png")
        self.put("A2_1.png")

    def drop(self, group: str, key: str) -> None:
        (self.pictures / key.partition("/")[2]).unlink()

    @contextmanager
    def unreachable(self) -> Iterator[set[str]]:
        with self.with_variables(FOLDER_PATH=str(self.pictures.with_name("not-mounted"))):
            yield {"folder"}

    def lose(self) -> None:
        for path in self.pictures.glob("A[4-7]_*"):
            path.unlink()

    def leave(self) -> Callable[[], object]:
        path = self.pictures / "A6_2.png"
        content = path.read_bytes()
        path.unlink()
        return lambda: path.write_bytes(content)

    @contextmanager
    def broken(self) -> Iterator[set[str]]:
        (self.pictures / "A8_3.png").write_bytes((self.pictures / "A8_2.png").read_bytes()[:-20])
        yield {"A8"}
        self.put("A8_3.png")

    def stumbles(self) -> Mapping[str, AbstractContextManager[object]]:
        checked = (self.pictures / "A2_2.png").read_bytes()
        return {
            "A1": stumbling(LocalFileSystem, "cat_file", lambda _, path, *__, **___: path.endswith("A1_2.png")),
            "A2": stumbling(reading, "check_image", lambda body: body == checked),
            "A3": stumbling(target, "_copied", lambda images, values: "A3_2.png" in images["external_id"].to_pylist()),
        }


@contextmanager
def made(server: EmbeddedServer, folder: Path) -> Iterator[FolderSite]:
    """A site that was never synchronised."""
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    with databases(server) as (database, dagsters):
        rows_of(database, _PRODUCTS)
        where = {"FOLDER_PATH": str(pictures), "FOLDER_URL": URL}
        site = FolderSite({**environment_of(folder, database, dagsters), **where}, pictures)
        for sku in SKUS:
            site.put(f"{sku}_1.png")
            site.put(f"{sku}_2.png")
        yield site


def hour(site: FolderSite) -> None:
    """Synchronised once; pictures have come, changed and gone since."""
    site.sync()
    site.change()


def locked_briefly(table: str, seconds: float) -> Moment:
    """Somebody holds a table in which the run wants to write, and lets it go so long after the run began to wait."""

    @contextmanager
    def moment(site: FolderSite) -> Iterator[Callable[[], bool]]:
        taken, waited = threading.Event(), threading.Event()

        def hold() -> None:
            with locked(ours, table)(site) as waits:
                taken.set()
                while not waits() and not waited.is_set():
                    time.sleep(0.02)
                waited.set()
                time.sleep(seconds)

        holder = threading.Thread(target=hold)
        holder.start()
        taken.wait()
        try:
            yield waited.is_set
        finally:
            waited.set()
            holder.join()

    return moment


SUBJECT = Subject(
    name="folder",
    settings=FolderSettings,
    account="",
    made=made,
    before_a_kill=hour,
    command=lambda site: ("sync", "folder"),
    moments={
        "keeping pictures": locked(ours, "imagesync.image_content"),
        "moving the mirror": locked(ours, "imagesync.mirror"),
        "planning": locked(ours, "imagesync.plan"),
        "applying": locked(ours, "imagesync.product_image"),
    },
    planned=locked(ours, "imagesync.product_image"),
    beside=locked_briefly("imagesync.mirror", 1.0),
    quiet_calls=0,
    doctor_calls=0,
    quiet_events=23,
    quiet_connections=14,
    after_plan=("product_images",),
    applies="product_images",
    automation=Automation(by_itself=("folder__sync__hourly",), needs={"FOLDER_PATH": "pictures", "FOLDER_URL": URL}),
    wrong={
        "FOLDER_MAX_BYTES": ("0", "greater than or equal to 1"),
        "FOLDER_URL": ("images.example.com", "begins with http"),
        "FOLDER_PATTERN": ("(.+)", "a group named sku is needed"),
        "FOLDER_SCHEDULE": ("hourly", "five fields"),
    },
)
