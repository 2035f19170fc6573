"""A small Plytix for the tests of its client: it gives tokens and answers each path as a test tells it to."""

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import jwt
import sqlalchemy as sa
from pydantic import SecretStr

from imagesync_pipelines.connectors.plytix.client.pim import PlytixApi
from imagesync_pipelines.connectors.plytix.model import PlytixProduct
from imagesync_pipelines.connectors.plytix.settings import PlytixAccount, PlytixSettings
from imagesync_pipelines.upstream.retries import Timing
from imagesync_pipelines_tests.upstream.servers import FakeTime, Request, http, json_answer, serve

KEY, WORD = "key-8472", "word-1138"
LIMITS = ((20, 10), (5000, 3600))
TOKEN_PATH = "/auth/api/get-token"


@dataclass(frozen=True)
class Call:
    """A call to the PIM, with its body parsed."""

    method: str
    path: str
    body: Any
    token: str


Answers = Callable[[Call], Iterable[bytes | float]]


@dataclass
class Host:
    """What the host was asked, and how it answers."""

    fake: FakeTime
    url: str = ""
    calls: list[Call] = field(default_factory=list)
    logins: list[Any] = field(default_factory=list)
    answers: Answers = lambda call: [rows()]
    limits: tuple[tuple[int, int], ...] | None = LIMITS
    lifetime: float | None = 900
    login_answer: bytes | None = None
    revoked: set[str] = field(default_factory=set)
    refuses_tokens: bool = False

    def give(self, *answers: bytes) -> None:
        """Answer the next calls in turn; the last answer repeats."""
        start = len(self.calls)

        def answer(call: Call) -> list[bytes]:
            return [answers[min(len(self.calls) - start, len(answers)) - 1]]

        self.answers = answer

    def token(self) -> bytes:
        """A login's answer with a fresh token."""
        claims: dict[str, Any] = {"number": len(self.logins)}
        if self.lifetime is not None:
            # The host's clock is years off ours.
            claims |= {"iat": 5_000_000, "exp": 5_000_000 + self.lifetime}
        if self.limits is not None:
            windows = [{"limit": calls, "window_size": seconds} for calls, seconds in self.limits]
            claims["user_claims"] = {"account": {"rate_limit": windows}}
        token = jwt.encode(claims, "a secret of at least thirty-two bytes", algorithm="HS256")
        return json_answer({"data": [{"access_token": token, "refresh_token": "useless"}]})


@contextmanager
def plytix_host(fake: FakeTime | None = None) -> Iterator[Host]:
    """Run the host; PIM and auth are one server."""
    host = Host(fake or FakeTime())
    lock = threading.Lock()

    def script(request: Request, _: int) -> Iterable[bytes | float]:
        body = json.loads(request.body) if request.body else None
        if request.target == TOKEN_PATH:
            with lock:
                host.logins.append(body)
                return [host.login_answer or host.token()]
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        with lock:
            call = Call(request.method, request.target, body, token)
            host.calls.append(call)
            if host.refuses_tokens or token in host.revoked:
                return [refusal(401, "Token has expired")]
            return host.answers(call)

    with serve(script) as served:
        host.url = served.url
        yield host


def api_for(
    host: Host, engine: sa.Engine, *, account: dict[str, Any] | None = None, **settings: Any
) -> AbstractContextManager[PlytixApi]:
    """A client of the host whose time is the host's fake one."""
    timing = Timing(clock=host.fake.clock, sleep=host.fake.sleep, random=lambda: 0.0, wall=host.fake.clock)
    return closing(
        PlytixApi(
            PlytixAccount.model_construct(
                **{
                    "alias": "main",
                    "api_key": SecretStr(KEY),
                    "api_password": SecretStr(WORD),
                    "url": host.url,
                    "auth_url": host.url,
                    **(account or {}),
                }
            ),
            PlytixSettings(_env_file=None, **settings),
            engine,
            timing=timing,
        )
    )


def read_product(api: PlytixApi) -> PlytixProduct:
    """The first product as a search finds it now; for what holds of every call that changes nothing."""
    sku = str(product(1)["sku"])
    return api.search_products([sku])[sku]


def rows(*items: object, status: int = 200) -> bytes:
    """A good answer."""
    return json_answer({"data": list(items)}, status)


def refusal(status: int, message: str = "no", *problems: tuple[str, object]) -> bytes:
    """An error of the application."""
    errors = [{"field": name, "msg": text} for name, text in problems]
    return json_answer({"error": {"msg": message, "errors": errors}}, status)


def too_many(headers: dict[str, str] | None = None, **body: object) -> bytes:
    """An error 429 of the gateway."""
    text = json.dumps({"message": "API rate limit exceeded", **body}).encode()
    return http(429, text, {"Content-Type": "application/json", **(headers or {})})


def product(number: int, sku: str = "", **more: object) -> dict[str, object]:
    """A row of a product."""
    return {"id": an_id(number), "sku": sku or f"AMZN-US-B{number:09d}", "attributes": {}, **more}


def an_id(number: int) -> str:
    """The id of anything in Plytix."""
    return f"{number:024x}"
