"""What runs write into other systems is told to whoever asked for it: once, with what is known of the pictures."""

from contextlib import suppress

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.schema_accounts import plytix_asset
from imagesync_pipelines.storage.subscriptions import SubscriptionError
from imagesync_pipelines.web.webhooks_out import collecting
from imagesync_pipelines.web.webhooks_out.delivering import deliver
from imagesync_pipelines.web.webhooks_out.targets import written_by
from imagesync_pipelines_tests.web.catalogue.world import World
from imagesync_pipelines_tests.web.webhooks_out.receivers import Receiver, sender, subscribed

PLACES = {"is_primary": True, "sort_order": 0}
REORDERED = {"asset": "a", "gallery": ["b", "a"]}


@pytest.mark.parametrize(
    ("row", "change"),
    [
        (EffectRow("k", "add", "", after={"sha256": "2"}), "added"),
        (EffectRow("k", "remove", "", "k", before={"sha256": "1"}), "removed"),
        (EffectRow("k", "update", "", "k", before={"sha256": "1"}, after={"sha256": "2"}), "changed"),
        (EffectRow("k", "update", "", fingerprint_before="1", fingerprint_after="2"), "changed"),
        (EffectRow("k", "update", "", position=1, fingerprint_before="1", fingerprint_after="1"), "moved"),
        (EffectRow("k", "update", "", "k", before={"checksum": "1"} | PLACES, after={"checksum": "1"}), "moved"),
        (EffectRow("k", "update", "", before={"asset": "a", "thumbnail": "b"}, after={"asset": "a"}), "moved"),
        (EffectRow("k", "update", "", before={"asset": "a", "gallery": ["a", "b"]}, after=REORDERED), "moved"),
        (EffectRow("k", "update", "", "k", before=PLACES | {"filename": "a"}, after={"filename": "b"}), "changed"),
        (EffectRow("k", "keep", "a person said so"), None),
        (EffectRow("k", "pin", "a person said so"), None),
    ],
)
def test_what_became_of_an_image(row: EffectRow, change: str | None) -> None:
    found = written_by(Effect("edge", "a", "g", (row,)))
    assert [one.change for one in found] == ([] if change is None else [change])
    for one in found:
        assert (one.old is None, one.new is None) == (change == "added", change == "removed")


def test_what_is_written_into_plytix_is_told_once_to_those_who_named_it(world: World, shop: Receiver) -> None:
    engel, to = world.product("100"), sender(world.engine)
    subscribed(to, shop.url, "all")
    subscribed(to, shop.url, "some", connectors=["plytix"], events=["target.removed"], skus=["1*"])
    subscribed(to, shop.url, "none", connectors=["plytix"], skus=["2*"])
    by = Author("run 2", person="anna", undoes_run="run 1")
    new = EffectRow("100/k", "add", "new", position=2, after={"asset": "a1", "name": "k.jpg"})
    gone = EffectRow("100/l", "remove", "gone", "100/l", position_before=1, before={"asset": "a2", "name": "l.jpg"})
    assets = [{"account": "x", "asset_id": one, "url": f"https://files/{one}"} for one in ("a1", "a2")]
    with world.engine.begin() as connection:
        connection.execute(plytix_asset.insert(), assets)
        connection.execute(plytix_asset.update().where(plytix_asset.c.asset_id == "a1").values(content_sha256="abc"))
        note_effects(connection, [Effect("plytix", "x", "100", (new, gone), by), Effect("edge", "s", "1", (new,), by)])
    assert collecting.has_news(world.engine)
    with suppress(InterruptedError), pytest.MonkeyPatch.context() as killed:
        killed.setattr(collecting, "write_events", _killed)
        deliver(to, 30)
    assert deliver(to, 30).noted == 1
    deliver(to, 30)
    (said,) = shop.verified()
    assert said["type"] == "target.images.changed"
    changes = said["data"].pop("changes")
    assert said["data"] == {
        "connector": "plytix",
        "account": "x",
        "group": "100",
        "sku": "100",
        "name": said["data"]["name"],
        "product_id": engel,
        "events": ["target.added", "target.removed"],
        "run_id": "run 2",
        "undoes_run": "run 1",
    }
    assert changes == [
        {
            "change": "added",
            "key": "100/k",
            "reason": "new",
            "old": None,
            "new": {"key": "100/k", "sha256": "abc", "address": "https://files/a1", "position": 2},
        },
        {
            "change": "removed",
            "key": "100/l",
            "reason": "gone",
            "old": {"key": "100/l", "sha256": None, "address": "https://files/a2", "position": 1},
            "new": None,
        },
    ]
    with world.engine.connect() as connection:
        (addresses,) = connection.scalars(sa.text("SELECT addresses FROM imagesync.webhook_event"))
    assert addresses == ["https://files/a1", "https://files/a2"]
    assert subscriptions.replay(world.engine, "some", 1) == 1
    deliver(to, 30)
    assert shop.ids[0] == shop.ids[1], "sent again it has the id that it had"


def _killed(*_: object) -> None:
    raise InterruptedError("killed before what there is to tell is committed")


@pytest.mark.parametrize(
    ("connectors", "events", "said"),
    [
        (["plytix"], ["image.added"], "Of plytix the events are target.added"),
        (["folder"], ["target.added"], "name the connector that writes it: plytix, moysklad, edge"),
        ([], ["target.moved"], "name the connector that writes it"),
    ],
)
def test_events_that_no_named_connector_has_are_refused(
    world: World, connectors: list[str], events: list[str], said: str
) -> None:
    with pytest.raises(SubscriptionError, match=said):
        subscribed(sender(world.engine), "http://127.0.0.1:1/", connectors=connectors, events=events)
