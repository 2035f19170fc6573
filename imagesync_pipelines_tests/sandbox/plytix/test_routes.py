"""Proves what stands before every endpoint: slashes, other versions, methods, bodies, headers, and what is counted."""

import pytest
import requests

from imagesync_pipelines.sandbox.plytix.app import DOORS
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import SECONDS, Caller, errors_of

pytestmark = pytest.mark.slow


def test_a_slash_at_the_end_redirects_and_the_token_is_lost_on_the_way(caller: Caller) -> None:
    path = f"products/{caller.id_of('ERP-7')}/"
    answer = caller.ask("GET", path)
    assert answer.status_code == 401
    assert answer.json() == {"error": {"msg": "Missing Authorization Header"}}
    [redirect] = answer.history
    assert redirect.status_code == 308
    assert redirect.headers["Location"].endswith(path.rstrip("/"))


def test_both_names_of_the_host_lead_to_the_other(sandbox: PlytixSandbox) -> None:
    named = sandbox.url.replace("127.0.0.1", "localhost")
    answer = requests.get(f"{named}/api/v1/products/", timeout=SECONDS, allow_redirects=False)
    assert answer.headers["Location"] == f"{sandbox.url}/api/v1/products"


def test_a_redirect_keeps_the_query(caller: Caller) -> None:
    answer = caller.ask("GET", "products/x/?all_attributes=true", allow_redirects=False)
    assert answer.headers["Location"].endswith("/products/x?all_attributes=true")


def test_the_newest_version_is_out_of_reach(sandbox: PlytixSandbox) -> None:
    answer = requests.get(f"{sandbox.url}/api/v3/products", timeout=SECONDS)
    assert (answer.status_code, answer.json()) == (503, {"message": "name resolution failed"})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "jobs/1", 403),
        ("GET", "nowhere", 404),
        ("POST", "products/bulk", 405),
        ("PUT", "assets", 405),
        ("GET", "products/", 401),
        ("GET", "products//assets", 404),
    ],
)
def test_what_is_no_endpoint(caller: Caller, method: str, path: str, status: int) -> None:
    assert caller.ask(method, path).status_code == status


def test_assets_are_of_v1_only(newer: Caller) -> None:
    assert newer.upload("https://x.example/a.jpg").status_code == 404


def test_a_body_that_is_no_json_is_a_400_with_a_number(caller: Caller) -> None:
    answer = caller.ask("POST", "assets", None, data=b"{no json")
    assert (answer.status_code, errors_of(answer)) == (400, [("http_status_code", 400)])


def test_a_call_without_a_body_is_a_400(caller: Caller) -> None:
    assert caller.ask("POST", "products/search").status_code == 400


def test_a_deprecation_is_announced_in_a_header(caller: Caller) -> None:
    assert "X-Plytix-Deprecation" not in caller.search("products").headers
    caller.sandbox.switches.deprecation = "v1 ends 2027-01-01"
    assert caller.search("products").headers["X-Plytix-Deprecation"] == "v1 ends 2027-01-01"


def test_every_endpoint_is_counted_under_its_name(caller: Caller) -> None:
    product_id = caller.id_of("ERP-7")
    asset_id = caller.asset("a.jpg")
    caller.search("assets")
    caller.search("products")
    caller.link("ERP-7", asset_id)
    caller.link("ERP-7", asset_id)
    caller.patch("ERP-7", thumbnail={"id": asset_id})
    caller.ask("GET", f"products/{product_id}")
    caller.ask("GET", "nowhere")
    ledger = caller.sandbox.ledger
    assert ledger.as_json() == {
        "asset create": {"201": 1},
        "asset search": {"200": 1},
        "link": {"201": 1, "409": 1},
        "other": {"404": 1},
        "product get": {"200": 1},
        "product patch": {"200": 1},
        "product search": {"200": 1},
    }
    assert {call.part for call in ledger.calls("link")} == {product_id}


def test_every_name_of_a_door_is_its_own() -> None:
    names = [door.name for door in DOORS]
    assert len(names) == len(set(names))
