"""Two connectors bring images of the same products: each knows its own only, and there is one primary over both."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.primaries import pin_image, repair_primaries
from imagesync_pipelines.products.target import ProductImageTarget, read_current
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import pin, product_image
from imagesync_pipelines.sync.apply import apply_database
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines_tests.products.rows import (
    WHOLE,
    Picture,
    Wanted,
    add_products,
    current_rows,
    frame_of,
    payload_of,
)


def bring(database: sa.Engine, source: str, wanted: Wanted) -> Applied:
    """Make what one source has in the database what is wanted, as after a full scan of that source."""

    current = current_rows(database, source)
    return apply_database(
        build_plan(frame_of(wanted), current, WHOLE),
        ProductImageTarget(database, source, payload_of(wanted)),
        QuarantineTable(database, source),
        states=group_states(current),
        rows_per_batch=100,
    )


def there(database: sa.Engine) -> dict[tuple[int, str, str], bool]:
    """Whether it is the primary, by product, source and external id."""
    names = ("product_id", "source", "external_id", "is_primary")
    with database.connect() as connection:
        rows = connection.execute(sa.select(*(product_image.c[name] for name in names))).all()
    return {(row.product_id, row.source, row.external_id): row.is_primary for row in rows}


@pytest.fixture
def one(database: sa.Engine) -> int:
    """A product with the image 7 of the image database, and the images 7 (the better one) and 8 of a folder."""
    (product,) = add_products(database, 1)
    assert bring(database, "image_db", {(product, "7"): Picture(priority=2)}).added == 1
    pictures = {(product, "7"): Picture(priority=1), (product, "8"): Picture(priority=3)}
    assert bring(database, "folder", pictures).added == 2
    return product


def test_the_same_id_of_two_sources_is_two_images_and_the_best_of_all_is_primary(database: sa.Engine, one: int) -> None:
    assert there(database) == {(one, "image_db", "7"): False, (one, "folder", "7"): True, (one, "folder", "8"): False}


def test_each_source_reads_only_its_own_images(database: sa.Engine, one: int) -> None:
    assert list(read_current(database, "image_db")["key"]) == [f"{one}/7"]
    assert sorted(read_current(database, "folder")["key"]) == [f"{one}/7", f"{one}/8"]


def test_a_source_that_lost_everything_takes_away_only_its_own_images(database: sa.Engine, one: int) -> None:
    assert bring(database, "folder", {}).removed == 2
    assert there(database) == {(one, "image_db", "7"): True}


def test_a_change_of_one_source_makes_the_other_ones_plan_no_older(database: sa.Engine, one: int) -> None:
    current = current_rows(database, "image_db")
    plan = build_plan(frame_of({(one, "7"): Picture(priority=4)}), current, WHOLE)
    bring(database, "folder", {(one, "8"): Picture(priority=3)})
    target = ProductImageTarget(database, "image_db", payload_of({(one, "7"): Picture(priority=4)}))
    applied = apply_database(plan, target, QuarantineTable(database, "image_db"), states=group_states(current))
    assert (applied.updated, applied.refused) == (1, 0)
    assert there(database) == {(one, "image_db", "7"): False, (one, "folder", "8"): True}


def test_a_pin_says_which_source_it_means_and_outlasts_both(database: sa.Engine, one: int) -> None:
    pin_image(database, one, "image_db", "7", "anna")
    bring(database, "folder", {(one, "7"): Picture(priority=1, version="2"), (one, "9"): Picture(priority=1)})
    assert [name for name, primary in there(database).items() if primary] == [(one, "image_db", "7")]
    with pytest.raises(PinRefusedError, match="no image 8"):
        pin_image(database, one, "image_db", "8", "anna")
    assert repair_primaries(database) == 0


def test_a_rename_in_one_source_moves_no_pin_of_the_other(database: sa.Engine, one: int) -> None:
    pin_image(database, one, "image_db", "7", "anna")
    renamed = Picture(priority=1, content="https://media.example.com/7.psd")
    assert bring(database, "folder", {(one, "70"): renamed, (one, "8"): Picture(priority=3)}).failed == 0
    with database.connect() as connection:
        assert connection.execute(sa.select(pin.c.source, pin.c.external_id)).all() == [("image_db", "7")]
    assert {name for name, primary in there(database).items() if primary} == {(one, "image_db", "7")}
    assert (one, "folder", "70") in there(database)


def test_a_primary_is_repaired_over_all_sources(database: sa.Engine, one: int) -> None:
    with database.begin() as connection:
        connection.execute(sa.update(product_image).values(is_primary=False))
    assert repair_primaries(database) == 1
    assert there(database)[one, "folder", "7"]
