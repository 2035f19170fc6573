"""A stored plan is stale group by group: what moved since it was made is refused, the rest is carried out."""

from typing import Any

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.plan_rows import part_of
from imagesync_pipelines_tests.conformance.subject import CHANGES, Subject
from imagesync_pipelines_tests.conformance.subjects import SUBJECTS

pytestmark = pytest.mark.slow

MODES = [(name, policy) for name, subject in SUBJECTS.items() for policy in subject.policies]


def test_what_is_at_the_source_again_is_not_taken_away_by_an_older_plan(subject: Subject, site: Any) -> None:
    site.sync(**subject.whole)
    site.change()
    back = site.leave()
    look = site.sync(**subject.whole, dry_run=True)
    assert look.plan is not None
    back()
    site.sync(**subject.whole, dry_run=True)
    with site.entered():
        done = runs.apply_plan(look.plan.id)
    assert done.status is runs.Status.PARTIAL, done
    assert done.summary["refused"] > 0
    assert done.summary["images_deleted"] < look.plan.counts["remove"]
    assert any("since the plan was made (" in warning for warning in done.summary["warnings"])
    assert any(done.summary[change] for change in ("images_added", "images_updated"))
    site.assert_right()


def test_after_a_part_of_a_plan_the_next_run_plans_the_rest(subject: Subject, site: Any) -> None:
    site.sync(**subject.whole)
    site.change()
    look = site.sync(dry_run=True)
    assert look.plan is not None
    with site.opened() as (place, _):
        plans = Plans(place.engine, place.storage)
        rows = plans.load(look.plan.id)
        groups = rows.loc[rows["change"].isin(EFFECTS), "group"].unique().tolist()
        part = part_of(plans, look.plan, groups[:1])
    with site.entered():
        done = runs.apply_plan(part)
    assert done.status is runs.Status.COMPLETED, done
    assert len(groups) > 1
    assert 0 < sum(done.summary[change] for change in CHANGES) < sum(look.plan.counts[change] for change in EFFECTS)
    site.sync()
    site.assert_right()


@pytest.mark.parametrize(("name", "policy"), MODES)
def test_a_plan_that_was_made_with_another_setting_is_not_carried_out(
    server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory, name: str, policy: str
) -> None:
    subject = SUBJECTS[name]
    with subject.made(server, tmp_path_factory.mktemp("site")) as site:
        look = site.sync(**subject.whole, dry_run=True)
        assert look.plan is not None
        stamps = site.stamps()
        subject.policies[policy](site)
        with site.entered():
            done = runs.apply_plan(look.plan.id)
        assert done.status is runs.Status.PARTIAL, done
        assert done.summary["refused"] == look.plan.counts["add"]
        assert any(policy in warning for warning in done.summary["warnings"])
        assert site.stamps() == stamps
