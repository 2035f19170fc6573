"""Who calls the API, what for, and how often."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPBearer
from starlette.types import Scope

from imagesync_pipelines.storage.rate_budget import Window, left, take
from imagesync_pipelines.web.catalogue import keys
from imagesync_pipelines.web.catalogue.keys import ApiKey
from imagesync_pipelines.web.catalogue.pages.rendering import Here

WINDOW_SECONDS = 60
CHALLENGE = {"WWW-Authenticate": 'Bearer realm="api"'}

# Only for the OpenAPI document: the header is read below, to answer every mistake with a problem.
_scheme = HTTPBearer(auto_error=False, description="A key of `imagesync key add`")


def budget_of(key_id: int) -> str:
    """The name under which the calls of a key are counted."""
    return f"catalogue:key:{key_id}"


def needs(scope: keys.KeyScope) -> Callable[..., ApiKey]:
    """A dependency that gives the key of a request: one that has this scope and calls left."""

    def caller(request: Request, opened: Here, _: Annotated[object, Depends(_scheme)]) -> ApiKey:
        now = opened.clock()
        word, _, text = request.headers.get("Authorization", "").partition(" ")
        key = keys.find_key(opened.engine, text.strip(), now) if word.lower() == "bearer" else None
        if key is None:
            raise HTTPException(
                401, "No API key, or one that is not valid: send Authorization: Bearer <key>.", CHALLENGE
            )
        windows = (Window(opened.settings.rate_limit, WINDOW_SECONDS),)
        wait = math.ceil(take(opened.engine, budget_of(key.id), windows, now.timestamp()))
        (state,) = left(opened.engine, budget_of(key.id), windows, now.timestamp())
        request.state.told = {
            "RateLimit-Limit": str(opened.settings.rate_limit),
            "RateLimit-Remaining": str(0 if wait else state.left),
            "RateLimit-Reset": str(wait or WINDOW_SECONDS),
        }
        if wait:
            raise HTTPException(429, f"This key has made its calls; try again in {wait} s.", {"Retry-After": str(wait)})
        if scope not in key.scopes:
            raise HTTPException(
                403, f"This key does not have the scope {scope}; it has: {', '.join(sorted(key.scopes))}."
            )
        return key

    return caller


Reader = Annotated[ApiKey, Depends(needs(keys.KeyScope.READ))]
"""A route's parameter of this type lets in keys that may read."""

Pinner = Annotated[ApiKey, Depends(needs(keys.KeyScope.PIN))]
"""A route's parameter of this type lets in keys that may choose a primary image."""


def told_of_budget(scope: Scope) -> Mapping[str, str]:
    """What is left of the calls of the request's key, as headers; none without a key."""
    told: Mapping[str, str] = scope["state"].get("told", {})
    return told
