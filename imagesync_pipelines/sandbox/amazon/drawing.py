"""Drawing the pictures: patchwork cushions on white, as real image files in any size that the tokens ask for.

What belongs here: bytes of a picture for a set of tokens (contract section 4). What does not: which id is which.
"""

import re
from dataclasses import dataclass, replace
from io import BytesIO
from random import Random

from PIL import Image, ImageDraw

from imagesync_pipelines.sandbox.amazon.pictures import Background, Picture, fitted

PATCHES = 7
FILL = 0.93  # of each side: the product fills 86 % of the frame
QUALITY = 90
WHITE, GREY = (255, 255, 255), (214, 214, 214)
_TOKEN = re.compile(r"(?P<name>[A-Z]{2,}?)(?P<value>\d+(?:,\d+)*|[a-z]+)?")


@dataclass(frozen=True)
class Rendition:
    """What the tokens ask for: the size of the picture, a square frame around it, a crop, the quality and format."""

    width: int
    height: int
    square: int | None = None
    crop: tuple[int, int, int, int] | None = None
    quality: int = QUALITY
    format: str = "JPEG"


def rendition(picture: Picture, tokens: str) -> Rendition:
    """Read the tokens of a name (`AC_SL1500`); sizes above the original's and tokens of other kinds change nothing."""
    usual = "PNG" if picture.extension == "png" else "JPEG"
    made = Rendition(picture.width, picture.height, format=usual)
    for token in filter(None, tokens.split("_")):
        found = _TOKEN.fullmatch(token)
        if found is not None and found["value"] is not None:
            made = _with_token(made, found["name"], found["value"])
    return made


def draw(picture: Picture, tokens: str = "") -> tuple[bytes, str]:
    """The file of a picture and its media type: the same bytes for the same picture and tokens, always."""
    wanted = rendition(picture, tokens)
    image = _cushion(picture, wanted.width, wanted.height)
    if wanted.square is not None:
        frame = Image.new("RGB", (wanted.square, wanted.square), WHITE)
        frame.paste(image, ((wanted.square - image.width) // 2, (wanted.square - image.height) // 2))
        image = frame
    if wanted.crop is not None:
        left, top, width, height = wanted.crop
        right, bottom = min(image.width, left + width), min(image.height, top + height)
        if left < right and top < bottom:
            image = image.crop((left, top, right, bottom))
    file = BytesIO()
    image.save(file, wanted.format, quality=wanted.quality)
    content = file.getvalue()
    if picture.undecodable:
        # The head says what it should, the second half of the entropy data is missing.
        content = content[: len(content) // 2]
    return content, f"image/{wanted.format.lower()}"


def _with_token(made: Rendition, name: str, value: str) -> Rendition:
    """The rendition with one more token."""
    if name == "FM":
        return replace(made, format={"webp": "WEBP", "png": "PNG"}.get(value, made.format))
    if not value[0].isdigit():
        return made
    numbers = [int(number) for number in value.split(",")]
    box = _box(name, numbers)
    if box is not None:
        width, height = fitted(made.width, made.height, *box)
        square = min(numbers[0], max(made.width, made.height)) if name in ("SS", "US") else made.square
        return replace(made, width=width, height=height, square=square)
    if name == "QL":
        return replace(made, quality=max(1, min(100, numbers[0])))
    if name == "CR" and len(numbers) == 4 and min(numbers[2:]) > 0:
        return replace(made, crop=(numbers[0], numbers[1], numbers[2], numbers[3]))
    return made


def _box(name: str, numbers: list[int]) -> tuple[int, int] | None:
    """The box that a size token names, None for other tokens and for a size of nothing."""
    if min(numbers) < 1:
        return None
    anything = 1_000_000
    if name in ("SL", "UL", "SS", "US"):
        return numbers[0], numbers[0]
    if name in ("SX", "UX"):
        return numbers[0], anything
    if name in ("SY", "UY"):
        return anything, numbers[0]
    if name in ("UF", "SR") and len(numbers) == 2:
        return numbers[0], numbers[1]
    return None


def _cushion(picture: Picture, width: int, height: int) -> Image.Image:
    """A patchwork whose patches come from the look alone: every size of a picture shows the same."""
    rng = Random(f"look/{picture.look}")  # noqa: S311 - colours, no secret
    behind = GREY if picture.background is Background.GREY else WHITE
    image = Image.new("RGB", (width, height), behind)
    pen = ImageDraw.Draw(image)
    wide, high = width * FILL, height * FILL
    left, top = (width - wide) / 2, (height - high) / 2
    for row in range(PATCHES):
        for column in range(PATCHES):
            light = rng.randrange(20, 236)
            colour = tuple(min(255, max(0, light + rng.randrange(-40, 41) + picture.shade)) for _ in range(3))
            corner = (left + wide * column / PATCHES, top + high * row / PATCHES)
            opposite = (left + wide * (column + 1) / PATCHES - 1, top + high * (row + 1) / PATCHES - 1)
            # At the smallest sizes a patch is less than a pixel wide.
            pen.rectangle((*corner, max(corner[0], opposite[0]), max(corner[1], opposite[1])), fill=colour)
    return image
