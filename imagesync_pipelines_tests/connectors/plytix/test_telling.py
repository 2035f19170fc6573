"""What people are told about an account's run: sentences, numbers that are plotted, tables, what is left out."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.plytix import plan_steps, reading
from imagesync_pipelines.connectors.plytix.ledger import NotedAsset, Run
from imagesync_pipelines.connectors.plytix.model import (
    AmazonItem,
    ImagesChosen,
    ItemImage,
    ListingsRead,
    ProductsRead,
    SetAside,
)
from imagesync_pipelines.connectors.plytix.planning import UNKNOWN_PRODUCT
from imagesync_pipelines.connectors.plytix.report import bounded
from imagesync_pipelines.connectors.plytix.settings import GalleryPlanOptions, PlytixSettings
from imagesync_pipelines.defs import runs
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.files import write_whole
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import Lineage, PlanHeader
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.carry_out import Loaded, applied_summary
from imagesync_pipelines.sync.connector import NoOptions
from imagesync_pipelines.sync.steps import Pictures, RunContext, StepResult, Summary, Table
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, open_connector
from imagesync_pipelines_tests.connectors.plytix.worlds import LINK, known, listing, planned, product, url_of
from imagesync_pipelines_tests.sandbox.mishaps import missing_image

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
# Two products with the same four images.
PAIR = demo_listings()[11:13]
REPORT = {
    "images_uploaded": 2,
    "errors": [{"url": f"u{number}", "error": "no", "product_sku": "S"} for number in range(25)],
    "metadata": {"dry_run": False},
}


@pytest.fixture
def pair(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    with open_connector(database, tmp_path, listings=PAIR, workers=1) as connector:
        yield connector


def spend_the_hour(connector: Connector, *, left: int) -> None:
    """Leave so many calls of the account's hour, of which there are 10."""
    connector.plytix.windows.hit(10 - left)


@pytest.fixture
def few(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    """The pair in an account that takes ten calls an hour."""
    limits = ((100, 10), (10, 3600))
    with open_connector(database, tmp_path, listings=PAIR, limits=limits, workers=1, pace_share=1.0) as connector:
        yield connector


def table(step: StepResult, name: str) -> pd.DataFrame:
    """A table that a step shows."""
    shown = step.shown[name]
    assert isinstance(shown, Table)
    return shown.frame


def at_work() -> Run:
    """A run of the account; its summary asks no database."""
    engine = sa.create_engine("postgresql+psycopg://nobody@localhost:1/nothing")
    nowhere = Locations(Path(), Path(), UPath("."), "", "", {})
    installation = Installation(Settings(), nowhere, engine)
    return RunContext("plytix", "main", Lineage("run"), installation, PlytixSettings(), started_at=NOON)


def loaded(**scope: Any) -> Loaded:
    """Plan 7, which this very run made."""
    header = PlanHeader("plytix", "run", {"calls": 2, **scope}, {}, {}, None, 7, NOON, "", {}, None, None)
    rows = planned([listing("A", "1.jpg")], [product("A")], known(), LINK).plan
    return Loaded(header, rows, {}, own=True, resumed=False)


def test_the_reading_is_one_line(pair: Connector, database: sa.Engine) -> None:
    with pair.api() as api:
        assert pair.read(api, "first").lines == ["main: 2 products read from Plytix, 0 it does not have."]
    pair.sync()
    pair.plytix.mutate("delete_product", sku=PAIR[1].suggested_sku)
    with database.begin() as connection:
        connection.execute(sa.text("TRUNCATE imagesync.plytix_asset, imagesync.plytix_link"))
    with pair.api() as api:
        assert pair.read(api, "again").lines == [
            "main: 1 products read from Plytix, 1 it does not have; 4 assets were recognised by their names."
        ]


def test_a_reading_that_the_hour_was_spent_for_is_one_line(few: Connector) -> None:
    spend_the_hour(few, left=0)
    with few.api() as api:
        (line,) = few.read(api, "run").lines
    assert line.startswith("main: no product was read from Plytix: ")
    assert "the calls of plytix main are used up" in line


def test_the_choice_counts_references_pictures_and_listings_without_main(pair: Connector) -> None:
    def item(asin: str, *variants: str, is_parent: bool = False) -> AmazonItem:
        images = tuple(ItemImage(variant, url_of(f"51{variant[:1]}aaaaaaaL.jpg")) for variant in variants)
        return AmazonItem(f"AMZN-US-{asin}", asin, "US", is_parent, "", images)

    bad = SetAside("AMZN-US-B000000001", "bad", "u")
    items = (item("B000000001", "MAIN", "PT01", is_parent=True), item("B000000002", "PT02"), item("B000000003"))
    context = pair.at("run")
    context.keep("listings", ListingsRead(source="s", shape="list", entries=3, items=items, set_aside=(bad,)))
    told = reading.images(context, NoOptions())
    assert told.numbers == {
        "images/refs": 3,
        "images/unique": 2,
        "products/with_images": 2,
        "products/without_main": 1,
        "products/parents": 1,
    }
    assert told.lines == ["main: 3 images of 2 pictures on 2 of 3 listings."]
    assert table(told, "listings").to_numpy().tolist() == [
        ["AMZN-US-B000000001", 2, "MAIN PT01"],
        ["AMZN-US-B000000002", 1, "PT02"],
        ["AMZN-US-B000000003", 0, ""],
    ]
    assert table(told, "set_aside").to_dict("records") == [{"where": bad.where, "reason": "bad", "url": "u"}]
    assert pair.quarantined() == [f"{bad.where} u"]


def test_what_one_mapping_file_has_in_quarantine_survives_the_run_of_another(pair: Connector) -> None:
    def read(*files: str, whole: bool = False, bad: Sequence[SetAside] = (), skus: Sequence[str] = ()) -> list[str]:
        items = tuple(AmazonItem(sku, sku[-10:], "US", False, "", ()) for sku in skus)
        found = ListingsRead(
            source="s", files=files, whole=whole, shape="list", entries=1, items=items, set_aside=tuple(bad)
        )
        context = pair.at(pair.run_id())
        context.keep("listings", found)
        reading.images(context, NoOptions())
        return sorted(pair.quarantined())

    first, second = "AMZN-US-B000000001", "AMZN-US-B000000002"
    of_first = [SetAside(first, "bad", "u"), SetAside("a.json: matched[3]", "no ASIN")]
    assert read("a.json", bad=of_first, skus=[first]) == [f"{first} u", "a.json: matched[3]"]
    assert read("b.json", skus=[second]) == [f"{first} u", "a.json: matched[3]"], "another file says nothing of it"
    assert read("a.json", skus=[second]) == [f"{first} u"], "the file is in order; the product was not in it"
    assert read("c.json", skus=[first]) == []
    read("a.json", bad=of_first, skus=[first])
    assert read("b.json", whole=True, skus=[second]) == [], "it is the only file that there is"


@pytest.fixture
def made(database: sa.Engine, tmp_path: Path) -> StepResult:
    """The plan of two products, one of which Plytix does not have; the other lacks two of its three images."""
    limits = ((20, 10), (5000, 3600))
    with open_connector(database, tmp_path, listings=PAIR, limits=limits) as connector, connector.api() as api:
        context = connector.at("run")
        connector.ledger.note_assets([NotedAsset("x", "1.jpg")])
        listings = (listing("A", "1.jpg", "2.jpg", "3.jpg"), listing("B", "1.jpg"))
        context.keep("images", ImagesChosen(source="s", listings=listings, warnings=("look",)))
        products = (product("A", "x"),)
        read = ProductsRead(run_id="run", read_at=context.clock(), products=products, unknown=("B",), calls=1)
        context.keep("products", read)
        return plan_steps.plan(context, GalleryPlanOptions(), api)


def test_a_plan_changes_nothing_and_says_what_it_costs(made: StepResult) -> None:
    summary = made.summary
    assert summary is not None
    assert (summary.status, summary.images_added, summary.products_affected) == ("completed", 0, 0)
    assert (summary.rejected, summary.api_calls, summary.warnings[0]) == (1, 1, "look")
    assert made.shown["cost"] == "5 calls to Plytix, 2 uploads among them."
    plan_id = made.shown["plan_id"]
    assert made.shown["apply_it_with"] == f"imagesync apply {plan_id}"
    (line,) = made.lines
    assert line.startswith(f"main: plan {plan_id}: 2 add, 1 update, 0 remove, 0 keep, 1 reject; 0 held back; 5 calls")
    assert table(made, "left_in_plytix").to_numpy().tolist() == [[10, 16], [3600, 4000]]


def test_the_table_of_changes_begins_with_some_of_every_kind_and_leaves_out_what_stays(made: StepResult) -> None:
    changes = table(made, "changes")
    assert list(changes["change"]) == ["add", "update", "add"]
    assert list(changes.columns) == ["change", "product", "variant", "picture", "becomes", "reason"]
    assert set(changes["product"]) == {"A"}
    assert sorted(changes["variant"]) == ["MAIN", "PT01", "PT02"]


def test_pictures_of_a_plan_are_shown_once_and_small(made: StepResult) -> None:
    shown = made.shown["pictures"]
    assert isinstance(shown, Pictures)
    assert len({url for _, url in shown.labels}) == len(shown.labels) == 3
    assert all("._SL" in url for _, url in shown.labels)


def test_no_more_pictures_are_shown_than_a_page_has_room_for_and_each_once(pair: Connector) -> None:
    keys = [f"{number}.jpg" for number in range(plan_steps.SHOWN_PICTURES + 1)]
    with pair.api() as api:
        context = pair.at("run")
        context.keep("images", ImagesChosen(source="s", listings=(listing("A", *keys[:9]), listing("B", *keys))))
        products = (product("A"), product("B"))
        context.keep("products", ProductsRead(run_id="run", read_at=context.clock(), products=products))
        shown = plan_steps.plan(context, GalleryPlanOptions(), api).shown["pictures"]
    assert isinstance(shown, Pictures)
    assert len({url for _, url in shown.labels}) == len(shown.labels) == plan_steps.SHOWN_PICTURES


def test_uploads_are_one_line(pair: Connector, database: sa.Engine) -> None:
    with pair.api() as api:
        pair.plan(api, "first")
        assert pair.upload(api, "first").lines == ["main: 4 pictures uploaded, 0 were in Plytix, 0 failed."]
        with database.begin() as connection:
            connection.execute(sa.text("TRUNCATE imagesync.plytix_asset"))
        pair.plan(api, "second")
        assert pair.upload(api, "second").lines == ["main: 0 pictures uploaded, 4 were in Plytix, 0 failed."]


def test_uploads_that_failed_or_wait_for_the_next_run_are_told(few: Connector) -> None:
    few.amazon.faults.add(missing_image(PAIR[0].images[0].picture.id).for_good())
    spend_the_hour(few, left=3)
    with few.api() as api:
        few.plan(api, "run")
        told = few.upload(api, "run")
    assert told.lines == ["main: 1 pictures uploaded, 0 were in Plytix, 1 failed, 2 wait for the next run."]
    assert "used up" in str(told.shown["stopped"])


def test_an_application_is_one_line_numbers_and_a_table_of_errors(pair: Connector) -> None:
    gone = PAIR[1].suggested_sku
    pair.plytix.mutate("delete_product", sku=gone)
    done = pair.sync()
    said = "4 images uploaded, 0 reused, 4 links created, 1 thumbnails set; 10 calls."
    assert done.step.lines[0].startswith("main: plan ")
    assert done.step.lines[0].endswith(said)
    numbers = ("images_uploaded", "images_skipped", "links_created")
    assert [done.step.numbers[f"report/{name}"] for name in numbers] == [4, 0, 4]
    pd.testing.assert_frame_equal(
        table(done.step, "errors"), pd.DataFrame([(gone, UNKNOWN_PRODUCT, "")], columns=["product", "error", "url"])
    )


def test_an_applied_plan_is_told_number_by_number_with_what_making_it_took(monkeypatch: pytest.MonkeyPatch) -> None:
    one = held.HeldEntry("S/1.jpg", "S", "gallery", held.LIMIT, "held back: too many", connector="plytix", since=NOON)
    monkeypatch.setattr(held, "undecided", lambda *of: [one] * 9)
    applied = Applied(
        added=1, updated=2, removed=3, kept=4, rejected=5, failed=6, refused=7, unknown=8, affected=frozenset("ab")
    )
    plan = loaded(held_back=9, warnings=["w"], received=3)
    summary = applied_summary(at_work(), plan, applied, warnings=("x",), calls=8, received=8)
    assert summary.completed_at is not None
    assert summary.completed_at > NOON
    assert summary == Summary(
        "completed", NOON, summary.completed_at, 1, 2, 3, 2, "", ("w", "x", *held.sentences([one] * 9)),
        4, 5, 9, 6, 7, 8, 10, 11,
    )  # fmt: skip


def test_a_report_in_the_ui_has_its_first_errors_and_their_number() -> None:
    shown = bounded(REPORT).value
    assert (len(shown["errors"]), shown["errors_in_all"], len(REPORT["errors"])) == (20, 25, 25)  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [b"", b'{"images_uploaded": 1', b"17"])
def test_a_damaged_report_is_told_and_costs_no_run(tmp_path: Path, body: bytes) -> None:
    installation = SimpleNamespace(storage=UPath(tmp_path))
    plytix, summary = connector_named("plytix"), {"images_added": 3, "warnings": ["Once."]}
    assert runs.report_of(plytix, installation, "run-1", summary) == ({}, summary), "it broke before it had one"
    write_whole(installation.storage / "reports/plytix/run-1.json", body)
    report, told = runs.report_of(plytix, installation, "run-1", summary)
    assert (report, told["images_added"]) == ({}, 3)
    assert told["warnings"] == [
        "Once.",
        "The run's report reports/plytix/run-1.json is damaged; its figures are in the run's summary.",
    ]
