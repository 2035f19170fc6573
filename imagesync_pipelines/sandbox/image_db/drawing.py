"""Drawing the pictures: a figurine with its article number, in the colours of its record, as real image files.

What belongs here: bytes of PNG, JPEG, TIFF and PSD of a wanted pixel size. What does not: which URL shows what.
"""

import colorsys
import struct
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont

from imagesync_pipelines.sandbox.image_db.pictures import Picture

BACKGROUND, BODY, DETAIL, INK = range(4)
QUALITY = {"jpg_k": 60, "jpg_g": 90}
PSD_RUN = 128


def draw(picture: Picture) -> tuple[bytes, str]:
    """The file of one picture and its media type; small because the areas are flat."""
    if picture.kind == "psd":
        return _psd(picture), "image/vnd.adobe.photoshop"
    image = _figurine(picture)
    file = BytesIO()
    if picture.kind == "png":
        image.save(file, "PNG")
        return file.getvalue(), "image/png"
    if picture.kind == "tiff":
        image.save(file, "TIFF", compression="tiff_lzw")
        return file.getvalue(), "image/tiff"
    image.convert("RGB").save(file, "JPEG", quality=QUALITY.get(picture.kind, 80))
    return file.getvalue(), "image/jpeg"


def _palette(picture: Picture) -> list[tuple[int, int, int]]:
    """Background, body, detail and ink: hues spread by the golden ratio, so that neighbours differ."""
    hue = picture.colours * 0.618034 % 1
    shades = ((hue, 0.12, 0.96), (hue, 0.62, 0.72), ((hue + 0.4) % 1, 0.55, 0.85), (hue, 0.6, 0.2))
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(*shade)) for shade in shades]  # type: ignore[misc]


def _figurine(picture: Picture) -> Image.Image:
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
    if picture.colours % 2:
        pen.polygon(
            [
                (middle - 11 * unit, foot - 58 * unit),
                (middle, foot - 76 * unit),
                (middle + 11 * unit, foot - 58 * unit),
            ],
            fill=INK,
        )
    else:
        pen.rectangle(across(-6, -72, 6, -59), fill=INK)
    arm = 14 + picture.colours % 5 * 2
    pen.line(across(0, -34, arm, -44 + picture.colours % 11), fill=DETAIL, width=max(1, round(4 * unit)))
    pen.ellipse(across(arm - 4, -48 + picture.colours % 11, arm + 4, -40 + picture.colours % 11), fill=DETAIL)
    font = ImageFont.load_default(max(8, round(9 * unit)))
    pen.text((middle, foot + 14 * unit), picture.label, fill=INK, font=font, anchor="mm")
    return image


def _psd(picture: Picture) -> bytes:
    """A flattened RGB Photoshop file without layers: a band of the body colour on the background, run-length coded."""
    background, body = _palette(picture)[:2]
    width, height = picture.width, picture.height
    band = range(height // 3, 2 * height // 3)
    header = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, height, width, 8, 3)
    no_sections = struct.pack(">III", 0, 0, 0)
    counts, rows = [], []
    for channel in range(3):
        plain, coloured = _psd_row(width, background[channel]), _psd_row(width, body[channel])
        for line in range(height):
            row = coloured if line in band else plain
            counts.append(len(row))
            rows.append(row)
    return header + no_sections + struct.pack(">H", 1) + struct.pack(f">{len(counts)}H", *counts) + b"".join(rows)


def _psd_row(width: int, value: int) -> bytes:
    """One line of one value in PackBits: runs of up to 128 pixels."""
    whole, rest = divmod(width, PSD_RUN)
    runs = [PSD_RUN] * whole + ([rest] if rest else [])
    return b"".join(bytes(((257 - length) % 256, value)) for length in runs)
