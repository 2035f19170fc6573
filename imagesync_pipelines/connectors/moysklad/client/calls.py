"""What an answer of МойСклад means as such (docs/contracts/moysklad.md)."""

from collections.abc import Mapping
from dataclasses import replace

from pydantic import SecretStr

from imagesync_pipelines.connectors.moysklad.accounts import MoyskladAccount
from imagesync_pipelines.connectors.moysklad.client.answers import NOT_CARRIED_OUT, code_of, refusal
from imagesync_pipelines.connectors.moysklad.client.limits import CircuitBreaker
from imagesync_pipelines.connectors.moysklad.errors import AccountForbiddenError, AccountRefusedError, StorageFullError
from imagesync_pipelines.connectors.moysklad.settings import MoyskladSettings
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.answers import Answer, load_json, parse_json
from imagesync_pipelines.upstream.errors import (
    BadAnswerError,
    CredentialsError,
    RateLimitedError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.retries import Timing, retry_after_seconds
from imagesync_pipelines.upstream.session import ApiRequest, BasicAuth, HeaderAuth, Param, SessionPolicy
from imagesync_pipelines.upstream.transport import Dialect, Transport

_JSON = {"Accept": "application/json;charset=utf-8"}
_PAUSE_HEADER = "X-Lognex-Retry-After"
_ANYTHING = {"Accept": "*/*"}
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# The server gives up after 300 s; uploading 20 MB takes its time as well.
_DEADLINE_MARGIN = 60.0
# A connection that was idle for longer, or carried more, may answer with an error.
_MOST_IDLE_SECONDS = 30.0
_MOST_REQUESTS = 100


class MoyskladDialect(Dialect):
    """Answers of one account: its refusals by their codes; a list under 4xx is an answer about each element."""

    answers = frozenset(range(400, 600))

    def __init__(self, account: MoyskladAccount, timing: Timing) -> None:
        self._wall = timing.wall
        self._breaker = CircuitBreaker(account.name, timing.wall)

    def before(self) -> None:
        """Raise what stopped the account, if anything did."""
        self._breaker.check()

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        """The answer with its JSON, None where there is none, or the error that it means."""
        writes, data = request.body is not None, _json(answer)
        if answer.status < 400:
            # Neither a write, whose answer may be lost, nor a redirect must bring JSON.
            must_be_json = not writes and not request.accept & _REDIRECTS
            return _illegible(answer) if must_be_json and data is None else replace(answer, data=data)
        if isinstance(data, list) and answer.status < 500:
            return replace(answer, data=data)
        refused = refusal(answer.place, answer.status, data, write=writes)
        if isinstance(refused, AccountRefusedError | AccountForbiddenError):
            self._breaker.stop(refused)
            return refused
        if isinstance(refused, RateLimitedError):
            self._breaker.refused()
            # Without it too many calls were in flight.
            refused.retry_after = retry_after_seconds(answer.headers, _PAUSE_HEADER, "milliseconds", self._wall())
            return refused
        code = code_of(data)
        self._breaker.failed(
            f"{request.method} {request.path} {dict(request.params)}: HTTP {answer.status}, error {code}"
        )
        unknown = isinstance(refused, UnavailableError) and code not in NOT_CARRIED_OUT
        refused.ambiguous = writes and unknown
        return refused

    def failed(self, request: ApiRequest, error: UpstreamError) -> UpstreamError:
        """Credentials that cannot even be sent stop the account."""
        if not isinstance(error, CredentialsError):
            return error
        refused = AccountRefusedError(error.what, host=error.host, path=error.path)
        self._breaker.stop(refused)
        return refused


class MoyskladCalls:
    """The three kinds of calls of one account; shared by all threads of a run.

    webhook_prefix: whose webhooks a write must not set off, '' for none.
    """

    def __init__(self, transport: Transport, webhook_prefix: str) -> None:
        self._transport = transport
        self._webhooks = webhook_prefix
        self._full: StorageFullError | None = None

    def read(self, path: str, params: Mapping[str, Param], headers: Mapping[str, str]) -> Answer:
        """GET; repeated after what is transient. Raises what a refusal means."""
        return self._transport.call(ApiRequest("GET", path, params, headers={**_JSON, **headers}))

    def location(self, path: str) -> str:
        """Where a GET is redirected to; that place is not visited."""
        answer = self._transport.call(ApiRequest("GET", path, headers=_ANYTHING, accept=_REDIRECTS))
        headers = {name.lower(): value for name, value in answer.headers.items()}
        if answer.status not in _REDIRECTS or not headers.get("location"):
            raise answer.error(BadAnswerError, f"HTTP {answer.status} without the redirect that was expected")
        return headers["location"]

    def write(self, method: str, path: str, params: Mapping[str, Param], body: bytes) -> Answer:
        """Send JSON that changes something; repeated only while it surely was not carried out.

        Raises what a refusal means, and AnswerLostError when nobody knows whether it was carried out.
        """
        if self._full is not None:
            raise StorageFullError(self._full.what, host=self._full.host, path=self._full.path, sent=False)
        headers = dict(_JSON)
        if self._webhooks:
            headers["X-Lognex-WebHook-DisableByPrefix"] = self._webhooks
        try:
            answer = self._transport.call(ApiRequest(method, path, params, body=body, headers=headers))
        except StorageFullError as error:
            self._full = error
            raise
        if answer.data is None:
            raise AnswerLostError(f"{path}: HTTP {answer.status} without the JSON that tells what was written")
        return answer


def session_policy(account: MoyskladAccount, settings: MoyskladSettings) -> SessionPolicy:
    """How an account is called."""
    return SessionPolicy(
        base_url=account.url,
        auth=_credentials(account),
        read_timeout=settings.timeout,
        total_deadline=settings.timeout + _DEADLINE_MARGIN,
        tries=settings.tries,
        verify_tls=settings.verify_tls,
        most_idle=_MOST_IDLE_SECONDS,
        most_requests=_MOST_REQUESTS,
    )


def _credentials(account: MoyskladAccount) -> BasicAuth | HeaderAuth:
    """Who we are; a new token is never asked for: that would revoke the one others use."""
    token = account.token
    if token is not None:
        return lambda: {"Authorization": SecretStr(f"Bearer {token.get_secret_value()}")}
    return BasicAuth(str(account.login), account.password or SecretStr(""))


def _json(answer: Answer) -> object:
    """The JSON of an answer; None for an empty body, HTML of a proxy, or JSON that was cut."""
    try:
        return load_json(answer.body) if answer.body.strip() else None
    except ValueError:
        return None


def _illegible(answer: Answer) -> UpstreamError:
    """Why the answer to a question is no JSON; one that was cut is asked for again."""
    error = parse_json(answer.place, answer.status, answer.headers.get("Content-Type", ""), answer.body)
    return error if isinstance(error, UpstreamError) else answer.error(BadAnswerError, "null came")
