"""Writing an answer once, and not again to somebody who has it."""

import hashlib
from typing import Any

from fastapi import Request
from pydantic import BaseModel
from starlette.responses import Response

# Every caller asks again each time, and gets 304 as long as nothing changed.
_CACHING = {"Cache-Control": "private, no-cache", "Vary": "Authorization"}

NOT_MODIFIED: dict[int | str, dict[str, Any]] = {
    304: {"description": "Unchanged since the answer with the ETag that If-None-Match names"}
}


def answered(request: Request, model: BaseModel, next_cursor: str | None = None) -> Response:
    """The model as JSON with its ETag, or 304 to a reader who has it; next_cursor: where a list goes on (Link)."""
    body = model.model_dump_json().encode()
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {**_CACHING, "ETag": tag}
    if next_cursor is not None:
        following = request.url.include_query_params(cursor=next_cursor)
        # Without the host: the caller may know us by another name.
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    if request.method == "GET" and _has(request.headers.get("If-None-Match", ""), tag):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type="application/json")


def _has(if_none_match: str, tag: str) -> bool:
    named = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return tag in named or "*" in named
