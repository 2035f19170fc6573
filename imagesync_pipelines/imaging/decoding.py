"""Where a picture is decoded: here within a budget of pixels, or, when it is large or risky, in a child with limits.

The child gets the body on stdin and nothing of our environment, and answers on stdout.
"""

import importlib
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagesync_pipelines.imaging.errors import BadImageError, Fault
from imagesync_pipelines.imaging.kinds import kind_of_body
from imagesync_pipelines.imaging.pixels import Header, header_of

# What may be asked of a decoder: a function (body, *texts) -> bytes in a module of ours.
OPERATIONS = {
    "check": "imagesync_pipelines.imaging.validation:checked",
    "copy": "imagesync_pipelines.imaging.derivatives:make_copy",
    "shrink": "imagesync_pipelines.imaging.derivatives:shrunk",
    "look": "imagesync_pipelines.imaging.hashes:looked_at",
}
# Of all threads of this process together: pixels that are decoded here at once (at most 6 bytes each: 120 MB), and
# children.
HERE_PIXELS, CHILDREN = 20_000_000, 2
_REFUSED = 3


@dataclass(frozen=True)
class DecodeLimits:
    """How far decoding may go; here_pixels is the most that is decoded in this process.

    max_pixels is for one frame. child_memory is in bytes, child_cpu and child_seconds (of the clock) in seconds.
    """

    here_pixels: int = 20_000_000
    max_pixels: int = 150_000_000
    child_memory: int = 1024**3
    child_cpu: int = 30
    child_seconds: float = 60.0


class Budget:
    """So much may be at work at once, of all threads together; what is larger than all of it works alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used, self._changed = limit, 0, threading.Condition()

    @contextmanager
    def taking(self, amount: int) -> Iterator[None]:
        """Wait for room, and hold it for the length of a `with` block."""
        amount = min(amount, self._limit)
        with self._changed:
            self._changed.wait_for(lambda: self._used + amount <= self._limit)
            self._used += amount
        try:
            yield
        finally:
            with self._changed:
                self._used -= amount
                self._changed.notify_all()


_HERE, _CHILDREN = Budget(HERE_PIXELS), Budget(CHILDREN)


def decode(operation: str, body: bytes, limits: DecodeLimits, *arguments: str) -> bytes:
    """What one of OPERATIONS makes of a body, here or in a child. Raises BadImageError."""
    kind = kind_of_body(body)
    if kind is None:
        raise BadImageError(Fault.NO_IMAGE, f"the body is no picture of a known kind ({len(body)} bytes)")
    if not kind.apart:
        header = header_of(body)
        judge_size(header, limits.max_pixels)
        pixels = header.width * header.height
        if pixels <= limits.here_pixels:
            with _HERE.taking(pixels):
                return _function(operation)(body, *arguments)
    with _CHILDREN.taking(1):
        return _in_child(operation, body, limits, arguments)


def judge_size(header: Header, max_pixels: int) -> None:
    """Raise BadImageError for a picture with more pixels than are allowed."""
    if header.width * header.height > max_pixels:
        told = f"{header.width} x {header.height} pixels; {max_pixels} pixels are allowed"
        raise BadImageError(Fault.TOO_LARGE, told)


def _function(operation: str) -> Callable[..., bytes]:
    module, _, name = OPERATIONS[operation].partition(":")
    found: Callable[..., bytes] = getattr(importlib.import_module(module), name)
    return found


def _in_child(operation: str, body: bytes, limits: DecodeLimits, arguments: tuple[str, ...]) -> bytes:
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
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise BadImageError(Fault.LIMITS, f"decoding took longer than {limits.child_seconds:.0f} s") from None
    if child.returncode == _REFUSED:
        fault, _, reason = child.stdout.decode("utf-8", "replace").partition("\n")
        raise BadImageError(Fault(fault), reason)
    if child.returncode == -signal.SIGXCPU:
        raise BadImageError(Fault.LIMITS, f"decoding took more than {limits.child_cpu} s of processor time")
    if child.returncode or not child.stdout:
        megabytes = limits.child_memory // 1024**2
        told = f"decoding needs more than the {megabytes} MB of memory it may have"
        if child.returncode not in {-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGTRAP, -signal.SIGKILL, 1}:
            told = f"the decoder ended without an answer (exit {child.returncode})"
        raise BadImageError(Fault.LIMITS, told)
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
