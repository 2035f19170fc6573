"""Permit, token, attempt and judgement in one loop: what is repeated, what is lost, what is counted."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import sqlalchemy as sa

from imagesync_pipelines.errors import AnswerLostError
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.upstream.answers import Answer
from imagesync_pipelines.upstream.errors import (
    CredentialsError,
    NotFoundError,
    RateLimitedError,
    UnavailableError,
    UpstreamError,
)
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines.upstream.session import ApiRequest, SessionPolicy
from imagesync_pipelines.upstream.tokens import GivenToken, TokenHolder, TokenPolicy, text_in
from imagesync_pipelines.upstream.transport import Dialect, RateLimit, RateLimiter, Transport
from imagesync_pipelines_tests.upstream.servers import FakeTime, Request, Served, http, in_turn, json_answer, serve

READ = ApiRequest("GET", "things")
WRITE = ApiRequest("POST", "things", json={"a": 1})


class PausingDialect(Dialect):
    """Takes a 429 for an answer, and reads the pause from its body: seconds, or null."""

    answers = frozenset({404, 429})

    def judge(self, request: ApiRequest, answer: Answer) -> Answer | UpstreamError:
        if answer.status == 404:
            return answer.error(NotFoundError, "no such thing")
        if answer.good:
            return answer
        error = answer.error(RateLimitedError, "HTTP 429")
        error.retry_after = json.loads(answer.body)
        return error


class ImpatientDialect(PausingDialect):
    """Bears two refusals in a row."""

    most_refusals = 2


def timing_of(fake: FakeTime) -> Timing:
    return Timing(clock=fake.clock, sleep=fake.sleep, random=lambda: 0.0, wall=fake.clock)


def transport_to(
    served: Served,
    fake: FakeTime,
    *,
    dialect: Dialect | None = None,
    limiter: RateLimiter | None = None,
    tokens: TokenHolder | None = None,
) -> Transport:
    policy = SessionPolicy(served.url, tries=3, total_deadline=60.0)
    return Transport(policy, dialect or PausingDialect(), timing_of(fake), limiter=limiter, tokens=tokens)


def limiter_of(
    engine: sa.Engine, fake: FakeTime, *, calls: int = 100, weight: int = 1, parallel: int | None = None
) -> RateLimiter:
    limit = RateLimit(
        principal="somebody",
        windows=lambda: (Window(calls, 10),),
        longest_pause=60.0,
        kind=UnavailableError,
        why="somebody is asked to pause",
        weight=lambda now: weight,
        parallel=parallel,
    )
    return RateLimiter(limit, engine, timing_of(fake))


def tokens_of(served: Served, fake: FakeTime, *, proven_by_use: bool = False) -> TokenHolder:
    policy = TokenPolicy(
        system="the system",
        credentials="key and word",
        advice="check them",
        path="login",
        body={"word": "word-1138"},
        read=lambda data: GivenToken(text_in(data, "token"), lifetime=100.0) if text_in(data, "token") else None,
        proven_by_use=proven_by_use,
    )
    return TokenHolder(SessionPolicy(served.url), policy, timing_of(fake))


def door(answer: Callable[[Request], bytes]) -> Callable[[Request, int], Iterable[bytes]]:
    """Give a new token for each login, and answer everything else as a test says."""
    logins: list[int] = []

    def script(request: Request, number: int) -> Iterable[bytes]:
        if request.target != "/login":
            return [answer(request)]
        logins.append(number)
        return [json_answer({"token": f"token {len(logins)}"})]

    return script


def logins_at(served: Served) -> int:
    return sum(request.target == "/login" for request in served.requests)


def test_what_is_transient_is_repeated_and_every_request_counted() -> None:
    fake = FakeTime()
    with serve(in_turn(http(503), http(502), json_answer({}))) as served, closing(transport_to(served, fake)) as calls:
        assert calls.call(READ).good
        assert calls.calls == 3


def test_an_error_that_the_dialect_makes_of_an_answer_is_raised_with_where_it_happened() -> None:
    with serve(in_turn(http(404))) as served, closing(transport_to(served, FakeTime())) as calls:
        with pytest.raises(NotFoundError, match="things: no such thing"):
            calls.call(READ)
        assert calls.calls == 1


def test_a_write_that_may_have_been_carried_out_is_a_lost_answer_and_never_repeated() -> None:
    with serve(in_turn(http(502), json_answer({}))) as served, closing(transport_to(served, FakeTime())) as calls:
        with pytest.raises(AnswerLostError, match="HTTP 502"):
            calls.call(WRITE)
        assert calls.calls == 1


def test_a_pause_that_is_asked_for_is_kept_and_is_no_failure(database: sa.Engine) -> None:
    fake = FakeTime()
    script = in_turn(*[json_answer(7.0, 429)] * 5, json_answer({}))
    with serve(script) as served:
        limiter = limiter_of(database, fake)
        with closing(transport_to(served, fake, limiter=limiter)) as calls:
            assert calls.call(WRITE).good
    assert fake.now - 1000.0 == pytest.approx(35.0, abs=0.1)
    assert limiter.units == 6
    assert limiter.left()[0].used <= 6


def test_too_many_calls_in_flight_make_this_call_wait_and_no_other(database: sa.Engine) -> None:
    fake = FakeTime()
    with serve(in_turn(json_answer(None, 429), json_answer({}))) as served:
        limiter = limiter_of(database, fake, parallel=2)
        with closing(transport_to(served, fake, limiter=limiter)) as calls:
            assert calls.call(READ).good
    assert len(fake.sleeps) == 1
    assert limiter.left()[0].blocked_seconds == 0


def test_a_pause_longer_than_a_run_waits_ends_the_call_and_says_when_the_next_may_be_made(database: sa.Engine) -> None:
    fake = FakeTime()
    with serve(in_turn(json_answer(600.0, 429))) as served:
        limiter = limiter_of(database, fake)
        with closing(transport_to(served, fake, limiter=limiter)) as calls:
            for _ in range(3):
                with pytest.raises(
                    UnavailableError, match="somebody is asked to pause for 10 min; what is done stays done"
                ):
                    calls.call(READ)
            assert calls.calls == 1
    assert limiter.free_at is not None
    assert limiter.free_at.timestamp() == pytest.approx(1600, abs=0.1)


def test_a_system_that_only_refuses_is_given_up_where_its_dialect_says_so(database: sa.Engine) -> None:
    fake = FakeTime()
    with serve(in_turn(json_answer(1.0, 429))) as served:
        calls = transport_to(served, fake, dialect=ImpatientDialect(), limiter=limiter_of(database, fake))
        with closing(calls), pytest.raises(RateLimitedError):
            calls.call(READ)
        assert calls.calls == 3


@pytest.mark.parametrize(("weight", "units"), [(1, 3), (4, 12), (50, 30)], ids=["light", "heavy", "above the window"])
def test_a_call_takes_what_it_weighs_and_never_more_than_a_window_holds(
    database: sa.Engine, weight: int, units: int
) -> None:
    fake = FakeTime()
    with serve(in_turn(json_answer({}))) as served:
        limiter = limiter_of(database, fake, calls=10 if weight == 50 else 100, weight=weight)
        with closing(transport_to(served, fake, limiter=limiter)) as calls:
            for _ in range(3):
                calls.call(READ)
    assert limiter.units == units
    assert bool(fake.sleeps) == (weight == 50)


def test_threads_share_one_login_and_renew_a_refused_token_once() -> None:
    valid = ["token 1"]

    def answer(request: Request) -> bytes:
        return json_answer({}) if request.headers["authorization"] == f"Bearer {valid[0]}" else http(401)

    fake = FakeTime()
    with serve(door(answer)) as served:
        calls = transport_to(served, fake, tokens=tokens_of(served, fake))
        with closing(calls), ThreadPoolExecutor(6) as pool:
            assert all(reply.good for reply in pool.map(lambda _: calls.call(READ), range(12)))
            assert logins_at(served) == 1
            valid[0] = "token 2"
            assert all(reply.good for reply in pool.map(lambda _: calls.call(READ), range(12)))
        assert logins_at(served) == 2


def test_a_token_is_renewed_at_four_fifths_of_a_short_life() -> None:
    fake = FakeTime()
    with serve(door(lambda request: json_answer({}))) as served:
        with closing(transport_to(served, fake, tokens=tokens_of(served, fake))) as calls:
            calls.call(READ)
            fake.now += 79
            calls.call(READ)
            assert logins_at(served) == 1
            fake.now += 2
            calls.call(READ)
        assert logins_at(served) == 2


def test_a_login_that_fails_after_the_wait_for_a_permit_is_no_lost_answer(database: sa.Engine) -> None:
    fake = FakeTime()
    logins: list[int] = []

    def script(request: Request, number: int) -> Iterable[bytes]:
        if request.target != "/login":
            return [json_answer({})]
        logins.append(number)
        return [json_answer({"token": "token 1"}) if len(logins) == 1 else http(503)]

    with serve(script) as served:
        limiter = limiter_of(database, fake, calls=1)
        with closing(transport_to(served, fake, limiter=limiter, tokens=tokens_of(served, fake))) as calls:
            calls.call(READ)
            fake.now += 75
            calls.call(READ)
            # The token is good for five more seconds, the next permit comes in ten.
            with pytest.raises(UnavailableError, match="login: HTTP 503"):
                calls.call(WRITE)
            assert calls.calls == 2
        assert len(logins) == 5


@pytest.mark.parametrize(("proven_by_use", "logins", "calls"), [(False, 4, 6), (True, 1, 1)])
def test_tokens_that_never_work_are_asked_for_as_often_as_the_policy_says(
    proven_by_use: bool, logins: int, calls: int
) -> None:
    fake = FakeTime()
    with serve(door(lambda request: http(401))) as served:
        tokens = tokens_of(served, fake, proven_by_use=proven_by_use)
        with closing(transport_to(served, fake, tokens=tokens)) as transport:
            for _ in range(3):
                with pytest.raises(CredentialsError):
                    transport.call(READ)
        assert transport.calls == calls
        assert logins_at(served) == logins


def test_credentials_that_are_refused_are_not_sent_again_and_not_shown() -> None:
    fake = FakeTime()
    with serve(in_turn(json_answer({"you sent": "word-1138"}, 403))) as served:
        with closing(transport_to(served, fake, tokens=tokens_of(served, fake))) as calls:
            for _ in range(3):
                with pytest.raises(CredentialsError, match="the system refused key and word; check them") as caught:
                    calls.call(READ)
                assert "word-1138" not in str(caught.value)
        assert len(served.requests) == 1
