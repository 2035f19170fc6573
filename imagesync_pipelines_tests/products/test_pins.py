"""A pin is one choice per product, by a person, until a person takes it back."""

import sqlalchemy as sa

from imagesync_pipelines.products.primaries import pins_of, set_pin, unset_pin
from imagesync_pipelines.storage.schema import product


def test_a_pin_is_set_replaced_and_taken_back(database: sa.Engine) -> None:
    rows = [{"kind": "variant", "erp_id": sku, "sku": sku} for sku in ("1", "2", "3")]
    with database.begin() as connection:
        one, two, three = connection.execute(product.insert().returning(product.c.id), rows).scalars().all()
        set_pin(connection, one, "image_db", "100", "anna")
        set_pin(connection, one, "image_db", "101", "ben")
        set_pin(connection, two, "image_db", "200", "anna")
        assert pins_of(connection, [one, two, three]) == {one: ("image_db", "101"), two: ("image_db", "200")}
        assert pins_of(connection, [two]) == {two: ("image_db", "200")}
        assert pins_of(connection, []) == {}
        assert [unset_pin(connection, one), unset_pin(connection, one)] == [True, False]
        assert pins_of(connection, [one, two]) == {two: ("image_db", "200")}
