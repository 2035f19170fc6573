"""The rows of a stored plan as people see them: found, named, with their pictures, and what became stale since."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pandas as pd
import sqlalchemy as sa
from upath import UPath

from imagesync_pipelines import languages
from imagesync_pipelines.storage.effects import effects_about
from imagesync_pipelines.storage.errors import StorageError
from imagesync_pipelines.storage.plans import (
    CLEAN_UP,
    KIND,
    ONLY_NAMED,
    PAGES,
    PART_OF,
    PAYLOAD,
    NewPlan,
    PlanHeader,
    Plans,
    is_reversal,
)
from imagesync_pipelines.sync.connector import Connector, RowName, RowPictures, keys_alone, no_names
from imagesync_pipelines.sync.excluding import Channel, excluded_groups, refused_groups
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.guard import held_rows
from imagesync_pipelines.sync.model import EFFECTS
from imagesync_pipelines.sync.planned import POLICY
from imagesync_pipelines.sync.stale import JUDGED_COLUMNS, judged_otherwise
from imagesync_pipelines.sync.timeline import lines_of

# As people look at them: what goes away first.
HELD = "held"
CHANGES = ("remove", HELD, "update", "add", "reject")
# So many newer plans of the same account are looked at, the newest first.
_NEWER = 5


class PlanLine(NamedTuple):
    """One row of a plan. product: what it is about, for people; stale: why it is refused now, '' where it is not."""

    group: str
    change: str
    product: str
    reason: str
    product_id: int | None
    shown: RowPictures
    stale: str = ""


def rows_of(plan: pd.DataFrame, change: str) -> pd.DataFrame:
    """The rows with this change; HELD: those that are held back."""
    return held_rows(plan) if change == HELD else plan[plan["change"] == change]


def changing_rows(plan: pd.DataFrame) -> pd.DataFrame:
    """The rows that change and those that are held back, in the order of CHANGES."""
    parts = [rows_of(plan, change) for change in CHANGES]
    return pd.concat([one for one in parts if len(one)] or [plan.iloc[:0]])


def found_rows(
    rows: pd.DataFrame, text: str, engine: sa.Engine, header: PlanHeader, connector: Connector | None
) -> pd.DataFrame:
    """The rows in which a person's words stand: in the product's code or name, the group, the key or the reason."""
    words = text.casefold().split()
    if not words or rows.empty:
        return rows
    groups = rows["group"].dropna().unique().tolist()
    names = _names(engine, header, connector, groups)
    called = rows["group"].map({group: name.words for group, name in names.items()})
    columns = [called, *(rows[name] for name in ("product", "group", "key", "reason") if name in rows)]
    whole = columns[0].fillna("")
    for column in columns[1:]:
        whole = whole.astype("str") + " " + column.fillna("").astype("str")
    there = whole.str.casefold()
    fits = pd.Series(True, index=rows.index)
    for word in words:
        fits &= there.str.contains(word, regex=False)
    return rows[fits]


def plan_lines(
    engine: sa.Engine,
    storage: UPath,
    header: PlanHeader,
    connector: Connector | None,
    rows: pd.DataFrame,
    stale: Mapping[str, str],
) -> list[PlanLine]:
    """Rows of a plan for people. connector: None for one that was taken out since; stale: as stale_by gives it."""
    records = [{str(name): value for name, value in one.items()} for one in rows.to_dict(orient="records")]
    groups = {str(row["group"]) for row in records if not pd.isna(row["group"])}
    names = _names(engine, header, connector, groups)
    pictures_of = keys_alone if connector is None else connector.pictures_of
    pictures = pictures_of(engine, storage, header, records)
    if connector is not None and header.applied_at is not None:
        pictures = _with_past(engine, storage, header, connector, list(zip(records, pictures, strict=True)))
    lines = []
    for row, shown in zip(records, pictures, strict=True):
        group = "" if pd.isna(row["group"]) else str(row["group"])
        name, label = names.get(group, RowName(None, "", "")), row.get("product")
        product = name.words or (group if label is None or pd.isna(label) else str(label))
        reason = "" if pd.isna(row["reason"]) else str(row["reason"])
        lines.append(PlanLine(group, str(row["change"]), product, reason, name.product_id, shown, stale.get(group, "")))
    return lines


def _with_past(
    engine: sa.Engine,
    storage: UPath,
    header: PlanHeader,
    connector: Connector,
    rows: Sequence[tuple[Mapping[str, Any], RowPictures]],
) -> list[RowPictures]:
    """The pictures of rows of a plan that was applied; what was there before is what its effects tell of."""
    account = str(header.scope.get("account", ""))
    groups = {(connector.name, str(row["group"])) for row, shown in rows if not shown.before}
    with engine.connect() as connection:
        effects = effects_about(connection, groups) if groups else []
    told = {
        line.key: line.past_before
        for line in lines_of(effects)
        if line.by.plan_id == header.id and line.account == account
    }
    asked = [None if shown.before else told.get(str(row["key"])) for row, shown in rows]
    found = iter(connector.past_of(engine, storage, account, [one for one in asked if one is not None]))
    return [
        shown if one is None else shown._replace(before=next(found))
        for (_, shown), one in zip(rows, asked, strict=True)
    ]


def newer_plans(plans: Plans, header: PlanHeader) -> list[PlanHeader]:
    """The newest plans of a plan's account that are newer than it and judge whole groups, the newest first.

    None for a plan that was applied: it is history, and nothing of it is stale. None for what takes back or
    away: it wants what no other plan wants, and rests on nothing but what is there, which applying looks at.
    """
    if header.applied_at is not None or is_reversal(header.scope):
        return []
    return _newer_of(plans.all(header.connector, _account_of(header)), header)


def _account_of(header: PlanHeader) -> dict[str, Any]:
    return {name: value for name, value in header.scope.items() if name == "account"}


def _newer_of(all_plans: Iterable[PlanHeader], header: PlanHeader) -> list[PlanHeader]:
    newer = (one for one in all_plans if one.id > header.id)
    return [one for one in newer if not one.scope.get(ONLY_NAMED) and one.scope.get(KIND) != PAGES][:_NEWER]


def excluded_since(
    engine: sa.Engine, header: PlanHeader, connector: Connector | None, rows: pd.DataFrame
) -> dict[str, str]:
    """The groups that change or may in a plan, and that it must not write by what is excluded now, each with why."""
    return _refused(header, rows, _excluded_now(engine, header, connector))


def _excluded_now(engine: sa.Engine, header: PlanHeader, connector: Connector | None) -> Mapping[str, str] | None:
    """What is excluded now from the channel of a plan; None where that is no matter to it."""
    if connector is None or header.applied_at is not None:
        return None
    return excluded_groups(engine, _channel_of(header, connector)) or ({} if is_reversal(header.scope) else None)


def _channel_of(header: PlanHeader, connector: Connector) -> Channel:
    return Channel(header.connector, str(header.scope.get("account", "")), connector.groups_by_sku)


def _refused(header: PlanHeader, rows: pd.DataFrame, excluded: Mapping[str, str] | None) -> dict[str, str]:
    if excluded is None:
        return {}
    changing = {*rows.loc[rows["change"].isin(EFFECTS), "group"], *held_rows(rows)["group"]}
    return refused_groups(header.scope, changing, excluded)


def stale_by(plans: Plans, header: PlanHeader, newer: Sequence[PlanHeader], rows: pd.DataFrame) -> dict[str, str]:
    """The groups of a plan that its newer_plans judge otherwise, each with the reason for people."""
    changing = rows[rows["change"].isin(EFFECTS)]
    stale: dict[str, str] = {}
    for one in newer:
        left = changing[~changing["group"].isin(list(stale))]
        if left.empty:
            break
        by = languages.told(f"plan {one.id}")
        policy = (header.scope.get(POLICY, {}), one.scope.get(POLICY, {}))
        stale |= judged_otherwise(left, plans.load(one.id, columns=JUDGED_COLUMNS), by=by, policy=policy)
    return stale


def groups_of_changes(rows: pd.DataFrame) -> int:
    """How many groups of a plan change; what is held back is carried out with the plan too."""
    changing = pd.concat([rows.loc[rows["change"].isin(EFFECTS), "group"], held_rows(rows)["group"]])
    return int(changing.nunique())


def expired_because(plans: Plans, header: PlanHeader, connector: Connector) -> str:
    """Why nothing of a plan can be carried out any more, as a sentence; '' where something can.

    Raises PlanMissingError.
    """
    newer, excluded = newer_plans(plans, header), _excluded_now(plans.engine, header, connector)
    first = _refused_as_a_whole(plans, header, newer, excluded)
    return languages.told(f"Plan {header.id} expired: all of it is refused now, such as {first}.") if first else ""


def _refused_as_a_whole(
    plans: Plans, header: PlanHeader, newer: Sequence[PlanHeader], excluded: Mapping[str, str] | None
) -> str:
    """Why one group of a plan is refused where all of its groups are, else ''. Raises PlanMissingError."""
    if not newer and excluded is None:
        return ""
    rows = plans.load(header.id)
    stale = {**_refused(header, rows, excluded), **stale_by(plans, header, newer, rows)}
    if not stale or len(stale) < groups_of_changes(rows):
        return ""
    return next(iter(stale.values()))


def expired_among(
    plans: Plans,
    headers: Iterable[PlanHeader],
    connector_of: Callable[[str], Connector | None],
    kept: Callable[[tuple[object, ...], Callable[[], str]], str],
) -> dict[int, str]:
    """Of these plans those of which nothing can be carried out any more, by number, each with why as a sentence.

    By the rule of expired_because, for a list of them: accounts are asked once, and rows are read only of a plan that
    is not applied and has newer ones, or exclusions. kept: remembers an answer by what it was made from.
    """
    of_account: dict[tuple[str, str], tuple[list[PlanHeader], dict[str, str]]] = {}
    found = {}
    for header in headers:
        connector = connector_of(header.connector)
        if header.applied_at is not None or connector is None:
            continue
        owner = header.connector, str(header.scope.get("account", ""))
        if owner not in of_account:
            excluded = excluded_groups(plans.engine, _channel_of(header, connector))
            of_account[owner] = list(plans.all(header.connector, _account_of(header))), excluded
        all_plans, excluded = of_account[owner]
        reverses = is_reversal(header.scope)
        newer, now = [] if reverses else _newer_of(all_plans, header), excluded or ({} if reverses else None)
        asked = (header.id, *(one.id for one in newer), None if now is None else frozenset(now))
        work_out = partial(_refused_as_a_whole, plans, header, newer, now)
        try:
            first = kept(asked, work_out)
        except StorageError:
            continue
        if first:
            found[header.id] = languages.told(f"all of it is refused now, such as {first}")
    return found


def part_of(plans: Plans, header: PlanHeader, groups: Collection[str]) -> int:
    """A plan of some groups of a stored plan, as that has them, carried out only by its number; returns its number.

    Raises PlanMissingError.
    """
    rows = plans.load(header.id)
    rows = rows[rows["group"].isin(list(groups))]
    counts = {str(change): int(number) for change, number in rows["change"].value_counts().items()}
    scope = {
        **header.scope,
        # A clean-up is carried out by other rules, its parts too.
        ONLY_NAMED: CLEAN_UP
        if header.scope.get(ONLY_NAMED) == CLEAN_UP
        else languages.told(f"a part of plan {header.id}"),
        PART_OF: header.id,
        "held_back": len(held_rows(rows)),
        "warnings": [],
    }
    payload = _payload_of(plans.payload_portions(header.id), groups) if PAYLOAD in header.files else None
    return plans.save(rows, payload, NewPlan(header.connector, None, scope, counts, {}, header.scan_id))


def _payload_of(portions: Iterable[pd.DataFrame], groups: Collection[str]) -> list[pd.DataFrame]:
    """What writing to other systems needs of these groups; what is looked up by keys is kept whole."""
    return [
        one[among(one["group"], pd.Series(list(groups), dtype="str"))] if "group" in one else one for one in portions
    ]


def _names(
    engine: sa.Engine, header: PlanHeader, connector: Connector | None, groups: Collection[str] | Sequence[str]
) -> Mapping[str, RowName]:
    names_of = no_names if connector is None else connector.names_of
    return names_of(engine, header.scope.get("account", ""), groups)
