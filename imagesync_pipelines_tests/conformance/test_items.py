"""An error that nobody named, of any library, in the middle of one item is that item's failure and nobody else's."""

from contextlib import ExitStack
from typing import Any

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines_tests.conformance.subject import SAID, Subject

pytestmark = pytest.mark.slow


def test_an_error_that_nobody_named_costs_its_item_alone_and_says_why(subject: Subject, site: Any) -> None:
    stumbles = site.stumbles()
    with ExitStack() as faults:
        for fault in stumbles.values():
            faults.enter_context(fault)
        done = site.sync(**subject.whole)
    assert done.status is runs.Status.PARTIAL, done
    assert "Traceback" not in f"{done.error} {done.summary['warnings']}"
    reasons = [reason for reason in site.reasons() if SAID in reason]
    assert len(reasons) >= len(stumbles), site.reasons()
    assert not any("\n" in reason for reason in reasons)

    first = site.held()
    again = site.sync(**subject.whole)
    assert again.status is not runs.Status.FAILED, again.error
    site.assert_right()
    assert site.set_aside() == set()
    after = site.held()
    failed = {group for group in after if first.get(group) != after[group]}
    assert failed, "what stumbled had not been written"
    assert failed <= set(stumbles), "everything else had"
