"""Products and their images: the list with its search and filters, fast with 100,000 of them, one product, its images.

What is shown for a product is its own images, or those that another lends it. A page of the list is read with a few
queries, however many products it has. The cursor of a list that goes on says where its last page ended, as text that a
URL can carry.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple

import sqlalchemy as sa
from pydantic import AwareDatetime, Field, TypeAdapter
from sqlalchemy.dialects.postgresql import JSONB

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.products.lists import LISTS, PRODUCTS, is_on, kept_counts, listed_height
from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.products.showing import Showing, images_of, whose_images
from imagesync_pipelines.storage.database import among, read_rows
from imagesync_pipelines.storage.schema import pin, product, product_image, unmatched_article
from imagesync_pipelines.storage.schema_catalogue import listed_product
from imagesync_pipelines.web.catalogue import models
from imagesync_pipelines.web.service import Text

_OWN = product_image.alias("own")
# So many hits of a search are sorted in no time.
FEW = 2000
# A search looks at so many products for each that it is to give: at a sample; at more where that promises enough; at
# most where the indexes find too many to sort.
SAMPLED, WALKED, AT_MOST = 6, 50, 200
MAX_CANDIDATES = 20
_NUMBERS = (product.c.sku, product.c.legacy_sku)
_WORD = re.compile(r"[^\W_]+")
_IMAGE = (
    *(column for column in product_image.c if column.name not in {"source", "metadata"}),
    product_image.c.source.label("connector"),
    sa.func.coalesce(product_image.c.metadata["original_file"]["uploaded_from"].astext, "").label("source"),
)


# Only what a row can have: a cursor is a caller's text like any other.
_IN_A_CURSOR: Mapping[type, Any] = {
    datetime: AwareDatetime,
    str: Text,
    int: Annotated[int, Field(ge=-(2**63), lt=2**63)],
}


class CursorError(ValueError):
    """A cursor that this list did not give; begin again without one."""


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


def list_products(
    engine: sa.Engine, filters: Filters, cursor: str | None, limit: int, showing: ShowingSettings
) -> models.ProductPage:
    """Products in the order of their SKUs, those that left the ERP aside. Raises CursorError for a wrong cursor."""
    query = sa.select(product.c.id, product.c.kind, product.c.sku, product.c.name, product.c.is_active)
    order: tuple[sa.ColumnElement, ...] = (product.c.sku, product.c.id)
    with snapshot(engine) as connection:
        kept = _kept_list(connection, filters, showing)
        if kept:
            # In the order of the list, which is that of the SKUs: whoever is on it is found without looking for them.
            listed = sa.select(listed_product.c.sku, listed_product.c.product_id.label("id"))
            on_it = listed.where(listed_product.c.list == kept).subquery("on_it")
            query, order = query.join(on_it, on_it.c.id == product.c.id), (on_it.c.sku, on_it.c.id)
        query = query.where(*_conditions(filters, showing, kept))
        if filters.q.strip():
            query = query.where(_found_by(connection, _after(query, order, cursor), filters.q, limit + 1))
        found, next_cursor = rows_after(connection, query, order, cursor, limit)
        items = _listed(connection, found, showing) if found else []
        return models.ProductPage(items=items, next_cursor=next_cursor)


def count_each(engine: sa.Engine, asked: Mapping[str, Filters], showing: ShowingSettings) -> dict[str, int]:
    """How many products the filters find, of each by its name; what is kept is not counted."""
    found = {}
    with snapshot(engine) as connection:
        kept = kept_counts(connection)
        for name, filters in asked.items():
            of = _kept_list(connection, filters, showing)
            # Asked for something else too, a list is too long.
            if (replace(filters, **{of: False}) if of else filters) == Filters():  # type: ignore[arg-type]
                found[name] = kept[of or PRODUCTS]
            else:
                query = sa.select(sa.func.count()).select_from(product).where(*conditions_of(filters, showing))
                found[name] = int(connection.execute(query).scalar_one())
    return found


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


def product_view(engine: sa.Engine, product_id: int, showing: ShowingSettings) -> models.Product | None:
    """A product with everything; None when there is none with this id."""
    shown = shown_for(engine, [product_id], showing).get(product_id)
    if shown is None:
        return None
    owner = shown.images[0].product_id if shown.images else product_id
    own = sa.select(sa.func.count()).where(product_image.c.product_id == product_id).scalar_subquery()
    names = (product.c[name] for name in models.Product.model_fields if name in product.c)
    query = sa.select(*names, product.c.parent_id, own.label("own")).where(product.c.id == product_id)
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
            family=family,
            images=shown.images,
            lent_by=next((one for one in relatives if one.id == owner != product_id), None),
            candidates=_near(connection, row.sku),
        )


def _listed(connection: sa.Connection, found: Sequence[sa.Row], showing: ShowingSettings) -> list[models.ListedProduct]:
    """The rows with the image that stands for each: their own or a parent's, else a variant's."""
    shows = _shows(connection, [row.id for row in found], showing)
    owners = {one: whose.owner_id for one, whose in shows.items() if whose.lent_image_id is None}
    first = _first_images(connection, set(owners.values()))
    lent = {one: whose.lent_image_id for one, whose in shows.items() if whose.lent_image_id is not None}
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
        # One index each: asked for together, PostgreSQL makes the words of every hit anew.
        each = (sa.select(product.c.id).where(one) for one in _searches(text))
        hits = sa.union_all(*each).cte("hits").prefix_with("MATERIALIZED", dialect="postgresql")
        found = connection.scalars(sa.select(hits.c.id).limit(FEW + 1)).all()
        if len(found) > FEW and len(found := walked(AT_MOST * wanted)) < wanted:
            return product.c.id.in_(sa.select(hits.c.id))
    return product.c.id == sa.any_(sa.literal(list(found), sa.ARRAY(sa.BigInteger)))


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


def _shows(connection: sa.Connection, product_ids: Collection[int], showing: ShowingSettings) -> dict[int, Showing]:
    return whose_images(connection, product_ids, own_images_first=showing.image_db_own_images_first)


def shown_for(engine: sa.Engine, ids: Collection[int], showing: ShowingSettings) -> dict[int, models.ProductImages]:
    """What is shown for each of the products, by id, in a few queries; a product that we do not have is left out."""
    with engine.connect() as connection:
        owners = {one: whose.owner_id for one, whose in _shows(connection, ids, showing).items()}
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
    shown = rules.Shown(image.external_id, image.priority, image.newest_export, image.connector)
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
    rows = connection.execute(_after(query, order, cursor, falling=falling).limit(limit + 1)).all()
    last = rows[limit - 1]._mapping if len(rows) > limit else None
    return rows[:limit], encode_cursor([last[column.name] for column in order]) if last else None


def _after(
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
