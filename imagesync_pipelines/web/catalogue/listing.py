"""The list of products: what is found, in which order, with which picture, and how many there are.

A page is read with a few queries and by an index in every order, however many products there are. Whoever has been
listed is told by where the last page ended; an order of two parts lists one after the other.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.products.lists import LISTS, PRODUCTS, is_on, kept_counts, listed_height
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.products.showing import images_of
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import product, product_image, unmatched_article
from imagesync_pipelines.storage.schema_catalogue import listed_product, shown_name
from imagesync_pipelines.web.catalogue import judged, models
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
FEW, FEW_REFUSED = 2000, 5000
# A search looks at so many products for each that it is to give: at a sample; at more where that promises enough; at
# most where the indexes find too many to sort.
SAMPLED, WALKED, AT_MOST = 6, 50, 200
# So many products that fit are counted, of so many hits of a search or changed images; of more it is said that they are
# at least so many.
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
    it. changed_since: an image was added or changed at that moment or later. kind: '' for all. refused_by: the rule set
    that refuses the main picture of one of its listings.
    """

    q: str = ""
    without_image: bool = False
    without_front: bool = False
    low_resolution: bool = False
    unmatched: bool = False
    changed_since: datetime | None = None
    kind: Literal["", "parent", "variant"] = ""
    refused_by: str = ""


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
        found, next_cursor = _found(connection, filters, cursor, limit, showing, order)
        return models.ProductPage(items=_listed(connection, found, showing) if found else [], next_cursor=next_cursor)


def products_that_fit(engine: sa.Engine, filters: Filters, limit: int, showing: ShowingSettings) -> list[int]:
    """The ids of so many products that the list finds, by their SKUs."""
    with snapshot(engine) as connection:
        return [row.id for row in _found(connection, filters, None, limit, showing, "sku")[0]]


def _found(
    connection: sa.Connection, filters: Filters, cursor: str | None, limit: int, showing: ShowingSettings, order: Order
) -> tuple[list[sa.Row], str | None]:
    """The rows of a page of the list and its next cursor, None at the end. Raises CursorError."""
    parts = _parts(connection, filters, showing, order)
    # Only the cursors of later parts name theirs, before a point, which is in no other.
    at, point, rest = (cursor or "").rpartition(".")
    numbers = {str(number): number for number in range(len(parts))} | ({} if point else {"": 0})
    if at not in numbers:
        raise CursorError("This is no cursor of this list; begin again without one.")
    nth = numbers[at]
    found: list[sa.Row] = []
    next_cursor = few = None
    for place, part in enumerate(parts[nth:], nth):
        wanted, begin = limit - len(found), rest if place == nth else ""
        query = part.query
        if filters.q.strip():
            if few is None:
                ordered = ordered_after(query, part.order, begin, falling=part.falling)
                hits, is_all = _found_by(connection, ordered, filters, wanted + 1)
                few = hits if is_all else None
            query = query.where(hits)
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
    return found, next_cursor


def _parts(connection: sa.Connection, filters: Filters, showing: ShowingSettings, order: Order) -> list[_Part]:
    """The parts of the list in this order, one after the other; what the filters leave nothing of is left out."""
    columns = (product.c.id, product.c.kind, product.c.sku, product.c.name, product.c.is_active)
    # What is said of those that have one: of products that nothing is shown for no image is on them.
    has_images = bool(filters.without_front or filters.low_resolution or filters.changed_since)
    few, filters = _few(connection, filters)
    query = sa.select(*columns).where(*few)

    def by_sku(kept: str | None, *further: sa.ColumnElement[bool]) -> _Part:
        where = (*_conditions(filters, showing, kept, is_by_sku=kept is None and not filters.q.strip()), *further)
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
        looked_at, query = sa.select(sa.literal(0)).where(sa.false()).cte("looked_at"), _fitting(filters, showing)
        most = MOST_HITS if filters.changed_since is not None or filters.q.strip() else MOST_COUNTED
        if filters.q.strip():
            few = MOST_COUNTED if replace(filters, q="", kind="") == Filters() else MOST_HITS
            looked_at = _hits(filters).limit(few + 1).cte("looked_at")
            query = sa.select(looked_at.c.id).where(*_conditions(filters, showing, of=looked_at.c))
        elif (narrowing := _narrowing(filters)) is not None:
            looked_at = narrowing.limit(most + 1).cte("looked_at")
            query = _fitting(_without_it(filters), showing).where(product.c.id.in_(sa.select(looked_at.c.id)))
        fitting = query.limit(MOST_COUNTED + 1).subquery("fitting")
        sizes = (sa.select(sa.func.count()).select_from(one).scalar_subquery() for one in (fitting, looked_at))
        number, looked = connection.execute(sa.select(*sizes)).one()
        if looked > MOST_HITS and number <= MOST_COUNTED and not filters.q.strip():
            # Of so many images with a change some were cut off: the products are counted themselves.
            every = _fitting(filters, showing).limit(MOST_COUNTED + 1).subquery("every")
            number, looked = connection.scalar(sa.select(sa.func.count()).select_from(every)) or 0, 0
        return Found(min(number, MOST_COUNTED), number <= MOST_COUNTED and looked <= most, kept[PRODUCTS])


def _fitting(filters: Filters, showing: ShowingSettings) -> sa.Select:
    """The products for which everything but the search is true, in no order."""
    return sa.select(product.c.id).where(*_conditions(filters, showing, is_by_sku=True))


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


def _conditions(
    filters: Filters,
    showing: ShowingSettings,
    kept: str | None = None,
    *,
    of: ReadOnlyColumnCollection[str, Any] = product.c,
    is_by_sku: bool = False,
) -> list[sa.ColumnElement[bool]]:
    """Everything but the search, and but being on the list `kept`.

    of: the columns id, sku, kind and left_erp_at of the products. is_by_sku: they are looked up by their SKUs.
    """
    conditions: list[sa.ColumnElement[bool]] = [of.left_erp_at.is_(None)]
    own = _OWN.c.product_id == of.id
    if filters.kind:
        conditions.append(of.kind == filters.kind)
    conditions += [
        is_on(name, of.id) for name in ("without_image", "without_front") if name != kept and getattr(filters, name)
    ]
    if filters.low_resolution and kept != "low_resolution":
        conditions.append(sa.exists().where(own, _OWN.c.is_primary, _OWN.c.height < showing.image_db_detail_min_height))
    if filters.changed_since is not None:
        conditions.append(of.id.in_(_changed(filters.changed_since)))
    if filters.refused_by:
        conditions.append(judged.is_refused(filters.refused_by, of.id))
    if filters.unmatched:
        near = sa.func.jsonb_array_elements(unmatched_article.c.candidates).table_valued("value", name="near")
        candidates = sa.select(near.c.value.op("->>")("sku")).select_from(unmatched_article.join(near, sa.true()))
        # An array is walked along with the index of SKUs, and compared with every product where that is not used.
        in_array = of.sku == sa.any_(sa.func.array(candidates.scalar_subquery()))
        conditions.append(in_array if is_by_sku else of.sku.in_(candidates))
    return conditions


def _changed(since: datetime) -> sa.Select:
    """The products with an image that was added or changed since then, one for each such image."""
    return sa.select(_OWN.c.product_id.label("id")).where(_OWN.c.last_synced >= since)


def _narrowing(filters: Filters) -> sa.Select | None:
    """The products (id) of which one of the filters may leave few, more than once some; None without such a filter."""
    if filters.changed_since is not None:
        return _changed(filters.changed_since)
    return judged.refused_products(filters.refused_by) if filters.refused_by else None


def _without_it(filters: Filters) -> Filters:
    """The filters without the one of _narrowing."""
    return replace(filters, **({"changed_since": None} if filters.changed_since else {"refused_by": ""}))


def _few(connection: sa.Connection, filters: Filters) -> tuple[list[sa.ColumnElement[bool]], Filters]:
    """That a product is among those that one filter leaves, where these are few, and the filters that are left to ask.

    Then nobody looks at the others, wherever in the order they stand.
    """
    narrowing, most = _narrowing(filters), FEW if filters.changed_since is not None else FEW_REFUSED
    if narrowing is None:
        return [], filters
    if filters.changed_since is None:
        # That they are many the index of the scores tells alone: each listing is looked at only where they are few.
        refusals = judged.refusals(filters.refused_by).offset(most).limit(1)
        if connection.execute(refusals).first() is not None:
            return [], filters
    found = connection.scalars(narrowing.limit(most + 1)).all()
    if len(found) > most:
        return [], filters
    return [among(product.c.id, set(found) - {None})], _without_it(filters)


def _found_by(
    connection: sa.Connection, ordered: sa.Select, filters: Filters, wanted: int
) -> tuple[sa.ColumnElement[bool], bool]:
    """The search as a condition that finds the first so many products of an ordered list, and whether it finds all.

    PostgreSQL cannot tell how many hits there will be. Where there are many, the products are looked at in their
    order until there are enough, whatever else there is; where there are few, the indexes of the search find them.
    """

    def walked(number: int) -> Sequence[int]:
        fits = sa.or_(*_searches(filters.q)).label("fits")
        rows = ordered.add_columns(fits).limit(number).subquery("walked")
        return connection.scalars(sa.select(rows.c.id).where(rows.c.fits).limit(wanted)).all()

    found, is_all = walked(SAMPLED * wanted), False
    if len(found) < wanted and 2 * SAMPLED * wanted <= len(found) * WALKED:
        found = walked(WALKED * wanted)
    if len(found) < wanted:
        found = connection.scalars(sa.select(_hits(filters).limit(FEW + 1).subquery("hits").c.id)).all()
        is_all = len(found) <= FEW
        if not is_all and len(found := walked(AT_MOST * wanted)) < wanted:
            return product.c.id.in_(sa.select(_hits(filters).subquery("hits").c.id)), True
    return among(product.c.id, found), is_all


def _hits(filters: Filters) -> sa.CompoundSelect:
    """What the search finds of this kind, each once, in no order: a row per product, with what _conditions asks of."""
    searches = _searches(filters.q, by_index=True)
    columns = [product.c[name] for name in ("id", "sku", "kind", "left_erp_at")]
    is_of_kind = [product.c.kind == filters.kind] if filters.kind else []
    # One index each: asked for together, PostgreSQL makes the words of every hit anew.
    each = (
        sa.select(*columns).where(
            one, *(before.is_not(sa.true()) for before in searches[:nth]), product.c.left_erp_at.is_(None), *is_of_kind
        )
        for nth, one in enumerate(searches)
    )
    return sa.union_all(*each)


def _searches(text: str, *, by_index: bool = False) -> list[sa.ColumnElement[bool]]:
    """The words of a person as conditions, one of which has to be true; an index of `product` answers each.

    by_index: that is how they are asked; else every product is looked at.
    """
    whole = " ".join(text.replace("\0", " ").split())
    beginnings = {whole, whole.upper()}
    conditions = [column.startswith(one, autoescape=True) for column in _NUMBERS for one in sorted(beginnings)]
    words = _WORD.findall(whole)
    if words:
        simple: sa.ColumnElement[str] = sa.literal_column("'simple'::regconfig")
        wanted = sa.func.to_tsquery(simple, " & ".join(f"'{word}':*" for word in words))
        # Most names are told apart by this, ten times as fast as by their words; sure of words that are one token.
        there = [word for word in words if word.isascii() and (word[0].isalpha() or word.isdigit())]
        in_name = (sa.func.lower(product.c.name).contains(sa.func.lower(word)) for word in there if not by_index)
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
