"""The first synchronisation of a large catalogue: every photo is new, and nothing may be in memory for all of them."""

import hashlib
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, cast

from PIL import Image

from benchmarks.edge_bytes import new_store
from benchmarks.edge_catalogue import STORE, Body
from benchmarks.edge_photos import photo_at
from benchmarks.measuring import Stopwatch
from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi, ListingPage
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.reading import StoreRun, make_plan, take_photos
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.plans import Lineage
from imagesync_pipelines.sync.steps import RunContext

PAGE = 1000


@dataclass
class Office:
    """A head office of `number` photos; calls and bytes as the API counts them."""

    number: int
    calls: int = 0
    bytes: int = 0
    body: bytes = field(default_factory=lambda: picture())

    def list_page(self, store_id: str, *, since: datetime | None, limit: int, offset: int) -> ListingPage:
        """One page, made up."""
        self.calls += 1
        checksum, end = hashlib.md5(self.body).hexdigest(), min(offset + limit, self.number)
        page = tuple(photo_at(nth, checksum, len(self.body)) for nth in range(offset, end))
        return ListingPage(page, (), self.number, end if end < self.number else None, frozenset(), None)

    @contextmanager
    def open_photo(self, photo_id: str, store_id: str, *, start: int, etag: str) -> Iterator[Body]:
        """The picture, for every photo."""
        yield Body(self.body)


@cache
def picture() -> bytes:
    """A JPEG of a few hundred bytes."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 80, 40)).save(buffer, "JPEG")
    return buffer.getvalue()


def measure(home: Path, number: int) -> dict[str, Any]:
    """List, plan and apply into an empty store."""
    watch, settings = Stopwatch(), EdgeSettings(page_size=PAGE)
    database, office = new_store(home), cast(HeadOfficeApi, Office(number))
    with open_installation(Settings(home=home)) as place:
        context = RunContext(EDGE, STORE.name, Lineage("run"), place, settings)
        run = StoreRun(context, STORE, database, office)
        with watch.step("first synchronisation: listing"):
            take_photos(run, full=True, dry_run=False)
        with watch.step("first synchronisation: plan"):
            made = make_plan(run, allow_mass_delete=False)
        plan_id = made.shown["plan_id"]
        assert isinstance(plan_id, int)
        calls = context.plans.header(plan_id).cost["calls"]
        del made
        with watch.step("first synchronisation: apply"):
            done = apply_plan(run, plan_id)
    return {"spans": watch.as_json(), "downloads": calls, "verified": done.numbers["photos/verified"]}


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    print(json.dumps(measure(Path(arguments["home"]), arguments["photos"])))
