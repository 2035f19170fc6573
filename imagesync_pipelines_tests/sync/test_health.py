"""What doctor says of clocks, disks, proxies and errors, and how it ends: tables of cases."""

import pytest

from imagesync_pipelines.settings import Settings, SettingsError
from imagesync_pipelines.sync.health import (
    EXIT_CODES,
    GIGABYTE,
    Answer,
    Finding,
    NotCheckedError,
    Probe,
    Site,
    State,
    clock,
    examine,
    failure,
    proxies,
    space,
    worst,
)
from imagesync_pipelines.upstream.errors import CredentialsError, RateLimitedError


@pytest.mark.parametrize(
    ("ahead", "state", "said"),
    [
        (0.4, State.FINE, "goes as ours does"),
        (-29, State.FINE, "goes as ours does"),
        (45, State.WARNING, "is 45 s ahead of ours"),
        (-3600, State.WRONG, "is 3,600 s behind ours"),
    ],
)
def test_a_clock(ahead: float, state: State, said: str) -> None:
    assert clock("x", ahead)[2:4] == (state, said)


@pytest.mark.parametrize(
    ("free", "total", "state"),
    [
        (50, 100, State.FINE),
        (9, 100, State.WARNING),
        (0.9, 100, State.WRONG),
        # Of a large disk some gigabytes are enough, of a small one a share is.
        (20, 1000, State.FINE),
        (1.5, 10, State.FINE),
        (0.5, 10, State.WARNING),
    ],
)
def test_a_disk(free: float, total: float, state: State) -> None:
    assert space("x", int(free * GIGABYTE), int(total * GIGABYTE)).state is state


def test_the_worst_decides_how_it_ends() -> None:
    def of(*states: State) -> State:
        return worst(Finding("x", "y", state, "") for state in states)

    assert of() is State.FINE
    assert of(State.FINE, State.OFF) is State.OFF
    assert of(State.WARNING, State.UNKNOWN) is State.UNKNOWN
    assert of(State.UNKNOWN, State.WRONG, State.FINE) is State.WRONG
    assert [EXIT_CODES[state] for state in State] == [0, 0, 3, 2, 1]


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (CredentialsError("refused", status=401), State.WRONG),
        (RateLimitedError("HTTP 429", retry_after=30), State.UNKNOWN),
        (NotCheckedError("there is no database yet"), State.UNKNOWN),
        (SettingsError("not set"), State.WRONG),
        (KeyError("a mistake of ours"), State.WRONG),
    ],
)
def test_an_error(error: Exception, state: State) -> None:
    found = failure("x", "answers", error, ".env")
    assert found.state is state
    assert "\n" not in found.said
    assert found.todo


def test_one_system_that_cannot_be_asked_keeps_no_other_from_it() -> None:
    def broken() -> Answer:
        raise ZeroDivisionError

    probes = {"a": [Probe("first", broken, "x"), Probe("second", lambda: Answer("well", ahead=0), "x")]}
    found = examine(Site(Settings(), None, "there is none"), probes, {})
    assert [(one.part, one.check, one.state) for one in found] == [
        ("first", "answers", State.WRONG),
        ("second", "answers", State.FINE),
        ("second", "clock", State.FINE),
    ]


def test_proxies() -> None:
    assert proxies(["https://a.example"], lambda url: "").said == "none: systems are reached directly"
    found = proxies(["https://a.example", "https://b.example", ""], lambda url: "proxy:3128" if "a." in url else "")
    assert found.said.startswith("proxy:3128 for 1 systems; 1 are reached directly")
