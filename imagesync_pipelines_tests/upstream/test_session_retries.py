"""Proves when the session tries again, how long it waits, when it gives up, and how its errors are named."""

import time

import pytest

from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    CredentialsError,
    DeadlineExceededError,
    NotFoundError,
    NotJsonError,
    RateLimitedError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.retries import retry_after_seconds
from imagesync_pipelines.upstream.session import SessionPolicy
from imagesync_pipelines_tests.upstream.servers import (
    FakeTime,
    Script,
    Session,
    always,
    http,
    in_turn,
    json_answer,
    serve,
    session_for,
)

GOOD = json_answer({"count": 1})


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(http(429), id="429"),
        pytest.param(http(500), id="500"),
        pytest.param(http(502, b"<html>Bad gateway</html>"), id="502 with HTML"),
        pytest.param(http(503), id="503"),
        pytest.param(http(504), id="504"),
        pytest.param(http(200, b'{"a": 1}', {"Content-Length": "9"}), id="short body"),
        pytest.param(http(200, b'{"results": [1, 2', {}), id="cut JSON"),
        pytest.param(http(200, b"", {}), id="empty body"),
        pytest.param(http(200, b'{"a": 1', length=False), id="cut JSON without a length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}   \r\n", id="chunked body without its end"
        ),
        pytest.param(http(200, b"no gzip", {"Content-Encoding": "gzip"}), id="broken gzip"),
        pytest.param(b"", id="closed without an answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="closed inside the headers"),
    ],
)
def test_what_is_transient_is_tried_again(broken: bytes) -> None:
    fake = FakeTime()
    with serve(in_turn(broken, broken, GOOD)) as server, session_for(server.url, fake) as session:
        assert session.get_json("x") == {"count": 1}
        assert session.calls == 3
    assert fake.sleeps == [0.5, 1.0]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        pytest.param(http(401, b'{"detail":"Invalid username/password."}'), CredentialsError, id="401"),
        pytest.param(http(403), CredentialsError, id="403"),
        pytest.param(http(404), NotFoundError, id="404"),
        pytest.param(http(410), NotFoundError, id="410"),
        pytest.param(http(400, b'{"detail": "no"}'), BadAnswerError, id="400"),
        pytest.param(http(422), BadAnswerError, id="422"),
        pytest.param(http(501), BadAnswerError, id="501"),
        pytest.param(http(304), BadAnswerError, id="304"),
        pytest.param(http(302), BadAnswerError, id="redirect to nowhere"),
        pytest.param(http(200, b"<!DOCTYPE html><html>"), NotJsonError, id="HTML"),
        pytest.param(http(200, b'<?xml version="1.0"?><a/>'), NotJsonError, id="XML"),
        pytest.param(http(200, b"\x89PNG...", {"Content-Type": "image/png"}), NotJsonError, id="a picture"),
        pytest.param(http(200, b"x", {"Content-Encoding": "br"}), BadAnswerError, id="brotli"),
    ],
)
def test_what_is_not_transient_fails_at_once(answer: bytes, kind: type[UpstreamError]) -> None:
    with serve(always(answer)) as server, session_for(server.url) as session:
        with pytest.raises(UpstreamError) as caught:
            session.get_json("x")
        assert type(caught.value) is kind
        assert session.calls == 1
    assert caught.value.host == server.host
    assert caught.value.path == "/api/x"
    assert not caught.value.retryable


def test_after_the_last_try_the_error_says_how_many() -> None:
    fake = FakeTime()
    with (
        serve(always(http(503, b"busy"))) as server,
        session_for(server.url, fake, tries=3) as session,
        pytest.raises(UnavailableError, match=r"HTTP 503; the answer begins: busy \(3 attempts\)") as caught,
    ):
        session.get_json("x")
    assert caught.value.attempts == 3
    assert fake.sleeps == [0.5, 1.0]


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        pytest.param({"Retry-After": "7"}, 7.0, id="seconds"),
        pytest.param({"Retry-After": "2.5"}, 2.5, id="decimal seconds"),
        pytest.param({"Retry-After": "Thu, 01 Jan 1970 00:00:09 GMT"}, 9.0, id="date"),
        pytest.param(
            {"Retry-After": "Mon, 02 Mar 2026 10:00:20 GMT", "Date": "Mon, 02 Mar 2026 10:00:00 GMT"},
            20.0,
            id="date by the clock of the server",
        ),
        pytest.param({}, 0.5, id="absent"),
        pytest.param({"Retry-After": "soon"}, 0.5, id="nonsense"),
        pytest.param({"Retry-After": "-5"}, 0.5, id="negative"),
        pytest.param({"Retry-After": "nan"}, 0.5, id="not a number"),
        pytest.param({"Retry-After": "inf"}, 0.5, id="infinite"),
        pytest.param({"Retry-After": "0"}, 0.5, id="zero"),
        pytest.param({"Retry-After": "Thu, 01 Jan 1960 00:00:00 GMT"}, 0.5, id="a date long ago"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int, headers: dict[str, str], expected: float) -> None:
    fake = FakeTime()
    with serve(in_turn(http(status, b"", headers), GOOD)) as server, session_for(server.url, fake) as session:
        session.get_json("x")
    assert fake.sleeps == [expected]


def test_a_system_may_ask_in_a_header_of_its_own_and_in_milliseconds() -> None:
    asked = {"X-Wait": "1500", "Retry-After": "7"}
    assert retry_after_seconds(asked, 0.0, header="x-wait", per_second=1000) == 1.5


@pytest.mark.parametrize("wait", ["86400", "1e300", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_wait_that_does_not_fit_the_deadline_fails_now(wait: str) -> None:
    fake = FakeTime()
    answer = http(429, b"", {"Retry-After": wait})
    with (
        serve(always(answer)) as server,
        session_for(server.url, fake, total_deadline=60.0) as session,
        pytest.raises(RateLimitedError, match=r"asks to wait .* s, beyond the 60 s") as caught,
    ):
        session.get_json("x")
    assert fake.sleeps == []
    assert caught.value.attempts == 1


def test_retries_end_at_the_total_deadline() -> None:
    fake = FakeTime()
    with (
        serve(always(http(503))) as server,
        session_for(server.url, fake, tries=100, total_deadline=10.0) as session,
        pytest.raises(UnavailableError, match="the next try is in"),
    ):
        session.get_json("x")
    assert sum(fake.sleeps) < 10.0
    assert len(fake.sleeps) > 2


def drip(head: bytes, seconds: float) -> Script:
    """Send a byte every 50 ms."""
    return lambda request, number: [head, *[piece for _ in range(int(seconds / 0.05)) for piece in (b" ", 0.05)]]


def test_a_body_that_drips_for_ever_ends_at_the_deadline() -> None:
    started = time.monotonic()
    with serve(drip(http(200, b"", {"Content-Length": "100000"}), 5.0)) as server:
        policy = SessionPolicy(server.url, total_deadline=0.5)
        with pytest.raises(DeadlineExceededError, match="not complete in time"):
            Session(policy).get("x")
    assert time.monotonic() - started < 4.5, "the body is whole after 5 seconds"


def test_a_silent_server_is_no_answer_in_time() -> None:
    with serve(lambda request, number: [2.0]) as server, pytest.raises(UnavailableError, match="no answer in time"):
        session_for(server.url, read_timeout=0.1, tries=1).get("x")


def test_a_body_that_stalls_is_tried_again() -> None:
    def script(request: object, number: int) -> list[bytes | float]:
        return [http(200, b'{"a"', {"Content-Length": "90"}), 3.0] if number == 1 else [GOOD]

    with serve(script) as server:
        assert session_for(server.url, read_timeout=0.5).get_json("x") == {"count": 1}


def test_nobody_listening_is_unavailable_and_surely_not_sent() -> None:
    with serve(always(GOOD)) as server:
        pass
    with pytest.raises(UnavailableError, match="no connection") as caught:
        session_for(server.url, tries=2).request("POST", "x")
    assert (caught.value.attempts, caught.value.ambiguous) == (2, False)


def test_a_name_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="cannot be resolved"):
        session_for("http://does-not-exist.invalid", tries=1).get("x")


@pytest.mark.parametrize(
    ("answer", "calls", "ambiguous"),
    [
        pytest.param(b"", 1, True, id="closed without an answer"),
        pytest.param(http(500), 1, True, id="500"),
        pytest.param(http(200, b"{", {"Content-Length": "9"}), 1, True, id="short body"),
        pytest.param(http(200, b"<html>"), 1, True, id="HTML"),
        pytest.param(http(429), 4, False, id="429 was not carried out"),
        pytest.param(http(400), 1, False, id="400 was not carried out"),
    ],
)
def test_a_post_is_repeated_only_when_it_was_surely_not_carried_out(answer: bytes, calls: int, ambiguous: bool) -> None:
    with serve(always(answer)) as server, session_for(server.url) as session:
        with pytest.raises(UpstreamError) as caught:
            session.request("POST", "x", json={}, expect_json=True)
        assert (session.calls, caught.value.ambiguous) == (calls, ambiguous)


def test_a_post_that_is_said_to_be_idempotent_is_repeated() -> None:
    with serve(in_turn(http(500), GOOD)) as server, session_for(server.url) as session:
        assert session.request("POST", "search", json={}, idempotent=True, expect_json=True).data == {"count": 1}
