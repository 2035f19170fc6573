"""Whether a body is a whole picture: every byte of what people see is decoded before it is shown or stored anywhere.

A full decode finds what is cut, and the decoder's own warnings most of what was altered inside a JPEG; what neither
finds is found by a checksum only, which the caller has to know.
"""

import hashlib
import json
import zlib
from dataclasses import dataclass

from imagesync_pipelines import languages
from imagesync_pipelines.imaging.decoding import DecodeLimits, decode
from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.kinds import KINDS, fits, label_of
from imagesync_pipelines.imaging.pixels import Header, decode_all, header_of, of_later_frames
from imagesync_pipelines.languages import N_
from imagesync_pipelines.storage.facts import PictureFacts

__all__ = ["BadImageError", "DecodeLimits", "Fault", "ImageFacts", "check_image"]

AS_LISTED = N_("as listed")
_PNG_START = 8
# Of a PNG, which say what people see: a wrong checksum in one of the others is told and no more.
_SEEN_CHUNKS = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"})
# Inside a scan this marker cannot occur: a byte FF of the data is followed by 00.
_JPEG_END = b"\xff\xd9"
# Behind the trailer of a GIF some programs write a line end or zeros.
_GIF_TAIL = 16


@dataclass(frozen=True)
class ImageFacts(PictureFacts):
    """What a full decode found. frames: how many there are.

    notes: what is wrong with the file without harm to the picture, for people. damage: what is, '' for nothing; a
    picture that its source has so is shown as far as it can be read.
    """

    frames: int
    notes: tuple[str, ...] = ()
    damage: str = ""


def check_image(
    body: bytes, *, content_type: str = "", limits: DecodeLimits | None = None, is_as_listed: bool = False
) -> ImageFacts:
    """Decode a picture whole and say what it is, or raise BadImageError.

    content_type is what the sender claims; a claim that says nothing (octet-stream, image/*) is not held against it.
    is_as_listed: a checksum of the source says that these are its bytes; what decoders only warn of is then in the
    source's own picture, and is told as its damage.
    TIFF, PSD, AVIF, HEIC, BMP and everything over here_pixels is decoded in a child process under limits.
    """
    if not body:
        raise BadImageError(Fault.EMPTY, languages.told("the body is empty"))
    _refuse_markup(body)
    answer = json.loads(decode("check", body, limits or DecodeLimits(), *([AS_LISTED] if is_as_listed else [])))
    facts = ImageFacts(**{**answer, "notes": tuple(answer["notes"])}, sha256=hashlib.sha256(body).hexdigest())
    check_label(facts.format, content_type)
    return facts


def check_label(name: str, content_type: str) -> None:
    """Raise BadImageError when a sender claims that a picture of this format is another one."""
    label = label_of(content_type)
    if not fits(label, KINDS[name]):
        raise BadImageError(Fault.MISLABELLED, languages.told(f"the body is {name} but is labelled {label[:80]}"))


def checked(body: bytes, as_listed: str = "", header: Header | None = None) -> bytes:
    """The check itself, in whatever process: what ImageFacts has, without the hash, as JSON. Raises BadImageError.

    header: of this body, where it was read already.
    """
    header, notes = header or header_of(body), list[str]()
    name = header.kind.name
    if name == "PNG":
        notes += _check_chunks(body)
    note, damage = decode_all(body, header)
    has_no_end = (name == "GIF" and not body[-_GIF_TAIL:].rstrip(b"\0\r\n\t ").endswith(b";")) or (
        name == "JPEG" and body.find(_JPEG_END, _scan_of_jpeg(body)) < 0
    )
    damage = damage or (languages.told(f"the end of the {name} is missing") if has_no_end else "")
    if damage and not as_listed:
        raise BadImageError(Fault.BROKEN, damage)
    notes += filter(None, [note, of_later_frames(body, header) if header.frames > 1 else ""])
    seen = {"format": name, "width": header.width, "height": header.height, "frames": header.frames}
    return json.dumps({**seen, "notes": notes, "damage": damage}).encode()


def _refuse_markup(body: bytes) -> None:
    start = body[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<"):
        name = "SVG" if b"<svg" in start else "HTML" if b"<html" in start or b"<!doctype html" in start else "XML"
        raise BadImageError(Fault.MARKUP, languages.told(f"the body is {name}, which is not accepted as a picture"))


def _check_chunks(body: bytes) -> list[str]:
    """Look at the checksums of a PNG and at its last chunk; gives what is wrong beside what people see."""
    notes, place = [], _PNG_START
    while place < len(body):
        length, name = int.from_bytes(body[place : place + 4], "big"), body[place + 4 : place + 8]
        end = place + 12 + length
        if end > len(body):
            break
        if zlib.crc32(body[place + 4 : end - 4]) != int.from_bytes(body[end - 4 : end], "big"):
            told = name.decode("latin-1") if name.isalpha() else "unknown"
            # A chunk of a small first letter need not be understood; so many say nothing of what is seen.
            if name in _SEEN_CHUNKS or not name.isalpha() or name[:1].isupper():
                raise BadImageError(Fault.BROKEN, languages.told(f"a checksum inside the PNG is wrong (chunk {told})"))
            notes.append(languages.told(f"the checksum of the chunk {told} is wrong; it was left out of account"))
        if name == b"IEND":
            return notes
        place = end
    raise BadImageError(Fault.BROKEN, languages.told("the end of the PNG is missing"))


def _scan_of_jpeg(body: bytes) -> int:
    """Where the first scan of a JPEG begins; what is before it may hold a whole small JPEG with an end of its own."""
    place = 2
    while body[place : place + 1] == b"\xff" and body[place + 1 : place + 2] != b"\xda":
        length = int.from_bytes(body[place + 2 : place + 4], "big")
        place += 1 if body[place + 1 : place + 2] == b"\xff" else 2 + length
    return place
