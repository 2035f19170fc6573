"""Our tables, in the PostgreSQL schema `imagesync` (SQLAlchemy Core).

A migrated database equals this metadata; a test compares them.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, ExcludeConstraint

from imagesync_pipelines.settings import DEFAULT_SOURCE

SCHEMA = "imagesync"

metadata = sa.MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)


def table(name: str, *parts: sa.schema.SchemaItem, comment: str | None = None) -> sa.Table:
    """A table of ours."""
    return sa.Table(name, metadata, *parts, comment=comment)


def identity() -> sa.Column[int]:
    """The column `id`, numbered by the database."""
    return sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True)


def moment(
    name: str, *, nullable: bool = False, default_now: bool = False, comment: str | None = None
) -> sa.Column[datetime]:
    """A column with a moment, which knows its zone."""
    now = sa.func.now() if default_now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=now, comment=comment)


def keys(*names: str) -> list[sa.Column[str]]:
    """Text columns that make up, together, a primary key."""
    return [sa.Column(name, sa.Text, primary_key=True) for name in names]


def texts(*names: str) -> list[sa.Column[str]]:
    """Text columns that are never empty of a value."""
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def json_of(name: str, default: str, comment: str | None = None) -> sa.Column[Any]:
    """A column with a JSON document, never NULL; default: its JSON."""
    return sa.Column(name, JSONB, nullable=False, server_default=sa.text(f"'{default}'::jsonb"), comment=comment)


def _no_two(name: str, where: str, *columns: str) -> ExcludeConstraint:
    """Of the rows that `where` names no two are equal in these columns, which is looked at when a transaction ends."""
    equal, rows = ((column, "=") for column in columns), sa.text(where)
    return ExcludeConstraint(*equal, name=name, using="btree", where=rows, deferrable=True, initially="DEFERRED")


def _product_id(*, primary_key: bool = False) -> sa.Column[int]:
    product_id = sa.ForeignKey(f"{SCHEMA}.product.id", ondelete="RESTRICT")
    return sa.Column("product_id", sa.BigInteger, product_id, primary_key=primary_key, nullable=False)


def _source(*, primary_key: bool = False) -> sa.Column[str]:
    """The connector that brought a row of product images; those of one source know nothing of the others'."""
    return sa.Column("source", sa.Text, primary_key=primary_key, nullable=False, server_default=DEFAULT_SOURCE)


product = table(
    "product",
    identity(),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("erp_id", sa.String(50), nullable=False, comment="the ERP's own id, as text"),
    sa.Column("sku", sa.String(50), nullable=False),
    sa.Column("parent_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.product.id", ondelete="RESTRICT")),
    sa.Column("variant_code", sa.String(10)),
    *(sa.Column(name, sa.String(50)) for name in ("legacy_sku", "base_sku")),
    sa.Column("name", sa.String(255), nullable=False, server_default=""),
    sa.Column("is_active", sa.Boolean, nullable=False, server_default=sa.true(), comment="the ERP's own flag"),
    moment("left_erp_at", nullable=True, comment="since when the ERP no longer has it; is_active is then false"),
    moment("created_at", default_now=True),
    moment("updated_at", default_now=True),
    sa.CheckConstraint("kind IN ('parent', 'variant')", name="kind"),
    sa.UniqueConstraint("kind", "erp_id"),
    # Deferred: two rows of the ERP may swap their SKUs in one load. The SKU of a product that left may be given again.
    _no_two("product_one_sku", "left_erp_at IS NULL", "kind", "sku"),
    sa.Index(None, "parent_id"),
    sa.Index(None, "sku"),
)

product_image = table(
    "product_image",
    identity(),
    _product_id(),
    sa.Column("external_id", sa.String(255), nullable=False),
    sa.Column("image_url", sa.String(500), nullable=False),
    sa.Column("thumbnail_url", sa.String(500)),
    sa.Column("image_type", sa.String(50), nullable=False, server_default=""),
    *(sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()) for name in ("is_primary", "is_front")),
    sa.Column("priority", sa.Integer, nullable=False, server_default="0"),
    sa.Column("alt_text", sa.String(255), nullable=False, server_default=""),
    json_of("metadata", "{}"),
    moment("last_synced", default_now=True),
    sa.Column("fingerprint", sa.Text, nullable=False, server_default=""),
    sa.Column("original_url", sa.Text, comment="says what the picture is when its id changes"),
    moment("newest_export", nullable=True),
    sa.Column("matched_by", sa.String(50), nullable=False, server_default=""),
    sa.Column("chosen_because", sa.String(255), nullable=False, server_default=""),
    *(sa.Column(name, sa.Integer) for name in ("width", "height")),
    sa.Column("image_format", sa.String(20)),
    _source(),
    sa.UniqueConstraint("product_id", "source", "external_id"),
    # Deferred and no partial unique index: a set-based flip of primaries has two of them for a moment.
    _no_two("product_image_one_primary", "is_primary", "product_id"),
    sa.Index(None, "product_id", "priority", "id"),
    sa.Index(None, "external_id"),
    sa.Index(None, "last_synced", "product_id"),
)
# SQLAlchemy has no word for it: beside the row and uncompressed, which is faster to write and to read past.
_BESIDE = sa.DDL(f"ALTER TABLE {product_image.fullname} ALTER COLUMN metadata SET STORAGE EXTERNAL")  # type: ignore[no-untyped-call]
sa.event.listen(product_image, "after_create", _BESIDE)

pin = table(
    "pin",
    _product_id(primary_key=True),
    sa.Column("external_id", sa.String(255), nullable=False),
    sa.Column("pinned_by", sa.Text, nullable=False),
    moment("pinned_at", default_now=True),
    _source(),
)

# The order that a person gave the pictures of a product; those that are not in it come behind.
picture_order = table(
    "picture_order",
    _product_id(primary_key=True),
    sa.Column("pictures", sa.ARRAY(sa.Text), nullable=False, comment="source/external_id, the first one first"),
    sa.Column("ordered_by", sa.Text, nullable=False),
    moment("ordered_at", default_now=True),
)

# What a person said of an article number that pictures name, in canonical form.
article_rule = table(
    "article_rule",
    *keys("number", "variant"),
    _product_id(),
    sa.Column("made_by", sa.Text, nullable=False),
    moment("made_at", default_now=True),
    sa.Index(None, "product_id"),
)

# Triggers write it; as often as a hand was there, so that none is missed while a run looks at the one before.
primary_to_check = table("primary_to_check", identity(), sa.Column("product_id", sa.BigInteger, nullable=False))

scan = table(
    "scan",
    identity(),
    sa.Column("connector", sa.Text, nullable=False),
    moment("started_at", default_now=True),
    moment("ended_at", nullable=True),
    sa.Column("page_size", sa.Integer, nullable=False, comment="records per page, as asked"),
    sa.Column("page_length", sa.Integer, comment="records per page, as seen"),
    sa.Column("block_size", sa.Integer, nullable=False, comment="pages per partition"),
    *(sa.Column(name, sa.Integer) for name in ("first_count", "last_count", "pages")),
    sa.Column("calls", sa.Integer, nullable=False, server_default="0"),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0", comment="received over the wire"),
    sa.Column("state", sa.Text, nullable=False, server_default="open"),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("part", sa.Text, nullable=False, server_default="", comment="what alone it is about; empty: everything"),
    sa.CheckConstraint("state IN ('open', 'proven', 'unproven')", name="state"),
    sa.Index(None, "connector", "id"),
)

raw_page = table(
    "raw_page",
    sa.Column("scan_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.scan.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("page", sa.Integer, primary_key=True),
    sa.Column("connector", sa.Text, nullable=False),
    sa.Column("path", sa.Text, nullable=False, comment="below the storage root"),
    sa.Column("sha256", sa.Text, nullable=False, comment="of the body as received"),
    sa.Column("records", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False, comment="of the body as received"),
    moment("fetched_at", default_now=True),
    sa.Column("api_count", sa.Integer, comment="the count that this page itself named"),
)

quarantine = table(
    "quarantine",
    identity(),
    *texts("connector", "stage", "key"),
    sa.Column("group_key", sa.Text),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("payload", sa.Text),
    moment("first_seen", default_now=True),
    moment("last_seen", default_now=True),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="1"),
    sa.Column("run_id", sa.Text),
    sa.UniqueConstraint("connector", "stage", "key"),
)

intent = table(
    "intent",
    *keys("connector", "group_key"),
    sa.Column("fingerprint", sa.Text, nullable=False),
    moment("started_at", default_now=True),
    sa.Column("run_id", sa.Text),
    json_of("rows", "[]", comment="what is to become of the group, as the history has it"),
    json_of("details", "{}", comment="what the target said of these rows before it was called, by their keys"),
    json_of("by", "{}", comment="who does it, as the history has it"),
)

plan = table(
    "plan",
    identity(),
    sa.Column("connector", sa.Text, nullable=False),
    moment("created_at", default_now=True),
    sa.Column("run_id", sa.Text),
    sa.Column("path", sa.Text, nullable=False, comment="folder below the storage root"),
    sa.Column("files", JSONB, nullable=False, comment="sha256 of each file in the folder"),
    *(sa.Column(name, JSONB, nullable=False) for name in ("scope", "counts", "cost")),
    # The scan may be pruned before the plan: the number stays readable, so it is no foreign key.
    sa.Column("scan_id", sa.BigInteger),
    moment("applied_at", nullable=True),
    sa.Column("applied_run", sa.Text),
    sa.Column("begun_run", sa.Text, comment="whose application began and did not end"),
    sa.Index(None, "connector", "id"),
)

plan_word = table(
    "plan_word",
    identity(),
    sa.Column(
        "plan_id", sa.BigInteger, sa.ForeignKey(f"{SCHEMA}.plan.id", ondelete="CASCADE"), nullable=False, index=True
    ),
    *texts("word", "said_by", "comment"),
    moment("said_at", default_now=True),
    sa.CheckConstraint("word IN ('approve', 'dismiss', 'apply', 'part')", name="word"),
)

acknowledged = table(
    "acknowledged",
    *keys("connector", "account"),
    sa.Column("plan_id", sa.BigInteger, comment="the newest plan of all we own there that was wholly carried out"),
    sa.Column("run_id", sa.Text),
    moment("at", nullable=True),
    sa.Column("state", sa.Text, comment="SHA-256 of keys, fingerprints and places of the images that it has since"),
    sa.Column("images", sa.BigInteger, comment="how many these are"),
    sa.Column("left_plan", sa.BigInteger, comment="the newest plan of which something could not be carried out"),
    sa.Column("left_rows", sa.BigInteger, nullable=False, server_default=sa.text("0"), comment="so much of it"),
)

held = table(
    "held",
    identity(),
    *texts("connector", "account"),
    sa.Column(
        "origin",
        sa.Text,
        nullable=False,
        comment="who holds it: empty for the guard of a plan, else the name of the input that is doubted",
    ),
    *texts("key", "group_key", "fingerprint", "change", "kind", "reason"),
    moment("since", default_now=True),
    sa.Column("plan_id", sa.BigInteger, comment="the newest plan that shows it; such plans are forgotten in time"),
    sa.Column("decision", sa.Text),
    moment("decided_at", nullable=True),
    sa.Column("decided_by", sa.Text),
    sa.CheckConstraint("decision IN ('allow', 'keep')", name="decision"),
    sa.UniqueConstraint("connector", "account", "origin", "key"),
)

doubt = table(
    "doubt",
    *keys("connector", "account", "key"),
    moment("since", comment="when an answer lacked it for the first time"),
    sa.Column("readings", sa.Integer, nullable=False, comment="how many complete readings lacked it"),
)

removal = table(
    "removal",
    *keys("connector", "account", "key"),
    *texts("group_key"),
    sa.Column("replaced", sa.Boolean, nullable=False),
    moment("at", comment="when it was about to go; what is still there did not"),
)

unmatched_article = table(
    "unmatched_article",
    identity(),
    sa.Column("number", sa.Text, nullable=False),
    sa.Column("variant", sa.Text),
    sa.Column("external_id", sa.String(255), nullable=False),
    *(sa.Column(name, sa.Text) for name in ("image_type", "image_url")),
    sa.Column("reason", sa.Text, nullable=False),
    json_of("candidates", "[]"),
    moment("seen_at", default_now=True),
    _source(),
    sa.Index(None, "number"),
)

unused_image = table(
    "unused_image",
    sa.Column("external_id", sa.String(255), primary_key=True),
    *(sa.Column(name, sa.Text) for name in ("image_type", "image_url")),
    sa.Column("reason", sa.Text, nullable=False),
    moment("seen_at", default_now=True),
    _source(primary_key=True),
)

mirror = table(
    "mirror",
    *keys("connector", "account", "key"),
    *texts("group_key", "fingerprint"),
    sa.Column("payload", JSONB, nullable=False),
    moment("source_updated_at", nullable=True),
    sa.Column(
        "seen_scan", sa.BigInteger, comment="the scan that brought the row as it is; NULL: a reading since a cursor"
    ),
    moment("changed_at", default_now=True, comment="when we saw it change, gone and back included"),
    moment("gone_at", nullable=True),
    sa.Column("gone_because", sa.Text),
    sa.CheckConstraint("(gone_at IS NULL) = (gone_because IS NULL)", name="gone"),
    sa.Index(None, "connector", "account", "group_key"),
    sa.Index(None, "connector", "account", "changed_at"),
)

handover = table(
    "handover",
    *keys("connector", "account", "run_id", "step"),
    sa.Column("value", JSONB, nullable=False),
    moment("made_at", default_now=True),
    sa.Column("number", sa.BigInteger, sa.Identity(), nullable=False, comment="order of writing, whatever clocks say"),
    sa.Index(None, "connector", "account", "step", "number"),
)

cursor = table(
    "cursor",
    *keys("connector", "account"),
    sa.Column("value", sa.Text, nullable=False),
    moment("moved_at", default_now=True),
)

report_outbox = table(
    "report_outbox",
    *keys("connector", "account", "key"),
    sa.Column("payload", JSONB, nullable=False),
    moment("queued_at", default_now=True),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
)

alert = table(
    "alert",
    *keys("connector", "partition", "error"),
    *texts("title", "body", "link"),
    moment("noted_at", comment="when it last happened"),
    sa.Column(
        "more",
        sa.Integer,
        nullable=False,
        server_default=sa.text("0"),
        comment="how often beside that since the last message",
    ),
    moment("sent_at", nullable=True),
    moment("due_at", nullable=True, comment="when it is to be sent; NULL: nothing waits"),
    sa.Column(
        "attempts",
        sa.Integer,
        nullable=False,
        server_default=sa.text("0"),
        comment="how often sending what waits failed",
    ),
    sa.Column(
        "ends_with",
        sa.Text,
        nullable=False,
        server_default="",
        comment="what can end it, such as run <id>; empty: who told it sees that for himself",
    ),
    moment("over_at", nullable=True, comment="since when it is over, which waits to be told; NULL: it is not"),
)

image_content = table(
    "image_content",
    sa.Column(
        "source", sa.Text, primary_key=True, comment="whose picture it is, such as <connector>:<account>:<image id>"
    ),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False, comment="bytes"),
    sa.Column("format", sa.Text, nullable=False),
    *(sa.Column(name, sa.Integer, nullable=False) for name in ("width", "height")),
    moment("last_used_at"),
    moment("in_use_until", comment="no clean-up takes it before"),
    sa.Index(None, "sha256"),
)

# What an address was last seen to give; it outlives the content, so that copies of it can be judged.
address_check = table(
    "address_check",
    sa.Column("source", sa.Text, primary_key=True, comment="as in image_content"),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("etag", sa.Text, nullable=False),
    sa.Column("last_modified", sa.Text, nullable=False),
    moment("checked_at"),
)

# What full decodes found: no content is decoded again for the same answer.
decoded_content = table(
    "decoded_content",
    sa.Column("md5", sa.Text, primary_key=True, comment="by which sources list it"),
    sa.Column("sha256", sa.Text, primary_key=True, comment="by which it is believed to be the same"),
    sa.Column("decoder", sa.Text, primary_key=True, comment="what judged: our check, the libraries, their versions"),
    sa.Column("format", sa.Text, nullable=False, comment="empty: it was refused"),
    sa.Column("damage", sa.Text, nullable=False, comment="of a picture that its source has so; empty: none"),
    sa.Column("fault", sa.Text, nullable=False, comment="for which it was refused; empty: it was not"),
    sa.Column("reason", sa.Text, nullable=False),
    moment("used_at", default_now=True),
    sa.Index(None, "used_at"),
)

# Of the МойСклад connector: `child` is always the alias of a child account, `entity_key` an entity of the main account.
