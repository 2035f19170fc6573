"""A system that calls the API with a key."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import requests
import sqlalchemy as sa

from imagesync_pipelines.web.catalogue.access import KeyScope, add_key

API = "/api/v1"
PROBLEM = "application/problem+json"


def a_key(engine: sa.Engine, scopes: Collection[KeyScope] = tuple(KeyScope), name: str = "shop") -> str:
    """A new key."""
    return add_key(engine, name, scopes)[0]


@dataclass(frozen=True)
class Caller:
    """A system at the address of the catalogue."""

    address: str
    key: str

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, **more: Any) -> requests.Response:
        """One call below /api/v1."""
        own = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        url = self.address + API + path
        return requests.request(method, url, headers={**own, **(headers or {})}, timeout=30, **more)

    def read(self, path: str, **query: object) -> Any:
        """The JSON of a good answer to GET."""
        answer = self.call("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


def is_problem(answer: requests.Response, status: int) -> bool:
    """Whether an answer is a problem with this status and says so in every place."""
    body = answer.json()
    return (
        (answer.status_code, answer.headers["Content-Type"], body["status"]) == (status, PROBLEM, status)
        and bool(body["title"])
        and bool(body["detail"])
    )
