"""The object store as head office and its edges reach it: a door in front of the real one, where faults can stand.

What belongs here: passing a request on as it came, and its answer back. What does not: the store itself
(storage/embedded_s3.py), and what is done to its objects (changes/objects.py).
"""

from dataclasses import replace

import urllib3
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Scope

from imagesync_pipelines.sandbox.wire import Place
from imagesync_pipelines.storage.objects import S3Place

OBJECT_STORE = "object store"
CONNECTIONS = 40
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"]
# They belong to one connection; a request was signed without them.
_OF_A_CONNECTION = ("connection", "expect", "keep-alive", "transfer-encoding")


def bucket_door(behind: S3Place) -> ASGIApp:
    """The app that passes every request on to the store `behind` it.

    The name of the host is passed on too: the caller signed it.
    """
    pool = urllib3.connectionpool.connection_from_url(behind.endpoint_url, maxsize=CONNECTIONS)

    async def pass_on(request: Request) -> Response:
        target = request.scope["raw_path"].decode("ascii")
        query = request.scope["query_string"].decode("ascii")
        answer = await run_in_threadpool(
            pool.urlopen,
            request.method,
            f"{target}?{query}" if query else target,
            await request.body(),
            {name: value for name, value in request.headers.items() if name not in _OF_A_CONNECTION},
            retries=False,
            redirect=False,
            decode_content=False,
        )
        headers = {name.lower(): value for name, value in answer.headers.items()}
        return Response(
            answer.data, answer.status, {name: headers[name] for name in headers if name not in _OF_A_CONNECTION}
        )

    return Starlette(routes=[Route("/{path:path}", pass_on, methods=METHODS)])


def at_the_door(behind: S3Place, url: str) -> S3Place:
    """The same store with the same keys, reached through the door."""
    return replace(behind, endpoint_url=url)


def bucket_place(scope: Scope) -> Place:
    """For the ledger and the faults: every call here is `object store`, its part is the object's key."""
    _, _, key = str(scope["path"]).lstrip("/").partition("/")
    return OBJECT_STORE, key
