"""What a provider, or somebody who plays one, may say and is not believed; and what it need not say."""

import base64
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey
from starlette.responses import JSONResponse, Response

from imagesync_pipelines.web.catalogue.oidc import provider as speaking
from imagesync_pipelines.web.catalogue.oidc.provider import LOGOUT, Provider, ProviderRefusedError, ProviderSilentError
from imagesync_pipelines_tests.web.catalogue.oidc.providing import LyingProvider, claims_of, settings_for

CATALOGUE = "http://127.0.0.1:8830"
Lie = Callable[[LyingProvider], None]


def speak(liar: LyingProvider, **more: Any) -> Provider:
    return Provider(settings_for(liar.address, CATALOGUE, **more))


def claims(**changed: Any) -> Lie:
    return lambda liar: liar.claims.update(changed)


def signed(sign: Callable[[LyingProvider, dict[str, Any]], str]) -> Lie:
    return lambda liar: setattr(liar, "sign", sign)


def plain(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(liar: LyingProvider, said: dict[str, Any]) -> str:
    return f"{plain({'alg': 'none', 'kid': 'first'})}.{plain(said)}."


def shared_secret(liar: LyingProvider, said: dict[str, Any]) -> str:
    """HS256 with the public key as its secret, as a checker that asks the token which algorithm it is would take it."""
    signed = f"{plain({'alg': 'HS256', 'kid': 'first'})}.{plain(said)}"
    signature = hmac.digest(liar.keys[0].as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def cut(liar: LyingProvider, said: dict[str, Any]) -> str:
    head, _, signature = liar.signed(said).split(".")
    return f"{head}.{plain({**said, 'groups': ['shop-admins']})}.{signature}"


LIES: dict[str, Lie] = {
    "another issuer": claims(iss="https://evil.example"),
    "for somebody else": claims(aud="other"),
    "for several, and used by another": claims(aud=["catalogue", "other"], azp="other"),
    "for somebody else, used by us": claims(aud="other", azp="catalogue"),
    "another nonce": claims(nonce="another"),
    "no nonce": claims(nonce=None),
    "over": claims(exp=1_700_000_000),
    "not yet": claims(nbf=4_000_000_000, iat=4_000_000_000),
    "no end": claims(exp=None),
    "nobody": claims(sub=None),
    "another access token": claims(at_hash="AAAA"),
    "no signature": signed(unsigned),
    "a shared secret": signed(shared_secret),
    "changed": signed(cut),
    "another key of the same name": signed(
        lambda liar, said: liar.signed(said, key=RSAKey.generate_key(2048, {"kid": "first"}))
    ),
    "an algorithm that it does not use": signed(lambda liar, said: liar.signed(said, alg="PS256")),
    "no token": lambda liar: setattr(liar, "answer", lambda: JSONResponse({"access_token": "a"})),
    "refused": lambda liar: setattr(liar, "answer", lambda: JSONResponse({"error": "invalid_grant"}, 400)),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_token_that_is_not_good_lets_nobody_in(lie: Lie, fresh: LyingProvider) -> None:
    fresh.claims["nonce"] = "n"
    assert speak(fresh).finish("c", "n", "v").subject == "s1"
    lie(fresh)
    with pytest.raises(ProviderRefusedError):
        speak(fresh).finish("c", "n", "v")


def test_none_and_shared_secrets_are_not_taken_even_where_the_provider_says_that_it_uses_them(
    fresh: LyingProvider,
) -> None:
    fresh.claims["nonce"] = "n"
    fresh.metadata["id_token_signing_alg_values_supported"] = ["none", "HS256", "RS256"]
    for sign in (unsigned, shared_secret):
        fresh.sign = sign
        with pytest.raises(ProviderRefusedError):
            speak(fresh).finish("c", "n", "v")


SILENCES: dict[str, Lie] = {
    "another name": lambda liar: liar.metadata.update(issuer=f"{liar.address}/"),
    "no name": lambda liar: liar.metadata.update(issuer=None),
    "plain http to another machine": lambda liar: liar.metadata.update(token_endpoint="http://10.0.0.9/token"),
    "a private host": lambda liar: liar.metadata.update(jwks_uri="https://169.254.169.254/keys"),
    "no address of tokens": lambda liar: liar.metadata.update(token_endpoint=None),
    "a file": lambda liar: liar.metadata.update(authorization_endpoint="file:///etc/passwd"),
    "an error": lambda liar: setattr(liar, "answer", lambda: Response("busy", 503)),
    "a page": lambda liar: setattr(liar, "answer", lambda: Response("<html>", 200)),
    "a list": lambda liar: setattr(liar, "answer", lambda: JSONResponse([1])),
    "too much": lambda liar: setattr(liar, "answer", lambda: Response(b" " * (speaking.MAX_BYTES + 1), 200)),
    "elsewhere": lambda liar: setattr(
        liar, "answer", lambda: Response("", 307, headers={"Location": "http://127.0.0.1:1/"})
    ),
    "our secret is not known": lambda liar: setattr(
        liar, "answer", lambda: JSONResponse({"error": "invalid_client"}, 401)
    ),
    "too many calls": lambda liar: setattr(liar, "answer", lambda: JSONResponse({"error": "access_denied"}, 429)),
    "too slow": lambda liar: setattr(liar, "answer", lambda: JSONResponse({"error": "invalid_request"}, 408)),
    "neither a token nor an error": lambda liar: setattr(
        liar, "answer", lambda: JSONResponse({"message": "a proxy said no"}, 403)
    ),
}


@pytest.mark.parametrize("silence", SILENCES.values(), ids=SILENCES)
def test_a_provider_that_answers_nonsense_is_one_that_does_not_answer(silence: Lie, fresh: LyingProvider) -> None:
    silence(fresh)
    with pytest.raises(ProviderSilentError) as raised:
        speak(fresh).finish("c", "n", "v")
    assert "a secret of the client" not in str(raised.value)
    with pytest.raises(ProviderSilentError):
        speak(fresh, groups_claim="sub").refresh("r", "s1")


def test_after_no_answer_nobody_waits_for_the_next_one(fresh: LyingProvider) -> None:
    fresh.answer = lambda: Response("busy", 503)
    provider = speak(fresh)
    for _ in range(3):
        with pytest.raises(ProviderSilentError):
            provider.finish("c", "n", "v")
    assert [what for what, _ in fresh.asked] == ["token"]


def test_new_keys_are_asked_for_when_a_token_names_one_and_not_again_at_once(
    fresh: LyingProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh.claims["nonce"] = "n"
    provider = speak(fresh)
    provider.finish("c", "n", "v")
    fresh.keys.append(ECKey.generate_key("P-256", {"kid": "second"}))
    fresh.metadata["id_token_signing_alg_values_supported"] = ["RS256", "ES256"]
    fresh.sign = lambda liar, said: liar.signed(said, alg="ES256")
    with pytest.raises(ProviderRefusedError):
        provider.finish("c", "n", "v")
    assert [what for what, _ in fresh.asked].count("jwks") == 1
    monkeypatch.setattr(speaking, "NEW_KEYS_SECONDS", -1.0)
    # The provider's word on its algorithms is read again after an hour.
    monkeypatch.setattr(speaking, "KEPT_SECONDS", -1.0)
    assert provider.finish("c", "n", "v").subject == "s1"


def test_keys_of_a_kind_that_nobody_knows_here_are_left_out_and_the_others_stay_good(fresh: LyingProvider) -> None:
    fresh.claims["nonce"] = "n"
    fresh.other_keys = [{"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA"}, {"kty": "new"}, {"no": "kty"}, "text"]
    assert speak(fresh).finish("c", "n", "v").subject == "s1"


def test_a_code_is_asked_for_with_pkce_and_given_with_its_verifier(fresh: LyingProvider) -> None:
    provider = speak(fresh)
    begun, other = provider.begin(), provider.begin()
    assert "code_challenge_method=S256" in begun.url
    assert begun.code_verifier not in begun.url
    assert not {begun.state, begun.nonce, begun.code_verifier} & {other.state, other.nonce, other.code_verifier}
    fresh.claims["nonce"] = begun.nonce
    provider.finish("c", begun.nonce, begun.code_verifier)
    form = fresh.asked[-2 if fresh.asked[-1][0] == "jwks" else -1][1]
    assert (form["code"], form["code_verifier"], form["grant_type"]) == ("c", begun.code_verifier, "authorization_code")


def test_groups_that_the_token_lacks_are_asked_for_and_only_of_the_same_person(fresh: LyingProvider) -> None:
    fresh.claims.update(nonce="n", groups=None)
    fresh.userinfo = {"sub": "s1", "groups": ["shop-admins"], "sid": "x"}
    assert speak(fresh).finish("c", "n", "v").claims["groups"] == ["shop-admins"]
    # A token that lasts a minute is good for this one question, and is not renewed for it.
    short = {"access_token": "a", "expires_in": 60, "refresh_token": "r", "id_token": fresh.id_token()}
    fresh.answer = lambda: JSONResponse(short)
    fresh.asked.clear()
    assert speak(fresh).finish("c", "n", "v").claims["groups"] == ["shop-admins"]
    assert [what for what, _ in fresh.asked].count("token") == 1
    fresh.userinfo["sub"] = "s2"
    with pytest.raises(ProviderRefusedError):
        speak(fresh).finish("c", "n", "v")


def test_a_renewed_sign_in_is_of_the_same_person(fresh: LyingProvider) -> None:
    assert speak(fresh).refresh("r", "s1").subject == "s1"
    with pytest.raises(ProviderRefusedError):
        speak(fresh).refresh("r", "s2")


def logout_token(liar: LyingProvider, **changed: Any) -> str:
    events = {LOGOUT: {}}
    said = {**claims_of(liar.id_token()), "jti": "j1", "sid": "x", "events": events, "groups": None, **changed}
    said = {name: value for name, value in said.items() if value is not None}
    return liar.signed(said, typ="logout+jwt")


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://evil.example"}, {"aud": "other"}, {"events": None}, {"events": {"other": {}}},
        {"events": {LOGOUT: "x"}}, {"nonce": "n"}, {"jti": None}, {"iat": None}, {"sid": None, "sub": None},
        {"exp": 1_700_000_000}, {"iat": 1_700_000_000, "exp": None},
    ],
    ids=repr,
)  # fmt: skip
def test_a_word_of_logout_that_is_not_good_is_refused(changed: dict[str, Any], fresh: LyingProvider) -> None:
    provider = speak(fresh)
    told = provider.logged_out(logout_token(fresh))
    assert (told.subject, told.session, told.token) == ("s1", "x", "j1")
    with pytest.raises(ProviderRefusedError):
        provider.logged_out(logout_token(fresh, **changed))


def test_an_id_token_is_no_word_of_logout_and_no_word_of_logout_lets_anybody_in(fresh: LyingProvider) -> None:
    with pytest.raises(ProviderRefusedError):
        speak(fresh).logged_out(fresh.id_token(nonce="n"))
    word = logout_token(fresh)
    fresh.sign = lambda liar, said: word
    with pytest.raises(ProviderRefusedError):
        speak(fresh).finish("c", "n", "v")
    for text in ("", "x", "a.b.c", f"{plain({'alg': 'none'})}.{plain({})}."):
        with pytest.raises((ProviderRefusedError, ProviderSilentError)):
            speak(fresh).logged_out(text)
