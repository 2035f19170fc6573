"""Proves the session against a real server: what is sent, redirects, caps, counters, what it refuses to do."""

import gzip
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path

import pytest
from pydantic import SecretStr

from imagesync_pipelines.upstream.errors import (
    BodyTooLargeError,
    CredentialsError,
    InsecureConnectionError,
    MalformedJsonError,
    NotJsonError,
    RedirectRefusedError,
    TruncatedBodyError,
    UpstreamError,
)
from imagesync_pipelines.upstream.session import BasicAuth, SessionPolicy
from imagesync_pipelines_tests.upstream.servers import FakeTime, always, http, in_turn, json_answer, serve, session_for

GOOD = json_answer({"count": 1})


def test_a_good_answer_is_given_whole_and_counted() -> None:
    with serve(always(GOOD)) as server, session_for(server.url) as session:
        answer = session.get("pages/", {"page": 2, "left_out": None}, expect_json=True)
        assert answer.status == 200
        assert answer.data == {"count": 1}
        assert answer.url == f"{server.url}/api/pages/"
        assert (session.calls, session.bytes) == (1, len(answer.body))
    assert server.requests[0].target == "/api/pages/?page=2"


def test_a_call_may_bring_an_encoded_body_and_headers_of_its_own() -> None:
    with serve(always(GOOD)) as server, session_for(server.url) as session:
        session.request("POST", "x", body='{"имя":1}'.encode(), headers={"Accept": "*/*", "X-Echo": "no"})
        session.get("x")
    sent, plain = server.requests
    assert sent.body.decode() == '{"имя":1}'
    assert (sent.headers["content-type"], sent.headers["accept"], sent.headers["x-echo"]) == (
        "application/json",
        "*/*",
        "no",
    )
    assert "content-type" not in plain.headers
    assert plain.headers["accept"] == "application/json"


def test_a_redirect_that_is_the_answer_is_given_and_not_followed() -> None:
    with serve(always(http(302, b"", {"Location": "https://elsewhere.example/signed"}))) as server:
        with session_for(server.url) as session:
            answer = session.get("x", accept={302})
        assert (answer.status, answer.headers["Location"]) == (302, "https://elsewhere.example/signed")
        assert len(server.requests) == 1


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
        pytest.raises(NotJsonError, match="HTML came where JSON was expected") as caught,
    ):
        session.get_json("x")
    assert caught.value.excerpt.startswith("<html> <h1>Maintenance</h1>xxx")
    assert len(caught.value.excerpt) == 80


def test_json_with_a_byte_order_mark_or_a_wrong_label_is_taken() -> None:
    with serve(always(http(200, b"\xef\xbb\xbf[1]\n", {"Content-Type": "text/html"}))) as server:
        assert session_for(server.url).get_json("x") == [1]


@pytest.mark.parametrize("encoded", [False, True], ids=["plain", "gzip bomb"])
def test_a_body_over_the_cap_is_stopped(encoded: bool) -> None:
    body = b" " * 50_000_000
    answer = http(200, gzip.compress(body), {"Content-Encoding": "gzip"}) if encoded else http(200, body)
    with serve(always(answer)) as server, session_for(server.url, max_bytes=1_000_000) as session:
        with pytest.raises(BodyTooLargeError, match="larger than 1000000 bytes"):
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
        with pytest.raises(RedirectRefusedError, match="another origin"):
            session.get("x")
        assert session.calls == 1


def test_the_body_of_a_redirect_is_not_read() -> None:
    bomb = http(302, b" " * 50_000_000, {"Location": "/api/y"})
    with serve(in_turn(bomb, GOOD)) as server, session_for(server.url, max_bytes=1000) as session:
        assert session.get_json("x") == {"count": 1}
        assert session.bytes < 1000


def test_a_redirect_loop_ends_after_five() -> None:
    with serve(always(http(302, b"", {"Location": "/api/x"}))) as server, session_for(server.url) as session:
        with pytest.raises(RedirectRefusedError, match="more than 5 redirects"):
            session.get("x")
        assert session.calls == 6


def test_a_post_that_is_redirected_is_refused() -> None:
    with (
        serve(always(http(307, b"", {"Location": "/api/y"}))) as server,
        session_for(server.url) as session,
        pytest.raises(RedirectRefusedError) as caught,
    ):
        session.request("POST", "x", json={"a": 1})
    assert not caught.value.ambiguous
    assert server.requests[0].body == b'{"a": 1}'


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
        with pytest.raises(InsecureConnectionError):
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
    "error", [TruncatedBodyError("cut"), MalformedJsonError("cut", host="h", path="/p", status=200, attempts=2)]
)
def test_errors_survive_pickling(error: UpstreamError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.__dict__ == error.__dict__


def test_with_verification_off_no_bundle_of_certificates_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/no/such/bundle.pem")
    with serve(always(GOOD), tls=True) as server:
        assert session_for(f"https://localhost:{server.port}", verify_tls=False).get_json("x") == {"count": 1}


def test_a_parameter_that_cannot_be_written_in_utf8_is_a_call_that_was_not_made() -> None:
    with serve(always(GOOD)) as server, session_for(server.url) as session:
        with pytest.raises(UpstreamError, match="the request could not be made") as caught:
            session.get("x", {"token": "\ud800"})
        assert not caught.value.sent
        assert server.requests == []


def test_no_connection_is_used_after_it_was_idle_for_longer_than_allowed_even_while_others_work() -> None:
    fake, used, together = FakeTime(), [], threading.Barrier(2)

    class KeptAlive(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            used.append((self.client_address, fake.now))
            if self.path.endswith("together"):
                together.wait(timeout=10)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), KeptAlive) as server, ThreadPoolExecutor(3) as pool:
        pool.submit(server.serve_forever, 0.01)
        with session_for(f"http://127.0.0.1:{server.server_port}", fake, most_idle=30.0) as session:
            for path in ("together", "alone", "alone", "alone", "alone", "together"):
                list(pool.map(session.get, [path] * (2 if path == "together" else 1)))
                fake.now += 10
        server.shutdown()
    moments: dict[object, list[float]] = {}
    for connection, moment in used:
        moments.setdefault(connection, []).append(moment)
    assert len(used) == 8
    assert any(len(of) > 1 for of in moments.values()), "connections are kept"
    assert all(after - before <= 30 for of in moments.values() for before, after in pairwise(of))
