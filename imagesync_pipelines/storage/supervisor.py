"""The supervisor of the embedded PostgreSQL: one process that owns the server of a home from its start to its end.

It is run as a file (`python -I -S supervisor.py`), with the standard library alone: that takes a moment, not a second.
It holds a kernel lock as long as it lives, and the processes of its server hold the same one. So nobody starts a second
server on the same data, from whatever container, not even while the last process of a killed server is still at work.
The server is stopped when its last user has ended, however that ended (each holds a shared lock on another file); on
SIGTERM and SIGINT; and when the supervisor itself is killed.
"""

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

OWNER_FILE, HANDLES_FILE, LEFT_RUNNING_FILE = "postgres.owner", "postgres.handles", "postgres.left_running"
# The exit code when another supervisor holds the lock.
TAKEN = 3
STOP_SECONDS = 60
LOOK_SECONDS = 0.5
_PARENT_DEATH_SIGNAL = 1
_WAITED_FOR = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGUSR1}


def main(home: Path, user: str, log: Path, command: list[str]) -> int:
    """Take the lock, then go on as a process of nobody's; the one that was started ends at once with 0, or TAKEN.

    user: `uid:gid` for the server, '' for our own. command: the server's program and its arguments.
    """
    owner = os.open(home / OWNER_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return TAKEN
    if os.fork():
        return 0
    os.ftruncate(owner, 0)
    os.pwrite(owner, str(os.getpid()).encode(), 0)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    supervisor, server = os.getpid(), os.fork()
    if not server:
        _become_server(supervisor, owner, user, log, command)
    threading.Thread(target=_tell_of_last_user, args=(home,), daemon=True).start()
    while signal.sigwait(_WAITED_FOR) == signal.SIGCHLD:
        if os.waitpid(server, os.WNOHANG)[0]:
            return 1
    _stop(server)
    return 0


def _become_server(supervisor: int, owner: int, user: str, log: Path, command: list[str]) -> None:
    """In the child: the server itself, which holds the owner's lock too and ends with the supervisor."""
    try:
        if user:
            uid, gid = map(int, user.split(":"))
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
        # After the change of user, which would forget it. SIGINT: PostgreSQL's fast shutdown.
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, int(signal.SIGINT))
        if os.getppid() != supervisor:
            os._exit(1)
        os.set_inheritable(owner, True)
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        os.execv(command[0], command)  # noqa: S606 - our own program
    except OSError as error:
        os.write(2, f"{error}\n".encode())
    os._exit(1)


def _tell_of_last_user(home: Path) -> None:
    """Wait until nobody uses the server any more; then nobody can come in before it is stopped."""
    with suppress(FileNotFoundError):
        handles = os.open(home / HANDLES_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            fcntl.flock(handles, fcntl.LOCK_EX)
            if not (home / LEFT_RUNNING_FILE).exists():
                break
            fcntl.flock(handles, fcntl.LOCK_UN)
            time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _stop(server: int) -> None:
    """Stop the server: fast at first (clients are sent away), at once when that takes too long."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        os.kill(server, number)
        until = time.monotonic() + STOP_SECONDS
        while time.monotonic() < until:
            if os.waitpid(server, os.WNOHANG)[0]:
                return
            time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:]))
