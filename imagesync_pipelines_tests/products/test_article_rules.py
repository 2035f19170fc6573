"""What people say of article numbers: kept, replaced, ended, in the history of the product, and shown."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.article_rules import (
    RuleRefusedError,
    add_rule,
    list_rules,
    read_rules,
    remove_rule,
    said_by,
)
from imagesync_pipelines.storage.effects import effects_of_group
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.sync.timeline import lines_of


def made(engine: sa.Engine, sku: str, kind: str = "variant", **more: Any) -> int:
    with engine.begin() as connection:
        values = {"kind": kind, "erp_id": f"{kind}{sku}{len(more)}", "sku": sku, "name": f"No {sku}", **more}
        return int(connection.execute(product.insert().values(**values).returning(product.c.id)).scalar_one())


def told(engine: sa.Engine, product_id: int) -> list[tuple[str, str, str]]:
    effects = effects_of_group(engine, "image_db", "", str(product_id))
    return [(line.who, line.image, line.why) for line in lines_of(effects)]


def test_a_rule_is_kept_replaced_and_ended_and_each_product_tells_it(database: sa.Engine) -> None:
    one, two = made(database, "100"), made(database, "200")
    first = add_rule(database, " 1\u00a000 ", "BE", "100", "anna")
    assert (first.words, first.sku, first.made_by, first.in_erp, first.taken) == ("1 00 BE", "100", "anna", True, False)
    add_rule(database, "1 00", "BE", "100", "ben")
    assert told(database, one) == [("anna", "1 00 BE", "anna says that article 1 00 BE is it")]
    add_rule(database, "1 00", "BE", "200", "carla")
    add_rule(database, "1 00", "", "100", "carla")
    assert read_rules(database) == {("1 00", "BE"): two, ("1 00", ""): one}
    assert [why for _, _, why in told(database, one)] == [
        "carla says that article 1 00 is it",
        "carla ended that article 1 00 BE is it",
        "anna says that article 1 00 BE is it",
    ]
    remove_rule(database, "1 00", "BE", "anna")
    assert told(database, two)[0][2] == "anna ended that article 1 00 BE is it"
    assert read_rules(database) == {("1 00", ""): one}


def test_what_makes_no_rule_changes_nothing(database: sa.Engine) -> None:
    made(database, "100", left_erp_at=datetime(2026, 1, 1, tzinfo=UTC))
    for number, sku in (("1", "100"), ("1", "nothing"), ("", "100"), ("x" * 256, "100"), ("1", "")):
        with pytest.raises(RuleRefusedError, match="nothing was changed"):
            add_rule(database, number, "", sku, "anna")
    with pytest.raises(RuleRefusedError, match="There is no rule for 1 BE"):
        remove_rule(database, "1", "BE", "anna")
    assert read_rules(database) == {}


def test_a_variant_is_meant_before_a_parent_and_what_became_of_both_is_shown(database: sa.Engine) -> None:
    made(database, "100", "parent")
    variant = made(database, "100")
    add_rule(database, "101", "", "100", "anna")
    assert read_rules(database) == {("101", ""): variant}
    with database.begin() as connection:
        connection.execute(product.update().where(product.c.id == variant).values(left_erp_at=sa.func.now()))
    made(database, "101")
    assert [(one.in_erp, one.taken) for one in list_rules(database)] == [(False, True)]


def test_any_other_rule_gives_another_name_to_all_of_them() -> None:
    rules = {("1", ""): 7, ("2", "BE"): 8}
    others = [{}, {("1", ""): 8, ("2", "BE"): 8}, {("1", ""): 7}, {**rules, ("3", ""): 7}]
    assert said_by(rules) == said_by(dict(reversed(rules.items())))
    assert len({said_by(one) for one in (rules, *others)}) == 5
    assert said_by({}) == ""
