"""What an upgrade of our database would do: which migrations, of which tables, and who is in its way."""

import re
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.storage.database import APPLICATION_NAME, answering, engine_of, migrations, version_of
from imagesync_pipelines.storage.schema import SCHEMA

_TABLE = re.compile(rf"\b{SCHEMA}\.(\w+)")
_SQL = re.compile(r"\b\w+\.sql\b")
_SIZES = sa.text("""
SELECT c.relname, greatest(c.reltuples, 0)::bigint AS rows, pg_total_relation_size(c.oid) AS bytes
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = :schema AND c.relkind = 'r'
""")
# A run holds a session of this name as long as it lives (liveness.py).
_RUNS = sa.text("""
SELECT count(DISTINCT application_name) FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE :name
""")


class Touched(NamedTuple):
    """A table that a migration names: about how many rows it has, and its size in bytes."""

    name: str
    rows: int
    bytes: int


class Migration(NamedTuple):
    """One that is missing: its number, what it says of itself, the tables with data that it names."""

    revision: str
    what: str
    tables: tuple[Touched, ...]


class Outlook(NamedTuple):
    """version: the database's, None where it has none of our tables; missing: in their order; runs: under way now."""

    version: str | None
    missing: tuple[Migration, ...]
    runs: int


def outlook(url: str) -> Outlook:
    """What an upgrade would do now.

    Raises StorageError when a newer or an older program is needed, DatabaseUnreachableError when nobody answers.
    """
    from alembic.script import ScriptDirectory

    engine = engine_of(url)
    try:
        with answering(), engine.connect() as connection:
            version = version_of(connection)
            sizes = {row.relname: Touched(*row) for row in connection.execute(_SIZES, {"schema": SCHEMA})}
            runs = int(connection.scalar(_RUNS, {"name": f"{APPLICATION_NAME} run %"}) or 0)
    finally:
        engine.dispose()
    scripts = ScriptDirectory.from_config(migrations(version)).walk_revisions(base=version or "base", head="heads")
    missing = []
    for script in reversed([one for one in scripts if one.revision != version]):
        named = set(_TABLE.findall(_text(Path(script.path))))
        tables = tuple(sizes[name] for name in sorted(named & sizes.keys()) if sizes[name].rows)
        missing.append(Migration(script.revision, " ".join(script.doc.split()), tables))
    return Outlook(version, tuple(missing), runs)


def _text(script: Path) -> str:
    """A migration's source, with the files of SQL that it names."""
    text = script.read_text(encoding="utf-8")
    beside = [path for name in sorted(set(_SQL.findall(text))) if (path := script.with_name(name)).exists()]
    return "\n".join([text, *(path.read_text(encoding="utf-8") for path in beside)])
