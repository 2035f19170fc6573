"""The rows that are exported: one for every image that is shown for a product, read from one moment, in batches."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from imagesync_pipelines.products.channel_pictures import version_of
from imagesync_pipelines.products.showing import images_of, whose_images
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_score

PRODUCTS_AT_ONCE = 500


class ExportRow(NamedTuple):
    """One image of one product; position counts from 1 in the order in which they are shown.

    id is the product image's, images_from the SKU of the product that lends its images, '' when they are its own. Sizes
    in pixels, None when unknown; times are UTC. quality_score and quality_findings: of a main picture that was judged,
    the lowest score of any rule set, and the rules that it breaks, `google: size, large; own: size`.
    """

    sku: str
    kind: str
    parent_sku: str | None
    variant_code: str | None
    name: str
    position: int
    id: int
    external_id: str
    image_url: str
    thumbnail_url: str | None
    image_type: str
    is_primary: bool
    is_front: bool
    alt_text: str
    format: str | None
    width: int | None
    height: int | None
    images_from: str
    last_synced: datetime
    quality_score: int | None = None
    quality_findings: str | None = None


QUALITY = ("quality_score", "quality_findings")
PLAIN = tuple(name for name in ExportRow._fields if name not in QUALITY)
"""The columns where quality was never measured."""

_SHOWN, _SCORE, _IMAGE = channel_picture.c, picture_score.c, product_image.c
# Of what is the primary image now, and is the picture still that was judged.
_IS_IMAGE = sa.and_(
    _IMAGE.product_id == _SHOWN.product_id,
    _IMAGE.source == _SHOWN.connector,
    _IMAGE.external_id == _SHOWN.key,
    _IMAGE.is_primary,
    _SHOWN.account == "",
    _SHOWN.version == version_of(product_image),
)
_BROKEN = sa.func.string_agg(
    _SCORE.rule_set + ": " + sa.func.array_to_string(_SCORE.failed, ", "),
    aggregate_order_by(sa.literal("; "), _SCORE.rule_set),
).filter(sa.func.cardinality(_SCORE.failed) > 0)
_QUALITY_OF = (
    sa.select(_IMAGE.id, sa.func.min(_SCORE.score).label("score"), sa.func.coalesce(_BROKEN, "").label("findings"))
    .join_from(channel_picture, product_image, _IS_IMAGE)
    .join(picture_score, sa.and_(*(_SCORE[name] == _SHOWN[name] for name in ("connector", "account", "code"))))
    .where(_SHOWN.is_main)
    .group_by(_IMAGE.id)
)

Batches = Iterator[list[ExportRow]]
"""Rows in the order of SKU and position; all rows of a product are in one batch. Addresses are as their source writes
them."""


@contextmanager
def snapshot(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection on which everything is read as it is now, whatever a synchronisation writes meanwhile."""
    with engine.connect() as connection:
        options: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        yield connection.execution_options(**options)


def columns_of(connection: sa.Connection) -> tuple[str, ...]:
    """The columns of the exports: those of quality are among them once it was measured."""
    is_judged = connection.scalar(sa.text("SELECT EXISTS (SELECT FROM imagesync.picture_score)"))
    return ExportRow._fields if is_judged else PLAIN


def read_rows(
    connection: sa.Connection, conditions: Collection[sa.ColumnElement[bool]] = (), *, own_images_first: bool = False
) -> Batches:
    """The rows of the products that the ERP has and for which all conditions are true (on the table product).

    A variant stands before a parent of the same SKU. Products with nothing to show have no row.
    """
    parent = product.alias("parent")
    names = ("id", "sku", "kind", "variant_code", "name")
    query = (
        sa.select(*(product.c[name] for name in names), parent.c.sku.label("parent_sku"))
        .outerjoin_from(product, parent, product.c.parent_id == parent.c.id)
        .where(product.c.left_erp_at.is_(None), *conditions)
        .order_by(product.c.sku, product.c.kind.desc(), product.c.id)
    )
    is_judged = columns_of(connection) != PLAIN
    found = connection.execute(query, execution_options={"yield_per": PRODUCTS_AT_ONCE})
    try:
        for products in found.partitions():
            yield _rows(connection, products, own_images_first, is_judged=is_judged)
    finally:
        found.close()


def _rows(
    connection: sa.Connection, products: Sequence[sa.Row], own_images_first: bool, *, is_judged: bool
) -> list[ExportRow]:
    shows = whose_images(connection, [one.id for one in products], own_images_first=own_images_first)
    owners = {one: whose.owner_id for one, whose in shows.items()}
    images = images_of(connection, set(owners.values()))
    borrowed = {owner for one, owner in owners.items() if owner != one}
    query = sa.select(product.c.id, product.c.sku).where(among(product.c.id, borrowed))
    lenders = {row.id: row.sku for row in connection.execute(query)}
    judged = _judged(connection, list(images)) if is_judged else {}
    rows = []
    for one in products:
        owner = owners.get(one.id, one.id)
        about = (one.sku, one.kind, one.parent_sku, one.variant_code, one.name)
        lent_by = lenders[owner] if owner != one.id else ""
        for position, image in enumerate(images.get(owner, ()), start=1):
            rows.append(
                ExportRow(
                    *about, position, image.id, image.external_id, image.image_url, image.thumbnail_url,
                    image.image_type, image.is_primary, image.is_front, image.alt_text, image.image_format,
                    image.width, image.height, lent_by, image.last_synced.astimezone(UTC),
                    *judged.get(image.id, (None, None)),
                )
            )  # fmt: skip
    return rows


def _judged(connection: sa.Connection, owners: list[int]) -> dict[int, tuple[int, str]]:
    """How the main pictures of these products were judged, by the id of the image."""
    found = connection.execute(_QUALITY_OF.where(among(_SHOWN.product_id, owners)))
    return {row.id: (row.score, row.findings) for row in found}
