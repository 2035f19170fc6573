"""Whatever happens at the head office, a store that reads only what changed ends with what a full listing shows."""

from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import hypothesis
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st

from imagesync_pipelines.web.head_office import accounts, catalogue
from imagesync_pipelines.web.head_office.office import HeadOffice
from imagesync_pipelines.web.head_office.tables import photo
from imagesync_pipelines_tests.web.head_office import operators
from imagesync_pipelines_tests.web.head_office.serving import USERNAME, Client, Shop, open_shop

pytestmark = pytest.mark.slow

PRODUCTS = 2
LONG_AGO = "2000-01-01T00:00:00Z"


class Step(NamedTuple):
    """Something that happens to the nth product, or to the brand; then the store may read."""

    what: str
    nth: int
    flag: bool
    read: bool


STEPS = ["put", "add", "delete", "order", "primary", "product", "brand", "link"]
steps = st.lists(
    st.builds(Step, st.sampled_from(STEPS), st.integers(0, PRODUCTS - 1), st.booleans(), st.booleans()),
    min_size=6,
    max_size=20,
)


def photo_of(office: HeadOffice, product_id: UUID) -> UUID | None:
    newest = sa.select(photo.c.id).where(photo.c.product_id == product_id).order_by(photo.c.updated_at.desc())
    with office.engine.connect() as connection:
        found: UUID | None = connection.execute(newest).scalars().first()
        return found


def happen(office: HeadOffice, shop: Shop, products: list[UUID], step: Step) -> None:
    product = products[step.nth]
    one = photo_of(office, product)
    match step.what:
        case "put":
            operators.put_photo(office, product, b"x", filename="a.jpg")
        case "add":
            operators.add_photo(office, catalogue.NewPhoto(product, b"y", "b.jpg"), sort_order=step.nth)
        case "delete" if one is not None:
            operators.delete_photo(office, one)
        case "order" if one is not None:
            operators.set_order(office, one, int(step.flag))
        case "primary" if one is not None:
            operators.set_primary(office, one)
        case "product":
            operators.set_product_active(office, product, step.flag)
        case "brand":
            operators.set_brand_active(office, shop.brand, step.flag)
        case "link":
            (catalogue.link_brand if step.flag else operators.unlink_brand)(office, shop.store, shop.brand)
        case _:
            pass


class Reader:
    """A store that keeps what it read, and reads on from the largest `updated_at` that it saw."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.since = LONG_AGO
        self.rows: dict[str, dict[str, Any]] = {}

    def read(self) -> None:
        page = self.client.page(since=self.since, limit=1000)
        for gone in page["deleted_ids"]:
            self.rows.pop(gone, None)
        for row in page["photos"]:
            self.rows[row["id"]] = row
            self.since = max(self.since, row["updated_at"], key=datetime.fromisoformat)


# A photo that comes back while a newer one was read in between: chance seldom finds it.
COMES_BACK = [
    Step("put", 0, True, False),
    Step("put", 1, True, True),
    Step("product", 0, False, True),
    Step("product", 0, True, False),
]


@hypothesis.given(history=steps)
@hypothesis.example(history=COMES_BACK)
@hypothesis.settings(
    max_examples=15, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_reading_what_changed_ends_with_what_a_full_listing_shows(
    office: HeadOffice, service: Client, history: list[Step]
) -> None:
    shop = open_shop(office)
    accounts.grant(office, USERNAME, shop.store)
    names = catalogue.add_products(office, shop.brand, {str(nth): "x" for nth in range(PRODUCTS)})
    reader = Reader(Client(service.url, shop.store, service.access))
    for step in history:
        happen(office, shop, list(names.values()), step)
        if step.read:
            reader.read()
    reader.read()
    assert reader.rows == {row["id"]: row for row in reader.client.page(limit=1000)["photos"]}
