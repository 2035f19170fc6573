"""Pictures measured: those that changed, each content once, in threads; a bad one is set aside and stops no other.

What was measured is written in portions: a run that is killed loses one of them, and the next run goes on.
"""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.imaging.errors import BadImageError
from imagesync_pipelines.imaging.words import WordsMissingError
from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.originals import Failed
from imagesync_pipelines.quality.storing import put_measures
from imagesync_pipelines.storage.contents import ContentMissingError, Contents
from imagesync_pipelines.storage.facts import Measures
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_measure
from imagesync_pipelines.sync.apply import item_failure
from imagesync_pipelines.sync.channel_picture import MD5, SHA256
from imagesync_pipelines.sync.steps import Progress, silent
from imagesync_pipelines.upstream.errors import UpstreamError

# So many are lost by a kill at most; in memory is one picture for each worker.
PORTION = 32
# So many contents of a run are known by their names; of more, some are fetched twice.
_MOST_KNOWN = 100_000
SHOWN_PROBLEMS = 20
NO_ADDRESS = N_("its content is not kept here, and it has no address")
ANOTHER = N_("another picture is there than the one that was listed; it is looked at again")

_row, _measure = channel_picture.c, picture_measure.c
_ORDER = (_row.connector, _row.account, _row.code, _row.key)
_IS_GOOD, _IS_NEW = _row.problem == "", _row.measured_at.is_(None)
_PARTS = (sa.and_(_IS_GOOD, _IS_NEW), sa.and_(_IS_GOOD, ~_IS_NEW), ~_IS_GOOD)
_TELLS = sa.or_(_row.version.startswith(SHA256), _row.version.startswith(MD5))


@dataclass(frozen=True)
class Tools:
    """What pictures are got and measured with.

    fetch: the bytes of a picture, as ChannelPicture names it. measure: raises BadImageError. measured_by: the version
    of the measures. words: reads text in a main picture; None: nobody does. words_by: what does.
    """

    fetch: Callable[[str], bytes]
    measure: Callable[[bytes], Measures]
    measured_by: str
    words: Callable[[bytes], tuple[str, ...]] | None = None
    words_by: str = ""


@dataclass(frozen=True)
class Bounds:
    """How far a run goes. limit: so many contents are looked for where they are; None: all. retry: after which one
    that was bad is tried again."""

    now: datetime
    limit: int | None
    workers: int
    retry: timedelta


@dataclass
class Looked:
    """What came of a run. measured: contents that are known now; problems: those that were set aside, with the first
    of their reasons; nowhere: those of them that have no address, which cost nothing. waiting: pictures that the limit
    left for the next run; away: those whose host did not answer. no_words: why no text could be read, '' where it
    could, or nobody wanted it. unread: contents in which the reader could tell none, which are measured all the same,
    with why of the first.
    """

    measured: int = 0
    problems: int = 0
    nowhere: int = 0
    reasons: list[str] = field(default_factory=list)
    waiting: int = 0
    away: int = 0
    no_words: str = ""
    unread: int = 0
    why_unread: str = ""

    @property
    def done(self) -> int:
        """How many were looked for: a limit is of these."""
        return self.measured + self.problems - self.nowhere


class _Due(NamedTuple):
    connector: str
    account: str
    code: str
    key: str
    is_main: bool
    picture: str
    version: str
    sha256: str

    @property
    def content(self) -> str:
        """The same one: the same content."""
        return self.version if self.version.startswith((SHA256, MD5)) else f"{self.picture} {self.version}"

    @property
    def source(self) -> tuple[str, str]:
        """The same one: whatever it gives is the same, also no answer. Another place may have the same content."""
        return self.content, self.picture


class _Seen(NamedTuple):
    """What became of a content. measures: None where it was measured before; words: whether they were looked for.

    unread: why the reader could tell none.
    """

    sha256: str = ""
    problem: str = ""
    measures: Measures | None = None
    words: bool = False
    unread: str = ""
    is_away: bool = False


def measure_due(
    engine: sa.Engine,
    contents: Contents,
    tools: Tools,
    bounds: Bounds,
    *,
    others_of: sa.Select | None = None,
    progress: Progress = silent,
) -> Looked:
    """Measure the main pictures that are due. others_of: instead the other pictures of these products, by their ids.

    Raises what says that our database does not answer; whatever a single picture does is its problem.
    """
    which = _row.is_main if others_of is None else sa.and_(~_row.is_main, _row.product_id.in_(others_of))
    looker = _Looker(engine, contents, tools)

    def due() -> sa.ColumnElement[bool]:
        return sa.and_(which, _is_due(looker.tools, bounds))

    with engine.begin() as connection:
        _adopt(connection, which)
        total = _number_due(connection, due())
    found, known, failed = Looked(), dict[str, _Seen](), dict[tuple[str, str], _Seen]()

    def seen_of(one: _Due) -> _Seen | None:
        # What one place cannot give, another one may.
        return known.get(one.content) or failed.get(one.source)

    stage = languages.told("main pictures measured") if others_of is None else languages.told("other pictures measured")
    wanted = total if bounds.limit is None else min(total, bounds.limit)
    with ThreadPoolExecutor(bounds.workers, thread_name_prefix="measure") as pool:
        for portion in _portions(engine, due) if total else ():
            if len(known) + len(failed) + len(portion) > _MOST_KNOWN:
                known.clear()
                failed.clear()
            # Each content once; where it could not be had, the next place of it.
            while new := list({one.content: one for one in reversed(portion) if seen_of(one) is None}.values())[::-1]:
                if bounds.limit is not None:
                    new = new[: max(0, bounds.limit - found.done)]
                if not new:
                    break
                seen = list(zip(new, pool.map(looker.look, new), strict=True))
                known |= {one.content: what for one, what in seen if what.sha256}
                failed |= {one.source: what for one, what in seen if not what.sha256}
                _count(found, [what for _, what in seen])
            _write(engine, tools, bounds.now, [(one, what) for one in portion if (what := seen_of(one)) is not None])
            progress(stage, found.done, wanted)
            if bounds.limit is not None and found.done >= bounds.limit:
                break
    with engine.connect() as connection:
        left = _number_due(connection, due()) if total else 0
    if bounds.limit is not None and found.done >= bounds.limit:
        found.waiting = left
    else:
        found.away = left
    found.no_words = looker.no_words
    return found


class _Looker:
    """Looks at one picture after the other. Used from several threads.

    tools: what the next ones are looked at with; without words, once no_words says why nobody can read any.
    """

    def __init__(self, engine: sa.Engine, contents: Contents, tools: Tools) -> None:
        self._engine, self._contents, self.tools = engine, contents, tools
        self._failed = Failed()
        self.no_words = ""
        self._reading, self._guard = threading.Lock(), threading.Lock()
        self._under_way: dict[str, threading.Lock] = {}
        self._done: dict[str, _Seen] = {}

    def look(self, one: _Due) -> _Seen:
        """What is known of a picture now."""
        try:
            body = self._kept(one)
            if body is None:
                if not one.picture:
                    return _Seen(problem=NO_ADDRESS)
                if self._failed.knows(one.picture):
                    return _Seen(is_away=True)
                body = self.tools.fetch(one.picture)
            return self._seen(one, body)
        except Exception as error:  # noqa: BLE001 - whatever one picture does to a library, the others are looked at
            self._failed.note(one.picture, error)
            why = item_failure(error)
            is_told = isinstance(error, UpstreamError | BadImageError | OSError)
            return _Seen(problem=str(error) if is_told else why)

    def _kept(self, one: _Due) -> bytes | None:
        """Content that we keep, whatever it is kept for."""
        sha256 = one.version.removeprefix(SHA256) if one.version.startswith(SHA256) else one.sha256
        content = self._contents.find_bytes([sha256]).get(sha256) if sha256 else None
        try:
            return None if content is None else self._contents.read(content)
        except ContentMissingError:
            return None

    def _seen(self, one: _Due, body: bytes) -> _Seen:
        sha256 = hashlib.sha256(body).hexdigest()
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if one.version.startswith((SHA256, MD5)) and one.version not in (f"{SHA256}{sha256}", f"{MD5}{md5}"):
            return _Seen(problem=ANOTHER)
        with self._guard:
            if len(self._done) >= _MOST_KNOWN:
                self._done.clear()
                self._under_way.clear()
            alone = self._under_way.setdefault(sha256, threading.Lock())
        # The same content may come from two addresses at once.
        with alone:
            seen = self._done.get(sha256) or self._measured(one, body, sha256)
            self._done[sha256] = seen
        return seen

    def _measured(self, one: _Due, body: bytes, sha256: str) -> _Seen:
        with self._engine.connect() as connection:
            names = (_measure.measured_by, _measure.words_by, _measure.words)
            before = connection.execute(sa.select(*names).where(_measure.sha256 == sha256)).one_or_none()
        tools = self.tools
        has_words = before is not None and before.words_by == tools.words_by and before.words is not None
        wants_words = tools.words is not None and one.is_main and not has_words
        if before is not None and before.measured_by == tools.measured_by and not wants_words:
            return _Seen(sha256)
        seen = _Seen(sha256, measures=tools.measure(body))
        return self._read(seen, body) if wants_words else seen

    def _read(self, seen: _Seen, body: bytes) -> _Seen:
        """With the text in it; one that cannot be read costs no measure."""
        # One picture at a time: the reader is a process of its own.
        with self._reading:
            if self.tools.words is None or seen.measures is None:
                return seen
            try:
                words = self.tools.words(body)
            except WordsMissingError as missing:
                self.no_words, self.tools = str(missing), replace(self.tools, words=None)
                return seen
            except Exception as error:  # noqa: BLE001 - as above
                why = item_failure(error)
                return seen._replace(words=True, unread=str(error) if isinstance(error, BadImageError) else why)
        return seen._replace(words=True, measures=replace(seen.measures, words=words))


def _is_due(tools: Tools, bounds: Bounds) -> sa.ColumnElement[bool]:
    """Whether nothing is known of a picture as it is now, by what measures today; of a bad one, after a while.

    Bad is one, too, whose text could not be read: who looked is known, its words are not.
    """
    is_known, is_tried = _measure.measured_by == tools.measured_by, _row.measured_at < bounds.now - bounds.retry
    if tools.words is not None:
        is_read = sa.and_(_measure.words_by == tools.words_by, sa.or_(_measure.words.is_not(None), ~is_tried))
        is_known = sa.and_(is_known, sa.or_(~_row.is_main, is_read))
    is_new = sa.and_(_row.problem == "", sa.func.coalesce(is_known, sa.false()).is_(False))
    return sa.or_(is_new, sa.and_(_row.problem != "", is_tried))


def _of(which: sa.ColumnElement[bool], *columns: sa.ColumnElement) -> sa.Select:
    query = sa.select(*columns).select_from(channel_picture)
    return query.outerjoin(picture_measure, _measure.sha256 == _row.sha256).where(which)


def _number_due(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    return int(connection.scalar(_of(which, sa.func.count())) or 0)


def _portions(engine: sa.Engine, due: Callable[[], sa.ColumnElement[bool]]) -> Iterator[Sequence[_Due]]:
    """The pictures that are due, each once, also where it fails; no transaction lasts while they are looked at.

    What was never measured goes first, and what was bad before last, so that a limit is not used up by it.
    """
    columns = [_row[name] for name in _Due._fields]
    for part in _PARTS:
        last: tuple[str, ...] | None = None
        while True:
            query = _of(sa.and_(part, due()), *columns).order_by(*_ORDER).limit(PORTION)
            if last is not None:
                query = query.where(sa.tuple_(*_ORDER) > sa.tuple_(*map(sa.literal, last)))
            with engine.connect() as connection:
                rows = [_Due(*row) for row in connection.execute(query)]
            if rows:
                yield rows
            if len(rows) < PORTION:
                break
            last = rows[-1][:4]


def _adopt(connection: sa.Connection, which: sa.ColumnElement[bool]) -> None:
    """Know new pictures by what is known of the same content elsewhere."""
    is_new = sa.and_(_row.sha256 == "", _row.problem == "", which)
    if not connection.scalar(sa.select(sa.exists().where(is_new))):
        return
    content = sa.case((_TELLS, _row.version), else_=_row.picture + " " + _row.version)
    other = sa.select(content.label("content"), _row.sha256).where(_row.sha256 != "").subquery("other")
    measured = sa.select((sa.literal(SHA256) + _measure.sha256).label("content"), _measure.sha256).subquery("measured")
    for known in (other, measured):
        same = channel_picture.update().where(is_new, content == known.c.content)
        connection.execute(same.values(sha256=known.c.sha256, measured_at=sa.func.now()))


def _write(engine: sa.Engine, tools: Tools, now: datetime, portion: Sequence[tuple[_Due, _Seen]]) -> None:
    """Keep what became of a portion; of pictures that are listed otherwise by now nothing."""
    told = [(one, seen) for one, seen in portion if not seen.is_away]
    names = ("connector", "account", "code", "key", "version")
    rows = [
        {
            **{f"its_{name}": getattr(one, name) for name in names},
            "sha256": seen.sha256 or one.sha256,
            "problem": seen.problem,
            "measured_at": now,
        }
        for one, seen in told
    ]
    if not rows:
        return
    mine = sa.and_(*(_row[name] == sa.bindparam(f"its_{name}") for name in names))
    with engine.begin() as connection:
        for words in (False, True):
            found = [one.measures for _, one in told if one.measures is not None and one.words is words]
            put_measures(connection, found, tools.measured_by, tools.words_by if words else "")
        # The values are those of the rows.
        connection.execute(channel_picture.update().where(mine), rows)


def _count(found: Looked, seen: Sequence[_Seen]) -> None:
    for one in seen:
        found.nowhere += one.problem == NO_ADDRESS
        found.measured += bool(one.sha256)
        found.problems += bool(one.problem)
        found.unread += bool(one.unread)
        found.why_unread = found.why_unread or one.unread
        if one.problem and len(found.reasons) < SHOWN_PROBLEMS:
            found.reasons.append(one.problem)
