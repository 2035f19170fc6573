"""The kept lists and counts are what the tables say, after whatever was written, however many write at once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.cli.installation import recount
from imagesync_pipelines.products.lists import kept_counts, list_for_height, listed_height, rebuild_lists, wrong_lists
from imagesync_pipelines.products.primaries import set_pins
from imagesync_pipelines.storage.embedded import EmbeddedServer
from imagesync_pipelines.storage.installation import Locations
from imagesync_pipelines.storage.schema import product, product_image
from imagesync_pipelines.storage.schema_catalogue import listed_product, product_count, shown_image
from imagesync_pipelines_tests.reusing import TEMPLATE, pool

SKUS = ("P1", "P2", "1", "2", "3", "4")
HEIGHTS = (None, 400, 1200)
IDS = range(1, 9)
SHOWN = ("product_id", "owner_id", "own_first_id", "lent_image_id")


def add_product(connection: sa.Connection, product_id: int, sku: str, **more: object) -> None:
    values = {"id": product_id, "kind": "variant", "erp_id": str(product_id), "sku": sku, **more}
    connection.execute(product.insert().values(values))


def add_images(connection: sa.Connection, *rows: dict[str, object]) -> None:
    connection.execute(product_image.insert().values([{"image_url": "u", **row} for row in rows]))


@dataclass(frozen=True)
class Write:
    """One statement, or what a page does, on a connection."""

    name: str
    values: tuple[object, ...]


WRITES = st.one_of(
    st.builds(
        Write,
        st.just("product"),
        st.tuples(st.sampled_from(IDS), st.sampled_from(SKUS), st.sampled_from(("parent", "variant")),
                  st.none() | st.sampled_from(IDS), st.none() | st.sampled_from(SKUS), st.sampled_from((None, "BE"))),
    ),
    st.builds(Write, st.just("left"), st.tuples(st.sampled_from(IDS), st.booleans())),
    st.builds(Write, st.just("deleted"), st.tuples(st.sampled_from(IDS))),
    st.builds(
        Write,
        st.just("images"),
        st.lists(
            st.tuples(st.sampled_from(IDS), st.booleans(), st.sampled_from(HEIGHTS), st.booleans(),
                      st.sampled_from(("Produktfoto", ""))),
            min_size=1, max_size=5,
        ).map(tuple),
    ),
    st.builds(Write, st.just("gone"), st.tuples(st.sampled_from(IDS), st.integers(0, 3))),
    st.builds(Write, st.just("changed"), st.tuples(st.sampled_from(IDS), st.booleans(), st.sampled_from(HEIGHTS))),
    st.builds(Write, st.just("moved"), st.tuples(st.sampled_from(IDS), st.sampled_from(IDS))),
    st.builds(Write, st.just("pin"), st.tuples(st.sampled_from(IDS), st.booleans())),
    st.builds(Write, st.just("height"), st.tuples(st.sampled_from((600, 300)))),
)  # fmt: skip


class Tables:
    """What is written, in one transaction that is taken back."""

    def __init__(self, connection: sa.Connection) -> None:
        self.connection, self.number = connection, 0

    def ids(self) -> set[int]:
        return set(self.connection.scalars(sa.select(product.c.id)))

    def write(self, write: Write) -> None:
        getattr(self, f"_{write.name}")(*write.values)

    def _product(self, one: int, sku: str, kind: str, parent: int | None, base: str | None, code: str | None) -> None:
        values = {"sku": sku, "kind": kind, "base_sku": base, "variant_code": code}
        values["parent_id"] = parent if parent in self.ids() - {one} else None  # type: ignore[assignment]
        if one in self.ids():
            self.connection.execute(product.update().where(product.c.id == one).values(values))
        else:
            add_product(self.connection, one, **values)  # type: ignore[arg-type]

    def _left(self, one: int, is_gone: bool) -> None:
        values = {"left_erp_at": sa.func.now() if is_gone else None}
        self.connection.execute(product.update().where(product.c.id == one).values(values))

    def _deleted(self, one: int) -> None:
        used = set(self.connection.scalars(sa.select(product_image.c.product_id)))
        used |= set(self.connection.scalars(sa.select(product.c.parent_id).where(product.c.parent_id.is_not(None))))
        used |= set(self.connection.scalars(sa.text("SELECT product_id FROM imagesync.pin")))
        if one not in used:
            self.connection.execute(product.delete().where(product.c.id == one))

    def _images(self, *images: tuple[int, bool, int | None, bool, str]) -> None:
        there, rows = self.ids(), list[dict[str, object]]()
        primary = set(self.connection.scalars(sa.select(product_image.c.product_id).where(product_image.c.is_primary)))
        for one, front, height, may_be_primary, kind in images:
            if one not in there:
                continue
            self.number += 1
            first = may_be_primary and one not in primary
            primary |= {one} if first else set()
            rows.append({"product_id": one, "external_id": str(self.number), "is_front": front, "height": height,
                         "is_primary": first, "image_type": kind})  # fmt: skip
        if rows:
            add_images(self.connection, *rows)

    def _gone(self, one: int, rest: int) -> None:
        some = (product_image.c.product_id == one) & (product_image.c.id % 4 <= rest)
        self.connection.execute(product_image.delete().where(some))

    def _changed(self, one: int, front: bool, height: int | None) -> None:
        """The newest image of a product becomes its primary, in one statement."""
        newest = sa.select(sa.func.max(product_image.c.id)).where(product_image.c.product_id == one).scalar_subquery()
        statement = product_image.update().where(product_image.c.product_id == one)
        self.connection.execute(
            statement.values(is_primary=product_image.c.id == newest, is_front=front, height=height)
        )

    def _moved(self, one: int, other: int) -> None:
        """What only a hand does: the images of a product become another's, where that has none."""
        if (
            other in self.ids()
            and not self.connection.execute(
                sa.select(product_image.c.id).where(product_image.c.product_id == other)
            ).first()
        ):
            moved = product_image.update().where(product_image.c.product_id == one)
            self.connection.execute(moved.values(product_id=other))

    def _pin(self, one: int, is_set: bool) -> None:
        if is_set and one in self.ids():
            set_pins(self.connection, {one: ("image_db", "1")}, "anna")
        else:
            set_pins(self.connection, {one: None}, "anna")

    def _height(self, height: int) -> None:
        self.connection.execute(sa.text("SELECT imagesync.list_for_height(:height)"), {"height": height})


def owners(
    products: Sequence[sa.Row], images: Sequence[sa.Row]
) -> dict[int, tuple[int | None, int | None, int | None]]:
    """Who shows whose images, by the rules as people say them: owner, owner where own ones come first, lent image."""
    by_id = {one.id: one for one in products}
    with_images = {image.product_id for image in images}
    found: dict[int, tuple[int | None, int | None, int | None]] = {}
    for p in products:
        numbers = [(2, 0, p.sku)]
        if p.kind == "variant":
            parent = by_id.get(p.parent_id)
            numbers += [(1, 1, parent.sku)] if parent else []
            numbers += [(3 if parent else 1, 3, p.base_sku)] if p.base_sku else []
        lenders = [
            (step, own_step, not (p.left_erp_at is not None and one.id == p.id), one.kind == "parent", one.id)
            for step, own_step, number in numbers
            for one in products
            if one.sku == number and one.id in with_images and (one.left_erp_at is None or one.id == p.id)
        ]
        if lenders:
            first, own = min((a, *rest) for a, _, *rest in lenders), min((b, *rest) for _, b, *rest in lenders)
            found[p.id] = (int(first[-1]), int(own[-1]), None)
            continue
        lent = [
            (v.variant_code != "BE", rank(image), v.sku, image.id, v.id)
            for image in images
            if (v := by_id[image.product_id]).parent_id == p.id and v.left_erp_at is None
        ]
        best = min(lent, default=None)
        found[p.id] = (best[4], best[4], best[3]) if best else (None, None, None)
    return found


def rank(image: sa.Row) -> int:
    if image.image_type != "Produktfoto":
        return 5 if image.is_primary else 6
    return {(True, True): 1, (True, False): 2, (False, True): 3, (False, False): 4}[image.is_primary, image.is_front]


def check(connection: sa.Connection) -> None:
    """Lists, counts and who shows whose images are as people would work them out."""
    products = connection.execute(sa.select(product)).all()
    images = connection.execute(sa.select(product_image)).all()
    shows = owners(products, images)
    kept = {one: tuple(rest) for one, *rest in connection.execute(sa.select(*(shown_image.c[name] for name in SHOWN)))}
    assert {one: kept.get(one, (None, None, None)) for one in shows} == shows
    assert kept.keys() <= shows.keys()
    there = [one for one in products if one.left_erp_at is None]
    height = listed_height(connection)
    mine = {one.id: [image for image in images if image.product_id == one.id] for one in there}
    wanted = {
        *(("without_image", one.sku, one.id) for one in there if shows[one.id][0] is None),
        *(("without_front", one.sku, one.id) for one in there
          if mine[one.id] and not any(image.is_front for image in mine[one.id])),
        *(("low_resolution", one.sku, one.id) for one in there
          if any(image.is_primary and (image.height or height) < height for image in mine[one.id])),
    }  # fmt: skip
    assert {tuple(row) for row in connection.execute(sa.select(listed_product))} == wanted
    counted = {name: sum(row[0] == name for row in wanted) for name in kept_counts(connection)}
    assert kept_counts(connection) == {**counted, "products": len(there)}
    assert wrong_lists(connection) == []


@pytest.fixture(scope="module")
def shared(server: EmbeddedServer) -> Iterator[sa.Engine]:
    """A database for all examples, each of which is taken back."""
    with pool(server, TEMPLATE).one() as url:
        engine = sa.create_engine(url)
        yield engine
        engine.dispose()


@settings(max_examples=30)
@given(writes=st.lists(WRITES, min_size=4, max_size=12))
def test_lists_and_counts_are_right_after_any_writes(shared: sa.Engine, writes: list[Write]) -> None:
    with shared.connect() as connection, connection.begin() as transaction:
        tables = Tables(connection)
        for one, sku in enumerate(SKUS, start=1):
            parent = 1 if one in (3, 4) else None
            add_product(connection, one, sku, kind="parent" if sku[0] == "P" else "variant", parent_id=parent)
        for write in writes:
            tables.write(write)
            check(connection)
        rebuild_lists(connection)
        check(connection)
        transaction.rollback()


def several(work: Callable[[int], None], number: int) -> None:
    with ThreadPoolExecutor(number) as pool:
        for done in [pool.submit(work, nth) for nth in range(number)]:
            done.result()


def test_writers_at_once_leave_right_counts_and_sum_them_up(database: sa.Engine) -> None:
    def work(nth: int) -> None:
        for turn in range(12):
            one = 100 * (nth + 1) + turn
            with database.begin() as connection:
                add_product(connection, one, str(one))
            with database.begin() as connection:
                add_images(connection, {"product_id": one, "external_id": "1", "is_primary": True, "height": 100})

    several(work, 4)
    with database.connect() as connection:
        check(connection)
        assert kept_counts(connection) == {
            "products": 48, "without_image": 0, "without_front": 48, "low_resolution": 48
        }  # fmt: skip
        # Each of 96 transactions noted several changes.
        assert connection.scalar(sa.select(sa.func.count()).select_from(product_count)) <= 60  # type: ignore[operator]


def test_images_of_whom_nobody_lent_any_are_shown_without_a_look_at_others(database: sa.Engine) -> None:
    """A first load: all numbers are tried again only for who was shown some before."""
    calls = sa.text(
        "SELECT coalesce(sum(pg_stat_get_xact_function_calls(oid)), 0) FROM pg_proc WHERE proname LIKE 'refresh_%'"
    )
    tried = []
    with database.begin() as connection:
        connection.execute(sa.text("SET LOCAL track_functions = 'pl'"))
        add_product(connection, 1, "P1", kind="parent")
        for one in (2, 3):
            add_product(connection, one, str(one), parent_id=1)
        for products in ([2, 3], [1]):
            before = connection.scalar(calls)
            add_images(connection, *({"product_id": one, "external_id": str(one), "height": 100} for one in products))
            tried.append(connection.scalar(calls) - before)
            check(connection)
    assert tried[0] == 0 < tried[1]


def test_a_writer_that_noted_a_count_lets_others_write(database: sa.Engine) -> None:
    with database.begin() as first, database.begin() as second:
        second.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        add_product(first, 1, "1")
        add_product(second, 2, "2")


def test_who_may_write_images_and_nothing_else_leaves_right_lists(database: sa.Engine) -> None:
    """As a role that an ERP has for a table or two."""
    rights = ("USAGE ON SCHEMA imagesync", "SELECT, INSERT, UPDATE, DELETE ON imagesync.product_image, imagesync.pin")
    with database.begin() as connection:
        add_product(connection, 1, "1")
        connection.execute(sa.text("CREATE ROLE writes_images"))
        for right in rights:
            connection.execute(sa.text(f"GRANT {right} TO writes_images"))
        connection.execute(sa.text("SET LOCAL ROLE writes_images"))
        add_images(connection, *({"product_id": 1, "external_id": one, "height": 100} for one in "12"))
        set_pins(connection, {1: ("image_db", "1")}, "erp")
        connection.execute(product_image.update().values(is_primary=product_image.c.external_id == "1"))
        connection.execute(sa.text("RESET ROLE"))
        check(connection)
        connection.execute(sa.text("SET LOCAL ROLE writes_images"))
        set_pins(connection, {1: None}, "erp")
        connection.execute(product_image.delete())
        connection.execute(sa.text("RESET ROLE"))
        check(connection)
        connection.rollback()


@pytest.mark.parametrize("emptied", ["imagesync.product_image", "imagesync.product CASCADE"])
def test_emptied_tables_leave_right_lists_and_are_filled_again(database: sa.Engine, emptied: str) -> None:
    """TRUNCATE calls no trigger of rows: after it the next ERP file could not have been taken over."""
    with database.begin() as connection:
        add_product(connection, 1, "1")
        add_images(connection, {"product_id": 1, "external_id": "1", "is_primary": True, "height": 100})
        connection.execute(sa.text(f"TRUNCATE {emptied}"))
        check(connection)
        connection.execute(product.delete())
        add_product(connection, 1, "1")
        check(connection)


def test_the_list_of_low_resolution_is_made_for_a_height(database: sa.Engine) -> None:
    with database.begin() as connection:
        for one, height in ((1, 500), (2, 700)):
            add_product(connection, one, str(one))
            add_images(connection, {"product_id": one, "external_id": "1", "is_primary": True, "height": height})
    found = []
    for height in (600, 800, 800, 100):
        list_for_height(database, height)
        with database.connect() as connection:
            check(connection)
            found.append((listed_height(connection), kept_counts(connection)["low_resolution"]))
    assert found == [(600, 1), (800, 2), (800, 2), (100, 0)]


def test_recount_says_what_is_wrong_and_makes_it_right(locations: Locations, database: sa.Engine) -> None:
    with database.begin() as connection:
        for one in (1, 2):
            add_product(connection, one, str(one))
        connection.execute(listed_product.delete().where(listed_product.c.product_id == 1))
        connection.execute(product_count.insert().values(name="products", change=5))
    environment = {"IMAGESYNC_HOME": str(locations.home), "IMAGESYNC_DATABASE_URL": locations.database_url}
    said = [
        CliRunner().invoke(recount, arguments, env=environment).output
        for arguments in (["--dry-run"], [], ["--dry-run"])
    ]
    assert "without_image: 1 products should be on this list and are not, or the other way about, such as 1" in said[0]
    assert "products: 7 are kept as its number, 2 are counted" in said[0]
    assert "made anew" in said[1]
    assert "nothing differs" in said[2]
    with database.connect() as connection:
        check(connection)
