"""Products that a person excluded from a channel (a connector and an account): in it nothing is done about them.

While that holds, nothing of such a product is added, changed, removed or put in order there, whatever the source wants;
what is there stays. The guard of every plan keeps it so, and applying refuses it of plans that were made before. Only
what a person asks for passes: the undo of a run, and a plan that takes away what is there (undoing.py).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.database import among, read_rows, storable
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.plans import TAKES_AWAY, UNDOES
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.storage.schema_accounts import exclusion as table
from imagesync_pipelines.sync.model import Ruling
from imagesync_pipelines.sync.steps import GroupsBySku, RunContext

if TYPE_CHECKING:
    import pandas as pd

# What the history calls an exclusion, and its end.
EXCLUDE, INCLUDE = "exclude", "include"
# In a plan's scope: what a person has to know of what it leaves alone, absent where that is nothing.
EXCLUDED = "excluded"
NOT_EXCLUDED = N_("it is excluded no more, so nothing of it is taken away")


class ExclusionRefusedError(ImagesyncError):
    """What was asked for cannot be excluded; the message says why, and nothing was changed."""

    retryable = False


@dataclass(frozen=True)
class Channel:
    """Where products are excluded from, and how its groups are found by their SKUs."""

    connector: str
    account: str
    groups_by_sku: GroupsBySku

    @property
    def owner(self) -> tuple[str, str]:
        """Connector and account, as tables have them."""
        return self.connector, self.account

    @property
    def name(self) -> str:
        """Connector and account, as people write them."""
        return f"{self.connector}/{self.account}" if self.account else self.connector


@dataclass(frozen=True)
class Exclusion:
    """An exclusion that holds. why: in a person's words, '' where nobody said."""

    connector: str
    account: str
    sku: str
    why: str
    excluded_by: str
    excluded_at: datetime

    @property
    def channel(self) -> str:
        """Connector and account, as people write them."""
        return f"{self.connector}/{self.account}" if self.account else self.connector

    @property
    def words(self) -> str:
        """Who excluded what, since when and why, for people."""
        day = f"{self.excluded_at.astimezone(UTC):%Y-%m-%d}"
        if not self.why:
            return told(f"{self.sku} is excluded by {self.excluded_by} since {day}")
        return told(f"{self.sku} is excluded by {self.excluded_by} since {day} ({self.why})")


def list_exclusions(engine: sa.Engine, *which: sa.ColumnElement[bool]) -> list[Exclusion]:
    """The exclusions that hold, by channel and SKU; which: only such rows of the table."""
    columns = [table.c[name] for name in Exclusion.__dataclass_fields__]
    query = sa.select(*columns).where(table.c.ended_at.is_(None), *which)
    return read_rows(engine, query.order_by(table.c.connector, table.c.account, table.c.sku), Exclusion)


def in_channel(connector: str, account: str) -> sa.ColumnElement[bool]:
    """The rows of the table that are about a channel."""
    return (table.c.connector == connector) & (table.c.account == account)


def excluded_groups(engine: sa.Engine, channel: Channel, *which: sa.ColumnElement[bool]) -> dict[str, str]:
    """The groups of a channel in which nothing is to be done, each with why; which: as list_exclusions has it."""
    found = list_exclusions(engine, in_channel(channel.connector, channel.account), *which)
    if not found:
        return {}
    words = {one.sku: told(f"{one.words}; `imagesync include` ends that") for one in found}
    with engine.connect() as connection:
        groups = channel.groups_by_sku(connection, channel.account, list(words))
    return {group: words[sku] for group, sku in groups}


def excluded_now(context: RunContext[Any]) -> dict[str, str]:
    """The same of the account of a run."""
    channel = Channel(context.connector, context.account, context.groups_by_sku)
    return excluded_groups(context.installation.engine, channel)


def refused_groups(scope: Mapping[str, Any], changing: Collection[str], excluded: Mapping[str, str]) -> dict[str, str]:
    """Of the groups that a plan with this scope changes those that it must not, each with why.

    excluded: as excluded_groups gives it now. What a person undoes is excluded from nothing; and what is taken away of
    products because they are excluded stays where they are that no more.
    """
    if scope.get(UNDOES):
        return {}
    if scope.get(TAKES_AWAY):
        return {group: NOT_EXCLUDED for group in changing if group not in excluded}
    return {group: excluded[group] for group in changing if group in excluded}


def look_at(engine: sa.Engine, channel: Channel, skus: Collection[str], what: str) -> dict[str, str]:
    """What EXCLUDE or INCLUDE would do: each SKU, with why nothing is to be done, '' where something is."""
    held = list_exclusions(engine, in_channel(channel.connector, channel.account), among(table.c.sku, list(skus)))
    words = {one.sku: one.words for one in held}
    if what == INCLUDE:
        return {sku: "" if sku in words else told("it is not excluded") for sku in skus}
    with engine.connect() as connection:
        unknown = dict.fromkeys(
            _unknown(connection, channel, skus)[0], told(f"neither the ERP nor {channel.name} knows it")
        )
    return {sku: words.get(sku) or unknown.get(sku, "") for sku in skus}


def exclude(engine: sa.Engine, channel: Channel, skus: Collection[str], by: str, why: str = "") -> list[str]:
    """Exclude products from a channel in a person's name; returns those that were not, in the order of their SKUs.

    It is in their history. Raises ExclusionRefusedError for a SKU that neither the ERP nor the channel knows.
    """
    new = insert(table)
    mine, why = in_channel(channel.connector, channel.account), storable(why.strip())
    with engine.begin() as connection:
        missing, groups = _unknown(connection, channel, skus)
        if missing:
            raise ExclusionRefusedError(
                f"Neither the ERP nor {channel.name} knows the SKU {missing[0]!r}; nothing was excluded."
            )
        held = connection.scalars(sa.select(table.c.sku).where(mine, table.c.ended_at.is_(None)).with_for_update())
        added = sorted(set(skus) - set(held))
        own = {"connector": channel.connector, "account": channel.account, "why": why, "excluded_by": by}
        again: dict[str, Any] = {name: new.excluded[name] for name in ("why", "excluded_by")}
        again |= {"excluded_at": sa.func.now(), "ended_at": None}
        if added:
            statement = new.on_conflict_do_update(index_elements=["connector", "account", "sku"], set_=again)
            connection.execute(statement, [{**own, "sku": sku} for sku in added])
        _note(connection, channel, groups, added, EXCLUDE, by, why or told(f"{by} excluded it"))
    return added


def include(engine: sa.Engine, channel: Channel, skus: Collection[str], by: str) -> list[str]:
    """End exclusions in a person's name, so that the next run does what is wanted there; returns those that ended."""
    mine = in_channel(channel.connector, channel.account) & among(table.c.sku, skus) & table.c.ended_at.is_(None)
    with engine.begin() as connection:
        ended = table.update().where(mine).values(ended_at=sa.func.now()).returning(table.c.sku)
        over = sorted(connection.scalars(ended))
        groups = channel.groups_by_sku(connection, channel.account, over) if over else ()
        _note(connection, channel, groups, over, INCLUDE, by, told(f"{by} ended its exclusion"))
    return over


def anything_included(context: RunContext[Any]) -> bool:
    """Whether an exclusion ended since which no plan was carried out: a run has work though nothing is new."""
    mine = in_channel(context.connector, context.account) & table.c.ended_at.is_not(None)
    with context.installation.engine.connect() as connection:
        return connection.scalar(sa.select(sa.exists().where(mine))) or False


def forget_ended(context: RunContext[Any], began: datetime) -> None:
    """Forget exclusions that had ended when a run began, whose plan is carried out now."""
    mine = in_channel(context.connector, context.account) & (table.c.ended_at < began)
    with context.installation.engine.begin() as connection:
        connection.execute(table.delete().where(mine))


def left_alone(plan: "pd.DataFrame") -> str:
    """What a person has to know of what a guarded plan leaves alone because it is excluded, '' for nothing."""
    from imagesync_pipelines.sync.guard import RULING

    rows = plan[plan[RULING] == Ruling.EXCLUDED]
    if rows.empty:
        return ""
    reasons = list(dict.fromkeys(rows["reason"]))
    if len(reasons) == 1:
        return told(f"{len(rows)} images stay as they are: {reasons[0]}.")
    return told(f"{len(rows)} images stay as they are: {reasons[0]}; so are {len(reasons) - 1} other products.")


def _unknown(
    connection: sa.Connection, channel: Channel, skus: Collection[str]
) -> tuple[list[str], Collection[tuple[str, str]]]:
    """The SKUs that neither the ERP nor a channel knows, and the channel's groups of the others, with their SKUs."""
    groups = channel.groups_by_sku(connection, channel.account, list(skus))
    known = connection.scalars(sa.select(product.c.sku).where(among(product.c.sku, list(skus))))
    return sorted(set(skus) - {sku for _, sku in groups} - set(known)), groups


def _note(
    connection: sa.Connection,
    channel: Channel,
    groups: Collection[tuple[str, str]],
    skus: Collection[str],
    change: str,
    by: str,
    why: str,
) -> None:
    """Note it in the history of each group, and of the SKU where the channel has none yet."""
    meant = {(group, sku) for group, sku in groups if sku in skus}
    meant |= {(sku, sku) for sku in set(skus) - {sku for _, sku in meant}}
    rows = ((group, EffectRow(sku, change, why)) for group, sku in sorted(meant))
    author = Author(person=by)
    note_effects(connection, [Effect(channel.connector, channel.account, group, (row,), author) for group, row in rows])
