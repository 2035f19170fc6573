"""The list of products: what is found, in which order, with which picture, and how many there are.

A page is read with a few queries and by an index in every order, however many products there are. Whoever has been
listed is told by where the last page ended; an order of two parts lists one after the other.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.products.lists import LISTS, PRODUCTS, is_on, kept_counts, listed_height
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.products.showing import images_of
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import product, product_image, unmatched_article
from imagesync_pipelines.storage.schema_catalogue import listed_product, shown_name
from imagesync_pipelines.web.catalogue import models
from imagesync_pipelines.web.catalogue.queries import (
    CursorError,
    images_by_id,
    ordered_after,
    rows_after,
    shows,
    skus_of,
)

_OWN, _LATER = product_image.alias("own"), product_image.alias("later")
# So many hits of a search are sorted in no time.
FEW = 2000
# A search looks at so many products for each that it is to give: at a sample; at more where that promises enough; at
# most where the indexes find too many to sort.
SAMPLED, WALKED, AT_MOST = 6, 50, 200
# So many products that fit are counted, of so many hits of a search; of more it is said that there are more.
MOST_COUNTED, MOST_HITS = 10_000, 20_000
_NUMBERS = (product.c.sku, product.c.legacy_sku)
_WORD = re.compile(r"[^\W_]+")

Order = Literal["", "newest", "name", "sku"]
"""How the list is sorted; "": products with something to show first, then by SKU."""


@dataclass(frozen=True)
class Filters:
    """What is looked for; everything given must be true of a product.

    q: words; every one begins a word of the name, or all of it begins the SKU or the legacy SKU. without_image: nothing
    to show, not even from its parent or its variants. without_front: images, but no front view. low_resolution: the
    primary image is less high than a product page needs. unmatched: an article number that no product has may mean
    it. changed_since: an image was added or changed at that moment or later. kind: '' for all.
    """

    q: str = ""
    without_image: bool = False
    without_front: bool = False
    low_resolution: bool = False
    unmatched: bool = False
    changed_since: datetime | None = None
    kind: Literal["", "parent", "variant"] = ""


class _Part(NamedTuple):
    """A part of the list, the whole of it in most orders: what it has, and columns that rise, or fall, along it."""

    query: sa.Select
    order: tuple[sa.ColumnElement, ...]
    falling: bool = False


def list_products(
    engine: sa.Engine, filters: Filters, cursor: str | None, limit: int, showing: ShowingSettings, order: Order = "sku"
) -> models.ProductPage:
    """Products in this order, those that left the ERP aside. Raises CursorError for a wrong cursor."""
    with snapshot(engine) as connection:
        parts = _parts(connection, filters, showing, order)
        # Only the cursors of later parts name theirs, before a point, which is in no other.
        at, point, rest = (cursor or "").rpartition(".")
        numbers = {str(number): number for number in range(len(parts))} | ({} if point else {"": 0})
        if at not in numbers:
            raise CursorError("This is no cursor of this list; begin again without one.")
        nth = numbers[at]
        found: list[sa.Row] = []
        next_cursor = None
        for place, part in enumerate(parts[nth:], nth):
            wanted, begin = limit - len(found), rest if place == nth else ""
            query = part.query
            if filters.q.strip():
                ordered = ordered_after(query, part.order, begin, falling=part.falling)
                query = query.where(_found_by(connection, ordered, filters.q, wanted + 1))
            if not wanted:
                if connection.execute(query.limit(1)).first() is not None:
                    next_cursor = f"{place}."
                    break
                continue
            rows, following = rows_after(connection, query, part.order, begin, wanted, falling=part.falling)
            found += rows
            if following is not None:
                next_cursor = f"{place}.{following}" if place else following
                break
        items = _listed(connection, found, showing) if found else []
        return models.ProductPage(items=items, next_cursor=next_cursor)


def _parts(connection: sa.Connection, filters: Filters, showing: ShowingSettings, order: Order) -> list[_Part]:
    """The parts of the list in this order, one after the other; what the filters leave nothing of is left out."""
    columns = (product.c.id, product.c.kind, product.c.sku, product.c.name, product.c.is_active)
    query = sa.select(*columns)

    def by_sku(kept: str | None, *further: sa.ColumnElement[bool]) -> _Part:
        where = (*_conditions(filters, showing, kept), *further)
        if kept is None:
            return _Part(query.where(*where), (product.c.sku, product.c.id))
        # In the order of the list, which is that of the SKUs: whoever is on it is found without looking for them.
        listed = sa.select(listed_product.c.sku, listed_product.c.product_id.label("id"))
        on_it = listed.where(listed_product.c.list == kept).subquery("on_it")
        return _Part(query.join(on_it, on_it.c.id == product.c.id).where(*where), (on_it.c.sku, on_it.c.id))

    if order == "name":
        named = query.add_columns(shown_name.label("shown_name")).where(*_conditions(filters, showing))
        return [_Part(named, (shown_name.label("shown_name"), product.c.id))]
    kept = _kept_list(connection, filters, showing)
    # Of products that nothing is shown for no image is on them; what a picture lacks is said of those that have one.
    has_images = bool(filters.without_front or filters.low_resolution or filters.changed_since)
    if order == "sku" or filters.without_image:
        return [by_sku(kept)]
    if order == "":
        first = by_sku(kept, ~is_on("without_image", product.c.id))
        last = by_sku("without_image")
    else:
        image = product_image.c
        is_newer = sa.tuple_(_LATER.c.last_synced, _LATER.c.id) > sa.tuple_(image.last_synced, image.id)
        newest = query.add_columns(image.last_synced, image.product_id).join_from(
            product_image, product, product.c.id == image.product_id
        )
        newest = newest.where(
            *_conditions(filters, showing), ~sa.exists().where(_LATER.c.product_id == image.product_id, is_newer)
        )
        first = _Part(newest, (image.last_synced, image.product_id), falling=True)
        last = by_sku(None, ~sa.exists().where(_OWN.c.product_id == product.c.id))
    return [first] if has_images else [first, last]


class Found(NamedTuple):
    """How many products fit, or that there are more; and how many there are in all."""

    number: int
    is_exact: bool
    of_all: int


def count_found(engine: sa.Engine, filters: Filters, showing: ShowingSettings) -> Found:
    """How many products the filters find: what is kept is not counted, and nobody waits for more than MOST_COUNTED."""
    with snapshot(engine) as connection:
        kept = kept_counts(connection)
        known = _kept_count(connection, filters, showing, kept)
        if known is not None:
            return Found(known, True, kept[PRODUCTS])
        query = sa.select(product.c.id).where(*_conditions(filters, showing))
        hits: sa.FromClause = sa.select(sa.literal(0).label("id")).where(sa.false()).subquery("hits")
        if filters.q.strip():
            hits = sa.select(_hits(filters.q).c.id).limit(MOST_HITS + 1).cte("some")
            query = query.where(product.c.id.in_(sa.select(hits.c.id)))
        fitting = query.limit(MOST_COUNTED + 1).subquery("fitting")
        sizes = (sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in (fitting, hits))
        number, looked_at = connection.execute(sa.select(*sizes)).one()
        is_exact = number <= MOST_COUNTED and looked_at <= MOST_HITS
        return Found(min(number, MOST_COUNTED), is_exact, kept[PRODUCTS])


def count_each(engine: sa.Engine, asked: Mapping[str, Filters], showing: ShowingSettings) -> dict[str, int]:
    """How many products the filters find, of each by its name; what is kept is not counted."""
    found = {}
    with snapshot(engine) as connection:
        kept = kept_counts(connection)
        for name, filters in asked.items():
            known = _kept_count(connection, filters, showing, kept)
            if known is None:
                query = sa.select(sa.func.count()).select_from(product).where(*conditions_of(filters, showing))
                known = int(connection.execute(query).scalar_one())
            found[name] = known
    return found


def _kept_count(
    connection: sa.Connection, filters: Filters, showing: ShowingSettings, kept: Mapping[str, int]
) -> int | None:
    """How many products the filters find where that is kept: of all products, and of one list."""
    of = _kept_list(connection, filters, showing)
    # Asked for something else too, a list is too long.
    is_whole = (replace(filters, **{of: False}) if of else filters) == Filters()  # type: ignore[arg-type]
    return kept[of or PRODUCTS] if is_whole else None


def _kept_list(connection: sa.Connection, filters: Filters, showing: ShowingSettings) -> str | None:
    """A list that is kept and that holds every product that the filters find; None when there is none."""
    asked = [name for name in LISTS if getattr(filters, name)]
    # That of low resolution is kept for one height, and this process may have been told another one.
    if "low_resolution" in asked and listed_height(connection) != showing.image_db_detail_min_height:
        asked.remove("low_resolution")
    # It is gone through for what else is asked.
    shortest = kept_counts(connection).__getitem__ if len(asked) > 1 else None
    return min(asked, key=shortest, default=None)


def conditions_of(filters: Filters, showing: ShowingSettings) -> list[sa.ColumnElement[bool]]:
    """What the filters ask, the search included, as conditions on the table product."""
    return [*_conditions(filters, showing), *([sa.or_(*_searches(filters.q))] if filters.q.strip() else [])]


def _conditions(filters: Filters, showing: ShowingSettings, kept: str | None = None) -> list[sa.ColumnElement[bool]]:
    """Everything but the search, and but being on the list `kept`."""
    conditions: list[sa.ColumnElement[bool]] = [product.c.left_erp_at.is_(None)]
    own = _OWN.c.product_id == product.c.id
    if filters.kind:
        conditions.append(product.c.kind == filters.kind)
    conditions += [
        is_on(name, product.c.id)
        for name in ("without_image", "without_front")
        if name != kept and getattr(filters, name)
    ]
    if filters.low_resolution and kept != "low_resolution":
        conditions.append(sa.exists().where(own, _OWN.c.is_primary, _OWN.c.height < showing.image_db_detail_min_height))
    if filters.changed_since is not None:
        changed = sa.select(_OWN.c.product_id).where(_OWN.c.last_synced >= filters.changed_since)
        conditions.append(product.c.id.in_(changed))
    if filters.unmatched:
        near = sa.func.jsonb_array_elements(unmatched_article.c.candidates).table_valued("value", name="near")
        candidates = sa.select(near.c.value.op("->>")("sku")).select_from(unmatched_article.join(near, sa.true()))
        conditions.append(product.c.sku.in_(candidates))
    return conditions


def _found_by(connection: sa.Connection, ordered: sa.Select, text: str, wanted: int) -> sa.ColumnElement[bool]:
    """The search as a condition that finds the first so many products of an ordered list, or all where they are fewer.

    PostgreSQL cannot tell how many hits there will be. Where there are many, the products are looked at in their
    order until there are enough, whatever else there is; where there are few, the indexes of the search find them.
    """

    def walked(number: int) -> Sequence[int]:
        rows = ordered.add_columns(sa.or_(*_searches(text)).label("fits")).limit(number).subquery("walked")
        return connection.scalars(sa.select(rows.c.id).where(rows.c.fits).limit(wanted)).all()

    found = walked(SAMPLED * wanted)
    if len(found) < wanted and 2 * SAMPLED * wanted <= len(found) * WALKED:
        found = walked(WALKED * wanted)
    if len(found) < wanted:
        hits = _hits(text)
        found = connection.scalars(sa.select(hits.c.id).limit(FEW + 1)).all()
        if len(found) > FEW and len(found := walked(AT_MOST * wanted)) < wanted:
            return product.c.id.in_(sa.select(hits.c.id))
    return product.c.id == sa.any_(sa.literal(list(found), sa.ARRAY(sa.BigInteger)))


def _hits(text: str) -> sa.CTE:
    """What a search finds, in no order; a product may be found more than once."""
    # One index each: asked for together, PostgreSQL makes the words of every hit anew.
    each = (sa.select(product.c.id).where(one) for one in _searches(text))
    return sa.union_all(*each).cte("hits").prefix_with("MATERIALIZED", dialect="postgresql")


def _searches(text: str) -> list[sa.ColumnElement[bool]]:
    """The words of a person as conditions, one of which has to be true; an index of `product` answers each."""
    whole = " ".join(text.replace("\0", " ").split())
    beginnings = {whole, whole.upper()}
    conditions = [column.startswith(one, autoescape=True) for column in _NUMBERS for one in sorted(beginnings)]
    words = _WORD.findall(whole)
    if words:
        simple: sa.ColumnElement[str] = sa.literal_column("'simple'::regconfig")
        wanted = sa.func.to_tsquery(simple, " & ".join(f"'{word}':*" for word in words))
        # Most names are told apart by this, ten times as fast as by their words; sure of words that are one token.
        there = [word for word in words if word.isascii() and (word[0].isalpha() or word.isdigit())]
        in_name = (sa.func.lower(product.c.name).contains(sa.func.lower(word)) for word in there)
        conditions.append(sa.and_(*in_name, sa.func.to_tsvector(simple, product.c.name).op("@@")(wanted)))
    return conditions


def _listed(connection: sa.Connection, found: Sequence[sa.Row], showing: ShowingSettings) -> list[models.ListedProduct]:
    """The rows with the image that stands for each: their own or a parent's, else a variant's."""
    shown_of = shows(connection, [row.id for row in found], showing)
    owners = {one: whose.owner_id for one, whose in shown_of.items() if whose.lent_image_id is None}
    first = _first_images(connection, set(owners.values()))
    lent = {one: whose.lent_image_id for one, whose in shown_of.items() if whose.lent_image_id is not None}
    chosen = {one: first[owner].id for one, owner in owners.items() if owner in first} | lent
    images = images_by_id(connection, chosen.values())
    shown = {row.id: images.get(chosen.get(row.id, 0)) for row in found}
    borrowed = {image.product_id for one, image in shown.items() if image is not None and image.product_id != one}
    skus = skus_of(connection, borrowed) if borrowed else {}
    listed = []
    for row in found:
        image, owner = shown[row.id], first.get(owners.get(row.id, 0))
        lender = skus[image.product_id] if image is not None and image.product_id != row.id else ""
        count = owner.number if owner is not None else 0
        listed.append(models.ListedProduct(**row._mapping, primary=image, image_count=count, images_from=lender))
    return listed


class _First(NamedTuple):
    """The image that is shown first of a product's, and how many it has."""

    id: int
    number: int


def _first_images(connection: sa.Connection, owners: Collection[int]) -> dict[int, _First]:
    """For each of the products that has images."""
    image = product_image.c
    primary = sa.func.max(image.id).filter(image.is_primary)
    query = sa.select(image.product_id, primary, sa.func.count()).where(among(image.product_id, owners))
    rows = connection.execute(query.group_by(image.product_id)).all()
    # Somebody's hand may have left none.
    without = [product_id for product_id, primary_id, _ in rows if primary_id is None]
    held = images_of(connection, without) if without else {}
    return {
        product_id: _First(held[product_id][0].id if primary_id is None else primary_id, number)
        for product_id, primary_id, number in rows
    }
