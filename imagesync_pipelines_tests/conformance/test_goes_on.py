"""A plan that died half-way goes on when it is started again: it does not refuse what it changed itself.

Ordinary plans, undo, and the undo of an undo; dead at each of their first writes, then further on,
until nothing dies any more.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import pytest

from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.undo import undo
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines_tests.conformance.subject import Subject
from imagesync_pipelines_tests.places import ended_well

pytestmark = pytest.mark.slow

# Called before our own commits, and at the end of a plan; and what writes into the system of somebody else.
BEFORE = ((RunContext, "check_locks"), (Plans, "mark_applied"))
AFTER = (
    *((PlytixApi, name) for name in ("create_asset", "link", "patch_product")),
    *((MoyskladApi, name) for name in ("set_images", "set_images_bulk")),
)

NEVER = 1_000_000


class DiedError(BaseException):
    """The process is gone."""


@contextmanager
def dying(at: int) -> Iterator[None]:
    """The process dies at the nth moment before or after a write, all of its threads."""
    moments, counting = 0, threading.Lock()

    def look() -> None:
        nonlocal moments
        with counting:
            moments += 1
            if moments >= at:
                raise DiedError

    def watched(owner: Any, name: str, before: bool) -> Any:
        real = getattr(owner, name)

        def do(*given: Any, **more: Any) -> Any:
            if before:
                look()
            done = real(*given, **more)
            if not before:
                look()
            return done

        return patch.object(owner, name, do)

    with ExitStack() as patches:
        for place in (*BEFORE, *AFTER):
            patches.enter_context(watched(*place, before=place in BEFORE))
        yield


def runs_told(site: Any) -> list[str]:
    """The runs of the history, in the order in which they changed something."""
    return list(dict.fromkeys(row[0] for row in site.rows("SELECT run_id FROM imagesync.effect ORDER BY id")))


def carried_out(site: Any, plan_id: int, at: int) -> bool:
    """Carry out a plan that dies at its nth moment, and start it again; gives whether it died."""
    with site.entered():
        with dying(at):
            done = runs.apply_plan(plan_id, person="anna")
        died = done.status is runs.Status.FAILED
        if died:
            assert "DiedError" in done.error, done
            done = runs.apply_plan(plan_id, person="anna")
    ended_well(done)
    assert done.status is not runs.Status.PARTIAL, done
    assert site.set_aside() == set()
    site.assert_sound()
    return died


def taken_back(site: Any, of: list[str], at: int) -> tuple[list[str], bool]:
    """Undo runs, the last one first, each by a plan that dies at its nth moment; gives what did it, and if one died."""
    told, died = runs_told(site), False
    for run in reversed(of):
        with site.entered():
            (planned,) = undo(run, dry_run=True, person="anna")
        assert planned.plan is not None, planned
        died |= carried_out(site, planned.plan.id, at)
    return [run for run in runs_told(site) if run not in told], died


def test_a_plan_that_died_anywhere_ends_where_an_undisturbed_one_ends_and_so_do_its_undo_and_the_undo_of_that(
    subject: Subject, site: Any
) -> None:
    site.sync(**subject.whole)
    alive, at = False, 0
    while not alive:
        # 1, 2, 3, 4, 6, 9, 13: each round is three plans and their applications.
        before, told, at = site.held(), runs_told(site), at + max(1, at // 2)
        (site.change if at == 1 else site.change_again)()
        site.put_beside()
        look = site.sync(**subject.whole, dry_run=True)
        assert look.plan is not None, look
        died = carried_out(site, look.plan.id, at)
        after = site.held()
        site.assert_right()
        site.assert_told_once()
        of_undo = at if subject.undo_goes_on else NEVER
        first, undo_died = taken_back(site, [run for run in runs_told(site) if run not in told], of_undo)
        assert site.held() == before, f"undone, dead at {at}"
        _, again_died = taken_back(site, first, of_undo)
        assert site.held() == after, f"done again, dead at {at}"
        site.assert_told_once()
        alive = not (died or undo_died or again_died)
    assert at > 1, "it died somewhere"
    site.assert_quiet(site.sync(**subject.whole))
    site.assert_right()
