"""What is known of a picture that was decoded whole; light, because the children that decode pictures load it too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureFacts:
    """Format in the words of Pillow, width and height in pixels (of the first frame), the SHA-256 of its bytes."""

    format: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True)
class Measures:
    """What was measured of a picture, of its first frame, upright; see docs/quality.md for how, and how sure.

    width, height: pixels. white_background: share of the background that is pure white (255, 255, 255), 0 to 1. fill:
    share of the frame that the product takes along the side where it takes more, 0 where none is seen. touched_sides:
    those that the product touches, of left, top, right, bottom. sharpness: 0, blurred, to 1. transparent: share of
    points that are not opaque. hash: perceptual, 64 bits. words: text that was read in it; None: nobody looked for any.
    signature: tells whether two pictures are the same one (imaging/signatures.py); empty: not known.
    """

    sha256: str
    format: str
    width: int
    height: int
    white_background: float
    fill: float
    touched_sides: tuple[str, ...]
    sharpness: float
    transparent: float
    hash: int
    words: tuple[str, ...] | None = None
    signature: bytes = b""
