"""The index finds exactly what comparing each with each finds."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from imagesync_pipelines.imaging.signatures import SIGNATURE_BYTES, are_same, says_something
from imagesync_pipelines.quality.comparing import MOST_BITS, Contents


def made(seed: int, count: int, noise: int) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Contents around three pictures, plain ones among them, that differ by about what may differ."""
    dice = np.random.default_rng(seed)
    pictures = dice.integers(0, 256, (3, SIGNATURE_BYTES), np.int64)
    pictures[2, 8:] = 250
    bits = dice.integers(0, 2**63, 3, np.uint64)
    of = dice.integers(0, 3, count)
    signatures = (
        pictures[of] + dice.integers(-noise, noise + 1, (count, SIGNATURE_BYTES)) + dice.integers(-3, 4, (count, 1))
    )
    signatures = np.clip(signatures, 0, 255).astype(np.uint8)
    flips = np.bitwise_or.reduce(np.uint64(1) << dice.integers(0, 64, (count, 8), np.uint64), axis=1)
    signatures[:, :8] = pictures[of, :8]
    signatures[:, 0] ^= dice.integers(0, 256, count, np.uint8)
    return bits[of] ^ flips, signatures


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(0, 9))
def test_all_pairs_are_found_and_no_other_ones(seed: int, count: int, noise: int) -> None:
    hashes, signatures = made(seed, count, noise)
    contents, everything = Contents(hashes, signatures), np.ones(count, bool)
    found = {
        (one.row, one.other, one.distance) for row in range(count) for one in contents.same_as(row, everything, count)
    }
    products = [int.from_bytes(signature[:8].tobytes()) for signature in signatures]
    speaks = says_something(signatures)
    wanted = set()
    for row in range(count):
        for other in range(count):
            pairs = ((int(hashes[row]), int(hashes[other])), (products[row], products[other]))
            bits = min((one ^ another).bit_count() for one, another in pairs)
            is_pair = row != other and speaks[row] and speaks[other] and bits <= MOST_BITS
            if is_pair and are_same(signatures[[row]], signatures[[other]])[0]:
                wanted.add((row, other, bits))
    assert found == wanted


def test_only_the_nearest_are_given_of_those_that_count() -> None:
    hashes, signatures = made(1, 1, 0)
    several = np.repeat(signatures, 5, axis=0)
    several[:, :8] = [[0] * 8, [255] * 8, [255] * 8, [255] * 8, [255] * 8]
    contents = Contents(hashes[0] ^ np.array([0, 7, 1, 0, 3], np.uint64), several)
    counts = np.array([True, True, True, False, True])
    assert [(one.other, one.distance) for one in contents.same_as(0, counts, 2)] == [(2, 1), (4, 2)]
