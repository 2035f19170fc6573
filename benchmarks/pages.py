"""Made-up pages of the image database for the benchmarks, in one file, so that no process holds all of them."""

import csv
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

import orjson

from imagesync_pipelines.sandbox.image_db.catalogue import build_catalogue
from imagesync_pipelines.sandbox.image_db.products import write_erp_csv
from imagesync_pipelines.sandbox.image_db.records import Record, Workshop

ABOUT = "pages.json"
SEED = 1
API = "http://localhost/api/image-data/"
# So many records the sandbox makes; more are copies of these.
MADE = 25_000
# No id of the first records, their exports and products is larger.
IDS = 10_000_000
# What is another one's in each copy of a record: ids; what stands after a number's quotation mark and the media folder.
_OWN = re.compile(rb'("(?:db_id|file_id|id)":)(\d+)|"number":"|/media/')
# The records as they are have four exports on average; these two further ones are what a second export adds.
EXPORTED_AGAIN = ("png", "jpg_g")


@dataclass(frozen=True)
class MadePages:
    """Where the pages are (one per line) with the ERP's two files, and what is in them."""

    path: Path
    parents: Path
    variants: Path
    images: int
    pages: int
    exports: int
    links: int
    bytes: int

    def bodies(self) -> Iterator[bytes]:
        """The pages in order, one in memory at a time."""
        with self.path.open("rb") as file:
            yield from file


def make_pages(folder: Path, images: int, page_size: int) -> MadePages:
    """Write `images` records on pages of `page_size` into `folder`; the same arguments give the same pages.

    More than MADE of them are copies of the first ones under other ids, names and product numbers, with products of
    their own: the sandbox has numbers of six digits, and takes the longer to find a free one the more are taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = build_catalogue(SEED, min(images, MADE))
    parents, variants = write_erp_csv(catalogue.products, folder)
    rows = [_long_lived(catalogue.workshop, row) for row in catalogue.rows(0, len(catalogue))[1]]
    copies = -(-images // len(rows))
    for path in (parents, variants):
        _copy_products(path, copies)
    path, pages, exports, links = folder / "pages.jsonl", -(-images // page_size), 0, 0
    all_rows = islice((_copy(row, copy) for copy in range(copies) for row in rows), images)
    with path.open("wb") as file:
        for page in range(1, pages + 1):
            found = b",".join(islice(all_rows, page_size))
            exports += found.count(b'"filename":')
            links += found.count(b'"number":')
            following = f'"{API}?page={page + 1}&page_size={page_size}"' if page < pages else "null"
            head = f'{{"count":{images},"next":{following},"previous":null,"results":['
            file.write(b"%b%b]}\n" % (head.encode(), found))
    made = MadePages(path, parents, variants, images, pages, exports, links, path.stat().st_size)
    (folder / ABOUT).write_text(json.dumps(asdict(made), default=str))
    return made


def read_made(folder: Path) -> MadePages:
    """What make_pages wrote into this folder."""
    about = json.loads((folder / ABOUT).read_text())
    return MadePages(**{**about, **{name: Path(about[name]) for name in ("path", "parents", "variants")}})


def _long_lived(workshop: Workshop, row: bytes) -> bytes:
    """A record with exports gets two more of them, which brings it to the size of a long-lived one."""
    record: Record = orjson.loads(row)
    exports = record["exported_files"]
    sized = next((export for export in exports if export["type"] == "tiff" and export["resolution"]), None)
    if sized is not None:
        made = datetime.fromisoformat(sized["created"]) + timedelta(days=120)
        exports += [workshop.export(kind, made, *sized["resolution"]) for kind in EXPORTED_AGAIN]
    return orjson.dumps(record)


def _copy(row: bytes, copy: int) -> bytes:
    """The record under the ids, names and product numbers of a copy; copy 0 is the record itself."""

    def renamed(found: re.Match[bytes]) -> bytes:
        if found[1] is not None:
            return found[1] + b"%d" % (int(found[2]) + copy * IDS)
        return found[0] + (b"%d/" if found[0].endswith(b"/") else b"%d") % copy

    return _OWN.sub(renamed, row) if copy else row


def _copy_products(path: Path, copies: int) -> None:
    """Add the copies of the products of a file of the ERP's to it."""
    with path.open(encoding="utf-8", newline="") as file:
        names, *rows = csv.reader(file)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for copy in range(1, copies):
            writer.writerows(
                [_of_copy(name, value, copy) for name, value in zip(names, row, strict=True)] for row in rows
            )


def _of_copy(name: str, value: str, copy: int) -> str:
    if name in ("id", "parent_id"):
        return str(int(value) + copy * IDS) if value else ""
    return f"{copy}{value}" if value and ("sku" in name or name == "legacy_id") else value
