"""What is known of a picture that was decoded whole; light, because the children that decode pictures load it too."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureFacts:
    """Format in the words of Pillow, width and height in pixels (of the first frame), the SHA-256 of its bytes."""

    format: str
    width: int
    height: int
    sha256: str
