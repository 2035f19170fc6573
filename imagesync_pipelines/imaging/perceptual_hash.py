"""What a picture looks like, in a few numbers: a hash that survives scaling, and how white its border is."""

import io
from typing import NamedTuple

from PIL import Image

from imagesync_pipelines.imaging.derivatives import on_white
from imagesync_pipelines.imaging.validation import FORMATS

# As dark as compression makes a pure white.
_WHITE = 250
_HASH_SIDE = 8
_POINTS_PER_EDGE = 50
_DECODED_SIDE = 1024


class PerceptualHash(NamedTuple):
    """hash: the difference hash, 64 bits. white_edge: the share of points sampled on the border that are white."""

    hash: int
    white_edge: float


def perceptual_hash_of(body: bytes) -> PerceptualHash:
    """Look at a picture that was validated before; what is transparent counts as white. Raises OSError for others."""
    with Image.open(io.BytesIO(body), formats=FORMATS) as image:
        # Half the pixels and more are left out by the decoder itself.
        image.draft("RGB", (_DECODED_SIDE, _DECODED_SIDE))
        flat = on_white(image)
    return PerceptualHash(_difference_hash(flat), _white_edge(flat))


def distance(one: int, other: int) -> int:
    """In how many bits two hashes differ; 0 is the same picture, some 32 is another one."""
    return (one ^ other).bit_count()


def _difference_hash(image: Image.Image) -> int:
    """One bit per pixel of a tiny grey copy: whether it is brighter than its right neighbour."""
    width = _HASH_SIDE + 1
    pixels = image.convert("L").resize((width, _HASH_SIDE), Image.Resampling.LANCZOS).tobytes()
    bits = 0
    for row in range(_HASH_SIDE):
        for column in range(_HASH_SIDE):
            place = row * width + column
            bits = bits << 1 | (pixels[place] > pixels[place + 1])
    return bits


def _white_edge(image: Image.Image) -> float:
    width, height = image.size
    across = [width * step // _POINTS_PER_EDGE for step in range(_POINTS_PER_EDGE)]
    down = [height * step // _POINTS_PER_EDGE for step in range(_POINTS_PER_EDGE)]
    points = [(x, y) for x in across for y in (0, height - 1)] + [(x, y) for y in down for x in (0, width - 1)]
    white = sum(min(_rgb(image, point)) >= _WHITE for point in points)
    return white / len(points)


def _rgb(image: Image.Image, point: tuple[int, int]) -> tuple[int, ...]:
    found = image.getpixel(point)
    return found if isinstance(found, tuple) else (0,)
