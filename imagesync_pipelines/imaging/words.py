"""Text beside a product, or across its edge, read by a model that comes inside its wheel: the extra `words`.

The model works in a child of its own, started with the first picture and kept for the next ones. It gets plain points,
never a picture's own bytes, has limits of memory and time, and cannot open a connection. What is written on the product
itself is left out, since a label is no overlay, but for signs of who made the picture.
"""

import importlib.util
import json
import os
import re
import resource
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from imagesync_pipelines.imaging.decoding import DecodeLimits, decode
from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.languages import N_, told

# The model, and our own rules behind it; another one: what was read before is read again.
WORDS_BY = "PP-OCRv6 small, 1"
# Writing that is seen and cannot be read: the model has no Cyrillic letters, for one.
UNREAD = "…"
_MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
_MISSING = N_(
    "text in pictures is read only with the extra `words` installed (pip install "
    "'imagesync-pipelines[words]'), about 300 MB; or set QUALITY_WORDS=false"
)
# A line of writing is no higher than this share of the frame, and its length this many times its height: a product's
# own outline is taken for letters otherwise. So many of the largest are read.
_HIGHEST, _LONGER, _MOST_LINES = 0.2, 1.3, 16
# How sure the model must be: that it reads right, and that there is any writing where it cannot read it.
_SURE, _SURE_UNREAD = 0.8, 0.7
_LEAST_CHARACTERS = 2
# Of the points around a line so many are background where it is beside the product, or crosses its edge.
_BESIDE = 0.25
# What a watermark says, and few labels do.
_SIGNED = re.compile(r"(?i)©|www\.|https?:|\w@\w|\w\.(com|net|org|shop|store|ru|de|id|eu)\b")
_LEAST_SIDE = 64
_SIZE = struct.Struct("<II")
_READY = b"ready\n"


class WordsMissingError(Exception):
    """The extra `words` is not installed, or its model cannot be loaded; the message says what to do."""


@dataclass(frozen=True)
class WordLimits:
    """What the child may take: bytes of memory; seconds of processor and of the clock for one picture."""

    memory: int = 1792 * 1024**2
    cpu: int = 60
    seconds: float = 120.0


class Line(NamedTuple):
    """A line of writing: what was read in it, how surely, how sure it is writing at all, and its box in points."""

    text: str
    sure: float
    is_writing: float
    box: tuple[int, ...]


@contextmanager
def word_reader(limits: WordLimits | None = None) -> Iterator[Callable[[bytes], tuple[str, ...]]]:
    """A function that gives the lines of text beside the product of a picture, for as many pictures as there are.

    It may be called from any thread, reads one picture at a time, and raises BadImageError for one that cannot be read
    within the limits; the next one gets a new child. Raises WordsMissingError, the function too.
    """
    if any(importlib.util.find_spec(name) is None for name in ("rapidocr", "onnxruntime")):
        raise WordsMissingError(_MISSING)
    reader = _Reader(limits or WordLimits())
    try:
        yield reader.read
    finally:
        reader.end()


def points_of(body: bytes) -> bytes:
    """Width, height and points of a picture of bounded size, in whatever process. Raises BadImageError."""
    from imagesync_pipelines.imaging.hashes import DECODED_SIDE
    from imagesync_pipelines.imaging.pixels import as_pillow, on_white, upright

    picture = as_pillow(on_white(upright(body, DECODED_SIDE)))
    return _SIZE.pack(*picture.size) + picture.tobytes()


def is_line(box: Sequence[int], size: tuple[int, int]) -> bool:
    """Whether a box of left, top, right, bottom looks like a line of writing in a frame of a size."""
    lengths = sorted((box[2] - box[0], box[3] - box[1]))
    return lengths[0] > 0 and lengths[1] >= _LONGER * lengths[0] and lengths[0] <= _HIGHEST * max(size)


def told_of(line: Line) -> str:
    """What is told of a line: its text, UNREAD, or '' where it is no writing."""
    text = line.text.strip()
    if line.sure >= _SURE and sum(map(str.isalnum, text)) >= _LEAST_CHARACTERS:
        return text
    return UNREAD if line.is_writing >= _SURE_UNREAD and line.sure < _SURE else ""


class _Reader:
    """The child, while there is one, and who talks with it."""

    def __init__(self, limits: WordLimits) -> None:
        self._limits, self._one_at_a_time = limits, threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def read(self, body: bytes) -> tuple[str, ...]:
        points = decode("points", body, DecodeLimits())
        with self._one_at_a_time:
            lines = [Line(*one) for one in json.loads(self._answer(points))]
        beside = _beside(points, [line for line in lines if told_of(line)])
        return tuple(dict.fromkeys(map(told_of, beside)))

    def end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            with child:
                pass

    def _answer(self, points: bytes) -> bytes:
        child = self._child = self._child or self._started()
        assert child.stdin is not None  # noqa: S101 - pipes were asked for
        assert child.stdout is not None  # noqa: S101 - as above
        watch = threading.Timer(self._limits.seconds, child.kill)
        watch.start()
        try:
            child.stdin.write(points)
            child.stdin.flush()
            answer = child.stdout.readline()
        except BrokenPipeError:
            answer = b""
        finally:
            watch.cancel()
        if not answer.endswith(b"\n"):
            self.end()
            what = told(
                f"{self._limits.seconds:.0f} s, {self._limits.cpu} s of processor, {self._limits.memory >> 20} MB"
            )
            raise BadImageError(Fault.LIMITS, told(f"its text could not be read within the limits ({what})"))
        return answer

    def _started(self) -> subprocess.Popen[bytes]:
        order = [sys.executable, "-I", "-W", "ignore", "-m", __spec__.name]
        # One thread and one arena, as in the children that decode.
        environment = dict.fromkeys(("MALLOC_ARENA_MAX", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
        environment |= {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
        with tempfile.TemporaryFile() as said:
            child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*order, str(self._limits.memory), str(self._limits.cpu)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, env=environment, start_new_session=True,
            )  # fmt: skip
            assert child.stdout is not None  # noqa: S101 - a pipe was asked for
            watch = threading.Timer(self._limits.seconds, child.kill)
            watch.start()
            is_ready = child.stdout.readline() == _READY
            watch.cancel()
            if not is_ready:
                child.kill()
                with child:
                    said.seek(0)
                    why = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
                raise WordsMissingError(f"the model cannot be loaded ({why or told('no answer in time')}): {_MISSING}")
        return child


def _beside(points: bytes, lines: Sequence[Line]) -> list[Line]:
    """The lines that have background around them, or are signed: a scene without any has only the latter."""
    if not lines:
        return []
    import numpy as np
    from PIL import Image

    from imagesync_pipelines.imaging.measures import differing, outside_of

    size = _SIZE.unpack_from(points)
    seen = differing(Image.frombytes("RGB", size, points[_SIZE.size :]))
    outside, factor, found = outside_of(seen), max(size) / max(seen.shape), []
    for line in lines:
        left, top, right, bottom = (round(place / factor) for place in line.box)
        around = np.zeros_like(seen)
        reach = max(2, (bottom - top) // 4)
        around[max(0, top - reach) : bottom + reach, max(0, left - reach) : right + reach] = True
        around[max(0, top) : bottom, max(0, left) : right] = False
        if _SIGNED.search(line.text) or (around.any() and outside[around].mean() >= _BESIDE):
            found.append(line)
    return found


def _be_the_reader() -> None:
    """Load the model, then answer one line of JSON for the points of each picture."""
    memory, cpu = map(int, sys.argv[1:])
    # What libraries print goes nowhere: stdout is for answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.addaudithook(_refuse_network)
    engine = _engine()
    answers.write(_READY)
    answers.flush()
    while head := sys.stdin.buffer.read(_SIZE.size):
        width, height = _SIZE.unpack(head)
        points = sys.stdin.buffer.read(width * height * 3)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + cpu, resource.RLIM_INFINITY))
        answers.write(json.dumps(_lines(engine, width, height, points)).encode() + b"\n")
        answers.flush()


def _refuse_network(event: str, _: tuple) -> None:
    if event.startswith("socket."):
        raise PermissionError("who reads text opens no connection")


def _engine() -> Any:
    import rapidocr

    folder = Path(rapidocr.__file__).parent / "models"
    # With a path of its own no model is looked for anywhere else.
    models = {f"{part}.model_path": str(folder / name) for part, name in _MODELS.items()}
    threads = {f"EngineConfig.onnxruntime.{kind}_op_num_threads": 1 for kind in ("intra", "inter")}
    more = {"Global.log_level": "error", "Det.limit_type": "max", "Det.limit_side_len": 1024}
    engine = rapidocr.RapidOCR(params=models | threads | more)
    engine._load_det_model()
    engine._load_rec_model()
    return engine


def _lines(engine: Any, width: int, height: int, points: bytes) -> list[Line]:
    import numpy as np

    colours = np.frombuffer(points, np.uint8).reshape(height, width, 3)[:, :, ::-1]
    wider, higher = max(0, _LEAST_SIDE - width), max(0, _LEAST_SIDE - height)
    colours = np.pad(colours, ((0, higher), (0, wider), (0, 0)), constant_values=255)
    found = engine.text_det(colours)
    if found.boxes is None:
        return []
    ends = np.concatenate([found.boxes.min(axis=1), found.boxes.max(axis=1)], axis=1)
    boxes = [tuple(map(int, box)) for box in ends]
    chosen = [number for number, box in enumerate(boxes) if is_line(box, (width, height))]
    chosen = sorted(chosen, key=lambda number: boxes[number][0] - boxes[number][2])[:_MOST_LINES]
    if not chosen:
        return []
    texts = engine.recognize_txt(engine.crop_text_regions(colours, found.boxes[chosen]))
    return [
        Line(text, float(sure), float(found.scores[number]), boxes[number])
        for number, text, sure in zip(chosen, texts.txts, texts.scores, strict=True)
    ]


if __name__ == "__main__":
    _be_the_reader()
