"""Attacks with names, against every service: none breaks one, none is told a secret, and each gets its right status."""

import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

import hypothesis
import pytest
from fastapi.routing import iter_route_contexts
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import BaseRoute, Mount

from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines_tests.reusing import TEMPLATE, pool
from imagesync_pipelines_tests.web.attacking import Services, all_services
from imagesync_pipelines_tests.web.attacks import (
    ADMIN,
    EDGE,
    FORM,
    FRAMES,
    INPUTS,
    JSON,
    KEY,
    OUTSIDE,
    PARAMETERS,
    TAKERS,
    Attack,
    Headers,
)

WHOLE, PART, SAME, GONE = 200, 206, 304, 412
# Half characters and what JSON has no way to write are among them.
_LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("\ud800")
JSON_TEXTS = st.recursive(_LEAVES, lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside)).map(json.dumps)


@pytest.fixture(scope="module")
def services(server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """All services over one database."""
    with all_services(pool(server, TEMPLATE).one(), tmp_path_factory.mktemp("attacks")) as services:
        yield services


PHOTO, DOWNLOAD = "/photos/{photo}", "/api/v1/sync/product-photos/{ho_photo}/download/?store_id={store}"
STRANGERS = [
    Attack("the API without a key", "catalogue", "GET", "/api/v1/products", right=(401,)),
    Attack(
        "the API with a key that is none",
        "catalogue",
        "GET",
        "/api/v1/products",
        [("authorization", "Bearer x")],
        right=(401,),
    ),
    Attack(
        "the API with bytes for a key",
        "catalogue",
        "GET",
        "/api/v1/products",
        [("authorization", "Bearer \xff\xfe")],
        right=(401,),
    ),
    Attack(
        "the API with a very long key",
        "catalogue",
        "GET",
        "/api/v1/products",
        [("authorization", "Bearer " + "a" * 60_000)],
        right=(401,),
    ),
    Attack("the API with a session", "catalogue", "GET", "/api/v1/products", ADMIN, right=(401,)),
    Attack("an export of the API without a key", "catalogue", "GET", "/api/v1/exports/csv", right=(401,)),
    Attack(
        "a pin without a key",
        "catalogue",
        "PUT",
        "/api/v1/products/{product}/primary",
        [JSON],
        b'{"image_id": 1}',
        (401,),
    ),
    Attack(
        "a pin of a picture of nobody",
        "catalogue",
        "PUT",
        "/api/v1/products/{product}/primary",
        [JSON, *KEY],
        b'{"image_id": 999}',
        (409,),
    ),
    Attack(
        "a pin from another site",
        "catalogue",
        "PUT",
        "/api/v1/products/{product}/primary",
        [("content-type", "text/plain"), *KEY],
        b'{"image_id": 1}',
        (415,),
    ),
    Attack("a page of the admin by nobody", "catalogue", "GET", "/admin/quarantine", right=(303,)),
    Attack("a form of the admin by nobody", "catalogue", "POST", "/admin/start", [FORM], b"what=image_db", (403,)),
    Attack("a form without its token", "catalogue", "POST", "/admin/start", [FORM, *ADMIN], b"what=image_db", (403,)),
    Attack(
        "a form with half a token", "catalogue", "POST", "/admin/start", [FORM, *ADMIN], b"what=image_db&csrf=x", (403,)
    ),
    Attack("a form whose token is bytes", "catalogue", "POST", "/admin/start", [FORM, *ADMIN], b"csrf=%ff%00", (403,)),
    Attack("a logout from another site", "catalogue", "POST", "/logout", [FORM, *ADMIN], b"", (403,)),
    Attack(
        "a session that somebody signed",
        "catalogue",
        "GET",
        "/admin/start",
        [("cookie", "imagesync_session=eyJ1c2VyIjogMX0=.aaaa.bbbb")],
        right=(303,),
    ),
    Attack(
        "a session of bytes",
        "catalogue",
        "GET",
        "/admin/start",
        [("cookie", "imagesync_session=\xff\xfe; =; a")],
        right=(303,),
    ),
    Attack(
        "a session of 8,000 letters",
        "catalogue",
        "GET",
        "/admin/start",
        [("cookie", "imagesync_session=" + "a" * 8000)],
        right=(303,),
    ),
    Attack(
        "a file in a form",
        "catalogue",
        "POST",
        "/login",
        [("content-type", "multipart/form-data; boundary=x")],
        b'--x\r\nContent-Disposition: form-data; name="csrf"; filename="a"\r\n\r\nb\r\n--x--\r\n',
        (400, 403),
    ),
    Attack(
        "a form without a boundary",
        "catalogue",
        "POST",
        "/login",
        [("content-type", "multipart/form-data")],
        b"--x",
        (400, 403),
    ),
    Attack(
        "a form of 2,000 fields",
        "catalogue",
        "POST",
        "/login",
        [FORM],
        b"&".join(b"a=b" for _ in range(2000)),
        (400, 403),
    ),
    Attack("a form of three megabytes", "catalogue", "POST", "/login", [FORM], b"a" * 3_000_000, (413,)),
    Attack(
        "a body of two megabytes for the API",
        "catalogue",
        "POST",
        "/api/v1/lookup",
        [JSON, *KEY],
        b" " * 2_000_000,
        (413,),
    ),
    Attack(
        "a body of nine megabytes for the head office",
        "office",
        "POST",
        "/api/v1/token/",
        [JSON],
        b" " * 9_000_000,
        (413,),
    ),
    Attack(
        "a body of three megabytes for the webhooks",
        "hooks",
        "POST",
        "/webhooks/moysklad/{hook}",
        [JSON],
        b" " * 3_000_000,
        (413,),
    ),
    Attack("the head office without a token", "office", "GET", DOWNLOAD, right=(401,)),
    Attack(
        "the head office with a token of nobody",
        "office",
        "GET",
        DOWNLOAD,
        [("authorization", "Bearer a.b.c")],
        right=(401,),
    ),
    Attack(
        "a token without a signature",
        "office",
        "GET",
        DOWNLOAD,
        [("authorization", "Bearer eyJhbGciOiJub25lIn0.e30.")],
        right=(401,),
    ),
    Attack("a token of bytes", "office", "GET", DOWNLOAD, [("authorization", "Bearer \xff.\xfe.\xfd")], right=(401,)),
    Attack(
        "a refresh token for an access token",
        "office",
        "GET",
        DOWNLOAD,
        [("authorization", "Bearer {refresh}")],
        right=(401,),
    ),
    Attack(
        "an access token for a refresh token",
        "office",
        "POST",
        "/api/v1/token/refresh/",
        [JSON],
        '{"refresh": "{access}"}',
        (401,),
    ),
    Attack(
        "another store's photos",
        "office",
        "GET",
        "/api/v1/sync/product-photos/?store_id={other_store}",
        EDGE,
        right=(403,),
    ),
    Attack(
        "another store's download",
        "office",
        "GET",
        "/api/v1/sync/product-photos/{ho_photo}/download/?store_id={other_store}",
        EDGE,
        right=(403,),
    ),
    Attack(
        "another store's report",
        "office",
        "POST",
        "/api/v1/sync/product-photos/status/",
        [JSON, *EDGE],
        '{"store_id": "{other_store}", "sync_batch": []}',
        (403,),
    ),
    Attack(
        "a webhook with another secret", "hooks", "POST", "/webhooks/moysklad/wrong", [JSON], b'{"events": []}', (404,)
    ),
    Attack(
        "a webhook with a NUL for a secret",
        "hooks",
        "POST",
        "/webhooks/moysklad/%00",
        [JSON],
        b'{"events": []}',
        (404,),
    ),
    Attack(
        "a webhook whose requestId is a NUL",
        "hooks",
        "POST",
        "/webhooks/moysklad/{hook}?requestId=%00x",
        [JSON],
        b'{"events": []}',
        (400,),
    ),
    Attack(
        "a webhook whose requestId is raw bytes",
        "hooks",
        "POST",
        b"/webhooks/moysklad/x?requestId=\xff",
        [JSON],
        b'{"events": []}',
        (404,),
    ),
    Attack("a queue without the secret", "hooks", "POST", "/queue/moysklad", [JSON], b"[]", (401,)),
    Attack(
        "a queue with the name of a secret",
        "hooks",
        "POST",
        "/queue/moysklad",
        [JSON, ("authorization", "Basic {hook}")],
        b"[]",
        (401,),
    ),
    Attack("documentation of the webhooks", "hooks", "GET", "/openapi.json", right=(404,)),
]

CONDITIONS = [
    Attack("HEAD of a photo with a range", "photos", "HEAD", PHOTO, [("range", "bytes=0-1")], right=(WHOLE,)),
    Attack(
        "HEAD of a download with a range", "office", "HEAD", DOWNLOAD, [*EDGE, ("range", "bytes=0-1")], right=(WHOLE,)
    ),
    Attack(
        "HEAD of a file with a range",
        "catalogue",
        "HEAD",
        "/static/catalogue.css",
        [("range", "bytes=0-1")],
        right=(WHOLE,),
    ),
    Attack(
        "a second If-None-Match",
        "photos",
        "GET",
        PHOTO,
        [("if-none-match", '"x"'), ("if-none-match", '"{etag}"')],
        right=(SAME,),
    ),
    Attack("a tag without quotes", "photos", "GET", PHOTO, [("if-none-match", "{etag}")], right=(WHOLE,)),
    Attack("a tag of bytes", "photos", "GET", PHOTO, [("if-none-match", '"\xff')], right=(WHOLE,)),
    Attack("9,000 tags", "photos", "GET", PHOTO, [("if-none-match", '"a", ' * 9000)], right=(WHOLE,)),
    Attack("If-Match of another photo", "photos", "GET", PHOTO, [("if-match", '"x"')], right=(GONE,)),
    Attack("If-Match of this photo", "photos", "GET", PHOTO, [("if-match", '"{etag}"')], right=(WHOLE,)),
    Attack("a weak If-Match", "photos", "GET", PHOTO, [("if-match", 'W/"{etag}"')], right=(GONE,)),
    Attack("If-Match of anything", "photos", "GET", PHOTO, [("if-match", "*")], right=(WHOLE,)),
    Attack("If-Match of another download", "office", "GET", DOWNLOAD, [*EDGE, ("if-match", '"x"')], right=(GONE,)),
    Attack(
        "If-Match of another answer",
        "catalogue",
        "GET",
        "/api/v1/products/{product}",
        [*KEY, ("if-match", '"x"')],
        right=(GONE,),
    ),
    Attack(
        "a pin on what is there no more",
        "catalogue",
        "PUT",
        "/api/v1/products/{product}/primary",
        [JSON, *KEY, ("if-match", '"x"')],
        '{"image_id": {image}}',
        (GONE,),
    ),
    Attack(
        "a pin only where nothing is",
        "catalogue",
        "PUT",
        "/api/v1/products/{product}/primary",
        [JSON, *KEY, ("if-none-match", "*")],
        '{"image_id": {image}}',
        (GONE,),
    ),
    Attack(
        "an unpin of what is there no more",
        "catalogue",
        "DELETE",
        "/api/v1/products/{product}/primary",
        [*KEY, ("if-match", '"x"')],
        right=(GONE,),
    ),
    *(
        Attack(f"the range {asked}", "photos", "GET", PHOTO, [("range", asked)], right=(status,))
        for asked, status in {
            "bytes=0-0": PART,
            "bytes=-1": PART,
            "bytes=0-99999999999999999999999": WHOLE,
            "bytes=99999999-": 416,
            "bytes=--1": WHOLE,
            "bytes=0-0,1-1,2-2": WHOLE,
            "bytes=5-1": WHOLE,
            "lines=1-2": WHOLE,
            "bytes=\u0660-\u0661".encode().decode("latin-1"): WHOLE,
            "": WHOLE,
            "bytes=" + "0-1," * 5000: WHOLE,
        }.items()
    ),
    *(
        Attack(
            f"the range {asked} of a download", "office", "GET", DOWNLOAD, [*EDGE, ("range", asked)], right=(status,)
        )
        for asked, status in {
            "bytes=0-0": PART,
            "bytes=99999999-": 416,
            "bytes=--1": WHOLE,
            "bytes=0-0,1-1": WHOLE,
            "x": WHOLE,
            "bytes=0-99999999999999999999999999": WHOLE,
        }.items()
    ),
]

ATTACKS = [*INPUTS, *OUTSIDE, *STRANGERS, *CONDITIONS, *FRAMES]


@pytest.mark.parametrize("attack", ATTACKS, ids=[one.name[:100] for one in ATTACKS])
def test_an_attack(services: Services, attack: Attack) -> None:
    answer = services.ask(*attack[1:-1])
    assert answer.error is None
    assert 200 <= answer.status < 500
    assert not attack.right or answer.status in attack.right, answer.text[:500]
    said = answer.text + "\n".join(f"{name}: {value}" for name, value in answer.headers.items())
    assert [secret for secret in services.secrets if secret in said] == []
    assert "<script>alert" not in said or "html" not in answer.headers.get("content-type", "")
    assert not [value for value in answer.headers.values() if "\n" in value or "\r" in value]
    place = answer.headers.get("location", "/")
    assert place.startswith("/")
    assert not place.startswith(("//", "/\\"))


@pytest.mark.slow
@given(st.sampled_from(PARAMETERS), st.binary(max_size=40), st.booleans())
@hypothesis.settings(max_examples=5000, derandomize=True)
def test_no_bytes_in_any_parameter_break_a_service(
    services: Services, parameter: tuple[str, str, str, Headers], value: bytes, encoded: bool
) -> None:
    service, before, _, headers = parameter
    sent = value if "?" in before and not encoded else quote(value, safe="%/").encode()
    answer = services.ask(service, "GET", before.encode() + sent, headers)
    assert answer.error is None
    assert 200 <= answer.status < 500


@pytest.mark.slow
@given(st.sampled_from(TAKERS), JSON_TEXTS)
@hypothesis.settings(max_examples=1500, derandomize=True)
def test_no_json_in_any_body_breaks_a_service(
    services: Services, taker: tuple[str, str, str, str, Headers, str], value: str
) -> None:
    service, method, path, _, headers, form = taker
    answer = services.ask(service, method, path, [JSON, *headers], form.replace("%", value))
    assert answer.error is None
    assert 200 <= answer.status < 500


def test_every_address_that_answers_get_answers_head_with_the_same_headers_and_no_body(services: Services) -> None:
    """The token of a session and the time of an answer differ from one to the next."""
    known = {
        **{name: f"{{{name}}}" for name in ("product", "image", "photo")},
        "product_id": "{product}",
        "image_id": "{image}",
        "photo_id": "{ho_photo}",
        "id": "{photo}",
        "wanted": "csv",
        "form": "csv",
        "purpose": "thumb",
        "sku:path": "803721",
        "path:path": "catalogue.css",
        "sha256": "a" * 64,
        "token": "x",
        "name": "swagger-ui.css",
        "plan_id": "1",
        "run_id": "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee",
    }
    queries = {"/api/v1/lookup": "?sku=1"}
    queries |= dict.fromkeys(("/api/v1/sync/product-photos/", DOWNLOAD.partition("?")[0]), "?store_id={store}")
    signed = {"catalogue": [*ADMIN, *KEY], "office": EDGE}
    tried = 0
    for service, app in services.apps.items():
        for path in sorted(readable(app.routes)):
            target = re.sub(r"\{([^}]+)\}", lambda found: known[found[1]], path)
            target += queries.get(target, "")
            got, told = (services.ask(service, method, target, signed.get(service, [])) for method in ("GET", "HEAD"))
            assert (told.status, told.body) == (got.status, b""), target
            assert set(told.headers) == set(got.headers), target
            tried += 1
    assert tried > 40


def readable(routes: Iterable[BaseRoute], before: str = "") -> Iterator[str]:
    """The paths that answer GET, those of what is mounted too."""
    for one in iter_route_contexts(routes):
        if isinstance(one.original_route, Mount):
            inside = one.original_route
            yield from (
                readable(inside.routes, f"{before}{inside.path}") if inside.routes else [f"{inside.path}/{{path:path}}"]
            )
        elif "GET" in (one.methods or ()):
            yield f"{before}{one.path}"
