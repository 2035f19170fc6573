"""Valid records in one Parquet file: written page by page, read column by column.

What belongs here: the file, its columns, and that it holds each image once. What does not: what records mean
(records.py) and where the file lies (the caller). A plan reads everything but `canonical`, so that it needs a few
hundred bytes per image; the canonical JSON is read only for the rows that change.
"""

import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from operator import attrgetter
from typing import IO, Any, NamedTuple, Self

import pyarrow as pa
import pyarrow.parquet as pq
from upath import UPath

from imagesync_pipelines.image_db.records import Link, PageContent, Record, Reject
from imagesync_pipelines.image_db.walk import PageFacts, facts_of

ROWS_PER_GROUP = 5000

_LINK = pa.struct([("number", pa.string()), ("variant", pa.string()), ("front", pa.bool_())])
_SCHEMA = pa.schema(
    [
        ("external_id", pa.string()),
        ("fingerprint", pa.string()),
        ("image_type", pa.string()),
        ("file_url", pa.string()),
        ("links", pa.list_(_LINK)),
        ("showable", pa.bool_()),
        ("canonical", pa.binary()),
    ]
)


class ReadPage(NamedTuple):
    """One page on its way into the file: its number, when it was fetched, and what records.read_page made of it."""

    page: int
    fetched_at: datetime
    content: PageContent


class PageReject(NamedTuple):
    """A reject with the page it was on and its place there, counted from 1."""

    page: int
    place: int
    reject: Reject


class Row(NamedTuple):
    """What a plan needs of a record."""

    external_id: str
    fingerprint: str
    image_type: str
    file_url: str
    showable: bool
    links: tuple[Link, ...]


@dataclass(frozen=True)
class Stored:
    """What came of the pages.

    `records` are in the file; `repeated` counts those seen again on a further page, `conflicts` those of them with
    other content; `facts` of each page are for the proof of the walk.
    """

    records: int
    repeated: int
    conflicts: int
    rejects: tuple[PageReject, ...]
    facts: tuple[PageFacts, ...]


def write_records(path: UPath, pages: Iterable[ReadPage]) -> Stored:
    """Write the records of `pages` as one Parquet file, each image once.

    An image seen on several pages counts as on the page fetched last (of equal times, the higher page). The file
    appears under its name only when it is whole.
    """
    facts: list[PageFacts] = []
    rejects: list[PageReject] = []
    seen: dict[str, tuple[datetime, int, int, str]] = {}
    losers: set[int] = set()
    conflicts = row = 0
    with tempfile.TemporaryFile() as draft:
        with _writer(draft) as writer, _Behind(writer) as behind:
            waiting: list[Record] = []
            for page, fetched_at, content in pages:
                facts.append(facts_of(page, content, fetched_at))
                rejects += [PageReject(page, place, reject) for place, reject in enumerate(content.rejects, 1)]
                for record in content.records:
                    mine = (fetched_at, page, row, record.fingerprint)
                    other = seen.get(record.external_id)
                    if other is not None:
                        losers.add(min(mine, other)[2])
                        conflicts += other[3] != record.fingerprint
                    seen[record.external_id] = mine if other is None else max(mine, other)
                    waiting.append(record)
                    row += 1
                if len(waiting) >= ROWS_PER_GROUP:
                    behind.write(_table(waiting))
                    waiting.clear()
            behind.write(_table(waiting))
        draft.seek(0)
        _publish(draft, path, losers)
    return Stored(len(seen), len(losers), conflicts, tuple(rejects), tuple(facts))


def read_rows(path: UPath) -> Iterator[Row]:
    """All records without their canonical JSON, in the order of the file, a row group at a time."""
    columns = ["external_id", "fingerprint", "image_type", "file_url", "showable"]
    with path.open("rb") as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, columns=[*columns, "links"])
            lists = table["links"].combine_chunks()
            parts = lists.flatten()
            links = list(map(Link, *(parts.field(name).to_pylist() for name in Link._fields)))
            offsets = lists.offsets.to_pylist()
            values = [table[name].to_pylist() for name in columns]
            for index, row in enumerate(zip(*values, strict=True)):
                own = tuple(links[offsets[index] - offsets[0] : offsets[index + 1] - offsets[0]])
                yield Row._make((*row, own))


def read_canonical(path: UPath, external_ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
    """External id and canonical JSON of the images asked for, in the order of the file; unknown ids are left out."""
    wanted = set(external_ids)
    if not wanted:
        return
    with path.open("rb") as file:
        parquet = pq.ParquetFile(file)
        for group in range(parquet.num_row_groups):
            ids = parquet.read_row_group(group, columns=["external_id"])["external_id"].to_pylist()
            rows = [index for index, external_id in enumerate(ids) if external_id in wanted]
            if rows:
                column = parquet.read_row_group(group, columns=["canonical"])["canonical"].take(rows)
                yield from zip((ids[index] for index in rows), column.to_pylist(), strict=True)


class _Behind:
    """Writes row groups in a thread, one behind the pages: compressing needs no Python and uses another core.

    An error of the writer is raised by the next write or at the end.
    """

    def __init__(self, writer: Any) -> None:
        self._write = writer.write_table
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="records")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown()
        if kind is None and self._pending is not None:
            self._pending.result()

    def write(self, table: pa.Table) -> None:
        """Hand a row group over; waits for the one before."""
        if self._pending is not None:
            self._pending.result()
        self._pending = self._pool.submit(self._write, table)


def _writer(file: IO[bytes]) -> Any:
    return pq.ParquetWriter(file, _SCHEMA, compression="zstd", compression_level=1, use_dictionary=["image_type"])


def _table(records: list[Record]) -> pa.Table:
    links = [link for record in records for link in record.links]
    ends = accumulate((len(record.links) for record in records), initial=0)
    parts = _columns(links, _LINK)
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.StructArray.from_arrays(parts, Link._fields))
    arrays = _columns(records, pa.struct([field for field in _SCHEMA if field.name != "links"]))
    arrays.insert(_SCHEMA.get_field_index("links"), lists)
    return pa.table(arrays, schema=_SCHEMA)


def _columns(rows: list[Record] | list[Link], fields: Any) -> list[pa.Array]:
    """An array per field, from the attribute of the same name."""
    return [pa.array(list(map(attrgetter(field.name), rows)), field.type) for field in fields]


def _publish(draft: IO[bytes], path: UPath, losers: set[int]) -> None:
    """Copy the finished draft under its name, without the rows that a later page has newer."""
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        if not losers:
            shutil.copyfileobj(draft, file, 1 << 20)
        else:
            parquet, first = pq.ParquetFile(draft), 0
            with _writer(file) as writer:
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group)
                    keep = [index for index in range(len(table)) if first + index not in losers]
                    writer.write_table(table.take(pa.array(keep, pa.int64())))
                    first += len(table)
    part.rename(path)
