"""Stand-ins of those who are told of changes: a receiver that verifies, and CDNs as docs/contracts/cdn.md says.

Each CDN is a function of a request; it gives the answer and what was purged.
"""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

MOST_FILES = 100


class Told(NamedTuple):
    """A request: path with its query, headers by their names in small letters."""

    target: str
    headers: Mapping[str, str]
    body: bytes


class Answered(NamedTuple):
    """A status, the JSON of the answer (None: nothing), and the addresses that were purged."""

    status: int
    said: Any = None
    purged: tuple[str, ...] = ()


def cloudflare(request: Told, zone: str, token: str) -> Answered:
    """Purges at most 100 addresses of one zone."""
    if request.target != f"/zones/{zone}/purge_cache":
        return Answered(404)
    if request.headers.get("authorization") != f"Bearer {token}":
        return Answered(403, {"success": False, "errors": [{"code": 10000, "message": "Authentication error"}]})
    files = json.loads(request.body)["files"]
    if len(files) > MOST_FILES:
        return Answered(400, {"success": False, "errors": [{"code": 1094, "message": "too many files"}]})
    return Answered(200, {"success": True, "errors": [], "result": {"id": zone}}, tuple(files))


def fastly(request: Told, token: str) -> Answered:
    """Purges the one address in the path, which is written without its scheme."""
    place = request.target.removeprefix("/purge/")
    if place == request.target:
        return Answered(404)
    if request.headers.get("fastly-key") != token:
        return Answered(401, {"msg": "Provided credentials are missing or invalid"})
    # With a scheme it is another address, which nobody asked for.
    return Answered(200, {"status": "ok", "id": "108-1391560174-974124"}, (f"https://{place}",))


def bunny(request: Told, key: str) -> Answered:
    """Purges the one address in the query."""
    parts = urlsplit(request.target)
    asked = parse_qs(parts.query).get("url", [])
    if parts.path != "/purge" or len(asked) != 1:
        return Answered(404)
    return Answered(200, None, (asked[0],)) if request.headers.get("accesskey") == key else Answered(401)


def is_signed(request: Told, secret: str) -> bool:
    """Whether one of the signatures is that of Standard Webhooks with this secret."""
    headers, key = request.headers, base64.b64decode(secret.removeprefix("whsec_"))
    content = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + request.body
    wanted = f"v1,{base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()}"
    return any(hmac.compare_digest(wanted, one) for one in headers.get("webhook-signature", "").split())


@dataclass
class Receiver:
    """A receiver at work, what it was told, and how many answers it loses first."""

    url: str = ""
    lost: int = 0
    told: list[Told] = field(default_factory=list)


@contextmanager
def receiver(lost: int = 0) -> Iterator[Receiver]:
    """A receiver on a free port of loopback that takes everything; its first answers are 500."""
    found = Receiver(lost=lost)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.told.append(Told(self.path, headers, self.rfile.read(int(headers["content-length"]))))
            self.send_response(500 if len(found.told) <= found.lost else 204)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found.url = f"http://127.0.0.1:{server.server_port}/hooks"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield found
        finally:
            server.shutdown()
            thread.join()
