"""Where a picture is decoded: here within a budget of pixels, or, when it is large or risky, in a child with limits.

The child gets the body on stdin and nothing of our environment, and answers on stdout. How much is decoded at once is
bounded over all processes of a home.
"""

import fcntl
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from imagesync_pipelines import languages
from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.kinds import kind_of_body
from imagesync_pipelines.imaging.pixels import Header, calm_libvips, header_of, readable

# What may be asked of a decoder: a function (body, *texts) -> bytes in a module of ours.
OPERATIONS = {
    "check": "imagesync_pipelines.imaging.validation:checked",
    "copy": "imagesync_pipelines.imaging.derivatives:make_copy",
    "shrink": "imagesync_pipelines.imaging.derivatives:shrunk",
    "look": "imagesync_pipelines.imaging.hashes:looked_at",
    "measure": "imagesync_pipelines.imaging.measures:measured",
    "points": "imagesync_pipelines.imaging.words:points_of",
}
# What all processes of a home may decode at once outside of children. As measured, a pixel takes at most 6 bytes where
# the decoder streams and twice as many where not, shrinking three times as many, and one of a copy four times: 120 MB.
HERE_PLACES, PIXELS_A_PLACE = 20, 1_000_000
_NOT_STREAMED, _ENCODED, _WEIGHTS = 2, 4, {"shrink": 3}
# What the measures take beside the picture, whatever its size, in pixels too.
_BESIDE = {"measure": 3_000_000}
# A longer line than any camera makes: decoders keep several of them.
_LONGEST_HERE = 16_384
_NEXT_LOOK = 0.005
_REFUSED = 3
# How a child ends that gets no memory; the kernel's own end of it is one of them.
_NO_MEMORY = frozenset({-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGTRAP, -signal.SIGKILL, -signal.SIGBUS})


@dataclass(frozen=True)
class DecodeLimits:
    """How far decoding may go; here_pixels is the most that is decoded in this process, by decoders that stream.

    max_pixels is for one frame. child_memory is in bytes, child_cpu and child_seconds (of the clock) in seconds.
    """

    here_pixels: int = 20_000_000
    max_pixels: int = 150_000_000
    child_memory: int = 1024**3
    child_cpu: int = 60
    child_seconds: float = 180.0


def decode(operation: str, body: bytes, limits: DecodeLimits, *arguments: str) -> bytes:
    """What one of OPERATIONS makes of a body, here or in a child. Raises BadImageError."""
    kind = kind_of_body(body)
    if kind is None:
        raise BadImageError(
            Fault.NO_IMAGE, languages.told(f"the body is no picture of a known kind ({len(body)} bytes)")
        )
    folder, children = _shared(os.environ.get("IMAGESYNC_HOME"), Path.cwd())
    calm_libvips()
    if not kind.apart:
        header = header_of(body)
        judge_size(header, limits.max_pixels)
        cost = header.width * header.height * _WEIGHTS.get(operation, 1) * (1 if header.streams else _NOT_STREAMED)
        cost += _BESIDE.get(operation, 0)
        if operation == "copy":
            cost += _ENCODED * int(arguments[0]) ** 2
        if cost <= limits.here_pixels and max(header.width, header.height) <= _LONGEST_HERE:
            with places(folder, "here", 1 + cost // PIXELS_A_PLACE, HERE_PLACES), readable():
                known = {"header": header} if operation == "check" else {}
                return _function(operation)(body, *arguments, **known)
    with places(folder, "child", 1, children) as held:
        return _in_child(operation, body, limits, arguments, held)


@contextmanager
def places(folder: Path, what: str, wanted: int, there: int) -> Iterator[Collection[int]]:
    """Wait for so many of the places of a kind, and hold them; who wants more than there are takes all.

    A place is a lock on a file, which all processes see and the kernel gives back when its descriptor is closed, by
    whatever end of a process. Gives the descriptors: a child that inherits one holds the place too.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with ExitStack() as held:
        found: dict[int, int] = {}
        # One after the other, so that those who want little never keep those waiting who want much.
        with ExitStack() as turn:
            _lock(folder / f"{what}.turn", turn, fcntl.LOCK_EX)
            while True:
                for place in range(there):
                    if place not in found and len(found) < wanted:
                        descriptor = _lock(folder / f"{what}.{place}", held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        found |= {} if descriptor is None else {place: descriptor}
                if len(found) >= min(wanted, there):
                    break
                time.sleep(_NEXT_LOOK)
        yield found.values()


def _lock(file: Path, until: ExitStack, how: int) -> int | None:
    """A locked descriptor, closed at the end of `until`; None when somebody else has it and `how` does not wait."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how)
    except BlockingIOError:
        os.close(descriptor)
        return None
    until.callback(os.close, descriptor)
    return descriptor


@cache
def _shared(home: str | None, working_folder: Path) -> tuple[Path, int]:
    """The folder of the places, and how many children there may be. What it is asked with decides the settings."""
    # Children import this module too, and would load it for nothing.
    from imagesync_pipelines.settings import Settings, load_settings

    settings = load_settings(Settings)
    return working_folder / settings.home.expanduser() / "decoding", settings.decode_children


def judge_size(header: Header, max_pixels: int) -> None:
    """Raise BadImageError for a picture with more pixels than are allowed."""
    if header.width * header.height > max_pixels:
        told = languages.told(f"{header.width} x {header.height} pixels; {max_pixels} pixels are allowed")
        raise BadImageError(Fault.TOO_LARGE, told)


def _function(operation: str) -> Callable[..., bytes]:
    module, _, name = OPERATIONS[operation].partition(":")
    found: Callable[..., bytes] = getattr(importlib.import_module(module), name)
    return found


def _in_child(
    operation: str, body: bytes, limits: DecodeLimits, arguments: tuple[str, ...], held: Collection[int]
) -> bytes:
    order = [operation, str(limits.max_pixels), str(limits.child_memory), str(limits.child_cpu), *arguments]
    # One thread and one arena: more of them take address space, which is what is limited.
    environment = {"VIPS_CONCURRENCY": "1", "MALLOC_ARENA_MAX": "1"}
    environment |= {name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"}
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-W", "ignore", "-m", __spec__.name, *order],
            input=body,
            capture_output=True,
            timeout=limits.child_seconds,
            env=environment,
            # Should this process be killed, its child goes on to its end, and with it the place that it takes.
            pass_fds=tuple(held),
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadImageError(
            Fault.LIMITS, languages.told(f"decoding took longer than {limits.child_seconds:.0f} s")
        ) from None
    if child.returncode == _REFUSED:
        fault, _, reason = child.stdout.decode("utf-8", "replace").partition("\n")
        raise BadImageError(Fault(fault), reason)
    if child.returncode == -signal.SIGXCPU:
        raise BadImageError(
            Fault.LIMITS, languages.told(f"decoding took more than {limits.child_cpu} s of processor time")
        )
    if child.returncode or not child.stdout:
        if child.returncode in _NO_MEMORY:
            megabytes = limits.child_memory // 1024**2
            raise BadImageError(
                Fault.LIMITS, languages.told(f"decoding needs more than the {megabytes} MB of memory it may have")
            )
        raise BadImageError(
            Fault.LIMITS, languages.told(f"the decoder ended without an answer (exit {child.returncode})")
        )
    return child.stdout


def _be_the_child() -> int:
    """Read the body, load the decoders, give up what is not needed any more, and answer."""
    operation, max_pixels, memory, cpu, *arguments = sys.argv[1:]
    body, function = sys.stdin.buffer.read(), _function(operation)
    resource.setrlimit(resource.RLIMIT_AS, (int(memory), int(memory)))
    resource.setrlimit(resource.RLIMIT_CPU, (int(cpu), int(cpu) + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        judge_size(header_of(body), int(max_pixels))
        with readable():
            answer = function(body, *arguments)
    except BadImageError as bad:
        answer = f"{bad.fault}\n{bad}".encode()
        code = _REFUSED
    else:
        code = 0
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    return code


if __name__ == "__main__":
    sys.exit(_be_the_child())
