"""Real receivers are told what changed: in order, verified, nothing lost, nothing told as new twice."""

import multiprocessing
import os
import signal
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.alerts import Alert, kept_alerts, note_alert, send_due
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.storage.schema_webhooks import webhook_event, webhook_seen
from imagesync_pipelines.web.catalogue import changes
from imagesync_pipelines.web.catalogue.changes import changes_since, from_now_on
from imagesync_pipelines.web.webhooks_out import collecting, managing
from imagesync_pipelines.web.webhooks_out.delivering import Sender, deliver
from imagesync_pipelines_tests.upstream.servers import Request
from imagesync_pipelines_tests.web.catalogue.api.test_changes import settle
from imagesync_pipelines_tests.web.catalogue.world import World
from imagesync_pipelines_tests.web.webhooks_out.receivers import (
    NOW,
    Clock,
    Receiver,
    change,
    headers_of,
    receiver,
    sender,
    subscribed,
    told_now,
)


def test_a_change_is_told_with_old_and_new_and_only_from_when_it_was_asked_for(world: World, shop: Receiver) -> None:
    engel = world.product("100")
    world.image(engel, "1")
    settle(world)
    to = sender(world.engine)
    subscribed(to, shop.url)
    told_now(world, to)
    assert shop.served.requests == []
    change(world, engel, "other")
    told_now(world, to)
    told_now(world, to)
    (said,) = shop.verified()
    (one,) = said["data"]["changes"]
    assert (said["data"]["sku"], said["data"]["events"], one["change"]) == ("100", ["image.changed"], "changed")
    assert (one["old"]["hash"], one["new"]["hash"]) == ("f1", "other")
    assert one["new"]["image_url"] == "https://media.example.com/1.jpg"
    (log,) = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)
    assert (log.accepted, log.status, log.sku, log.attempt) == (True, 204, "100", 1)


def test_whoever_borrows_images_is_told_and_who_changed_in_name_only_is_not(world: World, shop: Receiver) -> None:
    parent = world.product("P", kind="parent")
    variant, other = world.product("V", parent=parent), world.product("X")
    world.image(other, "9")
    settle(world)
    to = sender(world.engine)
    subscribed(to, shop.url)
    world.image(parent, "1", last_synced=NOW)
    with world.engine.begin() as connection:
        connection.execute(product.update().where(product.c.id == other).values(name="New", updated_at=NOW))
    told_now(world, to)
    said = {one["data"]["sku"]: one["data"] for one in shop.verified()}
    assert set(said) == {"P", "V"}
    assert (said["V"]["images_from"], said["P"]["images_from"]) == ("P", "")
    assert variant == said["V"]["product_id"]
    with world.engine.begin() as connection:
        connection.execute(product_image.delete().where(product_image.c.product_id == parent))
        connection.execute(product.update().where(product.c.id == other).values(left_erp_at=NOW, updated_at=NOW))
    told_now(world, to)
    later = {one["data"]["sku"]: one["data"]["events"] for one in shop.verified()[2:]}
    assert later == {
        "P": ["image.removed", "primary.changed"],
        "V": ["image.removed", "primary.changed"],
        "X": ["product.left"],
    }


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=6), min_size=1, max_size=4))
def test_the_order_is_that_of_changes_and_every_reading_ends_with_what_is_shown(
    world: World, rounds: list[list[int]]
) -> None:
    """Law: after each delivery a receiver that replaces what it has by `new` has what the API shows."""
    with world.engine.begin() as connection:
        connection.execute(product_image.delete())
        for table in ("primary_to_check", "image_removal"):
            connection.execute(sa.text(f"DELETE FROM imagesync.{table}"))
        connection.execute(product.delete())
    made = [world.product(str(number)) for number in range(5)]
    for number, one in enumerate(made):
        world.image(one, str(number), fingerprint="0")
    settle(world)
    to, has, step = sender(world.engine), dict.fromkeys(map(str, range(5)), "0"), 0
    with receiver() as shop:
        subscribed(to, shop.url)
        try:
            for changed in rounds:
                with world.engine.connect() as connection:
                    begin = collecting.read_cursor(connection, collecting.FEED, "")
                for number in changed:
                    step += 1
                    change(world, made[number], f"h{step}")
                settle(world)
                page = changes_since(world.engine, None, begin, 100)
                order = [one.sku for one in page.items if int(one.sku) in changed]
                seen = len(shop.served.requests)
                deliver(to, 30)
                assert shop.skus[seen:] == order
                for said in shop.verified()[seen:]:
                    (one,) = said["data"]["changes"]
                    assert one["old"]["hash"] == has[said["data"]["sku"]]
                    has[said["data"]["sku"]] = one["new"]["hash"]
            with world.engine.connect() as connection:
                rows = connection.execute(sa.select(product.c.sku, product_image.c.fingerprint).join(product_image))
                assert has == {row.sku: row.fingerprint for row in rows}
            assert len(shop.ids) == len(set(shop.ids))
        finally:
            managing.remove(to, "shop")


def test_what_was_not_accepted_is_sent_again_by_the_same_id_before_the_next(world: World, shop: Receiver) -> None:
    made = [world.product(sku) for sku in ("1", "2")]
    settle(world)
    clock = Clock()
    to = sender(world.engine, clock, backoff_first_seconds=20)
    subscribed(to, shop.url)
    for one in made:
        world.image(one, str(one), last_synced=NOW)
        time.sleep(0.002)
    shop.statuses.update({1: 503, 2: 500})
    told_now(world, to)
    deliver(to, 30)
    assert shop.skus == ["1"], "it waits"
    clock.pass_by(seconds=16)
    deliver(to, 30)
    clock.pass_by(seconds=16)
    deliver(to, 30)
    assert shop.skus == ["1", "1"], "the second wait is twice as long"
    clock.pass_by(seconds=16)
    deliver(to, 30)
    assert shop.skus == ["1", "1", "1", "2"]
    assert len(set(shop.ids[:3])) == 1
    assert len(set(shop.ids)) == 2
    stamps = [headers_of(one)["webhook-timestamp"] for one in shop.served.requests]
    assert len(set(stamps[:3])) == 3, "each attempt is signed anew"
    log = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)
    assert [(one.attempt, one.status) for one in reversed(log)] == [(1, 503), (2, 500), (3, 204), (1, 204)]


def test_a_receiver_that_fails_for_long_is_disabled_told_once_and_goes_on_where_it_was(
    world: World, shop: Receiver
) -> None:
    engel = world.product("100")
    settle(world)
    clock = Clock()
    to = sender(world.engine, clock, disable_after_hours=2)
    to = Sender(**{**vars(to), "shared": Settings(alert_urls="json://127.0.0.1:9/secret")})
    subscribed(to, shop.url)
    world.image(engel, last_synced=NOW)
    shop.statuses.update(dict.fromkeys(range(1, 6), 500))
    told_now(world, to)
    for _ in range(3):
        clock.pass_by(hours=1)
        deliver(to, 30)
    found = subscriptions.named(world.engine, "shop")
    assert (found.state, len(shop.ids)) == ("disabled", 3)
    (alert,) = kept_alerts(world.engine)
    assert alert.title == "imagesync: the webhook shop is disabled"
    assert "imagesync webhook resume shop" in alert.body
    assert send_due(world.engine, lambda title, body, is_good: [], to.now()) == (1, [])
    shop.statuses.clear()
    managing.resume(to, "shop")
    deliver(to, 30)
    assert subscriptions.named(world.engine, "shop").state == "active"
    assert len(set(shop.ids)) == 1
    assert len(shop.ids) == 4
    assert kept_alerts(world.engine)[0].over_at is not None
    note_alert(world.engine, Alert("", "shop", subscriptions.DISABLED, "again", "", ""), to.now(), timedelta(0))
    send_due(world.engine, lambda title, body, is_good: [], to.now())
    managing.remove(to, "shop")
    assert kept_alerts(world.engine)[0].over_at is not None, "nobody waits for one that is removed"


@pytest.mark.parametrize("stays", [0, 1])
def test_what_was_forgotten_during_a_long_pause_is_said_with_its_number(
    world: World, shop: Receiver, stays: int
) -> None:
    made = [world.product(sku) for sku in ("1", "2", "3")]
    settle(world)
    to = sender(world.engine)
    subscribed(to, shop.url)
    subscriptions.pause(world.engine, "shop", "a test")
    assert managing.resume(to, "shop") == ""
    subscriptions.pause(world.engine, "shop", "a test")
    for one in made:
        world.image(one, str(one), last_synced=NOW)
    told_now(world, to)
    with world.engine.begin() as connection:
        newest = sa.select(sa.func.max(webhook_event.c.id)).scalar_subquery()
        connection.execute(webhook_event.delete().where(webhook_event.c.id <= newest - stays))
    assert f"up to {3 - stays} events" in managing.resume(to, "shop")
    assert managing.resume(to, "shop") == ""
    (log,) = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)
    assert (log.accepted, f"up to {3 - stays} events" in log.said) == (False, True)
    deliver(to, 30)
    assert len(shop.skus) == stays
    managing.remove(to, "shop")
    subscribed(to, shop.url)
    assert managing.resume(to, "shop") == "", "what was before it is none of its own"


def test_one_that_wants_no_more_is_disabled_at_once_and_a_redirect_is_not_followed(world: World) -> None:
    engel = world.product("100")
    settle(world)
    to = sender(world.engine)
    with receiver() as gone, receiver() as moved:
        gone.statuses[1], moved.statuses[1] = 410, 302
        subscribed(to, gone.url, "gone")
        subscribed(to, moved.url, "moved")
        world.image(engel, last_synced=NOW)
        told_now(world, to)
    states = {one.name: (one.state, one.attempts) for one in subscriptions.every(world.engine)}
    assert states == {"gone": ("disabled", 1), "moved": ("active", 1)}
    (log,) = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "moved"), 10)
    assert "redirects are not followed" in log.said


def test_a_slow_receiver_holds_up_nobody_else(world: World) -> None:
    made = [world.product(str(number)) for number in range(6)]
    settle(world)
    to, fast_had = sender(world.engine), list[int]()
    with receiver() as fast:

        def slowly(request: Request) -> None:
            until = time.monotonic() + 4
            while len(fast.served.requests) < 6 and time.monotonic() < until:
                time.sleep(0.02)
            fast_had.append(len(fast.served.requests))

        with receiver(slowly) as slow:
            subscribed(to, slow.url, "a-slow-one")
            subscribed(to, fast.url, "fast")
            for one in made:
                world.image(one, str(one), last_synced=NOW)
            told_now(world, to)
            assert fast_had[0] == 6, "all of them before the slow one had answered once"
            assert slow.skus == fast.skus


def _deliver_once(url: str) -> None:
    """A process that tells and is killed by the test before it can write that it did."""
    engine = sa.create_engine(url)
    deliver(sender(engine), 30)


@pytest.mark.slow
def test_a_process_that_is_killed_between_sending_and_writing_loses_none(world: World, database_url: str) -> None:
    made = [world.product(sku) for sku in ("1", "2", "3")]
    settle(world)
    started: list[Any] = []

    def killing(request: Request) -> None:
        if len(got) == 1:
            os.kill(started[0].pid, signal.SIGKILL)
        got.append(headers_of(request)["webhook-id"])

    got: list[str] = []
    with receiver(killing) as shop:
        subscribed(sender(world.engine), shop.url)
        for one in made:
            world.image(one, str(one), last_synced=NOW)
            time.sleep(0.002)
        settle(world)
        process = multiprocessing.get_context("spawn").Process(target=_deliver_once, args=(database_url,))
        started.append(process)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        deadline = time.monotonic() + 20
        while len(got) < 4 and time.monotonic() < deadline:
            # The server notices the end of a killed process a moment later.
            with suppress(AccountBusyError):
                deliver(sender(world.engine), 30)
        assert list(dict.fromkeys(shop.skus)) == ["1", "2", "3"]
        assert got == [got[0], got[1], got[1], got[3]], "the one whose outcome was not written came twice, by one id"
        assert len(set(got)) == 3


def test_after_the_last_subscription_nothing_is_remembered(world: World, shop: Receiver) -> None:
    world.image(world.product("100"))
    settle(world)
    to = sender(world.engine)
    subscribed(to, shop.url)
    with world.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(webhook_seen)).scalar() == 1
    managing.remove(to, "shop")
    assert not collecting.has_news(world.engine)
    with world.engine.connect() as connection:
        for table in (webhook_seen, webhook_event):
            assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 0


def test_a_stretch_of_writes_that_all_changed_again_is_gone_through(
    world: World, shop: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its page is empty, and there is more behind it: what looks for news must not take it for none."""
    monkeypatch.setattr(changes, "_STRETCH", 3)
    made = [world.product(str(number)) for number in range(3)]
    settle(world)
    to = sender(world.engine)
    subscribed(to, shop.url)
    for number in range(2):
        for one in made:
            world.image(one, f"{one}-{number}", is_primary=not number, last_synced=NOW)
    settle(world)
    with world.engine.connect() as connection:
        at = collecting.read_cursor(connection, collecting.FEED, "")
    page = changes_since(world.engine, None, at, 100)
    assert (page.items, page.has_more) == ([], True)
    assert collecting.has_news(world.engine)
    deliver(to, 30)
    assert sorted(shop.skus) == ["0", "1", "2"]


def test_what_is_committed_while_everything_is_remembered_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes while the beginning is asked for is remembered with what he wrote, or is told."""
    engel = world.product("100")
    settle(world)

    def late(connection: sa.Connection) -> str:
        # One whose transaction began a while ago and ends now.
        world.image(engel, "1", last_synced=sa.func.clock_timestamp() - timedelta(seconds=30))
        return from_now_on(connection)

    monkeypatch.setattr(collecting, "from_now_on", late)
    collecting.begin(world.engine, own_images_first=False)
    with world.engine.connect() as connection:
        seen = connection.execute(sa.select(webhook_seen.c.shown)).scalar_one()
    assert [one["external_id"] for one in seen["images"]] == ["1"] or collecting.has_news(world.engine)


def test_a_test_message_is_sent_at_once_and_moves_nothing(world: World, shop: Receiver) -> None:
    to = sender(world.engine)
    subscribed(to, shop.url)
    assert managing.test(to, "shop").said == ""
    shop.statuses[2] = 401
    assert "refused the credentials" in managing.test(to, "shop").said
    assert [one["type"] for one in shop.verified()] == ["webhook.test"] * 2
    assert subscriptions.named(world.engine, "shop").attempts == 0
