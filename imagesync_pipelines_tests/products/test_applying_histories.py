"""Whatever happens to products in whatever order: exactly one primary each, the one that the rules choose."""

from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.products import rules
from imagesync_pipelines.products.orders import renamed, set_order
from imagesync_pipelines.products.primaries import pin_image, unpin_image
from imagesync_pipelines.products.showing import images_of
from imagesync_pipelines.sync.model import Scope
from imagesync_pipelines_tests.products.rows import WHOLE, Picture, add_products, images, plan, primaries

pytestmark = pytest.mark.slow

PRODUCTS = 3
IDS = ["1", "2", "3", "10"]
pictures = st.builds(
    Picture,
    priority=st.integers(1, 4),
    newest=st.sampled_from([None, 0, 1]),
    content=st.sampled_from(["", "https://media.example.com/same.psd"]),
    version=st.sampled_from(["1", "2"]),
)
places = st.tuples(st.integers(0, PRODUCTS - 1), st.sampled_from(IDS))
wholes = st.dictionaries(places, pictures, max_size=8)
syncs = st.tuples(st.just("sync"), wholes, st.booleans(), st.sampled_from([1, 3, 1000]))
parts = st.tuples(st.just("part"), wholes, st.integers(0, PRODUCTS - 1))
pins = st.tuples(st.just("pin"), places)
orders = st.tuples(
    st.just("order"), st.integers(0, PRODUCTS - 1), st.lists(st.sampled_from(IDS), unique=True, max_size=4)
)
unpins = st.tuples(st.just("unpin"), st.integers(0, PRODUCTS - 1))
histories = st.lists(st.one_of(syncs, syncs, parts, pins, unpins, orders), min_size=1, max_size=7)


def chosen(
    database: sa.Engine, pinned: dict[int, str], ordered: dict[int, list[str]]
) -> tuple[set[tuple[int, str]], dict[int, list[str]]]:
    """What the rules say of what is there, product by product: the primaries, and the order in which all are shown."""
    shown: dict[int, list[rules.Shown]] = {}
    for (product, external_id), (priority, newest) in images(database, "priority", "newest_export").items():
        order = ordered.get(product, [])
        place = order.index(external_id) if external_id in order else None
        shown.setdefault(product, []).append(rules.Shown(external_id, priority, newest, place=place))
    found, listed = set(), {}
    for product, rows in shown.items():
        pin = pinned.get(product)
        primary = rules.choose_primary(rows, None if pin is None else ("image_db", pin))
        assert primary is not None
        found.add((product, primary[1]))
        others = sorted(rows, key=rules.display_order)
        listed[product] = [primary[1], *(one.external_id for one in others if one.name != primary)]
    return found, listed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(history=histories)
def test_after_every_batch_each_product_has_the_primary_that_the_rules_choose(
    database: sa.Engine, history: list[Any]
) -> None:
    with database.begin() as connection:
        connection.execute(sa.text("TRUNCATE imagesync.product_image, imagesync.pin, imagesync.product CASCADE"))
    ordered: dict[int, list[str]] = {}
    products = add_products(database, PRODUCTS)
    pinned: dict[int, str] = {}
    for kind, *what in history:
        before = images(database, "fingerprint")
        if kind == "pin":
            product, external_id = products[what[0][0]], what[0][1]
            if (product, external_id) in before:
                pin_image(database, product, "image_db", external_id, "anna")
                pinned[product] = external_id
        elif kind == "order":
            order = [one for one in what[1] if (products[what[0]], one) in before]
            ordered[products[what[0]]] = order
            with database.begin() as connection:
                set_order(connection, products[what[0]], [f"image_db/{one}" for one in order], "anna")
        elif kind == "unpin":
            assert unpin_image(database, products[what[0]], "anna") == (pinned.pop(products[what[0]], None) is not None)
        else:
            wanted = {(products[product], external_id): picture for (product, external_id), picture in what[0].items()}
            if kind == "part":  # one product, without proof
                only = products[what[1]]
                wanted = {at: picture for at, picture in wanted.items() if at[0] == only}
                planned = plan(database, wanted, Scope(frozenset({str(only)}), None))
                planned.rows.loc[planned.rows["change"] == "remove", "change"] = "keep"
                done = planned.apply(database)
                assert {at: there for at, there in images(database, "fingerprint").items() if at[0] != only} == {
                    at: there for at, there in before.items() if at[0] != only
                }
            else:
                planned = plan(database, wanted, WHOLE, force=what[1])
                done = planned.apply(database, rows_per_batch=what[2])
                assert images(database, "fingerprint") == {at: row.fingerprint() for at, row in wanted.items()}
                again = plan(database, wanted, WHOLE).rows
                assert set(again["change"]) <= {"keep"}
            assert done.errors == ()
            renames = planned.rows[
                planned.rows["key_before"].notna() & (planned.rows["key_before"] != planned.rows["key"])
            ]
            for key_before, key in zip(renames["key_before"], renames["key"], strict=True):
                product = int(key.split("/")[0])
                if pinned.get(product) == key_before.split("/")[1]:
                    pinned[product] = key.split("/")[1]
            for product in products:
                names = {
                    before.split("/")[1]: key.split("/")[1]
                    for before, key in zip(renames["key_before"], renames["key"], strict=True)
                    if key.split("/")[0] == str(product)
                }
                ordered[product] = renamed(ordered.get(product, []), names)
        with database.connect() as connection:
            listed = {
                product: [one.external_id for one in of] for product, of in images_of(connection, products).items()
            }
        assert (primaries(database), listed) == chosen(database, pinned, ordered)
