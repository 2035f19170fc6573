"""A person's word about a stored plan: applying it or a part of it, approving, dismissing, with a comment."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import _
from imagesync_pipelines.registry import connector_named
from imagesync_pipelines.storage import plan_words
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.sync.plan_rows import expired_because, part_of
from imagesync_pipelines.web.catalogue.admin.runs import NothingToStartError, apply_of, launched
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, go_on, tell
from imagesync_pipelines.web.catalogue.pages.plans import ROWS
from imagesync_pipelines.web.catalogue.pages.rendering import Here, RowId
from imagesync_pipelines.web.service import Text

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

Group = Annotated[Text, Field(max_length=300)]


class Said(BaseModel):
    """A comment; part: only the chosen groups are meant."""

    comment: Annotated[Text, Field(max_length=plan_words.LONGEST_COMMENT)] = ""
    part: Literal["", "1"] = ""
    groups: Annotated[list[Group], Field(max_length=ROWS)] = []


@router.post("/admin/plans/{plan_id}/apply", name="apply_plan")
def apply_plan(request: Request, opened: Here, who: Admin, plan_id: RowId, said: Annotated[Said, Form()]) -> Response:
    """Start the run that applies a stored plan, or a new plan of the groups of it that were chosen."""
    plans = Plans(opened.engine, opened.storage)
    header = plans.header(plan_id)
    apply_of(header)
    if (dismissed := plan_words.dismissal(opened.engine, plan_id)) is not None:
        raise NothingToStartError(
            f"Plan {plan_id} was dismissed by {dismissed.said_by}. Approve it first, or plan again."
        )
    if expired := expired_because(plans, header, connector_named(header.connector)):
        raise NothingToStartError(expired)
    if not said.part:
        answer = launched(request, opened, who, apply_of(header))
        plan_words.say(opened.engine, plan_id, plan_words.APPLY, who.name, said.comment)
        return answer
    if not said.groups:
        raise NothingToStartError("Choose what to apply; nothing was started.")
    part = plans.header(part_of(plans, header, set(said.groups)))
    answer = launched(request, opened, who, apply_of(part))
    as_part = " ".join(filter(None, (f"as plan {part.id}.", said.comment)))
    plan_words.say(opened.engine, plan_id, plan_words.PART, who.name, as_part)
    plan_words.say(opened.engine, part.id, plan_words.APPLY, who.name, said.comment)
    return answer


@router.post("/admin/plans/{plan_id}/say/{word}", name="say_of_plan")
def say(
    request: Request,
    opened: Here,
    who: Admin,
    plan_id: RowId,
    word: Literal["approve", "dismiss"],
    said: Annotated[Said, Form()],
) -> Response:
    """Approve a plan, or dismiss it: nobody applies it then, here or from the terminal, until it is approved."""
    Plans(opened.engine, opened.storage).header(plan_id)
    plan_words.say(opened.engine, plan_id, word, who.name, said.comment)
    log.info("%s: %s of plan %s", who.name, word, plan_id)
    tell(request, _("The plan is approved.") if word == "approve" else _("The plan is dismissed; nobody can apply it."))
    return go_on(str(request.app.url_path_for("plan", plan_id=plan_id)))
