"""Rows as NDJSON: one JSON object a line.

What belongs here: writing them. What does not: what a row is (rows.py).
"""

from collections.abc import Iterator

import orjson

from imagesync_pipelines.products.exports.rows import Batches


def write_ndjson(batches: Batches) -> Iterator[bytes]:
    """UTF-8, times in ISO 8601, unknown values null."""
    for batch in batches:
        yield b"".join(orjson.dumps(row._asdict(), option=orjson.OPT_APPEND_NEWLINE) for row in batch)
