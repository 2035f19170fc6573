"""The token for Amazon's catalogue API, from Login with Amazon (LWA); shared by all threads of a run.

What belongs here: getting a token, renewing it before it ends, once when it was refused. What does not: the calls that
carry it (spapi.py).
"""

import threading
from collections.abc import Mapping

from pydantic import SecretStr

from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, UpstreamError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import SessionPolicy, UpstreamSession

# What a token lives when the answer does not say.
LIFETIME_SECONDS = 3600.0
RENEW_SECONDS = 60.0
_REFUSALS = frozenset({400, 401, 403})


class CatalogueTokens:
    """Gives the current token; one thread renews it while the others wait."""

    def __init__(self, settings: PlytixSettings, timing: Timing) -> None:
        """Raises SettingsError naming the credentials that are not set."""
        secret, refresh = settings.spapi_client_secret, settings.spapi_refresh_token
        if not settings.spapi_client_id or secret is None or refresh is None:
            raise SettingsError(
                "PLYTIX_SPAPI_CLIENT_ID, PLYTIX_SPAPI_CLIENT_SECRET and PLYTIX_SPAPI_REFRESH_TOKEN must be set "
                "to read listings from Amazon; or name a mapping file"
            )
        self._body = {
            "grant_type": "refresh_token",
            "refresh_token": refresh.get_secret_value(),
            "client_id": settings.spapi_client_id,
            "client_secret": secret.get_secret_value(),
        }
        base, _, self._path = settings.spapi_token_url.rpartition("/")
        policy = SessionPolicy(
            base_url=base,
            read_timeout=settings.timeout,
            total_deadline=settings.call_deadline,
            tries=settings.tries,
            verify_tls=settings.verify_tls,
        )
        self._session = UpstreamSession(policy, timing=timing)
        self._clock = timing.clock
        self._lock = threading.Lock()
        self._token = ""
        self._renew_at = 0.0

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    @property
    def calls(self) -> int:
        """Requests made for tokens."""
        return self._session.calls

    def headers(self) -> Mapping[str, SecretStr]:
        """The header that carries the token."""
        return {"x-amz-access-token": SecretStr(self.current())}

    def current(self) -> str:
        """A token that is not about to end. Raises CredentialsError when the application is refused."""
        with self._lock:
            if not self._token or self._clock() >= self._renew_at:
                self._ask()
            return self._token

    def refused(self, token: str) -> None:
        """Give up a token that a call was refused with; one that another thread got since stays."""
        with self._lock:
            if self._token == token:
                self._token = ""

    def _ask(self) -> None:
        asked_at = self._clock()
        try:
            data = self._session.request("POST", self._path, json=self._body, idempotent=True, expect_json=True).data
        except UpstreamError as error:
            if error.status not in _REFUSALS:
                raise
            # The answer is not shown: it may repeat what was sent.
            raise CredentialsError(
                f"Amazon refused the application's credentials (HTTP {error.status}); check PLYTIX_SPAPI_CLIENT_ID, "
                "PLYTIX_SPAPI_CLIENT_SECRET and PLYTIX_SPAPI_REFRESH_TOKEN",
                host=error.host,
                path=error.path,
                status=error.status,
            ) from None
        token = data.get("access_token") if isinstance(data, dict) else None
        if not isinstance(token, str) or not token:
            raise BadAnswerError("Amazon's answer to the login holds no access token", status=200)
        named = data.get("expires_in") if isinstance(data, dict) else None
        lifetime = float(named) if isinstance(named, int | float) and named > 0 else LIFETIME_SECONDS
        self._token, self._renew_at = token, asked_at + max(lifetime - RENEW_SECONDS, lifetime / 2)
