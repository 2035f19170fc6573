"""Proves what head office has at the start: sizes, scopes, the odd names and stamps, and that a seed repeats it."""

from datetime import UTC, datetime

import pytest

from imagesync_pipelines.sandbox.head_office.beginning import make_beginning

pytestmark = pytest.mark.slow

NOW = datetime(2026, 2, 3, 4, 14, 24, 796133, tzinfo=UTC)


def test_the_same_seed_gives_the_same_rows_and_another_seed_others() -> None:
    assert make_beginning(1, 50, 2, NOW) == make_beginning(1, 50, 2, NOW)
    assert make_beginning(1, 50, 2, NOW).products != make_beginning(2, 50, 2, NOW).products


@pytest.mark.parametrize("photos", [3, 150, 10_000])
def test_the_first_store_sees_all_photos_and_every_other_a_part(photos: int) -> None:
    beginning = make_beginning(1, photos, 3, NOW)
    first, *others = (sum(one.brand in store.brands for one in beginning.products) for store in beginning.stores)
    assert first == photos
    assert all(0 < seen < photos for seen in others)


def test_ids_skus_and_keys_are_unique() -> None:
    beginning = make_beginning(1, 1000, 2, NOW)
    products = beginning.products + beginning.hidden
    for values in (
        {product.id for product in products} | {product.photo_id for product in products},
        {product.sku for product in products} | {product.object_key for product in products},
    ):
        assert len(values) == 2 * len(products)


def test_skus_begin_with_zeros_and_names_have_quotes_and_other_scripts() -> None:
    products = make_beginning(1, 150, 1, NOW).products
    assert all(product.sku.startswith("0") and len(product.sku) == 8 for product in products)
    names = " ".join(product.name for product in products)
    assert '"' in names
    assert "'" in names
    assert any(ord(letter) > 0x2FF for letter in names)


def test_stamps_are_in_the_past_some_are_shared_and_some_have_no_fraction() -> None:
    stamps = [product.updated_at for product in make_beginning(1, 150, 1, NOW).products]
    assert max(stamps) < NOW
    assert len(set(stamps)) < len(stamps)
    assert any(stamp.microsecond == 0 for stamp in stamps)
    assert any(stamp.microsecond != 0 for stamp in stamps)


def test_what_no_store_may_list_is_there_for_every_reason() -> None:
    beginning = make_beginning(1, 150, 2, NOW)
    brands = {brand.id: brand for brand in beginning.brands}
    company = beginning.stores[0].company
    reasons = [
        (brands[product.brand].company == company, brands[product.brand].is_active, product.is_active)
        for product in beginning.hidden
    ]
    assert set(reasons) == {(True, True, False), (True, False, True), (False, True, True)}
    assert (beginning.closed_store.is_active, beginning.closed_store.granted) == (False, True)
    assert (beginning.foreign_store.is_active, beginning.foreign_store.granted) == (True, False)
