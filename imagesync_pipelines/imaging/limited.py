"""A child process with limits, in which a picture is decoded that is large or risky.

A child gets the body on stdin, nothing of our environment, and answers on stdout.
"""

import os
import resource
import signal
import subprocess
import sys

from PIL import Image


class OverLimitsError(Exception):
    """The child took too long, took too much, or ended without an answer; the message is for people."""


def run_limited(module: str, arguments: list[str], body: bytes, *, memory: int, cpu: int, seconds: float) -> bytes:
    """Run a module of ours as a child on a body and give what it wrote. Raises OverLimitsError.

    memory in bytes; cpu in seconds of processor time, seconds of the clock. The child calls begin() first.
    """
    order = [str(memory), str(cpu), *arguments]
    try:
        child = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-W", "ignore", "-m", module, *order],
            input=body,
            capture_output=True,
            timeout=seconds,
            env={name: value for name, value in os.environ.items() if name == "LD_LIBRARY_PATH"},
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise OverLimitsError(f"decoding took longer than {seconds:.0f} s") from None
    if child.returncode == -signal.SIGXCPU:
        raise OverLimitsError(f"decoding took more than {cpu} s of processor time")
    if child.returncode or not child.stdout:
        raise OverLimitsError(f"the decoder ended without an answer (exit {child.returncode})")
    return child.stdout


def begin(max_pixels: int) -> bytes:
    """Be the child: read the body, load the decoders, and give up what is not needed any more; gives the body."""
    memory, cpu = (int(number) for number in sys.argv[1:3])
    body = sys.stdin.buffer.read()
    Image.preinit()
    Image.init()
    Image.MAX_IMAGE_PIXELS = max_pixels
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    return body
