"""The list of products: search, filters, and going on from a cursor; fast with 100,000 products.

A page of the list is read with a few queries, however many products it has.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import sqlalchemy as sa

from imagesync_pipelines.products.showing import lending_variants, shown_images
from imagesync_pipelines.storage.schema import product, product_image, unmatched_article
from imagesync_pipelines.web.catalogue.queries.cursors import rows_after
from imagesync_pipelines.web.catalogue.queries.images import ImageView, images_by_id, skus_of

_OWN = product_image.alias("own")
_LENT = product_image.alias("lent")
_OTHER = product.alias("other")
# So many hits of a search are sorted in no time.
FEW = 2000
_NUMBERS = (product.c.sku, product.c.legacy_sku)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Filters:
    """What is looked for; everything given must be true of a product.

    q: words; every one begins a word of the name, or all of it begins the SKU or the legacy SKU. without_image: nothing
    to show, not even from its parent or its variants. without_front: images, but no front view. low_resolution: the
    primary image is less high than the list's `min_height`. unmatched: an article number that no product has may mean
    it. changed_since: an image was added or changed at that moment or later. kind: '' for all.
    """

    q: str = ""
    without_image: bool = False
    without_front: bool = False
    low_resolution: bool = False
    unmatched: bool = False
    changed_since: datetime | None = None
    kind: Literal["", "parent", "variant"] = ""


@dataclass(frozen=True)
class ProductRow:
    """One product of the list with the image that stands for it.

    image: None when there is nothing to show. images: how many are shown for it. lent_by: the SKU of the product whose
    image it is, '' when it is the product's own.
    """

    id: int
    kind: str
    sku: str
    name: str
    is_active: bool
    image: ImageView | None
    images: int
    lent_by: str


@dataclass(frozen=True)
class ProductRows:
    """A page of the list; next_cursor is None on the last one."""

    rows: tuple[ProductRow, ...]
    next_cursor: str | None


def list_products(
    engine: sa.Engine,
    filters: Filters,
    cursor: str | None,
    limit: int,
    *,
    min_height: int,
    own_images_first: bool = False,
) -> ProductRows:
    """Products in the order of their SKUs, those that left the ERP aside. Raises CursorError for a wrong cursor."""
    query = sa.select(product.c.id, product.c.kind, product.c.sku, product.c.name, product.c.is_active)
    query = query.where(*_conditions(filters, min_height))
    with engine.connect() as connection:
        if filters.q.strip():
            query = query.where(_found_by(connection, filters.q))
        found, next_cursor = rows_after(connection, query, (product.c.sku, product.c.id), cursor, limit)
    return ProductRows(_with_images(engine, found, own_images_first), next_cursor)


def count_products(engine: sa.Engine, filters: Filters, *, min_height: int) -> int:
    """How many products the filters find."""
    query = sa.select(sa.func.count()).select_from(product).where(*conditions_of(filters, min_height))
    with engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def conditions_of(filters: Filters, min_height: int) -> list[sa.ColumnElement[bool]]:
    """What the filters ask, the search included, as conditions on the table product."""
    searched = [_search(filters.q)] if filters.q.strip() else []
    return [*_conditions(filters, min_height), *searched]


def _with_images(engine: sa.Engine, found: Sequence[sa.Row], own_images_first: bool) -> tuple[ProductRow, ...]:
    """The rows with their images: their own or a parent's, then a variant's image for a parent without any."""
    shown = shown_images(engine, [row.id for row in found], own_images_first=own_images_first)
    chosen = {owner: images.images[0].id for owner, images in shown.items() if images.images}
    with engine.connect() as connection:
        bare = [row.id for row in found if row.kind == "parent" and row.id not in chosen]
        chosen |= lending_variants(connection, bare) if bare else {}
        views = images_by_id(connection, list(chosen.values()))
        lenders = {views[image].product_id for owner, image in chosen.items() if views[image].product_id != owner}
        skus = skus_of(connection, lenders)
    rows = []
    for row in found:
        view = views.get(chosen.get(row.id, 0))
        lent_by = skus.get(view.product_id, "") if view is not None and view.product_id != row.id else ""
        images = len(shown[row.id].images) if row.id in shown else 0
        rows.append(ProductRow(row.id, row.kind, row.sku, row.name, row.is_active, view, images, lent_by))
    return tuple(rows)


def _conditions(filters: Filters, min_height: int) -> list[sa.ColumnElement[bool]]:
    """Everything but the search."""
    conditions: list[sa.ColumnElement[bool]] = [product.c.left_erp_at.is_(None)]
    own = _OWN.c.product_id == product.c.id
    if filters.kind:
        conditions.append(product.c.kind == filters.kind)
    if filters.without_image:
        conditions += [~one for one in _pictured()]
    if filters.without_front:
        conditions += [sa.exists().where(own), ~sa.exists().where(own, _OWN.c.is_front)]
    if filters.low_resolution:
        conditions.append(sa.exists().where(own, _OWN.c.is_primary, _OWN.c.height < min_height))
    if filters.changed_since is not None:
        changed = sa.select(_OWN.c.product_id).where(_OWN.c.last_synced >= filters.changed_since)
        conditions.append(product.c.id.in_(changed))
    if filters.unmatched:
        conditions.append(product.c.sku.in_(_candidates()))
    return conditions


def _pictured() -> list[sa.ColumnElement[bool]]:
    """The ways in which a product can have something to show."""
    by_its_variants = _OTHER.c.parent_id == product.c.id
    by_its_base = (product.c.kind == "variant") & (_OTHER.c.sku == product.c.base_sku)
    lent = _LENT.c.product_id == _OTHER.c.id
    return [
        sa.exists().where(_OWN.c.product_id == product.c.id),
        sa.exists().where(_OWN.c.product_id == product.c.parent_id),
        sa.exists().where(by_its_variants, lent),
        sa.exists().where(by_its_base, lent),
    ]


def _candidates() -> sa.Select:
    """The SKUs of the products that an article number without a product may mean."""
    candidate = sa.func.jsonb_array_elements(unmatched_article.c.candidates).table_valued("value", name="candidate")
    return sa.select(candidate.c.value.op("->>")("sku")).select_from(unmatched_article.join(candidate, sa.true()))


def _found_by(connection: sa.Connection, text: str) -> sa.ColumnElement[bool]:
    """The search as a condition of an ordered list.

    PostgreSQL expects many hits and would go through the SKUs in order, which takes long when there are few: few are
    looked up first, by the indexes of the search.
    """
    hits = sa.select(product.c.id).where(_search(text)).cte("hits").prefix_with("MATERIALIZED", dialect="postgresql")
    few = connection.scalars(sa.select(hits.c.id).limit(FEW + 1)).all()
    if len(few) > FEW:
        return _search(text)
    return product.c.id == sa.any_(sa.literal(list(few), sa.ARRAY(sa.BigInteger)))


def _search(text: str) -> sa.ColumnElement[bool]:
    """The words of a person as conditions that the indexes of `product` answer."""
    whole = " ".join(text.replace("\0", " ").split())
    beginnings = {whole, whole.upper()}
    conditions = [column.startswith(one, autoescape=True) for column in _NUMBERS for one in sorted(beginnings)]
    lexemes = " & ".join(f"'{word}':*" for word in _WORD.findall(whole))
    if lexemes:
        simple: sa.ColumnElement[str] = sa.literal_column("'simple'::regconfig")
        wanted = sa.func.to_tsquery(simple, lexemes)
        conditions.append(sa.func.to_tsvector(simple, product.c.name).op("@@")(wanted))
    return sa.or_(*conditions)
