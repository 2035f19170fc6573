"""The state that an application leaves a target in: by the plan that it carried out, as a hash and a number of images.

Two runs that leave the same images with the same content in the same places name the same state.
"""

import hashlib
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from imagesync_pipelines.storage import acknowledged
from imagesync_pipelines.storage.plans import PlanHeader
from imagesync_pipelines.sync.frames import among
from imagesync_pipelines.sync.model import EFFECTS, Change
from imagesync_pipelines.sync.steps import RunContext
from imagesync_pipelines.sync.tally import Applied

# In a plan's scope: it has a row of every image that we own in the target.
WHOLE = "whole"
_FIELD, _ROW = (pa.scalar(one, pa.large_string()) for one in ("\x1f", "\x1e"))


def is_whole(plan: pd.DataFrame, owned: pd.DataFrame | None) -> bool:
    """Whether a plan has a row of all that we own in the target (owned; None: nothing was judged)."""
    if owned is None:
        return False
    known = pd.concat([plan["key"], plan["key_before"].dropna()]) if len(owned) else plan["key"]
    return bool(among(owned["key"], known).all())


def state_of(plan: pd.DataFrame) -> tuple[str, int]:
    """What a target has when all of a guarded plan was carried out: a hash, and how many images these are.

    A place counts where the plan decides about places.
    """
    if plan["position"].isna().all():
        plan = plan.assign(position_before=plan["position"])
    written = plan[plan["change"].isin(EFFECTS) & (plan["change"] != Change.REMOVE)]
    stays = plan[~plan["change"].isin(EFFECTS) & plan["fingerprint_before"].notna()]
    rows = [
        pc.binary_join_element_wise(*(_texts(part[name]) for name in names), _FIELD)
        for part, names in (
            (written, ("key", "fingerprint_after", "position")),
            (stays, ("key_before", "fingerprint_before", "position_before")),
        )
    ]
    texts = pa.concat_arrays(rows)
    texts = texts.take(pc.sort_indices(texts))
    lines = pc.binary_join(pa.LargeListArray.from_arrays(pa.array([0, len(texts)], pa.int64()), texts), _ROW)
    return hashlib.sha256(lines[0].as_buffer()).hexdigest(), len(texts)


def acknowledge(
    context: RunContext[Any], plan: PlanHeader, rows: pd.DataFrame, done: Applied, *, whole: bool, again: bool
) -> None:
    """Note what came of an application: the state of the target where all was carried out and it is known whole.

    again: the plan is of what an application of this run left; done: of both.
    """
    engine, left = context.installation.engine, done.failed + done.refused + done.unknown
    if left or again:
        acknowledged.note_left(engine, context.connector, context.account, plan_id=plan.id, rows=left)
    elif whole:
        acknowledged.note_whole(engine, plan, context.run_id, *state_of(rows))


def _texts(values: pd.Series) -> pa.Array:
    found = pa.array(values.astype("str").fillna(""), pa.large_string())
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
