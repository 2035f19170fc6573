"""The records of one reading, kept for planning: one Parquet file, and what is known about how it was read.

A plan reads what it matches by, so that it needs a few hundred bytes per image; the chosen files and the canonical
JSON are read only for the rows that change.
"""

import io
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import accumulate
from typing import IO, Any, Literal, NamedTuple

import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from imagesync_pipelines.connectors.image_db.errors import BatchMissingError
from imagesync_pipelines.connectors.image_db.records import Chosen, Link, Record, read_page
from imagesync_pipelines.connectors.image_db.scan import PageFacts, facts_of
from imagesync_pipelines.products.applying import Unmatched
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.storage.plans import Lineage

# The step whose hand-over a batch is.
STEP = "records"

_LINK = pa.struct([("number", pa.string()), ("variant", pa.string()), ("front", pa.bool_())])
_SCHEMA = pa.schema(
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
MATCHED_BY = ("external_id", "fingerprint", "image_type", "file_url", "links", "image_format")
WRITTEN = tuple(name for name in _SCHEMA.names if name not in ("links", "fingerprint", "canonical", "picture_url"))


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


@dataclass(frozen=True)
class Chunk:
    """The records of some pages as columns; origins: when a page was fetched, its number, its number of records."""

    table: pa.Table
    origins: tuple[tuple[datetime, int, int], ...]
    facts: tuple[PageFacts, ...]
    rejects: tuple[RejectLine, ...]


@dataclass(frozen=True)
class Stored:
    """What came of the pages.

    `records` are in the file; `repeated` counts those seen again on a further page, `conflicts` those of them with
    other content; `facts` of each page are for the proof of the scan.
    """

    records: int
    repeated: int
    conflicts: int
    rejects: tuple[RejectLine, ...]
    facts: tuple[PageFacts, ...]


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
    )


def write_chunks(path: UPath, chunks: Iterable[Chunk]) -> Stored:
    """Write the records of `chunks` as one Parquet file, each image once.

    An image seen on several pages counts as on the page fetched last (of equal times, the higher page). The file
    appears under its name only when it is whole.
    """
    facts: list[PageFacts] = []
    rejects: list[RejectLine] = []
    seen: dict[str, tuple[datetime, int, int, str]] = {}
    losers: set[int] = set()
    conflicts = row = 0
    with tempfile.TemporaryFile() as draft:
        # A row group is written beside the pages of the next one: compressing needs no Python and uses another core.
        with _writer(draft) as writer, ThreadPoolExecutor(1, thread_name_prefix="records") as pool:
            written: Future[None] | None = None
            for chunk in chunks:
                if written is not None:
                    written.result()
                written = pool.submit(writer.write_table, chunk.table)
                facts += chunk.facts
                rejects += chunk.rejects
                origins = ((moment, page) for moment, page, records in chunk.origins for _ in range(records))
                ids, fingerprints = chunk.table["external_id"].to_pylist(), chunk.table["fingerprint"].to_pylist()
                for (fetched_at, page), external_id, fingerprint in zip(origins, ids, fingerprints, strict=True):
                    mine = (fetched_at, page, row, fingerprint)
                    other = seen.setdefault(external_id, mine)
                    if other is not mine:
                        losers.add(min(mine, other)[2])
                        conflicts += other[3] != fingerprint
                        seen[external_id] = max(mine, other)
                    row += 1
            if written is not None:
                written.result()
        draft.seek(0)
        _publish(draft, path, losers)
    return Stored(len(seen), len(losers), conflicts, tuple(rejects), tuple(facts))


def read_table(path: UPath, columns: Sequence[str] = MATCHED_BY) -> pa.Table:
    """These columns of all records, in the order of the file.

    links: list of {number, variant, front}; image_format is empty when no browser can show any file of the record.
    """
    with path.open("rb") as file:
        return pq.read_table(file, columns=list(columns), use_threads=False)


def read_external_ids(path: UPath) -> list[str]:
    """The external ids of all records, in the order of the file."""
    found: list[str] = read_table(path, ["external_id"])["external_id"].to_pylist()
    return found


def read_canonical(path: UPath, chosen: pa.BooleanArray | None = None) -> Iterator[tuple[pa.Array, pa.Array]]:
    """External ids and canonical JSON (binary) of records in the order of the file, a row group at a time.

    chosen: whether a record is wanted, for every record of the file; row groups without any are not read.
    """
    with path.open("rb") as file:
        parquet, first = pq.ParquetFile(file), 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            here = None if chosen is None else chosen.slice(first, rows)
            first += rows
            if here is not None and not here.true_count:
                continue
            table = parquet.read_row_group(group, columns=["external_id", "canonical"])
            if here is not None and here.false_count:
                table = table.filter(here)
            yield table["external_id"].combine_chunks(), table["canonical"].combine_chunks()


def _writer(file: IO[bytes]) -> Any:
    few = ["image_type", "chosen_because", "width", "height", "image_format"]
    return pq.ParquetWriter(file, _SCHEMA, compression="zstd", compression_level=1, use_dictionary=few)


def _table(records: list[Record]) -> pa.Table:
    """The records as columns. Columns are made by unzipping, which is twice as fast as asking each record for each."""
    links = [link for record in records for link in record.links]
    ends = accumulate((len(record.links) for record in records), initial=0)
    parts = _arrays(links, Link._fields, _LINK)
    lists = pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pa.StructArray.from_arrays(parts, Link._fields))
    own = dict(zip(Record._fields, _arrays(records, Record._fields, _SCHEMA), strict=True))
    chosen = [record.chosen for record in records]
    found = dict(zip(Chosen._fields, _arrays(chosen, Chosen._fields, _SCHEMA), strict=True))
    arrays = {**own, **found, "links": lists}
    return pa.table([arrays[name] for name in _SCHEMA.names], schema=_SCHEMA)


def _arrays(rows: Sequence[tuple], names: Sequence[str], types: Any) -> list[Any]:
    """An array per field; None for a field that is no column of its own."""
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return [
        pa.array(values, types.field(name).type) if name not in ("links", "chosen") else None
        for name, values in zip(names, columns, strict=True)
    ]


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


class About(BaseModel):
    """What is known about a batch.

    scope: all (every stored page of a scan), pages (some pages), skus (some products), images (some images); only `all`
    with `complete` proves that what is not in it is gone. api_calls and bytes_downloaded are those of the reading.
    """

    model_config = ConfigDict(frozen=True)

    run_id: str
    made_at: datetime
    scan_id: int
    scope: Literal["all", "pages", "skus", "images"]
    complete: bool
    reason: str
    skus: tuple[str, ...] = ()
    external_ids: tuple[str, ...] = ()
    records: int = 0
    repeated: int = 0
    conflicts: int = 0
    rejects: tuple[RejectLine, ...] = ()
    warnings: tuple[str, ...] = ()
    api_calls: int = 0
    bytes_downloaded: int = 0


class Batches:
    """The batches of this connector; a batch is named by the run that read it and belongs to that run's hand-overs."""

    def __init__(self, handovers: HandOvers) -> None:
        self._handovers = handovers

    def write(self, name: str, chunks: Iterable[Chunk]) -> Stored:
        """Write the records of `chunks` as the batch `name`; it counts once `describe` was called."""
        return write_chunks(self.records(name), chunks)

    def describe(self, name: str, about: About) -> None:
        """Complete the batch with what is known about it."""
        self._handovers.keep(name, STEP, about)

    def records(self, name: str) -> UPath:
        """The record file of a batch."""
        return self._handovers.file(name, "records.parquet")

    def about(self, name: str) -> About:
        """What is known about a batch. Raises BatchMissingError when it is not there (any more)."""
        found = self._handovers.find([name], STEP, About)
        if found is None:
            raise BatchMissingError(
                f"the records of {name} are no longer kept; materialise image_db/records and plan again"
            )
        return found

    def of(self, lineage: Lineage) -> About:
        """The batch of a run's lineage, else the newest of every stored page. Raises BatchMissingError."""
        return self.about(lineage.first_of(self.names()) or self.newest_whole())

    def keep_unmatched(self, name: str, found: Unmatched) -> None:
        """Keep what the plan of a batch found unmatched; a later plan of the same batch replaces it."""
        texts = [orjson.dumps(candidates).decode() for candidates in found.unmatched["candidates"]]
        _write_frame(self._handovers.file(name, "unmatched.parquet"), found.unmatched.assign(candidates=texts))
        _write_frame(self._handovers.file(name, "unused.parquet"), found.unused)

    def unmatched(self, name: str) -> Unmatched:
        """What the plan of a batch found unmatched. Raises BatchMissingError when it was never planned."""
        try:
            frame = _read_frame(self._handovers.file(name, "unmatched.parquet"))
            unused = _read_frame(self._handovers.file(name, "unused.parquet"))
        except FileNotFoundError:
            raise BatchMissingError(
                f"nothing was planned from the records of {name}; materialise image_db/plan"
            ) from None
        return Unmatched(frame.assign(candidates=[orjson.loads(text) for text in frame["candidates"]]), unused)

    def newest_whole(self) -> str:
        """The newest batch of every stored page, never of a part that somebody chose. Raises BatchMissingError."""
        found = next((about.run_id for about in self._all() if about.scope == "all"), None)
        if found is None:
            raise BatchMissingError(
                "there are no records of all pages to plan from yet; materialise image_db/api_pages and "
                "image_db/records, or start the job image_db__sync"
            )
        return found

    def prune(self, keep: int, used: Iterable[str]) -> None:
        """Forget all but the newest `keep` batches and those in `used`."""
        self._handovers.prune(keep, set(used))

    def names(self) -> list[str]:
        """The batches that are there, each named by the run that made it, the newest first."""
        return [about.run_id for about in self._all()]

    def _all(self) -> list[About]:
        return sorted(self._handovers.all(STEP, About), key=lambda about: about.made_at, reverse=True)


def _write_frame(path: UPath, frame: pd.DataFrame) -> None:
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False, compression="zstd")
    write_whole(path, buffer.getvalue())


def _read_frame(path: UPath) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(path.read_bytes()))
