"""Our database restored from a backup: what it lacks is read, nothing is doubled, and nothing stale stays."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.conformance.subject import Site, Subject, ours
from imagesync_pipelines_tests.places import execute

pytestmark = pytest.mark.slow


@contextmanager
def older(server: EmbeddedServer, site: Site) -> Iterator[None]:
    """After the `with` block our database, and what its storage root says of it, is as it was before."""
    with site.opened() as (installation, _):
        note = installation.storage / "installation-id"
    text, name = note.read_text(), sa.make_url(ours(site)).database
    others = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{name}'"
    execute(server, others)
    execute(server, f"CREATE DATABASE {name}_backup TEMPLATE {name} STRATEGY FILE_COPY")
    yield
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")
    execute(server, f"ALTER DATABASE {name}_backup RENAME TO {name}")
    note.write_text(text)


def test_after_a_restored_backup_the_target_is_as_it_should_be_and_nothing_is_doubled(
    server: EmbeddedServer, subject: Subject, site: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert site.sync(**subject.whole).status is runs.Status.COMPLETED
    with older(server, site):
        site.change()
        site.sync()
        site.assert_right()
        site.change_again()
    typed = call(site, capsys, "restored")
    assert (typed.code, subject.name in typed.out, subject.account in typed.out) == (0, True, True)
    done = site.sync()
    assert done.status is not runs.Status.FAILED, done.error
    assert any("restored from a backup" in warning for warning in done.summary["warnings"])
    site.assert_right()
    again = site.sync()
    site.assert_quiet(again)
    assert not any("restored from a backup" in warning for warning in again.summary["warnings"]), "it was read whole"
