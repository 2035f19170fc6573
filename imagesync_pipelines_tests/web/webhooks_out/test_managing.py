"""What a person decides of a receiver: its secrets, its pauses and replays, its address."""

import time

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.upstream.signing import new_secret
from imagesync_pipelines.web.webhooks_out import managing
from imagesync_pipelines.web.webhooks_out.delivering import Sender, deliver
from imagesync_pipelines_tests.web.catalogue.api.test_changes import settle
from imagesync_pipelines_tests.web.catalogue.world import World
from imagesync_pipelines_tests.web.webhooks_out.receivers import (
    NOW,
    SECRET,
    VARIABLE,
    Clock,
    Receiver,
    change,
    headers_of,
    look_back,
    sender,
    subscribed,
    told_now,
)


def test_a_rotated_secret_and_the_one_before_are_both_valid_for_a_while(world: World, shop: Receiver) -> None:
    engel, newer, clock = world.product("100"), new_secret().get_secret_value(), Clock()
    world.image(engel)
    settle(world)
    to = sender(world.engine, clock, {VARIABLE: SECRET, f"{VARIABLE}_2": newer}, rotation_hours=24)
    subscribed(to, shop.url)
    made = managing.rotate(to, "shop")
    assert made.subscription.secret == f"env:{VARIABLE}_2"
    change(world, engel, "x")
    told_now(world, to)
    assert shop.verified() == shop.verified(newer)
    clock.pass_by(hours=25)
    change(world, engel, "y")
    told_now(world, to)
    signatures = [headers_of(one)["webhook-signature"].split() for one in shop.served.requests]
    assert [len(one) for one in signatures] == [2, 1]
    assert managing.rotate(to, "shop").subscription.old_secret == f"env:{VARIABLE}_2", "it is set: this is the next one"


def test_a_secret_rotated_again_before_the_new_one_is_set_keeps_the_one_that_works(
    world: World, shop: Receiver
) -> None:
    """Loading the answer of the page anew is enough to ask again."""
    engel, clock = world.product("100"), Clock()
    settle(world)
    to = sender(world.engine, clock, {VARIABLE: SECRET})
    subscribed(to, shop.url)
    first = managing.rotate(to, "shop")
    clock.pass_by(minutes=1)
    second = managing.rotate(to, "shop")
    found = second.subscription
    assert (found.secret, found.old_secret) == (f"env:{VARIABLE}_2", f"env:{VARIABLE}")
    assert [one.shows_secret for one in (first, second)] == [True, True]
    assert second.todo[-1].startswith(f"{VARIABLE} signs too until ")
    named = managing.rotate(to, "shop", f"env:{VARIABLE}_NEW").subscription
    assert (named.secret, named.old_secret) == (f"env:{VARIABLE}_NEW", f"env:{VARIABLE}")
    with pytest.raises(subscriptions.SubscriptionError, match="is signed with"):
        managing.rotate(to, "shop", f"env:{VARIABLE}")
    world.image(engel, last_synced=NOW)
    told_now(world, to)
    assert len(shop.verified()) == 1


def test_no_secret_is_in_the_database_nor_in_what_is_said(world: World, shop: Receiver) -> None:
    engel = world.product("100")
    settle(world)
    to = sender(world.engine, variables={})
    made = managing.add(to, subscriptions.NewSubscription("shop", "standard", shop.url, ""))
    look_back(world.engine)
    shown = made.todo[-1]
    assert shown.startswith("IMAGESYNC_WEBHOOK_SHOP_SECRET=whsec_")
    world.image(engel, last_synced=NOW)
    told_now(world, to)
    (log,) = subscriptions.log_of(world.engine, made.subscription, 10)
    assert log.said == "the variable IMAGESYNC_WEBHOOK_SHOP_SECRET is not set where runs work"
    assert shop.ids == []
    with world.engine.connect() as connection:
        for table in ("webhook_subscription", "webhook_event", "webhook_delivery"):
            for row in connection.execute(sa.text(f"SELECT t::text FROM imagesync.{table} t")):
                assert "whsec_" not in row[0]


def test_a_pause_keeps_and_a_replay_sends_again_by_the_same_ids(world: World, shop: Receiver) -> None:
    made = [world.product(sku) for sku in ("1", "2", "3")]
    settle(world)
    to = sender(world.engine)
    subscribed(to, shop.url)
    for one in made:
        world.image(one, str(one), last_synced=NOW)
        time.sleep(0.002)
    subscriptions.pause(world.engine, "shop", "a test")
    told_now(world, to)
    assert shop.ids == []
    managing.resume(to, "shop")
    told_now(world, to)
    first = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)[1].event_id
    assert subscriptions.replay(world.engine, "shop", first) == 2
    deliver(to, 30)
    assert shop.skus == ["1", "2", "3", "2", "3"]
    assert shop.ids[3:] == shop.ids[1:3]
    with pytest.raises(subscriptions.SubscriptionError, match="There is no event"):
        subscriptions.replay(world.engine, "shop", first + 1000)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://10.0.0.1/", "no public address"),
        ("http://169.254.169.254/latest", "no public address"),
        ("http://[::1]/", "no public address"),
        ("ftp://shop.example.com/", "not an http or https URL"),
        ("https://[shop.example.com/hooks", "not an http or https URL"),
        ("https://user:word@shop.example.com/", "user name or password"),
        ("", "Give the address"),
    ],
)
def test_an_address_that_must_not_be_told_is_refused(world: World, url: str, said: str) -> None:
    with pytest.raises(Exception, match=said):
        subscribed(sender(world.engine), url)
    assert subscriptions.every(world.engine) == []


def test_an_address_that_turned_private_is_not_connected_to(world: World, shop: Receiver) -> None:
    engel = world.product("100")
    settle(world)
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    to = Sender(**{**vars(sender(world.engine)), "resolve": lambda host, port: next(answers)})
    subscribed(to, f"http://shop.example.com:{shop.served.port}/hooks")
    world.image(engel, last_synced=NOW)
    told_now(world, to)
    assert shop.served.requests == []
    (log,) = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)
    assert "127.0.0.1, which is no public address" in log.said
    assert "hooks" not in log.said, "viewers read it, and a path may be what the receiver knows its senders by"


@pytest.mark.parametrize("given", ["soon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_moment_that_is_none_begins_no_replay(world: World, given: str) -> None:
    with pytest.raises(subscriptions.SubscriptionError, match="Replay from the number of an event"):
        managing.first_of(sender(world.engine), given)
