"""Which picture a media URL shows, read from a record, odd ones too; and drawing it as a real image file."""

import colorsys
import struct
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from imagesync_pipelines.sandbox.answers import encoded
from imagesync_pipelines.sandbox.image_db.records import MEDIA_ROOT

LONGEST_SIDE = 8000
UNKNOWN_SIZE = (1500, 2000)


class MediaPicture(NamedTuple):
    """What a media URL shows: what is written on it, whose colours it has, which kind of file, how many pixels."""

    label: str
    colours: int
    kind: str
    width: int
    height: int


def file_id_of(record: object) -> int | None:
    """The file_id when it is a whole number, else None."""
    file_id = _object(_object(record).get("original_file")).get("file_id")
    return file_id if type(file_id) is int else None


def pictures_of(record: object) -> dict[str, MediaPicture]:
    """The media files of one record by name; whatever is malformed shows nothing.

    The original has the pixels of the TIFF, because the TIFF is full size.
    """
    whole = _object(record)
    label, colours = _label(whole), file_id_of(record) or 0
    pictures: dict[str, MediaPicture] = {}
    full = UNKNOWN_SIZE
    exports = whole.get("exported_files")
    for export in map(_object, exports if isinstance(exports, list) else []):
        name, size = _name(export.get("image_url")), _size(export.get("resolution"))
        if name is None or size is None:
            continue
        kind = str(export.get("type"))
        pictures[name] = MediaPicture(label, colours, kind, *size)
        if kind == "tiff":
            full = size
    original = _object(whole.get("original_file"))
    name = _name(original.get("file_url"))
    if name is not None:
        pictures[name] = MediaPicture(label, colours, str(original.get("format")), *full)
    return pictures


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _name(url: object) -> str | None:
    return url.removeprefix(MEDIA_ROOT) if isinstance(url, str) and url.startswith(MEDIA_ROOT) else None


def _size(value: object) -> tuple[int, int] | None:
    if not (isinstance(value, list) and len(value) == 2):
        return None
    width, height = value
    if type(width) is int and type(height) is int and min(width, height) > 0 and max(width, height) <= LONGEST_SIDE:
        return width, height
    return None


def _label(record: dict[str, Any]) -> str:
    """What is written on the picture: the first article's number, else the file_id."""
    links = record.get("articles")
    number = _object(links[0]).get("number") if isinstance(links, list) and links else None
    return str(number or f"Nr. {file_id_of(record)}")[:40]


BACKGROUND, BODY, DETAIL, INK = range(4)
QUALITY = {"jpg_k": 60, "jpg_g": 90}
PSD_RUN = 128


def draw(picture: MediaPicture) -> tuple[bytes, str]:
    """The file of one picture and its media type; small because the areas are flat."""
    if picture.kind == "psd":
        return _psd(picture), "image/vnd.adobe.photoshop"
    image = _figurine(picture)
    if picture.kind == "png":
        return encoded(image, "PNG"), "image/png"
    if picture.kind == "tiff":
        return encoded(image, "TIFF", compression="tiff_lzw"), "image/tiff"
    return encoded(image.convert("RGB"), "JPEG", quality=QUALITY.get(picture.kind, 80)), "image/jpeg"


def _palette(picture: MediaPicture) -> list[tuple[int, int, int]]:
    """Background, body, detail and ink: hues spread by the golden ratio, so that neighbours differ."""
    hue = picture.colours * 0.618034 % 1
    shades = ((hue, 0.12, 0.96), (hue, 0.62, 0.72), ((hue + 0.4) % 1, 0.55, 0.85), (hue, 0.6, 0.2))
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*shade)) for shade in shades]  # type: ignore[misc]


def _figurine(picture: MediaPicture) -> Image.Image:
    """A figure on a stand, one byte per pixel, so that the largest TIFF needs 35 MB and not 105."""
    width, height = picture.width, picture.height
    image = Image.new("P", (width, height), BACKGROUND)
    image.putpalette([part for colour in _palette(picture) for part in colour])
    pen = ImageDraw.Draw(image)
    unit, middle = min(width, height) / 100, width / 2
    foot = height / 2 + 28 * unit

    def across(left: float, top: float, right: float, bottom: float) -> tuple[float, float, float, float]:
        return middle + left * unit, foot + top * unit, middle + right * unit, foot + bottom * unit

    pen.rounded_rectangle(across(-26, 0, 26, 6), radius=2 * unit, fill=INK)
    skirt = 10 + picture.colours % 9
    pen.polygon([(middle - skirt * unit, foot), (middle, foot - 46 * unit), (middle + skirt * unit, foot)], fill=BODY)
    pen.ellipse(across(-8, -62, 8, -46), fill=DETAIL)
    brim = 11 if picture.colours % 2 else 6
    pen.rectangle(across(-brim, -72, brim, -59), fill=INK)
    arm = 14 + picture.colours % 5 * 2
    pen.line(across(0, -34, arm, -44 + picture.colours % 11), fill=DETAIL, width=max(1, round(4 * unit)))
    pen.ellipse(across(arm - 4, -48 + picture.colours % 11, arm + 4, -40 + picture.colours % 11), fill=DETAIL)
    font = ImageFont.load_default(max(8, round(9 * unit)))
    pen.text((middle, foot + 14 * unit), picture.label, fill=INK, font=font, anchor="mm")
    return image


def _psd(picture: MediaPicture) -> bytes:
    """A flattened RGB Photoshop file without layers: a band of the body colour on the background, run-length coded."""
    width, height = picture.width, picture.height
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3)
    no_sections = struct.pack(">III", 0, 0, 0)
    rows: list[bytes] = []
    for background, body in zip(*_palette(picture)[:2], strict=True):
        plain, coloured = _psd_row(width, background), _psd_row(width, body)
        rows += [coloured if height // 3 <= line < 2 * height // 3 else plain for line in range(height)]
    counts = struct.pack(f">{len(rows)}H", *map(len, rows))
    return header + no_sections + struct.pack(">H", 1) + counts + b"".join(rows)


def _psd_row(width: int, value: int) -> bytes:
    """One line of one value in PackBits: runs of up to 128 pixels."""
    whole, rest = divmod(width, PSD_RUN)
    runs = [PSD_RUN] * whole + ([rest] if rest else [])
    return b"".join(bytes(((257 - length) % 256, value)) for length in runs)
