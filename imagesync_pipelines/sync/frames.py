"""The tables that go in and out of the engine: their columns, their types, and what is refused.

No function here changes the frame it is given.
"""

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.sync.model import PlanRow, Scope

# wanted and current. content may be NA; position may be NA, which means: has none.
ROW_COLUMNS = ("key", "group", "position", "fingerprint", "content")
# Rows that cannot be used; group may be NA.
REJECTED_COLUMNS = ("key", "group", "reason")
# A plan: what an adapter gets of each row, and the position before. key_before, position_before and fingerprint_before
# are NA where the target has no such row, position and fingerprint_after where none is wanted.
PLAN_COLUMNS = (*PlanRow._fields, "position_before")

_TEXTS: dict[str, str] = dict.fromkeys(("key", "group", "fingerprint", "content"), "str")
_EXAMPLES = 3
ONE_GROUP = "; a key belongs to one group for good, so make the group a part of it"


def row_frame(rows: Iterable[tuple[object, ...]]) -> pd.DataFrame:
    """Rows, each as ROW_COLUMNS, as the engine takes them."""
    return pd.DataFrame(list(rows), columns=list(ROW_COLUMNS)).astype({"position": "Int64", **_TEXTS})


def check_rows(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """Wanted or current rows as the engine works with them: ROW_COLUMNS only, in their types, a plain row index.

    Raises ValueError, with `name` and examples, for a missing column, a null key, group or fingerprint, a position that
    is no whole number, and a key that is there twice.
    """
    rows = _columns_of(frame, name, ROW_COLUMNS, filled=("key", "group", "fingerprint"))
    try:
        positions = rows["position"].astype("Int64")
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: position must be a whole number or NA ({error})") from None
    rows = rows.assign(position=positions).astype(_TEXTS)
    if not rows["key"].is_unique:
        refuse(rows.loc[rows["key"].duplicated(), "key"], f"{name}: {{}} keys are there more than once")
    return rows


def check_rejected(frame: pd.DataFrame | None) -> pd.DataFrame:
    """Rejected rows in their types; None gives an empty frame. A key may be rejected for several reasons.

    Raises ValueError for a missing column, a null key and a null reason.
    """
    if frame is None:
        return pd.DataFrame({column: pd.Series(dtype="str") for column in REJECTED_COLUMNS})
    return _columns_of(frame, "rejected", REJECTED_COLUMNS, filled=("key", "reason")).astype("str")


def check_columns(frame: pd.DataFrame, name: str, columns: Collection[str]) -> None:
    """Raises ValueError, with `name`, when one of the columns is missing."""
    missing = [column for column in columns if column not in frame.columns]
    if missing:
        raise ValueError(f"{name}: the columns {', '.join(missing)} are missing")


def in_scope(groups: pd.Series, scope: Scope) -> pd.Series:
    """Which rows of a column of groups lie in the scope (True/False); a group that is NA lies in none of groups."""
    if scope.groups is None:
        return pd.Series(True, index=groups.index)
    return groups.isin(list(scope.groups))


def among(values: pd.Series, members: pd.Series) -> pd.Series:
    """Which values are among the members (True/False); Series.isin takes seconds for a million text members."""
    texts, known = (pa.array(one).cast(pa.large_string()) for one in (values, members))
    return pd.Series(np.asarray(pc.is_in(texts, value_set=known, skip_nulls=True)), index=values.index)


def only(frame: pd.DataFrame, rows: pd.Series) -> pd.DataFrame:
    """The rows that are meant (True/False), without a copy where that is all of them."""
    return frame if rows.all() else frame[rows]


def refuse(keys: pd.Series, told: str, because: str = "") -> None:
    """Raises ValueError, with their number in the place of {} and examples, when there are any keys."""
    if len(keys):
        examples = ", ".join(repr(key) for key in keys.head(_EXAMPLES))
        raise ValueError(f"{told.format(len(keys))}, such as {examples}{because}")


def _columns_of(frame: pd.DataFrame, name: str, columns: Collection[str], filled: Collection[str]) -> pd.DataFrame:
    """These columns with a plain row index. Raises ValueError for one that is missing, and a null in `filled`."""
    check_columns(frame, name, columns)
    for column in filled:
        nulls = int(frame[column].isna().sum())
        if nulls:
            raise ValueError(f"{name}: {nulls} rows have no {column}; every row needs one")
    return frame.loc[:, list(columns)].reset_index(drop=True)
