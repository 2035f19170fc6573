"""The lists of products that lack something, and their lengths, which triggers keep with products and images.

What each holds is said by the view product_lacks (storage/migrations/versions/product_lists.sql).
"""

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.storage.schema_catalogue import listed_product, product_count

LISTS = ("without_image", "without_front", "low_resolution")
PRODUCTS = "products"

_KEPT = sa.select(product_count.c.name, sa.func.sum(product_count.c.change)).group_by(product_count.c.name)
_HEIGHT = sa.select(sa.literal_column("imagesync.listed_height()", sa.Integer))
# What is kept and should not be, or the other way about, and of each list one of the products.
_WRONG = sa.text("""
SELECT coalesce(kept.list, true_.list), count(*), min(coalesce(kept.sku, true_.sku))
  FROM imagesync.listed_product kept
  FULL JOIN (SELECT * FROM imagesync.what_is_listed) AS true_ USING (list, sku, product_id)
 WHERE kept.list IS NULL OR true_.list IS NULL
 GROUP BY 1 ORDER BY 1
""")
_COUNTED = sa.text("""
SELECT list, count(*) FROM imagesync.listed_product GROUP BY list
 UNION ALL
SELECT 'products', count(*) FROM imagesync.product WHERE left_erp_at IS NULL
""")


def kept_counts(connection: sa.Connection) -> dict[str, int]:
    """How long each list is, and how many products the ERP has (PRODUCTS), however many there are."""
    kept = {name: int(number) for name, number in connection.execute(_KEPT)}
    return {name: kept.get(name, 0) for name in (PRODUCTS, *LISTS)}


def listed_height(connection: sa.Connection) -> int:
    """The height in pixels below which a primary image puts its product into the list low_resolution."""
    return int(connection.execute(_HEIGHT).scalar_one())


def list_for_height(engine: sa.Engine, height: int) -> None:
    """Let the list low_resolution be made for this height; nothing is written where it is."""
    with engine.begin() as connection:
        if listed_height(connection) != height:
            connection.execute(sa.text("SELECT imagesync.list_for_height(:height)"), {"height": height})


def is_on(name: str, product_id: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
    """Whether a product is on a list."""
    return sa.exists().where(listed_product.c.list == name, listed_product.c.product_id == product_id)


def wrong_lists(connection: sa.Connection) -> list[str]:
    """A sentence for each list or count that is not what the tables say; it reads all products and images."""
    told = [
        languages.told(
            f"{name}: {number} products should be on this list and are not, or the other way about, such as {sku}"
        )
        for name, number, sku in connection.execute(_WRONG)
    ]
    counted = {name: int(number) for name, number in connection.execute(_COUNTED)}
    return told + [
        languages.told(f"{name}: {number} are kept as its number, {counted.get(name, 0)} are counted")
        for name, number in kept_counts(connection).items()
        if number != counted.get(name, 0)
    ]


def rebuild_lists(connection: sa.Connection) -> None:
    """Make lists and counts anew from what the tables say; who writes products or images waits meanwhile."""
    connection.execute(sa.text("SELECT imagesync.rebuild_lists()"))
