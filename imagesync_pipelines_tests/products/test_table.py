"""The ERP's products in our table: what a load adds, changes, marks as gone, and what it must leave alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from imagesync_pipelines.products.erp import ErpError, judge
from imagesync_pipelines.products.table import HeldProduct, ProductsWritten, read_products, write_products
from imagesync_pipelines.storage.schema import product
from imagesync_pipelines.sync.model import DeletionLimits, Memory

LIMITS = DeletionLimits(share=0.1, count=500, bare=25, floor=2)
Load = Callable[..., ProductsWritten]


def parent(erp_id: str, sku: str, **more: Any) -> dict[str, Any]:
    """A parent as the ERP has it."""
    return {"kind": "parent", "id": erp_id, "sku": sku, **more}


def variant(erp_id: str, sku: str, parent_id: str | None = None, **more: Any) -> dict[str, Any]:
    """A variant as the ERP has it."""
    return {"kind": "variant", "id": erp_id, "sku": sku, "parent_id": parent_id, **more}


@pytest.fixture
def load(database: sa.Engine) -> Load:
    """Load these rows of the ERP, judged as a real load judges them."""

    def run(*rows: dict[str, Any], deletion_limits: DeletionLimits = LIMITS) -> ProductsWritten:
        frame = pd.DataFrame(list(rows), dtype=object)
        kinds = [frame[frame["kind"] == kind].drop(columns="kind") for kind in ("parent", "variant")]
        read = judge(*kinds)
        return write_products(database, read.rows, read.set_aside, deletion_limits, absent=read.absent)

    return run


def now(database: sa.Engine, *columns: str, in_erp: bool = True) -> dict[str, Any]:
    """By SKU, of the products that are in the ERP, or that left it: one column, or a tuple of several."""
    mine = product.c.left_erp_at.is_(None) == in_erp
    with database.connect() as connection:
        rows = connection.execute(sa.select(product.c.sku, *(product.c[name] for name in columns)).where(mine))
        return {sku: values[0] if len(values) == 1 else tuple(values) for sku, *values in rows}


def whole(database: sa.Engine) -> list[tuple[Any, ...]]:
    """Everything in the table, times included."""
    with database.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(product).order_by(product.c.id))]


def counts(done: ProductsWritten) -> tuple[int, int, int, int]:
    return done.added, done.updated, done.deactivated, done.total


CATALOGUE = [parent("1", "11400", name="Engel"), variant("1", "803721", "1", variant_code="BE", name="Engel bemalt")]


def test_products_are_added_with_their_parents_whatever_the_order(load: Load, database: sa.Engine) -> None:
    assert counts(load(*reversed(CATALOGUE))) == (2, 0, 0, 2)
    ids = now(database, "id")
    assert now(database, "parent_id")["803721"] == ids["11400"]
    assert now(database, "name", "variant_code", "is_active")["803721"] == ("Engel bemalt", "BE", True)


def test_a_second_load_writes_nothing(load: Load, database: sa.Engine) -> None:
    load(*CATALOGUE)
    before = whole(database)
    assert counts(load(*CATALOGUE)) == (0, 0, 0, 2)
    assert whole(database) == before


def test_a_changed_product_is_updated_and_keeps_its_id(load: Load, database: sa.Engine) -> None:
    load(*CATALOGUE)
    before = now(database, "id")
    assert counts(load(CATALOGUE[0], {**CATALOGUE[1], "sku": "803799", "name": "Neu"})) == (0, 1, 0, 2)
    assert now(database, "id", "name")["803799"] == (before["803721"], "Neu")


def test_two_products_may_swap_their_skus(load: Load, database: sa.Engine) -> None:
    load(variant("1", "a"), variant("2", "b"))
    before = now(database, "id")
    assert counts(load(variant("1", "b"), variant("2", "a"))) == (0, 2, 0, 2)
    assert now(database, "id") == {"a": before["b"], "b": before["a"]}


def test_a_variant_moves_to_another_parent_and_to_none(load: Load, database: sa.Engine) -> None:
    families = [parent("1", "p1"), parent("2", "p2")]
    load(*families, variant("1", "v", "1"))
    assert counts(load(*families, variant("1", "v", "2"))) == (0, 1, 0, 3)
    assert now(database, "parent_id")["v"] == now(database, "id")["p2"]
    load(*families, variant("1", "v", None))
    assert now(database, "parent_id")["v"] is None


@pytest.mark.parametrize("flag", [True, False])
def test_the_flag_of_the_erp_is_kept_and_is_not_the_same_as_being_gone(
    load: Load, database: sa.Engine, flag: bool
) -> None:
    load(*CATALOGUE)
    assert counts(load(CATALOGUE[0], {**CATALOGUE[1], "is_active": flag})) == (0, 0 if flag else 1, 0, 2)
    assert now(database, "is_active")["803721"] is flag


def test_a_product_that_left_the_erp_is_marked_and_stays(load: Load, database: sa.Engine) -> None:
    load(*CATALOGUE, variant("2", "v"))
    assert counts(load(*CATALOGUE)) == (0, 0, 1, 3)
    assert now(database, "is_active", in_erp=False) == {"v": False}
    frame = read_products(database)
    assert frame.loc[~frame["in_erp"], "sku"].tolist() == ["v"]
    before = whole(database)
    assert counts(load(*CATALOGUE)) == (0, 0, 0, 3)
    assert whole(database) == before


@pytest.mark.parametrize("flag", [True, False])
def test_a_product_that_returns_is_in_the_erp_again(load: Load, database: sa.Engine, flag: bool) -> None:
    load(*CATALOGUE, variant("2", "v"))
    before = now(database, "id")["v"]
    load(*CATALOGUE)
    assert counts(load(*CATALOGUE, variant("2", "v", is_active=flag))) == (0, 1, 0, 3)
    assert now(database, "id", "is_active")["v"] == (before, flag)


@pytest.mark.parametrize("gone_before", [False, True], ids=["at once", "after it had left"])
def test_the_same_sku_under_a_new_id_is_the_same_product(load: Load, database: sa.Engine, gone_before: bool) -> None:
    load(*CATALOGUE, variant("2", "v"))
    before = now(database, "id")["v"]
    if gone_before:
        load(*CATALOGUE)
    done = load(*CATALOGUE, variant("99", "v"))
    assert (done.added, done.deactivated, done.total) == (0, 0, 3)
    assert now(database, "id", "erp_id")["v"] == (before, "99")


def test_an_erp_with_all_ids_new_changes_no_product(load: Load, database: sa.Engine) -> None:
    load(parent("1", "p"), *(variant(str(n), f"v{n}", "1") for n in range(40)))
    before = now(database, "id")
    done = load(parent("9000", "p"), *(variant(str(n + 1000), f"v{n}", "9000") for n in range(40)))
    assert (counts(done), done.warnings) == ((0, 0, 0, 41), ())
    assert now(database, "id") == before


def test_a_sku_given_to_another_product_is_free_even_when_the_deletion_limits_hold(
    load: Load, database: sa.Engine
) -> None:
    load(*(variant(str(n), f"v{n}") for n in range(10)))
    done = load(variant("0", "v5"), *(variant(str(n), f"v{n}") for n in (1, 2)))
    assert done.deactivated == 1
    assert "7 of 10" in done.because
    assert now(database, "erp_id")["v5"] == "0"
    assert len(now(database, "id")) == 9


HELD = {
    "a few": (3, 100, True, 3),
    "up to the floor the share is not looked at": (2, 4, True, 2),
    "more than the share": (3, 20, True, 0),
    "more than the count": (30, 400, True, 0),
    "the deletion limits lifted": (3, 20, False, 3),
}


@pytest.mark.parametrize(("gone", "there", "on", "marked"), HELD.values(), ids=HELD.keys())
def test_the_deletion_limits_hold_back_what_looks_like_a_half_read_erp(
    load: Load, database: sa.Engine, gone: int, there: int, on: bool, marked: int
) -> None:
    deletion_limits = DeletionLimits(share=0.1, count=20, bare=25, floor=2, lifted=not on)
    rows = [variant(str(number), f"v{number}") for number in range(there)]
    load(*rows)
    done = load(*rows[gone:], deletion_limits=deletion_limits)
    assert done.deactivated == marked
    assert len(done.held) == gone - marked
    assert len(now(database, "id")) == there - marked
    assert bool(done.held) == ("--allow-products-gone" in done.because and f"{gone} of {there}" in done.because)


def test_a_person_lets_products_go_one_by_one_or_keeps_them(load: Load, database: sa.Engine) -> None:
    rows = [variant(str(number), f"v{number}") for number in range(20)]
    load(*rows)
    assert [one.key for one in load(*rows[4:]).held] == [f"variant:{number}" for number in range(4)]
    memory = Memory(allowed={"variant:0": "v0", "variant:1": "another SKU than then"}, kept=frozenset({"variant:2"}))
    done = load(*rows[4:], deletion_limits=replace(LIMITS, memory=memory))
    assert (done.deactivated, [one.sku for one in done.held]) == (1, ["v1", "v2", "v3"])
    done = load(*rows[4:], deletion_limits=replace(LIMITS, lifted=True, memory=memory))
    assert (done.deactivated, done.because) == (2, "")
    assert set(now(database, "id")) == {f"v{number}" for number in (2, *range(4, 20))}


def test_a_kind_without_any_row_is_refused_unless_a_person_says_so(load: Load, database: sa.Engine) -> None:
    load(*CATALOGUE)
    before = whole(database)
    for row, kind in zip(CATALOGUE, ("variant", "parent"), strict=True):
        with pytest.raises(ErpError, match=f"gave no {kind}s at all, not a single row, but we know 1"):
            load(row)
    assert whole(database) == before
    assert load(CATALOGUE[0], deletion_limits=DeletionLimits(0, 0, 0, 0, lifted=True)).deactivated == 1


def test_nothing_leaves_while_a_row_may_be_any_product(load: Load, database: sa.Engine) -> None:
    rows = [variant(str(number), f"v{number}") for number in range(40)]
    load(*rows)
    done = load(*rows[1:], variant("1.2E+01", "1.10E+05"), deletion_limits=DeletionLimits(0, 0, 0, 0, lifted=True))
    assert (done.deactivated, done.held) == (0, (HeldProduct("variant:0", "v0"),))
    assert "neither a legible id nor a legible SKU" in done.because
    assert load(*rows[1:], variant("1.2E+01", "v0")).held == ()
    assert (load(*rows[1:]).deactivated, len(now(database, "id"))) == (1, 39)


def test_variants_keep_a_parent_that_the_deletion_limits_kept(load: Load, database: sa.Engine) -> None:
    families = [parent(str(n), f"p{n}") for n in range(10)]
    variants = [variant(str(n), f"v{n}", str(n)) for n in range(10)]
    load(*families, *variants)
    before = now(database, "parent_id")
    done = load(families[0], *variants)
    assert (done.updated, done.deactivated) == (0, 0)
    assert now(database, "parent_id") == before
    load(families[0], *variants, deletion_limits=DeletionLimits(0, 0, 0, 0, lifted=True))
    assert now(database, "parent_id")["v5"] is None


SET_ASIDE = {
    "a name that is too long": variant("2", "v", name="x" * 256),
    "a flag that cannot be read": variant("2", "v", is_active="perhaps"),
    "no SKU any more": variant("2", ""),
    "no id any more": variant("", "v"),
    "the SKU of another product": variant("2", "803721"),
}


@pytest.mark.parametrize("row", SET_ASIDE.values(), ids=SET_ASIDE.keys())
def test_what_we_have_of_a_row_that_cannot_be_used_stays_as_it_is(
    load: Load, database: sa.Engine, row: dict[str, Any]
) -> None:
    load(*CATALOGUE, variant("2", "v", "1", name="Alt"))
    before = whole(database)
    assert counts(load(*CATALOGUE, row)) == (0, 0, 0, 3)
    assert whole(database) == before


def test_variants_of_a_parent_that_cannot_be_used_keep_it(load: Load, database: sa.Engine) -> None:
    load(*CATALOGUE)
    before = whole(database)
    load({**CATALOGUE[0], "name": "x" * 256}, CATALOGUE[1], parent("2", "p"))
    assert whole(database)[:2] == before


def test_a_sku_that_an_unusable_row_holds_is_not_taken_over_and_said(load: Load, database: sa.Engine) -> None:
    load(variant("3", "c"), variant("7", "a"), variant("8", "d"))
    before = whole(database)
    # Today 3 has the SKU of 7 (so the row of 7 is set aside), and 8 has the old one of 3.
    done = load(variant("3", "a"), variant("7", "a"), variant("8", "c"))
    assert counts(done) == (0, 0, 0, 3)
    assert "2 rows of the ERP have the SKU of a product whose own row cannot be used" in done.warnings[0]
    assert whole(database) == before


def test_an_error_changes_nothing(load: Load, database: sa.Engine) -> None:
    load(*CATALOGUE)
    before = whole(database)
    rows = judge(*(pd.DataFrame([{"id": at, "sku": f"x{at}"}]) for at in ("5", "6"))).rows
    with pytest.raises(Exception, match="too long"):
        write_products(database, rows.assign(name="x" * 256), pd.DataFrame(columns=["kind", "erp_id", "sku"]), LIMITS)
    assert whole(database) == before


VANISHED = {
    "variant_code": ("BE", None),
    "legacy_sku": ("L1", None),
    "base_sku": ("9410", None),
    "name": ("Angel", ""),
    "is_active": ("no", "yes"),
    "parent_id": ("1", None),
}


@pytest.mark.parametrize("column", VANISHED)
def test_a_column_that_vanishes_blanks_nothing_and_is_told_and_one_that_is_empty_means_it(
    load: Load, database: sa.Engine, column: str
) -> None:
    value, empty = VANISHED[column]
    one = {"kind": "variant", "id": "5", "sku": "a"}
    load(parent("1", "p"), {**one, column: value})
    before = now(database, column)
    done = load(parent("1", "p"), one)
    assert (now(database, column), counts(done)) == (before, (0, 0, 0, 2))
    assert done.warnings == (
        f"The ERP's variants have no column {column} any more; 1 products keep what they have of it. If that is meant, "
        "let the column be there and empty.",
    )
    done = load(parent("1", "p"), {**one, column: empty})
    assert (now(database, column) == before, done.updated, done.warnings) == (False, 1, ())
    assert load(parent("1", "p"), one).warnings == (), "nothing is held of it any more"
