"""A pin is one choice per product, by a person, until a person takes it back."""

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.errors import PinRefused
from imagesync_pipelines.storage.pins import pins_of, set_pin, unset_pin
from imagesync_pipelines.storage.schema import product


def test_a_pin_is_set_replaced_and_taken_back(database: sa.Engine) -> None:
    rows = [{"kind": "variant", "erp_id": sku, "sku": sku} for sku in ("1", "2", "3")]
    with database.begin() as connection:
        one, two, three = connection.execute(product.insert().returning(product.c.id), rows).scalars().all()
    set_pin(database, one, "100", "anna")
    set_pin(database, one, "101", "ben")
    set_pin(database, two, "200", "anna")
    assert pins_of(database, [one, two, three]) == {one: "101", two: "200"}
    assert pins_of(database, [two]) == {two: "200"}
    assert pins_of(database, []) == {}
    assert [unset_pin(database, one), unset_pin(database, one)] == [True, False]
    assert pins_of(database, [one, two]) == {two: "200"}


def test_a_pin_on_no_product_is_refused(database: sa.Engine) -> None:
    with pytest.raises(PinRefused, match="no product 42"):
        set_pin(database, 42, "100", "anna")
