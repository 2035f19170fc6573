"""What channels show, noted: table channel_picture brought up to what a connector lists, in a few statements."""

# ruff: noqa: S608 - statements are put together from constants of this module only

from collections.abc import Collection, Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from imagesync_pipelines.storage.copying import copy_rows
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.storage.schema_quality import channel_picture, picture_score
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.channel_picture import ChannelPicture

_TOLD = ("is_main", "product_id", "name", "kind", "picture", "version")
_CREATE = """
CREATE TEMPORARY TABLE picture_shown (
    code TEXT NOT NULL, key TEXT NOT NULL, is_main BOOLEAN NOT NULL, product_id BIGINT, name TEXT NOT NULL,
    kind TEXT NOT NULL, picture TEXT NOT NULL, version TEXT NOT NULL
) ON COMMIT DROP
"""
_MINE = "{alias}.connector = :connector AND {alias}.account = :account"
_SAME = "s.code = c.code AND s.key = c.key"
_PICTURES = _MINE.format(alias="c")
_DIFFERS = f"({', '.join(f'c.{name}' for name in _TOLD)}) IS DISTINCT FROM ({', '.join(f's.{name}' for name in _TOLD)})"
# A score is that of one picture: another one in its place is judged anew.
_SCORES = f"""
DELETE FROM {SCHEMA}.picture_score p
 WHERE {_MINE.format(alias="p")} AND NOT EXISTS (
       SELECT 1 FROM {SCHEMA}.channel_picture c JOIN picture_shown s ON {_SAME}
        WHERE {_PICTURES} AND c.code = p.code AND c.is_main AND s.is_main AND c.version = s.version)
"""
_GONE = f"""
DELETE FROM {SCHEMA}.channel_picture c
 WHERE {_PICTURES} AND NOT EXISTS (SELECT 1 FROM picture_shown s WHERE {_SAME})
"""
# Another version is another picture, of which nothing is known.
_CHANGED = f"""
UPDATE {SCHEMA}.channel_picture c
   SET {", ".join(f"{name} = s.{name}" for name in _TOLD)}, seen_at = now(),
       sha256 = CASE WHEN c.version = s.version THEN c.sha256 ELSE '' END,
       problem = CASE WHEN c.version = s.version THEN c.problem ELSE '' END,
       measured_at = CASE WHEN c.version = s.version THEN c.measured_at END
  FROM picture_shown s
 WHERE {_PICTURES} AND {_SAME} AND {_DIFFERS}
"""
_NEW = f"""
INSERT INTO {SCHEMA}.channel_picture (connector, account, code, key, {", ".join(_TOLD)}, seen_at)
SELECT :connector, :account, s.code, s.key, {", ".join(f"s.{name}" for name in _TOLD)}, now()
  FROM picture_shown s
 WHERE NOT EXISTS (SELECT 1 FROM {SCHEMA}.channel_picture c WHERE {_PICTURES} AND {_SAME})
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True)
class Noted:
    """What was noted of an account: how many pictures it shows, and how many of them are new, changed, gone."""

    shown: int = 0
    new: int = 0
    changed: int = 0
    gone: int = 0

    def __add__(self, other: "Noted") -> "Noted":
        """Both together."""
        return Noted(*(sum(both) for both in zip(vars(self).values(), vars(other).values(), strict=True)))


def note_pictures(engine: sa.Engine, connector: str, account: str, pictures: Iterable[ChannelPicture]) -> Noted:
    """Bring what is noted of an account up to what it shows, as one transaction; what is as before is not written.

    What is shown no more leaves, with its score; so does the score of a picture whose place another one took.
    """
    owner = {"connector": connector, "account": account}
    with engine.begin() as connection:
        connection.execute(sa.text(_CREATE))
        copy_rows(connection, "pg_temp.picture_shown", ChannelPicture._fields, pictures)
        connection.execute(sa.text("ANALYZE picture_shown"))
        # PostgreSQL takes the rows of an account for one where a table was filled lately: row by row takes hours then.
        connection.execute(sa.text("SET LOCAL enable_nestloop = off"))
        shown = int(connection.execute(sa.text("SELECT count(*) FROM picture_shown")).scalar_one())
        connection.execute(sa.text(_SCORES), owner)
        gone, changed, new = (int(connection.execute(sa.text(one), owner).rowcount) for one in (_GONE, _CHANGED, _NEW))
        analyze_if_many(connection, channel_picture, new + changed + gone)
    return Noted(shown, new, changed, gone)


def forget_others(engine: sa.Engine, connector: str, accounts: Collection[str]) -> int:
    """Forget what is noted of accounts that a connector does not have any more; returns how many pictures these had."""
    gone = 0
    with engine.begin() as connection:
        for table in (picture_score, channel_picture):
            mine = table.delete().where(table.c.connector == connector, ~among(table.c.account, accounts))
            gone = int(connection.execute(mine).rowcount)
    return gone
