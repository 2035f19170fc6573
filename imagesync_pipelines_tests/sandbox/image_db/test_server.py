"""Proves that the stand-in can be steered over HTTP and served from the command line."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import requests

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.image_db.catalogue import build_catalogue
from imagesync_pipelines.sandbox.image_db.server import Sandbox, demo_changes, image_db_sandbox, lines_of
from imagesync_pipelines.sandbox.server import bind, serve


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with image_db_sandbox(records=60) as running:
        yield running


def control(sandbox: Sandbox, path: str, method: str = "GET", **options: object) -> requests.Response:
    url = sandbox.url.removesuffix("api/") + "__sandbox__/" + path
    return requests.request(method, url, timeout=5, **options)  # type: ignore[arg-type]


def status(sandbox: Sandbox) -> int:
    url = sandbox.url + "all-files-and-articles/"
    return requests.get(url, auth=(sandbox.username, sandbox.password), timeout=5).status_code


def test_the_state_tells_sizes_switches_and_calls(sandbox: Sandbox) -> None:
    status(sandbox)
    state = control(sandbox, "state").json()
    assert (state["seed"], state["records"], state["parents"]) == (1, 60, len(sandbox.catalogue.products.parents))
    assert state["calls"] == {"all-files-and-articles": {"200": 1}}
    assert state["switches"]["honour_page_size"] is False
    assert sandbox.password not in control(sandbox, "state").text


def test_control_calls_are_not_in_the_ledger_and_meet_no_fault(sandbox: Sandbox) -> None:
    sandbox.faults.add(faults.reset().for_good())
    assert control(sandbox, "state").status_code == 200
    assert control(sandbox, "ledger").json() == {"counts": {}, "last": []}


def test_faults_are_switched_on_and_off(sandbox: Sandbox) -> None:
    added = control(sandbox, "faults", "POST", json={"kind": "answer", "status": 503, "times": None})
    assert added.json()[0]["status"] == 503
    assert status(sandbox) == 503
    assert control(sandbox, "faults").json()[0]["seen"] == 1
    assert control(sandbox, "faults", "DELETE").json() == []
    assert status(sandbox) == 200


def test_the_catalogue_is_changed_now_or_after_some_pages(sandbox: Sandbox) -> None:
    made = control(sandbox, "mutate", "POST", json={"operator": "insert"}).json()
    assert made["file_id"] == sandbox.catalogue.file_ids()[0]
    control(sandbox, "mutate", "POST", json={"operator": "delete", "after_pages": 1})
    assert len(sandbox.catalogue) == 61
    status(sandbox)
    assert len(sandbox.catalogue) == 60


def test_a_script_written_wrongly_is_refused_when_it_is_written(sandbox: Sandbox) -> None:
    answer = control(sandbox, "mutate", "POST", json={"operator": "explode", "after_pages": 1})
    assert answer.status_code == 400
    assert status(sandbox) == 200


def test_a_night_passes(sandbox: Sandbox) -> None:
    before = sandbox.catalogue.records()
    done = control(sandbox, "night", "POST").json()
    assert {change["operator"] for change in done} >= {"insert", "delete", "re_export"}
    assert sandbox.catalogue.records() != before


def test_switches_are_turned_and_their_types_are_checked(sandbox: Sandbox) -> None:
    turned = control(sandbox, "switches", "POST", json={"honour_page_size": True, "latency": 0.01}).json()
    assert (turned["honour_page_size"], turned["latency"]) == (True, 0.01)
    for wrong in ({"honour_page_size": "yes"}, {"password": "x"}, {"link_origin": 3}, {"latency": "slow"}):
        assert control(sandbox, "switches", "POST", json=wrong).status_code == 400
    assert sandbox.switches.latency == 0.01


def test_the_clock_is_moved_without_sleeping(sandbox: Sandbox) -> None:
    before = sandbox.clock.now()
    assert control(sandbox, "clock", "POST", json={"move_seconds": 90_000}).status_code == 200
    assert (sandbox.clock.now() - before).total_seconds() >= 90_000
    assert control(sandbox, "clock", "POST", json={"hours": 1}).status_code == 400


def test_the_ledger_shows_the_last_calls_and_is_cleared(sandbox: Sandbox) -> None:
    status(sandbox)
    last = control(sandbox, "ledger").json()["last"][0]
    assert (last["endpoint"], last["part"], last["status"]) == ("all-files-and-articles", "1", 200)
    assert control(sandbox, "ledger", "DELETE").json()["counts"] == {}


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("faults", b'{"kind":"explode"}', "kind is one of"),
        ("mutate", b'{"operator":"delete","file_id":5}', "no record has the file_id 5"),
        ("mutate", b"[]", "not a JSON object"),
        ("switches", b"{", "not JSON"),
    ],
)
def test_a_wrong_control_call_is_a_400_with_its_reason(sandbox: Sandbox, path: str, body: bytes, message: str) -> None:
    answer = control(sandbox, path, "POST", data=body)
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_the_context_takes_a_catalogue_faults_a_clock_and_credentials() -> None:
    catalogue, clock = build_catalogue(records=3), SandboxClock()
    with image_db_sandbox(
        catalogue, faults=(faults.server_error(502),), clock=clock, username="me", password="canary"
    ) as sandbox:
        assert sandbox.catalogue is catalogue
        assert sandbox.clock is clock
        assert [status(sandbox), status(sandbox)] == [502, 200]
        assert (sandbox.username, sandbox.password) == ("me", "canary")


def test_demo_changes_can_be_asked_of_a_running_sandbox(sandbox: Sandbox) -> None:
    assert len(demo_changes(sandbox)) > 5


def test_serve_announces_what_a_client_needs_and_stops_on_sigterm(tmp_path: Path) -> None:
    lines: list[str] = []
    counts: list[int] = []

    def announce(line: str) -> None:
        lines.append(line)
        if line.startswith("ERP_VARIANTS_FILE"):
            told = dict(text.split("=", 1) for text in lines if not text.startswith("#"))
            credentials = told["IMAGE_API_USERNAME"], told["IMAGE_API_PASSWORD"]
            url = told["IMAGE_API_URL"] + "all-files-and-articles/"
            counts.append(requests.get(url, auth=credentials, timeout=5).json()["count"])
            assert Path(told["ERP_PARENTS_FILE"]).read_text(encoding="utf-8").startswith("id,sku,")
            assert Path(told["ERP_VARIANTS_FILE"]).exists()
            assert told["IMAGESYNC_ALLOWED_IMAGE_HOSTS"] == "127.0.0.1"
            signal.raise_signal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    serve(image_db_sandbox(records=30), announce, partial(lines_of, erp_folder=tmp_path))
    assert counts == [30]
    assert signal.getsignal(signal.SIGTERM) is before


def test_served_urls_are_the_same_after_a_restart(tmp_path: Path) -> None:
    def told() -> list[str]:
        lines: list[str] = []

        def announce(line: str) -> None:
            lines.append(line)
            if line.startswith("ERP_VARIANTS_FILE"):
                signal.raise_signal(signal.SIGINT)

        started = image_db_sandbox(port=ports[0], media_port=ports[1], records=3)
        serve(started, announce, partial(lines_of, erp_folder=tmp_path))
        return lines

    with bind() as one, bind() as other:
        ports = one.getsockname()[1], other.getsockname()[1]
    assert told() == told()
