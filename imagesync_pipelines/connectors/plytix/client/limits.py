"""What a principal at Plytix or Amazon may call, and the tokens of Plytix that name it (docs/contracts/plytix.md).

There is no refresh: a new token is asked for with key and password.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from imagesync_pipelines.connectors.plytix.errors import HourSpentError
from imagesync_pipelines.connectors.plytix.settings import PlytixAccount, PlytixSettings
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.rate_limiter import RateLimit, goes_on_later
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import SessionPolicy
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in

TOKEN_PATH = "auth/api/get-token"  # noqa: S105 - a path
# What Plytix's tokens live when they do not say; measured from their own times, which need not agree with our clock.
LIFETIME_SECONDS = 900.0
# For a token without limits: the lowest that were seen.
DEFAULT_LIMITS = ((20, 10), (5000, 3600))


def session_policy(base_url: str, settings: PlytixSettings) -> SessionPolicy:
    """How a host of Plytix or Amazon is called."""
    return SessionPolicy(
        base_url=base_url,
        read_timeout=settings.timeout,
        total_deadline=settings.call_deadline,
        tries=settings.tries,
        verify_tls=settings.verify_tls,
    )


def rate_limit(principal: str, windows: Callable[[], Sequence[Window]], longest_pause: float) -> RateLimit:
    """The limit of one principal; HourSpentError when a run would have to wait for longer than `longest_pause`."""
    too_long = goes_on_later(HourSpentError, f"the calls of {principal} are used up")
    return RateLimit(principal, windows, longest_pause, too_long)


def pim_tokens(account: PlytixAccount, settings: PlytixSettings, timing: Timing) -> TokenHolder:
    """The holder of an account's token."""
    policy = TokenPolicy(
        system="Plytix",
        credentials=f"key and password of account {account.alias}",
        advice="check them and auth_url in the accounts file (the keys of a development account work on its own hosts "
        "only)",
        path=TOKEN_PATH,
        body={
            "api_key": account.api_key.get_secret_value(),
            "api_password": account.api_password.get_secret_value(),
        },
        read=_given,
        refusals=frozenset({400, 401, 403, 404, 422}),
        lifetime=LIFETIME_SECONDS,
    )
    return TokenHolder(session_policy(account.auth_url, settings), policy, timing)


def limits_in(claims: Mapping[str, Any]) -> Iterator[tuple[int, int]]:
    """Pairs of calls and seconds, from `user_claims.account.rate_limit`; what is no window is passed over."""
    place: Any = claims
    for name in ("user_claims", "account", "rate_limit"):
        place = place.get(name) if isinstance(place, dict) else None
    for item in place if isinstance(place, list) else []:
        calls, seconds = (item.get("limit"), item.get("window_size")) if isinstance(item, dict) else (None, None)
        if all(isinstance(number, int) and not isinstance(number, bool) and number > 0 for number in (calls, seconds)):
            yield calls, seconds  # type: ignore[misc]


def _given(data: object) -> GivenToken | None:
    rows = data.get("data") if isinstance(data, dict) else None
    access = text_in(rows[0], "access_token") if isinstance(rows, list) and rows else ""
    return GivenToken(access) if access else None
