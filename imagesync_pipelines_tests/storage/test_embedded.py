"""One embedded server per home: shared, found again, stopped by its last user, however the others ended."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.embedded import EmbeddedServer, ensure_server, leave_running, stop_server
from imagesync_pipelines.storage.errors import StorageError

USER = """
import sys
from pathlib import Path
from imagesync_pipelines.storage.embedded import ensure_server
print(ensure_server(Path(sys.argv[1])).pid, flush=True)
sys.stdin.readline()
"""


# Imports first: the interpreter itself may lie below a folder that only root may pass.
ORDINARY_USER = """
import os, pwd, sys
from pathlib import Path
import sqlalchemy.dialects.postgresql.psycopg, psycopg
import sqlalchemy as sa
from imagesync_pipelines.storage.embedded import ensure_server, stop_server
from imagesync_pipelines.storage.errors import StorageError
os.setgroups([])
os.setgid(pwd.getpwnam("pgserver").pw_gid)
os.setuid(pwd.getpwnam("pgserver").pw_uid)
own, roots = Path(sys.argv[1]), Path(sys.argv[2])
server = ensure_server(own)
with sa.create_engine(server.url("postgres", "psycopg")).connect() as connection:
    print(connection.execute(sa.text("SELECT 41 + 1")).scalar(), (own / "postgres").owner())
try:
    ensure_server(roots)
except StorageError as error:
    print(error)
"""


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home, not below pytest's folder: that one is closed to the user that stands in for root."""
    folder = Path(tempfile.mkdtemp(prefix="imagesync-tests-"))
    yield folder / "home"
    stop_server(folder / "home")
    shutil.rmtree(folder)


def _user(home: Path) -> subprocess.Popen[str]:
    """A process that uses the home's server until its standard input ends."""
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _ask(server: EmbeddedServer, question: str) -> object:
    engine = sa.create_engine(server.url("postgres", "psycopg"), poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(question))
        return result.scalar() if result.returns_rows else None


def test_two_processes_may_open_a_fresh_home_at_once_and_the_last_one_stops_it(home: Path) -> None:
    users = [_user(home) for _ in range(2)]
    pids = {int(user.stdout.readline()) for user in users}
    assert len(pids) == 1
    users[0].communicate("done\n")
    assert _runs(*pids)
    users[1].communicate("done\n")
    assert not _runs(*pids)
    assert not (home / "postgres" / "postmaster.pid").exists()


def test_a_killed_process_does_not_keep_the_server_from_stopping(home: Path) -> None:
    killed = _user(home)
    pid = int(killed.stdout.readline())
    killed.kill()
    killed.communicate()
    assert _runs(pid)
    other = _user(home)
    assert int(other.stdout.readline()) == pid
    other.communicate("done\n")
    assert not _runs(pid)


def test_a_server_that_is_left_running_outlives_its_users_until_it_is_stopped(home: Path) -> None:
    user = _user(home)
    pid = int(user.stdout.readline())
    leave_running(home)
    user.communicate("done\n")
    assert _runs(pid)
    stop_server(home)
    assert not _runs(pid)
    after = _user(home)
    pid = int(after.stdout.readline())
    after.communicate("done\n")
    assert not _runs(pid)


def test_a_killed_server_is_started_again_with_what_was_committed(home: Path) -> None:
    server = ensure_server(home)
    _ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    process = psutil.Process(server.pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
    again = ensure_server(home)
    assert again.pid != server.pid
    assert _ask(again, "SELECT answer FROM kept") == 42


def test_a_pid_file_that_names_somebody_elses_process_is_not_believed(home: Path) -> None:
    ensure_server(home)
    stop_server(home)
    stale = f"{os.getpid()}\n{home / 'postgres'}\n1700000000\n5432\n{home / 'postgres'}\n\n  1 1\nready   \n"
    (home / "postgres" / "postmaster.pid").write_text(stale)
    assert _ask(ensure_server(home), "SELECT 1") == 1


def test_a_home_with_a_long_path_and_odd_characters_works(home: Path) -> None:
    long = home / ("a long folder, with a comma" * 4) / "größe %41" / "home"
    server = ensure_server(long)
    try:
        assert _ask(server, "SELECT 1") == 1
        assert server.socket_folder.stat().st_mode & 0o077 == 0
        assert ensure_server(long) == server
    finally:
        stop_server(long)
    assert not _runs(server.pid)
    shutil.rmtree(server.socket_folder)


def test_a_half_made_data_folder_is_made_again(home: Path) -> None:
    left = home / "postgres.new"
    left.mkdir(parents=True)
    (left / "PG_VERSION").write_text("18\n")
    assert _ask(ensure_server(home), "SELECT 1") == 1
    assert not left.exists()


def test_the_server_is_durable_and_closed_to_the_network(home: Path) -> None:
    server = ensure_server(home)
    assert _ask(server, "SHOW fsync") == "on"
    assert _ask(server, "SHOW listen_addresses") == ""
    assert str(_ask(server, "SHOW server_version_num")).startswith("18")
    assert (home / "postgres").stat().st_mode & 0o077 == 0
    assert (
        _ask(server, "SELECT lower('GRÖẞE') || (SELECT count(*) FROM pg_stat_activity WHERE 'b' < 'ä')::text") > "größe"
    )


def test_stopping_twice_or_what_never_ran_is_fine(home: Path) -> None:
    stop_server(home)
    server = ensure_server(home)
    stop_server(home)
    stop_server(home)
    assert not _runs(server.pid)


def test_a_home_that_was_removed_under_a_user_makes_no_noise(home: Path) -> None:
    user = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", USER, str(home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    user.stdout.readline()
    stop_server(home)
    shutil.rmtree(home)
    _, noise = user.communicate("done\n")
    assert [line for line in noise.splitlines() if "other users may now pass" not in line] == []
    assert user.returncode == 0


def test_a_server_that_cannot_start_says_why(home: Path) -> None:
    ensure_server(home)
    stop_server(home)
    (home / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(StorageError, match=r"(?s)embedded PostgreSQL failed \(pg_ctl start\).*version"):
        ensure_server(home)


@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="only root can hand a folder to another user; run by an ordinary user, every other test here is one",
)
def test_an_ordinary_user_has_a_server_too_but_not_on_the_home_of_another(home: Path) -> None:
    ensure_server(home / "of root")
    (home / "own").mkdir()
    shutil.chown(home / "own", "pgserver")
    done = subprocess.run(
        [sys.executable, "-c", ORDINARY_USER, str(home / "own"), str(home / "of root")],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    stop_server(home / "of root")
    answer, refusal = done.stdout.splitlines()
    assert answer == "42 pgserver"
    assert "Does the folder belong to another user? Set IMAGESYNC_HOME" in refusal
    assert not (home / "own" / "postgres" / "postmaster.pid").exists()
