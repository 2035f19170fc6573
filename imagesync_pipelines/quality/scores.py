"""Judging the main pictures of all channels: what was measured anew, or by rules that changed; and a row for each day.

What is written here is a memory that judging makes again. A second time over the same writes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from imagesync_pipelines.quality.rules import REFUSED, Finding, Judgement, RuleSet, Severity, judge, read_rules
from imagesync_pipelines.quality.settings import QualitySettings, sets_for, sets_of_channels
from imagesync_pipelines.quality.storing import measures_in
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.storage.schema_quality import picture_score
from imagesync_pipelines.storage.statistics import analyze_if_many

_AT_ONCE = 2_000

_ACCOUNTS = f"SELECT DISTINCT connector, account FROM {SCHEMA}.channel_picture WHERE is_main"  # noqa: S608 - names of ours
_CHANNELS = "unnest(CAST(:connectors AS text[]), CAST(:accounts AS text[])) AS w (connector, account)"
_DUE = f"""
SELECT d.* FROM (
    SELECT c.connector, c.account, c.code, m.*,
           md5(concat_ws(' ', CAST(:version AS text), m.sha256, m.measured_by, m.words_by)) AS by
      FROM {_CHANNELS} JOIN {SCHEMA}.channel_picture c USING (connector, account)
      JOIN {SCHEMA}.picture_measure m ON m.sha256 = c.sha256
     WHERE c.is_main
) AS d LEFT JOIN {SCHEMA}.picture_score s
    ON s.rule_set = :rule_set AND (s.connector, s.account, s.code) = (d.connector, d.account, d.code)
 WHERE s.judged_by IS DISTINCT FROM d.by
"""  # noqa: S608 - names of ours
_WRITE = f"""
INSERT INTO {SCHEMA}.picture_score
    (rule_set, connector, account, code, score, findings, failed, judged_by, judged_at)
SELECT :rule_set, w.connector, w.account, w.code, w.score, w.findings,
       ARRAY(SELECT f ->> 'rule' FROM jsonb_array_elements(w.findings) AS f WHERE f ? 'rule'), w.by, :now
  FROM unnest(CAST(:connector AS text[]), CAST(:account AS text[]), CAST(:code AS text[]), CAST(:score AS smallint[]),
              CAST(:findings AS jsonb[]), CAST(:by AS text[])) AS w (connector, account, code, score, findings, by)
ON CONFLICT (rule_set, connector, account, code) DO UPDATE
   SET score = excluded.score, findings = excluded.findings, failed = excluded.failed,
       judged_by = excluded.judged_by, judged_at = excluded.judged_at
"""  # noqa: S608 - names of ours
# What nobody shows any more, or shows another picture for that is not measured yet, or judges otherwise.
_FORGET = f"""
DELETE FROM {SCHEMA}.picture_score s
 WHERE s.rule_set = :rule_set AND NOT EXISTS (
    SELECT FROM {_CHANNELS} JOIN {SCHEMA}.channel_picture c USING (connector, account)
     WHERE (c.connector, c.account, c.code) = (s.connector, s.account, s.code) AND c.is_main AND c.sha256 <> '')
"""  # noqa: S608 - names of ours
_NOT_NAMED = f"DELETE FROM {SCHEMA}.picture_score WHERE rule_set <> ALL(CAST(:named AS text[]))"  # noqa: S608
_DAY = sa.text(
    f"""
WITH today AS MATERIALIZED (
    SELECT s.rule_set, s.connector, s.account, c.kind, count(*) AS pictures,
           count(*) FILTER (WHERE s.score <= {REFUSED}) AS failing, sum(s.score) AS score_sum
      FROM {SCHEMA}.picture_score s JOIN {SCHEMA}.channel_picture c USING (connector, account, code)
     WHERE c.is_main
     GROUP BY s.rule_set, s.connector, s.account, c.kind
), gone AS (
    DELETE FROM {SCHEMA}.quality_day d WHERE d.day = :day AND NOT EXISTS (
        SELECT FROM today t
         WHERE (t.rule_set, t.connector, t.account, t.kind) = (d.rule_set, d.connector, d.account, d.kind))
)
INSERT INTO {SCHEMA}.quality_day AS d (day, rule_set, connector, account, kind, pictures, failing, score_sum)
SELECT :day, t.* FROM today t
ON CONFLICT (day, rule_set, connector, account, kind) DO UPDATE
   SET pictures = excluded.pictures, failing = excluded.failing, score_sum = excluded.score_sum
 WHERE (d.pictures, d.failing, d.score_sum)
       IS DISTINCT FROM (excluded.pictures, excluded.failing, excluded.score_sum)
"""  # noqa: S608 - names of ours
)


@dataclass(frozen=True)
class Judged:
    """How many pictures were judged, by each rule set that judges them; how many scores were forgotten.

    problems: what is wrong with rule sets and channels, for people.
    """

    judged: int = 0
    forgotten: int = 0
    problems: tuple[str, ...] = ()


def judge_due(engine: sa.Engine, settings: QualitySettings, now: datetime) -> Judged:
    """Judge what is due, forget what nobody shows any more, and write the row of the day, which is the day of `now`."""
    known, problems = read_rules(settings)
    channels = sets_of_channels(settings)
    with engine.connect() as connection:
        accounts = [tuple(row) for row in connection.execute(sa.text(_ACCOUNTS))]
    judged = forgotten = 0
    named = {one for sets in channels.values() for one in sets}
    # The scores of a rule set that cannot be read now stay as they are.
    for rule_set in (known[one] for one in sorted(named & set(known))):
        judges = [one for one in accounts if rule_set.id in sets_for(channels, *one)]
        about: dict[str, Any] = {
            "rule_set": rule_set.id,
            "connectors": [connector for connector, _ in judges],
            "accounts": [account for _, account in judges],
        }
        new = _judge(engine, rule_set, about, now)
        judged += new
        with engine.begin() as connection:
            analyze_if_many(connection, picture_score, new)
            forgotten += connection.execute(sa.text(_FORGET), about).rowcount
    with engine.begin() as connection:
        forgotten += connection.execute(sa.text(_NOT_NAMED), {"named": list(named)}).rowcount
        connection.execute(_DAY, {"day": now.date()})
    return Judged(judged, forgotten, tuple(problems))


def _judge(engine: sa.Engine, rule_set: RuleSet, about: Mapping[str, Any], now: datetime) -> int:
    judged = 0
    for rows in _due(engine, {**about, "version": rule_set.version}):
        judgements = [judge(measures_in(row), rule_set) for row in rows]
        values = {
            "rule_set": rule_set.id,
            "now": now,
            **{name: [row[name] for row in rows] for name in ("connector", "account", "code", "by")},
            "score": [one.score for one in judgements],
            "findings": [_kept(one) for one in judgements],
        }
        with engine.begin() as connection:
            connection.execute(sa.text(_WRITE), values)
        judged += len(rows)
    return judged


def _due(engine: sa.Engine, about: Mapping[str, Any]) -> Iterator[Sequence[sa.RowMapping]]:
    with engine.connect() as connection:
        # Nobody tells the planner that a channel has half a million pictures, each of which it would look up alone.
        connection.execute(sa.text("SET LOCAL enable_nestloop = off"))
        found = connection.execute(sa.text(_DUE), about, execution_options={"yield_per": _AT_ONCE})
        yield from found.mappings().partitions(_AT_ONCE)


def _kept(judgement: Judgement) -> str:
    """A judgement as the findings of a row of picture_score."""
    found = [{"rule": one.rule, "severity": one.severity, "value": one.value} for one in judgement.findings]
    return orjson.dumps([*found, *({"not_looked_at": rule} for rule in judgement.not_looked_at)]).decode()


def judgement_of(score: int, kept: Sequence[Mapping[str, Any]]) -> Judgement:
    """The judgement in a row of picture_score, its score and its findings."""
    found = tuple(
        Finding(
            one["rule"], Severity(one["severity"]), tuple(value) if isinstance(value := one["value"], list) else value
        )
        for one in kept
        if "rule" in one
    )
    return Judgement(score, found, tuple(one["not_looked_at"] for one in kept if "not_looked_at" in one))
