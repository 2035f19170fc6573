"""Proves the session against a real server: retries, redirects, caps, deadlines, kinds of errors, counters."""

import gzip
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from imagesync_pipelines.upstream.auth import BasicAuth
from imagesync_pipelines.upstream.errors import (
    BadAnswer,
    BodyTooLarge,
    CredentialsError,
    DeadlineExceeded,
    InsecureConnection,
    MalformedJson,
    NotFound,
    NotJson,
    RateLimited,
    RedirectRefused,
    TruncatedBody,
    Unavailable,
    UpstreamError,
)
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import SessionPolicy, UpstreamSession
from imagesync_pipelines_tests.upstream.servers import FakeTime, Script, always, http, in_turn, json_answer, serve

GOOD = json_answer({"count": 1})


def session_for(url: str, fake: FakeTime | None = None, **policy: Any) -> UpstreamSession:
    fake = fake or FakeTime()
    timing = Timing(clock=fake.clock, sleep=fake.sleep, random=lambda: 1.0, wall=lambda: 0.0)
    return UpstreamSession(SessionPolicy(f"{url}/api/", **policy), timing=timing)


def test_a_good_answer_is_given_whole_and_counted() -> None:
    with serve(always(GOOD)) as server, session_for(server.url) as session:
        answer = session.get("pages/", {"page": 2, "left_out": None}, expect_json=True)
        assert answer.status == 200
        assert answer.data == {"count": 1}
        assert answer.url == f"{server.url}/api/pages/"
        assert (session.calls, session.bytes) == (1, len(answer.body))
    assert server.requests[0].target == "/api/pages/?page=2"


def test_basic_credentials_in_utf8_and_no_cookies_are_sent() -> None:
    answers = in_turn(http(200, b"{}", {"Set-Cookie": "sid=1"}), GOOD)
    with serve(answers) as server, session_for(server.url, auth=BasicAuth("jürgen", SecretStr("pä:ss"))) as session:
        session.get_json("x")
        session.get_json("x")
    assert server.requests[1].headers["authorization"] == "Basic asO8cmdlbjpww6Q6c3M="
    assert "cookie" not in server.requests[1].headers


def test_header_credentials_are_asked_for_before_every_attempt() -> None:
    tokens = iter(["one", "two"])
    with (
        serve(in_turn(http(503), GOOD)) as server,
        session_for(server.url, auth=lambda: {"X-Token": SecretStr(next(tokens))}) as session,
    ):
        session.get_json("x")
    assert [request.headers["x-token"] for request in server.requests] == ["one", "two"]


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
        pytest.param(http(404), NotFound, id="404"),
        pytest.param(http(410), NotFound, id="410"),
        pytest.param(http(400, b'{"detail": "no"}'), BadAnswer, id="400"),
        pytest.param(http(422), BadAnswer, id="422"),
        pytest.param(http(501), BadAnswer, id="501"),
        pytest.param(http(304), BadAnswer, id="304"),
        pytest.param(http(302), BadAnswer, id="redirect to nowhere"),
        pytest.param(http(200, b"<!DOCTYPE html><html>"), NotJson, id="HTML"),
        pytest.param(http(200, b'<?xml version="1.0"?><a/>'), NotJson, id="XML"),
        pytest.param(http(200, b"\x89PNG...", {"Content-Type": "image/png"}), NotJson, id="a picture"),
        pytest.param(http(200, b"x", {"Content-Encoding": "br"}), BadAnswer, id="brotli"),
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


def test_a_credentials_failure_is_one_line_naming_the_host() -> None:
    with (
        serve(always(http(401))) as server,
        session_for(server.url, auth=BasicAuth("me", SecretStr("pw"))) as session,
        pytest.raises(CredentialsError, match="check the user name and password") as caught,
    ):
        session.get_json("x")
    assert str(caught.value).startswith(server.host)
    assert "\n" not in str(caught.value)
    assert caught.value.status == 401


def test_credentials_with_a_line_break_fail_without_a_call() -> None:
    with (
        serve(always(GOOD)) as server,
        session_for(server.url, auth=lambda: {"X-T": SecretStr("ab\n")}) as session,
        pytest.raises(CredentialsError, match="line break"),
    ):
        session.get("x")
    assert server.requests == []


def test_an_accepted_status_is_an_answer() -> None:
    with serve(always(json_answer({"detail": "Invalid page."}, 404))) as server, session_for(server.url) as session:
        answer = session.get("x", expect_json=True, accept={404})
    assert (answer.status, answer.data) == (404, {"detail": "Invalid page."})


def test_html_where_json_was_expected_is_shown_in_80_printable_characters() -> None:
    page = b"<html>\n<h1>\x00\x1bMaintenance</h1>" + b"x" * 500
    with (
        serve(always(http(200, page, {"Content-Type": "text/html"}))) as server,
        session_for(server.url) as session,
        pytest.raises(NotJson, match="HTML came where JSON was expected") as caught,
    ):
        session.get_json("x")
    assert caught.value.excerpt.startswith("<html> <h1>Maintenance</h1>xxx")
    assert len(caught.value.excerpt) == 80


def test_json_with_a_byte_order_mark_or_a_wrong_label_is_taken() -> None:
    with serve(always(http(200, b"\xef\xbb\xbf[1]\n", {"Content-Type": "text/html"}))) as server:
        assert session_for(server.url).get_json("x") == [1]


def test_after_the_last_try_the_error_says_how_many() -> None:
    fake = FakeTime()
    with (
        serve(always(http(503, b"busy"))) as server,
        session_for(server.url, fake, tries=3) as session,
        pytest.raises(Unavailable, match=r"HTTP 503; the answer begins: busy \(3 attempts\)") as caught,
    ):
        session.get_json("x")
    assert caught.value.attempts == 3
    assert fake.sleeps == [0.5, 1.0]


@pytest.mark.parametrize(
    ("headers", "policy", "expected"),
    [
        pytest.param({"Retry-After": "7"}, {}, 7.0, id="seconds"),
        pytest.param({"Retry-After": "2.5"}, {}, 2.5, id="decimal seconds"),
        pytest.param({"Retry-After": "Thu, 01 Jan 1970 00:00:09 GMT"}, {}, 9.0, id="date"),
        pytest.param(
            {"Retry-After": "Mon, 02 Mar 2026 10:00:20 GMT", "Date": "Mon, 02 Mar 2026 10:00:00 GMT"},
            {},
            20.0,
            id="date by the clock of the server",
        ),
        pytest.param(
            {"X-Wait": "1500"}, {"retry_after_header": "X-Wait", "retry_after_unit": "milliseconds"}, 1.5, id="ms"
        ),
        pytest.param({}, {}, 0.5, id="absent"),
        pytest.param({"Retry-After": "soon"}, {}, 0.5, id="nonsense"),
        pytest.param({"Retry-After": "-5"}, {}, 0.5, id="negative"),
        pytest.param({"Retry-After": "nan"}, {}, 0.5, id="not a number"),
        pytest.param({"Retry-After": "inf"}, {}, 0.5, id="infinite"),
        pytest.param({"Retry-After": "0"}, {}, 0.5, id="zero"),
        pytest.param({"Retry-After": "Thu, 01 Jan 1960 00:00:00 GMT"}, {}, 0.5, id="a date long ago"),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(status: int, headers: dict[str, str], policy: dict[str, Any], expected: float) -> None:
    fake = FakeTime()
    with serve(in_turn(http(status, b"", headers), GOOD)) as server, session_for(server.url, fake, **policy) as session:
        session.get_json("x")
    assert fake.sleeps == [expected]


@pytest.mark.parametrize("wait", ["86400", "1e300", "Fri, 01 Jan 2100 00:00:00 GMT"])
def test_a_wait_that_does_not_fit_the_deadline_fails_now(wait: str) -> None:
    fake = FakeTime()
    answer = http(429, b"", {"Retry-After": wait})
    with (
        serve(always(answer)) as server,
        session_for(server.url, fake, total_deadline=60.0) as session,
        pytest.raises(RateLimited, match=r"asks to wait .* s, beyond the 60 s") as caught,
    ):
        session.get_json("x")
    assert fake.sleeps == []
    assert caught.value.attempts == 1


def test_retries_end_at_the_total_deadline() -> None:
    fake = FakeTime()
    with (
        serve(always(http(503))) as server,
        session_for(server.url, fake, tries=100, total_deadline=10.0) as session,
        pytest.raises(Unavailable, match="the next try is in"),
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
        with pytest.raises(DeadlineExceeded, match="not complete in time"):
            UpstreamSession(policy).get("x")
    assert time.monotonic() - started < 2.0


def test_a_silent_server_is_no_answer_in_time() -> None:
    with serve(lambda request, number: [2.0]) as server, pytest.raises(Unavailable, match="no answer in time"):
        session_for(server.url, read_timeout=0.1, tries=1).get("x")


def test_a_body_that_stalls_is_tried_again() -> None:
    def script(request: object, number: int) -> list[bytes | float]:
        return [http(200, b'{"a"', {"Content-Length": "90"}), 1.0] if number == 1 else [GOOD]

    with serve(script) as server:
        assert session_for(server.url, read_timeout=0.1).get_json("x") == {"count": 1}


def test_nobody_listening_is_unavailable_and_surely_not_sent() -> None:
    with serve(always(GOOD)) as server:
        pass
    with pytest.raises(Unavailable, match="no connection") as caught:
        session_for(server.url, tries=2).request("POST", "x")
    assert (caught.value.attempts, caught.value.ambiguous) == (2, False)


def test_a_name_that_does_not_exist_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="cannot be resolved"):
        session_for("http://does-not-exist.invalid", tries=1).get("x")


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "gzip bomb"])
def test_a_body_over_the_cap_is_stopped(encoded: bool) -> None:
    body = b" " * 50_000_000
    answer = http(200, gzip.compress(body), {"Content-Encoding": "gzip"}) if encoded else http(200, body)
    with serve(always(answer)) as server, session_for(server.url, max_bytes=1_000_000) as session:
        with pytest.raises(BodyTooLarge, match="larger than 1000000 bytes"):
            session.get("x")
        assert session.bytes < 2_000_000
        assert session.calls == 1


def test_a_gzip_body_is_decompressed_and_counted_as_it_came() -> None:
    packed = gzip.compress(b"[" + b"1," * 50_000 + b"1]")
    with serve(always(http(200, packed, {"Content-Encoding": "gzip"}))) as server, session_for(server.url) as session:
        assert session.get_json("x") == [1] * 50_001
        assert session.bytes == len(packed)


def test_a_redirect_inside_the_origin_is_followed_with_credentials() -> None:
    answers = in_turn(http(301, b"", {"Location": "/api/x/?page=2"}), GOOD)
    with serve(answers) as server, session_for(server.url, auth=BasicAuth("u", SecretStr("p"))) as session:
        assert session.get_json("x", {"page": 2}) == {"count": 1}
        assert session.calls == 2
    assert server.requests[1].target == "/api/x/?page=2"
    assert server.requests[1].headers["authorization"] == server.requests[0].headers["authorization"]


@pytest.mark.parametrize(
    "location",
    [
        "http://other.example/x",
        "https://127.0.0.1/x",
        "//evil.example/x",
        "http://127.0.0.1:1/x",
        "http://[bad/x",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_to_another_origin_is_refused(location: str) -> None:
    with serve(always(http(302, b"", {"Location": location}))) as server, session_for(server.url) as session:
        with pytest.raises(RedirectRefused, match="another origin"):
            session.get("x")
        assert session.calls == 1


def test_the_body_of_a_redirect_is_not_read() -> None:
    bomb = http(302, b" " * 50_000_000, {"Location": "/api/y"})
    with serve(in_turn(bomb, GOOD)) as server, session_for(server.url, max_bytes=1000) as session:
        assert session.get_json("x") == {"count": 1}
        assert session.bytes < 1000


def test_a_redirect_loop_ends_after_five() -> None:
    with serve(always(http(302, b"", {"Location": "/api/x"}))) as server, session_for(server.url) as session:
        with pytest.raises(RedirectRefused, match="more than 5 redirects"):
            session.get("x")
        assert session.calls == 6


def test_a_post_that_is_redirected_is_refused() -> None:
    with (
        serve(always(http(307, b"", {"Location": "/api/y"}))) as server,
        session_for(server.url) as session,
        pytest.raises(RedirectRefused) as caught,
    ):
        session.request("POST", "x", json={"a": 1})
    assert not caught.value.ambiguous
    assert server.requests[0].body == b'{"a": 1}'


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


def test_threads_share_one_session_and_the_counters_are_right() -> None:
    with serve(always(GOOD)) as server, session_for(server.url) as session:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda number: session.get_json("x", {"page": number}), range(64)))
        assert answers == [{"count": 1}] * 64
        assert session.calls == 64
        assert session.bytes == 64 * len(b'{"count": 1}')
    assert threading.active_count() < 20


def test_a_session_can_be_used_after_it_was_closed() -> None:
    with serve(always(GOOD)) as server:
        session = session_for(server.url)
        session.get("x")
        session.close()
        assert session.get("x").status == 200


def test_netrc_never_replaces_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with serve(always(GOOD)) as server:
        session_for(server.url).get("x")
        session_for(server.url, auth=BasicAuth("u", SecretStr("p"))).get("x")
        session_for(server.url, auth=lambda: {"X-Token": SecretStr("t")}).get("x")
    assert [request.headers.get("authorization") for request in server.requests] == [None, "Basic dTpw", None]


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(always(GOOD)) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("http_proxy", proxy.url)
        assert session_for("http://images.example").get_json("x") == {"count": 1}
    assert proxy.requests[0].target == "http://images.example/api/x"


def test_a_certificate_that_cannot_be_verified_is_named_and_not_tried_again() -> None:
    with serve(always(GOOD), tls=True) as server, session_for(f"https://localhost:{server.port}") as session:
        with pytest.raises(InsecureConnection):
            session.get("x")
        assert session.calls == 1


def test_verification_can_be_switched_off() -> None:
    with serve(always(GOOD), tls=True) as server, pytest.warns(Warning, match="Unverified"):
        assert session_for(f"https://localhost:{server.port}", verify_tls=False).get_json("x") == {"count": 1}


@pytest.mark.parametrize("path", ["http://evil.example/x", "//evil.example/x", "x?token=1", "x#y"])
def test_a_path_is_relative_and_without_a_query(path: str) -> None:
    with pytest.raises(ValueError, match="path must be relative"):
        session_for("http://127.0.0.1:9").get(path)


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "no url", "http://u:p@h/", "http://h/?token=x", "http://h/#x"])
def test_a_base_url_that_is_none_or_holds_credentials_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        SessionPolicy(url)


def test_what_cannot_be_written_as_json_is_no_upstream_failure_to_retry() -> None:
    with (
        serve(always(GOOD)) as server,
        session_for(server.url) as session,
        pytest.raises(UpstreamError, match="could not be made") as caught,
    ):
        session.request("POST", "x", json={"a": float("nan")})
    assert not caught.value.retryable


@pytest.mark.parametrize(
    "error", [TruncatedBody("cut"), MalformedJson("cut", host="h", path="/p", status=200, attempts=2)]
)
def test_errors_survive_pickling(error: UpstreamError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__
