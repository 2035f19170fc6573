"""What is measured of a picture for the rules of marketplaces: how, and how sure it is, is in docs/quality.md.

No synchronisation imports it: quality is beside them.
"""

import hashlib
import json

import numpy as np
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from imagesync_pipelines.imaging.decoding import DecodeLimits, decode
from imagesync_pipelines.imaging.hashes import DECODED_SIDE, difference_hash
from imagesync_pipelines.imaging.pixels import as_pillow, header_of, on_white, upright, upright_size
from imagesync_pipelines.imaging.signatures import signature_of
from imagesync_pipelines.storage.facts import Measures

# Another one: what was measured before is measured again.
MEASURED_BY = "1"
SIDES = ("left", "top", "right", "bottom")
# Product and background are told apart in a picture of at most this side.
_MASK_SIDE = 512
# Differences of colour, of 255: what surely is no background, and what is none where it begins with an edge.
_DIFFERS, _DIFFERS_AT_AN_EDGE, _AN_EDGE = 24.0, 4.0, 4.0
# A background whose points lie further than this from their smooth surface is a scene; so is one of too few points.
_NOISIEST, _LEAST_OF_THE_BORDER = 10.0, 0.35
# Around a product so many points are not judged, as far as others are left: compression leaves its traces there.
_HALOS = (8, 1)
# Parts that are smaller than this share of the largest are dirt, letters and marks.
_LEAST_PART = 0.01
# Share of a side that the product takes where it touches it.
_TOUCHES = 0.01
# Steps of brightness are looked at within so many points; weaker ones than this, and than this share of the strongest,
# say nothing.
_WINDOW, _LEAST_CONTRAST, _OF_THE_STRONGEST = 16, 16.0, 0.25

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]


def measure(body: bytes, limits: DecodeLimits | None = None) -> Measures:
    """Measure a picture; what is transparent counts as white, and as transparent. Raises BadImageError."""
    limits = limits or DecodeLimits()
    # What is cut in half would be blamed for what the missing half looks like. Each has a child's memory for itself.
    decode("check", body, limits)
    found = json.loads(decode("measure", body, limits))
    touched, signature = tuple(found.pop("touched_sides")), bytes.fromhex(found.pop("signature"))
    sha256 = hashlib.sha256(body).hexdigest()
    return Measures(sha256=sha256, touched_sides=touched, signature=signature, **found)


def measured(body: bytes) -> bytes:
    """The measures themselves, in whatever process, without the SHA-256, as JSON. Raises BadImageError."""
    width, height = upright_size(body)
    image = upright(body, DECODED_SIDE)
    picture = as_pillow(on_white(image))
    seen = differing(picture)
    product, background = large_parts(seen), background_of(seen)
    return json.dumps(
        {
            "format": header_of(body).kind.name,
            "width": width,
            "height": height,
            "white_background": round(white_share(np.asarray(picture), background), 4),
            "fill": round(fill_of(product), 4),
            "touched_sides": touched_by(product),
            "sharpness": round(sharpness_of(np.asarray(picture.convert("L"))), 4),
            "transparent": round(_transparent(image), 4),
            "hash": difference_hash(picture),
            "signature": signature_of(picture).hex(),
        }
    ).encode()


def differing(picture: Image.Image) -> Mask:
    """Which points of a picture, made smaller where it is large, are not its background's.

    The background is a smooth surface of colour through the points of the border, as far as these agree. Where they do
    not, the picture is a scene without any, and all of its points are given.
    """
    factor = -(-max(picture.size) // _MASK_SIDE)
    colours = np.asarray(picture.reduce(factor) if factor > 1 else picture, np.float32)
    surface, noise = _surface(colours)
    if surface is None:
        return np.ones(colours.shape[:2], bool)
    distance = np.abs(colours - surface).max(axis=2)
    at_an_edge = _grown_all_round(_steps(colours) > max(_AN_EDGE, 4 * noise), 1)
    found = (distance > max(_DIFFERS, 5 * noise)) | ((distance > max(_DIFFERS_AT_AN_EDGE, 4 * noise)) & at_an_edge)
    calm: Mask = np.asarray(Image.fromarray(_bytes(found)).filter(ImageFilter.MedianFilter(3))).astype(bool)
    return calm


def large_parts(seen: Mask) -> Mask:
    """The product: what is there without the parts that are much smaller than the largest."""
    joined = _grown_all_round(seen, 2)
    labels = _labels(joined)
    sizes = np.bincount(labels.ravel(), weights=joined.ravel())
    kept: Mask = seen & (sizes >= _LEAST_PART * sizes.max())[labels]
    return kept


def background_of(seen: Mask) -> Mask:
    """What does not lie close to anything that is there, and is connected to the border by such points.

    An outline with small gaps, as a white product on white has, keeps its inside out of it even so.
    """
    for halo in _HALOS:
        background = outside_of(_grown_all_round(seen, halo))
        if background.any():
            break
    return background


def outside_of(seen: Mask) -> Mask:
    """The points that are not in a mask and are connected to the border by such points."""
    labels = _labels(~seen)
    outside = [line[~of] for line, of in zip(_border(labels), _border(seen), strict=True)]
    return ~seen & np.isin(labels, np.concatenate(outside))


def white_share(colours: Grey, background: Mask) -> float:
    """Share of the background that is pure white, 0 where there is none; its mask may be of a smaller picture."""
    factor = -(-max(colours.shape[:2]) // max(background.shape))
    large = background.repeat(factor, 0).repeat(factor, 1)[: colours.shape[0], : colours.shape[1]]
    white = colours.min(axis=2) == 255
    return float(white[large].mean()) if large.any() else 0.0


def fill_of(product: Mask) -> float:
    """Share of the frame that the product takes along the side where it takes more; 0 where none is seen."""
    lengths = []
    for axis in (0, 1):
        places = np.flatnonzero(product.any(axis=axis))
        lengths.append((places[-1] - places[0] + 1) / product.shape[1 - axis] if len(places) else 0.0)
    return float(max(lengths))


def touched_by(product: Mask) -> tuple[str, ...]:
    """The SIDES that the product touches."""
    return tuple(name for name, line in zip(SIDES, _border(product), strict=True) if line.mean() >= _TOUCHES)


def sharpness_of(grey: Grey) -> float:
    """How steep the edges are: the largest step between two neighbours, as a share of the whole change around it.

    1: all of it between two points; a blur of one point takes it to 0.4, one of two to 0.25. Only where brightness
    changes does it count, so that white and size have no part in it. 0 where nothing changes.
    """
    changes, steepest = [], []
    for lines in (grey, grey.T):
        if lines.shape[1] > _WINDOW:
            change = _sliding(lines, np.maximum, _WINDOW) - _sliding(lines, np.minimum, _WINDOW)
            step = np.maximum(lines[:, 1:], lines[:, :-1]) - np.minimum(lines[:, 1:], lines[:, :-1])
            changes.append(change.ravel())
            steepest.append(_sliding(step, np.maximum, _WINDOW - 1).ravel())
    if not changes:
        return 0.0
    change, step = np.concatenate(changes), np.concatenate(steepest)
    counts = change > _LEAST_CONTRAST
    if not counts.any():
        return 0.0
    counts &= change >= _OF_THE_STRONGEST * np.percentile(change[counts], 99)
    return float(np.percentile(step[counts] / change[counts], 75))


def _surface(colours: NDArray[np.float32]) -> tuple[NDArray[np.float32] | None, float]:
    """The background behind everything, and how far its points lie from it; None where the border is a scene."""
    down, across = (np.linspace(-1, 1, length, dtype=np.float32) for length in colours.shape[:2])
    terms = _terms(*np.meshgrid(across, down))
    values, at = np.concatenate(_border(colours)), np.concatenate(_border(terms))
    model = np.broadcast_to(np.median(values, axis=0), values.shape)
    allowed, noise = 2 * _DIFFERS, 0.0
    for _ in range(4):
        distance = np.abs(values - model).max(axis=1)
        agrees = distance <= allowed
        if agrees.mean() < _LEAST_OF_THE_BORDER:
            return None, 0.0
        noise = 1.4826 * float(np.median(distance[agrees]))
        weights = np.linalg.lstsq(at[agrees], values[agrees], rcond=None)[0]
        model, allowed = at @ weights, max(_DIFFERS / 2, 4 * noise)
    if noise > _NOISIEST:
        return None, 0.0
    least = values[agrees].min(axis=0)
    return np.clip(terms @ weights, least, 255), noise


def _terms(across: NDArray[np.float32], down: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([np.ones_like(across), across, down, across * down, across**2, down**2], axis=-1)


def _border(array: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The outermost points, in the order of SIDES."""
    return array[:, 0], array[0], array[:, -1], array[-1]


def _steps(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much the colour changes across each point, in the channel and direction where it changes more."""
    padded = np.pad(colours, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = np.abs(padded[1:-1, 2:] - padded[1:-1, :-2])
    down = np.abs(padded[2:, 1:-1] - padded[:-2, 1:-1])
    return np.asarray(np.maximum(across, down).max(axis=2), np.float32)


def _grown_all_round(mask: Mask, by: int) -> Mask:
    """The points of a mask, and so many around each of them."""
    padded = _sliding(np.pad(mask, by), np.logical_or, 2 * by + 1)
    return _sliding(padded.T, np.logical_or, 2 * by + 1).T


def _labels(mask: Mask) -> NDArray[np.int32]:
    """A number for each connected region of equal value."""
    return np.asarray(pyvips.Image.new_from_array(_bytes(mask)).labelregions(), np.int32).reshape(mask.shape)


def _bytes(mask: Mask) -> Grey:
    return mask.astype(np.uint8) * 255


def _sliding(lines: NDArray, of: np.ufunc, window: int) -> NDArray:
    """The largest, or the least, of so many neighbours in each line."""
    reach = 1
    while reach < window:
        shift = min(reach, window - reach)
        lines, reach = of(lines[:, :-shift], lines[:, shift:]), reach + shift
    return lines


def _transparent(image: pyvips.Image) -> float:
    if not image.hasalpha():
        return 0.0
    return float((np.asarray(image.extract_band(image.bands - 1)) < 255).mean())
