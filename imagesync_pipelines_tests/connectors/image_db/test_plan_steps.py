"""Plan, guard and apply on real pages and a real database: what is written, what is held back, what is protected."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from imagesync_pipelines.connectors.image_db import plan_steps, planning
from imagesync_pipelines.connectors.image_db.errors import UnknownSkuError
from imagesync_pipelines.connectors.image_db.settings import ProductImageOptions, RecordsOptions
from imagesync_pipelines.defs.work import is_permanent
from imagesync_pipelines.errors import ImagesyncError
from imagesync_pipelines.products import applying
from imagesync_pipelines.products.article_rules import add_rule, remove_rule
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.storage.errors import AccountBusyError, PlanMissingError
from imagesync_pipelines.storage.identities import installation_id, keep_installation
from imagesync_pipelines.storage.locks import account_lock
from imagesync_pipelines.storage.plans import Plans
from imagesync_pipelines.storage.quarantine import QuarantineTable
from imagesync_pipelines.storage.schema import product_image
from imagesync_pipelines_tests.connectors.image_db.made_up import MEDIA, full_exports
from imagesync_pipelines_tests.connectors.image_db.source import PER_PAGE, Connector, image, running

SKUS = ("100001", "100002", "100003", "100004")
LIMIT_1 = RecordsOptions(limit=1, page_size=PER_PAGE)


def catalogue() -> list[dict[str, Any]]:
    """Twelve images, three on each product; the first of each is its front."""
    return [image(10 + number, SKUS[number // 3], front=number % 3 == 0) for number in range(12)]


@pytest.fixture
def connector(database: sa.Engine, tmp_path: Path) -> Iterator[Connector]:
    with running(database, tmp_path / "home", catalogue(), SKUS) as connector:
        yield connector


@pytest.fixture
def synced(connector: Connector) -> Connector:
    """A connector after its first run."""
    assert connector.sync() == (12, 0, 0)
    return connector


def rows(connector: Connector) -> list[tuple[Any, ...]]:
    """Everything in product_image, times included."""
    with connector.place.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.select(product_image).order_by(product_image.c.id))]


def change(connector: Connector, number: int, **original: Any) -> None:
    """Change fields of the original of one image at the source."""
    for record in connector.source.records:
        if record["original_file"]["file_id"] == number:
            record["original_file"].update(original)


def test_the_first_run_adds_and_the_second_only_keeps_and_writes_nothing(synced: Connector) -> None:
    assert synced.shown() == {sku: [str(10 + 3 * n + i) for i in range(3)] for n, sku in enumerate(SKUS)}
    before = rows(synced)
    assert synced.sync() == (0, 0, 0)
    assert rows(synced) == before
    made = synced.plan()
    assert made.planned.counts == {"add": 0, "update": 0, "remove": 0, "keep": 12, "reject": 0}


def test_force_writes_unchanged_rows_and_a_pin_stays(synced: Connector) -> None:
    product = synced.product_id(SKUS[0])
    pin_image(synced.place.engine, product, "image_db", "12", "anna")
    assert synced.sync(force=True) == (0, 12, 0)
    assert synced.shown()[SKUS[0]] == ["12", "10", "11"]


def sign(connector: Connector, hours: float) -> None:
    """All addresses of an image are signed anew, and end so many hours from now."""
    [signed] = [record for record in connector.source.records if record["original_file"]["file_id"] == 10]
    end = f"?Signature={hours}&Expires={datetime.now(UTC).timestamp() + hours * 3600:.0f}"
    for file in (signed["original_file"], *signed["exported_files"]):
        for name in ("file_url", "image_url"):
            if file.get(name):
                file[name] = file[name].partition("?")[0] + end


def test_an_address_that_expires_is_replaced_in_time_and_no_other_signature_is_written(connector: Connector) -> None:
    sign(connector, 20)
    assert connector.sync() == (12, 0, 0)
    sign(connector, 21)
    assert connector.sync() == (0, 0, 0), "it is no better than what is there"
    sign(connector, 168)
    assert connector.sync() == (0, 1, 0)
    with connector.place.engine.connect() as connection:
        url = connection.scalar(sa.select(product_image.c.image_url).where(product_image.c.external_id == "10"))
    assert "Signature=168&" in str(url)
    sign(connector, 169)
    assert connector.sync() == (0, 0, 0)


def test_a_database_of_a_backup_is_told_in_the_summary_until_everything_was_read(synced: Connector) -> None:
    place = synced.place
    keep_installation(place.storage, installation_id(place.engine), 99)
    synced.records(LIMIT_1)
    synced.plan()
    part = synced.apply().summary.warnings
    synced.scan()
    synced.records()
    synced.plan()
    whole = synced.apply().summary.warnings
    synced.plan()
    after = synced.apply().summary.warnings
    found = [any("restored from a backup" in warning for warning in told) for told in (part, whole, after)]
    assert found == [True, True, False]


def test_what_is_gone_is_removed_only_with_the_proof_of_a_whole_scan(synced: Connector) -> None:
    del synced.source.records[1]
    synced.source.broken[3] = b'{"count": 11, "next": null, "results": "none"}'
    landed = synced.scan()
    assert not landed.complete
    synced.records()
    made = synced.plan()
    assert (made.planned.counts["remove"], len(made.planned.held)) == (0, 0)
    assert "4 removals are not judged" in made.planned.warnings[-1]
    assert "does not show that they are gone" in made.planned.warnings[-1]
    assert synced.apply().summary.images_deleted == 0
    synced.source.broken.clear()
    assert synced.sync() == (0, 0, 1)
    assert synced.shown()[SKUS[0]] == ["10", "12"]


def test_an_image_that_moved_to_another_product_is_added_there_and_removed_here(synced: Connector) -> None:
    synced.source.records[1] = image(11, SKUS[3])
    assert synced.sync() == (1, 0, 1)
    assert synced.shown()[SKUS[0]] == ["10", "12"]
    assert "11" in synced.shown()[SKUS[3]]


def test_a_part_of_the_pages_adds_and_updates_but_never_removes(synced: Connector) -> None:
    change(synced, 10, type="Szene")
    synced.source.records[1] = image(11, SKUS[3])
    change(synced, 20, type="Szene")
    before = {row[2]: row for row in rows(synced)}
    synced.records(LIMIT_1)
    made = synced.plan()
    assert set(made.planned.plan["key"].str.split("/").str[1]) == {"10", "11", "12", "13"}
    assert (made.planned.plan["ruling"] == "unproven").sum() == 1
    assert (len(made.planned.held), made.planned.counts["remove"]) == (0, 0)
    assert synced.apply().written == (1, 1, 0)
    assert "11" in synced.shown()[SKUS[0]]
    assert "11" in synced.shown()[SKUS[3]]
    after = {row[2]: row for row in rows(synced) if row[1] != synced.product_id(SKUS[3])}
    # 11 could not be removed, and is the better picture now: only its flag is written.
    assert {external_id for external_id in after if after[external_id] != before[external_id]} == {"10", "11"}
    assert synced.shown()[SKUS[0]][0] == "11"


def test_a_stored_plan_does_not_remove_what_a_newer_scan_has_seen_again(synced: Connector) -> None:
    kept = list(synced.source.records)
    del synced.source.records[1]
    change(synced, 20, type="Szene")
    synced.scan()
    synced.records()
    yesterday = synced.plan(dry_run=True)
    assert (yesterday.planned.counts["remove"], yesterday.planned.counts["update"]) == (1, 1)
    synced.source.records[:] = kept
    synced.scan()
    newer = synced.records()
    applied = synced.apply(plan_id=yesterday.plan_id)
    assert applied.written == (0, 1, 0)
    assert applied.summary.refused == 1
    assert f"has it again (by scan {newer.scan_id})" in applied.summary.warnings[0]
    assert synced.shown()[SKUS[0]] == ["10", "11", "12"]
    # Planned again at once, it is planned from the newer reading.
    again = synced.apply(plan_id=yesterday.plan_id, replan=True)
    assert (again.written, again.summary.refused) == ((0, 0, 0), 0)


def test_a_stored_plan_does_not_put_an_image_on_the_product_that_lost_the_number_since(synced: Connector) -> None:
    synced.source.records.append(image(99, SKUS[0], front=False))
    synced.source.records.append(image(98, SKUS[1], front=False))
    synced.scan()
    synced.records()
    yesterday = synced.plan(dry_run=True)
    synced.products("777777", *SKUS[1:])
    with synced.place.engine.begin() as connection:
        # The product keeps its row, and its number is another one's.
        connection.execute(sa.text("UPDATE imagesync.product SET left_erp_at = NULL WHERE sku = '100001'"))
        connection.execute(
            sa.text("UPDATE imagesync.product SET sku = 'free', updated_at = now() WHERE sku = '777777'")
        )
        connection.execute(sa.text("UPDATE imagesync.product SET sku = '777777' WHERE sku = '100001'"))
        connection.execute(sa.text("UPDATE imagesync.product SET sku = '100001' WHERE sku = 'free'"))
    applied = synced.apply(plan_id=yesterday.plan_id)
    assert applied.written == (1, 0, 0)
    assert "98" in synced.shown()[SKUS[1]]
    assert "99" not in synced.shown().get("777777", [])
    assert "by the ERP's products as they are now" in applied.summary.warnings[0]


def test_a_number_that_people_say_is_a_product_brings_its_pictures_there_and_takes_them_back(synced: Connector) -> None:
    engine = synced.place.engine
    synced.source.records.append(image(99, "1OOOO1", front=False))
    assert synced.sync() == (0, 0, 0)
    assert synced.unmatched().rows == 1
    add_rule(engine, "1OOOO1", "", SKUS[0], "anna")
    synced.scan()
    synced.records()
    stored = synced.plan()
    assert stored.planned.counts["add"] == 1
    remove_rule(engine, "1OOOO1", "", "anna")
    assert synced.apply(plan_id=stored.plan_id).written == (0, 0, 0), "the plan rests on a rule that is no more"
    add_rule(engine, "1OOOO1", "", SKUS[0], "anna")
    assert synced.sync() == (1, 0, 0)
    assert synced.sync() == (0, 0, 0)
    assert "99" in synced.shown()[SKUS[0]]
    assert synced.unmatched().rows == 0
    with engine.connect() as connection:
        by = connection.scalar(sa.select(product_image.c.matched_by).where(product_image.c.external_id == "99"))
    assert by == "a person's rule"
    remove_rule(engine, "1OOOO1", "", "anna")
    assert synced.sync() == (0, 0, 1)


def test_only_the_products_asked_for_are_touched(synced: Connector) -> None:
    for number in (10, 13):
        change(synced, number, type="Szene")
    synced.source.records[2] = image(12)
    synced.scan()
    others = [row for row in rows(synced) if row[1] != synced.product_id(SKUS[0])]
    assert synced.sync(RecordsOptions(page_size=PER_PAGE, skus=[SKUS[0]])) == (0, 1, 0)
    assert [row for row in rows(synced) if row[1] != synced.product_id(SKUS[0])] == others
    assert synced.shown()[SKUS[0]].count("12") == 1


def test_a_product_that_nobody_has_is_an_error(synced: Connector) -> None:
    synced.records(RecordsOptions(page_size=PER_PAGE, skus=[SKUS[0], "999"]))
    with pytest.raises(UnknownSkuError, match="999") as refused:
        synced.plan()
    assert isinstance(refused.value, ImagesyncError), "people see its sentence, not a trace"
    assert is_permanent(refused.value)


def test_only_the_images_asked_for_are_looked_at(synced: Connector) -> None:
    change(synced, 10, type="Szene")
    change(synced, 13, type="Szene")
    synced.scan()
    others = [row for row in rows(synced) if row[1] != synced.product_id(SKUS[0])]
    assert synced.sync(RecordsOptions(page_size=PER_PAGE, external_ids=["10"])) == (0, 1, 0)
    assert [row for row in rows(synced) if row[1] != synced.product_id(SKUS[0])] == others


def test_the_same_file_under_a_new_id_is_one_update_and_its_pin_goes_with_it(
    synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    product, contents, asked = synced.product_id(SKUS[0]), planning.contents, list[str]()
    monkeypatch.setattr(planning, "contents", lambda at, keys: asked.extend(keys) or contents(at, keys))
    pin_image(synced.place.engine, product, "image_db", "11", "anna")
    synced.source.records[1] = image(999, SKUS[0], front=False, file_url=f"{MEDIA}original-11.psd")
    assert synced.sync() == (0, 1, 0)
    assert synced.shown()[SKUS[0]] == ["999", "10", "12"]
    assert asked == [f"{product}/999"]


PROTECTED = {
    "a record that does not validate": {"file_url": "no URL"},
    "a record whose numbers are not legible": {"type": 7},
}


@pytest.mark.parametrize("fault", PROTECTED.values(), ids=PROTECTED.keys())
def test_what_we_have_of_a_rejected_record_stays_and_it_is_held_in_quarantine(
    synced: Connector, fault: dict[str, Any]
) -> None:
    before = rows(synced)
    good = dict(synced.source.records[0]["original_file"])
    change(synced, 10, **fault)
    assert synced.sync() == (0, 0, 0)
    assert rows(synced) == before
    table = QuarantineTable(synced.place.engine, "image_db")
    assert [(entry.key, entry.stage) for entry in table.list()] == [("10", "record")]
    change(synced, 10, **good)
    assert synced.sync() == (0, 0, 0)
    assert table.list() == []


def test_an_image_that_no_browser_can_show_any_more_keeps_its_row(synced: Connector) -> None:
    before = rows(synced)
    synced.source.records[0]["exported_files"] = []
    assert synced.sync() == (0, 0, 0)
    assert rows(synced) == before
    synced.source.records[0]["exported_files"] = full_exports(50)
    assert synced.sync() == (0, 1, 0)


LIMITS = {
    "share": {"deletion_limit_share": 0.1, "deletion_limit_floor": 1},
    "count": {"deletion_limit_share": 1, "deletion_limit_count": 3},
    "products left bare": {"deletion_limit_share": 1, "deletion_limit_bare": 0},
}


@pytest.mark.parametrize("deletion_limits", LIMITS.values(), ids=LIMITS.keys())
def test_the_deletion_limits_of_the_settings_holds_removals_back_and_nothing_else(
    database: sa.Engine, tmp_path: Path, deletion_limits: dict[str, Any]
) -> None:
    with running(database, tmp_path / "home", catalogue(), SKUS, **deletion_limits) as connector:
        connector.sync()
        connector.source.records[:4] = [image(50, SKUS[3])]
        assert connector.sync() == (1, 0, 0)
        assert len(connector.shown()[SKUS[0]]) == 3
        (header,) = Plans(connector.place.engine, connector.place.storage).newest(1, "image_db")
        assert header.scope["held_back"] == 4
        assert "removals are held back" in header.scope["warnings"][-1]
        assert connector.sync(allow_mass_delete=True) == (0, 0, 4)
        assert SKUS[0] not in connector.shown()


def test_a_product_that_left_the_erp_loses_its_images_under_the_deletion_limits_and_gets_them_back(
    database: sa.Engine, tmp_path: Path
) -> None:
    with running(
        database, tmp_path / "home", catalogue(), SKUS, deletion_limit_share=1, deletion_limit_bare=0
    ) as connector:
        connector.sync()
        product = connector.product_id(SKUS[0])
        connector.products(*SKUS[1:])
        assert connector.sync() == (0, 0, 0)
        assert connector.sync(allow_mass_delete=True) == (0, 0, 3)
        assert SKUS[0] not in connector.shown()
        connector.products(*SKUS)
        assert connector.sync() == (3, 0, 0)
        assert connector.product_id(SKUS[0]) == product


def test_a_stored_plan_is_applied_later_and_products_that_moved_since_are_refused(synced: Connector) -> None:
    synced.source.records.append(image(40, SKUS[0], SKUS[1]))
    synced.scan()
    synced.records()
    stored = synced.plan()
    synced.source.records.append(image(41, SKUS[0]))
    synced.sync(RecordsOptions(page_size=PER_PAGE, limit=10, skip_pages=3))
    assert synced.shown()[SKUS[0]].count("41") == 1
    with synced.place.engine.begin() as connection:
        connection.execute(product_image.delete().where(product_image.c.external_id == "40"))
    done = synced.apply(plan_id=stored.plan_id)
    assert (done.summary.images_added, done.summary.refused) == (1, 1)
    assert "--replan" in done.summary.warnings[-1]
    assert "40" in synced.shown()[SKUS[1]]
    assert "40" not in synced.shown()[SKUS[0]]


def test_refused_products_are_planned_again_when_asked_for(synced: Connector) -> None:
    synced.source.records.append(image(40, SKUS[0], SKUS[1]))
    synced.scan()
    synced.records()
    stored = synced.plan()
    with synced.place.engine.begin() as connection:
        connection.execute(product_image.delete().where(product_image.c.external_id == "12"))
    done = synced.apply(plan_id=stored.plan_id, replan=True)
    assert (done.summary.images_added, done.summary.refused, done.summary.products_affected) == (3, 0, 2)
    assert sorted(synced.shown()[SKUS[0]]) == ["10", "11", "12", "40"]
    plans = Plans(synced.place.engine, synced.place.storage).all("image_db")
    assert [header.applied_run for header in plans[:2]] == [synced.run_id] * 2


def test_a_plan_applied_twice_writes_nothing_and_says_so(synced: Connector) -> None:
    synced.source.records.append(image(41, SKUS[0]))
    synced.scan()
    synced.records()
    plan_id = synced.plan().plan_id
    assert synced.apply(plan_id=plan_id).summary.images_added == 1
    before = rows(synced)
    synced.run_id = "another run"
    done = synced.apply(plan_id=plan_id)
    assert (done.summary.images_added, done.summary.refused) == (0, 1)
    assert "had been applied before" in done.summary.warnings[0]
    assert rows(synced) == before


def test_a_plan_that_was_broken_off_goes_on_and_counts_what_it_had_written(
    connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector.scan()
    connector.records()
    connector.plan()
    monkeypatch.setattr(applying, "ROWS_PER_BATCH", 3)
    batches = iter(range(100))

    def break_off(stage: str, done: int, total: int | None) -> None:
        if next(batches) == 1:
            raise sa.exc.OperationalError("COMMIT", {}, Exception("the server went away"))

    with pytest.raises(sa.exc.OperationalError):
        plan_steps.product_images(connector.context(break_off), ProductImageOptions())
    assert len(rows(connector)) in (6, 9)  # a batch that the other writer had begun comes to its end
    done = connector.apply()
    assert (done.summary.images_added, done.summary.refused, done.rows) == (12, 0, 12)


def test_a_poisoned_row_is_told_quarantined_and_tried_again(synced: Connector) -> None:
    synced.source.records.append(image(2**62, SKUS[0]))
    with synced.place.engine.begin() as connection:
        connection.execute(
            sa.text("ALTER TABLE imagesync.product_image ADD CONSTRAINT poison CHECK (length(external_id) < 10)")
        )
    synced.scan()
    synced.records()
    synced.plan()
    done = synced.apply()
    assert (done.summary.failed, done.summary.images_added) == (1, 0)
    assert any("quarantine" in warning for warning in done.summary.warnings)
    with synced.place.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE imagesync.product_image DROP CONSTRAINT poison"))
    assert synced.sync() == (1, 0, 0)
    assert QuarantineTable(synced.place.engine, "image_db").list() == []


def test_a_second_run_does_not_write_while_the_first_holds_the_lock(synced: Connector) -> None:
    synced.records()
    synced.plan()
    with account_lock(synced.place.engine, "image_db", 0), pytest.raises(AccountBusyError):
        synced.apply()


def test_without_a_plan_nothing_can_be_applied(connector: Connector) -> None:
    with pytest.raises(PlanMissingError, match="Start the job image_db__sync"):
        connector.apply()


def test_the_plan_says_what_matched_and_what_did_not(connector: Connector) -> None:
    connector.source.records += [image(60, "999999"), image(61)]
    connector.scan()
    connector.records()
    made = connector.plan()
    header = Plans(connector.place.engine, connector.place.storage).header(made.plan_id)
    assert {name: header.scope[name] for name in ("kind", "matched", "unmatched", "held_back")} == {
        "kind": "all",
        "matched": 12,
        "unmatched": 1,
        "held_back": 0,
    }
