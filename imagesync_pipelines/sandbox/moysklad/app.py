"""The API over HTTP: which call is which endpoint, and what stands before all of them.

It is no Starlette app: a benchmark makes tens of thousands of calls.
"""

import asyncio
import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from imagesync_pipelines.sandbox.answers import CalledPlace, SentReply, replied
from imagesync_pipelines.sandbox.faults import Moments
from imagesync_pipelines.sandbox.moysklad import entities, hosts, lists
from imagesync_pipelines.sandbox.moysklad.answers import RemapRefusalError, page, refused
from imagesync_pipelines.sandbox.moysklad.limits import Bans, UnderWay, weight
from imagesync_pipelines.sandbox.moysklad.office import Ask, Endpoint, Office, Principal
from imagesync_pipelines.sandbox.routes import Door, FoundDoor, find

PREFIX = "/api/remap/1.2/"
OTHER, NOBODY = "other", "nobody"
_ID, _IDS = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), {"entity", "image", "webhook"}
_IMAGED, _LISTED = "product|bundle|variant", "product|bundle|variant|service"

DOORS: tuple[Door[Endpoint], ...] = (
    Door("assortment", "GET", "entity/assortment", lists.assortment),
    Door("webhook list", "GET", "entity/webhook", lists.list_webhooks),
    Door("webhook create", "POST", "entity/webhook", lists.create_webhook),
    Door("webhook change", "PUT", "entity/webhook/{webhook}", lists.change_webhook),
    Door("webhook delete", "DELETE", "entity/webhook/{webhook}", lists.delete_webhook),
    Door("list", "GET", f"entity/{_LISTED}", lists.list_entities),
    Door("bulk", "POST", f"entity/{_LISTED}", entities.post),
    Door("bulk", "POST", f"entity/{_LISTED}/batch", entities.post_many),
    Door("bulk delete", "POST", f"entity/{_LISTED}/delete", entities.delete_many),
    Door("get", "GET", f"entity/{_LISTED}/{{entity}}", entities.get),
    Door("put", "PUT", f"entity/{_LISTED}/{{entity}}", entities.put, writes=True),
    Door("delete", "DELETE", f"entity/{_LISTED}/{{entity}}", entities.delete, writes=True),
    Door("images list", "GET", f"entity/{_IMAGED}/{{entity}}/images", entities.list_images),
    Door("images post", "POST", f"entity/{_IMAGED}/{{entity}}/images", entities.post_images, writes=True),
    Door("images batch", "POST", f"entity/{_IMAGED}/{{entity}}/images/batch", entities.post_batch, writes=True),
    Door("images delete", "POST", f"entity/{_IMAGED}/{{entity}}/images/delete", entities.delete_images, writes=True),
    Door("image delete", "DELETE", f"entity/{_IMAGED}/{{entity}}/images/{{image}}", entities.delete_image, writes=True),
    Door("download", "GET", "download/{image}", hosts.download),
    Door("download head", "HEAD", "download/{image}", hosts.head),
    Door("download", "POST", "download/{image}", hosts.refusing(44000)),
    Door("download", "PUT", "download/{image}", hosts.refusing(44001)),
    Door("download", "DELETE", "download/{image}", hosts.refusing(44002)),
    Door("token", "POST", "security/token", lists.issue_token),
)


def api_place(office: Office) -> Callable[[Scope], CalledPlace]:
    """For the ledger and the faults: `<account> <door>`, and the entity or image that the path names."""

    def place(scope: Scope) -> CalledPlace:
        principal = office.principals.of(Headers(scope=scope).get("authorization", ""))
        account = NOBODY if principal is None else principal.account.name
        found = _find(scope)
        if found is None:
            return f"{account} {OTHER}", scope["path"]
        return f"{account} {found.door.name}", found.ids.get("entity") or found.ids.get("image", "")

    return place


def _find(scope: Scope) -> FoundDoor[Endpoint] | None:
    return find(DOORS, scope["method"], scope["path"].removeprefix(PREFIX))


MOST_HEADER_BYTES, MOST_ELEMENTS, MOST_DEPTH = 8192, 1000, 10
# A body above this is decoded beside the server's loop, so that other calls go on meanwhile.
LARGE_BODY = 65_536
_ACCEPTED = ("application/json;charset=utf-8", "application/json", "*/*")
_GZIP = 1
AUTH, TOO_MANY_AT_ONCE = "X-Lognex-Auth", "429005"

NOBODYS = {AUTH: "401001", "X-Lognex-Auth-Message": "Authentication failed"}

RawHeaders = list[tuple[bytes, bytes]]


@dataclass
class Gate:
    """What is counted of all calls; `under_way` by account, `writing` the entities that a call changes just now."""

    office: Office
    bans: Bans
    moments: Moments
    under_way: Mapping[str, UnderWay]
    writing: set[str] = field(default_factory=set)


def api_app(gate: Gate) -> ASGIApp:
    """The API host."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        principal = gate.office.principals.of(Headers(scope=scope).get("authorization", ""))
        if principal is None:
            await _read(receive, 0)
            await _send(send, _by_proxy(scope) or _error(refused(1056), headers=NOBODYS), [])
            return
        answer = await _counted(gate, scope, receive, principal)
        await _send(send, answer, principal.units.headers())

    return app


async def _counted(gate: Gate, scope: Scope, receive: Receive, principal: Principal) -> SentReply:
    """Answer a call, and count it for the limit of calls at once and for the bans."""
    counters = (principal.under_way, gate.under_way[principal.account.name])
    begun = [counter for counter in counters if counter.begin()]
    try:
        # The body is read whatever the answer: a client that is still sending would not see it.
        body = await _read(receive, gate.office.switches.body_bytes)
        early = _by_proxy(scope)
        if early is not None:
            return early
        if gate.bans.is_banned(principal.account.name, principal.name):
            return _error(refused(1061))
        if len(begun) < len(counters):
            answer = _error(refused(1073), headers={AUTH: TOO_MANY_AT_ONCE})
        else:
            answer = await _limited(gate, scope, principal, body)
    finally:
        for counter in begun:
            counter.end()
    is_put = scope["method"] == "PUT"
    if answer.status >= 400 or is_put:
        request = f"{scope['method']} {scope['path']} {scope['query_string']!r} {hash(body)}"
        gate.bans.note(principal.account.name, principal.name, answer.status, request, scope["path"] if is_put else "")
    return answer


async def _limited(gate: Gate, scope: Scope, principal: Principal, body: bytes | None) -> SentReply:
    """Answer a call if its principal has the units for it."""
    switches = gate.office.switches
    found = _find(scope)
    is_free = found is not None and found.door.name.startswith("download") and not switches.download_costs
    if not is_free and not principal.units.take(weight(principal.kind, gate.office.clock.now())):
        return _error(refused(1049), headers={AUTH: "429002"})
    if body is None:
        is_page = switches.too_large == "proxy"
        return page(413, "Request Entity Too Large") if is_page else _error(refused(1044))
    if found is None:
        return _error(refused(1002))
    moved = _moved(gate.office, scope, principal, found)
    if moved is not None:
        return moved
    entity = found.ids["entity"] if found.door.writes else ""
    if entity in gate.writing:
        return _error(refused(1065))
    if entity:
        gate.writing.add(entity)
    try:
        answer = (
            await run_in_threadpool(_answer, gate, scope, principal, found, body)
            if len(body) > LARGE_BODY
            else _answer(gate, scope, principal, found, body)
        )
        if switches.seconds_per_call:
            await asyncio.sleep(switches.seconds_per_call)
        return answer
    finally:
        gate.writing.discard(entity)


def _answer(gate: Gate, scope: Scope, principal: Principal, found: FoundDoor[Endpoint], body: bytes) -> SentReply:
    office, account = gate.office, principal.account
    gate.moments.come(f"{account.name} {found.door.name}")
    try:
        headers = Headers(scope=scope)
        decoded = _decoded(headers, body)
        if scope["method"] != "GET" and not principal.may_write:
            raise refused(1017)
        is_named = office.switches.malformed_id_named
        if is_named and not all(_ID.fullmatch(found.ids[name]) for name in _IDS & set(found.ids)):
            raise refused(1052)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        ask = Ask(office, account, principal, found.ids, query, headers, decoded, body)
        try:
            with account.lock:
                return found.door.endpoint(ask)
        finally:
            office.webhooks.tell(account, ask.events, headers)
    except RemapRefusalError as error:
        return _error(error, office.switches.image_error_status)


def _decoded(headers: Headers, body: bytes) -> Any:
    """The body as JSON, None when it is empty; raises the refusals of headers and JSON."""
    accept = headers.get("accept", "*/*").replace(" ", "").lower()
    if not any(one in _ACCEPTED for one in (accept, *accept.split(","))):
        raise refused(1062)
    if not body:
        return None
    if not headers.get("content-type", "").lower().startswith("application/json"):
        raise refused(1037)
    try:
        decoded = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise refused(2000) from error
    if isinstance(decoded, list) and len(decoded) > MOST_ELEMENTS:
        raise refused(2007)
    if _depth(decoded) > MOST_DEPTH:
        raise refused(2006)
    return decoded


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return 0
    return 1 + max((_depth(one) for one in value), default=0)


def _moved(office: Office, scope: Scope, principal: Principal, found: FoundDoor[Endpoint]) -> SentReply | None:
    """The 308 to the API's id, where a path has the id of the user interface."""
    ui_id = found.ids.get("entity", "")
    api_id = principal.account.by_ui_id.get(ui_id)
    if api_id is None:
        return None
    query = scope["query_string"].decode("latin-1")
    path = scope["path"].removeprefix(PREFIX).replace(ui_id, api_id)
    return SentReply(308, headers={"Location": f"{office.root}/{path}{'?' if query else ''}{query}"})


def _by_proxy(scope: Scope) -> SentReply | None:
    """The answers of the proxy: 415 without gzip, or with a body in gzip, and 414."""
    address = len(scope["raw_path"]) + len(scope["query_string"])
    if address + sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MOST_HEADER_BYTES:
        return page(414, "Request-URI Too Large")
    headers = Headers(scope=scope)
    if "gzip" not in headers.get("accept-encoding", "") or headers.get("content-encoding"):
        return SentReply(415)
    return None


def _error(error: RemapRefusalError, image_status: int = 412, headers: Mapping[str, str] | None = None) -> SentReply:
    answer = replied(error.body(), error.status_of(image_status))
    return SentReply(answer.status, answer.body, headers or {})


async def _read(receive: Receive, most: int) -> bytes | None:
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        piece = message.get("body", b"")
        size += len(piece)
        if size <= most:
            pieces.append(piece)
        if not message.get("more_body", False):
            return b"".join(pieces) if size <= most else None


async def _send(send: Send, answer: SentReply, limits: RawHeaders) -> None:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in answer.headers.items()]
    # Of too many calls at once no header tells how long to wait.
    is_told = answer.headers.get(AUTH) != TOO_MANY_AT_ONCE
    headers += [(name, value) for name, value in limits if is_told or name != b"x-lognex-retry-after"]
    body = answer.body
    if body:
        body = gzip.compress(body, _GZIP)
        headers += [(b"content-type", answer.content_type.encode()), (b"content-encoding", b"gzip")]
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
