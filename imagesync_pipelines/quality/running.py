"""A run of quality from its beginning to its end: what channels show is noted, measured, judged, compared.

It stands beside the synchronisations: none waits for it, and it changes no target.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.products.originals import fetch_original
from imagesync_pipelines.quality.alike import Found, find_alike
from imagesync_pipelines.quality.measuring import Bounds, Looked, Tools, measure_due
from imagesync_pipelines.quality.noting import Noted, forget_others, note_pictures
from imagesync_pipelines.quality.rules import REFUSED
from imagesync_pipelines.quality.scores import Judged, judge_due
from imagesync_pipelines.quality.settings import QualitySettings
from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.storage.contents import Contents
from imagesync_pipelines.storage.installation import Installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.schema_quality import (
    channel_picture,
    picture_alike,
    picture_measure,
    picture_score,
    quality_day,
)
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.steps import Progress, silent
from imagesync_pipelines.upstream.fetch import FetchPolicy

LOCK = "quality"
CONNECT_SECONDS, TRIES, MEGABYTE = 5.0, 2, 1_000_000
# What nobody shows any more may be shown again: the next run of a connector that was off, an undo. It counts from when
# it was measured, or was seen to be shown.
_KEPT_MEASURES = timedelta(days=30)


@dataclass(frozen=True)
class QualityRun:
    """What came of a run. problems: sentences for people about what was left out and why."""

    noted: Noted = field(default_factory=Noted)
    mains: Looked = field(default_factory=Looked)
    others: Looked = field(default_factory=Looked)
    judged: Judged = field(default_factory=Judged)
    alike: Found = field(default_factory=Found)
    forgotten: int = 0
    problems: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        """The run in a sentence, for people."""
        seen, found = self.noted, self.mains
        judged, others = self.judged.judged, self.others.measured
        mains = languages.told(
            f"Main pictures: {found.measured} measured, {found.problems} could not be measured, {judged} judged; "
            f"others: {others} measured."
            if found.problems
            else f"Main pictures: {found.measured} measured, {judged} judged; others: {others} measured."
        )
        return " ".join(
            (
                languages.told(
                    f"{seen.shown} pictures are shown ({seen.new} new, {seen.changed} changed, {seen.gone} gone)."
                ),
                mains,
                languages.told(f"{self.alike.compared} compared with all others, {self.alike.suggested} suggestions."),
            )
        )


def run_quality(
    place: Installation,
    settings: QualitySettings,
    connectors: Sequence[Connector],
    now: datetime,
    progress: Progress = silent,
) -> QualityRun:
    """Note, measure, judge, compare and forget. now: with the installation's time zone, whose day counts.

    Raises AccountBusyError while another run of this is at work, and what says that our database does not answer.
    """
    with account_lock(place.engine, LOCK, 0) as lock:
        noted, problems = note_all(place.engine, place.settings, connectors, progress)
        with tools_of(place, settings, connectors, problems) as tools:
            lock.check()
            limit = settings.pictures_per_run or None
            bounds = Bounds(now, limit, settings.workers, timedelta(hours=settings.retry_hours))
            contents = Contents(place.engine, place.storage)
            mains = measure_due(place.engine, contents, tools, bounds, progress=progress)
            judged = judge_due(place.engine, settings, now)
            left = None if limit is None else limit - mains.done
            others = Looked()
            if left is None or left > 0:
                bounds = Bounds(now, left, settings.workers, bounds.retry)
                refused = products_refused()
                others = measure_due(place.engine, contents, tools, bounds, others_of=refused, progress=progress)
        lock.check()
        alike = find_alike(place.engine, progress)
        forgotten = forget_old(place.engine, now, timedelta(days=settings.keep_days))
    return QualityRun(
        noted, mains, others, judged, alike, forgotten, (*problems, *told(mains, others), *judged.problems)
    )


def note_all(
    engine: sa.Engine, shared: Settings, connectors: Sequence[Connector], progress: Progress = silent
) -> tuple[Noted, list[str]]:
    """Note what all accounts show; what is known of one that cannot be told now stays. Gives sentences about those."""
    noted, problems = Noted(), list[str]()
    for one in connectors:
        try:
            accounts = one.channels(shared)
            for account in accounts:
                found = note_pictures(engine, one.name, account, one.channel_pictures(engine, shared, account))
                noted = noted + found
                progress(languages.told("pictures noted"), noted.shown, None)
        except SettingsError as error:
            problems.append(languages.told(f"{one.title}: what it shows was not looked at: {error}"))
            continue
        noted = noted + Noted(gone=forget_others(engine, one.name, accounts))
    return noted, problems


@contextmanager
def tools_of(
    place: Installation, settings: QualitySettings, connectors: Sequence[Connector], problems: list[str]
) -> Iterator[Tools]:
    """What pictures are got and measured with. problems: hears that words are wanted and nobody can read them."""
    # What loads the definitions needs no decoder.
    from imagesync_pipelines.imaging.measures import MEASURED_BY, measure

    shared, known = place.settings, {one.name: one for one in connectors}
    policy = FetchPolicy(
        allowed_hosts=frozenset(shared.allowed_image_hosts),
        connect_timeout=min(CONNECT_SECONDS, settings.fetch_seconds),
        max_bytes=round(settings.max_megabytes * MEGABYTE),
        total_deadline=settings.fetch_seconds,
        tries=TRIES,
    )

    def read(connector: str, account: str, key: str) -> bytes | None:
        return known[connector].read_picture(place.engine, shared, account, key)

    def fetch(picture: str) -> bytes:
        return fetch_original(picture, policy, read).body

    with ExitStack() as until_read:
        words = None
        if settings.words:
            from imagesync_pipelines.imaging.words import WORDS_BY, WordsMissingError, word_reader

            try:
                words = until_read.enter_context(word_reader())
            except WordsMissingError as missing:
                problems.append(str(missing))
        yield Tools(fetch, measure, MEASURED_BY, words, WORDS_BY if words else "")


def products_refused() -> sa.Select:
    """The products of which a marketplace refuses the main picture, by their ids: another one could take its place."""
    row, score = channel_picture.c, picture_score.c
    same = sa.and_(*(row[name] == score[name] for name in ("connector", "account", "code")))
    query = sa.select(row.product_id).join_from(picture_score, channel_picture, same)
    return query.where(score.score <= REFUSED, row.is_main, row.product_id.is_not(None))


def told(mains: Looked, others: Looked) -> Iterator[str]:
    """What a run left out, and why, for people."""
    for what, found in ((languages.told("Main pictures"), mains), (languages.told("Other pictures"), others)):
        if found.waiting:
            yield languages.told(f"{what}: {found.waiting} wait for the next run (QUALITY_PICTURES_PER_RUN).")
        if found.away:
            yield languages.told(f"{what}: {found.away} wait for the next run, because nobody answered where they are.")
        if found.no_words:
            yield f"{what}: {found.no_words}."
        if found.unread:
            tried = languages.told(
                f"the text of {found.unread} could not be read, and is tried again after QUALITY_RETRY_HOURS"
            )
            yield languages.told(f"{what}: {tried}; the first: {found.why_unread}.")
        if found.problems:
            yield languages.told(f"{what}: {found.problems} could not be measured; the first: {found.reasons[0]}.")


def forget_old(engine: sa.Engine, now: datetime, keep: timedelta) -> int:
    """Forget the days of the trend that are older, never the newest, and measures of what is shown no more.

    Returns how many rows went. A pair of pictures of which one is not known any more goes too.
    """
    newest = sa.select(sa.func.max(quality_day.c.day)).scalar_subquery()
    shown = sa.exists().where(channel_picture.c.sha256 == picture_measure.c.sha256)
    statements = (
        quality_day.delete().where(quality_day.c.day < (now - keep).date(), quality_day.c.day < newest),
        picture_measure.delete().where(picture_measure.c.measured_at < now - _KEPT_MEASURES, ~shown),
        picture_alike.delete().where(
            sa.or_(*(_is_unknown(picture_alike.c[name]) for name in ("sha256", "other_sha256")))
        ),
    )
    is_old = picture_measure.c.measured_at < now - _KEPT_MEASURES / 2
    with engine.begin() as connection:
        connection.execute(picture_measure.update().where(is_old, shown).values(measured_at=now))
        return sum(int(connection.execute(one).rowcount) for one in statements)


def _is_unknown(sha256: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(picture_measure.c.sha256 == sha256)
