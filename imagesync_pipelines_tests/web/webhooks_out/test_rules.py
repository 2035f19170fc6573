"""What is worth telling, who is told, when it is tried again: rules with tables of cases."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from imagesync_pipelines.storage.subscriptions import Event, Subscription
from imagesync_pipelines.web.webhooks_out.rules import Shown, event_of, given_up, wait_after, wants
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

AT = datetime(2026, 11, 30, 9, 30, tzinfo=UTC)


def image(number: str, digest: str = "1", connector: str = "image_db") -> dict[str, Any]:
    url = f"https://media.example.com/{number}"
    return {
        "connector": connector,
        "external_id": number,
        "hash": digest,
        "image_url": f"{url}.jpg",
        "thumbnail_url": None,
    }


A, B, A2 = image("a"), image("b"), image("a", "2")
LEFT = {"left": True}


@pytest.mark.parametrize(
    ("before", "after", "events", "changes"),
    [
        (Shown(), Shown(), None, []),
        (Shown([A]), Shown([A]), None, []),
        (Shown([A, B]), Shown([A, B], "P1"), None, []),
        (Shown(), Shown([A]), ["image.added", "primary.changed"], ["added a"]),
        (Shown([A]), Shown([A, B]), ["image.added"], ["added b"]),
        (Shown([A]), Shown([A2]), ["image.changed"], ["changed a"]),
        (Shown([A, B]), Shown([B, A]), ["primary.changed"], []),
        (Shown([A, B]), Shown([B]), ["image.removed", "primary.changed"], ["removed a"]),
        (Shown([A]), Shown([B]), ["image.added", "image.removed", "primary.changed"], ["removed a", "added b"]),
        (Shown([A]), Shown([A], **LEFT), ["product.left"], []),
        (Shown([A], **LEFT), Shown([A]), ["product.returned"], []),
        (Shown([A], **LEFT), Shown([A2], **LEFT), ["image.changed"], ["changed a"]),
    ],
)
def test_what_is_told_of_a_product(before: Shown, after: Shown, events: list[str] | None, changes: list[str]) -> None:
    found = event_of(7, "100", AT, before, after, "msg_1")
    assert (None if found is None else list(found.events)) == events
    if found is not None:
        said = json.loads(found.body)
        assert (said["type"], said["timestamp"]) == ("product.images.changed", "2026-11-30T09:30:00Z")
        assert [f"{one['change']} {one['external_id']}" for one in said["data"]["changes"]] == changes
        assert said["data"]["events"] == events


def test_a_change_has_the_old_and_the_new_hash_and_address() -> None:
    new = {**A2, "image_url": "https://media.example.com/new.jpg"}
    found = event_of(7, "100", AT, Shown([A]), Shown([new]), "msg_1")
    assert found is not None
    (change,) = json.loads(found.body)["data"]["changes"]
    assert (change["old"]["hash"], change["new"]["hash"]) == ("1", "2")
    assert list(found.addresses) == [A["image_url"], new["image_url"]]
    assert json.loads(found.body)["data"]["primary"]["new"]["hash"] == "2"


NOBODY = Subscription(
    "shop", "standard", "https://shop.example.com", "env:S", id=1, old_secret=None, old_secret_until=None,
    state="active", said="", cursor=0, attempts=0, failing_since=None, due_at=None, delivered_at=None, created_at=AT,
)  # fmt: skip
TOLD = Event("msg_1", "A-100", ["image_db"], ["image.added", "primary.changed"], [], "{}", AT)


@pytest.mark.parametrize(
    ("asked", "is_wanted"),
    [
        ({}, True),
        ({"connectors": ["image_db"]}, True),
        ({"connectors": ["folder"]}, False),
        ({"events": ["image.removed", "primary.changed"]}, True),
        ({"events": ["image.removed"]}, False),
        ({"skus": ["B-*", "A-1*"]}, True),
        ({"skus": ["a-1*"]}, False),
        ({"skus": ["A-???"], "connectors": ["folder"]}, False),
    ],
)
def test_who_is_told(asked: dict[str, list[str]], is_wanted: bool) -> None:
    assert wants(replace(NOBODY, **asked), TOLD) is is_wanted


@pytest.mark.parametrize(("connectors", "is_wanted"), [([], False), (["image_db"], False), (["edge", "folder"], True)])
def test_what_is_written_elsewhere_is_told_to_whoever_names_it(connectors: list[str], is_wanted: bool) -> None:
    told = Event("msg_1", "A-100", ["edge"], ["target.added"], [], "{}", AT)
    assert wants(replace(NOBODY, connectors=connectors), told) is is_wanted


SETTINGS = WebhooksOutSettings(backoff_first_seconds=5, backoff_max_seconds=3600, disable_after_hours=72)


@pytest.mark.parametrize(
    ("attempts", "asked", "chance", "seconds"),
    [
        (1, None, 0.0, 2.5),
        (1, None, 1.0, 5),
        (2, None, 1.0, 10),
        (5, None, 1.0, 80),
        (50, None, 1.0, 3600),
        (5000, None, 0.0, 1800),
        (1, 60.0, 0.5, 60),
        (1, 1e9, 0.5, 3600),
        (5, 1.0, 1.0, 80),
    ],
)
def test_how_long_is_waited(attempts: int, asked: float | None, chance: float, seconds: float) -> None:
    assert wait_after(attempts, asked, SETTINGS, lambda: chance) == seconds


@pytest.mark.parametrize(
    ("since", "status", "said"),
    [(None, 500, ""), (71, 500, ""), (72, 500, "it accepted nothing since"), (None, 410, "it answered 410 Gone")],
)
def test_when_a_receiver_is_given_up(since: int | None, status: int, said: str) -> None:
    failing = replace(NOBODY, failing_since=None if since is None else AT - timedelta(hours=since))
    found = given_up(failing, status, AT, SETTINGS)
    assert found.startswith(said)
    assert bool(found) is bool(said)
