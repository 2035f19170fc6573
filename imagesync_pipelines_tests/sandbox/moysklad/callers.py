"""A caller of МойСклад for these tests: it judges nothing, retries nothing and follows no redirect."""

import base64
from typing import Any

import requests

from imagesync_pipelines.sandbox.moysklad.making import jpeg
from imagesync_pipelines.sandbox.moysklad.server import MoyskladSandbox

SECONDS = 10
ACCEPT = "application/json;charset=utf-8"
BETA = {"X-Lognex-Remap-Beta-Feature": "assortmentWithoutStock"}
Json = dict[str, Any]


def image(filename: str, words: str = "") -> Json:
    """An element that sends a picture; the words make the bytes, and are the name unless given."""
    return {"filename": filename, "content": encoded(jpeg(words or filename))}


def encoded(content: bytes) -> str:
    """Bytes as requests carry them."""
    return base64.b64encode(content).decode()


def kept(row: Json) -> Json:
    """An element that keeps an image that was read."""
    return {"meta": row["meta"]}


def id_of(row: Json) -> str:
    """The id of an image row: there is no field of it."""
    return str(row["meta"]["href"]).rpartition("/")[2]


def code_of(answer: requests.Response) -> int | None:
    """The code of an error."""
    code: int | None = answer.json()["errors"][0].get("code")
    return code


class Caller:
    """One client of one account."""

    def __init__(self, sandbox: MoyskladSandbox, account: str = "main") -> None:
        self.sandbox = sandbox
        self.account = sandbox.account(account)
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update({"Accept-Encoding": "gzip", "Accept": ACCEPT})
        self.log_in(self.account.token)

    def log_in(self, token: str) -> None:
        """Go on with another token."""
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> requests.Response:
        """One call; a path is below the API's address, or a whole address."""
        url = path if path.startswith("http") else f"{self.sandbox.api_url}/{path}"
        options = {"timeout": SECONDS, "allow_redirects": False, **options}
        if body is not None:
            options["json"] = body
        return self.session.request(method, url, **options)

    def rows(self, path: str, **params: object) -> list[Json]:
        """The rows of a list."""
        answer = self.ask("GET", path, params=params)
        assert answer.status_code == 200, answer.text
        rows: list[Json] = answer.json()["rows"]
        return rows

    def images(self, entity_id: str, kind: str = "product") -> list[Json]:
        """The image rows of an entity."""
        return self.rows(f"entity/{kind}/{entity_id}/images")

    def post(self, entity_id: str, body: object, kind: str = "product") -> requests.Response:
        """POST to the images of an entity."""
        return self.ask("POST", f"entity/{kind}/{entity_id}/images", body)

    def sent(self, entity_id: str, body: object, kind: str = "product") -> list[Json]:
        """The same, which must succeed; gives the rows of the answer."""
        answer = self.post(entity_id, body, kind)
        assert answer.status_code == 200, answer.text
        rows: list[Json] = answer.json()
        return rows
