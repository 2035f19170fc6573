"""What a run wrote into galleries is taken back: they are as they were, but for what other people changed since."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesync_pipelines.connectors.plytix import planning
from imagesync_pipelines.connectors.plytix.undoing import given_back, plan_undo
from imagesync_pipelines.sandbox.amazon.listings import demo_listings
from imagesync_pipelines.sandbox.plytix.model import NullThumbnail
from imagesync_pipelines.storage.effects import effects_of_run
from imagesync_pipelines.sync import held
from imagesync_pipelines.sync.excluding import Channel, exclude
from imagesync_pipelines.sync.steps import StepResult, Texts
from imagesync_pipelines.sync.undoing import TakeAwayOptions, UndoOptions, UndoRefusedError
from imagesync_pipelines_tests.connectors.plytix.accounts import Connector, assert_converged, open_connector

pytestmark = pytest.mark.slow

FOUR = demo_listings()[10:14]
SLOTS = ("MAIN", "PT01", "PT02", "PT03")


def planned(connector: Connector, run: str, *skus: str) -> tuple[StepResult, int]:
    """Plan to take a run back; gives the plan's number, 0 where there is nothing to do."""
    with connector.api() as api:
        result = plan_undo(connector.at(connector.run_id()), UndoOptions(run=run, skus=list(skus)), api)
    return result, int(str(result.shown.get("plan_id", 0)))


def undone(connector: Connector, run: str) -> str:
    """Take a run back; gives the run that did it, '' where nothing was to be done."""
    _, number = planned(connector, run)
    if not number:
        return ""
    with connector.api() as api:
        done = connector.apply(api, connector.run_id(), number)
    assert (done.summary.failed, done.summary.refused, done.summary.unknown) == (0, 0, 0), done.summary
    return newest(connector)


def newest(connector: Connector) -> str:
    """The run that changed something last."""
    with connector.installation.engine.connect() as connection:
        return str(connection.scalar(sa.text("SELECT run_id FROM imagesync.effect ORDER BY id DESC LIMIT 1")))


def marks(connector: Connector) -> int:
    return len(held.entries(connector.installation.engine))


@pytest.fixture
def removing(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    """Four products that show 20 images, in an account where what left a listing is taken out."""
    with open_connector(database, tmp_path, listings=FOUR, strategy="patch", remove_missing=True) as connector:
        connector.sync()
        yield connector


def test_a_run_is_taken_back_with_a_read_and_a_call_for_each_product_and_stays_so(removing: Connector) -> None:
    first, second = (listing.asin for listing in FOUR[:2])
    removing.plytix.mutate("add_image", sku=FOUR[0].suggested_sku, filename="person.jpg", position=1)
    removing.sync()
    before = removing.shown()
    removing.amazon.mutate("remove_image", first, variant="PT01")
    removing.amazon.mutate("new_image", first, variant="PT02")
    removing.amazon.mutate("new_image", second, variant="MAIN")
    removing.write()
    removing.sync()
    after, run = removing.shown(), newest(removing)
    assert after != before
    calls = removing.calls()
    result, number = planned(removing, run)
    assert removing.calls() == calls + 1
    assert result.shown["cost"] == "2 calls to Plytix, no upload among them."
    with removing.api() as api:
        assert removing.apply(api, removing.run_id(), number).summary.api_calls == 3
    assert removing.shown() == before
    back = newest(removing)
    assert removing.sync().summary.api_calls == 1
    assert removing.shown() == before, "no synchronisation does it again"
    undone(removing, back)
    assert removing.shown() == after
    assert marks(removing) == 0
    assert removing.sync().summary.api_calls == 1
    assert_converged(removing)


def test_a_first_run_that_only_linked_leaves_galleries_and_thumbnails_as_people_had_made_them(
    database: sa.Engine, tmp_path: Path
) -> None:
    with open_connector(database, tmp_path, listings=FOUR) as connector:
        asset = connector.plytix.mutate("add_image", sku=FOUR[0].suggested_sku, filename="person.jpg")
        connector.plytix.mutate("set_thumbnail", sku=FOUR[0].suggested_sku, asset_id=asset)
        before = connector.shown()
        connector.sync()
        run = newest(connector)
        _, number = planned(connector, run)
        with connector.api() as api:
            assert connector.apply(api, connector.run_id(), number).summary.images_deleted == 20
        assert connector.shown() == before
        assert connector.sync().summary.api_calls == 1
        assert connector.shown() == before


@pytest.mark.parametrize("answer", ["refused", "ignored"])
def test_where_plytix_does_not_take_a_thumbnail_away_the_gallery_is_as_it_was_and_the_rest_is_told(
    database: sa.Engine, tmp_path: Path, answer: NullThumbnail
) -> None:
    sku, other = (listing.suggested_sku for listing in FOUR[:2])
    with open_connector(database, tmp_path, listings=FOUR[:2], strategy="patch", remove_missing=True) as connector:
        connector.plytix.mutate("add_image", sku=sku, filename="person.jpg")
        before = connector.shown()
        connector.sync()
        first = newest(connector)
        connector.plytix.mutate("set_thumbnail", sku=other)
        connector.sync()
        second, after = newest(connector), connector.shown()
        connector.plytix.switches.null_thumbnail = answer
        # Of the other product nothing but its thumbnail was changed.
        for run, of, failed in ((second, other, 1), (first, sku, 0)):
            _, number = planned(connector, run, of)
            with connector.api() as api:
                done = connector.apply(api, connector.run_id(), number).summary
            (told,) = [text for text in done.warnings if "keep their thumbnail" in text]
            assert told.startswith(f"1 products keep their thumbnail, the first is {of}: ")
            assert done.failed == failed
        assert connector.shown() == {**after, sku: (before[sku][0], after[sku][1])}
        assert after[sku][1] is not None
        assert connector.sync().summary.api_calls == 1, "it stays so"


def test_what_others_changed_since_is_left_alone_and_unknown_runs_are_refused(removing: Connector) -> None:
    skus = [listing.suggested_sku for listing in FOUR]
    before = removing.shown()
    for listing in FOUR[:3]:
        removing.amazon.mutate("new_image", listing.asin, variant="PT01")
    removing.amazon.mutate("swap", FOUR[3].asin, variant="PT01", other="PT02")
    removing.write()
    removing.sync()
    run = newest(removing)
    removing.plytix.mutate("remove_image", sku=skus[0], position=1)
    removing.plytix.mutate("delete_product", sku=skus[1])
    removing.plytix.mutate("reorder", sku=skus[3])
    result, number = planned(removing, run)
    refused = result.shown["refused"]
    assert isinstance(refused, Texts)
    told = " ".join(refused.items)
    assert "was changed since by somebody else" in told
    assert f"{skus[1]}: Plytix has no product with this SKU any more" in told
    assert f"{skus[3]}: the order of its gallery was changed since" in told
    with removing.api() as api:
        removing.apply(api, removing.run_id(), number)
    assert removing.shown()[skus[2]] == before[skus[2]]
    with pytest.raises(UndoRefusedError, match="Nothing is known of what run other changed here"):
        planned(removing, "other")
    with pytest.raises(UndoRefusedError, match="Nothing is known"):
        planned(removing, run, "AMZN-US-NONE")


def test_what_others_put_into_the_gallery_of_an_excluded_product_stays(removing: Connector) -> None:
    sku = FOUR[0].suggested_sku
    removing.plytix.mutate("add_image", sku=sku, filename="person.jpg", position=1)
    before, of = removing.shown(), removing.at(removing.run_id())
    assert before[sku][1] is not None
    exclude(of.installation.engine, Channel("plytix", of.account, of.groups_by_sku), [sku], "anna")
    with removing.api() as api:
        result = plan_undo(of, TakeAwayOptions(skus=[sku]), api)
        done = removing.apply(api, removing.run_id(), int(str(result.shown["plan_id"])))
    assert done.summary.images_deleted == len(before[sku][0]) - 1
    assert removing.shown() == {**before, sku: (("person.jpg",), None)}
    undone(removing, newest(removing))
    assert removing.shown() == before


def test_an_undo_whose_answer_nobody_heard_is_marked_when_it_is_read(removing: Connector) -> None:
    before = removing.shown()
    for listing in FOUR[:2]:
        removing.amazon.mutate("new_image", listing.asin, variant="PT01")
    removing.write()
    removing.sync()
    run = newest(removing)
    _, number = planned(removing, run)
    removing.plytix.lost.lose("product patch")
    with removing.api() as api:
        assert removing.apply(api, removing.run_id(), number).summary.unknown > 0
    unheard = marks(removing)
    removing.sync()
    assert marks(removing) > unheard
    assert removing.shown() == before
    result, again = planned(removing, run)
    assert (result.shown["taken_back_before"], again) == (2, 0)


PICTURES = st.lists(st.integers(0, 3), unique=True, min_size=1, max_size=4)
LISTS = st.tuples(PICTURES, PICTURES)
CLEAN = "TRUNCATE imagesync.effect, imagesync.held"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5, deadline=None)
@given(
    first=LISTS,
    second=LISTS,
    persons=st.tuples(*[st.none() | st.integers(0, 4)] * 2),
    later=st.tuples(*[st.none() | st.integers(0, 4)] * 2),
)
def test_the_law(
    removing: Connector,
    first: Sequence[Sequence[int]],
    second: Sequence[Sequence[int]],
    persons: Sequence[int | None],
    later: Sequence[int | None],
) -> None:
    """Sync, people add pictures, undo: as before but for those; undo of the undo: as after the sync."""
    connector, listings = removing, FOUR[:2]
    skus = [listing.suggested_sku for listing in listings]

    def sync(lists: Sequence[Sequence[int]]) -> None:
        with connector.installation.engine.begin() as connection:
            connection.execute(sa.text(CLEAN))
        made = [
            replace(
                one, images=tuple(replace(one.images[at], variant=slot) for slot, at in zip(SLOTS, some, strict=False))
            )
            for one, some in zip(listings, lists, strict=True)
        ]
        connector.write(made)
        connector.sync(allow_mass_delete=True)

    def add(places: Sequence[int | None], name: str) -> None:
        for sku, place in zip(skus, places, strict=True):
            if place is not None:
                place = min(place, len(connector.plytix.gallery(sku)))
                connector.plytix.mutate("add_image", sku=sku, filename=f"{name}-{sku}.jpg", position=place)

    def shown(without: str = "later") -> Mapping[str, tuple[tuple[str, ...], str | None]]:
        return {
            sku: (tuple(name for name in gallery if not name.startswith(without)), thumbnail)
            for sku, (gallery, thumbnail) in connector.shown().items()
            if sku in skus
        }

    with connector.api() as api:
        for sku in skus:
            api.patch_product(connector.plytix.product(sku).id, gallery=[], no_thumbnail=True)
    sync(first)
    add(persons, "person")
    before = shown()
    sync(second)
    after, run = shown(), newest(connector)
    if not effects_of_run(connector.installation.engine, run):
        return
    add(later, "later")
    back = undone(connector, run)
    assert shown() == before
    connector.sync(allow_mass_delete=True)
    assert shown() == before, "no synchronisation does it again"
    if back:
        undone(connector, back)
        assert shown() == after
        assert marks(connector) == 0


@pytest.mark.parametrize(
    ("now", "after", "coming", "leaving", "wanted"),
    [
        pytest.param("BX", "BX", "A", "", "AXB", id="as the run left it: as it was"),
        pytest.param("BXY", "BX", "A", "", "AXYB", id="with an addition of others: that follows what it followed"),
        pytest.param("XB", "BX", "", "", "XB", id="in another order: that stays"),
        pytest.param("BNX", "BNX", "", "N", "XB", id="what was added goes"),
        pytest.param("BN", "", "", "N", "B", id="where it was only appended"),
    ],
)
def test_a_gallery_given_back(now: str, after: str, coming: str, leaving: str, wanted: str) -> None:
    back = planning.Back(assets={}, places={"A": 0}, before=tuple("AXB"), after=tuple(after))
    assert given_back(tuple(now), back, {one: one for one in coming}, leaving) == list(wanted)
