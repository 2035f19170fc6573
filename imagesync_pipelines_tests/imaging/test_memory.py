"""The memory of every way of decoding, as the kernel counts it: ours stays small, a child's in its limit.

Each set of files goes through validation, smaller copies, hashes, measures, shrinking and the thumbnails of the
Dagster UI, in a process that has loaded Dagster as a run has.
"""

import io
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
import pyvips
from PIL import Image

MEGABYTE = 1024**2
OURS, A_CHILD = 400, 1024
NO_MEMORY = "it may have"
PROGRAM = """
import json, resource, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import imagesync_pipelines.defs.metadata
from imagesync_pipelines.imaging.derivatives import CannotDeriveError, Encoding, derive, icon, shrink
from imagesync_pipelines.imaging.errors import BadImageError
from imagesync_pipelines.imaging.hashes import look_at
from imagesync_pipelines.imaging.measures import measure
from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.storage.facts import PictureFacts
from imagesync_pipelines.storage.installation import give_back_what_is_freed

WAYS = {
    "check": check_image,
    "copy": lambda body: derive(body, PictureFacts("", 1, 1, ""), 1200, Encoding.AVIF),
    "look": look_at,
    "measure": measure,
    "shrink": lambda body: shrink(body, 200_000),
    "thumbnail": lambda body: icon(body, 48),
}

def told(way, file):
    try:
        WAYS[way](file.read_bytes())
    except (BadImageError, CannotDeriveError) as error:
        return str(error)
    return ""

give_back_what_is_freed()
files = sorted(Path(sys.argv[1]).iterdir())
asked = [(way, file) for file in files for way in WAYS if way in ("check", "copy") or file.name not in sys.argv[3:]]
with ThreadPoolExecutor(int(sys.argv[2])) as pool:
    answers = pool.map(lambda one: told(*one), asked)
    found = {f"{file.name} {way}": answer for (way, file), answer in zip(asked, answers)}
# Of this program alone: what getrusage says of us is also of the process that started us.
ours = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
a_child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
print(json.dumps({"ours": int(ours.split()[1]) // 1024, "a_child": a_child // 1024, "told": found}))
"""


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, depth: int = 8, colour: int = 2, texts: bytes = b"") -> bytes:
    """Black, of a few bytes."""
    line = bytes(1 + width * {2: 3, 6: 4}[colour] * depth // 8)
    pack = zlib.compressobj(9)
    data = b"".join(pack.compress(line) for _ in range(height)) + pack.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + texts + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def black(side: int, saver: str, **options: object) -> bytes:
    return bytes(getattr(pyvips.Image.black(side, side, bands=3), f"{saver}save_buffer")(**options))


def texts(*heads: tuple[bytes, bytes]) -> bytes:
    """Chunks of a few kilobytes that unpack to 100 MB each, five of each name."""
    packed = zlib.compress(bytes(100_000_000))
    return b"".join(chunk(name, b"k%d" % number + head + packed) for name, head in heads for number in range(5))


def multi_picture(second: int) -> bytes:
    more = [Image.new("RGB", (second, second))]
    return saved(Image.new("RGB", (60, 40)), "MPO", save_all=True, append_images=more)


FILES: Mapping[str, Callable[[], bytes]] = {
    # A header of 34 bytes and nothing else.
    "webp": lambda: (
        b"RIFF" + struct.pack("<I", 26) + b"WEBPVP8L" + struct.pack("<IBI", 14, 0x2F, 11_999 | 11_999 << 14) + bytes(9)
    ),
    "bmp": lambda: saved(Image.new("RGB", (2000, 2000)), "BMP"),
    "gif": lambda: saved(Image.new("P", (3100, 3100)), "GIF"),
    "jpeg": lambda: black(2_500, "jpeg"),
    "later picture": lambda: multi_picture(9_000),
    "long lines": lambda: png(999_999, 19),
    "png": lambda: png(3_600, 3_600, 16, 6),
    "progressive": lambda: black(3_100, "jpeg", interlace=True, subsample_mode="off"),
    "texts": lambda: png(50, 50, texts=texts((b"zTXt", b"\0\0"), (b"iTXt", b"\0\1\0\0\0"))),
    "profile": lambda: png(50, 50, texts=chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(100_000_000)))),
}
LARGE: Mapping[str, Callable[[], bytes]] = {
    "avif": lambda: black(4_400, "heif", compression="av1", effort=0),
    "bmp": lambda: saved(Image.new("RGB", (4_400, 4_400)), "BMP"),
    "gif": lambda: saved(Image.new("P", (12_000, 12_000)), "GIF"),
    "interlaced": lambda: black(12_000, "png", interlace=True),
    "jpeg": lambda: black(12_000, "jpeg"),
    "long lines": lambda: png(999_999, 150, 16, 6),
    "png": lambda: png(12_000, 12_000, 16, 6),
    "progressive": lambda: black(12_000, "jpeg", interlace=True),
    "progressive in full": lambda: black(12_000, "jpeg", interlace=True, subsample_mode="off"),
    "tiff": lambda: black(12_000, "tiff", compression="deflate"),
    "webp": lambda: black(12_000, "webp", effort=0),
}
# The other ways of these take seconds, in a child; the large ones show what they take.
CHECKED_AND_COPIED = ("bmp", "gif", "long lines", "png", "progressive")
# Of these all of it is in memory at once, or several of its lines of a million pixels.
DO_NOT_FIT = {"long lines", "progressive in full"}


def measured(
    files: Mapping[str, Callable[[], bytes]], folder: Path, threads: int, only_copied: Sequence[str] = ()
) -> tuple[int, int, dict[str, str]]:
    """Megabytes of our process at its peak, of its largest child, and what was told of each file, by its way."""
    folder.mkdir()
    for name, make in files.items():
        (folder / name).write_bytes(make())
    order = [sys.executable, "-c", PROGRAM, str(folder), str(threads), *only_copied]
    done = subprocess.run(order, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return found["ours"], found["a_child"], found["told"]


@pytest.mark.slow
def test_our_process_stays_small_whatever_the_file_and_a_child_in_its_limit(tmp_path: Path) -> None:
    ours, a_child, told = measured(FILES, tmp_path / "files", 8, CHECKED_AND_COPIED)
    assert ours < OURS
    assert a_child < A_CHILD
    assert {name.rpartition(" ")[0] for name, reason in told.items() if reason} == {"webp"}


@pytest.mark.long
@pytest.mark.slow
def test_the_largest_pictures_that_can_be_streamed_pass_and_the_others_say_that_they_do_not_fit(tmp_path: Path) -> None:
    ours, a_child, told = measured(LARGE, tmp_path / "files", threads=2)
    assert ours < OURS
    assert a_child < A_CHILD
    refused = {name: reason for name, reason in told.items() if reason}
    assert {name.rpartition(" ")[0] for name in refused} == DO_NOT_FIT
    assert {name: reason for name, reason in refused.items() if NO_MEMORY not in reason} == {}
