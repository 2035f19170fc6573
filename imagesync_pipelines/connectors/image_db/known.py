"""Records that are known by their bytes: an unchanged one is taken over from the record file of an earlier reading."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Column = np.ndarray[Any, Any]

DIGEST_BYTES = 16


@dataclass(frozen=True)
class KnownRecords:
    """The records of a file by the digests of their bytes.

    first, second: the halves of the digests (n,), by order of the first; row: where in the file each is; ids: the
    file_ids of all rows of the file, in its order.
    """

    first: Column
    second: Column
    row: Column
    ids: Column

    def rows_of(self, digests: Sequence[bytes]) -> Column:
        """The row of the file for each of these digests, -1 where it is not known."""
        if not len(self.first):
            return np.full(len(digests), -1)
        first, second = _halves(b"".join(digests))
        place = np.minimum(np.searchsorted(self.first, first), len(self.first) - 1)
        same = (self.first[place] == first) & (self.second[place] == second)
        return np.where(same, self.row[place], -1)

    def ids_at(self, rows: Column) -> Column:
        """The file_ids of these rows of the file; of one that is none any."""
        found: Column = np.append(self.ids, 0)[np.clip(rows, -1, len(self.ids) - 1)]
        return found


def known_by(digests: bytes, rows: Column, ids: Column) -> KnownRecords:
    """The records at `rows` of a file by their digests, one after the other; ids as in KnownRecords."""
    first, second = _halves(digests)
    order = np.argsort(first, kind="stable")
    return KnownRecords(first[order], second[order], rows[order], ids)


def _halves(digests: bytes) -> tuple[Column, Column]:
    both = np.frombuffer(digests, np.uint64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


NOTHING_KNOWN = known_by(b"", np.empty(0, np.int64), np.empty(0, np.int64))
