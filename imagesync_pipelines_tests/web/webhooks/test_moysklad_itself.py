"""The webhooks of a МойСклад as docs/moysklad.md registers them: told once, told in time, and no echo of our writes."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from pydantic import SecretStr
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount
from imagesync_pipelines.connectors.moysklad.client.account import MoyskladApi
from imagesync_pipelines.connectors.moysklad.incoming import AccountNames, QueueReceiver
from imagesync_pipelines.connectors.moysklad.model import NewImage
from imagesync_pipelines.connectors.moysklad.queue import Queue
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.web.webhooks.app import build_app
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller

SECRET = "a-secret-of-tests-0123"


@dataclass
class LostAnswers:
    """The endpoints on a bad day: so many answers turn into a 502 after the work was done."""

    app: ASGIApp
    left: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start" and self.left:
                self.left -= 1
                message = {**message, "status": 502}
            await send(message)

        await self.app(scope, receive, sent)


@dataclass(frozen=True)
class Place:
    """A МойСклад whose main account tells our endpoints."""

    box: MoyskladSandbox
    queue: Queue
    endpoints: LostAnswers
    url: str

    def asked_for(self) -> set[tuple[str, str]]:
        """What is due now, as child and entity; it is taken."""
        self.box.webhooks.wait()
        now = datetime.now(UTC)
        return {(child, one.entity) for child in self.queue.due(now) for one in self.queue.take(child, "run", now)}

    def register(self, account: str) -> None:
        """Register the six webhooks of the documentation in an account."""
        caller = Caller(self.box, account)
        for kind in ("product", "bundle", "variant"):
            for action in ("CREATE", "UPDATE"):
                hook = {"entityType": kind, "action": action, "method": "POST", "url": self.hook}
                made = caller.ask("POST", "entity/webhook", hook)
                assert made.status_code == 200, made.text

    @property
    def hook(self) -> str:
        return f"{self.url}/webhooks/moysklad/{SECRET}"


@pytest.fixture
def place(database: sa.Engine) -> Iterator[Place]:
    queue, listener = Queue(database), bind()
    with moysklad_sandbox() as box:
        names = AccountNames(frozenset({box.account("main").account.id}), {"child": "child"}, ("child", "other"))
        receiver = QueueReceiver(queue, names, SecretStr(SECRET), lambda: datetime.now(UTC))
        endpoints = LostAnswers(build_app("moysklad", receiver))
        with running((endpoints, listener)):
            made = Place(box, queue, endpoints, f"http://127.0.0.1:{listener.getsockname()[1]}")
            made.register("main")
            yield made


def test_what_people_do_in_the_main_account_is_asked_for_in_every_child(place: Place) -> None:
    main = place.box.account("main")
    product = main.add_product("Стул", images=[("стул.jpg", jpeg("1"))])
    variant = main.add_variant(product, "Стул (красный)")
    both = {("child", f"product:{product}"), ("other", f"product:{product}")}
    assert place.asked_for() == both | {("child", f"variant:{variant}"), ("other", f"variant:{variant}")}
    main.set_images(product, [])
    assert place.asked_for() == both
    main.delete(variant)
    assert place.asked_for() == set()


def test_events_of_a_child_account_ask_for_nothing(place: Place) -> None:
    place.register("child")
    place.box.account("child").add_product("Стул")
    assert place.asked_for() == set()
    assert place.box.webhooks.deliveries()[-1].arrived


def test_answers_that_were_lost_make_no_second_request(place: Place) -> None:
    place.endpoints.left = 3
    product = place.box.account("main").add_product("Стул")
    assert place.asked_for() == {("child", f"product:{product}"), ("other", f"product:{product}")}
    (delivery,) = place.box.webhooks.deliveries()
    assert (delivery.attempts, delivery.arrived) == (4, True)
    assert place.queue.view().counts.keys() == {"child", "other"}
    assert all(sum(numbers.values()) == 1 for numbers in place.queue.view().counts.values())


@pytest.mark.parametrize(("prefix", "told"), [(True, False), (False, True)], ids=["with our prefix", "without"])
def test_our_own_writes_are_not_reported_to_us(place: Place, prefix: bool, told: bool) -> None:
    main = place.box.account("main")
    product = main.add_product("Стул")
    place.asked_for()
    account = MoyskladAccount.model_construct(name="main", url=place.box.api_url, token=SecretStr(main.token))
    settings = MoyskladSettings(_env_file=None, webhook_prefix=place.url if prefix else "")  # type: ignore[call-arg]
    with closing(MoyskladApi(account, settings, place.queue.engine)) as api:
        api.set_images("product", product, [NewImage("стул.jpg", jpeg("1"))])
    assert [name for name, _, _ in main.images(product)] == ["стул.jpg"]
    assert bool(place.asked_for()) is told
