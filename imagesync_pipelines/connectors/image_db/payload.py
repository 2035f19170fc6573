"""The values of the rows that change: everything of a product image but its product, primary flag and last_synced."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import IO, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from imagesync_pipelines.connectors.image_db.errors import BatchMissingError
from imagesync_pipelines.connectors.image_db.record_store import WRITTEN, read_canonical, read_table
from imagesync_pipelines.products.rules import alt_text, priority
from imagesync_pipelines.products.target import Payload, Values

# What of a row comes from its link and its product, and not from its record.
_OF_A_LINK = ("product_name", "is_front", "matched_by", "fingerprint")


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@contextmanager
def open_payload(records: UPath, matched: pd.DataFrame) -> Iterator[Payload]:
    """A function from keys to their values, for the keys in `matched` (rows of Planned.matched that change).

    The records are read once, in the order of the file. Because keys are asked for product by product, their JSON goes
    through a temporary file: memory holds its place there and the chosen files, a few hundred bytes per image.
    Several threads may call the function at a time. Raises BatchMissingError when a record is not in the record store.
    """
    ids = pa.array(matched["external_id"], pa.string())
    table = read_table(records, WRITTEN)
    chosen = pc.is_in(table["external_id"], ids).combine_chunks()
    table = table.filter(chosen).combine_chunks()
    record_of = pc.index_in(ids, table["external_id"].combine_chunks())
    if record_of.null_count:
        missing = ids.filter(pc.is_null(record_of)).unique()
        raise BatchMissingError(
            f"{len(missing)} planned images are not among the stored records, for example {missing[0]}; plan again"
        )
    row_of = {key: row for row, key in enumerate(matched["key"])}
    links = pa.table({name: pa.array(matched[name]) for name in _OF_A_LINK})
    with tempfile.TemporaryFile() as spool:
        starts = _spool(spool, records, chosen)

        def values_of(keys: Sequence[str]) -> dict[str, Values]:
            rows = pa.array([row_of[key] for key in keys], pa.int64())
            places = record_of.take(rows)
            texts = [
                os.pread(spool.fileno(), starts[place + 1] - starts[place], starts[place])
                for place in places.to_pylist()
            ]
            files = {name: _values(column) for name, column in _columns(table.take(places))}
            names, fronts, rules, fingerprints = (column.to_pylist() for _, column in _columns(links.take(rows)))
            kinds = files["image_type"]
            columns = (
                files["image_url"],
                files["thumbnail_url"],
                kinds,
                fronts,
                map(priority, kinds, fronts),
                map(alt_text, names, kinds),
                texts,
                fingerprints,
                [url or None for url in files["file_url"]],
                files["newest_export"],
                rules,
                files["chosen_because"],
                files["width"],
                files["height"],
                files["image_format"],
            )
            return dict(zip(keys, map(Values._make, zip(*columns, strict=True)), strict=True))

        yield values_of


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column as Python values; Arrow's own way to a moment with a zone takes ten times as long."""
    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    micros = column.cast(pa.int64()).to_pylist()
    return [None if one is None else _EPOCH + timedelta(microseconds=one) for one in micros]


def _columns(table: pa.Table) -> Iterator[tuple[str, pa.ChunkedArray]]:
    return zip(table.column_names, table.columns, strict=True)


def _spool(spool: IO[bytes], records: UPath, chosen: pa.BooleanArray) -> list[int]:
    """Write the JSON of the chosen images, in the order of the file; where each begins, and the end.

    chosen: whether it is, for every image of the file.
    """
    starts = [np.zeros(1, dtype=np.int64)]
    for _, texts in read_canonical(records, chosen):
        ends = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4).astype(np.int64)
        spool.write(memoryview(texts.buffers()[2])[ends[0] : ends[-1]])
        starts.append(ends[1:] - ends[0] + starts[-1][-1])
    spool.flush()
    found: list[int] = np.concatenate(starts).tolist()
    return found
