"""What is held back is told by every run, also a quiet one, until it is wanted again, a person decides or it went."""

from typing import Any

import pytest

from imagesync_pipelines.cli.output import EXIT_CODES
from imagesync_pipelines.defs import runs
from imagesync_pipelines.storage.errors import PlanExpiredError
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync import excluding, held
from imagesync_pipelines.sync.guard import wants
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines_tests.conformance.excluded import exclude
from imagesync_pipelines_tests.conformance.subject import CHANGES, LOOSE, Subject

pytestmark = pytest.mark.slow


def waiting(site: Any, subject: Subject) -> list[held.HeldEntry]:
    """What is undecided of the account that is looked at."""
    with site.opened() as (installation, _):
        return held.undecided(installation.engine, subject.name, subject.account)


def decide(site: Any, ids: list[int], decision: str) -> None:
    """A person's word about entries."""
    with site.opened() as (installation, _):
        assert held.decide(installation.engine, ids, decision, "anna") == len(ids)


def test_what_is_held_back_is_told_until_it_is_wanted_again_or_a_person_decides(subject: Subject, site: Any) -> None:
    site.sync(**subject.whole)
    site.environment.update({**LOOSE, "IMAGESYNC_DELETION_LIMIT_COUNT": "0"})
    back = site.leave()
    assert site.sync(**subject.whole).summary["held_back"] == len(waiting(site, subject)) > 0
    back()
    done = site.sync(**subject.whole)
    assert (done.status, done.summary["held_back"]) == (runs.Status.COMPLETED, 0), (
        "what is wanted again is held no more"
    )
    assert waiting(site, subject) == []
    for name in (*LOOSE, "IMAGESYNC_DELETION_LIMIT_COUNT"):
        del site.environment[name]
    site.change()
    first = site.sync(**subject.whole).summary["images_deleted"]
    assert first > 0
    site.lose()
    before = site.held()
    look = site.sync(**subject.whole, dry_run=True, allow_mass_delete=True)
    assert look.plan is not None
    then = look.plan.counts["remove"]
    assert then > 2
    assert waiting(site, subject) == [], "a dry run notes nothing"
    # Each of the two runs would be allowed to do its part.
    site.environment.update({**LOOSE, "IMAGESYNC_DELETION_LIMIT_COUNT": str(first + then - 1)})
    for options in (subject.whole, {}):
        calls = site.calls()
        done = site.sync(**options)
        assert EXIT_CODES[done.status] == 3, done
        assert [done.summary[change] for change in CHANGES] == [0, 0, 0]
        assert done.summary["held_back"] == then
        assert any(f"({first} of them in the last 24 hours)" in warning for warning in done.summary["warnings"])
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
    assert (done.summary["images_deleted"], done.summary["held_back"]) == (then - 1, 0)
    assert waiting(site, subject) == []
    site.assert_sound()


def test_what_a_person_undid_or_excluded_stays_so_until_it_is_released(
    subject: Subject, site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.sync(**subject.whole)
    before = site.written()
    site.change()
    look = site.sync(**subject.whole, dry_run=True)
    assert look.plan is not None
    with site.opened() as (installation, _):
        rows = Plans(installation.engine, installation.storage).load(look.plan.id)
        rows = rows[rows["change"].isin(EFFECTS)]
        columns = (rows["key"], rows["group"], wants(rows), rows["change"])
        undone = [
            held.HeldRow(key, group, wanted, held.UNDONE, "undone by anna", change)
            for key, group, wanted, change in zip(*columns, strict=True)
        ]
    include = exclude(site, subject, set(rows["group"]))
    with site.entered():
        with pytest.raises(PlanExpiredError, match="excluded by anna"):
            runs.apply_plan(look.plan.id)
        # As if somebody excluded it when the run had been asked for.
        monkeypatch.setattr(runs, "expired_because", lambda plans, header, connector: "")
        earlier = runs.apply_plan(look.plan.id)
    assert "excluded by anna" in " ".join(earlier.summary["warnings"]), "it was planned before"
    assert [earlier.summary[change] for change in (*CHANGES, "refused")] == [0, 0, 0, len(undone)]
    assert site.written() == before
    include()
    with site.opened() as (installation, _), installation.engine.begin() as connection:
        held.mark_undone(connection, subject.name, subject.account, undone, "anna", None, None)
    for options in (subject.whole, {}):
        done = site.sync(**options)
        assert EXIT_CODES[done.status] == 0, done
        assert [done.summary[change] for change in (*CHANGES, "held_back")] == [0, 0, 0, 0]
        assert site.written() == before
    with site.opened() as (installation, _):
        marks = held.entries(installation.engine, subject.name, subject.account)
    assert {one.key for one in marks} == {row.key for row in undone}
    include = exclude(site, subject, set(rows["group"]))
    decide(site, [one.id for one in marks], held.ALLOW)
    done = site.sync(**subject.whole)
    assert done.plan is not None
    assert "excluded by anna" in done.plan.scope[excluding.EXCLUDED]
    assert [done.summary[change] for change in (*CHANGES, "held_back")] == [0, 0, 0, 0]
    assert site.written() == before
    include()
    site.sync()
    site.assert_right()
    with site.opened() as (installation, _):
        assert held.entries(installation.engine, subject.name, subject.account) == []
