"""What is written, what needs bytes, what is kept: from the mirror and a store's table."""

from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.edge import planning
from imagesync_pipelines.connectors.edge.model import Photo, fingerprint
from imagesync_pipelines.connectors.edge.planning import (
    NO_IMAGE_UPSTREAM,
    PAYLOAD_COLUMNS,
    UNKNOWN_PRODUCT,
    PhotoPlan,
    is_second_mismatch,
    mismatch_reason,
    payload_of,
    photos_of,
    plan_photos,
    product_labels,
)
from imagesync_pipelines.connectors.edge.primaries import FIRST
from imagesync_pipelines.connectors.edge.store import CURRENT_COLUMNS
from imagesync_pipelines.sync.model import DeletionLimits, Memory, Scope
from imagesync_pipelines_tests.connectors.edge.photos import (
    NO_LIMITS,
    PARTIAL,
    PROVEN,
    mirror_of,
    payloads_of,
    photo,
    some_id,
)

ENOUGH = 10**6


def row_of(held: Photo, status: str = "synced", *, has_bytes: bool = True) -> tuple[object, ...]:
    done = status == "synced" and has_bytes
    shown = fingerprint(held) if done else f"{status} {fingerprint(held)}"
    content = held.checksum if done else None
    place = FIRST if held.is_primary else held.sort_order
    return held.photo_id, held.product_id, place, shown, content, held.checksum, has_bytes, status, ""


def current_of(*rows: tuple[object, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(list(rows), columns=list(CURRENT_COLUMNS))
    texts = dict.fromkeys(("key", "group", "fingerprint", "content", "checksum", "status", "error"), "str")
    return frame.astype({**texts, "position": "Int64", "has_bytes": "bool"})


def planned(photos: list[Photo], current: pd.DataFrame, scope: Scope = PROVEN, **more: object) -> PhotoPlan:
    return plan_photos(mirror_of(photos), current, scope, NO_LIMITS, max_bytes=ENOUGH, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "change", "needs_bytes"),
    [
        pytest.param(None, "add", True, id="new"),
        pytest.param(row_of(photo(1)), "keep", None, id="unchanged"),
        pytest.param(row_of(photo(1, sort_order=3)), "update", False, id="another order"),
        pytest.param(row_of(photo(1, b"old")), "update", True, id="another checksum"),
        pytest.param(row_of(photo(1), "failed"), "update", False, id="failed, but the picture is the listed one"),
        pytest.param(row_of(photo(1), "pending"), "update", False, id="pending after a reset"),
        pytest.param(row_of(photo(1, b"old"), "pending"), "update", True, id="pending with the old picture"),
        pytest.param(row_of(photo(1), "pending", has_bytes=False), "add", True, id="only marked as pending"),
        pytest.param(row_of(photo(1), has_bytes=False), "add", True, id="synced without a picture"),
    ],
)
def test_only_changed_checksums_are_downloads(
    held: tuple[object, ...] | None, change: str, needs_bytes: bool | None
) -> None:
    made = planned([photo(1)], current_of(*([held] if held else [])))
    assert list(made.plan["change"]) == [change]
    assert list(made.written["needs_bytes"]) == ([] if needs_bytes is None else [needs_bytes])
    assert made.cost.calls == (1 if needs_bytes else 0)
    assert made.cost.bytes == (photo(1).size if needs_bytes else 0)


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        pytest.param(photo(1, checksum=""), NO_IMAGE_UPSTREAM, id="no checksum"),
        pytest.param(photo(1, size=0), NO_IMAGE_UPSTREAM, id="size 0"),
        pytest.param(photo(1, size=ENOUGH + 1), "EDGE_MAX_PHOTO_MB", id="too large"),
        pytest.param(photo(1, product_id=some_id("product", 9)), UNKNOWN_PRODUCT, id="unknown product"),
    ],
)
def test_a_photo_that_cannot_be_used_keeps_what_is_there(listed: Photo, reason: str) -> None:
    made = planned([listed], current_of(row_of(photo(1))), unknown_products={some_id("product", 9)})
    assert sorted(made.plan["change"]) == ["keep", "reject"]
    assert made.plan["reason"].str.contains(reason, regex=False).all()
    assert made.written.empty


def test_a_photo_that_moves_out_of_an_excluded_product_stays_there() -> None:
    excluded = replace(NO_LIMITS, memory=Memory(excluded={some_id("product", 1): "anna excluded it"}))
    moved, held = mirror_of([photo(1, product_id=some_id("product", 2)), photo(2)]), current_of(row_of(photo(1)))
    made = plan_photos(moved, held, PROVEN, excluded, max_bytes=ENOUGH)
    rows = made.plan.set_index("key").loc[:, ["group", "change"]]
    assert tuple(rows.loc[some_id("photo", 1)]) == (some_id("product", 1), "keep")
    assert tuple(rows.loc[some_id("photo", 2)]) == (some_id("product", 2), "add")


def test_photos_of_unknown_products_wait() -> None:
    listed = [photo(1), photo(2), photo(3, checksum="")]
    made = planned(listed, current_of(), unknown_products={some_id("product", 2), some_id("product", 3)})
    assert made.waiting == {some_id("photo", 2): some_id("product", 2)}


def test_nothing_is_removed_without_a_proof() -> None:
    held = current_of(row_of(photo(1)), row_of(photo(2)))
    assert set(planned([], held, PARTIAL).plan["change"]) == {"keep"}
    absent = Scope(None, None, frozenset({some_id("photo", 1)}))
    made = planned([], held, absent)
    assert dict(zip(made.plan["key"], made.plan["change"], strict=True)) == {
        some_id("photo", 1): "remove",
        some_id("photo", 2): "keep",
    }


def test_the_deletion_limits_hold_an_empty_listing_back() -> None:
    held = current_of(*(row_of(photo(number)) for number in range(50)))
    made = plan_photos(mirror_of([]), held, PROVEN, DeletionLimits(0.1, 500, 25, 5), max_bytes=ENOUGH)
    assert (set(made.plan["change"]), len(made.held)) == ({"keep"}, 50)
    assert made.warnings


@pytest.mark.parametrize("empty", ["listed", "held", "neither"])
def test_frames_that_were_read_in_portions_are_as_good_as_any(empty: str) -> None:
    listed = mirror_of([] if empty == "listed" else [photo(1, product_id=some_id("product", 2)), photo(3)])
    held = current_of(*([] if empty == "held" else [row_of(photo(1)), row_of(photo(4))]))
    portions = [
        pa.concat_tables([table.slice(0, 0), table.slice(0, 1), table.slice(1)]).to_pandas()
        for table in (pa.Table.from_pandas(frame, preserve_index=False) for frame in (listed, held))
    ]
    whole, parts = (
        plan_photos(wanted, there, PROVEN, NO_LIMITS, max_bytes=ENOUGH) for wanted, there in ((listed, held), portions)
    )
    assert list(parts.plan["change"]) == list(whole.plan["change"])
    assert list(parts.written["key"]) == list(whole.written["key"])


def test_minutes_come_from_the_pace() -> None:
    made = planned([photo(number) for number in range(60)], current_of(), pace_seconds=1.0)
    assert (made.cost.calls, made.cost.minutes) == (60, 1.0)


@pytest.mark.parametrize("rows_per_portion", [1, 2, 5_000])
def test_photos_are_looked_up_with_whether_they_need_bytes(
    monkeypatch: pytest.MonkeyPatch, rows_per_portion: int
) -> None:
    monkeypatch.setattr(planning, "ROWS_PER_PORTION", rows_per_portion)
    photos = [photo(number, sort_order=number % 2) for number in range(5)]
    made = planned(photos, current_of(row_of(photo(1)), row_of(photo(2))))
    portions = list(payload_of(made.written, payloads_of(photos[::-1])))
    assert [len(portion) for portion in portions[:-1]] == [rows_per_portion] * (len(portions) - 1)
    wanted = {one.photo_id: (one, one is not photos[1]) for one in photos if one is not photos[2]}
    # In the order of the plan, and in another.
    for order in (list(made.written["key"]), sorted(wanted, reverse=True)):
        look_up = photos_of(portions)
        assert {**look_up(order[:1]), **look_up(order[1:])} == wanted


def test_a_plan_that_writes_nothing_has_a_payload_of_no_rows() -> None:
    (portion,) = payload_of(planned([], current_of()).written, payloads_of([]))
    assert (len(portion), tuple(portion)) == (0, PAYLOAD_COLUMNS)


def test_a_plan_is_labelled_with_its_products_as_people_know_them() -> None:
    plan = pd.DataFrame({"group": ["b", "a", "c", "b", None]}, index=[4, 3, 2, 1, 0])
    mirror = pd.DataFrame(
        {"group_key": ["a", "b", "b"], "product_sku": ["1", None, None], "product_name": ["Tea", "Cup", "Cup"]},
        dtype="str",
    )
    labels = product_labels(plan, mirror)
    assert labels.fillna("-").to_dict() == {4: "Cup", 3: "1 Tea", 2: "-", 1: "Cup", 0: "-"}


def test_a_mismatch_is_the_second_only_of_the_same_listed_checksum() -> None:
    said = mismatch_reason("a" * 32, "b" * 32)
    assert is_second_mismatch(said, "a" * 32)
    assert not is_second_mismatch(said, "c" * 32)
    assert not is_second_mismatch("", "a" * 32)


numbers = st.integers(0, 6)
listings = st.dictionaries(numbers, st.tuples(st.integers(0, 2), st.integers(0, 1)), max_size=6)


@settings(max_examples=25)
@given(listed=listings, held=listings)
def test_bytes_are_fetched_exactly_where_the_store_has_other_ones(
    listed: dict[int, tuple[int, int]], held: dict[int, tuple[int, int]]
) -> None:
    def of(number: int, content: int, order: int) -> Photo:
        return photo(number, f"content {content}".encode(), sort_order=order)

    made = planned(
        [of(number, *rest) for number, rest in listed.items()],
        current_of(*(row_of(of(number, *rest)) for number, rest in held.items())),
    )
    fetched = set(made.written.loc[made.written["needs_bytes"], "key"])
    expected = {n for n, (content, _) in listed.items() if n not in held or held[n][0] != content}
    assert fetched == {some_id("photo", number) for number in expected}
