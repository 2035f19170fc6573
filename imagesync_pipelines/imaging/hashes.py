"""What a picture looks like in a few numbers: its perceptual hash, and how white its border is."""

import json
from typing import NamedTuple

import numpy as np
from PIL import Image

from imagesync_pipelines.imaging.decoding import DecodeLimits, decode
from imagesync_pipelines.imaging.pixels import as_pillow, on_white, upright

# As dark as compression makes a pure white, and how many points of each edge are looked at.
_WHITE, _POINTS_PER_EDGE = 250, 50
# Larger pictures are looked at in this size, by all who look, so that their hashes are the same.
DECODED_SIDE = 1024


class Look(NamedTuple):
    """hash: difference hash of 64 bits, which survives scaling. white_edge: share of the sampled border, 0 to 1."""

    hash: int
    white_edge: float


def look_at(body: bytes, limits: DecodeLimits | None = None) -> Look:
    """What a validated picture looks like; what is transparent counts as white. Raises BadImageError."""
    return Look(*json.loads(decode("look", body, limits or DecodeLimits())))


def looked_at(body: bytes) -> bytes:
    """The look itself, in whatever process, as JSON. Raises BadImageError."""
    flat = as_pillow(on_white(upright(body, DECODED_SIDE)))
    width, height = flat.size
    boxes = (0, 0, width, 1), (0, height - 1, width, height), (0, 0, 1, height), (width - 1, 0, width, height)
    sides = [np.asarray(flat.crop(box)).reshape(-1, 3) for box in boxes]
    points = [side[np.arange(_POINTS_PER_EDGE) * len(side) // _POINTS_PER_EDGE] for side in sides]
    white = float((np.concatenate(points) >= _WHITE).all(axis=1).mean())
    return json.dumps([difference_hash(flat), white]).encode()


def difference_hash(flat: Image.Image) -> int:
    """One bit per pixel of a tiny grey copy: whether it is brighter than its right neighbour."""
    grey = np.asarray(flat.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(grey[:, :-1] > grey[:, 1:]).tobytes())
