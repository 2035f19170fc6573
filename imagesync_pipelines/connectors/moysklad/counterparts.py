"""The table of counterparts: which entity of a child account is which of the main account, as it was found."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from imagesync_pipelines.connectors.moysklad.accounts import MAIN, MoyskladChild
from imagesync_pipelines.connectors.moysklad.model import NAME
from imagesync_pipelines.connectors.moysklad.moved import LEFT
from imagesync_pipelines.languages import told
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.storage.schema_accounts import moysklad_child_images as lists
from imagesync_pipelines.storage.schema_accounts import moysklad_entity_map as table
from imagesync_pipelines.sync.choosing import require_known
from imagesync_pipelines.sync.connector import ImagePlace
from imagesync_pipelines.sync.steps import RunContext


def places_of(connection: sa.Connection, sku: str) -> Iterator[ImagePlace]:
    """The child accounts that have images of a product, in order; for the pages."""
    both = (lists.c.child == table.c.child) & (lists.c.entity_key == table.c.entity_key)
    images = sa.func.sum(sa.func.jsonb_array_length(lists.c.images))
    query = (
        sa.select(table.c.child, images, sa.func.max(lists.c.changed_at), sa.func.min(table.c.field))
        .join_from(table, lists, both)
        .where(table.c.value == sku, table.c.gone_at.is_(None))
        .group_by(table.c.child)
        .having(images > 0)
        .order_by(table.c.child)
    )
    for child, count, since, field in connection.execute(query):
        yield ImagePlace(child, count, since, told(f"on the article that was found by its {field}"))


def groups_of(connection: sa.Connection, product_id: int, sku: str) -> Iterable[str]:
    """The entities of the main account whose counterparts were found by this SKU; for the history."""
    return connection.scalars(sa.select(table.c.entity_key).where(table.c.value == sku).distinct()).all()


def groups_by_sku(connection: sa.Connection, account: str, skus: Collection[str]) -> list[tuple[str, str]]:
    """The entities of the main account with these codes or articles, or whose counterparts were found by these.

    The cards that these entities lost are theirs still, as long as they are nobody's.
    """
    groups = _entities_by_sku(connection, account, skus)
    owners = dict(groups)
    lost = (table.c.child == account) & (table.c.field == LEFT) & among(table.c.value, list(owners))
    cards = connection.execute(sa.select(table.c.entity_key, table.c.value).where(lost)).all() if groups else ()
    return groups + [(card, owners[owner]) for card, owner in cards]


def entities_of_skus(context: RunContext[Any], skus: Collection[str]) -> tuple[str, ...]:
    """The entities of the main account that a run about these SKUs is about. Raises UnknownSkuError."""
    with context.installation.engine.connect() as connection:
        found = _entities_by_sku(connection, context.account, skus)
    require_known(context.owner, skus, {sku for _, sku in found})
    return tuple(sorted({key for key, _ in found}))


def _entities_by_sku(connection: sa.Connection, account: str, skus: Collection[str]) -> list[tuple[str, str]]:
    """The entities of the main account with these codes or articles, or whose counterparts were found by these."""
    row = mirror.c
    codes = [row.payload[name].astext for name in ("code", "article")]
    named = [
        sa.select(row.key, code.label("sku")).where(row.connector == NAME, row.account == MAIN, among(code, skus))
        for code in codes
    ]
    mine = (table.c.child == account) & (table.c.field != LEFT) & among(table.c.value, skus)
    found = sa.union(*named, sa.select(table.c.entity_key, table.c.value).where(mine))
    return [(key, sku) for key, sku in connection.execute(found)]


def read_map(engine: sa.Engine, child: MoyskladChild, *, gone: bool = False) -> dict[str, str]:
    """All of a child account's map: key to id in the child account, found by the field that it names now.

    gone: instead those that the child account does not have any more.
    """
    there = table.c.gone_at.is_not(None) if gone else table.c.gone_at.is_(None)
    chosen = (table.c.child == child.alias) & (table.c.field == child.match_field) & there
    with engine.connect() as connection:
        return {row.entity_key: row.child_id for row in connection.execute(sa.select(table).where(chosen))}


def forget_entities(engine: sa.Engine, alias: str, keys: Collection[str]) -> None:
    """Forget entities of a child account and what we manage there: their counterparts are looked for anew."""
    with engine.begin() as connection:
        forget(connection, alias, keys)


def forget(connection: sa.Connection, alias: str, keys: Collection[str]) -> None:
    """As forget_entities, in the transaction of the caller."""
    for known in (lists, table) if keys else ():
        connection.execute(known.delete().where(known.c.child == alias, among(known.c.entity_key, keys)))


def mark_gone(engine: sa.Engine, alias: str, keys: Collection[str], at: datetime) -> None:
    """Look for the counterparts of these entities anew; which images there are ours stays known, for their return."""
    if keys:
        with engine.begin() as connection:
            gone = table.update().where(table.c.child == alias, among(table.c.entity_key, keys))
            connection.execute(gone.values(gone_at=at))


def number_gone(engine: sa.Engine, alias: str, since: datetime) -> int:
    """How many counterparts were given up since then."""
    query = sa.select(sa.func.count()).where(table.c.child == alias, table.c.gone_at > since)
    with engine.connect() as connection:
        return connection.scalar(query) or 0
