"""Proves which calls a fault meets, and that each fault is really on the wire of a real server."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import pytest
import requests
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.faults import FaultError, FaultKind, FaultPlan, WireFault, fault_from_json
from imagesync_pipelines.sandbox.ledger import CallLedger
from imagesync_pipelines.sandbox.server import ServingError, bind, running
from imagesync_pipelines.sandbox.wire import observed

BODY = b'{"text":"' + b"x" * 200_000 + b'"}'


class Running:
    """A tiny server whose only endpoint is `thing`."""

    def __init__(self, url: str, plan: FaultPlan, ledger: CallLedger) -> None:
        self.url, self.plan, self.ledger = url, plan, ledger

    def get(self, **options: object) -> requests.Response:
        return requests.get(self.url, timeout=5, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    async def app(scope: object, receive: object, send: object) -> None:
        request = Request(scope)  # type: ignore[arg-type]
        answer = Response(BODY, media_type="application/json") if request.url.path == "/" else JSONResponse({}, 404)
        await answer(scope, receive, send)  # type: ignore[arg-type]

    plan, ledger = FaultPlan(), CallLedger()
    listener = bind()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
    with running((observed(app, lambda scope: ("thing", ""), plan, ledger, SandboxClock()), listener)):
        yield Running(url, plan, ledger)


@pytest.fixture
def thing(server: Running) -> Running:
    server.plan.clear()
    server.ledger.clear()
    return server


def met(plan: FaultPlan, calls: int, endpoint: str = "pages", part: str = "1") -> list[bool]:
    return [plan.take(endpoint, part) is not None for _ in range(calls)]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param(faults.reset(), [True, False, False, False], id="once"),
        pytest.param(faults.reset().burst(2), [True, True, False, False], id="a burst, then fine"),
        pytest.param(faults.reset().for_good(), [True] * 4, id="for good"),
        pytest.param(faults.reset().after(2), [False, False, True, False], id="the third call only"),
        pytest.param(faults.reset().after(1).for_good(), [False, True, True, True], id="from the second on"),
        pytest.param(faults.reset().at("pages", "1"), [True, False, False, False], id="this page"),
        pytest.param(faults.reset().at("pages", "2"), [False] * 4, id="another page"),
        pytest.param(faults.reset().at("media"), [False] * 4, id="another endpoint"),
    ],
)
def test_a_fault_meets_the_calls_it_names(fault: WireFault, expected: list[bool]) -> None:
    plan = FaultPlan()
    plan.add(fault)
    assert met(plan, 4) == expected


def test_faults_are_met_in_the_order_they_were_added() -> None:
    plan = FaultPlan()
    plan.add(faults.server_error(503).burst(2), faults.rate_limited("1"), faults.server_error(500))
    found = [plan.take("pages", "1") for _ in range(5)]
    assert [fault.status if fault else 200 for fault in found] == [503, 503, 429, 500, 200]


def test_a_cleared_plan_lets_everything_through() -> None:
    plan = FaultPlan()
    plan.add(faults.reset().for_good())
    plan.clear()
    assert met(plan, 2) == [False, False]
    assert plan.as_json() == []


def test_without_a_fault_the_answer_is_untouched_and_in_the_ledger(thing: Running) -> None:
    assert thing.get(auth=("somebody", "secret")).content == BODY
    noted = thing.ledger.calls("thing")[0]
    assert (noted.status, noted.fault, noted.with_credentials) == (200, "", True)
    assert "secret" not in repr(noted)


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "start"),
    [
        pytest.param(faults.server_error(500), 500, "text/html; charset=utf-8", b"<!doctype html>", id="500"),
        pytest.param(faults.server_error(503), 503, "text/html; charset=utf-8", b"<!doctype html>", id="503"),
        pytest.param(faults.html_page(), 200, "text/html; charset=utf-8", b"<!doctype html>", id="HTML with 200"),
        pytest.param(faults.xml_page(), 200, "application/xml", b"<?xml", id="XML with 200"),
        pytest.param(faults.answer(200, b"\xff\xfe", "application/json"), 200, "application/json", b"\xff", id="bytes"),
    ],
)
def test_another_answer_is_sent_in_place_of_the_real_one(
    thing: Running, fault: WireFault, status: int, content_type: str, start: bytes
) -> None:
    thing.plan.add(fault)
    answer = thing.get()
    assert (answer.status_code, answer.headers["content-type"]) == (status, content_type)
    assert answer.content.startswith(start)
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert thing.ledger.count("thing", status) == 1
    assert thing.get().content == BODY


def test_a_429_carries_retry_after_in_each_form_or_none(thing: Running) -> None:
    forms = ["2", faults.retry_after_date(30), "1500", None]
    thing.plan.add(*(faults.rate_limited(form) for form in forms))
    answers = [thing.get() for _ in forms]
    assert [answer.status_code for answer in answers] == [429] * 4
    assert [answer.headers.get("retry-after") for answer in answers] == forms
    date = parsedate_to_datetime(str(forms[1]))
    assert 20 < (date - datetime.now(UTC)).total_seconds() < 31


def test_a_truncated_body_declares_more_than_it_sends(thing: Running) -> None:
    thing.plan.add(faults.truncated())
    answer = thing.get(stream=True)
    assert int(answer.headers["content-length"]) == len(BODY)
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = answer.content


@pytest.mark.parametrize("more", [7, -7])
def test_a_wrong_length_is_declared_beside_the_whole_body(thing: Running, more: int) -> None:
    thing.plan.add(faults.wrong_length(more))
    answer = thing.get(stream=True)
    assert int(answer.headers["content-length"]) == len(BODY) + more
    assert len(answer.raw.read(len(BODY) + min(more, 0))) == len(BODY) + min(more, 0)


def test_a_body_without_length_ends_with_the_connection(thing: Running) -> None:
    thing.plan.add(faults.no_length())
    answer = thing.get()
    assert "content-length" not in answer.headers
    assert "transfer-encoding" not in answer.headers
    assert answer.content == BODY


def test_an_altered_body_has_the_right_length_and_wrong_bytes(thing: Running) -> None:
    thing.plan.add(faults.altered())
    content = thing.get().content
    assert len(content) == len(BODY)
    assert sum(one != other for one, other in zip(content, BODY, strict=True)) == 16


def test_a_reset_connection_gives_no_answer(thing: Running) -> None:
    thing.plan.add(faults.reset())
    with pytest.raises(requests.ConnectionError, match="reset"):
        thing.get()
    assert thing.ledger.calls()[0].status == 0
    assert thing.get().content == BODY


def test_a_late_answer_is_the_right_answer(thing: Running) -> None:
    thing.plan.add(faults.latency(0.3))
    started = time.perf_counter()
    assert thing.get().content == BODY
    assert time.perf_counter() - started >= 0.3


def test_a_dripping_body_outlives_any_single_read(thing: Running) -> None:
    thing.plan.add(faults.drip(1.5))
    started = time.perf_counter()
    assert requests.get(thing.url, timeout=1).content == BODY
    assert time.perf_counter() - started >= 1.5


def test_a_timeout_never_answers_and_ends_when_the_caller_hangs_up(thing: Running) -> None:
    thing.plan.add(faults.timeout())
    with pytest.raises(requests.ReadTimeout):
        requests.get(thing.url, timeout=0.2)
    assert (thing.ledger.calls()[0].fault, thing.ledger.calls()[0].status) == ("timeout", 0)
    deadline = time.monotonic() + 30
    while thing.ledger.under_way("thing") and time.monotonic() < deadline:
        time.sleep(0.01)
    assert thing.ledger.under_way("thing") == 0


def test_a_redirect_goes_where_it_is_told(thing: Running) -> None:
    thing.plan.add(faults.redirect("https://elsewhere.example/page", 307))
    answer = thing.get(allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "https://elsewhere.example/page")


def test_a_fault_can_be_written_as_json() -> None:
    fault = fault_from_json(
        {"kind": "answer", "status": 429, "body": "slow", "headers": {"Retry-After": "2"}, "times": None, "part": "7"}
    )
    assert fault == WireFault(
        FaultKind.ANSWER, part="7", times=None, status=429, body=b"slow", headers=(("Retry-After", "2"),)
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "explode"}, "kind is one of"),
        ({}, "kind is one of"),
        ({"kind": "reset", "pages": 3}, "unknown field pages"),
        ({"kind": "reset", "times": "3"}, "times is a number"),
        ({"kind": "reset", "skip": True}, "skip is a number"),
        ({"kind": "reset", "endpoint": 3}, "endpoint is a text"),
        ({"kind": "answer", "headers": "x"}, "headers is an object"),
    ],
)
def test_a_fault_written_wrongly_says_which_field(values: dict[str, object], message: str) -> None:
    with pytest.raises(FaultError, match=message):
        fault_from_json(values)


def test_a_port_that_is_taken_is_one_clear_line() -> None:
    taken = bind()
    with taken, pytest.raises(ServingError, match="choose another port"):
        bind(taken.getsockname()[1])


def test_a_stopped_server_gives_its_port_back_at_once() -> None:
    async def app(scope: object, receive: object, send: object) -> None:
        await Response(b"here")(scope, receive, send)  # type: ignore[arg-type]

    listener = bind()
    port = listener.getsockname()[1]
    session = requests.Session()
    with running((app, listener)):
        assert session.get(f"http://127.0.0.1:{port}/", timeout=5).content == b"here"
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/", timeout=5)
    with running((app, bind(port))):
        assert session.get(f"http://127.0.0.1:{port}/", timeout=5).content == b"here"
