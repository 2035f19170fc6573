"""Proves that both windows of the rate limit are kept, over all calls, and how the wait is named."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime

import orjson
import pytest

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.plytix.app import Spent, Windows, as_limits, too_many
from imagesync_pipelines.sandbox.plytix.model import NewProduct, PlytixSwitches, WaitNamed, WindowStart
from imagesync_pipelines.sandbox.plytix.server import PlytixSandbox, plytix_sandbox
from imagesync_pipelines_tests.sandbox.plytix.callers import Caller

pytestmark = pytest.mark.slow

NOON = datetime(2026, 1, 5, 12, 0, 4, tzinfo=UTC)


@pytest.fixture
def limited() -> Iterator[Caller]:
    """Three calls in 10 seconds, five in an hour; the clock stands 4 seconds after noon."""
    with plytix_sandbox(products=[NewProduct("A")], limits=((3, 10), (5, 3600)), clock=SandboxClock(NOON)) as sandbox:
        yield Caller(sandbox)


def statuses(caller: Caller, calls: int) -> list[int]:
    return [caller.search("products").status_code for _ in range(calls)]


def test_a_spent_window_answers_429_until_it_ends(limited: Caller) -> None:
    assert statuses(limited, 5) == [200, 200, 200, 429, 429]
    limited.sandbox.clock.move(9.9)
    assert statuses(limited, 1) == [429]


def test_calls_while_blocked_do_not_push_the_end_back() -> None:
    with plytix_sandbox(limits=((2, 10), (100, 3600)), clock=SandboxClock(NOON)) as sandbox:
        caller = Caller(sandbox)
        seen = []
        for _ in range(11):
            seen.append(caller.search("products").status_code)
            sandbox.clock.move(1)
    assert seen == [200, 200, *[429] * 8, 200]


def test_every_call_counts_whatever_is_answered(limited: Caller) -> None:
    answers = [
        limited.ask("GET", "products/no-such-id"),
        limited.ask("GET", "nowhere"),
        limited.ask("GET", "products", headers={"Authorization": ""}),
        limited.search("products"),
    ]
    assert [answer.status_code for answer in answers] == [404, 404, 401, 429]


def test_calls_that_meet_a_429_count_in_the_other_window(limited: Caller) -> None:
    assert statuses(limited, 5) == [200, 200, 200, 429, 429]
    limited.sandbox.clock.move(10)
    answer = limited.search("products")
    assert (answer.status_code, answer.json()["window_size"]) == (429, 3600)


def test_nothing_is_done_on_a_429(limited: Caller) -> None:
    limited.sandbox.windows.hit(3)
    assert limited.patch("A", label="new").status_code == 429
    assert limited.sandbox.product("A").label == ""


def test_the_body_is_the_gateways_and_not_the_usual_envelope(limited: Caller) -> None:
    limited.sandbox.windows.hit(3)
    assert limited.search("products").json() == {"message": "API rate limit exceeded", "limit": 3, "window_size": 10}


def test_another_client_of_the_account_spends_from_the_same_windows(limited: Caller) -> None:
    limited.sandbox.windows.hit(5)
    answer = limited.search("products")
    assert answer.json()["window_size"] == 3600
    assert int(answer.headers["Retry-After"]) == 3600


@pytest.mark.parametrize(
    ("named", "header", "ttl"),
    [
        ("seconds", "8", None),
        ("decimal", "7.500", None),
        ("ttl", None, 7500),
        ("both", "8", 7500),
        ("absent", None, None),
    ],
    ids=lambda value: str(value),
)
def test_the_wait_is_named_as_the_switch_says(
    limited: Caller, named: WaitNamed, header: str | None, ttl: int | None
) -> None:
    limited.sandbox.switches.wait_named = named
    limited.sandbox.windows.hit(3)
    limited.sandbox.clock.move(2.5)
    answer = limited.search("products")
    assert answer.headers.get("Retry-After") == header
    assert answer.json().get("ttl") == ttl


@pytest.mark.parametrize("named", ["seconds", "decimal", "ttl"])
@pytest.mark.parametrize("wait", [0.0004, 0.9999, 1.0, 1089.4921, 3599.99999])
def test_the_named_wait_is_never_too_short(named: WaitNamed, wait: float) -> None:
    answer = too_many(Spent(20, 10, wait), named)
    assert answer.body
    told = float(answer.headers.get("Retry-After", 0)) or float(orjson.loads(answer.body).get("ttl", 0)) / 1000
    assert wait <= told <= math.ceil(wait)


@pytest.mark.parametrize(("start", "second_before_the_end"), [("first call", 9.0), ("clock", 5.0)], ids=str)
def test_a_window_begins_with_its_first_call_or_by_the_clock(start: WindowStart, second_before_the_end: float) -> None:
    clock = SandboxClock(NOON)
    windows = Windows(((1, 10),), clock, PlytixSwitches(window_start=start))
    assert windows.hit() is None
    clock.move(second_before_the_end)
    spent = windows.hit()
    assert spent == Spent(1, 10, 1.0)
    clock.move(1)
    assert windows.hit() is None


def test_a_clock_that_is_moved_back_opens_a_window() -> None:
    clock = SandboxClock(NOON)
    windows = Windows(((1, 10),), clock, PlytixSwitches())
    assert windows.hit() is None
    clock.move(-60)
    assert windows.hit() is None


@pytest.mark.parametrize("wrong", [(0, 10), (20, 0), (-1, 10)])
def test_a_limit_without_calls_or_length_is_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least one call"):
        as_limits([wrong])


def test_ordinary_answers_say_nothing_of_the_limit(sandbox: PlytixSandbox) -> None:
    headers = Caller(sandbox).search("products").headers
    assert not [name for name in headers if "ratelimit" in name.lower()]
