"""Proves that a reader who asks with `since` misses nothing of the service, and why the original needs full walks."""

from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from imagesync_pipelines.sandbox.head_office.server import HeadOfficeSandbox
from imagesync_pipelines_tests.sandbox.head_office.callers import Caller

CHANGES = (
    "replace", "replace", "add", "second_primary", "excel_import", "delete_row", "edit", "edit", "stale_checksum",
    "deactivate_product", "reactivate_product", "delete_product", "unlink_brand", "link_brand",
)  # fmt: skip
STEPS = 14


class Reader:
    """Keeps what it read by id, without image_url; its cursor is the largest stamp it saw, as head office wrote it."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.photos: dict[str, dict[str, Any]] = {}
        self.cursor = ""

    def read(self) -> None:
        """One page from the cursor on."""
        data = self.caller.page(f"limit=1000&since={quote(self.cursor)}" if self.cursor else "limit=1000")
        for photo in data["photos"]:
            self.photos[photo["id"]] = seen(photo)
            self.cursor = max(self.cursor, photo["updated_at"])
        for photo_id in data.get("deleted_ids", ()):
            self.photos.pop(photo_id, None)


def seen(photo: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in photo.items() if name != "image_url"}


def everything(caller: Caller) -> dict[str, dict[str, Any]]:
    return {photo_id: seen(photo) for photo_id, photo in caller.everything().items()}


def change(sandbox: HeadOfficeSandbox, rng: Random, off: list[Any]) -> None:
    operator = rng.choice(CHANGES)
    if operator == "reactivate_product":
        if off:
            sandbox.mutate(operator, product_id=off.pop())
        return
    made = sandbox.mutate(operator)
    if operator == "deactivate_product":
        off.append(made.product_id)


@pytest.mark.parametrize("seed", range(3))
def test_an_incremental_reader_of_the_service_misses_nothing(service: HeadOfficeSandbox, seed: int) -> None:
    caller, rng, off = Caller(service), Random(seed), []
    reader = Reader(caller)
    reader.read()
    for _ in range(STEPS):
        for _ in range(rng.randrange(3)):
            change(service, rng, off)
        reader.read()
        assert reader.photos == everything(caller)


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        pytest.param("replace", {}, id="the old id stays"),
        pytest.param("delete_row", {}, id="a deletion is not told"),
        pytest.param("deactivate_product", {}, id="a vanished product is not told"),
        pytest.param("unlink_brand", {}, id="a vanished brand is not told"),
        pytest.param("late_commit", {"seconds": 86_400 * 500}, id="a late commit hides"),
    ],
)
def test_an_incremental_reader_of_the_original_goes_wrong(
    original: HeadOfficeSandbox, operator: str, arguments: dict[str, Any]
) -> None:
    caller = Caller(original)
    reader = Reader(caller)
    reader.read()
    assert reader.photos == everything(caller)
    original.mutate(operator, **arguments)
    reader.read()
    assert reader.photos != everything(caller)


def test_what_reappears_in_the_original_is_not_found_by_its_stamp(original: HeadOfficeSandbox) -> None:
    product = original.mutate("deactivate_product").product_id
    caller = Caller(original)
    reader = Reader(caller)
    reader.read()
    original.mutate("reactivate_product", product_id=product)
    reader.read()
    assert len(everything(caller)) == len(reader.photos) + 1
