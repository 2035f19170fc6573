"""Where the score of main pictures fell: an account's against its best of the last days, by each rule set."""

from datetime import date, timedelta
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.quality.queries import Score
from imagesync_pipelines.storage.schema_quality import quality_day

BACK = timedelta(days=7)
"""So far back lies the best score that a fall is counted from."""
FEWEST = 20
"""Of fewer main pictures one alone moves the score by points."""


class Fall(NamedTuple):
    """The score of an account by a rule set, at its best of the days before and now.

    is_new: it had not fallen so far on the day of judging before, or fell as far again since.
    """

    rule_set: str
    connector: str
    account: str
    best: Score
    now: Score
    is_new: bool

    @property
    def words(self) -> str:
        """The same for people."""
        where = "/".join(filter(None, (self.connector, self.account)))
        then, now = self.best, self.now
        return languages.told(
            f"By the rules {self.rule_set} the score of {where} fell from {then.score:.1f} on {then.day} to "
            f"{now.score:.1f} of 100 now; its main pictures: {now.pictures}."
        )


def falls(connection: sa.Connection, points: float) -> list[Fall]:
    """The accounts whose score is that many points or more below their best of the days before, the deepest first."""
    day = quality_day.c
    newest: date | None = connection.scalar(sa.select(sa.func.max(day.day)))
    if newest is None or not points:
        return []
    sums = [sa.func.sum(day[name]).label(name) for name in ("pictures", "failing", "score_sum")]
    about = (day.rule_set, day.connector, day.account)
    query = sa.select(*about, day.day, *sums).where(day.day >= newest - 2 * BACK).group_by(*about, day.day)
    days: dict[tuple[str, str, str], list[Score]] = {}
    for row in connection.execute(query.order_by(day.day)):
        if row.pictures >= FEWEST:
            score = Score(row.day, row.pictures, row.failing, int(row.score_sum) / row.pictures)
            days.setdefault((row.rule_set, row.connector, row.account), []).append(score)
    found = []
    for channel, scores in days.items():
        best = _best_before(scores) if scores[-1].day == newest else None
        if best is None or best.score - scores[-1].score < points:
            continue
        before = _best_before(scores[:-1])
        had_fallen = before is not None and before.score - scores[-2].score >= points
        fell_again = scores[-2].score - scores[-1].score >= points
        found.append(Fall(*channel, best, scores[-1], not had_fallen or fell_again))
    return sorted(found, key=lambda one: one.now.score - one.best.score)


def _best_before(scores: list[Score]) -> Score | None:
    """The best of the days before the last of these."""
    earlier = [one for one in scores[:-1] if one.day >= scores[-1].day - BACK]
    return max(earlier, key=lambda one: one.score, default=None)
