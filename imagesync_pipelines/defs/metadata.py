"""What the Dagster UI shows of a step: its summary, numbers, bounded tables and lists, thumbnails; texts made safe.

The UI shows Markdown and JSON of fewer than 1,000 characters inline and hides longer values behind a button.
"""

import base64
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import SecretStr

from imagesync_pipelines import languages
from imagesync_pipelines.storage.faults import told
from imagesync_pipelines.sync.steps import Json, Number, Pictures, Shown, StepResult, Summary, Table, Texts
from imagesync_pipelines.upstream.redaction import MASK, redact

if TYPE_CHECKING:
    import pandas as pd

# The names under which history.py and alerts.py find these again.
SUMMARY_KEY = "summary"
ERROR_CLASS_KEY = "error_class"
# In a summary: False where the step failed before it counted anything.
COUNTED_KEY = "counted"
# What a step says of itself in words.
SAID_KEY = "said"

SHOWN_ROWS = 20
INLINE_CHARACTERS = 1000
CELL_CHARACTERS = 80
MESSAGE_CHARACTERS = 500
SHOWN_PICTURES = 12
EDGE_PIXELS = 48

Metadata = dict[str, dg.MetadataValue]

_USERINFO = re.compile(r"//[^/\s@'\"]+@")
_MARKDOWN_SPECIAL = re.compile(r"[&<>|\\`*_{}\[\]()#+\-.!~=:]")
# Written as references, because a backslash before them is read differently inside and outside of tables.
_REFERENCES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;", "\\": "&#92;"}
# GitHub's Markdown makes links even of escaped bare addresses; an invisible joiner takes the address apart.
_BARE_ADDRESS = re.compile(r"(?i)(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)")
_WORD_JOINER = "\u2060"
# The types of pandas.NA and pandas.NaT, by name: whatever loads the definitions passes here, and most of it needs no
# pandas.
_MISSING = {"NAType", "NaTType"}


def result_metadata(result: StepResult, secrets: Collection[SecretStr] = ()) -> Metadata:
    """Everything that a step told, in the order in which people read it."""
    found = summary_metadata(result.summary) if result.summary is not None else {}
    if result.lines:
        found[SAID_KEY] = dg.MetadataValue.text("\n".join(result.lines))
    found |= metrics(result.numbers) | shown_metadata(result.shown, secrets)
    if result.rows is not None:
        found["dagster/row_count"] = dg.MetadataValue.int(int(result.rows))
    if result.size is not None:
        found["dagster/size_bytes"] = dg.MetadataValue.int(int(result.size))
    if result.columns:
        columns = [dg.TableColumn(name, kind, description=text) for name, (kind, text) in result.columns.items()]
        found["dagster/column_schema"] = dg.MetadataValue.table_schema(dg.TableSchema(columns))
    return found


def summary_metadata(summary: Summary, *, counted: bool = True) -> Metadata:
    """The whole summary of a run as JSON under `summary`, its status and warnings, and its numbers if it has any.

    counted: whether the step counted anything; else the numbers are those that an earlier step of the run told.
    """
    told = summary.as_json() if counted else {**summary.as_json(), COUNTED_KEY: False}
    values: Metadata = {
        SUMMARY_KEY: dg.MetadataValue.json(told),
        "status": dg.MetadataValue.text(summary.status),
        **(metrics(summary.metrics()) if counted else {}),
    }
    if summary.error_message:
        values["error_message"] = dg.MetadataValue.text(summary.error_message)
    if summary.warnings:
        values["warnings"] = markdown_list(summary.warnings)
    return values


def shown_metadata(shown: Mapping[str, Shown], secrets: Collection[SecretStr] = ()) -> Metadata:
    """Named values as metadata."""
    return {name: _value(value, secrets) for name, value in shown.items()}


def metrics(values: Mapping[str, Number]) -> Metadata:
    """Numbers that the UI plots over time, under names like `images/added`; what is not finite is left out."""
    return {name: _number(value) for name, value in values.items() if math.isfinite(value)}


def markdown_list(texts: Collection[object]) -> dg.MarkdownMetadataValue:
    """Foreign texts as a bounded Markdown list that stays inline, with the exact count of those left out."""
    lines = _that_fit((f"- {escape_markdown(text, limit=200)}" for text in texts), spare=40)
    more = [f"- … and {len(texts) - len(lines):,} more"] if len(texts) > len(lines) else []
    return dg.MetadataValue.md("\n".join([*lines, *more]) or "none")


def markdown_table(frame: "pd.DataFrame") -> dg.MarkdownMetadataValue:
    """The first rows of a frame as a Markdown table that stays inline, followed by the exact number of rows.

    Every value is escaped. Rows are left out from the end until the table is short enough; one row is always shown.
    """
    head = [_table_row(frame.columns), "|" + " --- |" * len(frame.columns)]
    rows = _that_fit(map(_table_row, frame.itertuples(index=False, name=None)), spare=60, head=head)
    footer = f"\n{len(rows):,} of {len(frame):,} rows" if len(rows) < len(frame) else f"\n{len(frame):,} rows"
    return dg.MetadataValue.md("\n".join([*head, *rows, footer]))


def thumbnails(
    pictures: Sequence[tuple[str, str]], fetch: Callable[[str], bytes], secrets: Collection[SecretStr] = ()
) -> dg.MarkdownMetadataValue:
    """The first twelve pictures (label, URL), fetched and embedded; each at most 48 pixels and about 500 bytes.

    A picture that cannot be fetched or decoded is told with its reason in its place: a thumbnail never fails a run.
    Never put these on a partitioned Dagster asset: Dagster copies the metadata onto the event of every partition.
    """
    from imagesync_pipelines.imaging.derivatives import icon

    rows: list[str] = []
    for label, url in pictures[:SHOWN_PICTURES]:
        try:
            cell = f"![](data:image/webp;base64,{base64.b64encode(icon(fetch(url), EDGE_PIXELS)).decode()})"
        except Exception as error:  # noqa: BLE001
            cell = escape_markdown(languages.told(f"no picture: {error_text(error, secrets)}"), limit=120)
        rows.append(f"| {cell} | {escape_markdown(label, limit=40)} |")
    footer = f"\n{len(rows)} of {len(pictures):,} pictures"
    return dg.MetadataValue.md(
        "\n".join(["| | |", "|---|---|", *rows, footer]) if rows else languages.told("no pictures")
    )


def names(keys: Iterable[str]) -> str:
    """Up to 20 names in a sentence, with the exact count of those left out."""
    shown = list(keys)
    more = languages.told(f" and {len(shown) - SHOWN_ROWS:,} more") if len(shown) > SHOWN_ROWS else ""
    return ", ".join(plain_text(name) for name in shown[:SHOWN_ROWS]) + more


def escape_markdown(value: object, limit: int = CELL_CHARACTERS) -> str:
    """Foreign text as Markdown that shows exactly this text: no emphasis, link, picture or HTML comes of it."""
    text = _BARE_ADDRESS.sub(_WORD_JOINER, plain_text(value, limit))
    return _MARKDOWN_SPECIAL.sub(lambda found: _REFERENCES.get(found.group(), "\\" + found.group()), text)


def plain_text(value: object, limit: int = CELL_CHARACTERS) -> str:
    """One line of printable text of at most `limit` characters; nothing for a missing value.

    Control and direction-changing characters are left out: they can make one text look like another.
    """
    if value is None or type(value).__name__ in _MISSING or (isinstance(value, float) and math.isnan(value)):
        return ""
    line = " ".join(str(value).split())
    line = "".join(letter for letter in line if unicodedata.category(letter) not in {"Cc", "Cf", "Cs"})
    return line if len(line) <= limit else line[: limit - 1] + "…"


def error_text(error: BaseException, secrets: Collection[SecretStr] = ()) -> str:
    """An error as one line for people, at most 500 characters, without secrets.

    Our own errors are written for people; a full disk or a database that is gone is told by what to do. Of others the
    name is told too, because their text alone often says little.
    """
    name = type(error).__name__
    text = str(error).strip()
    ours = type(error).__module__.startswith("imagesync_pipelines.")
    if not ours and (said := told(error)) is not None:
        return clean_text(said, secrets)
    return clean_text(text if ours and text else f"{name}: {text}" if text else name, secrets)


def clean_text(text: str, secrets: Collection[SecretStr]) -> str:
    """Text as one line of at most 500 characters, without the secrets and without the user part of any URL."""
    return plain_text(without_secrets(text, secrets), limit=MESSAGE_CHARACTERS)


def without_secrets(text: str, secrets: Collection[SecretStr]) -> str:
    """Text as it is, but without the secrets and the user part of any URL."""
    return redact(_USERINFO.sub(f"//{MASK}@", text), [secret.get_secret_value() for secret in secrets])


def _value(value: Shown, secrets: Collection[SecretStr]) -> dg.MetadataValue:
    match value:
        case Table(frame):
            return markdown_table(frame)
        case Texts(items):
            return markdown_list(items)
        case Json(document):
            return dg.MetadataValue.json(dict(document))
        case Pictures(labels, fetch):
            return thumbnails(labels, fetch, secrets)
        case bool():
            return dg.MetadataValue.bool(value)
        case str():
            return dg.MetadataValue.text(value)
        case _:
            return _number(value)


def _number(value: Number) -> dg.MetadataValue:
    return dg.MetadataValue.float(float(value)) if isinstance(value, float) else dg.MetadataValue.int(index(value))


def _table_row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(escape_markdown(cell) for cell in cells) + " |"


def _that_fit(lines: Iterable[str], *, spare: int, head: Collection[str] = ()) -> list[str]:
    """The first lines that stay inline below `head` with some characters to spare: at most 20, one at least."""
    found: list[str] = []
    left = INLINE_CHARACTERS - spare - sum(len(line) + 1 for line in head)
    for line in lines:
        left -= len(line) + 1
        if len(found) == SHOWN_ROWS or (found and left < 0):
            break
        found.append(line)
    return found
