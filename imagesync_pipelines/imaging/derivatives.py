"""Smaller copies of a picture: the recipe of those for the web, and a JPEG of at most so many bytes."""

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import pyvips
from PIL import Image

from imagesync_pipelines.imaging.decoding import DecodeLimits, decode
from imagesync_pipelines.imaging.errors import BadImageError, CannotDeriveError
from imagesync_pipelines.imaging.pixels import as_pillow, header_of, on_white, readable, upright
from imagesync_pipelines.storage.facts import PictureFacts

__all__ = ["RECIPE", "SIDES", "CannotDeriveError", "Derived", "Encoding", "derive", "icon", "shrink"]

# A part of the name under which copies are kept: raising it makes them anew.
RECIPE = 2
# The longer side of each copy, in pixels; a smaller original stays as it is.
SIDES: Mapping[str, int] = {"thumb": 160, "small": 480, "web": 1200}
# What `shrink` tries: these qualities at each size, then a smaller one, down to this side in pixels. A picture that is
# narrower from the start is tried as it is, and smaller down to one pixel.
_QUALITIES, _SHRINK, _LEAST_SIDE = (90, 80, 70), 0.8, 64
# A JPEG that is kept in 8-bit RGB while its size is sought: 60 MB.
_SHRINK_SIDE = 4500


class Encoding(StrEnum):
    """How a copy is encoded; the value is the second half of its media type."""

    AVIF = "avif"
    WEBP = "webp"
    JPEG = "jpeg"


# Chosen for pictures of products: the next better setting takes several times as long for a few percent of bytes.
_OPTIONS: Mapping[Encoding, Mapping[str, Any]] = {
    Encoding.AVIF: {"quality": 60, "speed": 10, "max_threads": 1},
    Encoding.WEBP: {"quality": 80, "method": 4},
    Encoding.JPEG: {"quality": 82, "optimize": True, "progressive": True},
}


_ICON_QUALITY = "40"


@dataclass(frozen=True)
class Derived(PictureFacts):
    """A smaller copy."""

    body: bytes = field(repr=False)


def derive(
    body: bytes, facts: PictureFacts, side: int, encoding: Encoding, limits: DecodeLimits | None = None
) -> Derived:
    """A copy of a picture: upright, in sRGB, its longer side at most `side` pixels, without any of its metadata.

    facts are those of the full decode. A JPEG has no transparency: what shines through is white. Large and risky
    pictures are decoded in a child process under limits. Raises CannotDeriveError.
    """
    limits = limits or DecodeLimits()
    if facts.width * facts.height > limits.max_pixels:
        raise CannotDeriveError(f"{facts.width} x {facts.height} pixels; {limits.max_pixels} pixels are allowed")
    try:
        made = decode("copy", body, limits, str(side), encoding)
    except BadImageError as error:
        raise CannotDeriveError(f"no smaller copy can be made: {error}") from None
    with Image.open(io.BytesIO(made), formats=[encoding.name]) as image:
        width, height = image.size
    return Derived(encoding.name, width, height, hashlib.sha256(made).hexdigest(), made)


def icon(body: bytes, side: int) -> bytes:
    """A WebP of few bytes for a page that embeds it, neither side longer than `side`. Raises BadImageError."""
    decode("check", body, DecodeLimits())
    return decode("copy", body, DecodeLimits(), str(side), Encoding.WEBP, _ICON_QUALITY)


def make_copy(body: bytes, side: str, encoding: str, quality: str = "") -> bytes:
    """The recipe itself, in whatever process; quality: another one than is usual. Raises BadImageError."""
    kind, small = Encoding(encoding), upright(body, int(side))
    options = {**_OPTIONS[kind], **({"quality": int(quality)} if quality else {})}
    with readable():
        target = io.BytesIO()
        flat = on_white(small) if kind is Encoding.JPEG or _is_opaque(small) else small
        as_pillow(flat).save(target, kind.name, **options)
    return target.getvalue()


def shrink(body: bytes, most_bytes: int, limits: DecodeLimits | None = None) -> bytes:
    """A JPEG of at most so many bytes of a picture that was validated before; what is transparent becomes white.

    The same body and limit give the same bytes. First its quality is lowered, then its sides. Raises CannotDeriveError.
    """
    try:
        made = decode("shrink", body, limits or DecodeLimits(), str(most_bytes))
    except BadImageError as error:
        raise CannotDeriveError(f"the picture cannot be made smaller: {error}") from None
    if made == _NOT_SMALL_ENOUGH:
        raise CannotDeriveError(f"the picture cannot be made smaller than {most_bytes} bytes")
    return made


_NOT_SMALL_ENOUGH = b"-"


def shrunk(body: bytes, most_bytes: str) -> bytes:
    """The search itself, in whatever process; _NOT_SMALL_ENOUGH when nothing fits. Raises BadImageError."""
    header = header_of(body)
    picture = as_pillow(on_white(upright(body, min(_SHRINK_SIDE, max(header.width, header.height)))))
    least = min(_LEAST_SIDE, *picture.size)
    while min(picture.size) >= least:
        for quality in _QUALITIES:
            made = io.BytesIO()
            picture.save(made, "JPEG", quality=quality, optimize=True)
            if made.tell() <= int(most_bytes):
                return made.getvalue()
        width, height = (max(1, round(length * _SHRINK)) for length in picture.size)
        if (width, height) == picture.size:
            break
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
        # A picture of one narrow side gets shorter until nothing is left to take.
        least = min(least, *picture.size) if least < _LEAST_SIDE else least
    return _NOT_SMALL_ENOUGH


def _is_opaque(image: pyvips.Image) -> bool:
    return bool(image.hasalpha() and image.extract_band(image.bands - 1).min() == 255)
