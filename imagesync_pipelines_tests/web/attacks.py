"""What attackers put into parameters, cursors, bodies and forms of every service: each value in each place."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Headers = Sequence[tuple[str, str]]
JSON = ("content-type", "application/json")
FORM = ("content-type", "application/x-www-form-urlencoded")
KEY: Headers = [("authorization", "Bearer {key}")]
ADMIN: Headers = [("cookie", "{session}")]
EDGE: Headers = [("authorization", "Bearer {access}")]
HOOKED: Headers = [("authorization", "Bearer {hook}")]
WHOLE, PART, SAME, GONE = 200, 206, 304, 412


class Attack(NamedTuple):
    """A request and the statuses that are right for it; () for any that is no error of ours."""

    name: str
    service: str
    method: str
    target: str | bytes
    headers: Headers = ()
    body: str | bytes = b""
    right: tuple[int, ...] = ()


# What goes into every parameter of an address, as it is written there.
VALUES = {
    "a NUL": b"%00x",
    "bytes that are no UTF-8": b"%FF%FE",
    "raw bytes that are no ASCII": b"\xff\xfe",
    "half a surrogate pair": b"%ED%A0%80",
    "a number of 4,500 digits": b"9" * 4500,
    "2^63": b"9223372036854775808",
    "-2^63-1": b"-9223372036854775809",
    "no number": b"NaN",
    "a percent sign alone": b"%",
    "a percent sign that begins nothing": b"%zz",
    "20,000 letters": b"a" * 20_000,
    "SQL": b"'%20OR%201=1;--",
    "a line break": b"x%0d%0aSet-Cookie:%20a=b",
    "a script": b"%3Cscript%3Ealert(1)%3C/script%3E",
    "a template": b"%7B%7B7*7%7D%7D$%7B7*7%7D",
    "a path upwards": b"../../../../etc/passwd",
    "a year before years": b"0000-00-00T00:00:00Z",
    "the last moment": b"9999-12-31T23:59:59.999999-23:59",
    "the first moment": b"0001-01-01T00:00:00%2B23:59",
    "writing from right to left": b"%E2%80%AE%F0%9F%91%BB%EF%BF%BF",
}
PARAMETERS: list[tuple[str, str, str, Headers]] = [
    *(("catalogue", f"/?{name}=", name, ()) for name in ("q", "kind", "without_image", "changed_since", "cursor")),
    ("catalogue", "/products/", "product_id", ()),
    ("catalogue", "/products/{product}?image=", "image", ()),
    ("catalogue", "/sku/", "sku", ()),
    ("catalogue", "/media/{image}/thumb?v=", "v", ()),
    ("catalogue", "/media/{image}/", "purpose", ()),
    ("catalogue", "/plan-pictures/", "token", ()),
    ("catalogue", "/history?connector=", "connector", ()),
    ("catalogue", "/plans/1?start=", "start", ()),
    ("catalogue", "/exports/csv?q=", "q of an export", ()),
    ("catalogue", "/exports/", "format", ()),
    ("catalogue", "/static/", "file", ()),
    ("catalogue", "/login?next=", "next", ()),
    ("catalogue", "/admin/quarantine?cursor=", "cursor of the quarantine", ADMIN),
    ("catalogue", "/admin/quarantine?connector=", "connector of the quarantine", ADMIN),
    ("catalogue", "/admin/unmatched?number=", "number", ADMIN),
    ("catalogue", "/admin/products/", "product_id of the admin", ADMIN),
    ("catalogue", "/admin/runs/", "run", ADMIN),
    *(
        ("catalogue", f"/api/v1/products?{name}=", f"API, {name}", KEY)
        for name in ("q", "limit", "cursor", "changed_since")
    ),
    *(("catalogue", f"/api/v1/changes?{name}=", f"API, changes, {name}", KEY) for name in ("since", "cursor", "limit")),
    ("catalogue", "/api/v1/lookup?sku=", "API, sku", KEY),
    ("catalogue", "/api/v1/lookup?", "API, a name", KEY),
    ("catalogue", "/api/v1/images/", "API, image_id", KEY),
    ("photos", "/photos/", "photo", ()),
    ("photos", "/photos/{photo}?v=", "version of a photo", ()),
    ("photos", "/products/", "product of a store", ()),
    *(
        ("office", f"/api/v1/sync/product-photos/?store_id={{store}}&{name}=", name, EDGE)
        for name in ("since", "limit", "offset")
    ),
    ("office", "/api/v1/sync/product-photos/?store_id=", "store", EDGE),
    ("office", "/api/v1/sync/product-photos/{ho_photo}/download/?store_id=", "store of a download", EDGE),
    ("office", "/api/v1/sync/product-photos/{ho_photo}/image/?token=", "token of an image", ()),
    ("hooks", "/webhooks/moysklad/", "secret", ()),
]


def inputs() -> Iterator[Attack]:
    """Every value in every parameter."""
    for service, before, name, headers in PARAMETERS:
        for kind, value in VALUES.items():
            # A server of HTTP takes no such path at all.
            if "?" in before or value.isascii():
                yield Attack(f"{service}, {name}: {kind}", service, "GET", before.encode() + value, headers)


def cursor(*values: object) -> str:
    """A cursor as we make them, of anything."""
    return urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


# Not of a form: half a character in JSON, a number beyond all columns, what JSON does not have.
CURSORS = {
    "a number beyond all columns": cursor("x", 10**30),
    "half a surrogate pair": cursor("\ud800", 1),
    "a number below all columns": cursor("x", -(2**63) - 1),
    "a NUL": cursor("x\0", 1),
    "NaN": cursor("x", float("nan")),
    "a truth": cursor("x", True),
    "a list": cursor(["x"], 1),
    "nothing": cursor(),
    "no JSON": urlsafe_b64encode(b"\xff\xfe{").decode().rstrip("="),
    "10,000 brackets": urlsafe_b64encode(b"[" * 700).decode().rstrip("="),
}
LISTS = {
    "the list": ("/?cursor=", (), 400),
    "the API's list": ("/api/v1/products?cursor=", KEY, 422),
    "the changes": ("/api/v1/changes?cursor=", KEY, 422),
    "the quarantine": ("/admin/quarantine?cursor=", ADMIN, 400),
    "the unmatched": ("/admin/unmatched?cursor=", ADMIN, 400),
}
FORGED = [
    Attack(f"a forged cursor of {of}: {kind}", "catalogue", "GET", f"{path}{text}", headers, right=(status,))
    for of, (path, headers, status) in LISTS.items()
    for kind, text in CURSORS.items()
]

# What goes into a body: the same in JSON, where it may also be of another kind.
BODIES = {
    "nothing": b"",
    "no JSON": b"<html>",
    "cut off": b'{"a":',
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "a NUL alone": b"\0",
    "NaN": b'{"a": NaN}',
    "5,000 brackets": b"[" * 5000,
    "a number of 5,000 digits": b"9" * 5000,
    "a list": b"[]",
    "null": b"null",
    "a text": b'"x"',
    "the same name twice": b'{"a": 1, "a": 2}',
}
FIELDS = {
    "a NUL": '"x\\u0000"',
    "half a surrogate pair": '"\\ud800"',
    "10^400": "1" + "0" * 400,
    "1e999": "1e999",
    "2^63": str(2**63),
    "NaN": "NaN",
    "an object": "{}",
    "a deep list": "[" * 200 + "]" * 200,
    "a long text": '"' + "a" * 100_000 + '"',
    "null": "null",
}
_VERSION_2 = {
    "company_id": '"{company}"',
    "store_id": '"{store}"',
    "updated_since": '"2026-01-01T00:00:00Z"',
    "limit": "9",
    "offset": "0",
}


def version_2(field: str) -> str:
    """A request of version 2 of the head office's protocol with a gap in one field."""
    return "{" + ", ".join(f'"{name}": {"%" if name == field else value}' for name, value in _VERSION_2.items()) + "}"


TAKERS: list[tuple[str, str, str, str, Headers, str]] = [
    ("catalogue", "POST", "/api/v1/lookup", "skus", KEY, '{"skus": [%]}'),
    ("catalogue", "PUT", "/api/v1/products/{product}/primary", "image_id", KEY, '{"image_id": %}'),
    ("office", "POST", "/api/v1/token/", "username", (), '{"username": %, "password": "x"}'),
    ("office", "POST", "/api/v1/token/", "password", (), '{"username": "edge-1", "password": %}'),
    ("office", "POST", "/api/v1/token/refresh/", "refresh", (), '{"refresh": %}'),
    ("office", "POST", "/api/v1/sync/product-photos/", "V2 store", EDGE, '{"company_id": "{store}", "store_id": %}'),
    ("office", "POST", "/api/v1/sync/product-photos/", "V2 body", EDGE, "%"),
    (
        "office",
        "POST",
        "/api/v1/sync/product-photos/status/",
        "error",
        EDGE,
        '{"store_id": "{store}", "sync_batch": [{"photo_id": "{ho_photo}", "status": "failed", "error": %}]}',
    ),
    (
        "office",
        "POST",
        "/api/v1/sync/product-photos/status/",
        "synced_at",
        EDGE,
        '{"store_id": "{store}", "sync_batch": [{"photo_id": "{ho_photo}", "status": "synced", "synced_at": %}]}',
    ),
    *(("office", "POST", "/api/v1/sync/product-photos/", field, EDGE, version_2(field)) for field in _VERSION_2),
    ("hooks", "POST", "/webhooks/moysklad/{hook}?requestId=a", "events", (), '{"events": [%]}'),
    (
        "hooks",
        "POST",
        "/webhooks/moysklad/{hook}?requestId=a",
        "href",
        (),
        '{"events": [{"meta": {"type": "product", "href": %}, "action": "UPDATE", "accountId": "main"}]}',
    ),
    (
        "hooks",
        "POST",
        "/queue/moysklad",
        "filename",
        HOOKED,
        '{"main_account_id": "main", "child_account_id": "north", "parent_entity_type": "product", '
        '"parent_entity_id": "7944ef04-f831-11e5-7a69-971500188b19", "child_entity_id": "x", "image_url": "x", '
        '"filename": %}',
    ),
]


def bodies() -> Iterator[Attack]:
    """Every body to everything that takes one, and every value in every field."""
    for service, method, path, field, headers, form in TAKERS:
        with_kind = [JSON, *headers]
        for kind, value in FIELDS.items():
            yield Attack(f"{path}, {field}: {kind}", service, method, path, with_kind, form.replace("%", value))
    for service, method, path, headers in dict.fromkeys((*one[:3], tuple(one[4])) for one in TAKERS):
        for kind, body in BODIES.items():
            yield Attack(f"{path}, a body: {kind}", service, method, path, [JSON, *headers], body)
        for kind in ("text/plain", "multipart/form-data", "application/json; charset=utf-7", "x", ""):
            sent = [("content-type", kind), *headers]
            yield Attack(f"{path}, a body that is called {kind!r}", service, method, path, sent, b'{"a": 1}')


FORMS = {
    "a NUL": "%00",
    "no UTF-8": "%FF",
    "a long text": "a" * 100_000,
    "a script": "%3Cscript%3Ealert(1)%3C/script%3E",
    "2^63": str(2**63),
}
PAGES = {
    "/login": "name={}&password=x",
    "/admin/start": "what={}&skus=x",
    "/admin/start?": "what=products&skus={}",
    "/admin/quarantine/drop": "connector={}&ids=1",
    "/admin/quarantine/drop?": "connector=image_db&ids={}",
    "/admin/products/{product}/pin": "image_id={}",
    "/admin/quarantine/replay": "connector={}",
}
TYPED = [
    Attack(
        f"the form of {page.rstrip('?')}, {fields.split('={}')[0].rpartition('&')[2]}: {kind}",
        "catalogue",
        "POST",
        page,
        [FORM, *ADMIN],
        f"csrf={{csrf}}&{fields.replace('{}', value)}",
    )
    for page, fields in PAGES.items()
    for kind, value in FORMS.items()
]


UPWARDS = {
    "plain": "../../../../etc/passwd",
    "encoded": "..%2f..%2f..%2fetc%2fpasswd",
    "encoded twice": "..%252f..%252fetc%252fpasswd",
    "backwards": "..\\..\\etc\\passwd",
    "dots encoded": "%2e%2e/%2e%2e/etc/passwd",
    "from the root": "/etc/passwd",
    "a file of ours": "../templates/base.html",
    "our source": "../app.py",
    "with a NUL": "x.css%00../../app.py",
    "dots and blanks": "....//....//etc/passwd",
    "a URL": "file:///etc/passwd",
    "overlong UTF-8": "..%c0%af..%c0%afetc/passwd",
}
OUTSIDE = [
    Attack(f"a path outside of {before}: {kind}", service, "GET", before + path, headers, right=(400, 401, 404, 422))
    for service, before, headers in (
        ("catalogue", "/static/", ()),
        ("catalogue", "/media/", ()),
        ("catalogue", "/pictures/", ()),
        ("photos", "/photos/", ()),
        ("office", "/docs/", ()),
        ("office", "/api/v1/sync/product-photos/", EDGE),
        ("hooks", "/webhooks/", ()),
    )
    for kind, path in UPWARDS.items()
]

# A host, a proxy's word, a method: what belongs to no parameter.
FRAMES = [
    *(
        Attack(f"the host {host!r} at {path}", "catalogue", "GET", path, [("host", host)], right=right)
        for host in ("evil.example", "[", "a b", "\xff", "x" * 5000, "a:b:c", "evil.example:99999", "")
        for path, right in (("/", (200,)), ("/sku/803721", (307,)), ("/nowhere", (404,)), ("/admin/start", (303,)))
    ),
    *(
        Attack(f"another host at {service}{path}", service, "GET", path, [("host", "evil.example")], right=(404,))
        for service, path in (
            ("catalogue", "/login/"),
            ("catalogue", "/static"),
            ("catalogue", "/api/v1"),
            ("photos", "/health/"),
            ("hooks", "/health/"),
            ("office", "/docs/"),
        )
    ),
    *(
        Attack(f"{method} of {service}{path}", service, method, path, right=(405,))
        for method in ("POST", "DELETE", "TRACE", "OPTIONS", "CONNECT", "X" * 100)
        for service, path in (
            ("catalogue", "/healthz"),
            ("photos", "/health"),
            ("hooks", "/health"),
            ("office", "/api/v1/sync/health/"),
        )
    ),
    *(
        Attack(
            f"an address of another site after the login: {to}",
            "catalogue",
            "GET",
            f"/login?next={to}",
            ADMIN,
            right=(303,),
        )
        for to in (
            "//evil.example",
            "https://evil.example",
            "/%5Cevil.example",
            "/%09/evil.example",
            "javascript:alert(1)",
            "%0d%0ax",
        )
    ),
    Attack("a path with two slashes", "catalogue", "GET", "//evil.example/", right=(404,)),
    Attack(
        "an Accept of bytes",
        "catalogue",
        "GET",
        "/media/{image}/thumb",
        [("accept", "\xff;q=\xfe, image/webp;q=1e999")],
        right=(200,),
    ),
    Attack("an HX-Request of bytes", "catalogue", "GET", "/", [("hx-request", "\xff")], right=(200,)),
]

INPUTS = [*inputs(), *FORGED, *bodies(), *TYPED]
