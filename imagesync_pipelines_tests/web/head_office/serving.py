"""A head office with one company behind real HTTP, and a client that is logged in."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import requests

from imagesync_pipelines.sandbox.server import bind, running
from imagesync_pipelines.web.head_office import accounts, catalogue, tables
from imagesync_pipelines.web.head_office.app import build_app
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tokens import hash_password
from imagesync_pipelines_tests.web.head_office import operators

USERNAME, PASSWORD = "edge-1", "a long password"
PHOTOS = "/api/v1/sync/product-photos/"


@dataclass(frozen=True)
class Shop:
    """One store that sees one brand with one product, and another store that nobody is granted."""

    company: UUID
    brand: UUID
    store: UUID
    other_store: UUID
    product: UUID


def add_caller(office: HeadOffice) -> None:
    """Add the account that the tests log in with; it may read nothing yet."""
    accounts.add_account(office, USERNAME, hash_password(PASSWORD))


def open_shop(office: HeadOffice) -> Shop:
    """Add a company of its own; what others tried to log in with is forgotten, so that nobody has to wait for it."""
    with office.engine.begin() as connection:
        connection.execute(tables.wrong_login.delete())
    name = uuid4().hex[:12]
    company = catalogue.add_company(office, name)
    brand = catalogue.add_brand(office, company, "Brand")
    store = catalogue.add_store(office, company, f"{name}-1", "Store 1")
    other = catalogue.add_store(office, company, f"{name}-2", "Store 2")
    for one in (store, other):
        catalogue.link_brand(office, one, brand)
    return Shop(company, brand, store, other, operators.add_product(office, brand, "05018970", "Soup"))


@dataclass
class Client:
    """An edge as far as HTTP goes."""

    url: str
    store: UUID | None = None
    access: str = ""
    refresh: str = ""
    username: str = USERNAME

    def log_in(self, username: str = USERNAME) -> None:
        """Get tokens."""
        answer = self.post("/api/v1/token/", {"username": username, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        self.access, self.refresh = answer.json()["access"], answer.json()["refresh"]

    def get(self, path: str, headers: dict[str, str] | None = None, method: str = "GET", **query: object) -> Any:
        """One request with the token."""
        own = {"Authorization": f"Bearer {self.access}", "Accept-Encoding": "identity"}
        params = {name: str(value) for name, value in query.items()}
        return requests.request(method, self.url + path, params=params, headers={**own, **(headers or {})}, timeout=30)

    def post(self, path: str, body: object, headers: dict[str, str] | None = None) -> Any:
        """Post JSON with the token, when there is one."""
        own = {"Authorization": f"Bearer {self.access}"} if self.access else {}
        return requests.post(self.url + path, json=body, headers={**own, **(headers or {})}, timeout=30)

    def page(self, **query: object) -> Any:
        """One page of the listing: its `data`."""
        answer = self.get(PHOTOS, store_id=self.store, **query)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def download(self, photo_id: object, headers: dict[str, str] | None = None, **query: object) -> Any:
        """A photo's download."""
        return self.get(f"{PHOTOS}{photo_id}/download/", headers, **{"store_id": self.store, **query})


@contextmanager
def served(office: HeadOffice) -> Iterator[Client]:
    """The office on loopback, and a client that is logged in."""
    listener = bind()
    with running((build_app(office), listener)):
        client = Client(f"http://127.0.0.1:{listener.getsockname()[1]}")
        client.log_in()
        yield client
