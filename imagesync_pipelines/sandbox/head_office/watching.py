"""What the sandbox sees of the calls to head office, whichever app answers them: places, pages, reports.

What belongs here: naming a call for the ledger and the faults, doing something between two pages of a walk, keeping
what was reported. What does not: answering (original.py, web/head_office), faults (sandbox/wire.py).
"""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from imagesync_pipelines.sandbox.wire import Place

TOKEN, REFRESH, LISTING, DOWNLOAD, STATUS, OTHER = "token", "refresh", "listing", "download", "status", "other"
_PATHS = {
    "/api/v1/token/": TOKEN,
    "/api/v1/token/refresh/": REFRESH,
    "/api/v1/sync/product-photos/": LISTING,
    "/api/v1/sync/product-photos/status/": STATUS,
}
_BELOW = "/api/v1/sync/product-photos/"
_BYTES = "/download/"

Action = Callable[[], object]


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
    """What was seen so far, and the actions still to come. Safe between threads."""

    pages: int = 0
    batches: int = 0
    reports: list[Report] = field(default_factory=list)
    waiting: list[tuple[int, Action]] = field(default_factory=list)
    failed: list[Exception] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def after_pages(self, pages: int, action: Action) -> None:
        """Do something as soon as so many more pages of a listing were made, before the last of them arrives."""
        with self.lock:
            self.waiting.append((self.pages + pages, action))

    def page_made(self) -> None:
        """Count a page and do what is due; an action that fails is kept for the end of the sandbox."""
        with self.lock:
            self.pages += 1
            due = [action for page, action in self.waiting if page <= self.pages]
            self.waiting = [(page, action) for page, action in self.waiting if page > self.pages]
        for action in due:
            try:
                action()
            except Exception as error:  # noqa: BLE001 - it is raised again where a person can see it
                self.failed.append(error)

    def reported(self, body: bytes) -> None:
        """Keep one batch that was accepted; the original accepts anything, so what is no report is passed over."""
        with suppress(orjson.JSONDecodeError):
            sent = orjson.loads(body)
            rows = [row for row in sent.get("sync_batch") or [] if isinstance(row, dict)]
            with self.lock:
                self.batches += 1
                self.reports += [_report(self.batches, str(sent["store_id"]), row) for row in rows]


def _report(batch: int, store_id: str, row: Mapping[str, Any]) -> Report:
    return Report(
        batch=batch,
        store_id=store_id,
        photo_id=str(row.get("photo_id")),
        status=str(row.get("status")),
        synced_at=row.get("synced_at"),
        error=row.get("error"),
    )


def place(scope: Scope) -> Place:
    """For the ledger and the faults: the endpoint; its part is the offset of a listing as written, or a photo's id."""
    path = str(scope["path"])
    endpoint = _PATHS.get(path, OTHER)
    if endpoint == LISTING:
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return LISTING, query.get("offset", ["0"])[-1]
    if endpoint == OTHER and path.startswith(_BELOW) and path.endswith(_BYTES):
        return DOWNLOAD, path.removeprefix(_BELOW).removesuffix(_BYTES)
    return endpoint, ""


def watched(app: ASGIApp, watch: Watch) -> ASGIApp:
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
                    await run_in_threadpool(watch.page_made)
                else:
                    watch.reported(bytes(body))
            await send(message)

        await app(scope, reading, answering)

    return watching
