"""What the sandbox sees of the calls to head office and its bucket, whichever app answers them."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs

import orjson
import urllib3
from botocore.exceptions import ClientError  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.sandbox.answers import CalledPlace
from imagesync_pipelines.sandbox.faults import Moments
from imagesync_pipelines.storage.objects import S3Place, s3_client

OBJECT_STORE = "object store"
CONNECTIONS = 40
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"]
# They belong to one connection; a request was signed without them.
_DENIED = "<Error><Code>AccessDenied</Code><Message>Access Denied.</Message></Error>"
_OF_A_CONNECTION = ("connection", "expect", "keep-alive", "transfer-encoding")


@contextmanager
def bucket_door(behind: S3Place, *, is_public: bool = False) -> Iterator[ASGIApp]:
    """The app that passes every request on to the store `behind` it, for the length of a `with` block.

    The name of the host is passed on too: the caller signed it. is_public: an object is given to whoever asks without a
    signature, as the original's bucket does; nothing is listed, so one that is not there is refused in the words of
    a bucket that may not be listed.
    """

    def public_object(key: str) -> Response:
        try:
            found = client.get_object(Bucket=behind.bucket, Key=key)
        except ClientError:
            return Response(_DENIED, 403, media_type="application/xml")
        return Response(found["Body"].read(), 200, {"Content-Type": found["ContentType"], "ETag": found["ETag"]})

    async def pass_on(request: Request) -> Response:
        bucket, _, key = request.path_params["path"].partition("/")
        is_asked = request.method == "GET" and bucket == behind.bucket and key
        if is_public and is_asked and "authorization" not in request.headers:
            return await run_in_threadpool(public_object, key)
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

    with (
        closing(s3_client(behind)) as client,
        closing(urllib3.connectionpool.connection_from_url(behind.endpoint_url, maxsize=CONNECTIONS)) as pool,
    ):
        yield Starlette(routes=[Route("/{path:path}", pass_on, methods=METHODS)])


def bucket_place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: every call here is `object store`, its part is the object's key."""
    _, _, key = str(scope["path"]).lstrip("/").partition("/")
    return OBJECT_STORE, key


TOKEN, REFRESH, LISTING, DOWNLOAD, STATUS, OTHER = "token", "refresh", "listing", "download", "status", "other"
_PATHS = {
    "/api/v1/token/": TOKEN,
    "/api/v1/token/refresh/": REFRESH,
    "/api/v1/sync/product-photos/": LISTING,
    "/api/v1/sync/product-photos/status/": STATUS,
}
_BELOW = "/api/v1/sync/product-photos/"
_BYTES = "/download/"

PAGE_MADE = "page made"


@dataclass(frozen=True)
class Report:
    """One photo's status as an edge reported it, in the words it used; `batch` counts the calls from 1."""

    batch: int
    store_id: str
    photo_id: str
    status: str
    synced_at: str | None
    error: str | None


@dataclass
class Watch:
    """What edges reported so far, `batches` times. Safe between threads."""

    batches: int = 0
    reports: list[Report] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def reported(self, body: bytes) -> None:
        """Keep one batch that was accepted; the original accepts anything, so what is no report is passed over."""
        with suppress(orjson.JSONDecodeError):
            sent = orjson.loads(body)
            rows = [row for row in sent.get("sync_batch") or [] if isinstance(row, dict)]
            with self.lock:
                self.batches += 1
                for row in rows:
                    told = str(sent["store_id"]), str(row.get("photo_id")), str(row.get("status"))
                    self.reports.append(Report(self.batches, *told, row.get("synced_at"), row.get("error")))


def place(scope: Scope) -> CalledPlace:
    """For the ledger and the faults: the endpoint; its part is the offset of a listing as written, or a photo's id."""
    path = str(scope["path"])
    endpoint = _PATHS.get(path, OTHER)
    if endpoint == LISTING:
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return LISTING, query.get("offset", ["0"])[-1]
    if endpoint == OTHER and path.startswith(_BELOW) and path.endswith(_BYTES):
        return DOWNLOAD, path.removeprefix(_BELOW).removesuffix(_BYTES)
    return endpoint, ""


def watched(app: ASGIApp, watch: Watch, moments: Moments) -> ASGIApp:
    """Wrap head office's app, so that pages and reports that it answered with 200 are noticed."""

    async def watching(scope: Scope, receive: Receive, send: Send) -> None:
        endpoint = place(scope)[0] if scope["type"] == "http" else OTHER
        if endpoint not in (LISTING, STATUS):
            await app(scope, receive, send)
            return
        body = bytearray()
        status = 0

        async def reading() -> Message:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        async def answering(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif not message.get("more_body", False) and status == HTTPStatus.OK:
                # Before the end of the answer: whoever asks for the next page finds the change made.
                if endpoint == LISTING:
                    await run_in_threadpool(moments.come, PAGE_MADE, keep_errors=True)
                else:
                    watch.reported(bytes(body))
            await send(message)

        await app(scope, reading, answering)

    return watching
