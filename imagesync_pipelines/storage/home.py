"""The home folder: what in it is ours, and that nobody else of this machine reads it.

Pictures, plans, exports, logs and secrets are their owner's alone, and nobody else can open the files whose locks stop
us. Whatever else lies in a home is not ours and is left as it is.
"""

import os
import shutil
import stat
from contextlib import suppress
from functools import cache
from pathlib import Path

from imagesync_pipelines.storage.errors import StorageError

# What we make in a home, by name; what begins with "postgres." is the embedded server's.
_OURS = ("dagster", "storage", "postgres", "objects", "sandbox", "decoding", "catalogue.secret", "head_office.secret")
PRIVATE_FOLDER, OTHERS, PASS = 0o700, 0o077, 0o001


@cache
def keep_private() -> int:
    """From now on whatever this process and its children make is its owner's alone; gives the mask of before.

    Called where a process of ours begins.
    """
    return os.umask(OTHERS)


def hand_out(file: Path) -> None:
    """Give a file that a person named the rights that this person's shell gives to new files."""
    file.chmod(0o666 & ~keep_private())


def ours_in(home: Path) -> list[Path]:
    """What is in a home by us, sorted."""
    return sorted(place for place in home.iterdir() if place.name in _OURS or place.name.startswith("postgres."))


def remove(place: Path) -> None:
    """Remove a file or a folder with everything in it; of a link only the link."""
    shutil.rmtree(place) if place.is_dir() and not place.is_symlink() else place.unlink(missing_ok=True)


def make_private(home: Path) -> None:
    """Make a home that only its owner can use, or make one so that was open to others.

    A folder with something else in it keeps its rights, and so does the else. Raises StorageError for a home that is
    not to be used by us.
    """
    try:
        home.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        ours, others = ours_in(home), len(list(home.iterdir()))
    except OSError as error:
        raise StorageError(
            f"{home} cannot be used: {error}. "
            "Does the folder belong to another user? Set IMAGESYNC_HOME to one of yours."
        ) from error
    # Under root the embedded server is another user, who has to pass: one that another process makes now as well.
    passed = PASS if os.geteuid() == 0 else 0
    if len(ours) == others and home.stat().st_mode & OTHERS & ~passed:
        _narrow(home, OTHERS & ~(passed if (home / "postgres.lock").exists() else 0))
    for place in ours:
        # Its own rights are the last to change: until then the next start goes on.
        if place.name != "postgres" and _is_open(place):
            for folder, _, files in os.walk(place, topdown=False):
                for path in (*(Path(folder, name) for name in files), Path(folder)):
                    _narrow(path, OTHERS)
            _narrow(place, OTHERS)


def _is_open(path: Path) -> bool:
    state = path.lstat()
    return not stat.S_ISLNK(state.st_mode) and bool(state.st_mode & OTHERS)


def _narrow(path: Path, without: int) -> None:
    # Another process may be at work in a home that is used; what another user put there is that user's to close; and a
    # file system that is read only or knows no rights keeps its own.
    with suppress(OSError):
        mode = path.lstat().st_mode
        if mode & without and not stat.S_ISLNK(mode):
            path.chmod(stat.S_IMODE(mode) & ~without)
