"""Turning what was read into HTML in the language of the request, and how old what we show is."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib.resources import files
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from fastapi import Depends, Path, Request
from fastapi.templating import Jinja2Templates
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import Response

from imagesync_pipelines.languages import LANGUAGES, N_, _, current, ngettext, npgettext, pgettext, retold, speaking
from imagesync_pipelines.languages.numbers import (
    ago,
    day,
    duration,
    fixed,
    megapixels,
    moment,
    number,
    rewritten,
    share,
    size,
)
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.scans import PROVEN
from imagesync_pipelines.sync.job_runs import job_words
from imagesync_pipelines.upstream.redaction import hide_users
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.languages import spoken as spoken_by

PACKAGE = "imagesync_pipelines.web.catalogue"
Headers = Mapping[str, str]
# A number that is in no address by itself, and so many kinds of addresses: an address may hold any text.
_MARK, _MOST_KNOWN = 9_007_199_254_740_993, 500


def connector_titles() -> dict[str, str]:
    """A connector's name for people, by its name, in the order in which pages name them."""
    return {one.name: one.title for one in connectors()}


def connector_words(name: str) -> str:
    """What people call a connector; one that was taken out since by its name."""
    return retold(connector_titles().get(name, name))


def opened_of(request: Request) -> Opened:
    """What the application works with."""
    opened: Opened = request.app.state.opened
    return opened


Here = Annotated[Opened, Depends(opened_of)]
"""A route's parameter of this type gets what the application works with."""

RowId = Annotated[int, Path(ge=1, le=2**63 - 1)]
"""The id of a row, as a part of an address."""


def make_templates() -> Jinja2Templates:
    """The templates with their filters; what is put into them is escaped."""
    templates = Jinja2Templates(directory=str(files(PACKAGE) / "templates"))
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    templates.env.filters.update(web_link=web_link, hide_users=hide_users, commands=commands)
    spoken = (number, fixed, share, size, day, duration, megapixels, retold, job_words, cost_words)
    templates.env.filters.update({one.__name__: _at_each_request(one) for one in spoken})
    templates.env.add_extension("jinja2.ext.i18n")
    templates.env.policies["ext.i18n.trimmed"] = True
    templates.env.install_gettext_callables(  # type: ignore[attr-defined]
        *(_quoted(_), _quoted(ngettext)), newstyle=True, pgettext=_quoted(pgettext), npgettext=_quoted(npgettext)
    )
    templates.env.globals.update(url_for=_addresses(), CONNECTORS=connector_titles(), DEFAULT_SOURCE=DEFAULT_SOURCE)
    templates.env.filters["connector"] = _at_each_request(connector_words)
    templates.env.globals.update(LANGUAGES=LANGUAGES, language=current, way_back=way_back)
    return templates


def _at_each_request(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter of a language: of a constant too it is not worked out once, when the template is read."""

    @pass_context
    def called(context: Context, *values: Any, **named: Any) -> Any:
        return function(*values, **named)

    return called


def _quoted(says: Callable[..., str]) -> Callable[..., str]:
    """What says a text to templates: a text without markup may stand in an attribute, whose end no quote in it is.

    Jinja takes every text for markup, and escapes only what fills its gaps.
    """

    def said(*texts: Any) -> str:
        text = says(*texts)
        return text if "<" in text else text.replace('"', "&#34;")

    return said


def way_back(request: Request) -> str:
    """The page that the menu of languages comes back to; the answer to a form cannot be asked for again."""
    if request.method != "GET":
        return "/"
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


class Address(NamedTuple):
    """What templates use of an address."""

    path: str


def _addresses() -> Callable[..., Address]:
    """url_for for templates, which looks at the routes once for each kind of address and not for each of a page."""
    known: dict[tuple[object, ...], str] = {}

    @pass_context
    def address(context: Context, name: str, /, **parts: Any) -> Address:
        request: Request = context["request"]
        numbers = [one for one in parts.values() if type(one) is int]
        kind = (request.scope.get("root_path"), name, *((part, type(one) is int or one) for part, one in parts.items()))
        form = known.get(kind)
        if form is None:
            marks = {part: _MARK + at if type(one) is int else one for at, (part, one) in enumerate(parts.items())}
            form = request.url_for(name, **marks).path.replace("{", "{{").replace("}", "}}")
            for at, one in enumerate(one for one in marks.values() if type(one) is int):
                form = form.replace(str(one), f"{{{at}}}")
            if len(known) < _MOST_KNOWN:
                known[kind] = form
        return Address(form.format(*numbers))

    return address


def render(
    request: Request, name: str, context: Mapping[str, Any], *, status: int = 200, headers: Headers | None = None
) -> Response:
    """A template as an answer; a page is asked for again every time, because what it shows changes.

    No cache that people share may keep it: it names who is signed in and holds the token of their session.
    """
    opened = opened_of(request)
    now, zone = opened.clock(), ZoneInfo(opened.shared.timezone)
    templates: Jinja2Templates = request.app.state.templates
    given = {
        "now": now,
        "ago": lambda value: ago(value, now),
        "moment": lambda value: moment(value, zone),
        "how_old": lambda: _how_old(opened),
        "dagster_ui": opened.shared.webserver_url.rstrip("/"),
        "is_fragment": is_fragment(request),
        **context,
    }
    # What breaks where nobody foresaw it is told outside of what chooses the language.
    with speaking(spoken_by(request)):
        answer = templates.TemplateResponse(request, name, given, status_code=status, headers=dict(headers or {}))
    answer.headers.setdefault("Cache-Control", "private, no-cache")
    answer.headers["Vary"] = "HX-Request"
    return answer


def is_fragment(request: Request) -> bool:
    """Whether a part of a page is asked for, by HTMX, and not a page."""
    return "HX-Request" in request.headers and "HX-History-Restore-Request" not in request.headers


def _how_old(opened: Opened) -> dict[str, Any]:
    """How old the product images are, and whether that is late or never was; for the foot of every page."""
    found = freshness(opened.engine).get(DEFAULT_SOURCE)
    at = found.applied_at if found is not None else None
    oldest = timedelta(hours=opened.showing.image_db_fresh_hours)
    return {"applied_at": at, "is_late": at is None or opened.clock() - at > oldest}


_FRESHNESS = sa.text("""
SELECT connector, max(read_at) AS read_at, max(applied_at) AS applied_at
  FROM (SELECT connector, ended_at AS read_at, NULL AS applied_at FROM imagesync.scan WHERE state = :proven
         UNION ALL
        SELECT connector, NULL, applied_at FROM imagesync.plan) AS moments
 GROUP BY connector ORDER BY connector
""")


def freshness(engine: sa.Engine) -> dict[str, sa.Row]:
    """For each connector that ever read or planned something, a row of two moments, None for never.

    read_at: when its source was last read whole; applied_at: when a plan was last applied.
    """
    with engine.connect() as connection:
        return {row.connector: row for row in connection.execute(_FRESHNESS, {"proven": PROVEN})}


def cost_words(cost: Mapping[str, float]) -> str:
    """What a plan costs, in words: calls to another system, and what of bytes and minutes is worth a word."""
    calls, sent, minutes = (cost.get(name, 0) for name in ("calls", "bytes", "minutes"))
    said = [ngettext("{n} call", "{n} calls", int(calls)).format(n=number(calls))]
    if not calls:
        said = [_("no call to another system")]
    if sent:
        said.append(size(sent))
    if minutes >= 0.1:
        # Where a language has a form for a few, it is that of a part.
        count = int(minutes) if minutes == int(minutes) else 2
        least = ngettext("at least {n} minute", "at least {n} minutes", count)
        said.append(least.format(n=rewritten(f"{minutes:g}")))
    most = cost.get("calls_if_approved", 0)
    if most <= calls:
        return ", ".join(said)
    words = ngettext("with what the limits hold back {n} call", "with what the limits hold back {n} calls", int(most))
    return f"{', '.join(said)}; {words.format(n=number(most))}"


# What the database holds as a word, and pages show: no code says it as a text.
WORDS = (
    *(N_("parent"), N_("variant"), N_("viewer"), N_("admin"), N_("in progress"), N_("allow"), N_("keep")),
    *(N_("active"), N_("paused"), N_("disabled"), N_("left"), N_("right"), N_("top"), N_("bottom")),
    *(N_("add"), N_("update"), N_("remove"), N_("reject"), N_("held")),
    *(N_("apply"), N_("refused"), N_("listing"), N_("record"), N_("file")),
)
_COMMAND = re.compile(r"`([^`]+)`")


def commands(sentence: str) -> Markup:
    """A sentence, escaped, with each command in it as code: "`imagesync plan`" loses its backticks."""
    # What is escaped already, as every text of a template, is not escaped once more.
    parts = enumerate(type(sentence)(part) for part in _COMMAND.split(sentence))
    return Markup("").join(Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in parts)


def web_link(url: str | None) -> str:
    """The URL when a browser may be sent there, else ''; what comes from an upstream may be anything."""
    try:
        parts = urlsplit(url or "")
    except ValueError:
        return ""
    return url or "" if parts.scheme in {"http", "https"} and parts.hostname else ""
