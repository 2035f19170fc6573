"""The head office hears of every photo that was written, also when the run died between writing and noting that."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from imagesync_pipelines.connectors.edge import applying
from imagesync_pipelines.connectors.edge.reading import StoreRun, make_plan, take_photos
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office

pytestmark = pytest.mark.slow


class CrashError(BaseException):
    """The process is gone."""


NOW = datetime(2026, 11, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("plans", "before", "wanted"),
    [
        ("", None, None),
        ("begun", None, 1),
        ("begun made", None, 1),  # a part that is stored, a dry run
        ("begun made made", 3, 1),
        ("begun applied made", None, None),
        ("begun applied", 2, 1),
        ("applied made", None, None),
        ("applied begun", 2, None),
    ],
)
def test_what_was_only_made_hides_no_application_that_broke_off(plans: str, before: int | None, wanted: Any) -> None:
    of = {"made": (None, None), "begun": ("run", None), "applied": (None, NOW)}
    headers = [
        SimpleNamespace(id=number, begun_run=of[state][0], applied_at=of[state][1])
        for number, state in enumerate(plans.split(), 1)
    ]
    stored = SimpleNamespace(all=lambda connector, part: headers[::-1])
    context = cast("Any", SimpleNamespace(connector="edge", part={}, plans=stored))
    found = StoreRun(context, cast("Any", None), cast("Any", None), cast("Any", None)).broken_off(before)
    assert (found and found.id) == wanted


@pytest.fixture
def place(server: EmbeddedServer, tmp_path: Path) -> Iterator[EdgeWorld]:
    """A store that has everything."""
    with (
        head_office(server, tmp_path / "office", photos=6) as office,
        edge_world(server, tmp_path / "place", office) as made,
    ):
        made.run(full=True)
        yield made


@pytest.mark.parametrize("news", [True, False], ids=["a new photo", "a failed photo, tried again"])
def test_what_a_dying_run_wrote_is_reported_by_the_next(
    place: EdgeWorld, monkeypatch: pytest.MonkeyPatch, news: bool
) -> None:
    if news:
        photo_id = str(place.office.mutate("add").photo_id)
    else:
        photo_id = next(iter(place.photos()))
        place.rows(f"UPDATE product_photo SET sync_status = 'failed', image_binary = NULL WHERE id = '{photo_id}'")
        place.run(tries=1)
        place.rows(f"UPDATE product_photo SET sync_status = 'failed', image_binary = NULL WHERE id = '{photo_id}'")

    def die(*arguments: object) -> None:
        if arguments[-1]:
            raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr(applying, "queue", die)
        with pytest.raises(CrashError):
            place.run()
    assert place.photos()[photo_id].status == "synced", "it was written before the run died"
    told = len(place.office.reports())
    place.run()
    assert {report.photo_id for report in place.office.reports()[told:]} == {photo_id}
    assert place.run().listed.quiet


def test_a_product_with_several_primaries_is_not_stale_because_others_changed(place: EdgeWorld) -> None:
    two = place.office.mutate("second_primary").product_id
    place.office.mutate("second_primary", product_id=two)
    with place.at_store() as run:
        take_photos(run, full=True, dry_run=False)
        number = int(str(make_plan(run, allow_mass_delete=False).shown["plan_id"]))
    other = next(row.product_id for row in place.listed().values() if row.product_id != two)
    place.office.mutate("replace", product_id=other)
    with place.at_store() as run:
        take_photos(run, full=False, dry_run=False)
        done = applying.apply_plan(run, number).summary
    assert done is not None
    assert (done.images_added, done.refused) == (2, 0)
    place.run()
    place.assert_converged()
