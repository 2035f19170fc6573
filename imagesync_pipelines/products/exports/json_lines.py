"""Rows as NDJSON: one JSON object a line."""

from collections.abc import Iterator

import orjson

from imagesync_pipelines.products.exports.rows import Batches


def write_ndjson(batches: Batches) -> Iterator[bytes]:
    """UTF-8, times in ISO 8601, unknown values null."""
    for batch in batches:
        yield b"".join(orjson.dumps(row._asdict(), option=orjson.OPT_APPEND_NEWLINE) for row in batch)
