"""The earlier way from МойСклад's main account to a child: list, deletions, HEAD and GET per image, POST."""

import base64
import json
import sys
from dataclasses import dataclass, field
from typing import Any

import requests

from benchmarks.moysklad_world import World, counted, same_images, world
from imagesync_pipelines.sandbox.moysklad.making import MAIN
from imagesync_pipelines.sandbox.moysklad.model import StockEntity

SECONDS = 30
TOO_MANY, FOUND = 429, 302


@dataclass
class _EarlierWay:
    """One run from the main account to one child, entity by entity as its queue has them."""

    made: World
    child: str
    session: requests.Session = field(default_factory=requests.Session)

    def sync(self) -> None:
        self.session.trust_env = False
        self.session.headers.update({"Accept": "*/*", "Accept-Encoding": "gzip"})
        there = {one.external_code: one.id for one in self.made.box.account(self.child).entities()}
        for entity in self.made.box.account(MAIN).entities():
            self.one_entity(entity, f"entity/{entity.type}/{there[entity.external_code]}/images")

    def one_entity(self, entity: StockEntity, path: str) -> None:
        for row in self.call(self.child, "GET", path).json()["rows"]:
            self.call(self.child, "DELETE", row["meta"]["href"])
        sent = []
        for image in entity.images:
            href = f"download/{image.id}"
            self.call(MAIN, "HEAD", href)
            content = requests.get(self.call(MAIN, "GET", href).headers["Location"], timeout=SECONDS).content
            sent.append({"filename": image.filename, "content": base64.b64encode(content).decode()})
        if sent:
            self.call(self.child, "POST", path, json=sent)

    def call(self, account: str, method: str, path: str, **body: Any) -> requests.Response:
        """One call, again after a 429."""
        url = path if path.startswith("http") else f"{self.made.box.api_url}/{path}"
        headers = {"Authorization": f"Bearer {self.made.box.account(account).token}"}
        while True:
            answer = self.session.request(method, url, headers=headers, timeout=SECONDS, allow_redirects=False, **body)
            if answer.status_code != TOO_MANY:
                answer.raise_for_status()
                return answer
            self.made.sleep(int(answer.headers["X-Lognex-Retry-After"]) / 1000)


def measure(arguments: dict[str, Any]) -> dict[str, Any]:
    """Two runs over the same catalogue; nothing changes between them."""
    runs: list[dict[str, Any]] = []
    with world(arguments["products"], arguments["images"], size=arguments.get("size", 0)) as made:
        for name in ("first", "second"):
            with counted(made, name, runs):
                for child in made.children:
                    way = _EarlierWay(made, child)
                    with way.session:
                        way.sync()
        return {"runs": runs, "same": same_images(made), "children": len(made.children)}


if __name__ == "__main__":
    print(json.dumps(measure(json.loads(sys.argv[1]))))
