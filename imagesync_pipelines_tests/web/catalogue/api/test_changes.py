"""Changes since: everything that alters an answer is told, once per reading, and nothing is lost to a slow writer."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.web.catalogue import changes
from imagesync_pipelines.web.catalogue.queries import encode_cursor
from imagesync_pipelines_tests.web.catalogue.api.calling import Caller, is_problem
from imagesync_pipelines_tests.web.catalogue.world import World

NOW = "2026-01-01T00:00:00+00:00"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def old_product(world: World, sku: str, **more: Any) -> int:
    """A product that has not changed for long."""
    return world.product(sku, updated_at=LONG_AGO, **more)


def settle(world: World) -> None:
    """Make what was just written a minute old, so that it is given out at once."""
    with world.engine.begin() as connection:
        for table, column in (
            ("product", "updated_at"),
            ("product_image", "last_synced"),
            ("image_removal", "removed_at"),
            ("shown_image", "changed_at"),
        ):
            earlier = f"UPDATE imagesync.{table} SET {column} = {column} - interval '1 minute'"
            connection.execute(sa.text(f"{earlier} WHERE {column} > now() - interval '1 minute'"))


def follow(caller: Caller, cursor: str, limit: int = 2) -> tuple[list[str], str]:
    """The SKUs of all pages after a cursor, and the last cursor."""
    skus: list[str] = []
    while True:
        page = caller.read("/changes", cursor=cursor, limit=limit)
        skus += [one["sku"] for one in page["items"]]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            return skus, cursor


def test_everything_is_read_once_page_by_page_and_then_only_what_changed(world: World, caller: Caller) -> None:
    made = {sku: old_product(world, sku) for sku in ("1", "2", "3", "4", "5")}
    for sku in ("1", "2"):
        world.image(made[sku], sku, last_synced=LONG_AGO)
    skus, cursor = follow(caller, "")
    assert sorted(skus) == ["1", "2", "3", "4", "5"]
    assert follow(caller, cursor) == ([], cursor)
    with world.engine.begin() as connection:
        connection.execute(product.update().where(product.c.id == made["4"]).values(updated_at=sa.func.now()))
        connection.execute(product_image.delete().where(product_image.c.product_id == made["1"]))
        changed = product_image.update().where(product_image.c.product_id == made["2"])
        connection.execute(changed.values(last_synced=sa.func.now(), alt_text="other"))
    settle(world)
    assert sorted(follow(caller, cursor)[0]) == ["1", "2", "4"]


def test_pages_of_short_stretches_of_time_list_everything(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changes, "_STRETCH", 3)
    made = [old_product(world, str(number)) for number in range(4)]
    for number in range(12):
        # Several writes of one moment, as a transaction makes them.
        world.image(
            made[number % 3], str(number), is_primary=number < 3, last_synced=LONG_AGO + timedelta(days=number // 4)
        )
    seen, cursor, more = [], "", True
    while more:
        page = changes.changes_since(world.engine, None, cursor, 2)
        seen += [(row.sku, row.changed_at) for row in page.items]
        cursor, more = page.next_cursor, page.has_more
    assert [moment for _, moment in seen] == sorted(moment for _, moment in seen)
    assert len(seen) == len(set(seen))
    newest = dict(seen)
    assert newest == {"0": LONG_AGO + timedelta(days=2), "1": LONG_AGO + timedelta(days=2),
                      "2": LONG_AGO + timedelta(days=2), "3": LONG_AGO}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "told"), [("parent", ["10", "11", "12"]), ("variant", ["10", "11"]), ("base", ["20", "30"])]
)
def test_who_may_borrow_the_images_changes_too(world: World, caller: Caller, changed: str, told: list[str]) -> None:
    ids = {"parent": old_product(world, "10", kind="parent")}
    ids["variant"] = old_product(world, "11", parent=ids["parent"])
    old_product(world, "12", parent=ids["parent"])
    ids["base"] = old_product(world, "20")
    old_product(world, "30", base_sku="20")
    world.image(ids[changed], last_synced=LONG_AGO + timedelta(days=1))
    answer = caller.read("/changes", since=(LONG_AGO + timedelta(hours=1)).isoformat())
    assert sorted(one["sku"] for one in answer["items"]) == told


def test_a_writer_that_ends_late_is_not_missed(world: World, caller: Caller) -> None:
    early, late = old_product(world, "1"), old_product(world, "2")
    with world.engine.begin() as slow:
        began = slow.execute(sa.text("SELECT now()")).scalar_one()
        world.image(early, last_synced=began + timedelta(milliseconds=1))
        slow.execute(sa.text("SELECT pg_sleep(1.2)"))
        seen, cursor = follow(caller, "")
        slow.execute(product.update().where(product.c.id == late).values(updated_at=began))
    assert sorted(seen) == ["1", "2"]
    assert sorted(follow(caller, cursor)[0]) == ["1", "2"]


def test_a_moment_or_cursor_that_is_none_is_a_problem(caller: Caller) -> None:
    moments = ("yesterday", "2026-01-01T00:00:00", "0000-01-01T00:00:00Z")
    cursors = ([1, 2], ["x", 1], ["2026-01-01", 1], [NOW, -1], [NOW, 2**63])
    queries = [*({"since": text} for text in moments), *({"cursor": encode_cursor(one)} for one in cursors)]
    for query in (*queries, {"cursor": "x"}, {"limit": "0"}, {"limit": "1001"}):
        assert is_problem(caller.call("GET", "/changes", params=query), 422), query


def test_a_product_that_left_is_told_with_the_moment(world: World) -> None:
    world.product("1", updated_at=LONG_AGO, left_erp_at=LONG_AGO, is_active=False)
    (row,) = changes.changes_since(world.engine, None, None, 10).items
    assert row.left_erp_at == LONG_AGO


def told_after(world: World, caller: Caller, change: Callable[[], object]) -> list[str]:
    """The SKUs that are told of after a change."""
    _, cursor = follow(caller, "")
    change()
    settle(world)
    return sorted(follow(caller, cursor)[0])


def test_a_variant_that_moves_is_told_to_both_families_and_those_who_showed_it(world: World, caller: Caller) -> None:
    a, b = (old_product(world, sku, kind="parent") for sku in "AB")
    variant = old_product(world, "V", parent=a)
    old_product(world, "W", parent=a)
    world.image(variant, last_synced=LONG_AGO)

    def move() -> None:
        with world.engine.begin() as connection:
            moved = product.update().where(product.c.id == variant)
            connection.execute(moved.values(parent_id=b, updated_at=sa.func.now()))

    assert told_after(world, caller, move) == ["A", "B", "V"]
    assert caller.read(f"/products/{a}/images")["images"] == []
    assert [one["product_id"] for one in caller.read(f"/products/{b}/images")["images"]] == [variant]


def test_a_lenders_new_sku_is_told_to_who_showed_its_images(world: World, caller: Caller) -> None:
    lender, _ = old_product(world, "20"), old_product(world, "30", base_sku="20")
    world.image(lender, last_synced=LONG_AGO)

    def rename() -> None:
        with world.engine.begin() as connection:
            renamed = product.update().where(product.c.id == lender)
            connection.execute(renamed.values(sku="21", updated_at=sa.func.now()))

    assert told_after(world, caller, rename) == ["21", "30"]


def test_a_pin_on_the_primary_is_a_change_and_so_is_its_end(world: World, caller: Caller) -> None:
    one = old_product(world, "A")
    image = world.image(one, last_synced=LONG_AGO)
    pin = lambda: caller.call("PUT", f"/products/{one}/primary", json={"image_id": image})  # noqa: E731
    assert told_after(world, caller, pin) == ["A"]
    assert told_after(world, caller, lambda: caller.call("DELETE", f"/products/{one}/primary")) == ["A"]
    assert told_after(world, caller, lambda: caller.call("DELETE", f"/products/{one}/primary")) == []
