"""Proves the original's tokens: pairs for an hour and a day, and every 401 of contract section 1, word for word."""

import jwt
import pytest
import requests
import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines_tests.sandbox.head_office.callers import ROOT, SECONDS, Caller, log_in, post

pytestmark = pytest.mark.slow

TOKEN, REFRESH = "/api/v1/token/", "/api/v1/token/refresh/"


def listing(sandbox: HeadOfficeSandbox, header: str | None) -> requests.Response:
    headers = {} if header is None else {"Authorization": header}
    return requests.get(f"{sandbox.url}{ROOT}?store_id={sandbox.stores[0]}", headers=headers, timeout=SECONDS)


def invalid(message: str) -> dict[str, object]:
    return {
        "detail": "Given token not valid for any token type",
        "code": "token_not_valid",
        "messages": [{"token_class": "AccessToken", "token_type": "access", "message": message}],
    }


def test_a_login_gives_a_pair_with_the_claims_of_the_contract(read_original: Caller) -> None:
    tokens = log_in(read_original.sandbox)
    for kind, minutes in (("access", 60), ("refresh", 1440)):
        claims = jwt.decode(tokens[kind], options={"verify_signature": False})
        assert set(claims) == {"token_type", "exp", "iat", "jti", "user_id"}
        assert claims["token_type"] == kind
        assert claims["exp"] - claims["iat"] == minutes * 60


NO_CREDENTIALS = {"detail": "Authentication credentials were not provided."}
BAD_HEADER = {
    "detail": "Authorization header must contain two space-delimited values",
    "code": "bad_authorization_header",
}


@pytest.mark.parametrize(
    ("header", "body"),
    [
        pytest.param(None, NO_CREDENTIALS, id="no header"),
        pytest.param("Token abc", NO_CREDENTIALS, id="another scheme"),
        pytest.param("Bearer", BAD_HEADER, id="no token"),
        pytest.param("Bearer a b", BAD_HEADER, id="two tokens"),
        pytest.param("Bearer garbage", invalid("Token is invalid or expired"), id="garbage"),
    ],
)
def test_a_wrong_header_is_a_401(read_original: Caller, header: str | None, body: dict[str, object]) -> None:
    answer = listing(read_original.sandbox, header)
    assert (answer.status_code, answer.json()) == (401, body)
    assert answer.headers["www-authenticate"] == 'Bearer realm="api"'


def test_a_token_signed_by_others_is_invalid(read_original: Caller) -> None:
    claims = jwt.decode(log_in(read_original.sandbox)["access"], options={"verify_signature": False})
    forged = jwt.encode(claims, "x" * 32, "HS256")
    assert listing(read_original.sandbox, f"Bearer {forged}").json() == invalid("Token is invalid or expired")


def test_a_refresh_token_gives_no_access(read_original: Caller) -> None:
    answer = listing(read_original.sandbox, f"Bearer {log_in(read_original.sandbox)['refresh']}")
    assert (answer.status_code, answer.json()) == (401, invalid("Token has wrong type"))


def test_tokens_expire_by_head_offices_clock(original: HeadOfficeSandbox) -> None:
    tokens = log_in(original)
    # Ten seconds to spare: the clock runs on, and a token is dated in whole seconds.
    original.clock.move(3590)
    assert listing(original, f"Bearer {tokens['access']}").status_code == 200
    original.clock.move(11)
    assert listing(original, f"Bearer {tokens['access']}").json() == invalid("Token is invalid or expired")
    renewed = post(original, REFRESH, json={"refresh": tokens["refresh"]}).json()
    assert listing(original, f"Bearer {renewed['access']}").status_code == 200
    original.clock.move(86_400)
    answer = post(original, REFRESH, json={"refresh": tokens["refresh"]})
    assert (answer.status_code, answer.json()) == (
        401,
        {"detail": "Token is invalid or expired", "code": "token_not_valid"},
    )


def test_a_refresh_rotates_and_the_old_refresh_token_keeps_working(read_original: Caller) -> None:
    refresh = log_in(read_original.sandbox)["refresh"]
    for _ in range(2):
        answer = post(read_original.sandbox, REFRESH, json={"refresh": refresh})
        assert answer.status_code == 200
        assert set(answer.json()) == {"access", "refresh"}
        assert answer.json()["refresh"] != refresh


def test_an_access_token_does_not_refresh(read_original: Caller) -> None:
    answer = post(read_original.sandbox, REFRESH, json={"refresh": log_in(read_original.sandbox)["access"]})
    assert (answer.status_code, answer.json()) == (401, {"detail": "Token has wrong type", "code": "token_not_valid"})


@pytest.mark.parametrize(
    ("path", "options", "status", "body"),
    [
        pytest.param(TOKEN, {"json": {"username": "edge", "password": "wrong"}}, 401,
                     {"detail": "No active account found with the given credentials"}, id="wrong password"),
        pytest.param(TOKEN, {"json": {"username": "edge"}}, 400,
                     {"password": ["This field is required."]}, id="no password"),
        pytest.param(TOKEN, {"json": {"username": "", "password": "x"}}, 400,
                     {"username": ["This field may not be blank."]}, id="blank user"),
        pytest.param(TOKEN, {"json": ["edge"]}, 400,
                     {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}, id="a list"),
        pytest.param(REFRESH, {}, 400, {"refresh": ["This field is required."]}, id="no refresh token"),
        pytest.param(REFRESH, {"json": {"refresh": "x"}}, 401,
                     {"detail": "Token is invalid or expired", "code": "token_not_valid"}, id="garbage"),
        pytest.param(TOKEN, {"data": "x", "headers": {"Content-Type": "text/plain"}}, 415,
                     {"detail": 'Unsupported media type "text/plain" in request.'}, id="plain text"),
    ],
)  # fmt: skip
def test_a_wrong_login_is_refused_in_the_frameworks_words(
    read_original: Caller, path: str, options: dict[str, object], status: int, body: dict[str, object]
) -> None:
    answer = post(read_original.sandbox, path, **options)
    assert (answer.status_code, answer.json()) == (status, body)


def test_broken_json_is_a_400_that_says_so(read_original: Caller) -> None:
    answer = post(read_original.sandbox, TOKEN, data="{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("JSON parse error - ")


def test_a_form_logs_in_too(read_original: Caller) -> None:
    sandbox = read_original.sandbox
    form = {"username": sandbox.username, "password": sandbox.password}
    assert post(sandbox, TOKEN, data=form).status_code == 200


def test_a_login_is_a_post(read_original: Caller) -> None:
    answer = requests.get(read_original.sandbox.url + TOKEN, timeout=SECONDS)
    assert (answer.status_code, answer.json()) == (405, {"detail": 'Method "GET" not allowed.'})


def test_a_user_who_is_disabled_or_gone_is_told_so(original: HeadOfficeSandbox) -> None:
    header = f"Bearer {log_in(original)['access']}"
    with original.engine.begin() as connection:
        connection.execute(t.account.update().values(is_active=False))
    assert listing(original, header).json() == {"detail": "User is inactive", "code": "user_inactive"}
    credentials = {"username": original.username, "password": original.password}
    assert post(original, TOKEN, json=credentials).status_code == 401
    with original.engine.begin() as connection:
        connection.execute(t.account_store.delete())
        connection.execute(sa.delete(t.account))
    assert listing(original, header).json() == {"detail": "User not found", "code": "user_not_found"}
