"""What tells whether two pictures are the same one: tiny copies of a picture, and of the product cut out of it."""

from typing import NamedTuple

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
MEAN_DIFFERENCE, COLOUR_DIFFERENCE = 4, 6
_MOST_LIGHT = 60
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


def copies_of(signatures: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The tiny copies of pictures, and of their products, COPY_BYTES in a row."""
    return signatures[:, 8 : 8 + COPY_BYTES], signatures[:, 8 + COPY_BYTES :]


class Outline(NamedTuple):
    """Numbers of copies, a row each, that differ little where the copies agree: by the most that is named here.

    bright: mean brightness, MEAN_DIFFERENCE; colours: mean of each colour, COLOUR_DIFFERENCE; parts: brightness of each
    of nine parts, on average MEAN_DIFFERENCE and what rounding does. A mean differs by no more than what it is of.
    """

    bright: NDArray[np.float32]
    colours: NDArray[np.float32]
    parts: NDArray[np.uint8]


def outline_of(copies: NDArray[np.uint8]) -> Outline:
    """The outline of copies."""
    light, colours = copies[:, : LIGHT**2], copies[:, LIGHT**2 :].reshape(-1, 2, COLOUR**2)
    third = LIGHT // 3
    parts = light.reshape(-1, 3, third, 3, third).mean(axis=(2, 4), dtype=np.float32).reshape(-1, 9)
    means = colours.mean(axis=2, dtype=np.float32)
    return Outline(light.mean(axis=1, dtype=np.float32), means, parts.round().astype(np.uint8))


def agree(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Row by row, whether two copies show the same."""
    differs = np.maximum(ones, others) - np.minimum(ones, others)
    light = differs[:, : LIGHT**2]
    found: NDArray[np.bool_] = differs[:, LIGHT**2 :].max(axis=1) <= COLOUR_DIFFERENCE
    shown = np.minimum(ones, others)[:, : LIGHT**2] < _WHITE
    parts = shown.sum(axis=1)
    found &= (parts >= _LEAST_SHOWN * LIGHT**2) & (light.max(axis=1) <= _MOST_LIGHT)
    found &= light.sum(axis=1, dtype=np.uint32) <= MEAN_DIFFERENCE * LIGHT**2
    found &= (light * shown).sum(axis=1, dtype=np.uint32) <= MEAN_DIFFERENCE * parts
    return found


def are_same(ones: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Row by row, whether two signatures are of the same picture: it as a whole, or the product cut out of it."""
    whole, product = (agree(one, other) for one, other in zip(copies_of(ones), copies_of(others), strict=True))
    return whole | product


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
    light, colour = (
        np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR).convert("YCbCr")) for side in (LIGHT, COLOUR)
    )
    return light[..., 0].tobytes() + colour[..., 1].tobytes() + colour[..., 2].tobytes()
