"""Products read again while a plan is applied: a gallery that is written whole must not be merged with an old one."""

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.model import PlytixProduct

# Somebody else may write to a gallery at any time; older than this, it is read again before it is replaced.
FRESH_FOR = timedelta(seconds=30)
# The products read in one call with the one that is due: as many as are written before they are old themselves.
LOOK_AHEAD = 40


class Rereading:
    """What was last read of the products of a plan. Used from several threads.

    order: the SKUs in the order in which they are written. products: as they were at read_at; None: in the past.
    """

    def __init__(
        self,
        api: PlytixApi,
        order: Sequence[str],
        products: Mapping[str, PlytixProduct],
        read_at: datetime | None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._clock = clock
        self._order = list(order)
        self._begun: set[str] = set()
        self._lock = threading.Lock()
        self._products: dict[str, PlytixProduct | None] = dict(products)
        long_ago = datetime.min.replace(tzinfo=UTC)
        self._read_at = dict.fromkeys(products, read_at or long_ago)

    def read(self, skus: Sequence[str]) -> dict[str, PlytixProduct]:
        """Read products now; those that Plytix does not have are missing."""
        found = self._api.search_products(skus)
        now = self._clock()
        for sku in skus:
            self._products[sku] = found.get(sku)
            self._read_at[sku] = now
        return found

    def newest(self, sku: str) -> PlytixProduct | None:
        """A product as it was last read, however long ago; None when Plytix did not have it."""
        return self._products.get(sku)

    def fresh(self, sku: str) -> PlytixProduct | None:
        """A product as it was at most 30 seconds ago; with it, those that come next are read again in one call."""
        with self._lock:
            self._begun.add(sku)
            if self._clock() - self._read_at[sku] > FRESH_FOR:
                self.read([sku, *islice((other for other in self._order if other not in self._begun), LOOK_AHEAD - 1)])
            return self._products.get(sku)
