"""How what belongs to this installation is: its home, its databases, its storage root, its bucket. Nothing is changed.

A PostgreSQL of a store is looked at by the same questions.
"""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage import identities, memory
from imagesync_pipelines.storage.database import HEAD, engine_of, version_of
from imagesync_pipelines.storage.home import OTHERS, PASS
from imagesync_pipelines.storage.installation import storage_of
from imagesync_pipelines.storage.schema import SCHEMA
from imagesync_pipelines.storage.sessions import refuse_pooler_of_transactions
from imagesync_pipelines.sync.health import Finding, State, clock, failure, space

OLDEST = 140_000
# From which share of max_connections on it is said that they may run out.
MANY = 0.8
_FACTS = sa.text("""
SELECT current_setting('server_version') AS version, current_setting('server_version_num')::int AS number,
       pg_is_in_recovery() AS standby, extract(epoch FROM clock_timestamp())::float8 AS now,
       current_setting('max_connections')::int AS most,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
       pg_database_size(current_database()) AS size
""")
_RIGHTS = sa.text("""
SELECT CASE WHEN to_regnamespace(:schema) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
            ELSE has_schema_privilege(:schema, 'USAGE') AND has_schema_privilege(:schema, 'CREATE') END
""")
_HAS_RUNS = sa.text("SELECT EXISTS (SELECT FROM pg_class WHERE relname = 'event_logs')")


def home(folder: Path) -> Iterator[Finding]:
    """The home folder: whether it is there, its owner's alone, and on a disk with room."""
    part = told("home")
    if not folder.is_dir():
        said = told(f"{folder} is not there yet; the first command that works makes it")
        yield Finding(part, told("folder"), State.OFF, said)
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        todo = told("Set IMAGESYNC_HOME to a folder of this user, or start as the user that it belongs to.")
        yield Finding(part, told("folder"), State.WRONG, told(f"{folder} may not be written by this user"), todo)
    elif stat.S_IMODE(folder.stat().st_mode) & OTHERS & ~PASS:
        said = told(f"{folder} can be read by other users of this host")
        yield Finding(part, told("folder"), State.WARNING, said, told(f"Close it: chmod go-rwx {folder}"))
    else:
        yield Finding(part, told("folder"), State.FINE, str(folder))
    disk = shutil.disk_usage(folder)
    yield space(part, disk.free, disk.total)


def postgres(part: str, engine: sa.Engine, place: str) -> list[Finding]:
    """A PostgreSQL: whether it answers, by sessions of its own, takes writes, has connections left; its clock.

    place: where a person sets its URL. One that does not answer is one finding.
    """
    try:
        refuse_pooler_of_transactions(engine, place)
        with engine.connect() as connection:
            before = time.time()
            facts = connection.execute(_FACTS).one()
            ahead = facts.now - (before + time.time()) / 2
    except Exception as error:  # noqa: BLE001 - whatever keeps it from answering is the finding
        return [failure(part, told("answers"), error, place)]
    said = told(f"PostgreSQL {facts.version}, {facts.size / 1_000_000:,.0f} MB, sessions of its own")
    found = [Finding(part, told("answers"), State.FINE, said), clock(part, ahead)]
    if facts.number < OLDEST:
        todo = told("Upgrade the server to PostgreSQL 14 or newer.")
        found.append(Finding(part, told("version"), State.WRONG, told(f"PostgreSQL {facts.version} is too old"), todo))
    if facts.standby:
        todo = told(f"Name the primary server in {place}.")
        found.append(Finding(part, told("writes"), State.WRONG, told("it is a standby, which takes no writes"), todo))
    many = facts.used >= MANY * facts.most
    todo = told("Raise max_connections, or end programs that hold some.") if many else ""
    said = told(f"{facts.used} of {facts.most} are in use")
    found.append(Finding(part, told("connections"), State.WARNING if many else State.FINE, said, todo))
    return found


def our_database(url: str, place: str) -> tuple[list[Finding], sa.Engine | None, str]:
    """Our own database: and its engine where its tables are those of this program, else why they are not."""
    part = told("database")
    engine = engine_of(url)
    found = postgres(part, engine, place)
    if found[0].state is not State.FINE:
        engine.dispose()
        return found, None, told("it does not answer")
    found.append(_rights(part, engine, SCHEMA, place))
    try:
        with engine.connect() as connection:
            version = version_of(connection)
    except Exception as error:  # noqa: BLE001 - such as a user who may not read them
        engine.dispose()
        return [*found, failure(part, told("tables"), error, place)], None, told("its tables cannot be read")
    if version == HEAD:
        found.append(Finding(part, told("tables"), State.FINE, told(f"at version {HEAD}, that of this program")))
        return found, engine, ""
    if version is None:
        why = told("its tables are not made yet")
        found.append(Finding(part, told("tables"), State.OFF, told(f"{why}; the first command that works makes them")))
    elif version < HEAD:
        why = told(f"its tables are of an earlier release (version {version}, this program has {HEAD})")
        todo = told("`imagesync upgrade --dry-run` says what the upgrade does; the next command that works does it.")
        found.append(Finding(part, told("tables"), State.WARNING, why, todo))
    else:
        why = told(f"its tables are of a newer program (version {version}, this one has {HEAD})")
        todo = told("Install the newer program, or name another database.")
        found.append(Finding(part, told("tables"), State.WRONG, why, todo))
    engine.dispose()
    return found, None, why


def dagsters_database(url: str, place: str) -> tuple[list[Finding], bool]:
    """Dagster's database, and whether it has Dagster's tables."""
    part = told("Dagster's database")
    engine = engine_of(url)
    try:
        found = postgres(part, engine, place)
        if found[0].state is not State.FINE:
            return found, False
        with engine.connect() as connection:
            has_runs = bool(connection.scalar(_HAS_RUNS))
        if not has_runs:
            said = told("Dagster has no tables yet; the first command that works makes them")
            found.append(Finding(part, told("tables"), State.OFF, said))
        return found, has_runs
    finally:
        engine.dispose()


def storage_root(settings: Settings, folder: Path, engine: sa.Engine | None) -> Iterator[Finding]:
    """Where raw pages, plans and pictures are: reachable, of this very database, on a disk with room."""
    part, place = told("storage"), "IMAGESYNC_STORAGE_URL" if settings.storage_url else "IMAGESYNC_HOME"
    try:
        root = storage_of(settings, folder)
        kept, counter = identities.kept_installation(root)
    except Exception as error:  # noqa: BLE001 - of several libraries, whose errors have no base in common
        yield failure(part, told("answers"), error, place)
        return
    yield Finding(part, told("answers"), State.FINE, str(root))
    if engine is not None:
        try:
            yield _of_this_database(part, engine, kept, counter)
        except Exception as error:  # noqa: BLE001 - such as a user who may not read our tables
            yield failure(part, told("account"), error, "IMAGESYNC_DATABASE_URL")
    local = Path(root.path) if isinstance(root, UPath) and root.protocol in ("", "file", "local") else None
    if local is not None and local.is_dir() and (not folder.is_dir() or local.stat().st_dev != folder.stat().st_dev):
        disk = shutil.disk_usage(local)
        yield space(part, disk.free, disk.total)


def bucket(settings: Settings) -> Iterator[Finding]:
    """The object store of IMAGESYNC_S3_*, where one is set: its keys, its bucket, its clock."""
    if settings.s3_endpoint_url is None:
        return
    part, place = "bucket", told("IMAGESYNC_S3_ENDPOINT_URL, IMAGESYNC_S3_BUCKET and their keys")
    # It loads boto3, which takes long.
    from imagesync_pipelines.storage.objects import check_bucket, s3_client, s3_place

    try:
        found = s3_place(settings)
        ahead = check_bucket(s3_client(found, tries=1), found.bucket) if found is not None else None
    except Exception as error:  # noqa: BLE001 - of several libraries, whose errors have no base in common
        yield failure(part, told("answers"), error, place)
        return
    yield Finding(part, told("answers"), State.FINE, f"{settings.s3_bucket} at {settings.s3_endpoint_url}")
    if ahead is not None:
        yield clock(part, ahead)


def _rights(part: str, engine: sa.Engine, schema: str, place: str) -> Finding:
    with engine.connect() as connection:
        may = bool(connection.scalar(_RIGHTS, {"schema": schema}))
    if may:
        return Finding(part, told("rights"), State.FINE, told("its user may make and change our tables"))
    said = told(f"its user {engine.url.username} may not make our tables")
    todo = told(f"An administrator can allow it with: CREATE SCHEMA {schema} AUTHORIZATION {engine.url.username}")
    return Finding(part, told("rights"), State.WRONG, said, todo)


def _of_this_database(part: str, engine: sa.Engine, kept: str, counter: int) -> Finding:
    """Whether pages and plans there are of this very database, as `check_installation` judges it before a run."""
    with engine.connect() as connection:
        known = identities.read_identities(connection, identities.INSTALLATION)
    ours = known[0].identity if known else ""
    if kept and ours and kept != ours:
        said = told(f"it belongs to installation {kept}, and our database is that of {ours}: runs refuse it")
        todo = told(
            "Set the two that belong together; or `imagesync identity accept installation`, if it is on purpose."
        )
        return Finding(part, told("account"), State.WRONG, said, todo)
    if kept == ours and kept and counter > (memory.counter_of(engine, identities.INSTALLATION) or 0):
        said = told("our database remembers less than it does: the database was restored from a backup")
        return Finding(
            part, told("account"), State.WARNING, said, told("Type `imagesync restored`, and let every account run.")
        )
    said = told(f"of this installation, {ours}") if kept else told("nothing was written there yet")
    return Finding(part, told("account"), State.FINE, said)
