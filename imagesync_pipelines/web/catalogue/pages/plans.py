"""Stored plans: what was about to change, with pictures before and after."""

from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Query, Request
from starlette.responses import Response

from imagesync_pipelines.storage.errors import PlanDamagedError, PlanMissingError
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId, connector_titles, render
from imagesync_pipelines.web.catalogue.queries.plans import CHANGES, newest_plans, plan_page

router = APIRouter(include_in_schema=False)

PLANS = 100
ROWS = 50


@router.get("/plans", name="plans")
def plans(request: Request, opened: Here, connector: Annotated[str, Query(max_length=50)] = "") -> Response:
    """The newest plans of one connector or of all."""
    chosen = connector if connector in connector_titles() else ""
    return render(
        request, "plans.html", {"connector": chosen, "plans": newest_plans(opened.engine, PLANS, chosen or None)}
    )


@router.get("/plans/{plan_id}", name="plan")
def plan(
    request: Request,
    opened: Here,
    plan_id: RowId,
    change: Literal["", "add", "update", "remove", "reject"] = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """One plan with its rows of one change, some at a time; without a change the first that it has."""
    try:
        header = Plans(opened.engine, opened.storage).header(plan_id)
        shown = change or _first_change(header)
        page = plan_page(opened, header, shown, start, ROWS)
    except (PlanMissingError, PlanDamagedError) as error:
        raise HTTPException(404, str(error)) from None
    context = {
        "plan": header,
        "change": shown,
        "changes": [(one, int(header.counts.get(one, 0))) for one in CHANGES],
        "page": page,
        "start": start,
        "rows": ROWS,
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "plan.html", context)


def _first_change(header: PlanHeader) -> str:
    return next((one for one in CHANGES if header.counts.get(one)), CHANGES[0])
