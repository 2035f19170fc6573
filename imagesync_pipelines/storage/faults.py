"""What went wrong around us, said for people: the database, a disk, the limits of this machine. One place for all.

Drivers, SQLAlchemy, Dagster and the system each have errors of their own for it, one wrapped in the other; what is
asked for here is the sentence: what happened, and what to do. What is no fault of this kind gets none: it may be ours.
"""

import errno
import re
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, TimeoutError

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_

_KEPT = N_("What was written is kept; run again afterwards.")
_LOOK = languages.told(f"See whether the server runs and can be reached. {_KEPT}")
# By PostgreSQL's codes: what the database does, and what to do; between them comes what the server said.
_CODES = {
    "53300": (
        N_("{what} has no free connection left ({said})."),
        languages.told(f"End programs that hold some, or raise max_connections. {_KEPT}"),
    ),
    "53100": (N_("{what} has no room left on its disk ({said})."), languages.told(f"Make room there. {_KEPT}")),
    "53200": (
        N_("{what} has too little memory ({said})."),
        languages.told(f"End other programs on its host, or give it more. {_KEPT}"),
    ),
    "25006": (N_("{what} takes no changes ({said})."), N_("Is it a standby? Name the primary server.")),
    "28": (N_("{what} refuses the user ({said})."), N_("Correct the user and the password in the URL.")),
    "3D000": (N_("{what} is not there ({said})."), N_("Correct its name in the URL, or make it.")),
    "42501": (N_("{what} does not let its user do this ({said})."), N_("An administrator has to allow it.")),
    "57P03": (N_("{what} is not ready yet ({said})."), languages.told(f"Wait until it has started. {_KEPT}")),
    "57P": (N_("{what} was stopped ({said})."), languages.told(f"Start it again. {_KEPT}")),
    "08": (N_("{what} was cut off ({said})."), _LOOK),
    "": (N_("{what} does not answer ({said})."), _LOOK),
}
# A refused log-in has no code in psycopg, only the server's words.
_WORDS = {
    r"too many clients|too many connections|connection slots are reserved": "53300",
    r"password authentication failed|no pg_hba\.conf entry|role .* does not exist": "28",
    r"database .* does not exist": "3D000",
    r"the database system is (?!shut)": "57P03",
    r"the database system is shut|terminating connection": "57P",
    r"server closed the connection|connection (?:was )?(?:is )?(?:lost|closed|reset)|broken pipe": "08",
    r"No space left on device": "53100",
}
_UNANSWERED = (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)
_SYSTEM = {
    errno.ENOSPC: N_("The disk is full{where}. Make room there."),
    errno.EDQUOT: N_("The disk quota is used up{where}. Make room there."),
    errno.EFBIG: N_("A file may not become as large as is needed{where}. Raise the limit (ulimit -f)."),
    errno.EROFS: N_("The disk takes no changes{where}. Was it set read-only after an error?"),
    errno.EMFILE: N_("This process may not open more files{where}. Raise the limit (ulimit -n)."),
    errno.ENFILE: N_("This host may not open more files{where}. Raise its limit."),
    errno.EIO: N_("The disk cannot be read or written{where}. Look at the host's log: it may be failing."),
}
# Those that say nothing of the file that met them: the next one would meet the same.
_OF_ANY_FILE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE})


def told(error: BaseException, what: str = N_("The database")) -> str | None:
    """A line for people about an error or what it came from; None for what is no fault of this kind.

    what: the database, where it may be one of several. The line holds what the server said, but neither a statement nor
    its values.
    """
    return next(filter(None, (_told(one, what) for one in _behind(error))), None)


def is_system_exhausted(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, says that no file can be written or opened on this host now."""
    one: BaseException | None = error
    while one is not None and not (isinstance(one, OSError) and one.errno in _OF_ANY_FILE):
        one = one.__cause__
    return one is not None


def _told(error: BaseException, what: str) -> str | None:
    if isinstance(error, OSError) and error.errno in _SYSTEM:
        return f"{_SYSTEM[error.errno].format(where=f' ({error.filename})' if error.filename else '')} {_KEPT}"
    if isinstance(error, TimeoutError):
        return _sentence(what, "53300", languages.told("none became free in time"))
    if not isinstance(error, DBAPIError | psycopg.Error):
        return None
    said = error.orig if isinstance(error, DBAPIError) else error
    # Of several lines the first says it; further ones hold hints, or values.
    text = getattr(getattr(said, "diag", None), "message_primary", None) or (str(said).strip().splitlines() or [""])[0]
    if code := getattr(said, "sqlstate", None) or getattr(said, "pgcode", None):
        return next((_sentence(what, code[:size], text) for size in (5, 3, 2) if code[:size] in _CODES), None)
    if isinstance(error, _UNANSWERED):
        return _sentence(what, next((found for words, found in _WORDS.items() if re.search(words, text)), ""), text)
    return None


def _sentence(what: str, code: str, said: str) -> str:
    does, do = _CODES[code]
    return f"{does.format(what=what, said=said)} {do}"


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    """An error, and what it came from, the nearest first."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
