"""What people are told about an account's run: sentences, numbers that are plotted, tables, what is left out."""

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

from imagesync_pipelines.connectors.plytix import telling
from imagesync_pipelines.connectors.plytix.apply_stages import PlanApplied
from imagesync_pipelines.connectors.plytix.model import SetAside
from imagesync_pipelines.connectors.plytix.notes import ImagesNote, ProductsNote, UploadsNote
from imagesync_pipelines.connectors.plytix.plan_stages import PlanMade
from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.connectors.plytix.writing import Written
from imagesync_pipelines.sync.apply import Applied
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


def made(**changes: Any) -> PlanMade:
    """The plan of two products, one of which Plytix does not have; the other lacks two of its three images."""
    plan = planned([listing("A", "1.jpg", "2.jpg", "3.jpg"), listing("B", "1.jpg")], [product("A", "x")], KNOWN, LINK)
    frame = plan.plan.assign(variant="MAIN", image_url="")
    return PlanMade(**{**PLAN, "plan": frame, "planned": plan, **changes})


KNOWN = known(x="1.jpg")
PLAN: dict[str, Any] = {
    "plan_id": 7,
    "report": REPORT,
    "calls": 1,
    "left": {3600: 4000, 10: 16},
    "warnings": ("look",),
}


def applied(**changes: Any) -> PlanApplied:
    """A plan of which all went well."""
    values: dict[str, Any] = {
        "plan_id": 7,
        "applied": Applied(added=5, updated=1, kept=3, affected=frozenset("AB")),
        "written": Written(thumbnails={"A": "x"}),
        "uploads": UploadsNote(run_id="r", plan_id=7),
        "report": REPORT,
        "calls": 9,
        "token_calls": 1,
        "held_back": 0,
        "stopped": "",
        "goes_on_at": None,
        "warnings": (),
    }
    return PlanApplied(**{**values, **changes})


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
    assert telling.products_line("main", ProductsNote(**{**note, **told})).startswith(line)


def test_the_choice_counts_references_pictures_and_listings_without_main() -> None:
    listings = (
        listing("A", "1.jpg", "2.jpg", is_parent=True),
        listing("B", "1.jpg", main=False),
        listing("C"),
    )
    chosen = ImagesNote(run_id="r", source="s", listings=listings, set_aside=(), incomplete=(), warnings=())
    assert telling.images_numbers(chosen) == {
        "images/refs": 3,
        "images/unique": 2,
        "products/with_images": 2,
        "products/without_main": 1,
        "products/parents": 1,
    }
    assert telling.images_line("main", chosen) == "main: 3 images of 2 pictures on 2 of 3 listings."
    assert telling.listings_table(chosen).to_numpy().tolist() == [["A", 2, "MAIN PT01"], ["B", 1, "PT00"], ["C", 0, ""]]
    assert telling.set_aside([SetAside("A", "bad", "u")]).to_dict("records") == [
        {"where": "A", "reason": "bad", "url": "u"}
    ]


def test_a_plan_changes_nothing_and_says_what_it_costs() -> None:
    plan = made()
    summary = telling.plan_summary(plan, NOON)
    assert (summary.status, summary.images_added, summary.products_affected) == ("completed", 0, 0)
    assert (summary.rejected, summary.api_calls, summary.warnings) == (1, 1, ("look",))
    assert telling.plan_cost(plan) == "5 calls to Plytix, 2 uploads among them."
    line = telling.plan_line("main", plan)
    assert line.startswith("main: plan 7: 2 add, 1 update, 0 remove, 0 keep, 1 reject; 0 removals held back; 5 calls")
    assert telling.calls_left(plan).to_numpy().tolist() == [[10, 16], [3600, 4000]]


def test_the_table_of_changes_begins_with_some_of_every_kind_and_leaves_out_what_stays() -> None:
    table = telling.changes(made())
    assert list(table["change"]) == ["add", "update", "add"]
    assert list(table.columns) == ["change", "product", "variant", "picture", "becomes", "reason"]
    assert set(table["product"]) == {"A"}


@pytest.mark.parametrize(("number", "shown"), [(1, 1), (12, 3)])
def test_pictures_of_a_plan_are_shown_once_and_small(number: int, shown: int) -> None:
    pictures = telling.pictures(made(), PlytixSettings(), number)
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
    assert telling.uploads_line("main", UploadsNote(run_id="r", plan_id=1, **told)).startswith(line)


def test_the_summary_of_a_run_counts_rows_and_what_went_wrong() -> None:
    bad = Applied(added=1, failed=2, refused=3, unknown=4, rejected=5, affected=frozenset("A"))
    summary = telling.applied_summary(applied(applied=bad, held_back=6, warnings=("w",)), NOON)
    assert (summary.failed, summary.refused, summary.unknown, summary.rejected, summary.held_back) == (2, 3, 4, 5, 6)
    assert (summary.images_added, summary.products_affected, summary.warnings) == (1, 1, ("w",))
    assert telling.applied_line("main", applied()) == (
        "main: plan 7: 2 images uploaded, 1 reused, 5 links created, 1 thumbnails set; 9 calls."
    )


def test_a_report_in_the_ui_has_its_first_errors_and_their_number() -> None:
    shown = telling.bounded(REPORT)
    assert (len(shown["errors"]), shown["errors_in_all"], len(REPORT["errors"])) == (20, 25, 25)  # type: ignore[arg-type]
    assert telling.report_numbers(REPORT) == {
        "report/images_uploaded": 2,
        "report/images_skipped": 1,
        "report/links_created": 5,
    }
    pd.testing.assert_frame_equal(
        telling.errors(REPORT).head(1), pd.DataFrame([("S", "no", "u0")], columns=["product", "error", "url"])
    )
