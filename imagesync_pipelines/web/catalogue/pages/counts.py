"""How many products each filter finds: numbers that come after the page, because counting takes longer than listing."""

import time
from dataclasses import dataclass, field
from threading import Lock

from fastapi import APIRouter, Request
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.pages.products import CHIPS
from imagesync_pipelines.web.catalogue.pages.rendering import Here, render
from imagesync_pipelines.web.catalogue.queries.products import Filters, count_products
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)

KEPT_SECONDS = 60.0


@dataclass
class KeptCounts:
    """The numbers of this process and when they were counted; one thread counts, the others wait for it."""

    lock: Lock = field(default_factory=Lock)
    counted_at: float = float("-inf")
    numbers: dict[str, int] = field(default_factory=dict)

    def current(self, opened: Opened) -> dict[str, int]:
        """The numbers by filter, counted again after a minute; `all` is of all products."""
        with self.lock:
            if time.monotonic() - self.counted_at > KEPT_SECONDS:
                self.numbers = _count(opened)
                self.counted_at = time.monotonic()
            return self.numbers


@router.get("/counts", name="counts")
def counts(request: Request, opened: Here) -> Response:
    """The numbers, each in the place on the page that waits for it."""
    kept: KeptCounts = request.app.state.counts
    return render(request, "parts/counts.html", {"counts": kept.current(opened)})


def _count(opened: Opened) -> dict[str, int]:
    height = opened.showing.image_db_detail_min_height
    asked = {"all": Filters(), **{name: Filters(**{name: True}) for name, _, _ in CHIPS}}  # type: ignore[arg-type]
    return {name: count_products(opened.engine, filters, min_height=height) for name, filters in asked.items()}
