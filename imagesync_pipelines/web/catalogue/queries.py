"""One product with everything, its images, those of several, and pages of a list.

What is shown for a product is its own images, or those that another lends it. The cursor of a list that goes on says
where its last page ended, as text that a URL can carry.
"""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import Field, TypeAdapter
from sqlalchemy.dialects.postgresql import JSONB

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.orders import PLACE
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.products.showing import Showing, whose_images
from imagesync_pipelines.storage.database import among, read_rows
from imagesync_pipelines.storage.schema import picture_order, pin, product, product_image, unmatched_article
from imagesync_pipelines.web.catalogue import models
from imagesync_pipelines.web.service import Moment, Text

MAX_CANDIDATES = 20
_IMAGE = (
    *(column for column in product_image.c if column.name not in {"source", "metadata"}),
    product_image.c.source.label("connector"),
    PLACE.label("place"),
    sa.func.coalesce(product_image.c.metadata["original_file"]["uploaded_from"].astext, "").label("source"),
)


# Only what a row can have: a cursor is a caller's text like any other.
_IN_A_CURSOR: Mapping[type, Any] = {datetime: Moment, str: Text, int: Annotated[int, Field(ge=-(2**63), lt=2**63)]}


class CursorError(ValueError):
    """A cursor that this list did not give; begin again without one."""


def product_view(engine: sa.Engine, product_id: int, showing: ShowingSettings) -> models.Product | None:
    """A product with everything; None when there is none with this id."""
    shown = shown_for(engine, [product_id], showing).get(product_id)
    if shown is None:
        return None
    owner = shown.images[0].product_id if shown.images else product_id
    own = sa.select(sa.func.count()).where(product_image.c.product_id == product_id).scalar_subquery()
    names = (product.c[name] for name in models.Product.model_fields if name in product.c)
    order = (picture_order.c.ordered_by, picture_order.c.ordered_at)
    query = sa.select(*names, product.c.parent_id, own.label("own"), *order).where(product.c.id == product_id)
    query = query.outerjoin_from(product, picture_order, picture_order.c.product_id == product.c.id)
    with engine.connect() as connection:
        row = connection.execute(query).one()
        relatives = _kin(connection, product_id, row.parent_id, owner)
        family_of = product_id if row.kind == "parent" else row.parent_id
        family = [one for one in relatives if one.parent_id is not None and one.parent_id == family_of]
        return models.Product(
            **row._mapping,
            parent=next((one for one in relatives if one.id == row.parent_id), None),
            variants=family if row.kind == "parent" else [],
            primary=next(iter(shown.images), None),
            image_count=len(shown.images),
            images_from=shown.images_from,
            pin=_pin(connection, product_id),
            order=models.PictureOrder.model_validate(row) if row.ordered_by is not None else None,
            family=family,
            images=shown.images,
            lent_by=next((one for one in relatives if one.id == owner != product_id), None),
            candidates=_near(connection, row.sku),
        )


def _kin(connection: sa.Connection, product_id: int, parent_id: int | None, owner: int) -> list[models.FamilyMember]:
    """Parent, variants, siblings and the product that lends its images."""
    is_primary = (product_image.c.product_id == product.c.id) & product_image.c.is_primary
    query = (
        sa.select(product, product_image.c.id.label("image_id"))
        .outerjoin_from(product, product_image, is_primary)
        .where(product.c.id.in_([parent_id, owner]) | product.c.parent_id.in_([product_id, parent_id]))
        .order_by(product.c.sku, product.c.id)
    )
    rows = connection.execute(query).all()
    images = images_by_id(connection, [row.image_id for row in rows if row.image_id is not None])
    return [models.FamilyMember(**row._mapping, image=images.get(row.image_id)) for row in rows]


def _pin(connection: sa.Connection, product_id: int) -> models.Pin | None:
    image = product_image.c
    names = (image.product_id, image.source, image.external_id)
    is_there = sa.exists().where(sa.tuple_(*names) == sa.tuple_(pin.c.product_id, pin.c.source, pin.c.external_id))
    row = connection.execute(sa.select(pin, (~is_there).label("is_dormant")).where(pin.c.product_id == product_id))
    return next((models.Pin(**one) for one in row.mappings()), None)


def _near(connection: sa.Connection, sku: str) -> Sequence[sa.Row]:
    """The unmatched article numbers for which this SKU was named as perhaps meant."""
    wanted = unmatched_article.c.candidates.contains(sa.literal([{"sku": sku}], JSONB))
    query = sa.select(unmatched_article).where(wanted).order_by(unmatched_article.c.number)
    return connection.execute(query.limit(MAX_CANDIDATES)).all()


def read_images(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> list[models.Image]:
    """The images of which these conditions are true, those of a product in display order, the primary first."""
    rows = connection.execute(sa.select(*_IMAGE).where(*conditions))
    return sorted((models.Image.model_validate(row) for row in rows), key=_order)


def images_by_id(connection: sa.Connection, image_ids: Collection[int]) -> dict[int, models.Image]:
    """These images, by id; one that is not there is left out."""
    return {image.id: image for image in read_images(connection, among(product_image.c.id, image_ids))}


def uploaded_from(record: Mapping[str, Any]) -> str:
    """How an image came into the image database, by its record."""
    original = record.get("original_file")
    found = original.get("uploaded_from") if isinstance(original, dict) else None
    return found if isinstance(found, str) else ""


def image_with_record(engine: sa.Engine, image_id: int) -> models.ImageWithMetadata | None:
    """A product image and its record in the image database as it came; None when there is none with this id."""
    query = sa.select(*_IMAGE, product_image.c.metadata).where(product_image.c.id == image_id)
    return next(iter(read_rows(engine, query, models.ImageWithMetadata)), None)


def shows(connection: sa.Connection, product_ids: Collection[int], showing: ShowingSettings) -> dict[int, Showing]:
    """Whose images each of the products shows, by id."""
    return whose_images(connection, product_ids, own_images_first=showing.image_db_own_images_first)


def shown_for(engine: sa.Engine, ids: Collection[int], showing: ShowingSettings) -> dict[int, models.ProductImages]:
    """What is shown for each of the products, by id, in a few queries; a product that we do not have is left out."""
    with engine.connect() as connection:
        owners = {one: whose.owner_id for one, whose in shows(connection, ids, showing).items()}
        held: dict[int, list[models.Image]] = {}
        for image in read_images(connection, among(product_image.c.product_id, set(owners.values()))):
            held.setdefault(image.product_id, []).append(image)
        skus = skus_of(connection, {*ids, *owners.values()})
    shown = {}
    for one in (one for one in ids if one in skus):
        owner = owners.get(one, one)
        lender = skus[owner] if owner != one else ""
        shown[one] = models.ProductImages(product_id=one, sku=skus[one], images=held.get(owner, []), images_from=lender)
    return shown


def products_of_skus(engine: sa.Engine, skus: Collection[str], *, with_left: bool = False) -> dict[str, int]:
    """The product of each SKU, a variant before a parent; a SKU that no product has is left out.

    with_left: those that have left the ERP too, where no other has the SKU.
    """
    query = sa.select(product.c.sku, product.c.id).where(among(product.c.sku, skus))
    if not with_left:
        query = query.where(product.c.left_erp_at.is_(None))
    # The last of a SKU is kept: one that is in the ERP, and a "variant" after a "parent".
    query = query.order_by(product.c.sku, product.c.left_erp_at.is_(None), product.c.kind)
    with engine.connect() as connection:
        return {row.sku: row.id for row in connection.execute(query)}


def skus_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, str]:
    """The SKU of each product, by id."""
    query = sa.select(product.c.id, product.c.sku).where(among(product.c.id, product_ids))
    return {row.id: row.sku for row in connection.execute(query)}


def _order(image: models.Image) -> tuple[object, ...]:
    shown = rules.Shown(image.external_id, image.priority, image.newest_export, image.connector, image.place)
    return (not image.is_primary, *rules.display_order(shown))


def rows_after(
    connection: sa.Connection,
    query: sa.Select,
    order: Sequence[sa.ColumnElement],
    cursor: str | None,
    limit: int,
    *,
    falling: bool = False,
) -> tuple[Sequence[sa.Row], str | None]:
    """So many rows from a cursor on, and the next cursor, None at the end. Raises CursorError.

    order: columns of the query that together tell every row from the others; their values rise, or all of them fall.
    """
    rows = connection.execute(ordered_after(query, order, cursor, falling=falling).limit(limit + 1)).all()
    last = rows[limit - 1]._mapping if len(rows) > limit else None
    return rows[:limit], encode_cursor([last[column.name] for column in order]) if last else None


def ordered_after(
    query: sa.Select, order: Sequence[sa.ColumnElement], cursor: str | None, *, falling: bool = False
) -> sa.Select:
    """The query in this order, from a cursor on. Raises CursorError."""
    if cursor:
        values = decode_cursor(cursor, [column.type.python_type for column in order])
        here, place = sa.tuple_(*order), sa.tuple_(*map(sa.literal, values))
        query = query.where(here < place if falling else here > place)
    return query.order_by(*(column.desc() if falling else column for column in order))


def encode_cursor(values: Sequence[str | int | datetime]) -> str:
    """The values of the last row as text for a URL."""
    return base64.urlsafe_b64encode(json.dumps(list(values), default=datetime.isoformat).encode()).decode().rstrip("=")


def decode_cursor(text: str, kinds: Sequence[type]) -> list[Any]:
    """The values again, of these kinds: str, int, or aware datetime. Raises CursorError for text that is none."""
    wanted: Any = tuple(_IN_A_CURSOR[kind] for kind in kinds)
    try:
        values = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found: Any = TypeAdapter(tuple[wanted]).validate_json(values, strict=True)
    except ValueError:
        raise CursorError("This is no cursor of this list; begin again without one.") from None
    return list(found)
