"""Random short histories of changes, faults and runs of every kind never break what a catalogue must always be."""

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.sandbox.faults import WireFault, html_page, rate_limited, reset, server_error, truncated
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.e2e.connectors import (
    Connector,
    Connectors,
    PageFailedError,
    assert_same_tables,
    from_scratch,
)

pytestmark = pytest.mark.slow

OPERATORS = ("insert", "delete", "re_export", "add_link", "remove_link", "refront", "change_type", "reorder")
FAULTS: tuple[Callable[[], WireFault], ...] = (server_error, html_page, reset, truncated, lambda: rate_limited(None))
STEPS = 8


def change(rng: Random, connector: Connector, sandbox: Sandbox) -> None:
    """One change of the catalogue, now or during the next reading."""
    operator = rng.choice(OPERATORS)
    arguments: dict[str, int] = {}
    if operator == "delete":
        arguments["file_id"] = rng.choice(sandbox.catalogue.file_ids())
    if operator == "insert":
        arguments["position"] = rng.randrange(len(sandbox.catalogue))
    if rng.random() < 0.3 and operator != "delete":
        sandbox.after_pages(rng.randint(1, 4), operator, **arguments)
    else:
        sandbox.mutate(operator, **arguments)


def change_the_erp(rng: Random, connector: Connector, sandbox: Sandbox) -> None:
    """A product is renamed, or a variant leaves the ERP or comes back to it."""
    products = sandbox.catalogue.products
    rows = rng.choice((products.parents, products.variants))
    row = rng.choice(rows)
    row["name"] = f"{row['name']} {rng.randrange(10)}"[:200]
    path = connector.settings.erp_variants_file
    assert path is not None
    sandbox.write_erp_csv(path.parent)
    if rng.random() < 0.5:
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        del lines[rng.randrange(1, len(lines))]
        path.write_text("".join(lines), encoding="utf-8")


def pinned(connector: Connector) -> list[int]:
    """The products with a pin."""
    with connector.place.engine.connect() as connection:
        return list(connection.exec_driver_sql("SELECT product_id FROM imagesync.pin ORDER BY 1").scalars())


def pin(rng: Random, connector: Connector, sandbox: Sandbox) -> None:
    """A person chooses a primary, or takes a choice back."""
    with connector.place.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT product_id, external_id FROM imagesync.product_image ORDER BY id")
        shown = rows.all()
    chosen = pinned(connector)
    if chosen and rng.random() < 0.3:
        unpin_image(connector.place.engine, rng.choice(chosen), "anna")
    elif shown:
        product_id, external_id = rng.choice(shown)
        pin_image(connector.place.engine, product_id, "image_db", external_id, "a person")


def fail(rng: Random, connector: Connector, sandbox: Sandbox) -> None:
    """A fault on a page, for a while or for good; an earlier one ends."""
    sandbox.faults.clear()
    fault = rng.choice(FAULTS)().at(ENDPOINT, str(rng.randint(1, 4)))
    sandbox.faults.add(fault.for_good() if rng.random() < 0.4 else fault.burst(rng.randint(1, 3)))


def run(rng: Random, connector: Connector, sandbox: Sandbox) -> None:
    """A run of any kind; it may fail, but then with an error of ours."""
    with connector.place.engine.connect() as connection:
        there = connection.exec_driver_sql("SELECT sku FROM imagesync.product WHERE left_erp_at IS NULL ORDER BY id")
        skus = list(there.scalars())
    kind = rng.choice(("full", "full", "pages", "products" if skus else "full"))
    options: dict[str, Any] = {"force": rng.random() < 0.3}
    if kind == "pages":
        options |= {"limit": rng.randint(1, 3), "skip_pages": rng.randint(0, 3)}
    if kind == "products":
        options |= {"skus": rng.sample(skus, 3)}
    images = len(connector.stamps())
    proven = False
    with suppress(PageFailedError, UpstreamError):
        result = connector.sync(**options)
        proven = result.records.complete and kind == "full"
        assert (result.done.summary.failed, result.done.summary.refused) == (0, 0)
    if not proven:
        assert len(connector.stamps()) >= images, "a removal without proof"
    connector.assert_one_primary_each()


ACTIONS = (change, change, change, change_the_erp, pin, fail, run, run, run)


@pytest.mark.parametrize("seed", range(20))
def test_any_history_ends_where_a_first_run_would_begin(connectors: Connectors, seed: int) -> None:
    rng = Random(seed)
    with image_db_sandbox(records=55, seed=seed) as sandbox:
        connector = connectors.make(sandbox)
        told = []
        for _ in range(STEPS):
            action = rng.choice(ACTIONS)
            told.append(action.__name__)
            with suppress(MutationError):
                action(rng, connector, sandbox)
        sandbox.faults.clear()
        for product_id in pinned(connector):
            unpin_image(connector.place.engine, product_id, "anna")
        path = connector.settings.erp_variants_file
        assert path is not None
        sandbox.write_erp_csv(path.parent)
        for _ in range(3):  # changes that were still waiting for a page to be read happen in the first of these
            last = connector.sync(allow_mass_delete=True)
        assert last.records.complete, told
        assert last.written == (0, 0, 0), told
        stamps = connector.stamps()
        assert connector.sync().written == (0, 0, 0), told
        assert connector.stamps() == stamps, told
        connector.assert_one_primary_each()
        assert_same_tables(connector, from_scratch(connectors, sandbox))
