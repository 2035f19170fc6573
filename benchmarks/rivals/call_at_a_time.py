"""The workflow that is replaced: a search per product, an upload per address, a link per image, a patch per product."""

import json
import sys
from dataclasses import dataclass, field
from typing import Any

import requests

from benchmarks.plytix_world import World, counted, state_of, world
from imagesync_pipelines.sandbox.amazon.mapping import FLAT_IMAGES

GALLERY = "amazon_images"
USUAL_WAIT = 60.0


@dataclass
class _Workflow:
    """One run: a session with a token, and the assets of this run by address."""

    made: World
    session: requests.Session = field(default_factory=requests.Session)
    assets: dict[str, str] = field(default_factory=dict)

    def sync(self) -> None:
        for entry in (*self.made.mapping["matched"], *self.made.mapping["unmatched_amazon"]):
            if links := _links(entry):
                self.one_product(entry["suggested_sku"], links)

    def one_product(self, sku: str, links: list[str]) -> None:
        filters = [[{"field": "sku", "operator": "eq", "value": sku}]]
        found = self.call("POST", "products/search", {"filters": filters, "pagination": {"page": 1, "page_size": 1}})
        product = found.json()["data"][0]["id"]
        for link in links:
            asset = self.asset(link)
            self.call("POST", f"products/{product}/assets", {"id": asset, "attribute_label": GALLERY})
        self.call("PATCH", f"products/{product}", {"thumbnail": {"id": self.assets[links[0]]}})

    def asset(self, link: str) -> str:
        """The id of the asset, which a 409 names too."""
        if link not in self.assets:
            answer = self.call("POST", "assets", {"url": link})
            body = answer.json()
            known = answer.status_code == 409
            self.assets[link] = body["error"]["errors"][0]["msg"] if known else body["data"][0]["id"]
        return self.assets[link]

    def call(self, method: str, path: str, body: dict[str, Any]) -> requests.Response:
        """One call, again after a 429 and, with a new token, after a 401. A 409 is an answer like any other."""
        while True:
            answer = self.session.request(method, f"{self.made.plytix.url}/api/v1/{path}", json=body, timeout=30)
            if answer.status_code == 429:
                self.made.sleep(float(answer.headers.get("Retry-After", USUAL_WAIT)))
            elif answer.status_code == 401:
                self.log_in()
            elif answer.ok or answer.status_code == 409:
                return answer
            else:
                answer.raise_for_status()

    def log_in(self) -> None:
        plytix = self.made.plytix
        credentials = {"api_key": plytix.api_key, "api_password": plytix.api_password}
        answer = self.session.post(f"{plytix.auth_url}/auth/api/get-token", json=credentials, timeout=30)
        self.session.headers["Authorization"] = f"Bearer {answer.json()['data'][0]['access_token']}"


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Two runs over the same mapping file."""
    runs: list[dict[str, Any]] = []
    with world(arguments["products"]) as made:
        for name in ("first", "second"):
            workflow = _Workflow(made)
            with counted(made, name, runs), workflow.session:
                workflow.log_in()
                workflow.sync()
        return {"runs": runs, "state": state_of(made.plytix), "pictures": made.pictures}


def _links(entry: dict[str, Any]) -> list[str]:
    """The addresses of a product's images in order, in either shape of the file."""
    if "amazon_images" in entry:
        return [image["link"] for image in entry["amazon_images"]]
    return [entry[column] for column in FLAT_IMAGES if entry.get(column)]


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
