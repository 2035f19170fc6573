"""Which of the pages' records are kept: of an image that several pages have, that of the page fetched last."""

from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pyarrow as pa

from imagesync_pipelines.connectors.image_db.columns import Chunk
from imagesync_pipelines.connectors.image_db.known import Column
from imagesync_pipelines.connectors.image_db.taken_over import KnownFile


@dataclass(frozen=True)
class Kept:
    """How many images there are, how often one was seen again and had other content then, and which rows are kept.

    losers: new rows that are not; taken_over: rows of the known file that are.
    """

    records: int
    repeated: int
    conflicts: int
    losers: frozenset[int]
    taken_over: Column


@dataclass
class Sightings:
    """Every record of every page in the order of the pages; `new` counts those that are not known."""

    new: int = 0
    _rows: list[Column] = field(default_factory=list)
    _origins: list[tuple[datetime, int, int]] = field(default_factory=list)
    _ids: list[pa.ChunkedArray] = field(default_factory=list)
    _fingerprints: list[pa.ChunkedArray] = field(default_factory=list)

    def add(self, chunk: Chunk) -> None:
        """Take note of the records of some more pages; a row of a chunk's table counts on from those before."""
        self._rows.append(np.where(chunk.rows < 0, chunk.rows, chunk.rows + self.new))
        self._origins += chunk.origins
        self._ids.append(chunk.table["external_id"].cast(pa.int64()))
        self._fingerprints.append(chunk.table["fingerprint"])
        self.new += len(chunk.table)

    def settle(self, known: KnownFile) -> Kept:
        """Which rows are kept; known: what the chunks were made with."""
        rows = np.concatenate([np.empty(0, np.int64), *self._rows])
        new_ids = np.concatenate([np.empty(0, np.int64), *(ids.to_numpy() for ids in self._ids)])
        ids = np.where(rows < 0, known.records.ids_at(-1 - rows), np.append(new_ids, 0)[np.maximum(rows, -1)])
        _, place, times = np.unique(ids, return_inverse=True, return_counts=True)
        lost, conflicts = self._lost(np.flatnonzero(times[place] > 1).tolist(), ids, rows, known)
        kept = np.delete(rows, lost)
        return Kept(
            records=len(times),
            repeated=len(lost),
            conflicts=conflicts,
            losers=frozenset(row for row in rows[lost].tolist() if row >= 0),
            taken_over=np.unique(-1 - kept[kept < 0]),
        )

    def _lost(self, repeated: list[int], ids: Column, rows: Column, known: KnownFile) -> tuple[list[int], int]:
        """Which of the sightings of repeated images are not the one that counts, and how many had other content."""
        if not repeated:
            return [], 0
        fingerprints = [part for column in self._fingerprints for part in column.chunks]
        new, old = pa.chunked_array(fingerprints, pa.string()), known.fingerprints() if known.file is not None else None
        origins = np.repeat(np.arange(len(self._origins)), [records for _, _, records in self._origins])
        seen: dict[int, tuple[datetime, int, int, str]] = {}
        lost, conflicts = [], 0
        for sighting in repeated:
            row, (fetched_at, page, _) = int(rows[sighting]), self._origins[origins[sighting]]
            fingerprint = new[row] if row >= 0 or old is None else old[-1 - row]
            mine = (fetched_at, page, sighting, fingerprint.as_py())
            other = seen.setdefault(int(ids[sighting]), mine)
            if other is not mine:
                lost.append(min(mine, other)[2])
                conflicts += other[3] != mine[3]
                seen[int(ids[sighting])] = max(mine, other)
        return lost, conflicts
