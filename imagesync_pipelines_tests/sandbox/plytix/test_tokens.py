"""Proves that tokens come and go as contract section 2 has it."""

import jwt
import pytest
import requests

from imagesync_pipelines.sandbox import faults
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, plytix_sandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import SECONDS, Caller, ask_token, errors_of

pytestmark = pytest.mark.slow


def claims_of(answer: requests.Response) -> dict[str, object]:
    token = answer.json()["data"][0]["access_token"]
    claims: dict[str, object] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_token_lives_for_15_minutes_of_the_sandboxs_clock(sandbox: PlytixSandbox) -> None:
    claims = claims_of(ask_token(sandbox))
    assert claims["iat"] == sandbox.clock.now().timestamp()
    assert claims["exp"] == sandbox.clock.now().timestamp() + 900


def test_the_limits_of_the_account_are_in_the_token() -> None:
    with plytix_sandbox() as sandbox:
        account = claims_of(ask_token(sandbox))["user_claims"]["account"]  # type: ignore[index]
    assert account["rate_limit"] == [{"limit": 20, "window_size": 10}, {"limit": 5000, "window_size": 3600}]


def test_the_answer_has_a_refresh_token_and_no_expires_in(sandbox: PlytixSandbox) -> None:
    answer = ask_token(sandbox)
    assert answer.status_code == 200
    assert set(answer.json()) == {"data"}
    assert set(answer.json()["data"][0]) == {"access_token", "refresh_token"}


def test_an_expired_token_is_refused_and_a_new_one_is_good(caller: Caller) -> None:
    path = f"products/{caller.id_of('ERP-7')}"
    caller.sandbox.clock.move(899)
    assert caller.ask("GET", path).status_code == 200
    caller.sandbox.clock.move(1)
    assert caller.ask("GET", path).status_code == 401
    caller.log_in()
    assert caller.ask("GET", path).status_code == 200


def test_revoked_tokens_are_refused_and_new_ones_are_good(caller: Caller) -> None:
    caller.sandbox.tokens.secret = "another key, as long as a key has to be"
    assert caller.search("products").status_code == 401
    caller.log_in()
    assert caller.search("products").status_code == 200


def test_a_call_without_a_header_is_told_so(caller: Caller) -> None:
    del caller.session.headers["Authorization"]
    answer = caller.search("products")
    assert (answer.status_code, answer.json()) == (401, {"error": {"msg": "Missing Authorization Header"}})


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Bearer x.y.z", "Basic c2FuZGJveA==", "token"], ids=lambda header: repr(header)
)
def test_a_header_that_is_no_token_is_refused(caller: Caller, header: str) -> None:
    caller.session.headers["Authorization"] = header
    assert caller.search("products").status_code == 401


def test_a_token_that_somebody_else_signed_is_refused(caller: Caller) -> None:
    forged = jwt.encode({"exp": 2**32}, "a secret of somebody else, long enough", "HS256")
    caller.session.headers["Authorization"] = f"Bearer {forged}"
    assert caller.search("products").status_code == 401


def test_wrong_credentials_are_a_401_whose_field_holds_a_number(sandbox: PlytixSandbox) -> None:
    answer = ask_token(sandbox, api_password="wrong")
    assert answer.status_code == 401
    assert answer.json()["error"]["msg"] == "Bad api_key or api_password: Credentials not valid"
    assert errors_of(answer) == [("http_status_code", 401)]


@pytest.mark.parametrize("body", [b"", b"no json", b"[]", b'{"api_key": "sandbox-key"}', b'{"api_key":1}'])
def test_a_malformed_request_for_a_token_is_a_400(sandbox: PlytixSandbox, body: bytes) -> None:
    answer = requests.post(f"{sandbox.auth_url}/auth/api/get-token", data=body, timeout=SECONDS)
    assert answer.status_code == 400


def test_the_auth_host_gives_8_tokens_a_second(sandbox: PlytixSandbox) -> None:
    statuses = [ask_token(sandbox).status_code for _ in range(9)]
    assert statuses == [200] * 8 + [429]
    sandbox.clock.move(1)
    answer = ask_token(sandbox)
    assert answer.status_code == 200
    assert (answer.headers["ratelimit-limit"], answer.headers["x-ratelimit-limit-second"]) == ("8", "8")


def test_calls_to_the_auth_host_are_counted_apart_and_spend_no_quota(sandbox: PlytixSandbox) -> None:
    ask_token(sandbox)
    assert (sandbox.token_ledger.count("token"), sandbox.ledger.count()) == (1, 0)
    assert sandbox.windows.used() == (0, 0)


def test_the_auth_host_can_be_down(sandbox: PlytixSandbox) -> None:
    sandbox.faults.add(faults.server_error(503).at("token").burst(2))
    assert [ask_token(sandbox).status_code for _ in range(3)] == [503, 503, 200]


def test_a_token_may_not_say_whose_account_it_is() -> None:
    with plytix_sandbox(token_names_account=False) as sandbox:
        hidden = claims_of(ask_token(sandbox))["user_claims"]["account"]  # type: ignore[index]
        sandbox.switches.token_names_account = True
        told = claims_of(ask_token(sandbox))["user_claims"]["account"]  # type: ignore[index]
    assert ("id" in hidden, told["id"]) == (False, sandbox.tokens.account_id)
