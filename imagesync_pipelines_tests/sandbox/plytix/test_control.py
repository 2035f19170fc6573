"""Proves that a running stand-in can be steered over HTTP, and that people can run it."""

import os
import signal
import threading
import tomllib

import pytest
import requests

from imagesync_pipelines.sandbox.control import ROOT
from imagesync_pipelines.sandbox.plytix.model import NewProduct
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, accounts_of, lines_of, plytix_sandbox, secrets_of
from imagesync_pipelines.sandbox.server import ServingError, serve
from imagesync_pipelines_tests.sandbox.plytix.callers import SECONDS, Caller

pytestmark = pytest.mark.slow

SKU = "AMZN-US-B01"


def control(sandbox: PlytixSandbox, method: str, path: str, body: object = None) -> requests.Response:
    return requests.request(method, f"{sandbox.url}{ROOT}{path}", json=body, timeout=SECONDS)


def test_the_state_shows_products_assets_and_calls(caller: Caller) -> None:
    asset_id = caller.asset("a.jpg")
    caller.link(SKU, asset_id)
    state = control(caller.sandbox, "GET", "state").json()
    assert state["assets"] == {asset_id: "a.jpg"}
    assert state["products"][0]["sku"] == SKU
    assert state["products"][0]["media"]["amazon_images"] == [asset_id]
    assert (state["calls"]["link"], state["spent"]) == ({"201": 1}, [2, 2])


def test_faults_are_switched_on_and_off(caller: Caller) -> None:
    sandbox = caller.sandbox
    fault = {"kind": "answer", "status": 503, "endpoint": "product search", "times": None}
    assert control(sandbox, "POST", "faults", fault).status_code == 200
    assert caller.search("products").status_code == 503
    assert control(sandbox, "DELETE", "faults").json() == []
    assert caller.search("products").status_code == 200


def test_the_account_and_the_clock_are_changed(sandbox: PlytixSandbox) -> None:
    made = control(sandbox, "POST", "mutate", {"operator": "add_image", "sku": SKU, "filename": "x.jpg"}).json()
    assert sandbox.gallery(SKU) == (made["id"],)
    before = sandbox.clock.now()
    control(sandbox, "POST", "clock", {"move_seconds": 900})
    assert (sandbox.clock.now() - before).total_seconds() == 900


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("mutate", {"operator": "no_such"}),
        ("mutate", ["x"]),
        ("faults", {"kind": "no_such"}),
        ("clock", {"move_seconds": "far"}),
    ],
)
def test_a_wrong_control_call_is_a_400_with_its_reason(sandbox: PlytixSandbox, path: str, body: object) -> None:
    answer = control(sandbox, "POST", path, body)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_control_calls_are_not_counted(sandbox: PlytixSandbox) -> None:
    control(sandbox, "GET", "state")
    assert (sandbox.ledger.count(), sandbox.windows.used()) == (0, (0, 0))


def test_the_accounts_file_names_no_secret(sandbox: PlytixSandbox) -> None:
    account = tomllib.loads("\n".join(accounts_of(sandbox.url, sandbox.auth_url)))["plytix"]["accounts"]["sandbox"]
    assert (account["url"], account["auth_url"]) == (sandbox.url, sandbox.auth_url)
    names = [account[key].removeprefix("env:") for key in ("api_key", "api_password")]
    assert secrets_of(sandbox) == dict(zip(names, (sandbox.api_key, sandbox.api_password), strict=True))


def test_it_runs_until_it_is_told_to_stop() -> None:
    lines: list[str] = []
    seen: list[int] = []

    def announce(line: str) -> None:
        lines.append(line)
        if line.startswith("url = "):
            url = line.split('"')[1]
            seen.append(len(requests.get(f"{url}{ROOT}state", timeout=SECONDS).json()["products"]))
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()

    before = signal.getsignal(signal.SIGTERM)
    serve(plytix_sandbox(products=[NewProduct("A"), NewProduct("B")]), announce, lines_of)
    assert seen == [2]
    assert signal.getsignal(signal.SIGTERM) is before
    assert "[plytix.accounts.sandbox]" in lines


def test_a_port_that_is_taken_is_named(sandbox: PlytixSandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(ServingError, match=str(port)), plytix_sandbox(port=port):
        pass


def test_a_restart_begins_anew_with_the_same_ids() -> None:
    products = [NewProduct("A")]
    with plytix_sandbox(products=products) as first:
        first.mutate("add_image", sku="A")
        before = first.product("A").id
    with plytix_sandbox(products=products) as second:
        assert second.product("A").id == before
        assert (second.gallery("A"), second.assets()) == ((), ())
