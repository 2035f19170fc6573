"""How Login with Amazon (LWA) gives tokens for the catalogue API.

What belongs here: the login's path, body and answer. What does not: holding and renewing (upstream/tokens.py), the
calls that carry the token (spapi.py).
"""

from imagesync_pipelines.connectors.plytix.settings import PlytixSettings
from imagesync_pipelines.settings import SettingsError
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import SessionPolicy
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in

# What a token lives when the answer does not say.
LIFETIME_SECONDS = 3600.0


def catalogue_tokens(settings: PlytixSettings, timing: Timing) -> TokenHolder:
    """The holder of the application's token. Raises SettingsError naming the credentials that are not set."""
    secret, refresh = settings.spapi_client_secret, settings.spapi_refresh_token
    if not settings.spapi_client_id or secret is None or refresh is None:
        raise SettingsError(
            "PLYTIX_SPAPI_CLIENT_ID, PLYTIX_SPAPI_CLIENT_SECRET and PLYTIX_SPAPI_REFRESH_TOKEN must be set "
            "to read listings from Amazon; or name a mapping file"
        )
    base, _, path = settings.spapi_token_url.rpartition("/")
    session = SessionPolicy(
        base_url=base,
        read_timeout=settings.timeout,
        total_deadline=settings.call_deadline,
        tries=settings.tries,
        verify_tls=settings.verify_tls,
    )
    policy = TokenPolicy(
        system="Amazon",
        credentials="the application's credentials",
        advice="check PLYTIX_SPAPI_CLIENT_ID, PLYTIX_SPAPI_CLIENT_SECRET and PLYTIX_SPAPI_REFRESH_TOKEN",
        path=path,
        body={
            "grant_type": "refresh_token",
            "refresh_token": refresh.get_secret_value(),
            "client_id": settings.spapi_client_id,
            "client_secret": secret.get_secret_value(),
        },
        read=_given,
        lifetime=LIFETIME_SECONDS,
        header="x-amz-access-token",
        prefix="",
        # An expired token is answered with 403 as well.
        token_refusals=frozenset({401, 403}),
    )
    return TokenHolder(session, policy, timing)


def _given(data: object) -> GivenToken | None:
    access = text_in(data, "access_token")
    named = data.get("expires_in") if isinstance(data, dict) else None
    lifetime = float(named) if isinstance(named, int | float) and named > 0 else None
    return GivenToken(access, lifetime=lifetime) if access else None
