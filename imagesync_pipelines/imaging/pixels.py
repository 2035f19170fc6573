"""One way from the bytes of a picture to pixels: upright, in sRGB, 8 bits a channel; for whoever looks at them.

libvips reads most kinds: it streams, it shrinks while it loads, and it says what its decoders complain of. Pillow reads
what libvips has no reader for (BMP, PSD, and HEIC where the extra `heic` is installed).
"""

import io
import logging
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import pyvips
import simplejpeg
from PIL import ExifTags, Image, ImageCms, ImageOps

from imagesync_pipelines import languages
from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.kinds import Kind, kind_of_body
from imagesync_pipelines.languages import N_

# Larger than any picture that is read: nothing is scaled then.
_ANY_SIDE = 10_000_000
# Profiles of printers have half a megabyte.
_LARGEST_PROFILE = 4 * 1024 * 1024
_REASON_CHARACTERS = 160
# The shorter side, in pixels, from which a reduced decode saves something.
_WORTH_REDUCING = 512
# Some programs fill a JPEG up before its end marker.
_HARMLESS_BYTES = 64
# libpng calls a picture with a longer side damaged.
_LONGEST_SIDE = 1_000_000
# How EXIF says that width and height are changed for each other.
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
# An animation of more pixels, all frames together, is looked at by its first frame only.
_LATER_PIXELS = 50_000_000
_LATER_TOO_MANY = N_("the frames after the first are too many or too large to be looked at")
_LOADERS = {
    "JPEG": "jpegload_buffer",
    "PNG": "pngload_buffer",
    "GIF": "gifload_buffer",
    "WEBP": "webpload_buffer",
    "TIFF": "tiffload_buffer",
    "AVIF": "heifload_buffer",
}
# In the words of libvips, libjpeg, libheif and glib.
_NO_MEMORY = re.compile(r"(?i)out of memory|insufficient memory|memory allocation|allocate memory")
_HEIC_MISSING = N_(
    "HEIC is read only with the extra `heic` installed (pip install "
    "'imagesync-pipelines[heic]'); or save the picture as JPEG"
)


@dataclass(frozen=True)
class Header:
    """What a picture says of itself: width and height as stored, of its first frame; how many frames it has.

    streams: whether it can be read a few lines at a time; else all of it is in memory at once.
    """

    kind: Kind
    width: int
    height: int
    frames: int = 1
    streams: bool = False


def calm_libvips() -> None:
    """No picture comes twice: libvips would keep the last hundred. What it raises says enough: it would log it too."""
    pyvips.cache_set_max(0)
    logging.getLogger("pyvips").setLevel(logging.CRITICAL)


def header_of(body: bytes) -> Header:
    """Read the header and decode nothing. Raises BadImageError (NO_IMAGE, BROKEN)."""
    kind = kind_of_body(body)
    if kind is None:
        raise BadImageError(
            Fault.NO_IMAGE, languages.told(f"the body is no picture of a known kind ({len(body)} bytes)")
        )
    if kind.name == "PNG" and max(struct.unpack(">II", body[16:24].ljust(8, b"\0"))) > _LONGEST_SIDE:
        raise BadImageError(Fault.TOO_LARGE, languages.told(f"a side of more than {_LONGEST_SIDE} pixels"))
    with readable():
        if _is_for_vips(body, kind):
            image = _loaded(body, kind)
            frames = image.get("n-pages") if image.get_typeof("n-pages") else _pictures_of_jpeg(body, kind)
            streams = kind.name != "GIF" and not (image.get_typeof("interlaced") and image.get("interlaced"))
            return Header(kind, image.width, image.height, int(frames), streams)
        with _by_pillow(body, kind) as picture:
            return Header(kind, *picture.size)


def decode_all(body: bytes, header: Header) -> tuple[str, str]:
    """Read every pixel of the first frame, at the least cost that reads all its bytes; nothing is kept.

    Gives what the decoder says of it without harm to the picture, and what it only warns of with harm, such as data
    that ends too early. Raises BadImageError (BROKEN) for what cannot be decoded.
    """
    with readable():
        if header.kind.name == "JPEG":
            return _jpeg_warnings(body)
        if not _is_for_vips(body, header.kind):
            with _by_pillow(body, header.kind) as picture:
                picture.load()
            return "", ""
        reduced = {"scale": 0.125} if header.kind.name == "WEBP" and _is_large(header) else {}
        try:
            _loaded(body, header.kind, access="sequential", fail_on="warning", **reduced).avg()
        except pyvips.Error as error:
            _loaded(body, header.kind, access="sequential", fail_on="error", **reduced).avg()
            return "", languages.told(f"the picture cannot be decoded whole: {_said(error)}")
    return "", ""


def _jpeg_warnings(body: bytes) -> tuple[str, str]:
    """Decode a JPEG to an eighth of its sides, which reads all its data; what is harmless, and what is not.

    libvips does not ask for the last rows' word. Raises ValueError where nothing can be decoded.
    """
    try:
        _decode_jpeg(body, strict=True)
    except ValueError as error:
        told = str(error)[:_REASON_CHARACTERS]
        extraneous = re.search(r"(\d+) extraneous bytes", told)
        is_harmless = extraneous is not None and int(extraneous[1]) <= _HARMLESS_BYTES
        if is_harmless or not re.search(r"(?i)premature end|corrupt|bogus|unsupported|not a jpeg", told):
            return told, ""
        _decode_jpeg(body, strict=False)
        return "", languages.told(f"the picture cannot be decoded whole: {told}")
    return "", ""


def _decode_jpeg(body: bytes, *, strict: bool) -> None:
    simplejpeg.decode_jpeg(body, strict=strict, min_height=1, min_width=1, min_factor=1)


def _is_large(header: Header) -> bool:
    return min(header.width, header.height) >= _WORTH_REDUCING


def of_later_frames(body: bytes, header: Header) -> str:
    """What is wrong with the frames after the first, for people, '' for nothing; what people see is the first."""
    if header.width * header.height * header.frames > _LATER_PIXELS:
        return _LATER_TOO_MANY
    try:
        with readable():
            if header.kind.name != "JPEG":
                _loaded(body, header.kind, access="sequential", fail_on="error", n=-1).avg()
                return ""
            with Image.open(io.BytesIO(body), formats=["JPEG"]) as pictures:
                for frame in range(1, header.frames):
                    pictures.seek(frame)
                    if pictures.width * pictures.height > header.width * header.height:
                        return _LATER_TOO_MANY
                    pictures.load()
    except BadImageError:
        return languages.told("the frames after the first are damaged; the first, which people see, is whole")
    return ""


def upright(body: bytes, side: int = _ANY_SIDE) -> pyvips.Image:
    """The first frame, turned as EXIF says, in sRGB, 8 bits, 3 bands or 4 with transparency, without metadata.

    side: neither side is longer; a smaller picture stays as it is. A profile that cannot be used is left out of
    account, as browsers do. Raises BadImageError.
    """
    kind = kind_of_body(body)
    if kind is None:
        raise BadImageError(
            Fault.NO_IMAGE, languages.told(f"the body is no picture of a known kind ({len(body)} bytes)")
        )
    with readable():
        try:
            return _in_srgb(body, kind, side, with_profile=True)
        except pyvips.Error:
            return _in_srgb(body, kind, side, with_profile=False)


def upright_size(body: bytes) -> tuple[int, int]:
    """Width and height of the first frame, turned as EXIF says; decodes nothing. Raises BadImageError."""
    kind = header_of(body).kind
    with readable():
        if _is_for_vips(body, kind):
            image = _loaded(body, kind).autorot()
            return image.width, image.height
        with _by_pillow(body, kind) as picture:
            size = picture.size
            is_turned = picture.getexif().get(ExifTags.Base.Orientation, 1) in _ON_ITS_SIDE
    return size[::-1] if is_turned else size


def on_white(image: pyvips.Image) -> pyvips.Image:
    """The picture without transparency: what shines through is white."""
    return image.flatten(background=[255, 255, 255]) if image.hasalpha() else image


def as_pillow(image: pyvips.Image) -> Image.Image:
    """The same 8-bit pixels as Pillow has them, for encoding and for arithmetic."""
    return Image.frombytes("RGBA" if image.bands == 4 else "RGB", (image.width, image.height), image.write_to_memory())


@contextmanager
def readable() -> Iterator[None]:
    """Whatever a decoder raises in the block becomes a BadImageError: a hostile file makes decoders raise anything."""
    try:
        yield
    except BadImageError:
        raise
    except Exception as error:  # noqa: BLE001 -- as above
        if isinstance(error, MemoryError) or _NO_MEMORY.search(str(error)):
            raise BadImageError(Fault.LIMITS, languages.told("decoding needs more memory than it may have")) from None
        raise BadImageError(Fault.BROKEN, languages.told(f"the picture cannot be decoded: {_said(error)}")) from None


def _loaded(body: bytes, kind: Kind, **options: Any) -> pyvips.Image:
    return getattr(pyvips.Image, _LOADERS[kind.name])(body, **options)


def _in_srgb(body: bytes, kind: Kind, side: int, *, with_profile: bool) -> pyvips.Image:
    profile = {"output_profile": "srgb", "intent": "perceptual"} if with_profile else {}
    scaled = {"height": side, "size": "down", "fail_on": "truncated", **profile}
    if not _is_for_vips(body, kind):
        image = _from_pillow(body, kind, side).thumbnail_image(side, **scaled)
    elif _is_plain_cmyk(_loaded(body, kind)):
        image = _naive_rgb(_loaded(body, kind, access="sequential")).thumbnail_image(side, **scaled)
    else:
        image = pyvips.Image.thumbnail_buffer(body, side, **scaled)
    image = image.colourspace("srgb")
    if image.format != "uchar":
        image = image.cast("uchar")
    # Whatever it has besides three colours and transparency is none of a picture.
    image = image.extract_band(0, n=min(image.bands, 4)) if image.bands > 4 else image
    return image.copy_memory()


def _pictures_of_jpeg(body: bytes, kind: Kind) -> int:
    """How many pictures the index of a multi-picture JPEG names, 1 for all others."""
    if kind.name != "JPEG" or b"MPF\0" not in body[:_LARGEST_PROFILE]:
        return 1
    with suppress(Exception), Image.open(io.BytesIO(body), formats=["JPEG"]) as pictures:
        return int(getattr(pictures, "n_frames", 1))
    return 2


def _is_for_vips(body: bytes, kind: Kind) -> bool:
    """Whether libvips reads it; a TIFF in CIELAB it takes for another packing of these colours."""
    if kind.name != "TIFF":
        return kind.name in _LOADERS
    with suppress(OSError), _by_pillow(body, kind) as picture:
        return picture.mode != "LAB"
    return True


def _is_plain_cmyk(image: pyvips.Image) -> bool:
    return image.interpretation == "cmyk" and not image.get_typeof("icc-profile-data")


def _naive_rgb(image: pyvips.Image) -> pyvips.Image:
    """Inks without a profile as browsers show them: each colour is what its ink and black let through."""
    colours = (255 - image.extract_band(0, n=3)) * (255 - image.extract_band(3)) / 255
    return colours.rint().cast("uchar").copy(interpretation="srgb")


def _by_pillow(body: bytes, kind: Kind) -> Image.Image:
    if kind.name == "PSD":
        _refuse_deep_psd(body)
    if kind.name == "HEIC":
        try:
            import_module("pillow_heif").register_heif_opener()
        except ImportError:
            raise BadImageError(Fault.NO_IMAGE, _HEIC_MISSING) from None
    with warnings.catch_warnings():
        # How large a picture may be is judged by its header.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(io.BytesIO(body), formats=["HEIF" if kind.name == "HEIC" else kind.name])


def _from_pillow(body: bytes, kind: Kind, side: int) -> pyvips.Image:
    with _by_pillow(body, kind) as opened:
        profile = opened.info.get("icc_profile") or b""
        ImageOps.exif_transpose(opened, in_place=True)
        # No more than twice what is wanted: each step that follows makes one more of it.
        factor = max(opened.size) // (2 * side) if opened.mode in {"L", "RGB", "CMYK"} else 1
        turned: Image.Image = opened.reduce(factor) if factor > 1 else opened
        if turned.mode == "LAB":
            source, target = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
            turned, profile = ImageCms.profileToProfile(turned, source, target, outputMode="RGB") or turned, b""
        mode = turned.mode if turned.mode in {"CMYK", "L", "RGB"} else "RGBA" if turned.has_transparency_data else "RGB"
        picture = turned.convert(mode)
    image = pyvips.Image.new_from_memory(picture.tobytes(), *picture.size, len(picture.getbands()), "uchar")
    image = image.copy(interpretation={"CMYK": "cmyk", "L": "b-w"}.get(mode, "srgb"))
    if 0 < len(profile) <= _LARGEST_PROFILE:
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    return _naive_rgb(image) if _is_plain_cmyk(image) else image


def _refuse_deep_psd(body: bytes) -> None:
    """Raise BadImageError with the true reason for a PSD that Pillow takes for no picture."""
    with suppress(struct.error):
        (bits,) = struct.unpack_from(">H", body, 22)
        if bits in {16, 32}:
            told = languages.told(f"a PSD of {bits} bits a channel is not read; save it with 8 bits, or as TIFF or PNG")
            raise BadImageError(Fault.NO_IMAGE, told)


def _said(error: Exception) -> str:
    """What a decoder said, in one line, without the names of its functions."""
    lines = [re.sub(r"^[A-Za-z0-9_]+: ", "", line.strip()) for line in str(error).splitlines()]
    told = [line for line in lines if line and not line.startswith(("unable to call", "source:"))]
    return "; ".join(dict.fromkeys(told))[:_REASON_CHARACTERS] or type(error).__name__
