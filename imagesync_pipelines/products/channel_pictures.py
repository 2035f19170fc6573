"""What the catalogue shows of the images that one connector brought, for who judges pictures."""

from collections.abc import Iterator

import sqlalchemy as sa

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.contents import OWN_PATH
from imagesync_pipelines.storage.schema import SCHEMA, product, product_image
from imagesync_pipelines.sync.channel_picture import SHA256, ChannelPicture, pictures_by
from imagesync_pipelines.sync.connector import ListPictures


def of_source(source: str) -> ListPictures:
    """Lists the images that a connector brought to products that the ERP has; main is the primary of its product.

    A product without images of its own shows another one's, which is listed there.
    """

    def listed(engine: sa.Engine, shared: Settings, account: str) -> Iterator[ChannelPicture]:
        return pictures_by(engine, _query(source))

    return listed


def _query(source: str) -> sa.Select:
    one, image, parent = product.c, product_image.c, product.alias("parent")
    # Of one kind no two products have the same SKU.
    is_parents = sa.exists().where(parent.c.sku == one.sku, parent.c.kind == "parent", parent.c.left_erp_at.is_(None))
    code = sa.case((sa.and_(one.kind == "variant", is_parents), one.sku + " (variant)"), else_=one.sku)
    version = version_of(product_image)
    return (
        sa.select(code, image.external_id, image.is_primary, one.id, one.name, one.kind, image.image_url, version)
        .join_from(product_image, product, one.id == image.product_id)
        .where(image.source == source, one.left_erp_at.is_(None))
    )


def version_of(image: sa.FromClause) -> sa.ColumnElement[str]:
    """The version of a product image: another one, and another picture is there under the same identity."""
    own = sa.func.substring(image.c.image_url, f"{OWN_PATH}([0-9a-f]{{64}})$")
    # As the catalogue does it: what an address gives is another picture when its source says so.
    exported = sa.func.coalesce(sa.cast(sa.extract("epoch", image.c.newest_export), sa.Text), "")
    return sa.func.coalesce(SHA256 + own, exported + " " + sa.func.md5(image.c.image_url))


def told_apart(code: str, key: str) -> str:
    """SQL, of rows of which each is a main picture: a code that no other one has. code, key: columns; '' for none."""
    is_alone = f"{code} <> '' AND count(*) OVER (PARTITION BY {code}) = 1"
    return f"CASE WHEN {is_alone} THEN {code} ELSE trim({code} || ' ' || {key}) END"


def joined_by_sku(sku: str) -> str:
    """SQL that joins our product with the SKU of a column as `ours`, as showing.names_of_skus chooses it."""
    return f"""
        LEFT JOIN LATERAL (
            SELECT p.id, p.name FROM {SCHEMA}.product p WHERE p.sku = {sku}
             ORDER BY p.left_erp_at IS NULL DESC, p.kind DESC LIMIT 1
        ) AS ours ON true
    """  # noqa: S608 - names of ours
