"""The history of all connectors: past runs from Dagster's records, and small plots of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.sync.job_runs import PastRun
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles, freshness, render
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)
log = logging.getLogger(__name__)

SHOWN = 50


@router.get("/history", name="history")
def history(request: Request, opened: Here, connector: Annotated[str, Query(max_length=50)] = "") -> Response:
    """The last runs of one connector or of all."""
    chosen = connector if connector in connector_titles() else ""
    runs = _runs(opened, chosen)
    told = runs or ()
    context = {
        "connector": chosen,
        "runs": told,
        "is_readable": runs is not None,
        "counts": counts_plot(told),
        "durations": durations_plot(told),
        "size": (WIDTH, HEIGHT),
        "freshness": freshness(opened.engine),
    }
    return render(request, "history.html", context)


def _runs(opened: Opened, connector: str) -> Sequence[PastRun] | None:
    """The runs; None when Dagster's records cannot be read now: the other pages do not need them."""
    try:
        return opened.read_runs(SHOWN, connector or None)
    except Exception:
        log.exception("Dagster's records cannot be read")
        return None


WIDTH, HEIGHT = 600, 96
GAP = 2.0
THINNEST = 1.5
# With fewer runs than this the bars keep to the left and do not grow wider.
FEWEST = 20
COUNTED = ("added", "updated", "deleted")


@dataclass(frozen=True)
class Bar:
    """One rectangle in the plot's own units, from its top left corner; `kind` names its colour, title is for people."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str


@dataclass(frozen=True)
class Plot:
    """The bars, the oldest on the left, and the largest value that there is."""

    bars: tuple[Bar, ...]
    largest: float


def counts_plot(runs: Sequence[PastRun]) -> Plot:
    """Images added, updated and deleted per run, one on the other; runs newest first."""
    return _plot(
        [
            [(kind, value, f"{run.job}: {value} {kind}") for kind in COUNTED if (value := getattr(run, kind))]
            for run in reversed(runs)
        ]
    )


def durations_plot(runs: Sequence[PastRun]) -> Plot:
    """Seconds per run; runs newest first, one that is under way has none yet."""
    rows = []
    for run in reversed(runs):
        seconds = (run.completed - run.started).total_seconds() if run.started and run.completed else 0.0
        rows.append([("failed" if run.status == "failed" else "seconds", seconds, f"{run.job}: {seconds:.1f} s")])
    return _plot(rows)


def _plot(columns: Sequence[Sequence[tuple[str, float, str]]]) -> Plot:
    largest = max((sum(value for _, value, _ in column) for column in columns), default=0.0)
    if not columns or largest <= 0:
        return Plot((), 0.0)
    step = WIDTH / max(len(columns), FEWEST)
    bars = []
    for place, column in enumerate(columns):
        total = sum(value for _, value, _ in column)
        # The square root lets a run of ten be seen beside one of ten thousand.
        tall, base = (total / largest) ** 0.5 * HEIGHT, float(HEIGHT)
        for kind, value, title in column:
            if value > 0:
                height = max(tall * value / total, THINNEST)
                base = max(base - height, 0.0)
                bars.append(
                    Bar(round(place * step, 2), round(base, 2), round(step - GAP, 2), round(height, 2), kind, title)
                )
    return Plot(tuple(bars), largest)
