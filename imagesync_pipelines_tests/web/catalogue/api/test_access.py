"""Who may call: keys, scopes, limits; whatever is sent, the answer is a problem that tells nothing of our inside."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import pin, product_image
from imagesync_pipelines.web.catalogue.access import KeyScope, revoke_key
from imagesync_pipelines.web.catalogue.state import CatalogueSettings
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller, a_key, is_problem
from imagesync_pipelines_tests.web.catalogue.world import World, open_world, serving

# Every route with a call that would do something.
READING = ("/products", "/products/{id}", "/products/{id}/images", "/products/{id}/history",
           "/products/{id}/primary", "/images/{image}",
           "/lookup?sku=1", "/changes")  # fmt: skip
CALLS = [("GET", path, None) for path in READING]
CALLS += [("POST", "/lookup", {"skus": ["1"]}), ("PUT", "/products/{id}/primary", {"image_id": 1})]
CALLS += [("DELETE", "/products/{id}/primary", None), ("GET", "/exports/csv", None)]
NEEDED = {"PUT": KeyScope.PIN, "DELETE": KeyScope.PIN}
ODD = [
    "'; DROP TABLE imagesync.product; --",
    "=HYPERLINK(1)",
    "%00",
    "../../etc/passwd",
    "<script>",
    "\u202e",
    "x" * 300,
]


@pytest.fixture
def pictured(world: World) -> dict[str, int]:
    """A product with two images."""
    product_id = world.product("1")
    return {
        "id": product_id,
        "image": world.image(product_id, "a"),
        "other": world.image(product_id, "b", is_primary=False),
    }


def test_every_call_needs_a_key_with_its_scope(world: World, caller: Caller, pictured: dict[str, int]) -> None:
    narrow = {scope: replace(caller, key=a_key(world.engine, [scope], f"{scope}-only")) for scope in KeyScope}
    wide = {
        scope: replace(caller, key=a_key(world.engine, set(KeyScope) - {scope}, f"no-{scope}")) for scope in KeyScope
    }
    for method, path, body in CALLS:
        address, needed = path.format(**pictured), NEEDED.get(method, KeyScope.READ)
        needed = KeyScope.EXPORT if path.startswith("/exports/") else needed
        asked = body if method != "PUT" else {"image_id": pictured["other"]}
        without = replace(caller, key="").call(method, address, json=asked)
        assert is_problem(without, 401), (method, path)
        assert without.headers["WWW-Authenticate"].startswith("Bearer")
        assert is_problem(wide[needed].call(method, address, json=asked), 403), (method, path)
        with world.engine.connect() as connection:
            assert connection.execute(sa.select(pin)).all() == [] or method == "DELETE"
        assert narrow[needed].call(method, address, json=asked).ok, (method, path)


def test_nothing_in_the_document_is_open(caller: Caller) -> None:
    document = requests.get(f"{caller.address}/api/v1/openapi.json", timeout=30).json()
    nobody, known = replace(caller, key=""), {"{product_id}": "1", "{image_id}": "1", "{sku}": "1", "{wanted}": "csv"}
    calls = [(method.upper(), path) for path, item in document["paths"].items() for method in item]
    assert len(calls) >= len(CALLS)
    for method, path in calls:
        address = re.sub(r"{\w+}", lambda found: known[found[0]], path)
        query = {"sku": "1"} if (method, path) == ("GET", "/lookup") else {}
        assert is_problem(nobody.call(method, address, params=query, json={}), 401), (method, path)


def test_what_is_no_key_is_refused_and_not_repeated(caller: Caller) -> None:
    headers = ["", "Bearer", "Bearer ", f"Basic {caller.key}", caller.key, f"Bearer {caller.key}x", "Bearer \xff"]
    for header in (*headers, "Bearer " + "a" * 20_000):
        sent = {"Authorization": header.encode("latin-1")}
        answer = requests.get(f"{caller.address}/api/v1/products", headers=sent, timeout=30)
        assert is_problem(answer, 401), header
        assert caller.key not in answer.text


def test_a_revoked_key_is_refused_at_once(world: World, caller: Caller) -> None:
    assert caller.call("GET", "/products").ok
    revoke_key(world.engine, "shop")
    assert is_problem(caller.call("GET", "/products"), 401)


@pytest.fixture
def few(database: sa.Engine, tmp_path: Path) -> Iterator[Caller]:
    """A caller that has three calls a minute."""
    world = open_world(database, tmp_path)
    opened = replace(world.opened, settings=CatalogueSettings(rate_limit=3))
    with serving(opened) as site:
        yield Caller(site.address, a_key(database))


def test_a_key_has_its_own_calls_and_is_told_what_is_left(few: Caller, database: sa.Engine) -> None:
    answers = [few.call("GET", path) for path in ("/products", "/images/9", "/products", "/products")]
    assert [one.status_code for one in answers] == [200, 404, 200, 429]
    assert [one.headers["RateLimit-Remaining"] for one in answers] == ["2", "1", "0", "0"]
    assert {one.headers["RateLimit-Limit"] for one in answers} == {"3"}
    assert is_problem(answers[-1], 429)
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 63
    assert replace(few, key=a_key(database, name="other")).call("GET", "/products").ok


def test_the_primary_is_chosen_kept_and_given_back(world: World, caller: Caller, pictured: dict[str, int]) -> None:
    path = f"/products/{pictured['id']}/primary"
    for headers in ({}, {"If-Match": "*"}):
        chosen = caller.call("PUT", path, headers, json={"image_id": pictured["other"]})
        assert (chosen.status_code, chosen.json()["is_primary"]) == (200, True)
    assert caller.read(path)["id"] == pictured["other"]
    told = caller.read(f"/products/{pictured['id']}")["pin"]
    assert (told["pinned_by"], told["external_id"], told["is_dormant"]) == ("key shop", "b", False)
    for _ in range(2):
        assert caller.call("DELETE", path).status_code == 204
    assert caller.read(path)["id"] == pictured["image"]
    assert caller.read(f"/products/{pictured['id']}")["pin"] is None


def test_only_an_image_of_the_product_itself_can_be_its_primary(
    world: World, caller: Caller, pictured: dict[str, int]
) -> None:
    stranger = world.image(world.product("2"), "c")
    assert is_problem(caller.call("PUT", f"/products/{pictured['id']}/primary", json={"image_id": stranger}), 409)
    assert is_problem(caller.call("PUT", "/products/999/primary", json={"image_id": stranger}), 404)
    assert is_problem(caller.call("DELETE", "/products/999/primary"), 404)
    with world.engine.connect() as connection:
        assert connection.execute(sa.select(pin)).all() == []
        primaries = connection.execute(sa.select(product_image.c.id).where(product_image.c.is_primary)).scalars().all()
    assert sorted(primaries) == sorted([pictured["image"], stranger])


JSON = "application/json"
BODIES = [
    *((body, JSON, 422) for body in (b"", b"{", b"[]", b'{"skus": []}', b'{"skus": [1]}')),
    *((b'{"skus": ["%s"]}' % text, JSON, 422) for text in (b"\\u0000", b"\\ud800", b"x" * 51)),
    *((b'{"skus": ["1"], "%s": true}' % name, JSON, 422) for name in (b"all", b"\\ud800")),
    (b'{"skus": [%s"1"]}' % (b'"1",' * 500), JSON, 422),
    *((body, JSON, 400) for body in (b'"\xff"', b"[" * 100_000)),
    *((b'{"skus": ["1"]}', kind, 415) for kind in ("text/plain", "application/x-www-form-urlencoded")),
    *((b'{"skus": ["1"]}', kind, 415) for kind in ("multipart/form-data; boundary=x", "application/jsonp")),
    (b" " * (1024 * 1024 + 1), JSON, 413),
]


def test_a_body_that_is_none_of_ours_is_a_problem(caller: Caller) -> None:
    for body, kind, status in BODIES:
        answer = caller.call("POST", "/lookup", {"Content-Type": kind}, data=body)
        assert is_problem(answer, status), (body[:40], kind, answer.text)


def test_odd_text_is_only_text(world: World, caller: Caller) -> None:
    world.product("1", name="=HYPERLINK(1)<script>'; --")
    for text in ODD:
        assert caller.call("GET", "/products", params={"q": text}).status_code in {200, 422}
        assert caller.call("GET", "/lookup", params={"sku": text}).status_code in {200, 422}
        assert is_problem(caller.call("GET", "/products", params={"cursor": text}), 422)
    listed = caller.call("GET", "/products").json()["items"]
    assert [one["name"] for one in listed] == ["=HYPERLINK(1)<script>'; --"]


def test_an_address_that_is_none_is_a_problem(caller: Caller) -> None:
    no_ids = ("/products/0", "/products/-1", f"/products/{2**63}", "/products/1e3", "/images/'")
    wrong = (
        "?limit=501",
        "?q=" + "x" * 201,
        "?kind=all",
        "?with_out_image=1",
        "?%ed%a0%80=",
        "?changed_since=1e400",
        "?cursor=" + "x" * 1001,
    )
    for path in (
        *no_ids,
        *(f"/products{query}" for query in wrong),
        "/lookup",
        "/images/1?q=",
        "/lookup?" + "sku=1&" * 51,
    ):
        assert is_problem(caller.call("GET", path), 422), path
    assert is_problem(caller.call("GET", "/products?q=%00"), 400)
    for path in ("/products/%00", "/products/1%2F..%2F2", "/..%2f..%2fetc/passwd", "/static/catalogue.css"):
        assert is_problem(caller.call("GET", path), 404), path
    assert caller.call("GET", "/products?q=%ff%fe").json()["items"] == []


def test_other_methods_are_refused(caller: Caller) -> None:
    for method in ("POST", "PATCH", "OPTIONS", "TRACE"):
        answer = caller.call(method, "/products")
        assert (answer.status_code, answer.headers["Allow"]) == (405, "GET"), method


def test_answers_carry_safe_headers_and_no_other_site_may_read_them(caller: Caller) -> None:
    answer = caller.call("GET", "/products", {"Origin": "https://elsewhere.example"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert "Set-Cookie" not in answer.headers


def test_a_database_that_is_away_is_a_problem_that_tells_when_to_try_again(world: World, caller: Caller) -> None:
    broken = sa.create_engine("postgresql+psycopg://nobody:secret@127.0.0.1:1/none")
    with serving(replace(world.opened, engine=broken)) as site:
        answer = Caller(site.address, caller.key).call("GET", "/products")
    assert is_problem(answer, 503)
    assert answer.headers["Retry-After"] == "5"
    assert "secret" not in answer.text
    assert "127.0.0.1" not in answer.text
