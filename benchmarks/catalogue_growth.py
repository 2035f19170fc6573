"""What a page of the catalogue's list, its filters, counts and searches cost with so many products: processor time.

Runs under this tree and the one before; fills a home of its own, which does not count.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.catalogue_world import fill, settings_of
from benchmarks.measuring import processor_seconds
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.installation import open_installation

try:
    from imagesync_pipelines.web.catalogue import listing

    ORDERS: tuple[str, ...] = ("", "newest", "name", "sku")
except ImportError:  # the tree before
    from imagesync_pipelines.web.catalogue import queries as listing  # type: ignore[no-redef]

    ORDERS = ("sku",)

FILTERS = ("without_image", "without_front", "low_resolution")
WORDS = ("Fuchs", "Bär Schirm", "1", "10003", "P14", "zzz")
PAGE, SECONDS, MOST = 48, 1.0, 40


def main(home: str, products: int) -> None:
    """Fill, ask everything, and print the milliseconds of each, PostgreSQL's included, as JSON."""
    try:
        with open_installation(settings_of(Path(home))) as place:
            fill(place, products)
            asked = _asked(place.engine)
            server = ensure_server(Path(home)).pid
            print(json.dumps({name: _milliseconds(ask, server) for name, ask in asked.items()}))
    finally:
        stop_server(Path(home))


def _asked(engine: Any) -> dict[str, Callable[[], object]]:
    showing = ShowingSettings()

    def page(order: str = "sku", **values: Any) -> Callable[[], object]:
        filters, further = listing.Filters(**values), (order,) if len(ORDERS) > 1 else ()
        return lambda: listing.list_products(engine, filters, None, PAGE, showing, *further)

    def count(**values: Any) -> Callable[[], object]:
        filters = listing.Filters(**values)
        return lambda: listing.count_each(engine, {"": filters}, showing)

    def found(**values: Any) -> Callable[[], object]:
        filters = listing.Filters(**values)
        if len(ORDERS) == 1:  # the tree before did not say it
            return lambda: None
        return lambda: listing.count_found(engine, filters, showing)

    return {
        **{f"list {order or 'pictures first'}": page(order) for order in ORDERS},
        "count of all": count(),
        **{f"list {name}": page(**{name: True}) for name in FILTERS},
        **{f"count {name}": count(**{name: True}) for name in FILTERS},
        **{f"search {word}": page(q=word) for word in WORDS},
        **{f"number of {word}": found(q=word) for word in WORDS},
    }


def _milliseconds(ask: Callable[[], object], server: int) -> float:
    """Of one call, after a first one that warms everything up."""
    began = time.perf_counter()
    ask()
    times = max(2, min(MOST, int(SECONDS / (time.perf_counter() - began))))
    own, theirs = time.process_time(), processor_seconds([server])
    for _ in range(times):
        ask()
    used = time.process_time() - own + processor_seconds([server]) - theirs
    return used / times * 1000


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
