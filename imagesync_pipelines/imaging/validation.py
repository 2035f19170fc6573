"""Whether a body is a whole picture: every byte of it is decoded before it is shown or stored anywhere.

A full decode finds what is cut; a byte that was altered inside a JPEG is found by a checksum only, which the caller
has to know. What is large or risky is decoded in a child process with limits, which gets the body on stdin, nothing of
our environment, and answers on stdout.
"""

import hashlib
import io
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum

from PIL import Image, UnidentifiedImageError

from imagesync_pipelines.storage.facts import PictureFacts

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PSD")
_LABELS: Mapping[str, tuple[str, ...]] = {
    "JPEG": ("image/jpeg", "image/jpg", "image/pjpeg"),
    "PNG": ("image/png", "image/x-png"),
    "GIF": ("image/gif",),
    "WEBP": ("image/webp",),
    "BMP": ("image/bmp", "image/x-bmp", "image/x-ms-bmp"),
    "TIFF": ("image/tiff", "image/x-tiff"),
    "PSD": ("image/vnd.adobe.photoshop", "image/x-photoshop", "image/psd", "image/x-psd", "application/x-photoshop"),
}
_NO_LABEL = ("", "application/octet-stream", "binary/octet-stream", "application/x-download")
# Inside a scan this marker cannot occur: a byte FF of the data is followed by 00.
_JPEG_END = b"\xff\xd9"
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"  # a chunk of length 0, its name, its checksum


class Fault(StrEnum):
    """What is wrong with a body that is no good picture."""

    EMPTY = "empty"
    NO_IMAGE = "no image"
    MARKUP = "markup"
    BROKEN = "broken"
    TOO_LARGE = "too large"
    LIMITS = "over the limits"
    MISLABELLED = "mislabelled"


class BadImageError(Exception):
    """A body that is not accepted as a picture: `fault` is the kind, `reason` one line for people."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault


@dataclass(frozen=True)
class ImageFacts(PictureFacts):
    """What a full decode found."""

    frames: int
    mode: str


@dataclass(frozen=True)
class DecodeLimits:
    """How far decoding may go; here_pixels is the most that is decoded in this process, all frames together.

    max_pixels is for one frame. child_memory is in bytes, child_cpu and child_seconds (of the clock) in seconds.
    """

    here_pixels: int = 20_000_000
    max_pixels: int = 150_000_000
    child_memory: int = 2 * 1024**3
    child_cpu: int = 30
    child_seconds: float = 60.0


def check_image(body: bytes, *, content_type: str = "", limits: DecodeLimits | None = None) -> ImageFacts:
    """Decode a picture whole and say what it is, or raise BadImageError.

    content_type is what the sender claims; a claim that says nothing (octet-stream) is not held against it. TIFF, PSD,
    WebP and everything over here_pixels is decoded in a child process under limits.
    """
    limits = limits or DecodeLimits()
    if not body:
        raise BadImageError(Fault.EMPTY, "the body is empty")
    sha256 = hashlib.sha256(body).hexdigest()
    _refuse_markup(body)
    facts = None if _is_risky(body) else _decode(body, sha256, limits.max_pixels, limits.here_pixels)
    if facts is None:
        answer = json.loads(run_limited(__spec__.name, [sha256], body, limits))
        if "fault" in answer:
            raise BadImageError(Fault(answer["fault"]), str(answer["reason"]))
        facts = ImageFacts(**answer)
    label = content_type.split(";")[0].strip().lower()
    if label not in _NO_LABEL and label not in _LABELS[facts.format]:
        raise BadImageError(Fault.MISLABELLED, f"the body is {facts.format} but is labelled {label[:80]}")
    return facts


def _refuse_markup(body: bytes) -> None:
    start = body[:4096].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if start.startswith(b"<"):
        name = "SVG" if b"<svg" in start else "HTML" if b"<html" in start or b"<!doctype html" in start else "XML"
        raise BadImageError(Fault.MARKUP, f"the body is {name}, which is not accepted as a picture")


def _is_risky(body: bytes) -> bool:
    """Whether a body is decoded in a child whatever its size.

    TIFF and PSD have the largest decoders; WebP takes memory for the whole canvas before its size can be judged.
    """
    return body[:4] in {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"8BPS"} or body[:4] + body[8:12] == b"RIFFWEBP"


def _decode(body: bytes, sha256: str, max_pixels: int, here_pixels: int | None) -> ImageFacts | None:
    """Decode every frame; None when that is more than here_pixels (None: no such limit). Raises BadImageError."""
    try:
        with Image.open(io.BytesIO(body), formats=FORMATS) as image:
            # MPO is what Pillow calls a JPEG that is followed by further pictures.
            name = "JPEG" if image.format == "MPO" else str(image.format)
            width, height = image.size
            if width * height > max_pixels:
                raise BadImageError(Fault.TOO_LARGE, f"{width} x {height} pixels; {max_pixels} pixels are allowed")
            # Pillow counts the layers of a PSD; the composite, which ends the file, is what is looked at.
            frames = 1 if name == "PSD" else int(getattr(image, "n_frames", 1))
            if here_pixels is not None and width * height * frames > here_pixels:
                return None
            facts = ImageFacts(name, width, height, sha256, frames, image.mode)
            if image.format == "JPEG":
                # A reduced decode is several times faster and still reads all the data.
                image.draft(None, (max(1, width // 8), max(1, height // 8)))
            image.load()
            for frame in range(1, frames):
                image.seek(frame)
                image.load()
    except BadImageError:
        raise
    except Image.DecompressionBombError:
        raise BadImageError(Fault.TOO_LARGE, f"far more than the {max_pixels} pixels that are allowed") from None
    except UnidentifiedImageError:
        raise BadImageError(Fault.NO_IMAGE, f"the body is no picture of a known kind ({len(body)} bytes)") from None
    except MemoryError:
        raise BadImageError(Fault.LIMITS, "decoding needs more memory than it may have") from None
    except Exception as error:  # noqa: BLE001 -- a hostile file makes decoders raise anything
        raise BadImageError(Fault.BROKEN, f"the picture cannot be decoded: {str(error)[:120]}") from None
    _check_end(name, body)
    return facts


def _check_end(name: str, body: bytes) -> None:
    """Look at what Pillow leaves out: a PNG's checksums and last chunk, a GIF's trailer, a JPEG's end marker."""
    if name == "PNG":
        try:
            with Image.open(io.BytesIO(body), formats=["PNG"]) as image:
                image.verify()
        except Exception as error:  # noqa: BLE001 -- as above
            raise BadImageError(Fault.BROKEN, f"a checksum inside the PNG is wrong: {str(error)[:120]}") from None
    is_cut = (
        (name == "PNG" and _PNG_END not in body)
        or (name == "GIF" and not body.rstrip(b"\0").endswith(b";"))
        or (name == "JPEG" and _JPEG_END not in body[_scan_of_jpeg(body) :])
    )
    if is_cut:
        raise BadImageError(Fault.BROKEN, f"the end of the {name} is missing")


def _scan_of_jpeg(body: bytes) -> int:
    """Where the first scan of a JPEG begins; what is before it may hold a whole small JPEG with an end of its own."""
    place = 2
    while body[place : place + 1] == b"\xff" and body[place + 1 : place + 2] != b"\xda":
        length = int.from_bytes(body[place + 2 : place + 4], "big")
        place += 1 if body[place + 1 : place + 2] == b"\xff" else 2 + length
    return place


def run_limited(module: str, arguments: list[str], body: bytes, limits: DecodeLimits) -> bytes:
    """Run a module of ours, which calls begin() first, as a child on a body; gives what it wrote.

    Raises BadImageError (LIMITS) when it took too long, took too much, or ended without an answer.
    """
    order = [str(limits.max_pixels), str(limits.child_memory), str(limits.child_cpu), *arguments]
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-W", "ignore", "-m", module, *order],
            input=body,
            capture_output=True,
            timeout=limits.child_seconds,
            env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadImageError(Fault.LIMITS, f"decoding took longer than {limits.child_seconds:.0f} s") from None
    if child.returncode == -signal.SIGXCPU:
        raise BadImageError(Fault.LIMITS, f"decoding took more than {limits.child_cpu} s of processor time")
    if child.returncode or not child.stdout:
        raise BadImageError(Fault.LIMITS, f"the decoder ended without an answer (exit {child.returncode})")
    return child.stdout


def begin() -> bytes:
    """Be the child: read the body, load the decoders, and give up what is not needed any more; gives the body."""
    max_pixels, memory, cpu = (int(number) for number in sys.argv[1:4])
    body = sys.stdin.buffer.read()
    Image.preinit()
    Image.init()
    Image.MAX_IMAGE_PIXELS = max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return body


if __name__ == "__main__":
    try:
        _facts = _decode(begin(), sys.argv[4], int(sys.argv[1]), here_pixels=None)
        sys.stdout.write(json.dumps(asdict(_facts) if _facts is not None else {}))
    except BadImageError as _bad:
        sys.stdout.write(json.dumps({"fault": _bad.fault, "reason": str(_bad)}))
