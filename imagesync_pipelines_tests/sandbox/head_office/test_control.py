"""Proves that head office's stand-in can be steered over HTTP and served from the command line."""

import signal
import tomllib
from pathlib import Path
from typing import Any

import pytest
import requests

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.head_office.server import head_office_sandbox, lines_of
from imagesync_pipelines.sandbox.server import serve
from imagesync_pipelines_tests.sandbox.head_office.callers import SECONDS, Caller

pytestmark = pytest.mark.slow


def control(caller: Caller, path: str, method: str = "POST", **options: Any) -> requests.Response:
    return requests.request(method, f"{caller.sandbox.url}/__sandbox__/{path}", timeout=SECONDS, **options)


def test_the_state_tells_stores_clock_and_calls_and_no_password(read_original: Caller) -> None:
    read_original.sandbox.ledger.clear()
    read_original.page()
    answer = control(read_original, "state", "GET")
    assert [store["id"] for store in answer.json()["stores"]] == [str(store) for store in read_original.sandbox.stores]
    assert answer.json()["calls"] == {"listing": {"200": 1}}
    assert read_original.sandbox.password not in answer.text


def test_control_calls_are_not_in_the_ledger_and_meet_no_fault(read_original: Caller) -> None:
    read_original.sandbox.ledger.clear()
    read_original.sandbox.faults.add(faults.reset().for_good())
    assert control(read_original, "ledger", "GET").json() == {"counts": {}, "last": []}
    assert control(read_original, "faults", "DELETE").json() == []
    assert read_original.ask().status_code == 200
    assert control(read_original, "ledger", "DELETE").json()["counts"] == {}


def test_a_fault_is_switched_on(read_original: Caller) -> None:
    control(read_original, "faults", json={"kind": "answer", "status": 503, "endpoint": "listing"})
    assert [read_original.ask().status_code for _ in range(2)] == [503, 200]


def test_head_office_is_changed_by_the_name_of_an_operator(either: Caller) -> None:
    photo = next(iter(either.everything()))
    made = control(either, "mutate", json={"operator": "edit", "photo_id": photo, "sort_order": 9}).json()
    assert (made["operator"], made["photo_id"]) == ("edit", photo)
    assert either.everything()[photo]["sort_order"] == 9


def test_bytes_are_given_as_a_text(either: Caller) -> None:
    made = control(either, "mutate", json={"operator": "replace_with", "content": "<html>"}).json()
    assert either.download(made["photo_id"]).text == "<html>"


def test_days_go_on_passing_when_every_product_was_changed(either: Caller) -> None:
    for _ in range(9):
        answer = control(either, "day")
        assert answer.status_code == 200
        assert len(answer.json()) >= 7


def test_the_clock_is_moved(either: Caller) -> None:
    before = either.sandbox.clock.now()
    assert control(either, "clock", json={"move_seconds": 60}).status_code == 200
    assert (either.sandbox.clock.now() - before).total_seconds() >= 60


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("faults", b'{"kind":"explode"}', "kind is one of"),
        ("mutate", b'{"operator":"explode"}', "no operator is called explode"),
        ("mutate", b'{"operator":"edit","photo_id":"7"}', "photo_id is a UUID"),
        ("mutate", b"[]", "not a JSON object"),
        ("clock", b'{"hours":1}', "the clock is moved by"),
        ("clock", b"{", "not JSON"),
    ],
)
def test_a_wrong_control_call_is_a_400_with_its_reason(
    read_original: Caller, path: str, body: bytes, message: str
) -> None:
    answer = control(read_original, path, data=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_serve_announces_the_accounts_section_and_stops_on_sigterm(database_url: str, tmp_path: Path) -> None:
    lines: list[str] = []
    totals: list[int] = []

    def announce(line: str) -> None:
        lines.append(line)
        if sum(told.startswith("store_id") for told in lines) < 2:
            return
        told = tomllib.loads("\n".join(lines))["edge"]
        url, password = told["head_office"]["url"], lines[0].split("password: ")[1].split(";")[0]
        credentials = {"username": told["head_office"]["username"], "password": password}
        token = requests.post(f"{url}/api/v1/token/", json=credentials, timeout=SECONDS).json()["access"]
        for store in told["stores"].values():
            answer = requests.get(
                f"{url}/api/v1/sync/product-photos/",
                params=store,
                headers={"Authorization": f"Bearer {token}"},
                timeout=SECONDS,
            )
            totals.append(answer.json()["data"]["total"])
        signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    serve(head_office_sandbox(database_url, folder=tmp_path, photos=9), announce, lines_of)
    assert totals[0] == 9
    assert 0 < totals[1] < 9
    assert signal.getsignal(signal.SIGTERM) is before
