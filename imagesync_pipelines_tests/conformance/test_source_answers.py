"""What a source answers is no fact as long as it cannot be read: nothing there, or an item that may be any."""

from typing import Any

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines_tests.conformance.subject import Subject

pytestmark = pytest.mark.slow

# What protects is the missing proof, not the limits.
LOOSE = {f"IMAGESYNC_DELETION_LIMIT_{name}": "1000" for name in ("COUNT", "BARE", "FLOOR")}


def test_an_empty_answer_and_an_item_that_may_be_any_remove_nothing_and_are_told(subject: Subject, site: Any) -> None:
    site.environment.update(LOOSE)
    site.sync(**subject.whole)
    before = site.held()
    with site.emptied():
        done = site.sync(**subject.whole)
        assert done.error or done.summary["warnings"], "it is told"
        assert site.held() == before
    again = site.sync(**subject.whole)
    assert again.status is runs.Status.COMPLETED, again
    site.assert_quiet(again)

    site.change()
    with site.nameless() as group:
        done = site.sync(**subject.whole)
        assert done.status is not runs.Status.FAILED, done.error
        assert done.summary["warnings"], "it is told"
        assert done.summary["images_added"] > 0, "everything else goes on"
        assert site.held()[group] == before[group]
    again = site.sync(**subject.whole)
    assert again.status is not runs.Status.FAILED, again.error
    site.assert_right()
