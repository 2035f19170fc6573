"""Where a login comes from, and how many passwords are looked at together."""

import asyncio
import threading
import time
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from imagesync_pipelines.settings import Settings, SettingsError, load_settings
from imagesync_pipelines.storage.schema_catalogue import wrong_login
from imagesync_pipelines.storage.wrong_logins import BY_PAIR, WrongLogins
from imagesync_pipelines.web.logins import HASHED_AT_ONCE, TooManyTriesError, address_of, let_in
from imagesync_pipelines.web.service import behind_proxies
from imagesync_pipelines_tests import loops

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)


def seen_by_an_app(trusted: list[str], peer: str, headers: list[tuple[bytes, bytes]]) -> str:
    """Where an app behind these proxies sees a request of this peer come from."""
    seen = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(address_of(Request(scope)))

    async def nothing(*_: object) -> Message:
        return {}

    scope = {"type": "http", "client": (peer, 1), "headers": headers}
    loops.run(behind_proxies(app, trusted)(scope, nothing, nothing))  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "seen"),
    [
        ([], "127.0.0.1", "192.0.2.1", "127.0.0.1"),
        (["10.0.0.5"], "127.0.0.1", "192.0.2.1", "127.0.0.1"),
        (["10.0.0.5"], "10.0.0.5", "192.0.2.1", "192.0.2.1"),
        (["10.0.0.0/8"], "10.0.0.5", "203.0.113.9, 192.0.2.1, 10.0.0.6", "192.0.2.1"),
        (["10.0.0.5"], "10.0.0.5", "203.0.113.9, 192.0.2.1", "192.0.2.1"),
        (["10.0.0.5"], "10.0.0.5", "192.0.2.1:4711", "192.0.2.1"),
        (["10.0.0.5"], "10.0.0.5", None, "10.0.0.5"),
        (["10.0.0.5"], "10.0.0.5", "unknown", "unknown"),
        (["::1"], "::1", "2001:db8:0:1:aaaa::1", "2001:db8:0:1::/64"),
        ([], "::ffff:192.0.2.1", None, "192.0.2.1"),
    ],
    ids=["nobody is trusted", "another one is trusted", "the proxy", "several proxies", "what the visitor made up",
         "with a port", "says nothing", "no address", "a network of IPv6", "IPv4 in IPv6"],
)  # fmt: skip
def test_a_visitors_address_is_taken_from_trusted_proxies_alone(
    trusted: list[str], peer: str, forwarded: str | None, seen: str
) -> None:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    assert seen_by_an_app(trusted, peer, headers) == seen


@pytest.mark.parametrize("value", ["*", "proxy.example.com", "10.0.0.5/8", "0.0.0.0/0", "::/0"])
def test_proxies_are_named_by_their_addresses(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESYNC_TRUSTED_PROXIES", value)
    with pytest.raises(SettingsError, match="IMAGESYNC_TRUSTED_PROXIES: "):
        load_settings(Settings)


def test_few_passwords_are_looked_at_together_whoever_asks(database: sa.Engine) -> None:
    """Forty Argon2 hashes at once took 2.6 GB."""
    tries, lock = WrongLogins(database, wrong_login), threading.Lock()
    now = most = 0

    def check() -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1
        return "anna"

    async def eighty() -> list[str | None]:
        return await asyncio.gather(*(let_in(tries, "anna", "192.0.2.1", NOON, check) for _ in range(80)))

    assert loops.run(eighty()) == ["anna"] * 80
    assert most <= HASHED_AT_ONCE


def test_wrong_passwords_at_the_same_moment_do_not_pass_together(database: sa.Engine) -> None:
    tries, looked_at = WrongLogins(database, wrong_login), []

    def check() -> str | None:
        looked_at.append(1)
        return None

    async def sixty() -> list[str | BaseException | None]:
        asked = (let_in(tries, "anna", "192.0.2.66", NOON, check) for _ in range(60))
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = loops.run(sixty())
    assert BY_PAIR.at_once <= len(looked_at) < BY_PAIR.at_once + HASHED_AT_ONCE
    assert sum(isinstance(one, TooManyTriesError) for one in answers) == 60 - len(looked_at)
