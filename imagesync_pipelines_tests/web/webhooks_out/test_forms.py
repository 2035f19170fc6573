"""What each form sends, to stand-ins that do as docs/contracts/cdn.md says; and the receiver of the docs."""

import json
import os
import re
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from pydantic import SecretStr

from imagesync_pipelines.sandbox.receivers import Answered, Told, bunny, cloudflare, fastly
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.subscriptions import SubscriptionError
from imagesync_pipelines.upstream.purging import Message, postings
from imagesync_pipelines.web.webhooks_out import delivering, managing
from imagesync_pipelines.web.webhooks_out.delivering import deliver
from imagesync_pipelines_tests.upstream.servers import Request, always, http, json_answer, serve
from imagesync_pipelines_tests.web.catalogue.world import World
from imagesync_pipelines_tests.web.webhooks_out.receivers import (
    NOW,
    SECRET,
    VARIABLE,
    headers_of,
    sender,
    subscribed,
    told_now,
)

ZONE = "023e105f"
DOCS = Path(__file__).parents[3] / "docs" / "webhooks.md"
StandIn = Callable[[Told], Answered]


@pytest.mark.parametrize(
    ("form", "stand_in", "options"),
    [
        ("cloudflare", partial(cloudflare, zone=ZONE, token=SECRET), {"zone": ZONE}),
        ("fastly", partial(fastly, token=SECRET), {"soft": "yes"}),
        ("bunny", partial(bunny, key=SECRET), {}),
    ],
)
def test_a_cdn_is_purged_of_the_old_and_the_new_address_as_it_has_them(
    world: World, form: str, stand_in: StandIn, options: dict[str, str]
) -> None:
    purged: list[str] = []
    refusing = [http(429, headers={"Retry-After": "1"})]

    def answer(request: Request, number: int) -> Iterator[bytes]:
        if refusing:
            yield refusing.pop()
            return
        answered = stand_in(Told(request.target, headers_of(request), request.body))
        purged.extend(answered.purged)
        yield json_answer(answered.said, answered.status)

    made = [world.product(sku) for sku in ("1", "2")]
    world.image(
        made[0], "1", image_url="https://media.example.com/1.jpg", thumbnail_url="https://other.example.com/1.png"
    )
    told_now(world, sender(world.engine))
    rewritten = {"from": "https://media.example.com/", "to": "https://cdn.example.com/m/"}
    with serve(answer) as served:
        to = sender(world.engine, backoff_first_seconds=0.001, backoff_max_seconds=0.001)
        subscribed(to, served.url, form=form, options={**options, **rewritten})
        with world.engine.begin() as connection:
            new = subscriptions.table.metadata.tables["imagesync.product_image"].update()
            connection.execute(
                new.values(image_url="https://media.example.com/a b.jpg", fingerprint="x", last_synced=NOW)
            )
        world.image(made[1], "2", image_url="https://media.example.com/2.jpg", last_synced=NOW)
        told_now(world, to)
        deliver(to, 30)
    cdn = "https://cdn.example.com/m"
    assert purged == [f"{cdn}/1.jpg", f"{cdn}/a%20b.jpg", f"{cdn}/2.jpg"]
    log = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)
    assert [one.accepted for one in log] == [True, True, False, False]


def test_an_answer_that_does_not_say_success_is_none(world: World) -> None:
    with serve(lambda request, number: [json_answer({"success": False, "errors": [{"code": 7003}]})]) as served:
        to = sender(world.engine)
        subscribed(to, served.url, form="cloudflare", options={"zone": ZONE})
        assert managing.test(to, "shop").said == "the answer does not say success"


def test_many_addresses_are_as_many_calls_as_cloudflare_needs() -> None:
    told = [Message("msg_1", "1", [f"https://m.example.com/{number}" for number in range(250)], "{}")]
    sent = list(postings("cloudflare", "https://c/", {"zone": ZONE}, [SecretStr("t")], told, 0))
    assert [len(json.loads(one.body)["files"]) for one in sent] == [100, 100, 50]


@pytest.mark.parametrize("form", ["cloudflare", "fastly", "bunny"])
def test_an_address_that_no_cdn_can_have_is_left_out(form: str) -> None:
    addresses = [
        "https://[media/a.jpg",
        "https://m:port/b.jpg",
        "c.jpg",
        "https:///d.jpg",
        "https://m.example.com/e.jpg",
    ]
    told = [Message("msg_1", "1", addresses, "{}")]
    (one,) = postings(form, "https://c/", {"zone": ZONE}, [SecretStr("t")], told, 0)
    sent = unquote(f"{one.url} {one.body.decode()}")
    assert "m.example.com/e.jpg" in sent
    assert not [name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg") if name in sent]


def test_an_error_of_our_own_in_one_message_costs_no_other_receiver(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(form: str, *rest: Any) -> Any:
        return {}["canary"] if form == "bunny" else postings(form, *rest)

    monkeypatch.setattr(delivering, "postings", broken)
    engel, to = world.product("100"), sender(world.engine)
    told_now(world, to)
    with serve(always(http(204))) as served:
        subscribed(to, served.url, "broken", form="bunny")
        subscribed(to, served.url, "good")
        world.image(engel, last_synced=NOW)
        told_now(world, to)
        assert len(served.requests) == 1
    (failed,) = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "broken"), 10)
    assert failed.said == "it could not be sent: an error of imagesync's own (KeyError)"
    assert [one.attempts for one in subscriptions.every(world.engine)] == [1, 0]


def test_a_shop_makes_the_pages_of_the_products_anew() -> None:
    told = [Message(f"msg_{number}", sku, [], "{}") for number, sku in enumerate(("1", "Ü 2", "1"))]
    (one,) = postings("revalidate", "https://shop/api", {}, [SecretStr("word")], told, 0)
    assert json.loads(one.body) == {"skus": ["1", "Ü 2"], "tags": ["product:1", "product:Ü 2"]}
    assert one.headers["Authorization"] == "Bearer word"
    (other,) = postings("revalidate", "https://shop/api", {"header": "x-secret"}, [SecretStr("word")], told, 0)
    assert (other.headers["x-secret"], "Authorization" in other.headers) == ("word", False)
    assert "word" not in repr(one)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"form": "cloudflare"}, "needs the option zone"),
        ({"form": "bunny", "options": {"zone": "1"}}, "There is no option of bunny 'zone'"),
        ({"form": "other"}, "There is no form"),
        ({"events": ["image.lost"]}, "There is no event"),
        ({"connectors": ["shopify"]}, "There is no connector"),
        ({"name": "Shop 1"}, "The name of a webhook"),
        ({"form": "revalidate", "options": {"header": "a: b"}}, "name of a header"),
        ({"form": "revalidate", "secret": "env:IMAGESYNC_DATABASE_URL"}, "set a variable IMAGESYNC_WEBHOOK_"),
        ({"form": "bunny", "secret": "env:MOYSKLAD_WEBHOOK_SECRET"}, "set a variable IMAGESYNC_WEBHOOK_"),
        ({"secret": "env:PGPASSWORD"}, "set a variable IMAGESYNC_WEBHOOK_"),
        ({"secret": "whsec_plain"}, "set a variable IMAGESYNC_WEBHOOK_"),
    ],
)
def test_what_cannot_be_sent_is_refused_when_it_is_asked_for(world: World, more: dict[str, Any], said: str) -> None:
    with pytest.raises(SubscriptionError, match=said):
        subscribed(sender(world.engine), "http://127.0.0.1:1/", **more)
    assert subscriptions.every(world.engine) == []


def test_the_receiver_of_the_docs_takes_what_is_sent_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.setitem(os.environ, "WEBHOOK_SECRET", SECRET)
    there: dict[str, Any] = {"__name__": "receiver"}
    exec(compile(code, str(DOCS), "exec"), there)
    taken: list[str] = []
    there["take"] = lambda message: taken.append(message["data"]["sku"])
    there["Receiver"].log_message = lambda *_: None
    engel = world.product("100")
    told_now(world, sender(world.engine))
    with HTTPServer(("127.0.0.1", 0), there["Receiver"]) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            to = sender(world.engine)
            subscribed(to, f"http://127.0.0.1:{server.server_port}/")
            world.image(engel, last_synced=NOW)
            told_now(world, to)
            subscriptions.replay(world.engine, "shop", 1)
            deliver(to, 30)
            stranger = sender(world.engine, variables={VARIABLE: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
            assert "HTTP 401" in managing.test(stranger, "shop").said
        finally:
            server.shutdown()
            thread.join()
    assert taken == ["100"]
    log = subscriptions.log_of(world.engine, subscriptions.named(world.engine, "shop"), 10)
    assert [one.status for one in log] == [401, 204, 204]
