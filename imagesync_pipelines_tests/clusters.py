"""Several hosts on this one: Redis, a code server, Dagster's daemon and Celery's workers, each a process of its own.

A worker has a working directory and a home of its own, as on its own host: it shares with the others what
deploy/dagster/celery.yaml shares, PostgreSQL, an object store and Redis.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget
from dagster_graphql.cli import execute_query

from imagesync_pipelines.settings import Settings, load_settings
from imagesync_pipelines.storage.installation import open_locations
from imagesync_pipelines_tests.generated import ROOT
from imagesync_pipelines_tests.places import entered

REDIS = shutil.which("redis-server")
LOCATION = "imagesync_pipelines"
PATIENCE = 600.0
_LAUNCH = """
mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } } }
"""
_TERMINATE = "mutation ($run: String!) { terminateRun(runId: $run) { __typename ... on PythonError { message } } }"


def wait_until(reached: Callable[[], Any], about: str) -> Any:
    """Wait for what a function gives to be true, and give it."""
    end = time.monotonic() + PATIENCE
    while not (found := reached()):
        assert time.monotonic() < end, f"{about} did not come"
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Process:
    """A process with its children, in a group of its own; what it says is in `output`."""

    process: "subprocess.Popen[bytes]"
    output: Path

    def halt(self) -> None:
        """Let it stand still with all its children, until it goes on or is killed."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it do what it was doing when it was halted."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it with all its children at this very moment."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@dataclass
class Cluster:
    """What is at work; `environment` is what every host is given."""

    folder: Path
    environment: dict[str, str] = field(repr=False)
    instance: dg.DagsterInstance
    workspace: WorkspaceProcessContext
    stack: ExitStack

    def worker(self, name: str, slots: int = 2) -> Process:
        """One more worker, on a host of its own; it is asked for nothing before it is up."""
        words = ["celery", "-A", "imagesync_pipelines.defs.celery_app", "worker", "-n", f"{name}@host", "-Q", "dagster"]
        return self.stack.enter_context(_process(self.folder, self.environment, name, [*words, "-c", str(slots)]))

    def home(self, name: str) -> Path:
        """The folder of a host: its working directory, with the home in it."""
        return self.folder / name

    def at_work_on(self, worker: str) -> list[str]:
        """The ids of the tasks that a worker says it is doing."""
        launcher: Any = self.instance.run_launcher
        answer = launcher.celery.control.inspect([f"{worker}@host"], timeout=1).active() or {}
        return [task["id"] for tasks in answer.values() for task in tasks]

    def looks(self) -> Counter[str]:
        """How often the daemon's monitoring has looked after each run, by id, as its log says."""
        return Counter(re.findall(r"Checking run (\S+)", (self.folder / "daemon.txt").read_text(encoding="utf-8")))

    def slots(self) -> int:
        """How many runs the workers can do at once."""
        launcher: Any = self.instance.run_launcher
        return int(launcher.slots())

    def launch(self, job: str, partition: str, config: Mapping[str, Any] | None = None) -> str:
        """Start a run as the button of the UI does; gives its id."""
        selector = {"jobName": job, "repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
        tags = [{"key": "dagster/partition", "value": partition}]
        params = {"selector": selector, "runConfigData": config or {}, "executionMetadata": {"tags": tags}}
        answer = self._asked(_LAUNCH, {"params": params})
        return str(answer["data"]["launchRun"]["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """Cancel a run as the button of the UI does."""
        answer = self._asked(_TERMINATE, {"run": run_id})
        assert answer["data"]["terminateRun"]["__typename"] == "TerminateRunSuccess", answer

    def _asked(self, query: str, variables: Mapping[str, Any]) -> Any:
        """What GraphQL answers. In a thread: where browsers are driven, the test's own has a running event loop."""
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(execute_query, self.workspace, query, dict(variables)).result()

    def status(self, run_id: str) -> dg.DagsterRunStatus:
        """What became of a run by now."""
        found = self.instance.get_run_by_id(run_id)
        assert found is not None
        return found.status

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.DagsterRun]:
        """All runs, or those in one of these statuses."""
        return list(self.instance.get_runs(dg.RunsFilter(statuses=list(statuses)) if statuses else None))


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A Redis that keeps nothing on disk: its URL without a database. Without the program skipped, in CI a failure."""
    if REDIS is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    port = free_port()
    words = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with _process(folder, {}, "redis", words):
        wait_until(lambda: _answers(port), "Redis")
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def cluster(folder: Path, shared: Mapping[str, str], accounts: str, slots: int) -> Iterator[Cluster]:
    """Redis, a code server and the daemon, with the dagster.yaml for Celery; workers are added.

    shared: PostgreSQL and the object store, and what connectors need. accounts: the text of every host's own file.
    slots: how many runs are at work at once.
    """
    folder.mkdir()
    given = (ROOT / "deploy" / "dagster" / "celery.yaml").read_text(encoding="utf-8")
    chosen = folder / "celery.yaml"
    chosen.write_text(re.sub(r"max_concurrent_runs: \d+", f"max_concurrent_runs: {slots}", given), encoding="utf-8")
    with ExitStack() as stack:
        url = stack.enter_context(redis(folder))
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ},
            **shared,
            "IMAGESYNC_DAGSTER_YAML": str(chosen),
            "IMAGESYNC_CELERY_BROKER": f"{url}/0",
            "IMAGESYNC_CELERY_BACKEND": f"{url}/1",
            "accounts": accounts,
        }
        port = free_port()
        code = ["dagster", "code-server", "start", "-h", "127.0.0.1", "-p", str(port), "-m", f"{LOCATION}.definitions"]
        stack.enter_context(_process(folder, environment, "code", code))
        wait_until(lambda: _answers(port), "the code server")
        stack.enter_context(entered(_of_host(folder, environment, "here")))
        instance = stack.enter_context(dg.DagsterInstance.get())
        target = GrpcServerTarget(host="127.0.0.1", port=port, socket=None, location_name=LOCATION)
        workspace = stack.enter_context(WorkspaceProcessContext(instance, target))
        made = Cluster(folder, environment, instance, workspace, stack)
        workers = stack.enter_context(ExitStack())
        made.stack = workers
        yaml = folder / "workspace.yaml"
        yaml.write_text(f"load_from: [{{grpc_server: {{host: 127.0.0.1, port: {port}, location_name: {LOCATION}}}}}]\n")
        stack.enter_context(_process(folder, environment, "daemon", ["dagster-daemon", "run", "-w", str(yaml)]))
        yield made


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _of_host(folder: Path, environment: Mapping[str, str], name: str) -> dict[str, str]:
    """The variables of a host, whose folder, home and accounts file are made."""
    own = folder / name
    own.mkdir(exist_ok=True)
    given = {key: value for key, value in environment.items() if key != "accounts"}
    (own / "accounts.toml").write_text(environment["accounts"], encoding="utf-8")
    given |= {"IMAGESYNC_HOME": str(own / "home"), "IMAGESYNC_ACCOUNTS": str(own / "accounts.toml")}
    with entered(given):
        return {**given, **open_locations(load_settings(Settings)).environment()}


@contextmanager
def _process(folder: Path, environment: Mapping[str, str], name: str, words: list[str]) -> Iterator[Process]:
    """A program, one of this Python environment's by its name, on a host of its own until the context ends."""
    given = _of_host(folder, environment, name) if environment else dict(os.environ)
    (folder / name).mkdir(exist_ok=True)
    program = words[0] if words[0].startswith("/") else str(Path(sys.executable).with_name(words[0]))
    output = folder / f"{name}.txt"
    with output.open("wb") as said:
        process = subprocess.Popen(
            [program, *words[1:]], cwd=folder / name, env=given, stdout=said, stderr=said, start_new_session=True
        )
        made = Process(process, output)
        try:
            yield made
        finally:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
            made.kill()
