"""The history of all connectors: past runs from Dagster's records, and small plots of them."""

import logging
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.web.catalogue.pages.plots import HEIGHT, WIDTH, counts_plot, durations_plot
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles, render
from imagesync_pipelines.web.catalogue.queries.freshness import freshness
from imagesync_pipelines.web.catalogue.queries.runs import PastRun
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
