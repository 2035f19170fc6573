"""What pages and the command line show of a plan of a store: products as the head office names them, its photos.

A photo that is not there yet is with the head office, which is not asked for a page.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import orjson
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines.accounts.file import AccountsError, load_accounts
from imagesync_pipelines.connectors.edge import history
from imagesync_pipelines.connectors.edge.model import EDGE
from imagesync_pipelines.connectors.edge.settings import edge_stores
from imagesync_pipelines.connectors.edge.store import open_store, read_picture
from imagesync_pipelines.languages import told
from imagesync_pipelines.products.showing import names_of_skus
from imagesync_pipelines.settings import Settings
from imagesync_pipelines.storage import decoded
from imagesync_pipelines.storage.database import among
from imagesync_pipelines.storage.plans import PAYLOAD, PlanHeader, Plans
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.sync.connector import ImagePlace, KnownPicture, PastPicture, RowName, RowPictures, picture_at

KILOBYTE = 1000
# Before the SHA-256 of what a store keeps beside its photos.
_BY_HASH = "sha256="


def names_of(engine: sa.Engine, account: str, groups: Collection[str]) -> dict[str, RowName]:
    """SKU and name of products by their ids at the head office, with ours."""
    found = listed_names(engine, account, groups)
    ours = names_of_skus(engine, account, {one.code for one in found.values() if one.code})
    return {
        group: one._replace(product_id=ours[one.code].product_id) if one.code in ours else one
        for group, one in found.items()
    }


def listed_names(engine: sa.Engine, store: str, groups: Collection[str]) -> dict[str, RowName]:
    """SKU and name of products by their ids at the head office, as its newest listing has them, gone or not."""
    row, texts = mirror.c, [mirror.c.payload[name].astext for name in ("product_sku", "product_name")]
    query = sa.select(row.group_key, *(text.label(name) for name, text in zip(("sku", "name"), texts, strict=True)))
    mine = (row.connector == EDGE) & (row.account == store) & among(row.group_key, groups)
    with engine.connect() as connection:
        found = connection.execute(query.where(mine).order_by(row.gone_at.is_(None))).all()
    return {one.group_key: RowName(None, one.sku or "", one.name or "") for one in found if one.sku or one.name}


def known_pictures(
    connection: sa.Connection, shared: Settings, account: str, pictures: Sequence[Mapping[str, Any]]
) -> list[KnownPicture]:
    """Photos of a store: their SHA-256 as our decoder knows it, and where its photo server shows them."""
    contents = decoded.sha256_of(connection, {str(one["checksum"]) for one in pictures if one.get("checksum")})
    store = None
    # An accounts file that is wrong costs addresses, and nothing else.
    with suppress(AccountsError):
        store = edge_stores(load_accounts(shared)).by_name.get(account)
    base = "" if store is None else store.photos_url
    return [
        KnownPicture(
            str(one.get("sha256") or contents.get(str(one.get("checksum")), "")),
            f"{base.rstrip('/')}/photos/{one['key']}" if base else "",
        )
        for one in pictures
    ]


def pictures_of(
    engine: sa.Engine, storage: UPath, header: PlanHeader, rows: Sequence[Mapping[str, Any]]
) -> list[RowPictures]:
    """The photos as the store has them: those before of a plan not begun, those after of an applied one.

    What an undo brings back is what the store keeps.
    """
    store, is_applied = str(header.scope.get("account", "")), header.applied_at is not None
    is_begun = is_applied or header.begun_run is not None
    planned = _planned(Plans(engine, storage), header, {str(row["key"]) for row in rows})
    shown = []
    for row in rows:
        key, photo = str(row["key"]), planned.get(str(row["key"]), {})
        old = str(row["key_before"]) if isinstance(row["key_before"], str) else key
        before = "" if is_begun or row["change"] == "add" else picture_at(EDGE, store, old, header.id)
        after = ""
        if row["change"] in {"add", "update"}:
            kept = f"{_BY_HASH}{photo['kept']}" if photo.get("kept") else ""
            after = (
                # Another address than that of the photo before, of which a copy may be kept.
                picture_at(EDGE, store, key, f"{header.id}-applied")
                if is_applied
                else kept and picture_at(EDGE, store, kept, "kept")
            )
        size = f"{photo['size'] / KILOBYTE:,.0f} kB" if photo.get("size") else ""
        shown.append(RowPictures(str(photo.get("filename") or key), before, after, size))
    return shown


def past_of(engine: sa.Engine, storage: UPath, account: str, pictures: Sequence[PastPicture]) -> list[str]:
    """Photos of the past: what a store keeps of what left, and what it still shows."""
    return [_past(account, one) for one in pictures]


def _past(account: str, one: PastPicture) -> str:
    checksum, sha256, later = one.values.get("checksum"), one.values.get("sha256"), one.later or {}
    if sha256 is None and later.get("checksum") == checksum:
        # What left next is what was there: nobody else wrote it meanwhile.
        sha256 = later.get("sha256")
    if one.is_lost or (sha256 is None and not one.is_last):
        return ""
    if sha256 is not None:
        return picture_at(EDGE, account, f"{_BY_HASH}{sha256}", "kept")
    return picture_at(EDGE, account, one.key, str(checksum).replace(":", "-"))


def picture_of(engine: sa.Engine, shared: Settings, account: str, key: str) -> bytes | None:
    """A photo of a store, out of its database, or what it keeps by its SHA-256. Raises AccountsError, StorageError."""
    store = edge_stores(load_accounts(shared)).by_name.get(account)
    if store is None:
        return None
    beside = engine.url.set(database=store.database_name).render_as_string(hide_password=False)
    database = open_store(store.dsn.get_secret_value() if store.dsn is not None else beside)
    try:
        if key.startswith(_BY_HASH):
            return history.read_kept(database, key.removeprefix(_BY_HASH))
        return read_picture(database, key)
    finally:
        database.engine.dispose()


def _planned(plans: Plans, header: PlanHeader, keys: Collection[str]) -> dict[str, dict[str, Any]]:
    """What a plan keeps of photos that it writes, by key."""
    found: dict[str, dict[str, Any]] = {}
    for portion in plans.payload_portions(header.id) if PAYLOAD in header.files else ():
        mine = portion[portion["key"].isin(list(keys))]
        kept = mine["sha256"].fillna("") if "sha256" in mine else [""] * len(mine)
        rows = zip(mine["key"], mine["photo"], kept, strict=True)
        found |= {key: {**orjson.loads(text), "kept": sha256} for key, text, sha256 in rows}
    return found


def places_of(connection: sa.Connection, sku: str) -> Iterator[ImagePlace]:
    """The stores for which the head office lists photos of a product, in order."""
    row = mirror.c
    query = (
        sa.select(row.account, sa.func.count(), sa.func.max(row.changed_at))
        .where(row.connector == EDGE, row.gone_at.is_(None), row.payload["product_sku"].astext == sku)
        .group_by(row.account)
        .order_by(row.account)
    )
    for store_name, images, since in connection.execute(query):
        yield ImagePlace(store_name, images, since, told("listed for this store by its head office"))


def groups_of(connection: sa.Connection, product_id: int, sku: str) -> Iterable[str]:
    """The head office's products of which it lists photos for this SKU, or did."""
    row = mirror.c
    listed = (row.connector == EDGE) & (row.payload["product_sku"].astext == sku)
    return connection.scalars(sa.select(row.group_key).where(listed).distinct()).all()


def groups_by_sku(connection: sa.Connection, account: str, skus: Collection[str]) -> list[tuple[str, str]]:
    """The head office's products of which it lists photos for these SKUs in a store, or did where it lists none now."""
    row, sku_of, other = mirror.c, mirror.c.payload["product_sku"].astext, mirror.alias().c
    same = (other.connector == EDGE) & (other.account == account) & (other.group_key == row.group_key)
    # What a product was once listed as says nothing of it while it is listed, maybe as another one.
    listed = sa.exists().where(same, other.gone_at.is_(None))
    mine = (row.connector == EDGE) & (row.account == account) & among(sku_of, skus) & (row.gone_at.is_(None) | ~listed)
    found = connection.execute(sa.select(row.group_key, sku_of.label("sku")).where(mine).distinct())
    return [(row.group_key, row.sku) for row in found]
