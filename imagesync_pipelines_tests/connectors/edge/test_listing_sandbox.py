"""Against the stand-in of the head office, as the service and as the original: after whatever happened there in the
meantime, the mirror holds what the head office lists, and nothing that it still lists was ever called gone."""

import random
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.errors import StoreUnknownError
from imagesync_pipelines.connectors.edge.listing import PROVEN_GONE, ListingHandOver, take_listing
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.probe import probe
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore, HeadOfficeAccount
from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox, head_office_sandbox
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.mirror import read_gone, read_mirror
from imagesync_pipelines_tests.reusing import BLANK, pool
from imagesync_pipelines_tests.sandbox.head_office.callers import listed

pytestmark = pytest.mark.slow

SETTINGS = EdgeSettings(_env_file=None, page_size=10)
CHANGES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("replace", {}),
    ("replace", {"kind": "png"}),
    ("add", {}),
    ("delete_row", {}),
    ("edit", {"sort_order": 3}),
    ("deactivate_product", {}),
    ("second_primary", {}),
    ("late_commit", {"seconds": 60}),
)


@dataclass
class Edge:
    """The first store of a stand-in, read into a database of ours."""

    kind: str
    office: HeadOfficeSandbox
    database: sa.Engine
    api: HeadOfficeApi
    store: EdgeStore

    def take(self, *, full: bool = False) -> ListingHandOver:
        return take_listing(self.database, self.store, self.api, SETTINGS, full=full, mark_pending=lambda photos: None)

    @property
    def mirrored(self) -> set[str]:
        with self.database.connect() as connection:
            return set(read_mirror(connection, EDGE, self.store.name)["key"])

    @property
    def absent(self) -> frozenset[str]:
        with self.database.connect() as connection:
            return read_gone(connection, EDGE, self.store.name, PROVEN_GONE)

    @property
    def listed(self) -> set[str]:
        return {str(row.id) for row in listed(self.office, self.office.stores[0])}


@pytest.fixture(params=["service", "original"])
def edge(request: pytest.FixtureRequest, server: EmbeddedServer, database: sa.Engine, tmp_path: Path) -> Iterator[Edge]:
    with (
        pool(server, BLANK).one() as url,
        head_office_sandbox(url, photos=40, original=request.param == "original", folder=tmp_path / "s3") as office,
    ):
        account = HeadOfficeAccount.model_construct(
            url=office.url, username=office.username, password=SecretStr(office.password)
        )
        with closing(HeadOfficeApi(account, SETTINGS)) as api:
            yield Edge(request.param, office, database, api, EdgeStore("one", str(office.stores[0]), account))


def _change(edge: Edge, chance: random.Random, times: int) -> None:
    for _ in range(times):
        operator, arguments = chance.choice(CHANGES)
        edge.office.mutate(operator, **arguments)


def test_every_step_of_the_check_passes_but_for_the_originals_arbitrary_pages(edge: Edge) -> None:
    failed = {step.name for step in probe(edge.api, edge.store, SETTINGS) if not step.ok}
    assert failed <= {"pagination to the end"}


@pytest.mark.parametrize("seed", range(2))
def test_the_mirror_ends_as_what_is_listed_and_calls_nothing_gone_that_is(edge: Edge, seed: int) -> None:
    chance = random.Random(seed)
    assert edge.take().complete
    assert edge.mirrored == edge.listed
    for _ in range(3):
        known = edge.mirrored
        edge.office.between_pages(1, lambda: _change(edge, chance, 1))
        _change(edge, chance, 3)
        edge.take()
        assert known & edge.listed <= edge.mirrored
        assert not edge.absent & edge.listed
    if edge.kind == "service":
        assert edge.take().complete
        assert edge.mirrored == edge.listed  # what is deleted is told, so that no full listing is needed
    assert edge.take(full=True).complete
    assert edge.mirrored == edge.listed


def test_an_emptied_or_closed_store_retires_nothing(edge: Edge) -> None:
    edge.take()
    known = edge.mirrored
    edge.office.mutate("empty_store")
    listed = edge.take(full=True)
    assert (listed.complete, listed.gone) == (False, 0)
    edge.office.mutate("refill_store")
    edge.office.mutate("deactivate_store")
    with pytest.raises(StoreUnknownError):
        edge.take(full=True)
    assert edge.mirrored == known
