"""What a picture looks like, in a few numbers: a hash that survives scaling, and how white its border is."""

import io
from typing import NamedTuple

import numpy as np
from PIL import Image

from imagesync_pipelines.imaging.derivatives import on_white
from imagesync_pipelines.imaging.validation import FORMATS

# As dark as compression makes a pure white.
_WHITE = 250
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
    # One bit per pixel of a tiny grey copy: whether it is brighter than its right neighbour.
    grey = np.asarray(flat.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    bits = np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes()
    width, height = flat.size
    boxes = (0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)
    sides = [np.asarray(flat.crop(box)).reshape(-1, 3) for box in boxes]
    points = [side[np.arange(_POINTS_PER_EDGE) * len(side) // _POINTS_PER_EDGE] for side in sides]
    return PerceptualHash(int.from_bytes(bits), float((np.concatenate(points) >= _WHITE).all(axis=1).mean()))
