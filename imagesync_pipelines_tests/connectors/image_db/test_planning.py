"""Records and products to frames: what is wanted, what is protected, what matched nothing and what changes a row."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from upath import UPath

from imagesync_pipelines.connectors.image_db import planning
from imagesync_pipelines.connectors.image_db.columns import RawPage, chunk_of
from imagesync_pipelines.connectors.image_db.errors import BatchMissingError, UnknownSkuError
from imagesync_pipelines.connectors.image_db.planning import (
    PlannedImages,
    alt_texts,
    contents,
    cut_to,
    expiring,
    groups_of_skus,
    open_payload,
    plan_wanted,
    priorities,
    rejected_rows,
)
from imagesync_pipelines.connectors.image_db.record_store import Stored, write_chunks
from imagesync_pipelines.products.rules import alt_text, priority
from imagesync_pipelines_tests.connectors.image_db.made_up import MEDIA, export, full_exports, link, page, record

START = datetime(2026, 3, 1, 3, tzinfo=UTC)
PRODUCTS = pd.DataFrame(
    [
        (1, "parent", "11400", None, None, None, None, "Engel", True),
        (2, "variant", "803721", 1, "BE", "11400-BE", "11400", "Engel bemalt", True),
        (3, "variant", "803722", 1, "BL", "11400-BL", "11400", "Engel blank", True),
        (4, "variant", "999999", None, "OX", None, None, "Alt", False),
    ],
    columns=["id", "kind", "sku", "parent_id", "variant_code", "legacy_sku", "base_sku", "name", "in_erp"],
).astype({"parent_id": "Int64"})

Plan = Callable[..., PlannedImages]


@pytest.fixture
def store(tmp_path: Path) -> UPath:
    return UPath(tmp_path) / "records.parquet"


def written(store: UPath, *records: Any, min_height: int = 600) -> Stored:
    return write_chunks(store, [chunk_of([RawPage(1, START, page(*records))], min_height)])


def planned(store: UPath, *records: Any, products: pd.DataFrame = PRODUCTS, min_height: int = 600) -> PlannedImages:
    written(store, *records, min_height=min_height)
    return plan_wanted(store, products)


def values(store: UPath, plan: PlannedImages) -> dict[str, dict[str, Any]]:
    with open_payload(store, plan.matched) as payload:
        keys = list(plan.wanted["key"])
        return dict(zip(keys, payload(keys).to_pylist(), strict=True))


def test_an_image_is_wanted_once_for_each_product_it_names(store: UPath) -> None:
    plan = planned(store, record(7, links=[link("803721"), link("803722"), link("11400", "")]))
    assert list(plan.wanted.columns) == ["key", "group", "position", "fingerprint"]
    assert sorted(plan.wanted["key"]) == ["1/7", "2/7", "3/7"]
    assert sorted(plan.wanted["group"]) == ["1", "2", "3"]
    assert plan.wanted["position"].isna().all()
    assert set(contents(store, plan.wanted["key"])) == {MEDIA + "original-7.psd"}
    assert plan.wanted["key"].is_unique


def test_trap_11_the_same_article_linked_again_is_one_row_and_front_if_any_link_is(store: UPath) -> None:
    links = [link(front=False), link(front=True), link(front=False), link("11400", "BE", front=False)]
    plan = planned(store, record(7, links=links))
    assert plan.matched[["key", "is_front", "matched_by"]].values.tolist() == [["2/7", True, "variant sku"]]


def test_trap_10_front_belongs_to_the_link(store: UPath) -> None:
    plan = planned(store, record(7, links=[link("803721", front=True), link("803722", front=False)]))
    assert {key: row["priority"] for key, row in values(store, plan).items()} == {"2/7": 1, "3/7": 2}


def test_trap_9_a_parent_may_hold_an_image(store: UPath) -> None:
    plan = planned(store, record(7, links=[link("11400", "")]))
    assert plan.matched[["key", "matched_by"]].values.tolist() == [["1/7", "parent sku"]]


def test_what_matches_nothing_is_a_row_for_a_person(store: UPath) -> None:
    plan = planned(store, record(7, links=[link("803721"), link("80372", "BE"), link("")]), record(8, links=[]))
    assert list(plan.wanted["key"]) == ["2/7"]
    rows = {row["number"]: row for row in plan.unmatched.to_dict("records")}
    assert set(rows) == {"80372", ""}
    assert rows["80372"]["reason"] == "the ERP has no product 80372"
    assert rows["80372"]["image_url"] == MEDIA + "png-2"
    assert [near["sku"] for near in rows["80372"]["candidates"]] == ["803721", "803722"]
    assert plan.unused.to_dict("records") == [
        {
            "external_id": "8",
            "image_type": "Produktfoto",
            "image_url": MEDIA + "png-2",
            "reason": "the image names no article",
        }
    ]


def test_what_was_suggested_among_these_products_is_not_looked_for_again(
    store: UPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(store, record(7, [link("80372"), link("80379")]))
    columns = (plan.unmatched[name] for name in ("number", "variant", "candidates"))
    known = {(number, variant): near for number, variant, near in zip(*columns, strict=True)}
    one = {pair: near for pair, near in known.items() if pair[0] == "80372"}
    pd.testing.assert_frame_equal(plan_wanted(store, PRODUCTS, one).unmatched, plan.unmatched)
    monkeypatch.setattr(planning, "Matcher", None)
    pd.testing.assert_frame_equal(plan_wanted(store, PRODUCTS, known).unmatched, plan.unmatched)
    asked_by_nobody = plan_wanted(store, PRODUCTS, None)
    assert asked_by_nobody.unmatched["candidates"].tolist() == [[], []]
    pd.testing.assert_frame_equal(asked_by_nobody.wanted, plan.wanted)


def test_a_product_that_left_the_erp_gets_no_images_and_is_named(store: UPath) -> None:
    plan = planned(store, record(7, links=[link("999999", "OX")]))
    assert plan.wanted.empty
    assert "no longer in the ERP" in plan.unmatched["reason"][0]


def test_an_image_without_a_showable_file_is_kept_out_with_its_reason(store: UPath) -> None:
    plan = planned(store, record(7, exports=[]), record(8))
    assert list(plan.wanted["key"]) == ["2/8"]
    assert plan.unusable.to_dict("records") == [
        {"key": "2/7", "group": "2", "reason": "no format a browser can show yet"}
    ]
    assert list(plan.unused["external_id"]) == ["7"]
    assert set(plan.read_ids) == {"7", "8"}


def test_nothing_at_all_gives_empty_frames_of_the_right_shape(store: UPath) -> None:
    plan = planned(store)
    assert [len(frame) for frame in (plan.wanted, plan.matched, plan.unusable, plan.unmatched, plan.unused)] == [0] * 5
    assert plan.wanted.dtypes.astype(str).to_dict() == planned(store, record(1)).wanted.dtypes.astype(str).to_dict()


def renamed() -> pd.DataFrame:
    return PRODUCTS.assign(name="Neuer Name")


CHANGES = {
    "nothing": (record(7), PRODUCTS, 600, True),
    "stock drift": (record(7, links=[link(stock=-18)]), PRODUCTS, 600, True),
    "re-export": (record(7, exports=full_exports(60)), PRODUCTS, 600, False),
    "re-front": (record(7, links=[link(front=False)]), PRODUCTS, 600, False),
    "another product's link": (record(7, links=[link(), link("803722")]), PRODUCTS, 600, False),
    "the product's new name": (record(7), renamed(), 600, False),
    "another least height": (record(7), PRODUCTS, 800, False),
    "another rule found it": (record(7, links=[link("11400", "BE")]), PRODUCTS, 600, False),
}


@pytest.mark.parametrize(("raw", "products", "min_height", "same"), CHANGES.values(), ids=CHANGES.keys())
def test_a_row_is_rewritten_exactly_when_something_in_it_changed(
    store: UPath, raw: dict, products: pd.DataFrame, min_height: int, same: bool
) -> None:
    before = planned(store, record(7)).wanted.set_index("key")["fingerprint"]["2/7"]
    after = planned(store, raw, products=products, min_height=min_height).wanted.set_index("key")["fingerprint"]["2/7"]
    assert (before == after) is same


def test_the_payload_has_every_column_of_a_product_image(store: UPath) -> None:
    plan = planned(store, record(7, links=[link(stock=5)]))
    row = values(store, plan)["2/7"]
    assert b"stock" not in row.pop("metadata")
    assert row == {
        "image_url": MEDIA + "jpg_g-3",
        "thumbnail_url": MEDIA + "png-2",
        "image_type": "Produktfoto",
        "is_front": True,
        "priority": 1,
        "alt_text": "Engel bemalt - Produktfoto",
        "fingerprint": plan.wanted["fingerprint"][0],
        "original_url": MEDIA + "original-7.psd",
        "newest_export": datetime(2024, 2, 1, 10, 0, 0, 123456, UTC),
        "matched_by": "variant sku",
        "chosen_because": "JPEG 1920x1280 (large export) is the preferred file of at least 600 pixels height",
        "width": 1920,
        "height": 1280,
        "image_format": "jpeg",
    }


def test_an_original_of_unknown_size_has_no_size_and_no_thumbnail(store: UPath) -> None:
    plan = planned(store, record(7, exports=[], format="jpeg", file_url=MEDIA + "a.jpg", type=None))
    row = values(store, plan)["2/7"]
    assert (row["image_url"], row["thumbnail_url"], row["width"], row["height"]) == (MEDIA + "a.jpg", None, None, None)
    assert (row["image_type"], row["alt_text"], row["newest_export"], row["priority"]) == ("", "Engel bemalt", None, 3)


def test_the_payload_is_only_of_the_keys_asked_for_in_any_order(store: UPath) -> None:
    plan = planned(store, *(record(number, links=[link(), link("803722")]) for number in range(1, 30)))
    keys = ["3/29", "2/1", "2/29"]
    with open_payload(store, plan.matched[plan.matched["key"].isin(keys)]) as payload:
        found = payload(keys)
        fingerprints = plan.matched.set_index("key")["fingerprint"]
        assert found["fingerprint"].to_pylist() == [fingerprints[key] for key in keys]
        assert found["original_url"].to_pylist() == [MEDIA + f"original-{number}.psd" for number in (29, 1, 29)]
        with pytest.raises(KeyError):
            payload(["2/2"])


texts = st.text(max_size=300) | st.text("Engel groß-\t\u00a0 ", max_size=20) | st.just("x" * 247)


@given(st.lists(st.tuples(texts, texts | st.sampled_from(["Produktfoto", " produktfoto "]), st.booleans()), min_size=1))
def test_texts_and_priorities_in_columns_are_those_of_the_rules(rows: list[tuple[str, str, bool]]) -> None:
    names, kinds, fronts = (pa.chunked_array([list(column)]) for column in zip(*rows, strict=True))
    assert alt_texts(names, kinds).to_pylist() == [alt_text(name, kind) for name, kind, _ in rows]
    assert priorities(kinds, fronts).to_pylist() == [priority(kind, front) for _, kind, front in rows]


def test_a_plan_whose_records_are_gone_says_so(store: UPath) -> None:
    plan = planned(store, record(7))
    written(store, record(8))
    with pytest.raises(BatchMissingError, match="for example 7; plan again"), open_payload(store, plan.matched):
        pass


def current(*keys: str) -> pd.DataFrame:
    return pd.DataFrame({"key": list(keys), "group": [key.partition("/")[0] for key in keys]}, dtype="str")


def test_a_legible_reject_protects_every_row_of_its_image(store: UPath) -> None:
    stored = written(store, record(7), record(8, type="x" * 51), record(None), record(9, type="x" * 51))
    rejected = rejected_rows(stored.rejects, current("2/7", "2/8", "3/8", "2/88"), plan_wanted(store, PRODUCTS).wanted)
    assert list(rejected["key"]) == ["2/8", "3/8", "page 1, reject 2", "?/9"]
    assert rejected["group"].isna().tolist() == [False, False, True, True]
    assert rejected["reason"].str.startswith("page 1: original_file.").all()


def test_a_reject_whose_image_was_also_read_in_good_order_protects_nothing(store: UPath) -> None:
    stored = written(store, record(7), record(7, type="x" * 51))
    rejected = rejected_rows(stored.rejects, current("2/7"), plan_wanted(store, PRODUCTS).wanted)
    assert rejected.empty


def test_rejects_without_anything_there_are_still_reported(store: UPath) -> None:
    stored = written(store, record(8, type="x" * 51))
    rejected = rejected_rows(stored.rejects, current(), plan_wanted(store, PRODUCTS).wanted)
    assert list(rejected["key"]) == ["?/8"]


def test_single_products_are_a_scope_of_their_groups(store: UPath) -> None:
    plan = planned(store, record(7, links=[link(), link("803722"), link("0")]), record(8, exports=[]))
    groups = groups_of_skus([" 803721 "], PRODUCTS)
    assert groups == frozenset({"2"})
    cut = cut_to(plan, groups)
    assert list(cut.wanted["key"]) == list(cut.matched["key"]) == ["2/7"]
    assert list(cut.unusable["key"]) == ["2/8"]
    assert cut.unmatched.empty
    assert values(store, cut)["2/7"]["matched_by"] == "variant sku"


def test_a_sku_that_nobody_has_is_named() -> None:
    with pytest.raises(UnknownSkuError, match="4711"):
        groups_of_skus(["803721", "4711"], PRODUCTS)


def test_an_original_without_a_url_has_no_content(store: UPath) -> None:
    plan = planned(store, *(record(at, file_url=None if at == 3 else MEDIA + "a.psd") for at in range(1, 8)))
    keys = plan.wanted["key"][1:]
    assert contents(store, keys).isna().to_dict() == {at: key == "2/3" for at, key in keys.items()}


def test_trap_12_nothing_is_kept_between_two_plans(store: UPath) -> None:
    first = planned(store, record(7))
    second = planned(store, record(7, exports=[export("png", 1, (900, 800))]))
    assert values(store, second)["2/7"]["image_format"] == "png"
    assert first.wanted["fingerprint"][0] != second.wanted["fingerprint"][0]


def ends(moment: datetime) -> str:
    return f"{MEDIA}png-1?Signature={moment.minute}&Expires={moment.timestamp():.0f}"


HOUR = timedelta(hours=1)
EXPIRING = {
    "it ended, a day is given": (-HOUR, 24 * HOUR, True),
    "it ends before the next run, a week is given": (20 * HOUR, 168 * HOUR, True),
    "it ends after the next run": (30 * HOUR, 168 * HOUR, False),
    "it was signed a minute ago": (24 * HOUR - HOUR / 60, 24 * HOUR, False),
    "an hour is given, no run would be without a change": (-23 * HOUR, HOUR, False),
    "the same one is given": (2 * HOUR, 2 * HOUR, False),
}


@pytest.mark.parametrize(("stored", "given", "is_due"), EXPIRING.values(), ids=EXPIRING.keys())
def test_an_address_is_replaced_when_its_time_is_nearly_over_and_not_by_every_run(
    store: UPath, stored: timedelta, given: timedelta, is_due: bool
) -> None:
    written(store, record(7, exports=[export(image_url=ends(START + given))]), record(8))
    there = {"2/7": [ends(START + stored)], "3/7": [f"{MEDIA}png-1?token=abc"], "2/8": [f"{MEDIA}png-1?v=2"]}
    assert expiring(store, there, START, 26 * HOUR) == ({"2/7"} if is_due else set())
