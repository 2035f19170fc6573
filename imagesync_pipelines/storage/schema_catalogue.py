"""What the catalogue adds to our tables."""

from pathlib import Path

import sqlalchemy as sa

from imagesync_pipelines.storage import schema, schema_accounts
from imagesync_pipelines.storage.schema import SCHEMA, identity, moment, table, texts
from imagesync_pipelines.storage.wrong_logins import wrong_login_table

wrong_login = wrong_login_table(schema.metadata)

api_key = table(
    "api_key",
    identity(),
    sa.Column("name", sa.Text, nullable=False, comment="which system calls with it"),
    sa.Column("prefix", sa.Text, nullable=False, comment="the part of the key that may be shown"),
    sa.Column("key_hash", sa.LargeBinary, nullable=False, comment="SHA-256 of the whole key"),
    sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
    moment("created_at", default_now=True),
    moment("last_used_at", nullable=True, comment="to the minute"),
    moment("revoked_at", nullable=True),
    sa.UniqueConstraint("prefix"),
    sa.Index(None, "name", unique=True, postgresql_where=sa.text("revoked_at IS NULL")),
)

web_user = table(
    "web_user",
    identity(),
    *texts("name", "role"),
    sa.Column("password_hash", sa.Text, comment="Argon2; none of people of an identity provider"),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column(
        "session_epoch", sa.Integer, nullable=False, server_default="0", comment="sessions of an earlier one are over"
    ),
    moment("created_at", default_now=True),
    moment("last_login_at", nullable=True),
    sa.Column("issuer", sa.Text, comment="the identity provider; none of people of ours"),
    sa.Column("subject", sa.Text, comment="what the provider knows the person by"),
    sa.UniqueConstraint("name"),
    sa.UniqueConstraint("issuer", "subject"),
    sa.CheckConstraint("role IN ('viewer', 'admin')", name="role"),
    sa.CheckConstraint(
        "(issuer IS NULL) = (subject IS NULL) AND (issuer IS NULL) = (password_hash IS NOT NULL)", name="whose"
    ),
)

oidc_session = table(
    "oidc_session",
    identity(),
    sa.Column(
        "user_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.web_user.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    sa.Column(
        "provider_session", sa.Text, nullable=False, index=True, comment="the session as the provider names it (sid)"
    ),
    sa.Column("tokens", sa.LargeBinary, nullable=False, comment="encrypted: ID token, refresh token"),
    moment("checked_at", comment="when the provider last said that it goes on"),
)

oidc_logout = table(
    "oidc_logout",
    sa.Column("token", sa.Text, primary_key=True),
    moment("heard_at"),
    comment="logout tokens that were heard: none counts twice",
)

# What a person keeps of the list: its name, and the query of its address.
saved_view = table(
    "saved_view",
    sa.Column("user_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.web_user.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    *texts("query"),
)

# A removed image leaves no row that says so; whoever follows changes has to be told.
image_removal = table(
    "image_removal",
    sa.Column("product_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.product.id", ondelete="CASCADE"), primary_key=True),
    moment("removed_at", comment="the newest removal"),
    sa.Index(None, "removed_at"),
)
NOTE_REMOVALS = (
    """
    CREATE FUNCTION imagesync.note_image_removals() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO imagesync.image_removal (product_id, removed_at)
        SELECT DISTINCT product_id, now() FROM removed ORDER BY product_id
        ON CONFLICT (product_id) DO UPDATE SET removed_at = EXCLUDED.removed_at;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER product_image_removals AFTER DELETE ON imagesync.product_image
        REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION imagesync.note_image_removals()
    """,
)
for _statement in NOTE_REMOVALS:
    sa.event.listen(image_removal, "after_create", sa.DDL(_statement))  # type: ignore[no-untyped-call]

# Whose images a product shows. Triggers write it, whoever writes products, images or pins.
shown_image = table(
    "shown_image",
    sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("owner_id", sa.BigInteger, index=True, comment="the product whose images are shown; none without images"),
    sa.Column(
        "own_first_id", sa.BigInteger, comment="the same where own images come first (IMAGE_DB_OWN_IMAGES_FIRST)"
    ),
    sa.Column("lent_image_id", sa.BigInteger, comment="the image of a variant that stands for its parent in lists"),
    moment("changed_at", comment="when whose images these are, or a person's choice among them, last changed"),
    sa.Index(None, "changed_at"),
    # Where it is the same, the other index says it.
    sa.Index(None, "own_first_id", postgresql_where=sa.text("own_first_id <> owner_id")),
)

# The products of the filters that say what a product lacks, in the order of their SKUs. Triggers write it too.
listed_product = table(
    "listed_product",
    sa.Column("list", sa.Text, primary_key=True, comment="what its products lack; the name of a filter"),
    sa.Column("sku", sa.String(50), primary_key=True),
    sa.Column("product_id", sa.BigInteger, primary_key=True, autoincrement=False, index=True),
)
product_count = table(
    "product_count",
    identity(),
    sa.Column("name", sa.Text, nullable=False, comment="a list of listed_product; products: those that the ERP has"),
    sa.Column("change", sa.BigInteger, nullable=False, comment="the count is the sum"),
)
listed_for = table(
    "listed_for",
    sa.Column("detail_min_height", sa.Integer, nullable=False),
    comment="one row, or none for the default: what the list low_resolution is made for",
)


def _make_triggers(_: object, connection: sa.Connection, **__: object) -> None:
    for name in (
        "shown_image.sql",
        "primary_to_check.sql",
        "product_lists.sql",
        "trigger_rights.sql",
        "new_images.sql",
        "picture_order.sql",
    ):
        text = Path(__file__).parent / "migrations" / "versions" / name
        connection.exec_driver_sql(text.read_text(encoding="utf-8"))


sa.event.listen(schema.metadata, "after_create", _make_triggers)

# Changes of products since a moment.
_product = schema.product.c
sa.Index("product_updated_at_idx", _product.updated_at)

# Who may show whose images.
sa.Index("product_base_sku_idx", _product.base_sku)

# Words of a name, and the beginning of a number in a database of any collation.
_words = sa.func.to_tsvector(sa.text("'simple'::regconfig"), _product.name)
sa.Index("product_name_words_idx", _words, postgresql_using="gin")
for _number in (_product.sku, _product.legacy_sku):
    sa.Index(f"product_{_number.name}_beginning_idx", _number, postgresql_ops={_number.name: "varchar_pattern_ops"})

# The orders of the list: by what a card calls a product, and by the newest change of its images.
_named = sa.func.nullif(_product.name, sa.literal_column("''"), type_=sa.String)
shown_name: sa.ColumnElement[str] = sa.func.lower(sa.func.coalesce(_named, _product.sku), type_=sa.String)
sa.Index("product_shown_name_idx", shown_name, _product.id)

# The filters of the list.
_image, _candidates = schema.product_image.c, schema.unmatched_article.c.candidates
sa.Index("product_image_front_idx", _image.product_id, postgresql_where=_image.is_front)
sa.Index("product_image_primary_height_idx", _image.height, _image.product_id, postgresql_where=_image.is_primary)
_ops = {"candidates": "jsonb_path_ops"}
sa.Index("unmatched_article_candidates_idx", _candidates, postgresql_using="gin", postgresql_ops=_ops)

# Where the images of a product also live, asked for by its SKU. One connector's rows of the mirror have an index of
# their own, which its migration alone names (0010_baseline.sql).
sa.Index("plytix_link_product_sku_idx", schema_accounts.plytix_link.c.product_sku)
sa.Index("moysklad_entity_map_value_idx", schema_accounts.moysklad_entity_map.c.value)
