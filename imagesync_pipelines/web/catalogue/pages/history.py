"""What happened and what is about to: past runs of all connectors with small plots, and stored plans with pictures."""

import logging
from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple, get_args

import pandas as pd
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.connector import RowPictures, keys_alone
from imagesync_pipelines.sync.guard import held_rows
from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import (
    Here,
    RowId,
    connector_titles,
    freshness,
    job_words,
    render,
)
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)
log = logging.getLogger(__name__)

SHOWN = 50
PLANS = 100
ROWS = 50
ConnectorName = Annotated[str, Query(max_length=50)]
Change = Literal["", "add", "update", "remove", "reject", "held"]
CHANGES = get_args(Change)[1:]
Start = Annotated[int, Query(ge=0, le=10_000_000)]


@router.get("/history", name="history")
def history(request: Request, opened: Here, connector: ConnectorName = "") -> Response:
    """The last runs of one connector or of all."""
    chosen = connector if connector in connector_titles() else ""
    runs = read_runs(opened, SHOWN, chosen or None)
    told = runs or ()
    context = {
        "connector": chosen,
        "runs": told,
        "is_readable": runs is not None,
        "counts": counts_plot(told),
        "durations": durations_plot(told),
        "size": (WIDTH, HEIGHT),
        "freshness": freshness(opened.engine),
        "held": held.sentences(held.undecided(opened.engine, chosen or None)),
    }
    return render(request, "history.html", context)


def read_runs(opened: Opened, limit: int, connector: str | None) -> Sequence[PastRun] | None:
    """The last runs; None when Dagster's records cannot be read now: no page needs them."""
    try:
        return opened.read_runs(limit, connector)
    except Exception:
        log.exception("Dagster's records cannot be read")
        return None


WIDTH, HEIGHT = 600, 96
GAP = 2.0
THINNEST = 1.5
# With fewer runs than this the bars keep to the left and do not grow wider.
FEWEST = 20
COUNTED = ("added", "updated", "deleted")


class Bar(NamedTuple):
    """One rectangle in the plot's own units, from its top left corner; `kind` names its colour, title is for people."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


class Plot(NamedTuple):
    """The bars, the oldest on the left, and the largest value that there is."""

    bars: list[Bar]
    largest: float


def counts_plot(runs: Sequence[PastRun]) -> Plot:
    """Images added, updated and deleted per run, one on the other; runs newest first."""
    return _plot(
        [
            [
                (kind, value, f"{job_words(run.job)}: {value} {kind}")
                for kind in COUNTED
                if (value := getattr(run, kind))
            ]
            for run in reversed(runs)
        ]
    )


def durations_plot(runs: Sequence[PastRun]) -> Plot:
    """Seconds per run; runs newest first, one that is under way has none yet."""
    rows = []
    for run in reversed(runs):
        seconds = (run.completed - run.started).total_seconds() if run.started and run.completed else 0.0
        rows.append(
            [("failed" if run.status == "failed" else "seconds", seconds, f"{job_words(run.job)}: {seconds:.1f} s")]
        )
    return _plot(rows)


def _plot(columns: Sequence[Sequence[tuple[str, float, str]]]) -> Plot:
    totals = [sum(value for _, value, _ in column) for column in columns]
    largest = max(totals, default=0.0)
    step = WIDTH / max(len(columns), FEWEST)
    bars = []
    for place, (column, total) in enumerate(zip(columns, totals, strict=True)):
        base = float(HEIGHT)
        for kind, value, title in column:
            if value > 0:
                # The square root lets a run of ten be seen beside one of ten thousand.
                height = max((total / largest) ** 0.5 * HEIGHT * value / total, THINNEST)
                base = max(base - height, 0.0)
                x, y, width, tall = (round(side, 2) for side in (place * step, base, step - GAP, height))
                bars.append(Bar(x, y, width, tall, kind, title))
    return Plot(bars, largest)


class PlanLine(NamedTuple):
    """One row of a plan. product: what it is about, for people; shown: its picture before and after."""

    product: str
    reason: str
    shown: RowPictures


@router.get("/plans", name="plans")
def plans(request: Request, opened: Here, connector: ConnectorName = "") -> Response:
    """The newest plans of one connector or of all."""
    chosen = connector if connector in connector_titles() else ""
    newest = Plans(opened.engine, opened.storage).newest(PLANS, chosen or None)
    return render(request, "plans.html", {"connector": chosen, "plans": newest})


@router.get("/plans/{plan_id}", name="plan")
def plan(request: Request, opened: Here, plan_id: RowId, change: Change = "", start: Start = 0) -> Response:
    """One plan with its rows of one change, some at a time; without a change the first that it has."""
    header = Plans(opened.engine, opened.storage).header(plan_id)
    counts = {**dict.fromkeys(CHANGES, 0), **header.counts, "held": int(header.scope.get("held_back", 0))}
    shown: str = change or next((one for one in CHANGES if counts[one]), CHANGES[0])
    lines, total = plan_page(opened, header, shown, start, ROWS)
    context = {
        "plan": header,
        "change": shown,
        "changes": [(one, counts[one]) for one in CHANGES],
        "lines": lines,
        "total": total,
        "start": start,
        "rows": ROWS,
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "plan.html", context)


def plan_page(opened: Opened, header: PlanHeader, change: str, start: int, limit: int) -> tuple[list[PlanLine], int]:
    """The rows of a plan with this change from a place on, and how many have it; "held": what is held back.

    Raises PlanMissingError.
    """
    rows = Plans(opened.engine, opened.storage).load(header.id)
    found = rows[rows["change"] == change] if change != "held" else held_rows(rows)
    records = found.iloc[start : start + limit].to_dict(orient="records")
    part = [{str(name): value for name, value in record.items()} for record in records]
    there = header.connector in connector_titles()  # a connector may have been taken out since
    pictures_of = connector_named(header.connector).pictures_of if there else keys_alone
    pictures = pictures_of(opened.engine, opened.storage, header, part)
    lines = []
    for row, shown in zip(part, pictures, strict=True):
        named, reason = row.get("product"), row["reason"]
        product = str(row["group"]) if named is None or pd.isna(named) else str(named)
        lines.append(PlanLine(product, "" if pd.isna(reason) else str(reason), shown))
    return lines, len(found)
