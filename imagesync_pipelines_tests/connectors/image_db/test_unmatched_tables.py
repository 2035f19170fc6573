"""The product manager's tables: what no product shows, kept up to date, whole or for the images that were read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db.settings import RecordsOptions
from imagesync_pipelines.storage.schema import unmatched_article, unused_image
from imagesync_pipelines.sync.steps import Table
from imagesync_pipelines_tests.connectors.image_db.made_up import MEDIA
from imagesync_pipelines_tests.connectors.image_db.source import PER_PAGE, Connector, image, running


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    records = [image(1, "100001"), image(2, "10000"), image(3), image(4), image(5, "55555555"), image(6)]
    with running(database, tmp_path / "home", records, ["100001"]) as connector:
        connector.sync()
        connector.unmatched()
        yield connector


def table(connector: Connector, source: sa.Table, *columns: str) -> list[tuple[Any, ...]]:
    with connector.place.engine.connect() as connection:
        found = connection.execute(sa.select(*(source.c[name] for name in columns)).order_by("external_id"))
        return [tuple(row) for row in found]


def test_each_number_without_a_product_is_a_row_with_its_candidates(connector: Connector) -> None:
    near = [{"sku": "100001", "name": "Figur 100001", "why": "a character is missing"}]
    assert table(
        connector, unmatched_article, "external_id", "number", "variant", "image_url", "reason", "candidates"
    ) == [
        ("2", "10000", "BE", f"{MEDIA}png-2", "the ERP has no product 10000", near),
        ("5", "55555555", "BE", f"{MEDIA}png-2", "the ERP has no product 55555555", []),
    ]
    assert table(connector, unused_image, "external_id", "reason") == [
        (external_id, "the image names no article") for external_id in ("3", "4", "6")
    ]


def test_what_was_corrected_is_gone_from_the_tables(connector: Connector) -> None:
    connector.source.records[1] = image(2, "100001")
    connector.source.records[2] = image(3, "100001")
    connector.sync()
    found = connector.unmatched()
    assert table(connector, unmatched_article, "external_id") == [("5",)]
    assert table(connector, unused_image, "external_id") == [("4",), ("6",)]
    assert (found.rows, found.numbers) == (1, {"articles/unmatched": 1, "images/unused": 2})
    assert table(connector, unmatched_article, "candidates") == [([],)]
    shown = found.shown["unmatched"]
    assert isinstance(shown, Table)
    assert list(shown.frame["candidates"]) == [""]


def test_a_part_of_the_pages_says_nothing_about_other_images(connector: Connector) -> None:
    connector.source.records[1] = image(2, "100001")
    connector.source.records[2] = image(3, "77777777")
    connector.sync(RecordsOptions(limit=1, page_size=PER_PAGE))
    connector.unmatched()
    assert table(connector, unmatched_article, "external_id") == [("3",), ("5",)]
    assert table(connector, unused_image, "external_id") == [("4",), ("6",)]


@pytest.mark.parametrize(
    "part", [RecordsOptions(skus=["100001"]), RecordsOptions(external_ids=["1"])], ids=["products", "images"]
)
def test_a_run_for_some_products_or_images_leaves_the_tables_whole(connector: Connector, part: RecordsOptions) -> None:
    before = table(connector, unmatched_article, "external_id", "number"), table(connector, unused_image, "external_id")
    connector.sync(part)
    connector.unmatched()
    assert (
        table(connector, unmatched_article, "external_id", "number"),
        table(connector, unused_image, "external_id"),
    ) == before
