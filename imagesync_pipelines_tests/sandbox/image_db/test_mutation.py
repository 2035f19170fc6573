"""Proves what each operator changes and what it leaves, and that a demo night is believable."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest

from imagesync_pipelines.sandbox.clock import SandboxClock
from imagesync_pipelines.sandbox.image_db.catalogue import CatalogueError, ImageCatalogue, build_catalogue
from imagesync_pipelines.sandbox.image_db.mutation import Mutator, pass_a_night
from imagesync_pipelines.sandbox.image_db.records import Record
from imagesync_pipelines.sandbox.mutation import MutationError
from imagesync_pipelines_tests.sandbox.image_db.odd import odd_records

MOMENT = datetime(2025, 11, 3, 2, 0, tzinfo=UTC)


@pytest.fixture
def catalogue() -> ImageCatalogue:
    return build_catalogue(records=60)


@pytest.fixture
def mutator(catalogue: ImageCatalogue) -> Mutator:
    return Mutator(catalogue, SandboxClock(MOMENT))


def by_id(catalogue: ImageCatalogue) -> dict[int, Record]:
    return {record["original_file"]["file_id"]: record for record in catalogue.records()}


def linked(catalogue: ImageCatalogue) -> int:
    return next(file_id for file_id, record in by_id(catalogue).items() if len(record["articles"]) == 1)


def test_an_insert_is_a_new_record_in_front(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    before = catalogue.file_ids()
    made = mutator.mutate("insert")
    assert catalogue.file_ids() == [made.file_id, *before]
    record = catalogue.record(made.file_id or 0)
    assert record["articles"]
    assert record["original_file"]["imported_at"] < MOMENT.isoformat()
    assert {export["type"] for export in record["exported_files"]} == {"png", "jpg_k", "jpg_g", "tiff", "psd"}


def test_an_insert_takes_any_record_and_any_position(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    mutator.mutate("insert_record", record={"odd": True}, position=5)
    assert catalogue.records()[5] == {"odd": True}
    assert len(catalogue) == 61


def test_a_delete_takes_the_named_record_or_the_first(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    before = catalogue.file_ids()
    assert mutator.mutate("delete").file_id == before[0]
    assert mutator.mutate("delete", file_id=before[7]).file_id == before[7]
    assert catalogue.file_ids() == before[1:7] + before[8:]
    with pytest.raises(CatalogueError, match=str(before[7])):
        mutator.mutate("delete", file_id=before[7])


def test_a_re_export_changes_ids_urls_and_created_and_nothing_else(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    before = by_id(catalogue)
    changed = mutator.mutate("re_export").file_id or 0
    after = by_id(catalogue)
    assert {file_id for file_id in before if before[file_id] != after[file_id]} == {changed}
    old, new = before[changed], after[changed]
    assert (old["original_file"], old["articles"]) == (new["original_file"], new["articles"])
    for field in ("id", "image_url"):
        known = {export[field] for export in old["exported_files"]} - {None}
        assert not known & {export[field] for export in new["exported_files"]}
    assert {export["created"] for export in new["exported_files"]} == {MOMENT.isoformat(timespec="microseconds")}
    sizes = [
        {tuple(one["resolution"]) for one in record["exported_files"] if one["resolution"]} for record in (old, new)
    ]
    assert sizes[0] == sizes[1]


def test_a_link_is_added_and_removed_with_its_repetitions(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    file_id = linked(catalogue)
    number = catalogue.record(file_id)["articles"][0]["number"]
    mutator.mutate("add_link", file_id=file_id, number="123456", variant="OX", front=True)
    mutator.mutate("add_link", file_id=file_id, number="123456", variant="OX", front=True)
    added = catalogue.record(file_id)["articles"]
    assert [(link["number"], link["variant"], link["front"]) for link in added[1:]] == [("123456", "OX", True)] * 2
    mutator.mutate("remove_link", file_id=file_id, number="123456")
    assert [link["number"] for link in catalogue.record(file_id)["articles"]] == [number]


def test_an_added_link_names_a_variant_that_is_not_there_yet(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    file_id = linked(catalogue)
    mutator.mutate("add_link", file_id=file_id)
    first, second = catalogue.record(file_id)["articles"]
    assert first["number"] != second["number"]
    assert second["number"] in {row["sku"] for row in catalogue.products.variants}


def test_a_refront_turns_one_link_round(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    file_id = linked(catalogue)
    fronts = []
    for _ in range(3):
        fronts.append(catalogue.record(file_id)["articles"][0]["front"])
        mutator.mutate("refront", file_id=file_id)
    assert fronts[0] == fronts[2] != fronts[1]


def test_a_type_changes_to_another_or_to_the_named_one(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    file_id = catalogue.file_ids()[0]
    before = catalogue.record(file_id)["original_file"]["type"]
    mutator.mutate("change_type", file_id=file_id)
    assert catalogue.record(file_id)["original_file"]["type"] != before
    mutator.mutate("change_type", file_id=file_id, image_type="Werbung 2026")
    assert catalogue.record(file_id)["original_file"]["type"] == "Werbung 2026"


def test_a_reorder_keeps_every_record(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    before, records = catalogue.file_ids(), by_id(catalogue)
    mutator.mutate("reorder")
    assert catalogue.file_ids() != before
    assert by_id(catalogue) == records


def test_a_script_runs_after_so_many_pages_from_now(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    mutator.page_served()
    mutator.after_pages(2, "insert")
    mutator.after_pages(3, "delete", file_id=catalogue.file_ids()[3])
    lengths = []
    for _ in range(4):
        mutator.page_served()
        lengths.append(len(catalogue))
    assert lengths == [60, 61, 60, 60]


def test_the_same_changes_from_the_same_seed_give_the_same_catalogue() -> None:
    def after(seed: int) -> list[Any]:
        catalogue = build_catalogue(seed, records=60)
        pass_a_night(Mutator(catalogue, SandboxClock(MOMENT)), catalogue)
        return catalogue.records()

    assert after(3) == after(3)
    assert after(3) != after(4)


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        ("explode", {}, "no operator is called explode"),
        ("delete", {"name": "x"}, "delete: .*name"),
        ("remove_link", {"number": "000000"}, "no link to 000000"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(
    mutator: Mutator, operator: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(MutationError, match=message):
        mutator.mutate(operator, **arguments)


def test_an_empty_table_has_nothing_to_delete_or_change() -> None:
    catalogue = build_catalogue(records=0)
    mutator = Mutator(catalogue, SandboxClock())
    with pytest.raises(MutationError, match="no record left"):
        mutator.mutate("delete")
    with pytest.raises(MutationError, match="no record fits"):
        mutator.mutate("re_export")


def test_operators_leave_odd_records_alone(catalogue: ImageCatalogue, mutator: Mutator) -> None:
    odd = list(odd_records(catalogue).values())
    for record in odd:
        mutator.mutate("insert_record", record=record)
    for operator in ("re_export", "add_link", "remove_link", "refront", "change_type"):
        for _ in range(20):
            mutator.mutate(operator)
    assert len(catalogue) == 60 + len(odd)


def test_a_demo_night_is_believable_at_the_real_size() -> None:
    catalogue = build_catalogue()
    before = by_id(catalogue)
    done = pass_a_night(Mutator(catalogue, SandboxClock(MOMENT)), catalogue)
    after = by_id(catalogue)
    operators = Counter(change.operator for change in done)
    assert set(operators) == {"insert", "delete", "re_export", "add_link", "remove_link", "refront", "change_type"}
    assert len(after.keys() - before.keys()) == operators["insert"] == 12
    assert len(before.keys() - after.keys()) == operators["delete"] == 5
    touched = {change.file_id for change in done} - (after.keys() - before.keys())
    assert {file_id for file_id in before if before[file_id] != after.get(file_id)} == touched
    pairs_before, pairs_after = (
        {(file_id, link["number"]) for file_id, record in records.items() for link in record["articles"]}
        for records in (before, after)
    )
    assert 0 < len(pairs_before - pairs_after) < 0.02 * len(pairs_before)


def test_a_demo_night_fits_a_small_catalogue_and_refuses_a_tiny_one(
    catalogue: ImageCatalogue, mutator: Mutator
) -> None:
    assert pass_a_night(mutator, catalogue)
    tiny = build_catalogue(records=3)
    with pytest.raises(MutationError, match="too small"):
        pass_a_night(Mutator(tiny, SandboxClock()), tiny)
