"""What `imagesync demo --all` tries on our own product images: a run is taken back, a receiver is told of changes."""

import json
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import sqlalchemy as sa

from imagesync_pipelines.cli.sandbox import stand_ins
from imagesync_pipelines.cli.sandbox.trials import Seen, Table, Trials
from imagesync_pipelines.defs import runs
from imagesync_pipelines.defs.undo import undo
from imagesync_pipelines.languages import N_, pgettext, told
from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.sandbox.receivers import Told, is_signed, receiver
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.installation import open_installation
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines.storage.subscriptions import NewSubscription
from imagesync_pipelines.upstream.signing import new_secret
from imagesync_pipelines.web.webhooks_out import managing
from imagesync_pipelines.web.webhooks_out.collecting import has_news
from imagesync_pipelines.web.webhooks_out.delivering import Sender, deliver
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

PERSON = "the demonstration"
TELL_SECONDS = 30.0

_IMAGE = ("product_id", "external_id", "fingerprint", "is_primary", "image_url")
_COUNTS = ("images_added", "images_updated", "images_deleted")

# The product images of the image database, with all that a shop shows of them.
Images = frozenset[tuple[Any, ...]]


class LastRun(NamedTuple):
    """The last run, what it is called in the tables, and the product images before it."""

    name: str
    outcome: runs.RunOutcome
    before: Images


def images() -> Images:
    """The product images as they are now."""
    query = sa.select(*(product_image.c[name] for name in _IMAGE)).where(product_image.c.source == DEFAULT_SOURCE)
    with open_installation() as place, place.engine.connect() as connection:
        return frozenset(tuple(row) for row in connection.execute(query))


def _taken_back(last: LastRun) -> Seen:
    """The last run is taken back, the next run leaves it so, and that is taken back itself."""
    after = images()
    *_, back = undo(last.outcome.run_id, person=PERSON)
    undone = images()
    following = runs.only(runs.sync(DEFAULT_SOURCE))
    kept = images()
    *_, again = undo(back.run_id, person=PERSON)
    redone = images()
    moments = (
        (N_("before"), last.before, None),
        (last.name, after, last.outcome),
        (N_("undone"), undone, back),
        (N_("the next run"), kept, following),
        (N_("the undo, undone"), redone, again),
    )
    rows = [(name, len(now), len(now & last.before), *_counts(outcome)) for name, now, outcome in moments]
    columns = (
        N_("moment"), N_("images"), N_("as before"), N_("added"), N_("updated"), N_("removed"), N_("status")
    )  # fmt: skip
    title = told(f"the last run, taken back: imagesync undo {last.outcome.run_id[:8]}")
    said = told(
        f"{len(last.before)} images before, {len(after)} after, {len(undone)} undone, {len(kept)} after the next run"
    )
    ended = all(one.status is runs.Status.COMPLETED for one in (back, following, again))
    right = ended and last.before == undone == kept != after == redone
    return Seen(said, right, Table(title, columns, rows))


def _counts(outcome: runs.RunOutcome | None) -> tuple[Any, ...]:
    if outcome is None:
        return None, None, None, None
    return (*(outcome.summary.get(name, 0) for name in _COUNTS), str(outcome.status))


def _lost_answer(place: stand_ins.SandboxHome) -> Seen:
    """A receiver of webhooks loses its first answer; then a person chooses a primary image, and unpins it."""
    secret = new_secret().get_secret_value()
    with open_installation() as opened, receiver(lost=1) as shop:
        settings = WebhooksOutSettings(allowed_hosts=("127.0.0.1",), backoff_first_seconds=0.1)  # type: ignore[call-arg]
        sender = Sender(opened.engine, opened.settings, settings, variables=lambda: {"IMAGESYNC_WEBHOOK_DEMO": secret})
        managing.add(sender, NewSubscription("demo", "standard", shop.url, "env:IMAGESYNC_WEBHOOK_DEMO"))
        try:
            others = ~product_image.c.is_primary & (product_image.c.source == DEFAULT_SOURCE)
            chosen = sa.select(product_image.c.product_id, product_image.c.external_id).where(others).limit(1)
            with opened.engine.connect() as connection:
                product_id, external_id = connection.execute(chosen).one()
            for done in (partial(pin_image, opened.engine, product_id, DEFAULT_SOURCE, external_id), partial(
                unpin_image, opened.engine, product_id
            )):  # fmt: skip
                done("demo")
                _tell_all(sender)
        finally:
            managing.remove(sender, "demo")
    ids = [one.headers["webhook-id"] for one in shop.told]
    verified = sum(is_signed(one, secret) for one in shop.told)
    said = told(f"{len(ids)} requests, {len(set(ids))} messages by their ids, {verified} of them signed right")
    columns = ("webhook-id", N_("signature"), N_("answered"), N_("product"), N_("events"))
    title = told(f"what the receiver of webhooks at {shop.url} got")
    table = Table(title, columns, list(_got(shop.told, shop.lost, secret)))
    return Seen(said, verified == len(ids) > len(set(ids)) >= 2 and ids[0] == ids[1], table)


def _got(requests: list[Told], lost: int, secret: str) -> Iterator[tuple[str, ...]]:
    """The rows of the table of what a receiver got, of which it lost so many answers at the beginning."""
    for place, one in enumerate(requests):
        data = json.loads(one.body)["data"]
        signature = pgettext("correct", "right") if is_signed(one, secret) else pgettext("not correct", "WRONG")
        answered = N_("500, on purpose") if place < lost else "204"
        yield one.headers["webhook-id"], signature, answered, data["sku"], ", ".join(data["events"])


def _tell_all(sender: Sender) -> None:
    """Deliver until there is nothing to tell; what was just written is given out a second later."""
    until = time.monotonic() + TELL_SECONDS
    time.sleep(1.1)
    while time.monotonic() < until:
        deliver(sender, TELL_SECONDS)
        every = subscriptions.every(sender.engine)
        if not has_news(sender.engine) and not any(subscriptions.behind(sender.engine, one) for one in every):
            return
        time.sleep(0.2)


OF_LAST_RUN: Trials = ((N_("the last run is taken back, and that as well"), _taken_back),)
OF_WEBHOOKS: Trials = ((N_("a receiver of webhooks loses its first answer"), _lost_answer),)
