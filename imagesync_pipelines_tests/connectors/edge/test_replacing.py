"""A photo that was replaced at the head office is one update in its place, and a product has one primary photo."""

from collections.abc import Sequence
from typing import Any

import pytest

from imagesync_pipelines.connectors.edge.errors import ObjectMissingError
from imagesync_pipelines.connectors.edge.model import Photo, fingerprint
from imagesync_pipelines.connectors.edge.planning import plan_photos
from imagesync_pipelines.connectors.edge.primaries import second_primaries, with_one_primary
from imagesync_pipelines.connectors.edge.store import StoreDatabase, mark_pending, read_current
from imagesync_pipelines.connectors.edge.store_care import products_with_several_primaries
from imagesync_pipelines.sync.model import DeletionLimits, Scope
from imagesync_pipelines_tests.connectors.edge.photos import (
    PARTIAL,
    PROVEN,
    START,
    Source,
    mirror_of,
    payloads_of,
    photo,
    picture,
    rows_of,
    some_id,
)
from imagesync_pipelines_tests.connectors.edge.test_applying import ENOUGH, plan, source_of, sync
from imagesync_pipelines_tests.connectors.edge.test_store import put


def another(number: int, seed: int, **fields: Any) -> Photo:
    """Another photo of the product `number`."""
    values = {"photo_id": some_id("other", seed), "product_id": some_id("product", number), **fields}
    return photo(number, picture(seed), **values)


def source_with(*photos: tuple[Photo, int]) -> Source:
    return Source({one.photo_id: picture(seed) for one, seed in photos})


def gone(*photos: Photo) -> Scope:
    """The head office says of these photos that they are gone."""
    return Scope(None, None, frozenset(one.photo_id for one in photos))


@pytest.mark.parametrize("scope", [PROVEN, gone(photo(1))], ids=["a whole listing", "the source's word"])
def test_a_replaced_photo_is_one_update_in_its_place(store: StoreDatabase, scope: Scope) -> None:
    sync(store, [photo(1), photo(2)], source_of(1, 2))
    new = another(1, 11)
    mark_pending(store, [new])
    assert products_with_several_primaries(store) == 0
    made = plan(store, [new, photo(2)], scope)
    changed = made.plan[made.plan["change"] != "keep"]
    assert changed[["change", "key", "key_before", "reason"]].values.tolist() == [
        ["update", new.photo_id, photo(1).photo_id, "replaced"]
    ]
    done = sync(store, [new, photo(2)], source_with((new, 11)), scope)
    assert (done.applied.updated, done.applied.added, done.applied.removed, done.downloads) == (1, 0, 0, 1)
    assert done.applied.gone == {photo(1).photo_id}
    assert set(rows_of(store)) == {new.photo_id, photo(2).photo_id}
    assert bytes(rows_of(store)[new.photo_id]["image_binary"]) == picture(11)


def test_a_replacement_that_cannot_be_fetched_leaves_the_old_photo_first(store: StoreDatabase) -> None:
    sync(store, [photo(1)], source_of(1))
    new = another(1, 11)
    sync(store, [new], Source(answers={new.photo_id: [ObjectMissingError("no bytes")]}), PROVEN)
    rows = rows_of(store)
    assert (rows[photo(1).photo_id]["is_primary"], rows[new.photo_id]["is_primary"]) == (True, False)
    sync(store, [new], source_with((new, 11)), PROVEN)
    assert [(key, row["is_primary"]) for key, row in rows_of(store).items()] == [(new.photo_id, True)]


def test_the_nth_new_photo_of_a_place_takes_that_of_the_nth_old_one(store: StoreDatabase) -> None:
    old = [another(1, seed, is_primary=seed == 1, sort_order=seed // 2) for seed in range(1, 4)]
    sync(store, old, source_with(*((one, seed) for seed, one in enumerate(old, 1))))
    new = [another(1, seed + 10, is_primary=seed == 1, sort_order=seed // 2) for seed in range(1, 4)]
    made = plan(store, new, gone(*old))
    places = {one.photo_id: (one.is_primary, one.sort_order) for one in (*old, *new)}
    pairs = made.plan[made.plan["change"] == "update"]
    assert len(pairs) == 3
    assert all(places[key] == places[before] for key, before in zip(pairs["key"], pairs["key_before"], strict=True))


def test_of_two_primaries_that_are_there_one_waits_for_a_third(store: StoreDatabase) -> None:
    two, third = [another(1, 1), another(1, 2, sort_order=1)], another(1, 3, sort_order=-1)

    def synchronise(photos: Sequence[Photo], source: Source) -> dict[str, bool]:
        there = {key for key, row in rows_of(store).items() if row["image_binary"] is not None}
        second = second_primaries(mirror_of(photos), there)
        sync(store, [one._replace(is_primary=one.photo_id not in second) for one in photos], source)
        return {key: row["is_primary"] for key, row in rows_of(store).items() if row["image_binary"] is not None}

    first = synchronise(two, source_with((two[0], 1), (two[1], 2)))
    assert first == {two[0].photo_id: True, two[1].photo_id: False}
    assert synchronise([*two, third], Source(answers={third.photo_id: [ObjectMissingError("no bytes")]})) == first
    now = synchronise([*two, third], source_with((third, 3)))
    assert {key for key, is_primary in now.items() if is_primary} == {third.photo_id}


@pytest.mark.parametrize("replaced", [False, True], ids=["moved", "with another picture"])
def test_what_waits_as_primary_and_is_changed_itself_gives_way_in_the_same_commit(
    store: StoreDatabase, replaced: bool
) -> None:
    old = another(1, 1, sort_order=1)
    sync(store, [old], source_with((old, 1)))
    changed, new = old._replace(sort_order=2), another(1, 2)
    source = source_with((new, 2))
    if replaced:
        changed = another(1, 5, photo_id=old.photo_id, sort_order=2)
        source = source_with((new, 2), (changed, 5))
    assert second_primaries(mirror_of([changed, new]), {old.photo_id}) == [], "the old one waits"

    sync(store, [changed, new], source)

    rows = rows_of(store)
    assert {key: row["is_primary"] for key, row in rows.items()} == {old.photo_id: False, new.photo_id: True}
    assert {row["sync_status"] for row in rows.values()} == {"synced"}
    assert rows[old.photo_id]["sort_order"] == 2


def test_what_is_not_proven_gone_gives_way_as_primary(store: StoreDatabase) -> None:
    sync(store, [photo(1)], source_of(1))
    new = another(1, 11)
    done = sync(store, [new], source_with((new, 11)), PARTIAL)
    assert (done.applied.added, done.applied.removed) == (1, 0)
    assert {key: row["is_primary"] for key, row in rows_of(store).items()} == {
        photo(1).photo_id: False,
        new.photo_id: True,
    }


def test_a_primary_that_changes_hands_is_one_at_every_commit(store: StoreDatabase) -> None:
    two = [another(1, 1), another(1, 2, is_primary=False)]
    sync(store, two, source_with((two[0], 1), (two[1], 2)))
    swapped = [two[0]._replace(is_primary=False), two[1]._replace(is_primary=True)]
    done = sync(store, swapped, Source({}))
    assert (done.applied.updated, done.downloads) == (2, 0)
    assert rows_of(store)[two[1].photo_id]["is_primary"]
    assert not rows_of(store)[two[0].photo_id]["is_primary"]


def test_replacements_above_their_limit_are_held_and_no_photo_comes_beside_the_old_one(store: StoreDatabase) -> None:
    put(store, *range(30))
    new = [another(number, 100 + number) for number in range(30)]
    limits = DeletionLimits(1, ENOUGH, ENOUGH, ENOUGH)
    made = plan_photos(mirror_of(new), read_current(store), PROVEN, limits, max_bytes=ENOUGH)
    assert set(made.plan["change"]) == {"keep"}
    assert len(made.held) == len(made.written) == 30
    assert (made.cost.calls, made.cost.calls_if_approved) == (0, 30)
    assert "30 replacements of 30 rows are more than 50%" in made.warnings[0]


def test_of_several_primary_photos_the_first_then_the_newest_is_the_one() -> None:
    late = START.replace(year=START.year + 1)
    photos = [
        another(1, 1),
        another(1, 2, updated_at=late),
        another(1, 3, sort_order=1, updated_at=late),
        another(1, 4, sort_order=-1, checksum="", size=0),
        another(2, 5, is_primary=False),
        another(2, 6),
    ]
    assert second_primaries(mirror_of(photos), ()) == sorted(photos[place].photo_id for place in (0, 2))
    old = photos[0].photo_id
    assert second_primaries(mirror_of(photos), {old}) == [photos[2].photo_id], "it waits for the other's picture"
    two = {old, photos[2].photo_id}
    assert second_primaries(mirror_of(photos), two) == [photos[2].photo_id], "one waits, not two"
    assert old in second_primaries(mirror_of(photos), {old, photos[1].photo_id})
    mirror, payloads = with_one_primary(mirror_of(photos), payloads_of(photos), ())
    told = mirror.set_index("key")["fingerprint"]
    assert told[photos[0].photo_id] == fingerprint(photos[0]._replace(is_primary=False))
    assert told[photos[1].photo_id] == fingerprint(photos[1])
    texts = payloads([photos[0].photo_id, photos[1].photo_id]).set_index("key")["payload"]
    assert '"is_primary":false' in texts[photos[0].photo_id]
    assert '"is_primary":true' in texts[photos[1].photo_id]
