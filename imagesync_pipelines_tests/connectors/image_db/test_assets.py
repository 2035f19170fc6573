"""Whole runs through Dagster: what they materialise, what the UI then shows, and that a second run writes nothing."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.installations import (
    FIRST,
    RECORDS,
    SECOND,
    World,
    block_status,
    materialised,
    metadata_of,
    shown_by,
    world,
)

ALL = {FIRST, SECOND, "api_pages", "erp_products", "records", "plan", "product_images", "unmatched_articles", "export"}
INLINE = 1000


@dataclass(frozen=True)
class Ran:
    """An installation after a first run and, with nothing changed at the source, a second."""

    place: World
    first: runs.RunOutcome
    second: runs.RunOutcome


@pytest.fixture(scope="module")
def ran(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """Two runs of the whole connector."""
    with world(server, tmp_path_factory.mktemp("runs")) as place:
        yield Ran(place, place.sync(), place.sync())


def test_one_run_materialises_every_block_and_every_asset(ran: Ran) -> None:
    with ran.place.opened() as (_, instance):
        assert materialised(instance, ran.first.run_id) == ALL
        assert block_status(instance) == {FIRST: "done", SECOND: "done"}
        assert materialised(instance, ran.second.run_id) == ALL, "the API gave its records in another order"


def test_the_first_run_adds_what_the_database_then_holds(ran: Ran) -> None:
    images = ran.place.product_images()
    assert ran.first.status is runs.Status.COMPLETED
    assert ran.first.summary["images_added"] == len(images) > 0
    assert ran.first.summary["products_affected"] == len({product for product, _, _ in images})
    primaries = [product for product, _, is_primary in images if is_primary]
    assert sorted(primaries) == sorted({product for product, _, _ in images})


def test_the_second_run_writes_nothing(ran: Ran) -> None:
    summary = ran.second.summary
    changed = [summary[name] for name in ("images_added", "images_updated", "images_deleted", "products_affected")]
    assert changed == [0, 0, 0, 0]
    assert summary["kept"] == ran.first.summary["images_added"]


def test_product_images_show_every_number_of_a_run_summary(ran: Ran) -> None:
    unmatched = ran.place.rows("SELECT count(*) FROM imagesync.unmatched_article")[0][0]
    with ran.place.opened() as (_, instance):
        shown = metadata_of(instance, ran.first.run_id, "product_images")
    images = ran.place.product_images()
    assert shown["status"] == "completed"
    assert shown["images/added"] == shown["dagster/row_count"] == len(images)
    assert (shown["images/updated"], shown["images/deleted"]) == (0, 0)
    assert shown["products/affected"] == len({product for product, _, _ in images})
    assert shown["api/calls"] == 3
    assert shown["bytes/downloaded"] > 10_000
    assert 0 < shown["seconds"] < 60
    assert shown["unmatched_articles"] == unmatched > 0
    assert shown["summary"] == ran.first.summary
    names = {"status", "started_at", "completed_at", "images_added", "images_updated", "images_deleted"}
    assert names | {"products_affected", "error_message", "warnings"} <= set(shown["summary"])
    assert shown["summary"]["error_message"] == ""
    columns = [column.name for column in shown["dagster/column_schema"].columns]
    assert columns[:3] == ["product_id", "external_id", "image_url"]


def test_every_page_block_shows_its_pages_records_and_scan(ran: Ran) -> None:
    key = dg.AssetKey(["image_db", "api_pages"])
    with ran.place.opened() as (_, instance):
        records = instance.fetch_materializations(key, limit=10).records
        found = {
            record.partition_key: {
                name: value.value
                for name, value in record.asset_materialization.metadata.items()  # type: ignore[union-attr]
            }
            for record in records
            if record.run_id == ran.first.run_id and record.partition_key is not None
        }
    assert {block: shown["pages"] for block, shown in found.items()} == {FIRST: 2, SECOND: 1}
    assert {block: shown["dagster/partition_row_count"] for block, shown in found.items()} == {FIRST: 40, SECOND: 20}
    assert all(shown["bytes"] > 0 and shown["scan"] == 1 for shown in found.values())


def test_records_show_the_proof_of_their_scan(ran: Ran) -> None:
    with ran.place.opened() as (_, instance):
        shown = metadata_of(instance, ran.first.run_id, "records")
    assert shown["records/valid"] == shown["dagster/row_count"] == RECORDS
    assert (shown["records/rejected"], shown["records/repeated"], shown["records/conflicts"]) == (0, 0, 0)
    assert shown["scan_is_complete"] is True
    assert shown["dagster/size_bytes"] > 0


def test_the_plan_shows_its_numbers_and_pictures(ran: Ran) -> None:
    with ran.place.opened() as (_, instance):
        first = metadata_of(instance, ran.first.run_id, "plan")
        second = metadata_of(instance, ran.second.run_id, "plan")
    added = ran.first.summary["images_added"]
    assert (first["plan/add"], first["plan/keep"]) == (added, 0)
    assert (second["plan/add"], second["plan/keep"]) == (0, added)
    assert first["apply_it_with"] == f"imagesync apply {first['plan_id']}"
    assert "data:image/" in first["pictures"]
    assert "variant sku" in first["matched_by"]


def test_unmatched_articles_show_number_reason_and_candidates(ran: Ran) -> None:
    with ran.place.opened() as (_, instance):
        shown = metadata_of(instance, ran.first.run_id, "unmatched_articles")
    numbers = ran.place.rows("SELECT number FROM imagesync.unmatched_article")
    assert shown["articles/unmatched"] == shown["dagster/row_count"] == len(numbers)
    assert any(str(number[0]) in shown["unmatched"] for number in numbers)
    assert "reason" in shown["unmatched"]
    assert shown["images/unused"] == ran.place.rows("SELECT count(*) FROM imagesync.unused_image")[0][0]


def test_the_images_are_exported_as_files_after_the_run(ran: Ran) -> None:
    with ran.place.opened() as (place, instance):
        shown = metadata_of(instance, ran.first.run_id, "export")
        written = {path.name: path.read_bytes() for path in (place.storage / "exports").iterdir()}
    note = written.pop(".written.json")
    assert all(hashlib.sha256(body).hexdigest().encode() in note for body in written.values())
    assert set(written) == {
        "product_images.csv",
        "product_images.ndjson",
        "product_images.parquet",
        "merchant_feed.xml",
    }
    assert shown["dagster/size_bytes"] == sum(map(len, written.values()))
    lines = [json.loads(line) for line in written["product_images.ndjson"].splitlines()]
    assert shown["dagster/row_count"] == len(lines)
    images = {row[0] for row in ran.place.rows("SELECT id FROM imagesync.product_image")}
    assert images >= {line["id"] for line in lines} != set()


def test_all_metadata_is_short_enough_to_be_read_without_a_click(ran: Ran) -> None:
    long: dict[str, int] = {}
    empty = []
    with ran.place.opened() as (_, instance):
        for name in sorted(ALL - {FIRST, SECOND}):
            for label, value in shown_by(instance, ran.first.run_id, name).items():
                if isinstance(value, dg.MarkdownMetadataValue | dg.TextMetadataValue | dg.JsonMetadataValue):
                    text = str(value.value)
                    long.update({f"{name}: {label}": len(text)} if len(text) >= INLINE and label != "pictures" else {})
                    empty += [f"{name}: {label}"] if not text.strip() else []
    assert (long, empty) == ({}, [])


def test_a_run_says_what_was_checked_matched_and_changed(ran: Ran) -> None:
    with ran.place.opened() as (_, instance):
        lines = [entry.user_message for entry in instance.all_logs(ran.first.run_id) if entry.dagster_event is None]
        steps = [shown_by(instance, ran.first.run_id, name) for name in sorted(ALL - {FIRST, SECOND})]
    text = "\n".join(str(shown["said"].value) for shown in steps if "said" in shown)
    assert f"{RECORDS} images" in text
    assert "by variant sku" in text
    assert f"{ran.first.summary['images_added']} added" in text
    assert len(lines) == 1, "warnings alone are events of their own; an event per image would cost more than the image"


def test_every_check_of_a_good_run_passed(ran: Ran) -> None:
    with ran.place.opened() as (_, instance):
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        records = instance.get_records_for_run(ran.first.run_id, of_type=kind).records
    events: list[Any] = [record.event_log_entry.dagster_event for record in records]
    verdicts = {event.event_specific_data.check_name: event.event_specific_data.passed for event in events}
    assert verdicts == {
        "every_page_was_read": True,
        "few_records_are_rejected": True,
        "few_articles_are_unmatched": True,
        "every_product_has_one_primary": True,
        "every_image_has_a_usable_url": True,
        "nothing_is_held_back": True,
    }
