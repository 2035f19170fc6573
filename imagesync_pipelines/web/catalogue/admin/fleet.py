"""Every target on one page: what it acknowledged, whose account it is, in what it differs, and planning its repair.

A moved account a person accepts on the terminal.
"""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import _
from imagesync_pipelines.registry import connector_named, connectors
from imagesync_pipelines.settings import SettingsError, load_settings
from imagesync_pipelines.sync.fleet import Name, Target, fleet
from imagesync_pipelines.sync.identity import AccountLine, overview
from imagesync_pipelines.web.catalogue.admin.runs import launched, sync_of_account
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, private_page
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter()

Part = Annotated[Text, Field(max_length=300)]


class Meant(BaseModel):
    """One target."""

    connector: Part
    account: Part = ""


@router.get("/admin/fleet", name="fleet")
def targets(request: Request, opened: Here, _: Viewer) -> Response:
    """Every target, those that differ first; then whose accounts the others are that are recorded or declared."""
    found, others, told = _known(opened)
    context = {
        "targets": sorted(found, key=lambda one: not (one.differs or one.late)),
        "others": others,
        "differ": sum(one.differs for one in found),
        "late": sum(one.late for one in found),
        "told": told,
    }
    return private_page(request, "admin/fleet.html", context)


@router.post("/admin/fleet/plan", name="plan_repair")
def plan_repair(request: Request, opened: Here, who: Admin, meant: Annotated[Meant, Form()]) -> Response:
    """Start the run that reads a target and its source whole and plans what would put it right; nothing is written."""
    if meant.connector not in connector_titles():
        raise HTTPException(404, _("There is no such connector."))
    whole = {"full": True} if "full" in connector_named(meant.connector).options.model_fields else {}
    run = sync_of_account(opened, meant.connector, meant.account, dry_run=True, **whole)
    return launched(request, opened, who, run)


def _known(opened: Opened) -> tuple[list[Target], list[AccountLine], str]:
    """All targets, the other accounts, and what is wrong with the accounts file, where that is so."""
    told, declared, repairable = dict[str, None](), dict[str, dict[str, str]](), set[Name]()
    late_after = {}
    for one in connectors():
        try:
            settings = load_settings(one.settings)
            late_after[one.name] = opened.clock() - timedelta(hours=one.fresh_hours(settings))
            declared[one.name] = dict(one.declared(opened.shared, settings))
            names = one.channels(opened.shared)
            told |= dict.fromkeys(one.wrong_accounts(opened.shared))
            repairable |= {(one.name, name) for name in names if name or not one.missing(opened.shared, settings)}
        except SettingsError as error:
            told[str(error)] = None
    lines = overview(opened.engine, declared)
    mirrored = {one.name: one.mirrored_as for one in connectors()}

    def source_of(connector: str, account: str) -> str:
        return mirrored[connector](account) if connector in mirrored else account

    found = fleet(opened.engine, lines, repairable, late_after=late_after, source_of=source_of)
    shown = {(one.connector, one.account) for one in found}
    return found, [one for one in lines if (one.connector, one.account) not in shown], "\n".join(told)
