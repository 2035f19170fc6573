"""The values of the rows that change: everything of a product image but its product, primary flag and last_synced."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from upath import UPath

from imagesync_pipelines.connectors.image_db.errors import BatchMissingError
from imagesync_pipelines.connectors.image_db.record_store import WRITTEN, read_canonical, read_table
from imagesync_pipelines.products.rules import alt_text, priority
from imagesync_pipelines.products.target import VALUES, Payload

# What of a row comes from its link and its product, and not from its record.
_OF_A_LINK = ("product_name", "is_front", "matched_by", "fingerprint")


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

        def values_of(keys: Sequence[str]) -> pa.Table:
            rows = pa.array([row_of[key] for key in keys], pa.int64())
            places = record_of.take(rows)
            texts = [
                os.pread(spool.fileno(), starts[place + 1] - starts[place], starts[place])
                for place in places.to_pylist()
            ]
            values, link = table.take(places), links.take(rows)
            kinds, fronts = values["image_type"].to_pylist(), link["is_front"].to_pylist()
            of_link = {
                "is_front": link["is_front"],
                "priority": list(map(priority, kinds, fronts)),
                "alt_text": list(map(alt_text, link["product_name"].to_pylist(), kinds)),
                "metadata": texts,
                "fingerprint": link["fingerprint"],
                "original_url": pc.if_else(pc.equal(values["file_url"], ""), None, values["file_url"]),
                "matched_by": link["matched_by"],
            }
            return pa.table({name: of_link[name] if name in of_link else values[name] for name in VALUES.names}, VALUES)

        yield values_of


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
