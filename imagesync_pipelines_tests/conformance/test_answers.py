"""An outcome is what an answer's body says: a write answered 200 with anything else is never counted as done."""

import pytest

from imagesync_pipelines.defs import runs
from imagesync_pipelines.sandbox.faults import answer
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.conformance.subjects import SUBJECTS

pytestmark = pytest.mark.slow

WRITES = [(name, write) for name, subject in SUBJECTS.items() for write in subject.writes]
EMPTY = ("{}", '{"data": []}')
ERROR = '{"status": "error", "message": "Internal error", "error": {"msg": "Internal error", "errors": []}}'


@pytest.mark.parametrize(("name", "write"), WRITES)
def test_a_write_answered_200_without_what_its_body_must_hold_is_not_done_and_is_found_out(
    server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory, name: str, write: str
) -> None:
    subject = SUBJECTS[name]
    with subject.made(server, tmp_path_factory.mktemp("site")) as site:
        endpoint, faults = subject.writes[write](site)
        faults.add(*(answer(200, body, "application/json").at(endpoint) for body in (*EMPTY, ERROR)))
        first = site.sync(**subject.whole)
        # A report that waits is no fault of the run that wrote the pictures.
        assert first.status is runs.Status.PARTIAL or site.rows("SELECT * FROM imagesync.report_outbox"), first
        assert first.summary["images_added"] <= site.number(), "what was not written is not counted"
        while faults.as_json():
            assert site.sync().status is not runs.Status.FAILED
        last = site.sync()
        assert last.status is not runs.Status.FAILED, last.error
        site.assert_right()
        assert site.rows("SELECT * FROM imagesync.intent") == []
        site.assert_told_once()
