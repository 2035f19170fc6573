"""A site whose target is our `product_image`: what holds of it, whichever source brings the images."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.history import history
from imagesync_pipelines.storage.identities import keep_installation
from imagesync_pipelines_tests.conformance.subject import Held, Site

_STAMPS = "SELECT id, xmin::text, last_synced FROM imagesync.product_image ORDER BY id"
_PRODUCTS = "SELECT id, xmin::text FROM imagesync.product ORDER BY id"
_MAINS = """
SELECT p.sku, i.image_url FROM imagesync.product_image i JOIN imagesync.product p ON p.id = i.product_id
 WHERE i.is_primary
"""
_WITHOUT_ONE_PRIMARY = """
SELECT product_id FROM imagesync.product_image GROUP BY product_id HAVING count(*) FILTER (WHERE is_primary) <> 1
"""


@dataclass
class ProductImageSite(Site):
    """An installation that one connector brings the images of its products to."""

    def count(self) -> int:
        """How many images the products have."""
        return int(self.rows("SELECT count(*) FROM imagesync.product_image")[0][0])

    def stamps(self) -> object:
        return self.rows(_STAMPS), self.rows(_PRODUCTS)

    def mains(self) -> Mapping[str, str]:
        return dict(self.rows(_MAINS))  # type: ignore[arg-type]

    def meddle(self, group: str, key: str) -> None:
        where = f"product_id = {group} AND external_id = '{key.partition('/')[2]}'"
        self.rows(f"DELETE FROM imagesync.product_image WHERE {where} RETURNING 1")

    @contextmanager
    def another(self) -> Iterator[Callable[[], Held]]:
        """Pages and plans below the storage root are another installation's."""
        with self.opened() as (installation, _):
            kept = installation.storage
        keep_installation(kept, "another", 0)
        yield self.held

    def assert_sound(self) -> None:
        assert self.rows(_WITHOUT_ONE_PRIMARY) == []

    def assert_killed(self, before: Held) -> None:
        super().assert_killed(before)
        assert self.held() == before, "nothing is written before the last moment"

    def assert_quiet(self, outcome: runs.RunOutcome) -> None:
        super().assert_quiet(outcome)
        assert outcome.summary["kept"] == self.count()

    def assert_done_once(self) -> None:
        with self.opened() as (_, instance):
            lines = history(instance, 10)
        assert sum((line.added or 0) - (line.deleted or 0) for line in lines) == self.count(), "each is counted once"


def by_product(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    """Rows of a SKU and what one of its images shows, product by product."""
    found: dict[str, list[Any]] = defaultdict(list)
    for sku, image in rows:
        found[sku].append(image)
    return found
