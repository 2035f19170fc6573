"""`product_image` as a target: whole products, one transaction per batch, primaries last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from psycopg import sql
from psycopg.errors import NumericValueOutOfRange

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.orders import follow_renames
from imagesync_pipelines.products.primaries import PRIMARY, Locked, flipped, lock_products, primary_flags, set_flags
from imagesync_pipelines.storage.copying import copy_columns, frame_of, read_columns
from imagesync_pipelines.storage.effect_frames import note_rows
from imagesync_pipelines.storage.effects import NOBODY, Author
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.sync.apply import ends_run, item_failure, outcomes
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.model import EFFECTS, Change, Outcome, group_state
from imagesync_pipelines.sync.plan import group_states
from imagesync_pipelines.sync.undoing import Marking

_OWNED = "FROM imagesync.product_image WHERE source = {}"
_KEY = "product_id || '/' || external_id"

MOVED = N_("the images of this product changed since the plan was made; plan again")

_WITHOUT_IMAGES = group_state(())

VALUES = pa.schema(
    {
        "image_url": pa.string(),
        "thumbnail_url": pa.string(),
        "image_type": pa.string(),
        "is_front": pa.bool_(),
        "priority": pa.int64(),
        "alt_text": pa.string(),
        "metadata": pa.binary(),
        "fingerprint": pa.string(),
        "original_url": pa.string(),
        "newest_export": pa.timestamp("us", "UTC"),
        "matched_by": pa.string(),
        "chosen_because": pa.string(),
        "width": pa.int64(),
        "height": pa.int64(),
        "image_format": pa.string(),
    }
)
"""The values of a product image, in the order in which they are copied; metadata is JSON in UTF-8."""


def values_of(payload: pd.DataFrame, keys: Iterable[str]) -> pa.Table:
    """The VALUES of product images with these keys, in their order, from a frame that has them, metadata as text."""
    rows = payload.set_index("key").loc[list(keys), VALUES.names].reset_index(drop=True)
    encoded = rows["metadata"].astype(object).map(str.encode)
    return pa.Table.from_pandas(rows.assign(metadata=encoded), VALUES, preserve_index=False)


Payload = Callable[[Iterable[str]], pa.Table]
"""The VALUES of the rows with these engine keys, in their order."""

_TABLE = "imagesync.product_image"
# A row as it is copied: its columns with their types on the wire. last_synced is not among them: it is now, by default.
_NAMES = ("product_id", "source", "external_id", "is_primary", *VALUES.names)
# By Arrow's name of the type.
_NOT_TEXT = {"bool": "bool", "int64": "int4", "binary": "jsonb", "timestamp[us, tz=UTC]": "timestamptz"}
_TYPES = ("int8", "text", "text", "bool", *(_NOT_TEXT.get(str(kind), "text") for kind in VALUES.types))
_COLUMNS = ", ".join(_NAMES)
_LARGEST = 2**31 - 1

_STAGE = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS product_image_stage ON COMMIT DELETE ROWS AS
SELECT {_COLUMNS} FROM {_TABLE} WITH NO DATA
"""  # noqa: S608 - names are constants of this module

_UPSERT = f"""
INSERT INTO {_TABLE} ({_COLUMNS}, last_synced)
SELECT {_COLUMNS}, now() FROM product_image_stage
ON CONFLICT (product_id, source, external_id) DO UPDATE
   SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _NAMES[3:])}, last_synced = EXCLUDED.last_synced
"""  # noqa: S608 - names are constants of this module

# Images, and the pins on them.
_RENAMES = [
    f"""
UPDATE {table} i SET external_id = r.after
  FROM unnest(CAST(:product_id AS bigint[]), CAST(:before AS text[]), CAST(:external_id AS text[]))
       AS r (product_id, before, after)
 WHERE i.product_id = r.product_id AND i.source = :source AND i.external_id = r.before
"""  # noqa: S608 - names are constants of this module
    for table in (_TABLE, "imagesync.pin")
]

_REMOVE = f"""
DELETE FROM {_TABLE} i
 USING unnest(CAST(:product_id AS bigint[]), CAST(:external_id AS text[])) AS r (product_id, gone)
 WHERE i.product_id = r.product_id AND i.source = :source AND i.external_id = r.gone
"""  # noqa: S608 - names are constants of this module

# Rows as they are before they change, as the history keeps them.
_BEFORE = f"""
SELECT r.key, CAST(to_jsonb(i) - CAST('{{product_id,source}}' AS text[]) AS text) AS before
  FROM unnest(CAST(:key AS text[]), CAST(:product_id AS bigint[]), CAST(:external_id AS text[]))
       AS r (key, product_id, external_id)
  JOIN {_TABLE} i ON i.product_id = r.product_id AND i.source = :source AND i.external_id = r.external_id
"""  # noqa: S608 - names are constants of this module
# Of a row of a plan what the history keeps; positions are computed, not stored.
_NOTED = ["group", "key", "key_before", "change", "reason", "fingerprint_before", "fingerprint_after"]
_PIN_MOVED, _PIN_DORMANT = (
    N_("the choice of it as primary goes with it"),
    N_("the choice of it as primary waits for it"),
)


def image_key(product_id: int | str, external_id: str) -> str:
    """The engine's key of a product image: the product's id and the image's external id."""
    return f"{product_id}/{external_id}"


def external_ids_of(keys: pd.Series) -> pd.Series:
    """The images' own ids of engine keys."""
    return keys.str.replace(r"(?s)^[^/]*/", "", n=1, regex=True).where(keys.str.contains("/", regex=False))


def read_asked(engine: sa.Engine, source: str) -> dict[str, tuple[str, ...]]:
    """The addresses with parameters of what `source` has in `product_image`, by key; few rows have any."""
    urls = (product_image.c.image_url, product_image.c.thumbnail_url)
    asked = sa.or_(*(url.contains("?", autoescape=True) for url in urls))
    query = sa.select(product_image.c.product_id, product_image.c.external_id, *urls)
    with engine.connect() as connection:
        rows = connection.execute(query.where(product_image.c.source == source, asked)).all()
    return {
        image_key(row.product_id, row.external_id): tuple(filter(None, (row.image_url, row.thumbnail_url)))
        for row in rows
    }


def read_current(engine: sa.Engine, source: str) -> pd.DataFrame:
    """What the connector `source` has in `product_image` now, as the engine's `current`.

    Columns: key, group, position (always NA: order is computed, not stored), fingerprint. Contents: read_contents.
    """
    owned = _OWNED.format(sql.Literal(source).as_string())  # a COPY takes no parameters
    query = f"SELECT {_KEY}, product_id, fingerprint {owned}"
    with engine.connect() as connection:
        frame = frame_of(read_columns(connection, query, dict.fromkeys(("key", "group", "fingerprint"), pa.string())))
    frame.insert(2, "position", pd.Series(pd.NA, index=frame.index, dtype="Int64"))
    return frame


def read_contents(engine: sa.Engine, source: str, keys: pd.Series) -> pd.Series:
    """The contents (the originals' URLs) of rows that `source` has under these keys; NA where it has none any more."""
    ids = sorted({int(key.partition("/")[0]) for key in keys})
    owned = _OWNED.format(sql.Literal(source).as_string())
    query = (
        f"SELECT {_KEY}, original_url {owned} AND product_id = ANY(CAST({sql.Literal(ids).as_string()} AS bigint[]))"
    )
    with engine.connect() as connection:
        frame = frame_of(read_columns(connection, query, dict.fromkeys(("key", "content"), pa.string())))
    return keys.map(dict(zip(frame["key"], frame["content"], strict=True)))


@dataclass(frozen=True)
class ProductImageTarget:
    """Writes what one source has of whole products, and nothing of other sources; the engine's DatabaseTarget.

    source: the connector that brings the images. `payload` gives the values of the keys asked, to several threads at a
    time. A product whose images changed since the plan was made is refused, all its rows with it; a row that the
    database does not accept fails alone when its product is applied alone. resumed: an application of the same plan was
    broken off; products that are as the plan wants them were written by it and count as done. What is done is noted in
    the history as done by `by`, in the same transaction, of which `mark` hears too.
    """

    engine: sa.Engine
    source: str
    payload: Payload
    resumed: bool = False
    by: Author = NOBODY
    mark: Marking | None = None

    def apply_batch(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        """Apply the products in one transaction; raises when any row is not accepted and there are several products."""
        try:
            with self.engine.begin() as connection:
                told, effects = self._apply(connection, rows, digests)
                note_rows(connection, self.source, "", self.by, effects)
                self._mark(connection, rows, effects)
            return told
        except Exception as error:
            if ends_run(error) or rows["group"].nunique() > 1:
                raise
        return self._apply_row_by_row(rows, digests)

    def _apply_row_by_row(self, rows: pd.DataFrame, digests: Mapping[str, str] | None) -> pd.DataFrame:
        """One product, each row under its own savepoint, so that one poisoned image leaves the others applied."""
        with self.engine.begin() as connection:
            locked = lock_products(connection, [int(rows["group"].iloc[0])])
            told, noted = [self._settled(rows, digests, locked.images)], []
            before = self._noted(connection, rows)
            for row in () if len(told[0]) else (rows.iloc[[at]] for at in range(len(rows))):
                try:
                    with connection.begin_nested():
                        done, effects = self._apply(connection, row, None)
                except Exception as error:  # noqa: BLE001 - whatever one image does, the others are applied
                    told.append(outcomes(row, Outcome.FAILED, item_failure(error)))
                else:
                    told.append(done)
                    noted.append(effects)
            if noted:
                effects = self._at_once(connection, locked, before, noted)
                note_rows(connection, self.source, "", self.by, effects)
                self._mark(connection, rows, effects)
        return pd.concat(told)

    def _mark(self, connection: sa.Connection, rows: pd.DataFrame, effects: pd.DataFrame) -> None:
        """Tell of what was done just now; what a run that broke off did was told then."""
        if self.mark is not None:
            self.mark(connection, rows[among(rows["key"], effects.loc[effects["change"].isin(EFFECTS), "key"])])

    def _apply(
        self, connection: sa.Connection, rows: pd.DataFrame, digests: Mapping[str, str] | None
    ) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The outcomes of the rows, and what was done as note_rows takes it."""
        images, pins, orders = lock_products(connection, [int(group) for group in rows["group"].unique()])
        settled = self._settled(rows, digests, images)
        rows = rows[~among(rows["group"], settled["group"])]
        done = outcomes(rows, Outcome.DONE)
        rows = rows.assign(product_id=rows["group"].astype("int64"), external_id=external_ids_of(rows["key"]))
        removed = rows["change"] == Change.REMOVE
        written = rows[~removed]
        renamed = written[written["key_before"].notna() & (written["key_before"] != written["key"])]
        renamed = renamed.assign(before=external_ids_of(renamed["key_before"]))
        effects = [self._noted(connection, rows), *self._told_of_pins(rows[removed], renamed, pins)]
        follow_renames(connection, orders, self.source, renamed)
        values = self.payload(written["key"]) if len(written) else VALUES.empty_table()
        touched = pd.concat([rows["key"], rows["key_before"].dropna()])
        stay = images[(images["source"] != self.source) | ~among(_keys(images), touched)]
        come = pa.table(
            {
                "product_id": pa.array(written["product_id"], pa.int64()),
                "source": pa.repeat(self.source, len(written)),
                "external_id": pa.array(written["external_id"], pa.string()),
                "priority": values["priority"],
                "newest_export": values["newest_export"],
            }
        )
        primary = primary_flags(pd.concat([stay, frame_of(come)], ignore_index=True), pins, orders)
        _change(connection, _REMOVE, self.source, rows[removed], "product_id", "external_id")
        for rename in _RENAMES:
            _change(connection, rename, self.source, renamed, "product_id", "before", "external_id")
        copied = _copied(come.append_column("is_primary", pa.array(primary[len(stay) :])), values)
        _write(connection, copied, ~np.isin(written["product_id"], images["product_id"]))
        flags = primary[: len(stay)].set_axis(stay.index)
        set_flags(connection, stay, flags)
        effects.append(flipped(stay, flags, self.source))
        return pd.concat([settled, done]), pd.concat([told for told in effects if len(told)] or effects[:1])

    def _noted(self, connection: sa.Connection, rows: pd.DataFrame) -> pd.DataFrame:
        """Rows that are about to be applied as the history keeps them, with what is there before."""
        there = rows[rows["key_before"].notna()]
        if there.empty:
            return rows[_NOTED]
        product_ids = there["group"].astype("int64").tolist()
        asked = {"key": there["key"].tolist(), "product_id": product_ids, "source": self.source}
        asked["external_id"] = external_ids_of(there["key_before"]).tolist()
        before = {row.key: row.before for row in connection.execute(sa.text(_BEFORE), asked)}
        return rows[_NOTED].assign(before=rows["key"].map(before))

    def _at_once(
        self, connection: sa.Connection, locked: Locked, before: pd.DataFrame, noted: Sequence[pd.DataFrame]
    ) -> pd.DataFrame:
        """What was done to a product row by row, as if at once: each row had what was there at first."""
        effects = pd.concat(noted)
        effects = effects[effects["change"] != PRIMARY]
        if "before" in before:
            at_first = effects["key"].map(dict(zip(before["key"], before["before"], strict=True)))
            effects = effects.assign(before=at_first.where(effects["change"].isin(EFFECTS)))
        images = locked.images
        now = lock_products(connection, images["product_id"].unique().tolist()).images.set_index("id")["is_primary"]
        written = (images["source"] == self.source) & among(_keys(images), effects["key_before"].dropna())
        stay = images[images["id"].isin(now.index) & ~written]
        return pd.concat([effects, flipped(stay, stay["id"].map(now).astype(bool), self.source)])

    def _told_of_pins(
        self, removed: pd.DataFrame, renamed: pd.DataFrame, pins: dict[int, tuple[str, str]]
    ) -> list[pd.DataFrame]:
        """Move the pins whose images are renamed; gives what the history says of pins."""
        told = []
        columns = (renamed[name].tolist() for name in ("product_id", "before", "external_id"))
        for product_id, before, after in zip(*columns, strict=True):
            if pins.get(product_id) == (self.source, before):
                pins[product_id] = (self.source, after)
                keys = {"key": image_key(product_id, after), "key_before": image_key(product_id, before)}
                told.append({"group": str(product_id), **keys, "change": "pin_moved", "reason": _PIN_MOVED})
        for product_id, gone in zip(removed["product_id"].tolist(), removed["external_id"].tolist(), strict=True):
            if pins.get(product_id) == (self.source, gone):
                key = image_key(product_id, gone)
                told.append({"group": str(product_id), "key": key, "change": "pin_dormant", "reason": _PIN_DORMANT})
        return [pd.DataFrame(told)] if told else []

    def _settled(self, rows: pd.DataFrame, digests: Mapping[str, str] | None, images: pd.DataFrame) -> pd.DataFrame:
        """The outcomes of products that are not to be written: they moved, or a run that broke off wrote them."""
        mine = images[images["source"] == self.source]
        there = pd.DataFrame({"key": _keys(mine), "group": mine["product_id"].astype("str"), "position": None})
        there["fingerprint"] = mine["fingerprint"]
        now = group_states(there)
        moved = [group for group, before in (digests or {}).items() if now.get(group, _WITHOUT_IMAGES) != before]
        told = rows[among(rows["group"], pd.Series(moved, dtype="str"))]
        if not self.resumed or told.empty:
            return outcomes(told, Outcome.REFUSED, MOVED)
        found, wanted = told["key"].map(there.set_index("key")["fingerprint"]), told["fingerprint_after"]
        old_key = told["key_before"].isin(there["key"]) & ~told["key_before"].isin(told["key"])
        as_planned = ((found == wanted) | (found.isna() & wanted.isna())) & ~old_key
        whole = as_planned.groupby(told["group"]).transform("all")
        return pd.concat([outcomes(told[whole], Outcome.DONE), outcomes(told[~whole], Outcome.REFUSED, MOVED)])


def _keys(images: pd.DataFrame) -> pd.Series:
    return images["product_id"].astype("str") + "/" + images["external_id"].astype("str")


def _copied(images: pa.Table, values: pa.Table) -> pa.Table:
    """Product images in the form in which they are copied. Raises psycopg's DataError for a size that is too large."""
    large = pc.or_kleene(pc.greater(values["width"], _LARGEST), pc.greater(values["height"], _LARGEST))
    for row in values.filter(large).to_pylist():
        raise NumericValueOutOfRange(languages.told(f"{row['width']} x {row['height']} pixels are out of range"))
    own = _NAMES[: len(_NAMES) - len(VALUES)]
    return pa.table([*(images[name] for name in own), *values.columns], names=list(_NAMES))


def _write(connection: sa.Connection, images: pa.Table, new: np.ndarray) -> None:
    """Write images; nothing is compared for those whose products are `new` to images, so they are written fastest."""
    if new.any():
        copy_columns(connection, _TABLE, images if new.all() else images.filter(pa.array(new)), _TYPES)
    if not new.all():
        connection.execute(sa.text(_STAGE))
        connection.execute(sa.text("DELETE FROM product_image_stage"))  # rows of an earlier savepoint
        copy_columns(connection, "product_image_stage", images.filter(pa.array(~new)), _TYPES)
        connection.execute(sa.text(_UPSERT))


def _change(connection: sa.Connection, statement: str, source: str, images: pd.DataFrame, *columns: str) -> None:
    """Execute a statement about images of a source, whose parameters are these columns."""
    if len(images):
        values = {name: images[name].tolist() for name in columns}
        connection.execute(sa.text(statement), {"source": source, **values})
