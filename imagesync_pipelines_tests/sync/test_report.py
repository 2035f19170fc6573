"""The summary of a run: its names as JSON, the numbers that are plotted; the changes that are shown first."""

import json
from datetime import UTC, datetime, timedelta

import pandas as pd

from imagesync_pipelines.sync.planned import rows_to_show
from imagesync_pipelines.sync.steps import Summary

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_summary_is_json_with_the_names_of_a_run_summary() -> None:
    summary = Summary(
        "completed",
        START,
        START + timedelta(seconds=1.234),
        images_added=1,
        images_updated=2,
        images_deleted=3,
        products_affected=4,
        warnings=("held back",),
    )
    values = json.loads(json.dumps(summary.as_json()))
    assert values["started_at"] == "2026-01-02T03:04:05+00:00"
    assert (values["status"], values["seconds"], values["warnings"]) == ("completed", 1.23, ["held back"])
    assert {
        "completed_at",
        "images_added",
        "images_updated",
        "images_deleted",
        "products_affected",
        "error_message",
        "kept",
        "rejected",
        "held_back",
        "failed",
        "refused",
        "unknown",
        "api_calls",
        "bytes_downloaded",
    } <= values.keys()


def test_a_run_under_way_has_no_end_and_no_duration() -> None:
    values = Summary("in_progress", START, None).as_json()
    assert (values["completed_at"], values["seconds"]) == (None, 0.0)


def test_the_plotted_numbers_have_their_names() -> None:
    metrics = Summary("completed", START, START, images_added=1, api_calls=7, bytes_downloaded=9).metrics()
    assert (metrics["images/added"], metrics["api/calls"], metrics["bytes/downloaded"]) == (1, 7, 9)
    assert {"images/updated", "images/deleted", "products/affected"} <= metrics.keys()


def test_the_head_of_the_changes_shows_every_kind_and_nothing_that_stays() -> None:
    changes = ["add", "add", "keep", "remove", "update", "reject", "remove"]
    shown = rows_to_show(pd.DataFrame({"key": list("abcdefg"), "change": changes}))
    assert list(shown["key"]) == ["a", "d", "e", "b", "g"]
    assert list(shown.columns) == ["key", "change"]
