"""A plan of photos is applied: what is written, what stays, and that a second run has nothing to do."""

import threading
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.edge import downloads, target
from imagesync_pipelines.connectors.edge.client.api import PhotoReport
from imagesync_pipelines.connectors.edge.downloads import Downloads
from imagesync_pipelines.connectors.edge.errors import (
    ObjectMissingError,
    PhotoGoneError,
    SourceGoneError,
    StoreNotAllowedError,
)
from imagesync_pipelines.connectors.edge.model import Photo
from imagesync_pipelines.connectors.edge.reporting import PhotosApplied
from imagesync_pipelines.connectors.edge.store import (
    DOUBTED,
    StoreDatabase,
    mark_pending,
    read_current,
    write_with_bytes,
)
from imagesync_pipelines.connectors.edge.target import MOVED, apply_photos
from imagesync_pipelines.imaging import verdicts
from imagesync_pipelines.imaging.validation import check_image
from imagesync_pipelines.imaging.verdicts import Verdicts
from imagesync_pipelines.sync.model import Scope
from imagesync_pipelines.upstream.errors import UnavailableError
from imagesync_pipelines_tests.connectors.edge.photos import (
    PARTIAL,
    PROVEN,
    Basket,
    Body,
    Made,
    Source,
    made_of,
    no_waiting,
    photo,
    picture,
    rows_of,
    run_sql,
    settings_of,
    some_id,
)

ENOUGH = 10**7


def plan(store: StoreDatabase, photos: Sequence[Photo], scope: Scope = PROVEN) -> Made:
    return made_of(photos, read_current(store), scope)


def apply(store: StoreDatabase, made: Made, source: Source, basket: Basket | None = None, **more: Any) -> PhotosApplied:
    fetching = Downloads(source.open, more.pop("policy", settings_of()), timing=no_waiting())
    return apply_photos(made.plan, made.payload, store, fetching, basket or Basket(), **more)


def sync(
    store: StoreDatabase, photos: Sequence[Photo], source: Source, scope: Scope = PROVEN, **more: Any
) -> PhotosApplied:
    return apply(store, plan(store, photos, scope), source, **more)


def source_of(*numbers: int) -> Source:
    return Source({some_id("photo", number): picture(number) for number in numbers})


def test_photos_are_written_with_bytes_metadata_and_status(store: StoreDatabase) -> None:
    reports: list[PhotoReport] = []
    listed = photo(7, sort_order=3, filename='ph"oto äöü.jpg')
    done = sync(store, [listed], source_of(7), on_written=reports.extend)
    row = rows_of(store)[listed.photo_id]
    assert bytes(row["image_binary"]) == picture(7)
    assert (row["sync_status"], row["sync_error"]) == ("synced", None)
    assert (row["filename"], row["sort_order"], row["checksum"]) == ('ph"oto äöü.jpg', 3, listed.checksum)
    assert row["updated_at"] == listed.updated_at
    assert row["last_sync_at"] is not None
    assert (done.downloads, done.verified, done.failed, done.bytes) == (1, 1, 0, listed.size)
    assert done.applied.added == 1
    assert [(report.photo_id, report.status) for report in reports] == [(listed.photo_id, "synced")]


def test_a_second_run_writes_nothing(store: StoreDatabase) -> None:
    photos, source = [photo(number) for number in range(30)], source_of(*range(30))
    sync(store, photos, source)
    again = plan(store, photos)
    assert set(again.plan["change"]) == {"keep"}
    before = rows_of(store, "xmin::text")
    assert apply(store, again, source).applied.kept == 30
    assert rows_of(store, "xmin::text") == before
    assert len(source.opened) == 30


def test_a_new_order_is_written_without_bytes(store: StoreDatabase) -> None:
    source = source_of(1)
    sync(store, [photo(1)], source)
    done = sync(store, [photo(1, sort_order=9, is_primary=False)], source)
    assert (done.downloads, done.applied.updated) == (0, 1)
    row = rows_of(store)[some_id("photo", 1)]
    assert (row["sort_order"], row["is_primary"], row["sync_status"]) == (9, False, "synced")


def test_a_picture_that_rotted_is_not_taken_for_synced_when_its_order_changes(store: StoreDatabase) -> None:
    source = source_of(1)
    sync(store, [photo(1)], source)
    run_sql(store, "UPDATE product_photo SET image_binary = 'rotten'")
    changed = photo(1, sort_order=9)
    first = sync(store, [changed], source)
    assert (first.applied.failed, first.applied.errors[0].partition(": ")[2]) == (1, f"failed: {DOUBTED}")
    assert rows_of(store)[changed.photo_id]["sync_status"] == "pending"
    assert sync(store, [changed], source).verified == 1
    assert bytes(rows_of(store)[changed.photo_id]["image_binary"]) == picture(1)


def test_a_replaced_photo_retires_the_old_one_once_the_new_one_is_there(store: StoreDatabase) -> None:
    old, new = photo(1), photo(1, picture(2), photo_id=some_id("photo", 2))
    source = source_of(1, 2)
    sync(store, [old], source)
    mark_pending(store, [new])
    done = sync(store, [new], source, Scope(None, None, frozenset({old.photo_id})))
    assert (done.applied.updated, done.applied.gone) == (1, {old.photo_id})
    assert set(rows_of(store)) == {new.photo_id}


def test_the_old_photo_stays_while_the_new_one_cannot_be_fetched(store: StoreDatabase) -> None:
    old, new = photo(1), photo(1, picture(2), photo_id=some_id("photo", 2))
    sync(store, [old], source_of(1))
    basket = Basket()
    broken = Source(answers={new.photo_id: [ObjectMissingError("no bytes")]})
    done = sync(store, [new], broken, basket=basket)
    assert (done.applied.failed, done.applied.gone) == (1, frozenset())
    assert list(basket.items) == [new.photo_id]
    rows = rows_of(store)
    assert bytes(rows[old.photo_id]["image_binary"]) == picture(1)
    assert (rows[new.photo_id]["sync_status"], rows[new.photo_id]["image_binary"]) == ("failed", None)


def test_a_replacement_with_the_same_bytes_needs_no_download(store: StoreDatabase) -> None:
    old, new = photo(1), photo(1, photo_id=some_id("photo", 2), sort_order=4)
    source = source_of(1)
    sync(store, [old], source)
    mark_pending(store, [new])
    done = sync(store, [new], source)
    assert (done.downloads, done.applied.updated, done.applied.removed) == (0, 1, 0)
    row = rows_of(store)
    assert set(row) == {new.photo_id}
    assert (bytes(row[new.photo_id]["image_binary"]), row[new.photo_id]["sort_order"]) == (picture(1), 4)


def test_a_photo_moves_to_another_product(store: StoreDatabase) -> None:
    source = source_of(1)
    sync(store, [photo(1)], source)
    done = sync(store, [photo(1, product_id=some_id("product", 99))], source, PARTIAL)
    assert (done.downloads, done.applied.updated) == (0, 1)
    assert str(rows_of(store)[some_id("photo", 1)]["product_id"]) == some_id("product", 99)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(ObjectMissingError("no bytes for it"), "no bytes for it", id="object missing"),
        pytest.param(Body([b"<html>busy</html>"]), "checksum mismatch", id="HTML"),
        pytest.param(Body([picture(5)[:-9], UnavailableError("it broke off")]), "it broke off", id="broken off"),
    ],
)
def test_a_failed_download_keeps_the_old_picture(store: StoreDatabase, answer: Exception | Body, reason: str) -> None:
    sync(store, [photo(1)], source_of(1))
    changed = photo(1, picture(5))
    basket = Basket()
    done = sync(store, [changed], Source(answers={changed.photo_id: [answer] * 5}), basket=basket)
    assert done.applied.failed == 1
    row = rows_of(store)[changed.photo_id]
    assert bytes(row["image_binary"]) == picture(1)
    assert row["checksum"] == photo(1).checksum
    assert reason in row["sync_error"]
    assert reason in basket.items[changed.photo_id].reason
    healed = sync(store, [changed], Source({changed.photo_id: picture(5)}), basket=basket)
    assert (healed.verified, basket.items) == (1, {})
    assert bytes(rows_of(store)[changed.photo_id]["image_binary"]) == picture(5)


def test_a_file_that_is_no_picture_is_refused_although_its_checksum_is_right(store: StoreDatabase) -> None:
    body = b"<html>not a photo</html>"
    listed = photo(1, body)
    done = sync(store, [listed], Source({listed.photo_id: body}))
    assert (done.verified, done.failed) == (0, 1)
    row = rows_of(store)[listed.photo_id]
    assert (row["image_binary"], row["sync_status"]) == (None, "failed")
    assert "HTML" in row["sync_error"]


def test_a_mismatch_is_left_to_the_next_listing_once_and_is_corruption_the_second_time(store: StoreDatabase) -> None:
    listed, source = photo(1), Source({some_id("photo", 1): picture(2)})
    first = sync(store, [listed], source)
    assert (first.failed, first.mismatched, first.unsettled) == (0, [], [listed.photo_id])
    assert rows_of(store)[listed.photo_id]["sync_status"] == "pending"
    second = sync(store, [listed], source)
    assert (second.failed, second.mismatched, second.unsettled) == (1, [listed.photo_id], [])
    assert rows_of(store)[listed.photo_id]["sync_status"] == "failed"


def test_a_photo_that_went_meanwhile_is_no_failure(store: StoreDatabase) -> None:
    reports: list[PhotoReport] = []
    listed = photo(1)
    done = sync(store, [listed], Source(answers={listed.photo_id: [PhotoGoneError("404")]}), on_written=reports.extend)
    assert (done.failed, done.gone, done.unsettled) == (0, {listed.photo_id}, [listed.photo_id])
    assert reports == []


def test_a_bad_photo_does_not_stop_the_others(store: StoreDatabase) -> None:
    source = source_of(*range(20))
    source.answers[some_id("photo", 4)] = [ObjectMissingError("no bytes")]
    reports: list[PhotoReport] = []
    done = sync(store, [photo(number) for number in range(20)], source, on_written=reports.extend)
    assert (done.verified, done.failed) == (19, 1)
    assert sorted(report.status for report in reports) == ["failed"] + ["synced"] * 19


def test_a_photo_that_the_database_refuses_fails_alone(store: StoreDatabase) -> None:
    photos = [photo(number) for number in range(9)]
    made = plan(store, photos)
    run_sql(store, "ALTER TABLE product_photo ADD CHECK (sort_order < 5)")
    (portion,) = made.payload
    portion["photo"] = [
        text.replace('"sort_order":0', '"sort_order":7', 1) if photos[3].photo_id in text else text
        for text in portion["photo"]
    ]
    basket, reports = Basket(), list[PhotoReport]()
    done = apply(store, made, source_of(*range(9)), basket, on_written=reports.extend)
    assert sorted(report.status for report in reports) == ["failed"] + ["synced"] * 8
    assert (done.applied.added, done.applied.failed) == (8, 1)
    reason = basket.items[photos[3].photo_id].reason
    assert "check constraint" in reason
    assert not any(shown in reason for shown in ("INSERT", "[SQL", picture(3).hex()[:16], repr(picture(3)[:8])[2:-1]))
    assert len(rows_of(store)) == 8


def test_a_row_that_changed_since_the_plan_is_refused(store: StoreDatabase) -> None:
    source = source_of(1)
    sync(store, [photo(1)], source)
    made = plan(store, [photo(1, sort_order=1)])
    run_sql(store, "UPDATE product_photo SET sort_order = 8")
    done = apply(store, made, source)
    assert done.applied.refused == 1
    assert MOVED in done.applied.errors[0]
    assert rows_of(store)[some_id("photo", 1)]["sort_order"] == 8


def test_a_plan_applied_twice_fetches_nothing_the_second_time(store: StoreDatabase) -> None:
    source = source_of(*range(5))
    made = plan(store, [photo(number) for number in range(5)])
    apply(store, made, source)
    again = apply(store, made, source)
    assert (again.downloads, again.applied.added, again.applied.refused) == (0, 5, 0)


def test_a_source_that_is_gone_ends_the_run_and_what_came_before_is_written(store: StoreDatabase) -> None:
    photos = sorted((photo(number) for number in range(40)), key=lambda listed: listed.product_id)
    source = source_of(*range(40))
    for listed in photos[12:]:
        source.answers[listed.photo_id] = [UnavailableError("no connection")] * 9
    made = plan(store, photos)
    with pytest.raises(SourceGoneError, match="10 photos in a row"):
        apply(store, made, source)
    statuses = pd.Series({key: row["sync_status"] for key, row in rows_of(store).items()})
    assert (statuses == "synced").sum() == 12
    assert sync(store, photos, source_of(*range(40))).verified == 28


def test_an_account_that_is_refused_ends_the_run_at_once(store: StoreDatabase) -> None:
    listed = photo(1)
    with pytest.raises(StoreNotAllowedError):
        sync(store, [listed], Source(answers={listed.photo_id: [StoreNotAllowedError("403")]}))
    assert rows_of(store) == {}


@pytest.mark.parametrize("rows_per_commit", [1, 3, 100])
def test_progress_counts_every_row_once(store: StoreDatabase, rows_per_commit: int) -> None:
    seen: list[int] = []
    photos = [photo(number) for number in range(7)]
    sync(
        store,
        photos,
        source_of(*range(7)),
        policy=settings_of(rows_per_commit=rows_per_commit),
        on_progress=seen.append,
    )
    assert seen[-1] == 7
    assert seen == sorted(seen)


def test_there_is_one_commit_and_one_telling_for_each_batch_and_none_for_what_is_only_looked_at(
    store: StoreDatabase,
) -> None:
    photos, commits, told = [photo(number) for number in range(10)], [0], list[int]()

    def count() -> None:
        commits[0] += 1

    sync(
        store,
        photos,
        source_of(*range(10)),
        policy=settings_of(rows_per_commit=5),
        before_write=count,
        on_written=lambda reports: told.append(len(reports)),
    )
    assert (commits, told) == ([2], [5, 5])


def test_photos_are_gathered_while_others_are_written(store: StoreDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "ROWS_AHEAD", 1)
    source, more = source_of(*range(4)), threading.Event()

    def opened(listed: Photo) -> None:
        if source.opened:
            more.set()

    source.before = opened
    policy = settings_of(rows_per_commit=1)
    done = sync(store, [photo(n) for n in range(4)], source, policy=policy, before_write=lambda: waited(more))
    assert done.verified == 4


def waited(event: threading.Event) -> None:
    assert event.wait(60), "nothing is fetched or written before the commit is over"


def test_a_batch_is_written_while_the_one_before_it_waits_for_its_commit(
    store: StoreDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    second, begun = threading.Event(), list[int]()

    def noted(connection: sa.Connection, table: str, written: Sequence[Any], moment: datetime) -> None:
        begun.append(len(written))
        if len(begun) == 2:
            second.set()
        write_with_bytes(connection, table, written, moment)

    monkeypatch.setattr(target.store, "write_with_bytes", noted)
    sa.event.listen(store.engine, "commit", lambda connection: begun and waited(second))
    done = sync(store, [photo(n) for n in range(2)], source_of(0, 1), policy=settings_of(rows_per_commit=1))
    assert (done.applied.added, begun) == (2, [1, 1])


def test_photos_of_one_product_in_several_batches_are_written_one_batch_after_the_other(
    store: StoreDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = list[str]()

    def noted(*given: Any) -> None:
        seen.append("written")
        write_with_bytes(*given)

    monkeypatch.setattr(target.store, "write_with_bytes", noted)
    photos = [photo(n, product_id=some_id("product", 0), is_primary=n == 0) for n in range(5)]
    policy = settings_of(rows_per_commit=1)
    sync(store, photos, source_of(*range(5)), policy=policy, on_written=lambda reports: seen.append("told"))
    assert seen == ["written", "told"] * 5


def test_two_stores_and_two_runs_decode_each_content_once(
    store: StoreDatabase, database: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    decodes: list[bytes] = []
    monkeypatch.setattr(
        verdicts, "check_image", lambda body, **options: (decodes.append(body), check_image(body, **options))[1]
    )
    # The photos 5 and 6 have the bytes of 1, the photo 4 has none that are a picture.
    bodies = [*(picture(number) for number in range(4)), b"<html></html>", picture(1), picture(1)]
    photos = [photo(number, body) for number, body in enumerate(bodies)]
    source = Source({one.photo_id: body for one, body in zip(photos, bodies, strict=True)})
    reasons = [reason_of_a_new_store(store, Verdicts(database), photos, source) for _ in range(2)]
    assert sorted(decodes) == sorted(bodies[:5])
    assert reasons[0] == reasons[1]


def reason_of_a_new_store(store: StoreDatabase, known: Verdicts, photos: Sequence[Photo], source: Source) -> str:
    """Sync into an empty table; why the photo 4 is refused."""
    run_sql(store, "TRUNCATE product_photo")
    made = plan(store, photos)
    fetching = Downloads(
        source.open, settings_of(), check=lambda body, one: known.check(body, one.checksum, one.content_type)
    )
    done = apply_photos(
        made.plan, made.payload, store, fetching, Basket(),
        before_fetch=known.look_up, on_written=lambda reports: known.save(),
    )  # fmt: skip
    assert (done.downloads, done.verified) == (len(photos), len(photos) - 1)
    return str(rows_of(store)[photos[4].photo_id]["sync_error"])


def test_photos_larger_than_the_budget_go_one_by_one(store: StoreDatabase) -> None:
    policy = settings_of(budget=100)
    done = sync(store, [photo(number) for number in range(6)], source_of(*range(6)), policy=policy)
    assert done.verified == 6
