"""The ERP's products: the same from SQL, CSV and Parquet; odd rows are set aside; an empty ERP is an error."""

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from imagesync_pipelines.products import erp
from imagesync_pipelines.products.erp import COLUMNS, ErpError, ErpProducts, judge, read_erp
from imagesync_pipelines.products.settings import ErpSettings
from imagesync_pipelines.settings import SettingsError

PARENTS = [
    {"id": 1, "sku": "11400", "name": "Engel", "legacy_base_sku": "11400", "is_active": True},
    {"id": 2, "sku": "NA", "name": "", "legacy_base_sku": None, "is_active": False},
]
VARIANTS = [
    {
        "id": 10, "sku": "803721", "name": "Engel bemalt", "parent_id": 1, "variant_code": "BE",
        "legacy_sku": "11400-BE", "legacy_base_sku": "11400", "is_active": True,
    },
    {
        "id": 11, "sku": "007450", "name": "Ohne Eltern", "parent_id": None, "variant_code": None,
        "legacy_sku": None, "legacy_base_sku": "7450A", "is_active": True,
    },
]  # fmt: skip
EXPECTED = [
    ("parent", "1", "11400", None, None, None, "11400", "Engel", True),
    ("parent", "2", "NA", None, None, None, None, "", False),
    ("variant", "10", "803721", "1", "BE", "11400-BE", "11400", "Engel bemalt", True),
    ("variant", "11", "007450", None, None, None, "7450A", "Ohne Eltern", True),
]


def settings(**values: Any) -> ErpSettings:
    return ErpSettings(_env_file=None, **values)


def rows_of(products: ErpProducts) -> list[tuple]:
    assert tuple(products.rows.columns) == COLUMNS
    return list(products.rows.itertuples(index=False, name=None))


def as_csv(folder: Path) -> ErpSettings:
    pd.DataFrame(PARENTS).to_csv(folder / "parents.csv", index=False)
    pd.DataFrame(VARIANTS).to_csv(folder / "variants.csv", index=False, encoding="utf-8-sig")
    return settings(erp_parents_file=folder / "parents.csv", erp_variants_file=folder / "variants.csv")


def as_parquet(folder: Path) -> ErpSettings:
    pd.DataFrame(PARENTS).to_parquet(folder / "parents.parquet")
    pd.DataFrame(VARIANTS).to_parquet(folder / "variants.parquet")
    return settings(erp_parents_file=folder / "parents.parquet", erp_variants_file=folder / "variants.parquet")


def as_sql(folder: Path) -> ErpSettings:
    url = f"sqlite:///{folder / 'erp.sqlite'}"
    engine = sa.create_engine(url)
    pd.DataFrame(PARENTS).to_sql("products_parentproduct", engine, index=False)
    pd.DataFrame(VARIANTS).to_sql("products_variantproduct", engine, index=False)
    engine.dispose()
    return settings(erp_database_url=url)


@pytest.mark.parametrize("source", [as_csv, as_parquet, as_sql], ids=["csv", "parquet", "sql"])
def test_products_are_the_same_wherever_they_come_from(source: Callable, tmp_path: Path) -> None:
    products = read_erp(source(tmp_path))
    assert rows_of(products) == EXPECTED
    assert products.set_aside.empty
    assert products.warnings == ()


def parents(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([{"id": at, "sku": f"p{at}", **row} for at, row in enumerate(rows, 1)], dtype=object)


def variants(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame([{"id": at, "sku": f"v{at}", **row} for at, row in enumerate(rows, 1)], dtype=object)


NO_VARIANTS = pd.DataFrame(columns=["id", "sku"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (803721, "803721"),
        (803721.0, "803721"),
        ("803721", "803721"),
        (" 803721 ", "803721"),
        ("803721.0", "803721"),
        ("7450A", "7450A"),
        ("A1.0", "A1.0"),
        ("80\x003721", "803721"),
        (Decimal("214808.00"), "214808"),
        (Decimal("214808.50"), "214808.50"),
        (1.1e16, "11000000000000000"),
        ("007450", "007450"),
        ("12E5", "12E5"),
    ],
)
def test_trap_9_a_number_is_the_same_text_whatever_its_type(value: object, text: str) -> None:
    assert list(judge(parents({"sku": value}), NO_VARIANTS).rows["sku"]) == [text]


SET_ASIDE = {
    "no SKU": ([{}, {"sku": ""}], "the parent has no SKU"),
    "no SKU but blanks": ([{}, {"sku": "  "}], "the parent has no SKU"),
    "no id": ([{}, {"id": None}], "the parent has no id"),
    "the SKU twice": ([{}, {"sku": "p1"}], "the SKU p1 is used twice; the parent with the id 1 is kept"),
    "the id twice": ([{}, {"id": 1}], "the id 1 is used twice; the first row, SKU p1, is kept"),
    "a SKU too long": ([{}, {"sku": "x" * 51}], "sku has 51 characters; 50 fit"),
    "a name too long": ([{}, {"name": "x" * 256}], "name has 256 characters; 255 fit"),
    "a SKU that a spreadsheet shortened": (
        [{}, {"sku": "1.10E+05"}],
        "sku 1.10E+05 was shortened by a spreadsheet; write the number out, as text",
    ),
    "a parent that a spreadsheet shortened": (
        [{}, {"parent_id": "1,1e+05"}],
        "parent_erp_id 1,1e+05 was shortened by a spreadsheet; write the number out, as text",
    ),
    "neither active nor not": ([{}, {"is_active": "perhaps"}], "is_active is neither yes nor no"),
}


@pytest.mark.parametrize(("rows", "reason"), SET_ASIDE.values(), ids=SET_ASIDE.keys())
def test_a_row_that_cannot_be_used_is_set_aside_with_its_reason(rows: list[dict], reason: str) -> None:
    products = judge(parents(*rows), NO_VARIANTS)
    assert list(products.rows["sku"]) == ["p1"]
    assert list(products.set_aside["reason"]) == [reason]
    assert list(products.set_aside.columns) == ["kind", "erp_id", "sku", "where", "reason"]
    assert products.warnings == (
        "1 rows of the ERP cannot be used; what we have of them stays as it is: "
        f"{products.set_aside['where'][0]}: {reason}.",
    )


def test_a_bad_row_of_a_file_is_told_with_file_and_line(tmp_path: Path) -> None:
    config = as_csv(tmp_path)
    assert config.erp_variants_file is not None
    with config.erp_variants_file.open("a") as file:
        file.write("1.2E+01,1.10E+05,Leuchter,,,,,\n")
    read = read_erp(config)
    assert "variants.csv line 4: erp_id 1.2E+01 was shortened by a spreadsheet" in read.warnings[0]
    assert read.set_aside[["erp_id", "sku"]].isna().all(axis=None)
    assert len(read.rows) == 4


def test_which_of_two_rows_is_kept_does_not_depend_on_their_order() -> None:
    rows = parents({"id": 10, "sku": "a"}, {"id": 9, "sku": "a"})
    for frame in (rows, rows[::-1]):
        assert list(judge(frame, NO_VARIANTS).rows["erp_id"]) == ["9"]


def test_a_parent_and_a_variant_may_share_id_and_sku() -> None:
    products = judge(parents({"id": 1, "sku": "a"}), variants({"id": 1, "sku": "a"}))
    assert list(products.rows["kind"]) == ["parent", "variant"]


def test_a_variant_of_an_unknown_parent_is_kept_and_said() -> None:
    products = judge(parents({}), variants({"parent_id": 77.0}, {"parent_id": 1}))
    assert list(products.rows["parent_erp_id"])[1:] == ["77", "1"]
    assert "1 variants name a parent" in products.warnings[0]
    assert "v1 (parent 77)" in products.warnings[0]


@pytest.mark.parametrize(
    ("value", "active"),
    [
        (True, True),
        ("t", True),
        (1, True),
        (1.0, True),
        (None, True),
        ("", True),
        (False, False),
        ("0", False),
        ("FALSE", False),
    ],
)
def test_active_unless_the_erp_says_no(value: object, active: bool) -> None:
    assert judge(parents({"is_active": value}), NO_VARIANTS).rows["is_active"].tolist() == [active]


def test_base_sku_has_two_names() -> None:
    products = judge(parents({"base_sku": "9410"}), variants({"legacy_base_sku": "9410"}))
    assert list(products.rows["base_sku"]) == ["9410", "9410"]


def test_an_erp_without_products_changes_nothing() -> None:
    with pytest.raises(ErpError, match="the ERP gave no products; nothing was changed"):
        judge(NO_VARIANTS, NO_VARIANTS)
    with pytest.raises(ErpError, match="no usable product"):
        judge(parents({"sku": None}), NO_VARIANTS)


def test_a_missing_column_is_named_with_those_that_are_there() -> None:
    with pytest.raises(ErpError, match="parents have no column sku; the columns are: id, number"):
        judge(pd.DataFrame({"id": [1], "number": ["2"]}), NO_VARIANTS)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    config = settings(erp_parents_file=tmp_path / "p.csv", erp_variants_file=tmp_path / "v.csv")
    with pytest.raises(ErpError, match=r"p\.csv could not be read"):
        read_erp(config)


def test_no_erp_at_all_says_what_to_set() -> None:
    with pytest.raises(SettingsError, match="ERP_DATABASE_URL"):
        read_erp(settings())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg://erp:canary-7731@127.0.0.1:1/erp",
        "nonsense://erp:canary-7731@host/erp",
        "canary-7731 is no URL",
    ],
    ids=["nobody listens", "no such driver", "no URL"],
)
def test_a_database_that_cannot_be_read_is_one_line_without_the_password(url: str) -> None:
    with pytest.raises(ErpError) as caught:
        read_erp(settings(erp_database_url=url))
    assert "check ERP_DATABASE_URL" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_query_that_is_wrong_says_what_is_wrong(tmp_path: Path) -> None:
    config = as_sql(tmp_path).model_copy(update={"erp_parents_query": "SELECT id, sku FROM nowhere"})
    with pytest.raises(ErpError, match="no such table: nowhere"):
        read_erp(config)


def test_an_answer_of_other_rows_than_the_database_counts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erp, "_counted", lambda connection, query: 3)
    with pytest.raises(ErpError, match="2 rows for ERP_PARENTS_QUERY but counts 3; nothing was changed"):
        read_erp(as_sql(tmp_path))


def test_a_query_that_cannot_be_counted_is_read_all_the_same(tmp_path: Path) -> None:
    config = as_sql(tmp_path).model_copy(update={"erp_parents_query": "SELECT 1 AS id, 2 AS sku -- all"})
    assert len(read_erp(config).rows) == 3
