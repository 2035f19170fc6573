"""Proves with canary values that credentials reach no log, no exception, no repr and no pickle."""

import base64
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.fetch import FetchPolicy, fetch_image
from imagesync_pipelines.upstream.redaction import excerpt, redact
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import BasicAuth, SessionPolicy
from imagesync_pipelines_tests.upstream.servers import FakeTime, Request, Script, Session, always, http, serve

USER, PASSWORD = "canary-user", "canary-pässword&more"
TOKEN, QUERY_TOKEN, PLAIN_TOKEN = "canary-header-token", "canary-query token", "canary-plain-token"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def leaks(text: str) -> bool:
    return "canary" in text or BASIC in text or base64.b64encode(b"canary")[:7].decode() in text


def echo(status: int, prefix: bytes) -> Script:
    """Answer with everything that was sent: target, headers, and the credentials in the clear."""

    def script(request: Request, number: int) -> list[bytes | float]:
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        kind, _, value = request.headers.get("authorization", "").partition(" ")
        credentials = f"{base64.b64decode(value).decode() if kind == 'Basic' else value} {QUERY_TOKEN}"
        return [http(status, prefix + f"{request.target} {credentials} {headers}".encode(), {"X-Echo": headers[:500]})]

    return script


def redirect(request: Request, number: int) -> list[bytes | float]:
    return [http(302, b"", {"Location": f"http://{USER}:{USER}@other.example/{request.target}"})]


def redirect_home(request: Request, number: int) -> list[bytes | float]:
    return [http(302, b"", {"Location": f"http://{USER}:{USER}@{request.headers['host']}{request.target}&again=1"})]


def chain(error: BaseException) -> list[BaseException]:
    """Give an exception and all that hangs on it."""
    found: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        item = waiting.pop()
        if item is not None and item not in found:
            found.append(item)
            waiting += [item.__cause__, item.__context__, *(arg for arg in item.args if isinstance(arg, BaseException))]
    return found


def assert_clean(error: UpstreamError, caplog: pytest.LogCaptureFixture) -> None:
    for item in chain(error):
        for text in (str(item), repr(item), repr(item.args), repr(vars(item))):
            assert not leaks(text), text
    written = "".join(traceback.TracebackException.from_exception(error).format())
    assert not leaks(written), written
    pickled = pickle.dumps(error)
    assert b"canary" not in pickled
    assert BASIC.encode() not in pickled
    for record in caplog.records:
        assert not leaks(record.getMessage()), record.getMessage()
        assert not leaks(repr(vars(record))), record.name


def timing() -> Timing:
    fake = FakeTime()
    return Timing(clock=fake.clock, sleep=fake.sleep, random=lambda: 0.0, wall=lambda: 0.0)


SCRIPTS = [
    pytest.param(echo(400, b""), id="400 that echoes"),
    pytest.param(echo(401, b""), id="401 that echoes"),
    pytest.param(echo(503, b""), id="503 that echoes"),
    pytest.param(echo(200, b"<html>"), id="HTML that echoes"),
    pytest.param(echo(200, b'{"cut": "'), id="cut JSON that echoes"),
    pytest.param(redirect, id="redirect that echoes"),
    pytest.param(redirect_home, id="redirect to itself that echoes"),
    pytest.param(always(b""), id="closed"),
    pytest.param(always(b"HTTP/1.1 canary-line\r\n\r\n"), id="bad status line"),
    pytest.param(always(http(200, b"{}", {"Content-Length": "99"})), id="short body"),
    pytest.param(always(http(200, b"canary-body", {"Content-Encoding": "gzip"})), id="broken gzip"),
    pytest.param(lambda request, number: [1.0], id="silent"),
]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", ["basic", "header"])
def test_no_failure_of_the_session_shows_a_credential(
    script: Script, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    auth: Any = BasicAuth(USER, SecretStr(PASSWORD))
    if kind == "header":
        auth = lambda: {"Authorization": SecretStr(f"Bearer {TOKEN}"), "X-Key": SecretStr(PASSWORD[:8])}  # noqa: E731
    caplog.set_level(logging.DEBUG)
    logging.getLogger("urllib3").setLevel(logging.DEBUG)
    with serve(script) as server:
        policy = SessionPolicy(f"{server.url}/api", auth=auth, read_timeout=0.1, tries=2)
        with Session(policy, timing=timing()) as session, pytest.raises(UpstreamError) as caught:
            session.get_json("x", {"token": SecretStr(QUERY_TOKEN), "plain": PLAIN_TOKEN})
        for thing in (policy, session, vars(session)):
            assert not leaks(repr(thing))
    assert any(record.name.startswith("urllib3") for record in caplog.records)
    assert_clean(caught.value, caplog)


def test_nobody_listening_and_a_proxy_with_a_password_show_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    for proxy in ("", f"http://{USER}:{USER}@127.0.0.1:9", f"http://{USER}:{USER}@[bad"):
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("HTTP_PROXY", proxy)
        policy = SessionPolicy("http://192.0.2.1:9/", auth=BasicAuth(USER, SecretStr(PASSWORD)), connect_timeout=0.1)
        with pytest.raises(UpstreamError) as caught:
            Session(policy, timing=timing()).get("x", {"token": SecretStr(QUERY_TOKEN)})
        assert_clean(caught.value, caplog)


@pytest.mark.parametrize("value", ["canary\n", " canary", "canary\r\nX: y", "canary\x00", "canär-canary", ""])
def test_credentials_that_cannot_be_sent_are_not_shown(value: str, caplog: pytest.LogCaptureFixture) -> None:
    policy = SessionPolicy("http://127.0.0.1:9/", auth=lambda: {"X-Token": SecretStr(value)})
    with pytest.raises(UpstreamError) as caught:
        Session(policy, timing=timing()).get("x")
    assert_clean(caught.value, caplog)


def test_a_good_answer_shows_no_query_in_its_repr_and_url() -> None:
    with serve(always(http(200, b'"canary-body"', {"Set-Cookie": "canary-cookie"}))) as server:
        answer = Session(SessionPolicy(server.url)).get("x", {"t": SecretStr(QUERY_TOKEN)}, expect_json=True)
    assert not leaks(repr(answer) + answer.url)
    assert "canary-query+token" in server.requests[0].target


@pytest.mark.parametrize("url", [f"http://{USER}:{USER}@h/", f"http://h/?t={USER}", f"{USER}://h/"])
def test_a_base_url_that_is_refused_is_not_repeated(url: str) -> None:
    with pytest.raises(ValueError) as caught:
        SessionPolicy(url)
    assert not leaks(str(caught.value))


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_failure_of_a_fetch_shows_the_query(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    policy = FetchPolicy(allowed_hosts=frozenset({"127.0.0.1"}), read_timeout=0.1, tries=2)
    with serve(script) as server, pytest.raises(UpstreamError) as caught:
        fetch_image(f"{server.url}/a.jpg?token={PLAIN_TOKEN}", policy, checksum="md5:" + "0" * 32, timing=timing())
    assert_clean(caught.value, caplog)


@pytest.mark.parametrize("form", ["http://{0}:{0}@images.example/a?b={0}", "ftp://{0}@h/{0}", "{0}"])
def test_a_url_that_is_refused_shows_no_user_name(form: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UpstreamError) as caught:
        fetch_image(form.format(USER), FetchPolicy(), timing=timing())
    assert_clean(caught.value, caplog)


@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(lambda text: text, id="plain"),
        pytest.param(lambda text: "canary-p%C3%A4ssword%26more", id="quoted"),
        pytest.param(lambda text: base64.b64encode(text.encode()).decode(), id="base64"),
    ],
)
def test_a_secret_is_removed_in_every_spelling(spell: Callable[[str], str]) -> None:
    assert redact(f"a {spell(PASSWORD)} b", [PASSWORD, ""]) == "a *** b"


def test_an_excerpt_never_shows_the_beginning_of_a_secret_that_it_cuts() -> None:
    assert excerpt(b"x" * 75 + PASSWORD.encode(), [PASSWORD]) == "x" * 75 + "***"
