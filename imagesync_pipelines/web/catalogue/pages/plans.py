"""Stored plans: what was about to change, with pictures before and after."""

from dataclasses import dataclass
from typing import Annotated, Literal

import pandas as pd
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.connector import RowPictures, keys_alone
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId, connector_titles, render
from imagesync_pipelines.web.catalogue.state import Opened

router = APIRouter(include_in_schema=False)

PLANS = 100
ROWS = 50
CHANGES = ("add", "update", "remove", "reject")


@dataclass(frozen=True)
class PlanLine:
    """One row of a plan. product: what it is about, for people; shown: its picture before and after."""

    product: str
    reason: str
    shown: RowPictures


@router.get("/plans", name="plans")
def plans(request: Request, opened: Here, connector: Annotated[str, Query(max_length=50)] = "") -> Response:
    """The newest plans of one connector or of all."""
    chosen = connector if connector in connector_titles() else ""
    newest = Plans(opened.engine, opened.storage).newest(PLANS, chosen or None)
    return render(request, "plans.html", {"connector": chosen, "plans": newest})


@router.get("/plans/{plan_id}", name="plan")
def plan(
    request: Request,
    opened: Here,
    plan_id: RowId,
    change: Literal["", "add", "update", "remove", "reject"] = "",
    start: Annotated[int, Query(ge=0, le=10_000_000)] = 0,
) -> Response:
    """One plan with its rows of one change, some at a time; without a change the first that it has."""
    header = Plans(opened.engine, opened.storage).header(plan_id)
    shown: str = change or next((one for one in CHANGES if header.counts.get(one)), CHANGES[0])
    lines, total = plan_page(opened, header, shown, start, ROWS)
    context = {
        "plan": header,
        "change": shown,
        "changes": [(one, int(header.counts.get(one, 0))) for one in CHANGES],
        "lines": lines,
        "total": total,
        "start": start,
        "rows": ROWS,
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "plan.html", context)


def plan_page(opened: Opened, header: PlanHeader, change: str, start: int, limit: int) -> tuple[list[PlanLine], int]:
    """The rows of a plan with this change from a place on, and how many have it.

    Raises PlanMissingError.
    """
    rows = Plans(opened.engine, opened.storage).load(header.id)
    found = rows[rows["change"] == change]
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
