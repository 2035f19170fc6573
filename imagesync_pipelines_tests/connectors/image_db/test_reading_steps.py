"""From pages to a batch of records: which pages are taken or read, what it proves, and what goes into quarantine."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db import reading_steps, taken_over
from imagesync_pipelines.connectors.image_db.errors import BatchMissingError, PagesFailedError
from imagesync_pipelines.connectors.image_db.pages import PAGES_STEP, PagesLanded
from imagesync_pipelines.connectors.image_db.reading_steps import KEPT_BATCHES
from imagesync_pipelines.connectors.image_db.record_store import About, Batches
from imagesync_pipelines.connectors.image_db.settings import NO_END, ErpOptions, RecordsOptions
from imagesync_pipelines.products.table import read_products
from imagesync_pipelines.storage.plans import Lineage, Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines_tests.connectors.image_db.made_up import link, record
from imagesync_pipelines_tests.connectors.image_db.source import PER_PAGE, Connector, image, running

SKU = "100001"


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    with running(database, tmp_path / "home", [image(number, SKU) for number in range(1, 11)], [SKU]) as connector:
        yield connector


def calls(connector: Connector) -> int:
    return len(connector.server.requests)


@pytest.mark.parametrize(
    ("part", "span"),
    [
        (RecordsOptions(), None),
        (RecordsOptions(limit=3), range(1, 4)),
        (RecordsOptions(limit=3, skip_pages=5), range(6, 9)),
        (RecordsOptions(skip_pages=2), range(3, NO_END)),
    ],
)
def test_skip_and_limit_name_pages(part: RecordsOptions, span: range | None) -> None:
    assert part.span() == span


def test_without_pages_there_are_no_records(connector: Connector) -> None:
    with pytest.raises(BatchMissingError, match="image_db/api_pages"):
        connector.records()


def test_a_whole_scan_is_taken_as_stored_without_a_call_and_is_proof(connector: Connector) -> None:
    connector.scan()
    before = calls(connector)
    about = connector.records()
    assert calls(connector) == before == 3
    assert (about.scope, about.complete, about.reason, about.records, about.warnings) == ("all", True, "", 10, ())
    assert (about.api_calls, about.bytes_downloaded) == (0, 0), "what this run did not fetch"


def test_what_is_unchanged_is_taken_over_from_the_newest_batch_unless_settings_or_version_changed(
    connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    write = reading_steps.write_chunks

    def noting(*given: Any) -> Any:
        stored = write(*given)
        taken.append(stored.taken_over)
        return stored

    monkeypatch.setattr(reading_steps, "write_chunks", noting)
    connector.scan()
    connector.records()
    connector.records()
    reading_steps.records(connector.context(), RecordsOptions(), lambda _: connector.session())
    assert taken == [0, 10, 10], "also when a run is tried again"
    connector.source.records[0] = image(1, SKU, type="Szene")
    connector.scan()
    connector.records()
    assert taken[3:] == [9]
    monkeypatch.setattr(taken_over, "CHOICE_VERSION", 99)
    connector.records()
    higher = connector.context().settings.model_copy(update={"image_db_detail_min_height": 900})
    for _ in range(2):
        context = replace(connector.context(), settings=higher)
        reading_steps.records(context, RecordsOptions(), lambda _: connector.session())
    assert taken[4:] == [0, 0, 10]


def test_the_calls_of_a_run_are_those_of_its_own_pages_and_its_scan_is_that_one(connector: Connector) -> None:
    landed = connector.scan()
    connector.scan()
    connector.run_id = "mine"
    context = connector.context()
    context.keep(PAGES_STEP, PagesLanded(run_id="mine", scan_id=landed.scan_id, calls=3, bytes=99))
    reading_steps.records(context, RecordsOptions(page_size=PER_PAGE), lambda _: connector.session())
    about = context.need("records", About)
    assert (about.scan_id, about.api_calls, about.bytes_downloaded) == (landed.scan_id, 3, 99)
    again = replace(context, lineage=Lineage("again", ("mine",)))
    reading_steps.records(again, RecordsOptions(page_size=PER_PAGE), lambda _: connector.session())
    about = again.need("records", About)
    assert (about.scan_id, about.api_calls) == (landed.scan_id, 0), "its parent's pages, and no call of its own"


@pytest.mark.parametrize("size", [PER_PAGE, PER_PAGE + 1], ids=["into the newest scan", "a scan of its own"])
def test_a_run_for_some_products_takes_the_newest_proven_scan_of_everything_whatever_part_was_read_since(
    connector: Connector, size: int
) -> None:
    proven = connector.scan()
    newer = connector.scan() if size == PER_PAGE else proven
    connector.source.records[4:] = []
    part = connector.records(RecordsOptions(limit=1, page_size=size))
    assert (part.scan_id != newer.scan_id) is (size != PER_PAGE)
    before = calls(connector)
    connector.run_id = "skus"
    context = connector.context()
    told = reading_steps.records(context, RecordsOptions(skus=[SKU]), lambda _: connector.session())
    about = context.need("records", About)
    assert (about.scan_id, about.records, about.api_calls, calls(connector)) == (proven.scan_id, 10, 0, before)
    assert told.lines == [f"10 records of scan {proven.scan_id} (all pages, proven), which began 0 minutes ago."]


def test_a_part_is_taken_as_what_it_is_where_nothing_else_is_there(connector: Connector) -> None:
    connector.records(RecordsOptions(limit=1, skip_pages=1, page_size=PER_PAGE))
    about = connector.records()
    assert (about.scope, about.complete, about.records) == ("pages", False, 4)


@pytest.mark.parametrize(
    ("part", "records", "requests"),
    [
        (RecordsOptions(limit=1, page_size=PER_PAGE), {"1", "2", "3", "4"}, 1),
        (RecordsOptions(limit=1, skip_pages=1, page_size=PER_PAGE), {"5", "6", "7", "8"}, 1),
        (RecordsOptions(skip_pages=1, page_size=PER_PAGE), {"5", "6", "7", "8", "9", "10"}, 2),
    ],
    ids=["a limit", "one page in the middle", "to the end"],
)
def test_a_part_reads_its_pages_and_proves_nothing(
    connector: Connector, part: RecordsOptions, records: set[str], requests: int
) -> None:
    connector.scan()
    before = calls(connector)
    about = connector.records(part)
    assert calls(connector) - before == requests
    assert (about.scope, about.complete, about.records) == ("pages", False, len(records))
    assert set(connector.plan().images.read_ids) == records
    # From now on the scan is made of pages of two times.
    again = connector.records()
    assert (again.scope, again.complete, again.records) == ("all", False, 10)
    assert "were read again" in again.reason


def test_a_limit_of_no_pages_reads_none(connector: Connector) -> None:
    connector.scan()
    before = calls(connector)
    about = connector.records(RecordsOptions(limit=0, page_size=PER_PAGE))
    assert calls(connector) == before
    assert (about.scope, about.complete, about.records) == ("pages", False, 0)


CACHE: dict[str, tuple[dict[str, Any], int, list[str]]] = {
    "the newest proven scan is taken": ({}, 0, []),
    "however old, and that is told": (
        {"image_api_cache_timeout": 0},
        0,
        ["The products are as scan 1 saw them 0 minutes ago; `imagesync sync image-db` reads the source anew."],
    ),
    "stored pages are switched off": ({"image_api_cache_enabled": False}, 3, []),
}


@pytest.mark.parametrize(("changed", "requests", "warnings"), CACHE.values(), ids=CACHE.keys())
def test_a_run_for_some_products_reads_only_when_it_must(
    connector: Connector, changed: dict[str, Any], requests: int, warnings: list[str]
) -> None:
    scan = connector.scan()
    connector.settings = connector.settings.model_copy(update=changed)
    before = calls(connector)
    about = connector.records(RecordsOptions(skus=[SKU], page_size=PER_PAGE))
    assert (calls(connector) - before, about.scope, about.records) == (requests, "skus", 10)
    assert list(about.warnings) == [text.replace("scan 1 ", f"scan {scan.scan_id} ") for text in warnings]


@pytest.mark.parametrize(
    "newer",
    [None, RecordsOptions(limit=1, page_size=PER_PAGE + 1), RecordsOptions(limit=1, page_size=PER_PAGE)],
    ids=["a whole one that proves nothing", "a part, a scan of its own", "a part, into a newer scan"],
)
def test_a_run_for_some_products_puts_nothing_back_that_a_newer_reading_saw_otherwise(
    connector: Connector, newer: RecordsOptions | None
) -> None:
    connector.sync()
    connector.scan()  # the newest in the last case, and void by its part
    connector.source.records[0] = image(1, SKU, type="Lifestyle")
    if newer is None:
        connector.source.records[9] = record(None, links=[link(SKU)])
    assert connector.sync(newer) == (0, 1, 0)
    connector.records(RecordsOptions(skus=[SKU]))
    connector.plan()
    done = connector.apply()
    assert (done.written, done.summary.refused, done.summary.api_calls) == ((0, 0, 0), 1, 0)
    assert "the source has it otherwise now (by scan" in done.summary.warnings[-1]
    with connector.place.engine.connect() as connection:
        kind = sa.text("SELECT image_type FROM imagesync.product_image WHERE external_id = '1'")
        assert connection.scalar(kind) == "Lifestyle"


@pytest.mark.slow
def test_what_a_newer_part_saw_is_known_however_many_runs_for_some_products_come_after_it(connector: Connector) -> None:
    connector.sync()
    connector.source.records[0] = image(1, SKU, type="Lifestyle")
    assert connector.sync(RecordsOptions(limit=1, page_size=PER_PAGE + 1)) == (0, 1, 0)
    for _ in range(60):
        connector.records(RecordsOptions(skus=[SKU]))
        connector.plan()
    done = connector.apply()
    assert (done.written, done.summary.refused) == ((0, 0, 0), 1)


@pytest.mark.parametrize(
    "first", [RecordsOptions(limit=1), RecordsOptions(limit=1, skip_pages=1)], ids=["the first page", "a later page"]
)
def test_fresh_pages_that_are_only_a_part_are_not_taken_for_all(connector: Connector, first: RecordsOptions) -> None:
    connector.records(first)
    about = connector.records(RecordsOptions(skus=[SKU], page_size=PER_PAGE))
    assert (about.scope, about.records) == ("skus", 10)


def test_a_run_for_some_images_takes_the_stored_pages_however_old(connector: Connector) -> None:
    connector.scan()
    connector.settings = connector.settings.model_copy(update={"image_api_cache_enabled": False})
    before = calls(connector)
    about = connector.records(RecordsOptions(external_ids=["1"]))
    assert (calls(connector) - before, about.scope, about.complete) == (0, "images", True)


def test_rejects_go_into_quarantine_with_their_page_and_come_out_when_in_order_or_gone(connector: Connector) -> None:
    connector.source.records[4] = image(5, SKU, type=7)
    connector.source.records[5] = image(6, SKU, file_url="no URL")
    connector.source.records.append(None)
    connector.scan()
    about = connector.records()
    assert [(line.page, line.external_id) for line in about.rejects] == [(2, "5"), (2, "6"), (3, None)]
    assert (about.records, about.complete) == (8, False)
    table = QuarantineTable(connector.place.engine, "image_db")
    assert {entry.key: entry.attempts for entry in table.list()} == {"5": 1, "6": 1, "page 3, reject 1": 1}
    payload = next(entry.payload for entry in table.list() if entry.key == "5")
    assert payload is not None
    assert '"file_id": 5' in payload
    connector.source.records[4] = image(5, SKU)
    # A part that shows the image in order frees it; what was not read stays where it is.
    connector.records(RecordsOptions(limit=1, skip_pages=1, page_size=PER_PAGE))
    assert {entry.key: entry.attempts for entry in table.list()} == {"6": 2, "page 3, reject 1": 1}
    del connector.source.records[5], connector.source.records[-1]
    connector.scan()
    assert connector.records().complete
    assert table.list() == []


def test_a_batch_that_a_stored_plan_needs_is_kept_and_others_are_forgotten(connector: Connector) -> None:
    connector.scan()
    connector.records()
    plan_id, first = connector.plan().plan_id, connector.run_id
    connector.records()
    second = connector.run_id
    for _ in range(KEPT_BATCHES):
        connector.records()
    batches = Batches(connector.context().handovers)
    assert batches.of([]).run_id == connector.run_id
    assert batches.about(first).records == 10
    with pytest.raises(BatchMissingError, match="no longer kept"):
        batches.about(second)
    assert connector.apply(plan_id=plan_id).summary.images_added == 10
    Plans(connector.place.engine, connector.place.storage).prune("image_db", 0)
    connector.records()
    with pytest.raises(BatchMissingError):
        batches.about(first)


def test_runs_of_a_part_leave_the_newest_batch_of_everything(connector: Connector) -> None:
    connector.scan()
    connector.records()
    whole = connector.run_id
    for _ in range(KEPT_BATCHES + 1):
        connector.records(RecordsOptions(skus=[SKU], page_size=PER_PAGE))
    assert Batches(connector.context().handovers).of([]).run_id == whole


@pytest.mark.parametrize(
    "part",
    [RecordsOptions(limit=3, page_size=PER_PAGE), RecordsOptions(skus=[SKU], page_size=PER_PAGE)],
    ids=["a limit", "a product"],
)
def test_a_page_that_fails_for_good_ends_the_run_and_the_others_are_kept(
    connector: Connector, part: RecordsOptions
) -> None:
    connector.source.broken[2] = b'{"count": 10, "next": null, "results": 7}'
    with pytest.raises(PagesFailedError, match=r"1 of 3 pages could not be read, the first: page 2: .*usable results"):
        connector.records(part)
    with pytest.raises(BatchMissingError):
        Batches(connector.context().handovers).of([])
    connector.source.broken.clear()
    assert connector.records(RecordsOptions(limit=1, skip_pages=1, page_size=PER_PAGE)).records == 4
    assert connector.records().records == 10


def test_one_record_without_a_legible_id_costs_no_other_scan_and_no_disk_and_removals_wait(
    connector: Connector, database: sa.Engine
) -> None:
    assert connector.sync() == (10, 0, 0)
    del connector.source.records[9]  # this one left,
    connector.source.records[5] = record(None, links=[link(SKU)])  # and who this one is nobody can tell
    before = calls(connector)
    for _ in range(6):
        assert connector.sync() == (0, 0, 0)
    assert calls(connector) == before + 6 * 3
    with database.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM imagesync.scan")) == 4
    assert len(connector.shown()[SKU]) == 10
    about = connector.records()
    assert "Nothing is removed this time: 1 records have no legible file_id, on page 2." in about.warnings
    assert any("records were set aside" in warning for warning in about.warnings)
    connector.source.records[5] = image(6, SKU)
    assert connector.sync() == (0, 0, 1)


def erp_files(connector: Connector, folder: Path, *variants: str) -> None:
    """Let the ERP be these lines of a file of variants."""
    for name, lines in (("parents", ()), ("variants", variants)):
        text = "".join(f"{line}\n" for line in ("id,sku,name", *lines))
        (folder / f"{name}.csv").write_text(text, encoding="utf-8")
    files = {f"erp_{name}_file": folder / f"{name}.csv" for name in ("parents", "variants")}
    connector.settings = connector.settings.model_copy(update=files)


def test_a_dry_run_tells_what_the_erp_would_change_with_file_and_line_writes_no_product_and_plans_from_it(
    connector: Connector, tmp_path: Path
) -> None:
    engine, new = connector.place.engine, "200002"
    connector.products(SKU, "300003", "400004")
    connector.source.records += [image(20, new), image(21, "300003")]
    assert connector.sync() == (11, 0, 0)
    lines = (f"{SKU},{SKU},Another name", f"{new},{new},New", "400004,4.00E+05,Shortened")
    erp_files(connector, tmp_path, *lines)
    before = read_products(engine)

    connector.scan()
    connector.records()
    told = reading_steps.erp_products(connector.context(), ErpOptions(dry_run=True))
    numbers = {name.removeprefix("products/"): number for name, number in told.numbers.items()}
    assert numbers == {"added": 1, "updated": 1, "deactivated": 1, "held_back": 0, "set_aside": 1}
    assert "variants.csv line 4: sku 4.00E+05 was shortened by a spreadsheet" in told.warnings[0]
    look = connector.plan(dry_run=True)
    assert look.planned.counts == {"add": 1, "update": 10, "remove": 1, "keep": 0, "reject": 0}
    assert any("variants.csv line 4" in warning for warning in look.planned.warnings)
    assert read_products(engine).equals(before)

    assert connector.apply(plan_id=look.plan_id).written == (1, 10, 1)
    assert connector.shown()[new] == ["20"]
    # That was the plan that the real run makes: nothing is left for it.
    done = reading_steps.erp_products(connector.context(), ErpOptions())
    assert [done.numbers[f"products/{name}"] for name in ("added", "updated", "deactivated")] == [0, 0, 0]
    assert connector.sync() == (0, 0, 0)


def test_the_plan_of_a_dry_run_takes_over_no_products_once_they_changed_otherwise(
    connector: Connector, tmp_path: Path
) -> None:
    new = "200002"
    connector.source.records += [image(20, new)]
    connector.sync()
    erp_files(connector, tmp_path, f"{SKU},{SKU},Old name", f"{new},{new},New")
    connector.records()
    reading_steps.erp_products(connector.context(), ErpOptions(dry_run=True))
    look = connector.plan(dry_run=True)
    assert look.planned.counts["add"] == 1
    erp_files(connector, tmp_path, f"{SKU},{SKU},Newer name")
    reading_steps.erp_products(connector.context(), ErpOptions())
    applied = connector.apply(plan_id=look.plan_id)
    assert (applied.written, applied.summary.refused) == ((0, 0, 0), 11)
    assert set(read_products(connector.place.engine)["name"]) == {"Newer name"}


@pytest.mark.parametrize("left", [None, b"", b"PAR1 and no more"], ids=["gone", "empty", "cut"])
def test_the_products_of_a_dry_run_that_are_gone_or_damaged_are_one_sentence(
    connector: Connector, tmp_path: Path, left: bytes | None
) -> None:
    connector.sync()
    erp_files(connector, tmp_path, f"{SKU},{SKU},Another name")
    connector.records()
    reading_steps.erp_products(connector.context(), ErpOptions(dry_run=True))
    look = connector.plan(dry_run=True)
    run_id = str(look.planned.scope["products_seen_by"])
    file = connector.context().handovers.file(run_id, "products.parquet")
    file.unlink() if left is None else file.write_bytes(left)
    with pytest.raises(BatchMissingError, match=r"no longer kept, or are damaged; make the plan again"):
        connector.apply(plan_id=look.plan_id)
    assert set(read_products(connector.place.engine)["name"]) != {"Another name"}
