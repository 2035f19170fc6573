"""The identity provider, as Authlib speaks with it: its addresses and keys, codes for tokens, and what tokens say.

Every call passes upstream's session: bounded in time and size, redirected nowhere. A token counts only
with a signature by a key of the provider's, of an algorithm that has two keys: never `none`, never a shared secret.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import requests
from authlib.integrations.base_client import BaseApp, OAuthError
from authlib.integrations.base_client.sync_app import OAuth2Mixin
from authlib.integrations.base_client.sync_openid import OpenIDMixin
from authlib.integrations.requests_client import OAuth2Session
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import BadSignatureError, InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry
from joserfc.jwt import JWTClaimsRegistry
from pydantic import SecretStr

from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.upstream.addresses import judge_url
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import UnavailableError, UpstreamError, UrlRefusedError
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy, UpstreamSession
from imagesync_pipelines.web.catalogue.oidc.settings import OidcSettings, groups_in, may_be_asked

# A person waits for it.
DEADLINE_SECONDS, MAX_BYTES = 10.0, 1024 * 1024
SILENT_SECONDS = 10.0
# Clocks of two machines.
LEEWAY_SECONDS = 120
# The provider's addresses and keys are read again after an hour, keys that nobody knows at most this often before.
KEPT_SECONDS, NEW_KEYS_SECONDS = 3600.0, 30.0
# Whoever sends a logout token sends it at once.
OLDEST_LOGOUT_SECONDS = 600
LOGOUT = "http://schemas.openid.net/event/backchannel-logout"
WELL_KNOWN = "/.well-known/openid-configuration"
_SIGNED_WITH = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519")
_ASKED_BY_US = ("token_endpoint", "jwks_uri", "userinfo_endpoint")
_OPENED_BY_PEOPLE = ("authorization_endpoint", "end_session_endpoint")
# Errors that say nothing of a person.
_OF_ITSELF = frozenset({"invalid_client", "server_error", "temporarily_unavailable", "unauthorized_client"})
# Too many calls, and one that took too long: no word on anybody.
_FOR_READING = frozenset(range(300, 500)) - {408, 429}


class ProviderSilentError(ImagesyncError):
    """The provider cannot be asked, or answers nonsense; nobody was let in or out. The message is for operators."""


class ProviderRefusedError(ImagesyncError):
    """The provider refused a code or a refresh token, or a token is not good; the message is for operators."""


@dataclass(frozen=True)
class Begun:
    """A login that a person was sent to the provider for: where to, and what its answer is compared with."""

    url: str
    state: str
    nonce: str
    code_verifier: str = field(repr=False)


@dataclass(frozen=True)
class Told:
    """Who the provider says that somebody is. session: its own session's name; '' where it tells none."""

    subject: str
    claims: Mapping[str, object]
    session: str
    id_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


@dataclass(frozen=True)
class LoggedOut:
    """Whose sessions the provider ended: one session, or all of a subject; token: what this word is known by."""

    subject: str
    session: str
    token: str


class _Bounded(requests.adapters.BaseAdapter):
    """Carries Authlib's requests through our session, which follows nowhere; an answer with 4xx is one that is read."""

    def __init__(self, provider: "Provider") -> None:
        super().__init__()
        self._provider = provider

    def send(self, request: requests.PreparedRequest, *_: object, **__: object) -> requests.Response:
        """Make one call. Raises UpstreamError."""
        url = urlsplit(str(request.url))
        headers = {name: value for name, value in request.headers.items() if name in {"Content-Type", "Accept"}}
        secret = request.headers.get("Authorization")
        auth = None if secret is None else lambda: {"Authorization": SecretStr(_text(secret))}
        policy = SessionPolicy(
            f"{url.scheme}://{url.netloc}",
            auth=auth,
            connect_timeout=DEADLINE_SECONDS / 2,
            read_timeout=DEADLINE_SECONDS,
            total_deadline=DEADLINE_SECONDS,
            max_bytes=MAX_BYTES,
            tries=1,
        )
        body = None if request.body is None else _text(request.body).encode()
        asked = ApiRequest(
            str(request.method),
            url.path,
            params=dict(parse_qsl(url.query, keep_blank_values=True)),
            body=body,
            headers=headers,
            accept=_FOR_READING,
        )
        answer = self._provider.call(policy, asked)
        response = requests.Response()
        response.status_code, response._content, response.url = answer.status, answer.body, str(request.url)
        response.headers.update(answer.headers)
        response.request = request
        return response

    def close(self) -> None:
        """Nothing is kept open."""


def _text(value: str | bytes | Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class _Session(OAuth2Session):
    """Authlib's client over our calls; nothing of the environment (.netrc) adds credentials."""

    def __init__(self, *args: Any, provider: "Provider", **more: Any) -> None:
        super().__init__(*args, **more)
        self.trust_env, self.max_redirects = False, 0
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Bounded(provider))


class _Client(OAuth2Mixin, OpenIDMixin, BaseApp):
    """Authlib's OpenID client without a web framework."""

    client_cls = _Session


class Provider:
    """The provider of these settings. All calls raise ProviderSilentError; may be shared between threads."""

    def __init__(self, settings: OidcSettings) -> None:
        self.settings = settings
        self.ahead: float | None = None
        self._silent_until = 0.0
        self._lock = Lock()
        self._known: tuple[float, _Client] | None = None
        self._keys: tuple[float, KeySet] | None = None

    def call(self, policy: SessionPolicy, request: ApiRequest) -> Answer:
        """One call; after one without a good answer nobody waits for another one for a while. Raises UpstreamError."""
        self._is_not_silent()
        try:
            with UpstreamSession(policy) as session:
                answer = session.call(request)
                self.ahead = session.ahead
        except UpstreamError:
            self._silent_until = time.monotonic() + SILENT_SECONDS
            raise
        return answer

    def _is_not_silent(self) -> None:
        if time.monotonic() < self._silent_until:
            raise UnavailableError("it gave no good answer a moment ago", sent=False)

    def begin(self) -> Begun:
        """A new login: state, nonce and PKCE are made here."""
        with _words("begin a sign-in"):
            self._is_not_silent()
            made = self._client().create_authorization_url(self.settings.redirect_url)
        return Begun(made["url"], made["state"], made["nonce"], made["code_verifier"])

    def finish(self, code: str, nonce: str, code_verifier: str) -> Told:
        """Whom a code is of. Raises ProviderRefusedError for a code or token that is not good."""
        with _words("give a token for a code"):
            token = self._token(redirect_uri=self.settings.redirect_url, code=code, code_verifier=code_verifier)
            claims = self._claims(token, nonce=nonce)
            return self._told(token, claims, str(claims["sub"]))

    def refresh(self, refresh_token: str, subject: str) -> Told:
        """Who it is today. Raises ProviderRefusedError when that person is let in no more."""
        with _words("renew a sign-in"):
            token = self._token(grant_type="refresh_token", refresh_token=refresh_token)
            claims = self._claims(token) if "id_token" in token else {"sub": subject}
            return self._told(token, claims, subject)

    def logged_out(self, logout_token: str) -> LoggedOut:
        """Whose sessions a logout token ends (OpenID Connect Back-Channel Logout). Raises ProviderRefusedError."""
        with _words("say who signed out"):
            header, claims = self._decoded(logout_token)
            moment = {"essential": True}
            JWTClaimsRegistry(None, LEEWAY_SECONDS, **self._options(iat=moment, jti=moment)).validate(claims)
            events = claims.get("events")
            if header.get("typ") not in {None, "JWT", "logout+jwt"} or "nonce" in claims:
                raise ProviderRefusedError("it is no logout token")
            if not isinstance(events, Mapping) or not isinstance(events.get(LOGOUT), Mapping):
                raise ProviderRefusedError("it tells of no logout")
            if time.time() - float(claims["iat"]) > OLDEST_LOGOUT_SECONDS:
                raise ProviderRefusedError("the logout token is too old")
            subject, session = str(claims.get("sub") or ""), str(claims.get("sid") or "")
            if not subject and not session:
                raise ProviderRefusedError("the logout token names nobody")
            return LoggedOut(subject, session, str(claims["jti"]))

    def end_url(self, id_token: str) -> str:
        """Where a person ends the provider's own session; '' where it has no such place."""
        with _words("say where its session ends"):
            client = self._client()
            if not client.server_metadata.get("end_session_endpoint"):
                return ""
            made = client.create_logout_url(
                self.settings.home, id_token or None, client_id=self.settings.client_id, state="out"
            )
            return str(made["url"])

    def takes_us(self) -> bool:
        """Whether it begins a login for our client and our redirect address."""
        with _words("begin a sign-in"):
            url = self._client().create_authorization_url(self.settings.redirect_url)["url"]
            with _Session(provider=self) as session:
                try:
                    return bool(session.get(url, withhold_token=True).status_code < 400)
                except requests.TooManyRedirects:  # it leads on, to its own form
                    return True

    def has_keys(self) -> bool:
        """Whether its keys can be read."""
        with _words("show its keys"):
            return bool(self._key_set().keys)

    def may_answer_as(self, issuer: str | None) -> bool:
        """Whether an answer that says it is of this issuer, or does not say so, may be the provider's (RFC 9207)."""
        if issuer is None:
            return self.metadata().get("authorization_response_iss_parameter_supported") is not True
        return issuer == self.settings.issuer

    def metadata(self) -> Mapping[str, Any]:
        """What the provider says of itself."""
        with _words("say who it is"):
            return dict(self._client().server_metadata)

    def _client(self) -> _Client:
        """Authlib's client with the provider's addresses, which are read again after a while."""
        with self._lock:
            now = time.monotonic()
            if self._known is None or now - self._known[0] > KEPT_SECONDS:
                self._known, self._keys = (now, self._discovered()), None
            return self._known[1]

    def _discovered(self) -> _Client:
        settings = self.settings
        secret = None if settings.client_secret is None else settings.client_secret.get_secret_value()
        more = {
            "provider": self, "scope": settings.scopes, "code_challenge_method": "S256",
            **({"token_endpoint_auth_method": "none"} if secret is None else {}),
        }  # fmt: skip
        issuer = settings.issuer or ""
        with _Session(provider=self) as session:
            answer = session.request("GET", issuer.rstrip("/") + WELL_KNOWN, withhold_token=True)
            answer.raise_for_status()
            told = answer.json()
        judged = _judged(told, settings)
        client = _Client(None, client_id=settings.client_id, client_secret=secret, client_kwargs=more, **judged)
        if secret is not None and (methods := judged.get("token_endpoint_auth_methods_supported")):
            method = "client_secret_post" if "client_secret_basic" not in methods else "client_secret_basic"
            client.client_kwargs["token_endpoint_auth_method"] = method
        return client

    def _token(self, **asked: str) -> Mapping[str, Any]:
        """What it gives for a code or a refresh token. Raises ProviderSilentError for what is neither token nor no."""
        token: Mapping[str, Any] = self._client().fetch_access_token(**asked)
        if not token.get("access_token"):
            raise ProviderSilentError("the provider gave neither a token nor an error for one")
        return token

    def _told(self, token: Mapping[str, Any], claims: Mapping[str, object], subject: str) -> Told:
        """What is known of a person, the groups asked for where the token does not have them."""
        if claims.get("sub") != subject:
            raise ProviderRefusedError("the token is of somebody else")
        client = self._client()
        has_groups = bool(tuple(groups_in(claims, self.settings.groups_claim)))
        if not has_groups and client.server_metadata.get("userinfo_endpoint") and token.get("access_token"):
            # Authlib would renew one that is nearly over, and the refresh token is good for one use.
            lasting = {"expires_in", "expires_at", "refresh_token"}
            more = client.userinfo(token={name: value for name, value in token.items() if name not in lasting})
            if more.get("sub") != subject:
                raise ProviderRefusedError("what it told of the person is of somebody else")
            claims = {**more, **claims}
        return Told(
            subject,
            claims,
            str(claims.get("sid") or ""),
            str(token.get("id_token") or ""),
            str(token.get("refresh_token") or ""),
        )

    def _claims(self, token: Mapping[str, Any], nonce: str = "") -> Mapping[str, object]:
        """What an ID token says, when it is good: signature, issuer, audience, time, and the nonce of this login."""
        if not isinstance(token.get("id_token"), str):
            raise ProviderRefusedError("it gave no ID token; is openid among OIDC_SCOPES?")
        header, claims = self._decoded(token["id_token"])
        params = {"nonce": nonce, "client_id": self.settings.client_id, "access_token": token.get("access_token")}
        CodeIDToken(claims, header, self._options(), params).validate(leeway=LEEWAY_SECONDS)
        return claims

    def _options(self, **more: Mapping[str, object]) -> dict[str, Any]:
        return {
            "iss": {"essential": True, "value": self.settings.issuer},
            "aud": {"essential": True, "value": self.settings.client_id},
            **more,
        }

    def _decoded(self, text: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Header and claims of a token that one of the provider's keys signed; new keys are asked for when none did."""
        told = self._client().server_metadata.get("id_token_signing_alg_values_supported") or ["RS256"]
        registry = JWSRegistry(algorithms=[one for one in _SIGNED_WITH if one in told], strict_check_header=False)
        try:
            token = jwt.decode(text, self._key_set(), registry=registry)
        except (InvalidKeyIdError, BadSignatureError):
            token = jwt.decode(text, self._key_set(new=True), registry=registry)
        return dict(token.header), dict(token.claims)

    def _key_set(self, *, new: bool = False) -> KeySet:
        client = self._client()
        with self._lock:
            now = time.monotonic()
            if self._keys is None or (new and now - self._keys[0] > NEW_KEYS_SECONDS):
                self._keys = now, _known_keys(client.fetch_jwk_set(force=True))
            return self._keys[1]


@contextmanager
def _words(what: str) -> Iterator[None]:
    """What goes wrong inside, as one of our two errors; no text of it holds a token."""
    try:
        yield
    except OAuthError as error:
        said = f"the provider was to {what} and refused: {error.error}"
        raise (ProviderSilentError if error.error in _OF_ITSELF else ProviderRefusedError)(said) from None
    except JoseError as error:
        raise ProviderRefusedError(f"the token is not good: {type(error).__name__} {error.description}") from None
    except (UpstreamError, requests.RequestException) as error:
        raise ProviderSilentError(f"the provider was to {what} and gave no good answer: {error}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        said = f"the provider was to {what} and answered what nobody can read ({type(error).__name__})"
        raise ProviderSilentError(said) from None


def _known_keys(told: Mapping[str, Any]) -> KeySet:
    """The keys of which we know the kind; the provider may show others, for others (RFC 7517, 5). Raises KeyError."""
    found: list[Any] = []
    for one in told["keys"]:
        with suppress(JoseError, ValueError, TypeError, KeyError, AttributeError):
            found += KeySet.import_key_set({"keys": [one]}).keys
    return KeySet(found)


def _judged(told: Any, settings: OidcSettings) -> dict[str, Any]:
    """What the provider says of itself, when it is the one that is set and its addresses may be asked."""
    if not isinstance(told, Mapping) or told.get("issuer") != settings.issuer:
        named = told.get("issuer") if isinstance(told, Mapping) else None
        raise ProviderSilentError(
            f"what answers at OIDC_ISSUER calls itself {str(named)[:200]!r}; OIDC_ISSUER has to be exactly that"
        )
    host = urlsplit(settings.issuer or "").hostname or ""
    for name in (*_ASKED_BY_US, *_OPENED_BY_PEOPLE):
        url = told.get(name)
        if url is None and name in {"userinfo_endpoint", "end_session_endpoint"}:
            continue
        if not isinstance(url, str) or not may_be_asked(url, allow_http=settings.allow_http):
            raise ProviderSilentError(f"the provider's {name} is no https address")
        if name in _ASKED_BY_US and urlsplit(url).hostname != host:
            refused = judge_url(url, settings.hosts)
            if isinstance(refused, UrlRefusedError):
                raise ProviderSilentError(f"the provider's {name}: {refused} (OIDC_HOSTS)")
    # Authlib takes the metadata as its own settings: only what is known and judged goes on.
    known = (
        "issuer", "id_token_signing_alg_values_supported", "token_endpoint_auth_methods_supported",
        "authorization_response_iss_parameter_supported", "backchannel_logout_supported",
    )  # fmt: skip
    return {name: told[name] for name in (*known, *_ASKED_BY_US, *_OPENED_BY_PEOPLE) if told.get(name) is not None}
