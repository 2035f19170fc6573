"""One polite, bounded, discreet way to call an HTTP API; every connector's `api.py` stands on it."""

import base64
import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode, urljoin, urlsplit

import certifi
import requests
import urllib3
from pydantic import SecretStr

from imagesync_pipelines.languages import told
from imagesync_pipelines.telemetry import spans
from imagesync_pipelines.upstream import answers, errors
from imagesync_pipelines.upstream.answers import DEFAULT_PORTS, Answer, origin_of, place_of
from imagesync_pipelines.upstream.errors import UpstreamError
from imagesync_pipelines.upstream.redaction import quiet_urllib3
from imagesync_pipelines.upstream.retries import (
    RetryPolicy,
    Timing,
    bare,
    call_with_retries,
    moment_of,
    retry_after_seconds,
)

MAX_REDIRECTS = 5
USER_AGENT = "imagesync_pipelines"
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_HEADERS = {"User-Agent": USER_AGENT, "Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
_JSON = {"Content-Type": "application/json"}
# Connections that are kept for the next call; more threads than any run has.
_THREADS = 32
_HEADER_VALUE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")

Param = str | int | float | SecretStr | None
"""A query parameter: None is left out, a SecretStr is also removed from whatever the system answers."""

HeaderAuth = Callable[[], Mapping[str, SecretStr]]
"""Gives the headers that carry the credentials; asked before every attempt, so that a token may be renewed."""


@dataclass(frozen=True)
class BasicAuth:
    """A user and a password for HTTP Basic."""

    user: str
    password: SecretStr

    def __call__(self) -> Mapping[str, SecretStr]:
        """The header that carries them."""
        pair = f"{self.user}:{self.password.get_secret_value()}".encode()
        return {"Authorization": SecretStr(f"Basic {base64.b64encode(pair).decode()}")}


@dataclass(frozen=True)
class SessionPolicy(RetryPolicy):
    """How one system is called; times in seconds, sizes in bytes.

    total_deadline covers a whole call with its retries; it is overrun by one read at most (the head of an answer is
    one). max_bytes counts the body after decompression. most_idle, most_requests: connections that may have been idle
    for more seconds, or carried that many requests, are given up for new ones. is_ours: a service of ours, which is
    told what it is called for.
    """

    base_url: str
    auth: HeaderAuth | None = field(default=None, repr=False)
    connect_timeout: float = 10.0
    read_timeout: float = 30.0
    max_bytes: int = 64 * 1024 * 1024
    verify_tls: bool = True
    most_idle: float = inf
    most_requests: int | None = None
    is_ours: bool = False

    def __post_init__(self) -> None:
        """Refuse a base URL that is none, or that carries credentials: a URL is shown, they must not be."""
        parts = urlsplit(self.base_url)
        if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
            raise ValueError("base_url is no http or https URL")
        if "@" in parts.netloc or parts.query or parts.fragment:
            raise ValueError("base_url must hold neither user name nor query; credentials go into auth")


@dataclass(frozen=True)
class ApiRequest:
    """A call to one system, the same in every attempt; path: below the base URL, without a query.

    body: JSON that is encoded already, in place of `json`. headers: what this call needs beside the session's own,
    nothing secret. idempotent: doing it twice does no harm; None: GET and HEAD do none. expect_json: the body is parsed
    before the answer counts as good. accept: statuses beside 2xx that are answers as well (a 404 that means the end of
    the pages); a redirect among them is not followed.
    """

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


def ca_bundle() -> str:
    """The file or folder of certificates that are trusted: the environment's, as requests has it, else certifi's."""
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()


def open_pool(url: str, verify_tls: bool, size: int) -> urllib3.PoolManager:
    """Connections to a system for up to `size` threads, through a proxy where the environment names one for the URL.

    What urllib3 logs is cleaned from then on. Raises ValueError and requests.RequestException for a proxy that is none.
    """
    quiet_urllib3()
    tls: dict[str, Any] = {"cert_reqs": "CERT_NONE"}
    if verify_tls:
        bundle = ca_bundle()
        tls = {"cert_reqs": "CERT_REQUIRED", "ca_cert_dir" if Path(bundle).is_dir() else "ca_certs": bundle}
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    if proxy is None:
        return urllib3.PoolManager(maxsize=size, **tls)
    address = requests.utils.prepend_scheme_if_needed(proxy, "http")  # type: ignore[no-untyped-call]
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=size)
    manager: urllib3.PoolManager = adapter.proxy_manager_for(address, **tls)
    return manager


class UpstreamSession:
    """Calls one system under one policy; may be shared between threads.

    calls: HTTP requests made, retries and redirects included. bytes: of bodies received, as they came over the wire.
    """

    def __init__(self, policy: SessionPolicy, *, timing: Timing | None = None) -> None:
        self.calls = 0
        self.bytes = 0
        self._policy = policy
        self._timing = timing or Timing()
        self._lock = threading.Lock()
        self._pool: urllib3.PoolManager | None = None
        self._carried = 0
        self._opened = 0.0
        self._dated: tuple[str, float] | None = None

    def __enter__(self) -> Self:
        """Give the session; it closes its connections at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections, one that is in use at its end; a later call opens new ones."""
        with self._lock:
            self._pool = None

    @property
    def ahead(self) -> float | None:
        """Seconds that the system's clock was ahead of ours at its last answer; None where it does not say."""
        moment = None if self._dated is None else moment_of(self._dated[0])
        return None if moment is None or self._dated is None else moment - self._dated[1]

    def call(self, request: ApiRequest) -> Answer:
        """Make a call, and again after what is transient. Raises the UpstreamError that fits.

        A call that is not idempotent is tried again only when it surely was not carried out (no connection, 429);
        otherwise its error is raised at once, with `ambiguous` set.
        """
        return call_with_retries(lambda deadline: self.attempt(request, deadline), self._policy, self._timing)

    def attempt(self, request: ApiRequest, deadline: float) -> Answer | UpstreamError:
        """Make a call once, until the clock shows `deadline`. Raises ValueError for a path that is more than one."""
        parts = urlsplit(request.path)
        if parts.scheme or parts.netloc or parts.query or parts.fragment:
            raise ValueError("path must be relative to base_url and without a query; the query goes into params")
        try:
            return self._follow(request, deadline)
        except UpstreamError as error:
            failure = bare(error)
        refused = failure.status is not None and 300 <= failure.status < 500
        failure.ambiguous = failure.sent and not request.repeatable and not refused
        return failure

    def _connections(self) -> urllib3.PoolManager:
        """The connections; new ones where one of the old ones may have been idle for long, or carried many requests."""
        policy = self._policy
        with self._lock:
            now = self._timing.clock()
            worn = policy.most_requests is not None and self._carried >= policy.most_requests
            # By age: while some of the connections are at work, others of the pool may wait unused.
            if self._pool is None or worn or now - self._opened > policy.most_idle:
                self._pool, self._carried = open_pool(policy.base_url, policy.verify_tls, _THREADS), 0
                self._opened = now
            self._carried += 1
            return self._pool

    def _follow(self, request: ApiRequest, deadline: float) -> Answer:
        """Send the call and follow redirects, inside its own origin only."""
        url = f"{self._policy.base_url.rstrip('/')}/{request.path.lstrip('/')}"
        params = {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value
            for name, value in request.params.items()
            if value is not None
        }
        try:
            target = f"{url}?{urlencode(params)}" if params else url
        except ValueError as error:  # half a surrogate pair
            raise answers.failure_without_answer(place_of(url), error) from None
        for _ in range(MAX_REDIRECTS + 1):
            outcome = self._exchange(request, target, deadline)
            if isinstance(outcome, Answer):
                return outcome
            target = outcome
        raise place_of(url).error(errors.RedirectRefusedError, told(f"more than {MAX_REDIRECTS} redirects"))

    def _exchange(self, request: ApiRequest, url: str, deadline: float) -> Answer | str:
        """Send one request and read its answer whole; gives the URL of a redirect that may be followed."""
        policy = self._policy
        left = deadline - self._timing.clock()
        credentials = {} if policy.auth is None else {n: v.get_secret_value() for n, v in policy.auth().items()}
        place = place_of(url, self._secrets(request, credentials))
        if left <= 0:
            what = told(f"not done within {policy.total_deadline:.0f} s")
            raise place.error(errors.DeadlineExceededError, what, sent=False)
        if any(not _HEADER_VALUE.fullmatch(value) for value in credentials.values()):
            what = told("the credentials are empty or hold characters that cannot be sent, for example a line break")
            raise place.error(errors.CredentialsError, what, sent=False)
        with spans.call(request.method, url) as made:
            own = made.headers() if policy.is_ours else {}
            return self._sent(request, url, {**own, **credentials}, place, deadline, made)

    def _sent(
        self,
        request: ApiRequest,
        url: str,
        headers: Mapping[str, str],
        place: answers.Place,
        deadline: float,
        made: spans.Span,
    ) -> Answer | str:
        policy, clock = self._policy, self._timing.clock
        left = deadline - clock()
        try:
            body = request.body if request.json is None else json.dumps(request.json, allow_nan=False).encode()
            pool = self._connections()
            with self._lock:
                self.calls += 1
            response = pool.request(
                request.method,
                url,
                body=body,
                headers=_HEADERS | ({} if body is None else _JSON) | dict(request.headers) | dict(headers),
                timeout=urllib3.Timeout(connect=min(policy.connect_timeout, left), read=min(policy.read_timeout, left)),
                retries=False,
                redirect=False,
                preload_content=False,
            )
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise answers.failure_without_answer(place, error) from None
        status = response.status
        made.note(http__response__status_code=status)
        self._dated = response.headers.get("Date", ""), self._timing.wall()
        with response:
            if (target := _redirect_target(request, url, response)) is not None:
                return target
            good = 200 <= status < 300 or status in request.accept
            try:
                content = answers.read_body(response, place, policy.max_bytes, deadline, clock)
            except UpstreamError:
                if good:
                    raise
                content = b""
            finally:
                with self._lock:
                    self.bytes += response.tell()
        if not good:
            asked = retry_after_seconds(response.headers, self._timing.wall())
            raise answers.failure_of_status(place, status, content, asked)
        data = None
        if request.expect_json:
            data = answers.parse_json(place, status, response.headers.get("Content-Type", ""), content)
            if isinstance(data, UpstreamError):
                raise data
        return Answer(status, f"{origin_of(url)}{place.path}", response.headers, content, data)

    def _secrets(self, request: ApiRequest, credentials: Mapping[str, str]) -> tuple[str, ...]:
        """Every text that must not be shown: secret parameters, user, password, whole headers and the token in them."""
        auth = self._policy.auth
        named = (auth.user, auth.password.get_secret_value()) if isinstance(auth, BasicAuth) else ()
        params = (value.get_secret_value() for value in request.params.values() if isinstance(value, SecretStr))
        return (*params, *named, *credentials.values(), *(value.split(" ")[-1] for value in credentials.values()))


def _redirect_target(request: ApiRequest, url: str, response: urllib3.BaseHTTPResponse) -> str | None:
    """Where a redirect leads, inside our own origin; None when the answer is none that is followed."""
    status, location, place = response.status, response.headers.get("Location"), place_of(url)
    if status not in REDIRECTS or not location or status in request.accept:
        return None
    if request.method not in _SAFE_METHODS:
        raise place.error(
            errors.RedirectRefusedError, told("a call that may change something was redirected"), status=status
        )
    try:
        target: str = requests.utils.urldefragauth(urljoin(url, location))
    except ValueError:
        target = ""
    if origin_of(target) != origin_of(url):
        what = told(f"redirected to another origin, {origin_of(target)}; is base_url right?")
        raise place.error(errors.RedirectRefusedError, what, status=status)
    return target
