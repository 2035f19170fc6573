"""The records of one reading, kept for planning: the record file and what is known about how it was read."""

import io
from collections.abc import Iterable
from datetime import datetime
from typing import Literal

import orjson
import pandas as pd
from pydantic import BaseModel, ConfigDict
from upath import UPath

from imagesync_pipelines.connectors.image_db.errors import BatchMissingError
from imagesync_pipelines.connectors.image_db.record_store import Chunk, RejectLine, Stored, write_chunks
from imagesync_pipelines.products.applying import Unmatched
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.handovers import HandOvers
from imagesync_pipelines.sync.handovers import Lineage

# The step whose hand-over a batch is.
STEP = "records"


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
