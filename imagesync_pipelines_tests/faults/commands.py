"""A real `imagesync` command in a process of its own, which a test waits for and kills with kill -9."""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from imagesync_pipelines.defs.history import history
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of

PATIENCE = 240
# How many sessions of a database wait for a lock.
WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
"""


@dataclass(frozen=True)
class Command:
    """A command at work, and the file with what it says."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def wait_until(self, reached: Callable[[], bool]) -> None:
        """Wait for a moment of the run; a run that ends before it is an error."""
        end = time.monotonic() + PATIENCE
        while not reached():
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < end, "the run did not come so far"
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at this very moment."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def assert_ends_well(self) -> None:
        """Wait for its end, with or without warnings."""
        assert self.process.wait(PATIENCE) in {0, 3}, self.output.read_text()


@contextmanager
def command(folder: Path, environment: Mapping[str, str], *words: str) -> Iterator[Command]:
    """`imagesync <words>` in a folder with these variables; it is killed at the latest when the context ends."""
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *words], stdout=output, stderr=output, env=environment_of(None, dict(environment)), cwd=folder
        )
        made = Command(process, folder / "output.txt")
        try:
            yield made
        finally:
            made.kill()


def killed_before(instance: dg.DagsterInstance, run_id: str) -> PastRun:
    """The run before the newest, which is `run_id`: it is told as failed, and as killed."""
    newest, killed = history(instance, 2)
    assert newest.run_id == run_id
    assert killed.status == "failed"
    assert "killed" in killed.error
    return killed
