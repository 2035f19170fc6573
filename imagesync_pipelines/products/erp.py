"""Products as the ERP has them: read from SQL or from files, everything as text, judged row by row.

The columns are those of docs/contracts/image_db.md.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.erp_files import look_at_file, read_file
from imagesync_pipelines.products.errors import ErpError
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
_CODES = ("erp_id", "sku", "parent_erp_id", "variant_code", "legacy_sku", "base_sku")
_LENGTHS = {"erp_id": 50, "sku": 50, "variant_code": 10, "legacy_sku": 50, "base_sku": 50, "name": 255}
_TRUE = frozenset({"1", "1.0", "t", "true", "y", "yes"})
_FALSE = frozenset({"0", "0.0", "f", "false", "n", "no"})
# What a spreadsheet makes of a number: 110034 becomes 1.10E+05, and nobody can tell which number it was.
_SHORTENED = re.compile(r"[+-]?\d+(?:[.,]\d+)?[eE][+-]\d+")
# So many rows that cannot be used are told one by one; all of them are shown with the step.
_TOLD_ROWS = 5
_NO_PRODUCTS = N_("the ERP gave no products; nothing was changed")


@dataclass(frozen=True)
class ErpProducts:
    """What the ERP gave.

    rows: the columns COLUMNS, a row per usable product, text or None; is_active is boolean.
    set_aside: kind, erp_id, sku, where, reason; rows that cannot be used, erp_id and sku None where they cannot be
    read. What we have of them should stay as it is. warnings: sentences about them, and about rows that are used
    although something about them is odd. absent: kind → the columns of COLUMNS that its table does not have.
    """

    rows: pd.DataFrame
    set_aside: pd.DataFrame
    warnings: tuple[str, ...]
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def read_erp(settings: ErpSettings) -> ErpProducts:
    """All parents and variants of the ERP, from the files when they are set, else by SQL.

    Raises SettingsError when none is configured; ErpError when it cannot be read, has a fault of form (erp_files.py; by
    SQL: other rows than the database counts), lacks a column that is needed, or gave no products at all: an empty
    answer looks exactly like a catalogue without products, and nothing must be changed on its word.
    """
    if settings.erp_parents_file is not None and settings.erp_variants_file is not None:
        parents = read_file(settings.erp_parents_file, end_open=settings.erp_files_end_open)
        variants = read_file(settings.erp_variants_file, end_open=settings.erp_files_end_open)
    elif settings.erp_database_url is not None:
        queries = {"ERP_PARENTS_QUERY": settings.erp_parents_query, "ERP_VARIANTS_QUERY": settings.erp_variants_query}
        parents, variants = _read_sql(settings.erp_database_url.get_secret_value(), queries)
    else:
        raise SettingsError("no ERP is configured; set ERP_DATABASE_URL, or ERP_PARENTS_FILE and ERP_VARIANTS_FILE")
    return judge(parents, variants)


def look_at_files(settings: ErpSettings) -> None:
    """Look at the form of the ERP's files, where it is read from files: what every run needs is told before all else.

    Raises ErpError for a fault of form, a column that is needed, and files without a product.
    """
    paths = [path for path in (settings.erp_parents_file, settings.erp_variants_file) if path is not None]
    rows = [look_at_file(path, needed=("id", "sku"), end_open=settings.erp_files_end_open) for path in paths]
    if paths and not any(rows):
        raise ErpError(_NO_PRODUCTS)


def look_at_erp(settings: ErpSettings) -> str:
    """What the ERP has, for people: files are read whole, of a database one row of each query with its columns.

    Raises as `read_erp`.
    """
    if settings.erp_database_url is None or settings.erp_parents_file is not None:
        read = read_erp(settings)
        unusable = languages.told(f", {len(read.set_aside)} rows cannot be used") if len(read.set_aside) else ""
        return languages.told(f"{len(read.rows):,} products in the files{unusable}")
    queries = {"parent": settings.erp_parents_query, "variant": settings.erp_variants_query}
    with _connected(settings.erp_database_url.get_secret_value()) as connection:
        for kind, query in queries.items():
            one = connection.execution_options(stream_results=True).execute(sa.text(query))
            names, rows = list(one.keys()), [tuple(found) for found in one.fetchmany(1)]
            one.close()
            _in_our_columns(kind, pd.DataFrame(rows, columns=names, dtype=object))
    return languages.told("both queries give rows with the columns that are needed")


def judge(parents: pd.DataFrame, variants: pd.DataFrame) -> ErpProducts:
    """Parents and variants as read, with the contract's column names in any case, to usable rows and the others.

    Rows without id or SKU, with a value that is too long for the column or that a spreadsheet shortened, or with an id
    or SKU that an earlier row of the same kind has (in the order of the ids) are set aside. A variant may name a parent
    that is not there. Where a row stands is said by the index of its frame.
    """
    rows = pd.concat([_in_our_columns("parent", parents), _in_our_columns("variant", variants)], ignore_index=True)
    if rows.empty:
        raise ErpError(_NO_PRODUCTS)
    ids = list(zip(rows["kind"].tolist(), rows["erp_id"].tolist(), strict=True))
    rows = rows.iloc[sorted(range(len(ids)), key=lambda at: _id_order(*ids[at]))].reset_index(drop=True)
    reasons = _reasons(rows)
    bad = reasons.notna()
    usable = rows.loc[~bad, list(COLUMNS)].reset_index(drop=True)
    if usable.empty:
        raise ErpError(
            f"the ERP gave no usable product ({len(rows)} rows, the first: {rows['where'].iloc[0]}: {reasons[0]}); "
            "nothing was changed"
        )
    usable.loc[usable["kind"] == "parent", "parent_erp_id"] = None
    warnings = _strange_parents(usable, set(rows.loc[rows["kind"] == "parent", "erp_id"]))
    set_aside = rows.loc[bad, ["kind", "erp_id", "sku", "where"]].assign(reason=reasons[bad]).reset_index(drop=True)
    for name in ("erp_id", "sku"):
        legible = [None if _is_shortened(value) else value for value in set_aside[name].tolist()]
        set_aside[name] = pd.Series(legible, dtype=object)
    absent = {kind: _absent(source) for kind, source in (("parent", parents), ("variant", variants))}
    return ErpProducts(usable, set_aside, (*_unusable(set_aside), *warnings), absent)


def _unusable(set_aside: pd.DataFrame) -> tuple[str, ...]:
    """A sentence for people about the rows that cannot be used."""
    if set_aside.empty:
        return ()
    told = [f"{row.where}: {row.reason}" for row in set_aside.head(_TOLD_ROWS).itertuples()]
    if len(set_aside) > len(told):
        told.append(languages.told(f"and {len(set_aside) - len(told)} more"))
    return (
        languages.told(
            f"{len(set_aside)} rows of the ERP cannot be used; what we have of them stays as it is: {'; '.join(told)}."
        ),
    )


@contextmanager
def _connected(url: str) -> Iterator[sa.Connection]:
    """A connection to the ERP's database. Raises ErpError for whatever the database or its driver does not do."""
    try:
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise ErpError(f"the ERP's database could not be read: {_cause(error, url)}; check ERP_DATABASE_URL") from None


def _read_sql(url: str, queries: Mapping[str, str]) -> list[pd.DataFrame]:
    """The rows of the queries, by their settings' names, as many as the database itself counts."""
    with _connected(url) as connection:
        frames = [_rows(connection, name, query) for name, query in queries.items()]
        counts = [_counted(connection, query) for query in queries.values()]
    for name, frame, counted in zip(queries, frames, counts, strict=True):
        if counted is not None and counted != len(frame):
            raise ErpError(
                f"the ERP's database gave {len(frame)} rows for {name} but counts {counted}; nothing was changed. "
                "Run again; if it stays so, look for what cuts the answer off"
            )
    return frames


def _rows(connection: sa.Connection, name: str, query: str) -> pd.DataFrame:
    result = connection.execute(sa.text(query))
    rows = [tuple(row) for row in result]
    places = [f"{name} row {at}" for at in range(1, len(rows) + 1)]
    return pd.DataFrame(rows, columns=list(result.keys()), index=places, dtype=object)


def _counted(connection: sa.Connection, query: str) -> int | None:
    """How many rows the database itself counts; None for a query that it cannot count as a subquery."""
    counting = f"SELECT count(*) FROM ({query.strip().rstrip(';')}) counted"  # noqa: S608 (the operator's own query)
    try:
        return int(connection.scalar(sa.text(counting)) or 0)
    except sa.exc.SQLAlchemyError:
        connection.rollback()
        return None


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


def _names(source: pd.DataFrame) -> dict[str, Any]:
    return {str(name).strip().lower(): name for name in source.columns}


def _absent(source: pd.DataFrame) -> tuple[str, ...]:
    """The optional columns that a table of the ERP does not have, by our names."""
    names = _names(source)
    return tuple(ours for ours, theirs in _SOURCE_NAMES.items() if names.keys().isdisjoint(theirs))


def _in_our_columns(kind: str, source: pd.DataFrame) -> pd.DataFrame:
    """The source's columns under our names, as trimmed text; the columns that are optional may be missing."""
    names = _names(source)
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
    rows["where"] = [label if isinstance(label, str) else f"{kind} row {label + 1}" for label in source.index]
    rows["name"] = rows["name"].map(lambda name: name or "")
    return rows


def _text(value: Any) -> str | None:
    """A value as trimmed text, None for nothing."""
    if type(value) is str:
        return value.replace("\0", "").strip() or None
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    if isinstance(value, float | Decimal):
        if value != value:  # NaN
            return None
        # A number of the database with a scale, 214808.00, is 214808; a text stays as it is written.
        return str(int(value)) if value % 1 == 0 else str(value)
    return str(value).replace("\0", "").strip() or None


def _number(value: Any) -> str | None:
    """An id or a SKU as text; whole numbers that a table program made decimals lose their `.0` again."""
    text = _text(value)
    return text.removesuffix(".0") if text and text[:-2].isdecimal() else text


def _is_shortened(text: str | None) -> bool:
    return text is not None and _SHORTENED.fullmatch(text) is not None


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
            return languages.told(f"the {row.kind} has no {name}")
    for column, length in _LENGTHS.items():
        if (found := len(getattr(row, column) or "")) > length:
            return languages.told(f"{column} has {found} characters; {length} fit")
    for column in _CODES:
        if _is_shortened(value := getattr(row, column)):
            return languages.told(f"{column} {value} was shortened by a spreadsheet; write the number out, as text")
    return languages.told("is_active is neither yes nor no") if flag is None else None


def _repeated(row: Any, first: dict[tuple[str, str, str], str]) -> str | None:
    kind, erp_id, sku = row.kind, row.erp_id, row.sku
    if (kind, "id", erp_id) in first:
        return languages.told(f"the id {erp_id} is used twice; the first row, SKU {first[kind, 'id', erp_id]}, is kept")
    if (kind, "sku", sku) in first:
        return languages.told(f"the SKU {sku} is used twice; the {kind} with the id {first[kind, 'sku', sku]} is kept")
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
        languages.told(
            f"{int(strange.sum())} variants name a parent that the ERP does not have, for example {example['sku']} "
            f"(parent {example['parent_erp_id']})"
        ),
    )
