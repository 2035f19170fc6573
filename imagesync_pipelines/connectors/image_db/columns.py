"""Pages as columns: what a page's records are in a file of records, and what the page tells about its scan.

Helper processes that parse (parsing.py) import this module alone, so it imports neither pandas nor a database, and
pydantic only when something odd comes.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import accumulate, chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.connectors.image_db.choosing import Chosen, fingerprint
from imagesync_pipelines.connectors.image_db.choosing_columns import Column, Gathered, choose_in_columns, texts
from imagesync_pipelines.connectors.image_db.in_order import PageInOrder, bytes_digest, page_in_order, record_in_order
from imagesync_pipelines.connectors.image_db.known import NOTHING_KNOWN, KnownRecords

if TYPE_CHECKING:
    from imagesync_pipelines.connectors.image_db.records import PageAnswer, PageContent, Record

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
        # By which the record is known again; null where it has to be read again to tell what is wrong with it.
        ("bytes_digest", pa.binary(16)),
    ]
)
_log = logging.getLogger(__name__)
# Records that are read at once and go again, before they leave the processor's cache.
_AT_ONCE = 100
# What becomes of a record of a page: a row of the chunk's table (0 and up), a known row n (-1 - n), or one of these.
_UNREAD, _SET_ASIDE = np.iinfo(np.int64).min, np.iinfo(np.int64).min + 1


class RawPage(NamedTuple):
    """One page as received: its number, when it was fetched, its body."""

    page: int
    fetched_at: datetime
    body: bytes


class SetAside(NamedTuple):
    """A record that was set aside: where it was (place counts from 1), whose it is when that is legible, and why.

    raw is JSON as received.
    """

    page: int
    place: int
    external_id: str | None
    reason: str
    raw: str


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

    rows: where each of the pages' records is, page by page: a row of `table`, or -1 - n for row n of the known records.
    left_out: details that cannot be read, with the image's external id.
    """

    table: pa.Table
    rows: Column
    origins: tuple[tuple[datetime, int, int], ...]
    facts: tuple[PageFacts, ...]
    rejects: tuple[SetAside, ...]
    left_out: tuple[tuple[str, str], ...] = ()


@dataclass
class _Odd:
    """What the slow lane made of what is odd in some pages: its records with their digests (None: read again), in the
    order of the pages; `first` rows of the table are others.
    """

    first: int
    records: "list[Record]" = field(default_factory=list)
    digests: list[bytes | None] = field(default_factory=list)
    rejects: list[SetAside] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)

    def keep(self, record: "Record", digest: bytes | None) -> int:
        """Keep one record, and give its row."""
        self.records.append(record)
        self.digests.append(digest)
        return self.first + len(self.records) - 1


class _Read(NamedTuple):
    """One page: where its records are, as in Chunk.rows; and the ids of those set aside, as PageContent has them."""

    rows: Column
    set_aside: list[str | None]
    api_count: int
    next_page: int | None


def chunk_of(pages: Sequence[RawPage], min_height: int, known: KnownRecords = NOTHING_KNOWN) -> Chunk:
    """Some pages as columns, with what there is to tell about each; min_height as for records.read_page.

    What is known by its bytes is taken over, what is in order is read in columns, and the rest record by record, so
    that one odd record makes no other one slower. Raises BadPageError for a body that is no page at all.
    """
    split = [page_in_order(raw.body) for raw in pages]
    results = [result for page in split if page is not None for result in page.results]
    digests = [bytes_digest(result) for result in results]
    rows = known.rows_of(digests)
    rows = np.where(rows >= 0, -1 - rows, _UNREAD)
    in_order = SCHEMA.empty_table()
    try:
        places, odd, in_order = _in_columns(results, digests, np.flatnonzero(rows == _UNREAD).tolist(), min_height)
        rows[places[~odd]] = np.arange(len(in_order))
    except Exception as error:  # noqa: BLE001 - whatever one record does to many at once, each is read alone then
        _log.warning("Records are read one by one, since reading many at once failed (%s).", type(error).__name__)
    slow, read, first = _Odd(len(in_order)), [], 0
    for raw, page in zip(pages, split, strict=True):
        if page is None:
            read.append(_read_page(slow, raw, min_height))
        else:
            mine = slice(first, first + len(page.results))
            read.append(_read_rest(slow, raw, page, rows[mine], digests[mine], min_height))
            first = mine.stop
    table = pa.concat_tables([in_order, _table(slow.records, slow.digests)]) if slow.records else in_order
    there = np.concatenate([one.rows for one in read]) if read else np.empty(0, np.int64)
    ids = iter(np.where(there < 0, known.ids_at(-1 - there), _ids_at(table, there)).astype(str).tolist())
    return Chunk(
        table=table,
        rows=there,
        origins=tuple((raw.fetched_at, raw.page, len(one.rows)) for raw, one in zip(pages, read, strict=True)),
        facts=tuple(
            _facts(raw, one.api_count, one.next_page, [*islice(ids, len(one.rows)), *one.set_aside])
            for raw, one in zip(pages, read, strict=True)
        ),
        rejects=tuple(slow.rejects),
        left_out=tuple(slow.left_out),
    )


def facts_of(page: int, read: "PageAnswer | PageContent", fetched_at: datetime) -> PageFacts:
    """The facts of one page, as it came from the API or as records.read_page gives it: both tell the same."""
    return _facts(RawPage(page, fetched_at, b""), read.api_count, read.next_page, read.file_ids)


def _facts(raw: RawPage, api_count: int, next_page: int | None, ids: Sequence[str | None]) -> PageFacts:
    legible = tuple(one for one in ids if one is not None)
    return PageFacts(raw.page, api_count, legible, len(ids) - len(legible), raw.fetched_at, next_page is None)


def _read_page(slow: _Odd, raw: RawPage, min_height: int) -> _Read:
    """A page with something odd about it, read by the rule."""
    from imagesync_pipelines.connectors.image_db import records

    content = records.read_page(raw.body, min_height)
    rows = [slow.keep(record, None) for record in content.records]
    slow.rejects += [SetAside(raw.page, place, *reject) for place, reject in enumerate(content.rejects, 1)]
    slow.left_out += content.left_out
    set_aside = [reject.external_id for reject in content.rejects]
    return _Read(np.array(rows, np.int64), set_aside, content.api_count, content.next_page)


def _read_rest(
    slow: _Odd, raw: RawPage, page: PageInOrder, rows: Column, digests: Sequence[bytes], min_height: int
) -> _Read:
    """A page in order of which some records are odd: these by the rule, each alone; it sets them in `rows`."""
    set_aside: list[str | None] = []
    values: list[Any] | None = None
    for place in np.flatnonzero(rows == _UNREAD).tolist():
        from imagesync_pipelines.connectors.image_db import records

        record = records.read_record(page.results[place], min_height)
        if record is not None:
            rows[place] = slow.keep(record, digests[place])
            continue
        values = records.parse_page(raw.body)[2] if values is None else values
        found, left_out = records.read_value(values[place], min_height)
        if isinstance(found, records.Reject):
            rows[place] = _SET_ASIDE
            set_aside.append(found.external_id)
            slow.rejects.append(SetAside(raw.page, len(set_aside), *found))
        else:
            rows[place] = slow.keep(found, None)
            slow.left_out += left_out
    return _Read(rows[rows != _SET_ASIDE], set_aside, page.api_count, page.next_page)


def _ids_at(table: pa.Table, rows: Column) -> Column:
    """The file_ids of these rows; of one below 0 any."""
    ids: Column = np.append(table["external_id"].cast(pa.int64()).to_numpy(), 0)
    return ids[np.maximum(rows, -1)]


def _in_columns(
    results: Sequence[bytes], digests: Sequence[bytes], unread: Sequence[int], min_height: int
) -> tuple[Column, Column, pa.Table]:
    """What is in order of what is unread: its places (n,), what of it is odd after all (n,), the others as columns."""
    gathered, places = Gathered(), []
    ids, kinds, canonical, links, prints = [], [], [], [], []
    for begin in range(0, len(unread), _AT_ONCE):
        some = [(place, record_in_order(results[place])) for place in unread[begin : begin + _AT_ONCE]]
        records = [record for _, record in some if record is not None]
        places += [place for place, record in some if record is not None]
        gathered.add(records)
        ids += [record.original.file_id for record in records]
        kinds += [record.original.type for record in records]
        links += [record.links for record in records]
        canonical += [record.canonical for record in records]
        prints += [fingerprint(record.canonical, min_height) for record in records]
    chosen, odd = choose_in_columns(gathered, min_height)
    columns = {
        **chosen,
        "external_id": pa.array(ids, pa.int64()).cast(pa.string()),
        "fingerprint": pa.array(prints, pa.string()),
        "image_type": pc.fill_null(texts(kinds), ""),
        "file_url": pc.fill_null(texts(gathered.original_url), ""),
        "links": _links(links),
        "canonical": pa.array(canonical, pa.binary()),
        "bytes_digest": pa.array([digests[place] for place in places], pa.binary(16)),
    }
    table = pa.table([columns[name] for name in SCHEMA.names], schema=SCHEMA)
    return np.array(places, np.int64), odd, table.filter(pa.array(~odd)) if odd.any() else table


def _table(records: "Sequence[Record]", digests: Sequence[bytes | None]) -> pa.Table:
    """The records of the slow lane as columns."""
    columns = {
        **{name: [getattr(record, name) for record in records] for name in SCHEMA.names if hasattr(records[0], name)},
        **{name: [getattr(record.chosen, name) for record in records] for name in Chosen._fields},
        "bytes_digest": digests,
    }
    arrays = {name: pa.array(columns[name], SCHEMA.field(name).type) for name in SCHEMA.names if name != "links"}
    arrays["links"] = _links([record.links for record in records])
    return pa.table([arrays[name] for name in SCHEMA.names], schema=SCHEMA)


def _links(links: Sequence[Sequence[tuple[str, str, bool]]]) -> pa.ListArray:
    """The links of each record; columns are made by unzipping, which is twice as fast as asking each link for each."""
    ends = pa.array(accumulate(map(len, links), initial=0), pa.int32())
    parts = zip(*chain.from_iterable(links), strict=True) if any(links) else [()] * len(_LINK)
    arrays = [pa.array(values, field.type) for values, field in zip(parts, _LINK, strict=True)]
    return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(arrays, fields=list(_LINK)))
