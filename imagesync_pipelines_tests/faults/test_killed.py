"""A real `imagesync sync image-db`, killed with kill -9 in each of its stages; the next run, and what history says."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from imagesync_pipelines import runs
from imagesync_pipelines.operations.history import history
from imagesync_pipelines.sandbox.image_db.app import ENDPOINT
from imagesync_pipelines.sandbox.image_db.server import Sandbox
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.home import House
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines_tests.e2e.rooms import Room, Rooms, assert_same_tables, from_scratch, room_settings

PATIENCE = 240

# The table in which a stage writes, and a lock on it that lets everything before that stage pass.
BLOCKED_AT = {
    "taking over products": ("product", "ACCESS EXCLUSIVE"),
    "validating": ("quarantine", "ACCESS EXCLUSIVE"),
    "planning": ("plan", "ACCESS EXCLUSIVE"),
    "applying": ("product_image", "SHARE"),
}
_WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
"""


@pytest.fixture
def room(house: House, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """A room on the installation that the command uses, synchronised once, with a catalogue that has changed since."""
    given = room_settings(sandbox, house.home / "erp")
    for name, value in {
        **house.environment(),
        "IMAGE_API_URL": sandbox.url,
        "IMAGE_API_USERNAME": sandbox.username,
        "IMAGE_API_PASSWORD": sandbox.password,
        "ERP_PARENTS_FILE": str(given.erp_parents_file),
        "ERP_VARIANTS_FILE": str(given.erp_variants_file),
    }.items():
        monkeypatch.setenv(name, value)
    with open_installation(Settings(home=house.home, database_url=house.database_url)) as place:
        made = Room(place, given, sandbox)
        made.sync()
        shown = [int(image) for image in made.table()["external_id"].unique()]
        for file_id in shown[:3]:
            sandbox.mutate("delete", file_id=file_id)
        for file_id in shown[3:9]:
            sandbox.mutate("re_export", file_id=file_id)
        for _ in range(3):
            sandbox.mutate("insert")
        products = sandbox.catalogue.products
        products.parents[0]["name"] = "Another name"
        sandbox.write_erp_csv(house.home / "erp")
        yield made


@contextmanager
def command(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`imagesync sync image-db` in a process of its own; it is killed at the latest when the context ends."""
    arguments = [sys.executable, "-m", "imagesync_pipelines.cli.main", "sync", "image-db"]
    with (folder / "output.txt").open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=output, env=os.environ.copy())
        try:
            yield process
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait(10)


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a moment of the run; a run that ends before it is an error."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert process.poll() is None, (folder / "output.txt").read_text()
        assert time.monotonic() < end, "the run did not come so far"
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["reading pages", *BLOCKED_AT])
def test_a_run_killed_in_any_stage_is_told_as_failed_and_the_next_run_ends_where_it_would_have(
    rooms: Rooms, room: Room, sandbox: Sandbox, tmp_path: Path, stage: str
) -> None:
    before = len(room.stamps())
    sandbox.ledger.clear()
    with ExitStack() as stack:
        if stage == "reading pages":
            sandbox.switches.latency = 0.5
            process = stack.enter_context(command(tmp_path))
            wait_until(lambda: sandbox.ledger.count(ENDPOINT) >= 4, process, tmp_path)
        else:
            table, mode = BLOCKED_AT[stage]
            holder = stack.enter_context(room.place.engine.connect())
            holder.execute(sa.text(f"LOCK TABLE imagesync.{table} IN {mode} MODE"))
            process = stack.enter_context(command(tmp_path))
            wait_until(lambda: room.scalar(_WAITING) > 0, process, tmp_path)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(10)
    sandbox.switches.latency = 0.0
    assert len(room.stamps()) == before
    room.assert_one_primary_each()

    second = runs.sync_image_db()
    assert second.status is not runs.Status.FAILED, second.error
    with runs.opened() as (_, instance):
        newest, killed = history(instance, 2)
    assert newest.run_id == second.run_id
    assert killed.status == "failed"
    assert "killed" in killed.error
    assert_same_tables(room, from_scratch(rooms, sandbox))
    assert runs.sync_image_db().summary["kept"] == len(room.stamps())
