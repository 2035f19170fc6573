"""Whose account it is: another one is refused before anything is written, another token of the same one is not."""

from typing import Any

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines_tests.cli.terminals import call
from imagesync_pipelines_tests.conformance.subject import Held, Subject

pytestmark = pytest.mark.slow


def with_images(held: Held) -> Held:
    """The groups that show anything."""
    return {group: shown for group, shown in held.items() if shown}


def test_another_account_under_the_same_name_is_refused_until_a_person_accepts_it(
    subject: Subject, site: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first = site.sync(**subject.whole)
    assert first.status is runs.Status.COMPLETED, first
    site.change()
    with site.rotated():
        again = site.sync()
    assert again.status is not runs.Status.FAILED, again.error
    assert again.summary["images_added"] > 0
    site.assert_right()

    with site.another() as shown:
        there = shown()
        refused = site.sync(**subject.whole)
        assert refused.status is runs.Status.FAILED
        assert "Nothing was written." in refused.error
        assert "imagesync identity accept" in refused.error
        assert shown() == there
        named = (subject.name, subject.account) if subject.account else ("installation",)
        accepted = call(site, capsys, "identity", "accept", *named)
        assert accepted.code == 0, accepted
        done = site.sync(**subject.whole)
        assert done.status is not runs.Status.FAILED, done.error
        assert with_images(shown()) == with_images(site.wanted())
        listed = call(site, capsys, "identity", "list")
        assert (listed.code, subject.account in listed.out) == (0, True)


def test_a_target_that_is_its_own_source_is_refused_before_anything_is_written(subject: Subject, site: Any) -> None:
    with site.own_source() as possible:
        if not possible:
            pytest.skip("what it writes to is never what it reads from")
        wanted = site.wanted()
        refused = site.sync(**subject.whole)
        assert refused.status is runs.Status.FAILED
        assert "Nothing was written." in refused.error
        assert site.wanted() == wanted
