"""One product with everything that its page shows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from imagesync_pipelines.products.showing import lending_variants, shown_images
from imagesync_pipelines.storage.schema import pin, product, product_image, unmatched_article
from imagesync_pipelines.web.catalogue.queries.images import ImageView, images_by_id, images_of

MAX_CANDIDATES = 20


@dataclass(frozen=True)
class Relative:
    """A product of the same family; image is its own primary image, None when it has none."""

    id: int
    kind: str
    sku: str
    name: str
    variant_code: str | None
    image: ImageView | None


@dataclass(frozen=True)
class PinView:
    """A person's choice of the primary image; dormant while the product does not have the image."""

    external_id: str
    pinned_by: str
    pinned_at: datetime
    is_dormant: bool


@dataclass(frozen=True)
class NearProduct:
    """An article number of an image that no product has, and why this product may be meant."""

    number: str
    variant: str | None
    external_id: str
    image_type: str | None
    reason: str
    why: str


@dataclass(frozen=True)
class ProductView:
    """A product for its page.

    images: those that are shown, the primary first; lent_by is the product they are on when it is another one. own:
    how many images the product has itself. family: its variants, or the parent's other variants.
    """

    id: int
    kind: str
    sku: str
    name: str
    variant_code: str | None
    legacy_sku: str | None
    base_sku: str | None
    is_active: bool
    left_erp_at: datetime | None
    updated_at: datetime
    parent: Relative | None
    family: tuple[Relative, ...]
    images: tuple[ImageView, ...]
    lent_by: Relative | None
    own: int
    pin: PinView | None
    candidates: tuple[NearProduct, ...]


def product_view(engine: sa.Engine, product_id: int, *, own_images_first: bool = False) -> ProductView | None:
    """A product with everything; None when there is none with this id."""
    names = [product.c[name] for name in _COLUMNS]
    shown = shown_images(engine, [product_id], own_images_first=own_images_first)
    if product_id not in shown:
        return None
    owner = shown[product_id].images[0].product_id if shown[product_id].images else product_id
    with engine.connect() as connection:
        row = connection.execute(sa.select(*names, product.c.parent_id).where(product.c.id == product_id)).one()
        if not shown[product_id].images and row.kind == "parent":
            lending = images_by_id(connection, list(lending_variants(connection, [product_id]).values()))
            owner = next((view.product_id for view in lending.values()), product_id)
        held = images_of(connection, {owner, product_id})
        relatives = _relatives(connection, product_id, row.parent_id, owner)
        pinned = connection.execute(sa.select(pin).where(pin.c.product_id == product_id)).first()
        candidates = _candidates(connection, row.sku)
    own = held.get(product_id, ())
    family_of = product_id if row.kind == "parent" else row.parent_id
    return ProductView(
        **{name: row._mapping[name] for name in _COLUMNS},
        parent=next((one for one, _ in relatives if one.id == row.parent_id), None),
        family=tuple(one for one, parent_id in relatives if parent_id is not None and parent_id == family_of),
        images=held.get(owner, ()),
        lent_by=next((one for one, _ in relatives if one.id == owner != product_id), None),
        own=len(own),
        pin=_pin(pinned, {(view.connector, view.external_id) for view in own}),
        candidates=candidates,
    )


def product_id_of(engine: sa.Engine, sku: str) -> int | None:
    """The product of a SKU, a variant before a parent; None when there is none."""
    query = sa.select(product.c.id).where(product.c.sku == sku, product.c.left_erp_at.is_(None))
    with engine.connect() as connection:
        found: int | None = connection.execute(query.order_by(product.c.kind.desc()).limit(1)).scalar()
    return found


def _relatives(
    connection: sa.Connection, product_id: int, parent_id: int | None, owner: int
) -> list[tuple[Relative, int | None]]:
    """Parent, variants, siblings and the product that lends its images, each with the id of its parent."""
    wanted: sa.ColumnElement[bool] = product.c.id.in_([one for one in (parent_id, owner) if one is not None])
    wanted = wanted | product.c.parent_id.in_([one for one in (product_id, parent_id) if one is not None])
    names = ("id", "kind", "sku", "name", "variant_code")
    query = (
        sa.select(*(product.c[name] for name in names), product.c.parent_id, product_image.c.id.label("image_id"))
        .outerjoin_from(
            product, product_image, (product_image.c.product_id == product.c.id) & product_image.c.is_primary
        )
        .where(wanted)
        .order_by(product.c.sku, product.c.id)
    )
    rows = connection.execute(query).all()
    views = images_by_id(connection, [row.image_id for row in rows if row.image_id is not None])
    return [
        (Relative(**{name: row._mapping[name] for name in names}, image=views.get(row.image_id)), row.parent_id)
        for row in rows
    ]


def _pin(row: sa.Row | None, own: set[tuple[str, str]]) -> PinView | None:
    if row is None:
        return None
    return PinView(row.external_id, row.pinned_by, row.pinned_at, (row.source, row.external_id) not in own)


def _candidates(connection: sa.Connection, sku: str) -> tuple[NearProduct, ...]:
    """The unmatched article numbers for which this SKU was named as perhaps meant."""
    names = ("number", "variant", "external_id", "image_type", "reason", "candidates")
    wanted = unmatched_article.c.candidates.contains(sa.literal([{"sku": sku}], JSONB))
    query = sa.select(*(unmatched_article.c[name] for name in names)).where(wanted)
    found = connection.execute(query.order_by(unmatched_article.c.number).limit(MAX_CANDIDATES)).mappings()
    return tuple(_candidate(row, sku) for row in found)


def _candidate(row: Mapping[str, Any] | sa.RowMapping, sku: str) -> NearProduct:
    why = next((str(one.get("why", "")) for one in row["candidates"] if one.get("sku") == sku), "")
    return NearProduct(row["number"], row["variant"], row["external_id"], row["image_type"], row["reason"], why)


_COLUMNS = (
    "id", "kind", "sku", "name", "variant_code", "legacy_sku", "base_sku", "is_active", "left_erp_at", "updated_at",
)  # fmt: skip
