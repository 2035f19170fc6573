"""Pages kept as scans: proof, repetition, pages read again, and what each block of pages came to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db import pages
from imagesync_pipelines.storage import scans
from imagesync_pipelines.upstream.errors import CredentialsError
from imagesync_pipelines_tests.connectors.image_db.source import PER_PAGE, Connector, Source, image, running
from imagesync_pipelines_tests.upstream.servers import http, serve, session_for

SKU = "100001"


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    with running(database, tmp_path / "home", [image(number, SKU) for number in range(1, 11)], [SKU]) as connector:
        yield connector


def read_spans(connector: Connector, *spans: range, page_size: int = PER_PAGE) -> pages.Reading:
    with connector.session() as session:
        return pages.read_spans(connector.context(), session, spans, page_size)


def test_a_scan_that_proves_itself_is_kept_with_its_count(connector: Connector) -> None:
    landed = connector.scan()
    scan = scans.latest_scan(connector.place.engine, pages.CONNECTOR)
    assert scan is not None
    assert (landed.complete, sorted(landed.pages), landed.calls) == (True, [1, 2, 3], 3)
    assert (scan.id, scan.state, scan.first_count, scan.last_count, scan.pages, scan.calls) == (
        landed.scan_id,
        scans.PROVEN,
        10,
        10,
        3,
        3,
    )
    assert landed.sentence().endswith("3 pages with 10 records in 3 calls; it is complete.")


def test_a_scan_in_which_the_catalogue_changed_is_repeated(
    connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, added = Source.answer, iter([True])

    def growing(source: Source, request: Any, number: int) -> list[bytes]:
        if number == 3 and next(added, False):
            source.records.append(image(11, SKU))
        return plain(source, request, number)

    monkeypatch.setattr(Source, "answer", growing)
    with (
        serve(lambda request, number: connector.source.answer(request, number)) as server,
        session_for(server.url) as session,
    ):
        landed = pages.read_all(connector.context(), session, PER_PAGE)
    assert landed.complete
    assert "all pages were read 2 times" in landed.notes[-1]
    assert sum(entry.records for entry in landed.pages.values()) == 11


def test_a_scan_that_is_broken_off_is_void_and_says_why(connector: Connector) -> None:
    with serve(lambda request, number: [http(401)]) as server, session_for(server.url) as session:
        with pytest.raises(CredentialsError):
            pages.read_all(connector.context(), session, PER_PAGE)
        assert session.calls == 1
    with connector.place.engine.connect() as connection:
        scan_id = connection.scalar(sa.text("SELECT max(id) FROM imagesync.scan"))
    scan = scans.get_scan(connector.place.engine, scan_id)
    assert (scan.state, "broken off" in scan.reason) == (scans.UNPROVEN, True)
    assert scans.latest_scan(connector.place.engine, pages.CONNECTOR) is None


def test_a_page_read_again_joins_the_latest_scan_and_voids_its_proof(connector: Connector) -> None:
    first = connector.scan()
    connector.source.records[5] = image(60, SKU)
    landed = read_spans(connector, range(2, 3))
    assert (landed.scan_id, sorted(landed.pages), landed.complete) == (first.scan_id, [2], False)
    assert scans.get_scan(connector.place.engine, first.scan_id).state == scans.UNPROVEN
    stored = {entry.page: body for entry, body in pages.stored_pages(connector.context()).iterate(first.scan_id)}
    assert sorted(stored) == [1, 2, 3]
    assert b'"file_id": 60' in stored[2]


def test_pages_of_another_size_begin_a_scan_of_their_own(connector: Connector) -> None:
    first = connector.scan()
    landed = read_spans(connector, range(1, 2), page_size=50)
    assert landed.scan_id != first.scan_id
    assert scans.get_scan(connector.place.engine, first.scan_id).state == scans.PROVEN
    assert scans.get_scan(connector.place.engine, landed.scan_id).reason == "only pages 1-1 were read"


def test_old_scans_go_when_a_new_one_is_proven(connector: Connector) -> None:
    kept = [connector.scan().scan_id for _ in range(pages.KEPT_SCANS + 2)][-pages.KEPT_SCANS :]
    with connector.place.engine.connect() as connection:
        assert sorted(connection.scalars(sa.text("SELECT DISTINCT scan_id FROM imagesync.raw_page"))) == kept


def test_every_block_tells_what_was_kept_or_why_not(connector: Connector) -> None:
    connector.source.broken[3] = b"[]"
    landed = connector.scan()
    blocks = {"1-2": range(1, 3), "3-4": range(3, 5)}
    done, failed = pages.by_block(landed, blocks)
    assert {name: (block["pages"], block["dagster/partition_row_count"]) for name, block in done.items()} == {
        "1-2": (2, 8)
    }
    assert failed["3-4"].startswith("page 3: ")
    connector.source.broken.clear()
    done, failed = pages.by_block(connector.scan(), {**blocks, "5-6": range(5, 7)})
    assert ({name: block["pages"] for name, block in done.items()}, failed) == ({"1-2": 2, "3-4": 1, "5-6": 0}, {})


@pytest.mark.parametrize(
    ("span", "whole"),
    [(range(1, 2), set()), (range(1, 3), {"1-2"}), (range(1, 4), {"1-2", "3-4"}), (range(2, 4), {"3-4"})],
    ids=["half of a block", "a whole block", "to the end", "from the middle"],
)
def test_only_blocks_read_to_their_end_are_marked(connector: Connector, span: range, whole: set[str]) -> None:
    blocks = {"1-2": range(1, 3), "3-4": range(3, 5), "5-6": range(5, 7)}
    assert set(pages.whole_blocks(read_spans(connector, span), blocks)) == whole
