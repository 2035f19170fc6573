"""What is held back is told by every run, also a quiet one, until a person decides or it went."""

from typing import Any

import pytest

from imagesync_pipelines.cli.output import EXIT_CODES
from imagesync_pipelines.defs import runs
from imagesync_pipelines.sync import held
from imagesync_pipelines_tests.conformance.subject import CHANGES, Subject
from imagesync_pipelines_tests.conformance.test_lineage import TIGHT

pytestmark = pytest.mark.slow


def waiting(site: Any, subject: Subject) -> list[held.HeldEntry]:
    """What is undecided of the account that is looked at."""
    with site.opened() as (installation, _):
        return held.undecided(installation.engine, subject.name, subject.account)


def decide(site: Any, ids: list[int], decision: str) -> None:
    """A person's word about entries."""
    with site.opened() as (installation, _):
        assert held.decide(installation.engine, ids, decision, "anna") == len(ids)


def test_removals_of_two_runs_of_a_day_count_together(subject: Subject, site: Any) -> None:
    site.sync(**subject.whole)
    site.change()
    first = site.sync(**subject.whole).summary["images_deleted"]
    assert first > 0
    site.environment["IMAGESYNC_DELETION_LIMIT_COUNT"] = str(first)
    site.change()
    done = site.sync(**subject.whole)
    assert (done.summary["images_deleted"], done.summary["held_back"] > 0) == (0, True)
    assert any(f"({first} of them in the last 24 hours)" in warning for warning in done.summary["warnings"])
    assert done.summary["images_added"] > 0, "nothing else is held back"
    del site.environment["IMAGESYNC_DELETION_LIMIT_COUNT"]
    again = site.sync(**subject.whole)
    assert (again.summary["images_deleted"], again.summary["held_back"]) == (done.summary["held_back"], 0)
    site.assert_right()


def test_what_is_held_back_is_told_until_a_person_decides(subject: Subject, site: Any) -> None:
    site.sync(**subject.whole)
    site.environment.update(TIGHT)
    site.lose()
    before = site.held()
    look = site.sync(**subject.whole, dry_run=True)
    assert look.summary["held_back"] > 2
    assert waiting(site, subject) == [], "a dry run notes nothing"
    for options in (subject.whole, {}):
        calls = site.calls()
        done = site.sync(**options)
        assert EXIT_CODES[done.status] == 3, done
        assert [done.summary[change] for change in CHANGES] == [0, 0, 0]
        assert done.summary["held_back"] == look.summary["held_back"]
        assert any("held back since" in warning for warning in done.summary["warnings"])
        assert site.held() == before
    # A source that is read page by page has fewer pages by now.
    if subject.name != "image_db":
        assert site.calls() - calls == subject.quiet_calls, "what is held is told without a call"
    ids = [one.id for one in waiting(site, subject)]
    decide(site, ids[:1], held.KEEP)
    decide(site, ids[1:], held.ALLOW)
    done = site.sync()
    assert done.status is runs.Status.COMPLETED, done
    assert (done.summary["images_deleted"], done.summary["held_back"]) == (len(ids) - 1, 0)
    stamps = site.stamps()
    done = site.sync(**subject.whole)
    assert done.status is runs.Status.COMPLETED, done
    assert site.stamps() == stamps
    site.assert_sound()
