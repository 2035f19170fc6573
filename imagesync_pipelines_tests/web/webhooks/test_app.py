"""The endpoints that take requests, over real HTTP: in time, once, only with the secret, and whatever is sent."""

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.incoming import QueueReceiver
from imagesync_pipelines.connectors.moysklad.queue import Queue, State
from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.web.webhooks.app import LARGEST_BODY, build_app
from imagesync_pipelines_tests.connectors.moysklad.names import NAMES
from imagesync_pipelines_tests.connectors.moysklad.test_events import OTHER, body, event
from imagesync_pipelines_tests.connectors.moysklad.test_payloads import ONE, SEVERAL, without

SECRET = "a-secret-of-tests-0123"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEARER = {"Authorization": f"Bearer {SECRET}"}


@pytest.fixture
def queue(database: sa.Engine) -> Queue:
    return Queue(database)


@pytest.fixture
def url(queue: Queue) -> Iterator[str]:
    """The address of the endpoints over the queue."""
    listener = bind()
    with running((build_app("moysklad", QueueReceiver(queue, NAMES, SecretStr(SECRET), lambda: NOW)), listener)):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def call(url: str, sent: bytes, request_id: str = "call-1", secret: str = SECRET) -> requests.Response:
    """A call as МойСклад makes it."""
    headers = {"User-Agent": "MoySklad webhook touch agent", "Content-Type": "application/json;charset=utf-8"}
    query = {"requestId": request_id} if request_id else {}
    return requests.post(f"{url}/webhooks/moysklad/{secret}", sent, params=query, headers=headers, timeout=10)


def waiting(queue: Queue) -> int:
    return queue.view().total(State.PENDING)


def test_a_call_is_answered_without_a_body_and_its_entities_are_due_at_once(url: str, queue: Queue) -> None:
    answer = call(url, body(event(), event("bundle", OTHER)))
    assert (answer.status_code, answer.content) == (204, b"")
    assert {child: due.requests for child, due in queue.due(NOW).items()} == {"north": 2, "south": 2}


def test_the_same_call_sent_again_is_the_same_even_after_its_requests_were_done(url: str, queue: Queue) -> None:
    for _ in range(3):
        assert call(url, body(event())).status_code == 204
    assert waiting(queue) == 2
    for child in ("north", "south"):
        queue.finish("run", [request.id for request in queue.take(child, "run", NOW)], NOW)
    call(url, body(event()))
    assert waiting(queue) == 0
    call(url, body(event()), "call-2")
    assert waiting(queue) == 2
    assert call(url, body(event()), "").status_code == 204
    assert waiting(queue) == 4, "without an id every call is its own"


def test_a_large_call_is_answered_after_one_statement_and_an_analysis(url: str, queue: Queue) -> None:
    statements: list[str] = []
    sa.event.listen(queue.engine, "before_cursor_execute", lambda *told: statements.append(told[2]))
    ids = [f"{number:08x}-f831-11e5-7a69-971500188b19" for number in range(1000)]
    answer = call(url, body(*(event(entity=entity) for entity in ids)))
    assert answer.status_code == 204
    assert [statement.split(maxsplit=1)[0] for statement in statements] == ["INSERT", "ANALYZE"]
    assert waiting(queue) == 2000


def test_what_asks_for_nothing_is_answered_well_and_told(
    url: str, queue: Queue, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "imagesync.moysklad"):
        assert call(url, body(event("service"), event(action="DELETE"))).status_code == 204
    assert waiting(queue) == 0
    assert "1 of a type of entity without images" in caplog.text
    assert "1 of neither CREATE nor UPDATE" in caplog.text
    assert SECRET not in caplog.text


def test_a_wrong_secret_is_answered_like_a_path_that_is_not_there(url: str, queue: Queue) -> None:
    nowhere = requests.post(f"{url}/nowhere", timeout=10)
    assert nowhere.status_code == 404
    for secret in ("", "wrong", SECRET[:-1], f"{SECRET}x", SECRET.upper(), "%D0%B0", "%00"):
        answer = call(url, body(event()), secret=secret)
        assert (answer.status_code, answer.content) == (404, nowhere.content), secret
    assert waiting(queue) == 0


GARBAGE = {
    "nothing": (b"", 400),
    "no JSON": (b"<html>", 400),
    "cut off": (b'{"events":', 400),
    "no text": (b"\x00\xff", 400),
    "nested too deeply": (b"[" * 5000, 400),
    "too large": (b" " * (LARGEST_BODY + 1), 413),
}


def test_garbage_is_refused_and_nothing_is_queued(url: str, queue: Queue) -> None:
    for name, (sent, status) in GARBAGE.items():
        assert call(url, sent).status_code == status, name
        answer = requests.post(f"{url}/queue/moysklad", sent, headers=BEARER, timeout=10)
        assert answer.status_code == status, name
    assert call(url, b'{"events":7}').status_code == 400
    assert call(url, body(event()), "x" * 101).status_code == 422
    assert queue.view().counts == {}


def test_a_body_that_does_not_say_its_length_is_cut_off_too(url: str, queue: Queue) -> None:
    pieces = (b" " * 65536 for _ in range(LARGEST_BODY // 65536 + 1))
    try:
        status = requests.post(f"{url}/webhooks/moysklad/{SECRET}", pieces, timeout=10).status_code
    except requests.ConnectionError:  # the server answered and closed before it had all
        status = 413
    assert status == 413
    assert waiting(queue) == 0


def test_both_payload_forms_are_queued_and_what_is_wrong_is_told(url: str, queue: Queue) -> None:
    sent = json.dumps([ONE, SEVERAL, without(ONE, "parent_entity_id"), {**ONE, "child_account_id": "nobody"}])
    answer = requests.post(f"{url}/queue/moysklad", sent, headers=BEARER, timeout=10)
    assert answer.status_code == 202
    told = answer.json()
    assert told["queued"] == 2
    assert told["set_aside"][0] == "parent_entity_id is missing"
    assert told["set_aside"][1].startswith("child_account_id: no child account has 'nobody'")
    view = queue.view()
    assert (view.total(State.PENDING), view.total(State.SET_ASIDE)) == (2, 2)


def test_payloads_need_the_secret(url: str, queue: Queue) -> None:
    for sent in (None, "Bearer wrong", f"Basic {SECRET}", "Bearer", f"Bearer {SECRET}x"):
        headers = {} if sent is None else {"Authorization": sent}
        answer = requests.post(f"{url}/queue/moysklad", json.dumps(ONE), headers=headers, timeout=10)
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer"), sent
    assert waiting(queue) == 0


def test_strangers_are_told_nothing(url: str) -> None:
    for path in ("docs", "redoc", "openapi.json", "webhooks/moysklad", "queue", ""):
        assert requests.get(f"{url}/{path}", timeout=10).status_code == 404, path


def test_a_database_that_is_gone_is_told_so_that_moysklad_tries_again(url: str, queue: Queue) -> None:
    assert requests.get(f"{url}/health", timeout=10).text == "ok"
    with queue.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE imagesync.moysklad_queue RENAME TO gone"))
    answer = call(url, body(event()))
    assert (answer.status_code, answer.text) == (503, "Requests cannot be taken at the moment")
    assert requests.get(f"{url}/health", timeout=10).status_code == 503


def test_a_caller_who_sends_half_a_body_keeps_no_other_from_it(url: str, queue: Queue) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(f"POST /webhooks/moysklad/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        assert call(url, body(event())).status_code == 204
    assert waiting(queue) == 2
