"""What every installation for tests stands on: fresh databases, and an environment that a process enters and leaves.

Nothing is set for longer than a `with` block.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Installation, dagster_yaml
from imagesync_pipelines_tests.reusing import DAGSTER_TEMPLATE, TEMPLATE, execute, pool

__all__ = ["databases", "ended_well", "entered", "environment_of", "execute", "opened", "rows_of"]


def environment_of(folder: Path, ours: str, dagsters: str) -> dict[str, str]:
    """What every installation needs: a home in the folder, the URLs of our database and of Dagster's, no .env file."""
    return {
        "IMAGESYNC_ENV_FILE": os.devnull,
        "IMAGESYNC_HOME": str(folder / "home"),
        "IMAGESYNC_DATABASE_URL": ours,
        "IMAGESYNC_DAGSTER_URL": dagsters,
    }


@contextmanager
def entered(environment: Mapping[str, str], **more: str) -> Iterator[None]:
    """This process uses an installation for the length of a `with` block; `more` are further variables."""
    before = dict(os.environ)
    os.environ.update({**environment, **more})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def opened(environment: Mapping[str, str], **more: str) -> Iterator[tuple[Installation, dg.DagsterInstance]]:
    """An installation and its Dagster instance."""
    with entered(environment, **more), runs.opened() as both:
        yield both


def ended_well(outcome: runs.RunOutcome) -> runs.RunOutcome:
    """The run that other tests stand on; where it did not write all that it was to, they are told that, and why."""
    left = {name: outcome.summary.get(name) for name in ("failed", "refused", "unknown")}
    assert outcome.status is not runs.Status.FAILED, outcome
    assert not any(left.values()), outcome
    return outcome


def rows_of(url: str, query: str) -> list[tuple[Any, ...]]:
    """The rows that a statement on a database gives; none when it gives none."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sa.text(query))
        return [tuple(row) for row in result] if result.returns_rows else []


@contextmanager
def databases(server: EmbeddedServer) -> Iterator[tuple[str, str]]:
    """The URLs of a fresh database with our tables and of a fresh one with Dagster's."""
    with pool(server, TEMPLATE).one() as ours, dagster_database(server) as dagsters:
        yield ours, dagsters


@contextmanager
def dagster_database(server: EmbeddedServer) -> Iterator[str]:
    """The URL of a fresh database with Dagster's tables."""
    _make_dagster_template(server)
    with pool(server, DAGSTER_TEMPLATE).one() as url:
        yield url


def _make_dagster_template(server: EmbeddedServer) -> None:
    """Dagster makes its tables in about a second; a copy of them takes a tenth of that."""
    if execute(server, f"SELECT 1 FROM pg_database WHERE datname = '{DAGSTER_TEMPLATE}'"):
        return
    execute(server, f"CREATE DATABASE {DAGSTER_TEMPLATE}")
    folder = server.socket_folder / DAGSTER_TEMPLATE
    folder.mkdir()
    (folder / "dagster.yaml").write_text(dagster_yaml())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IMAGESYNC_DAGSTER_URL", server.url(DAGSTER_TEMPLATE, "psycopg2"))
        with dg.DagsterInstance.from_config(str(folder)) as instance:
            instance.get_runs(limit=1)
