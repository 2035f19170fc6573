"""The images of products planned and applied: what is the same for every source that brings some."""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from imagesync_pipelines import languages
from imagesync_pipelines.languages import N_
from imagesync_pipelines.products.primaries import repair_primaries
from imagesync_pipelines.products.target import Payload, ProductImageTarget, read_contents, values_of
from imagesync_pipelines.storage.identities import installation_id
from imagesync_pipelines.storage.plans import UNDOES, is_reversal
from imagesync_pipelines.storage.schema import product_image, unmatched_article, unused_image
from imagesync_pipelines.storage.schema_catalogue import shown_image
from imagesync_pipelines.storage.statistics import analyze_if_many
from imagesync_pipelines.sync.apply import apply_database
from imagesync_pipelines.sync.carry_out import Broke, Known, Loaded, applied_summary, applied_warnings, carry_out
from imagesync_pipelines.sync.frames import among, only
from imagesync_pipelines.sync.guard import approved, guard
from imagesync_pipelines.sync.model import EFFECTS, Change, PlanCost, Scope
from imagesync_pipelines.sync.plan import build_plan, group_states
from imagesync_pipelines.sync.planned import READ_SINCE, Planned, limits_of, restored_note
from imagesync_pipelines.sync.steps import RunContext, StepResult, Texts
from imagesync_pipelines.sync.tally import Applied
from imagesync_pipelines.sync.undoing import limits_of_undo, marking
from imagesync_pipelines.upstream.canonical import stable_address

# A batch is one transaction, and while one is written the next one is made ready; a small plan is halved between them.
ROWS_PER_BATCH = 5000
WRITERS = 2
# The reason of an update that changes nothing else.
EXPIRING = N_("its address expires")

# Name → type and meaning, as the UI's page of the Dagster asset lists them.
PRODUCT_IMAGE_COLUMNS = {
    "product_id": ("bigint", "our product, parent or variant"),
    "external_id": ("varchar(255)", "the image's own id at its source"),
    "image_url": ("varchar(500)", "the picture for a product page"),
    "thumbnail_url": ("varchar(500)", "the picture for a list"),
    "image_type": ("varchar(50)", "the source's own word, e.g. Produktfoto"),
    "is_primary": ("boolean", "shown first; exactly one per product with images"),
    "is_front": ("boolean", "a front view of this very product"),
    "priority": ("integer", "1 Produktfoto and front, 2 Produktfoto, 3 front, 4 the rest"),
    "alt_text": ("varchar(255)", "product name and image type"),
    "metadata": ("jsonb", "the canonical record without stock"),
    "last_synced": ("timestamptz", "when the row was last written"),
}


@dataclass(frozen=True)
class Unmatched:
    """What a plan found that no product shows.

    unmatched: number, variant, external_id, image_type, image_url, reason, candidates (list of {sku, name, why}).
    unused: external_id, image_type, image_url, reason; images that no product shows although no number is wrong.
    """

    unmatched: pd.DataFrame
    unused: pd.DataFrame


def plan_images(
    context: RunContext[Any],
    wanted: pd.DataFrame,
    current: pd.DataFrame,
    scope: Scope,
    *,
    payload: pd.DataFrame,
    products: pd.DataFrame,
    contents: Callable[[pd.Series], pd.Series],
    judged: pd.DataFrame | None = None,
    rejected: pd.DataFrame | None = None,
    expiring: Collection[str] = (),
    force: bool = False,
    allow_mass_delete: bool = False,
    undoing: bool = False,
) -> Planned:
    """What would change on the products, judged by the guard and not stored yet; `product` is SKU and name, for people.

    current: all that this source has in product_image; judged: the rows of it that the plan may touch, None: all.
    payload: key, and what applying needs, of all wanted rows; those that change are kept. products: id, sku, name.
    contents: of wanted rows, by their keys; asked only for what comes where something goes.
    expiring: the keys of rows whose stored address is to be replaced, though nothing else of them changed. Contents are
    compared as stable addresses: the same one with another signature is no other picture. undoing: this plan takes back
    or away itself, so what stays undone or is excluded is no matter. Raises IdentityRefusedError.
    """
    pa.default_memory_pool().release_unused()  # what the planned rows were made of
    there = current if judged is None else judged
    # Only what comes where something goes may be its new name: of all others nobody asks for the content.
    goes, comes = ~among(there["key"], wanted["key"]), ~among(wanted["key"], there["key"])
    goes &= among(there["group"], wanted.loc[comes, "group"])
    comes &= among(wanted["group"], there.loc[goes, "group"])
    old = partial(read_contents, context.installation.engine, context.connector)
    built = build_plan(
        _with_contents(wanted, comes, contents), _with_contents(there, goes, old), scope, rejected=rejected, force=force
    )
    due = (built["change"] == Change.KEEP) & built["fingerprint_after"].notna() & built["key"].isin(list(expiring))
    if due.any():
        built = built.assign(
            change=built["change"].mask(due, str(Change.UPDATE)), reason=built["reason"].mask(due, EXPIRING)
        )
    pa.default_memory_pool().release_unused()
    limits = limits_of_undo(context) if undoing else limits_of(context, lifted=allow_mass_delete)
    guarded = guard(built, scope, limits, owned=current[["key", "group"]])
    effects = approved(guarded.plan)
    effects = effects.loc[effects["change"].isin(EFFECTS), ["key", "group"]]
    context.check_installation()
    restored_at, told = restored_note(context)
    everything = scope.groups is None and scope.proof is not None and scope.proof.complete
    return Planned(
        plan=guarded.plan.assign(product=labels_of(guarded.plan["group"], products)),
        held=guarded.held,
        owned=guarded.owned,
        cost=PlanCost(0, 0, 0),
        states=group_states(only(current, among(current["group"], effects["group"]))),
        payload=[only(payload, among(payload["key"], effects["key"]))],
        scope={READ_SINCE: restored_at if everything else ""},
        warnings=(*told, *guarded.warnings),
    )


def apply_images(
    context: RunContext[Any],
    loaded: Loaded,
    known: Known,
    open_payload: Callable[[Loaded], AbstractContextManager[Payload]],
    plan_again: Callable[[Collection[str]], Loaded] | None = None,
    *,
    again: str = N_("plan again"),
    first: Callable[[], None] = lambda: None,
) -> StepResult:
    """Apply a plan of product images under the connector's lock; primaries that are not right are set right.

    known: what the source is known to want now. open_payload: the values of a plan's rows while it is applied.
    plan_again: plans the products that moved since the plan was made, which are applied in the same run; None: they are
    refused with that reason. again: what a person can do about those. first: done before, under the lock. A plan that
    takes back or away has its values itself, and rests on nothing that the source is known to want. Raises
    AccountBusyError.
    """
    engine, plan_id = context.installation.engine, loaded.header.id
    if is_reversal(loaded.scope):
        values = partial(values_of, context.plans.need_payload(plan_id))
        known, open_payload, plan_again = lambda _: (), lambda _: nullcontext(values), None
    with context.lock():
        first()
        apply = partial(_apply, context, open_payload)
        applied = carry_out(context, loaded, known, apply)
        if plan_again is not None and applied.refused:
            piece = plan_again(applied.refused_in)
            applied = applied.plus(carry_out(context, piece, known, apply, before=applied))
        repaired = repair_primaries(engine, context.connector, context.author())
    with engine.begin() as connection:
        mine = sa.select(sa.func.count()).where(product_image.c.source == context.connector)
        rows = connection.execute(mine).scalar_one()
        for table in (product_image, shown_image):
            analyze_if_many(connection, table, applied.added + applied.updated + applied.removed, rows)
    warnings = tuple(applied_warnings(context, loaded, applied, again=again))
    summary = applied_summary(context, loaded, applied, warnings=warnings, calls=0)
    return StepResult(
        rows=rows,
        numbers={"primaries/repaired": repaired},
        shown={
            "plan_id": plan_id,
            "errors": Texts(applied.errors),
            "dagster/table_name": "imagesync.product_image",
            "account": f"installation {installation_id(engine)}",
        },
        lines=[
            languages.told(
                f"Plan {plan_id}: {applied.added} added, {applied.updated} updated, {applied.removed} removed, "
                f"{applied.kept} kept, {applied.failed} failed, {applied.refused} refused, in {len(applied.affected)} "
                f"products; {repaired} products got their primary back; {rows} product images now."
            )
        ],
        warnings=summary.warnings,
        summary=summary,
        columns=PRODUCT_IMAGE_COLUMNS,
    )


def write_unmatched(engine: sa.Engine, source: str, found: Unmatched, read_ids: Collection[str] | None = None) -> None:
    """Replace what a source has in the product manager's tables of what no product shows, in one transaction.

    read_ids: only what they say about these images.
    """
    now = datetime.now(UTC)
    with engine.begin() as connection:
        for table, frame in ((unmatched_article, found.unmatched), (unused_image, found.unused)):
            known = table.c.source == source
            if read_ids is not None:
                known &= table.c.external_id == sa.any_(sa.literal(list(read_ids), sa.ARRAY(sa.Text)))
            connection.execute(table.delete().where(known))
            rows: list[dict[Any, Any]] = frame.assign(seen_at=now, source=source).to_dict(orient="records")
            if rows:
                connection.execute(table.insert(), rows)
                analyze_if_many(connection, table, len(rows))


def _apply(
    context: RunContext[Any],
    open_payload: Callable[[Loaded], AbstractContextManager[Payload]],
    loaded: Loaded,
    broke: Broke,
) -> Applied:
    with open_payload(loaded) as payload:
        return apply_database(
            loaded.rows,
            ProductImageTarget(
                context.installation.engine,
                context.connector,
                payload,
                loaded.resumed,
                context.author(loaded.header.id, loaded.scope.get(UNDOES)),
                marking(context, loaded),
            ),
            context.quarantine,
            states=loaded.states,
            rows_per_batch=max(1, min(ROWS_PER_BATCH, -(-loaded.total // WRITERS))),
            writers=WRITERS,
            before_write=context.check_locks,
            on_progress=lambda done: context.progress(languages.told("rows written"), done, loaded.total),
            broke=broke,
        )


def _with_contents(rows: pd.DataFrame, which: pd.Series, contents: Callable[[pd.Series], pd.Series]) -> pd.DataFrame:
    """Rows as the engine takes them, with the contents of these."""
    content = pd.Series(pd.NA, index=rows.index, dtype="str")
    if which.any():
        content[which] = _stable_contents(contents(rows.loc[which, "key"]).astype("str")).array
    return rows.assign(content=content)


def _stable_contents(contents: pd.Series) -> pd.Series:
    asked = contents.str.contains("?", regex=False, na=False)
    return contents.mask(asked, contents[asked].map(stable_address)) if asked.any() else contents


def labels_of(groups: pd.Series, products: pd.DataFrame) -> pd.Series:
    """SKU and name of each group's product, for people; none for a group that is NA."""
    ids, asked = products["id"].to_numpy(), np.asarray(pc.fill_null(pa.array(groups).cast(pa.int64()), -1))
    order = np.argsort(ids, kind="stable")
    first, behind = (np.searchsorted(ids, asked, side=side, sorter=order) for side in ("left", "right"))
    places = np.full(len(asked), -1)
    places[first < behind] = order[first[first < behind]]
    sku, name = (pd.Series(products[column].array.take(places, allow_fill=True)) for column in ("sku", "name"))
    return (sku + " " + name).set_axis(groups.index)
