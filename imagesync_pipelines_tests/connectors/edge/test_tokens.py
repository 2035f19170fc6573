"""One token for all threads: renewed before it ends, once after a 401, never on a 403, never for ever."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imagesync_pipelines.connectors.edge.errors import StoreNotAllowedError
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, NotFoundError, UpstreamError
from imagesync_pipelines_tests.connectors.edge.head_office import (
    STORE_ID,
    Call,
    Reply,
    api_for,
    head_office,
    json_reply,
    uid,
)
from imagesync_pipelines_tests.upstream.servers import FakeTime


def _list(api: Any) -> int:
    return int(api.list_page(STORE_ID, since=None, limit=10, offset=0).total)


def _read(api: Any) -> bytes:
    with api.open_photo(uid(1), STORE_ID) as body:
        return b"".join(body.chunks())


def test_a_token_is_used_until_shortly_before_its_end() -> None:
    fake = FakeTime()
    with head_office(photos=1) as office, api_for(office, fake) as api:
        _list(api)
        fake.now += 3600 - 121
        _list(api)
        assert len(office.of("/token/")) == 1
        assert not office.of("/refresh/")
        fake.now += 2
        _list(api)
    assert len(office.logins) == 1
    assert [call.body for call in office.of("/refresh/")] == [{"refresh": "refresh number 1"}]
    used = {call.headers["authorization"] for call in office.listings}
    assert len(used) == 2


def test_the_life_of_a_token_is_measured_by_our_clock_whatever_hos_clock_says() -> None:
    fake = FakeTime(now=5.0)
    with head_office(photos=1) as office, api_for(office, fake) as api:
        office.lifetime = 10
        _list(api)
        fake.now += 7.9
        _list(api)
        assert not office.of("/refresh/")
        fake.now += 0.2
        _list(api)
        assert len(office.of("/refresh/")) == 1


def test_a_refresh_token_that_is_refused_leads_to_the_password() -> None:
    fake = FakeTime()
    with head_office(photos=1) as office, api_for(office, fake) as api:
        _list(api)
        office.revoked.add("refresh number 1")
        fake.now += 3600
        _list(api)
    assert len(office.of("/refresh/")) == 1
    assert len(office.logins) == 2


def test_a_refresh_whose_answer_is_lost_is_not_sent_again_and_leads_to_the_password() -> None:
    fake = FakeTime()
    with head_office(photos=1) as office, api_for(office, fake) as api:
        _list(api)
        office.hook = lambda call: json_reply(503, {}) if call.path.endswith("/refresh/") else None
        fake.now += 3600
        _list(api)
    assert len(office.of("/refresh/")) == 1
    assert len(office.logins) == 2


@pytest.mark.parametrize("use", [_list, _read], ids=["listing", "download"])
def test_a_token_refused_in_the_middle_is_renewed_once(use: Any) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        use(api)
        office.revoke_tokens()
        use(api)
    assert len(office.logins) == 2


def test_many_workers_with_a_refused_token_renew_it_once() -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        _read(api)
        office.revoke_tokens()
        with ThreadPoolExecutor(8) as pool:
            bodies = list(pool.map(lambda _: _read(api), range(40)))
    assert bodies == [b"photo 1"] * 40
    assert len(office.logins) == 2


def test_while_one_worker_renews_the_others_wait_for_it() -> None:
    entered = threading.Event()

    def slow_login(call: Call) -> Reply | None:
        if call.path.endswith("/token/"):
            entered.set()
            time.sleep(0.2)
        return None

    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = slow_login
        with ThreadPoolExecutor(5) as pool:
            totals = list(pool.map(lambda _: _list(api), range(5)))
    assert entered.is_set()
    assert totals == [1] * 5
    assert len(office.logins) == 1


@pytest.mark.parametrize("use", [_list, _read], ids=["listing", "download"])
def test_403_is_final_and_renews_nothing(use: Any) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: json_reply(403, {"detail": "no"}) if "/token/" not in call.path else None
        with pytest.raises(StoreNotAllowedError):
            use(api)
    assert len(office.logins) == 1
    assert len(office.calls) == 2


@pytest.mark.parametrize("use", [_list, _read], ids=["listing", "download"])
def test_a_token_that_was_never_taken_is_not_renewed_for_ever(use: Any) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: json_reply(401, {"detail": "no"}) if "/token/" not in call.path else None
        for _ in range(5):
            with pytest.raises(CredentialsError):
                use(api)
    assert len(office.logins) == 1


@pytest.mark.parametrize("use", [_list, _read], ids=["listing", "download"])
def test_an_account_disabled_in_the_middle_is_asked_for_once(use: Any) -> None:
    with head_office(photos=1) as office, api_for(office) as api:
        use(api)
        office.revoke_tokens()
        office.password = "another"
        for _ in range(5):
            with pytest.raises(CredentialsError, match=r"refused user name and password \(user edge\)"):
                use(api)
    assert len(office.logins) == 2


def test_a_wrong_password_is_said_so_without_showing_it() -> None:
    with head_office() as office, api_for(office, password="wrong-one") as api:
        with pytest.raises(CredentialsError, match="check the account there and in the accounts file") as caught:
            api.check_login()
        assert "wrong-one" not in str(caught.value)
        with pytest.raises(CredentialsError):
            _list(api)
    assert len(office.calls) == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(404, (b"<html>",), {"Content-Type": "text/html"}), NotFoundError),
        (json_reply(200, {"token": "x"}), BadAnswerError),
        (json_reply(200, ["access"]), BadAnswerError),
    ],
    ids=["no such path", "no access token", "a list"],
)
def test_a_login_that_is_none_is_named(reply: Reply, error: type[UpstreamError]) -> None:
    with head_office() as office, api_for(office) as api:
        office.hook = lambda call: reply
        with pytest.raises(error):
            api.check_login()


def test_a_login_is_tried_again_while_ho_starts() -> None:
    replies = [Reply(503, (b"",)), Reply(502, (b"",))]
    with head_office(photos=1) as office, api_for(office) as api:
        office.hook = lambda call: replies.pop(0) if replies else None
        assert _list(api) == 1
    assert len(office.logins) == 3


def test_a_token_that_names_no_end_is_used_until_it_is_refused() -> None:
    fake = FakeTime()
    opaque = json_reply(200, {"access": "opaque", "refresh": "r"})
    page = json_reply(200, {"data": {"photos": [], "total": 0, "has_more": False}})
    with head_office() as office, api_for(office, fake) as api:
        office.hook = lambda call: opaque if "/token/" in call.path else page
        for _ in range(3):
            _list(api)
            fake.now += 100_000
    assert len(office.logins) == 1
    assert not office.of("/refresh/")
