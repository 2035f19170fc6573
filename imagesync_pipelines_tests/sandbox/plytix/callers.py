"""A caller of Plytix for these tests, and the web that Plytix fetches from: they judge nothing."""

from typing import Any

import requests

from imagesync_pipelines.sandbox.answers import FetchedFile
from imagesync_pipelines.sandbox.plytix.server import GALLERY, PlytixSandbox

SECONDS = 10
JPEG = b"\xff\xd8\xff"
# So many calls as no test makes.
NO_LIMITS = ((1_000_000, 10), (1_000_000, 3600))


def picture(name: str) -> bytes:
    """A file that starts as a JPEG does."""
    return JPEG + name.encode()


class Web:
    """Files by URL; what was not put there is a picture of its own name. It remembers what was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, FetchedFile | OSError] = {}
        self.asked: list[str] = []

    def put(self, url: str, body: bytes, *, status: int = 200, content_type: str = "image/jpeg") -> str:
        """Show other content behind a URL."""
        self.pages[url] = FetchedFile(status, content_type, body)
        return url

    def __call__(self, url: str) -> FetchedFile:
        self.asked.append(url)
        page = self.pages.get(url, FetchedFile(200, "image/jpeg", picture(url.rpartition("/")[2])))
        if isinstance(page, OSError):
            raise page
        return page


def ask_token(sandbox: PlytixSandbox, **body: object) -> requests.Response:
    """A request for a token, with the right credentials unless others are named."""
    asked = {"api_key": sandbox.api_key, "api_password": sandbox.api_password, **body}
    return requests.post(f"{sandbox.auth_url}/auth/api/get-token", json=asked, timeout=SECONDS)


class Caller:
    """One client with a token; paths are written without prefix."""

    def __init__(self, sandbox: PlytixSandbox, version: int = 1) -> None:
        self.sandbox = sandbox
        self.root = f"{sandbox.url}/api/v{version}/"
        self.session = requests.Session()
        self.log_in()

    def log_in(self) -> None:
        """Take a fresh token."""
        token = ask_token(self.sandbox).json()["data"][0]["access_token"]
        self.session.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, body: object = None, **options: Any) -> requests.Response:
        """One call, with a JSON body if one is given."""
        options = {"timeout": SECONDS, **options} if body is None else {"timeout": SECONDS, "json": body, **options}
        return self.session.request(method, self.root + path, **options)

    def upload(self, url: str, **more: object) -> requests.Response:
        """An upload by URL."""
        return self.ask("POST", "assets", {"url": url, **more})

    def asset(self, name: str) -> str:
        """The id of a new asset of this name."""
        answer = self.upload(f"https://images.example/{name}")
        assert answer.status_code == 201, answer.text
        asset_id: str = answer.json()["data"][0]["id"]
        return asset_id

    def link(self, sku: str, asset_id: object, label: str = GALLERY) -> requests.Response:
        """A link of an asset to a product."""
        return self.ask("POST", f"products/{self.id_of(sku)}/assets", {"id": asset_id, "attribute_label": label})

    def patch(self, sku: str, /, **values: object) -> requests.Response:
        """A change of a product."""
        return self.ask("PATCH", f"products/{self.id_of(sku)}", values)

    def search(self, kind: str, filters: object = (), columns: object = (), **pagination: object) -> requests.Response:
        """A search of `assets` or `products`."""
        body = {"filters": filters or [], "attributes": list(columns), "pagination": pagination}  # type: ignore[call-overload]
        return self.ask("POST", f"{kind}/search", body)

    def id_of(self, sku: str) -> str:
        """The id of a product."""
        return self.sandbox.product(sku).id


def errors_of(answer: requests.Response) -> list[tuple[str, object]]:
    """The fields of an error and what is said of them."""
    return [(error["field"], error["msg"]) for error in answer.json()["error"]["errors"]]


def condition(field: str, operator: str, value: object = None) -> dict[str, object]:
    """One condition of a filter."""
    plain: dict[str, object] = {"field": field, "operator": operator}
    return plain if value is None else {**plain, "value": value}
