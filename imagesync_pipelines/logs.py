"""How every process of ours writes its log: lines for people, or one JSON object per line, never with a secret.

The one place that sets up logging. `begin` is for processes that are ours alone (commands, servers), `dress` for the
handlers that Dagster and Celery make in theirs.
"""

import json
import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

from imagesync_pipelines.languages import retold
from imagesync_pipelines.settings import LogSettings, known_secrets, load_settings
from imagesync_pipelines.upstream.redaction import Redacting, extra_of

# What Dagster adds to a record; its parts that say something are fields of ours.
_DAGSTER = "dagster_meta"
_OF_DAGSTER = (_DAGSTER, "dagster_event", "dagster_event_batch_metadata")
_FIELDS = {"run_id": "run_id", "job_name": "job", "step_key": "step"}
_LINE = "%(asctime)s %(levelname)-7s %(message)s"
# The run that this process does: its id, connector and account.
_about: dict[str, str] = {}


def is_json() -> bool:
    """Whether logs are JSON. Raises SettingsError for a format that there is not."""
    return load_settings(LogSettings).log_format == "json"


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """Let every line that this process logs in a `with` block say what it is about, those of all its threads."""
    before = dict(_about)
    _about.update({name: value for name, value in fields.items() if value})
    try:
        yield
    finally:
        _about.clear()
        _about.update(before)


class JsonLines(logging.Formatter):
    """A record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line; a record without a handler that cleaned it would be shown as it is."""
        meta: Mapping[str, Any] = getattr(record, _DAGSTER, {})
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_about,
            **{ours: meta[name] for name, ours in _FIELDS.items() if meta.get(name)},
            **{name: value for name, value in extra_of(record).items() if name not in _OF_DAGSTER},
        }
        if record.exc_text or record.stack_info:
            line["error"] = "\n".join(filter(None, (record.exc_text, record.stack_info)))
        return json.dumps(line, default=str)


class Terminal(logging.Handler):
    """Log lines on standard error as it is at that moment, so that they do not tear a progress bar apart."""

    _before = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line; what is said again and again, while a database does not answer, is said once."""
        # Errors of databases have several lines, the last an address in SQLAlchemy's manual.
        said = " ".join(record.getMessage().split("\n(Background on this error")[0].split())
        if said == self._before:
            return
        self._before, record.msg, record.args = said, said, ()
        click.echo(self.format(record), err=True)


def dress(handler: logging.Handler) -> logging.Handler:
    """Let a handler write clean records, and JSON where that is asked for; gives the handler."""
    if not any(isinstance(one, Redacting) for one in handler.filters):
        handler.addFilter(Redacting(known_secrets, but=_OF_DAGSTER))
    if is_json():
        handler.setFormatter(JsonLines())
    return handler


def begin(*, debug: bool = False) -> None:
    """Set up the log of this process. Raises SettingsError for a format that there is not."""
    if is_json():
        take_over()
    else:
        handler = Terminal()
        handler.setFormatter(logging.Formatter(_LINE, "%H:%M:%S"))
        logging.basicConfig(level=logging.WARNING, handlers=[dress(handler)])
    logging.getLogger("imagesync").setLevel(logging.DEBUG if debug else logging.INFO)


def take_over() -> None:
    """Let everything that this process says about itself be JSON: each library's log, warnings, what ends a thread."""
    root = logging.getLogger()
    root.handlers[:] = [dress(logging.StreamHandler())]
    for name in list(logging.Logger.manager.loggerDict):
        logger = logging.getLogger(name)
        if any(isinstance(one, logging.StreamHandler) for one in logger.handlers):
            logger.handlers.clear()
            logger.propagate = True
    logging.captureWarnings(True)
    sys.excepthook = lambda kind, error, trace: _tell_end(error)
    threading.excepthook = lambda ended: _tell_end(ended.exc_value)


def _tell_end(error: BaseException | None) -> None:
    if error is None or isinstance(error, KeyboardInterrupt):
        return
    logging.getLogger("imagesync").critical("%s: %s", type(error).__name__, error, exc_info=error)


def say(text: str, **how: Any) -> None:
    """Tell who runs this process something on standard output, in their language and the colours of `how`.

    In JSON it is a line of the log, in English.
    """
    if is_json():
        logging.getLogger("imagesync").info(text)
    else:
        click.secho(retold(text), **how)


def fail(text: str) -> None:
    """Tell why this process ends, in red on standard error, in the language of who runs it; in JSON as `say`."""
    if _writes_json():
        logging.getLogger("imagesync").error(text)
    else:
        click.secho(retold(text), fg="red", err=True)


def _writes_json() -> bool:
    return any(isinstance(handler.formatter, JsonLines) for handler in logging.getLogger().handlers)
