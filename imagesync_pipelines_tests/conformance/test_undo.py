"""What a run did is taken back, stays so, and is done again by the undo of the undo."""

import time
from pathlib import Path
from typing import Any

import pytest

from imagesync_pipelines.cli.output import EXIT_CODES
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.undo import undo
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.effects import effects_of_run
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.model import EFFECTS, Change
from imagesync_pipelines_tests.conformance.subject import CHANGES, LOOSE, Subject
from imagesync_pipelines_tests.faults.commands import command

pytestmark = pytest.mark.slow


def undone_though_limited(site: Any, run: str) -> runs.RunOutcome:
    """Take a run back by its plan, of which the limits hold back every removal and nothing else; as `undone`."""
    with site.entered(**LOOSE, IMAGESYNC_DELETION_LIMIT_COUNT="0"):
        (planned,) = undo(run, person="anna")
        assert planned.plan is not None, planned
        counts = planned.plan.counts
        assert planned.plan.scope["held_back"] > 0 == counts["remove"], planned
        assert counts["add"] + counts["update"] > 0, "what is not held back is there beside it"
        return runs.apply_plan(planned.plan.id, person="anna")


def undone(site: Any, run: str) -> runs.RunOutcome:
    """Take a run back; gives the outcome of what did it."""
    with site.entered():
        planned, done = undo(run, person="anna")
    assert planned.status is runs.Status.COMPLETED, planned
    assert done.status is runs.Status.COMPLETED, done
    return done


def test_a_run_is_taken_back_stays_so_until_that_is_taken_back_and_others_changes_stay(
    subject: Subject, site: Any
) -> None:
    site.sync(**subject.whole)
    before = site.held()
    site.change()
    done = site.sync(**subject.whole)
    after = site.held()
    assert before != after
    first = undone_though_limited(site, done.run_id)
    assert [first.summary[change] for change in CHANGES] == [
        done.summary[change] for change in ("images_deleted", "images_updated", "images_added")
    ]
    assert site.held() == before
    quiet = site.sync(**subject.whole)
    assert EXIT_CODES[quiet.status] == 0, quiet
    assert [quiet.summary[change] for change in CHANGES] == [0, 0, 0]
    assert site.held() == before
    again = undone(site, first.run_id).run_id
    assert site.held() == after
    site.assert_quiet(site.sync(**subject.whole))
    site.assert_right()
    with site.opened() as (installation, _):
        assert held.entries(installation.engine) == []
        told = effects_of_run(installation.engine, again)
    group, key = next((one.group, row.key) for one in told for row in one.rows if row.change == Change.ADD)
    site.meddle(group, key)
    with site.entered():
        (planned,) = undo(again, dry_run=True, person="anna")
    assert planned.plan is not None, planned
    assert any(f"{key} was changed since by somebody else" in warning for warning in planned.summary["warnings"])
    with site.opened() as (installation, _):
        rows = Plans(installation.engine, installation.storage).load(planned.plan.id)
    assert set(rows.loc[rows["change"].isin(EFFECTS), "group"]) == {one.group for one in told} - {group}


def test_an_undo_that_is_killed_is_ended_by_the_same_command(subject: Subject, site: Any, tmp_path: Path) -> None:
    site.sync(**subject.whole)
    before = site.held()
    site.change()
    run = site.sync(**subject.whole).run_id
    after = site.held()
    dies = subject.undoing or subject.planned
    with dies(site) as reached, command(tmp_path, site.environment, "undo", run) as process:
        process.wait_until(reached)
        process.kill()
    site.assert_killed(after)
    while not site.is_idle():
        time.sleep(0.05)
    undone(site, run)
    assert site.held() == before
    site.assert_sound()


def test_a_run_of_chosen_products_is_of_no_others_and_what_is_undone_of_it_hears_that_its_source_dropped_it(
    subject: Subject, site: Any
) -> None:
    site.environment["IMAGE_API_CACHE_ENABLED"] = "false"  # a run for a product reads as well
    site.sync(**subject.whole)
    site.change()
    look = site.sync(**subject.whole, dry_run=True)
    assert look.plan is not None
    with site.opened() as (installation, _):
        rows = Plans(installation.engine, installation.storage).load(look.plan.id)
        changing = rows[rows["change"].isin(EFFECTS)]
        group, key = changing.loc[changing["change"] == Change.ADD, ["group", "key"]].iloc[0]
        named = connector_named(subject.name).names_of(installation.engine, subject.account, [group])
    chosen = {"skus": [named[group].code if group in named else group]}
    assert len(set(changing["group"])) > 1
    done = site.sync(**chosen)
    with site.opened() as (installation, _):
        told = effects_of_run(installation.engine, done.run_id)
    assert {one.group for one in told} == {group}
    first = undone(site, done.run_id).run_id
    site.drop(group, key)
    site.sync(**chosen)
    again = undone(site, first).run_id
    assert (Change.ADD, key) in {(row["change"], row["key"]) for row in site.told(again)}
    whole = site.sync(**subject.whole)
    assert whole.status is not runs.Status.FAILED, whole
    assert key not in {row.get("key_before") or row["key"] for row in site.told(whole.run_id)}
