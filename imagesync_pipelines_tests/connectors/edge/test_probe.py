"""The check of a head office goes through every step and says of each what HO did."""

from typing import Any

import pytest

from imagesync_pipelines.connectors.edge.probe import ProbeStep, probe
from imagesync_pipelines.connectors.edge.settings import EdgeSettings
from imagesync_pipelines_tests.connectors.edge.head_office import (
    NOON,
    PHOTO_GONE,
    Call,
    FakeHeadOffice,
    Reply,
    api_for,
    head_office,
    json_reply,
    row,
    store_of,
    uid,
)

NAMES = [
    "token",
    "list",
    "incremental list",
    "download with checksum",
    "status report",
    "pagination to the end",
    "invalid store",
]


def _steps(office: FakeHeadOffice, password: str = "right") -> dict[str, ProbeStep]:
    with api_for(office, password=password, tries=1) as api:
        steps = probe(api, store_of(office), EdgeSettings(_env_file=None, page_size=10))
        return {step.name: step for step in steps}


def test_a_good_head_office_passes_every_step() -> None:
    with head_office(photos=25) as office:
        steps = _steps(office)
    assert list(steps) == NAMES
    assert all(step.ok for step in steps.values())
    assert steps["list"].detail == "25 photos in all, 10 on the first page"
    assert steps["incremental list"].detail == "16 photos since 2026-02-03 12:00:10 UTC"
    assert steps["download with checksum"].detail == f"photo {uid(1)} of 00000001: 7 bytes, MD5 as listed"
    assert steps["pagination to the end"].detail == "25 photos on 3 pages"
    assert office.reports[0]["sync_batch"] == []


def test_a_head_office_without_photos_passes_too() -> None:
    with head_office() as office:
        assert [step.ok for step in _steps(office).values()] == [True] * 7


def test_a_wrong_password_ends_the_check_at_its_first_step() -> None:
    with head_office() as office:
        steps = _steps(office, password="wrong")
    assert list(steps) == ["token"]
    assert not steps["token"].ok
    assert "refused user name and password" in steps["token"].detail


def _on(part: str, reply: Reply) -> Any:
    return lambda call: reply if part in call.path else None


def _ignore_since(call: Call) -> Reply | None:
    if "since" not in call.query:
        return None
    old = row(1, updated_at="2020-01-01T00:00:00Z")
    return json_reply(200, {"data": {"photos": [old], "total": 1, "has_more": False}})


def _any_store(call: Call) -> Reply | None:
    if call.path.endswith("photos/") and call.query["limit"] == "1":
        return json_reply(200, {"data": {"photos": [row(1)], "total": 9, "has_more": False}})
    return None


def _repeat_a_page(call: Call) -> Reply | None:
    if call.query.get("offset") == "10":
        photos = [row(number) for number in range(1, 11)]
        return json_reply(200, {"data": {"photos": photos, "total": 25, "has_more": True, "next_offset": 20}})
    return None


@pytest.mark.parametrize(
    ("hook", "failing", "said"),
    [
        (_on("/download/", PHOTO_GONE), "download with checksum", "no longer has this photo"),
        (_on("/download/", Reply(200, (b"other bytes",))), "download with checksum", "not the listed checksum"),
        (_on("/status/", Reply(404, (b"<html>",))), "status report", "404"),
        (_ignore_since, "incremental list", "older than the `since`"),
        (_any_store, "invalid store", "a store that there is not has 9 photos"),
        (_repeat_a_page, "pagination to the end", "15 different photos on 3 pages, but HO counts 25"),
    ],
    ids=["a photo that is gone", "other bytes", "no status route", "since ignored", "any store goes", "pages repeat"],
)
def test_a_step_that_fails_is_named_and_the_others_go_on(hook: Any, failing: str, said: str) -> None:
    with head_office(photos=25) as office:
        office.hook = hook
        steps = _steps(office)
    assert list(steps) == NAMES
    assert [name for name, step in steps.items() if not step.ok] == [failing]
    assert said in steps[failing].detail


def test_a_listing_that_fails_ends_the_check() -> None:
    with head_office(photos=3) as office:
        office.hook = _on("/product-photos/", Reply(500, (b"<html>",)))
        steps = _steps(office)
    assert list(steps) == ["token", "list"]
    assert not steps["list"].ok


def test_rows_that_are_not_usable_are_told() -> None:
    with head_office(photos=2) as office:
        office.photos += [row(3, checksum="", size=0, updated_at=NOON.isoformat()), row(4, size="x")]
        steps = _steps(office)
    assert "1 of them without an image" in steps["list"].detail
    assert "1 that cannot be read: size: not a whole number" in steps["list"].detail
