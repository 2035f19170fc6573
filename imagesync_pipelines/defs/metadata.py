"""Values that the Dagster UI shows well: bounded tables, counts, metrics, links."""

import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from operator import index
from urllib.parse import quote, urlsplit

import dagster as dg
import pandas as pd

SHOWN_ROWS = 20
# The UI shows Markdown and JSON of fewer characters inline and hides longer values behind a button.
INLINE_CHARACTERS = 1000
CELL_CHARACTERS = 80

Number = int | float
Cell = str | int | float | bool | None

_MARKDOWN_SPECIAL = re.compile(r"[&<>|\\`*_{}\[\]()#+\-.!~=:]")
# Written as references, because a backslash before them is read differently inside and outside of tables.
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "\\": "&#92;"}
# GitHub's Markdown makes links even of escaped bare addresses; an invisible joiner takes the address apart.
_BARE_ADDRESS = re.compile(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)")
_WORD_JOINER = "\u2060"


def plain_text(value: object, limit: int = CELL_CHARACTERS) -> str:
    """One line of printable text of at most `limit` characters; nothing for a missing value.

    Control and direction-changing characters are left out: they can make one text look like another.
    """
    if value is None or value is pd.NA or value is pd.NaT or (isinstance(value, float) and math.isnan(value)):
        return ""
    line = " ".join(str(value).split())
    line = "".join(letter for letter in line if unicodedata.category(letter) not in {"Cc", "Cf", "Cs"})
    return line if len(line) <= limit else line[: limit - 1] + "…"


def escape_markdown(value: object, limit: int = CELL_CHARACTERS) -> str:
    """Foreign text as Markdown that shows exactly this text: no emphasis, link, picture or HTML comes of it."""
    text = _BARE_ADDRESS.sub(_WORD_JOINER, plain_text(value, limit))
    return _MARKDOWN_SPECIAL.sub(lambda found: _REFERENCES.get(found.group(), "\\" + found.group()), text)


def safe_url(url: str) -> str | None:
    """The URL, ready to stand inside Markdown, or None when it is no http(s) URL of a host or carries credentials."""
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        return None
    if parts.scheme not in {"http", "https"} or not host or parts.username or parts.password:
        return None
    return quote(url, safe=":/?#@%&=+,;~-._!$'*")


def markdown_link(label: object, url: str) -> str:
    """A Markdown link; only the escaped label when the URL is nothing a browser should open."""
    target = safe_url(url)
    return f"[{escape_markdown(label)}]({target})" if target else escape_markdown(label)


def markdown_list(texts: Collection[object]) -> dg.MarkdownMetadataValue:
    """Foreign texts as a bounded Markdown list that stays inline, with the exact count of those left out."""
    if not texts:
        return dg.MetadataValue.md("none")
    lines: list[str] = []
    for text in list(texts)[:SHOWN_ROWS]:
        line = f"- {escape_markdown(text, limit=200)}"
        if lines and _length([*lines, line]) > INLINE_CHARACTERS - 40:
            break
        lines.append(line)
    if len(texts) > len(lines):
        lines.append(f"- … and {len(texts) - len(lines):,} more")
    return dg.MetadataValue.md("\n".join(lines))


def markdown_table(frame: pd.DataFrame, *, markdown: Collection[str] = ()) -> dg.MarkdownMetadataValue:
    """The first rows of a frame as a Markdown table that stays inline, followed by the exact number of rows.

    Every value is escaped, but in the columns named by `markdown`, which hold what markdown_link and its like returned.
    Rows are left out from the end until the table is short enough; one row is always shown.
    """
    columns = [str(column) for column in frame.columns]
    head = ["| " + " | ".join(escape_markdown(column) for column in columns) + " |", "|" + " --- |" * len(columns)]
    rows: list[str] = []
    for record in frame.head(SHOWN_ROWS).itertuples(index=False, name=None):
        cells = [
            str(value) if column in markdown else escape_markdown(value)
            for column, value in zip(columns, record, strict=True)
        ]
        row = "| " + " | ".join(cells) + " |"
        if rows and _length([*head, *rows, row]) > INLINE_CHARACTERS - 60:
            break
        rows.append(row)
    footer = f"\n{len(rows):,} of {len(frame):,} rows" if len(rows) < len(frame) else f"\n{len(frame):,} rows"
    return dg.MetadataValue.md("\n".join([*head, *rows, footer]))


def table(frame: pd.DataFrame) -> dict[str, dg.MetadataValue]:
    """The first 20 rows of a frame as a plain table, under `sample`, and its exact number of rows.

    Missing values become None: the UI's JSON knows no NaN.
    """
    columns = [str(column) for column in frame.columns]
    records = [
        dg.TableRecord({column: _cell(value) for column, value in zip(columns, record, strict=True)})
        for record in frame.head(SHOWN_ROWS).itertuples(index=False, name=None)
    ]
    schema = dg.TableSchema(
        [dg.TableColumn(column, _column_type(frame.dtypes.iloc[i])) for i, column in enumerate(columns)]
    )
    return {"sample": dg.MetadataValue.table(records, schema=schema), **row_count(len(frame))}


def row_count(rows: int) -> dict[str, dg.MetadataValue]:
    """The number that the asset page shows as "Row count"."""
    return {"dagster/row_count": dg.MetadataValue.int(int(rows))}


def size_bytes(size: int) -> dict[str, dg.MetadataValue]:
    """The number that the asset page shows as "Storage", in bytes."""
    return {"dagster/size_bytes": dg.MetadataValue.int(int(size))}


def metrics(values: Mapping[str, Number]) -> dict[str, dg.MetadataValue]:
    """Numbers that the UI plots over time, under names like `images/added`; what is not finite is left out."""
    return {name: _number(value) for name, value in values.items() if math.isfinite(value)}


def columns(descriptions: Mapping[str, tuple[str, str]]) -> dict[str, dg.MetadataValue]:
    """The "Columns" section of an asset's page from name → (type, description)."""
    described = [dg.TableColumn(name, kind, description=text) for name, (kind, text) in descriptions.items()]
    return {"dagster/column_schema": dg.MetadataValue.table_schema(dg.TableSchema(described))}


def names(keys: Iterable[str]) -> str:
    """Up to 20 names in a sentence, with the exact count of those left out."""
    shown = list(keys)
    more = f" and {len(shown) - SHOWN_ROWS:,} more" if len(shown) > SHOWN_ROWS else ""
    return ", ".join(plain_text(name) for name in shown[:SHOWN_ROWS]) + more


def _length(lines: Collection[str]) -> int:
    return sum(len(line) + 1 for line in lines)


def _number(value: Number) -> dg.MetadataValue:
    return dg.MetadataValue.float(float(value)) if isinstance(value, float) else dg.MetadataValue.int(index(value))


def _cell(value: object) -> Cell:
    unboxed = value.item() if hasattr(value, "item") and callable(value.item) else value
    if isinstance(unboxed, bool | int):
        return unboxed
    if isinstance(unboxed, float):
        return unboxed if math.isfinite(unboxed) else None
    return plain_text(unboxed, limit=200) or None


def _column_type(dtype: object) -> str:
    if pd.api.types.is_bool_dtype(dtype):  # type: ignore[arg-type]
        return "bool"
    if pd.api.types.is_integer_dtype(dtype):  # type: ignore[arg-type]
        return "int"
    return "float" if pd.api.types.is_float_dtype(dtype) else "string"  # type: ignore[arg-type]
