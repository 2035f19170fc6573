"""A small head office over real HTTP, written from the contract alone; a test changes its photos and its answers.

It is not the sandbox: it has no storage, no faults of its own and no second opinion, only what a test puts in.
"""

import hashlib
import json
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from pydantic import SecretStr

from imagesync_pipelines.connectors.edge.client.api import HeadOfficeApi
from imagesync_pipelines.connectors.edge.settings import EdgeSettings, EdgeStore, HeadOfficeAccount
from imagesync_pipelines_tests.upstream.servers import FakeTime, Timing

STORE_ID = "5f0c1e0a-8d35-4b61-9c55-0d9a1f6f8f10"
NOON = datetime(2026, 2, 3, 12, 0, tzinfo=UTC)
SECRET = "a secret of at least thirty-two bytes!"


def uid(number: int) -> str:
    """A UUID that a test can name by a number."""
    return str(uuid.UUID(int=number))


def row(number: int, **changes: Any) -> dict[str, Any]:
    """A photo as HO lists it: id and product by number, one photo per product, a second between two photos."""
    body = f"photo {number}".encode()
    return {
        "id": uid(number),
        "product_id": uid(1_000_000 + number),
        "product_sku": f"{number:08d}",
        "product_name": f'Kopi "{number}" 咖啡',
        "object_key": f"products/{uid(1_000_000 + number)}/primary.jpg",
        "filename": f"Menu_Image_{number}.jpg",
        "size": len(body),
        "content_type": "image/jpeg",
        "checksum": hashlib.md5(body).hexdigest(),
        "version": 1,
        "is_primary": True,
        "sort_order": 0,
        "updated_at": (NOON + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
        "image_url": f"http://localhost:9000/product-images/{number}.jpg?v=abc",
    } | changes


@dataclass(frozen=True)
class Call:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Reply:
    """An answer; `pieces` are sent one by one, a float among them is a pause; headers may lie."""

    status: int
    pieces: tuple[bytes | float, ...]
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(status: int, data: object, **headers: str) -> Reply:
    """A JSON answer."""
    return Reply(status, (json.dumps(data).encode(),), {"Content-Type": "application/json", **headers})


HTML_404 = Reply(404, (b"<!doctype html><html><h1>Not Found</h1></html>",), {"Content-Type": "text/html"})
PHOTO_GONE = json_reply(404, {"status": "error", "message": "Photo not found"})
STORE_GONE = json_reply(404, {"status": "error", "message": "Store not found"})
NO_OBJECT = json_reply(
    500,
    {
        "status": "error",
        "message": "Internal server error",
        "detail": "Failed to download image: S3 operation failed; code: NoSuchKey, message: Object does not exist",
    },
)
Hook = Callable[[Call], Reply | None]


@dataclass
class FakeHeadOffice:
    """What HO holds and what it was asked; `hook` may answer a call itself, or change the photos before it is."""

    url: str = ""
    photos: list[dict[str, Any]] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    deleted: list[str] | None = None
    server_time: str | None = None
    date: datetime = NOON + timedelta(days=1)
    lifetime: int = 3600
    password: str = "right"
    ranges: bool = True
    max_limit: int = 1_000_000
    hook: Hook = lambda call: None
    calls: list[Call] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    reports: list[Any] = field(default_factory=list)
    _issued: int = 0

    def of(self, kind: str) -> list[Call]:
        """The calls whose path ends so."""
        return [call for call in self.calls if call.path.endswith(kind)]

    @property
    def listings(self) -> list[Call]:
        return self.of("/product-photos/")

    @property
    def logins(self) -> list[Call]:
        return self.of("/token/")

    def revoke_tokens(self) -> None:
        """Refuse every token that was given so far."""
        self.revoked |= {f"number {number}" for number in range(self._issued + 1)}

    def answer(self, call: Call) -> Reply:
        given = self.hook(call)
        if given is not None:
            return given
        if "/token/" in call.path:
            return self._token(call)
        refused = self._unauthorised(call)
        if refused is not None:
            return refused
        if call.path.endswith("/status/"):
            self.reports.append(call.body)
            number = len(call.body["sync_batch"])
            return json_reply(200, {"status": "success", "message": f"Sync status updated for {number} photos"})
        if call.query.get("store_id") != STORE_ID:
            return STORE_GONE
        return self._download(call) if call.path.endswith("/download/") else self._list(call)

    def _token(self, call: Call) -> Reply:
        renewal = call.path.endswith("/refresh/")
        if (renewal and call.body["refresh"] in self.revoked) or (
            not renewal and call.body["password"] != self.password
        ):
            return json_reply(401, {"detail": "No active account found with the given credentials"})
        self._issued += 1
        name = f"number {self._issued}"
        claims = {"jti": name, "iat": int(time.time()), "exp": int(time.time()) + self.lifetime}
        return json_reply(200, {"access": jwt.encode(claims, SECRET, "HS256"), "refresh": f"refresh {name}"})

    def _unauthorised(self, call: Call) -> Reply | None:
        token = call.headers.get("authorization", "").removeprefix("Bearer ")
        with suppress(jwt.InvalidTokenError):
            if jwt.decode(token, SECRET, ["HS256"], options={"verify_exp": False})["jti"] not in self.revoked:
                return None
        return json_reply(401, {"detail": "Given token not valid for any token type", "code": "token_not_valid"})

    def _list(self, call: Call) -> Reply:
        limit, offset = min(int(call.query["limit"]), self.max_limit), int(call.query["offset"])
        photos = self.photos
        if "since" in call.query:
            since = datetime.fromisoformat(call.query["since"])
            photos = [photo for photo in photos if datetime.fromisoformat(photo["updated_at"]) >= since]
        more = offset + limit < len(photos)
        data: dict[str, Any] = {
            "photos": photos[offset : offset + limit],
            "total": len(photos),
            "has_more": more,
            "next_offset": offset + limit if more else None,
        }
        if self.deleted is not None and "since" in call.query:
            data["deleted_ids"] = self.deleted
        if self.server_time is not None:
            data["server_time"] = self.server_time
        return json_reply(200, {"status": "success", "data": data})

    def _download(self, call: Call) -> Reply:
        photo_id = call.path.split("/")[-3]
        photo = next((photo for photo in self.photos if photo["id"] == photo_id), None)
        if photo is None:
            return PHOTO_GONE
        if not photo["object_key"]:
            return json_reply(404, {"status": "error", "message": "No image data available"})
        body = self.bodies.get(photo_id, f"photo {uuid.UUID(photo_id).int}".encode())
        etag = f'"{photo["checksum"]}"'
        headers = {
            "Content-Type": photo["content_type"],
            "X-Checksum": photo["checksum"],
            "X-Version": "1",
            "ETag": etag,
        }
        wanted = call.headers.get("range", "")
        if self.ranges and wanted and call.headers.get("if-range", etag) == etag:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            end = int(last) if last else len(body) - 1
            headers["Content-Range"] = f"bytes {first}-{end}/{len(body)}"
            return Reply(206, (body[int(first) : end + 1],), headers)
        return Reply(200, (body,), headers)


@contextmanager
def head_office(photos: int = 0) -> Iterator[FakeHeadOffice]:
    """Serve a head office with that many photos on a free port of 127.0.0.1; connections are kept open."""
    office = FakeHeadOffice(photos=[row(number) for number in range(1, photos + 1)])
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.command, parts.path, query, headers, json.loads(sent) if sent else None)
            with lock:
                office.calls.append(call)
                reply = office.answer(call)
            self.send(reply)

        do_POST = do_GET  # noqa: N815

        def send(self, reply: Reply) -> None:
            length = sum(len(piece) for piece in reply.pieces if isinstance(piece, bytes))
            headers = {
                "Content-Length": str(length),
                "Date": format_datetime(office.date, usegmt=True),
                **reply.headers,
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.wfile.write(f"HTTP/1.1 {reply.status} Whatever\r\n{lines}\r\n".encode())
            for piece in reply.pieces:
                if isinstance(piece, float):
                    time.sleep(piece)
                else:
                    self.wfile.write(piece)
            # A length that is not the body's can only be seen when the connection ends.
            self.close_connection = headers["Content-Length"] != str(length)

        def log_message(self, format: str, *args: object) -> None:
            """Tests have no use for it."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that hangs up is part of the tests."""

    with Server(("127.0.0.1", 0), Handler) as server:
        office.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield office
        finally:
            # A thread that goes on would spin for ever on the closed socket.
            server.shutdown()
            thread.join()


def store_of(office: FakeHeadOffice, password: str = "right", name: str = "jakarta-1") -> EdgeStore:
    """The store of the tests, with an account at that office."""
    account = HeadOfficeAccount.model_construct(url=office.url, username="edge", password=SecretStr(password))
    return EdgeStore(name, STORE_ID, account)


@contextmanager
def api_for(
    office: FakeHeadOffice,
    fake: FakeTime | None = None,
    password: str = "right",
    bucket_hosts: Collection[str] = (),
    **settings: Any,
) -> Iterator[HeadOfficeApi]:
    """The client on that office; it never really sleeps."""
    fake = fake or FakeTime()
    timing = Timing(clock=fake.clock, sleep=fake.sleep, random=lambda: 1.0, wall=lambda: 0.0)
    with closing(
        HeadOfficeApi(
            store_of(office, password).head_office,
            EdgeSettings(_env_file=None, **settings),
            timing=timing,
            bucket_hosts=bucket_hosts,
        )
    ) as api:
        yield api
