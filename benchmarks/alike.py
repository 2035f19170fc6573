"""How well the same picture is told from others, on made-up pictures, and what finding it costs among many.

python -m benchmarks.alike [CONTENTS [NEW]]: without numbers the made-up pictures; with them so many contents are made
up around those, and so many are compared with all.
"""

import os
import sys
import time

import numpy as np
from numpy.typing import NDArray

from benchmarks.alike_pictures import OTHER, SAME, as_jpeg, drawn, products
from benchmarks.measuring import peak_of
from imagesync_pipelines.imaging.hashes import difference_hash
from imagesync_pipelines.imaging.signatures import COPY_BYTES, LIGHT, SIGNATURE_BYTES, signature_of
from imagesync_pipelines.quality.comparing import Contents

PRODUCTS, BLENDED_AT_ONCE, NOISE = 90, 20_000, 3


def look(count: int) -> None:
    """Tell, for each change of a picture, how many of so many are found."""
    chosen = products(count)
    originals = [drawn(one) for one in chosen]
    changed = {name: [as_jpeg(change(one), 85) for one in originals] for name, change in SAME.items()}
    changed |= {name: [as_jpeg(drawn(change(one))) for one in chosen] for name, change in OTHER.items()}
    rows = [as_jpeg(one) for one in originals] + [one for pictures in changed.values() for one in pictures]
    hashes = np.array([difference_hash(one) for one in rows], np.uint64)
    read = b"".join(signature_of(one) for one in rows)
    contents = Contents(hashes, np.frombuffer(read, np.uint8).reshape(-1, SIGNATURE_BYTES))
    everything = np.ones(len(rows), bool)
    found = [{one.other for one in contents.same_as(row, everything, len(rows))} for row in range(count)]
    for number, name in enumerate(changed, 1):
        print(f"{name}: {sum(number * count + row in found[row] for row in range(count))} of {count}")
    others = sum(other < count for row in found for other in row) // 2
    print(f"two different products: {others} of {count * (count - 1) // 2}")


def made(count: int, seed: int = 1) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Contents between the made-up pictures, as alike as those are: closer to each other than real ones."""
    dice = np.random.default_rng(seed)
    read = b"".join(signature_of(drawn(one)) for one in products(PRODUCTS))
    drawings = np.frombuffer(read, np.uint8).reshape(-1, SIGNATURE_BYTES)[:, 8:].astype(np.float32)
    hashes, signatures = np.empty(count, np.uint64), np.empty((count, SIGNATURE_BYTES), np.uint8)
    for start in range(0, count, BLENDED_AT_ONCE):
        rows = slice(start, min(start + BLENDED_AT_ONCE, count))
        number = rows.stop - rows.start
        (one, other), share = dice.integers(0, PRODUCTS, (2, number)), dice.random((number, 1), np.float32)
        blended = drawings[one] * share + drawings[other] * (1 - share)
        blended += dice.normal(0, NOISE, blended.shape) * (blended < 250)
        signatures[rows, 8:] = np.clip(blended, 0, 255)
        hashes[rows] = _hashes(signatures[rows, 8 : 8 + COPY_BYTES])
        signatures[rows, :8] = _hashes(signatures[rows, 8 + COPY_BYTES :]).astype(">u8").view(np.uint8).reshape(-1, 8)
    return hashes, signatures


def _hashes(copies: NDArray[np.uint8]) -> NDArray[np.uint64]:
    light = copies[:, : LIGHT**2].reshape(-1, LIGHT, LIGHT)
    down, across = (np.linspace(0, LIGHT - 1, number).round().astype(int) for number in (8, 9))
    tiny = light[:, down][:, :, across]
    bits = np.packbits((tiny[:, :, :-1] > tiny[:, :, 1:]).reshape(-1, 64), axis=1)
    return bits.view(">u8").ravel().astype(np.uint64)


def measure(count: int, new: int) -> None:
    """Tell what it costs to put contents in order, and to compare some with all."""
    hashes, signatures = made(count)
    print(f"{count} contents in memory: {signatures.nbytes // 1_000_000} MB of signatures, peak {_peak()} MB")
    began = time.process_time()
    contents = Contents(hashes, signatures)
    print(f"in order: {time.process_time() - began:.1f} s of processor, peak {_peak()} MB")
    everything, began = np.ones(count, bool), time.process_time()
    pairs = sum(len(contents.same_as(row, everything, 10)) for row in range(new))
    used = time.process_time() - began
    print(f"{new} compared with all: {used:.1f} s, {1000 * used / new:.1f} ms each, {pairs} pairs, peak {_peak()} MB")


def _peak() -> int:
    return peak_of(os.getpid()) // 1_000_000


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
    else:
        look(PRODUCTS)
