"""What tells whether two pictures are the same one: tiny copies of a picture, and of the product cut out of it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from imagesync_pipelines.imaging.hashes import difference_hash

LIGHT, COLOUR = 12, 4
"""Points of a tiny copy, a side: of its brightness, and of each of its two colours."""
COPY_BYTES = LIGHT**2 + 2 * COLOUR**2
SIGNATURE_BYTES = 8 + 2 * COPY_BYTES
# The product is looked for in a picture of this side; a point that differs so much from the border belongs to it.
_SIDE, _DIFFERS = 256, 24
# Fewer points of a line are noise; a product that is smaller than this share of the frame is none.
_OF_A_LINE, _LEAST_SHARE = 0.02, 0.05
# Once it is found, it is looked for again from nearer, with so much of its longer side around it.
_AROUND = 0.1

# Two copies show the same where brightness differs by so little of 255 on average over what is not white, by so little
# in every point, and colour by so little in every point; where less than this share is not white, it says too little.
MEAN_DIFFERENCE = 4
_MOST_LIGHT, _MOST_COLOUR = 60, 6
_WHITE, _LEAST_SHOWN = 245, 0.2
# A copy with less between its darkest and its brightest point shows nothing that tells it from others.
_LEAST_CONTRAST = 24

Box = tuple[int, int, int, int]


def signature_of(flat: Image.Image) -> bytes:
    """The signature of a picture in RGB, upright, on white: the hash of its product, its copy, its product's copy."""
    edges = _edges(_small(flat))
    background = np.median(edges, axis=0).astype(np.int16)
    box = _product(flat, background)
    around = round(_AROUND * max(box[2] - box[0], box[3] - box[1]))
    near = flat.crop((
        max(0, box[0] - around), max(0, box[1] - around),
        min(flat.width, box[2] + around), min(flat.height, box[3] + around),
    ))  # fmt: skip
    product = near.crop(_product(near, background))
    return difference_hash(product).to_bytes(8) + _copy(flat) + _copy(product)


def says_something(signatures: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Of which signatures, a row each, the product is no plain surface, which would be alike with any other one."""
    light = signatures[:, 8 + COPY_BYTES : 8 + COPY_BYTES + LIGHT**2]
    found: NDArray[np.bool_] = np.ptp(light, axis=1) >= _LEAST_CONTRAST
    return found


def brightness(signatures: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean brightness of the copies of pictures and of their products, which differs little for the same one.

    By MEAN_DIFFERENCE at most: a mean differs by no more than its parts do on average, and white parts count less.
    """
    copies = (signatures[:, start : start + LIGHT**2] for start in (8, 8 + COPY_BYTES))
    picture, product = (copy.mean(axis=1, dtype=np.float32) for copy in copies)
    return picture, product


def are_same(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Row by row, whether two signatures are of the same picture: it as a whole, or the product cut out of it."""
    found: NDArray[np.bool_] = np.zeros(len(ones), bool)
    for start in (8, 8 + COPY_BYTES):
        one, other = (of[:, start : start + COPY_BYTES].astype(np.int16) for of in (ones, others))
        differs = np.abs(one - other)
        light, colour = differs[:, : LIGHT**2], differs[:, LIGHT**2 :]
        shown = np.minimum(one, other)[:, : LIGHT**2] < _WHITE
        parts = shown.sum(axis=1)
        found |= (
            (parts >= _LEAST_SHOWN * LIGHT**2)
            & ((light * shown).sum(axis=1) <= MEAN_DIFFERENCE * parts)
            & (light.mean(axis=1) <= MEAN_DIFFERENCE)
            & (light.max(axis=1) <= _MOST_LIGHT)
            & (colour.max(axis=1) <= _MOST_COLOUR)
        )
    return found


def _small(picture: Image.Image) -> Image.Image:
    small = picture.copy()
    small.thumbnail((_SIDE, _SIDE), Image.Resampling.BOX)
    return small


def _edges(picture: Image.Image) -> NDArray[np.uint8]:
    points = np.asarray(picture)
    return np.concatenate([points[0], points[-1], points[:, 0], points[:, -1]])


def _product(picture: Image.Image, background: NDArray[np.int16]) -> Box:
    """What is no background: left, top, right, bottom; the whole picture where nothing or little is."""
    small = _small(picture)
    other = (np.abs(np.asarray(small).astype(np.int16) - background) > _DIFFERS).any(axis=2)
    (columns,), (rows,) = ((other.mean(axis=axis) > _OF_A_LINE).nonzero() for axis in (0, 1))
    if not len(columns) or not len(rows):
        return 0, 0, *picture.size
    left, top, right, bottom = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    if right - left < _LEAST_SHARE * small.width or bottom - top < _LEAST_SHARE * small.height:
        return 0, 0, *picture.size
    across, down = picture.width / small.width, picture.height / small.height
    return round(left * across), round(top * down), round(right * across), round(bottom * down)


def _copy(picture: Image.Image) -> bytes:
    light, *colours = picture.convert("YCbCr").split()
    tiny = [light.resize((LIGHT, LIGHT), Image.Resampling.BILINEAR)]
    tiny += [one.resize((COLOUR, COLOUR), Image.Resampling.BILINEAR) for one in colours]
    return b"".join(one.tobytes() for one in tiny)
