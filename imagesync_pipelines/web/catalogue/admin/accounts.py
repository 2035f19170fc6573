"""Whose account each name of the accounts file is, as it was recorded; a person accepts a moved one on the terminal."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from imagesync_pipelines.registry import connectors
from imagesync_pipelines.settings import SettingsError, load_settings
from imagesync_pipelines.sync.identity import overview
from imagesync_pipelines.web.catalogue.admin.sessions import Viewer, private_page
from imagesync_pipelines.web.catalogue.pages.rendering import Here, connector_titles

router = APIRouter()


@router.get("/admin/accounts", name="accounts")
def accounts(request: Request, opened: Here, _: Viewer) -> Response:
    """Every account that is recorded or declared; where the accounts file cannot be read, the recorded ones."""
    told = ""
    try:
        declared = {one.name: one.declared(opened.shared, load_settings(one.settings)) for one in connectors()}
    except SettingsError as error:
        declared, told = {}, str(error)
    context = {"lines": overview(opened.engine, declared), "titles": connector_titles(), "told": told}
    return private_page(request, "admin/accounts.html", context)
