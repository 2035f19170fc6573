"""Made-up pages of the image database for the benchmarks, in one file, so that no process holds all of them."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import orjson

from imagesync_pipelines.sandbox.image_db.catalogue import build_catalogue
from imagesync_pipelines.sandbox.image_db.products import write_erp_csv
from imagesync_pipelines.sandbox.image_db.records import Record, Workshop

ABOUT = "pages.json"
SEED = 1
API = "http://localhost/api/image-data/"
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
    """Write `images` records on pages of `page_size` into `folder`; the same arguments give the same pages."""
    folder.mkdir(parents=True, exist_ok=True)
    catalogue = build_catalogue(SEED, images)
    parents, variants = write_erp_csv(catalogue.products, folder)
    path = folder / "pages.jsonl"
    pages = -(-images // page_size)
    exports = links = 0
    with path.open("wb") as file:
        for page in range(1, pages + 1):
            _, rows = catalogue.rows((page - 1) * page_size, page * page_size)
            records: list[Record] = [orjson.loads(row) for row in rows]
            for record in records:
                _export_again(catalogue.workshop, record)
                exports += len(record["exported_files"])
                links += len(record["articles"])
            following = f"{API}?page={page + 1}&page_size={page_size}" if page < pages else None
            envelope = {"count": images, "next": following, "previous": None, "results": records}
            file.write(orjson.dumps(envelope) + b"\n")
    made = MadePages(path, parents, variants, images, pages, exports, links, path.stat().st_size)
    (folder / ABOUT).write_text(json.dumps(asdict(made), default=str))
    return made


def read_made(folder: Path) -> MadePages:
    """What make_pages wrote into this folder."""
    about = json.loads((folder / ABOUT).read_text())
    return MadePages(**{**about, **{name: Path(about[name]) for name in ("path", "parents", "variants")}})


def _export_again(workshop: Workshop, record: Record) -> None:
    """Give a record with exports two more of them, which brings it to the size of a long-lived one."""
    exports = record["exported_files"]
    sized = next((export for export in exports if export["type"] == "tiff" and export["resolution"]), None)
    if sized is not None:
        made = datetime.fromisoformat(sized["created"]) + timedelta(days=120)
        exports += [workshop.export(kind, made, *sized["resolution"]) for kind in EXPORTED_AGAIN]
