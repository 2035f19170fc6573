"""Random histories: whatever is listed and whatever fails, the store ends as the engine's law says, and then rests."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.edge.downloads import Downloads
from imagesync_pipelines.connectors.edge.errors import ObjectMissingError
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.store import StoreDatabase, mark_pending, read_current
from imagesync_pipelines.connectors.edge.target import apply_photos
from imagesync_pipelines.sync.model import Scope
from imagesync_pipelines_tests.connectors.edge.photos import (
    NO_LIMITS,
    PARTIAL,
    PROVEN,
    Basket,
    Body,
    mirror_of,
    no_waiting,
    photo,
    picture,
    rows_of,
    run_sql,
    settings_of,
    some_id,
)
from imagesync_pipelines_tests.connectors.edge.test_applying import plan
from imagesync_pipelines_tests.sync.reference_model import target_state

pytestmark = pytest.mark.slow


class Flaky:
    """A source that has every picture and fails for the photos named."""

    def __init__(self, failing: set[str]) -> None:
        self.failing = failing

    @contextmanager
    def open(self, listed: Photo, start: int, etag: str) -> Iterator[Body]:
        if listed.photo_id in self.failing:
            raise ObjectMissingError("no bytes for it")
        yield Body([BODIES[listed.checksum]])


BODIES = {photo(0, picture(seed)).checksum: picture(seed) for seed in range(4)}
# Photo number, product, content and order of everything that HO lists at one time.
listings = st.dictionaries(
    st.integers(0, 5), st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 1)), max_size=6
)
days = st.lists(st.tuples(listings, st.sets(st.integers(0, 5)), st.booleans(), st.booleans()), min_size=1, max_size=4)


def listed(listing: dict[int, tuple[int, int, int]]) -> list[Photo]:
    """The photos of a listing; the one with the lowest number is its product's primary."""
    firsts = {product: number for number, (product, _, _) in sorted(listing.items(), reverse=True)}
    return [
        photo(
            number,
            picture(seed),
            product_id=some_id("product", product),
            sort_order=order,
            is_primary=firsts[product] == number,
        )
        for number, (product, seed, order) in listing.items()
    ]


def apply(store: StoreDatabase, photos: list[Photo], scope: Scope, failing: set[str]) -> int:
    made = plan(store, photos, scope)
    downloads = Downloads(Flaky(failing).open, settings_of(concurrency=2, rows_per_commit=2), timing=no_waiting())
    done = apply_photos(made.plan, made.payload, store, downloads, Basket())
    return done.downloads


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=days)
def test_any_history_ends_as_the_law_says(
    store: StoreDatabase, history: list[tuple[dict[int, tuple[int, int, int]], set[int], bool, bool]]
) -> None:
    run_sql(store, "TRUNCATE product_photo")
    for listing, failing, proven, marked in history:
        photos, scope = listed(listing), PROVEN if proven else PARTIAL
        before = rows_of(store)
        if marked:
            mark_pending(store, photos)
        apply(store, photos, scope, {some_id("photo", number) for number in failing})
        check_pictures(store)
        for key, row in rows_of(store).items():
            had = before.get(key)
            assert row["image_binary"] is not None or had is None or had["image_binary"] is None
        expected, earlier = wanted_rows(store, photos, scope), rows_of(store)
        apply(store, photos, scope, set())
        check_pictures(store)
        current, after = read_current(store), rows_of(store)
        found = dict(zip(current["key"], current["fingerprint"], strict=True))
        # What is not listed and stays gives way to the listed primary, and changes in nothing else.
        products, keys = {one.product_id for one in photos}, {one.photo_id for one in photos}
        gave_way = {
            key
            for key, row in earlier.items()
            if key not in keys and row["is_primary"] and str(row["product_id"]) in products
        } & expected.keys()
        assert found.keys() == expected.keys()
        assert {key: found[key] for key in found.keys() - gave_way} == {
            key: expected[key] for key in found.keys() - gave_way
        }
        for key in gave_way:
            assert not after[key]["is_primary"]
            same = ("product_id", "image_binary", "checksum", "sort_order", "version")
            assert [after[key][name] for name in same] == [earlier[key][name] for name in same]
        primaries = [row["product_id"] for row in after.values() if row["is_primary"]]
        assert len(primaries) == len(set(primaries))
        rested = rows_of(store, "xmin::text")
        assert apply(store, photos, scope, set()) == 0
        assert rows_of(store, "xmin::text") == rested


def wanted_rows(store: StoreDatabase, photos: list[Photo], scope: Scope) -> dict[str, str]:
    """What the law says of the store, from what it has now."""
    wanted = mirror_of(photos).rename(columns={"group_key": "group"})
    wanted = wanted.assign(position=None, content=[one.checksum for one in photos])
    current = read_current(store)
    # A photo that moved to another product is one row; one that waits for its picture is none.
    current = current[current["has_bytes"] | ~current["key"].isin(wanted["key"])]
    moved = current["key"].map(dict(zip(wanted["key"], wanted["group"], strict=True)))
    current = current.assign(group=moved.where(moved.notna(), current["group"]))
    state = target_state(wanted, current, scope, NO_LIMITS)
    return dict(zip(state["key"], state["fingerprint"], strict=True))


def check_pictures(store: StoreDatabase) -> None:
    """Every picture that is there is what its row says, and every synced row has one."""
    wrong = "md5(image_binary) <> checksum OR (sync_status = 'synced' AND image_binary IS NULL)"
    with store.engine.connect() as connection:
        assert connection.scalar(sa.text(f"SELECT count(*) FROM {store.table} WHERE {wrong}")) == 0
