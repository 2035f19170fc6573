"""The asset checks: each passes on a good run and fails on the very thing that its sentence denies."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import dagster as dg
import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.installations import World, world


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation with some odd records in its source, synchronised once: no scan over them can be proven."""
    with world(server, tmp_path_factory.mktemp("checks"), with_odd_records=True) as made:
        made.sync({"IMAGE_DB_WALK_REPEATS": "0"})
        yield made


@pytest.mark.parametrize(
    ("asset", "check", "settings", "says"),
    [
        pytest.param("records", "every_page_was_read", {}, "distinct|without|file_id|read", id="a scan without proof"),
        pytest.param(
            "records", "few_records_are_rejected", {"IMAGE_DB_MAX_REJECT_SHARE": "0"}, "0.0% are allowed", id="rejects"
        ),
        pytest.param(
            "plan", "few_articles_are_unmatched", {"IMAGE_DB_MAX_UNMATCHED_SHARE": "0"}, "0.0% are allowed",
            id="unmatched articles",
        ),
    ],
)  # fmt: skip
def test_a_reporting_check_warns_and_says_why(
    place: World, asset: str, check: str, settings: Mapping[str, str], says: str
) -> None:
    found = place.evaluate(asset, check, **settings)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description
    assert any(part in found.description for part in says.split("|")), found.description


@pytest.mark.parametrize(
    ("asset", "check", "settings"),
    [
        pytest.param("records", "few_records_are_rejected", {"IMAGE_DB_MAX_REJECT_SHARE": "1"}, id="rejects"),
        pytest.param("plan", "few_articles_are_unmatched", {"IMAGE_DB_MAX_UNMATCHED_SHARE": "1"}, id="unmatched"),
    ],
)
def test_a_share_within_the_setting_passes_and_shows_its_numbers(
    place: World, asset: str, check: str, settings: Mapping[str, str]
) -> None:
    found = place.evaluate(asset, check, **settings)
    assert found.passed
    assert int(str(found.metadata["number"].value)) > 0
    assert 0 < float(str(found.metadata["share"].value)) < 1


def test_an_image_without_a_usable_url_fails_the_run(server: EmbeddedServer, tmp_path: Path) -> None:
    with world(server, tmp_path / "place") as place:
        assert place.sync().status is runs.Status.COMPLETED
        place.change("UPDATE imagesync.product_image SET image_url = 'nowhere' WHERE is_primary")
        broken = len([row for row in place.product_images() if row[2]])
        outcome = place.sync()
        assert outcome.status is runs.Status.FAILED
        assert "every_image_has_a_usable_url" in outcome.error
        with place.opened() as (_, instance):
            failed = checks_that_failed(instance, outcome.run_id)
        assert failed == {"every_image_has_a_usable_url": f"{broken} product images without a usable URL"}


def test_a_product_without_a_primary_fails_its_check(place: World) -> None:
    assert place.evaluate("product_images", "every_product_has_one_primary").passed
    place.change("UPDATE imagesync.product_image SET is_primary = false")
    products = len({product for product, _, _ in place.product_images()})
    found = place.evaluate("product_images", "every_product_has_one_primary")
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert found.description == f"{products} products without exactly one primary image"


def checks_that_failed(instance: dg.DagsterInstance, run_id: str) -> dict[str, str | None]:
    """The checks of a run that did not pass, with what they say."""
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION).records
    events = [record.event_log_entry.dagster_event for record in records]
    found = [event.asset_check_evaluation_data for event in events if event is not None]
    return {evaluation.check_name: evaluation.description for evaluation in found if not evaluation.passed}
