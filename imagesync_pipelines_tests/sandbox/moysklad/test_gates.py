"""Proves what stands before every endpoint: headers, credentials, units, calls at once, bans, sizes, ids of the UI."""

import threading
from datetime import UTC, datetime

import pytest
import requests

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.moysklad.answers import refused
from imagesync_pipelines.sandbox.moysklad.handle import NewAccount
from imagesync_pipelines.sandbox.moysklad.limits import PrincipalKind, Units, weight
from imagesync_pipelines.sandbox.moysklad.model import MoyskladSwitches, UnitsWindow
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox, moysklad_sandbox
from imagesync_pipelines_tests.sandbox.moysklad.callers import Caller, code_of, image

LIST = "entity/product"
RATE_HEADERS = (
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-Lognex-Retry-TimeInterval",
    "X-Lognex-Reset",
    "X-Lognex-Retry-After",
)


def test_without_gzip_the_answer_is_an_empty_415(caller: Caller) -> None:
    for coding in ("identity", "deflate, br"):
        answer = caller.ask("GET", LIST, headers={"Accept-Encoding": coding})
        assert (answer.status_code, answer.content) == (415, b"")
    assert caller.ask("GET", LIST, headers={"Accept-Encoding": "gzip, deflate, br"}).status_code == 200


HEADERS = {
    "pictures only": ({"Accept": "image/*"}, 1062),
    "HTML only": ({"Accept": "text/html"}, 1062),
    "plain JSON": ({"Accept": "application/json"}, None),
    "anything": ({"Accept": "*/*"}, None),
    "a type of a body that is not there": ({"Content-Type": "application/json"}, None),
}


@pytest.mark.parametrize(("headers", "code"), HEADERS.values(), ids=HEADERS)
def test_headers_are_judged(caller: Caller, headers: dict[str, str], code: int | None) -> None:
    answer = caller.ask("GET", LIST, headers=headers)
    assert (answer.status_code, code_of(answer) if code else None) == (400 if code else 200, code)


def test_a_header_block_above_8_kilobytes_is_414(caller: Caller) -> None:
    answer = caller.ask("GET", LIST, params={"filter": "name=" + "x" * 8000})
    assert (answer.status_code, answer.headers["Content-Type"]) == (414, "text/html")


def test_credentials_are_judged_and_a_new_token_ends_the_one_before(box: MoyskladSandbox) -> None:
    user = box.account("main").add_principal("olga", PrincipalKind.USER)
    caller = Caller(box)
    caller.log_in("wrong")
    answer = caller.ask("GET", LIST)
    assert (answer.status_code, code_of(answer)) == (401, 1056)
    assert "X-Lognex-Auth" in answer.headers
    assert "X-Lognex-Auth-Message" in answer.headers
    before = user.token
    caller.log_in(before)
    assert caller.ask("GET", LIST).status_code == 200
    del caller.session.headers["Authorization"]
    fresh = caller.ask("POST", "security/token", auth=(user.login, user.password)).json()["access_token"]
    assert len(fresh) == 40
    caller.log_in(before)
    assert caller.ask("GET", LIST).status_code == 401
    caller.log_in(fresh)
    assert caller.ask("GET", LIST).status_code == 200
    assert caller.ask("GET", LIST, auth=(user.login, user.password)).status_code == 200


def test_a_principal_without_the_right_to_write_is_1017(caller: Caller, product: str) -> None:
    caller.account.principal.may_write = False
    try:
        assert code_of(caller.post(product, [image("a.jpg")])) == 1017
    finally:
        caller.account.principal.may_write = True


WEIGHTS = {
    "a solution": (PrincipalKind.SOLUTION, datetime(2026, 12, 31, tzinfo=UTC), 1),
    "a draft before": (PrincipalKind.DRAFT_SOLUTION, datetime(2026, 4, 12, 20, tzinfo=UTC), 1),
    "a draft since": (PrincipalKind.DRAFT_SOLUTION, datetime(2026, 4, 12, 21, tzinfo=UTC), 4),
    "a user at first": (PrincipalKind.USER, datetime(2026, 5, 11, tzinfo=UTC), 1),
    "a user in summer": (PrincipalKind.USER, datetime(2026, 5, 12, tzinfo=UTC), 2),
    "a user in autumn": (PrincipalKind.USER, datetime(2026, 9, 1, tzinfo=UTC), 3),
    "a user in winter": (PrincipalKind.USER, datetime(2026, 12, 1, tzinfo=UTC), 4),
}


@pytest.mark.parametrize(("kind", "at", "units"), WEIGHTS.values(), ids=WEIGHTS)
def test_a_call_weighs_by_kind_and_day(kind: PrincipalKind, at: datetime, units: int) -> None:
    assert weight(kind, at) == units


@pytest.mark.parametrize(
    ("kind", "calls"), [(PrincipalKind.SOLUTION, 45), (PrincipalKind.USER, 15), (PrincipalKind.DRAFT_SOLUTION, 11)]
)
def test_each_principal_has_45_units_in_3_seconds(kind: PrincipalKind, calls: int) -> None:
    standing = SandboxClock(datetime(2026, 10, 5, 9, tzinfo=UTC))
    with moysklad_sandbox(accounts=[NewAccount("main", kind=kind)], clock=standing) as box:
        caller = Caller(box)
        other = box.account("main").add_principal("other", PrincipalKind.SOLUTION)
        answers = [caller.ask("GET", LIST) for _ in range(calls + 1)]
        assert [answer.status_code for answer in answers] == [200] * calls + [429]
        assert code_of(answers[-1]) == 1049
        assert answers[-1].headers["X-Lognex-Auth"] == "429002"
        assert answers[-1].headers["X-Lognex-Retry-After"] == "3000"
        assert int(answers[0].headers["X-RateLimit-Remaining"]) == 45 - weight(kind, box.clock.now())
        assert all(name in answers[0].headers for name in RATE_HEADERS)
        caller.log_in(other.token)
        assert caller.ask("GET", LIST).status_code == 200
        caller.log_in(box.account("main").token)
        box.clock.move(2.9)
        assert caller.ask("GET", LIST).headers["X-Lognex-Retry-After"] == "100"
        box.clock.move(0.1)
        assert caller.ask("GET", LIST).status_code == 200


TAKEN = {"fixed": [40, 0, 45], "sliding": [40, 0, 5], "leaky": [45, 15, 15]}


@pytest.mark.parametrize(("window", "expected"), TAKEN.items(), ids=TAKEN)
def test_the_window_is_counted_in_three_ways(window: UnitsWindow, expected: list[int]) -> None:
    """Five units, and then, after each of three seconds, as many as can be had."""
    clock = SandboxClock(datetime(2026, 10, 5, 9, tzinfo=UTC))
    units = Units(clock, MoyskladSwitches(window=window))
    assert all(units.take(1) for _ in range(5))
    taken = []
    for _ in range(3):
        clock.move(1)
        taken.append(sum(units.take(1) for _ in range(100)))
    assert taken == expected


def test_more_than_five_calls_at_once_are_1073_without_a_word_how_long(caller: Caller, box: MoyskladSandbox) -> None:
    box.switches.seconds_per_call = 0.3
    answers: list[requests.Response] = []
    callers = [Caller(box) for _ in range(7)]
    threads = [threading.Thread(target=lambda one=one: answers.append(one.ask("GET", LIST))) for one in callers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refusals = [answer for answer in answers if answer.status_code == 429]
    assert len(refusals) == 2
    assert {code_of(answer) for answer in refusals} == {1073}
    assert {answer.headers["X-Lognex-Auth"] for answer in refusals} == {"429005"}
    assert not any("X-Lognex-Retry-After" in answer.headers for answer in refusals)
    assert caller.account.principal.under_way.peak == 5


def test_two_writes_of_one_entity_at_once_are_1065(box: MoyskladSandbox, product: str) -> None:
    box.switches.seconds_per_call = 0.2
    answers: list[requests.Response] = []
    callers = [Caller(box) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda one=one: answers.append(one.post(product, [image("a.jpg")]))) for one in callers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert {code_of(answer) for answer in answers if answer.status_code == 409} == {1065}


BANNING = {
    "429s": ("GET", LIST, None, 201, True),
    "identical failures": ("GET", "entity/product/00000000-0000-4000-8000-000000000000", None, 201, False),
    "PUTs of one entity": ("PUT", "entity/product/{product}", {"name": "Подушка"}, 101, False),
}


@pytest.mark.parametrize(("method", "path", "body", "calls", "at_speed"), BANNING.values(), ids=BANNING)
def test_who_goes_too_far_is_banned_until_support_helps(
    caller: Caller, box: MoyskladSandbox, product: str, method: str, path: str, body: object, calls: int, at_speed: bool
) -> None:
    for nth in range(calls + (45 if at_speed else 0)):
        assert not box.counters.all(), nth
        if not at_speed and nth % 40 == 0:
            box.clock.move(3)
        caller.ask(method, path.format(product=product), body)
    assert [(ban.account, ban.principal) for ban in box.counters.all()] == [("main", "admin")]
    box.clock.move(3600)
    answer = caller.ask("GET", LIST)
    assert (answer.status_code, code_of(answer)) == (403, 1061)
    assert Caller(box, "child").ask("GET", LIST).status_code == 200
    box.counters.lift("main")
    assert caller.ask("GET", LIST).status_code == 200


def test_failures_spread_over_minutes_ban_nobody(caller: Caller, box: MoyskladSandbox) -> None:
    for _ in range(250):
        box.clock.move(0.5)
        assert code_of(caller.ask("GET", "entity/product/00000000-0000-4000-8000-000000000000")) == 1021
    assert box.counters.all() == ()


def test_a_body_above_the_limit_is_a_413_of_the_proxy_or_the_api(caller: Caller, product: str) -> None:
    body = [{"filename": "a.jpg", "content": "A" * 20_000_000}]
    answer = caller.post(product, body)
    assert (answer.status_code, answer.headers["Content-Type"]) == (413, "text/html")
    caller.sandbox.switches.too_large = "api"
    assert code_of(caller.post(product, body)) == 1044


BODIES = {
    "no JSON": (b"{", 2000),
    "1001 elements": (b"[" + b"{}," * 1000 + b"{}]", 2007),
    "eleven deep": (b"[" * 11 + b"]" * 11, 2006),
    "empty": (b"", 1027),
}


@pytest.mark.parametrize(("body", "code"), BODIES.values(), ids=BODIES)
def test_bodies_are_judged(caller: Caller, body: bytes, code: int) -> None:
    answer = caller.ask("POST", LIST, data=body, headers={"Content-Type": "application/json"})
    assert (code_of(answer), answer.status_code) == (code, refused(code).status_of())


def test_an_id_of_the_user_interface_moves_for_good(caller: Caller, product: str) -> None:
    ui_id = caller.account.by_code("p-1").ui_id
    answer = caller.ask("GET", f"entity/product/{ui_id}/images", params={"limit": 5})
    assert answer.status_code == 308
    assert answer.headers["Location"] == f"{caller.sandbox.api_url}/entity/product/{product}/images?limit=5"
    assert caller.ask("POST", f"entity/product/{ui_id}/images", [image("a.jpg")]).status_code == 308


def test_answers_are_in_gzip(caller: Caller) -> None:
    assert caller.ask("GET", LIST).headers["Content-Encoding"] == "gzip"
