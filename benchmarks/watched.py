"""Runs a command and says what it cost as JSON: processor time and memory of all that it started, daemons included.

The embedded PostgreSQL leaves the process that started it. On Linux what is orphaned comes to this process instead of
init, so its processor time is counted too, to its end; elsewhere only what the command waited for is counted.
"""

import ctypes
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

from benchmarks.measuring import ROOT

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_PATIENCE = 20.0
_UNIT = 1 if sys.platform == "darwin" else 1024


def main(path: str, *command: str) -> int:
    """Run the command in the folder `path`, which is first on Python's path there; its exit status is returned.

    The last line printed is what was measured.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    environment = {**os.environ, "PYTHONPATH": path, ROOT: str(os.getpid())}
    began, child = time.perf_counter(), subprocess.Popen(command, cwd=path, env=environment)
    try:
        seconds, peak = _wait_for(child, began)
    finally:
        _end_the_rest()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(json.dumps({"processor": used.ru_utime + used.ru_stime, "seconds": seconds, "peak_bytes": peak}), flush=True)
    return child.returncode


def _wait_for(child: subprocess.Popen[bytes], began: float) -> tuple[float, int]:
    """Wait for the command, and meanwhile for every orphan that ends: its duration and its peak in memory."""
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid == child.pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return time.perf_counter() - began, used.ru_maxrss * _UNIT


def _end_the_rest() -> None:
    """End what the command left running, so that its processor time counts: PostgreSQL, when nobody stopped it."""
    left = psutil.Process().children(recursive=True)
    _to_each(left, psutil.Process.terminate)
    impatient = threading.Timer(_PATIENCE, _to_each, (left, psutil.Process.kill))
    impatient.start()
    with suppress(ChildProcessError):
        while True:
            os.wait()
    impatient.cancel()


def _to_each(processes: Sequence[psutil.Process], do: Callable[[psutil.Process], None]) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            do(one)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
