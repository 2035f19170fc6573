"""`imagesync` as real processes: exit codes, what is on which stream, no noise, no trace, no secret, `.env`."""

import os
import pty
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from imagesync_pipelines.connectors.folder.model import FolderError
from imagesync_pipelines.connectors.image_db.errors import BadPageError, BatchMissingError, UnknownSkuError
from imagesync_pipelines.defs import history
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.products.erp import ErpError
from imagesync_pipelines.sandbox.faults import FaultKind, WireFault
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.server import ServingError
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.sync.blocks import BadBlockError
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines_tests.cli.terminals import COMMAND, call, environment_of, shell
from imagesync_pipelines_tests.installations import World, world
from imagesync_pipelines_tests.places import ended_well

pytestmark = pytest.mark.slow

CANARY = "canary-7f3a91"
OWN_LINE = re.compile(r"\d\d:\d\d:\d\d (INFO|WARNING) ")


@pytest.fixture(scope="module")
def place(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """An installation that has been synchronised once."""
    with world(server, tmp_path_factory.mktemp("shell")) as made:
        ended_well(made.sync())
        yield made


def test_success_ends_with_0_and_only_our_own_lines(place: World, tmp_path: Path) -> None:
    done = shell(place, tmp_path, "sync", "image-db")
    assert done.code == 0, done.err
    assert re.search(r"^completed: run [0-9a-f-]{36}$", done.out, flags=re.MULTILINE)
    assert "images added 0, images updated 0, images deleted 0" in done.out
    assert re.search(r"in the UI: http://127.0.0.1:3000/runs/[0-9a-f-]{36}", done.out)
    noise = [line for line in done.err.splitlines() if not OWN_LINE.match(line)]
    assert noise == []
    assert "images and" in done.err
    assert "DEBUG" not in done.err
    assert not list(tmp_path.iterdir()), "the folder of the shell is not written to"


def test_partial_success_ends_with_3_and_debug_tells_every_image(place: World, tmp_path: Path) -> None:
    done = shell(place, tmp_path, "--debug", "sync", "image-db", "--limit", "1")
    assert done.code == 3, done.err
    assert "completed with warnings: run" in done.out
    assert "warning: Nothing is removed this time" in done.out
    matched = re.findall(r"DEBUG   (\d+/\d+): matched by ", done.err)
    applied = re.findall(r"DEBUG   (\d+/\d+): keep", done.err)
    assert len(matched) >= 10
    assert set(applied) == set(matched), done.err


def test_failure_ends_with_1_and_one_line_of_error_without_a_trace(place: World, tmp_path: Path) -> None:
    place.sandbox.faults.add(
        WireFault(FaultKind.ANSWER, ENDPOINT, "2", status=404, times=None, body=b'{"detail":"No."}')
    )
    done = shell(place, tmp_path, "sync", "image-db")
    place.sandbox.faults.clear()
    assert done.code == 1
    assert "failed: run" in done.out
    assert len([line for line in done.out.splitlines() if "error: 1 of 2 partitions" in line]) == 1
    assert "Traceback" not in done.out + done.err


def test_wrong_options_end_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    done = call(None, capsys, "sync", "image-db", "--limit", "0")
    assert done.code == 2
    assert "--limit" in done.err


@pytest.mark.parametrize(
    "family",
    [
        *(SettingsError, StorageError, UpstreamError, BadPageError, BadBlockError, ServingError),
        *(UnknownSkuError, BatchMissingError, ErpError, FolderError),
    ],
)
def test_every_family_of_errors_for_people_is_known_to_the_command_line(family: type[Exception]) -> None:
    assert issubclass(family, ImagesyncError)


def test_settings_are_read_from_the_env_file_of_the_folder(place: World, tmp_path: Path) -> None:
    lines = [f"{name}={value}" for name, value in place.environment.items() if name != "IMAGESYNC_ENV_FILE"]
    (tmp_path / ".env").write_text("\n".join(lines), encoding="utf-8")
    done = shell(None, tmp_path, "image-db", "discover")
    assert (done.code, done.out) == (0, "3 pages in 2 blocks; added 0, removed 0.\n"), done.err


def test_a_wrong_setting_is_told_before_anything_of_dagster_is_loaded_with_it(tmp_path: Path) -> None:
    done = shell(None, tmp_path, "sync", "image-db", IMAGE_DB_SCHEDULE=CANARY, IMAGESYNC_ENV_FILE=os.devnull)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("IMAGE_DB_SCHEDULE: a schedule has five fields")
    assert len(done.err.splitlines()) == 1


def test_secrets_never_reach_the_terminal(place: World, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (("--debug", "sync", "image-db", "--limit", "1"), ("history",)):
        done = call(place, capsys, *words, IMAGE_API_PASSWORD=CANARY)
        assert CANARY not in done.out + done.err, words
        assert "refused" in done.out


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("IMAGE_API_TIMEOUT", CANARY, id="not a number"),
        pytest.param("IMAGE_DB_SCHEDULE", CANARY, id="no schedule"),
        pytest.param("IMAGESYNC_ENVIRONMENT", CANARY, id="not one of the choices"),
        pytest.param("IMAGE_API_URL", f"ftp://{CANARY}/", id="no http"),
        pytest.param("IMAGESYNC_DATABASE_URL", f"mysql://u:{CANARY}@host/db", id="no PostgreSQL"),
        pytest.param("IMAGESYNC_DATABASE_URL", f"postgresql://u:{CANARY}@127.0.0.1:1/db", id="no database there"),
        pytest.param("IMAGESYNC_DAGSTER_URL", f"postgresql://u:{CANARY}@127.0.0.1:1/db", id="no database for Dagster"),
    ],
)
def test_a_wrong_setting_gives_one_clear_line_and_never_its_value(
    place: World, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    done = call(place, capsys, "sync", "image-db", **{name: value})
    assert done.code == 1
    assert "Traceback" not in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert CANARY not in done.out + done.err
    assert name in done.err or "The database does not answer" in done.err


def test_a_terminal_sees_a_progress_bar(place: World, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = environment_of(place, {"TERM": "xterm", "COLUMNS": "120"})
    process = subprocess.Popen(
        [*COMMAND, "sync", "image-db"], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end was closed
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    assert process.wait() == 0
    for stage in (b"pages read", b"pages validated"):
        assert stage in shown


def test_ctrl_c_ends_a_run_that_history_then_shows_as_failed(place: World, tmp_path: Path) -> None:
    slow = WireFault(FaultKind.LATENCY, ENDPOINT, times=None, seconds=2)
    place.sandbox.ledger.clear()
    place.sandbox.faults.add(slow)
    process = subprocess.Popen(
        [*COMMAND, "sync", "image-db", "--limit", "3"], cwd=tmp_path, env=environment_of(place, {}),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not place.sandbox.ledger.under_way(ENDPOINT) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    place.sandbox.faults.clear()
    assert process.returncode == 1, (out, err)
    assert "Traceback" not in out + err
    with place.opened() as (_, instance):
        line = history.history(instance, limit=1)[0]
        unfinished = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    assert (line.status, unfinished) == ("failed", [])
    assert "topped before it was done" in line.error
