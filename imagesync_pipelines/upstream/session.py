"""One polite, bounded, discreet way to call an HTTP API; every connector's `api.py` stands on it."""

import base64
import http.cookiejar
import re
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from math import inf
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from pydantic import SecretStr

from imagesync_pipelines.upstream.answers import (
    DEFAULT_PORTS,
    Answer,
    failure_of_status,
    failure_without_answer,
    origin_of,
    parse_json,
    place_of,
    read_body,
)
from imagesync_pipelines.upstream.errors import (
    CredentialsError,
    DeadlineExceededError,
    RedirectRefusedError,
    UpstreamError,
)
from imagesync_pipelines.upstream.redaction import quiet_urllib3
from imagesync_pipelines.upstream.retries import RetryPolicy, Timing, call_with_retries, retry_after_seconds

MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

Param = str | int | float | SecretStr | None
"""A query parameter: None is left out, a SecretStr is also removed from whatever the system answers."""


@dataclass(frozen=True)
class BasicAuth:
    """A user and a password for HTTP Basic."""

    user: str
    password: SecretStr


HeaderAuth = Callable[[], Mapping[str, SecretStr]]
"""Gives the headers that carry the credentials; asked before every attempt, so that a token may be renewed."""


def credential_headers(auth: BasicAuth | HeaderAuth | None) -> dict[str, str]:
    """Give the headers that carry the credentials."""
    if auth is None:
        return {}
    if isinstance(auth, BasicAuth):
        pair = f"{auth.user}:{auth.password.get_secret_value()}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return {name: value.get_secret_value() for name, value in auth().items()}


def secret_texts(auth: BasicAuth | HeaderAuth | None, credentials: Mapping[str, str]) -> tuple[str, ...]:
    """Give every text that must not be shown: user, password, whole header values and the token inside them."""
    named = (auth.user, auth.password.get_secret_value()) if isinstance(auth, BasicAuth) else ()
    return (*named, *credentials.values(), *(value.split(" ")[-1] for value in credentials.values()))


@dataclass(frozen=True)
class SessionPolicy:
    """How one system is called; times in seconds, sizes in bytes.

    total_deadline covers a whole call with its retries; it is overrun by one read at most (the head of an answer is
    one). max_bytes counts the body after decompression. retry_after_header and retry_after_unit are the system's own
    way to ask for a pause. most_idle, most_requests: connections that were idle for more seconds, or carried that many
    requests, are given up for new ones.
    """

    base_url: str
    auth: BasicAuth | HeaderAuth | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    total_deadline: float = 180.0
    max_bytes: int = 64 * 1024 * 1024
    tries: int = 4
    backoff_first: float = 0.5
    backoff_max: float = 30.0
    verify_tls: bool = True
    retry_after_header: str = "Retry-After"
    retry_after_unit: Literal["seconds", "milliseconds"] = "seconds"
    user_agent: str = "imagesync_pipelines"
    most_idle: float = inf
    most_requests: int | None = None

    def __post_init__(self) -> None:
        """Refuse a base URL that is none, or that carries credentials: a URL is shown, they must not be."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("base_url is no http or https URL")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("base_url must hold neither user name nor query; credentials go into auth")

    @property
    def retry(self) -> RetryPolicy:
        """How often a call is repeated."""
        return RetryPolicy(self.tries, self.backoff_first, self.backoff_max, self.total_deadline)


@dataclass(frozen=True)
class ApiRequest:
    """A call to one system, the same in every attempt; its parts are those of `UpstreamSession.request`."""

    method: str
    path: str
    params: Mapping[str, Param] = field(default_factory=dict, repr=False)
    json: object = field(default=None, repr=False)
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    idempotent: bool | None = None
    expect_json: bool = False
    accept: frozenset[int] = frozenset()

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice does no harm."""
        return self.method in _SAFE_METHODS if self.idempotent is None else self.idempotent


@dataclass(frozen=True)
class _Call:
    """One call as it goes out, the same in every attempt."""

    method: str
    url: str
    params: Mapping[str, str] = field(repr=False)
    json: object = field(repr=False)
    body: bytes | None = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    expect_json: bool
    accept: frozenset[int]
    secrets: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class _Redirect:
    status: int
    location: str = field(repr=False)


class _OwnRedirects(requests.Session):
    """Knows no redirects: even when told not to follow them, requests would read the redirect's body without a cap."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that there is none; `_follow` reads the Location itself."""
        return None


class UpstreamSession:
    """Calls one system under one policy; may be shared between threads, each gets its own connections."""

    def __init__(self, policy: SessionPolicy, *, timing: Timing | None = None) -> None:
        quiet_urllib3()
        self._policy = policy
        self._timing = timing or Timing()
        self._local = threading.local()
        self._lock = threading.Lock()
        self._opened: list[requests.Session] = []
        self._calls = 0
        self._bytes = 0
        self._carried = 0
        self._last = self._timing.clock()

    def __enter__(self) -> Self:
        """Give the session; it closes its connections at the end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections of all threads; a later call opens new ones."""
        with self._lock:
            opened, self._opened, self._local = self._opened, [], threading.local()
        for session in opened:
            session.close()

    def get(
        self,
        path: str,
        params: Mapping[str, Param] | None = None,
        *,
        expect_json: bool = False,
        accept: Collection[int] = (),
    ) -> Answer:
        """GET a path below the base URL.

        With expect_json the body is parsed into `data` before the answer counts as good. A status in `accept` is an
        answer as well (a 404 that means the end of the pages); every other one but 2xx is raised as the UpstreamError
        that fits, after what is transient has been tried again.
        """
        return self.request("GET", path, params, expect_json=expect_json, accept=accept)

    def get_json(self, path: str, params: Mapping[str, Param] | None = None) -> object:
        """GET a path and give the parsed JSON;

        raises NotJsonError and MalformedJsonError beside the errors of `get`.
        """
        return self.get(path, params, expect_json=True).data

    def request(
        self,
        method: str,
        path: str,
        params: Mapping[str, Param] | None = None,
        *,
        json: object = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        idempotent: bool | None = None,
        expect_json: bool = False,
        accept: Collection[int] = (),
    ) -> Answer:
        """Make one call; idempotent says that doing it twice does no harm, the default is True for GET and HEAD only.

        A call that is not idempotent is tried again only when it surely was not carried out (no connection, 429);
        otherwise the error is raised at once, with `ambiguous` set. body: JSON that is encoded already, in place of
        `json`. headers: what this call needs beside the session's own, nothing secret. A redirect whose status is in
        `accept` is not followed: it is the answer.
        """
        request = ApiRequest(
            method, path, params or {}, json, body, headers or {}, idempotent, expect_json, frozenset(accept)
        )
        return call_with_retries(
            lambda deadline: self.attempt(request, deadline),
            self._policy.retry,
            self._timing,
            lambda e: e.retryable and not e.ambiguous,
        )

    def attempt(self, request: ApiRequest, deadline: float) -> Answer | UpstreamError:
        """Make a call once, until the clock shows `deadline`; gives the error, see retries.py."""
        self._renew_connections()
        outcome = self._follow(self._prepared(request), deadline)
        if isinstance(outcome, UpstreamError):
            refused = outcome.status is not None and 300 <= outcome.status < 500
            outcome.ambiguous = outcome.sent and not request.repeatable and not refused
        return outcome

    def _prepared(self, request: ApiRequest) -> _Call:
        """The call as it goes out. Raises ValueError for a path that is more than one."""
        parts = urlsplit(request.path)
        if parts.scheme or parts.netloc or parts.query or parts.fragment:
            raise ValueError("path must be relative to base_url and without a query; the query goes into params")
        given = {name: value for name, value in request.params.items() if value is not None}
        content_type = {} if request.body is None else {"Content-Type": "application/json"}
        return _Call(
            method=request.method,
            url=f"{self._policy.base_url.rstrip('/')}/{request.path.lstrip('/')}",
            params={n: v.get_secret_value() if isinstance(v, SecretStr) else str(v) for n, v in given.items()},
            json=request.json,
            body=request.body,
            headers=content_type | dict(request.headers),
            expect_json=request.expect_json,
            accept=request.accept,
            secrets=tuple(value.get_secret_value() for value in given.values() if isinstance(value, SecretStr)),
        )

    def _renew_connections(self) -> None:
        """Open new connections where the old ones were idle for long, or carried many requests."""
        policy = self._policy
        with self._lock:
            now = self._timing.clock()
            worn = policy.most_requests is not None and self._carried >= policy.most_requests
            old = worn or now - self._last > policy.most_idle
            self._carried = 1 if old else self._carried + 1
            self._last = now
        if old:
            self.close()

    def _follow(self, call: _Call, deadline: float) -> Answer | UpstreamError:
        """Send the call and follow redirects, inside its own origin only."""
        url = call.url
        params: Mapping[str, str] | None = call.params
        place = place_of(url)
        for _ in range(MAX_REDIRECTS + 1):
            outcome = self._exchange(call, url, params, deadline)
            if not isinstance(outcome, _Redirect):
                return outcome
            try:
                target = urljoin(url, outcome.location)
            except ValueError:
                target = ""
            if call.method not in _SAFE_METHODS:
                what = "a call that may change something was redirected"
                return place.error(RedirectRefusedError, what, status=outcome.status)
            if origin_of(target) != origin_of(url):
                what = f"redirected to another origin, {origin_of(target)}; is base_url right?"
                return place.error(RedirectRefusedError, what, status=outcome.status)
            url, params = target, None
        return place.error(RedirectRefusedError, f"more than {MAX_REDIRECTS} redirects")

    def _exchange(
        self, call: _Call, url: str, params: Mapping[str, str] | None, deadline: float
    ) -> Answer | UpstreamError | _Redirect:
        """Send one request and read its answer whole."""
        policy, clock = self._policy, self._timing.clock
        started = clock()
        credentials = credential_headers(policy.auth)
        place = place_of(url, (*call.secrets, *secret_texts(policy.auth, credentials)))
        if deadline <= started:
            return place.error(DeadlineExceededError, f"not done within {policy.total_deadline:.0f} s", sent=False)
        if any(not _HEADER_VALUE.fullmatch(value) for value in credentials.values()):
            what = "the credentials are empty or hold characters that cannot be sent, for example a line break"
            return place.error(CredentialsError, what, sent=False)
        with self._lock:
            self._calls += 1
        try:
            response = self._session().request(
                call.method,
                url,
                params=params,
                json=call.json,
                data=call.body,
                headers={**call.headers, **credentials},
                timeout=(min(policy.connect_timeout, deadline - started), min(policy.read_timeout, deadline - started)),
                verify=policy.verify_tls,
                allow_redirects=False,
                stream=True,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            return failure_without_answer(place, error)
        with response:
            status = response.status_code
            location = response.headers.get("Location")
            if status in _REDIRECTS and location and status not in call.accept:
                return _Redirect(status, location)
            body = read_body(response, place, policy.max_bytes, deadline, clock)
            with self._lock:
                self._bytes += response.raw.tell()
        asked = retry_after_seconds(
            response.headers, policy.retry_after_header, policy.retry_after_unit, self._timing.wall()
        )
        if not 200 <= status < 300 and status not in call.accept:
            return failure_of_status(place, status, b"" if isinstance(body, UpstreamError) else body, asked)
        if isinstance(body, UpstreamError):
            return body
        data = None
        if call.expect_json:
            data = parse_json(place, status, response.headers.get("Content-Type", ""), body)
            if isinstance(data, UpstreamError):
                return data
        address = f"{origin_of(url)}{place.path}"
        return Answer(status, address, clock() - started, dict(response.headers), body, data)

    def _session(self) -> requests.Session:
        """Give this thread's own requests.Session."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _OwnRedirects()
            # An auth in place keeps requests from reading .netrc; proxies of the environment are still honoured.
            session.auth = _leave_as_is
            session.cookies.set_policy(http.cookiejar.DefaultCookiePolicy(allowed_domains=[]))
            session.headers.update(
                {
                    "User-Agent": self._policy.user_agent,
                    "Accept": "application/json",
                    "Accept-Encoding": "gzip, deflate",
                }
            )
            self._local.session = session
            with self._lock:
                self._opened.append(session)
        return session

    @property
    def calls(self) -> int:
        """How many HTTP requests were made, retries and redirects included."""
        return self._calls

    @property
    def bytes(self) -> int:
        """How many bytes of bodies were received, as they came over the wire."""
        return self._bytes


def _leave_as_is(prepared: requests.PreparedRequest) -> requests.PreparedRequest:
    return prepared
