"""Primaries in the database: images under lock, the flag of those whose flag is wrong, and a person's own choice.

The order that a person gave pictures decides as well, where no pin does; it is kept by orders.py.

No synchronisation undoes that choice, a pin. One whose image is gone stays and is dormant: when the image returns, so
does the choice.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.products import rules
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.copying import frame_of
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.effect_frames import note_rows
from imagesync_pipelines.storage.effects import NOBODY, Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.errors import PinRefusedError
from imagesync_pipelines.storage.schema import pin

# A product image as it is in the database, as far as its place among the others is concerned.
_PRESENT = pa.schema(
    {
        "id": pa.int64(),
        "product_id": pa.int64(),
        "source": pa.string(),
        "external_id": pa.string(),
        "fingerprint": pa.string(),
        "priority": pa.int64(),
        "newest_export": pa.timestamp("us", "UTC"),
        "is_primary": pa.bool_(),
    }
)

_FLIP = """
UPDATE imagesync.product_image i SET is_primary = r.is_primary, last_synced = now()
  FROM unnest(CAST(:ids AS bigint[]), CAST(:flags AS boolean[])) AS r (id, is_primary)
 WHERE i.id = r.id
"""

# The triggers that note what other hands write pass over a transaction that says this.
_KEEPS_PRIMARIES = "SELECT set_config('imagesync.keeps_primaries', 'yes', true)"

# Five thousand products are one text: as a list each number would be made ready by itself, in every statement.
_AMONG = "ANY(CAST(:products AS bigint[]))"
_LOCK = f"""
WITH locked AS (SELECT id FROM imagesync.product WHERE id = {_AMONG} ORDER BY id FOR NO KEY UPDATE)
SELECT count(*) FROM locked
"""  # noqa: S608 - names are constants of this module
_PRESENT_OF = f"SELECT {', '.join(_PRESENT.names)} FROM imagesync.product_image WHERE product_id = {_AMONG}"  # noqa: S608
_PINS_OF = f"SELECT product_id, source, external_id FROM imagesync.pin WHERE product_id = {_AMONG}"  # noqa: S608
_CHOICES_OF = f"""
SELECT product_id, source, external_id, NULL AS pictures FROM imagesync.pin WHERE product_id = {_AMONG}
 UNION ALL
SELECT product_id, NULL, NULL, pictures FROM imagesync.picture_order WHERE product_id = {_AMONG}
"""  # noqa: S608 - names are constants of this module

_TO_CHECK = "DELETE FROM imagesync.primary_to_check RETURNING product_id"

_WRONG = """
SELECT product_id
  FROM (SELECT i.product_id, i.is_primary, (i.source, i.external_id) = (p.source, p.external_id) AS is_pinned,
               array_position(o.pictures, i.source || '/' || i.external_id) AS place
          FROM imagesync.product_image i LEFT JOIN imagesync.pin p USING (product_id)
          LEFT JOIN imagesync.picture_order o USING (product_id)
         WHERE i.product_id = ANY(CAST(:products AS bigint[]))) AS image
 GROUP BY product_id
HAVING count(*) FILTER (WHERE is_primary) <> 1
    OR CASE WHEN bool_or(is_pinned) THEN NOT bool_or(is_primary AND is_pinned)
            ELSE min(place) IS DISTINCT FROM min(place) FILTER (WHERE is_primary) END
 ORDER BY product_id
"""

# What the history calls a flag that moved, and why it did.
PRIMARY = "primary"
_IS_PRIMARY, _WAS_PRIMARY = N_("it is the primary picture now"), N_("another picture is the primary one now")


Choices = Mapping[int, tuple[str, str] | None]
"""Of products the image (source, external_id) that is pinned, None where the rules are to choose again."""


class Locked(NamedTuple):
    """Products that nobody else writes until the transaction ends: images (as _PRESENT says), pins, people's orders.

    orders: of those that have one the pictures as name_of writes them, the first one first.
    """

    images: pd.DataFrame
    pins: dict[int, tuple[str, str]]
    orders: dict[int, Sequence[str]]


def name_of(source: str, external_id: str) -> str:
    """An image among those of its product, as orders have it."""
    return f"{source}/{external_id}"


def lock_products(connection: sa.Connection, product_ids: Collection[int]) -> Locked:
    """Wait for whoever writes the images or pins of these products, keep others out, and read what is there.

    Whoever asks leaves them with their primaries right, so that nobody looks at them for it again.
    The row of the product is the lock: it is there before its first image is. Reading is a statement of its own after
    the lock, because the locking one would still see what was there before it waited.
    """
    connection.execute(sa.text(_KEEPS_PRIMARIES))
    asked = _asked(product_ids)
    connection.execute(sa.text(_LOCK), asked)
    there = connection.execute(sa.text(_PRESENT_OF), asked).all()
    values = [pa.array(column, kind) for column, kind in zip(zip(*there, strict=True), _PRESENT.types, strict=False)]
    images = pa.table(values, _PRESENT) if there else _PRESENT.empty_table()
    locked = Locked(frame_of(images), {}, {})
    for product_id, source, external_id, pictures in connection.execute(sa.text(_CHOICES_OF), asked):
        if pictures is None:
            locked.pins[product_id] = (source, external_id)
        else:
            locked.orders[product_id] = pictures
    return locked


def primary_flags(
    images: pd.DataFrame, pins: Mapping[int, tuple[str, str]], orders: Mapping[int, Sequence[str]]
) -> pd.Series:
    """Which images of whole products are primary (True/False), of all sources together, as rules.choose_primary says.

    images: product_id, source, external_id, priority, newest_export. Works on columns; the rule itself is asked about
    products with a pin or a person's order, and where two images are alike in priority and moment.
    """
    flags = ~images["product_id"].duplicated(keep=False)  # most products have one
    several = images[~flags]
    if several.empty:
        return flags
    # Of whole numbers ~ turns the order round; a moment that is not there is the smallest number, so it comes last.
    products, newest = several["product_id"].to_numpy(), several["newest_export"].to_numpy("datetime64[us]").view("i8")
    priority = several["priority"].to_numpy()
    order = np.lexsort((~newest, priority, products))
    same = products[order][1:] == products[order][:-1]
    alike = same & (priority[order][1:] == priority[order][:-1]) & (newest[order][1:] == newest[order][:-1])
    first = np.concatenate([[True], ~same])
    flags[several.index[order[first]]] = True
    decided = np.array([*pins, *orders], np.int64)
    asked = np.union1d(products[order][1:][alike & first[:-1]], decided)
    if len(asked):
        unclear = several[np.isin(products, asked)]
        flags[unclear.index] = np.array(_chosen(unclear, pins, orders), bool)
    return flags


def _chosen(
    images: pd.DataFrame, pins: Mapping[int, tuple[str, str]], orders: Mapping[int, Sequence[str]]
) -> list[bool]:
    """The same by the rule itself, image by image."""
    shown: dict[int, list[rules.Shown]] = {}
    moments = images["newest_export"].astype(object).where(images["newest_export"].notna(), None)
    columns = (images["product_id"], images["external_id"], images["priority"], moments, images["source"])
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    places = {product_id: {one: at for at, one in enumerate(names)} for product_id, names in orders.items()}
    for product_id, *values in rows:
        one = rules.Shown(*values)
        place = places.get(product_id, {}).get(name_of(*one.name))
        shown.setdefault(product_id, []).append(one._replace(place=place))
    chosen = {product_id: rules.choose_primary(of, pins.get(product_id)) for product_id, of in shown.items()}
    return [chosen[product_id] == (source, external_id) for product_id, external_id, *_, source in rows]


def set_flags(connection: sa.Connection, images: pd.DataFrame, primary: pd.Series) -> None:
    """Set or clear the flag of every image whose flag is wrong."""
    wrong = images["is_primary"] != primary
    if wrong.any():
        flips = {"ids": images.loc[wrong, "id"].tolist(), "flags": primary[wrong].tolist()}
        connection.execute(sa.text(_FLIP), flips)


def flipped(images: pd.DataFrame, primary: pd.Series, connector: str) -> pd.DataFrame:
    """What set_flags changes, as note_rows takes it; whose image it is is told where `connector` did not bring it."""
    wrong = images[images["is_primary"] != primary]
    rows = zip(*(wrong[name].tolist() for name in ("product_id", "source", "external_id", "is_primary")), strict=True)
    return pd.DataFrame(
        [
            {
                "group": str(product_id),
                "key": f"{product_id}/{external_id}",
                "change": PRIMARY,
                "reason": _WAS_PRIMARY if was_primary else _IS_PRIMARY,
                "before": json.dumps(
                    {"is_primary": was_primary, **({} if source == connector else {"source": source})}
                ),
            }
            for product_id, source, external_id, was_primary in rows
        ]
    )


def repair_primaries(engine: sa.Engine, connector: str = DEFAULT_SOURCE, by: Author = NOBODY) -> int:
    """Give every product exactly one primary where somebody else's hand left none, or left a pin unheeded.

    Only where such a hand was, which triggers note; what a transaction notes that ends meanwhile stays for the next
    time. Returns how many products were repaired; 0, and nothing written, when all is well. connector, by: in whose
    name the history says so.
    """
    products: list[int] = []
    with engine.begin() as connection:
        touched = set(connection.scalars(sa.text(_TO_CHECK)))
        if touched:
            products = list(connection.scalars(sa.text(_WRONG), {"products": sorted(touched)}))
        if products:
            images, pins, orders = lock_products(connection, products)
            flags = primary_flags(images, pins, orders)
            set_flags(connection, images, flags)
            note_rows(connection, connector, "", by, flipped(images, flags, connector))
    return len(products)


def pin_image(engine: sa.Engine, product_id: int, source: str, external_id: str, who: str) -> None:
    """Make an image the product's primary and keep it so, whatever connector brought it; an earlier pin is replaced.

    Raises PinRefusedError when the product does not have the image; then nothing is changed.
    """
    with engine.begin() as connection:
        locked = lock_products(connection, [product_id])
        if not ((locked.images["source"] == source) & (locked.images["external_id"] == external_id)).any():
            raise PinRefusedError(f"Product {product_id} has no image {external_id}; nothing was pinned.")
        choose_images(connection, locked, {product_id: (source, external_id)}, who)


def unpin_image(engine: sa.Engine, product_id: int, who: str) -> bool:
    """Let the rules choose the product's primary again, at once; says whether there was a pin."""
    with engine.begin() as connection:
        locked = lock_products(connection, [product_id])
        choose_images(connection, locked, {product_id: None}, who)
    return product_id in locked.pins


def choose_images(connection: sa.Connection, locked: Locked, chosen: Choices, who: str) -> None:
    """Choose the primaries of products that are locked, in a person's name; what is pinned has to be there."""
    before = _pins_as_kept(connection, chosen)
    images = locked.images[locked.images["product_id"].isin(list(chosen))]
    pins = {product_id: name for product_id, name in {**locked.pins, **chosen}.items() if name is not None}
    flags = primary_flags(images, pins, locked.orders)
    set_pins(connection, chosen, who)
    set_flags(connection, images, flags)
    rows: dict[int, tuple[str, EffectRow]] = {}
    for product_id, name in chosen.items():
        was = before.get(product_id)
        if name is None and was is not None:
            key, why = f"{product_id}/{was['external_id']}", told(f"{who} lets the rules choose again")
            rows[product_id] = was["source"], EffectRow(key, "unpin", why, before=was)
        elif name is not None and (was is None or (was["source"], was["external_id"]) != name):
            source, external_id = name
            after = {"source": source, "external_id": external_id}
            row = EffectRow(f"{product_id}/{external_id}", "pin", told(f"{who} chose it"), before=was, after=after)
            rows[product_id] = source, row
    note_choices(connection, rows, who, images, flags)


def note_choices(
    connection: sa.Connection,
    rows: Mapping[int, tuple[str, EffectRow]],
    who: str,
    images: pd.DataFrame,
    primary: pd.Series,
) -> None:
    """Note a person's choices with the flags that moved by them.

    rows: of each product the connector of the picture that it is about, and what was chosen.
    """
    moved: dict[str, list[EffectRow]] = {}
    for source in {source for source, _ in rows.values()}:
        its = images["product_id"].isin([product_id for product_id, (of, _) in rows.items() if of == source])
        for flip in flipped(images[its], primary[its], source).to_dict(orient="records"):
            row = EffectRow(
                str(flip["key"]), str(flip["change"]), str(flip["reason"]), before=json.loads(flip["before"])
            )
            moved.setdefault(str(flip["group"]), []).append(row)
    by = Author(person=who)
    note_effects(
        connection,
        [
            Effect(source, "", str(product_id), (row, *moved.get(str(product_id), ())), by)
            for product_id, (source, row) in rows.items()
        ],
    )


def _pins_as_kept(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, dict[str, Any]]:
    """The pins of products as the history keeps them."""
    found = connection.execute(sa.select(pin).where(among(pin.c.product_id, product_ids))).mappings()
    names = ("source", "external_id", "pinned_by")
    return {
        one["product_id"]: {**{name: one[name] for name in names}, "pinned_at": str(one["pinned_at"])} for one in found
    }


def set_pins(connection: sa.Connection, chosen: Choices, pinned_by: str) -> None:
    """Pin an image of each of these products; an earlier pin of one is replaced, or ended."""
    over = [product_id for product_id, name in chosen.items() if name is None]
    if over:
        connection.execute(pin.delete().where(among(pin.c.product_id, over)))
    rows = [
        {"product_id": product_id, "source": name[0], "external_id": name[1], "pinned_by": pinned_by}
        for product_id, name in chosen.items()
        if name is not None
    ]
    if rows:
        # One statement: triggers look at who shows what after each.
        new = insert(pin).values(rows)
        again: dict[str, Any] = {name: new.excluded[name] for name in ("source", "external_id", "pinned_by")}
        again["pinned_at"] = sa.func.now()
        connection.execute(new.on_conflict_do_update(index_elements=["product_id"], set_=again))


def pins_of(connection: sa.Connection, product_ids: Collection[int]) -> dict[int, tuple[str, str]]:
    """The pinned image (source, external_id) of those products that have a pin, dormant ones included."""
    found = connection.execute(sa.text(_PINS_OF), _asked(product_ids))
    return {product_id: (source, external_id) for product_id, source, external_id in found}


def _asked(product_ids: Collection[int]) -> dict[str, str]:
    return {"products": f"{{{','.join(map(str, product_ids))}}}"}
