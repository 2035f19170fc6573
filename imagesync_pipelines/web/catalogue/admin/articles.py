"""A person's word about an article number that no product has: it is that product; kept as a rule, and removed."""

import logging
from typing import Annotated

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.products import article_rules
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, go_on, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

Line = Annotated[Text, Field(max_length=article_rules.LONGEST_NUMBER)]


class Said(BaseModel):
    """A number with the code that a picture names with it, and the product. only_code: of no other code it is said.

    meant: a product that was suggested, sku: one that was typed and goes before it.
    """

    number: Line
    variant: Line = ""
    only_code: Annotated[Text, Field(max_length=1)] = ""
    sku: Line = ""
    meant: Line = ""


@router.post("/admin/articles/rule", name="keep_rule")
def keep(request: Request, opened: Here, who: Admin, said: Annotated[Said, Form()]) -> Response:
    """Keep a rule in this person's name."""
    variant = said.variant if said.only_code else ""
    made = article_rules.add_rule(opened.engine, said.number, variant, said.sku.strip() or said.meant, who.name)
    log.info("%s said that article %r is product %s", who.name, made.words, made.product_id)
    tell(request, f"{made.words} is {made.sku} {made.name}. The next synchronisation follows it.")
    return go_on(str(request.app.url_path_for("unmatched")))


@router.post("/admin/articles/forget", name="forget_rule")
def forget(request: Request, opened: Here, who: Admin, said: Annotated[Said, Form()]) -> Response:
    """Forget a rule."""
    article_rules.remove_rule(opened.engine, said.number, said.variant, who.name)
    log.info("%s forgot the rule of article %r %r", who.name, said.number, said.variant)
    tell(request, "The rule is forgotten. The next synchronisation matches the number without it.")
    return go_on(str(request.app.url_path_for("unmatched")))
