"""Receivers that are told of changes, and what a person does with them, as `imagesync webhook` does on the terminal."""

import logging
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from imagesync_pipelines.languages import _, ngettext, retold, told
from imagesync_pipelines.registry import CONNECTORS
from imagesync_pipelines.settings import SettingsError, load_settings
from imagesync_pipelines.storage import subscriptions
from imagesync_pipelines.storage.errors import AccountBusyError
from imagesync_pipelines.storage.subscriptions import NewSubscription, SubscriptionError
from imagesync_pipelines.upstream.purging import FORMS
from imagesync_pipelines.web.catalogue.admin.sessions import Admin, Viewer, go_on, private_page, tell
from imagesync_pipelines.web.catalogue.pages.rendering import Here
from imagesync_pipelines.web.catalogue.state import Opened
from imagesync_pipelines.web.service import Text
from imagesync_pipelines.web.webhooks_out import managing
from imagesync_pipelines.web.webhooks_out.delivering import Sender
from imagesync_pipelines.web.webhooks_out.rules import EVENTS
from imagesync_pipelines.web.webhooks_out.settings import WebhooksOutSettings

router = APIRouter()
log = logging.getLogger("imagesync.catalogue")

SHOWN = 100
Line = Annotated[Text, Field(max_length=500)]
Action = Literal["pause", "resume", "rotate", "test", "replay", "remove"]


class NewWebhook(BaseModel):
    """What a person fills in. skus: patterns; options: NAME=VALUE; both separated by blanks or lines."""

    name: Line = ""
    form: Line = "standard"
    url: Annotated[Text, Field(max_length=2048)] = ""
    connectors: Annotated[list[Line], Field(max_length=20)] = []
    events: Annotated[list[Line], Field(max_length=20)] = []
    skus: Annotated[Text, Field(max_length=5000)] = ""
    options: Annotated[Text, Field(max_length=5000)] = ""
    secret: Line = ""

    def asked(self) -> NewSubscription:
        """The same as one asks for it."""
        options = dict(one.partition("=")[::2] for one in self.options.split())
        name, skus = self.name.strip(), self.skus.split()
        return NewSubscription(
            name, self.form, self.url, self.secret.strip(), self.connectors, self.events, skus, options
        )


class Replayed(BaseModel):
    """Where a replay begins: the number of an event, or a moment."""

    first: Line = ""


@router.get("/admin/webhooks", name="webhooks")
def webhooks(request: Request, opened: Here, _: Viewer) -> Response:
    """Every receiver, how far it is, and what is wrong with it."""
    return _page(request, opened, NewWebhook())


@router.post("/admin/webhooks", name="add_webhook")
def add(request: Request, opened: Here, who: Admin, form: Annotated[NewWebhook, Form()]) -> Response:
    """Add one."""
    try:
        made = managing.add(_sender(opened), form.asked(), on_page=True)
    except (SubscriptionError, SettingsError, AccountBusyError) as error:
        return _page(request, opened, form, wrong=str(error))
    log.info("%s added the webhook %s", who.name, made.subscription.name)
    return _made(request, opened, made)


@router.get("/admin/webhooks/{name}", name="webhook_log")
def deliveries(request: Request, opened: Here, _: Viewer, name: str) -> Response:
    """What was sent to one, the newest first, and what came of it."""
    one = subscriptions.named(opened.engine, name)
    context = {"one": one, "rows": subscriptions.log_of(opened.engine, one, SHOWN), **_WORDS}
    return private_page(request, "admin/webhook_log.html", context)


@router.post("/admin/webhooks/{name}/{action}", name="change_webhook")
def change(
    request: Request, opened: Here, who: Admin, name: str, action: Action, form: Annotated[Replayed, Form()]
) -> Response:
    """Do what was asked with one, and say what came of it."""
    sender = _sender(opened)
    log.info("%s: %s of the webhook %s", who.name, action, name)
    if action == "rotate":
        return _made(request, opened, managing.rotate(sender, name))
    if action == "pause":
        subscriptions.pause(opened.engine, name, told(f"{who.name} paused it"))
        said = _("{name} is paused; what happens meanwhile is kept.").format(name=name)
    elif action == "resume":
        gone = retold(managing.resume(sender, name).removeprefix("; "))
        said = _("{name} goes on where it was.").format(name=name)
        if gone:
            said = _("{name} goes on where it was; {gone}.").format(name=name, gone=gone)
    elif action == "replay":
        ahead = subscriptions.replay(opened.engine, name, managing.first_of(sender, form.first.strip()))
        said = ngettext(
            "{n} events are looked at again; each message has the id that it had.",
            "{n} events are looked at again; each message has the id that it had.",
            ahead,
        ).format(n=ahead)
    elif action == "remove":
        managing.remove(sender, name)
        said = _("{name} is removed.").format(name=name)
    else:
        outcome = managing.test(sender, name)
        said = _("{name}: it accepted the test (HTTP {status}).").format(name=name, status=outcome.status)
        if outcome.said:
            said = f"{name}: {retold(outcome.said)}."
    return _said(request, said)


def _made(request: Request, opened: Opened, made: managing.Made) -> Response:
    """What is to be done. Only a secret, which goes through no redirect and no cookie, is on the form's own page."""
    if made.shows_secret:
        return _page(request, opened, NewWebhook(), made=made)
    return _said(request, f"{made.subscription.name}: {' '.join(map(retold, made.todo))}")


def _said(request: Request, said: str) -> Response:
    tell(request, said)
    return go_on(str(request.app.url_path_for("webhooks")))


_WORDS = {"state_of": managing.state_of, "wanted_by": managing.wanted_by, "shown_address": managing.shown_address}


def _page(
    request: Request, opened: Opened, form: NewWebhook, *, made: managing.Made | None = None, wrong: str = ""
) -> Response:
    found = subscriptions.every(opened.engine)
    context = {
        "items": [(one, subscriptions.behind(opened.engine, one)) for one in found],
        "form": form,
        "made": made,
        "wrong": wrong,
        "forms": FORMS.values(),
        "events": EVENTS,
        "connectors": [name for name in CONNECTORS if name not in managing.targets()],
        "targets": managing.targets(),
        **_WORDS,
    }
    return private_page(request, "admin/webhooks.html", context, status=409 if wrong else 200)


def _sender(opened: Opened) -> Sender:
    first = opened.showing.image_db_own_images_first
    return Sender(opened.engine, opened.shared, load_settings(WebhooksOutSettings), own_images_first=first)
