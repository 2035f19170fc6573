"""What a process does, for OpenTelemetry: runs, steps, calls and requests, each as a span, and their numbers.

Off by default: then nothing of OpenTelemetry is imported, and every function here does nothing. No name and no
attribute holds an id of a record, a query or a credential.
"""

import logging
import re
from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Protocol, Self

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from imagesync_pipelines.settings import EnvironmentSettings, load_settings

if TYPE_CHECKING:
    from imagesync_pipelines.telemetry.exporting import Exporter

# Of a run, with the span that started it. Dagster's UI hides tags that begin so.
PARENT_TAG = ".dagster/imagesync_traceparent"
PARENT_HEADER = "traceparent"
MISSING = (
    "OpenTelemetry is switched on (OTEL_EXPORTER_OTLP_ENDPOINT, IMAGESYNC_OTEL) and not installed, so nothing is "
    "traced: pip install 'imagesync-pipelines[otel]', or take the variable away."
)
# Which attempt of a call this is, from 1.
attempt: ContextVar[int] = ContextVar("attempt", default=1)

Value = str | int | float | bool
# What a path has that is no id: words in lower case, camel case, and versions.
_WORD = re.compile(r"[a-z][a-zA-Z_-]{0,30}|v\d{1,2}|\d\.\d{1,2}")

_logger = logging.getLogger("imagesync")


class TelemetrySettings(EnvironmentSettings):
    """Whether there are traces and metrics. What else OTEL_* variables say, OpenTelemetry reads in the environment."""

    model_config = SettingsConfigDict(
        env_prefix="IMAGESYNC_", extra="ignore", env_ignore_empty=True, populate_by_name=True
    )

    otel: bool | None = Field(
        None, description="true: traces and metrics go to OpenTelemetry's collector; empty: where the next one is set"
    )
    otel_endpoint: str | None = Field(
        None,
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="OpenTelemetry's collector, by OTLP over HTTP, e.g. http://localhost:4318, which it is if empty",
    )

    @property
    def is_on(self) -> bool:
        """Whether anything is traced."""
        return bool(self.otel_endpoint) if self.otel is None else self.otel


class Span(Protocol):
    """Something that takes time, in a `with` block; an exception that leaves the block is its error."""

    def __enter__(self) -> Self:
        """Begin it."""

    def __exit__(self, *raised: object) -> None:
        """End it."""

    def note(self, **values: Value) -> None:
        """Say more of it; `a__b` is the attribute a.b, and `name` its name."""

    def headers(self) -> Mapping[str, str]:
        """What tells a service of ours that this span calls it."""


class _Nothing:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        return None

    def note(self, **values: Value) -> None:
        return None

    def headers(self) -> Mapping[str, str]:
        return {}


_NOTHING = _Nothing()
_exporter: "Exporter | None" = None
_has_begun = False


def begin() -> None:
    """Let this process tell what it does, if it is to; again changes nothing. Raises SettingsError."""
    global _exporter, _has_begun
    if _has_begun:
        return
    _has_begun = True
    settings = load_settings(TelemetrySettings)
    if not settings.is_on:
        return
    try:
        from imagesync_pipelines.telemetry.exporting import Exporter
    except ImportError:
        _logger.warning(MISSING)
        return
    _exporter = Exporter(settings.otel_endpoint)


def is_on() -> bool:
    """Whether this process tells what it does."""
    return _exporter is not None


def span(name: str, *, parent: str = "", **values: Value) -> Span:
    """Something that this whole process does: spans of all its threads are below it.

    parent: the span above it where that is another process's, as `traceparent` has it.
    """
    return _NOTHING if _exporter is None else _exporter.work(name, parent, values)


def call(method: str, url: str, *, has_route: bool = True) -> Span:
    """A request to another system. has_route: what the path says is a route, not the name of somebody's picture."""
    return _NOTHING if _exporter is None else _exporter.call(method, url, has_route, attempt.get())


def request(method: str, parent: str) -> Span:
    """A request that this process answers; spans of the same task are below it."""
    return _NOTHING if _exporter is None else _exporter.request(method, parent)


def count(name: str, number: int, **values: Value) -> None:
    """Add to a number; 0 is not told."""
    if _exporter is not None and number:
        _exporter.count(name, number, values)


def parent_tag() -> dict[str, str]:
    """The tag that puts a run below the span that this process is at; none where there is none."""
    found = {} if _exporter is None else _exporter.here()
    return {PARENT_TAG: found[PARENT_HEADER]} if found else {}


def send() -> None:
    """Send what is there, for at most two seconds: a process that did a run may be ended at any moment."""
    if _exporter is not None:
        _exporter.send()


def route_of(path: str) -> str:
    """A path with `{id}` for every part that is no plain word."""
    return "/".join(part if not part or _WORD.fullmatch(part) else "{id}" for part in path.split("/"))
