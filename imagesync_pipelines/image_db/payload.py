"""The values of the rows that change: everything of a product image but its product, primary flag and last_synced.

What belongs here: reading the canonical records of the keys that change, and the columns made of them. What does not:
which rows change (the plan) and writing them (applying.py).
"""

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson
import pandas as pd
from upath import UPath

from imagesync_pipelines.image_db.record_store import read_canonical
from imagesync_pipelines.image_db.records import newest_export
from imagesync_pipelines.image_db.rules import alt_text, candidates_of, priority
from imagesync_pipelines.imaging.formats import Purpose, choose


class MissingRecordError(Exception):
    """A planned image is not in the record store: the plan and the records do not belong together; plan again."""


class _Row(NamedTuple):
    """One row of `matched`, without its key."""

    external_id: str
    is_front: bool
    matched_by: str
    product_name: str
    fingerprint: str
    min_height: int


@contextmanager
def open_payload(
    records: UPath, matched: pd.DataFrame
) -> Iterator[Callable[[Sequence[str]], dict[str, dict[str, Any]]]]:
    """A function from keys to their values, for the keys in `matched` (rows of Planned.matched that change).

    The values are the columns of product_image: image_url, thumbnail_url, image_type, is_front, priority, alt_text,
    metadata (JSON text), fingerprint, original_url, newest_export, matched_by, chosen_because, width, height,
    image_format. The records are read once, in the order of the file, into a temporary file, because keys are asked
    for product by product; memory holds a place in that file per image, not its record.
    """
    columns = [matched[name].to_numpy(dtype=object) for name in _Row._fields]
    rows = dict(zip(matched["key"].to_numpy(dtype=object), map(_Row, *columns), strict=True))
    with tempfile.TemporaryFile() as spool:
        places: dict[str, tuple[int, int]] = {}
        start = 0
        for external_id, canonical in read_canonical(records, {row.external_id for row in rows.values()}):
            spool.write(canonical)
            places[external_id] = len(canonical), start
            start += len(canonical)
        spool.flush()
        missing = sorted({row.external_id for row in rows.values()} - places.keys())
        if missing:
            raise MissingRecordError(
                f"{len(missing)} planned images are not among the stored records, for example {missing[0]}; plan again"
            )

        def values_of(keys: Sequence[str]) -> dict[str, dict[str, Any]]:
            return {key: _values(rows[key], os.pread(spool.fileno(), *places[rows[key].external_id])) for key in keys}

        yield values_of


def _values(row: _Row, canonical: bytes) -> dict[str, Any]:
    record: Mapping[str, Any] = orjson.loads(canonical)
    candidates = candidates_of(record)
    detail = choose(candidates, Purpose.DETAIL, row.min_height)
    if detail is None:
        raise MissingRecordError(f"image {row.external_id} has no file that a browser can show; plan again")
    thumbnail = choose(candidates, Purpose.THUMBNAIL)
    original = record["original_file"]
    image_type = original.get("type") or ""
    return {
        "image_url": detail.candidate.url,
        "thumbnail_url": thumbnail.candidate.url if thumbnail else None,
        "image_type": image_type,
        "is_front": row.is_front,
        "priority": priority(image_type, row.is_front),
        "alt_text": alt_text(row.product_name, image_type),
        "metadata": canonical.decode(),
        "fingerprint": row.fingerprint,
        "original_url": original.get("file_url") or None,
        "newest_export": newest_export(record["exported_files"]),
        "matched_by": row.matched_by,
        "chosen_because": detail.because,
        "width": detail.candidate.width or None,
        "height": detail.candidate.height or None,
        "image_format": detail.candidate.kind,
    }
