"""Real HTTP receivers for the tests, and a sender whose clock stands still until a test moves it."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from standardwebhooks import Webhook

from imagesync_pipelines.products.settings import ShowingSettings
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.mirror import move_cursor, read_cursor
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.storage.subscriptions import NewSubscription, Subscription
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.signing import new_secret
from imagesync_pipelines.web.catalogue.queries import decode_cursor, encode_cursor
from imagesync_pipelines.web.webhooks_out import managing
from imagesync_pipelines.web.webhooks_out.collecting import FEED
from imagesync_pipelines.web.webhooks_out.delivering import Sender, deliver
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings
from imagesync_pipelines_tests.upstream.servers import Request, Served, http, serve
from imagesync_pipelines_tests.web.catalogue.api.test_changes import settle
from imagesync_pipelines_tests.web.catalogue.world import World

VARIABLE, SECRET = "IMAGESYNC_WEBHOOK_SHOP_SECRET", new_secret().get_secret_value()
NOW = sa.func.clock_timestamp()


@dataclass
class Receiver:
    """What a receiver got, and how it answers the next ones: a status by the number of the request, else 204."""

    served: Served
    statuses: dict[int, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"{self.served.url}/hooks"

    def verified(self, secret: str = SECRET) -> list[dict[str, Any]]:
        """The messages, each verified as receivers verify it."""
        return [Webhook(secret).verify(one.body, headers_of(one)) for one in self.served.requests]

    @property
    def ids(self) -> list[str]:
        return [headers_of(one)["webhook-id"] for one in self.served.requests]

    @property
    def skus(self) -> list[str]:
        return [json.loads(one.body)["data"]["sku"] for one in self.served.requests]


def headers_of(request: Request) -> dict[str, str]:
    """The headers by their names in small letters."""
    return {name.lower(): value for name, value in request.headers.items()}


@contextmanager
def receiver(before: Callable[[Request], None] = lambda request: None) -> Iterator[Receiver]:
    """A receiver on loopback; `before` is called with each request before it is answered."""
    found: list[Receiver] = []

    def answer(request: Request, number: int) -> Iterator[bytes]:
        before(request)
        yield http(found[0].statuses.get(number, 204), headers={"Retry-After": "7"})

    with serve(answer) as served:
        found.append(Receiver(served))
        yield found[0]


@dataclass
class Clock:
    """Moments that a test moves; the time of day begins at the real one, because receivers look at it."""

    ahead: float = 0.0
    timing: Timing = field(init=False)

    def __post_init__(self) -> None:
        real = Timing()
        self.timing = Timing(real.clock, real.sleep, lambda: 0.5, lambda: real.wall() + self.ahead)

    def pass_by(self, **span: float) -> None:
        self.ahead += timedelta(**span).total_seconds()


def sender(
    engine: sa.Engine, clock: Clock | None = None, variables: Mapping[str, str] | None = None, **settings: Any
) -> Sender:
    """A sender that may send to loopback and knows the secret."""
    chosen = WebhooksOutSettings(allowed_hosts=("127.0.0.1",), timeout_seconds=5, **settings)
    known = {VARIABLE: SECRET} if variables is None else variables
    first = ShowingSettings().image_db_own_images_first
    timing = (clock or Clock()).timing
    return Sender(engine, Settings(), chosen, own_images_first=first, timing=timing, variables=lambda: known)


def subscribed(to: Sender, url: str, name: str = "shop", **more: Any) -> Subscription:
    """A subscription with the secret of these tests; what is settled from now on is a minute old, and is read."""
    secret = more.pop("secret", f"env:{VARIABLE}")
    new = NewSubscription(name, more.pop("form", "standard"), url, secret, **more)
    made = managing.add(to, new).subscription
    look_back(to.engine)
    return made


def look_back(engine: sa.Engine) -> None:
    """Read the changes of the last minute too, which nobody has seen differ."""
    with engine.begin() as connection:
        at, last = decode_cursor(read_cursor(connection, FEED, "") or "", (datetime, int))
        move_cursor(connection, FEED, "", encode_cursor([at - timedelta(minutes=1), last]))


def change(world: World, product_id: int, digest: str) -> None:
    """Give the image of a product another picture, now."""
    mine = product_image.update().where(product_image.c.product_id == product_id)
    with world.engine.begin() as connection:
        connection.execute(mine.values(fingerprint=digest, last_synced=NOW))


def told_now(world: World, to: Sender) -> None:
    """Deliver what happened until this moment."""
    settle(world)
    deliver(to, 30)
