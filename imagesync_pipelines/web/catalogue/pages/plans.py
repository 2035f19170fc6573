"""Stored plans: what is about to change, or was, row by row with names and pictures, and what people said of it."""

from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage.effects import touched_by
from imagesync_pipelines.storage.plan_words import dismissal, dismissed_of, words_of
from imagesync_pipelines.storage.plans import PlanHeader, Plans
from imagesync_pipelines.sync.connector import Connector
from imagesync_pipelines.sync.plan_rows import (
    CHANGES,
    HELD,
    PlanLine,
    excluded_since,
    expired_among,
    found_rows,
    groups_of_changes,
    newer_plans,
    plan_lines,
    rows_of,
    stale_by,
)
from imagesync_pipelines.web.catalogue.pages.history import ConnectorName
from imagesync_pipelines.web.catalogue.pages.pictures import picture_token
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId, connector_titles, render
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter(include_in_schema=False)

PLANS = 100
ROWS = 50
Change = Literal["", "add", "update", "remove", "reject", "held"]
Start = Annotated[int, Query(ge=0, le=10_000_000)]
Words = Annotated[Text, Query(max_length=200)]


class PlanPage(NamedTuple):
    """Some rows of a plan. total: of how many. stale: groups that are refused now; of_groups: that change or may."""

    lines: list[PlanLine]
    total: int
    stale: int
    of_groups: int

    @property
    def is_expired(self) -> bool:
        """Whether nothing of it can be carried out any more."""
        return 0 < self.of_groups == self.stale


@router.get("/plans", name="plans")
def plans(request: Request, opened: Here, connector: ConnectorName = "") -> Response:
    """The newest plans of one connector or of all."""
    chosen = connector if connector in connector_titles() else ""
    newest = Plans(opened.engine, opened.storage).newest(PLANS, chosen or None)
    dismissed = dismissed_of(opened.engine, [one.id for one in newest])
    expired = expired_among(
        Plans(opened.engine, opened.storage),
        [one for one in newest if one.id not in dismissed],
        declared,
        opened.expired.get,
    )
    context = {"connector": chosen, "plans": newest, "dismissed": dismissed, "expired": expired}
    return render(request, "plans.html", context)


@router.get("/plans/{plan_id}", name="plan")
def plan(
    request: Request, opened: Here, plan_id: RowId, change: Change = "", start: Start = 0, q: Words = ""
) -> Response:
    """One plan with its rows of one change, some at a time; without a change the first that it has."""
    header = Plans(opened.engine, opened.storage).header(plan_id)
    counts = {**dict.fromkeys(CHANGES, 0), **header.counts, HELD: int(header.scope.get("held_back", 0))}
    shown: str = change or next((one for one in CHANGES if counts[one]), CHANGES[0])
    page = plan_page(opened, header, shown, start, ROWS, q.strip())
    context = {
        "plan": header,
        "page": page,
        "change": shown,
        "changes": [(one, counts[one]) for one in CHANGES],
        "start": start,
        "rows": ROWS,
        "q": q.strip(),
        "address": lambda **said: "?" + urlencode({"change": shown, **({"q": q.strip()} if q.strip() else {}), **said}),
        "words": words_of(opened.engine, plan_id),
        "dismissed": dismissal(opened.engine, plan_id),
        "can_undo": _can_undo(opened, header),
        "token": lambda url: picture_token(opened, url),
    }
    return render(request, "plan.html", context)


def _can_undo(opened: Opened, header: PlanHeader) -> bool:
    """Whether the run that carried the plan out changed something that is still known."""
    if header.applied_run is None:
        return False
    with opened.engine.connect() as connection:
        return bool(touched_by(connection, header.applied_run))


def declared(name: str) -> Connector | None:
    """The connector of this name; None: it was taken out since."""
    return connector_named(name) if name in connector_titles() else None


def plan_page(opened: Opened, header: PlanHeader, change: str, start: int, limit: int, text: str = "") -> PlanPage:
    """The rows of a plan with this change, and in which these words stand, from a place on. Raises PlanMissingError."""
    store = Plans(opened.engine, opened.storage)
    rows, connector = store.load(header.id), declared(header.connector)
    newer = newer_plans(store, header)
    asked = (header.id, *(one.id for one in newer))
    stale = opened.stale.get(asked, lambda: stale_by(store, header, newer, rows)) if newer else {}
    stale = {**excluded_since(opened.engine, header, connector, rows), **stale}
    found = found_rows(rows_of(rows, change), text, opened.engine, header, connector)
    part = found.iloc[start : start + limit]
    lines = plan_lines(opened.engine, opened.storage, header, connector, part, stale)
    return PlanPage(lines, len(found), len(stale), groups_of_changes(rows))
