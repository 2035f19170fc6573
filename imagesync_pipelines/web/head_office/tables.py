"""The head office's tables (PostgreSQL, schema `head_office`).

New against the original: `photo_deletion` remembers for each store
which photos it no longer has, `account_store` says who may read which store, `sync_report` keeps what stores report.
"""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import TIMESTAMP

from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.wrong_logins import wrong_login_table

SCHEMA = "head_office"
# Any two numbers that nothing else in this database uses as advisory locks ("hoffice" and its successor).
UPGRADE_LOCK = 0x686F6666696365
WRITE_LOCK = UPGRADE_LOCK + 1

metadata = sa.MetaData(schema=SCHEMA)
_MOMENT = TIMESTAMP(timezone=True)


def _table(name: str, *parts: sa.Column | sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *parts)


def _id() -> sa.Column:
    return sa.Column("id", sa.Uuid, primary_key=True)


def _text(name: str, *, unique: bool = False) -> sa.Column:
    return sa.Column(name, sa.Text, nullable=False, unique=unique or None)


def _flag(name: str, default: sa.ColumnElement[bool]) -> sa.Column:
    return sa.Column(name, sa.Boolean, nullable=False, server_default=default)


def _active() -> sa.Column:
    return _flag("is_active", sa.true())


def _of(table: sa.Table, *, is_key: bool = False) -> sa.Column:
    return sa.Column(f"{table.name}_id", sa.ForeignKey(table.c.id), primary_key=is_key, nullable=False)


version = _table("version", sa.Column("number", sa.Integer, nullable=False))
company = _table("company", _id(), _text("name", unique=True))
brand = _table("brand", _id(), _of(company), _text("name"), _active(), sa.UniqueConstraint("company_id", "name"))
# from_bucket: who reads for it can reach the bucket, and may be sent there for a photo.
store = _table(
    "store", _id(), _of(company), _text("code", unique=True), _text("name"), _active(), _flag("from_bucket", sa.false())
)
store_brand = _table("store_brand", _of(store, is_key=True), _of(brand, is_key=True))
product = _table(
    "product", _id(), _of(brand), _text("sku"), _text("name"), _active(), sa.UniqueConstraint("brand_id", "sku")
)

# No default of the database's clock: `updated_at` comes from the service's one clock.
photo = _table(
    "photo",
    _id(),
    sa.Column("product_id", sa.ForeignKey(product.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("object_key", sa.String(500), nullable=False, server_default=""),
    sa.Column("filename", sa.String(255), nullable=False, server_default=""),
    sa.Column("size", sa.Integer, nullable=False, server_default="0"),
    sa.Column("content_type", sa.String(100), nullable=False, server_default="image/jpeg"),
    sa.Column("checksum", sa.String(64), nullable=False, server_default=""),
    sa.Column("version", sa.Integer, nullable=False, server_default="1"),
    _flag("is_primary", sa.false()),
    sa.Column("sort_order", sa.Integer, nullable=False, server_default="0"),
    sa.Column("updated_at", _MOMENT, nullable=False),
    sa.Index("photo_updated", "updated_at", "id"),
)

# A photo that this store had and has no more: deleted, replaced, or out of the store's scope.
photo_deletion = _table(
    "photo_deletion",
    _of(store, is_key=True),
    sa.Column("photo_id", sa.Uuid, primary_key=True),
    sa.Column("product_id", sa.Uuid, nullable=False),
    sa.Column("deleted_at", _MOMENT, nullable=False),
    sa.Index("photo_deletion_deleted", "store_id", "deleted_at"),
)

# Tokens of another generation than their account's are worth nothing.
account = _table(
    "account",
    _id(),
    _text("username", unique=True),
    _text("password_hash"),
    _active(),
    _flag("all_stores", sa.false()),
    sa.Column("generation", sa.Integer, nullable=False, server_default="0"),
)
account_store = _table("account_store", _of(account, is_key=True), _of(store, is_key=True))

# A refresh token is good once; its id is kept until it would have expired anyway.
spent_token = _table(
    "spent_token",
    sa.Column("jti", sa.Text, primary_key=True),
    sa.Column("expires_at", _MOMENT, nullable=False, index=True),
)

wrong_login = wrong_login_table(metadata)

# No foreign key to photo: a store may report a photo that is gone by now.
sync_report = _table(
    "sync_report",
    _of(store, is_key=True),
    sa.Column("photo_id", sa.Uuid, primary_key=True),
    _text("status"),
    sa.Column("synced_at", _MOMENT),
    sa.Column("error", sa.Text),
    sa.Column("reported_at", _MOMENT, nullable=False),
    sa.CheckConstraint("status IN ('synced', 'failed')", name="sync_report_status"),
)

# Of these tables; whoever changes them raises it, and says here how tables of the version before are brought up to it.
# A table that is new is made beside that.
VERSION = 3
UPGRADES = {
    2: f"ALTER TABLE {SCHEMA}.account ADD COLUMN generation integer NOT NULL DEFAULT 0",
    3: f"ALTER TABLE {SCHEMA}.store ADD COLUMN from_bucket boolean NOT NULL DEFAULT false",
}


def create_tables(engine: sa.Engine) -> None:
    """Make the tables, or bring them up to this version; nothing happens when they are.

    Several processes may call this at once: one works, the others wait. Raises StorageError.
    """
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADE_LOCK})
        connection.execute(sa.schema.CreateSchema(SCHEMA, if_not_exists=True))
        if not sa.inspect(connection).has_table("version", schema=SCHEMA):
            metadata.create_all(connection)
            connection.execute(version.insert().values(number=VERSION))
            return
        there = connection.execute(sa.select(version.c.number)).scalar_one()
        if there > VERSION:
            raise StorageError(
                f"The head office's tables are at version {there}, this program knows up to {VERSION}. "
                "Install the newer program; nothing was changed."
            )
        if there < VERSION:
            for number in range(there + 1, VERSION + 1):
                connection.execute(sa.text(UPGRADES[number]))
            metadata.create_all(connection)
            connection.execute(version.update().values(number=VERSION))


def scope() -> sa.Select:
    """Which store has which photo: columns store_id, photo_id, product_id.

    The company's brands that are linked to the store, active brands and active products. Whether the store itself is
    active does not matter here: an inactive store is refused as a whole.
    """
    return (
        sa.select(store.c.id.label("store_id"), photo.c.id.label("photo_id"), photo.c.product_id)
        .join_from(store, store_brand, store_brand.c.store_id == store.c.id)
        .join(brand, (brand.c.id == store_brand.c.brand_id) & (brand.c.company_id == store.c.company_id))
        .join(product, product.c.brand_id == brand.c.id)
        .join(photo, photo.c.product_id == product.c.id)
        .where(brand.c.is_active, product.c.is_active)
    )
