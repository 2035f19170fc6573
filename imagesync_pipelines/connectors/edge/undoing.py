"""Taking back what a run wrote into a store: the plan of it, from the history and the store as it is now.

Pictures come back from what the store itself keeps of those that left; the head office is not asked for anything.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import orjson
import pandas as pd
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import history, store
from imagesync_pipelines.connectors.edge.model import EDGE, Photo, fingerprint
from imagesync_pipelines.connectors.edge.planning import payload_of, written_of
from imagesync_pipelines.connectors.edge.primaries import FIRST
from imagesync_pipelines.connectors.edge.reading import StoreRun, at_store
from imagesync_pipelines.connectors.edge.settings import MEGABYTE, EdgeSettings
from imagesync_pipelines.connectors.edge.shown import listed_names
from imagesync_pipelines.languages import N_, told
from imagesync_pipelines.storage.effects import Effect, EffectRow
from imagesync_pipelines.storage.schema import mirror
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.guard import approved, guard
from imagesync_pipelines.sync.model import EFFECTS, Change, PlanCost, Scope
from imagesync_pipelines.sync.plan import build_plan
from imagesync_pipelines.sync.planned import Planned
from imagesync_pipelines.sync.steps import RunContext, StepResult
from imagesync_pipelines.sync.undo import BY_COMMAND
from imagesync_pipelines.sync.undoing import Asked, UndoRefusedError, limits_of_undo, undo_result, what_to_undo

NOT_KEPT = N_("the store does not keep its picture any more")


def plan_undo(context: RunContext[EdgeSettings], options: Asked) -> StepResult:
    """What would give products of the store the photos back that they had before a run, or take theirs away.

    Nothing is changed yet. Products that somebody changed since are left alone, each with who it was. Removals pass the
    deletion limits. The plan is carried out only by its number.

    Raises UndoRefusedError, AccountBusyError, and the errors of the store's database.
    """
    with at_store(context) as run:
        return make_undo_plan(run, options)


def make_undo_plan(run: StoreRun, options: Asked) -> StepResult:
    """As plan_undo, at a store."""
    context = run.context
    with run.lock():
        # What a run that was killed did is told only in the store.
        history.take_over(run.engine, context.account, run.database)
        undoing = what_to_undo(context, options, partial(_groups_of, run))
        kept = history.find_kept(run.database, _hashes(undoing.effects).values())
        everything = store.read_current(run.database)
    there = everything[among(everything["group"], pd.Series(list(undoing.groups), dtype="str"))]
    found = undoing.reversal(there, lambda effects: _as_kept(effects, kept))
    stay = pd.Series(list(found.refused), dtype="str")
    current, wanted = (rows[~among(rows["group"], stay)] for rows in (there, found.wanted))
    back = {key: history.photo_of(key, values) for key, values in found.values.items()}
    contents = dict(zip(current["key"], current["content"], strict=True))
    contents |= {key: photo.checksum for key, photo in back.items()}
    wanted = wanted.assign(
        content=wanted["key"].map(contents).astype("str"),
        size=wanted["key"].map({key: photo.size for key, photo in back.items()}).fillna(0).astype("int64"),
    )
    scope = Scope(frozenset(undoing.groups - found.refused.keys()), BY_COMMAND)
    built = build_plan(wanted, current, scope, match_position=True)
    guarded = guard(built, scope, limits_of_undo(context), owned=everything[["key", "group"]])
    written = written_of(approved(guarded.plan), wanted, current)
    needed = written[written["needs_bytes"]]
    names = {group: name.words for group, name in listed_names(run.engine, context.account, undoing.groups).items()}
    size = int(needed["size"].sum())
    planned = Planned(
        plan=guarded.plan.assign(product=guarded.plan["group"].map(names).astype("str")),
        held=guarded.held,
        owned=guarded.owned,
        cost=PlanCost(0, size, 0.0),
        payload=_payload(written, back, _hashes(undoing.effects)),
        # The next run looks at everything once.
        scope={"mirror_at": None},
        warnings=tuple(guarded.warnings),
    )
    said = told(f"no downloads, {len(needed)} pictures with {size / MEGABYTE:,.1f} MB that the store keeps.")
    return undo_result(context, planned, undoing, found, names=names, groups="products", cost=said)


def _payload(written: pd.DataFrame, back: Mapping[str, Photo], hashes: Mapping[str, str]) -> Iterator[pd.DataFrame]:
    """The payload of an undo's plan: as any other, with the SHA-256 of the kept picture of each row that needs one."""

    def texts(keys: Sequence[str]) -> pd.DataFrame:
        return pd.DataFrame({"key": keys, "payload": [orjson.dumps(back[key]._asdict()).decode() for key in keys]})

    for rows in payload_of(written, texts):
        kept = [hashes.get(back[key].checksum, "") for key in rows["key"]]
        yield rows.assign(sha256=pd.Series(kept, index=rows.index, dtype="str"))


def _as_kept(effects: Sequence[Effect], kept: Collection[str]) -> list[Effect]:
    """Effects as they can be taken back: to photos that are done, and not to those whose picture is not kept."""

    def judged(row: EffectRow) -> EffectRow:
        if row.change not in EFFECTS or row.change == Change.ADD:
            return row
        if row.before is None:
            return replace(row, lost=row.lost or NOT_KEPT)
        photo = history.photo_of(row.key_before or row.key, row.before)
        missing = row.before.get("sha256", "") not in {"", *kept}
        return replace(
            row,
            fingerprint_before=fingerprint(photo),
            position_before=FIRST if photo.is_primary else photo.sort_order,
            lost=row.lost or (NOT_KEPT if missing else None),
        )

    return [replace(one, rows=tuple(map(judged, one.rows))) for one in effects]


def _hashes(effects: Sequence[Effect]) -> dict[str, str]:
    """The SHA-256 of pictures that left, by the checksum that the head office gives them."""
    before = (row.before for one in effects for row in one.rows if row.before is not None)
    return {str(values["checksum"]).lower(): str(values["sha256"]) for values in before if values.get("sha256")}


def _groups_of(run: StoreRun, skus: Sequence[str]) -> set[str]:
    """The products with photos of these SKUs, listed now or earlier. Raises UndoRefusedError for one that has none."""
    row, sku_of = mirror.c, mirror.c.payload["product_sku"].astext
    mine = (row.connector == EDGE) & (row.account == run.context.account) & sku_of.in_(skus)
    with run.engine.connect() as connection:
        found = connection.execute(sa.select(sku_of, row.group_key).where(mine).distinct()).all()
    if missing := sorted(set(skus) - {sku for sku, _ in found}):
        raise UndoRefusedError(f"The head office lists no photo of a product {missing[0]}; nothing was planned.")
    return {group for _, group in found}
