"""Our ledger of a Plytix account: which asset is which picture, and which images we put into which galleries.

A ledger that was lost is no harm: assets are recognised by our file names (reading.py).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import pandas as pd
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.accounts.file import load_accounts
from imagesync_pipelines.connectors.plytix.gallery import SEPARATOR, Known
from imagesync_pipelines.connectors.plytix.settings import PlytixAccount, PlytixSettings, plytix_accounts
from imagesync_pipelines.languages import told
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.effects import EffectRow
from imagesync_pipelines.storage.outbox import (
    NO_DETAILS,
    Details,
    Intent,
    begin_intent,
    close_intents,
    note_details,
    open_intents,
)
from imagesync_pipelines.storage.schema_accounts import plytix_asset, plytix_link
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.effects import done_as_seen, done_by
from imagesync_pipelines.sync.identity import Identity
from imagesync_pipelines.sync.model import GroupWork, RowResult
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.sync.undo import moved_only
from imagesync_pipelines.sync.undoing import mark_effects

CONNECTOR = "plytix"
Run = RunContext[PlytixSettings]


class NotedAsset(NamedTuple):
    """An asset to be noted; key is None when it is none of our pictures. url: where Plytix shows it, '' if unknown."""

    asset_id: str
    key: str | None
    filename: str = ""
    url: str = ""


@dataclass(frozen=True)
class Ledger:
    """The ledger of one account. Used from several threads.

    It says which galleries are being written, too, and satisfies the engine's IntentLog: the outcomes settle the links.
    """

    engine: sa.Engine
    account: str
    run_id: str | None = None

    def known(self) -> Known:
        """Everything that we know of the account's assets and of our links."""
        assets = sa.select(plytix_asset.c.asset_id, plytix_asset.c.key).where(self._assets())
        links = sa.select(plytix_link).where(self._links(), plytix_link.c.linked_at.is_not(None))
        with self.engine.connect() as connection:
            found = connection.execute(assets).all()
            made = connection.execute(links).all()
        return Known(
            keys={row.asset_id: row.key for row in found if row.key is not None},
            foreign=frozenset(row.asset_id for row in found if row.key is None),
            links={(row.product_sku, row.key): row.asset_id for row in made},
            linked_at={(row.product_sku, row.key): row.linked_at for row in made},
        )

    def note_assets(self, assets: Sequence[NotedAsset]) -> None:
        """Note which pictures assets are, all or none; an earlier asset of a picture is none of ours any more."""
        if not assets:
            return
        rows = [{"account": self.account, **asset._asdict()} for asset in assets]
        keys = [asset.key for asset in assets if asset.key is not None]
        statement = insert(plytix_asset)
        statement = statement.on_conflict_do_update(
            index_elements=["account", "asset_id"],
            set_={name: statement.excluded[name] for name in ("key", "filename", "url")} | {"noted_at": sa.func.now()},
        )
        with self.engine.begin() as connection:
            older = plytix_asset.update().where(self._assets(), among(plytix_asset.c.key, keys))
            connection.execute(older.values(key=None))
            connection.execute(statement, rows)
            analyze_if_many(connection, plytix_asset, len(rows))

    def forget_asset(self, asset_id: str) -> None:
        """Forget an asset that Plytix does not have any more."""
        with self.engine.begin() as connection:
            connection.execute(plytix_asset.delete().where(self._assets(), plytix_asset.c.asset_id == asset_id))

    def note_contents(self, contents: Mapping[str, str]) -> None:
        """Note the SHA-256 of pictures that were looked at, by key; those without an asset are passed over."""
        with self.engine.begin() as connection:
            for key, sha256 in sorted(contents.items()):
                update = plytix_asset.update().where(self._assets(), plytix_asset.c.key == key)
                connection.execute(update.values(content_sha256=sha256))

    def begin_links(self, sku: str, assets: Mapping[str, str], details: Details) -> None:
        """Write and commit which images are about to be put into a gallery (key to asset), before the call.

        details: what the history says of the gallery's rows.
        """
        rows = [self._link(sku, key, asset_id) for key, asset_id in assets.items()]
        if rows or details:
            with self.engine.begin() as connection:
                if rows:
                    connection.execute(insert(plytix_link).values(rows).on_conflict_do_nothing())
                note_details(connection, self._owner, {sku: details})

    def end_links(
        self, sku: str, made: Mapping[str, str], taken: Collection[str] = (), details: Details = NO_DETAILS
    ) -> None:
        """Write what became of them: those that were made (key to asset) are ours; others that were begun are not.

        taken: the keys of images that were taken out of the gallery. details: what else the history says of its rows.
        """
        over = plytix_link.c.linked_at.is_(None) | among(plytix_link.c.key, taken)
        with self.engine.begin() as connection:
            connection.execute(plytix_link.delete().where(self._links(), plytix_link.c.product_sku == sku, over))
            self._put(connection, ((sku, key, asset_id) for key, asset_id in made.items()))
            note_details(connection, self._owner, {sku: details})

    def adopt_links(self, links: Iterable[tuple[str, str, str]]) -> None:
        """Note images that are in galleries as put there by us: SKU, key, asset. For a ledger that was lost."""
        with self.engine.begin() as connection:
            self._put(connection, links)

    def linked_skus(self) -> list[str]:
        """The products into whose galleries we put anything, by SKU."""
        query = sa.select(plytix_link.c.product_sku).where(self._links()).distinct()
        with self.engine.connect() as connection:
            return list(connection.execute(query.order_by(plytix_link.c.product_sku)).scalars())

    def open_intents(self) -> list[Intent]:
        """The galleries whose outcome is unknown."""
        return open_intents(self.engine, self._owner)

    def begin(self, intent: Intent) -> None:
        """Write and commit that a gallery is about to be written."""
        begin_intent(self.engine, self._owner, intent, self.run_id)

    def finish(self, work: GroupWork, results: Sequence[RowResult]) -> None:
        """Close the intent; what the gallery holds since is in the ledger already (end_links)."""
        with self.engine.begin() as connection:
            mark_effects(connection, close_intents(connection, self._owner, [work.group], done_by(results)))

    def settle(
        self,
        current: pd.DataFrame,
        groups: Collection[str],
        shown: Collection[str] = (),
        orders: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Close intents; a link that was about to be made is ours if the gallery holds the image, else forgotten.

        shown: the keys of rows of which the gallery shows a picture, by whatever asset: those were not removed. orders:
        of the galleries, by SKU, as gallery.order_of tells them: what an undo put in order has the places of the
        gallery that it wrote, not those of a listing.
        """
        seen = done_as_seen(current)

        def done(row: EffectRow) -> EffectRow | None:
            order = (row.after or {}).get("order")
            if order is not None and moved_only(row):
                return row if orders.get(row.key.rpartition(SEPARATOR)[0]) == order else None
            is_left = row.fingerprint_after is None and (row.key_before or row.key) in shown
            return None if is_left else seen(row)

        sku = plytix_link.c.product_sku
        begun = self._links() & among(sku, groups) & plytix_link.c.linked_at.is_(None)
        there = among(sku + SEPARATOR + plytix_link.c.key, current["key"])
        with self.engine.begin() as connection:
            mark_effects(connection, close_intents(connection, self._owner, groups, done))
            connection.execute(plytix_link.update().where(begun, there).values(linked_at=sa.func.now()))
            connection.execute(plytix_link.delete().where(begun))

    @property
    def _owner(self) -> str:
        return f"{CONNECTOR}/{self.account}"

    def _assets(self) -> sa.ColumnElement[bool]:
        return plytix_asset.c.account == self.account

    def _links(self) -> sa.ColumnElement[bool]:
        return plytix_link.c.account == self.account

    def _link(self, sku: str, key: str, asset_id: str) -> dict[str, str]:
        return {"account": self.account, "product_sku": sku, "key": key, "asset_id": asset_id}

    def _put(self, connection: sa.Connection, links: Iterable[tuple[str, str, str]]) -> None:
        rows = [self._link(*link) for link in links]
        if rows:
            statement = insert(plytix_link).values(linked_at=sa.func.now())
            changed = {name: statement.excluded[name] for name in ("asset_id", "linked_at")}
            keys = ["account", "product_sku", "key"]
            connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)
            analyze_if_many(connection, plytix_link, len(rows))


def identity_of(context: Run, account: PlytixAccount) -> Identity:
    """Whose account it is, in a run."""
    return account_identity(context.installation.engine, account, context.run_id)


def account_identity(engine: sa.Engine, account: PlytixAccount, run_id: str | None = None) -> Identity:
    """Whose account it is."""
    section = f"[plytix.accounts.{account.alias}]"
    return Identity(engine, CONNECTOR, account.alias, section, run_id, declared=account.account_id)


def forget_account(connection: sa.Connection, account: str) -> None:
    """Forget the assets and links of an account: it is another one now."""
    for known in (plytix_asset, plytix_link):
        connection.execute(known.delete().where(known.c.account == account))


def declared(shared: Settings, settings: PlytixSettings) -> dict[str, str]:
    """How the accounts are declared: their addresses, by name."""
    known = plytix_accounts(load_accounts(shared)).by_name
    return {name: told(f"{one.url} with an API key") for name, one in known.items()}


def ledger_of(context: Run) -> Ledger:
    """Which asset is which picture in the account, what we linked, and which galleries are being written."""
    return Ledger(context.installation.engine, context.account, context.run_id)
