"""A caller of head office for these tests: it logs in and asks, and judges nothing."""

from typing import Any
from uuid import UUID

import requests
import sqlalchemy as sa

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines.web.head_office import tables as t

ROOT = "/api/v1/sync/product-photos/"
SECONDS = 10


def listed(sandbox: HeadOfficeSandbox, store_id: UUID) -> list[sa.Row[Any]]:
    """The photos that a store sees now, by id: all columns of the photo, and the product's sku and name."""
    seen = t.scope().subquery()
    mine = sa.select(seen.c.photo_id).where(seen.c.store_id == store_id)
    rows = sa.select(t.photo, t.product.c.sku, t.product.c.name)
    rows = rows.join(t.product, t.product.c.id == t.photo.c.product_id).where(t.photo.c.id.in_(mine))
    with sandbox.engine.connect() as connection:
        return list(connection.execute(rows.order_by(t.photo.c.id)))


def post(sandbox: HeadOfficeSandbox, path: str, **options: Any) -> requests.Response:
    """A POST without a token."""
    return requests.post(sandbox.url + path, timeout=SECONDS, **options)


def log_in(sandbox: HeadOfficeSandbox) -> dict[str, str]:
    """A fresh pair of tokens."""
    answer = post(sandbox, "/api/v1/token/", json={"username": sandbox.username, "password": sandbox.password})
    assert answer.status_code == 200, answer.text
    tokens: dict[str, str] = answer.json()
    return tokens


class Caller:
    """One edge with a token."""

    def __init__(self, sandbox: HeadOfficeSandbox) -> None:
        self.sandbox = sandbox
        self.store = sandbox.stores[0]
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {log_in(sandbox)['access']}"

    def ask(self, query: str = "", method: str = "GET", **options: Any) -> requests.Response:
        """The listing with a query as written, of the first store unless the query names one."""
        named = query if "store_id" in query else f"store_id={self.store}&{query}"
        return self.session.request(method, f"{self.sandbox.url}{ROOT}?{named}", timeout=SECONDS, **options)

    def page(self, query: str = "") -> dict[str, Any]:
        """The data of one page that has to be there."""
        answer = self.ask(query)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        assert body["status"] == "success"
        data: dict[str, Any] = body["data"]
        return data

    def everything(self, query: str = "") -> dict[str, dict[str, Any]]:
        """All photos on one large page, by id."""
        return {photo["id"]: photo for photo in self.page(f"limit=1000&{query}")["photos"]}

    def download(self, photo_id: str | UUID, query: str | None = None, **options: Any) -> requests.Response:
        """The bytes of one photo."""
        named = f"store_id={self.store}" if query is None else query
        return self.session.get(f"{self.sandbox.url}{ROOT}{photo_id}/download/?{named}", timeout=SECONDS, **options)

    def report(self, **options: Any) -> requests.Response:
        """A status report with any body."""
        return self.session.post(f"{self.sandbox.url}{ROOT}status/", timeout=SECONDS, **options)
