"""Drawing the pictures of the made-up catalogue: small, real JPEG and PNG files, the same ones for the same words.

What belongs here: bytes of one picture. What does not: which entity shows it (making.py).
"""

import colorsys
from io import BytesIO
from math import ceil, sqrt
from random import Random

from PIL import Image, ImageDraw

SIDE, QUALITY = 120, 85
_HUE_STEP = 0.618034


def jpeg(words: str, side: int = SIDE) -> bytes:
    """A picture as a JPEG file; other words give other bytes."""
    return _saved(_cushion(words, side), "JPEG")


def png(words: str, side: int = SIDE) -> bytes:
    """The same as a PNG file."""
    return _saved(_cushion(words, side), "PNG")


def noisy(words: str, size: int) -> bytes:
    """A PNG file of at least so many bytes, and hardly more: noise cannot be made smaller."""
    side = ceil(sqrt(size / 3))
    noise = Random(words).randbytes(side * side * 3)  # noqa: S311 - made-up pixels
    return _saved(Image.frombytes("RGB", (side, side), noise), "PNG")


def _cushion(words: str, side: int) -> Image.Image:
    """Four patches on a light ground, in colours and places of the words' own."""
    dice = Random(words)  # noqa: S311 - made-up pictures
    picture = Image.new("RGB", (side, side), (250, 248, 244))
    pen, hue, inset = ImageDraw.Draw(picture), dice.random(), side // 10
    across, down = dice.randrange(side // 3, side * 2 // 3), dice.randrange(side // 3, side * 2 // 3)
    corners = ((inset, inset, across, down), (across, inset, side - inset, down))
    below = ((inset, down, across, side - inset), (across, down, side - inset, side - inset))
    for nth, box in enumerate((*corners, *below)):
        shade = colorsys.hsv_to_rgb((hue + nth * _HUE_STEP) % 1, 0.25 + dice.random() / 2, 0.55 + dice.random() / 3)
        pen.rectangle(box, fill=tuple(round(255 * part) for part in shade))
    return picture


def _saved(picture: Image.Image, kind: str) -> bytes:
    file = BytesIO()
    picture.save(file, kind, quality=QUALITY)
    return file.getvalue()
