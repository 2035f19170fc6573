"""A pin is one choice per product, by a person, until a person takes it back."""

import sqlalchemy as sa

from imagesync_pipelines.products.primaries import pins_of, set_pins
from imagesync_pipelines.storage.schema import product


def test_a_pin_is_set_replaced_and_taken_back(database: sa.Engine) -> None:
    rows = [{"kind": "variant", "erp_id": sku, "sku": sku} for sku in ("1", "2", "3")]
    with database.begin() as connection:
        one, two, three = connection.execute(product.insert().returning(product.c.id), rows).scalars().all()
        set_pins(connection, {one: ("image_db", "100")}, "anna")
        set_pins(connection, {one: ("image_db", "101"), two: ("image_db", "200"), three: None}, "ben")
        assert pins_of(connection, [one, two, three]) == {one: ("image_db", "101"), two: ("image_db", "200")}
        assert pins_of(connection, [two]) == {two: ("image_db", "200")}
        assert pins_of(connection, []) == {}
        set_pins(connection, {one: None}, "anna")
        set_pins(connection, {one: None}, "anna")
        assert pins_of(connection, [one, two]) == {two: ("image_db", "200")}
