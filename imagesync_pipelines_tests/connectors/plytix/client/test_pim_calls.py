"""One call to the PIM: tokens, limits, what is repeated and what is not (contract plytix.md, sections 2 to 4)."""

import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.plytix.errors import HourSpentError, NotAllowedError
from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.upstream.errors import BadAnswerError, CredentialsError, MalformedJsonError, UnavailableError
from imagesync_pipelines_tests.connectors.plytix.client.host import (
    KEY,
    WORD,
    Call,
    an_id,
    api_for,
    plytix_host,
    product,
    read_product,
    refusal,
    rows,
    too_many,
)
from imagesync_pipelines_tests.upstream.servers import FakeTime, http, json_answer

P, A = an_id(1), an_id(2)


class SharedTime(FakeTime):
    """A clock that several workers move without losing a move."""

    lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self.lock:
            super().sleep(seconds)


def test_a_token_is_used_until_shortly_before_its_end(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(product(1)))
        for passed, logins in [(0, 1), (830, 1), (20, 2), (900, 3)]:
            host.fake.now += passed
            read_product(api)
            assert len(host.logins) == logins
        assert host.logins[0] == {"api_key": KEY, "api_password": WORD}
        assert (api.calls, api.token_calls) == (4, 3)


def test_a_token_without_times_lives_fifteen_minutes(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.lifetime = None
        host.give(rows(product(1)))
        for passed, logins in [(0, 1), (830, 1), (20, 2)]:
            host.fake.now += passed
            read_product(api)
            assert len(host.logins) == logins


def test_a_token_refused_in_the_middle_is_renewed_once_by_one_worker(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(rows(product(1)))
        read_product(api)
        host.revoked.add(host.calls[0].token)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: read_product(api).id, range(8)))
        assert found == [P] * 8
        assert len(host.logins) == 2


def test_a_write_refused_with_its_token_is_made_once_more_and_then_given_up(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.refuses_tokens = True
        with pytest.raises(CredentialsError):
            api.link(P, A)
        assert (len(host.calls), len(host.logins)) == (2, 2)


@pytest.mark.parametrize("status", [400, 401, 403, 422])
def test_an_account_that_is_refused_is_said_so_without_its_secrets_and_not_asked_again(
    database: sa.Engine, status: int
) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.login_answer = refusal(status, f"Bad api_key: {KEY}, {WORD}", ("http_status_code", status))
        for _ in range(2):
            with pytest.raises(CredentialsError, match="account main") as caught:
                read_product(api)
            assert KEY not in str(caught.value)
            assert WORD not in str(caught.value)
        assert (len(host.logins), len(host.calls)) == (1, 0)


@pytest.mark.parametrize("answer", [json_answer({"data": []}), json_answer([]), rows({"access_token": 7})])
def test_a_login_without_a_token_is_said_so(database: sa.Engine, answer: bytes) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.login_answer = answer
        with pytest.raises(BadAnswerError, match="no access token"):
            read_product(api)


@pytest.mark.parametrize(
    ("of_token", "of_account", "kept"),
    [
        (((50, 10), (5000, 3600)), (), [(40, 10), (4000, 3600)]),
        (((50, 10), (5000, 3600)), ((10, 10),), [(8, 10)]),
        (None, (), [(16, 10), (4000, 3600)]),
        (((1, 10),), (), [(1, 10)]),
    ],
    ids=["the token's", "the account's own", "the usual ones", "never none"],
)
def test_we_keep_to_a_share_of_the_limits(
    database: sa.Engine,
    of_token: tuple[tuple[int, int], ...] | None,
    of_account: tuple[tuple[int, int], ...],
    kept: list[tuple[int, int]],
) -> None:
    with plytix_host() as host, api_for(host, database, account={"limits": of_account}) as api:
        host.limits = of_token
        assert list(api.limiter.windows()) == kept
        assert [(state.used, state.left) for state in api.limiter.left()] == [(0, calls) for calls, _ in kept]
        assert not host.calls


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("begins", [0.0, 3.7, 9.9])
def test_alone_on_the_account_we_never_meet_a_429_wherever_its_windows_begin(
    database: sa.Engine, begins: float, workers: int
) -> None:
    fake = SharedTime()
    hits: dict[int, int] = {}

    def answer(call: Call) -> list[bytes]:
        window = int((fake.now - begins) // 10)
        hits[window] = hits.get(window, 0) + 1
        return [too_many(limit=20, window_size=10) if hits[window] > 20 else rows(product(1))]

    with plytix_host(fake) as host, api_for(host, database) as api:
        host.answers = answer

        def read(number: int) -> None:
            read_product(api)
            fake.sleep(0.07 * (number % 5))

        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(read, range(90)))
        assert api.calls == 90
    # Four fifths of the limit are used: 16 calls per 10 seconds and a half; each worker moves this clock.
    assert fake.now - 1000 < workers * (90 / 16 * 10.5 + 1)


@pytest.mark.parametrize(
    ("answer", "pause"),
    [
        (too_many({"Retry-After": "7"}), 7),
        (too_many({"retry-after": "7.492"}), 7.492),
        (too_many(limit=20, window_size=10, ttl=4500), 4.5),
        (too_many({"Retry-After": "3"}, ttl=9000, window_size=3600), 9),
        (too_many(limit=20, window_size=10), 10),
        (too_many({"Retry-After": "soon"}, limit=20, window_size=10), 10),
        (too_many(limit=20, window_size="10"), 10),
        (too_many(ttl=None, window_size=12), 12),
    ],
    ids=[
        "seconds", "decimals", "milliseconds in the body", "the longer of both", "the window only", "nonsense",
        "a number as text", "null",
    ],
)  # fmt: skip
def test_a_429_pauses_as_long_as_it_asks_and_nothing_is_dropped(
    database: sa.Engine, answer: bytes, pause: float
) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer, rows({"id": A}, status=201))
        assert api.link(P, A) is True
        assert host.fake.now - 1000 == pytest.approx(pause, abs=0.01)
        assert api.calls == 2


def test_a_429_pauses_every_process_of_the_account_and_no_other(database: sa.Engine) -> None:
    with (
        plytix_host() as host,
        api_for(host, database, max_pause_seconds=5) as api,
        api_for(host, database) as same,
        api_for(host, database, account={"alias": "other"}) as other,
    ):
        host.give(too_many({"Retry-After": "55"}), rows(product(1)))
        with pytest.raises(HourSpentError):
            read_product(api)
        assert read_product(other).id == P
        assert host.fake.now == 1000
        assert read_product(same).id == P
        assert host.fake.now == pytest.approx(1055)
        assert read_product(api).id == P


@pytest.mark.parametrize(
    "answer",
    [
        too_many({"Retry-After": "1806"}),
        too_many(limit=5000, window_size=3600),
        too_many(),
        http(429, b"<html>Too many</html>", {"Content-Type": "text/html"}),
    ],
    ids=["it says so", "the window of an hour", "it says nothing", "HTML"],
)
def test_a_pause_longer_than_a_run_waits_ends_the_run_and_not_the_item(database: sa.Engine, answer: bytes) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(answer)
        with pytest.raises(HourSpentError, match="the next run goes on") as caught:
            api.link(P, A)
        assert caught.value.retry_after
        assert caught.value.retry_after > 1800 - 1
        # Known from now on: the next call is not even sent.
        with pytest.raises(HourSpentError):
            api.link(P, A)
        assert len(host.calls) == 1


def test_an_hour_that_we_used_up_ourselves_ends_the_run_before_the_server_says_so(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database, account={"limits": ((20, 10), (40, 3600))}) as api:
        host.give(rows(product(1)))
        for _ in range(32):
            read_product(api)
        with pytest.raises(HourSpentError):
            read_product(api)
        assert (len(host.calls), [state.left for state in api.limiter.left()][1]) == (32, 0)
        host.fake.now += 3900
        assert read_product(api).id == P


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_reading_is_tried_again_after_what_passes(database: sa.Engine, status: int) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(http(status), rows(product(1)))
        assert read_product(api).id == P
        host.give(http(status))
        with pytest.raises(UnavailableError, match=rf"HTTP {status}.*4 attempts"):
            read_product(api)


def test_a_read_answer_that_was_cut_is_read_again(database: sa.Engine) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(http(200, b'{"data": [{"id"'), rows(product(1)))
        assert read_product(api).id == P
        host.give(http(200, b'{"data": [{"id"'))
        with pytest.raises(MalformedJsonError):
            read_product(api)


@pytest.mark.parametrize(
    "answer",
    [
        http(500),
        http(502),
        http(504),
        http(501),
        b"",
        http(201, b'{"data": ['),
        http(201, b"x", {"Content-Length": "9"}),
        json_answer({}),
        json_answer([]),
        rows(),
        rows({}, {}),
        refusal(200, "product data validation failed"),
    ],
    ids=[
        "500",
        "502",
        "504",
        "501",
        "no answer",
        "JSON that is cut",
        "a body that is cut",
        "an empty object",
        "an empty list",
        "no row",
        "two rows",
        "200 with an error",
    ],
)
def test_a_write_whose_answer_is_lost_is_not_made_again(database: sa.Engine, answer: bytes) -> None:
    writes = {
        "link": lambda api: api.link(P, A),
        "upload": lambda api: api.create_asset("https://x/y.jpg", "y.jpg"),
        "patch": lambda api: api.patch_product(P, gallery=[A]),
    }
    for write in writes.values():
        with plytix_host() as host, api_for(host, database) as api:
            host.give(answer)
            with pytest.raises(AnswerLostError):
                write(api)
            assert len(host.calls) == 1


def test_a_write_that_was_surely_not_sent_is_tried_again(database: sa.Engine) -> None:
    with plytix_host() as host:
        gone = host.url.rsplit(":", 1)[0] + ":1"
        with api_for(host, database, account={"url": gone}) as api, pytest.raises(UnavailableError, match="4 attempts"):
            api.link(P, A)


@pytest.mark.parametrize("call", ["search_products", "link", "patch"])
def test_what_an_account_may_not_do_is_no_matter_of_its_token(database: sa.Engine, call: str) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        host.give(refusal(403, "Permission denied."))
        calls = {
            "search_products": lambda: api.search_products(["AMZN-US-B000000001"]),
            "link": lambda: api.link(P, A),
            "patch": lambda: api.patch_product(P, thumbnail=A),
        }
        with pytest.raises(NotAllowedError, match="check its rights"):
            calls[call]()
        assert len(host.logins) == 1


def test_a_deprecation_is_logged_once(database: sa.Engine, caplog: pytest.LogCaptureFixture) -> None:
    with plytix_host() as host, api_for(host, database) as api:
        body = json.dumps({"data": [product(1)]}).encode()
        host.give(http(200, body, {"X-Plytix-Deprecation": "v1 ends in 2027"}))
        with caplog.at_level(logging.WARNING, "imagesync.plytix"):
            read_product(api)
            read_product(api)
    assert [record.getMessage() for record in caplog.records] == [
        "Plytix announces a deprecation (/api/v1/products/search): v1 ends in 2027"
    ]
