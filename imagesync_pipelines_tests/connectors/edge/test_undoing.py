"""What a run wrote into a store is taken back, with the pictures that the store keeps itself."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from imagesync_pipelines.connectors.edge import history
from imagesync_pipelines.connectors.edge.applying import apply_plan
from imagesync_pipelines.connectors.edge.shown import pictures_of
from imagesync_pipelines.connectors.edge.undoing import NOT_KEPT, make_undo_plan
from imagesync_pipelines.sandbox.head_office.watching import DOWNLOAD, LISTING, STATUS
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.steps import StepResult
from imagesync_pipelines.sync.undoing import UndoOptions, UndoRefusedError
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office

pytestmark = pytest.mark.slow


class CrashError(BaseException):
    """The process is gone."""


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[EdgeWorld]:
    """A store that has everything."""
    with (
        head_office(server, tmp_path / "office", photos=8) as office,
        edge_world(server, tmp_path / "place", office) as made,
    ):
        made.run(full=True)
        yield made


def planned(place: EdgeWorld, run: str, *skus: str) -> tuple[StepResult, int]:
    """Plan to take a run back; gives the plan's number, 0 where there is nothing to do."""
    with place.at_store() as at:
        result = make_undo_plan(at, UndoOptions(run=run, skus=list(skus)))
    return result, int(str(result.shown.get("plan_id", 0)))


def applied(place: EdgeWorld, number: int, **settings: Any) -> str:
    """Carry a plan out; gives the run."""
    with place.at_store(**settings) as at:
        done = apply_plan(at, number)
        assert done.summary is not None
        assert (done.summary.failed, done.summary.refused) == (0, 0), done.summary
        return at.context.run_id


def undone(place: EdgeWorld, run: str) -> str:
    """Take a run back; gives the run that did it."""
    return applied(place, planned(place, run)[1])


def newest(place: EdgeWorld) -> str:
    """The run that changed something last."""
    return str(place.rows("SELECT run_id FROM imagesync.effect ORDER BY id DESC LIMIT 1", None)[0][0])


def change(place: EdgeWorld) -> None:
    """A photo is added, one replaced, one gets another place, one goes, one is first in the place of another."""
    for operator in ("add", "replace", "edit", "delete_row", "second_primary"):
        place.office.mutate(operator)


def marks(place: EdgeWorld) -> int:
    with place.at_store() as at:
        return len(held.entries(at.engine))


def calls(place: EdgeWorld) -> int:
    return sum(place.office.ledger.count(one) for one in (LISTING, DOWNLOAD, STATUS))


def test_a_run_is_taken_back_without_a_call_of_the_head_office_and_stays_so(place: EdgeWorld) -> None:
    before = place.photos()
    change(place)
    place.run(full=True)
    after, run, earlier, reports = place.photos(), newest(place), calls(place), len(place.office.reports())
    result, number = planned(place, run)
    assert str(result.shown["cost"]).startswith("no downloads, 2 pictures with")
    with place.at_store() as at:
        plans = Plans(at.engine, at.context.installation.storage)
        rows = [{str(name): value for name, value in row.items()} for row in plans.load(number).to_dict("records")]
        pictures = pictures_of(at.engine, at.context.installation.storage, plans.header(number), rows)
        assert sum("sha256=" in one.after for one in pictures) == 2, "what comes back is shown from what is kept"
    back = applied(place, number)
    assert place.photos() == before
    assert (calls(place), len(place.office.reports())) == (earlier, reports)
    for full in (False, True):
        place.run(full=full)
        assert place.photos() == before, "no run does it again"
    assert calls(place) == earlier + 2
    assert place.run().listed.quiet
    again = undone(place, back)
    assert place.photos() == after
    assert marks(place) == 0
    place.run(full=True)
    place.assert_converged()
    undone(place, again)
    assert place.photos() == before


@pytest.mark.parametrize("transaction", [2, 3])
def test_an_undo_that_dies_on_the_way_is_known_to_the_next_run_and_ends_when_asked_again(
    place: EdgeWorld, transaction: int
) -> None:
    before = place.photos()
    change(place)
    place.run(full=True)
    after, run = place.photos(), newest(place)
    _, number = planned(place, run)
    real, begun = history.History.note, 0

    def die(*arguments: Any) -> None:
        nonlocal begun
        begun += 1
        if begun == transaction:
            raise CrashError
        real(*arguments)

    def dead(*arguments: object) -> None:
        raise CrashError

    # What it did is told in the store alone, as after kill -9.
    with (
        patch.object(history.History, "note", die),
        patch.object(history, "take_over", dead),
        pytest.raises(CrashError),
    ):
        applied(place, number, rows_per_commit=1, concurrency=1)
    between = place.photos()
    assert between not in (before, after)
    place.run(full=True)
    assert place.photos() == between, "no run does again what was undone"
    undone(place, run)
    assert place.photos() == before
    place.run(full=True)
    assert place.photos() == before


def test_what_others_changed_since_is_left_alone_and_what_is_not_kept_is_told(place: EdgeWorld) -> None:
    before = place.photos()
    place.office.mutate("replace")
    added = str(place.office.mutate("add").photo_id)
    place.run(full=True)
    run = newest(place)
    replaced = next(iter(place.photos().keys() - before.keys() - {added}))
    place.rows(f"UPDATE product_photo SET filename = 'by-hand.jpg' WHERE id = '{added}' RETURNING 1")
    place.rows(f"DELETE FROM {history.KEPT_PHOTOS} RETURNING 1")
    result, number = planned(place, run)
    assert number == 0
    (refused,) = [one for one in result.warnings if "left as " in one]
    assert f"{added} was changed since by somebody else" in refused
    (lost,) = [one for one in result.warnings if "cannot be brought back" in one]
    assert lost.startswith(f"1 image cannot be brought back: {replaced}: {NOT_KEPT}")
    with pytest.raises(UndoRefusedError, match="lists no photo of a product none"):
        planned(place, run, "none")
    with pytest.raises(UndoRefusedError, match="Nothing is known of what run other changed here"):
        planned(place, "other")
