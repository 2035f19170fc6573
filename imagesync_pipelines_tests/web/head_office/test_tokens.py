"""Tokens: the original's bodies for each refusal, one use per refresh token, and the office's own clock."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest
import requests
import sqlalchemy as sa

from imagesync_pipelines.storage.wrong_logins import BY_PAIR
from imagesync_pipelines.web.head_office import accounts
from imagesync_pipelines.web.head_office import tables as t
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import create_tables
from imagesync_pipelines.web.head_office.tokens import hash_password
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.conftest import SetClock
from imagesync_pipelines_tests.web.head_office.serving import PASSWORD, PHOTOS, USERNAME, Client, Shop, served

NOT_VALID = {
    "detail": "Given token not valid for any token type",
    "code": "token_not_valid",
    "messages": [{"token_class": "AccessToken", "token_type": "access", "message": "Token is invalid or expired"}],
}
MISSING = {"detail": "Authentication credentials were not provided."}
TWO_PARTS = {
    "detail": "Authorization header must contain two space-delimited values",
    "code": "bad_authorization_header",
}
UNKNOWN = {"detail": "No active account found with the given credentials"}


def login(client: Client, body: object) -> Any:
    return Client(client.url).post("/api/v1/token/", body)


def listed(client: Client, authorization: str) -> Any:
    return client.get(PHOTOS, {"Authorization": authorization}, store_id=client.store)


def signed(office: HeadOffice, secret: str = "s" * 32, **claims: object) -> str:
    base = {"token_type": "access", "exp": 4_000_000_000, "jti": "1", "user_id": str(uuid4())}
    return jwt.encode({**base, **claims}, secret, algorithm="HS256")


def test_a_token_carries_the_claims_of_the_contract(client: Client, office: HeadOffice) -> None:
    claims = jwt.decode(client.access, options={"verify_signature": False})
    assert {*claims} == {"token_type", "exp", "iat", "jti", "user_id", "generation"}
    assert claims["exp"] - claims["iat"] == office.settings.access_minutes * 60
    assert jwt.get_unverified_header(client.access)["alg"] == "HS256"


@pytest.mark.parametrize(
    ("authorization", "body"),
    [
        ("", MISSING),
        ("Token abc", MISSING),
        ("Bearer", TWO_PARTS),
        ("Bearer a b", TWO_PARTS),
        ("Bearer garbage", NOT_VALID),
    ],
    ids=["nothing", "other scheme", "no token", "two tokens", "garbage"],
)
def test_a_request_without_a_good_token_is_refused(client: Client, authorization: str, body: object) -> None:
    answer = listed(client, authorization)
    assert (answer.status_code, answer.json()) == (401, body)
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_token_of_another_secret_or_without_signature_is_refused(client: Client, office: HeadOffice) -> None:
    owner = jwt.decode(client.access, options={"verify_signature": False})["user_id"]
    forged = signed(office, "x" * 32, user_id=owner)
    unsigned = jwt.encode({"token_type": "access", "exp": 4e9, "jti": "1", "user_id": owner}, None, algorithm="none")
    for token in (forged, unsigned):
        assert listed(client, f"Bearer {token}").json() == NOT_VALID


def test_a_refresh_token_is_no_access_token(service: Client, client: Client) -> None:
    answer = listed(client, f"Bearer {service.refresh}")
    assert answer.status_code == 401
    assert answer.json()["messages"][0]["message"] == "Token has wrong type"


def test_a_token_expires_by_the_offices_own_clock(office: HeadOffice, shop: Shop) -> None:
    clock = SetClock(datetime(2001, 1, 1, tzinfo=UTC))
    accounts.grant(office, USERNAME, shop.store)
    with served(replace(office, clock=clock)) as client:
        client.store = shop.store
        assert client.page()["total"] == 0
        clock.now += timedelta(minutes=61)
        answer = client.get(PHOTOS, store_id=shop.store)
        assert (answer.status_code, answer.json()) == (401, NOT_VALID)
        refreshed = client.post("/api/v1/token/refresh/", {"refresh": client.refresh}).json()
        client.access = refreshed["access"]
        assert client.page()["total"] == 0
        clock.now += timedelta(minutes=1441)
        late = client.post("/api/v1/token/refresh/", {"refresh": refreshed["refresh"]})
        assert (late.status_code, late.json()["detail"]) == (401, "Token is invalid or expired")


@pytest.fixture
def someone(office: HeadOffice, service: Client, shop: Shop) -> Client:
    """A client with an account of its own."""
    name = f"someone-{uuid4().hex[:8]}"
    accounts.add_account(office, name, hash_password(PASSWORD))
    client = Client(service.url, uuid4())
    client.log_in(name)
    client.username = name
    return client


def refreshed(client: Client, token: str) -> Any:
    return client.post("/api/v1/token/refresh/", {"refresh": token})


def test_a_refresh_token_works_once_and_its_reuse_ends_the_chain(someone: Client) -> None:
    first = refreshed(someone, someone.refresh)
    assert {*first.json()} == {"access", "refresh"}
    second = refreshed(someone, first.json()["refresh"])
    assert second.status_code == 200
    again = refreshed(someone, someone.refresh)
    assert (again.status_code, again.json()["code"]) == (401, "token_not_valid")
    assert refreshed(someone, second.json()["refresh"]).status_code == 401
    for pair in (first.json(), second.json()):
        assert listed(someone, f"Bearer {pair['access']}").json() == NOT_VALID
    someone.log_in(someone.username)
    # What was copied ends nothing of what was logged in since.
    refreshed(someone, second.json()["refresh"])
    assert listed(someone, f"Bearer {someone.access}").status_code == 404


def test_a_new_password_ends_every_token(someone: Client, office: HeadOffice) -> None:
    accounts.add_account(office, someone.username, hash_password(PASSWORD + "2"))
    assert listed(someone, f"Bearer {someone.access}").json() == NOT_VALID
    assert refreshed(someone, someone.refresh).status_code == 401
    assert someone.download(uuid4(), store_id=uuid4()).json() == NOT_VALID
    assert login(someone, {"username": someone.username, "password": PASSWORD}).json() == UNKNOWN
    assert login(someone, {"username": someone.username, "password": PASSWORD + "2"}).status_code == 200


def test_an_account_that_is_enabled_again_has_to_log_in(someone: Client, office: HeadOffice) -> None:
    for active in (False, True):
        accounts.set_active(office, someone.username, active=active)
    assert listed(someone, f"Bearer {someone.access}").json() == NOT_VALID
    assert login(someone, {"username": someone.username, "password": PASSWORD}).status_code == 200


def test_what_lets_a_client_in_the_field_take_bytes_is_over_with_its_account(
    someone: Client, office: HeadOffice, shop: Shop
) -> None:
    accounts.grant(office, someone.username, shop.store)
    operators.put_photo(office, shop.product, b"x", filename="a.jpg")
    asked = {"company_id": str(shop.company), "store_id": str(shop.store)}

    def image_url() -> str:
        return str(someone.post(PHOTOS, asked).json()["photos"][0]["image_url"])

    def status_of(url: str) -> int:
        return requests.get(url, timeout=20).status_code

    first = image_url()
    assert status_of(first) == 200
    accounts.revoke(office, someone.username, shop.store)
    assert status_of(first) == 403
    accounts.grant(office, someone.username, shop.store)
    assert status_of(first) == 200
    accounts.add_account(office, someone.username, hash_password(PASSWORD))
    assert status_of(first) == 401
    someone.log_in(someone.username)
    second = image_url()
    assert (status_of(first), status_of(second)) == (401, 200)
    accounts.set_active(office, someone.username, active=False)
    assert status_of(second) == 401


@pytest.mark.parametrize("sent", [{"data": None}, {"files": {"x": ""}}], ids=["urlencoded", "multipart"])
def test_a_form_is_taken_as_the_original_does(someone: Client, sent: dict[str, Any]) -> None:
    fields = {"username": someone.username, "password": PASSWORD}
    as_form = {"data": fields} if "data" in sent else {"files": {name: (None, value) for name, value in fields.items()}}
    pair = requests.post(f"{someone.url}/api/v1/token/", **as_form, timeout=20)
    assert (pair.status_code, {*pair.json()}) == (200, {"access", "refresh"})
    form = {"refresh": pair.json()["refresh"]}
    assert requests.post(f"{someone.url}/api/v1/token/refresh/", data=form, timeout=20).status_code == 200
    missing = requests.post(f"{someone.url}/api/v1/token/", data={"username": "x"}, timeout=20)
    assert (missing.status_code, missing.json()) == (400, {"password": ["This field is required."]})


def test_wrong_passwords_have_to_wait_and_lock_nobody_else_out(someone: Client, service: Client) -> None:
    wrong = {"username": someone.username, "password": "wrong"}
    answers = [login(someone, wrong) for _ in range(BY_PAIR.at_once + 1)]
    assert [one.status_code for one in answers] == [401] * BY_PAIR.at_once + [429]
    assert 0 < int(answers[-1].headers["Retry-After"]) <= BY_PAIR.seconds
    assert login(someone, {"username": someone.username, "password": PASSWORD}).status_code == 429
    service.log_in()


def test_tables_of_the_first_version_are_brought_up(office: HeadOffice, someone: Client) -> None:
    with office.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE head_office.account DROP COLUMN generation"))
        connection.execute(sa.text("ALTER TABLE head_office.store DROP COLUMN from_bucket"))
        t.wrong_login.drop(connection)
        connection.execute(t.version.update().values(number=1))
    for _ in range(2):
        create_tables(office.engine)
    someone.log_in(someone.username)
    assert someone.username in {one.username for one in accounts.list_accounts(office)}


def test_a_disabled_account_is_out_at_once(someone: Client, office: HeadOffice) -> None:
    accounts.set_active(office, someone.username, active=False)
    inactive = {"detail": "User is inactive", "code": "user_inactive"}
    assert someone.get(PHOTOS, store_id=uuid4()).json() == inactive
    assert someone.post("/api/v1/token/refresh/", {"refresh": someone.refresh}).json() == inactive
    assert login(someone, {"username": someone.username, "password": PASSWORD}).json() == UNKNOWN


def test_a_token_of_an_account_that_is_gone_is_refused(client: Client, office: HeadOffice) -> None:
    answer = listed(client, f"Bearer {signed(office)}")
    assert (answer.status_code, answer.json()) == (401, {"detail": "User not found", "code": "user_not_found"})


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"username": USERNAME, "password": "wrong"}, 401, UNKNOWN),
        ({"username": "nobody", "password": PASSWORD}, 401, UNKNOWN),
        ({"username": USERNAME + "\x00", "password": PASSWORD}, 400, {"username": ["Not a valid string."]}),
        ({"username": USERNAME, "password": "\ud800"}, 400, {"password": ["Not a valid string."]}),
        ({"username": USERNAME}, 400, {"password": ["This field is required."]}),
        ({}, 400, {"username": ["This field is required."], "password": ["This field is required."]}),
        ({"username": 5, "password": PASSWORD}, 400, {"username": ["Not a valid string."]}),
        ([], 400, {"detail": "JSON parse error - an object was expected"}),
    ],
    ids=[
        "wrong password",
        "unknown",
        "NUL in the name",
        "half a character",
        "no password",
        "nothing",
        "a number",
        "a list",
    ],
)
def test_a_login_that_is_wrong_is_refused(service: Client, body: object, status: int, said: object) -> None:
    answer = login(service, body)
    assert (answer.status_code, answer.json()) == (status, said)


@pytest.mark.parametrize("token", ["garbage", "access"])
def test_only_a_refresh_token_refreshes(service: Client, token: str) -> None:
    answer = service.post("/api/v1/token/refresh/", {"refresh": service.access if token == "access" else token})
    expected = "Token has wrong type" if token == "access" else "Token is invalid or expired"
    assert (answer.status_code, answer.json()["detail"]) == (401, expected)
