"""What happened: past runs of all connectors, with small plots."""

import logging
from collections.abc import Sequence
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.languages import _, retold
from imagesync_pipelines.languages.numbers import fixed
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.job_runs import PastRun, job_words
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles, freshness, render
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)
log = logging.getLogger(__name__)

SHOWN = 50
ConnectorName = Annotated[str, Query(max_length=50)]


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
    said = {"added": _("{job}: {n} added"), "updated": _("{job}: {n} updated"), "deleted": _("{job}: {n} deleted")}
    return _plot(
        [
            [
                (kind, value, words.format(job=retold(job_words(run.job)), n=value))
                for kind, words in said.items()
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
            [
                (
                    "failed" if run.status == "failed" else "seconds",
                    seconds,
                    f"{retold(job_words(run.job))}: {fixed(seconds, 1)} s",
                )
            ]
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
