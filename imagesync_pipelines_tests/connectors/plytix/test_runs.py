"""Whole runs against Plytix's and Amazon's stand-ins: what lands, what it costs, that a second run writes nothing."""

import pytest

from imagesync_pipelines_tests.connectors.plytix.accounts import Connector


@pytest.mark.parametrize(("strategy", "calls"), [("patch", 29), ("link", 137)])
def test_the_real_shape_costs_what_the_issue_says_and_a_second_run_one_call(
    connector: Connector, strategy: str, calls: int
) -> None:
    connector = connector.with_settings(strategy=strategy)
    first = connector.sync()
    assert (connector.calls(), first.summary.api_calls, first.summary.images_added, first.summary.warnings) == (
        calls,
        calls,
        108,
        (),
    )
    report = first.report
    assert {name: report[name] for name in report if name != "metadata"} == {
        "total_products": 20,
        "products_with_images": 16,
        "total_image_refs": 108,
        "unique_images": 12,
        "images_uploaded": 12,
        "images_skipped": 0,
        "links_created": 108,
        "errors": [],
        "thumbnails_set": 16,
        "main_image_links": 16,
        "parent_links_created": 0,
        "parent_main_image_links": 0,
    }
    before = connector.shown()
    second = connector.sync()
    assert (connector.calls(), second.summary.api_calls) == (calls + 1, 1)
    assert connector.shown() == before
    assert len(connector.plytix.assets()) == 12
    kept = {name: second.report[name] for name in ("images_uploaded", "images_skipped", "links_created")}
    assert (kept, second.report["main_image_links"]) == (
        {"images_uploaded": 0, "images_skipped": 12, "links_created": 0},
        16,
    )
