"""A real `imagesync sync image-db`, killed with kill -9 in each of its stages; the next run, and what history says."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.home import Locations
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines_tests.e2e.connectors import (
    Connector,
    Connectors,
    assert_same_tables,
    connector_settings,
    from_scratch,
)
from imagesync_pipelines_tests.faults.commands import WAITING, command, killed_before

pytestmark = pytest.mark.slow

# The table in which a stage writes, and a lock on it that lets everything before that stage pass.
BLOCKED_AT = {
    "taking over products": ("product", "ACCESS EXCLUSIVE"),
    "validating": ("quarantine", "ACCESS EXCLUSIVE"),
    "planning": ("plan", "ACCESS EXCLUSIVE"),
    "applying": ("product_image", "SHARE"),
}


@pytest.fixture
def connector(locations: Locations, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connector]:
    """A connector on the installation that the command uses, synchronised once; the catalogue has changed since."""
    given = connector_settings(sandbox, locations.home / "erp")
    for name, value in {
        **locations.environment(),
        "IMAGE_API_URL": sandbox.url,
        "IMAGE_API_USERNAME": sandbox.username,
        "IMAGE_API_PASSWORD": sandbox.password,
        "ERP_PARENTS_FILE": str(given.erp_parents_file),
        "ERP_VARIANTS_FILE": str(given.erp_variants_file),
    }.items():
        monkeypatch.setenv(name, value)
    with open_installation(Settings(home=locations.home, database_url=locations.database_url)) as place:
        made = Connector(place, given, sandbox)
        made.sync()
        shown = [int(image) for image in made.table()["external_id"].unique()]
        for file_id in shown[:3]:
            sandbox.mutate("delete", file_id=file_id)
        for file_id in shown[3:9]:
            sandbox.mutate("re_export", file_id=file_id)
        for _ in range(3):
            sandbox.mutate("insert")
        products = sandbox.catalogue.products
        products.parents[0]["name"] = "Another name"
        sandbox.write_erp_csv(locations.home / "erp")
        yield made


@pytest.mark.parametrize("stage", ["reading pages", *BLOCKED_AT])
def test_a_run_killed_in_any_stage_is_told_as_failed_and_the_next_run_ends_where_it_would_have(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, tmp_path: Path, stage: str
) -> None:
    before = len(connector.stamps())
    sandbox.ledger.clear()
    with ExitStack() as stack:
        if stage == "reading pages":
            sandbox.switches.latency = 0.5
            run = stack.enter_context(command(tmp_path, os.environ, "sync", "image-db"))
            run.wait_until(lambda: sandbox.ledger.count(ENDPOINT) >= 4)
        else:
            table, mode = BLOCKED_AT[stage]
            holder = stack.enter_context(connector.place.engine.connect())
            holder.execute(sa.text(f"LOCK TABLE imagesync.{table} IN {mode} MODE"))
            run = stack.enter_context(command(tmp_path, os.environ, "sync", "image-db"))
            run.wait_until(lambda: connector.scalar(WAITING) > 0)
        run.kill()
    sandbox.switches.latency = 0.0
    assert len(connector.stamps()) == before
    connector.assert_one_primary_each()

    second = runs.only(runs.sync("image_db"))
    assert second.status is not runs.Status.FAILED, second.error
    with runs.opened() as (_, instance):
        assert killed_before(instance, second.run_id)
    assert_same_tables(connector, from_scratch(connectors, sandbox))
    assert runs.only(runs.sync("image_db")).summary["kept"] == len(connector.stamps())
