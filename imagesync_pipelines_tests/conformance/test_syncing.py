"""The law of every connector: what a run brings about, what it leaves alone, what it says of what it could not do."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from imagesync_pipelines.defs import runs
from imagesync_pipelines.settings import SettingsError, load_settings
from imagesync_pipelines_tests.conformance.quality import assert_listed, quality_rows
from imagesync_pipelines_tests.conformance.subject import CHANGES, Held, Subject
from imagesync_pipelines_tests.conformance.subjects import SUBJECTS

# What a dry run may not touch: what people see, and what the next run builds on.
KEPT = (
    *("product", "product_image", "unmatched_article", "unused_image", "pin", "picture_order"),
    *("moysklad_queue", "quarantine", "cursor", "intent", "report_outbox", "held", "removal", "doubt"),
)
WRONG = [(name, variable) for name, subject in SUBJECTS.items() for variable in subject.wrong]


def kept_tables(site: Any) -> dict[str, list[tuple[Any, ...]]]:
    """Every row, with its version, of the tables that a dry run may not touch."""
    return {
        table: site.rows(f"SELECT xmin::text, to_jsonb(t)::text FROM imagesync.{table} t ORDER BY 2") for table in KEPT
    }


def written(site: Any, kept: dict[str, list[tuple[Any, ...]]]) -> set[str]:
    """The tables that are not any more as they were."""
    return {table for table, rows in kept_tables(site).items() if rows != kept[table]}


def without(held: Held, groups: set[str]) -> Held:
    """What is shown elsewhere than in these groups."""
    return {group: shown for group, shown in held.items() if group not in groups}


@contextmanager
def connections_made(site: Any) -> Iterator[list[str]]:
    """The databases, ours and Dagster's, to which this process connects in a `with` block, each time that it does."""
    names = ("IMAGESYNC_DATABASE_URL", "IMAGESYNC_DAGSTER_URL")
    ours = {sa.make_url(site.environment[name]).database: name for name in names}
    made: list[str] = []

    def note(connection: Any, _record: object) -> None:
        name = ours.get(connection.info.dbname)
        if name is not None:
            made.append(name)

    sa.event.listen(sa.pool.Pool, "connect", note)
    try:
        yield made
    finally:
        sa.event.remove(sa.pool.Pool, "connect", note)


@contextmanager
def commits_end_transactions(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each commit in a `with` block ends the server's transaction: none was begun past SQLAlchemy, which knows nothing.

    Held open, it would last as long as what is done next, such as calls of a source.
    """
    commit, left = sa.Connection.commit, []

    def looked_after(connection: sa.Connection) -> None:
        commit(connection)
        session: Any = connection.connection.driver_connection
        if session.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
            left.append("".join(traceback.format_stack(limit=6)))

    with monkeypatch.context() as patch:
        patch.setattr(sa.Connection, "commit", looked_after)
        yield
    assert left == []


@pytest.mark.slow
def test_the_target_holds_what_the_source_wants_and_a_second_run_writes_nothing(
    subject: Subject, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sign(1)
    first = site.sync(**subject.whole)
    assert first.status is runs.Status.COMPLETED, first
    assert first.summary["images_added"] > 0
    site.assert_right()
    state, images = site.acknowledged()
    assert images == site.number()
    assert_listed(subject, site)
    judged = quality_rows(site)

    stamps, calls = site.stamps(), site.calls()
    site.sign(2)
    with connections_made(site) as made:
        second = site.sync()
    assert second.status is runs.Status.COMPLETED, second
    assert len(made) <= subject.quiet_connections, made
    with site.opened() as (_, instance):
        logged = instance.all_logs(second.run_id)
        assert len(logged) <= subject.quiet_events, [one.user_message or one.message for one in logged]
    site.assert_quiet(second)
    assert site.stamps() == stamps
    assert site.calls() - calls == subject.quiet_calls
    assert site.acknowledged() == (state, images)

    site.change()
    with commits_end_transactions(monkeypatch):
        third = site.sync()
    assert third.status is not runs.Status.FAILED, third.error
    assert any(third.summary[change] for change in CHANGES)
    site.assert_right()
    assert quality_rows(site) == judged, "no synchronisation touches what is known of quality"
    assert_listed(subject, site)
    whole = site.sync(**subject.whole)
    assert whole.status is not runs.Status.FAILED, whole.error
    assert site.acknowledged()[0] != state
    assert site.acknowledged()[1] == site.number()


@pytest.mark.slow
def test_a_dry_run_writes_nothing_and_its_plan_is_carried_out_by_its_number(subject: Subject, site: Any) -> None:
    held, kept = site.held(), kept_tables(site)
    look = site.sync(**subject.whole, dry_run=True)
    assert look.status is not runs.Status.FAILED, look.error
    assert look.plan is not None
    assert look.plan.counts["add"] > 0
    assert look.plan.applied_at is None
    assert site.held() == held
    assert written(site, kept) == set()
    calls = site.calls()
    with site.entered():
        done = runs.apply_plan(look.plan.id)
    assert done.status is not runs.Status.FAILED, done.error
    assert done.summary["images_added"] == look.plan.counts["add"]
    assert done.summary["api_calls"] <= site.calls() - calls, "only those of this very run"
    site.assert_right()


@pytest.mark.slow
def test_a_plan_from_before_another_run_writes_nothing_that_the_other_run_has_written(
    subject: Subject, site: Any
) -> None:
    site.sync(**subject.whole)
    site.change()
    stale = site.sync(dry_run=True)
    assert stale.plan is not None
    moved = site.sync()
    assert moved.status is not runs.Status.FAILED, moved.error
    site.assert_right()
    stamps = site.stamps()
    with site.entered():
        runs.apply_plan(stale.plan.id)
    assert site.stamps() == stamps
    site.assert_right()


@pytest.mark.slow
def test_a_bad_item_stops_nobody_is_told_and_leaves_the_quarantine_when_it_is_well(subject: Subject, site: Any) -> None:
    site.sync(**subject.whole)
    assert site.set_aside() == set()
    with site.broken() as groups:
        site.change()
        site.blur()
        kept = kept_tables(site)
        site.sync(dry_run=True)
        assert written(site, kept) == set()
        done = site.sync()
        assert done.status is runs.Status.PARTIAL, done
        assert done.summary["warnings"]
        assert done.plan is not None
        assert done.summary["rejected"] == done.plan.counts["reject"]
        assert without(site.held(), groups) == without(site.wanted(), groups)
        assert site.set_aside()
    again = site.sync(**subject.whole)
    assert again.status is not runs.Status.FAILED, again.error
    site.assert_right()
    assert site.set_aside() == set()


@pytest.mark.slow
def test_a_second_run_is_refused_while_another_holds_the_account_and_names_it(subject: Subject, site: Any) -> None:
    site.environment["IMAGESYNC_LOCK_WAIT_SECONDS"] = "0"
    held, kept = site.held(), kept_tables(site)
    with site.taken(subject.owner):
        refused = site.sync()
    assert refused.status is runs.Status.FAILED
    assert re.search(r"synchronised already \(.*process", refused.error)
    assert site.held() == held
    # The ERP's products, and what no product shows, come from the reading alone and need no lock.
    assert written(site, kept) <= {*subject.reading_writes, "product", "unmatched_article", "unused_image"}
    assert site.sync(**subject.whole).status is runs.Status.COMPLETED
    site.assert_right()


@pytest.mark.parametrize(("name", "variable"), WRONG)
def test_a_wrong_setting_is_one_line_with_its_name(monkeypatch: pytest.MonkeyPatch, name: str, variable: str) -> None:
    value, said = SUBJECTS[name].wrong[variable]
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=rf"^{variable}\b.*{said}") as caught:
        load_settings(SUBJECTS[name].settings)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_a_wrong_setting_is_told_before_any_run(subject: Subject, site: Any) -> None:
    variable, (value, said) = next(iter(subject.wrong.items()))
    site.environment[variable] = value
    with pytest.raises(SettingsError, match=rf"{variable}.*{said}"):
        site.sync()
    del site.environment[variable]
    with site.opened() as (_, instance):
        assert instance.get_runs_count() == 0
