"""Products as the ERP has them: read from SQL or from files, everything as text, judged row by row.

The columns are those of docs/contracts/image_db.md.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.products.settings import ErpSettings
from imagesync_pipelines.settings import SettingsError

_SOURCE_NAMES = {
    "erp_id": ("id",),
    "sku": ("sku",),
    "parent_erp_id": ("parent_id",),
    "variant_code": ("variant_code",),
    "legacy_sku": ("legacy_sku",),
    "base_sku": ("base_sku", "legacy_base_sku"),
    "name": ("name",),
    "is_active": ("is_active",),
}
COLUMNS = ("kind", *_SOURCE_NAMES)
_NUMBERS = frozenset({"erp_id", "parent_erp_id", "sku"})
_LENGTHS = {"erp_id": 50, "sku": 50, "variant_code": 10, "legacy_sku": 50, "base_sku": 50, "name": 255}
_TRUE = frozenset({"1", "1.0", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "0.0", "f", "false", "n", "no"})


class ErpError(ImagesyncError):
    """The ERP could not be read, or gave nothing that may be used; the message says what to do."""


@dataclass(frozen=True)
class ErpProducts:
    """What the ERP gave.

    rows: the columns COLUMNS, a row per usable product, text or None; is_active is boolean.
    set_aside: kind, erp_id, sku, reason; rows that cannot be used. What we have of them should stay as it is.
    warnings: sentences about rows that are used although something about them is odd.
    """

    rows: pd.DataFrame
    set_aside: pd.DataFrame
    warnings: tuple[str, ...]


def read_erp(settings: ErpSettings) -> ErpProducts:
    """All parents and variants of the ERP, from the files when they are set, else by SQL.

    Raises SettingsError when none is configured; ErpError when it cannot be read, lacks a column that is needed, or
    gave no products at all: an empty answer looks exactly like a catalogue without products, and nothing must be
    changed on its word.
    """
    if settings.erp_parents_file is not None and settings.erp_variants_file is not None:
        parents = _read_file(settings.erp_parents_file)
        variants = _read_file(settings.erp_variants_file)
    elif settings.erp_database_url is not None:
        parents, variants = _read_sql(
            settings.erp_database_url.get_secret_value(), (settings.erp_parents_query, settings.erp_variants_query)
        )
    else:
        raise SettingsError("no ERP is configured; set ERP_DATABASE_URL, or ERP_PARENTS_FILE and ERP_VARIANTS_FILE")
    return judge(parents, variants)


def judge(parents: pd.DataFrame, variants: pd.DataFrame) -> ErpProducts:
    """Parents and variants as read, with the contract's column names in any case, to usable rows and the others.

    Rows without id or SKU, with a value that is too long for the column, or with an id or SKU that an earlier row of
    the same kind has (in the order of the ids) are set aside. A variant may name a parent that is not there.
    """
    rows = pd.concat([_in_our_columns("parent", parents), _in_our_columns("variant", variants)], ignore_index=True)
    if rows.empty:
        raise ErpError("the ERP gave no products; nothing was changed")
    ids = list(zip(rows["kind"].tolist(), rows["erp_id"].tolist(), strict=True))
    rows = rows.iloc[sorted(range(len(ids)), key=lambda at: _id_order(*ids[at]))].reset_index(drop=True)
    reasons = _reasons(rows)
    bad = reasons.notna()
    usable = rows[~bad].reset_index(drop=True)
    if usable.empty:
        raise ErpError(
            f"the ERP gave no usable product ({len(rows)} rows, the first: {reasons[0]}); nothing was changed"
        )
    usable.loc[usable["kind"] == "parent", "parent_erp_id"] = None
    warnings = _strange_parents(usable, set(rows.loc[rows["kind"] == "parent", "erp_id"]))
    set_aside = rows.loc[bad, ["kind", "erp_id", "sku"]].assign(reason=reasons[bad]).reset_index(drop=True)
    return ErpProducts(usable, set_aside, warnings)


def _read_file(path: Path) -> pd.DataFrame:
    try:
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise ErpError(f"{path} could not be read: {error}") from None


def _read_sql(url: str, queries: Sequence[str]) -> list[pd.DataFrame]:
    try:
        engine = sa.create_engine(url)
        with engine.connect() as connection:
            results = [connection.execute(sa.text(query)) for query in queries]
            frames = [
                pd.DataFrame([tuple(row) for row in one], columns=list(one.keys()), dtype=object) for one in results
            ]
        engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise ErpError(f"the ERP's database could not be read: {_cause(error, url)}; check ERP_DATABASE_URL") from None
    return frames


def _cause(error: Exception, url: str) -> str:
    """The driver's first line without the URL and its password, which some drivers repeat."""
    cause = getattr(error, "orig", None) or error
    text = (str(cause).strip().splitlines() or [""])[0][:200].replace(url, "***")
    try:
        password = sa.make_url(url).password
    except sa.exc.ArgumentError:
        return type(cause).__name__  # a URL that cannot be taken apart cannot be hidden part by part
    text = text.replace(str(password), "***") if password else text
    return f"{type(cause).__name__}: {text}"


def _in_our_columns(kind: str, source: pd.DataFrame) -> pd.DataFrame:
    """The source's columns under our names, as trimmed text; the columns that are optional may be missing."""
    names = {str(name).strip().lower(): name for name in source.columns}
    rows = pd.DataFrame(index=source.index)
    rows["kind"] = pd.Series(kind, index=source.index, dtype=object)
    for ours, theirs in _SOURCE_NAMES.items():
        found = next((names[name] for name in theirs if name in names), None)
        if found is None and ours in ("erp_id", "sku"):
            have = ", ".join(sorted(names)) or "none"
            raise ErpError(f"the ERP's {kind}s have no column {theirs[0]}; the columns are: {have}")
        read = _number if ours in _NUMBERS else _text
        values = [None] * len(source) if found is None else [read(value) for value in source[found].tolist()]
        rows[ours] = pd.Series(values, index=source.index, dtype=object)
    rows["name"] = rows["name"].map(lambda name: name or "")
    return rows


def _text(value: Any) -> str | None:
    """A value as trimmed text, None for nothing."""
    if type(value) is str:
        return value.replace("\0", "").strip() or None
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return None
    return str(value).replace("\0", "").strip() or None


def _number(value: Any) -> str | None:
    """An id or a SKU as text; whole numbers that a table program made decimals lose their `.0` again."""
    text = _text(value)
    return text.removesuffix(".0") if text and text[:-2].isdecimal() else text


def _id_order(kind: str, erp_id: str | None) -> tuple[str, int, str]:
    """Ids in the order of their numbers, so that the row that is kept is the same every time."""
    text = erp_id or ""
    return kind, int(text) if text.isdecimal() else 0, text


def _reasons(rows: pd.DataFrame) -> pd.Series:
    """For each row why it is set aside, or None; turns is_active into a boolean on the way."""
    first: dict[tuple[str, str, str], str] = {}
    flags = [_flag(text) for text in rows["is_active"].tolist()]
    reasons = [
        _fault(row, flag) or _repeated(row, first)
        for row, flag in zip(rows.itertuples(index=False), flags, strict=True)
    ]
    rows["is_active"] = [bool(flag) for flag in flags]
    return pd.Series(reasons, index=rows.index, dtype=object)


def _fault(row: Any, flag: bool | None) -> str | None:
    for value, name in ((row.erp_id, "id"), (row.sku, "SKU")):
        if not value:
            return f"the {row.kind} has no {name}"
    for column, length in _LENGTHS.items():
        if (found := len(getattr(row, column) or "")) > length:
            return f"{column} has {found} characters; {length} fit"
    return "is_active is neither yes nor no" if flag is None else None


def _repeated(row: Any, first: dict[tuple[str, str, str], str]) -> str | None:
    kind, erp_id, sku = row.kind, row.erp_id, row.sku
    if (kind, "id", erp_id) in first:
        return f"the id {erp_id} is used twice; the first row, SKU {first[kind, 'id', erp_id]}, is kept"
    if (kind, "sku", sku) in first:
        return f"the SKU {sku} is used twice; the {kind} with the id {first[kind, 'sku', sku]} is kept"
    first[kind, "id", erp_id] = sku
    first[kind, "sku", sku] = erp_id
    return None


def _flag(text: str | None) -> bool | None:
    """Whether a product is active: nothing said means yes; None for what cannot be read."""
    word = (text or "true").lower()
    return True if word in _TRUE else False if word in _FALSE else None


def _strange_parents(usable: pd.DataFrame, parents: Collection[str | None]) -> tuple[str, ...]:
    strange = usable["parent_erp_id"].notna() & ~usable["parent_erp_id"].isin(list(parents))
    if not strange.any():
        return ()
    example = usable[strange].iloc[0]
    return (
        f"{int(strange.sum())} variants name a parent that the ERP does not have, for example {example['sku']} "
        f"(parent {example['parent_erp_id']})",
    )
