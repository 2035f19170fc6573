"""The head office hears of every photo that was written, also when the run died between writing and noting that."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesync_pipelines.connectors.edge import applying
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.edge_installations import EdgeWorld, edge_world, head_office

pytestmark = pytest.mark.slow


class CrashError(BaseException):
    """The process is gone."""


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
