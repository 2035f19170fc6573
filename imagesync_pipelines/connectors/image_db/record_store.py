"""The records of one reading, kept for planning: one Parquet file, and what is known about how it was read.

A plan reads what it matches by, so that it needs a few hundred bytes per image; the chosen files and the canonical
JSON are read only for the rows that change.
"""

import hashlib
import io
import mmap
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any, Literal

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field
from upath import UPath

from imagesync_pipelines.connectors.image_db.columns import SCHEMA, Chunk, PageFacts
from imagesync_pipelines.connectors.image_db.errors import BatchMissingError
from imagesync_pipelines.connectors.image_db.sightings import Sightings
from imagesync_pipelines.connectors.image_db.taken_over import NOTHING, KnownFile, open_known
from imagesync_pipelines.products.applying import Unmatched
from imagesync_pipelines.products.showing import pixels
from imagesync_pipelines.storage.files import make_folder, put_in_place, write_whole
from imagesync_pipelines.storage.handovers import HandOvers

# The step whose hand-over a batch is.
STEP = "records"
_UNMATCHED = ("unmatched.parquet", "unused.parquet")
# In their metadata: the digest of the products.
_PRODUCTS = b"products"

MATCHED_BY = ("external_id", "fingerprint", "image_type", "links", "image_format")
WRITTEN = tuple(
    name for name in SCHEMA.names if name not in ("links", "fingerprint", "canonical", "picture_url", "bytes_digest")
)


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
class Stored:
    """What came of the pages.

    `records` are in the file; `repeated` counts those seen again on a further page, `conflicts` those of them with
    other content; `taken_over` were known; `facts` of each page are for the proof of the scan. left_out: details that
    cannot be read. sha256 is of the file.
    """

    records: int
    repeated: int
    conflicts: int
    taken_over: int
    rejects: tuple[RejectLine, ...]
    facts: tuple[PageFacts, ...]
    left_out: tuple[tuple[str, str], ...]
    sha256: str


def write_chunks(path: UPath, chunks: Iterable[Chunk], known: KnownFile = NOTHING) -> Stored:
    """Write the records of `chunks` as one Parquet file, each image once.

    An image seen on several pages counts as on the page fetched last (of equal times, the higher page). The file
    appears under its name only when it is whole. known: with which the chunks were made; what is taken over of it
    comes after the rest, and where nothing else is there and nothing is missing, the file is copied as it is.
    """
    facts: list[PageFacts] = []
    rejects: list[RejectLine] = []
    left_out: list[tuple[str, str]] = []
    seen = Sightings()
    with tempfile.TemporaryFile() as draft:
        # A row group is written beside the pages of the next one: compressing needs no Python and uses another core.
        with _writer(draft) as writer, ThreadPoolExecutor(1, thread_name_prefix="records") as pool:
            written: Future[None] | None = None
            for chunk in chunks:
                if written is not None:
                    written.result()
                written = pool.submit(writer.write_table, chunk.table) if len(chunk.table) else None
                facts += chunk.facts
                rejects += (RejectLine(**reject._asdict()) for reject in chunk.rejects)
                left_out += chunk.left_out
                seen.add(chunk)
            if written is not None:
                written.result()
            kept = seen.settle(known)
            unchanged = known.file is not None and not seen.new and len(kept.taken_over) == len(known.records.ids)
            for table in known.tables(kept.taken_over) if not unchanged else ():
                writer.write_table(table)
        if unchanged and known.file is not None:
            sha256 = _publish(known.file, path, frozenset())
        else:
            sha256 = _publish(draft, path, kept.losers)
    return Stored(
        records=kept.records,
        repeated=kept.repeated,
        conflicts=kept.conflicts,
        taken_over=len(kept.taken_over),
        rejects=tuple(rejects),
        facts=tuple(facts),
        left_out=tuple(left_out),
        sha256=sha256,
    )


def read_table(path: UPath, columns: Sequence[str] = MATCHED_BY) -> pa.Table:
    """These columns of all records, in the order of the file.

    links: list of {number, variant, front}; image_format is empty when no browser can show any file of the record.
    Raises BatchMissingError for a file that is damaged.
    """
    try:
        with path.open("rb") as file:
            return pq.read_table(file, columns=list(columns), use_threads=False)
    except pa.ArrowInvalid as error:
        raise BatchMissingError(
            f"the kept records in {path} are damaged (was the power cut?); materialise image_db/records and plan again"
        ) from error


def read_external_ids(path: UPath) -> list[str]:
    """The external ids of all records, in the order of the file."""
    found: list[str] = read_table(path, ["external_id"])["external_id"].to_pylist()
    return found


@contextmanager
def stored_texts(path: UPath, chosen: pa.BooleanArray) -> Iterator[Callable[[pa.Array], pa.Array]]:
    """A function that gives the canonical JSON of chosen records by their places among the chosen, to several threads.

    chosen: whether it is, for every record of the file; row groups without any are not read, the others one at a time.
    The texts go through a temporary file that is mapped, so that they can be asked for in any order: memory holds 8
    bytes per record, and of the texts only what the last calls asked for.
    """
    starts, first = [np.zeros(1, dtype=np.int64)], 0
    with tempfile.TemporaryFile() as spool:
        with path.open("rb") as file:
            parquet = pq.ParquetFile(file)
            for group in range(parquet.num_row_groups):
                here = chosen.slice(first, parquet.metadata.row_group(group).num_rows)
                first += len(here)
                if here.true_count:
                    table = parquet.read_row_group(group, columns=["canonical"], use_threads=False)
                    texts = table["canonical"].combine_chunks()
                    texts = texts if here.true_count == len(here) else texts.filter(here)
                    ends = np.frombuffer(texts.buffers()[1], np.int32, len(texts) + 1, texts.offset * 4)
                    spool.write(memoryview(texts.buffers()[2])[ends[0] : ends[-1]])
                    starts.append(ends[1:] - np.int64(ends[0]) + starts[-1][-1])
        spool.write(b"\0")  # nothing cannot be mapped
        spool.flush()
        offsets = np.concatenate(starts)
        mapped = mmap.mmap(spool.fileno(), 0, access=mmap.ACCESS_READ)
        buffers = [None, pa.py_buffer(offsets), pa.py_buffer(mapped)]
        texts = pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)

        def texts_of(places: pa.Array) -> pa.Array:
            found = texts.take(places).cast(pa.binary())
            mapped.madvise(mmap.MADV_DONTNEED)
            return found

        yield texts_of


def _writer(file: IO[bytes]) -> Any:
    few = ["image_type", "chosen_because", "width", "height", "image_format"]
    return pq.ParquetWriter(file, SCHEMA, compression="zstd", compression_level=1, use_dictionary=few)


def _publish(draft: IO[bytes], path: UPath, losers: Collection[int]) -> str:
    """Copy a finished file under its name, without the rows that a later page has newer; gives the SHA-256 of it."""
    part = path.with_name(f"{path.name}.part")
    make_folder(path.parent)
    digest = hashlib.sha256()
    with ExitStack() as stack:
        if losers:
            whole, draft = draft, stack.enter_context(tempfile.TemporaryFile())
            parquet, first = pq.ParquetFile(whole), 0
            with _writer(draft) as writer:
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group)
                    keep = [index for index in range(len(table)) if first + index not in losers]
                    writer.write_table(table.take(pa.array(keep, pa.int64())))
                    first += len(table)
        draft.seek(0)
        with part.open("wb") as file:
            while block := draft.read(1 << 20):
                digest.update(block)
                file.write(block)
    put_in_place(part, path)
    return digest.hexdigest()


class About(BaseModel):
    """What is known about a batch.

    scope: all (every stored page of a scan), pages (some pages), skus (some products), images (some images); only `all`
    with `complete` proves that what is not in it is gone. api_calls and bytes_downloaded are those of the reading.
    read_as is the reading key of its records, sha256 that of its file: both must be as they were for taking over.
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
    read_as: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class Batches:
    """The batches of this connector; a batch is named by the run that read it and belongs to that run's hand-overs.

    It counts once its hand-over (STEP, About) is kept.
    """

    handovers: HandOvers

    def records(self, name: str) -> UPath:
        """The record file of a batch."""
        return self.handovers.file(name, "records.parquet")

    @contextmanager
    def known(self, read_as: str) -> Iterator[KnownFile]:
        """What may be taken over: the records of the newest batch of every page, if they were read in this way."""
        newest = self.newest_whole()
        if newest is None or not newest.sha256 or newest.read_as != read_as:
            yield NOTHING
            return
        with open_known(self.records(newest.run_id), newest.sha256) as known:
            yield known

    def pictures(self, name: str, images: Collection[str]) -> dict[str, tuple[str, str]]:
        """URL and size in words of the pictures of these images in a batch, by external id; none when its records
        cannot be read.
        """
        asked, found = pa.array(sorted(images), pa.string()), []
        try:
            with self.records(name).open("rb") as file:
                parquet = pq.ParquetFile(file)
                # A plan shows a dozen: the addresses of all others are not read.
                for group in range(parquet.num_row_groups if len(asked) else 0):
                    chosen = pc.is_in(parquet.read_row_group(group, ["external_id"])["external_id"], asked)
                    if pc.any(chosen).as_py():
                        wanted = ("external_id", "thumbnail_url", "image_url", "width", "height")
                        columns = [name for name in wanted if name in parquet.schema_arrow.names]
                        found += parquet.read_row_group(group, columns).filter(chosen).to_pylist()
        except (FileNotFoundError, pa.ArrowInvalid):
            return {}
        return {
            row["external_id"]: (
                row["thumbnail_url"] or row["image_url"] or "",
                pixels(row.get("width"), row.get("height")),
            )
            for row in found
        }

    def about(self, name: str) -> About:
        """What is known about a batch. Raises BatchMissingError when it is not there (any more)."""
        found = self.handovers.find([name], STEP, About)
        if found is None:
            raise BatchMissingError(
                f"the records of {name} are no longer kept; materialise image_db/records and plan again"
            )
        return found

    def of(self, runs: Iterable[str]) -> About:
        """The batch of the first of these runs that has one, else the newest of every stored page.

        That is never one of a part that somebody chose. Raises BatchMissingError.
        """
        found = self.handovers.find(runs, STEP, About) or self.newest_whole()
        if found is None:
            raise BatchMissingError(
                "there are no records of all pages to plan from yet; materialise image_db/api_pages and "
                "image_db/records, or start the job image_db__sync"
            )
        return found

    def newest_whole(self, *, proven: bool = False) -> About | None:
        """The newest batch of every page of a scan, or of one that proves something; None when there is none."""
        whole = (about for about in self.handovers.all(STEP, About) if about.scope == "all")
        return next((about for about in whole if about.complete or not proven), None)

    def newer(self, name: str) -> list[str]:
        """The batches of a newer scan than this one's, or made of the same one later: of parts, and the newest whole.

        A part that was read since tells of its records too. Raises BatchMissingError.
        """
        return self._newer(self.about(name))

    def _newer(self, mine: About) -> list[str]:
        whole = self.newest_whole()
        return [
            about.run_id
            for about in self.handovers.all(STEP, About)
            if (about.scan_id, about.made_at) > (mine.scan_id, mine.made_at)
            and (about.scope == "pages" or (whole is not None and about.run_id == whole.run_id))
        ]

    def kept(self) -> set[str]:
        """The names of those that stay however many come after them: of every page, of a whole proof, what is newer.

        A run for single products takes the newest proof, and must not put back what a part saw otherwise since.
        """
        proven, whole = self.newest_whole(proven=True), self.newest_whole()
        newest = {about.run_id for about in (whole, proven) if about is not None}
        return newest | set(self._newer(proven) if proven is not None else ())

    def keep_unmatched(self, name: str, found: Unmatched, products: str) -> None:
        """Keep what the plan of a batch found unmatched; a later plan of the same batch replaces it.

        products: the digest of the products that it was made from (matching.digest_of).
        """
        texts = [orjson.dumps(candidates).decode() for candidates in found.unmatched["candidates"]]
        for file, frame in zip(_UNMATCHED, (found.unmatched.assign(candidates=texts), found.unused), strict=True):
            table, out = pa.Table.from_pandas(frame, preserve_index=False), io.BytesIO()
            table = table.replace_schema_metadata({**(table.schema.metadata or {}), _PRODUCTS: products.encode()})
            pq.write_table(table, out, compression="zstd")
            write_whole(self.handovers.file(name, file), out.getvalue())

    def suggested(self, products: str) -> dict[tuple[str, str], Any]:
        """The candidates for unmatched numbers, by number and code, as the last plan found them among these products.

        products: their digest; of any others nothing is known.
        """
        whole = [about.run_id for about in self.handovers.all(STEP, About) if about.scope == "all"]
        for name in whole[:2]:  # its own batch, where it was planned before, or the one before it
            try:
                table = pq.read_table(io.BytesIO(self.handovers.file(name, _UNMATCHED[0]).read_bytes()))
            except (FileNotFoundError, pa.ArrowInvalid):
                continue
            if (table.schema.metadata or {}).get(_PRODUCTS) != products.encode():
                return {}
            columns = (table[column].to_pylist() for column in ("number", "variant", "candidates"))
            return {(number, variant): orjson.loads(text) for number, variant, text in zip(*columns, strict=True)}
        return {}

    def unmatched(self, name: str) -> Unmatched:
        """What the plan of a batch found unmatched. Raises BatchMissingError when it was never planned."""
        try:
            frame, unused = (
                pd.read_parquet(io.BytesIO(self.handovers.file(name, file).read_bytes())) for file in _UNMATCHED
            )
        except (FileNotFoundError, pa.ArrowInvalid):
            raise BatchMissingError(
                f"nothing was planned from the records of {name}, or it is damaged; materialise image_db/plan"
            ) from None
        return Unmatched(frame.assign(candidates=[orjson.loads(text) for text in frame["candidates"]]), unused)
