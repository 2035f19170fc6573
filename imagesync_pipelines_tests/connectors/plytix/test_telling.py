"""What people are told about an account's run: sentences, numbers that are plotted, tables, what is left out."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.connectors.plytix import apply_steps, plan_steps, reading, report
from imagesync_pipelines.connectors.plytix.apply_steps import GalleriesWritten
from imagesync_pipelines.connectors.plytix.ledger import Run
from imagesync_pipelines.connectors.plytix.model import ImagesChosen, ProductsRead, SetAside, UploadsMade
from imagesync_pipelines.connectors.plytix.plan_steps import GalleriesPlanned
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.connectors.plytix.target import Written
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.installation import Installation, Locations
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.sync.applied import Loaded, applied_summary
from imagesync_pipelines.sync.apply import Applied
from imagesync_pipelines.sync.handovers import Lineage
from imagesync_pipelines.sync.planned import Planned
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines_tests.connectors.plytix.worlds import LINK, known, listing, planned, product

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SPENT = "the calls of plytix main are used up for 40 min; the next run goes on"
REPORT = {
    "images_uploaded": 2,
    "images_skipped": 1,
    "links_created": 5,
    "errors": [{"url": f"u{number}", "error": "no", "product_sku": "S"} for number in range(25)],
    "metadata": {"dry_run": False},
}


def made() -> GalleriesPlanned:
    """The plan of two products, one of which Plytix does not have; the other lacks two of its three images."""
    galleries = planned(
        [listing("A", "1.jpg", "2.jpg", "3.jpg"), listing("B", "1.jpg")], [product("A", "x")], known(x="1.jpg"), LINK
    )
    rows = galleries.plan.assign(variant="MAIN", image_url="")
    plan = Planned(rows, galleries.held, galleries.cost, galleries.states, warnings=("look",), calls=1)
    return GalleriesPlanned(7, plan, galleries, REPORT, {3600: 4000, 10: 16})


def at_work() -> Run:
    """A run of the account; what a step tells asks no database."""
    engine = sa.create_engine("postgresql+psycopg://nobody@localhost:1/nothing")
    nowhere = Locations(Path(), Path(), UPath("."), "", "", {})
    installation = Installation(Settings(), nowhere, engine)
    return RunContext("plytix", "main", Lineage("run"), installation, PlytixSettings(), started_at=NOON)


def loaded(**scope: Any) -> Loaded:
    """Plan 7, which this very run made."""
    header = PlanHeader(7, "plytix", NOON, "run", "", {}, {"calls": 2, **scope}, {}, {}, None, None, None)
    rows = made().planned.plan
    return Loaded(header, rows, rows, {}, own=True, resumed=False)


def applied() -> GalleriesWritten:
    """A plan of which all went well."""
    done = Applied(added=5, updated=1, kept=3, affected=frozenset("AB"))
    return GalleriesWritten(
        plan_id=7,
        applied=done,
        written=Written(thumbnails={"A": "x"}),
        uploads=UploadsMade(run_id="r", plan_id=7),
        report=REPORT,
        summary=applied_summary(at_work(), loaded(), done, warnings=(), calls=7),
        token_calls=1,
        stopped="",
        goes_on_at=None,
    )


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"products": (product("A"),)}, "main: 1 products read from Plytix, 0 it does not have."),
        ({"unknown": ("B",), "recognised": 3}, "main: 0 products read from Plytix, 1 it does not have; 3 assets were "),
        ({"stopped": SPENT}, f"main: no product was read from Plytix: {SPENT}"),
    ],
    ids=["read", "recognised", "the hour was spent"],
)
def test_the_reading_is_one_line(told: dict[str, Any], line: str) -> None:
    note = {"run_id": "r", "read_at": NOON, "products": (), "unknown": (), "recognised": 0, "calls": 1}
    assert reading.products_line("main", ProductsRead(**{**note, **told})).startswith(line)


def test_the_choice_counts_references_pictures_and_listings_without_main() -> None:
    listings = (
        listing("A", "1.jpg", "2.jpg", is_parent=True),
        listing("B", "1.jpg", main=False),
        listing("C"),
    )
    chosen = ImagesChosen(source="s", listings=listings, set_aside=(), incomplete=(), warnings=())
    assert reading.images_numbers(chosen) == {
        "images/refs": 3,
        "images/unique": 2,
        "products/with_images": 2,
        "products/without_main": 1,
        "products/parents": 1,
    }
    assert reading.images_line("main", chosen) == "main: 3 images of 2 pictures on 2 of 3 listings."
    assert reading.listings_table(chosen).to_numpy().tolist() == [["A", 2, "MAIN PT01"], ["B", 1, "PT00"], ["C", 0, ""]]
    assert reading.set_aside_table([SetAside("A", "bad", "u")]).to_dict("records") == [
        {"where": "A", "reason": "bad", "url": "u"}
    ]


def test_a_plan_changes_nothing_and_says_what_it_costs() -> None:
    plan = made()
    told = plan_steps.told(at_work(), plan)
    summary = told.summary
    assert summary is not None
    assert (summary.status, summary.images_added, summary.products_affected) == ("completed", 0, 0)
    assert (summary.rejected, summary.api_calls, summary.warnings) == (1, 1, ("look",))
    assert told.shown["cost"] == "5 calls to Plytix, 2 uploads among them."
    assert (told.shown["plan_id"], told.shown["apply_it_with"]) == (7, "imagesync apply 7")
    (line,) = told.lines
    assert line.startswith("main: plan 7: 2 add, 1 update, 0 remove, 0 keep, 1 reject; 0 removals held back; 5 calls")
    assert plan_steps.calls_left(plan.left).to_numpy().tolist() == [[10, 16], [3600, 4000]]


def test_the_table_of_changes_begins_with_some_of_every_kind_and_leaves_out_what_stays() -> None:
    table = plan_steps.changes_table(made().planned.plan)
    assert list(table["change"]) == ["add", "update", "add"]
    assert list(table.columns) == ["change", "product", "variant", "picture", "becomes", "reason"]
    assert set(table["product"]) == {"A"}


@pytest.mark.parametrize(("number", "shown"), [(1, 1), (12, 3)])
def test_pictures_of_a_plan_are_shown_once_and_small(number: int, shown: int) -> None:
    pictures = plan_steps.pictures_shown(made().planned.plan, PlytixSettings(), number)
    assert len({url for _, url in pictures}) == len(pictures) == shown
    assert all("._SL" in url for _, url in pictures)


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"uploaded": 2, "existed": 1}, "main: 2 pictures uploaded, 1 were in Plytix, 0 failed."),
        (
            {"failed": {"k": "no"}, "left": 4},
            "main: 0 pictures uploaded, 0 were in Plytix, 1 failed, 4 wait for the next",
        ),
    ],
    ids=["all", "some wait"],
)
def test_uploads_are_one_line(told: dict[str, Any], line: str) -> None:
    assert apply_steps.uploads_line("main", UploadsMade(run_id="r", plan_id=1, **told)).startswith(line)


def test_the_summary_of_a_run_counts_rows_and_what_went_wrong() -> None:
    bad = Applied(added=1, failed=2, refused=3, unknown=4, rejected=5, affected=frozenset("A"))
    plan = loaded(held_back=6, warnings=["w"])
    summary = applied_summary(at_work(), plan, bad, warnings=("x",), calls=7)
    assert (summary.failed, summary.refused, summary.unknown, summary.rejected, summary.held_back) == (2, 3, 4, 5, 6)
    assert (summary.images_added, summary.products_affected, summary.warnings) == (1, 1, ("w", "x"))
    assert (summary.started_at, summary.api_calls) == (NOON, 9)
    assert apply_steps.applied_line("main", applied()) == (
        "main: plan 7: 2 images uploaded, 1 reused, 5 links created, 1 thumbnails set; 9 calls."
    )


def test_a_report_in_the_ui_has_its_first_errors_and_their_number() -> None:
    shown = report.bounded(REPORT)
    assert (len(shown["errors"]), shown["errors_in_all"], len(REPORT["errors"])) == (20, 25, 25)  # type: ignore[arg-type]
    assert report.report_numbers(REPORT) == {
        "report/images_uploaded": 2,
        "report/images_skipped": 1,
        "report/links_created": 5,
    }
    pd.testing.assert_frame_equal(
        report.errors_table(REPORT).head(1), pd.DataFrame([("S", "no", "u0")], columns=["product", "error", "url"])
    )
