"""The traps of contracts/image_db.md that lie in the records and the rows (4, 5, 7 to 11), against the sandbox."""

import io
from copy import deepcopy
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from PIL import Image

from imagesync_pipelines.products.erp import ErpError
from imagesync_pipelines.products.primaries import pin_image
from imagesync_pipelines.sandbox.image_db.server import Sandbox, image_db_sandbox
from imagesync_pipelines.sync import held
from imagesync_pipelines_tests.e2e.connectors import Connector, Connectors, assert_same_tables, from_scratch
from imagesync_pipelines_tests.sandbox.image_db.odd import insert_odd_records, odd_records

pytestmark = pytest.mark.slow

NEW_ID = 940_001


@pytest.fixture
def connector(connectors: Connectors, sandbox: Sandbox) -> Connector:
    """A connector after its first synchronisation."""
    return from_scratch(connectors, sandbox)


def new_record(sandbox: Sandbox, links: list[dict[str, Any]], **original: Any) -> dict[str, Any]:
    """An ordinary record of full exports with these links; `original` replaces fields of original_file."""
    records = sandbox.catalogue.records()
    record: dict[str, Any] = deepcopy(next(found for found in records if len(found["exported_files"]) >= 4))
    record["original_file"] |= {"file_id": NEW_ID, "db_id": NEW_ID, "type": "Produktfoto", **original}
    record["articles"] = links
    return record


def link(number: object, variant: str = "BE", *, front: bool = False) -> dict[str, Any]:
    """A link of a record to an article."""
    return {"number": number, "variant": variant, "front": front, "stock": 1}


def variants(connector: Connector) -> list[sa.RowMapping]:
    """Variants of the ERP that have no images yet, their parent neither."""
    query = """
    SELECT v.id, v.sku, v.variant_code, p.sku AS parent_sku FROM imagesync.product v
      JOIN imagesync.product p ON p.id = v.parent_id
     WHERE NOT EXISTS (SELECT 1 FROM imagesync.product_image i WHERE i.product_id IN (v.id, p.id)) ORDER BY v.id
    """
    with connector.place.engine.connect() as connection:
        return list(connection.execute(sa.text(query)).mappings())


def primary_of(connector: Connector, product_id: int) -> str:
    """The primary image of a product."""
    query = "SELECT external_id FROM imagesync.product_image WHERE product_id = :id AND is_primary"
    return str(connector.scalar(query, id=product_id))


def test_trap_04_a_re_export_is_an_update_of_the_same_row(connector: Connector, sandbox: Sandbox) -> None:
    shown = connector.table()["external_id"][0]
    before = connector.rows(shown)
    sandbox.mutate("re_export", file_id=int(shown))
    assert connector.sync().written == (0, len(before), 0)
    after = connector.rows(shown)
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert all(new["image_url"] != old["image_url"] for new, old in zip(after, before, strict=True))


def test_trap_04_the_identity_is_the_file_id_and_every_image_has_its_own(
    connector: Connector, sandbox: Sandbox
) -> None:
    table = connector.table()
    ids = {str(record["original_file"]["file_id"]) for record in sandbox.catalogue.records()}
    assert set(table["external_id"]) <= ids
    assert not table.duplicated(["kind", "erp_id", "external_id"]).any()
    assert all("id" not in record for record in sandbox.catalogue.records())
    assert table["external_id"].nunique() > 80


def test_trap_05_stock_and_order_that_drift_write_nothing(connector: Connector, sandbox: Sandbox) -> None:
    before = connector.stamps()
    body = sandbox.catalogue.records()
    for _ in range(2):
        sandbox.mutate("reorder")
        for record in sandbox.catalogue.records():
            record["articles"].reverse()
            record["exported_files"].reverse()
            record["articles"] += record["articles"][:1]
            sandbox.catalogue.replace(record["original_file"]["file_id"], record)
        result = connector.sync()
        assert result.records.complete
        assert result.written == (0, 0, 0)
        assert connector.stamps() == before
    assert sandbox.catalogue.records() != body
    assert "stock" not in connector.scalar("SELECT string_agg(metadata::text, '') FROM imagesync.product_image")


def test_trap_05_a_second_run_writes_no_row_in_the_databases_own_count(connector: Connector) -> None:
    before = connector.writes()
    assert min(before.values()) > 0
    connector.sync()
    assert connector.writes() == before


def test_trap_06_times_that_are_seven_hours_apart_change_nothing_in_the_order(
    connector: Connector, sandbox: Sandbox
) -> None:
    skewed = [
        record
        for record in sandbox.catalogue.records()
        if record["exported_files"]
        and record["original_file"]["imported_at"] > max(export["created"] for export in record["exported_files"])
    ]
    assert skewed
    for record in skewed[:10]:
        for row in connector.rows(record["original_file"]["file_id"]):
            assert row["newest_export"].isoformat()[:19] == max(e["created"] for e in record["exported_files"])[:19]


def test_trap_07_every_odd_record_ends_as_a_row_a_reject_or_a_line_for_a_person(
    connectors: Connectors, connector: Connector
) -> None:
    with image_db_sandbox(records=130) as odd:
        insert_odd_records(odd)
        other = connectors.make(odd)
        result = other.sync()
        known = len(odd_records(odd.catalogue))
        about = result.records
        assert about.records + len(about.rejects) + about.repeated == len(odd.catalogue)
        assert 10 < len(about.rejects) < known
        assert all(line.reason for line in about.rejects)
        quarantined = other.scalar("SELECT count(*) FROM imagesync.quarantine WHERE stage = 'record'")
        assert quarantined == len(about.rejects)
        other.assert_one_primary_each()
        assert not about.complete
        ordinary = set(connector.table()["external_id"])
        assert ordinary <= set(other.table()["external_id"])
        before = other.stamps()
        assert other.sync().written == (0, 0, 0)
        assert other.stamps() == before


def test_trap_07_a_record_that_becomes_illegible_keeps_its_rows(connector: Connector, sandbox: Sandbox) -> None:
    shown = connector.table()["external_id"][0]
    before = connector.stamps()
    record = sandbox.catalogue.record(int(shown))
    broken = deepcopy(record)
    broken["articles"] = None
    broken["original_file"]["file_url"] = 5
    sandbox.catalogue.replace(int(shown), broken)
    result = connector.sync()
    assert result.written == (0, 0, 0)
    assert connector.stamps() == before
    assert connector.scalar("SELECT count(*) FROM imagesync.quarantine WHERE key = :key", key=shown) == 1
    sandbox.catalogue.replace(int(shown), record)
    connector.sync()
    assert connector.scalar("SELECT count(*) FROM imagesync.quarantine") == 0
    assert connector.stamps() == before


def test_trap_07_nulls_of_a_psd_placeholder_cost_nothing(connector: Connector, sandbox: Sandbox) -> None:
    placeholders = [
        str(record["original_file"]["file_id"])
        for record in sandbox.catalogue.records()
        if record["articles"] and any(export["resolution"] is None for export in record["exported_files"])
    ]
    table = connector.table()
    assert placeholders
    assert len(set(placeholders) & set(table["external_id"])) > len(placeholders) / 2
    assert connector.scalar("SELECT count(*) FROM imagesync.quarantine") == 0


def test_trap_08_no_main_image_is_a_thumbnail_a_psd_or_a_tiff(connector: Connector, sandbox: Sandbox) -> None:
    rows = connector.table().to_dict("records")
    assert len(rows) > 20
    for row in rows:
        record = sandbox.catalogue.record(int(row["external_id"]))
        kinds = {export["type"] for export in record["exported_files"]}
        assert row["image_format"] in ("jpeg", "png")
        assert not row["image_url"].lower().endswith((".psd", ".tif", ".tiff"))
        if kinds & {"jpg_k", "jpg_g"}:
            assert row["height"] == 1280, row["chosen_because"]
        if {"jpg_k", "jpg_g"} <= kinds:
            large = [e["image_url"].rsplit("/", 1)[1] for e in record["exported_files"] if e["type"] == "jpg_g"]
            assert row["image_url"].rsplit("/", 1)[1] in large
        if "png" in kinds:
            assert row["thumbnail_url"] is not None, "wide pictures have thumbnails too"
            assert row["thumbnail_url"].endswith(".png")


def test_trap_08_what_a_shop_shows_is_a_picture_of_the_promised_size(connector: Connector) -> None:
    rows = connector.table().head(3).to_dict("records")
    assert len(rows) == 3
    for row in rows:
        answer = requests.get(row["image_url"], timeout=10)
        with Image.open(io.BytesIO(answer.content)) as picture:
            picture.load()
            assert picture.size == (row["width"], row["height"])
        small = requests.get(row["thumbnail_url"], timeout=10)
        with Image.open(io.BytesIO(small.content)) as picture:
            picture.load()
            assert min(picture.size) <= 400


def test_trap_08_a_record_with_nothing_to_show_is_told_and_not_a_failure(
    connector: Connector, sandbox: Sandbox
) -> None:
    target = variants(connector)[0]
    record = new_record(sandbox, [link(target["sku"])], format="psd", is_processed=False)
    record["original_file"]["file_url"] = record["original_file"]["file_url"].rsplit(".", 1)[0] + ".psd"
    record["exported_files"] = []
    sandbox.mutate("insert_record", record=record)
    result = connector.sync()
    assert result.done.summary.failed == 0
    assert connector.rows(NEW_ID) == []
    reason = connector.scalar("SELECT reason FROM imagesync.unused_image WHERE external_id = :id", id=str(NEW_ID))
    assert reason == "no format a browser can show yet"


def test_trap_09_a_number_is_a_whole_sku_and_never_a_beginning_of_one(connector: Connector, sandbox: Sandbox) -> None:
    target = variants(connector)[0]
    numbers = [target["sku"][:5], f"{target['sku']}-{target['variant_code']}", f"{target['sku']}0"]
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(number) for number in numbers]))
    connector.sync()
    assert connector.rows(NEW_ID) == []
    query = "SELECT count(*) FROM imagesync.unmatched_article WHERE external_id = :id AND reason <> ''"
    assert connector.scalar(query, id=str(NEW_ID)) == 3


@pytest.mark.parametrize("spelling", [" {} ", "\t{}", "{}\n"], ids=["blanks", "tab", "line end"])
def test_trap_09_numbers_are_compared_as_trimmed_text(connector: Connector, sandbox: Sandbox, spelling: str) -> None:
    target = variants(connector)[0]
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(spelling.format(target["sku"]))]))
    connector.sync()
    assert [row["sku"] for row in connector.rows(NEW_ID)] == [target["sku"]]


def test_trap_09_a_parents_number_is_its_variant_of_the_code_or_the_parent_itself(
    connector: Connector, sandbox: Sandbox
) -> None:
    target = variants(connector)[0]
    links = [link(target["parent_sku"], target["variant_code"]), link(target["parent_sku"], "ZZ")]
    sandbox.mutate("insert_record", record=new_record(sandbox, links))
    connector.sync()
    found = {(row["sku"], row["matched_by"]) for row in connector.rows(NEW_ID)}
    assert found == {(target["sku"], "parent's variant by code"), (target["parent_sku"], "parent sku")}


def test_trap_10_front_belongs_to_the_link(connector: Connector, sandbox: Sandbox) -> None:
    first, second, third = variants(connector)[:3]
    links = [link(first["sku"], front=True), link(second["sku"]), link(third["sku"], front=True)]
    sandbox.mutate("insert_record", record=new_record(sandbox, links))
    connector.sync()
    shown = {row["sku"]: (row["is_front"], row["priority"]) for row in connector.rows(NEW_ID)}
    assert shown == {first["sku"]: (True, 1), second["sku"]: (False, 2), third["sku"]: (True, 1)}


def test_trap_10_of_two_photos_of_an_article_the_front_one_is_primary(connector: Connector, sandbox: Sandbox) -> None:
    target = variants(connector)[0]
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(target["sku"])]))
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(target["sku"], front=True)], file_id=NEW_ID + 1))
    connector.sync()
    assert primary_of(connector, target["id"]) == str(NEW_ID + 1)
    sandbox.mutate("refront", file_id=NEW_ID + 1, number=target["sku"])
    sandbox.mutate("refront", file_id=NEW_ID, number=target["sku"])
    connector.sync()
    assert primary_of(connector, target["id"]) == str(NEW_ID)
    connector.assert_one_primary_each()


def test_trap_10_ties_are_decided_the_same_way_every_night(
    connectors: Connectors, connector: Connector, sandbox: Sandbox
) -> None:
    target = variants(connector)[0]
    for nth in (2, 0, 1):
        record = new_record(sandbox, [link(target["sku"], front=True)], file_id=NEW_ID + nth)
        sandbox.mutate("insert_record", record=record, position=nth * 50)
    connector.sync()
    assert primary_of(connector, target["id"]) == str(NEW_ID)
    before = connector.stamps()
    for _ in range(2):
        sandbox.mutate("reorder")
        assert connector.sync().written == (0, 0, 0)
    assert connector.stamps() == before
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_trap_10_a_persons_choice_of_primary_survives_every_run(connector: Connector, sandbox: Sandbox) -> None:
    target = variants(connector)[0]
    for nth, front in enumerate((True, False)):
        record = new_record(sandbox, [link(target["sku"], front=front)], file_id=NEW_ID + nth)
        sandbox.mutate("insert_record", record=record)
    connector.sync()
    assert primary_of(connector, target["id"]) == str(NEW_ID)
    pin_image(connector.place.engine, target["id"], "image_db", str(NEW_ID + 1), "a person")
    for options in ({}, {"force": True}, {"skus": [target["sku"]]}, {"limit": 2}, {}):
        connector.sync(**options)  # type: ignore[arg-type]
        assert primary_of(connector, target["id"]) == str(NEW_ID + 1)
        connector.assert_one_primary_each()
    record = sandbox.catalogue.remove(NEW_ID + 1)
    connector.sync()
    assert primary_of(connector, target["id"]) == str(NEW_ID), "dormant while its image is gone"
    sandbox.mutate("insert_record", record=record)
    connector.sync()
    assert primary_of(connector, target["id"]) == str(NEW_ID + 1)


def test_trap_10_flags_that_another_hand_cleared_are_set_right(
    connectors: Connectors, connector: Connector, sandbox: Sandbox
) -> None:
    connector.execute("UPDATE imagesync.product_image SET is_primary = false")
    connector.sync()
    connector.assert_one_primary_each()
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_trap_11_the_same_link_several_times_is_one_row(connector: Connector, sandbox: Sandbox) -> None:
    target = variants(connector)[0]
    links = [link(target["sku"]), link(target["sku"], front=True), link(f" {target['sku']}"), link(target["sku"])]
    sandbox.mutate("insert_record", record=new_record(sandbox, links))
    assert connector.sync().written == (1, 0, 0)
    assert [row["is_front"] for row in connector.rows(NEW_ID)] == [True]
    assert connector.sync().written == (0, 0, 0)


def test_trap_11_a_record_without_product_is_no_row_and_costs_nobody_else(
    connector: Connector, sandbox: Sandbox
) -> None:
    target = variants(connector)[0]
    sandbox.mutate("insert_record", record=new_record(sandbox, [link("999999999")]))
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(target["sku"])], file_id=NEW_ID + 1))
    assert connector.sync().written == (1, 0, 0)
    assert connector.rows(NEW_ID) == []
    assert connector.scalar("SELECT count(*) FROM imagesync.product_image WHERE product_id IS NULL") == 0


def test_trap_11_one_row_that_the_database_refuses_costs_no_other(connector: Connector, sandbox: Sandbox) -> None:
    target, other = variants(connector)[:2]
    connector.execute(
        "ALTER TABLE imagesync.product_image ADD CONSTRAINT poisoned CHECK (external_id <> :id)".replace(
            ":id", f"'{NEW_ID}'"
        )
    )
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(target["sku"]), link(other["sku"])]))
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(target["sku"])], file_id=NEW_ID + 1))
    result = connector.sync()
    assert result.written == (1, 0, 0)
    assert result.done.summary.failed == 2
    assert connector.rows(NEW_ID + 1)
    assert connector.scalar("SELECT count(*) FROM imagesync.quarantine WHERE stage = 'apply'") == 2
    connector.assert_one_primary_each()
    connector.execute("ALTER TABLE imagesync.product_image DROP CONSTRAINT poisoned")
    assert connector.sync().written == (2, 0, 0)
    assert connector.scalar("SELECT count(*) FROM imagesync.quarantine") == 0


@pytest.mark.parametrize("operator", ["re_export", "add_link", "remove_link", "refront", "change_type"])
def test_a_record_that_changes_while_it_is_read_is_right_after_the_next_run(
    connectors: Connectors, connector: Connector, sandbox: Sandbox, operator: str
) -> None:
    for pages in (1, 3, 6):
        sandbox.after_pages(pages, operator)
    first = connector.sync()
    assert first.landed is not None
    assert first.landed.complete, "no row moved, so the scan saw every image"
    connector.assert_one_primary_each()
    connector.sync()
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_an_article_that_moves_to_another_image_leaves_no_row_behind(
    connectors: Connectors, connector: Connector, sandbox: Sandbox
) -> None:
    shown = connector.table()["external_id"][0]
    row = connector.rows(shown)[0]
    number = sandbox.catalogue.record(int(shown))["articles"][0]["number"]
    sandbox.mutate("remove_link", file_id=int(shown), number=number)
    sandbox.mutate("insert_record", record=new_record(sandbox, [link(number)]))
    result = connector.sync()
    assert result.written[2] >= 1
    assert row["id"] not in {found["id"] for found in connector.rows(shown)}
    assert_same_tables(connector, from_scratch(connectors, sandbox))


def test_products_gone_from_the_erp_keep_their_images_while_a_person_did_not_let_them_go(connector: Connector) -> None:
    engine, file = connector.place.engine, connector.settings.erp_variants_file
    assert file is not None
    before, whole = len(connector.table()), file.read_text()
    lines = whole.splitlines(keepends=True)
    # A file that is whole, by its form, and has half of the products; then one that was cut off.
    file.write_text("".join(lines[: len(lines) // 2]))
    connector.products()
    waiting = held.undecided(engine)
    assert {one.kind for one in waiting} == {held.PRODUCTS_GONE}
    assert "more than the deletion limits allow" in waiting[0].reason
    assert connector.sync().written == (0, 0, 0)
    assert "--allow-products-gone" in " ".join(held.sentences(held.undecided(engine)))
    file.write_text(whole[: int(len(whole) * 0.96)])
    with pytest.raises(ErpError, match=r"variants\.csv line \d+: .*nothing was changed"):
        connector.products()
    assert len(connector.table()) == before
    file.write_text("".join(lines[: len(lines) // 2]))
    held.decide(engine, [one.id for one in waiting], held.ALLOW, "anna")
    connector.products()
    assert held.entries(engine) == []
    file.write_text(whole)
    connector.products()
    assert connector.sync().written == (0, 0, 0)
