"""Every effect is in the history, once, with the run, the plan and what was before; and is told to whoever asked."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from imagesync_pipelines.sandbox.receivers import is_signed, receiver
from imagesync_pipelines.storage.subscriptions import NewSubscription
from imagesync_pipelines.upstream.signing import new_secret
from imagesync_pipelines.web.webhooks_out import managing
from imagesync_pipelines.web.webhooks_out.delivering import Sender, deliver
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings
from imagesync_pipelines_tests.conformance.subject import CHANGES, Subject

VARIABLE, SECRET = "IMAGESYNC_WEBHOOK_KIT", new_secret().get_secret_value()
TOLD_AS = {"added": "add", "changed": "update", "moved": "update", "removed": "remove"}


@contextmanager
def listening(subject: Subject, site: Any) -> Iterator[list[dict[str, Any]]]:
    """What a receiver is told of what the connector does in a `with` block; it is told at its end."""
    told: list[dict[str, Any]] = []
    settings = WebhooksOutSettings(allowed_hosts=("127.0.0.1",))
    with receiver() as shop:
        new = NewSubscription("kit", "standard", shop.url, f"env:{VARIABLE}", connectors=[subject.name])
        with site.opened() as (place, _):
            managing.add(Sender(place.engine, place.settings, settings), new)
        yield told
        if subject.name not in managing.targets():
            # Of our own images a moment is given out when it is a second old.
            time.sleep(1.1)
        with site.opened() as (place, _):
            for _ in range(2):
                deliver(Sender(place.engine, place.settings, settings, variables=lambda: {VARIABLE: SECRET}), 30)
        assert all(is_signed(one, SECRET) for one in shop.told)
        assert len({one.headers["webhook-id"] for one in shop.told}) == len(shop.told)
        told += [json.loads(one.body)["data"] for one in shop.told]


def assert_exactly(told: list[dict[str, Any]], subject: Subject, site: Any) -> None:
    """Every effect was told, once; of our own images what they came to."""
    if subject.name not in managing.targets():
        own = [(one["product_id"], each) for one in told if not one["images_from"] for each in one["changes"]]
        assert {each["change"] for _, each in own} == {"added"}
        # Who shows another product's images does not show its own, if it has any.
        borrowers = {one["product_id"] for one in told if one["images_from"]}
        images = site.rows("SELECT product_id, external_id FROM imagesync.product_image")
        shown = sorted(row for row in images if row[0] not in borrowers)
        assert sorted((product_id, each["external_id"]) for product_id, each in own) == shown
        return
    assert {(one["connector"], one["account"]) for one in told} == {(subject.name, subject.account)}
    changes = [change for one in told for change in one["changes"]]
    effects = Counter((row["key"], row["change"]) for row in site.told())
    assert Counter((one["key"], TOLD_AS[one["change"]]) for one in changes) == effects
    new = [one["new"] for one in changes if one["change"] == "added"]
    assert [one for one in new if not one["sha256"] and not one["address"]] == []
    assert [one for one in told if not one["sku"] or not one["run_id"]] == []


@pytest.mark.slow
def test_every_effect_is_in_the_history_once_with_what_was_before(subject: Subject, site: Any) -> None:
    with listening(subject, site) as told:
        first = site.sync(**subject.whole)
        site.change()
        second = site.sync(**subject.whole)
        quiet = site.sync(**subject.whole)
    assert_exactly(told, subject, site)
    for outcome in (first, second):
        rows = site.told(outcome.run_id)
        changes = Counter(row["change"] for row in rows)
        assert [changes["add"], changes["update"], changes["remove"]] == [outcome.summary[name] for name in CHANGES]
        assert len({row["key"] for row in rows}) == len(rows)
    changed = [row for row in site.told(second.run_id) if row["change"] != "add"]
    assert changed
    assert [row for row in changed if "before" not in row] == [], "what was there can be written again"
    earlier = {row["key"]: row for row in site.told(first.run_id)}
    for row in changed:
        was, there = earlier[row.get("key_before", row["key"])], row["before"]
        assert row["fingerprint_before"] == was["fingerprint_after"]
        both = there.keys() & was.get("after", there).keys()
        assert both
        assert {name: there[name] for name in both} == {name: was.get("after", there)[name] for name in both}
    assert [row["lost"] for row in changed if "lost" in row] == []
    assert site.told(quiet.run_id) == []
    site.assert_told_once()
    plans = site.rows("SELECT connector, account, count(DISTINCT plan_id) FROM imagesync.effect GROUP BY 1, 2")
    assert plans == [(subject.name, subject.account, 2)]
