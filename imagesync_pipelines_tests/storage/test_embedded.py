"""One embedded server per home: shared, found again, stopped by its last user, however the others ended."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage import embedded, supervisor
from imagesync_pipelines.storage.embedded import (
    EmbeddedServer,
    ensure_server,
    file_system_of,
    is_on_network,
    leave_running,
    stop_server,
)
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.supervisor import OWNER_FILE

USER = """
import sys
from pathlib import Path
from imagesync_pipelines.storage.embedded import ensure_server
print(ensure_server(Path(sys.argv[1])).pid, flush=True)
sys.stdin.readline()
"""


OTHER_CONTAINER = """
import sys
from pathlib import Path
import sqlalchemy as sa
from imagesync_pipelines.storage.embedded import ensure_server
with sa.create_engine(ensure_server(Path(sys.argv[1])).url("postgres", "psycopg")).connect() as connection:
    print(connection.execute(sa.text("SELECT answer FROM kept")).scalar(), flush=True)
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
sys.executable = sys.argv[3]
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


def test_killed_processes_do_not_keep_the_server_from_stopping(home: Path) -> None:
    killed, other = _user(home), _user(home)
    pid = int(killed.stdout.readline())
    assert int(other.stdout.readline()) == pid
    killed.kill()
    killed.communicate()
    assert _runs(pid)
    server = [psutil.Process(pid)]
    other.kill()
    other.communicate()
    assert psutil.wait_procs(server, timeout=30)[1] == []


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


@pytest.mark.parametrize("left", [b"\x00" * 90, b"", b"no number\n" * 9], ids=["NUL bytes", "empty", "other lines"])
def test_a_pid_file_that_a_power_cut_left_stops_no_command(home: Path, left: bytes) -> None:
    ensure_server(home)
    stop_server(home)
    (home / "postgres" / "postmaster.pid").write_bytes(left)
    stop_server(home)
    assert _ask(ensure_server(home), "SELECT 1") == 1


def test_a_user_that_is_ended_by_sigterm_leaves_no_server_behind(home: Path) -> None:
    user = _user(home)
    server = psutil.Process(int(user.stdout.readline()))
    user.terminate()
    assert user.wait() == -signal.SIGTERM
    assert psutil.wait_procs([server], timeout=30)[1] == []
    assert not (home / "postgres" / "postmaster.pid").exists(), "it was shut down, not killed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_the_server_ends_with_its_supervisor_however_that_ends(home: Path, number: signal.Signals) -> None:
    server = ensure_server(home)
    _ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    supervisor = int((home / OWNER_FILE).read_text())
    assert psutil.Process(server.pid).ppid() == supervisor
    ended = [psutil.Process(server.pid)]
    os.kill(supervisor, number)
    assert psutil.wait_procs(ended, timeout=30)[1] == []
    again = ensure_server(home)
    assert _ask(again, "SELECT answer FROM kept") == 42


def _is_turned_away(caller: socket.socket, address: Path) -> bool:
    """Whether there is no room in the server's queue for one more."""
    caller.setblocking(False)
    try:
        caller.connect(str(address))
    except BlockingIOError:
        return True
    return False


def test_a_halted_server_whose_queue_is_full_lets_nobody_wait_without_an_end(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = psutil.Process(ensure_server(home).pid)
    monkeypatch.setattr(embedded, "START_SECONDS", 0.2)
    server.suspend()
    callers = [socket.socket(socket.AF_UNIX)]
    try:
        while not _is_turned_away(callers[-1], home / "postgres" / ".s.PGSQL.5432"):
            callers.append(socket.socket(socket.AF_UNIX))
        with pytest.raises(StorageError, match="is not ready after"):
            ensure_server(home)
    finally:
        server.resume()
        for one in callers:
            one.close()


def test_a_second_supervisor_is_refused(home: Path) -> None:
    ensure_server(home)
    assert supervisor.main(home, "", home / "log", ["/bin/false"]) == supervisor.TAKEN


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a namespace of processes, as a container has one")
def test_a_second_container_on_the_same_home_uses_the_server_of_the_first(home: Path) -> None:
    """Its processes do not see those of the first one; two servers on one data folder lost rows."""
    server = ensure_server(home)
    _ask(server, "CREATE TABLE kept AS SELECT 42 AS answer")
    words = ["unshare", "--pid", "--ipc", "--fork", "--mount-proc", sys.executable, "-c", OTHER_CONTAINER, str(home)]
    other = subprocess.run(words, check=False, capture_output=True, text=True)
    if "Operation not permitted" in other.stderr:
        pytest.skip("this machine allows no namespaces")
    assert other.stdout == "42\n", other.stderr
    assert _runs(server.pid), "the second container has ended, the first one goes on"
    assert _ask(server, "SELECT count(*) FROM kept") == 1


def test_a_server_of_a_release_without_a_supervisor_is_joined_and_stopped(home: Path) -> None:
    data = home / "postgres"
    ensure_server(home)
    stop_server(home)
    embedded._run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(data / "log"), "-o", f"-h '' -k {data}")
    old = embedded._ready(data)
    assert ensure_server(home) == old
    assert _ask(ensure_server(home), "SELECT 1") == 1
    stop_server(home)
    assert not _runs(old.pid)


MOUNTS = r"""
22 27 0:20 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
30 22 0:30 / /mnt/share rw master:2 - nfs4 server:/export rw,vers=4.2
31 22 0:31 / /mnt/share/disk rw - xfs /dev/sdb1 rw
32 22 0:32 / /mnt/two\040words rw - cifs //server/share rw
33 22 0:33 / /mnt/far rw - fuse.sshfs me@host: rw
34 22 0:34 / /mnt/again rw - nfs4 server:/old rw
35 22 0:34 / /mnt/again rw - btrfs /dev/sdc rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "refused"),
    [
        ("/home/me/.imagesync", "ext4", False),
        ("/mnt/share/home", "nfs4", True),
        ("/mnt/shared", "ext4", False),
        ("/mnt/share/disk/home", "xfs", False),
        ("/mnt/two words/home", "cifs", True),
        ("/mnt/far", "fuse.sshfs", True),
        ("/mnt/again/home", "btrfs", False),
    ],
)
def test_the_file_system_of_a_folder_is_that_of_the_nearest_mount(path: str, kind: str, refused: bool) -> None:
    assert file_system_of(Path(path), MOUNTS) == kind
    assert is_on_network(kind) is refused


def test_on_a_network_file_system_the_server_is_refused_with_what_to_set(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "file_system_of", lambda path, mounts: "nfs4")
    with pytest.raises(StorageError, match=r"network file system \(nfs4\).*IMAGESYNC_HOME.*IMAGESYNC_DATABASE_URL"):
        ensure_server(home)
    assert not (home / "postgres").exists()


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
    with pytest.raises(StorageError, match=r"(?s)embedded PostgreSQL in .* did not start.*version"):
        ensure_server(home)


@pytest.mark.skipif(
    os.geteuid() != 0,
    reason="only root can hand a folder to another user; run by an ordinary user, every other test here is one",
)
def test_an_ordinary_user_has_a_server_too_but_not_on_the_home_of_another(home: Path) -> None:
    ensure_server(home / "of root")
    # That of these tests may lie below a folder that only root may pass; the supervisor needs no package.
    interpreter = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin")
    if interpreter is None:
        pytest.skip("there is no interpreter that an ordinary user may run")
    (home / "own").mkdir()
    shutil.chown(home / "own", "pgserver")
    done = subprocess.run(
        [sys.executable, "-c", ORDINARY_USER, str(home / "own"), str(home / "of root"), interpreter],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    stop_server(home / "of root")
    answer, refusal = done.stdout.splitlines()
    assert answer == "42 pgserver"
    assert "Does the folder belong to another user? Set IMAGESYNC_HOME" in refusal
    assert not (home / "own" / "postgres" / "postmaster.pid").exists()
