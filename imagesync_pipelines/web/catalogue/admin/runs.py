"""Starting synchronisations, and watching them."""

import logging
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, HTTPException, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import _
from imagesync_pipelines.registry import connector_named, connectors
from imagesync_pipelines.settings import DEFAULT_SOURCE
from imagesync_pipelines.storage.effects import Touched, touched_by
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync import job_runs
from imagesync_pipelines.sync.connector import TAKE_AWAY, UNDO, Connector
from imagesync_pipelines.sync.excluding import Channel
from imagesync_pipelines.sync.job_runs import STARTED_BY_TAG, JobRun, all_blocks_tags
from imagesync_pipelines.web.catalogue.access import User
from imagesync_pipelines.web.catalogue.admin.dagster import Dagster, DagsterUnreachableError
from imagesync_pipelines.web.catalogue.admin.many import MOST_PRODUCTS
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page
from imagesync_pipelines.web.catalogue.pages.history import read_runs
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter()
MEASURE = "quality__measure"
log = logging.getLogger("imagesync.catalogue")

# What a run changed is on Dagster's records, which are read for the history page as well.
_LOOKED_THROUGH = 50

LONGEST_SKU = 100

ChosenSku = Annotated[str, Query(max_length=LONGEST_SKU)]
RunId = Annotated[str, Path(pattern=r"^[0-9a-f-]{36}$")]
"""The id of a run, as a part of an address."""


class NothingToStartError(Exception):
    """What was asked for makes no run; the message says why. query: of the list in which it was asked for."""

    def __init__(self, said: str, query: str = "") -> None:
        super().__init__(said)
        self.query = query


class StartForm(BaseModel):
    """What to synchronise: products, a whole connector, or one account of a connector ("connector/account").

    channel: with which connector, and account of it, products are.
    """

    what: Annotated[str, Field(max_length=300)] = "products"
    skus: Annotated[str, Field(max_length=MOST_PRODUCTS * (LONGEST_SKU + 2))] = ""
    channel: Annotated[str, Field(max_length=300)] = f"{DEFAULT_SOURCE}/"
    dry_run: Literal["", "1"] = ""


@router.get("/admin/start", name="start")
def start(request: Request, opened: Here, _: Admin, sku: ChosenSku = "") -> Response:
    """What can be started; `sku` is a product that was chosen on another page."""
    return _start_page(request, opened, StartForm(skus=sku))


@router.post("/admin/start", name="start_run")
def start_run(request: Request, opened: Here, who: Admin, form: Annotated[StartForm, Form()]) -> Response:
    """Start a run and go to its page; what cannot be started is told above the form."""
    try:
        return launched(request, opened, who, _asked_for(opened, form))
    except (NothingToStartError, DagsterUnreachableError) as error:
        return _start_page(request, opened, form, str(error))


@router.post("/admin/runs/{run_id}/undo", name="undo_run")
def undo_run(request: Request, opened: Here, who: Admin, run_id: RunId) -> Response:
    """Start the run that plans to take back what a run changed."""
    return launched(request, opened, who, undo_of(run_id, _touched(opened, run_id)))


@router.post("/admin/quality/measure", name="measure")
def measure(request: Request, opened: Here, who: Admin) -> Response:
    """Start the run that measures and judges the main pictures that changed."""
    return launched(request, opened, who, JobRun(MEASURE))


@router.get("/admin/runs/{run_id}", name="run")
def run(request: Request, opened: Here, _: Viewer, run_id: RunId) -> Response:
    """A run: where it is, who started it, and what it changed when it has ended."""
    can_undo = bool(_touched(opened, run_id))
    return private_page(request, "admin/run.html", {**_state(opened, run_id), "can_undo": can_undo})


@router.get("/admin/runs/{run_id}/state", name="run_state")
def run_state(request: Request, opened: Here, _: Viewer, run_id: RunId) -> Response:
    """The part of a run's page that changes; it is asked for again and again until the run has ended."""
    return private_page(request, "admin/_run_state.html", _state(opened, run_id))


def launched(request: Request, opened: Opened, who: User, run: JobRun) -> Response:
    """Start a run in a person's name and go to its page. Raises DagsterUnreachableError."""
    run_id = dagster_of(opened).launch(run, {STARTED_BY_TAG: who.name})
    log.info("%s started run %s of %s", who.name, run_id, run.job)
    return go_on(str(request.app.url_path_for("run", run_id=run_id)))


def dagster_of(opened: Opened) -> Dagster:
    """Dagster's webserver of this installation."""
    return Dagster((opened.settings.dagster_url or opened.shared.webserver_url).rstrip("/"))


def sync_of_account(opened: Opened, connector: str, account: str, *, dry_run: bool = False, **asked: Any) -> JobRun:
    """The run over a connector or one account of it, or the part of that which is asked for.

    Raises NothingToStartError and DagsterUnreachableError.
    """
    job = _job_of(connector, dry_run=dry_run)
    return sync_of_connector(connector, dagster_of(opened).partitions([job])[job], account, dry_run=dry_run, **asked)


def _asked_for(opened: Opened, form: StartForm) -> JobRun:
    """The run for a form. Raises NothingToStartError and DagsterUnreachableError."""
    dry_run = form.dry_run == "1"
    connector, _, account = form.what.partition("/")
    if form.what == "products":
        return _of_products(opened, form, dry_run=dry_run)
    if connector not in connector_titles():
        raise NothingToStartError("Choose what to synchronise.")
    return sync_of_account(opened, connector, account, dry_run=dry_run)


def _of_products(opened: Opened, form: StartForm, *, dry_run: bool) -> JobRun:
    """The run over the products that were typed, with the channel that was chosen. Raises as _asked_for does."""
    skus, (connector, _, account) = skus_of(form.skus), form.channel.partition("/")
    if not skus:
        raise NothingToStartError("Name at least one SKU.")
    if len(skus) > MOST_PRODUCTS:
        raise NothingToStartError(
            f"These are {len(skus):,} SKUs. Name {MOST_PRODUCTS:,} at most, or synchronise the whole connector."
        )
    if connector not in connector_titles() or not _takes_skus(connector_named(connector)):
        raise NothingToStartError("Choose what to synchronise.")
    run, declared = sync_of_account(opened, connector, account, dry_run=dry_run, skus=skus), connector_named(connector)
    writable = [sku for sku in skus if "\0" not in sku]
    known = declared.skus_known(opened.engine, opened.storage, account, writable)
    if unknown := [sku for sku in skus if sku not in known]:
        named, more, why = ", ".join(unknown[:5]), len(unknown) - 5, declared.unknown_sku
        if more > 0:
            raise NothingToStartError(f"{named} and {more} more: {why}. Nothing was started.")
        raise NothingToStartError(f"{named}: {why}. Nothing was started.")
    return run


def _takes_skus(connector: Connector) -> bool:
    """Whether a run of it can be about chosen products."""
    return "skus" in connector.options.model_fields


def _start_page(request: Request, opened: Opened, form: StartForm, wrong: str = "") -> Response:
    status = 409 if wrong else 200
    accounts: dict[str, tuple[str, ...]] = {}
    try:
        jobs = {one.name: _job_of(one.name) for one in connectors() if one.accounts is not None}
        known = dagster_of(opened).partitions(list(jobs.values()))
        accounts = {connector: known[job] for connector, job in jobs.items()}
    except DagsterUnreachableError as error:
        wrong = wrong or str(error)
    whole = [one.name for one in connectors() if one.accounts is None]
    channels = [
        (f"{one.name}/{account}", one.name, account)
        for one in connectors()
        if _takes_skus(one)
        for account in (("",) if one.accounts is None else accounts.get(one.name, ()))
    ]
    context = {
        "form": form,
        "whole": whole,
        "accounts": accounts,
        "channels": channels,
        "wrong": wrong,
        "most_skus": MOST_PRODUCTS,
    }
    return private_page(request, "admin/start.html", context, status=status)


def _state(opened: Opened, run_id: str) -> dict[str, object]:
    """What the page of a run shows; without Dagster's webserver the page stays and says so."""
    try:
        found = dagster_of(opened).run(run_id)
    except DagsterUnreachableError as error:
        return {"run_id": run_id, "problem": str(error)}
    if found is None:
        raise HTTPException(404, _("Dagster has no record of this run."))
    started_by = found.tags.get(STARTED_BY_TAG, "")
    outcome = plan = None
    if found.has_ended:
        plans = Plans(opened.engine, opened.storage).newest(_LOOKED_THROUGH)
        plan = next((one for one in plans if one.run_id == run_id), None)
        runs = read_runs(opened, _LOOKED_THROUGH, None) or ()
        outcome = next((one for one in runs if one.run_id == run_id and one.status != "in_progress"), None)
    return {"run_id": run_id, "run": found, "outcome": outcome, "started_by": started_by, "plan": plan}


def _touched(opened: Opened, run_id: str) -> Sequence[Touched]:
    with opened.engine.connect() as connection:
        return touched_by(connection, run_id)


def _job_of(connector: str, *, dry_run: bool = False) -> str:
    """The job that synchronises a connector, or that stops after its plan."""
    return job_runs.run_of(connector_named(connector), "", {"dry_run": dry_run}).job


def sync_of_connector(
    connector: str, partitions: Sequence[str], account: str, *, dry_run: bool, **asked: Any
) -> JobRun:
    """The run over a whole connector, or over one account of it; `partitions` are those that Dagster has for its job.

    Raises NothingToStartError when there are none, or when the account is none of them.
    """
    declared = connector_named(connector)
    # Products that were chosen are of no pages.
    has_pages = declared.pages is not None and not asked.get("skus")
    if has_pages and not partitions:
        source, command = declared.title.lower(), connector.replace("_", "-")
        raise NothingToStartError(
            f"Dagster does not know any pages of the {source} yet. The sensor {connector}__page_discovery finds them, "
            f"or run `imagesync sync {command}` once."
        )
    if declared.accounts is not None and account not in partitions:
        known = ", ".join(partitions) or "none"
        raise NothingToStartError(f"There is no account or store {account!r} to synchronise; Dagster knows: {known}.")
    tags = all_blocks_tags() if has_pages else None
    return job_runs.run_of(
        declared, account if declared.accounts is not None else "", {"dry_run": dry_run, **asked}, tags
    )


def replay_of(external_ids: Sequence[str]) -> JobRun:
    """The run that tries these images again, from the stored pages. Raises NothingToStartError without any."""
    if not external_ids:
        raise NothingToStartError("None of these is an image of the image database.")
    return job_runs.run_of(connector_named(DEFAULT_SOURCE), "", {"external_ids": list(external_ids)})


def apply_of(plan: PlanHeader) -> JobRun:
    """The run that applies a stored plan. Raises NothingToStartError for a plan that was applied, or begun."""
    if plan.applied_at is not None or plan.begun_run is not None:
        raise NothingToStartError(f"Plan {plan.id} was applied already; make a new one.")
    return job_runs.apply_run(connector_named(plan.connector), str(plan.scope.get("account", "")), plan.id, {})


def undo_of(run_id: str, touched: Sequence[Touched]) -> JobRun:
    """The run that plans to take back a run. Raises NothingToStartError for one of which nothing can be taken back."""
    if not touched:
        raise NothingToStartError(f"Nothing that run {run_id} changed can be taken back.")
    connector = connector_named(touched[0].connector)
    return job_runs.job_run(connector, connector.job(UNDO), touched[0].account, {"run": run_id})


def taking_away(channel: Channel, skus: Sequence[str]) -> JobRun:
    """The run that plans to take away what is there of products that are excluded from a channel."""
    connector = connector_named(channel.connector)
    return job_runs.job_run(connector, connector.job(TAKE_AWAY), channel.account, {"skus": list(skus)})


def skus_of(text: str) -> tuple[str, ...]:
    """The SKUs in what a person typed, separated by blanks, commas, semicolons or lines; each once, in order."""
    return tuple(dict.fromkeys(one for one in re.split(r"[\s,;]+", text) if one))
