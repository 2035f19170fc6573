"""A real `imagesync sync …`, killed with kill -9 at each of its moments, or beside a second one; what comes next."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.subject import Subject
from imagesync_pipelines_tests.conformance.subjects import SUBJECTS
from imagesync_pipelines_tests.faults.commands import command, killed_before

pytestmark = pytest.mark.slow

MOMENTS = [(name, moment) for name, subject in SUBJECTS.items() for moment in subject.moments]


@pytest.mark.parametrize(("name", "moment"), MOMENTS)
def test_a_run_killed_at_any_moment_loses_nothing_and_doubles_nothing(
    server: EmbeddedServer, tmp_path: Path, name: str, moment: str
) -> None:
    subject = SUBJECTS[name]
    with subject.made(server, tmp_path / "site") as site:
        subject.before_a_kill(site)
        before = site.held()
        with subject.moments[moment](site) as reached, started(subject, site, tmp_path) as run:
            run.wait_until(reached)
            run.kill()
        site.assert_killed(before)

        second = site.sync()
        assert second.status is not runs.Status.FAILED, second.error
        site.assert_right()
        with site.opened() as (_, instance):
            killed = killed_before(instance, second.run_id)
            assert not subject.account or killed.partition == subject.account
            assert instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])) == []

        wait_for(site.is_idle)
        stamps, calls = site.stamps(), site.calls()
        site.assert_quiet(site.sync())
        assert site.stamps() == stamps
        assert site.calls() - calls == subject.quiet_calls, "nothing is left to be done"
        site.assert_right()
        site.assert_told_once()


def test_two_runs_at_once_both_end_and_make_nothing_twice(subject: Subject, site: Any, tmp_path: Path) -> None:
    subject.before_a_kill(site)
    with subject.beside(site) as reached, started(subject, site, tmp_path) as run:
        run.wait_until(reached)
        beside = site.sync()
        run.assert_ends_well()
    assert beside.status is not runs.Status.FAILED, beside.error
    wait_for(site.is_idle)
    site.assert_done_once()
    site.sync()
    site.assert_right()
    site.assert_told_once()


def started(subject: Subject, site: Any, folder: Path) -> Any:
    """The command in a process of its own."""
    return command(folder, site.environment, *subject.command(site))


def wait_for(reached: Callable[[], bool]) -> None:
    """Wait until the outside system has done what it was asked."""
    while not reached():
        time.sleep(0.05)
