"""Proves who is told of what, how often it is tried, and what hushes it."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller, Json, image
from imagesync_pipelines_tests.sandbox.moysklad.test_entities import meta


class Receiver:
    """A receiver that answers as told: a status, or a wait before a 204."""

    def __init__(self) -> None:
        self.plan: list[int | float] = []
        self.got: list[tuple[str, Json]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.append((self.path, body))
                told = receiver.plan.pop(0) if receiver.plan else 204
                if isinstance(told, float):
                    time.sleep(told)
                self.send_response(204 if isinstance(told, float) else told)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    thread = threading.Thread(target=made.server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    made.server.shutdown()
    thread.join()
    made.server.server_close()


@pytest.fixture
def hooked(caller: Caller, receiver: Receiver) -> Iterator[Caller]:
    """A caller whose account tells of changed products, with the fields."""
    made = caller.ask("POST", "entity/webhook", hook(receiver.url, diffType="FIELDS"))
    assert made.status_code == 200, made.text
    yield caller
    caller.ask("DELETE", f"entity/webhook/{made.json()['id']}")


def hook(url: str, **more: str) -> Json:
    return {"entityType": "product", "action": "UPDATE", "url": url, **more}


def test_a_change_of_images_is_told_with_its_field(hooked: Caller, receiver: Receiver, product: str) -> None:
    hooked.sent(product, [image("a.jpg")])
    hooked.sandbox.webhooks.wait()
    ((path, body),) = receiver.got
    assert path.startswith("/hook?requestId=")
    assert body["auditContext"]["moment"]
    assert body["events"] == [
        {
            "meta": meta(hooked, product),
            "action": "UPDATE",
            "updatedFields": ["images"],
            "accountId": hooked.account.account.id,
        }
    ]
    assert hooked.sandbox.webhooks.deliveries()[-1].arrived


def test_a_bulk_write_is_one_telling_of_many(hooked: Caller, receiver: Receiver) -> None:
    keys = [hooked.account.add_product(f"Товар {nth}") for nth in range(3)]
    hooked.ask("POST", "entity/product", [{"meta": meta(hooked, key), "code": "x"} for key in keys])
    hooked.sandbox.webhooks.wait()
    assert [len(body["events"]) for _, body in receiver.got] == [3]


PLANS: dict[str, tuple[list[int | float], int, bool]] = {
    "an error, then good": ([500], 2, True),
    "late, then good": ([1.7], 2, True),
    "four errors": ([500, 400, 301, 500], 4, False),
}


@pytest.mark.parametrize(("plan", "attempts", "arrived"), PLANS.values(), ids=PLANS)
def test_it_is_tried_four_times_with_one_request_id(
    hooked: Caller, receiver: Receiver, product: str, plan: list[int | float], attempts: int, arrived: bool
) -> None:
    receiver.plan = list(plan)
    hooked.account.set_images(product, [])
    hooked.sandbox.webhooks.wait()
    delivery = hooked.sandbox.webhooks.deliveries()[-1]
    assert (delivery.attempts, delivery.arrived, len(receiver.got)) == (attempts, arrived, attempts)
    assert len({path for path, _ in receiver.got}) == 1


HUSHED = {
    "the prefix of its scheme and domain": ({"X-Lognex-WebHook-DisableByPrefix": "{url}"}, 0),
    "another prefix": ({"X-Lognex-WebHook-DisableByPrefix": "https://other.example"}, 1),
    "no more than a scheme": ({"X-Lognex-WebHook-DisableByPrefix": "http://"}, 1),
    "all": ({"X-Lognex-WebHook-Disable": "true"}, 0),
}


@pytest.mark.parametrize(("headers", "told"), HUSHED.values(), ids=HUSHED)
def test_a_call_can_hush_them(
    hooked: Caller, receiver: Receiver, product: str, headers: dict[str, str], told: int
) -> None:
    prefix = receiver.url.removesuffix("/hook")
    named = {name: value.format(url=prefix) for name, value in headers.items()}
    hooked.ask("POST", f"entity/product/{product}/images", [image("a.jpg")], headers=named)
    hooked.sandbox.webhooks.wait()
    assert len(receiver.got) == told


def test_image_events_can_be_switched_off(hooked: Caller, receiver: Receiver, product: str) -> None:
    hooked.sandbox.switches.image_write_fires_webhook = False
    hooked.sent(product, [image("a.jpg")])
    hooked.ask("PUT", f"entity/product/{product}", {"name": "Другое имя"})
    hooked.sandbox.webhooks.wait()
    assert [body["events"][0]["updatedFields"] for _, body in receiver.got] == [["name"]]


def test_webhooks_are_counted_and_checked(caller: Caller, box: MoyskladSandbox) -> None:
    created = [caller.ask("POST", "entity/webhook", hook(f"https://a.example/{nth}")) for nth in range(2)]
    assert [one.status_code for one in created] == [200, 412]
    user = box.account("main").add_principal("hooks", PrincipalKind.USER)
    caller.log_in(user.token)
    assert [caller.ask("POST", "entity/webhook", hook(f"https://b.example/{nth}")).status_code for nth in range(5)] == [
        200,
        200,
        200,
        200,
        412,
    ]
    for wrong in (hook("ftp://x"), hook("https://x/" + "y" * 255), hook("https://x", action="TOUCH")):
        assert caller.ask("POST", "entity/webhook", wrong).status_code == 412
    box.clock.move(3)
    rows = caller.rows("entity/webhook")
    assert len(rows) == 5
    changed = caller.ask("PUT", f"entity/webhook/{rows[0]['id']}", {"enabled": False})
    assert changed.json()["enabled"] is False
    for row in rows:
        assert caller.ask("DELETE", f"entity/webhook/{row['id']}").status_code == 200
    assert caller.rows("entity/webhook") == []
