"""The formats of an export: how each is written, and what it is called."""

from collections.abc import Callable, Collection, Iterator
from enum import StrEnum
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.products.exports.csv_lines import write_csv
from imagesync_pipelines.products.exports.json_lines import write_ndjson
from imagesync_pipelines.products.exports.merchant import write_merchant
from imagesync_pipelines.products.exports.parquet import write_parquet
from imagesync_pipelines.products.exports.rows import Batches, read_rows, snapshot


class Format(StrEnum):
    """A format by its name, as the command line and the API have it."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"
    MERCHANT = "merchant"


class Kind(NamedTuple):
    """What there is to know of a format."""

    file_name: str
    media_type: str
    write: Callable[[Batches], Iterator[bytes]]


def kind_of(wanted: Format) -> Kind:
    """What there is to know of it."""
    return {
        Format.CSV: Kind("product_images.csv", "text/csv; charset=utf-8", write_csv),
        Format.NDJSON: Kind("product_images.ndjson", "application/x-ndjson", write_ndjson),
        Format.PARQUET: Kind("product_images.parquet", "application/vnd.apache.parquet", write_parquet),
        Format.MERCHANT: Kind("merchant_feed.xml", "application/xml", write_merchant),
    }[wanted]


def export(
    engine: sa.Engine,
    wanted: Format,
    conditions: Collection[sa.ColumnElement[bool]] = (),
    *,
    own_images_first: bool = False,
) -> Iterator[bytes]:
    """The export as a stream of bytes, all of it from one moment; see rows.read_rows for the conditions."""
    with snapshot(engine) as connection:
        yield from kind_of(wanted).write(read_rows(connection, conditions, own_images_first=own_images_first))
