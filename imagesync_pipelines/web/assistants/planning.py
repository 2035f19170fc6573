"""The tools by which an assistant proposes: each starts a run that makes a plan, which a person looks at and applies.

Nothing here applies a plan, allows a removal, pins, excludes or dismisses: these are words of people.
"""

import math
from typing import Annotated

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from imagesync_pipelines.registry import CONNECTORS, connector_named
from imagesync_pipelines.storage.effects import touched_by
from imagesync_pipelines.storage.rate_budget import Window, take
from imagesync_pipelines.sync.job_runs import STARTED_BY_TAG, JobRun
from imagesync_pipelines.web.assistants.desk import Call, opened_of, require
from imagesync_pipelines.web.assistants.reading import RunId, Sku
from imagesync_pipelines.web.catalogue.access import ApiKey, KeyScope
from imagesync_pipelines.web.catalogue.admin.dagster import DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, dagster_of, sync_of_account, undo_of
from imagesync_pipelines.web.catalogue.models import MOST_SKUS

Skus = Annotated[list[Sku], Field(min_length=1, max_length=MOST_SKUS, description="of the products that it is about")]
Name = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")]
# Each is a run, and takes the place of one of a person.
PLANS_AN_HOUR = Window(30, 3600)
_NAMED = 5
_NEXT = "Ask `run` until it has ended; a person looks at its plan on the page Plans of the catalogue, and applies it."


class Started(BaseModel):
    """A run that makes a plan."""

    run_id: str
    what_next: str = _NEXT


def plan_synchronisation(call: Call, connector: Name, skus: Skus, account: Name = "") -> Started:
    """Plan to synchronise products with a channel: nothing is changed until a person applies the plan.

    account: of a connector with several, such as edge stores. It needs a key with the scope `plan`.
    """
    key = require(call, KeyScope.PLAN)
    if connector not in CONNECTORS:
        raise ToolError(f"There is no connector {connector!r}; there are: {', '.join(CONNECTORS)}.")
    opened, wanted = opened_of(call), list(dict.fromkeys(sku.strip() for sku in skus))
    try:
        run = sync_of_account(opened, connector, account, dry_run=True, skus=wanted)
    except (NothingToStartError, DagsterUnreachableError) as error:
        raise ToolError(str(error)) from error
    declared = connector_named(connector)
    known = declared.skus_known(opened.engine, opened.storage, account if declared.accounts is not None else "", wanted)
    if unknown := [sku for sku in wanted if sku not in known]:
        more = f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
        raise ToolError(f"Nothing was started; {', '.join(map(repr, unknown[:_NAMED]))}{more}: {declared.unknown_sku}.")
    return _started(call, run, key)


def plan_undo(call: Call, run_id: RunId) -> Started:
    """Plan to take back what a run changed: nothing is changed until a person applies the plan.

    It needs a key with the scope `plan`.
    """
    key, opened = require(call, KeyScope.PLAN), opened_of(call)
    with opened.engine.connect() as connection:
        touched = touched_by(connection, run_id)
    try:
        run = undo_of(run_id, touched)
    except NothingToStartError as error:
        raise ToolError(str(error)) from error
    return _started(call, run, key)


def _started(call: Call, run: JobRun, key: ApiKey) -> Started:
    opened = opened_of(call)
    budget, now = f"catalogue:key:{key.id}:plans", opened.clock().timestamp()
    if wait := math.ceil(take(opened.engine, budget, (PLANS_AN_HOUR,), now)):
        said = f"The key {key.name} has started {PLANS_AN_HOUR.calls} plans within an hour, all that it may"
        raise ToolError(f"{said}; try again in {wait} s.")
    try:
        return Started(run_id=dagster_of(opened).launch(run, {STARTED_BY_TAG: f"key {key.name}"}))
    except DagsterUnreachableError as error:
        raise ToolError(str(error)) from error
