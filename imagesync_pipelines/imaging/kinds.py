"""Which kinds of pictures are read: told from their first bytes, with the labels that fit and how each is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """One kind of picture. labels: media types that fit it. apart: it is decoded in a child whatever its size."""

    name: str
    labels: tuple[str, ...]
    apart: bool = False


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("JPEG", ("image/jpeg", "image/jpg", "image/pjpeg", "image/jfif", "image/mpo")),
        Kind("PNG", ("image/png", "image/x-png", "image/apng")),
        Kind("GIF", ("image/gif",)),
        Kind("WEBP", ("image/webp",)),
        Kind("BMP", ("image/bmp", "image/x-bmp", "image/x-ms-bmp"), apart=True),
        Kind("TIFF", ("image/tiff", "image/x-tiff"), apart=True),
        Kind(
            "PSD",
            ("image/vnd.adobe.photoshop", "image/x-photoshop", "image/psd", "image/x-psd", "application/x-photoshop"),
            apart=True,
        ),
        Kind("AVIF", ("image/avif",), apart=True),
        Kind("HEIC", ("image/heic", "image/heif"), apart=True),
    )
}
# A label that says nothing, or only that it is a picture, is not held against the bytes.
NO_LABEL = frozenset(
    {
        "", "application/octet-stream", "binary/octet-stream", "application/x-download", "application/x-octet-stream",
        "image/*",
    }
)  # fmt: skip
_STARTS = (
    (b"\xff\xd8\xff", "JPEG"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"GIF87a", "GIF"), (b"GIF89a", "GIF"), (b"BM", "BMP"),
    (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"II+\0", "TIFF"), (b"MM\0+", "TIFF"), (b"8BPS", "PSD"),
)  # fmt: skip
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})


def kind_of_body(body: bytes) -> Kind | None:
    """The kind that the first bytes tell; None for all others."""
    for start, name in _STARTS:
        if body.startswith(start):
            return KINDS[name]
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return KINDS["WEBP"]
    if body[4:8] == b"ftyp":
        # A file names the standard it is made for, then those it keeps to; mif1 and msf1 say only that it is of HEIF.
        size = min(int.from_bytes(body[:4], "big"), 256)
        brands = {body[8:12], *(body[place : place + 4] for place in range(16, size, 4))}
        if brands & _AVIF_BRANDS:
            return KINDS["AVIF"]
        if brands & _HEIC_BRANDS:
            return KINDS["HEIC"]
    return None


def label_of(content_type: str) -> str:
    """The media type without its parameters and quotes, in small letters."""
    return content_type.split(";")[0].strip().strip("\"'").strip().lower()


def fits(label: str, kind: Kind) -> bool:
    """Whether a media type (as label_of gives it) does not contradict the kind of a body."""
    return label in NO_LABEL or label in kind.labels
