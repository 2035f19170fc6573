"""Pictures of the stand-ins as files."""

from io import BytesIO
from typing import Any

from PIL import Image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file of a kind that Pillow knows (`JPEG`, `PNG` …), with its options of saving."""
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
