"""Smaller copies of a picture: the recipe of those for the web, and a JPEG of at most so many bytes."""

import hashlib
import io
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from PIL import Image, ImageCms, ImageOps

from imagesync_pipelines.imaging.validation import FORMATS, BadImageError, DecodeLimits, begin, run_limited
from imagesync_pipelines.storage.facts import PictureFacts

# A part of the name under which copies are kept: raising it makes them anew.
RECIPE = 1
# The longer side of each copy, in pixels; a smaller original stays as it is.
SIDES: Mapping[str, int] = {"thumb": 160, "small": 480, "web": 1200}
_IN_CHILD = frozenset({"TIFF", "PSD"})
# A decoder that can gives a picture at least twice as large as what is wanted, which is then reduced with care.
_GAP = 2.0
# Profiles of printers have half a megabyte.
_LARGEST_PROFILE = 4 * 1024 * 1024
# What `shrink` tries: these qualities at each size, then a smaller one, down to this side in pixels.
_QUALITIES, _SHRINK, _LEAST_SIDE = (90, 80, 70), 0.8, 64


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


class CannotDeriveError(Exception):
    """A picture of which no smaller copy can be made; the message says why."""


@dataclass(frozen=True)
class Derived(PictureFacts):
    """A smaller copy."""

    body: bytes = field(repr=False)


def derive(
    body: bytes, facts: PictureFacts, side: int, encoding: Encoding, limits: DecodeLimits | None = None
) -> Derived:
    """A copy of a picture: upright, in sRGB, its longer side at most `side` pixels, without any of its metadata.

    facts are those of the full decode. A JPEG has no transparency: what shines through is white. TIFF, PSD and what is
    over here_pixels is decoded in a child process under limits. Raises CannotDeriveError.
    """
    limits = limits or DecodeLimits()
    if facts.width * facts.height > limits.max_pixels:
        raise CannotDeriveError(f"{facts.width} x {facts.height} pixels; {limits.max_pixels} pixels are allowed")
    if facts.format not in _IN_CHILD and facts.width * facts.height <= limits.here_pixels:
        made = make_copy(body, side, encoding)
    else:
        try:
            made = run_limited(__spec__.name, [str(side), encoding], body, limits)
        except BadImageError as error:
            raise CannotDeriveError(str(error)) from None
    with Image.open(io.BytesIO(made), formats=[encoding.name]) as image:
        width, height = image.size
    return Derived(encoding.name, width, height, hashlib.sha256(made).hexdigest(), made)


def make_copy(body: bytes, side: int, encoding: Encoding) -> bytes:
    """The recipe itself, in this process. Raises CannotDeriveError."""
    try:
        with warnings.catch_warnings(), Image.open(io.BytesIO(body), formats=FORMATS) as image:
            # How large a picture may be was judged before.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            # What a JPEG decoder has to give at least: both sides with the gap, in the picture's own proportions.
            share = min(1.0, _GAP * side / max(image.size))
            image.draft(None, (max(1, round(image.width * share)), max(1, round(image.height * share))))
            profile = image.info.get("icc_profile")
            small = _resizable(image)
            small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=_GAP)
            upright = ImageOps.exif_transpose(_in_srgb(small, profile, image.getexif()))
            target = io.BytesIO()
            if upright.mode == "RGBA" and upright.getchannel("A").getextrema() == (255, 255):
                upright = upright.convert("RGB")
            flat = on_white(upright) if encoding is Encoding.JPEG else upright
            flat.save(target, encoding.name, **_OPTIONS[encoding])
    except Exception as error:  # noqa: BLE001 -- a hostile file makes decoders raise anything
        raise CannotDeriveError(f"no smaller copy can be made: {type(error).__name__} {str(error)[:120]}") from None
    return target.getvalue()


def shrink(body: bytes, most_bytes: int) -> bytes:
    """A JPEG of at most so many bytes of a picture that was validated before; what is transparent becomes white.

    The same body and limit give the same bytes. First its quality is lowered, then its sides. Raises CannotDeriveError,
    and OSError for what is no picture.
    """
    with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
        picture = on_white(ImageOps.exif_transpose(opened))
    while min(picture.size) >= _LEAST_SIDE:
        for quality in _QUALITIES:
            made = io.BytesIO()
            picture.save(made, "JPEG", quality=quality, optimize=True)
            if made.tell() <= most_bytes:
                return made.getvalue()
        width, height = picture.size
        picture = picture.resize((round(width * _SHRINK), round(height * _SHRINK)), Image.Resampling.LANCZOS)
    raise CannotDeriveError(f"the picture cannot be made smaller than {most_bytes} bytes")


def on_white(image: Image.Image) -> Image.Image:
    """The picture without transparency: what shines through is white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _resizable(image: Image.Image) -> Image.Image:
    """The picture in a mode of which neighbouring pixels can be mixed; nothing of its colours changes."""
    if image.mode.startswith("I"):
        # 16 bits of grey; converting alone would cut off all that is bright.
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in {"1", "F"}:
        return image.convert("L")
    if image.mode == "P" or image.mode in {"PA", "La", "RGBa", "LA"} or "transparency" in image.info:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.copy() if image.mode != "RGBX" else image.convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None, exif: Image.Exif) -> Image.Image:
    """The picture in the colours of the web, and still saying how it is to be turned.

    A profile that cannot be used is left out of account, as browsers do.
    """
    is_lab, has_alpha = image.mode == "LAB", image.mode == "RGBA"
    plain = None if is_lab else image.convert("RGBA" if has_alpha else "RGB")
    source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")) if is_lab else _profile(profile or b"")
    if source is not None:
        colours = image.convert("RGB") if has_alpha else image
        perceptual = ImageCms.Intent.PERCEPTUAL
        with suppress(ImageCms.PyCMSError):
            turned = ImageCms.profileToProfile(colours, source, ImageCms.createProfile("sRGB"), perceptual, "RGB")
            if turned is not None and plain is not None and has_alpha:
                turned.putalpha(plain.getchannel("A"))
            plain = turned or plain
    if plain is None:
        raise CannotDeriveError("its colours (LAB) cannot be turned into those of the web")
    plain.info = {}
    plain.getexif().update({0x0112: exif.get(0x0112, 1)})
    return plain


def _profile(profile: bytes) -> ImageCms.ImageCmsProfile | None:
    """The profile of a picture; None for sRGB, which changes nothing, for what is none, and for what is too large."""
    if len(profile) > _LARGEST_PROFILE:
        return None
    try:
        read = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    except (OSError, ImageCms.PyCMSError):
        return None
    return None if (read.profile.profile_description or "").startswith("sRGB") else read


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(make_copy(begin(), int(sys.argv[4]), Encoding(sys.argv[5])))
    except CannotDeriveError as cannot:
        sys.exit(str(cannot))
