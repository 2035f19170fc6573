"""A small world for the tests of writing: products in the database, what each should show, and applying it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import sqlalchemy as sa

from imagesync_pipelines.products.target import (
    VALUES,
    Payload,
    ProductImageTarget,
    image_key,
    read_contents,
    read_current,
)
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.sync.apply import apply_database
from imagesync_pipelines.sync.model import Proof, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.tally import Applied

MORNING = datetime(2026, 3, 1, 3, tzinfo=UTC)
WHOLE = Scope(None, Proof(1, True, ""))


@dataclass(frozen=True)
class Picture:
    """What a product should show under one external id."""

    priority: int = 2
    newest: int | None = 0
    content: str = ""
    version: str = "1"
    more: Mapping[str, Any] = field(default_factory=dict)

    def values(self, external_id: str) -> dict[str, Any]:
        """The columns of product_image; `newest` is in hours."""
        return {
            "image_url": f"https://media.example.com/{external_id}.jpg",
            "thumbnail_url": None,
            "image_type": "Produktfoto",
            "is_front": self.priority in (1, 3),
            "priority": self.priority,
            "alt_text": "Engel - Produktfoto",
            "metadata": b'{"original_file": {}}',
            "fingerprint": self.fingerprint(),
            "original_url": self.content or f"https://media.example.com/{external_id}.psd",
            "newest_export": None if self.newest is None else MORNING + timedelta(hours=self.newest),
            "matched_by": "variant sku",
            "chosen_because": "large enough",
            "width": 1920,
            "height": 1280,
            "image_format": "jpeg",
            **self.more,
        }

    def fingerprint(self) -> str:
        """A text that changes with everything that is shown."""
        return repr(replace(self, content=""))


Wanted = Mapping[tuple[int, str], Picture]


def add_products(database: sa.Engine, number: int) -> list[int]:
    """So many variants; returns their ids."""
    rows = [{"kind": "variant", "erp_id": str(sku), "sku": str(sku)} for sku in range(number)]
    with database.begin() as connection:
        return list(connection.execute(product.insert().returning(product.c.id), rows).scalars())


def frame_of(wanted: Wanted) -> pd.DataFrame:
    """The engine's wanted frame."""
    rows = [
        (image_key(*at), str(at[0]), pd.NA, picture.fingerprint(), picture.values(at[1])["original_url"])
        for at, picture in wanted.items()
    ]
    return pd.DataFrame(rows, columns=["key", "group", "position", "fingerprint", "content"]).astype(
        {"key": "str", "group": "str", "position": "Int64", "fingerprint": "str", "content": "str"}
    )


def payload_of(wanted: Wanted) -> Payload:
    """The values of what is wanted, as a target asks for them."""
    by_key = {image_key(*at): picture.values(at[1]) for at, picture in wanted.items()}
    return lambda keys: pa.Table.from_pylist([by_key[key] for key in keys], VALUES)


@dataclass(frozen=True)
class Planned:
    """A plan with what applying it needs."""

    rows: pd.DataFrame
    states: Mapping[str, str]
    wanted: Wanted

    def target(self, database: sa.Engine, **options: Any) -> ProductImageTarget:
        """The target with this plan's payload."""
        return ProductImageTarget(database, "image_db", payload_of(self.wanted), **options)

    def apply(self, database: sa.Engine, rows_per_batch: int = 1000, **options: Any) -> Applied:
        """Apply the plan."""
        return apply_database(
            self.rows,
            self.target(database, **options),
            QuarantineTable(database, "image_db"),
            states=self.states,
            rows_per_batch=rows_per_batch,
        )


def plan(database: sa.Engine, wanted: Wanted, scope: Scope = WHOLE, *, force: bool = False) -> Planned:
    """The plan that makes the database what is wanted."""
    current = current_rows(database, "image_db")
    return Planned(build_plan(frame_of(wanted), current, scope, force=force), group_states(current), wanted)


def current_rows(database: sa.Engine, source: str) -> pd.DataFrame:
    """What a source has, with all contents."""
    rows = read_current(database, source)
    return rows.assign(content=read_contents(database, source, rows["key"]).astype("str"))


def bring(database: sa.Engine, wanted: Wanted, **options: Any) -> Applied:
    """Make the database what is wanted."""
    return plan(database, wanted, **options).apply(database)


def images(database: sa.Engine, *columns: str) -> dict[tuple[int, str], Any]:
    """By (product, external id): one column of product_image, or a tuple of several."""
    names = columns or tuple(product_image.c.keys())
    query = sa.select(product_image.c.product_id, product_image.c.external_id, *(product_image.c[n] for n in names))
    with database.connect() as connection:
        rows = connection.execute(query.order_by(product_image.c.id)).all()
    return {(row[0], row[1]): row[2] if len(names) == 1 else tuple(row[2:]) for row in rows}


def primaries(database: sa.Engine) -> set[tuple[int, str]]:
    """Product and external id of every primary."""
    return {at for at, is_primary in images(database, "is_primary").items() if is_primary}
