"""The whole synchronisation through Dagster, on a catalogue of the real size: first, unchanged, after a night."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.faults import server_error
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import Sandbox, demo_changes, image_db_sandbox
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines_tests.e2e.connectors import writes

PAGES = 125

_STAMPS = "SELECT id, xmin::text, last_synced FROM imagesync.product_image ORDER BY id"
_WITHOUT_ONE_PRIMARY = """
SELECT count(*) FROM (
    SELECT product_id FROM imagesync.product_image GROUP BY product_id HAVING count(*) FILTER (WHERE is_primary) <> 1
) wrong
"""


@pytest.fixture
def installed(locations: Locations, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: Any) -> Iterator[Sandbox]:
    """A sandbox, and an installation whose settings in the environment name it."""
    with image_db_sandbox(**request.param) as sandbox:
        parents, variants = sandbox.write_erp_csv(tmp_path / "erp")
        for name, value in {
            **locations.environment(),
            "IMAGE_API_URL": sandbox.url,
            "IMAGE_API_USERNAME": sandbox.username,
            "IMAGE_API_PASSWORD": sandbox.password,
            "IMAGE_API_TIMEOUT": "5",
            "ERP_PARENTS_FILE": str(parents),
            "ERP_VARIANTS_FILE": str(variants),
        }.items():
            monkeypatch.setenv(name, value)
        yield sandbox


def read(engine: sa.Engine, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


@pytest.mark.slow
@pytest.mark.parametrize("installed", [{}], indirect=True, ids=["2,489 records"])
def test_first_run_then_nothing_then_a_night_of_changes(installed: Sandbox, database: sa.Engine) -> None:
    first = runs.only(runs.sync("image_db"))
    assert first.status is not runs.Status.FAILED, first.error
    assert first.summary["status"] == "completed"
    added = first.summary["images_added"]
    assert 2_300 < added < 3_500
    assert (first.summary["images_updated"], first.summary["images_deleted"]) == (0, 0)
    assert first.summary["api_calls"] == PAGES
    assert read(database, "SELECT count(*) FROM imagesync.product_image") == [(added,)]
    assert read(database, _WITHOUT_ONE_PRIMARY) == [(0,)]
    assert read(database, "SELECT state, pages, first_count FROM imagesync.scan") == [("proven", PAGES, 2489)]

    stamps, written = read(database, _STAMPS), writes(database)
    assert min(written.values()) > 0
    second = runs.only(runs.sync("image_db"))
    numbers = ("images_added", "images_updated", "images_deleted", "products_affected")
    assert [second.summary[name] for name in numbers] == [0, 0, 0, 0]
    assert second.summary["kept"] == added
    assert read(database, _STAMPS) == stamps
    assert writes(database) == written

    changes = demo_changes(installed)
    installed.ledger.clear()
    third = runs.only(runs.sync("image_db"))
    assert third.status is not runs.Status.FAILED, third.error
    assert all(third.summary[name] > 0 for name in numbers)
    assert third.summary["products_affected"] < 3 * len(changes)
    inserted = {str(change.file_id) for change in changes if change.operator == "insert"}
    deleted = {str(change.file_id) for change in changes if change.operator == "delete"}
    shown = {row[0] for row in read(database, "SELECT external_id FROM imagesync.product_image")}
    assert len(inserted & shown) >= len(inserted) - 3, "a new image may be of an article that the ERP does not have"
    assert not deleted & shown
    assert len(read(database, _STAMPS)) == added + third.summary["images_added"] - third.summary["images_deleted"]
    assert read(database, _WITHOUT_ONE_PRIMARY) == [(0,)]
    untouched = set(stamps) & set(read(database, _STAMPS))
    assert len(untouched) > 0.9 * added


@pytest.mark.parametrize("installed", [{"records": 130}], indirect=True, ids=["130 records"])
@pytest.mark.slow
def test_a_failed_run_says_why_keeps_everything_and_the_next_one_goes_on(
    installed: Sandbox, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs.only(runs.sync("image_db"))
    stamps = read(database, _STAMPS)
    gone = read(database, "SELECT external_id FROM imagesync.product_image ORDER BY id LIMIT 1")[0][0]
    installed.mutate("delete", file_id=int(gone))

    installed.faults.add(server_error(500).at(ENDPOINT, "5").for_good())
    failed = runs.only(runs.sync("image_db"))
    assert failed.status is runs.Status.FAILED
    assert "000001-000010" in failed.error or "page 5" in failed.error
    assert failed.summary["status"] == "failed"
    assert read(database, _STAMPS) == stamps

    monkeypatch.setenv("IMAGE_API_PASSWORD", "not-the-password")
    installed.faults.clear()
    installed.ledger.clear()
    refused = runs.only(runs.sync("image_db"))
    assert refused.status is runs.Status.FAILED
    assert "credentials" in refused.error or "401" in refused.error
    assert "not-the-password" not in str(refused)
    assert installed.ledger.count(ENDPOINT) <= 2, "discovery and the scan, once each"
    assert read(database, _STAMPS) == stamps

    monkeypatch.setenv("IMAGE_API_PASSWORD", installed.password)
    done = runs.only(runs.sync("image_db"))
    assert done.status is not runs.Status.FAILED, done.error
    assert done.summary["images_deleted"] >= 1
