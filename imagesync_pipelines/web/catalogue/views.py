"""Views of the list that a person keeps under a name: each is what the address of the list says."""

from typing import Annotated
from urllib.parse import parse_qsl, urlencode

import sqlalchemy as sa
from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from sqlalchemy.dialects.postgresql import insert
from starlette.responses import Response

from imagesync_pipelines.languages import _
from imagesync_pipelines.storage.database import read_rows
from imagesync_pipelines.storage.schema_catalogue import saved_view
from imagesync_pipelines.web.catalogue.admin.sessions import Viewer, go_on, tell, visitor
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text

router = APIRouter()

# So many are offered; a person who keeps more finds the others in no list.
MOST = 30
SAID = (
    *("q", "kind", "without_image", "without_front", "low_resolution", "unmatched", "changed_since", "refused_by"),
    "order",
)
Name = Annotated[Text, Field(min_length=1, max_length=60)]


class SavedView(BaseModel):
    """A view: its name, and the query of its address."""

    name: str
    query: str


class KeptView(BaseModel):
    """What a person wants to keep."""

    name: Name
    query: Annotated[Text, Field(max_length=2000)] = ""


def of_visitor(request: Request, opened: Opened) -> list[SavedView]:
    """The views of whoever is signed in, by name."""
    user = visitor(request)
    if user is None:
        return []
    mine = sa.select(saved_view.c.name, saved_view.c.query).where(saved_view.c.user_id == user.id)
    return read_rows(opened.engine, mine.order_by(saved_view.c.name).limit(MOST), SavedView)


def plain_query(query: str) -> str:
    """What of a query the list understands; nothing else is kept."""
    return urlencode([(name, value) for name, value in parse_qsl(query) if name in SAID and value])


@router.post("/admin/views", name="keep_view")
def keep(request: Request, opened: Here, who: Viewer, wanted: Annotated[KeptView, Form()]) -> Response:
    """Keep a view under a name of this person's; one that had the name is replaced."""
    query = plain_query(wanted.query)
    statement = insert(saved_view).values(user_id=who.id, name=wanted.name.strip() or "…", query=query)
    statement = statement.on_conflict_do_update(index_elements=["user_id", "name"], set_={"query": query})
    with opened.engine.begin() as connection:
        connection.execute(statement)
    tell(request, _("Kept as {name}.").format(name=wanted.name))
    return go_on(f"{request.app.url_path_for('products')}?{query}")


@router.post("/admin/views/forget", name="forget_view")
def forget(request: Request, opened: Here, who: Viewer, name: Annotated[Name, Form()]) -> Response:
    """Forget a view of this person's."""
    mine = (saved_view.c.user_id == who.id) & (saved_view.c.name == name)
    with opened.engine.begin() as connection:
        connection.execute(saved_view.delete().where(mine))
    tell(request, _("{name} is kept no longer.").format(name=name))
    return go_on(str(request.app.url_path_for("products")))
