"""Proves the fetch of pictures against a real server: whole bodies, judged addresses, nothing of ours sent."""

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from imagesync_pipelines.upstream.errors import (
    AlteredBodyError,
    BadAnswerError,
    BodyTooLargeError,
    DeadlineExceededError,
    InsecureConnectionError,
    NotFoundError,
    RateLimitedError,
    RedirectRefusedError,
    TruncatedBodyError,
    UnavailableError,
    UpstreamError,
    UrlRefusedError,
)
from imagesync_pipelines.upstream.fetch import Fetched, FetchPolicy, fetch_image
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.upstream.servers import CERTIFICATE, FakeTime, always, http, in_turn, serve

BODY = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()
GOOD = http(200, BODY, {"Content-Type": "image/jpeg; q=1"})
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%s\r\n" % (len(BODY), BODY)
ALLOWED = frozenset({"127.0.0.1", "images.example"})


def to_loopback(host: str, port: int) -> Sequence[str]:
    return ["127.0.0.1"]


def fetch(url: str, checksum: str | None = None, fake: FakeTime | None = None, **policy: Any) -> Fetched:
    fake = fake or FakeTime()
    timing = Timing(clock=fake.clock, sleep=fake.sleep, random=lambda: 1.0, wall=lambda: 0.0)
    chosen = FetchPolicy(**({"allowed_hosts": ALLOWED} | policy))
    return fetch_image(url, chosen, checksum=checksum, timing=timing, resolve=to_loopback)


def test_a_whole_body_is_given_with_its_checksum_and_label() -> None:
    with serve(always(GOOD)) as server:
        fetched = fetch(f"{server.url}/a.jpg?version=1")
    assert fetched == Fetched(f"{server.url}/a.jpg", "image/jpeg", SHA256, BODY)
    assert server.requests[0].target == "/a.jpg?version=1"


def test_nothing_of_ours_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login other password wrong\n")
    monkeypatch.setenv("NETRC", str(netrc))
    answers = in_turn(http(302, b"", {"Location": "/b.jpg", "Set-Cookie": "sid=1"}), GOOD)
    with serve(answers) as server:
        fetch(f"{server.url}/a.jpg")
    assert len(server.requests) == 2
    for request in server.requests:
        assert set(request.headers) == {"host", "user-agent", "accept", "accept-encoding", "connection"}
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["host"] == server.host


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serve(always(GOOD)) as server:
        assert fetch(f"{server.url}/a.jpg").body == BODY


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(http(200, BODY, length=False), BadAnswerError, "no length", id="no length"),
        pytest.param(CHUNKED + b"0\r\n\r\n", BadAnswerError, "no length", id="chunked"),
        pytest.param(
            http(200, BODY, {"Content-Length": "300000"}), TruncatedBodyError, "256000 bytes", id="short body"
        ),
        pytest.param(http(200, BODY, {"Content-Length": "255999"}), AlteredBodyError, "longer than", id="long body"),
        pytest.param(http(200, b""), TruncatedBodyError, "0 bytes came", id="empty body"),
        pytest.param(http(200, BODY, {"Content-Length": "-1"}), BadAnswerError, "no number", id="negative length"),
        pytest.param(http(200, BODY, {"Content-Length": "١"}), BadAnswerError, "no number", id="odd digits"),
        pytest.param(
            http(200, BODY, {"Content-Length": "9\r\nContent-Length: 8"}), BadAnswerError, "several", id="two lengths"
        ),
        pytest.param(http(200, BODY, {"Content-Encoding": "gzip"}), BadAnswerError, "compressed", id="compressed"),
        pytest.param(
            http(200, b"x", {"Content-Length": "9" * 12}), BodyTooLargeError, "announced", id="announced too large"
        ),
        pytest.param(http(206, BODY), BadAnswerError, "HTTP 206", id="a part"),
        pytest.param(http(204), BadAnswerError, "HTTP 204", id="nothing"),
        pytest.param(http(304), BadAnswerError, "HTTP 304", id="not modified"),
        pytest.param(http(302), BadAnswerError, "HTTP 302", id="redirect to nowhere"),
        pytest.param(http(401), BadAnswerError, "without credentials", id="401"),
        pytest.param(http(403), BadAnswerError, "without credentials", id="403"),
        pytest.param(http(404), NotFoundError, "HTTP 404", id="404"),
        pytest.param(http(429), RateLimitedError, "HTTP 429", id="429"),
        pytest.param(http(503), UnavailableError, "HTTP 503", id="503"),
        pytest.param(b"", UnavailableError, "broke", id="closed without an answer"),
        pytest.param(b"\x16\x03\x01\r\n\r\n", UnavailableError, "broke", id="no HTTP"),
    ],
)
def test_what_is_not_a_whole_body_is_refused(answer: bytes, kind: type[UpstreamError], words: str) -> None:
    with serve(always(answer)) as server, pytest.raises(UpstreamError, match=words) as caught:
        fetch(f"{server.url}/a.jpg?token=secret")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"{server.host}/a.jpg: ")
    assert caught.value.attempts == (3 if kind.retryable else 1)


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
@pytest.mark.parametrize(
    "answer", [http(200, BODY, length=False), CHUNKED + b"0\r\n\r\n", GOOD], ids=["no length", "chunked", "length"]
)
def test_with_a_checksum_no_length_is_needed(answer: bytes, algorithm: str) -> None:
    checksum = f"{algorithm}:{hashlib.new(algorithm, BODY).hexdigest().upper()}"
    with serve(always(answer)) as server:
        assert fetch(f"{server.url}/a.jpg", checksum).body == BODY


def test_one_altered_byte_is_found_by_the_checksum_and_fetched_again() -> None:
    altered = http(200, BODY[:-1] + b"!")
    with serve(in_turn(altered, GOOD)) as server:
        assert fetch(f"{server.url}/a.jpg", f"sha256:{SHA256}").body == BODY
    with serve(always(altered)) as server, pytest.raises(AlteredBodyError, match="checksum is not the one"):
        fetch(f"{server.url}/a.jpg", f"sha256:{SHA256}")


def test_a_chunked_body_without_its_end_is_refused_even_with_a_checksum() -> None:
    with serve(always(CHUNKED)) as server, pytest.raises(TruncatedBodyError):
        fetch(f"{server.url}/a.jpg", f"sha256:{SHA256}")


@pytest.mark.parametrize("checksum", ["", "abc", "sha256:abc", "crc32:00000000", f"md5:{SHA256}"])
def test_a_checksum_of_another_form_is_the_callers_mistake(checksum: str) -> None:
    with pytest.raises(ValueError, match="checksum must be"):
        fetch("https://images.example/", checksum)


def test_a_body_without_length_is_stopped_at_the_cap() -> None:
    with serve(always(http(200, BODY, length=False))) as server, pytest.raises(BodyTooLargeError):
        fetch(f"{server.url}/a.jpg", f"sha256:{SHA256}", max_bytes=100_000)


def test_what_is_transient_is_tried_again_and_retry_after_is_honoured() -> None:
    fake = FakeTime()
    with serve(in_turn(http(503), http(429, b"", {"Retry-After": "4"}), GOOD)) as server:
        assert fetch(f"{server.url}/a.jpg", fake=fake).body == BODY
    assert fake.sleeps == [0.5, 4.0]


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([b"HTTP/1.1 200 OK\r\nX-Drip: ", *[b"x", 0.05] * 200], id="headers"),
        pytest.param([http(200, b"", {"Content-Length": "999"}), *[b"x", 0.05] * 200], id="body"),
    ],
)
def test_an_answer_that_drips_for_ever_is_cut_at_the_deadline(script: list[bytes | float]) -> None:
    started = time.monotonic()
    with serve(lambda request, number: script) as server, pytest.raises(DeadlineExceededError, match="not done within"):
        fetch_image(f"{server.url}/a", FetchPolicy(allowed_hosts=ALLOWED, total_deadline=0.4))
    assert time.monotonic() - started < 9, "the whole answer takes 10 seconds"


def test_a_redirect_to_another_host_is_followed_when_that_is_public_or_allowed() -> None:
    with serve(always(GOOD)) as second:
        redirect = http(302, b"", {"Location": f"http://images.example:{second.port}/b.jpg"})
        with serve(always(redirect)) as first:
            fetched = fetch(f"{first.url}/a.jpg")
    assert fetched.url == f"http://images.example:{second.port}/b.jpg"
    assert second.requests[0].headers["host"] == f"images.example:{second.port}"


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://localhost/",
        "http://[::1]/",
        "//2130706433/",
        "file:///etc/passwd",
        "http://u:p@images.example/",
        "http://[bad/",
    ],
)
def test_every_hop_is_judged(location: str) -> None:
    with serve(always(http(302, b"", {"Location": location}))) as server, pytest.raises(UrlRefusedError):
        fetch(f"{server.url}/a.jpg", allowed_hosts=frozenset({"127.0.0.1"}))
    assert len(server.requests) == 1


def test_a_redirect_loop_ends() -> None:
    with (
        serve(always(http(302, b"", {"Location": "/a"}))) as server,
        pytest.raises(RedirectRefusedError, match="more than 5"),
    ):
        fetch(f"{server.url}/a")
    assert len(server.requests) == 6


def test_loopback_is_refused_without_a_connection() -> None:
    with serve(always(GOOD)) as server, pytest.raises(UrlRefusedError, match="no public address"):
        fetch(f"{server.url}/a.jpg", allowed_hosts=frozenset())
    assert server.requests == []


def test_the_connection_goes_to_the_address_that_was_judged() -> None:
    answers = iter([["127.0.0.1"], ["192.0.2.1"]])
    with serve(always(GOOD)) as server:
        url = f"http://images.example:{server.port}/a.jpg"
        policy = FetchPolicy(allowed_hosts=ALLOWED, tries=1)
        assert fetch_image(url, policy, resolve=lambda host, port: next(answers)).body == BODY
    assert next(answers) == ["192.0.2.1"]
    assert server.requests[0].headers["host"] == f"images.example:{server.port}"


def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    with serve(always(GOOD)) as server:
        url = f"http://images.example:{server.port}/a.jpg"
        policy = FetchPolicy(allowed_hosts=ALLOWED, tries=1)
        assert fetch_image(url, policy, resolve=lambda host, port: ["::1", "127.0.0.1"]).body == BODY


def test_tls_is_checked_against_the_name_not_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    with serve(always(GOOD), tls=True) as server:
        assert fetch(f"https://images.example:{server.port}/a.jpg").body == BODY
        with pytest.raises(InsecureConnectionError):
            fetch(f"https://other.example:{server.port}/a.jpg", allowed_hosts=frozenset({"other.example"}))
    assert len(server.requests) == 1


def test_an_unknown_certificate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    with serve(always(GOOD), tls=True) as server, pytest.raises(InsecureConnectionError):
        fetch(f"https://images.example:{server.port}/a.jpg")


def test_a_redirect_from_https_to_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
    answer = http(302, b"", {"Location": "http://images.example/"})
    with serve(always(answer), tls=True) as server, pytest.raises(RedirectRefusedError, match="plain http"):
        fetch(f"https://images.example:{server.port}/a.jpg")


def test_nobody_listening_is_tried_again_and_unavailable() -> None:
    with serve(always(GOOD)) as server:
        pass
    with pytest.raises(UnavailableError) as caught:
        fetch(f"{server.url}/a.jpg")
    assert caught.value.attempts == 3
