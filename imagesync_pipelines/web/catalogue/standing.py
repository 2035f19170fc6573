"""How main pictures stand, where they go and what to do next, channel by channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.export_rows import snapshot
from imagesync_pipelines.quality.queries import Asked, Score, Step, summary, trend, what_next
from imagesync_pipelines.quality.rules import rule_sets
from imagesync_pipelines.web.catalogue.state import Opened

DAYS = 60
WIDTH, HEIGHT, MARGIN = 120, 32, 4
MOST_STEPS = 6
_THEN = N_("{score}, {before} on {day}")


class Line(NamedTuple):
    """A line over days: its points, the last of them, and the same in words."""

    points: str
    last: tuple[float, float]
    words: str
    size: tuple[int, int] = (WIDTH, HEIGHT)


@dataclass(frozen=True)
class Part:
    """How the pictures of one kind of an account stand in a channel, or (without an account) all of the channel."""

    connector: str
    account: str
    kind: str
    now: Score
    line: Line


@dataclass(frozen=True)
class Channel:
    """A rule set by which pictures are judged. steps: what to do next, the most useful first."""

    id: str
    name: str
    whole: Part
    parts: list[Part]
    steps: list[Step]


def judged_by(opened: Opened) -> dict[str, str]:
    """The names of the rule sets by which pictures are judged, by their ids."""
    with opened.engine.connect() as connection:
        found = {one.rule_set for one in summary(connection)}
    return {one: rule_set.name for one, rule_set in rule_sets(opened.quality).items() if one in found}


def channels(opened: Opened) -> list[Channel]:
    """How every channel stands, in the order of their names; nothing before something was judged."""
    known = rule_sets(opened.quality)
    with snapshot(opened.engine) as connection:
        stands, steps = summary(connection), what_next(connection, known)
        found = []
        for one in sorted({part.rule_set for part in stands} & set(known)):
            parts = [_part(connection, *part[:4]) for part in stands if part.rule_set == one]
            of_channel = [step for step in steps if step.rule_set == one][:MOST_STEPS]
            found.append(Channel(one, known[one].name, _part(connection, one), parts, of_channel))
        return found


def _part(connection: sa.Connection, channel: str, connector: str = "", account: str = "", kind: str = "") -> Part:
    scores = trend(connection, Asked(channel, connector, account, kind), DAYS)
    return Part(connector, account, kind, scores[-1], line_of(scores))


def line_of(scores: Sequence[Score]) -> Line:
    """The line of scores of days, of 0 to 100, the first on the left; there is one at least."""
    first, span = scores[0].day, max((scores[-1].day - scores[0].day).days, 1)
    wide, high = WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN
    points = [
        (round(MARGIN + wide * (one.day - first).days / span, 1), round(MARGIN + high * (100 - one.score) / 100, 1))
        for one in scores
    ]
    last, before = int(scores[-1].score), int(scores[0].score)
    words = _THEN.format(score=last, before=before, day=first.isoformat())
    return Line(" ".join(f"{x},{y}" for x, y in points), points[-1], words if len(scores) > 1 else str(last))
