"""What people ask of quality: how a channel stands and where it goes, what is worst and why, what to do next.

Each answers by an index however many pictures there are, but what_next, which groups all that are not fine.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from heapq import merge
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.quality.rules import REFUSED, TO_DO, Judgement, RuleSet, Severity, told, what_to_do
from imagesync_pipelines.quality.scores import judgement_of
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_score, quality_day
from imagesync_pipelines.upstream.addresses import web_address

_DAYS = 90


class Score(NamedTuple):
    """How main pictures stand on a day; failing: refused by the marketplace; score: the mean, 0 to 100."""

    day: date
    pictures: int
    failing: int
    score: float


class ChannelScore(NamedTuple):
    """How pictures of one kind of an account stand by a rule set now, and on the day of judging before."""

    rule_set: str
    connector: str
    account: str
    kind: str
    now: Score
    before: Score | None


@dataclass(frozen=True)
class Asked:
    """Which pictures are asked for; '' and None: any. rule: a rule of rule_set. highest: with this score or less.

    to_do: those that need this step (of TO_DO); alone: and that nothing else holds back, so that it frees them.
    """

    rule_set: str = ""
    connector: str = ""
    account: str = ""
    kind: str = ""
    rule: str = ""
    highest: int | None = None
    code: str = ""
    product_ids: Collection[int] | None = None
    to_do: str = ""
    alone: bool = False


class Place(NamedTuple):
    """Where a page ended."""

    score: int
    rule_set: str
    connector: str
    account: str
    code: str


class Why(NamedTuple):
    """A finding for people: the rule's id and title, what it says of this picture, what to do (of TO_DO)."""

    rule: str
    title: str
    severity: Severity
    sentence: str
    to_do: str


class JudgedPicture(NamedTuple):
    """A main picture as a rule set judges it; see channel_picture for what it is a picture of."""

    place: Place
    key: str
    name: str
    kind: str
    product_id: int | None
    picture: str
    sha256: str
    why: tuple[Why, ...]
    not_looked_at: tuple[str, ...]
    judged_at: datetime


class Step(NamedTuple):
    """What a person can do: to_do of TO_DO; listings: those that need it; frees: those that nothing else holds back."""

    rule_set: str
    to_do: str
    listings: int
    frees: int


class NotMeasured(NamedTuple):
    """Main pictures of an account that were not measured: all, and those that could not be; an example of why."""

    connector: str
    account: str
    pictures: int
    failed: int
    problem: str


def summary(connection: sa.Connection) -> list[ChannelScore]:
    """How every channel stands as the newest judging found it, the worst first."""
    day, there = quality_day.c, sa.exists().select_from(picture_score)
    newest = sa.select(sa.func.max(day.day)).scalar_subquery()
    before = sa.select(sa.func.max(day.day)).where(day.day < newest).scalar_subquery()
    query = sa.select(quality_day).where(day.day.in_([newest, before]), there).order_by(day.day.desc())
    found: dict[tuple[str, str, str, str], list[Score]] = {}
    days = set()
    for row in connection.execute(query):
        days.add(row.day)
        found.setdefault((row.rule_set, row.connector, row.account, row.kind), []).append(_score(row))
    standing = [
        ChannelScore(*about, scores[0], scores[1] if len(scores) > 1 else None)
        for about, scores in found.items()
        if scores[0].day == max(days)
    ]
    return sorted(standing, key=lambda one: (one.now.score, one[:4]))


def trend(connection: sa.Connection, asked: Asked, days: int = _DAYS) -> list[Score]:
    """How what is asked for stood on each of the newest days of judging, the oldest first."""
    day = quality_day.c
    sums = (sa.func.sum(day[name]).label(name) for name in ("pictures", "failing", "score_sum"))
    query = sa.select(day.day, *sums).group_by(day.day).order_by(day.day.desc()).limit(days)
    for name in ("rule_set", "connector", "account", "kind"):
        if wanted := getattr(asked, name):
            query = query.where(day[name] == wanted)
    return [_score(row) for row in connection.execute(query)][::-1]


def _score(row: sa.Row) -> Score:
    return Score(row.day, row.pictures, row.failing, int(row.score_sum) / row.pictures)


def pictures(
    connection: sa.Connection,
    rule_sets: Mapping[str, RuleSet],
    asked: Asked,
    after: Place | None = None,
    limit: int = 50,
) -> tuple[list[JudgedPicture], Place | None]:
    """The judged pictures that are asked for, the worst first, and where the next page begins: None after the last."""
    wanted = [asked.rule_set] if asked.rule_set else sorted(rule_sets)
    pages = [
        connection.execute(_page(one, asked, after, limit + 1).where(*_needs(rule_sets.get(one), asked))).all()
        for one in wanted
    ]
    rows = list(islice(merge(*pages, key=lambda row: tuple(row[:5])), limit + 1))
    shown = [_shown(row, rule_sets.get(row.rule_set)) for row in rows[:limit]]
    return shown, shown[-1].place if len(rows) > limit else None


def _page(rule_set: str, asked: Asked, after: Place | None, limit: int) -> sa.Select:
    """What one rule set says, in the order of its index."""
    score, shown = picture_score.c, channel_picture.c
    names = ("connector", "account", "code")
    same = [score[name] == shown[name] for name in names]
    place = (score.score, *(score[name] for name in names))
    query = (
        sa.select(
            score.score, score.rule_set, *place[1:], shown.key, shown.name, shown.kind, shown.product_id, shown.picture,
            shown.sha256, score.findings, score.judged_at,
        )
        .join_from(picture_score, channel_picture, sa.and_(*same, shown.is_main))
        .where(score.rule_set == rule_set)
        .order_by(*place)
        .limit(limit)
    )  # fmt: skip
    if after is not None and rule_set == after.rule_set:
        query = query.where(sa.tuple_(*place) > sa.tuple_(after.score, *after[2:]))
    elif after is not None:
        query = query.where(score.score > after.score if rule_set < after.rule_set else score.score >= after.score)
    if asked.highest is not None:
        query = query.where(score.score <= asked.highest)
    if asked.rule:
        query = query.where(_breaks([asked.rule]))
    for column, wanted in (
        (score.connector, asked.connector), (score.account, asked.account), (shown.kind, asked.kind),
        (score.code, asked.code),
    ):  # fmt: skip
        if wanted:
            query = query.where(column == wanted)
    if asked.product_ids is not None:
        query = query.where(shown.product_id == sa.any_(sa.literal(list(asked.product_ids), sa.ARRAY(sa.BigInteger))))
    return query


def _needs(rule_set: RuleSet | None, asked: Asked) -> list[sa.ColumnElement[bool]]:
    """That pictures need the step that is asked for, and (alone) that nothing else holds them back."""
    if rule_set is None or not asked.to_do:
        return []
    mended = {rule.id for rule in rule_set.rules if what_to_do(rule) == asked.to_do}
    if not asked.alone:
        return [_breaks(mended)]
    holding = {rule.id for rule in rule_set.rules if rule.severity == Severity.REFUSED}
    return [_breaks(mended & holding), ~_breaks(holding - mended)]


def _breaks(rules: Collection[str]) -> sa.ColumnElement[bool]:
    return picture_score.c.failed.op("&&", is_comparison=True)(sa.cast(sorted(rules), sa.ARRAY(sa.Text)))


def _shown(row: sa.Row, rule_set: RuleSet | None) -> JudgedPicture:
    judgement = judgement_of(row.score, row.findings)
    return JudgedPicture(
        Place(*row[:5]), row.key, row.name, row.kind, row.product_id, row.picture, row.sha256,
        why(judgement, rule_set), judgement.not_looked_at, row.judged_at,
    )  # fmt: skip


def why(judgement: Judgement, rule_set: RuleSet | None) -> tuple[Why, ...]:
    """The findings for people, the worst first; one of a rule that is no more is told by its id."""
    found = []
    for one in judgement.findings:
        rule = rule_set.rule(one.rule) if rule_set is not None else None
        if rule is None:
            gone = languages.told("This rule is no longer there.")
            unread = languages.told("Its rule set cannot be read now, so nobody can tell what the rule says.")
            found.append(Why(one.rule, one.rule, one.severity, gone if rule_set is not None else unread, ""))
        else:
            found.append(Why(rule.id, rule.title, one.severity, told(rule, one.value), what_to_do(rule)))
    return tuple(found)


def what_next(
    connection: sa.Connection, rule_sets: Mapping[str, RuleSet], connector: str = "", account: str = ""
) -> list[Step]:
    """What people can do about all that was found, the most useful first: what frees most listings."""
    score = picture_score.c
    query = (
        sa.select(score.rule_set, score.failed, sa.func.count().label("listings"))
        .where(score.score < 100)
        .group_by(score.rule_set, score.failed)
    )
    for column, wanted in ((score.connector, connector), (score.account, account)):
        if wanted:
            query = query.where(column == wanted)
    return steps_of(rule_sets, [tuple(row) for row in connection.execute(query)])


def steps_of(rule_sets: Mapping[str, RuleSet], broken: Iterable[tuple[str, Sequence[str], int]]) -> list[Step]:
    """The steps, of how many pictures break these rules of a rule set together."""
    listings: dict[tuple[str, str], int] = {}
    frees: dict[tuple[str, str], int] = {}
    for name, failed, count in broken:
        rules = [rule for rule in rule_sets[name].rules if rule.id in failed] if name in rule_sets else []
        for to_do in {what_to_do(rule) for rule in rules}:
            listings[name, to_do] = listings.get((name, to_do), 0) + count
        holding = {what_to_do(rule) for rule in rules if rule.severity == Severity.REFUSED}
        if len(holding) == 1:
            (only,) = holding
            frees[name, only] = frees.get((name, only), 0) + count
    steps = [Step(*about, count, frees.get(about, 0)) for about, count in listings.items()]
    return sorted(steps, key=lambda one: (-one.frees, -one.listings, one.rule_set, list(TO_DO).index(one.to_do)))


def not_measured(connection: sa.Connection) -> list[NotMeasured]:
    """The main pictures that nobody could judge, by account."""
    shown = channel_picture.c
    query = (
        sa.select(
            shown.connector, shown.account, sa.func.count(), sa.func.count().filter(shown.problem != ""),
            sa.func.max(shown.problem),
        )
        .where(shown.is_main, shown.sha256 == "")
        .group_by(shown.connector, shown.account)
        .order_by(shown.connector, shown.account)
    )  # fmt: skip
    return [NotMeasured(*row) for row in connection.execute(query)]


def as_json(one: JudgedPicture) -> dict[str, Any]:
    """A judged picture as commands, the API and assistants tell it: its address without a user, if it has one."""
    return {
        **one.place._asdict(),
        "name": one.name,
        "kind": one.kind,
        "product_id": one.product_id,
        # What an account of ours reads is no address for others.
        "picture": web_address(one.picture) if one.picture.startswith(("http://", "https://")) else None,
        "sha256": one.sha256,
        "refused": one.place.score <= REFUSED,
        "findings": [
            {**why._asdict(), "severity": why.severity.value, "to_do": TO_DO.get(why.to_do, "")} for why in one.why
        ],
        "not_looked_at": list(one.not_looked_at),
        "judged_at": one.judged_at.astimezone(UTC),
    }
