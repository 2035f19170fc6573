"""Calls of the sandbox's Amazon as a plain client makes them, for its own tests."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests

from imagesync_pipelines.sandbox.amazon.catalogue import PATH
from imagesync_pipelines.sandbox.amazon.listings import MARKETPLACES
from imagesync_pipelines.sandbox.amazon.server import AmazonSandbox

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)


@dataclass
class Caller:
    """A client with an access token; the clock of its sandbox stands still and is moved before each call by default."""

    sandbox: AmazonSandbox
    headers: dict[str, str] = field(default_factory=dict)

    def log_in(self, **changed: str) -> requests.Response:
        """Ask for an access token and use it if it is given."""
        form = {
            "grant_type": "refresh_token",
            "client_id": self.sandbox.application.client_id,
            "client_secret": self.sandbox.application.client_secret,
            "refresh_token": self.sandbox.application.refresh_token,
        }
        return self.ask_for_token(data=form | changed)

    def ask_for_token(self, **body: Any) -> requests.Response:
        """Send this body (`data` or `json`) to the token host, and use the token if it gives one."""
        answer = requests.post(self.sandbox.token_url, timeout=10, **body)
        if answer.ok:
            self.headers = {"x-amz-access-token": answer.json()["access_token"]}
        return answer

    def get(self, path: str, *, wait: float = 1.0, **query: Any) -> requests.Response:
        """One call of the catalogue, after so many seconds of the sandbox's clock."""
        self.sandbox.clock.move(wait)
        return requests.get(self.sandbox.url + PATH + path, params=query, headers=self.headers, timeout=10)

    def search(self, *, wait: float = 1.0, **query: Any) -> requests.Response:
        """Search the US unless another marketplace is named."""
        return self.get("", wait=wait, **({"marketplaceIds": MARKETPLACES["US"]} | query))

    def item(self, asin: str, *, wait: float = 1.0, **query: Any) -> requests.Response:
        """One item of the US unless another marketplace is named."""
        return self.get(f"/{asin}", wait=wait, **({"marketplaceIds": MARKETPLACES["US"]} | query))
