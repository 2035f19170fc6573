"""Listings and products become the plan that puts the right images, and only those, where they belong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.plytix.planning import Policy, Task, minutes_for, plan_removals, tasks_of
from imagesync_pipelines.storage.rate_budget import Window
from imagesync_pipelines.sync.model import DeletionLimits
from imagesync_pipelines_tests.connectors.plytix.worlds import (
    FREE,
    LINK,
    PATCH,
    PATCH_REMOVING,
    WINDOWS,
    changes,
    counts,
    known,
    linked,
    listing,
    planned,
    product,
    url_of,
)

A, B, C, D = "A.jpg", "B.jpg", "C.jpg", "D.jpg"
NOTHING = known()


def test_the_real_shape_costs_what_the_issue_says() -> None:
    eight = [f"E{n}.jpg" for n in range(8)]
    four = [f"F{n}.jpg" for n in range(4)]
    listings = [listing(f"E{n}", *eight) for n in range(11)] + [listing(f"F{n}", *four) for n in range(5)]
    products = [product(one.sku) for one in listings]
    for policy, calls in ((LINK, 136), (PATCH, 28)):
        plan = planned(listings, products, NOTHING, policy)
        # The search that read the products is the one call more.
        assert (counts(plan)["add"], len(plan.uploads), plan.cost.calls) == (108, 12, calls)


def test_what_is_as_wanted_is_kept() -> None:
    ledger = known(a=A, b=B)
    for policy in (LINK, PATCH):
        plan = planned([listing("S", A, B)], [product("S", "a", "x", "b", thumbnail="a")], ledger, policy)
        assert (changes(plan), plan.cost.calls, len(plan.payload[0]), plan.warnings) == ({}, 0, 0, ())


def test_only_what_plytix_does_not_have_is_uploaded() -> None:
    plan = planned([listing("S", A, B), listing("T", B)], [product("S"), product("T")], known(a=A), LINK)
    assert plan.uploads == {B: url_of(B)}


def test_a_thumbnail_alone_is_one_call() -> None:
    plan = planned([listing("S", A)], [product("S", "a", thumbnail="x")], known(a=A), LINK)
    assert (changes(plan), plan.cost.calls) == ({f"S/{A}": "update"}, 1)


def test_a_listing_without_main_leaves_the_thumbnail() -> None:
    plan = planned([listing("S", A, B, main=False)], [product("S", "a", "b", thumbnail="b")], known(a=A, b=B), PATCH)
    assert changes(plan) == {}


def test_a_wrong_order_is_told_by_link_and_repaired_by_patch() -> None:
    products = [product("S", "b", "a", thumbnail="a")]
    by_link = planned([listing("S", A, B)], products, known(a=A, b=B), LINK)
    assert (changes(by_link), by_link.wrong_order) == ({}, ("S",))
    assert "PLYTIX_STRATEGY=patch" in by_link.warnings[0]
    by_patch = planned([listing("S", A, B)], products, known(a=A, b=B), PATCH)
    assert changes(by_patch) == {f"S/{A}": "update", f"S/{B}": "update"}
    assert (by_patch.wrong_order, by_patch.cost.calls) == ((), 1)


@pytest.mark.parametrize(
    ("gallery", "hours", "changed"),
    [
        pytest.param("bc", {"b": 1, "c": 1}, {A: "add"}, id="MAIN failed when the others were linked"),
        pytest.param("bca", {"b": 1, "c": 1, "a": 2}, dict.fromkeys((A, B, C), "update"), id="MAIN was linked late"),
        pytest.param("bxca", {"b": 1, "c": 1, "a": 2}, dict.fromkeys((A, B, C), "update"), id="beside somebody's"),
        pytest.param("ac", {"a": 1, "c": 1}, {B: "add"}, id="an image that came into the middle"),
        pytest.param("bca", {"b": 1, "c": 1, "a": 1}, None, id="somebody put them into another order"),
        pytest.param("bca", {"b": 2, "c": 1, "a": 3}, None, id="somebody moved what was linked later"),
        pytest.param("bca", {"b": 1, "c": 1}, None, id="somebody linked one of them"),
    ],
)
def test_a_wrong_order_of_our_making_is_mended_by_link_in_one_call(
    gallery: str, hours: dict[str, int], changed: dict[str, str] | None
) -> None:
    ledger = linked("S", known(a=A, b=B, c=C), **hours)
    plan = planned([listing("S", A, B, C)], [product("S", *gallery, thumbnail="a")], ledger, LINK)
    assert changes(plan) == {f"S/{key}": change for key, change in (changed or {}).items()}
    assert plan.wrong_order == (() if changed is not None else ("S",))
    assert plan.cost.calls == (1 if changed is not None else 0)


def test_an_image_in_the_middle_moves_no_other() -> None:
    plan = planned([listing("S", A, B, C)], [product("S", "a", "c", thumbnail="a")], known(a=A, c=C), PATCH)
    assert changes(plan) == {f"S/{B}": "add"}


def test_an_unknown_product_is_rejected_and_told() -> None:
    plan = planned([listing("S", A), listing("T", A)], [product("T", "a", thumbnail="a")], known(a=A), LINK)
    assert changes(plan) == {f"S/{A}": "reject"}
    assert plan.unknown == ("S",)
    assert "such as S" in plan.warnings[0]
    assert plan.uploads == {}


def test_products_with_any_image_are_skipped_when_asked() -> None:
    plan = planned(
        [listing("S", A), listing("T", A)],
        [product("S", "x"), product("T")],
        NOTHING,
        Policy("link", skip_existing=True),
    )
    assert (changes(plan), plan.skipped) == ({f"T/{A}": "add"}, ("S",))


def test_forced_images_are_uploaded_again() -> None:
    force = Policy("patch", force=True)
    plan = planned([listing("S", A)], [product("S", "a", thumbnail="a")], known(a=A), force)
    assert (changes(plan), plan.uploads) == ({f"S/{A}": "update"}, {A: url_of(A)})


LEFT = known([("S", B)], a=A, b=B, c=C)


def test_what_left_a_listing_stays_unless_the_setting_says_otherwise() -> None:
    products = [product("S", "a", "b", thumbnail="a")]
    stays = planned([listing("S", A)], products, LEFT, PATCH)
    assert changes(stays) == {}
    assert "1 images that left" in stays.warnings[0]
    assert changes(planned([listing("S", A)], products, LEFT, PATCH_REMOVING)) == {f"S/{B}": "remove"}


def test_an_image_of_ours_that_somebody_else_linked_stays() -> None:
    plan = planned([listing("S", A)], [product("S", "a", "c", thumbnail="a")], LEFT, PATCH_REMOVING)
    assert changes(plan) == {}


@pytest.mark.parametrize(
    ("keys", "incomplete"),
    [pytest.param((), (), id="the listing has no image"), pytest.param((A,), ("S",), id="an image was set aside")],
)
def test_a_doubtful_listing_removes_nothing(keys: tuple[str, ...], incomplete: tuple[str, ...]) -> None:
    products = [product("S", "a", "b", thumbnail="a")]
    plan = planned([listing("S", *keys)], products, LEFT, PATCH_REMOVING, incomplete=incomplete)
    assert changes(plan) == {}


def test_the_deletion_limits_hold_removals_and_nothing_else() -> None:
    products = [product("S", "a", "b", thumbnail="a"), product("T")]
    deletion_limits = DeletionLimits(share=0.1, count=0, bare=0, floor=0)
    plan = planned([listing("S", A), listing("T", A)], products, LEFT, PATCH_REMOVING, deletion_limits=deletion_limits)
    assert (changes(plan), list(plan.held["key"])) == ({f"T/{A}": "add"}, [f"S/{B}"])
    assert (plan.cost.calls, plan.cost.calls_if_approved) == (1, 2)


def test_a_cleanup_takes_out_what_we_put_there_and_nothing_else() -> None:
    ledger = known([("S", A), ("S", B), ("T", A)], a=A, b=B, c=C)
    gone = {"S": product("S", "a", "x", "c", thumbnail="a")}
    plan = plan_removals(gone, ledger, FREE, WINDOWS)
    assert (changes(plan), plan.cost.calls) == ({f"S/{A}": "remove"}, 1)


def test_the_payload_holds_the_products_that_change() -> None:
    plan = planned(
        [listing("S", A), listing("T", A)], [product("S"), product("T", "a", thumbnail="a")], known(a=A), LINK
    )
    tasks = tasks_of(plan.payload[0])
    assert tasks == {"S": Task(product("S"), listing("S", A).images)}


@pytest.mark.parametrize(("calls", "minutes"), [(0, 0.0), (1, 0.0), (16, 0.0), (17, 0.2), (160, 1.5), (4001, 60.0)])
def test_minutes_follow_the_slowest_window(calls: int, minutes: float) -> None:
    assert minutes_for(calls, WINDOWS) == minutes


def test_without_limits_there_is_nothing_to_wait_for() -> None:
    assert minutes_for(100, ()) == 0.0
    assert minutes_for(100, (Window(1000, 10),)) == 0.0


_keys = st.lists(st.sampled_from([A, B, C, D]), unique=True)
_galleries = st.lists(st.sampled_from("abcdxy"), unique=True)
_policies = st.sampled_from([LINK, PATCH, PATCH_REMOVING])


@settings(max_examples=15)
@given(_keys, _galleries, _policies)
def test_planning_twice_gives_the_same_whatever_the_order_of_listings(
    keys: list[str], gallery: list[str], policy: Policy
) -> None:
    assert_planned_the_same(keys, gallery, policy)


@pytest.mark.slow
@given(_keys, _galleries, _policies)
def test_planning_many_galleries_twice_gives_the_same_whatever_the_order_of_listings(
    keys: list[str], gallery: list[str], policy: Policy
) -> None:
    assert_planned_the_same(keys, gallery, policy)


def assert_planned_the_same(keys: list[str], gallery: list[str], policy: Policy) -> None:
    ledger = known([("S", A), ("S", B)], a=A, b=B, c=C, d=D)
    listings, products = [listing("S", *keys), listing("T", A)], [product("S", *gallery), product("T")]
    forwards = planned(listings, products, ledger, policy)
    assert forwards.plan.equals(planned(listings[::-1], products[::-1], ledger, policy).plan)


def test_a_variant_that_is_written_is_told_and_one_that_stays_is_not() -> None:
    variant = product("S")._replace(parent_id="id-P")
    assert any("variants in Plytix" in text for text in planned([listing("S", A)], [variant], known(), LINK).warnings)
    shown = product("S", "a", thumbnail="a")._replace(parent_id="id-P")
    assert not planned([listing("S", A)], [shown], known(a=A), LINK).warnings
