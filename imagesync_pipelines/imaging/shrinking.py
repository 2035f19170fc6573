"""A picture made smaller than a number of bytes, as a JPEG.

The same body and limit give the same bytes.
"""

import io

from PIL import Image, ImageOps

from imagesync_pipelines.imaging.validation import FORMATS

_QUALITIES = (90, 80, 70)
_SHRINK = 0.8
_LEAST_SIDE = 64


class CannotShrinkError(Exception):
    """A picture cannot be made so small without becoming useless."""


def shrink(body: bytes, most_bytes: int) -> bytes:
    """A JPEG of at most so many bytes of a picture that was validated before; what is transparent becomes white.

    First its quality is lowered, then its sides. Raises CannotShrinkError, and OSError for what is no picture.
    """
    with Image.open(io.BytesIO(body), formats=FORMATS) as opened:
        picture = _flat(ImageOps.exif_transpose(opened))
    while min(picture.size) >= _LEAST_SIDE:
        for quality in _QUALITIES:
            made = io.BytesIO()
            picture.save(made, "JPEG", quality=quality, optimize=True)
            if made.tell() <= most_bytes:
                return made.getvalue()
        width, height = picture.size
        picture = picture.resize((round(width * _SHRINK), round(height * _SHRINK)), Image.Resampling.LANCZOS)
    raise CannotShrinkError(f"the picture cannot be made smaller than {most_bytes} bytes")


def _flat(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
