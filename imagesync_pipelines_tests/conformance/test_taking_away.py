"""What is there of excluded products is taken away by a plan, and comes back by its undo or when the exclusion ends."""

from typing import Any

import pytest

from imagesync_pipelines.cli.output import EXIT_CODES
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.undo import take_away, undo
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.guard import approved
from imagesync_pipelines.sync.model import EFFECTS, Change
from imagesync_pipelines.sync.plan_rows import part_of
from imagesync_pipelines_tests.conformance.excluded import exclude, skus_of
from imagesync_pipelines_tests.conformance.subject import CHANGES, Subject

pytestmark = pytest.mark.slow


def test_what_is_there_of_excluded_products_is_taken_away_by_a_plan_and_no_run_brings_it_back(
    subject: Subject, site: Any
) -> None:
    site.sync(**subject.whole)
    before, number = site.written(), site.number()
    told = site.rows("SELECT group_key, rows FROM imagesync.effect ORDER BY group_key")
    chosen = list(dict.fromkeys(group for group, _ in told))[:2]
    keys = {row["key"] for group, rows in told if group in chosen for row in rows if row["change"] == Change.ADD}
    include = exclude(site, subject, chosen)
    with site.entered():
        planned = take_away(subject.name, subject.account, skus_of(site, subject, chosen), person="anna")
    assert planned.plan is not None, planned
    with site.opened() as (installation, _):
        rows = approved(Plans(installation.engine, installation.storage).load(planned.plan.id))
    rows = rows[rows["change"].isin(EFFECTS)]
    assert (set(rows["key"]), set(rows["change"])) == (keys, {Change.REMOVE})
    assert site.written() == before
    with site.entered():
        done = runs.apply_plan(planned.plan.id, person="anna")
    assert [done.summary[name] for name in ("images_deleted", "refused", "failed")] == [len(keys), 0, 0], done
    after = site.written()
    assert site.number() == number - len(keys)
    assert len({one for one in before if before[one] != after.get(one)}) == len(chosen)
    quiet = site.sync(**subject.whole)
    assert EXIT_CODES[quiet.status] == 0, quiet
    assert [quiet.summary[change] for change in (*CHANGES, "held_back")] == [0, 0, 0, 0]
    assert site.written() == after
    with site.entered():
        (planned,) = undo(done.run_id, dry_run=True, person="anna")
    assert planned.plan is not None, planned
    assert (planned.plan.counts["add"], planned.summary["warnings"]) == (len(keys), [])
    with site.opened() as (installation, _):
        one = part_of(Plans(installation.engine, installation.storage), planned.plan, chosen[:1])
    with site.entered():
        back = runs.apply_plan(one, person="anna")
    assert site.number() == number - len(keys) + back.summary["images_added"] < number
    assert len({one for one in before if before[one] != site.written().get(one)}) == 1
    with site.opened() as (installation, _):
        assert held.entries(installation.engine) == [], "no source wanted any of this"
    include()
    site.sync(**subject.whole)
    site.assert_right()
    assert site.number() == number
    site.assert_told_once()
