"""Answers of the admin pages."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from imagesync_pipelines.web.catalogue.pages.rendering import render

NO_STORE = {"Cache-Control": "no-store"}
HOME = "/"


def private_page(
    request: Request,
    name: str,
    context: Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A page for this person alone: neither a browser nor anything between keeps it."""
    return render(request, name, context, status=status, headers={**NO_STORE, **(headers or {})})


def go_on(path: str) -> Response:
    """After a form the browser asks for a page, so that reloading does not send the form again."""
    return RedirectResponse(path, 303, headers=NO_STORE)


def own_path(text: str) -> str:
    """The path when it is one of ours, else the list of products: nobody is sent to another site after logging in."""
    is_path = text.startswith("/") and not text.startswith("//")
    # Browsers read a backslash as a slash, and leave control characters out.
    is_plain = "\\" not in text and all(" " <= letter < "\x7f" for letter in text)
    return text if is_path and is_plain else HOME
