"""How things are measured: wall time, processor time and peak memory, each measurement in a process of its own."""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

ROOT = "BENCHMARK_ROOT"
"""Names the variable with the process under which all that belongs to a measurement runs, the database server too."""


@dataclass(frozen=True)
class Span:
    """One measured step; `cpu` and memory are this process alone, without the database server's.

    processor: the processor time of all that belongs to the measurement; under `benchmarks.watched` the server's too.
    above_bytes: the peak above what was resident when the step began; peak_bytes: the peak itself.
    """

    name: str
    seconds: float
    cpu: float
    above_bytes: int
    peak_bytes: int
    processor: float


@dataclass
class Stopwatch:
    """Spans in the order in which they were measured."""

    spans: list[Span] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure what happens inside the `with` block."""
        everything = [int(os.environ.get(ROOT, os.getpid()))]
        before, processor = _reset_peak(), processor_seconds(everything)
        wall, cpu = time.perf_counter(), time.process_time()
        yield
        seconds, used = time.perf_counter() - wall, time.process_time() - cpu
        peak, processor = _peak(), processor_seconds(everything) - processor
        self.spans.append(Span(name, seconds, used, max(0, peak - before), peak, processor))

    def as_json(self) -> list[dict[str, Any]]:
        """The spans as plain values."""
        return [asdict(span) for span in self.spans]


def _peak() -> int:
    """The most memory this process had resident since the last step began (on Linux; elsewhere since it began).

    Linux passes ru_maxrss on from the parent, so the kernel's own line is read there.
    """
    line = _status().get("VmHWM")
    return int(line.split()[0]) * 1024 if line else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_of(process: int) -> int:
    """The most memory that another process had resident so far; 0 where the system does not tell."""
    return int(_status(process).get("VmHWM", "0 kB").split()[0]) * 1024


def processor_seconds(servers: Sequence[int]) -> float:
    """Processor time so far of these processes and of all that they started, what they waited for to end included."""
    trees = [psutil.Process(server) for server in servers]
    return sum(_seconds(one) for tree in trees for one in (tree, *tree.children(recursive=True)))


def _seconds(process: psutil.Process) -> float:
    try:
        return float(sum(process.cpu_times()[:4]))  # user, system, and both of its ended children
    except psutil.NoSuchProcess:
        return 0.0


def in_own_process(module: str, **arguments: Any) -> dict[str, Any]:
    """Run `python -m module` with the arguments as JSON and give the JSON that it prints as its last line."""
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=quiet_environment())
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def quiet_environment() -> Mapping[str, str]:
    """This environment without our own settings and with telemetry off: no benchmark meets a real system."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("IMAGE", "ERP_", "DAGSTER_"))}
    return {
        **kept,
        "IMAGESYNC_ENV_FILE": os.devnull,
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "RUNTIME__LOG_LEVEL": "ERROR",
        "DO_NOT_TRACK": "1",
        "NO_PROXY": "localhost,127.0.0.1",
    }


def _reset_peak() -> int:
    """Let the kernel forget the peak so far, where it can; returns what is resident now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return 0
    return int(_status()["VmRSS"].split()[0]) * 1024


def _status(process: int | str = "self") -> dict[str, str]:
    path = Path(f"/proc/{process}/status")
    lines = path.read_text().splitlines() if path.exists() else []
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
