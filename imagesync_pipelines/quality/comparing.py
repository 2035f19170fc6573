"""Which of many contents show the same picture: found exactly, without comparing each with each. Pure.

Two are the same where a hash of theirs differs in few bits, of the whole picture or of the product cut out of it, and
their tiny copies agree. The mean brightness of copies that agree differs little: only pictures of about the same
brightness are compared, and their hashes first, of which millions a second are.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from imagesync_pipelines.imaging.signatures import (
    COLOUR_DIFFERENCE,
    MEAN_DIFFERENCE,
    agree,
    copies_of,
    outline_of,
    says_something,
)

MOST_BITS = 7
"""The hashes of the same picture differ in no more bits."""
# So many tiny copies are compared at once, which is a few megabytes.
_COPIES_AT_ONCE = 4_096
_ROUNDED = 0.01


class Same(NamedTuple):
    """Two rows of the same picture, and how many bits of their hashes differ, of those that differ less."""

    row: int
    other: int
    distance: int


class Contents:
    """Contents that can be compared, a row each: 64 bits of their hashes, and their signatures."""

    def __init__(self, hashes: NDArray[np.uint64], signatures: NDArray[np.uint8]) -> None:
        """signatures: SIGNATURE_BYTES in a row."""
        products = np.ascontiguousarray(signatures[:, :8]).view(">u8").ravel().astype(np.uint64)
        self.is_plain = ~says_something(signatures)
        speaking = np.flatnonzero(~self.is_plain)
        self._ways = [_Way(copies, hashes, products, speaking) for copies in copies_of(signatures)]

    def same_as(self, row: int, among: NDArray[np.bool_], most: int) -> list[Same]:
        """The nearest others of the same picture as a row, the nearest first. among: of each row, whether it counts.

        A plain surface is the same as none: it would be the same as any other one.
        """
        if self.is_plain[row]:
            return []
        found = {Same(row, other, bits) for way in self._ways for other, bits in way.same_as(row, among)}
        return sorted(found, key=lambda one: (one.distance, one.other))[:most]


class _Way:
    """Contents by the brightness of their pictures, or of their products, whose copies these are."""

    def __init__(
        self,
        copies: NDArray[np.uint8],
        hashes: NDArray[np.uint64],
        products: NDArray[np.uint64],
        speaking: NDArray[np.intp],
    ) -> None:
        self._copies, outline = copies, outline_of(copies)
        self._own = outline.bright, outline.colours, outline.parts, hashes, products
        self._rows = speaking[np.argsort(outline.bright[speaking], kind="stable")]
        # Beside each other in memory, as they are looked at.
        self._bright, colours, self._parts, self._hashes, self._products = (of[self._rows] for of in self._own)
        self._colours = np.ascontiguousarray(colours.T)

    def same_as(self, row: int, among: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
        """The other contents whose copies and hashes agree with a row's, and the bits of the hashes that differ."""
        bright, colours, parts, picture, product = (of[row] for of in self._own)
        # The means are rounded.
        start, end = np.searchsorted(
            self._bright, [bright - MEAN_DIFFERENCE - _ROUNDED, bright + MEAN_DIFFERENCE + _ROUNDED]
        )
        near = np.ones(end - start, bool)
        for means, mean in zip(self._colours, colours, strict=True):
            near &= np.abs(means[start:end] - mean) <= COLOUR_DIFFERENCE + _ROUNDED
        at = start + np.flatnonzero(near)
        bits = np.minimum(np.bitwise_count(self._hashes[at] ^ picture), np.bitwise_count(self._products[at] ^ product))
        few = bits <= MOST_BITS
        at, bits = at[few], bits[few]
        others = self._parts[at]
        differs = (np.maximum(others, parts) - np.minimum(others, parts)).sum(axis=1, dtype=np.uint32)
        close = differs <= (MEAN_DIFFERENCE + 1) * len(parts)
        rows, bits = self._rows[at[close]], bits[close]
        counts = among[rows] & (rows != row)
        rows, bits = rows[counts], bits[counts]
        for first in range(0, len(rows), _COPIES_AT_ONCE):
            some = rows[first : first + _COPIES_AT_ONCE]
            same = agree(self._copies[row], self._copies[some])
            yield from zip(some[same].tolist(), bits[first : first + _COPIES_AT_ONCE][same].tolist(), strict=True)
