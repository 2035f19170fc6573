"""The database itself holds what no synchronisation may break: one primary, no cascade, SKUs that may swap."""

from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from imagesync_pipelines.storage.schema import product, product_image


def _product(connection: sa.Connection, sku: str, kind: str = "variant", **more: object) -> int:
    values = {"kind": kind, "erp_id": sku, "sku": sku, **more}
    return int(connection.execute(product.insert().values(**values).returning(product.c.id)).scalar_one())


def _images(connection: sa.Connection, product_id: int, primaries: Sequence[bool]) -> list[int]:
    rows = [
        {
            "product_id": product_id,
            "external_id": str(number),
            "image_url": "https://media/x.png",
            "is_primary": primary,
        }
        for number, primary in enumerate(primaries)
    ]
    return [
        int(connection.execute(product_image.insert().values(row).returning(product_image.c.id)).scalar_one())
        for row in rows
    ]


def test_a_set_based_flip_of_primaries_passes_in_either_order(database: sa.Engine) -> None:
    flip = sa.update(product_image).values(is_primary=~product_image.c.is_primary)
    with database.begin() as connection:
        for number in range(50):
            _images(connection, _product(connection, str(number)), [number % 2 == 0, number % 2 == 1])
    for _ in range(2):
        with database.begin() as connection:
            assert connection.execute(flip).rowcount == 100


def test_two_primaries_of_a_product_are_refused_at_commit(database: sa.Engine) -> None:
    with database.begin() as connection:
        one, other = _product(connection, "1"), _product(connection, "2")
        _images(connection, one, [True, False])
        _images(connection, other, [True])
    with pytest.raises(IntegrityError, match="product_image_one_primary"), database.begin() as connection:
        connection.execute(sa.update(product_image).values(is_primary=True))


def test_products_may_swap_their_skus_in_one_load_but_not_share_one(database: sa.Engine) -> None:
    with database.begin() as connection:
        one, other = _product(connection, "A"), _product(connection, "B")
        _product(connection, "A", kind="parent")
    swap = sa.update(product).values(sku=sa.case((product.c.id == one, "B"), else_="A"))
    with database.begin() as connection:
        connection.execute(swap.where(product.c.id.in_([one, other])))
    with pytest.raises(IntegrityError, match="product_one_sku"), database.begin() as connection:
        connection.execute(sa.update(product).values(sku="A"))


def test_metadata_is_stored_uncompressed(database: sa.Engine) -> None:
    query = "SELECT attstorage FROM pg_attribute WHERE attrelid = 'imagesync.product_image'::regclass"
    with database.connect() as connection:
        assert connection.scalar(sa.text(f"{query} AND attname = 'metadata'")) == "e"


def test_nothing_cascades_from_a_product(database: sa.Engine) -> None:
    with database.begin() as connection:
        parent = _product(connection, "P", kind="parent")
        child = _product(connection, "C", parent_id=parent)
        _images(connection, child, [True])
    for gone in (parent, child):
        with pytest.raises(IntegrityError, match=r"violates RESTRICT|foreign key"), database.begin() as connection:
            connection.execute(product.delete().where(product.c.id == gone))


@pytest.mark.parametrize(
    ("table", "values", "constraint"),
    [
        (product, {"kind": "bundle", "erp_id": "1", "sku": "1"}, "product_kind_check"),
        (product_image, {"product_id": 0, "external_id": "1", "image_url": "u"}, "product_image_product_id_fkey"),
    ],
    ids=["a third kind of product", "an image of no product"],
)
def test_rows_that_make_no_sense_are_refused(
    database: sa.Engine, table: sa.Table, values: dict[str, object], constraint: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint), database.begin() as connection:
        connection.execute(table.insert().values(values))
