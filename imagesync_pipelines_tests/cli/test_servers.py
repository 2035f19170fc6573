"""`imagesync demo`, `dev` and `sandbox` as people run them: they work from nothing and leave no process behind."""

import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from imagesync_pipelines.cli.sandbox import dev
from imagesync_pipelines.storage.embedded import stop_server
from imagesync_pipelines_tests import generated
from imagesync_pipelines_tests.cli.terminals import COMMAND, environment_of, shell

TRIALS = 8
SANDBOX_PORTS = (8801, 8802, 8803, 8805, 8806, 8807, 8808, 8809, 8811, 8812, 8813)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], bool], process: "subprocess.Popen[str]", seconds: float = 400) -> None:
    """Return as soon as `what` is true; fail with what the process said when it ends or takes too long."""
    deadline = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.3)


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code == 200
    except requests.RequestException:
        return False


@contextmanager
def sandbox_ports() -> Iterator[None]:
    """Demo and dev use the sandbox's own ports: one test at a time, of all test runs of this machine."""
    with Path("/tmp/imagesync-tests-sandbox-ports.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for port in SANDBOX_PORTS:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    pytest.fail(f"port {port} is taken; stop `imagesync dev` or whatever has it, and run this again")
        yield


@pytest.fixture
def ports_are_free() -> Iterator[None]:
    """The sandbox's own ports, for one test."""
    with sandbox_ports():
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("ports_are_free")
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_dev_shows_the_partitions_and_stops_every_process_it_started(tmp_path: Path, stop: signal.Signals) -> None:
    home, shown = tmp_path / "home", tmp_path / "shown.txt"
    # As people start it, with what is installed as it is; or as a supervisor does.
    make = ["make", "-C", str(generated.ROOT), f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed", "dev"]
    command = make if stop is signal.SIGINT else [*COMMAND, "dev"]
    more = {"IMAGESYNC_HOME": str(home), "IMAGESYNC_ENV_FILE": os.devnull, "PYTHONUNBUFFERED": "1"}
    with shown.open("w") as target:
        process = subprocess.Popen(
            command, text=True, stdout=target, stderr=subprocess.STDOUT, env=environment_of(None, more),
            start_new_session=True,
        )  # fmt: skip
    children: list[psutil.Process] = []
    try:
        wait_for(lambda: "Ctrl-C stops everything" in shown.read_text(), process)
        port = int(re.findall(r"Dagster UI: http://127\.0\.0\.1:(\d+)", shown.read_text())[0])
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/server_info"), process)
        wait_for(lambda: len(partition_keys(port)) == 13, process)
        children = psutil.Process(process.pid).children(recursive=True)
        ours = [child for child in children if "postgres" not in child.name()]
        commands = [" ".join(child.cmdline()[1:4]) for child in ours]
        assert sum("api grpc" in command for command in commands) == 1, commands
        # Code server, webserver, daemon, an object store with its shell; make itself has the command for a child.
        assert len(ours) - (stop is signal.SIGINT) <= 6, commands
        photos = re.findall(r"Photos of store1: (http://\S+)", shown.read_text())[0]
        assert answers(f"{photos}/health")
        catalogue = re.findall(r"Catalogue: (http://\S+)", shown.read_text())[0]
        assert answers(f"{catalogue}/history")
    finally:
        # A terminal tells make and everybody that is in its foreground, a supervisor its own process.
        (os.killpg if stop is signal.SIGINT else os.kill)(process.pid, stop)
        process.wait(120)
        stop_server(home)
    assert stop is signal.SIGINT or process.returncode == 0, shown.read_text()
    # Dagster's daemon tells of a tick that it had to break off; what we print ourselves ends without a trace.
    assert "imagesync_pipelines/cli/" not in shown.read_text()
    _, alive = psutil.wait_procs(children, timeout=30)
    assert [child.cmdline() for child in alive] == []
    assert not answers(f"http://127.0.0.1:{port}/server_info")


def test_a_process_that_outlives_the_command_that_started_it_is_stopped_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev, "STOP_SECONDS", 1)
    busy = (
        "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    leader = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {busy!r}]); time.sleep(600)"
    shown = tmp_path / "shown.txt"
    command = ["sh", "-c", f'exec "$0" -c "$1" > {shown}', sys.executable, leader]
    with dev._running({"daemon": command}, os.environ) as started:
        process = started[0][1]
        wait_for(lambda: shown.exists() and "deaf" in shown.read_text(), process, 60)
        children = psutil.Process(process.pid).children()
        assert [child.is_running() for child in children] == [True]
    _, alive = psutil.wait_procs(children, timeout=30)
    assert alive == []
    assert process.returncode is not None


def partition_keys(port: int) -> list[str]:
    """The page partitions as the UI is given them; empty while the code location is still being loaded."""
    query = {"query": "{ assetNodes { assetKey { path } partitionKeys } }"}
    try:
        answer = requests.post(f"http://127.0.0.1:{port}/graphql", json=query, timeout=20).json()
    except (requests.RequestException, json.JSONDecodeError):
        return []
    nodes = (answer.get("data") or {}).get("assetNodes") or []
    return next((node["partitionKeys"] for node in nodes if node["assetKey"]["path"][-1] == "api_pages"), [])


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.usefixtures("ports_are_free")
def test_demo_ends_with_tables_of_its_runs_and_of_what_was_tried_on_purpose_and_says_how_to_go_on(
    tmp_path: Path,
) -> None:
    home = tmp_path / "home"
    try:
        done = shell(None, tmp_path, "demo", "--all", IMAGESYNC_HOME=str(home))
    finally:
        stop_server(home)
    assert done.code == 0, done.out + done.err
    assert "Traceback" not in done.err
    numbers = {
        line.split("│")[1].strip(): [cell.strip() for cell in line.split("│")[2:8]]
        for line in done.out.splitlines()
        if line.startswith("│") and "│ store" not in line and "│ child-" not in line
    }
    first, second, third = list(numbers.values())[:3]
    assert int(first[0]) > 2000
    assert second[:3] == ["0", "0", "0"], "the second run writes nothing"
    assert any(int(cell) for cell in third[:3])
    folder = [line.split("│")[2:9] for line in done.out.partition("folder of pictures")[2].splitlines() if "│" in line]
    assert [[int(cell) for cell in cells] for cells in folder[:3]] == [
        [11, 0, 0, 0, 0, 11, 0],
        [1, 1, 1, 9, 0, 3, 0],
        [0, 0, 0, 11, 0, 0, 0],
    ]
    for heading in ("added", "updated", "removed", "kept", "rejected", "affected", "calls", "seconds"):
        assert heading in done.out
    stores = re.findall(r"│ (store\d) │ +(\d+) │ +([\d.]+) MB +│ +(\d+) │ +(\d+) │", done.out)
    assert [store for store, *_ in stores] == ["store1", "store2"] * 3
    assert all(photos == verified and failed == "0" for _, photos, _, verified, failed in stores)
    moved = [float(megabytes) for _, _, megabytes, _, _ in stores]
    assert moved[0] > moved[2] > moved[4] == moved[5] == 0, "everything, what changed, nothing"
    counted = dict(re.findall(r"│ ([a-z_ A-Z]+?) +│ +(\d+ │ +\d+) │", done.out))
    reports = {name: [int(cell) for cell in re.findall(r"\d+", cells)] for name, cells in counted.items()}
    assert reports["total_image_refs"] == [108, 108]
    assert reports["images_uploaded"] == [12, 0]
    assert reports["images_skipped"] == [0, 12]
    assert reports["links_created"] == [108, 0]
    assert reports["main_image_links"] == [16, 16]
    assert reports["calls to Plytix"] == [29, 1]
    runs, _, tried = done.out.partition("what was tried on purpose")
    cells = [[cell.strip() for cell in line.split("│")[2:-1]] for line in runs.splitlines() if "│ child-" in line]
    # Account, mode; added, updated, removed; images there; calls, and those of the earlier way.
    assert [row[:8] for row in cells] == [
        ["child-1", "all", "54", "0", "0", "54", "78", "144"],
        ["child-2", "first", "18", "0", "0", "18", "23", "72"],
        ["child-1", "all", "1", "5", "4", "51", "11", "187"],
        ["child-2", "first", "0", "4", "1", "17", "6", "85"],
        ["child-1", "all", "0", "0", "0", "51", "1", "187"],
        ["child-2", "first", "0", "0", "0", "17", "0", "85"],
    ]
    moments = dict(
        re.findall(r"^│ ([a-z ,]*[a-z]) +│ +(\d+ │ +\d+) │ [ \d]+│[ \d]+│[ \d]+│[ a-z]+│$", runs, re.MULTILINE)
    )
    assert moments["before"] == moments["undone"] == moments["the next run"] != moments["the undo, undone"]
    told = re.findall(r"^│ (\S+) +│ right +│ (500, on purpose|204) +│", runs, re.MULTILINE)
    assert [answered for _, answered in told[:2]] == ["500, on purpose", "204"]
    assert told[0][0] == told[1][0], "the same message again, by its id"
    assert "make dev" in done.out
    trials = re.findall(r"^│ (\S.+?) +│ (\S.*?) +│ (yes|NO) +│$", tried, re.MULTILINE)
    assert [right for *_, right in trials] == ["yes"] * TRIALS
    pages = re.findall(r"│ (/\S*?)(?:/\d+\S*)? +│ (\d+) (\S+)", done.out)
    assert [path for path, *_ in pages] == ["/", "/products", "/media", "/history", "/plans"]
    assert {status for _, status, _ in pages} == {"200"}
    assert "svg" not in pages[2][2], "a picture, not the grey one"
    assert "open http://127.0.0.1:8830" in done.out


@pytest.mark.slow
def test_sandbox_prints_the_variables_that_point_to_it_and_stops_at_sigterm(tmp_path: Path) -> None:
    port, media = free_port(), free_port()
    process = subprocess.Popen(
        [*COMMAND, "sandbox", "--port", str(port), "--media-port", str(media), "--erp-folder", str(tmp_path)],
        cwd=tmp_path, env=environment_of(None, {"PYTHONUNBUFFERED": "1"}), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: answers(f"http://localhost:{port}/__sandbox__/state"), process)
    wait_for(lambda: (tmp_path / "variants.csv").exists(), process)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    variables = dict(re.findall(r"^([A-Z_]+)=(.+)$", out, flags=re.MULTILINE))
    assert variables["IMAGE_API_URL"] == f"http://localhost:{port}/api/"
    assert Path(variables["ERP_PARENTS_FILE"]).exists()
    assert {"IMAGE_API_USERNAME", "IMAGE_API_PASSWORD", "ERP_VARIANTS_FILE"} <= set(variables)
