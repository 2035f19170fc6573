"""The photos of the sandbox's head office: real files, made from a seed, each with bytes of its own.

Encoding is what costs, so a few dozen pictures are drawn per seed and kept; a photo is one of them with its own label
in a comment of the file. So two photos never have the same checksum, and a thousand of them take a second.
"""

import struct
import zlib
from functools import cache, lru_cache
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

from imagesync_pipelines.sandbox.answers import encoded

JPEG, PNG, WEBP = "jpg", "png", "webp"
CONTENT_TYPES = {JPEG: "image/jpeg", PNG: "image/png", WEBP: "image/webp"}
PICTURES_KEPT = 24
# Pixels of one side; with blocks of 8 pixels a JPEG of quality 85 has about 0.18 bytes per pixel.
JPEG_SIDES = (500, 520, 560, 600, 640, 720, 820, 960, 1200, 1600)
PNG_SIDES = (480, 640, 900)
WEBP_SIDES = (540, 640, 800)
BLOCK, PNG_BLOCK = 8, 4
BOMB_SIDE = 14_000


class PhotoFile(NamedTuple):
    """One file: its bytes, what it says it is, and the ending of its name."""

    content: bytes
    content_type: str
    extension: str


def kind_of(number: int) -> str:
    """Which kind the nth photo is: of fifty, two are PNG, one is WebP, all others are JPEG."""
    return {7: WEBP, 20: PNG, 40: PNG}.get(number % 50, JPEG)


def make_photo(seed: int, label: str, kind: str = JPEG) -> PhotoFile:
    """The photo of this seed and label; another label gives other bytes and nearly always another picture."""
    chosen = Random(f"{seed}/{label}")
    picture = _picture(seed, kind, chosen.randrange(PICTURES_KEPT))
    return PhotoFile(_labelled(picture, kind, f"{seed}/{label}".encode()), CONTENT_TYPES[kind], kind)


@cache
def bomb() -> bytes:
    """A PNG of a few KB that wants 196 megapixels when it is decoded; two colours are made soonest."""
    return encoded(Image.new("1", (BOMB_SIDE, BOMB_SIDE)), "PNG", compress_level=9)


@lru_cache(maxsize=256)
def _picture(seed: int, kind: str, nth: int) -> bytes:
    """A dish on a table of coloured blocks, encoded once."""
    rng = Random(f"{seed}/{kind}/{nth}")
    sides, block = {JPEG: (JPEG_SIDES, BLOCK), PNG: (PNG_SIDES, PNG_BLOCK), WEBP: (WEBP_SIDES, BLOCK)}[kind]
    side = sides[nth % len(sides)]
    blocks = side // block
    noise = Image.frombytes("RGB", (blocks, blocks), rng.randbytes(3 * blocks * blocks))
    image = noise.resize((side, side), Image.Resampling.NEAREST if kind == PNG else Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(image)
    for share in (0.30, 0.24, 0.12):
        edge = round(side * (0.5 - share))
        pen.ellipse((edge, edge, side - edge, side - edge), fill=(rng.randrange(256), rng.randrange(256), 200))
    if kind == JPEG:
        return encoded(image, "JPEG", quality=85)
    if kind == PNG:
        return encoded(image, "PNG", compress_level=1)
    # With a profile the file gets the extended form of WebP, to which chunks may be added.
    return encoded(image, "WEBP", quality=80, method=0, exif=b"Exif\0\0")


def _labelled(picture: bytes, kind: str, label: bytes) -> bytes:
    """The same picture with a label in the file's own kind of comment."""
    if kind == JPEG:
        return picture[:2] + b"\xff\xfe" + struct.pack(">H", len(label) + 2) + label + picture[2:]
    if kind == PNG:
        chunk = b"tEXtComment\0" + label
        behind_header = len(b"\x89PNG\r\n\x1a\n") + 25
        comment = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        return picture[:behind_header] + comment + picture[behind_header:]
    padded = label + b" " * (len(label) % 2)
    whole = picture + b"NOTE" + struct.pack("<I", len(padded)) + padded
    return whole[:4] + struct.pack("<I", len(whole) - 8) + whole[8:]
