"""What people say of article numbers that no product has: "this number is that product", kept as a rule.

Each connector that matches by numbers reads all of them with its plan; there are as many as people typed.
"""

import hashlib
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from imagesync_pipelines.languages import told
from imagesync_pipelines.products.matching import ArticleRules
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.effects import Author, Effect, EffectRow, note_effects
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.schema import article_rule as table
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.upstream.canonical import canonical_text

# What the history calls a rule, and its end.
RULE, RULE_ENDED = "rule", "rule_ended"
LONGEST_NUMBER = 255


class RuleRefusedError(StorageError):
    """A rule that cannot be made or removed; the message says why, and nothing was changed."""

    retryable = False


@dataclass(frozen=True)
class ArticleRule:
    """A rule for people.

    variant: '' for every code. in_erp: else it rests. taken: the ERP has a product of this number itself now.
    """

    number: str
    variant: str
    product_id: int
    sku: str
    name: str
    in_erp: bool
    taken: bool
    made_by: str
    made_at: datetime

    @property
    def words(self) -> str:
        """Number and code, as people write them."""
        return f"{self.number} {self.variant}".strip()


def read_rules(engine: sa.Engine) -> ArticleRules:
    """All rules, as matching takes them."""
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.number, table.c.variant, table.c.product_id))
        return {(number, variant): product_id for number, variant, product_id in rows}


def said_by(rules: ArticleRules) -> str:
    """Another text as soon as any rule is another one; '' without any."""
    return hashlib.sha256(repr(sorted(rules.items())).encode()).hexdigest()[:16] if rules else ""


def list_rules(engine: sa.Engine) -> list[ArticleRule]:
    """All rules, by number."""
    other = product.alias()
    taken = sa.exists().where(other.c.sku == table.c.number, other.c.left_erp_at.is_(None))
    columns = (table, product.c.sku, product.c.name, product.c.left_erp_at.is_(None).label("in_erp"))
    query = sa.select(*columns, taken.label("taken")).join(product, product.c.id == table.c.product_id)
    return read_rows(engine, query.order_by(table.c.number, table.c.variant), ArticleRule)


def add_rule(engine: sa.Engine, number: str, variant: str, sku: str, who: str) -> ArticleRule:
    """Keep that a number (with a code, or with any) is a product; an earlier rule of it is replaced.

    It is in the product's history. Raises RuleRefusedError for a SKU that the ERP does not have.
    """
    number, variant, sku = canonical_text(number), canonical_text(variant), canonical_text(sku)
    if not 0 < len(number) <= LONGEST_NUMBER or len(variant) > LONGEST_NUMBER:
        raise RuleRefusedError(f"An article number has 1 to {LONGEST_NUMBER} characters; nothing was changed.")
    # A variant before a parent of the same SKU, as matching has it.
    meant = sa.select(product.c.id).where(product.c.sku == sku, product.c.left_erp_at.is_(None))
    with engine.begin() as connection:
        product_id = connection.scalar(meant.order_by(product.c.kind.desc()).limit(1))
        if product_id is None:
            raise RuleRefusedError(f"The ERP has no product {sku!r}; nothing was changed.")
        values = {"product_id": product_id, "made_by": who, "made_at": sa.func.now()}
        before = connection.scalar(sa.select(table.c.product_id).where(_is(number, variant)).with_for_update())
        statement = insert(table).values(number=number, variant=variant, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["number", "variant"], set_=values))
        if before is not None and before != product_id:
            _note(connection, before, number, variant, RULE_ENDED, who)
        if before != product_id:
            _note(connection, product_id, number, variant, RULE, who)
    return next(one for one in list_rules(engine) if (one.number, one.variant) == (number, variant))


def remove_rule(engine: sa.Engine, number: str, variant: str, who: str) -> None:
    """Forget a rule: the next run matches the number without it. Raises RuleRefusedError when there is none."""
    number, variant = canonical_text(number), canonical_text(variant)
    with engine.begin() as connection:
        found = connection.execute(table.delete().where(_is(number, variant)).returning(table.c.product_id)).scalar()
        if found is None:
            words = f"{number} {variant}".strip()
            raise RuleRefusedError(f"There is no rule for {words}; see `imagesync article list`.")
        _note(connection, found, number, variant, RULE_ENDED, who)


def _is(number: str, variant: str) -> sa.ColumnElement[bool]:
    return (table.c.number == number) & (table.c.variant == variant)


def _note(connection: sa.Connection, product_id: int, number: str, variant: str, change: str, who: str) -> None:
    words = f"{number} {variant}".strip()
    why = (
        told(f"{who} says that article {words} is it")
        if change == RULE
        else told(f"{who} ended that article {words} is it")
    )
    row = EffectRow(f"{product_id}/{words}", change, why)
    note_effects(connection, [Effect(DEFAULT_SOURCE, "", str(product_id), (row,), Author(person=who))])
