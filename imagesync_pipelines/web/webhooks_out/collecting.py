"""From changes to events: what a product shows is compared with what it showed, in the order of `/changes`; and what
was written into other systems, as the history noted it.

One writer at a time: the events, what was seen, the cursor of `/changes` and which effects still wait are one
transaction. A process that is killed loses none and doubles none.
"""

import secrets
from collections.abc import Callable, Collection, Sequence
from itertools import groupby, islice
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.products.showing import images_of, whose_images
from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.effects import Effect, has_untold, take_untold
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.mirror import move_cursor, read_cursor
from imagesync_pipelines.storage.schema import cursor as cursors
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.storage.schema_webhooks import (
    webhook_effect,
    webhook_event,
    webhook_seen,
    webhook_subscription,
)
from imagesync_pipelines.storage.subscriptions import Event, write_events
from imagesync_pipelines.sync.choosing import our_product
from imagesync_pipelines.upstream.addresses import web_address
from imagesync_pipelines.web.catalogue.changes import changes_since, from_now_on
from imagesync_pipelines.web.webhooks_out.rules import Shown, event_of
from imagesync_pipelines.web.webhooks_out.targets import pictures_of, target_event, written_by

FEED = "webhooks_out"
PAGE, AT_ONCE = 200, 1000
BEGIN_SECONDS = 120.0


def message_id() -> str:
    """A new id of a message, random: a database that was restored must not give one again for something else."""
    return f"msg_{secrets.token_hex(16)}"


def begin(engine: sa.Engine, *, own_images_first: bool) -> None:
    """Remember what every product shows, so that changes can be told from now on; nothing where that is done."""
    with account_lock(engine, f"{FEED} begin", BEGIN_SECONDS):
        with engine.connect() as connection:
            if read_cursor(connection, FEED, "") is not None:
                return
            # Before what is shown is read: whatever is committed in between is remembered as well.
            at, last = from_now_on(connection), 0
        reading = engine.connect().execution_options(isolation_level="REPEATABLE READ")
        with reading as connection, connection.begin():
            while True:
                some = sa.select(product.c.id).where(product.c.id > last).order_by(product.c.id).limit(AT_ONCE)
                ids = list(connection.scalars(some))
                if not ids:
                    break
                _remember(
                    connection, {one: shown for one, (_, shown) in _look(connection, ids, own_images_first).items()}
                )
                last = ids[-1]
            move_cursor(connection, FEED, "", at)


def end_without_readers(engine: sa.Engine) -> None:
    """Forget what was seen and what there is to tell, where nobody wants to be told any more."""
    with account_lock(engine, f"{FEED} begin", BEGIN_SECONDS), engine.begin() as connection:
        if connection.execute(sa.select(webhook_subscription.c.id).limit(1)).first() is None:
            connection.execute(cursors.delete().where(cursors.c.connector == FEED))
            connection.execute(webhook_seen.delete())
            connection.execute(webhook_event.delete())
            connection.execute(webhook_effect.delete())


def has_news(engine: sa.Engine) -> bool:
    """Whether a product changed that was not looked at since, or something was written elsewhere."""
    with engine.connect() as connection:
        at = read_cursor(connection, FEED, "")
        if at is None or has_untold(connection):
            return at is not None
    page = changes_since(engine, None, at, 1)
    # A stretch of writes that are all told further on is empty, and still to be gone through.
    return bool(page.items) or page.has_more


class Collected(NamedTuple):
    """So many events were written; there is more to look at."""

    events: int
    more: bool


def collect(
    engine: sa.Engine, shared: Settings, *, own_images_first: bool, new_id: Callable[[], str] = message_id
) -> Collected:
    """Look at the next page of changes and of effects, and write what is worth telling."""
    with engine.begin() as connection:
        mine = sa.select(cursors.c.value).where(cursors.c.connector == FEED, cursors.c.account == "")
        at = connection.execute(mine.with_for_update()).scalar()
        if at is None:
            return Collected(0, False)
        page = changes_since(engine, None, at, PAGE)
        ids = [one.product_id for one in page.items]
        now = _look(connection, ids, own_images_first)
        known = sa.select(webhook_seen.c.product_id, webhook_seen.c.shown).where(among(webhook_seen.c.product_id, ids))
        before = {row.product_id: row.shown for row in connection.execute(known)}
        events = []
        for one in page.items:
            if one.product_id in now:
                sku, shown = now[one.product_id]
                was = Shown.of(before.get(one.product_id))
                if (event := event_of(one.product_id, sku, one.changed_at, was, shown, new_id())) is not None:
                    events.append(event)
        untold = take_untold(connection, PAGE)
        events += _elsewhere(connection, engine, shared, untold, new_id)
        write_events(connection, events)
        _remember(connection, {one: shown for one, (_, shown) in now.items() if shown.as_json() != before.get(one)})
        move_cursor(connection, FEED, "", page.next_cursor)
        return Collected(len(events), page.has_more or len(untold) == PAGE)


def _elsewhere(
    connection: sa.Connection, engine: sa.Engine, shared: Settings, effects: Sequence[Effect], new_id: Callable[[], str]
) -> list[Event]:
    """What there is to tell of effects in other systems, in their order."""
    targets = {one.name: one for one in connectors() if one.groups_of is not our_product}
    told = [(one, written) for one in effects if one.connector in targets and (written := written_by(one))]
    found = []
    for (name, account), some in groupby(told, lambda one: (one[0].connector, one[0].account)):
        connector, these = targets[name], list(some)
        names = connector.names_of(engine, account, {effect.group for effect, _ in these})
        pictures = [picture for _, written in these for picture in pictures_of(written)]
        of_each = iter(connector.known_pictures(connection, shared, account, pictures))
        for effect, written in these:
            mine = list(islice(of_each, len(pictures_of(written))))
            found.append(target_event(effect, written, names.get(effect.group), mine, new_id()))
    return found


def _look(connection: sa.Connection, ids: Collection[int], own_images_first: bool) -> dict[int, tuple[str, Shown]]:
    """The SKU of each of these products and what it shows, as the API says it."""
    if not ids:
        return {}
    whose = whose_images(connection, ids, own_images_first=own_images_first)
    owners = {one: showing.owner_id for one, showing in whose.items()}
    images = images_of(connection, set(owners.values()))
    wanted = among(product.c.id, {*ids, *owners.values()})
    rows = {row.id: row for row in connection.execute(sa.select(product).where(wanted))}
    found = {}
    for one in (one for one in ids if one in rows):
        owner = owners.get(one, one)
        shown = Shown(
            [_image(row) for row in images.get(owner, [])],
            rows[owner].sku if owner != one else "",
            rows[one].left_erp_at is not None,
        )
        found[one] = rows[one].sku, shown
    return found


def _image(row: sa.Row) -> dict[str, str | None]:
    return {
        "connector": row.source,
        "external_id": row.external_id,
        "hash": row.fingerprint,
        "image_url": web_address(row.image_url),
        "thumbnail_url": row.thumbnail_url and web_address(row.thumbnail_url),
    }


def _remember(connection: sa.Connection, seen: dict[int, Shown]) -> None:
    new = insert(webhook_seen)
    again = new.on_conflict_do_update(index_elements=["product_id"], set_={"shown": new.excluded.shown})
    if seen:
        connection.execute(again, [{"product_id": one, "shown": shown.as_json()} for one, shown in seen.items()])
