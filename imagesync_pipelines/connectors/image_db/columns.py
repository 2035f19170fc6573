"""Pages as columns: what a page's records are in a file of records, and what the page tells about its scan.

Helper processes that parse (parsing.py) import this module alone, so it imports neither pandas nor a database.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import Any, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from imagesync_pipelines.connectors.image_db.records import Chosen, Link, PageAnswer, PageContent, Record, read_page

_LINK = pa.struct([("number", pa.string()), ("variant", pa.string()), ("front", pa.bool_())])
SCHEMA = pa.schema(
    [
        ("external_id", pa.string()),
        ("fingerprint", pa.string()),
        ("image_type", pa.string()),
        ("file_url", pa.string()),
        ("links", pa.list_(_LINK)),
        ("image_url", pa.string()),
        ("thumbnail_url", pa.string()),
        ("chosen_because", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("image_format", pa.string()),
        ("newest_export", pa.timestamp("us", "UTC")),
        ("picture_url", pa.string()),
        ("canonical", pa.binary()),
    ]
)


class RawPage(NamedTuple):
    """One page as received: its number, when it was fetched, its body."""

    page: int
    fetched_at: datetime
    body: bytes


class RejectLine(BaseModel):
    """A record that was set aside: where it was (place counts from 1), whose it is when that is legible, and why.

    raw is JSON as received; it goes to quarantine and is not kept here.
    """

    model_config = ConfigDict(frozen=True)

    page: int
    place: int
    external_id: str | None
    reason: str
    raw: str = Field("", exclude=True)


class PageFacts(NamedTuple):
    """What a stored page tells about its scan.

    `api_count` is the count it announced; `file_ids` those that were legible, rejects included; `unidentified` the
    number of records without one; `is_last` whether it had no next page.
    """

    page: int
    api_count: int
    file_ids: tuple[str, ...]
    unidentified: int
    fetched_at: datetime
    is_last: bool


@dataclass(frozen=True)
class Chunk:
    """The records of some pages as columns; origins: when a page was fetched, its number, its number of records.

    left_out: details that cannot be read, with the image's external id.
    """

    table: pa.Table
    origins: tuple[tuple[datetime, int, int], ...]
    facts: tuple[PageFacts, ...]
    rejects: tuple[RejectLine, ...]
    left_out: tuple[tuple[str, str], ...] = ()


def chunk_of(pages: Sequence[RawPage], min_height: int) -> Chunk:
    """Some pages as columns, with what there is to tell about each; min_height as for records.read_page."""
    read = [(raw, read_page(raw.body, min_height)) for raw in pages]
    return Chunk(
        table=_table([record for _, content in read for record in content.records]),
        origins=tuple((raw.fetched_at, raw.page, len(content.records)) for raw, content in read),
        facts=tuple(facts_of(raw.page, content, raw.fetched_at) for raw, content in read),
        rejects=tuple(
            RejectLine(page=raw.page, place=place, **reject._asdict())
            for raw, content in read
            for place, reject in enumerate(content.rejects, 1)
        ),
        left_out=tuple(detail for _, content in read for detail in content.left_out),
    )


def facts_of(page: int, read: PageAnswer | PageContent, fetched_at: datetime) -> PageFacts:
    """The facts of one page, as it came from the API or as records.read_page gives it: both tell the same."""
    ids = read.file_ids
    legible = tuple(one for one in ids if one is not None)
    return PageFacts(page, read.api_count, legible, len(ids) - len(legible), fetched_at, read.next_page is None)


def _table(records: list[Record]) -> pa.Table:
    """The records as columns. Columns are made by unzipping, which is twice as fast as asking each record for each."""
    links = [link for record in records for link in record.links]
    ends = accumulate((len(record.links) for record in records), initial=0)
    parts = _arrays(links, Link._fields, _LINK)
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.StructArray.from_arrays(parts, Link._fields))
    own = dict(zip(Record._fields, _arrays(records, Record._fields, SCHEMA), strict=True))
    chosen = [record.chosen for record in records]
    found = dict(zip(Chosen._fields, _arrays(chosen, Chosen._fields, SCHEMA), strict=True))
    arrays = {**own, **found, "links": lists}
    return pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def _arrays(rows: Sequence[tuple], names: Sequence[str], types: Any) -> list[Any]:
    """An array per field; None for a field that is no column of its own."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return [
        pa.array(values, types.field(name).type) if name not in ("links", "chosen") else None
        for name, values in zip(names, columns, strict=True)
    ]
