"""Many effects at a time, as columns; what they say is in effects.py."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from imagesync_pipelines.storage.copying import copy_columns
from imagesync_pipelines.storage.effects import BY, FIELDS, Author
from imagesync_pipelines.storage.schema_effects import effect

# The fields of a row that are JSON already, and those that are numbers.
_JSON, _NUMBERS = ("before", "after"), ("position", "position_before")
# What JSON writes otherwise than it is.
_SPECIAL = r'["\\\x00-\x1f]'


def note_rows(connection: sa.Connection, connector: str, account: str, by: Author, rows: pd.DataFrame) -> None:
    """Note rows of groups in the transaction of the caller, with one COPY however many; none without any.

    rows: group and columns named as the fields of EffectRow are, NA for None; before and after as JSON. A group is one
    effect, wherever its rows stand; they keep their order.
    """
    if rows.empty:
        return
    codes, groups = pd.factorize(rows["group"], sort=False)
    ends = np.cumsum(np.bincount(codes))
    told = _as_json(rows).take(pa.array(np.argsort(codes, kind="stable")))
    lists = pa.ListArray.from_arrays(pa.array(np.append(0, ends), pa.int32()), told)
    number, constants = len(groups), {"connector": connector, "account": account}
    constants |= {name: value for name in BY if (value := getattr(by, name)) is not None}
    columns = {name: pa.repeat(pa.scalar(value), number) for name, value in constants.items()}
    columns["group_key"] = pa.array(groups, pa.string())
    columns["rows"] = pc.binary_join_element_wise("[", pc.binary_join(lists, ","), "]", "")
    types = [{"plan_id": "int8", "rows": "jsonb"}.get(name, "text") for name in columns]
    copy_columns(connection, effect.fullname, pa.table(columns), types)


def _as_json(rows: pd.DataFrame) -> pa.Array:
    """Rows as they are kept, in JSON, without what is NA; no row becomes a Python object."""
    parts: list[Any] = []
    for name in FIELDS:
        if name in rows:
            column = pa.array(rows[name], from_pandas=True)
            column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
            if column.null_count == len(column):
                continue
            values = column.cast(pa.string()) if name in (*_JSON, *_NUMBERS) else _quoted(column.cast(pa.string()))
            named = pc.binary_join_element_wise(f'{"," if parts else ""}"{name}":', values, "")
            parts.append(pc.fill_null(named, "") if named.null_count else named)
    return pc.binary_join_element_wise("{", *parts, "}", "")


def _quoted(texts: pa.Array) -> pa.Array:
    """Texts as JSON has them; NULL stays NULL."""
    if pc.any(pc.match_substring_regex(texts, _SPECIAL)).as_py():
        return pa.array([None if text is None else json.dumps(text) for text in texts.to_pylist()], pa.string())
    return pc.binary_join_element_wise('"', texts, '"', "")
